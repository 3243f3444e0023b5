/*
 * Unit tests of uplink: reaching the hub, losing it and reaching it again, tickets and their late
 * answers, congestion.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/member.h"
#include "tests/unit/worker_fixture.h"

static struct world w;

/* What the handler heard. */
static struct {
	int ups, downs, drained, messages, gaps, subscribed;
	uint32_t id;
	int status;
	char text[64];
} heard;

/* What the answers said. */
static struct answers {
	int n, status;
	uint64_t value;
	bool again; /* publish once more from inside */
	uint32_t ticket;
	char text[64]; /* the position and the first record, or the members */
} answers[3];

static void
on_up(void *arg)
{
	cr_assert_eq(arg, &heard);
	heard.ups++;
}

static void
on_down(void *arg)
{
	(void)arg;
	heard.downs++;
}

static void
on_subscribed(void *arg, const struct ipc_msg *m, const struct ipc_past *past)
{
	(void)arg;
	cr_assert(m->channel_len == 1 && *m->channel == 'c');
	heard.subscribed++;
	heard.id = m->id;
	heard.status = m->status;
	(void)snprintf(heard.text, sizeof(heard.text), "none");
	if (past != NULL)
		(void)position_print(&past->pos, heard.text);
}

static void
on_message(void *arg, const struct ipc_msg *m)
{
	(void)arg;
	heard.messages++;
	(void)snprintf(heard.text, sizeof(heard.text), "%.*s", (int)m->len, (const char *)m->data);
}

static void
on_gap(void *arg, const char *channel, size_t len, bool all)
{
	(void)arg;
	(void)channel;
	heard.gaps += all ? 10000 : len == 0 ? 100 : 1;
}

static uint64_t
on_count(void *arg, const char *channel, size_t len)
{
	(void)arg;
	(void)channel;
	return 1000 + len;
}

static void
on_drained(void *arg)
{
	(void)arg;
	cr_assert_not(uplink_congested(w.uplink));
	heard.drained++;
}

static const struct uplink_handler handler = { on_up, on_down, on_subscribed, on_message, on_gap,
	on_count, on_drained };

static void on_answer(void *arg, const struct uplink_answer *answer);

static int
publish_text(struct answers *a, const char *text)
{
	const struct uplink_message m = {
		.channel = "c", .channel_len = 1, .data = text, .len = strlen(text)
	};

	return uplink_publish(w.uplink, &m, on_answer, a, &a->ticket);
}

static int
publish(struct answers *a)
{
	return publish_text(a, "data");
}

static int
publish_quiet(uint32_t ticket, enum msg_kind kind, const void *data, size_t n)
{
	const struct uplink_message m = {
		.channel = "c", .channel_len = 1, .kind = kind, .data = data, .len = n
	};

	return uplink_publish_quiet(w.uplink, ticket, &m);
}

static void
on_answer(void *arg, const struct uplink_answer *answer)
{
	struct answers *a = arg;
	struct records rest;
	struct record r = { 0 };

	a->n++;
	a->status = answer->status;
	a->value = answer->value;
	if (answer->past != NULL) {
		char pos[POSITION_TEXT_MAX] = "";

		rest = answer->past->records;
		if (records_next(&rest, &r) != 0)
			r.len = 0;
		(void)position_print(&answer->past->pos, pos);
		(void)snprintf(
		    a->text, sizeof(a->text), "%s %.*s", pos, (int)r.len, (const char *)r.data);
	} else {
		(void)snprintf(a->text, sizeof(a->text), "%.*s", (int)answer->members_len,
		    (const char *)answer->members);
	}
	if (a->again)
		cr_assert_eq(publish_text(a, "x"), uplink_up(w.uplink) ? 0 : FAN_EDOWN);
}

static void
setup(void)
{
	world_open_uplink(&w, "limits.link_queue=64KiB", &handler, &heard);
}

static void
teardown(void)
{
	world_close(&w);
}

TestSuite(uplink, .timeout = 60, .init = setup, .fini = teardown);

static void
published(uint32_t id, int status)
{
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = id, .status = status };

	hub_send(&w, &m);
	world_settle(&w);
}

Test(uplink, is_down_until_welcomed)
{
	uint32_t ticket;

	cr_assert(!uplink_up(w.uplink) && !uplink_ready(w.uplink));
	cr_assert_eq(publish(&answers[0]), FAN_EDOWN);
	cr_assert_eq(uplink_count(w.uplink, "c", 1, on_answer, &answers[0], &ticket), FAN_EDOWN);
	hub_accept(&w);
	world_settle(&w);
	cr_assert_not(uplink_up(w.uplink));
	cr_assert_eq(publish(&answers[0]), FAN_EDOWN);
	uplink_subscribe(w.uplink, "c", 1, 1, NULL, false);
	uplink_join(w.uplink, "c", 1, &(struct member){ .client = "x", .client_len = 1 });
	uplink_leave(w.uplink, "c", 1, "x", 1);
	uplink_event(w.uplink, "{}", 2);
	hub_quiet(&w);
	hub_send(&w, &(struct ipc_msg){ .type = IPC_WELCOME, .value = 0 });
	WORLD_UNTIL(&w, uplink_up(w.uplink));
	cr_assert_eq(heard.ups, 1);
	cr_assert_not(uplink_ready(w.uplink));
	hub_send(&w, &(struct ipc_msg){ .type = IPC_ENGINE, .value = 1 });
	WORLD_UNTIL(&w, uplink_ready(w.uplink));
	cr_assert_eq(heard.downs, 0);
	cr_assert_eq(answers[0].n, 0);
}

Test(uplink, passes_everything_on)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	uplink_subscribe(w.uplink, "c", 1, 77, NULL, false);
	m = hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	cr_assert(m.id == 77 && m.len == 0);
	uplink_unsubscribe(w.uplink, "c", 1);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "c");
	hub_send(&w,
	    &(struct ipc_msg){ .type = IPC_SUBSCRIBED,
		.id = 77,
		.status = FAN_EFULL,
		.channel = "c",
		.channel_len = 1 });
	hub_message(&w, "c", MSG_BINARY, "text");
	hub_gap(&w, "c");
	hub_gap(&w, "");
	world_settle(&w);
	cr_assert(heard.subscribed == 1 && heard.id == 77 && heard.status == FAN_EFULL);
	cr_assert(heard.messages == 1 && strcmp(heard.text, "text") == 0);
	cr_assert_eq(heard.gaps, 101);
	hub_gap_all(&w);
	WORLD_UNTIL(&w, heard.gaps == 10101);
	hub_send(&w,
	    &(struct ipc_msg){ .type = IPC_COUNT, .id = 5, .channel = "abc", .channel_len = 3 });
	cr_assert_eq(hub_expect_on(&w, IPC_COUNTED, "abc").value, 1003);
}

/* Each in turn ends the link; the worker comes again by itself. */
Test(uplink, a_hub_that_breaks_the_protocol_is_left)
{
	static const struct ipc_msg bad[] = {
		{ .type = IPC_WELCOME },
		{ .type = IPC_HELLO,
		    .value = IPC_VERSION,
		    .data = (const uint8_t *)"0123456789abcdef",
		    .len = IPC_COOKIE_SIZE },
		{ .type = IPC_PUBLISH, .channel = "c", .channel_len = 1 },
		{ .type = IPC_SUBSCRIBE, .channel = "c", .channel_len = 1 },
		{ .type = IPC_UNSUBSCRIBE, .channel = "c", .channel_len = 1 },
		{ .type = IPC_FORGET, .channel = "c", .channel_len = 1 },
		{ .type = IPC_PRESENCE, .channel = "c", .channel_len = 1 },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		hub_welcome(&w, true);
		hub_send(&w, &bad[i]);
		WORLD_UNTIL(&w, !uplink_up(w.uplink));
		(void)close(w.hub_fd);
		cr_assert_eq(heard.ups, (int)i + 1);
		cr_assert_eq(heard.downs, (int)i + 1);
	}
	/* Before the welcome nothing else may come; down is told only after up. */
	hub_accept(&w);
	hub_send(&w, &(struct ipc_msg){ .type = IPC_ENGINE, .value = 1 });
	world_settle(&w);
	(void)close(w.hub_fd);
	hub_welcome(&w, true);
	cr_assert_eq(heard.downs, (int)i);
}

Test(uplink, a_hub_that_is_not_there_is_tried_again)
{
	int i;

	(void)close(w.listen_fd);
	w.listen_fd = dup(0);
	for (i = 0; i < 5; i++)
		world_settle(&w);
	cr_assert_not(uplink_up(w.uplink));
	cr_assert_eq(heard.downs, 0);
}

/* --- tickets ------------------------------------------------------------------------------ */

Test(uplink, an_answer_closes_its_ticket)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	cr_assert_eq(publish(&answers[0]), 0);
	cr_assert_eq(publish(&answers[1]), 0);
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	cr_assert_eq(m.id, answers[0].ticket);
	cr_assert_eq(m.value, 0);
	hub_expect_on(&w, IPC_PUBLISH, "c");
	published(answers[1].ticket, FAN_EDENIED);
	cr_assert(answers[0].n == 0 && answers[1].n == 1 && answers[1].status == FAN_EDENIED);
	published(answers[1].ticket, 0);
	published(0, 0);
	published(UINT32_MAX, 0);
	published(answers[0].ticket + 1000, 0);
	cr_assert(answers[0].n == 0 && answers[1].n == 1);
	published(answers[0].ticket, 0);
	cr_assert(answers[0].n == 1 && answers[0].status == 0);
}

Test(uplink, counts_have_a_value)
{
	struct ipc_msg m = { .type = IPC_COUNTED, .value = 9, .channel = "c", .channel_len = 1 };

	hub_welcome(&w, true);
	cr_assert_eq(uplink_count(w.uplink, "c", 1, on_answer, &answers[0], &answers[0].ticket), 0);
	m.id = hub_expect_on(&w, IPC_COUNT, "c").id;
	hub_send(&w, &m);
	WORLD_UNTIL(&w, answers[0].n == 1);
	cr_assert(answers[0].status == 0 && answers[0].value == 9);
}

/* --- history and presence ------------------------------------------------------------------ */

Test(uplink, a_question_with_a_position)
{
	struct position pos = { 7, "E" };
	struct ipc_msg m = { .type = IPC_SUBSCRIBED, .id = 5, .channel = "c", .channel_len = 1 };

	hub_welcome(&w, true);
	uplink_subscribe(w.uplink, "c", 1, 5, &pos, true);
	cr_assert_eq(hub_expect_subscribe(&w, "c", "E:7", true).id, 5);
	pos.epoch[0] = '\0';
	uplink_subscribe(w.uplink, "c", 1, 6, &pos, false);
	cr_assert_eq(hub_expect_subscribe(&w, "c", "", false).id, 6);
	hub_past(&w, &m, "E:9", 0, "");
	WORLD_UNTIL(&w, heard.subscribed == 1);
	cr_assert_str_eq(heard.text, "E:9");
	hub_send(&w, &m);
	WORLD_UNTIL(&w, heard.subscribed == 2);
	cr_assert_str_eq(heard.text, "none");
}

Test(uplink, an_answer_that_is_malformed_ends_the_link)
{
	static const enum ipc_type type[] = { IPC_SUBSCRIBED, IPC_PUBLISHED, IPC_HISTORIED };
	size_t i;

	for (i = 0; i < sizeof(type) / sizeof(type[0]); i++) {
		struct ipc_msg m = { .type = type[i],
			.id = 1,
			.channel = type[i] == IPC_SUBSCRIBED ? "c" : NULL,
			.channel_len = type[i] == IPC_SUBSCRIBED ? 1 : 0,
			.data = (const uint8_t *)"\xff",
			.len = 1 };

		hub_welcome(&w, true);
		hub_send(&w, &m);
		WORLD_UNTIL(&w, !uplink_up(w.uplink));
		(void)close(w.hub_fd);
	}
	cr_assert_eq(heard.subscribed, 0);
}

Test(uplink, a_message_with_a_key_and_its_position)
{
	const struct uplink_message keyed = { .channel = "c",
		.channel_len = 1,
		.kind = MSG_BINARY,
		.data = "data",
		.len = 4,
		.key = "key",
		.key_len = 3 };
	struct ipc_msg m;

	hub_welcome(&w, true);
	cr_assert_eq(
	    uplink_publish(w.uplink, &keyed, on_answer, &answers[0], &answers[0].ticket), 0);
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	cr_assert_eq(m.value, IPC_KEY(3));
	cr_assert(m.len == 7 && memcmp(m.data, "keydata", 7) == 0);
	hub_past(&w, &(struct ipc_msg){ .type = IPC_PUBLISHED, .id = m.id }, "E:3", 0, "");
	WORLD_UNTIL(&w, answers[0].n == 1);
	cr_assert_eq(answers[0].status, 0);
	cr_assert_str_eq(answers[0].text, "E:3 ");
}

Test(uplink, history_is_asked_for)
{
	const struct position pos = { 7, "E" };
	struct ipc_past past;
	struct ipc_msg m;

	cr_assert_eq(uplink_history(w.uplink, "c", 1, NULL, 5, false, on_answer, &answers[0],
			 &answers[0].ticket),
	    FAN_EDOWN);
	hub_welcome(&w, true);
	cr_assert_eq(uplink_history(w.uplink, "c", 1, NULL, 5, true, on_answer, &answers[0],
			 &answers[0].ticket),
	    0);
	m = hub_expect_on(&w, IPC_HISTORY, "c");
	cr_assert_eq(ipc_past_decode(m.data, m.len, &past), 0);
	cr_assert(m.value == 5 && past.flags == IPC_PAST_REVERSE && past.pos.epoch[0] == '\0');
	hub_past(&w, &(struct ipc_msg){ .type = IPC_HISTORIED, .id = m.id }, "E:9", 0, "h i");
	WORLD_UNTIL(&w, answers[0].n == 1);
	cr_assert_str_eq(answers[0].text, "E:9 h");
	cr_assert_eq(uplink_history(w.uplink, "c", 1, &pos, 0, false, on_answer, &answers[1],
			 &answers[1].ticket),
	    0);
	m = hub_expect_on(&w, IPC_HISTORY, "c");
	cr_assert_eq(ipc_past_decode(m.data, m.len, &past), 0);
	cr_assert(past.flags == 0 && past.pos.offset == 7 && strcmp(past.pos.epoch, "E") == 0);
	hub_send(&w, &(struct ipc_msg){ .type = IPC_HISTORIED, .id = m.id, .status = FAN_EDOWN });
	WORLD_UNTIL(&w, answers[1].n == 1);
	cr_assert_eq(answers[1].status, FAN_EDOWN);
	cr_assert_eq(
	    uplink_forget(w.uplink, "c", 1, on_answer, &answers[2], &answers[2].ticket), 0);
	m = hub_expect_on(&w, IPC_FORGET, "c");
	hub_past(&w, &(struct ipc_msg){ .type = IPC_PUBLISHED, .id = m.id }, "E:9", 0, "");
	WORLD_UNTIL(&w, answers[2].n == 1);
	cr_assert_str_eq(answers[2].text, "E:9 ");
}

Test(uplink, who_comes_and_goes)
{
	const struct member who = { "client", 6, "user", 4, "{}", 2 };
	struct buf packed;
	struct member got;
	struct ipc_msg m;
	const uint8_t *p;
	size_t n;

	hub_welcome(&w, true);
	uplink_join(w.uplink, "c", 1, &who);
	m = hub_expect_on(&w, IPC_JOIN, "c");
	p = m.data;
	n = m.len;
	cr_assert_eq(member_next(&p, &n, &got), 0);
	cr_assert(n == 0 && got.client_len == 6 && got.user_len == 4 && got.info_len == 2);
	uplink_leave(w.uplink, "c", 1, "client", 6);
	m = hub_expect_on(&w, IPC_LEAVE, "c");
	cr_assert(m.len == 6 && memcmp(m.data, "client", 6) == 0);
	uplink_event(w.uplink, "{\"event\":\"connect\"}", 19);
	m = hub_expect(&w, IPC_EVENT);
	cr_assert(m.len == 19 && memcmp(m.data, "{\"event\":\"connect\"}", 19) == 0);
	cr_assert_eq(
	    uplink_presence(w.uplink, "c", 1, on_answer, &answers[0], &answers[0].ticket), 0);
	m = hub_expect_on(&w, IPC_PRESENCE, "c");
	buf_init(&packed, 1000);
	cr_assert_eq(member_append(&packed, &who), 0);
	hub_send(&w,
	    &(struct ipc_msg){ .type = IPC_PRESENT,
		.id = m.id,
		.data = buf_data(&packed),
		.len = buf_len(&packed) });
	WORLD_UNTIL(&w, answers[0].n == 1);
	cr_assert(answers[0].status == 0 && strstr(answers[0].text, "client") != NULL);
	buf_fini(&packed);
}

/* --- tickets given up --------------------------------------------------------------------- */

Test(uplink, a_ticket_given_up_hears_nothing_and_is_not_the_next_one)
{
	uint32_t old;

	hub_welcome(&w, true);
	cr_assert_eq(publish(&answers[0]), 0);
	old = answers[0].ticket;
	uplink_ticket_close(w.uplink, old);
	uplink_ticket_close(w.uplink, old);
	uplink_ticket_close(w.uplink, 0);
	cr_assert_eq(publish(&answers[1]), 0);
	cr_assert_neq(answers[1].ticket, old);
	published(old, 0);
	cr_assert(answers[0].n == 0 && answers[1].n == 0);
	/* Closing the old one once more does not touch the new one. */
	uplink_ticket_close(w.uplink, old);
	published(answers[1].ticket, 0);
	cr_assert_eq(answers[1].n, 1);
}

/* Far more than the generations of one ticket and than the first table. */
Test(uplink, many_tickets)
{
	static uint32_t open[500];
	size_t i, k;

	for (i = 0; i < 3000; i++) {
		uint32_t t;

		cr_assert_eq(uplink_ticket_open(w.uplink, on_answer, &answers[0], &t), 0);
		cr_assert_neq(t, 0);
		uplink_ticket_close(w.uplink, t);
	}
	for (i = 0; i < 500; i++) {
		cr_assert_eq(uplink_ticket_open(w.uplink, on_answer, &answers[0], &open[i]), 0);
		for (k = 0; k < i; k++)
			cr_assert_neq(open[i], open[k]);
	}
	for (i = 0; i < 500; i++)
		uplink_ticket_close(w.uplink, open[i]);
}

Test(uplink, a_standing_ticket_hears_each_failure)
{
	uint32_t t;
	struct ipc_msg m;

	cr_assert_eq(uplink_ticket_open(w.uplink, on_answer, &answers[0], &t), 0);
	cr_assert_eq(publish_quiet(t, MSG_TEXT, "x", 1), FAN_EDOWN);
	hub_welcome(&w, true);
	cr_assert_eq(publish_quiet(t, MSG_BINARY, "x", 1), 0);
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	cr_assert(m.id == t && m.value == 1 && m.kind == MSG_BINARY);
	published(t, FAN_EDOWN);
	published(t, FAN_EDENIED);
	cr_assert(answers[0].n == 2 && answers[0].status == FAN_EDENIED);
	/* It outlives the hub, and is no publish that the loss would answer. */
	hub_cut(&w);
	cr_assert_eq(answers[0].n, 2);
	hub_welcome(&w, true);
	cr_assert_eq(publish_quiet(t, MSG_TEXT, "x", 1), 0);
	cr_assert_eq(hub_expect_on(&w, IPC_PUBLISH, "c").id, t);
	uplink_ticket_close(w.uplink, t);
	published(t, FAN_EDOWN);
	cr_assert_eq(answers[0].n, 2);
}

Test(uplink, losing_the_hub_answers_what_was_under_way)
{
	hub_welcome(&w, true);
	answers[1].again = true;
	cr_assert_eq(publish(&answers[0]), 0);
	cr_assert_eq(publish(&answers[1]), 0);
	cr_assert_eq(publish(&answers[2]), 0);
	uplink_ticket_close(w.uplink, answers[2].ticket);
	hub_cut(&w);
	cr_assert(answers[0].n == 1 && answers[0].status == FAN_EDOWN);
	cr_assert(answers[1].n == 1 && answers[1].status == FAN_EDOWN);
	cr_assert_eq(answers[2].n, 0);
	cr_assert_eq(heard.downs, 1);
	/* Nothing is left to be answered again. */
	hub_welcome(&w, true);
	published(answers[0].ticket, 0);
	cr_assert_eq(answers[0].n, 1);
}

/* --- congestion --------------------------------------------------------------------------- */

Test(uplink, a_full_link_refuses_and_says_when_it_drained)
{
	static const uint8_t big[10000];
	const struct uplink_message m = { .channel = "c",
		.channel_len = 1,
		.kind = MSG_BINARY,
		.data = big,
		.len = sizeof(big) };
	int sent = 0, err;

	hub_welcome(&w, true);
	while (
	    (err = uplink_publish(w.uplink, &m, on_answer, &answers[0], &answers[0].ticket)) == 0)
		cr_assert_lt(sent++, 1000);
	cr_assert_eq(err, FAN_EFULL);
	cr_assert(uplink_congested(w.uplink));
	cr_assert_eq(heard.drained, 0);
	while (sent-- > 0)
		hub_expect_on(&w, IPC_PUBLISH, "c");
	WORLD_UNTIL(&w, heard.drained > 0);
	cr_assert_eq(publish(&answers[1]), 0);
	cr_assert_eq(answers[0].n, 0);
}

Test(uplink, losing_the_hub_ends_congestion)
{
	static const uint8_t big[10000];
	uint32_t t;

	cr_assert_eq(uplink_ticket_open(w.uplink, on_answer, &answers[0], &t), 0);
	hub_welcome(&w, true);
	while (publish_quiet(t, MSG_BINARY, big, sizeof(big)) == 0)
		continue;
	cr_assert(uplink_congested(w.uplink));
	hub_cut(&w);
	cr_assert_not(uplink_congested(w.uplink));
}

Test(uplink, too_large_a_message)
{
	static uint8_t huge[IPC_MSG_MAX];
	struct uplink_message m = {
		.channel = "c", .channel_len = 1, .data = huge, .len = sizeof(huge)
	};

	hub_welcome(&w, true);
	cr_assert_eq(
	    uplink_publish(w.uplink, &m, on_answer, &answers[0], &answers[0].ticket), FAN_ETOOBIG);
	m.key = "k";
	m.key_len = 1;
	cr_assert_eq(
	    uplink_publish(w.uplink, &m, on_answer, &answers[0], &answers[0].ticket), FAN_ETOOBIG);
	m.key_len = IPC_KEY_MAX + 1;
	m.len = 1;
	cr_assert_eq(
	    uplink_publish(w.uplink, &m, on_answer, &answers[0], &answers[0].ticket), FAN_ETOOBIG);
	cr_assert_eq(publish(&answers[1]), 0);
}

/* A link that was congested and refused nothing says so too, and takes what was held back. */
static uint32_t held_ticket;

static void
release(void *arg)
{
	(void)arg;
	heard.drained++;
	cr_assert_eq(publish_quiet(held_ticket, MSG_TEXT, "held", 4), 0);
}

static const struct uplink_handler releasing = { on_up, on_down, on_subscribed, on_message, on_gap,
	on_count, release };

Test(uplink, what_drained_releases_follows)
{
	static const uint8_t big[5 * 1024 * 1024];
	struct ipc_msg m;

	world_close(&w);
	world_open_uplink(&w, "limits.link_queue=64MiB", &releasing, &heard);
	cr_assert_eq(uplink_ticket_open(w.uplink, on_answer, &answers[0], &held_ticket), 0);
	hub_welcome(&w, true);
	cr_assert_eq(publish_quiet(held_ticket, MSG_BINARY, big, sizeof(big)), 0);
	cr_assert(uplink_congested(w.uplink));
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	cr_assert_eq(m.len, sizeof(big));
	WORLD_UNTIL(&w, heard.drained == 1);
	cr_assert_eq(hub_expect_on(&w, IPC_PUBLISH, "c").len, 4);
}

Test(uplink, a_turn_sends_and_takes_what_the_hub_sends_back)
{
	uint32_t t;

	hub_welcome(&w, true);
	cr_assert_eq(uplink_ticket_open(w.uplink, on_answer, &answers[0], &t), 0);
	/* Without a publish there is nothing to wait for: what has come is the loop's. */
	hub_message(&w, "c", MSG_TEXT, "one");
	uplink_turn(w.uplink, 1);
	cr_assert_eq(heard.messages, 0);
	cr_assert_eq(publish_quiet(t, MSG_TEXT, "two", 3), 0);
	uplink_turn(w.uplink, 1);
	cr_assert_str_eq(heard.text, "one");
	cr_assert_eq(hub_expect_on(&w, IPC_PUBLISH, "c").len, 3);
	/* The hub dies during the turn. */
	cr_assert_eq(publish_quiet(t, MSG_TEXT, "two", 3), 0);
	(void)close(w.hub_fd);
	w.hub_fd = -1;
	uplink_turn(w.uplink, 999999);
	WORLD_UNTIL(&w, heard.downs == 1);
	uplink_turn(w.uplink, 999999);
	uplink_ticket_close(w.uplink, t);
}
