/*
 * Unit tests of recovery with fanout, session and channel: what subscribers of a channel with
 * history get, while the hub is played by the test.
 */
#include "worker/core/recovery.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/unit/session_fixture.h"
#include "worker/core/fanout.h"
#include "worker/core/past.h"

TestSuite(recovery, .timeout = 60, .init = session_setup, .fini = session_teardown);

static struct peer p, q, r;

/* Hands a message to the worker inside the present pass, as if it lay in the link's buffer. */
static void
arrive(uint64_t offset, const char *text)
{
	struct ipc_msg m = { .type = IPC_MESSAGE,
		.value = offset,
		.channel = "h",
		.channel_len = 1,
		.data = (const uint8_t *)text,
		.len = strlen(text) };

	fanout_uplink_handler.message(&w.core, &m);
}

/* The hub is there, and p is live in h at E:5. */
static void
begin(void)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_at(&p, "h", "E:5");
}

static void
end(void)
{
	session_free(p.s);
	session_free(q.s);
	session_free(r.s);
}

/* --- coming ------------------------------------------------------------------------------- */

Test(recovery, the_first_without_a_position)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "h"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "", false);
	/* What was sent before the answer is before it. */
	hub_message_at(&w, "h", 5, "5");
	hub_subscribed_at(&w, "h", "E:5", false, "");
	hub_message_at(&w, "h", 6, "6");
	EXPECT_LOG(&p, "+h@E:5,a6;,");
	hub_quiet(&w);
	end();
}

Test(recovery, the_first_with_a_position)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&p, "h", "E:5"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:5", true);
	hub_subscribed_at(&w, "h", "E:7", true, "6 7");
	hub_message_at(&w, "h", 8, "8");
	EXPECT_LOG(&p, "+h@E:7=,a6;a7;,a8;,");
	hub_quiet(&w);
	end();
}

Test(recovery, what_was_missed_cannot_be_had)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&p, "h", "E:5"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:5", true);
	hub_subscribed_at(&w, "h", "F:7", false, "");
	hub_message_at(&w, "h", 8, "8");
	EXPECT_LOG(&p, "+h@F:7?,a8;,");
	end();
}

Test(recovery, a_plain_channel_has_no_past)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&p, "c", "E:5"), FAN_EAGAIN);
	cr_assert_eq(hub_expect_on(&w, IPC_SUBSCRIBE, "c").len, 0);
	hub_subscribed(&w, "c", 0);
	/* Should the hub think otherwise, its position has no effect. */
	hub_message_at(&w, "c", 8, "8");
	EXPECT_LOG(&p, "+c,a8;,");
	end();
}

/* He gets everything once, whatever waits to be sent when the answer comes. */
Test(recovery, into_a_channel_that_is_live)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_b);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&r, "h", "E:4"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:3", false);
	hub_message_at(&w, "h", 6, "6");
	/* One answer serves both: it reaches back far enough. */
	hub_subscribed_at(&w, "h", "E:6", true, "4 5 6");
	hub_message_at(&w, "h", 7, "7");
	EXPECT_LOG(&p, "a6;a7;,");
	EXPECT_LOG(&q, "+h@E:6=,a4;a5;a6;,a7;,");
	EXPECT_LOG(&r, "+h@E:6=,b5;b6;,b7;,");
	hub_quiet(&w);
	end();
}

Test(recovery, he_has_everything)
{
	begin();
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:5"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	hub_subscribed_at(&w, "h", "E:5", true, "");
	EXPECT_LOG(&q, "+h@E:5=,");
	end();
}

Test(recovery, without_a_position_into_a_live_channel)
{
	struct sub_live live;

	begin();
	arrive(6, "6");
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe(&q, "h"), 0);
	session_live(session_find(q.s, "h", 1), &live);
	cr_assert(live.pos.offset == 6 && strcmp(live.pos.epoch, "E") == 0);
	arrive(7, "7");
	EXPECT_LOG(&p, "a6;a7;,");
	EXPECT_LOG(&q, "a7;,");
	end();
}

Test(recovery, one_encoding_for_each_variant)
{
	static struct peer many[40];
	size_t i;

	begin();
	encoded = 0;
	for (i = 0; i < 40; i++) {
		char since[16];

		(void)snprintf(since, sizeof(since), "E:%zu", i % 4 + 1);
		peer_start(&many[i], i % 2 == 0 ? &dialect_a : &dialect_b);
		cr_assert_eq(peer_subscribe_since(&many[i], "h", since), FAN_EAGAIN);
	}
	(void)hub_expect_subscribe(&w, "h", "E:1", false);
	hub_subscribed_at(&w, "h", "E:5", true, "2 3 4 5");
	for (i = 0; i < 40; i++) {
		static const char *const expect[] = { "+h@E:5=,a2;a3;a4;a5;,", "+h@E:5=,b3;b4;b5;,",
			"+h@E:5=,a4;a5;,", "+h@E:5=,b5;," };

		EXPECT_LOG(&many[i], expect[i % 4]);
		cr_assert_eq(many[i].sends, 1);
		session_free(many[i].s);
	}
	cr_assert_eq(encoded, 4 + 3);
	hub_quiet(&w);
	end();
}

/* What is very long leaves by two writes; of many small messages there may be any number. */
Test(recovery, large_recoveries_are_split)
{
	static uint8_t big[17 << 20];
	struct ipc_msg m = { .type = IPC_SUBSCRIBED, .channel = "h", .channel_len = 1 };
	struct ipc_past past = { .pos = { 3000, "E" }, .flags = IPC_PAST_RECOVERED };
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct buf b;
	size_t n = 0;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&p, "h", "E:0"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:2500"), FAN_EAGAIN);
	m.id = hub_expect_subscribe(&w, "h", "E:0", true).id;
	buf_init(&b, IPC_MSG_MAX);
	cr_assert_eq(buf_append(&b, head, ipc_past_head(&past, head)), 0);
	for (uint64_t i = 1; i <= 3000; i++) {
		const struct record rec = { i, MSG_TEXT, big, i % 1000 == 0 ? sizeof(big) : 10 };

		cr_assert_eq(records_append(&b, &rec), 0);
		n += rec.len + 2;
	}
	m.data = buf_data(&b);
	m.len = buf_len(&b);
	hub_send(&w, &m);
	buf_fini(&b);
	WORLD_UNTIL(&w, p.bytes == n);
	cr_assert_eq(p.sends, 2);
	cr_assert_eq(q.bytes, 499 * 12 + sizeof(big) + 2);
	cr_assert_eq(q.sends, 1);
	hub_message_at(&w, "h", 3001, "next");
	EXPECT_LOG(&p, "+h@E:3000=,anext;,");
	EXPECT_LOG(&q, "+h@E:3000=,anext;,");
	end();
}

/* --- a session that opens ------------------------------------------------------------------ */

Test(recovery, a_held_sub)
{
	struct position since = { 3, "E" };
	struct sub *sub, *other;

	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	cr_assert_eq(session_subscribe(p.s, "h", 1, SUB_HELD, &since, &sub), FAN_EAGAIN, "held");
	cr_assert_eq(session_subscribe(p.s, "c", 1, 0, NULL, &other), FAN_EAGAIN);
	/* As long as it opens a position has no effect. */
	(void)hub_expect_subscribe(&w, "h", "", false);
	hub_subscribed_at(&w, "h", "E:5", false, "");
	hub_subscribed(&w, "c", 0);
	WORLD_UNTIL(&w, p.opened == 2);
	cr_assert(session_all_live(p.s));
	peer_begin(&p);
	hub_message(&w, "c", MSG_TEXT, "1");
	hub_message_at(&w, "h", 6, "6");
	EXPECT_LOG(&p, "a1;,");
	cr_assert_eq(session_recover(p.s, sub, &since), 0);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	(void)hub_expect_subscribe(&w, "h", "E:3", false);
	hub_subscribed_at(&w, "h", "E:6", true, "4 5 6");
	EXPECT_LOG(&p, "a1;,+h@E:6=,a4;a5;a6;,");
	end();
}

Test(recovery, a_held_sub_that_turns_out_to_have_no_position)
{
	struct position since = { 3, "E" };
	struct sub *sub, *plain;

	begin();
	peer_open(&q, &dialect_a);
	cr_assert_eq(session_subscribe(q.s, "h", 1, SUB_HELD, NULL, &sub), 0);
	cr_assert_eq(session_subscribe(q.s, "c", 1, SUB_HELD, NULL, &plain), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	hub_subscribed(&w, "c", 0);
	WORLD_UNTIL(&w, session_all_live(q.s));
	peer_begin(&q);
	cr_assert_eq(session_recover(q.s, sub, NULL), 0);
	cr_assert_str_eq(q.log, "+h@E:5,");
	cr_assert_eq(session_recover(q.s, plain, &since), 0);
	cr_assert_str_eq(q.log, "+h@E:5,+c,");
	hub_message_at(&w, "h", 6, "6");
	hub_message(&w, "c", MSG_TEXT, "1");
	world_settle(&w);
	cr_assert_str_eq(q.log, "+h@E:5,+c,a6;,a1;,");
	end();
}

/* --- gaps --------------------------------------------------------------------------------- */

Test(recovery, a_gap_is_repaired)
{
	begin();
	hub_message_at(&w, "h", 6, "6");
	hub_message_at(&w, "h", 8, "8");
	hub_message_at(&w, "h", 9, "9");
	(void)hub_expect_subscribe(&w, "h", "E:6", false);
	EXPECT_LOG(&p, "a6;,");
	/* Who joins meanwhile gets what the others get. */
	peer_start(&q, &dialect_b);
	cr_assert_eq(peer_subscribe(&q, "h"), 0);
	hub_message_at(&w, "h", 10, "10");
	hub_quiet(&w);
	hub_subscribed_at(&w, "h", "E:10", true, "7 8 9 10");
	hub_message_at(&w, "h", 11, "11");
	EXPECT_LOG(&p, "a6;,a7;a8;a9;a10;a11;,");
	EXPECT_LOG(&q, "b7;b8;b9;b10;b11;,");
	hub_quiet(&w);
	end();
}

Test(recovery, a_gap_that_cannot_be_repaired_is_told)
{
	begin();
	arrive(6, "6");
	arrive(9, "9");
	(void)hub_expect_subscribe(&w, "h", "E:6", false);
	hub_subscribed_at(&w, "h", "E:9", false, "");
	hub_message_at(&w, "h", 10, "10");
	EXPECT_LOG(&p, "a6;,!h,a10;,");
	end();
}

/* What came before a gap goes out before it is told. */
Test(recovery, a_gap_is_told_behind_what_came_before_it)
{
	begin();
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:4"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:4", false);
	hub_message_at(&w, "h", 6, "6");
	hub_subscribed_at(&w, "h", "F:9", false, "");
	EXPECT_LOG(&p, "a6;,!h,");
	end();
}

/* Members come and go beside the history. */
Test(recovery, who_comes_and_goes_is_told_amid_a_gap)
{
	begin();
	arrive(8, "8");
	arrive(0, "join");
	EXPECT_LOG(&p, "ajoin;,");
	end();
}

Test(recovery, gaps_of_all_channels)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	peer_start(&q, &dialect_a);
	peer_join_at(&q, "h", "E:5");
	/* The engine was away: the hub repairs those with history. */
	hub_gap(&w, "");
	EXPECT_LOG(&p, "!c,");
	EXPECT_LOG(&q, "");
	hub_quiet(&w);
	/* The link was too slow. */
	hub_gap_all(&w);
	EXPECT_LOG(&p, "!c,!c,");
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	hub_gap(&w, "h");
	hub_quiet(&w);
	hub_subscribed_at(&w, "h", "E:6", true, "6");
	EXPECT_LOG(&q, "a6;,");
	/* Another epoch. */
	hub_gap(&w, "h");
	(void)hub_expect_subscribe(&w, "h", "E:6", false);
	hub_subscribed_at(&w, "h", "F:6", false, "");
	hub_message_at(&w, "h", 7, "7");
	EXPECT_LOG(&q, "a6;,!h,a7;,");
	end();
}

Test(recovery, an_old_position_costs_the_others_nothing)
{
	begin();
	arrive(7, "7");
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:1"), FAN_EAGAIN);
	peer_start(&r, &dialect_a);
	/* The answer to the first question is lost with the hub. */
	hub_cut(&w);
	cr_assert_eq(peer_subscribe(&r, "h"), FAN_EAGAIN);
	hub_welcome(&w, true);
	(void)hub_expect_subscribe(&w, "h", "E:1", false);
	hub_subscribed_at(&w, "h", "E:8", false, "");
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	/* Nobody is served before those who are there have everything. */
	EXPECT_LOG(&q, "");
	EXPECT_LOG(&r, "");
	cr_assert_not(channel_is_live("h"));
	hub_subscribed_at(&w, "h", "E:9", true, "6 7 8 9");
	hub_message_at(&w, "h", 10, "10");
	EXPECT_LOG(&p, "a6;a7;a8;a9;a10;,");
	EXPECT_LOG(&r, "+h@E:9,a10;,");
	(void)hub_expect_subscribe(&w, "h", "E:1", false);
	hub_subscribed_at(&w, "h", "E:10", false, "");
	EXPECT_LOG(&p, "a6;a7;a8;a9;a10;,");
	EXPECT_LOG(&q, "+h@E:10?,");
	hub_quiet(&w);
	end();
}

/* --- the hub's absence --------------------------------------------------------------------- */

Test(recovery, the_hub_is_lost_and_back)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_join_live(&q, "c");
	hub_cut(&w);
	cr_assert_not(channel_is_live("h"));
	hub_welcome(&w, true);
	while (hub_expect(&w, IPC_SUBSCRIBE).channel[0] != 'h')
		continue;
	hub_subscribed(&w, "c", 0);
	/* What comes before the answer is in it. */
	hub_message_at(&w, "h", 7, "7");
	hub_subscribed_at(&w, "h", "E:7", true, "6 7");
	hub_message_at(&w, "h", 8, "8");
	EXPECT_LOG(&p, "a6;a7;a8;,");
	EXPECT_LOG(&q, "!c,");
	end();
}

Test(recovery, the_hub_is_lost_amid_a_question)
{
	begin();
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:3", false);
	hub_cut(&w);
	peer_start(&r, &dialect_b);
	cr_assert_eq(peer_subscribe_since(&r, "h", "F:2"), FAN_EAGAIN);
	EXPECT_LOG(&q, "");
	hub_welcome(&w, true);
	(void)hub_expect_subscribe(&w, "h", "E:3", true);
	/* Its history went with it. */
	hub_subscribed_at(&w, "h", "F:2", false, "");
	EXPECT_LOG(&p, "!h,");
	EXPECT_LOG(&q, "+h@F:2?,");
	EXPECT_LOG(&r, "+h@F:2=,");
	hub_quiet(&w);
	end();
}

Test(recovery, the_hub_is_lost_amid_a_gap)
{
	begin();
	arrive(8, "8");
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	hub_cut(&w);
	hub_welcome(&w, true);
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	hub_quiet(&w);
	hub_subscribed_at(&w, "h", "E:8", true, "6 7 8");
	EXPECT_LOG(&p, "a6;a7;a8;,");
	end();
}

/* --- the engine's word --------------------------------------------------------------------- */

Test(recovery, another_epoch_is_verified)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "F:3"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:5", true);
	cr_assert_eq(peer_subscribe_since(&r, "h", "F:3"), FAN_EAGAIN);
	hub_subscribed_at(&w, "h", "E:5", true, "");
	/* The second came after the question. */
	EXPECT_LOG(&q, "+h@E:5?,");
	EXPECT_LOG(&r, "");
	(void)hub_expect_subscribe(&w, "h", "E:5", true);
	/* And now it was right. */
	hub_subscribed_at(&w, "h", "F:4", false, "");
	(void)hub_expect_subscribe(&w, "h", "F:3", false);
	EXPECT_LOG(&p, "!h,");
	hub_subscribed_at(&w, "h", "F:4", true, "4");
	EXPECT_LOG(&p, "!h,");
	EXPECT_LOG(&q, "+h@E:5?,!h,");
	EXPECT_LOG(&r, "+h@F:4=,a4;,");
	hub_quiet(&w);
	end();
}

/* --- leaving ------------------------------------------------------------------------------ */

Test(recovery, leaving_while_waiting)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EEXIST);
	cr_assert_eq(peer_subscribe_since(&r, "h", "E:4"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:3", false);
	peer_unsubscribe(&q, "h");
	session_free(r.s);
	r.s = NULL;
	hub_subscribed_at(&w, "h", "E:5", true, "4 5");
	EXPECT_LOG(&q, "");
	EXPECT_LOG(&p, "");
	hub_quiet(&w);
	end();
}

Test(recovery, the_channel_goes_while_it_is_asked_for)
{
	struct ipc_msg late = { .type = IPC_SUBSCRIBED, .channel = "h", .channel_len = 1 };

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&p, "h", "E:3"), FAN_EAGAIN);
	late.id = hub_expect_subscribe(&w, "h", "E:3", true).id;
	peer_unsubscribe(&p, "h");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "h");
	cr_assert_null(channel_find(&w.core.channels, "h", 1));
	cr_assert_eq(peer_subscribe_since(&p, "h", "E:4"), FAN_EAGAIN);
	hub_past(&w, &late, "E:5", IPC_PAST_RECOVERED, "4 5");
	EXPECT_LOG(&p, "");
	(void)hub_expect_subscribe(&w, "h", "E:4", true);
	hub_subscribed_at(&w, "h", "E:6", true, "5 6");
	EXPECT_LOG(&p, "+h@E:6=,a5;a6;,");
	end();
}

Test(recovery, all_leave_in_on_live)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_b);
	p.leave_on_live = q.leave_on_live = r.leave_on_live = true;
	cr_assert_eq(peer_subscribe_since(&p, "h", "E:3"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&r, "h"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:3", true);
	hub_subscribed_at(&w, "h", "E:5", true, "4 5");
	EXPECT_LOG(&p, "+h@E:5=,");
	EXPECT_LOG(&q, "+h@E:5=,");
	EXPECT_LOG(&r, "+h@E:5,");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "h");
	hub_quiet(&w);
	end();
}

Test(recovery, one_leaves_in_on_live)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_a);
	q.leave_on_live = true;
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&r, "h", "E:4"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:3", false);
	hub_subscribed_at(&w, "h", "E:5", true, "4 5");
	EXPECT_LOG(&q, "+h@E:5=,");
	EXPECT_LOG(&r, "+h@E:5=,a5;,");
	end();
}

/* Leaves, and comes again without a position. */
static void
again_on_live(struct session *s, struct sub *sub, int status, const struct sub_live *live)
{
	(void)live;
	cr_assert_eq(status, 0);
	session_unsubscribe(s, sub);
	cr_assert_eq(session_subscribe(s, "h", 1, 0, NULL, &sub), 0);
}

Test(recovery, subscribed_anew_in_on_live)
{
	struct dialect restless = dialect_a;

	restless.on_live = again_on_live;
	hub_welcome(&w, true);
	peer_start(&p, &restless);
	peer_start(&q, &restless);
	cr_assert_eq(peer_subscribe(&p, "h"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:4"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "", false);
	hub_subscribed_at(&w, "h", "E:5", false, "");
	(void)hub_expect_subscribe(&w, "h", "E:4", false);
	hub_subscribed_at(&w, "h", "E:5", true, "5");
	hub_message_at(&w, "h", 6, "6");
	EXPECT_LOG(&p, "a6;,");
	EXPECT_LOG(&q, "a6;,");
	end();
}

/* --- what fails --------------------------------------------------------------------------- */

Test(recovery, a_refused_question)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:3"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:3", false);
	hub_subscribed(&w, "h", FAN_EDOWN);
	EXPECT_LOG(&p, "closed,");
	EXPECT_LOG(&q, "-h,");
	cr_assert_not(channel_is_live("h"));
	cr_assert_eq(w.core.channels.live, 0);
	/* Who comes now is asked for anew. */
	cr_assert_eq(peer_subscribe_since(&r, "h", "E:4"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:4", false);
	hub_subscribed_at(&w, "h", "E:5", true, "5");
	EXPECT_LOG(&r, "+h@E:5=,a5;,");
	end();
}

/* Nobody is told that he has everything, and then left without. */
Test(recovery, without_memory_who_recovers_is_closed)
{
	begin();
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "E:2"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe_since(&r, "h", "E:5"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:2", false);
	hub_subscribed_at(&w, "h", "E:5", true, "3 oom 5");
	EXPECT_LOG(&q, "+h@E:5=,a3;,closed,");
	EXPECT_LOG(&r, "+h@E:5=,");
	EXPECT_LOG(&p, "");
	end();
}

Test(recovery, without_memory_a_repair_is_a_gap)
{
	begin();
	arrive(8, "8");
	(void)hub_expect_subscribe(&w, "h", "E:5", false);
	hub_subscribed_at(&w, "h", "E:8", true, "6 oom 8");
	EXPECT_LOG(&p, "a6;,!h,a8;,");
	end();
}

Test(recovery, the_hub_knows_of_no_history)
{
	begin();
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe_since(&q, "h", "F:3"), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, "h", "E:5", true);
	hub_subscribed(&w, "h", 0);
	hub_message(&w, "h", MSG_TEXT, "plain");
	EXPECT_LOG(&p, "!h,aplain;,");
	EXPECT_LOG(&q, "+h?,aplain;,");
	hub_quiet(&w);
	end();
}

/* What a slow client's queue has left out is told as of any channel. */
Test(recovery, what_a_slow_client_missed)
{
	begin();
	session_shed(p.s, channel_find(&w.core.channels, "h", 1)->id, 1);
	session_drained(p.s);
	EXPECT_LOG(&p, "!h,");
	hub_quiet(&w);
	end();
}
