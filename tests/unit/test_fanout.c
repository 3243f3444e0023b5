/*
 * Unit tests of fanout with channel beneath it: the hub and the transports are played by the test.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/conf.h"
#include "tests/unit/session_fixture.h"
#include "worker/core/fanout.h"

TestSuite(fanout, .timeout = 60, .init = session_setup, .fini = session_teardown);

/* Hands a message to the worker inside the present pass, as if it lay in the link's buffer. */
static void
arrive(const char *channel, const char *text)
{
	struct ipc_msg m = { .type = IPC_MESSAGE,
		.channel = channel,
		.channel_len = strlen(channel),
		.data = (const uint8_t *)text,
		.len = strlen(text) };

	fanout_uplink_handler.message(&w.core, &m);
}

/* --- joining and leaving ------------------------------------------------------------------ */

Test(fanout, a_sub_waits_until_the_channel_is_live)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	cr_assert_eq(peer_subscribe(&q, "c"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&q, "c"), FAN_EEXIST);
	hub_quiet(&w);
	/* What comes before it is live reaches nobody who waits. */
	hub_message(&w, "c", MSG_TEXT, "early");
	hub_subscribed(&w, "c", 0);
	hub_message(&w, "c", MSG_TEXT, "m");
	EXPECT_LOG(&p, "+c,am;,");
	EXPECT_LOG(&q, "+c,am;,");
	cr_assert_eq(w.core.channels.live, 1);
	session_free(p.s);
	hub_quiet(&w);
	session_free(q.s);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	cr_assert_eq(w.core.channels.live, 0);
}

Test(fanout, a_live_channel_takes_a_sub_at_once)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	hub_message(&w, "c", MSG_TEXT, "m");
	EXPECT_LOG(&q, "am;,");
	session_free(p.s);
	session_free(q.s);
}

Test(fanout, who_joins_amid_a_pass_gets_only_what_comes_after)
{
	struct peer p, q, r;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	arrive("c", "1");
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	arrive("c", "2");
	peer_start(&r, &dialect_a);
	cr_assert_eq(peer_subscribe(&r, "c"), 0);
	EXPECT_LOG(&p, "a1;a2;,");
	EXPECT_LOG(&q, "a2;,");
	EXPECT_LOG(&r, "");
	arrive("c", "3");
	EXPECT_LOG(&p, "a1;a2;,a3;,");
	EXPECT_LOG(&q, "a2;,a3;,");
	EXPECT_LOG(&r, "a3;,");
	session_free(p.s);
	session_free(q.s);
	session_free(r.s);
}

Test(fanout, what_is_due_is_known_before_it_leaves)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	cr_assert_eq(fanout_due(&w.core), 0);
	arrive("c", "1");
	arrive("c", "2");
	cr_assert_eq(fanout_due(&w.core), 2);
	world_settle(&w);
	cr_assert_eq(fanout_due(&w.core), 0);
	session_free(p.s);
	session_free(q.s);
}

Test(fanout, leaving_amid_a_pass_leaves_the_others_parts)
{
	struct peer p[4];
	int i;

	hub_welcome(&w, true);
	peer_start(&p[0], &dialect_a);
	peer_join_live(&p[0], "c");
	for (i = 1; i < 4; i++) {
		arrive("c", "x");
		peer_start(&p[i], &dialect_a);
		cr_assert_eq(peer_subscribe(&p[i], "c"), 0);
	}
	/* The last moves into the first's place, and keeps where its part begins. */
	peer_unsubscribe(&p[0], "c");
	arrive("c", "y");
	EXPECT_LOG(&p[0], "");
	EXPECT_LOG(&p[1], "ax;ax;ay;,");
	EXPECT_LOG(&p[2], "ax;ay;,");
	EXPECT_LOG(&p[3], "ay;,");
	for (i = 0; i < 4; i++)
		session_free(p[i].s);
}

Test(fanout, the_last_leaves_amid_a_pass)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	arrive("c", "x");
	peer_unsubscribe(&p, "c");
	arrive("c", "nobody");
	EXPECT_LOG(&p, "");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	cr_assert_null(channel_find(&w.core.channels, "c", 1));
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	session_free(p.s);
}

Test(fanout, a_group_that_emptied_amid_a_pass_forgets_its_block)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_b);
	peer_join_live(&p, "c");
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	arrive("c", "x");
	peer_unsubscribe(&p, "c");
	cr_assert_eq(peer_subscribe(&p, "c"), 0);
	EXPECT_LOG(&p, "");
	EXPECT_LOG(&q, "bx;,");
	arrive("c", "y");
	EXPECT_LOG(&p, "ay;,");
	session_free(p.s);
	session_free(q.s);
}

Test(fanout, leaving_while_waiting)
{
	struct peer p[3];
	int i;

	hub_welcome(&w, true);
	for (i = 0; i < 3; i++) {
		peer_start(&p[i], &dialect_a);
		cr_assert_eq(peer_subscribe(&p[i], "c"), FAN_EAGAIN);
	}
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	peer_unsubscribe(&p[1], "c");
	session_free(p[2].s);
	hub_quiet(&w);
	hub_subscribed(&w, "c", 0);
	EXPECT_LOG(&p[0], "+c,");
	EXPECT_LOG(&p[1], "");
	session_free(p[0].s);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	session_free(p[1].s);
}

Test(fanout, all_leave_in_on_live)
{
	struct peer p[3];
	int i;

	hub_welcome(&w, true);
	for (i = 0; i < 3; i++) {
		peer_start(&p[i], &dialect_a);
		p[i].leave_on_live = true;
		cr_assert_eq(peer_subscribe(&p[i], "c"), FAN_EAGAIN);
	}
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	hub_subscribed(&w, "c", 0);
	for (i = 0; i < 3; i++)
		EXPECT_LOG(&p[i], "+c,");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	for (i = 0; i < 3; i++)
		session_free(p[i].s);
}

Test(fanout, a_refused_channel)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&q, "c"), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	hub_subscribed(&w, "c", FAN_EFULL);
	EXPECT_LOG(&p, "-c,");
	EXPECT_LOG(&q, "-c,");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	session_free(p.s);
	session_free(q.s);
}

/* --- messages ----------------------------------------------------------------------------- */

Test(fanout, encoded_once_for_each_variant)
{
	struct peer p[8];
	int i;

	hub_welcome(&w, true);
	peer_start(&p[0], &dialect_a);
	peer_join_live(&p[0], "c");
	for (i = 1; i < 8; i++) {
		peer_start(&p[i], i % 2 == 0 ? &dialect_a : &dialect_b);
		cr_assert_eq(peer_subscribe(&p[i], "c"), 0);
	}
	arrive("c", "1");
	arrive("c", "2");
	cr_assert_eq(encoded, 4);
	for (i = 0; i < 8; i++) {
		EXPECT_LOG(&p[i], i % 2 == 0 ? "a1;a2;," : "b1;b2;,");
		cr_assert_eq(p[i].sends, 1, "one send a pass");
	}
	for (i = 0; i < 8; i++)
		session_free(p[i].s);
}

Test(fanout, blocks_are_used_again_only_when_nobody_holds_them)
{
	const struct channel *c;
	struct block *held;
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	arrive("c", "1");
	world_settle(&w);
	c = channel_find(&w.core.channels, "c", 1);
	cr_assert_null(c->groups[0].block);
	cr_assert_eq(w.core.channels.nspare, 1);
	held = w.core.channels.spare[0];
	arrive("c", "2");
	cr_assert_eq(c->groups[0].block, held);
	(void)block_ref(held); /* as a queue does */
	world_settle(&w);
	cr_assert_eq(w.core.channels.nspare, 0);
	arrive("c", "3");
	cr_assert_neq(c->groups[0].block, held);
	cr_assert_eq(memcmp(held->data, "a2;", 3), 0);
	EXPECT_LOG(&p, "a1;,a2;,a3;,");
	block_unref(held);
	session_free(p.s);
}

Test(fanout, a_large_message_is_not_kept)
{
	static char big[100001];
	struct peer p;

	memset(big, 'x', sizeof(big) - 1);
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	hub_message(&w, "c", MSG_TEXT, big);
	WORLD_UNTIL(&w, p.bytes == sizeof(big) + 1);
	cr_assert_eq(w.core.channels.nspare, 0);
	hub_message(&w, "c", MSG_TEXT, "small");
	EXPECT_LOG(&p, "asmall;,");
	session_free(p.s);
}

Test(fanout, several_channels_on_one_session)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	peer_join_live(&p, "d");
	arrive("c", "1");
	arrive("d", "2");
	arrive("c", "3");
	EXPECT_LOG(&p, "a1;a3;,a2;,");
	peer_unsubscribe(&p, "c");
	arrive("c", "4");
	arrive("d", "5");
	EXPECT_LOG(&p, "a1;a3;,a2;,a5;,");
	session_free(p.s);
}

/* What may become of a message that has to wait is as the channel's rule says, or limits.slow. */
Test(fanout, the_rule_says_what_may_be_left_out)
{
	static const struct {
		const char *channel;
		int slow;
		enum outq_shed shed;
	} t[] = {
		{ "c1", CONF_SLOW_KICK, OUTQ_KEEP },
		{ "c2", CONF_SLOW_DROP_OLDEST, OUTQ_OLDEST },
		{ "c3", CONF_SLOW_LATEST, OUTQ_LATEST },
		{ "old", CONF_SLOW_KICK, OUTQ_OLDEST },
		{ "new", CONF_SLOW_KICK, OUTQ_LATEST },
		{ "kick", CONF_SLOW_LATEST, OUTQ_KEEP },
	};
	struct peer p;
	size_t i;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		w.conf->limits.slow = t[i].slow;
		peer_join_live(&p, t[i].channel);
		hub_message(&w, t[i].channel, MSG_TEXT, "m");
		WORLD_UNTIL(&w, p.sends == i + 1);
		cr_assert_eq(p.tag.shed, t[i].shed, "%s", t[i].channel);
		cr_assert_eq(p.tag.key,
		    channel_find(&w.core.channels, t[i].channel, strlen(t[i].channel))->id);
	}
	session_free(p.s);
}

/* Who comes back with a position would never hear of what was left out before it. */
Test(fanout, of_a_channel_with_history_nothing_is_left_out)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	w.conf->limits.slow = CONF_SLOW_LATEST;
	peer_join_at(&p, "h", "E:5");
	hub_message_at(&w, "h", 6, "m");
	WORLD_UNTIL(&w, p.sends == 1);
	cr_assert_eq(p.tag.shed, OUTQ_KEEP);
	session_free(p.s);
}

Test(fanout, subscribers_are_counted)
{
	struct ipc_msg ask = { .type = IPC_COUNT, .id = 7, .channel = "c", .channel_len = 1 };
	struct peer p, q;
	struct ipc_msg m;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	peer_start(&q, &dialect_b);
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	hub_send(&w, &ask);
	m = hub_expect_on(&w, IPC_COUNTED, "c");
	cr_assert(m.id == 7 && m.value == 2);
	session_free(p.s);
	session_free(q.s);
}

/* --- gaps and the hub's absence ----------------------------------------------------------- */

Test(fanout, a_gap_is_told_behind_what_came_before_it)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	peer_join_live(&p, "c");
	peer_join_live(&q, "d");
	hub_message(&w, "c", MSG_TEXT, "1");
	hub_gap(&w, "c");
	hub_message(&w, "c", MSG_TEXT, "2");
	EXPECT_LOG(&p, "a1;,!c,a2;,");
	EXPECT_LOG(&q, "");
	hub_gap(&w, "");
	EXPECT_LOG(&p, "a1;,!c,a2;,!c,");
	EXPECT_LOG(&q, "!d,");
	hub_gap(&w, "unknown");
	EXPECT_LOG(&q, "!d,");
	session_free(p.s);
	session_free(q.s);
}

Test(fanout, without_memory_the_gap_is_told_behind_what_came_before_it)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_b);
	peer_join_live(&p, "c");
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	arrive("c", "1");
	arrive("c", "oom");
	arrive("c", "2");
	EXPECT_LOG(&p, "a1;,!c,a2;,");
	EXPECT_LOG(&q, "b1;,!c,b2;,");
	arrive("c", "oom");
	EXPECT_LOG(&p, "a1;,!c,a2;,!c,");
	session_free(p.s);
	session_free(q.s);
}

/* Nobody stays deaf on a channel that the hub, once it is back, cannot subscribe. */
Test(fanout, a_channel_that_is_refused_after_the_hub_was_lost)
{
	struct peer p, q, r;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_b);
	peer_join_live(&p, "c");
	cr_assert_eq(peer_subscribe(&q, "c"), 0);
	hub_cut(&w);
	hub_welcome(&w, true);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	hub_subscribed(&w, "c", FAN_ENOMEM);
	EXPECT_LOG(&p, "closed,");
	EXPECT_LOG(&q, "closed,");
	/* While they take their leave, another comes, and the hub is asked anew. */
	peer_start(&r, &dialect_a);
	cr_assert_eq(peer_subscribe(&r, "c"), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	session_free(p.s);
	session_free(q.s);
	hub_subscribed(&w, "c", 0);
	hub_message(&w, "c", MSG_TEXT, "m");
	EXPECT_LOG(&r, "+c,am;,");
	session_free(r.s);
}

Test(fanout, the_hub_is_lost_and_back)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	peer_join_live(&p, "c");
	cr_assert_eq(peer_subscribe(&q, "w"), FAN_EAGAIN);
	hub_cut(&w);
	cr_assert_not(channel_is_live("c"));
	cr_assert_eq(w.core.channels.live, 0);
	/* Who comes while the hub is away waits with the others. */
	cr_assert_eq(peer_subscribe(&q, "c"), FAN_EAGAIN);
	hub_welcome(&w, true);
	hub_expect(&w, IPC_SUBSCRIBE);
	hub_expect(&w, IPC_SUBSCRIBE);
	hub_quiet(&w);
	EXPECT_LOG(&p, "");
	hub_subscribed(&w, "w", 0);
	hub_subscribed(&w, "c", 0);
	hub_message(&w, "c", MSG_TEXT, "m");
	EXPECT_LOG(&p, "!c,am;,");
	EXPECT_LOG(&q, "+w,+c,am;,");
	/* Told once. */
	hub_subscribed(&w, "c", 0);
	EXPECT_LOG(&p, "!c,am;,");
	session_free(p.s);
	session_free(q.s);
}

/* The word comes before the first message, and again when the channel is sure to be live. */
Test(fanout, a_message_of_the_new_hub_before_its_answer)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	hub_cut(&w);
	hub_welcome(&w, true);
	hub_message(&w, "c", MSG_TEXT, "m");
	hub_message(&w, "c", MSG_TEXT, "n");
	EXPECT_LOG(&p, "!c,am;an;,");
	/* That hub goes too: what it did not bring is told anew. */
	hub_cut(&w);
	hub_welcome(&w, true);
	hub_message(&w, "c", MSG_TEXT, "o");
	EXPECT_LOG(&p, "!c,am;an;,!c,ao;,");
	hub_subscribed(&w, "c", 0);
	EXPECT_LOG(&p, "!c,am;an;,!c,ao;,!c,");
	hub_message(&w, "c", MSG_TEXT, "p");
	EXPECT_LOG(&p, "!c,am;an;,!c,ao;,!c,ap;,");
	session_free(p.s);
}

Test(fanout, leaving_while_the_hub_is_away)
{
	struct peer p, q;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	peer_join_live(&p, "c");
	peer_join_live(&q, "d");
	hub_cut(&w);
	session_free(p.s);
	hub_welcome(&w, true);
	hub_expect_on(&w, IPC_SUBSCRIBE, "d");
	hub_quiet(&w);
	session_free(q.s);
}
