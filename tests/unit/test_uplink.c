/*
 * Unit tests of uplink: reaching the hub, losing it and reaching it again, tickets and their late
 * answers, congestion.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
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
on_subscribed(void *arg, const char *channel, size_t len, uint32_t id, int status)
{
	(void)arg;
	cr_assert(len == 1 && *channel == 'c');
	heard.subscribed++;
	heard.id = id;
	heard.status = status;
}

static void
on_message(void *arg, const struct ipc_msg *m)
{
	(void)arg;
	heard.messages++;
	(void)snprintf(heard.text, sizeof(heard.text), "%.*s", (int)m->len, (const char *)m->data);
}

static void
on_gap(void *arg, const char *channel, size_t len)
{
	(void)arg;
	(void)channel;
	heard.gaps += len == 0 ? 100 : 1;
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

static void
on_answer(void *arg, int status, uint64_t value)
{
	struct answers *a = arg;

	a->n++;
	a->status = status;
	a->value = value;
	if (a->again)
		cr_assert_eq(
		    uplink_publish(w.uplink, "c", 1, MSG_TEXT, "x", 1, on_answer, a, &a->ticket),
		    uplink_up(w.uplink) ? 0 : FAN_EDOWN);
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

static int
publish(struct answers *a)
{
	return uplink_publish(w.uplink, "c", 1, MSG_TEXT, "data", 4, on_answer, a, &a->ticket);
}

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
	uplink_subscribe(w.uplink, "c", 1, 1);
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
	hub_welcome(&w, true);
	uplink_subscribe(w.uplink, "c", 1, 77);
	cr_assert_eq(hub_expect_on(&w, IPC_SUBSCRIBE, "c").id, 77);
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
	cr_assert_eq(uplink_publish_quiet(w.uplink, t, "c", 1, MSG_TEXT, "x", 1), FAN_EDOWN);
	hub_welcome(&w, true);
	cr_assert_eq(uplink_publish_quiet(w.uplink, t, "c", 1, MSG_BINARY, "x", 1), 0);
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	cr_assert(m.id == t && m.value == 1 && m.kind == MSG_BINARY);
	published(t, FAN_EDOWN);
	published(t, FAN_EDENIED);
	cr_assert(answers[0].n == 2 && answers[0].status == FAN_EDENIED);
	/* It outlives the hub, and is no publish that the loss would answer. */
	hub_cut(&w);
	cr_assert_eq(answers[0].n, 2);
	hub_welcome(&w, true);
	cr_assert_eq(uplink_publish_quiet(w.uplink, t, "c", 1, MSG_TEXT, "x", 1), 0);
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
	int sent = 0, err;

	hub_welcome(&w, true);
	while ((err = uplink_publish(w.uplink, "c", 1, MSG_BINARY, big, sizeof(big), on_answer,
		    &answers[0], &answers[0].ticket)) == 0)
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
	while (uplink_publish_quiet(w.uplink, t, "c", 1, MSG_BINARY, big, sizeof(big)) == 0)
		continue;
	cr_assert(uplink_congested(w.uplink));
	hub_cut(&w);
	cr_assert_not(uplink_congested(w.uplink));
}

Test(uplink, too_large_a_message)
{
	static uint8_t huge[IPC_MSG_MAX];

	hub_welcome(&w, true);
	cr_assert_eq(uplink_publish(w.uplink, "c", 1, MSG_BINARY, huge, sizeof(huge), on_answer,
			 &answers[0], &answers[0].ticket),
	    FAN_ETOOBIG);
	cr_assert_eq(publish(&answers[1]), 0);
}

/* A link that was congested and refused nothing says so too, and takes what was held back. */
static uint32_t held_ticket;

static void
release(void *arg)
{
	(void)arg;
	heard.drained++;
	cr_assert_eq(uplink_publish_quiet(w.uplink, held_ticket, "c", 1, MSG_TEXT, "held", 4), 0);
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
	cr_assert_eq(
	    uplink_publish_quiet(w.uplink, held_ticket, "c", 1, MSG_BINARY, big, sizeof(big)), 0);
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
	cr_assert_eq(uplink_publish_quiet(w.uplink, t, "c", 1, MSG_TEXT, "two", 3), 0);
	uplink_turn(w.uplink, 1);
	cr_assert_str_eq(heard.text, "one");
	cr_assert_eq(hub_expect_on(&w, IPC_PUBLISH, "c").len, 3);
	/* The hub dies during the turn. */
	cr_assert_eq(uplink_publish_quiet(w.uplink, t, "c", 1, MSG_TEXT, "two", 3), 0);
	(void)close(w.hub_fd);
	w.hub_fd = -1;
	uplink_turn(w.uplink, 999999);
	WORLD_UNTIL(&w, heard.downs == 1);
	uplink_turn(w.uplink, 999999);
	uplink_ticket_close(w.uplink, t);
}
