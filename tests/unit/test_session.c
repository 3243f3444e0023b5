/*
 * Unit tests of session: names and limits, opening, publishing while the hub is away or slow.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "tests/unit/session_fixture.h"

TestSuite(session, .timeout = 60, .init = session_setup, .fini = session_teardown);

Test(session, names_and_limits)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	/* Rights are not asked about here. */
	cr_assert_eq(peer_subscribe(&p, "deny1"), FAN_EAGAIN);
	peer_unsubscribe(&p, "deny1");
	cr_assert_eq(peer_subscribe(&p, ""), FAN_EINVAL);
	cr_assert_eq(peer_subscribe(&p, "a b"), FAN_EINVAL);
	cr_assert_eq(peer_subscribe(&p, "!user:YQ"), FAN_EINVAL);
	w.conf->limits.subscriptions = 2;
	cr_assert_eq(peer_subscribe(&p, "a"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&p, "b"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EFULL);
	peer_unsubscribe(&p, "a");
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	session_free(p.s);
}

/* --- what few sessions need --------------------------------------------------------------- */

Test(session, each_has_a_name_once_it_is_asked_for)
{
	char first[CLIENT_ID_SIZE];
	struct peer p, q;

	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	cr_assert_null(p.s->extra);
	cr_assert_eq(strlen(session_client(p.s)), CLIENT_ID_SIZE - 1);
	cr_assert_eq(strspn(session_client(p.s),
			 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
	    CLIENT_ID_SIZE - 1);
	memcpy(first, session_client(p.s), sizeof(first));
	cr_assert_str_eq(session_client(p.s), first);
	cr_assert_str_neq(session_client(q.s), first);
	cr_assert_eq(session_extra(p.s), p.s->extra);
	session_free(p.s);
	session_free(q.s);
}

static char watched[256];

static void
watch(const char *what, const struct session *s, const struct sub *sub)
{
	(void)s;
	(void)strncat(watched, what, sizeof(watched) - strlen(watched) - 1);
	if (sub != NULL)
		(void)strncat(watched, sub->channel->name, sizeof(watched) - strlen(watched) - 1);
}

static void
on_connected(struct session *s)
{
	watch(" connected", s, NULL);
}

static void
on_disconnected(struct session *s)
{
	cr_assert_null(s->subs);
	watch(" disconnected", s, NULL);
}

static void
on_subscribed(struct sub *sub)
{
	cr_assert_eq(sub->state, SUB_ATTACHED);
	watch(" +", sub->session, sub);
}

static void
on_unsubscribed(struct sub *sub)
{
	watch(" -", sub->session, sub);
}

static const struct core_watch watcher = { on_connected, on_disconnected, on_subscribed,
	on_unsubscribed };

Test(session, who_watches_hears_of_started_sessions)
{
	struct position since = { 5, "E" };
	struct peer p, q;
	struct sub *sub;

	w.core.watch = &watcher;
	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	hub_subscribed(&w, "c", 0);
	WORLD_UNTIL(&w, p.opened == 1);
	cr_assert_eq(session_subscribe(p.s, "h", 1, SUB_HELD, NULL, &sub), FAN_EAGAIN);
	hub_subscribed_at(&w, "h", "E:5", false, "");
	WORLD_UNTIL(&w, p.opened == 2);
	cr_assert_str_eq(watched, "");
	peer_begin(&p);
	cr_assert_str_eq(watched, " connected +c");
	cr_assert_eq(session_recover(p.s, sub, &since), 0);
	/* Who waits has not come yet. */
	cr_assert_str_eq(watched, " connected +c");
	hub_subscribed_at(&w, "h", "E:5", true, "");
	world_settle(&w);
	cr_assert_str_eq(watched, " connected +c +h");
	cr_assert_eq(peer_subscribe(&p, "d"), FAN_EAGAIN);
	peer_unsubscribe(&p, "d");
	peer_unsubscribe(&p, "h");
	cr_assert_str_eq(watched, " connected +c +h -h");
	session_free(p.s);
	cr_assert_str_eq(watched, " connected +c +h -h -c disconnected");
	peer_open(&q, &dialect_a);
	session_free(q.s);
	cr_assert_str_eq(watched, " connected +c +h -h -c disconnected");
	w.core.watch = NULL;
}

/* --- the user's own channel ----------------------------------------------------------------- */

static int
subscribe_own(struct peer *p, struct sub **sub)
{
	return session_subscribe(p->s, "!user:YQ", 8, SUB_INTERNAL, NULL, sub);
}

Test(session, the_users_own_channel_is_not_the_clients)
{
	struct peer p, q;
	struct sub *sub;

	hub_welcome(&w, true);
	w.conf->limits.subscriptions = 1;
	peer_start(&p, &dialect_a);
	cr_assert_eq(session_subscribe(p.s, "user", 4, SUB_INTERNAL, NULL, &sub), FAN_EINVAL);
	cr_assert_eq(subscribe_own(&p, &sub), FAN_EAGAIN);
	cr_assert_eq(p.s->nsubs, 0);
	cr_assert_eq(hub_expect_on(&w, IPC_SUBSCRIBE, "!user:YQ").len, 0);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&p, "d"), FAN_EFULL);
	cr_assert_eq(p.s->nsubs, 1);
	cr_assert_eq(p.s->subs, session_find(p.s, "c", 1));
	hub_subscribed(&w, "!user:YQ", 0);
	/* The client has not asked for it, and is not told. */
	EXPECT_LOG(&p, "");
	cr_assert_eq(sub->state, SUB_ATTACHED);
	hub_message(&w, "!user:YQ", MSG_BINARY, "Thello");
	hub_message(&w, "!user:YQ", MSG_BINARY, "?");
	hub_message(&w, "!user:YQ", MSG_BINARY, "");
	EXPECT_LOG(&p, "ahello;,");
	peer_start(&q, &dialect_b);
	cr_assert_eq(subscribe_own(&q, &sub), 0);
	cr_assert_eq(subscribe_own(&q, &sub), FAN_EEXIST);
	hub_message(&w, "!user:YQ", MSG_BINARY, "D1008 bye");
	EXPECT_LOG(&p, "ahello;,closed,");
	EXPECT_LOG(&q, "closed,");
	session_free(p.s);
	session_free(q.s);
	cr_assert_eq(map_count(&w.core.channels.map), 0);
}

Test(session, the_users_own_channel_cannot_be_had)
{
	struct peer p, q;
	struct sub *sub;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_open(&q, &dialect_a);
	cr_assert_eq(subscribe_own(&p, &sub), FAN_EAGAIN);
	cr_assert_eq(subscribe_own(&q, &sub), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "!user:YQ");
	hub_subscribed(&w, "!user:YQ", FAN_EFULL);
	EXPECT_LOG(&p, "closed,");
	cr_assert(q.opened == 1 && q.opened_status == FAN_EFULL);
	session_free(p.s);
	session_free(q.s);
}

/* --- opening ------------------------------------------------------------------------------ */

Test(session, an_opening_session_hears_of_each_channel)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&p, "d"), FAN_EAGAIN);
	hub_subscribed(&w, "c", 0);
	WORLD_UNTIL(&w, p.opened == 1);
	cr_assert_not(session_all_live(p.s));
	/* Not started: what comes now is not for it. */
	hub_message(&w, "c", MSG_TEXT, "early");
	hub_subscribed(&w, "d", 0);
	WORLD_UNTIL(&w, p.opened == 2);
	cr_assert(session_all_live(p.s));
	peer_begin(&p);
	hub_message(&w, "c", MSG_TEXT, "m");
	EXPECT_LOG(&p, "am;,");
	session_free(p.s);
}

/* A channel that was live, and is not when the other one is: the client must not be told so. */
Test(session, the_hub_is_lost_while_a_session_opens)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	cr_assert_eq(peer_subscribe(&p, "d"), FAN_EAGAIN);
	hub_subscribed(&w, "c", 0);
	WORLD_UNTIL(&w, p.opened == 1);
	cr_assert_not(session_all_live(p.s));
	hub_cut(&w);
	hub_welcome(&w, true);
	hub_subscribed(&w, "d", 0);
	WORLD_UNTIL(&w, p.opened == 2);
	cr_assert_not(session_all_live(p.s));
	hub_subscribed(&w, "c", 0);
	WORLD_UNTIL(&w, p.opened == 3);
	cr_assert(session_all_live(p.s));
	session_free(p.s);
}

Test(session, an_opening_session_is_freed_while_it_waits)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	session_free(p.s);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	hub_subscribed(&w, "c", 0);
	world_settle(&w);
	cr_assert_eq(p.opened, 0);
}

/* --- what a slow client misses ------------------------------------------------------------ */

static uint32_t
id_of(const char *channel)
{
	return channel_find(&w.core.channels, channel, strlen(channel))->id;
}

Test(session, the_client_hears_what_it_missed_once_it_has_caught_up)
{
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	peer_join_live(&p, "d");
	peer_join_live(&p, "e");
	session_drained(p.s);
	EXPECT_LOG(&p, "");
	session_shed(p.s, id_of("c"), 2);
	session_shed(p.s, id_of("e"), 1);
	session_shed(p.s, id_of("c"), 4);
	EXPECT_LOG(&p, "");
	session_drained(p.s);
	EXPECT_LOG(&p, "!e,!c,");
	session_drained(p.s);
	EXPECT_LOG(&p, "!e,!c,");
	cr_assert_eq(w.core.shed_messages, 7);
	session_free(p.s);
}

Test(session, what_was_missed_of_a_channel_that_was_left)
{
	struct peer p;
	uint32_t id;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_join_live(&p, "c");
	id = id_of("c");
	session_shed(p.s, id, 1);
	peer_unsubscribe(&p, "c");
	session_shed(p.s, id, 1);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	/* Subscribed anew it is another channel, of which nothing is missing. */
	peer_join_live(&p, "c");
	cr_assert_neq(id_of("c"), id);
	session_drained(p.s);
	EXPECT_LOG(&p, "");
	session_free(p.s);
}

Test(session, a_dialect_without_a_word_for_it)
{
	struct dialect mute = dialect_a;
	struct peer p;

	mute.on_gap = NULL;
	hub_welcome(&w, true);
	peer_start(&p, &mute);
	peer_join_live(&p, "c");
	session_shed(p.s, id_of("c"), 1);
	session_drained(p.s);
	EXPECT_LOG(&p, "");
	cr_assert_not(session_find(p.s, "c", 1)->missed);
	session_free(p.s);
}

/* --- publishing --------------------------------------------------------------------------- */

static int
publish(struct peer *p, const char *text)
{
	return session_publish(p->s, "pub", 3, MSG_TEXT, (const uint8_t *)text, strlen(text));
}

static void
expect_publish(const char *text)
{
	struct ipc_msg m = hub_expect_on(&w, IPC_PUBLISH, "pub");

	cr_assert(m.len == strlen(text) && memcmp(m.data, text, m.len) == 0, "got %.*s", (int)m.len,
	    (const char *)m.data);
	cr_assert_eq(m.value, 1);
}

Test(session, publishes_quietly_and_hears_of_refusals)
{
	struct ipc_msg refusal = { .type = IPC_PUBLISHED, .status = FAN_EDOWN };
	struct ipc_msg m;
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(publish(&p, "one"), 0);
	m = hub_expect_on(&w, IPC_PUBLISH, "pub");
	cr_assert_neq(m.id, 0);
	refusal.id = m.id;
	hub_send(&w, &refusal);
	hub_send(&w, &refusal);
	EXPECT_LOG(&p, "refused-9,refused-9,");
	session_free(p.s);
	/* Late: nobody is there. */
	hub_send(&w, &refusal);
	world_settle(&w);
}

Test(session, publishers_are_held_while_the_hub_is_away)
{
	struct peer p, q, r;

	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	peer_start(&r, &dialect_a);
	cr_assert_eq(publish(&p, "one"), 0);
	cr_assert_eq(publish(&q, "two"), 0);
	cr_assert_eq(publish(&r, "gone"), 0);
	cr_assert(p.paused && q.paused && r.paused);
	cr_assert_eq(publish(&p, "too early"), FAN_EFULL, "it is paused");
	session_free(r.s);
	hub_welcome(&w, true);
	expect_publish("one");
	expect_publish("two");
	hub_quiet(&w);
	cr_assert(!p.paused && !q.paused);
	cr_assert_eq(publish(&p, "three"), 0);
	cr_assert_not(p.paused);
	expect_publish("three");
	session_free(p.s);
	session_free(q.s);
}

/* The hub reads nothing for a while: nothing is lost, doubled or out of order. */
Test(session, publishers_are_held_while_the_link_is_full)
{
	static char big[20000];
	struct ipc_msg m;
	int sent = 0, got = 0;
	struct peer p;

	memset(big, 'x', sizeof(big) - 1);
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	while (!p.paused) {
		(void)snprintf(big, 7, "%06d", sent);
		big[6] = 'x';
		cr_assert_eq(publish(&p, big), 0);
		cr_assert_lt(sent++, 1000);
	}
	world_settle(&w);
	cr_assert(p.paused);
	for (; got < sent; got++) {
		m = hub_expect_on(&w, IPC_PUBLISH, "pub");
		cr_assert_eq(m.len, sizeof(big) - 1);
		cr_assert_eq(strtol((const char *)m.data, NULL, 10), got);
	}
	hub_quiet(&w);
	cr_assert_not(p.paused);
	session_free(p.s);
}

/* The answer to a question that was taken back says nothing of the next one. */
Test(session, an_answer_that_is_too_late)
{
	struct ipc_msg m, late = { .type = IPC_SUBSCRIBED, .channel = "c", .channel_len = 1 };
	struct peer p;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	m = hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	late.id = m.id;
	peer_unsubscribe(&p, "c");
	cr_assert_eq(peer_subscribe(&p, "c"), FAN_EAGAIN);
	hub_send(&w, &late);
	EXPECT_LOG(&p, "");
	cr_assert_not(channel_is_live("c"));
	hub_subscribed(&w, "c", 0);
	EXPECT_LOG(&p, "+c,");
	session_free(p.s);
}

/* Where the full link takes no subscribe, the next link does. */
Test(session, a_subscribe_that_meets_a_full_link)
{
	static const uint8_t big[8000];
	struct channel *c;
	struct peer p, q;
	char name[16];
	int i;

	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	peer_start(&q, &dialect_a);
	while (!p.paused)
		cr_assert_eq(session_publish(p.s, "pub", 3, MSG_BINARY, big, sizeof(big)), 0);
	for (i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "c%d", i);
		cr_assert_eq(peer_subscribe(&q, name), FAN_EAGAIN);
	}
	WORLD_UNTIL(&w, !uplink_up(w.uplink));
	(void)close(w.hub_fd);
	hub_welcome(&w, true);
	while (i > 0) {
		struct ipc_msg m;

		WORLD_UNTIL(&w, hub_next(&w, &m));
		if (m.type == IPC_SUBSCRIBE)
			i--;
	}
	c = channel_find(&w.core.channels, name, strlen(name));
	cr_assert_not_null(c);
	hub_subscribed(&w, name, 0);
	WORLD_UNTIL(&w, c->live);
	session_free(p.s);
	session_free(q.s);
}

Test(session, more_subscriptions_than_16_bits_count)
{
	struct peer p;
	char name[16];
	int i;

	peer_start(&p, &dialect_a);
	/* One after another would take for ever: the count alone is of interest. */
	for (i = 0; i < 3; i++) {
		(void)snprintf(name, sizeof(name), "c%d", i);
		cr_assert_eq(peer_subscribe(&p, name), FAN_EAGAIN);
	}
	p.s->nsubs += 65536 - 3;
	cr_assert_geq(p.s->nsubs, 65536);
	p.s->nsubs -= 65536 - 3;
	session_free(p.s);
}

Test(session, pauses_of_two_kinds)
{
	struct peer p;

	peer_start(&p, &dialect_a);
	session_resume(p.s, PAUSE_RATE);
	session_pause(p.s, PAUSE_RATE);
	session_pause(p.s, PAUSE_HUB);
	session_resume(p.s, PAUSE_HUB);
	cr_assert(p.paused);
	session_resume(p.s, PAUSE_RATE);
	cr_assert_not(p.paused);
	session_free(p.s);
}
