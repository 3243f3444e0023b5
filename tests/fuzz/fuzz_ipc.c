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

/* What a type does not use is 0 or empty. */
static void
check_unused(const struct ipc_msg *m)
{
	bool id = false, status = false, value = false, payload = false;

	switch (m->type) {
	case IPC_HELLO:
		id = value = true;
		FUZZ_CHECK(m->len == IPC_COOKIE_SIZE && m->kind == MSG_TEXT);
		break;
	case IPC_WELCOME:
	case IPC_ENGINE:
		value = true;
		break;
	case IPC_SUBSCRIBE:
	case IPC_COUNT:
		id = true;
		break;
	case IPC_SUBSCRIBED:
	case IPC_PUBLISHED:
		id = status = true;
		break;
	case IPC_PUBLISH:
		id = value = payload = true;
		break;
	case IPC_MESSAGE:
		value = payload = true;
		break;
	case IPC_COUNTED:
		id = value = true;
		break;
	case IPC_UNSUBSCRIBE:
	case IPC_GAP:
		break;
	}
	FUZZ_CHECK((id || m->id == 0) && (status || m->status == 0) && (value || m->value == 0));
	FUZZ_CHECK(payload || m->type == IPC_HELLO || (m->len == 0 && m->kind == MSG_TEXT));
}

/* What a decoder lets through is what an encoder may have written, to the byte. */
static void
check_message(const struct ipc_msg *m, const uint8_t *p, size_t used)
{
	uint8_t head[IPC_HEAD_MAX];

	FUZZ_CHECK(used == ipc_msg_size(m) && used <= MAX);
	FUZZ_CHECK(m->type >= IPC_HELLO && m->type <= IPC_COUNTED);
	FUZZ_CHECK(m->kind == MSG_TEXT || m->kind == MSG_BINARY);
	FUZZ_CHECK(m->status <= 0 && fan_strerror(m->status) != NULL);
	FUZZ_CHECK(m->channel_len == 0 ||
	    channel_name_valid(m->channel, m->channel_len, CHANNEL_NAME_MAX));
	check_unused(m);
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
