/*
 * What the redis engine owes beyond the contract: other publishers, credentials, outages, and a
 * Redis that misbehaves.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/contract/proxy.h"
#include "tests/contract/redis_server.h"
#include "tests/contract/world.h"

static struct redis_server server;
static struct world *world;
static struct node *node;
static struct proxy proxy;
static char url[256], proxy_url[256];

static void
setup(void)
{
	redis_server_start(&server);
	world = world_new();
	node = &world->node[0];
	proxy_open(&proxy, world->base, server.dir, server.sock);
	(void)snprintf(url, sizeof(url), "unix://%s", server.sock);
	(void)snprintf(proxy_url, sizeof(proxy_url), "unix://%s", proxy.path);
}

static void
teardown(void)
{
	proxy_close(&proxy);
	world_free(world);
	redis_server_stop(&server);
}

TestSuite(redis_only, .init = setup, .fini = teardown, .timeout = 100);

static void
call(const char *words, const char *expect)
{
	char out[256];

	redis_server_call(&server, words, NULL, 0, out, sizeof(out));
	cr_assert(strncmp(out, expect, strlen(expect)) == 0, "%s: %s", words, out);
}

/* --- others on the same Redis ----------------------------------------------------------------- */

Test(redis_only, anybody_may_publish)
{
	char out[16];

	world_open(world, 0, url);
	node_subscribe(world, 0, "news");
	call("PUBLISH fanfare:news {\"a\":1}", ":1\r\n");
	redis_server_call(&server, "PUBLISH fanfare:news", "\xff\x00\r\n", 4, out, sizeof(out));
	call("PUBLISH news unprefixed", ":0\r\n");
	call("PUBLISH fanfare:new another", ":0\r\n");
	node_fence(world, 0, 1);
	cr_assert_eq(node->messages, 2);
	cr_assert(node_has(node, 0, "news", MSG_TEXT, "{\"a\":1}", 7));
	cr_assert(node_has(node, 1, "news", MSG_BINARY, "\xff\x00\r\n", 4));
}

Test(redis_only, prefix_keeps_brokers_apart)
{
	static char other[] = "other/";

	world_open(world, 0, url);
	world->node[1].conf.redis.prefix = other;
	world_open(world, 1, url);
	node_subscribe(world, 0, "a");
	node_subscribe(world, 1, "a");
	call("PUBLISH other/a 1", ":1\r\n");
	node_publish(world, 0, "a", MSG_TEXT, "0", 1, 1);
	node_fence(world, 0, 2);
	node_fence(world, 1, 2);
	cr_assert(node->messages == 1 && node_has(node, 0, "a", MSG_TEXT, "0", 1));
	cr_assert(
	    world->node[1].messages == 1 && node_has(&world->node[1], 0, "a", MSG_TEXT, "1", 1));
}

Test(redis_only, two_nodes_form_one_broker)
{
	unsigned i;
	char text[16];

	world_open(world, 0, url);
	world_open(world, 1, url);
	node_subscribe(world, 0, "a");
	node_subscribe(world, 1, "a");
	for (i = 0; i < 1000; i++) {
		(void)snprintf(text, sizeof(text), "%u", i);
		node_publish(
		    world, i % 2, "a", i % 3 == 0 ? MSG_BINARY : MSG_TEXT, text, strlen(text), i);
		UNTIL(world, node->messages == i + 1 && world->node[1].messages == i + 1);
		cr_assert(
		    node_has(node, i, "a", i % 3 == 0 ? MSG_BINARY : MSG_TEXT, text, strlen(text)));
		cr_assert(node_has(&world->node[1], i, "a", i % 3 == 0 ? MSG_BINARY : MSG_TEXT,
		    text, strlen(text)));
	}
}

/* It is in the socket already when the hub changes its mind. */
Test(redis_only, message_on_its_way_to_a_channel_unsubscribed_is_dropped)
{
	world_open(world, 0, url);
	node_subscribe(world, 0, "a");
	call("PUBLISH fanfare:a x", ":1\r\n");
	engine_unsubscribe(node->engine, "a", 1);
	node_fence(world, 0, 1);
	cr_assert_eq(node->messages, 0);
}

Test(redis_only, prefix_is_bounded)
{
	static char prefix[800];

	memset(prefix, 'p', sizeof(prefix) - 1);
	node->conf.redis.prefix = prefix;
	node->conf.redis.url = strdup(url);
	cr_assert_eq(engine_open(&node->engine, world->base, &node->conf, NULL, NULL), FAN_EINVAL);
	prefix[700] = '\0';
	world_open(world, 0, url);
	node_subscribe(world, 0, "a");
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->published == 1);
}

/* --- addresses and credentials ---------------------------------------------------------------- */

static void
serves(const char *at)
{
	world_open(world, 0, at);
	node_subscribe(world, 0, "a");
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->published == 1);
	cr_assert_eq(node->status[1], 0);
}

Test(redis_only, tcp_by_number)
{
	char at[64];

	(void)snprintf(at, sizeof(at), "redis://127.0.0.1:%d", server.port);
	serves(at);
}

Test(redis_only, tcp_by_localhost)
{
	char at[64];

	(void)snprintf(at, sizeof(at), "redis://localhost:%d/0", server.port);
	serves(at);
}

Test(redis_only, unusable_urls_are_refused)
{
	static const char *const bad[] = { "rediss://localhost", "localhost:6379", "redis://" };
	size_t i;

	for (i = 0; i < 3; i++) {
		free(node->conf.redis.url);
		node->conf.redis.url = strdup(bad[i]);
		cr_assert_eq(
		    engine_open(&node->engine, world->base, &node->conf, NULL, NULL), FAN_EINVAL);
	}
	cr_assert_null(node->engine);
}

Test(redis_only, database_is_selected_on_both_links)
{
	char at[256], out[4096], *p;
	unsigned n = 0;

	(void)snprintf(at, sizeof(at), "unix://%s?db=3", server.sock);
	serves(at);
	redis_server_call(&server, "CLIENT LIST", NULL, 0, out, sizeof(out));
	for (p = out; (p = strstr(p, " db=3 ")) != NULL; p++)
		n++;
	cr_assert_eq(n, 2);
}

Test(redis_only, password)
{
	char at[256];

	call("CONFIG SET requirepass s3cr:et@", "+OK");
	(void)snprintf(at, sizeof(at), "unix://:s3cr%%3Aet%%40@%s", server.sock);
	serves(at);
}

/* The rights named here are all that the engine needs. */
Test(redis_only, user_with_the_least_rights)
{
	char at[256];

	call("ACL SETUSER app on >pw resetchannels &fanfare:* +publish +subscribe +unsubscribe",
	    "+OK");
	call("ACL SETUSER default off", "+OK");
	(void)snprintf(at, sizeof(at), "unix://app:pw@%s", server.sock);
	serves(at);
}

Test(redis_only, publishing_without_the_right_is_denied)
{
	char at[256];

	call("ACL SETUSER app on >pw resetchannels &fanfare:* +publish +subscribe +unsubscribe",
	    "+OK");
	(void)snprintf(at, sizeof(at), "unix://app:pw@%s", server.sock);
	serves(at);
	call("ACL SETUSER app -publish", "+OK");
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 2);
	UNTIL(world, node->answers[2] == 1);
	cr_assert_eq(node->status[2], FAN_EDENIED);
	cr_assert_eq(node->messages, 1);
}

static void
stays_down_until_corrected(const char *at, const char *correction)
{
	world_begin(world, 0, at);
	cr_assert_eq(engine_subscribe(node->engine, "a", 1), 0);
	UNTIL(world, proxy.accepted >= 6);
	cr_assert(!engine_up(node->engine));
	cr_assert_eq(node->restored, 0);
	cr_assert_eq(node_try_publish(node, "a", MSG_TEXT, "x", 1, 1), FAN_EDOWN);
	call(correction, "+OK");
	UNTIL(world, node->restored == 1 && node->subscribed == 1);
}

/* What is lost of a channel before the engine is up, no `interrupted` would tell. */
Test(redis_only, no_channel_is_live_before_the_engine_is_up)
{
	char at[256];

	call("ACL SETUSER app on >pw resetchannels &fanfare:* +subscribe +unsubscribe", "+OK");
	(void)snprintf(at, sizeof(at), "unix://app:pw@%s", proxy.path);
	node->conf.redis.canary = 200;
	world_begin(world, 0, at);
	cr_assert_eq(engine_subscribe(node->engine, "a", 1), 0);
	/* Confirmed by Redis, and lost again because the canary is refused. */
	UNTIL(world, proxy.accepted >= 6);
	cr_assert_eq(node->subscribed, 0);
	call("ACL SETUSER app +publish", "+OK");
	UNTIL(world, node->restored == 1 && node->subscribed == 1);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->published == 1);
	cr_assert_eq(node->subscribed, 1);
}

Test(redis_only, wrong_password_stays_down_until_it_is_right)
{
	char at[256];

	call("CONFIG SET requirepass right", "+OK");
	(void)snprintf(at, sizeof(at), "unix://:wrong@%s", proxy.path);
	world_begin(world, 0, at);
	UNTIL(world, proxy.accepted >= 6);
	cr_assert(!engine_up(node->engine));
	world_close(world, 0);
	redis_server_kill(&server);
	redis_server_restart(&server);
	call("CONFIG SET requirepass right", "+OK");
	(void)snprintf(at, sizeof(at), "unix://:right@%s", proxy.path);
	world_open(world, 0, at);
}

Test(redis_only, unknown_user_stays_down_until_it_is_known)
{
	char at[256];

	(void)snprintf(at, sizeof(at), "unix://app:pw@%s", proxy.path);
	stays_down_until_corrected(
	    at, "ACL SETUSER app on >pw resetchannels &fanfare:* +publish +subscribe +unsubscribe");
}

Test(redis_only, missing_password_stays_down_until_none_is_needed)
{
	call("ACL SETUSER admin on nopass +@all ~* &*", "+OK");
	call("ACL SETUSER default resetchannels", "+OK");
	stays_down_until_corrected(proxy_url, "ACL SETUSER default allchannels");
}

Test(redis_only, database_that_is_not_there_stays_down)
{
	char at[256];

	(void)snprintf(at, sizeof(at), "unix://%s?db=99", proxy.path);
	world_begin(world, 0, at);
	UNTIL(world, proxy.accepted >= 4);
	cr_assert(!engine_up(node->engine));
}

/* --- outages ---------------------------------------------------------------------------------- */

Test(redis_only, starts_before_redis)
{
	int i;

	redis_server_kill(&server);
	world_begin(world, 0, url);
	cr_assert_eq(engine_subscribe(node->engine, "a", 1), 0);
	for (i = 0; i < 40; i++) /* a few attempts fail */
		world_pass(world);
	cr_assert(!engine_up(node->engine));
	redis_server_restart(&server);
	UNTIL(world, node->restored == 1 && node->subscribed == 1);
	call("PUBLISH fanfare:a x", ":1\r\n");
	UNTIL(world, node->messages == 1);
}

Test(redis_only, killed_and_restarted)
{
	char name[32];
	unsigned i;

	world_open(world, 0, url);
	for (i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "many:%u", i);
		cr_assert_eq(engine_subscribe(node->engine, name, strlen(name)), 0);
	}
	UNTIL(world, node->subscribed == 1000);
	/* Stopped first, so that every publish is still under way when it dies. */
	cr_assert(kill(server.pid, SIGSTOP) == 0);
	for (i = 0; i < 100; i++)
		node_publish(world, 0, "many:1", MSG_TEXT, "lost", 4, i);
	engine_flush(node->engine);
	redis_server_kill(&server);
	UNTIL(world, node->interrupted == 1 && node->published == 100);
	for (i = 0; i < 100; i++)
		cr_assert_eq(node->status[i], FAN_EDOWN);
	cr_assert(!engine_up(node->engine));
	cr_assert_eq(node_try_publish(node, "a", MSG_TEXT, "x", 1, 100), FAN_EDOWN);
	/* What changes meanwhile counts. */
	engine_unsubscribe(node->engine, "many:0", 6);
	engine_unsubscribe(node->engine, "many:2", 6);
	cr_assert_eq(engine_subscribe(node->engine, "many:2", 6), 0);
	cr_assert_eq(engine_subscribe(node->engine, "new", 3), 0);
	redis_server_restart(&server);
	UNTIL(world, node->restored == 2 && node->subscribed == 1002);
	call("PUBLISH fanfare:many:0 x", ":0\r\n");
	call("PUBLISH fanfare:many:2 x", ":1\r\n");
	call("PUBLISH fanfare:new x", ":1\r\n");
	node_clear(node);
	for (i = 1; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "many:%u", i);
		node_publish(world, 0, name, MSG_TEXT, "back", 4, 1000 + i);
	}
	node_fence(world, 0, 2000);
	cr_assert_eq(node->messages, 999 + 2);
	cr_assert_eq(node->subscribed, 1002, "channels that were live are not told again");
}

Test(redis_only, killed_again_and_again)
{
	unsigned i;

	world_open(world, 0, url);
	node_subscribe(world, 0, "a");
	for (i = 0; i < 5; i++) {
		redis_server_kill(&server);
		UNTIL(world, node->interrupted == i + 1);
		redis_server_restart(&server);
		UNTIL(world, node->restored == i + 2);
		node_publish(world, 0, "a", MSG_TEXT, "x", 1, i);
		UNTIL(world, node->messages == i + 1);
	}
}

Test(redis_only, loss_of_the_command_link_interrupts_nobody)
{
	world_open(world, 0, proxy_url);
	node_subscribe(world, 0, "a");
	proxy_hole(&proxy, PROXY_COMMANDS);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	engine_flush(node->engine);
	proxy_cut(&proxy, PROXY_COMMANDS);
	UNTIL(world, node->answers[1] == 1);
	cr_assert_eq(node->status[1], FAN_EDOWN);
	cr_assert(!engine_up(node->engine));
	cr_assert_eq(node_try_publish(node, "a", MSG_TEXT, "x", 1, 2), FAN_EDOWN);
	call("PUBLISH fanfare:a meanwhile", ":1\r\n");
	UNTIL(world, engine_up(node->engine));
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 3);
	node_fence(world, 0, 4);
	cr_assert_eq(node->messages, 2);
	cr_assert(node_has(node, 0, "a", MSG_TEXT, "meanwhile", 9));
	cr_assert_eq(node->interrupted, 0);
	cr_assert_eq(node->restored, 1);
}

Test(redis_only, loss_of_the_subscriber_link_interrupts)
{
	world_open(world, 0, proxy_url);
	node_subscribe(world, 0, "a");
	proxy_cut(&proxy, PROXY_SUBSCRIBER);
	UNTIL(world, node->interrupted == 1);
	UNTIL(world, node->restored == 2);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->published == 1);
}

/* What was answered with FAN_EDOWN must not be published by the next connection. */
Test(redis_only, unsent_commands_die_with_their_link)
{
	world_open(world, 0, proxy_url);
	node_subscribe(world, 0, "a");
	proxy_cut(&proxy, PROXY_COMMANDS);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	while (node->answers[1] == 0) /* without a flush */
		cr_assert(event_base_loop(world->base, EVLOOP_ONCE) >= 0);
	cr_assert_eq(node->status[1], FAN_EDOWN);
	UNTIL(world, engine_up(node->engine));
	node_fence(world, 0, 2);
	cr_assert_eq(node->messages, 0);
}

/* The command link works; only the canary tells that nothing is heard. */
Test(redis_only, deaf_subscriber_is_found_by_the_canary)
{
	node->conf.redis.canary = 200;
	world_open(world, 0, proxy_url);
	node_subscribe(world, 0, "a");
	proxy_hole(&proxy, PROXY_SUBSCRIBER);
	UNTIL(world, node->interrupted == 1);
	UNTIL(world, node->restored == 2);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->published == 1);
}

/* No RST, no FIN: only the clock tells. */
Test(redis_only, black_hole_is_found_by_the_missing_answer)
{
	node->conf.redis.timeout = 200;
	world_open(world, 0, proxy_url);
	node_subscribe(world, 0, "a");
	proxy_hole(&proxy, PROXY_SUBSCRIBER);
	proxy_hole(&proxy, PROXY_COMMANDS);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->interrupted == 1 && node->answers[1] == 1);
	cr_assert_eq(node->status[1], FAN_EDOWN);
	UNTIL(world, node->restored == 2);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 2);
	UNTIL(world, node->messages == 1 && node->answers[2] == 1);
}

Test(redis_only, paused_redis_is_noticed_and_comes_back)
{
	node->conf.redis.canary = 200;
	node->conf.redis.timeout = 300;
	world_open(world, 0, url);
	node_subscribe(world, 0, "a");
	cr_assert(kill(server.pid, SIGSTOP) == 0);
	UNTIL(world, node->interrupted == 1);
	cr_assert(kill(server.pid, SIGCONT) == 0);
	UNTIL(world, node->restored == 2);
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->published == 1);
}

Test(redis_only, bytes_under_way_are_bounded)
{
	static uint8_t large[1 << 20];
	uint64_t token = 0;
	int err = 0;

	node->conf.redis.queue = 10000;
	world_open(world, 0, url);
	/* More than the queue is let through where nothing else is under way. */
	node_publish(world, 0, "a", MSG_BINARY, large, sizeof(large), token++);
	cr_assert_eq(node_try_publish(node, "a", MSG_TEXT, "x", 1, token), FAN_EFULL);
	UNTIL(world, node->published == token);
	cr_assert(kill(server.pid, SIGSTOP) == 0);
	while (token < 1000 && err == 0) {
		err = node_try_publish(node, "a", MSG_TEXT, "0123456789", 10, token);
		token += err == 0;
	}
	cr_assert_eq(err, FAN_EFULL);
	cr_assert(token > 50 && token < 500, "%u were taken", (unsigned)token);
	cr_assert(kill(server.pid, SIGCONT) == 0);
	UNTIL(world, node->published == token);
	node_fence(world, 0, token);
}

/* --- a Redis that misbehaves ------------------------------------------------------------------ */

Test(redis_only, replies_split_at_every_byte)
{
	char at[256];
	uint64_t i;

	proxy.step = 1;
	call("CONFIG SET requirepass pw", "+OK");
	(void)snprintf(at, sizeof(at), "unix://:pw@%s?db=1", proxy.path);
	world_open(world, 0, at);
	node_subscribe(world, 0, "a");
	for (i = 0; i < 20; i++)
		node_publish(world, 0, "a", i % 2 == 0 ? MSG_TEXT : MSG_BINARY, "x\r\ny", 4, i);
	UNTIL(world, node->messages == 20 && node->published == 20);
	for (i = 0; i < 20; i++)
		cr_assert(node_has(node, i, "a", i % 2 == 0 ? MSG_TEXT : MSG_BINARY, "x\r\ny", 4));
	cr_assert_eq(node->interrupted, 0);
}

static long
peak_kib(void)
{
	char line[128];
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "re");

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "VmPeak:", 7) == 0)
			kib = strtol(line + 7, NULL, 10);
	}
	cr_assert(fclose(f) == 0);
	return kib;
}

#define BYTES(s)                                                                                   \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}

static const struct {
	const char *data;
	size_t len;
} malformed[] = {
	BYTES("*2147483647\r\n"),
	BYTES("*4294967297\r\n"),
	BYTES("*9223372036854775807\r\n"),
	BYTES("*99999999999999999999\r\n"),
	BYTES("*-5\r\n"),
	BYTES("*-1\r\n"),
	BYTES("*0\r\n"),
	BYTES("*17\r\n"),
	BYTES("*x\r\n"),
	BYTES("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"),
	BYTES("*3\r\n*0\r\n"),
	BYTES("*1\r\n*3\r\n$7\r\nmessage\r\n$9\r\nfanfare:a\r\n$1\r\nx\r\n"),
	BYTES("$-5\r\n"),
	BYTES("$-1\r\n"),
	BYTES("$x\r\n"),
	BYTES("$67112961\r\n"),
	BYTES("$2147483647\r\n"),
	BYTES("$9223372036854775807\r\n"),
	BYTES("$18446744073709551615\r\n"),
	BYTES("*3\r\n$7\r\nmessage\r\n$1073741824\r\nx"),
	BYTES("*3\r\n$7\r\nmessage\r\n$9\r\nfanfare:a\r\n$1073741824\r\nx"),
	BYTES("*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n"),
	BYTES("*3\r\n$7\r\nmessage\r\n$9\r\nfanfare:a\r\n:2\r\n"),
	BYTES("*3\r\n$7\r\nmessage\r\n$9\r\nfanfare:a\r\n$-1\r\n"),
	BYTES("*3\r\n$8\r\nmessages\r\n$9\r\nfanfare:a\r\n$1\r\nx\r\n"),
	BYTES("*3\r\n$9\r\nsubscribe\r\n$9\r\nfanfare:a\r\n:1\r\n"),
	BYTES("*3\r\n$9\r\nsubscribe\r\n$9\r\nfanfare:z\r\n:1\r\n"),
	BYTES("*3\r\n$11\r\nunsubscribe\r\n$9\r\nfanfare:a\r\n:1\r\n"),
	BYTES("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"),
	BYTES("*2\r\n$7\r\nmessage\r\n$9\r\nfanfare:a\r\n"),
	BYTES("*1\r\n$7\r\nmessage\r\n"),
	BYTES("+OK\r\n"),
	BYTES(":1\r\n"),
	BYTES(":x\r\n"),
	BYTES("-ERR nobody asked\r\n"),
	BYTES("-\r\n"),
	BYTES("hello\r\n"),
	BYTES("\r\n"),
	BYTES("\0\0\0\0"),
	BYTES("\xff\xff\xff\xff"),
};
#define MALFORMED (sizeof(malformed) / sizeof(malformed[0]))

/* The bytes cost the link, and nothing else. */
static void
costs_the_link(enum proxy_role role, const void *data, size_t len)
{
	unsigned before;

	world_open(world, 0, proxy_url);
	node_subscribe(world, 0, "a");
	before = proxy.accepted;
	proxy_inject(&proxy, role, data, len);
	UNTIL(world, proxy.accepted == before + 1);
	UNTIL(world, engine_up(node->engine));
	cr_assert_eq(node->interrupted, role == PROXY_SUBSCRIBER);
	node_clear(node);
	node_fence(world, 0, node->published);
	cr_assert_eq(node->messages, 0);
	world_close(world, 0);
}

Test(redis_only, malformed_replies_cost_the_subscriber_link)
{
	long peak = 0;
	size_t i;

	for (i = 0; i < MALFORMED; i++) {
		costs_the_link(PROXY_SUBSCRIBER, malformed[i].data, malformed[i].len);
		if (i == 0)
			peak = peak_kib();
	}
	cr_assert_lt(peak_kib() - peak, 64 * 1024, "nothing is allocated from a length");
}

Test(redis_only, malformed_replies_cost_the_command_link)
{
	size_t i;

	for (i = 0; i < MALFORMED; i++)
		costs_the_link(PROXY_COMMANDS, malformed[i].data, malformed[i].len);
}

Test(redis_only, endless_lines_and_names_cost_the_link)
{
	static char text[8192];
	int n = snprintf(text, sizeof(text), "*3\r\n$7\r\nmessage\r\n$2000\r\n");

	memset(text + n, 'x', 2000);
	memcpy(text + n + 2000, "\r\n$1\r\nx\r\n", 9);
	costs_the_link(PROXY_SUBSCRIBER, text, (size_t)n + 2009);
	memset(text, '1', sizeof(text));
	text[0] = '+';
	costs_the_link(PROXY_SUBSCRIBER, text, sizeof(text));
	text[0] = ':';
	costs_the_link(PROXY_COMMANDS, text, sizeof(text));
	text[0] = '$';
	costs_the_link(PROXY_SUBSCRIBER, text, sizeof(text));
	text[0] = '*';
	costs_the_link(PROXY_SUBSCRIBER, text, sizeof(text));
}

/* Redis's own words for a refusal, each to a publish that it did not carry out. */
Test(redis_only, refusals_of_a_publish)
{
	static const struct {
		const char *line;
		int status;
	} cases[] = {
		{ "-OOM command not allowed when used memory > 'maxmemory'.\r\n", FAN_EDENIED },
		{ "-READONLY You can't write against a read only replica.\r\n", FAN_EDENIED },
		{ "-NOAUTH Authentication required.\r\n", FAN_EDENIED },
		{ "-MISCONF Redis is configured to save RDB snapshots\r\n", FAN_EDENIED },
		{ "-NOPERM this user has no permissions\r\n", FAN_EDENIED },
		{ "-ERR unknown command\r\n", FAN_EDENIED },
		{ "-\r\n", FAN_EDENIED },
		{ "-LOADING Redis is loading the dataset in memory\r\n", FAN_EDOWN },
		{ "-BUSY Redis is busy running a script.\r\n", FAN_EDOWN },
		{ "-MASTERDOWN Link with MASTER is down\r\n", FAN_EDOWN },
	};
	uint64_t i;

	world_open(world, 0, proxy_url);
	/* By the second, what the engine asks for at the beginning has been answered. */
	node_fence(world, 0, 100);
	node_fence(world, 0, 101);
	proxy_hole(&proxy, PROXY_COMMANDS);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		node_publish(world, 0, "a", MSG_TEXT, "x", 1, i);
		engine_flush(node->engine);
		proxy_inject(&proxy, PROXY_COMMANDS, cases[i].line, strlen(cases[i].line));
		UNTIL(world, node->answers[i] == 1);
		cr_assert_eq(node->status[i], cases[i].status, "%s", cases[i].line);
	}
	cr_assert_eq(node->interrupted, 0);
	cr_assert(engine_up(node->engine));
}

Test(redis_only, forged_canaries_are_ignored)
{
	char out[256], words[128], name[64];

	world_open(world, 0, url);
	redis_server_call(&server, "PUBSUB CHANNELS fanfare:!canary:*", NULL, 0, out, sizeof(out));
	cr_assert_eq(sscanf(out, "*1 $%*d %63s", name), 1, "%s", out);
	(void)snprintf(words, sizeof(words), "PUBLISH %s", name);
	redis_server_call(&server, words, "", 0, out, sizeof(out));
	redis_server_call(&server, words, "x", 1, out, sizeof(out));
	redis_server_call(&server, words, "18446744073709551616", 20, out, sizeof(out));
	node_fence(world, 0, 1);
	cr_assert_eq(node->messages, 0);
	cr_assert_eq(node->interrupted, 0);
}
