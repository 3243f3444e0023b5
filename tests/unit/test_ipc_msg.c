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
#define OFFSET "\x05\0\0\0\0\0\0\0"
#define NONE "\0\0\0\0\0\0\0\0"
#define RECORD "\x05\0\0\0\0\0\0\0\x02\0\0\0\0hi"
#define BYTES(s) .data = (const uint8_t *)(s), .len = sizeof(s) - 1
/* Of a little-endian machine; flags, offset, the epoch's length, the epoch. */
#define PAST(flags, more) BYTES(flags OFFSET "\x03" more)

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
	{ .type = IPC_GAP, .value = 1 },
	{ .type = IPC_SUBSCRIBE, .id = 4, CHANNEL, PAST("\x02", "ep1") },
	{ .type = IPC_SUBSCRIBE, .id = 4, CHANNEL, BYTES("\0" NONE "\0") },
	{ .type = IPC_SUBSCRIBE, .channel = "!user:YQ", .channel_len = 8 },
	{ .type = IPC_SUBSCRIBED, .id = 4, CHANNEL, PAST("\x01", "ep1" RECORD) },
	{ .type = IPC_SUBSCRIBED, .id = 4, CHANNEL },
	{ .type = IPC_PUBLISH, .id = 1, .value = IPC_KEY(3) | IPC_PUBLISH_QUIET, CHANNEL, PAYLOAD },
	{ .type = IPC_PUBLISHED, .id = 7, PAST("\0", "ep1") },
	{ .type = IPC_MESSAGE, .kind = MSG_LEAVE, CHANNEL, PAYLOAD },
	{ .type = IPC_HISTORY, .id = 3, .value = 300, CHANNEL, PAST("\x04", "ep1") },
	{ .type = IPC_HISTORIED, .id = 3, PAST("\x04", "ep1" RECORD RECORD) },
	{ .type = IPC_HISTORIED, .id = 3, .status = FAN_EDOWN },
	{ .type = IPC_FORGET, .id = 3, CHANNEL },
	{ .type = IPC_JOIN, CHANNEL, PAYLOAD },
	{ .type = IPC_LEAVE, CHANNEL, PAYLOAD },
	{ .type = IPC_PRESENCE, .id = 3, CHANNEL },
	{ .type = IPC_PRESENT, .id = 3, PAYLOAD },
	{ .type = IPC_PRESENT, .id = 3, .status = FAN_EDOWN },
	{ .type = IPC_EVENT, PAYLOAD },
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
		{ .type = IPC_EVENT + 1, CHANNEL },
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
		{ .type = IPC_PUBLISH, .value = 1U << 16, CHANNEL, PAYLOAD },
		{ .type = IPC_PUBLISH, .value = IPC_KEY(8), CHANNEL, PAYLOAD },
		{ .type = IPC_PUBLISH, .kind = MSG_JOIN, CHANNEL, PAYLOAD },
		{ .type = IPC_PUBLISH, .status = FAN_EDOWN, CHANNEL, PAYLOAD },
		{ .type = IPC_PUBLISH, PAYLOAD },
		{ .type = IPC_PUBLISHED, .id = 1, CHANNEL },
		{ .type = IPC_MESSAGE, .id = 1, CHANNEL, PAYLOAD },
		{ .type = IPC_COUNT, .value = 1, CHANNEL },
		{ .type = IPC_GAP, .value = 1, CHANNEL },
		{ .type = IPC_GAP, .value = 2 },
		{ .type = IPC_SUBSCRIBE, CHANNEL, PAST("\x02", "ep1" RECORD) },
		{ .type = IPC_SUBSCRIBE, CHANNEL, PAST("\x01", "ep1") },
		{ .type = IPC_SUBSCRIBE, .kind = MSG_BINARY, CHANNEL, PAST("\x02", "ep1") },
		{ .type = IPC_SUBSCRIBED, .status = FAN_EDOWN, CHANNEL, PAST("\x01", "ep1") },
		{ .type = IPC_SUBSCRIBED, CHANNEL, PAST("\x02", "ep1") },
		{ .type = IPC_PUBLISHED, .id = 1, PAST("\x01", "ep1") },
		{ .type = IPC_PUBLISHED, .id = 1, PAST("\0", "ep1" RECORD) },
		{ .type = IPC_HISTORY, .id = 3, .value = 300, CHANNEL, PAST("\x02", "ep1") },
		{ .type = IPC_HISTORIED, .id = 3, CHANNEL, PAST("\0", "ep1") },
		{ .type = IPC_HISTORIED, .id = 3, .status = FAN_EDOWN, PAST("\0", "ep1") },
		{ .type = IPC_FORGET, .id = 3, CHANNEL, PAYLOAD },
		{ .type = IPC_JOIN, PAYLOAD },
		{ .type = IPC_JOIN, .id = 1, CHANNEL, PAYLOAD },
		{ .type = IPC_LEAVE, .kind = MSG_LEAVE, CHANNEL, PAYLOAD },
		{ .type = IPC_PRESENT, .id = 3, .status = FAN_EDOWN, PAYLOAD },
		{ .type = IPC_EVENT, CHANNEL, PAYLOAD },
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
	m.status = FAN_EEXPIRED - 1;
	cr_assert(decode(&m) == FAN_EPROTO);
	m.status = FAN_EEXPIRED;
	cr_assert(decode(&m) == 0);

	n = encode(&valid[8], wire);
	wire[5] = MSG_KINDS; /* no such kind */
	cr_assert(ipc_msg_decode(wire, n, WIRE_MAX, &got, &used) == FAN_EPROTO);

	cr_assert(decode(&name) == FAN_EPROTO);
	memset(long_name, 'x', sizeof(long_name));
	name.channel = long_name;
	name.channel_len = sizeof(long_name);
	cr_assert(decode(&name) == FAN_EPROTO);
	name.channel_len--;
	cr_assert(decode(&name) == 0);
}

Test(ipc_msg, a_past_comes_back)
{
	struct guard g = guard_new(WIRE_MAX);
	struct ipc_past past = { .flags = IPC_PAST_RECOVERED }, got;
	uint8_t wire[IPC_PAST_HEAD_MAX + 4];
	size_t len, n, cut;

	for (len = 0; len <= EPOCH_MAX; len++) {
		memset(past.pos.epoch, 'Z', len);
		past.pos.epoch[len] = '\0';
		past.pos.offset = len > 0 ? UINT64_MAX - len : 0;
		n = ipc_past_head(&past, wire);
		cr_assert(n <= IPC_PAST_HEAD_MAX);
		memcpy(wire + n, "more", 4);
		for (cut = 0; cut < n; cut++)
			cr_assert(
			    ipc_past_decode(guard_put(&g, wire, cut), cut, &got) == FAN_EPROTO);
		for (cut = n; cut <= n + 4; cut++) {
			cr_assert(ipc_past_decode(guard_put(&g, wire, cut), cut, &got) == 0);
			cr_assert(got.pos.offset == past.pos.offset && got.flags == past.flags);
			cr_assert_str_eq(got.pos.epoch, past.pos.epoch);
			cr_assert(got.records.n == cut - n);
			cr_assert(memcmp(got.records.p, "more", cut - n) == 0);
		}
	}
	guard_free(&g);
}

Test(ipc_msg, a_past_that_cannot_be)
{
	static const struct ipc_msg bad[] = {
		{ PAST("\x08", "ep1") },     /* no such flag */
		{ PAST("\0", "e 1") },       /* no epoch */
		{ BYTES("\0" OFFSET "\0") }, /* an offset without an epoch */
		{ BYTES("\0" NONE "\x21"
			"123456789012345678901234567890123") }, /* longer than EPOCH_MAX */
	};
	struct ipc_past past = { .pos = { .offset = 7 } }, got;
	uint8_t wire[IPC_PAST_HEAD_MAX];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(ipc_past_decode(bad[i].data, bad[i].len, &got) == FAN_EPROTO, "%zu", i);
	/* Where there is no epoch, the offset says nothing and is not sent. */
	cr_assert(ipc_past_decode(wire, ipc_past_head(&past, wire), &got) == 0);
	cr_assert(got.pos.offset == 0 && got.pos.epoch[0] == '\0');
}
