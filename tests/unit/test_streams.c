/*
 * Unit tests of broker/hub/streams: which streams read, and when.  What they do is test_stream.c's.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hub/streams.h"

#define CHECK 40000 /* ms */
#define TICK 250

static struct streams *t;
static struct {
	unsigned reads, under_way, answers, refused, delivered, gaps;
	int fail; /* what the next reads end with at once */
	uint32_t token[1000];
	char channel[1000][16];
} world;

static void
on_deliver(void *arg, const char *channel, size_t len, const struct record *r)
{
	cr_assert(arg == &world && len > 0 && channel[0] == 'c' && r->offset > 0);
	world.delivered++;
}

static void
on_answer(void *arg, const struct stream *s, unsigned slot, uint32_t id, bool recovered,
    struct records rs)
{
	(void)arg;
	(void)s;
	(void)recovered;
	(void)rs;
	cr_assert(id == slot + 1);
	world.answers++;
}

static void
on_refuse(void *arg, const struct stream *s, unsigned slot, uint32_t id, int status)
{
	cr_assert(arg == &world && stream_position(s)->epoch[0] == '\0');
	cr_assert(id == slot + 1 && status == FAN_EDENIED);
	world.refused++;
}

static void
on_gap(void *arg, const char *channel, size_t len)
{
	(void)arg;
	cr_assert(len > 0 && channel[0] == 'c');
	world.gaps++;
}

static int
on_read(void *arg, const char *channel, size_t len, const struct stream_read *r, uint32_t token)
{
	(void)arg;
	(void)r;
	if (world.fail != 0)
		return world.fail;
	cr_assert(world.reads < 1000 && len < 16);
	memcpy(world.channel[world.reads], channel, len);
	world.token[world.reads++] = token;
	world.under_way++;
	return 0;
}

static const struct streams_handler handler = { on_deliver, on_answer, on_refuse, on_gap, on_read };

static void
setup(void)
{
	memset(&world, 0, sizeof(world));
	t = streams_new(10, CHECK, &handler, &world);
	cr_assert(t != NULL);
}

static void
teardown(void)
{
	streams_free(t);
}

TestSuite(streams, .init = setup, .fini = teardown);

static const char *
name(unsigned i)
{
	static char out[16];

	(void)snprintf(out, sizeof(out), "c%u", i);
	return out;
}

/* The channels from 0 to n - 1 are wanted by slot 0, and live. */
static void
want(unsigned n)
{
	const struct position none = { .offset = 0 };
	unsigned i;

	for (i = 0; i < n; i++) {
		cr_assert(streams_add(t, name(i), strlen(name(i)), true, 0) == 0);
		cr_assert(streams_add(t, name(i), strlen(name(i)), true, 0) == FAN_EEXIST);
		cr_assert(streams_wait(t, name(i), strlen(name(i)), 0, 1, &none, false) == 0);
		streams_live(t, name(i), strlen(name(i)));
	}
}

/* The answer to read number i: the channel stands at A:5. */
static void
done(unsigned i)
{
	const struct position top = { 5, "A" };

	world.under_way--;
	streams_read_done(t, world.token[i], 0, &top, (struct records){ NULL, 0 });
}

Test(streams, some_read_at_once_and_the_others_in_their_turn)
{
	char expected[16];
	unsigned i;

	want(200);
	cr_assert(world.reads == 0 && streams_count(t) == 200);
	streams_begin(t);
	cr_assert(world.reads == STREAMS_READS);
	streams_begin(t);
	cr_assert(world.reads == STREAMS_READS);
	for (i = 0; i < 200; i++) {
		(void)snprintf(expected, sizeof(expected), "c%u", i);
		cr_assert_str_eq(world.channel[i], expected);
		done(i);
		streams_begin(t);
		cr_assert(world.under_way <= STREAMS_READS);
	}
	cr_assert(world.reads == 200 && world.answers == 200 && world.under_way == 0);
	/* All of them again, after an outage. */
	streams_stale(t);
	streams_stale(t);
	streams_begin(t);
	for (i = 200; i < 400; i++) {
		done(i);
		streams_begin(t);
	}
	cr_assert(world.reads == 400);
}

/* So that what has gathered records is done with, before others gather some. */
Test(streams, a_round_that_was_begun_goes_on_first)
{
	const struct position since = { 1, "A" }, top = { 5, "A" };
	uint8_t bytes[RECORD_HEAD + 1] = { 0 };
	const uint64_t offset = 2;
	const uint32_t len = 1;

	want(70);
	cr_assert(streams_wait(t, "c0", 2, 0, 1, &since, false) == 0);
	streams_begin(t);
	memcpy(bytes, &offset, sizeof(offset));
	memcpy(bytes + sizeof(offset), &len, sizeof(len));
	streams_read_done(t, world.token[0], 0, &top, (struct records){ bytes, sizeof(bytes) });
	cr_assert(world.answers == 0);
	streams_begin(t);
	cr_assert_str_eq(world.channel[STREAMS_READS], "c0");
}

Test(streams, nothing_is_read_before_the_channel_is_live)
{
	const struct position none = { .offset = 0 };

	cr_assert(streams_wait(t, "c0", 2, 0, 1, &none, false) == FAN_ENOENT);
	cr_assert(streams_add(t, "c0", 2, false, 0) == 0);
	cr_assert(streams_wait(t, "c0", 2, 0, 1, &none, false) == 0);
	streams_stale(t);
	streams_begin(t);
	cr_assert(world.reads == 0);
	streams_live(t, "c0", 2);
	streams_live(t, "c1", 2);
	streams_begin(t);
	cr_assert(world.reads == 1);
}

Test(streams, one_that_goes_while_it_reads_is_forgotten)
{
	want(2);
	streams_begin(t);
	streams_remove(t, "c0", 2);
	streams_remove(t, "c0", 2);
	cr_assert(!streams_has(t, "c0", 2) && streams_has(t, "c1", 2));
	want(1); /* another of the same name */
	done(0); /* which this is not for */
	cr_assert(world.answers == 0);
	streams_drop_slot(t, 0);
	done(1);
	cr_assert(world.answers == 0);
	/* And one that waits for its turn. */
	want(0);
	streams_remove(t, "c0", 2);
	streams_begin(t);
	cr_assert(world.reads == 2);
}

Test(streams, a_failed_read_is_tried_again)
{
	want(3);
	world.fail = FAN_EFULL;
	streams_begin(t);
	cr_assert(world.reads == 0 && streams_ticking(t));
	world.fail = 0;
	streams_begin(t);
	cr_assert(world.reads == 2);
	streams_tick(t, TICK);
	streams_begin(t);
	cr_assert(world.reads == 3);
	streams_read_done(t, world.token[0], FAN_EDOWN, NULL, (struct records){ NULL, 0 });
	streams_begin(t);
	cr_assert(world.reads == 3);
	streams_stale(t);
	streams_begin(t);
	cr_assert(world.reads == 4);
	streams_tick(t, (uint64_t)2 * TICK);
	streams_begin(t);
	cr_assert(world.reads == 4);
}

Test(streams, a_refused_read_is_told_to_those_who_wait)
{
	const struct position none = { .offset = 0 }, since = { 5, "A" };
	const struct records nothing = { NULL, 0 };
	unsigned i;

	want(1);
	cr_assert(streams_wait(t, "c0", 2, 1, 2, &none, false) == 0);
	streams_begin(t);
	streams_read_done(t, world.token[0], FAN_EDENIED, NULL, nothing);
	cr_assert(world.refused == 2 && world.answers == 0);
	/* The channel stays, and asks for nobody. */
	cr_assert(streams_has(t, "c0", 2));
	streams_stale(t);
	for (i = 0; i < 10; i++) {
		streams_tick(t, (uint64_t)i * TICK);
		streams_begin(t);
	}
	cr_assert(world.reads == 1 && world.refused == 2);
	/* It does so for the next who comes, whether the engine says so at once or later. */
	world.fail = FAN_EDENIED;
	cr_assert(streams_wait(t, "c0", 2, 0, 1, &none, false) == 0);
	streams_begin(t);
	cr_assert(world.refused == 3 && world.reads == 1);
	world.fail = 0;
	cr_assert(streams_wait(t, "c0", 2, 0, 1, &none, false) == 0);
	streams_begin(t);
	done(1);
	cr_assert(world.answers == 1 && world.refused == 3);
	/* One that was read before waits until it can be again. */
	cr_assert(streams_wait(t, "c0", 2, 1, 2, &since, true) == 0);
	streams_begin(t);
	streams_read_done(t, world.token[2], FAN_EDENIED, NULL, nothing);
	cr_assert(world.refused == 3 && world.answers == 1 && streams_ticking(t));
	streams_tick(t, (uint64_t)20 * TICK);
	streams_begin(t);
	done(3);
	cr_assert(world.answers == 2 && world.refused == 3);
}

Test(streams, a_quiet_one_is_checked_now_and_then)
{
	const struct position pos = { 6, "A" };
	const struct record r = { .offset = 6, .data = (const uint8_t *)"x", .len = 1 };
	const struct position none = { .offset = 0 };
	unsigned i, most = 0, begun;
	uint64_t now;

	want(100);
	/* One that is never checked. */
	cr_assert(streams_add(t, "c-unchecked", 11, false, 0) == 0);
	cr_assert(streams_wait(t, "c-unchecked", 11, 0, 1, &none, false) == 0);
	streams_live(t, "c-unchecked", 11);
	streams_begin(t);
	for (i = 0; i < 101; i++) {
		done(i);
		streams_begin(t);
	}
	cr_assert(streams_message(t, "c0", 2, &pos, &r) && world.delivered == 1);
	cr_assert(!streams_message(t, "unknown", 7, &pos, &r));
	for (now = TICK; now < (uint64_t)3 * CHECK; now += TICK) {
		begun = world.reads;
		streams_tick(t, now);
		streams_begin(t);
		if (world.reads - begun > most)
			most = world.reads - begun;
		for (i = begun; i < world.reads; i++)
			done(i);
		/* Its message has come within the interval, each time. */
		cr_assert(strcmp(world.channel[world.reads - 1], "c0") != 0);
		(void)streams_message(t, "c0", 2, &pos, &r);
	}
	/* Each but that one, once an interval at most, and never all at once. */
	cr_assert(world.reads >= 101 + 99 && world.reads <= 101 + 3 * 99, "%u", world.reads);
	cr_assert(most <= 3, "%u", most);
	cr_assert(world.gaps == 0 && streams_ticking(t));
}

Test(streams, without_an_interval_nothing_is_checked)
{
	struct streams *never = streams_new(10, 0, &handler, &world);

	cr_assert(streams_add(never, "c0", 2, true, 0) == 0);
	cr_assert(!streams_ticking(never));
	streams_tick(never, (uint64_t)10 * CHECK);
	streams_begin(never);
	cr_assert(world.reads == 0);
	streams_free(never);
	streams_free(NULL);
}
