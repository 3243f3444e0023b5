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
	MAY_LACK_CHANNEL = 1 << 4,
	IS_BOOL = 1 << 5, /* value is 0 or 1 */
	/* What the payload is; without any of these there is none. */
	IS_MESSAGE = 1 << 6, /* and has a kind, as nothing else has */
	IS_COOKIE = 1 << 7,
	IS_BYTES = 1 << 8,
	IS_PAST = 1 << 9,      /* or is empty */
	HAS_RECORDS = 1 << 10, /* the past may go on with records */
};

/* What a type uses, and which flags its past may have. */
static const struct {
	uint16_t has;
	uint8_t flags;
} uses[] = {
	[IPC_HELLO] = { HAS_ID | HAS_VALUE | IS_COOKIE, 0 },
	[IPC_WELCOME] = { HAS_VALUE | IS_BOOL, 0 },
	[IPC_SUBSCRIBE] = { HAS_CHANNEL | HAS_ID | IS_PAST, IPC_PAST_VERIFY },
	[IPC_SUBSCRIBED] = { HAS_CHANNEL | HAS_STATUS | HAS_ID | IS_PAST | HAS_RECORDS,
	    IPC_PAST_RECOVERED },
	[IPC_UNSUBSCRIBE] = { HAS_CHANNEL, 0 },
	[IPC_PUBLISH] = { HAS_CHANNEL | HAS_ID | HAS_VALUE | IS_MESSAGE, 0 },
	[IPC_PUBLISHED] = { HAS_ID | HAS_STATUS | IS_PAST, 0 },
	[IPC_MESSAGE] = { HAS_CHANNEL | HAS_VALUE | IS_MESSAGE, 0 },
	[IPC_GAP] = { HAS_CHANNEL | MAY_LACK_CHANNEL | HAS_VALUE | IS_BOOL, 0 },
	[IPC_ENGINE] = { HAS_VALUE | IS_BOOL, 0 },
	[IPC_COUNT] = { HAS_CHANNEL | HAS_ID, 0 },
	[IPC_COUNTED] = { HAS_CHANNEL | HAS_ID | HAS_VALUE, 0 },
	[IPC_HISTORY] = { HAS_CHANNEL | HAS_ID | HAS_VALUE | IS_PAST, IPC_PAST_REVERSE },
	[IPC_HISTORIED] = { HAS_ID | HAS_STATUS | IS_PAST | HAS_RECORDS, IPC_PAST_REVERSE },
	[IPC_FORGET] = { HAS_CHANNEL | HAS_ID, 0 },
	[IPC_JOIN] = { HAS_CHANNEL | IS_BYTES, 0 },
	[IPC_LEAVE] = { HAS_CHANNEL | IS_BYTES, 0 },
	[IPC_PRESENCE] = { HAS_CHANNEL | HAS_ID, 0 },
	[IPC_PRESENT] = { HAS_ID | HAS_STATUS | IS_BYTES, 0 },
	[IPC_EVENT] = { IS_BYTES, 0 },
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

/* Where each field of a past stands; the epoch's bytes follow. */
enum {
	PAST_FLAGS = 0,
	PAST_OFFSET = 1,
	PAST_EPOCH_LEN = 9,
	PAST_EPOCH = 10,
};

size_t
ipc_past_head(const struct ipc_past *past, uint8_t out[IPC_PAST_HEAD_MAX])
{
	size_t n = strlen(past->pos.epoch);
	uint64_t offset = n > 0 ? past->pos.offset : 0;

	out[PAST_FLAGS] = (uint8_t)past->flags;
	memcpy(out + PAST_OFFSET, &offset, sizeof(offset));
	out[PAST_EPOCH_LEN] = (uint8_t)n;
	memcpy(out + PAST_EPOCH, past->pos.epoch, n);
	return PAST_EPOCH + n;
}

int
ipc_past_decode(const uint8_t *p, size_t n, struct ipc_past *out)
{
	uint64_t offset;
	size_t epoch_len;

	if (n < PAST_EPOCH || p[PAST_EPOCH_LEN] > n - PAST_EPOCH)
		return FAN_EPROTO;
	epoch_len = p[PAST_EPOCH_LEN];
	memcpy(&offset, p + PAST_OFFSET, sizeof(offset));
	out->flags = p[PAST_FLAGS];
	out->records.p = p + PAST_EPOCH + epoch_len;
	out->records.n = n - PAST_EPOCH - epoch_len;
	if ((epoch_len == 0 && offset != 0) || out->flags >= IPC_PAST_REVERSE << 1 ||
	    position_set(&out->pos, offset, (const char *)p + PAST_EPOCH, epoch_len) != 0)
		return FAN_EPROTO;
	return 0;
}

static bool
channel_fits(const struct ipc_msg *m, unsigned has)
{
	if (!(has & HAS_CHANNEL))
		return m->channel_len == 0;
	if (m->channel_len == 0)
		return (has & MAY_LACK_CHANNEL) != 0;
	return channel_name_valid(m->channel, m->channel_len, CHANNEL_NAME_MAX) ||
	    channel_name_internal(m->channel, m->channel_len);
}

static bool
past_fits(const struct ipc_msg *m, unsigned has, unsigned flags)
{
	struct ipc_past past;

	return m->len == 0 ||
	    (m->status == 0 && ipc_past_decode(m->data, m->len, &past) == 0 &&
		(past.flags & ~flags) == 0 && (past.records.n == 0 || (has & HAS_RECORDS)));
}

static bool
payload_fits(const struct ipc_msg *m, unsigned kind)
{
	unsigned has = uses[m->type].has;

	if (m->type == IPC_PUBLISH)
		return kind == MSG_TEXT || kind == MSG_BINARY;
	if (has & IS_MESSAGE)
		return kind < MSG_KINDS;
	if (kind != 0)
		return false;
	if (has & IS_BYTES)
		return m->status == 0 || m->len == 0;
	if (has & IS_PAST)
		return past_fits(m, has, uses[m->type].flags);
	return m->len == (has & IS_COOKIE ? IPC_COOKIE_SIZE : 0);
}

static bool
numbers_fit(const struct ipc_msg *m)
{
	unsigned has = uses[m->type].has;

	if (!(has & HAS_ID) && m->id != 0)
		return false;
	if (has & HAS_STATUS ? m->status > 0 || m->status < FAN_EEXPIRED : m->status != 0)
		return false;
	if (m->type == IPC_PUBLISH)
		return (m->value & ~(IPC_KEY(IPC_KEY_MAX) | IPC_PUBLISH_QUIET)) == 0 &&
		    IPC_KEY_LEN(m->value) <= m->len;
	if (m->type == IPC_GAP && m->channel_len > 0)
		return m->value == 0;
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
	unsigned type, kind;

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
	if (type < IPC_HELLO || type > IPC_EVENT || channel_len > size - IPC_HEAD_SIZE)
		return FAN_EPROTO;
	out->type = (enum ipc_type)type;
	memcpy(&out->id, p + AT_ID, sizeof(out->id));
	memcpy(&status, p + AT_STATUS, sizeof(status));
	out->status = status;
	memcpy(&out->value, p + AT_VALUE, sizeof(out->value));
	out->channel = (const char *)p + IPC_HEAD_SIZE;
	out->channel_len = channel_len;
	out->data = p + IPC_HEAD_SIZE + channel_len;
	out->len = size - IPC_HEAD_SIZE - channel_len;
	if (!channel_fits(out, uses[type].has) || !payload_fits(out, kind) || !numbers_fit(out))
		return FAN_EPROTO;
	out->kind = (enum msg_kind)kind;
	return 0;
}
