/*
 * Contract of broker/engine/engine.h: one list of cases, run against every engine.
 *
 * What must not arrive is shown without waiting for it: a message to a channel named fence is
 * published afterwards, and engines deliver in order.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/contract/world.h"

ENGINES(engine);

CASE(engine, names_itself_and_is_up)
{
	cr_assert_str_eq(engine_name(n->engine), w->url == NULL ? "memory" : "redis");
	cr_assert(engine_up(n->engine));
	cr_assert_eq(n->interrupted, 0);
}

CASE(engine, starts_as_down_and_remembers)
{
	world_close(w, 0);
	world_begin(w, 0, w->url);
	cr_assert(!engine_up(n->engine));
	cr_assert_eq(node_try_publish(n, "a", MSG_TEXT, "x", 1, 1), FAN_EDOWN);
	cr_assert_eq(engine_subscribe(n->engine, "a", 1), 0);
	cr_assert_eq(engine_subscribe(n->engine, "b", 1), 0);
	engine_unsubscribe(n->engine, "b", 1);
	engine_flush(n->engine);
	cr_assert_eq(n->subscribed, 0, "not before it serves");
	UNTIL(w, n->restored == 1 && n->subscribed == 1);
	node_publish(w, 0, "b", MSG_TEXT, "no", 2, 1);
	node_publish(w, 0, "a", MSG_TEXT, "yes", 3, 2);
	UNTIL(w, n->messages == 1 && n->published == 2);
	cr_assert(node_has(n, 0, "a", MSG_TEXT, "yes", 3));
	node_fence(w, 0, 3);
	cr_assert_eq(n->messages, 1);
}

CASE(engine, ten_thousand_messages_in_order)
{
	char name[16], text[32];
	unsigned next[7] = { 0 };
	unsigned i, c;

	for (c = 0; c < 7; c++) {
		(void)snprintf(name, sizeof(name), "order:%u", c);
		node_subscribe(w, 0, name);
	}
	for (i = 0; i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "order:%u", i * 5 % 7);
		(void)snprintf(text, sizeof(text), "%u", i);
		node_publish(w, 0, name, MSG_TEXT, text, strlen(text), i);
		if (i % 100 == 0)
			world_pass(w);
	}
	UNTIL(w, n->published == 10000 && n->messages == 10000);
	for (i = 0; i < 10000; i++) {
		const struct message *m = &n->message[i];
		unsigned number = (unsigned)strtoul(
		    memcpy(memset(text, 0, sizeof(text)), m->data, m->len), NULL, 10);

		c = (unsigned)(m->channel[6] - '0');
		cr_assert_eq(number * 5 % 7, c, "message %u on channel %u", number, c);
		cr_assert_geq(number, next[c], "order of channel %u", c);
		next[c] = number + 1;
		cr_assert_eq(n->status[i], 0);
	}
	node_fence(w, 0, 10000);
	cr_assert_eq(n->messages, 10000, "nothing arrives twice");
}

CASE(engine, kind_and_bytes_survive)
{
	size_t i;

	node_subscribe(w, 0, "kinds");
	for (i = 0; i < WORLD_PAYLOADS; i++)
		node_publish(w, 0, "kinds", world_payloads[i].kind, world_payloads[i].data,
		    world_payloads[i].len, i);
	UNTIL(w, n->messages == WORLD_PAYLOADS && n->published == WORLD_PAYLOADS);
	for (i = 0; i < WORLD_PAYLOADS; i++)
		cr_assert(node_has(n, i, "kinds", world_payloads[i].kind, world_payloads[i].data,
			      world_payloads[i].len),
		    "payload %zu", i);
}

static void
large_payload(struct world *w, struct node *n, size_t len, enum msg_kind kind)
{
	uint8_t *data = malloc(len);
	size_t i;

	cr_assert_not_null(data);
	for (i = 0; i < len; i++)
		data[i] = (uint8_t)(kind == MSG_TEXT ? 'a' + i % 26 : i * 7);
	node_subscribe(w, 0, "large");
	node_publish(w, 0, "large", kind, data, len, 0);
	node_publish(w, 0, "large", MSG_TEXT, "after", 5, 1);
	UNTIL(w, n->messages == 2 && n->published == 2);
	cr_assert(node_has(n, 0, "large", kind, data, len));
	cr_assert(node_has(n, 1, "large", MSG_TEXT, "after", 5));
	free(data);
}

CASE(engine, payload_of_one_mib)
{
	large_payload(w, n, 1 << 20, MSG_TEXT);
}

CASE(engine, payload_of_sixteen_mib)
{
	large_payload(w, n, 16 << 20, MSG_TEXT);
}

CASE(engine, binary_payload_of_sixteen_mib)
{
	large_payload(w, n, 16 << 20, MSG_BINARY);
}

CASE(engine, publishing_to_nobody_is_accepted)
{
	node_publish(w, 0, "nobody", MSG_TEXT, "x", 1, 7);
	UNTIL(w, n->published == 1);
	cr_assert_eq(n->status[7], 0);
	node_fence(w, 0, 8);
	cr_assert_eq(n->messages, 0);
}

CASE(engine, names_of_every_character_and_length)
{
	static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789_:.#/-=@,;";
	char name[CHANNEL_NAME_MAX + 1];

	node_subscribe(w, 0, all);
	node_publish(w, 0, all, MSG_TEXT, "1", 1, 1);
	memset(name, 'x', CHANNEL_NAME_MAX);
	name[CHANNEL_NAME_MAX] = '\0';
	node_subscribe(w, 0, name);
	node_publish(w, 0, name, MSG_TEXT, "2", 1, 2);
	name[CHANNEL_NAME_MAX - 1] = 'y';
	node_publish(w, 0, name, MSG_TEXT, "3", 1, 3);
	name[CHANNEL_NAME_MAX - 1] = 'x';
	node_fence(w, 0, 4);
	cr_assert_eq(n->messages, 2);
	cr_assert(node_has(n, 0, all, MSG_TEXT, "1", 1));
	cr_assert(node_has(n, 1, name, MSG_TEXT, "2", 1));
}

CASE(engine, unsubscribed_is_silent_and_subscribed_again_is_not)
{
	node_subscribe(w, 0, "a");
	node_publish(w, 0, "a", MSG_TEXT, "1", 1, 1);
	UNTIL(w, n->messages == 1);
	engine_unsubscribe(n->engine, "a", 1);
	node_publish(w, 0, "a", MSG_TEXT, "2", 1, 2);
	node_fence(w, 0, 3);
	cr_assert_eq(n->messages, 1);
	node_subscribe(w, 0, "a");
	node_publish(w, 0, "a", MSG_TEXT, "4", 1, 4);
	node_fence(w, 0, 5);
	cr_assert_eq(n->messages, 2);
	cr_assert(node_has(n, 1, "a", MSG_TEXT, "4", 1));
	engine_unsubscribe(n->engine, "a", 1);
	engine_unsubscribe(n->engine, "a", 1);
	engine_unsubscribe(n->engine, "never", 5);
	node_fence(w, 0, 6);
}

CASE(engine, subscribing_twice_is_refused)
{
	node_subscribe(w, 0, "a");
	cr_assert_eq(engine_subscribe(n->engine, "a", 1), FAN_EEXIST);
	node_publish(w, 0, "a", MSG_TEXT, "x", 1, 1);
	node_fence(w, 0, 2);
	cr_assert_eq(n->messages, 1);
	cr_assert_eq(n->subscribed, 1);
}

/* On and off at every point between sending and confirmation; the last wish counts. */
CASE(engine, changes_of_mind)
{
	unsigned run, i, before;
	uint64_t token = 0;

	for (run = 0; run < 64; run++) {
		for (i = 0; i < 6; i++) {
			if (i % 2 == 0)
				cr_assert_eq(engine_subscribe(n->engine, "mind", 4), 0);
			else
				engine_unsubscribe(n->engine, "mind", 4);
			if (run >> i & 1)
				world_pass(w);
		}
		before = n->subscribed;
		cr_assert_eq(engine_subscribe(n->engine, "mind", 4), 0);
		UNTIL(w, n->subscribed == before + 1);
		node_publish(w, 0, "mind", MSG_TEXT, "x", 1, token++);
		node_fence(w, 0, token++);
		cr_assert_eq(n->messages, 1, "run %u", run);
		cr_assert_eq(n->subscribed, before + 1, "told once");
		node_clear(n);
		engine_unsubscribe(n->engine, "mind", 4);
	}
}

CASE(engine, subscribed_within_a_burst)
{
	unsigned i, first = 0;
	char text[16];

	for (i = 0; i < 10000 && (first == 0 || i < first + 500); i++) {
		(void)snprintf(text, sizeof(text), "%04u", i);
		if (i == 1000)
			cr_assert_eq(engine_subscribe(n->engine, "burst", 5), 0);
		if (n->subscribed == 1 && first == 0)
			first = i;
		node_publish(w, 0, "burst", MSG_TEXT, text, 4, i);
		if (i % 50 == 0)
			world_pass(w);
	}
	cr_assert_geq(first, 1000);
	node_fence(w, 0, i);
	cr_assert_geq(n->messages, 500, "all after `subscribed` arrive");
	for (first = i - (unsigned)n->messages, i = 0; i < n->messages; i++) {
		(void)snprintf(text, sizeof(text), "%04u", first + i);
		cr_assert(node_has(n, i, "burst", MSG_TEXT, text, 4));
	}
}

CASE(engine, ten_thousand_channels)
{
	static bool seen[10000];
	char name[32];
	unsigned i;

	for (i = 0; i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "many:%u", i);
		cr_assert_eq(engine_subscribe(n->engine, name, strlen(name)), 0);
	}
	UNTIL(w, n->subscribed == 10000);
	for (i = 0; i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "many:%u", i);
		node_publish(w, 0, name, MSG_TEXT, name, strlen(name), i);
	}
	UNTIL(w, n->messages == 10000 && n->published == 10000);
	for (i = 0; i < 10000; i++) {
		const struct message *m = &n->message[i];
		unsigned long c = strtoul(m->channel + 5, NULL, 10);

		cr_assert(m->len == strlen(m->channel) && memcmp(m->data, m->channel, m->len) == 0);
		cr_assert(!seen[c]);
		seen[c] = true;
	}
	for (i = 0; i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "many:%u", i);
		engine_unsubscribe(n->engine, name, strlen(name));
	}
	node_clear(n);
	node_publish(w, 0, "many:1", MSG_TEXT, "x", 1, 10000);
	node_fence(w, 0, 10001);
	cr_assert_eq(n->messages, 0);
}

CASE(engine, an_event_has_nowhere_to_go_without_a_stream)
{
	node_subscribe(w, 0, "a");
	engine_event(n->engine, "{\"event\":\"connect\"}", 19);
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 0);
}

/* The record fails the test if anything is called back afterwards. */
CASE(engine, closes_with_things_under_way)
{
	unsigned i;

	node_subscribe(w, 0, "a");
	for (i = 0; i < 100; i++)
		node_publish(w, 0, "a", MSG_TEXT, "x", 1, i);
	cr_assert_eq(engine_subscribe(n->engine, "b", 1), 0);
	engine_unsubscribe(n->engine, "a", 1);
	engine_flush(n->engine);
	world_close(w, 0);
	for (i = 0; i < 5; i++)
		world_pass(w);
}

CASE(engine, closes_before_it_was_up)
{
	int passes, i;

	(void)n;
	for (passes = 0; passes < 4; passes++) {
		world_close(w, 0);
		world_begin(w, 0, w->url);
		for (i = 0; i < passes; i++)
			world_pass(w);
	}
	engine_close(NULL);
}
