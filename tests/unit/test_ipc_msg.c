/*
 * Unit tests of common/ipc_msg: what is encoded comes back, and nothing else is accepted.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "common/ipc_msg.h"
#include "tests/unit/guard.h"

#define CHANNEL .channel = "news:1", .channel_len = 6
#define PAYLOAD .data = (const uint8_t *)"{\"a\":1}", .len = 7
#define COOKIE .data = (const uint8_t *)"0123456789abcdef", .len = IPC_COOKIE_SIZE
#define WIRE_MAX 512

/* At least one of each type, with all that it may carry. */
static const struct ipc_msg valid[] = {
	{ .type = IPC_HELLO, .id = 3, .value = IPC_VERSION, COOKIE },
	{ .type = IPC_WELCOME, .value = 1 },
	{ .type = IPC_SUBSCRIBE, .id = 4, CHANNEL },
	{ .type = IPC_SUBSCRIBED, .id = 4, .status = FAN_ENOMEM, CHANNEL },
	{ .type = IPC_UNSUBSCRIBE, CHANNEL },
	{ .type = IPC_PUBLISH, .kind = MSG_BINARY, .id = UINT32_MAX, .value = 1, CHANNEL, PAYLOAD },
	{ .type = IPC_PUBLISH, .kind = MSG_TEXT, CHANNEL },
	{ .type = IPC_PUBLISHED, .id = 7, .status = FAN_ESYS },
	{ .type = IPC_MESSAGE, .kind = MSG_TEXT, .value = UINT64_MAX, CHANNEL, PAYLOAD },
	{ .type = IPC_MESSAGE, .kind = MSG_BINARY, CHANNEL },
	{ .type = IPC_GAP, CHANNEL },
	{ .type = IPC_GAP },
	{ .type = IPC_ENGINE, .value = 0 },
	{ .type = IPC_COUNT, .id = 9, CHANNEL },
	{ .type = IPC_COUNTED, .id = 9, .value = 12345678901ULL, CHANNEL },
};
#define VALID (sizeof(valid) / sizeof(valid[0]))

/* As the sender does it; returns the size. */
static size_t
encode(const struct ipc_msg *m, uint8_t *out)
{
	size_t n = ipc_msg_size(m);

	cr_assert(n <= WIRE_MAX);
	ipc_msg_encode_head(m, out);
	if (m->len > 0)
		memcpy(out + IPC_HEAD_SIZE + m->channel_len, m->data, m->len);
	return n;
}

static void
check_same(const struct ipc_msg *a, const struct ipc_msg *b)
{
	cr_assert(a->type == b->type && a->kind == b->kind && a->id == b->id);
	cr_assert(a->status == b->status && a->value == b->value);
	cr_assert(a->channel_len == b->channel_len && a->len == b->len);
	cr_assert(a->channel_len == 0 || memcmp(a->channel, b->channel, a->channel_len) == 0);
	cr_assert(a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* Decodes a message that was encoded from m whatever its fields say. */
static int
decode(const struct ipc_msg *m)
{
	uint8_t wire[WIRE_MAX];
	struct ipc_msg got;
	size_t used, n = encode(m, wire);

	return ipc_msg_decode(wire, n, WIRE_MAX, &got, &used);
}

Test(ipc_msg, every_type_comes_back)
{
	struct guard g = guard_new(WIRE_MAX);
	uint8_t wire[WIRE_MAX];
	struct ipc_msg got;
	size_t i, n, used;

	for (i = 0; i < VALID; i++) {
		n = encode(&valid[i], wire);
		cr_assert(ipc_msg_decode(guard_put(&g, wire, n), n, n, &got, &used) == 0,
		    "message %zu", i);
		cr_assert(used == n);
		check_same(&valid[i], &got);
	}
	guard_free(&g);
}

Test(ipc_msg, every_truncation_is_incomplete)
{
	struct guard g = guard_new(WIRE_MAX);
	uint8_t wire[WIRE_MAX];
	struct ipc_msg got;
	size_t i, n, cut, used;

	for (i = 0; i < VALID; i++) {
		n = encode(&valid[i], wire);
		for (cut = 0; cut < n; cut++) {
			used = 99;
			cr_assert(ipc_msg_decode(guard_put(&g, wire, cut), cut, n, &got, &used) ==
			    FAN_EAGAIN);
			cr_assert(used == (cut < 4 ? 0 : n));
		}
	}
	guard_free(&g);
}

Test(ipc_msg, one_after_the_other)
{
	uint8_t wire[VALID * WIRE_MAX];
	struct ipc_msg got;
	size_t i, n = 0, at = 0, used;

	for (i = 0; i < VALID; i++)
		n += encode(&valid[i], wire + n);
	for (i = 0; i < VALID; i++) {
		cr_assert(ipc_msg_decode(wire + at, n - at, WIRE_MAX, &got, &used) == 0);
		check_same(&valid[i], &got);
		at += used;
	}
	cr_assert(at == n);
}

/* Whatever is accepted means exactly the bytes that were read. */
Test(ipc_msg, every_bit_flip_is_refused_or_means_what_it_says)
{
	struct guard g = guard_new(WIRE_MAX);
	uint8_t wire[WIRE_MAX], again[WIRE_MAX], *p;
	struct ipc_msg got;
	size_t i, n, bit, used;
	int err;

	for (i = 0; i < VALID; i++) {
		n = encode(&valid[i], wire);
		for (bit = 0; bit < n * 8; bit++) {
			p = guard_put(&g, wire, n);
			p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
			err = ipc_msg_decode(p, n, WIRE_MAX, &got, &used);
			if (err != 0) {
				cr_assert(
				    err == FAN_EPROTO || err == FAN_EAGAIN || err == FAN_ETOOBIG);
				continue;
			}
			cr_assert(used <= n && ipc_msg_size(&got) == used);
			cr_assert(encode(&got, again) == used && memcmp(again, p, used) == 0);
		}
	}
	guard_free(&g);
}

Test(ipc_msg, too_big_is_known_from_the_size_alone)
{
	uint8_t wire[WIRE_MAX];
	struct ipc_msg got;
	size_t used, n = encode(&valid[5], wire);

	cr_assert(ipc_msg_decode(wire, 4, n - 1, &got, &used) == FAN_ETOOBIG);
	cr_assert(ipc_msg_decode(wire, n, n - 1, &got, &used) == FAN_ETOOBIG);
	cr_assert(ipc_msg_decode(wire, n, n, &got, &used) == 0);
}

Test(ipc_msg, sizes_that_cannot_be)
{
	uint8_t wire[WIRE_MAX];
	struct ipc_msg got;
	uint32_t size;
	uint16_t channel_len = 7;
	size_t used, n;

	for (size = 0; size < IPC_HEAD_SIZE; size++) {
		memcpy(wire, &size, sizeof(size));
		cr_assert(ipc_msg_decode(wire, 4, WIRE_MAX, &got, &used) == FAN_EPROTO);
	}
	/* A channel's name that would reach beyond the message. */
	n = encode(&valid[2], wire);
	memcpy(wire + 6, &channel_len, sizeof(channel_len));
	cr_assert(ipc_msg_decode(wire, n, WIRE_MAX, &got, &used) == FAN_EPROTO);
}

Test(ipc_msg, what_a_type_does_not_use_is_refused)
{
	static const struct ipc_msg bad[] = {
		{ .type = 0 },
		{ .type = IPC_COUNTED + 1, CHANNEL },
		{ .type = IPC_WELCOME, .value = 2 },
		{ .type = IPC_WELCOME, .id = 1 },
		{ .type = IPC_WELCOME, CHANNEL },
		{ .type = IPC_ENGINE, .value = 1, .status = FAN_EDOWN },
		{ .type = IPC_SUBSCRIBE },
		{ .type = IPC_SUBSCRIBE, .value = 1, CHANNEL },
		{ .type = IPC_SUBSCRIBE, CHANNEL, PAYLOAD },
		{ .type = IPC_SUBSCRIBED, .value = 1, CHANNEL },
		{ .type = IPC_UNSUBSCRIBE, .kind = MSG_BINARY, CHANNEL },
		{ .type = IPC_PUBLISH, .value = 2, CHANNEL, PAYLOAD },
		{ .type = IPC_PUBLISH, .status = FAN_EDOWN, CHANNEL, PAYLOAD },
		{ .type = IPC_PUBLISH, PAYLOAD },
		{ .type = IPC_PUBLISHED, .id = 1, CHANNEL },
		{ .type = IPC_MESSAGE, .id = 1, CHANNEL, PAYLOAD },
		{ .type = IPC_COUNT, .value = 1, CHANNEL },
		{ .type = IPC_HELLO, .value = IPC_VERSION },
		{ .type = IPC_HELLO, .value = IPC_VERSION, .kind = MSG_BINARY, COOKIE },
		{ .type = IPC_HELLO, .value = IPC_VERSION, PAYLOAD },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(decode(&bad[i]) == FAN_EPROTO, "message %zu", i);
}

Test(ipc_msg, values_out_of_range)
{
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = 1, .status = 1 };
	struct ipc_msg name = { .type = IPC_SUBSCRIBE, .channel = "a b", .channel_len = 3 };
	char long_name[CHANNEL_NAME_MAX + 1];
	uint8_t wire[WIRE_MAX];
	struct ipc_msg got;
	size_t used, n;

	cr_assert(decode(&m) == FAN_EPROTO);
	m.status = FAN_ESYS - 1;
	cr_assert(decode(&m) == FAN_EPROTO);
	m.status = FAN_ESYS;
	cr_assert(decode(&m) == 0);

	n = encode(&valid[8], wire);
	wire[5] = 2; /* no such kind */
	cr_assert(ipc_msg_decode(wire, n, WIRE_MAX, &got, &used) == FAN_EPROTO);

	cr_assert(decode(&name) == FAN_EPROTO);
	memset(long_name, 'x', sizeof(long_name));
	name.channel = long_name;
	name.channel_len = sizeof(long_name);
	cr_assert(decode(&name) == FAN_EPROTO);
	name.channel_len--;
	cr_assert(decode(&name) == 0);
}
