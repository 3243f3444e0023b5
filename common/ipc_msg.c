/*
 * ipc_msg: the messages between a worker and the hub, as bytes.  See ipc_msg.h.
 */
#include "common/ipc_msg.h"

#include <string.h>

/* Where each field of the head stands. */
enum {
	AT_SIZE = 0,
	AT_TYPE = 4,
	AT_KIND = 5,
	AT_CHANNEL = 6,
	AT_ID = 8,
	AT_STATUS = 12,
	AT_VALUE = 16,
};

/* What a type uses; the rest must be 0. */
enum {
	HAS_ID = 1 << 0,
	HAS_STATUS = 1 << 1,
	HAS_VALUE = 1 << 2,
	HAS_CHANNEL = 1 << 3,
	HAS_PAYLOAD = 1 << 4, /* and its kind */
	MAY_LACK_CHANNEL = 1 << 5,
	IS_BOOL = 1 << 6,   /* value is 0 or 1 */
	IS_COOKIE = 1 << 7, /* the payload is a cookie, without a kind */
};

static const uint8_t uses[] = {
	[IPC_HELLO] = HAS_ID | HAS_VALUE | IS_COOKIE,
	[IPC_WELCOME] = HAS_VALUE | IS_BOOL,
	[IPC_SUBSCRIBE] = HAS_CHANNEL | HAS_ID,
	[IPC_SUBSCRIBED] = HAS_CHANNEL | HAS_STATUS | HAS_ID,
	[IPC_UNSUBSCRIBE] = HAS_CHANNEL,
	[IPC_PUBLISH] = HAS_CHANNEL | HAS_PAYLOAD | HAS_ID | HAS_VALUE | IS_BOOL,
	[IPC_PUBLISHED] = HAS_ID | HAS_STATUS,
	[IPC_MESSAGE] = HAS_CHANNEL | HAS_PAYLOAD | HAS_VALUE,
	[IPC_GAP] = HAS_CHANNEL | MAY_LACK_CHANNEL,
	[IPC_ENGINE] = HAS_VALUE | IS_BOOL,
	[IPC_COUNT] = HAS_CHANNEL | HAS_ID,
	[IPC_COUNTED] = HAS_CHANNEL | HAS_ID | HAS_VALUE,
};

size_t
ipc_msg_size(const struct ipc_msg *m)
{
	return IPC_HEAD_SIZE + m->channel_len + m->len;
}

void
ipc_msg_encode_head(const struct ipc_msg *m, uint8_t *out)
{
	uint32_t size = (uint32_t)ipc_msg_size(m);
	uint16_t channel_len = (uint16_t)m->channel_len;
	int32_t status = m->status;

	memcpy(out + AT_SIZE, &size, sizeof(size));
	out[AT_TYPE] = (uint8_t)m->type;
	out[AT_KIND] = (uint8_t)m->kind;
	memcpy(out + AT_CHANNEL, &channel_len, sizeof(channel_len));
	memcpy(out + AT_ID, &m->id, sizeof(m->id));
	memcpy(out + AT_STATUS, &status, sizeof(status));
	memcpy(out + AT_VALUE, &m->value, sizeof(m->value));
	if (m->channel_len > 0)
		memcpy(out + IPC_HEAD_SIZE, m->channel, m->channel_len);
}

static bool
channel_fits(const struct ipc_msg *m, unsigned has)
{
	if (!(has & HAS_CHANNEL))
		return m->channel_len == 0;
	if (m->channel_len == 0)
		return (has & MAY_LACK_CHANNEL) != 0;
	return channel_name_valid(m->channel, m->channel_len, CHANNEL_NAME_MAX);
}

static bool
payload_fits(const struct ipc_msg *m, unsigned kind, unsigned has)
{
	if (has & HAS_PAYLOAD)
		return kind == MSG_TEXT || kind == MSG_BINARY;
	return kind == 0 && m->len == (has & IS_COOKIE ? IPC_COOKIE_SIZE : 0);
}

static bool
numbers_fit(const struct ipc_msg *m, unsigned has)
{
	if (!(has & HAS_ID) && m->id != 0)
		return false;
	if (has & HAS_STATUS ? m->status > 0 || m->status < FAN_ESYS : m->status != 0)
		return false;
	if (has & IS_BOOL)
		return m->value <= 1;
	return (has & HAS_VALUE) || m->value == 0;
}

int
ipc_msg_decode(const uint8_t *p, size_t n, size_t max, struct ipc_msg *out, size_t *used)
{
	uint32_t size;
	uint16_t channel_len;
	int32_t status;
	unsigned type, kind, has;

	*used = 0;
	if (n < sizeof(size))
		return FAN_EAGAIN;
	memcpy(&size, p + AT_SIZE, sizeof(size));
	if (size < IPC_HEAD_SIZE)
		return FAN_EPROTO;
	if (size > max)
		return FAN_ETOOBIG;
	*used = size;
	if (n < size)
		return FAN_EAGAIN;

	type = p[AT_TYPE];
	kind = p[AT_KIND];
	memcpy(&channel_len, p + AT_CHANNEL, sizeof(channel_len));
	if (type < IPC_HELLO || type > IPC_COUNTED || channel_len > size - IPC_HEAD_SIZE)
		return FAN_EPROTO;
	has = uses[type];
	out->type = (enum ipc_type)type;
	memcpy(&out->id, p + AT_ID, sizeof(out->id));
	memcpy(&status, p + AT_STATUS, sizeof(status));
	out->status = status;
	memcpy(&out->value, p + AT_VALUE, sizeof(out->value));
	out->channel = (const char *)p + IPC_HEAD_SIZE;
	out->channel_len = channel_len;
	out->data = p + IPC_HEAD_SIZE + channel_len;
	out->len = size - IPC_HEAD_SIZE - channel_len;
	if (!channel_fits(out, has) || !payload_fits(out, kind, has) || !numbers_fit(out, has))
		return FAN_EPROTO;
	out->kind = kind == MSG_BINARY ? MSG_BINARY : MSG_TEXT;
	return 0;
}
