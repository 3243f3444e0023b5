/*
 * fuzz_ipc: the messages between worker and hub (common/ipc_msg).
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, common.
 *
 * Input: messages, one after the other.
 */
#include <stdlib.h>
#include <string.h>

#include "common/ipc_msg.h"
#include "tests/fuzz/fuzz.h"

#define MAX 2048 /* bytes of a message */

/* What a type uses; anything else is 0 or empty. */
struct used {
	bool id, status, value, channel, kind, payload, past;
};

static struct used
used_of(enum ipc_type type)
{
	switch (type) {
	case IPC_HELLO:
		return (struct used){ .id = true, .value = true, .payload = true };
	case IPC_WELCOME:
	case IPC_ENGINE:
		return (struct used){ .value = true };
	case IPC_SUBSCRIBE:
		return (struct used){ .id = true, .channel = true, .past = true };
	case IPC_COUNT:
	case IPC_FORGET:
	case IPC_PRESENCE:
		return (struct used){ .id = true, .channel = true };
	case IPC_SUBSCRIBED:
		return (struct used){ .id = true, .status = true, .channel = true, .past = true };
	case IPC_PUBLISHED:
	case IPC_HISTORIED:
		return (struct used){ .id = true, .status = true, .past = true };
	case IPC_PRESENT:
		return (struct used){ .id = true, .status = true, .payload = true };
	case IPC_PUBLISH:
		return (struct used){
			.id = true, .value = true, .channel = true, .kind = true, .payload = true
		};
	case IPC_MESSAGE:
		return (
		    struct used){ .value = true, .channel = true, .kind = true, .payload = true };
	case IPC_COUNTED:
		return (struct used){ .id = true, .value = true, .channel = true };
	case IPC_HISTORY:
		return (struct used){ .id = true, .value = true, .channel = true, .past = true };
	case IPC_GAP:
		return (struct used){ .value = true, .channel = true };
	case IPC_JOIN:
	case IPC_LEAVE:
		return (struct used){ .channel = true, .payload = true };
	case IPC_EVENT:
		return (struct used){ .payload = true };
	case IPC_UNSUBSCRIBE:
		break;
	}
	return (struct used){ .channel = true };
}

static void
check_past(const struct ipc_msg *m)
{
	struct ipc_past past;
	uint8_t head[IPC_PAST_HEAD_MAX];
	size_t n;

	FUZZ_CHECK(m->status == 0 && ipc_past_decode(m->data, m->len, &past) == 0);
	n = ipc_past_head(&past, head);
	FUZZ_CHECK(n + past.records.n == m->len && memcmp(head, m->data, n) == 0);
	FUZZ_CHECK(past.records.n == 0 || m->type == IPC_SUBSCRIBED || m->type == IPC_HISTORIED);
}

/* What a decoder lets through is what an encoder may have written, to the byte. */
static void
check_message(const struct ipc_msg *m, const uint8_t *p, size_t used)
{
	struct used has = used_of(m->type);
	uint8_t head[IPC_HEAD_MAX];

	FUZZ_CHECK(used == ipc_msg_size(m) && used <= MAX);
	FUZZ_CHECK(m->type >= IPC_HELLO && m->type <= IPC_EVENT);
	FUZZ_CHECK(m->kind < MSG_KINDS && (has.kind || m->kind == MSG_TEXT));
	FUZZ_CHECK(m->status <= 0 && fan_strerror(m->status) != NULL);
	FUZZ_CHECK((has.id || m->id == 0) && (has.status || m->status == 0));
	FUZZ_CHECK(has.value || m->value == 0);
	FUZZ_CHECK(has.payload || has.past || m->len == 0);
	FUZZ_CHECK(m->channel_len == 0 || has.channel);
	FUZZ_CHECK(m->channel_len == 0 || channel_name_internal(m->channel, m->channel_len) ||
	    channel_name_valid(m->channel, m->channel_len, CHANNEL_NAME_MAX));
	FUZZ_CHECK(m->type != IPC_PUBLISH || IPC_KEY_LEN(m->value) <= m->len);
	if (has.past && m->len > 0)
		check_past(m);
	ipc_msg_encode_head(m, head);
	FUZZ_CHECK(memcmp(head, p, IPC_HEAD_SIZE + m->channel_len) == 0);
	FUZZ_CHECK(m->data == p + IPC_HEAD_SIZE + m->channel_len);
	FUZZ_CHECK(m->data + m->len == p + used);
}

/* Of a message that is not all there only its size is known, and that never changes. */
static void
check_prefix(const uint8_t *p, size_t n, size_t size)
{
	uint8_t *copy = fuzz_copy(p, n);
	struct ipc_msg m;
	size_t used;

	FUZZ_CHECK(ipc_msg_decode(copy, n, MAX, &m, &used) == FAN_EAGAIN);
	FUZZ_CHECK(used == (n < sizeof(uint32_t) ? 0 : size));
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct ipc_msg m;
	size_t used, i;
	int err;

	for (;;) {
		err = ipc_msg_decode(in.p, in.n, MAX, &m, &used);
		if (err != 0)
			break;
		check_message(&m, in.p, used);
		for (i = 0; i < used; i += 1 + i / 8)
			check_prefix(in.p, i, used);
		check_prefix(in.p, used - 1, used);
		FUZZ_CHECK(ipc_msg_decode(in.p, in.n, used, &m, &used) == 0);
		FUZZ_CHECK(ipc_msg_decode(in.p, in.n, used - 1, &m, &i) == FAN_ETOOBIG);
		(void)fuzz_take(&in, used);
	}
	FUZZ_CHECK(err == FAN_EAGAIN || err == FAN_EPROTO || err == FAN_ETOOBIG);
	FUZZ_CHECK(err != FAN_EAGAIN || used == 0 || used > in.n);
	return 0;
}
