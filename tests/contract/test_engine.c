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

#include "tests/contract/redis_server.h"
#include "tests/contract/world.h"

static struct redis_server server;
static struct world *world;
static char url[160]; /* "": the memory engine */

static void
setup_memory(void)
{
	world = world_new();
}

static void
setup_redis(void)
{
	redis_server_start(&server);
	(void)snprintf(url, sizeof(url), "unix://%s", server.sock);
	world = world_new();
}

static void
teardown(void)
{
	world_free(world);
	if (url[0] != '\0')
		redis_server_stop(&server);
}

TestSuite(memory, .init = setup_memory, .fini = teardown, .timeout = 100);
TestSuite(redis, .init = setup_redis, .fini = teardown, .timeout = 100);

/* Each case runs with an engine that is up, in world->node[0]. */
#define CASE(name)                                                                                 \
	static void case_##name(struct world *w, struct node *n);                                  \
	Test(memory, name)                                                                         \
	{                                                                                          \
		world_open(world, 0, NULL);                                                        \
		case_##name(world, &world->node[0]);                                               \
	}                                                                                          \
	Test(redis, name)                                                                          \
	{                                                                                          \
		world_open(world, 0, url);                                                         \
		case_##name(world, &world->node[0]);                                               \
	}                                                                                          \
	static void case_##name(struct world *w, struct node *n)

CASE(names_itself_and_is_up)
{
	(void)w;
	cr_assert_str_eq(engine_name(n->engine), url[0] == '\0' ? "memory" : "redis");
	cr_assert(engine_up(n->engine));
	cr_assert_eq(n->interrupted, 0);
}

CASE(starts_as_down_and_remembers)
{
	world_close(w, 0);
	world_begin(w, 0, url);
	cr_assert(!engine_up(n->engine));
	cr_assert_eq(
	    engine_publish(n->engine, "a", 1, MSG_TEXT, (const uint8_t *)"x", 1, 1), FAN_EDOWN);
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

CASE(ten_thousand_messages_in_order)
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

static const struct {
	enum msg_kind kind;
	const char *data;
	size_t len;
} payloads[] = {
	{ MSG_TEXT, "", 0 },
	{ MSG_TEXT, "{\"a\":1}", 7 },
	{ MSG_TEXT, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\xba", 12 },
	{ MSG_TEXT, "a\r\nb\r\n", 6 },
	{ MSG_TEXT, "\0a\0", 3 },
	{ MSG_TEXT, "fanfare", 7 },
	{ MSG_TEXT, "*3\r\n$7\r\nmessage\r\n", 17 },
	{ MSG_BINARY, "", 0 },
	{ MSG_BINARY, "valid as text", 13 },
	{ MSG_BINARY, "\xc3\xbc", 2 },
	{ MSG_BINARY, "\r\n", 2 },
	{ MSG_BINARY, "\x00", 1 },
	{ MSG_BINARY, "\xff", 1 },
	{ MSG_BINARY, "\xff\xfe\x00\r\n", 5 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare",
	    8 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare\x01\x01",
	    10 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare\x01\x00text",
	    14 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare\x02\x01",
	    10 },
};
#define PAYLOADS (sizeof(payloads) / sizeof(payloads[0]))

CASE(kind_and_bytes_survive)
{
	size_t i;

	node_subscribe(w, 0, "kinds");
	for (i = 0; i < PAYLOADS; i++)
		node_publish(w, 0, "kinds", payloads[i].kind, payloads[i].data, payloads[i].len, i);
	UNTIL(w, n->messages == PAYLOADS && n->published == PAYLOADS);
	for (i = 0; i < PAYLOADS; i++)
		cr_assert(
		    node_has(n, i, "kinds", payloads[i].kind, payloads[i].data, payloads[i].len),
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

CASE(payload_of_one_mib)
{
	large_payload(w, n, 1 << 20, MSG_TEXT);
}

CASE(payload_of_sixteen_mib)
{
	large_payload(w, n, 16 << 20, MSG_TEXT);
}

CASE(binary_payload_of_sixteen_mib)
{
	large_payload(w, n, 16 << 20, MSG_BINARY);
}

CASE(publishing_to_nobody_is_accepted)
{
	node_publish(w, 0, "nobody", MSG_TEXT, "x", 1, 7);
	UNTIL(w, n->published == 1);
	cr_assert_eq(n->status[7], 0);
	node_fence(w, 0, 8);
	cr_assert_eq(n->messages, 0);
}

CASE(names_of_every_character_and_length)
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

CASE(unsubscribed_is_silent_and_subscribed_again_is_not)
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

CASE(subscribing_twice_is_refused)
{
	node_subscribe(w, 0, "a");
	cr_assert_eq(engine_subscribe(n->engine, "a", 1), FAN_EEXIST);
	node_publish(w, 0, "a", MSG_TEXT, "x", 1, 1);
	node_fence(w, 0, 2);
	cr_assert_eq(n->messages, 1);
	cr_assert_eq(n->subscribed, 1);
}

/* On and off at every point between sending and confirmation; the last wish counts. */
CASE(changes_of_mind)
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

CASE(subscribed_within_a_burst)
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

CASE(ten_thousand_channels)
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

/* The record fails the test if anything is called back afterwards. */
CASE(closes_with_things_under_way)
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

CASE(closes_before_it_was_up)
{
	int passes, i;

	(void)n;
	for (passes = 0; passes < 4; passes++) {
		world_close(w, 0);
		world_begin(w, 0, url);
		for (i = 0; i < passes; i++)
			world_pass(w);
	}
	engine_close(NULL);
}
