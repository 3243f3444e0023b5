/*
 * Unit tests of broker/engine/memory_history: what becomes of keys where memory is short.  All else is the
 * engine's contract, tests/contract/test_engine_history.c.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/memory_history.h"
#include "common/buf.h"
#include "common/conf.h"

#define MAX ((size_t)64 << 10)
#define TTL 1000 /* ms */

static const struct conf_rule rule = { .history = { 100000, TTL } };
static struct memory_history *h;
static struct position pos; /* of the last message */
static bool again;          /* it was published before */

static void
setup(void)
{
	cr_assert_eq(memory_history_new(&h, MAX), 0);
}

static void
teardown(void)
{
	memory_history_free(h);
}

TestSuite(memory_history_keys, .init = setup, .fini = teardown, .timeout = 60);

/* Publishes some bytes with a key ("": none). */
static int
put(const char *channel, const char *key, size_t len, uint64_t now)
{
	static const uint8_t data[1024];
	const struct engine_message m = { .channel = channel,
		.channel_len = strlen(channel),
		.data = data,
		.len = len,
		.key = key,
		.key_len = strlen(key) };

	return memory_history_append(h, &m, &rule, now, &pos, &again);
}

/* Fills all the room with the messages of another channel, several times. */
static void
fill(uint64_t now)
{
	unsigned i;

	for (i = 0; i < 1000; i++)
		cr_assert_eq(put("other", "", 1000, now), 0);
	cr_assert_leq(memory_history_bytes(h), MAX);
}

/* The bytes of the messages that are kept. */
static size_t
kept(const char *channel, uint64_t now)
{
	const struct engine_query q = { .limit = 1000, .bytes = MAX };
	struct position at;
	struct buf b;
	size_t n;

	buf_init(&b, 2 * MAX);
	cr_assert_eq(memory_history_read(h, channel, strlen(channel), &rule, &q, now, &at, &b), 0);
	n = buf_len(&b);
	buf_fini(&b);
	return n;
}

/* Where the channel stands. */
static struct position
top(const char *channel, uint64_t now)
{
	const struct engine_query q = { .limit = 0 };
	struct position at;
	struct buf b;

	buf_init(&b, MAX);
	cr_assert_eq(memory_history_read(h, channel, strlen(channel), &rule, &q, now, &at, &b), 0);
	cr_assert_eq(buf_len(&b), 0);
	return at;
}

Test(memory_history_keys, outlive_the_messages_that_are_pressed_out)
{
	struct position first;

	cr_assert(put("a", "key", 10, 0) == 0 && !again);
	first = pos;
	cr_assert(put("a", "", 10, 0) == 0 && pos.offset == 2);
	fill(0);
	cr_assert_eq(kept("a", 0), 0, "the messages have gone");
	cr_assert(put("a", "key", 10, TTL - 1) == 0 && again);
	cr_assert(pos.offset == 1 && position_same_epoch(&pos, &first));
	cr_assert(put("a", "", 10, TTL - 1) == 0 && pos.offset == 3);
}

/* Names that are made up take the place of no channel with keys. */
Test(memory_history_keys, outlive_many_names)
{
	struct position first;
	char name[32];
	unsigned i;

	cr_assert_eq(put("a", "key", 10, 0), 0);
	first = pos;
	fill(0);
	for (i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "made up %u", i);
		(void)top(name, 0);
		cr_assert_leq(memory_history_bytes(h), MAX);
	}
	cr_assert(put("a", "key", 10, 0) == 0 && again);
	cr_assert(pos.offset == 1 && position_same_epoch(&pos, &first));
}

/* A quarter of the room; then one is refused, which leaves all as it was. */
Test(memory_history_keys, are_bounded)
{
	struct position at;
	unsigned n, i, channels;
	char key[64];
	int err = 0;

	for (n = 0; n < 5000 && err == 0; n++) {
		(void)snprintf(key, sizeof(key), "a key that is rather long %u", n);
		err = put("a", key, 10, 0);
	}
	cr_assert_eq(err, FAN_EFULL);
	cr_assert(--n > 50 && n < 500, "%u", n);
	at = top("a", 0);
	cr_assert_eq(at.offset, n, "what was refused has no number");
	cr_assert_eq(put("a", key, 10, 0), FAN_EFULL);
	cr_assert(put("a", "", 10, 0) == 0 && pos.offset == n + 1, "without a key there is room");
	fill(0);
	for (i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "a key that is rather long %u", i);
		cr_assert(put("a", key, 10, TTL - 1) == 0 && again && pos.offset == i + 1);
	}
	/* Refused by channels that did not exist: they cost no more than other names. */
	for (i = 0; i < 5000; i++) {
		(void)snprintf(key, sizeof(key), "made up %u", i);
		cr_assert_eq(put(key, "key", 10, TTL - 1), FAN_EFULL);
		cr_assert_leq(memory_history_bytes(h), MAX);
	}
	/* When they have expired, there is room again, and nothing is left of them. */
	cr_assert(put("a", "new", 10, TTL) == 0 && !again && pos.offset == n + 2);
	for (i = 0; i < 100; i++)
		memory_history_sweep(h, (uint64_t)2 * TTL + (uint64_t)24 * 3600 * 1000);
	channels = (unsigned)memory_history_channels(h);
	cr_assert(channels == 0 && memory_history_bytes(h) == 0);
}

/* A channel cannot go while it has a key, so it counts as one. */
Test(memory_history_keys, of_many_channels_leave_room_for_messages)
{
	char name[32];
	int err = 0;
	unsigned n;

	for (n = 0; n < 5000 && err == 0; n++) {
		(void)snprintf(name, sizeof(name), "made up %u", n);
		err = put(name, "k", 10, 0);
	}
	cr_assert_eq(err, FAN_EFULL);
	fill(0);
	cr_assert(put("made up 0", "k", 10, 0) == 0 && again);
	cr_assert_gt(kept("other", 0), MAX / 2);
}
