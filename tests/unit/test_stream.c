/*
 * Unit tests of broker/hub/stream: each transition by itself.  See test_stream_model.c for all at once.
 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hub/stream.h"
#include "common/buf.h"

#define RECOVERY 10

/* What the stream did, in order: "d5 " delivered, "a1+8:67 " slot 1 recovered up to 8 by 6 and 7, "a1-8 "
 * refused, "r1-8 " refused by the engine, with status -8, "gap ". */
static char said[8192];
static struct stream *s;
static unsigned due;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
say(const char *fmt, ...)
{
	size_t n = strlen(said);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(said + n, sizeof(said) - n, fmt, ap);
	va_end(ap);
}

/* Every message says its own offset. */
static void
check_record(const struct record *r)
{
	cr_assert(
	    r->len >= sizeof(r->offset) && memcmp(r->data, &r->offset, sizeof(r->offset)) == 0);
}

static void
on_deliver(void *arg, const struct stream *from, const struct record *r)
{
	cr_assert(arg == &due && (s == NULL || from == s));
	check_record(r);
	say("d%d ", (int)r->offset);
}

static void
on_answer(void *arg, const struct stream *from, unsigned slot, uint32_t id, bool recovered,
    struct records rs)
{
	struct record r;

	(void)arg;
	cr_assert(id == 100 + slot);
	say("a%u%c%d", slot, recovered ? '+' : '-', (int)stream_position(from)->offset);
	if (rs.n > 0)
		say(":");
	while (records_next(&rs, &r) == 0) {
		check_record(&r);
		say("%d", (int)r.offset);
	}
	cr_assert(rs.n == 0);
	say(" ");
}

static void
on_refuse(void *arg, const struct stream *from, unsigned slot, uint32_t id, int status)
{
	(void)arg;
	(void)from;
	cr_assert(id == 100 + slot);
	say("r%u%d ", slot, status);
}

static void
on_gap(void *arg, const struct stream *from)
{
	(void)arg;
	(void)from;
	say("gap ");
}

static void
on_due(void *arg, struct stream *from)
{
	(void)arg;
	cr_assert(stream_due(from, NULL));
	due++;
}

static const struct stream_ops ops = { on_deliver, on_answer, on_refuse, on_gap, on_due };

static void
setup(void)
{
	said[0] = '\0';
	due = 0;
	s = stream_new("news", 4, RECOVERY, &ops, &due);
	cr_assert(s != NULL);
}

static void
teardown(void)
{
	stream_free(s);
	s = NULL;
}

TestSuite(stream, .init = setup, .fini = teardown);

static void
expect(const char *what)
{
	cr_assert_str_eq(said, what);
	said[0] = '\0';
}

static struct position
at(const char *epoch, uint64_t offset)
{
	struct position p = { .offset = offset };

	(void)snprintf(p.epoch, sizeof(p.epoch), "%s", epoch);
	return p;
}

static void
wait_from(unsigned slot, const char *epoch, uint64_t offset, bool verify)
{
	struct position p = at(epoch, offset);

	cr_assert(stream_wait(s, slot, 100 + slot, &p, verify) == 0);
}

static void
live_sized(const char *epoch, uint64_t offset, size_t len)
{
	struct position p = at(epoch, offset);
	uint8_t *data = calloc(1, len);
	struct record r = { .offset = offset, .data = data, .len = len };

	cr_assert(data != NULL);
	memcpy(data, &offset, sizeof(offset));
	stream_message(s, &p, &r);
	free(data);
}

static void
live(const char *epoch, uint64_t offset)
{
	live_sized(epoch, offset, sizeof(offset));
}

/* A read is due from `after` on, and is begun. */
static void
begin(uint64_t after, bool top_only)
{
	struct stream_read r;

	cr_assert(due > 0 && stream_due(s, &r));
	cr_assert(r.after == after && (r.limit == 0) == top_only, "after %d limit %u", (int)r.after,
	    r.limit);
	due = 0;
	stream_read_begun(s);
	cr_assert(!stream_due(s, NULL));
}

static void
append(struct buf *b, uint64_t offset, size_t len)
{
	uint8_t *data = calloc(1, len);
	struct record r = { .offset = offset, .data = data, .len = len };

	cr_assert(data != NULL);
	memcpy(data, &offset, sizeof(offset));
	cr_assert(records_append(b, &r) == 0);
	free(data);
}

/* The read's answer: messages from first to last, or none. */
static void
done_sized(const char *epoch, uint64_t top, uint64_t first, uint64_t last, size_t len)
{
	struct position p = at(epoch, top);
	struct buf b;
	uint64_t offset;

	buf_init(&b, (size_t)64 << 20);
	for (offset = first; first > 0 && offset <= last; offset++)
		append(&b, offset, len);
	stream_read_done(s, &p, (struct records){ buf_data(&b), buf_len(&b) });
	buf_fini(&b);
}

static void
done(const char *epoch, uint64_t top, uint64_t first, uint64_t last)
{
	done_sized(epoch, top, first, last, sizeof(top));
}

/* Brings the stream to A:5, LIVE. */
static void
go_live(void)
{
	wait_from(0, "", 0, false);
	begin(0, true);
	done("A", 5, 0, 0);
	expect("a0-5 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, a_cold_one_holds_until_it_knows_where_it_stands)
{
	size_t len;

	cr_assert(memcmp(stream_channel(s, &len), "news", 4) == 0 && len == 4);
	cr_assert(!stream_due(s, NULL));
	wait_from(0, "", 0, false);
	live("A", 4); /* the read will have it */
	begin(0, true);
	live("A", 5);
	live("A", 6);
	live("A", 7);
	expect("");
	done("A", 5, 0, 0);
	expect("a0-5 d6 d7 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, a_live_one_passes_on_what_follows_and_drops_copies)
{
	go_live();
	live("A", 6);
	live("A", 6);
	live("A", 3);
	live("A", 7);
	expect("d6 d7 ");
	wait_from(1, "", 0, false);
	wait_from(2, "A", 7, false);
	expect("a1-7 a2+7 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, what_was_missed_goes_to_all_before_what_was_held)
{
	go_live();
	live("A", 8);
	begin(5, false);
	live("A", 9);
	expect("");
	done("A", 8, 6, 8);
	expect("d6 d7 d8 d9 ");
	cr_assert(!stream_due(s, NULL));
	live("A", 10);
	expect("d10 ");
}

Test(stream, one_read_serves_all_who_wait)
{
	go_live();
	wait_from(1, "A", 2, false);
	wait_from(2, "A", 4, false);
	wait_from(3, "A", 5, false); /* answered at once */
	live("A", 6);                /* while nothing is read yet */
	expect("a3+5 d6 ");
	begin(2, false);
	live("A", 7);
	wait_from(4, "A", 3, false); /* comes too late to be read for, and has luck */
	wait_from(0, "A", 1, false); /* has none */
	done("A", 7, 3, 7);
	expect("d7 a1+7:34567 a2+7:567 a4+7:4567 ");
	begin(1, false);
	done("A", 7, 2, 7);
	expect("a0+7:234567 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, the_first_read_serves_those_with_a_position)
{
	wait_from(0, "", 0, false);
	wait_from(1, "A", 3, false);
	wait_from(2, "B", 2, false);
	begin(2, false);
	live("A", 7);
	done("A", 6, 3, 6);
	expect("a0-6 a1+6:456 a2-6 d7 ");
}

Test(stream, who_is_too_far_behind_is_refused)
{
	wait_from(1, "A", 3, false);
	wait_from(2, "A", 20, false);
	begin(3, false);
	done("A", 25, 4, 12);
	/* What only the first one needed is skipped. */
	expect("");
	begin(20, false);
	done("A", 25, 21, 25);
	expect("a1-25 a2+25:2122232425 ");
	wait_from(1, "A", 14, false);
	expect("a1-25 ");
	wait_from(1, "A", 15, false);
	begin(15, false);
	done("A", 25, 16, 25);
	expect("a1+25:16171819202122232425 ");
}

Test(stream, what_is_more_than_one_answer_is_read_on)
{
	go_live();
	wait_from(1, "A", 3, false);
	begin(3, false);
	done("A", 9, 4, 6);
	expect("d6 ");
	wait_from(2, "A", 4, false);
	wait_from(3, "", 0, false);
	live("A", 10);
	expect("a3-6 ");
	begin(6, false);
	done("A", 10, 7, 8);
	begin(8, false);
	done("A", 10, 9, 10);
	expect("d7 d8 d9 d10 a1+10:45678910 a2+10:5678910 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, trimmed_history_is_a_gap)
{
	go_live();
	wait_from(1, "A", 2, false);
	wait_from(2, "A", 5, true);
	stream_stale(s);
	begin(2, false);
	done("A", 9, 8, 9);
	expect("gap d8 d9 a1-9 a2-9 ");
	/* All of it has gone. */
	wait_from(1, "A", 8, false);
	begin(8, false);
	done("A", 11, 0, 0);
	expect("gap a1-11 ");
	live("A", 12);
	expect("d12 ");
	cr_assert(!stream_due(s, NULL));
	/* A hole behind the last message is nobody's gap but his who waits. */
	wait_from(1, "A", 4, false);
	begin(4, false);
	done("A", 12, 7, 12);
	expect("a1-12 ");
}

Test(stream, another_epoch_is_a_gap)
{
	go_live();
	wait_from(1, "A", 3, false);
	wait_from(2, "B", 6, true);
	live("B", 8);
	begin(3, false);
	live("B", 9);
	done("B", 8, 4, 8);
	/* The one of the new epoch is read for again. */
	expect("gap a1-8 d9 ");
	cr_assert_str_eq(stream_position(s)->epoch, "B");
	begin(6, false);
	done("B", 9, 7, 9);
	expect("a2+9:789 ");
}

Test(stream, a_message_of_an_older_epoch_is_dropped)
{
	go_live();
	live("B", 6); /* it came before the read, which knows better */
	begin(5, false);
	done("A", 6, 6, 6);
	expect("d6 ");
	cr_assert(!stream_due(s, NULL));
	/* One that comes during it may be newer. */
	stream_stale(s);
	begin(6, false);
	live("C", 7);
	done("A", 6, 0, 0);
	expect("");
	begin(6, false);
	done("C", 7, 7, 7);
	expect("gap ");
	live("C", 8);
	expect("d8 ");
}

Test(stream, an_epoch_that_changes_in_the_middle_of_a_round)
{
	wait_from(0, "", 0, false);
	wait_from(1, "A", 3, false);
	wait_from(2, "B", 5, false);
	begin(3, false);
	done("A", 9, 4, 6);
	begin(6, false);
	done("B", 9, 7, 9);
	expect("");
	begin(3, false);
	done("B", 9, 4, 9);
	expect("a0-9 a1-9 a2+9:6789 ");
}

Test(stream, fewer_messages_in_the_same_epoch_are_a_gap_too)
{
	go_live();
	wait_from(1, "A", 4, false);
	begin(4, false);
	done("A", 3, 0, 0);
	expect("gap ");
	begin(3, false); /* his position is beyond the top: verified before he is refused */
	done("A", 3, 0, 0);
	expect("a1-3 ");
}

Test(stream, nobody_is_refused_unverified)
{
	go_live();
	wait_from(1, "A", 7, false); /* the engine is ahead of what came here */
	wait_from(2, "X", 5, false);
	wait_from(3, "A", 5, true);
	expect("");
	begin(5, false);
	done("A", 7, 6, 7);
	expect("d6 d7 a1+7 a2-7 a3+7:67 ");
	wait_from(1, "A", 9, false);
	begin(7, false);
	done("A", 7, 0, 0);
	expect("a1-7 ");
}

Test(stream, a_message_lost_without_a_sign_is_found_when_stale)
{
	go_live();
	stream_stale(s);
	begin(5, false);
	live("A", 8); /* 7 was lost, and nobody knows */
	done("A", 6, 6, 6);
	expect("d6 ");
	begin(6, false);
	done("A", 8, 7, 8);
	expect("d7 d8 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, what_is_held_is_bounded_and_read_again)
{
	uint64_t offset;

	go_live();
	stream_stale(s);
	begin(5, false);
	for (offset = 6; offset < 20; offset++)
		live_sized("A", offset, 100000);
	done("A", 5, 0, 0);
	/* About 1 MiB of them. */
	expect("d6 d7 d8 d9 d10 d11 d12 d13 d14 d15 ");
	begin(15, false);
	done("A", 19, 16, 19);
	expect("d16 d17 d18 d19 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, what_is_gathered_is_bounded_and_its_end_kept)
{
	go_live();
	live("A", 6);
	live("A", 7);
	live("A", 8);
	said[0] = '\0';
	wait_from(1, "A", 2, false);
	wait_from(2, "A", 4, false);
	begin(2, false);
	done_sized("A", 8, 3, 4, (size_t)5 << 20);
	begin(4, false);
	done_sized("A", 8, 5, 6, (size_t)5 << 20);
	begin(6, false);
	done_sized("A", 8, 7, 8, 100);
	expect("a1-8 a2+8:5678 ");
}

Test(stream, a_failed_read_is_due_again_when_the_engine_is_back)
{
	go_live();
	wait_from(1, "A", 3, false);
	begin(3, false);
	live("A", 6);
	stream_read_failed(s);
	cr_assert(!stream_due(s, NULL));
	live("A", 7);
	wait_from(2, "A", 2, false);
	cr_assert(!stream_due(s, NULL));
	expect("");
	stream_stale(s);
	begin(2, false);
	done("A", 7, 3, 7);
	expect("d6 d7 a1+7:4567 a2+7:34567 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, a_cold_one_that_the_engine_refuses_refuses_all_who_wait)
{
	wait_from(0, "", 0, false);
	wait_from(1, "A", 3, false);
	begin(3, false);
	live("A", 5);
	wait_from(2, "A", 4, true); /* comes while it reads */
	stream_refuse(s, FAN_EDENIED);
	expect("r0-8 r1-8 r2-8 ");
	/* It does not ask by itself, but for the next one, and is as new. */
	cr_assert(!stream_due(s, NULL));
	live("A", 6);
	stream_stale(s);
	cr_assert(!stream_due(s, NULL));
	wait_from(1, "A", 3, false);
	begin(3, false);
	live("A", 7);
	done("A", 6, 4, 6);
	expect("a1+6:456 d7 ");
	cr_assert(!stream_due(s, NULL));
}

Test(stream, who_has_gone_is_not_answered)
{
	go_live();
	wait_from(1, "A", 3, false);
	wait_from(2, "A", 3, false);
	begin(3, false);
	stream_drop_slot(s, 1);
	stream_drop_slot(s, 7);
	done("A", 5, 4, 5);
	expect("a2+5:45 ");
	wait_from(1, "A", 3, false);
	stream_drop_slot(s, 1);
	cr_assert(!stream_due(s, NULL));
	/* Who asks again has only the new question answered. */
	wait_from(1, "A", 3, false);
	wait_from(1, "A", 4, false);
	begin(4, false);
	done("A", 5, 5, 5);
	expect("a1+5:5 ");
	stream_free(NULL);
}

Test(stream, records_that_cannot_be_are_as_none)
{
	struct position top = at("A", 7);
	uint8_t junk[] = "junk";

	go_live();
	wait_from(1, "A", 3, false);
	begin(3, false);
	stream_read_done(s, &top, (struct records){ junk, sizeof(junk) });
	expect("gap a1-7 ");
	wait_from(1, "A", 5, false);
	begin(5, false);
	done("A", 7, 6, 9); /* beyond the top */
	expect("a1-7 ");
	wait_from(1, "A", 5, false);
	begin(5, false);
	done("A", 7, 4, 7); /* from before what was asked for */
	expect("a1-7 ");
}
