/*
 * Unit tests of past: live offsets, what is asked for next, and what an answer means to whom.
 */
#include "worker/core/past.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/ipc_msg.h"
#include "common/log.h"

static struct past *p;
static struct past_waiter *w[16];
static struct records missed;
static struct buf records;

static void
setup(void)
{
	log_init("test", LOG_LEVEL_ERROR);
	p = past_new();
	cr_assert_not_null(p);
	memset(w, 0, sizeof(w));
	buf_init(&records, 1 << 20);
}

static void
teardown(void)
{
	size_t i;

	for (i = 0; i < sizeof(w) / sizeof(w[0]); i++) {
		if (w[i] != NULL)
			past_leave(w[i]);
	}
	past_free(p);
	buf_fini(&records);
}

TestSuite(past, .timeout = 60, .init = setup, .fini = teardown);

static struct position
at(const char *text)
{
	struct position pos = { 0 };

	if (*text != '\0')
		cr_assert_eq(position_parse(&pos, text, strlen(text)), 0);
	return pos;
}

static void
stands_at(const char *text)
{
	p->pos = at(text);
}

static void
wait_from(int i, const char *since)
{
	const struct position pos = at(since);

	w[i] = past_wait(p, NULL, &pos);
	cr_assert_not_null(w[i]);
}

/* The next question is from here, and is verified or not. */
static void
asks(const char *since, bool verify)
{
	char text[POSITION_TEXT_MAX] = "";

	past_ask(p);
	if (p->asked.epoch[0] != '\0')
		(void)position_print(&p->asked, text);
	cr_assert_str_eq(text, since);
	cr_assert_eq(p->verify, verify, "verify %d", p->verify);
	cr_assert(p->asking);
}

/* An answer with the records from the question up to there. */
static enum past_answer
whole(const char *pos, bool attached)
{
	struct ipc_past a = { .pos = at(pos), .flags = IPC_PAST_RECOVERED };
	uint64_t offset;

	buf_clear(&records);
	for (offset = p->asked.offset + 1; offset <= a.pos.offset; offset++) {
		const struct record r = { offset, MSG_TEXT, (const uint8_t *)"x", 1 };

		cr_assert_eq(records_append(&records, &r), 0);
	}
	a.records = (struct records){ buf_data(&records), buf_len(&records) };
	missed.n = 0;
	return past_answer(p, &a, attached, &missed);
}

static enum past_answer
none(const char *pos, bool attached)
{
	const struct ipc_past a = { .pos = at(pos) };

	missed.n = 0;
	return past_answer(p, &a, attached, &missed);
}

static void
missed_from(uint64_t first)
{
	struct record r;

	cr_assert_eq(records_next(&missed, &r), 0);
	cr_assert_eq(r.offset, first);
}

#define LOT(i, lot) cr_assert_eq(past_lot(p, w[i]), lot, "waiter %d", i)

/* As recovery does with those whose lot is known. */
static void
gone(int i)
{
	past_leave(w[i]);
	w[i] = NULL;
}

/* --- live messages ------------------------------------------------------------------------ */

Test(past, live_messages_follow_each_other)
{
	cr_assert_eq(past_message(p, 1), PAST_OLD, "nothing is known yet");
	stands_at("E:5");
	cr_assert_eq(past_message(p, 5), PAST_OLD);
	cr_assert_eq(past_message(p, 1), PAST_OLD);
	cr_assert_eq(past_message(p, 6), PAST_NEXT);
	cr_assert_eq(past_message(p, 6), PAST_OLD);
	cr_assert_eq(past_message(p, 7), PAST_NEXT);
	cr_assert_eq(p->pos.offset, 7);
	cr_assert_not(past_wants(p));
	cr_assert_eq(past_message(p, 9), PAST_GAP);
	cr_assert(past_wants(p));
	/* Until the answer they are in it. */
	cr_assert_eq(past_message(p, 8), PAST_OLD);
	cr_assert_eq(past_message(p, 10), PAST_OLD);
	asks("E:7", false);
	cr_assert_eq(whole("E:11", true), PAST_MISSED);
	missed_from(8);
	cr_assert_eq(past_message(p, 11), PAST_OLD);
	cr_assert_eq(past_message(p, 12), PAST_NEXT);
}

Test(past, a_gap_before_anything_is_known)
{
	past_gap(p);
	cr_assert_not(past_wants(p));
	stands_at("E:0");
	past_gap(p);
	cr_assert(past_wants(p));
}

Test(past, what_comes_from_the_next_hub)
{
	stands_at("E:5");
	past_ask(p);
	past_lost(p);
	cr_assert_not(p->asking);
	cr_assert(past_wants(p));
	/* It may be of another epoch. */
	cr_assert_eq(past_message(p, 6), PAST_OLD);
}

/* --- what is asked for -------------------------------------------------------------------- */

Test(past, the_first_question_has_no_position)
{
	asks("", false);
	cr_assert_eq(none("E:5", false), PAST_SETTLED);
	cr_assert_eq(p->pos.offset, 5);
	cr_assert_not(p->asking || past_wants(p));
}

Test(past, the_first_question_is_from_the_lowest_position)
{
	wait_from(0, "E:7");
	wait_from(1, "E:3");
	wait_from(2, "E:9");
	/* Nothing is known: the engine is to say it. */
	asks("E:3", true);
	cr_assert_eq(whole("E:8", false), PAST_SETTLED);
	LOT(0, PAST_RECOVERED);
	LOT(1, PAST_RECOVERED);
	LOT(2, PAST_REFUSED);
}

Test(past, the_own_position_is_a_part_of_it)
{
	stands_at("E:5");
	wait_from(0, "E:3");
	asks("E:3", false);
	past_gap(p);
	asks("E:3", false);
	wait_from(1, "E:5");
	gone(0);
	asks("E:5", false);
	past_lost(p);
	cr_assert_not(p->asking);
	cr_assert(p->gap);
	asks("E:5", false);
}

/* --- answers, for those who are attached --------------------------------------------------- */

Test(past, what_an_answer_means_to_those_who_are_attached)
{
	stands_at("E:5");
	asks("E:5", false);
	cr_assert_eq(whole("E:5", true), PAST_SETTLED);
	asks("E:5", false);
	cr_assert_eq(none("E:5", true), PAST_SETTLED, "nothing is missing");
	asks("E:5", false);
	cr_assert_eq(none("E:7", true), PAST_BROKEN);
	cr_assert_eq(p->pos.offset, 7);
	asks("E:7", false);
	cr_assert_eq(none("F:7", true), PAST_BROKEN, "another epoch");
	asks("F:7", false);
	cr_assert_eq(whole("F:9", true), PAST_MISSED);
	missed_from(8);
	asks("F:9", false);
	cr_assert_eq(none("F:4", true), PAST_BROKEN, "it went back");
	cr_assert_eq(p->pos.offset, 4);
	asks("F:4", false);
	cr_assert_eq(none("F:9", false), PAST_SETTLED, "nobody is there");
	asks("F:9", false);
	cr_assert_eq(none("", true), PAST_BROKEN, "there is no history any more");
	cr_assert_not(past_wants(p));
}

Test(past, an_answer_that_reaches_back_further)
{
	stands_at("E:5");
	wait_from(0, "E:2");
	past_gap(p);
	asks("E:2", false);
	cr_assert_eq(whole("E:8", true), PAST_MISSED);
	missed_from(6);
	LOT(0, PAST_RECOVERED);
}

/* One who came with an old position must not cost the others theirs. */
Test(past, those_who_are_attached_are_asked_for_again_alone)
{
	stands_at("E:5");
	past_gap(p);
	wait_from(0, "E:2");
	wait_from(1, "E:7");
	asks("E:2", true);
	cr_assert_eq(none("E:8", true), PAST_AGAIN);
	cr_assert_eq(p->pos.offset, 5);
	asks("E:5", true);
	cr_assert_eq(whole("E:9", true), PAST_MISSED);
	missed_from(6);
	LOT(0, PAST_WAITS);
	LOT(1, PAST_RECOVERED);
	gone(1);
	asks("E:2", false);
	cr_assert_eq(none("E:9", true), PAST_SETTLED);
	LOT(0, PAST_REFUSED);
}

Test(past, and_when_theirs_cannot_be_had_either)
{
	stands_at("E:5");
	wait_from(0, "E:2");
	asks("E:2", false);
	cr_assert_eq(none("E:8", true), PAST_AGAIN, "it was not known that they miss anything");
	cr_assert(p->gap);
	asks("E:5", false);
	cr_assert_eq(none("E:8", true), PAST_BROKEN);
	LOT(0, PAST_REFUSED);
}

Test(past, records_that_are_not_those_that_were_asked_for)
{
	static const uint64_t offsets[][3] = { { 6, 7, 8 }, { 7, 8, 9 }, { 6, 8, 9 }, { 6, 7, 7 } };
	size_t i, k;

	for (i = 0; i < 4; i++) {
		struct ipc_past a = { .pos = at("E:9"), .flags = IPC_PAST_RECOVERED };

		stands_at("E:5");
		past_gap(p);
		asks("E:5", false);
		buf_clear(&records);
		for (k = 0; k < 3; k++) {
			const struct record r = { offsets[i][k], MSG_TEXT, NULL, 0 };

			cr_assert_eq(records_append(&records, &r), 0);
		}
		a.records = (struct records){ buf_data(&records), buf_len(&records) };
		cr_assert_eq(past_answer(p, &a, true, &missed), PAST_BROKEN, "%zu", i);
	}
}

/* --- answers, for those who wait ----------------------------------------------------------- */

Test(past, nobody_is_refused_without_the_engines_word)
{
	stands_at("E:5");
	wait_from(0, "F:2");
	wait_from(1, "E:6");
	/* From the own position, which costs nothing. */
	asks("E:5", true);
	wait_from(2, "F:3");
	cr_assert_eq(whole("E:5", true), PAST_SETTLED);
	LOT(0, PAST_REFUSED);
	LOT(1, PAST_REFUSED);
	LOT(2, PAST_WAITS);
	gone(0);
	gone(1);
	asks("E:5", true);
	cr_assert_eq(whole("E:5", true), PAST_SETTLED);
	LOT(2, PAST_REFUSED);
}

Test(past, he_was_ahead_of_this_worker)
{
	stands_at("E:5");
	wait_from(0, "F:7");
	wait_from(1, "E:6");
	asks("E:5", true);
	cr_assert_eq(none("F:9", true), PAST_BROKEN);
	LOT(0, PAST_WAITS);
	LOT(1, PAST_REFUSED);
	gone(1);
	asks("F:7", false);
	cr_assert_eq(whole("F:9", true), PAST_SETTLED);
	LOT(0, PAST_RECOVERED);
	gone(0);
	wait_from(0, "F:11");
	asks("F:9", true);
	cr_assert_eq(whole("F:12", true), PAST_MISSED);
	LOT(0, PAST_RECOVERED);
}

Test(past, who_has_everything_needs_no_records)
{
	stands_at("E:5");
	wait_from(0, "E:5");
	wait_from(1, "E:3");
	asks("E:3", false);
	cr_assert_eq(none("E:5", true), PAST_SETTLED);
	LOT(0, PAST_RECOVERED);
	LOT(1, PAST_REFUSED);
}

Test(past, two_epochs_wait_for_the_first_answer)
{
	wait_from(0, "E:5");
	wait_from(1, "F:5");
	asks("E:5", true);
	cr_assert_eq(none("F:8", false), PAST_SETTLED);
	LOT(0, PAST_REFUSED);
	LOT(1, PAST_WAITS);
	gone(0);
	asks("F:5", false);
	cr_assert_eq(whole("F:8", false), PAST_SETTLED);
	LOT(1, PAST_RECOVERED);
}

/* Who came while the question was under way is served where the answer reaches back to him. */
Test(past, who_comes_meanwhile)
{
	stands_at("E:9");
	wait_from(0, "E:5");
	asks("E:5", false);
	wait_from(1, "E:7");
	wait_from(2, "E:3");
	cr_assert_eq(whole("E:9", true), PAST_SETTLED);
	LOT(0, PAST_RECOVERED);
	LOT(1, PAST_RECOVERED);
	LOT(2, PAST_WAITS);
	gone(0);
	gone(1);
	asks("E:3", false);
}

/*
 * Of a thousand positions with the history trimmed amid them, all lots are known after a few
 * questions.
 */
Test(past, a_crowd_of_positions)
{
	static struct past_waiter *crowd[1000];
	const uint64_t oldest = 700; /* the first message that is still there */
	unsigned questions = 0, recovered = 0, refused = 0;
	char text[POSITION_TEXT_MAX];
	size_t i;

	stands_at("E:1000");
	for (i = 0; i < 1000; i++) {
		const struct position since = { (i * 7) % 1000, "E" };

		crowd[i] = past_wait(p, NULL, &since);
		cr_assert_not_null(crowd[i]);
	}
	while (past_wants(p)) {
		past_ask(p);
		(void)snprintf(text, sizeof(text), "E:1000");
		cr_assert_eq(p->asked.offset + 1 >= oldest ? whole(text, true) : none(text, true),
		    PAST_SETTLED);
		cr_assert_lt(questions++, 30);
		for (i = 0; i < 1000; i++) {
			enum past_lot lot = crowd[i] == NULL ? PAST_WAITS : past_lot(p, crowd[i]);

			if (lot == PAST_WAITS)
				continue;
			cr_assert_eq(lot == PAST_RECOVERED, crowd[i]->since.offset + 1 >= oldest);
			recovered += lot == PAST_RECOVERED;
			refused += lot == PAST_REFUSED;
			past_leave(crowd[i]);
			crowd[i] = NULL;
		}
	}
	cr_assert_eq(recovered, 301);
	cr_assert_eq(refused, 699);
	/* The next one is asked for from where he stands. */
	wait_from(0, "E:800");
	wait_from(1, "E:900");
	asks("E:800", false);
}

Test(past, positions_at_the_end_of_all_numbers)
{
	wait_from(1, "E:18446744073709551615");
	asks("E:18446744073709551615", true);
	/* Who came meanwhile has no part in what was wrong with that. */
	wait_from(0, "E:3");
	cr_assert_eq(none("E:5", false), PAST_SETTLED);
	LOT(0, PAST_WAITS);
	LOT(1, PAST_REFUSED);
	gone(0);
	gone(1);
	teardown();
	setup();
	wait_from(0, "E:18446744073709551615");
	asks("E:18446744073709551615", true);
	cr_assert_eq(none("E:5", false), PAST_SETTLED);
	LOT(0, PAST_REFUSED);
	gone(0);
	wait_from(0, "E:18446744073709551615");
	asks("E:5", true);
	cr_assert_eq(whole("E:5", false), PAST_SETTLED);
	LOT(0, PAST_REFUSED);
}
