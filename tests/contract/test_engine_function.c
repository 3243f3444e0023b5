/*
 * The functions inside Redis (broker/engine/function.lua): how they come there, who may call them, and
 * which keys they use.
 */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/redis_glob.h"
#include "common/buf.h"
#include "common/records.h"
#include "tests/contract/proxy.h"
#include "tests/contract/redis_server.h"
#include "tests/contract/world.h"

static struct redis_server server;
static struct world *world;
static struct node *node;
static struct proxy proxy;
static char url[256];

static void
setup(void)
{
	redis_server_start(&server);
	world = world_new();
	node = &world->node[0];
	proxy_open(&proxy, world->base, server.dir, server.sock);
	(void)snprintf(url, sizeof(url), "unix://%s", proxy.path);
}

static void
teardown(void)
{
	proxy_close(&proxy);
	world_free(world);
	redis_server_stop(&server);
}

TestSuite(function, .init = setup, .fini = teardown, .timeout = 100);

static bool
has(const char *words, const char *what)
{
	return strstr(redis_server_ask(&server, words), what) != NULL;
}

static void
restart(const char *conf)
{
	redis_server_kill(&server);
	server.conf = conf;
	redis_server_restart(&server);
}

/* Publishes `count` texts at once, each its number, and checks that all were taken in this order. */
static void
burst(const char *channel, unsigned count)
{
	unsigned want = node->published + count, i;
	struct position first;
	char text[16];

	for (i = 0; i < count; i++) {
		(void)snprintf(text, sizeof(text), "%u", i);
		node->answers[i] = 0;
		node_publish(world, 0, channel, MSG_TEXT, text, strlen(text), i);
		if (i == count / 2)
			world_pass(world);
	}
	UNTIL(world, node->published == want);
	first = node->pos[0];
	for (i = 0; i < count; i++) {
		cr_assert_eq(node->status[i], 0);
		cr_assert_eq(node->pos[i].offset, first.offset + i);
	}
}

/* --- coming there ----------------------------------------------------------------------------- */

Test(function, is_loaded_where_it_is_not_there_or_another)
{
	static const char another[] =
	    "#!lua name=fanfare\nredis.register_function('fanfare_version',"
	    "function() return 'another' end)";
	char out[64];

	world_open(world, 0, url);
	cr_assert(has("FUNCTION LIST LIBRARYNAME fanfare", "fanfare_publish"));
	world_close(world, 0);
	redis_server_expect(&server, "FUNCTION DELETE fanfare", "+OK");
	redis_server_call(&server, "FUNCTION LOAD", another, sizeof(another) - 1, out, sizeof(out));
	cr_assert_str_eq(out, "$7\r\nfanfare\r\n");
	world_open(world, 0, url);
	cr_assert(has("FUNCTION LIST LIBRARYNAME fanfare", "fanfare_publish"));
}

Test(function, is_not_loaded_again_by_every_node)
{
	world_open(world, 0, url);
	redis_server_expect(&server, "CONFIG RESETSTAT", "+OK");
	world_open(world, 1, url);
	cr_assert(!has("INFO commandstats", "cmdstat_function|load"));
}

Test(function, flushed_in_mid_flight)
{
	unsigned i;

	world_open(world, 0, url);
	node_subscribe(world, 0, "h:a");
	for (i = 0; i < 3; i++) {
		redis_server_expect(&server, "FUNCTION FLUSH", "+OK");
		node_clear(node);
		burst("h:a", 100);
		UNTIL(world, node->messages == 100);
	}
	cr_assert_eq(node->interrupted, 0);
}

/* It is repeated once, and a second refusal is the answer. */
Test(function, cannot_be_kept)
{
	world_open(world, 0, url);
	node_fence(world, 0, 100);
	node_fence(world, 0, 101);
	proxy_hole(&proxy, PROXY_COMMANDS);
	node_publish(world, 0, "h:a", MSG_TEXT, "x", 1, 1);
	engine_flush(node->engine);
	proxy_inject(&proxy, PROXY_COMMANDS, "-ERR Function not found\r\n", 25);
	world_wait(world, 50);
	cr_assert_eq(node->answers[1], 0);
	proxy_inject(&proxy, PROXY_COMMANDS, "-ERR Function not found\r\n$7\r\nfanfare\r\n", 38);
	world_wait(world, 50);
	cr_assert_eq(node->answers[1], 0);
	proxy_inject(&proxy, PROXY_COMMANDS, "-ERR Function not found\r\n", 25);
	UNTIL(world, node->answers[1] == 1);
	cr_assert_eq(node->status[1], FAN_EDOWN);
}

/* Publishes to h:a from a node until Redis has answered. */
static void
publish_and_wait(size_t i, uint64_t token)
{
	struct node *n = &world->node[i];

	n->answers[token] = 0;
	node_publish(world, i, "h:a", MSG_TEXT, "x", 1, token);
	UNTIL(world, n->answers[token] == 1);
}

/* As in a deployment that goes from node to node: a message is kept where its publisher's rule says so. */
Test(function, nodes_with_other_rules)
{
	static char q[] = "q:*", h[] = "h:*";
	static struct conf_rule rules[] = { { .match = q, .history = { 9, 60000 } },
		{ .match = h, .history = { 5, 60000 } } };
	const char *loads;
	uint64_t i, end;

	world_open(world, 0, url);
	(void)node_put(world, 0, "h:a", "1", "");
	world->node[1].conf.channels.item = rules;
	world->node[1].conf.channels.n = 1;
	world_open(world, 1, url);
	cr_assert_eq(node_put(world, 0, "h:a", "2", "").offset, 2);
	cr_assert_eq(node_history(world, 0, "h:a", (struct engine_query){ 0 }).offset, 2);
	world_close(world, 1);
	/* Both want theirs all the time. */
	world->node[1].conf.channels.n = 2;
	redis_server_expect(&server, "CONFIG RESETSTAT", "+OK");
	world_open(world, 1, url);
	end = clock_ms() + 2500;
	for (i = 0; clock_ms() < end; i++) {
		publish_and_wait(0, i % 100);
		publish_and_wait(1, i % 100);
		cr_assert(node->status[i % 100] == 0 || node->status[i % 100] == FAN_EDOWN);
		cr_assert(node->status[i % 100] != 0 || node->pos[i % 100].offset > 2);
	}
	loads =
	    strstr(redis_server_ask(&server, "INFO commandstats"), "cmdstat_function|load:calls=");
	cr_assert_not_null(loads);
	cr_assert_leq(strtoul(loads + 28, NULL, 10), 12);
	cr_assert(node->interrupted == 0 && world->node[1].interrupted == 0);
}

/* Whoever answers so: what has no position was not kept, and is not history. */
Test(function, answers_without_a_position_are_no_success)
{
	static const char other[] =
	    "#!lua name=fanfare\n"
	    "local function add(name, f) redis.register_function('fanfare_' .. name, f) "
	    "redis.register_function(";
	static const char rest[] =
	    "' .. name, f) end\n"
	    "add('publish', function() return { 0, '' } end) "
	    "add('history', function() return { 0, '', '' } end) "
	    "add('attach', function() return 1 end) add('renew', function() return { 1, '' } end)";
	char version[20], text[1024], out[64];
	int n;

	world_open(world, 0, url);
	cr_assert_eq(
	    sscanf(redis_server_ask(&server, "FCALL fanfare_version 0"), "$16 %16s", version), 1);
	n = snprintf(text, sizeof(text), "%s'fanfare_%s_%s", other, version, rest);
	redis_server_call(&server, "FUNCTION LOAD REPLACE", text, (size_t)n, out, sizeof(out));
	cr_assert_str_eq(out, "$7\r\nfanfare\r\n");
	publish_and_wait(0, 1);
	cr_assert_eq(node->status[1], FAN_EDOWN);
	cr_assert_eq(
	    engine_history(node->engine, "h:a", 3, &(struct engine_query){ .limit = 1 }, 3), 0);
	UNTIL(world, node->past.answers == 1);
	cr_assert_eq(node->past.status, FAN_EDOWN);
	cr_assert(engine_up(node->engine));
}

static void
serves_all(void)
{
	struct position a, b;
	struct records rs;
	struct record r;

	node_subscribe(world, 0, "h:a");
	node_subscribe(world, 0, "j:a");
	a = node_put(world, 0, "h:a", "1", "key");
	b = node_put(world, 0, "h:a", "2", "key");
	cr_assert(a.offset == 1 && b.offset == 1 && position_same_epoch(&a, &b));
	node_publish(world, 0, "h:a", MSG_BINARY, "2", 1, 1);
	UNTIL(world, node->messages == 2);
	cr_assert(node_has(node, 1, "h:a", MSG_BINARY, "2", 1) && node->message[1].pos.offset == 2);
	(void)node_history(
	    world, 0, "h:a", (struct engine_query){ .limit = 10, .bytes = 1000, .reverse = true });
	rs = (struct records){ node->past.data, node->past.len };
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert(r.offset == 2 && r.kind == MSG_BINARY && r.len == 1);
	node_join(world, 0, "j:a", "c1", "ann", "");
	UNTIL(world, node->messages == 3);
	node_presence(world, 0, "j:a");
	cr_assert_gt(node->present.len, 0);
	node_leave(world, 0, "j:a", "c1");
	UNTIL(world, node->messages == 4);
	cr_assert(node->message[2].kind == MSG_JOIN && node->message[3].kind == MSG_LEAVE);
	b = node_forget(world, 0, "h:a");
	cr_assert(b.offset == 2 && position_same_epoch(&a, &b));
}

Test(function, is_a_script_where_functions_are_not_known)
{
	restart("rename-command FUNCTION \"\"\nrename-command FCALL \"\"\n"
		"rename-command FCALL_RO \"\"");
	world_open(world, 0, url);
	serves_all();
	redis_server_expect(&server, "SCRIPT FLUSH", "+OK");
	node_clear(node);
	burst("h:b", 50);
	cr_assert_eq(node->interrupted, 0);
}

Test(function, is_a_script_where_functions_are_not_allowed)
{
	char at[256];

	redis_server_expect(
	    &server, "ACL SETUSER app on >pw ~* &* +@all -function -fcall -fcall_ro", "+OK");
	(void)snprintf(at, sizeof(at), "unix://app:pw@%s", proxy.path);
	world_open(world, 0, at);
	serves_all();
}

/* What docs/PUBLISHING.md says a hub needs. */
Test(function, hub_with_the_least_rights)
{
	char at[256];

	redis_server_expect(&server,
	    "ACL SETUSER hub on >pw resetchannels &fanfare:* ~* -@all +subscribe +unsubscribe "
	    "+publish +fcall +function|load +info +time +xadd +xrange +xrevrange +hset +hget "
	    "+hmget +hgetall +hdel +hincrby +hexists +hscan +get +set +del +pexpire +zadd +zrem "
	    "+zscore +zrangebyscore +sadd +srem +srandmember +config|get",
	    "+OK");
	(void)snprintf(at, sizeof(at), "unix://hub:pw@%s", proxy.path);
	world_open(world, 0, at);
	serves_all();
	cr_assert(!has("ACL LOG", "fanfare"), "%s", redis_server_ask(&server, "ACL LOG"));
}

Test(function, cannot_be_had_at_all)
{
	char at[256];

	redis_server_expect(
	    &server, "ACL SETUSER app on >pw &* +publish +subscribe +unsubscribe", "+OK");
	(void)snprintf(at, sizeof(at), "unix://app:pw@%s", proxy.path);
	node->conf.redis.canary = 200;
	world_open(world, 0, at);
	node_subscribe(world, 0, "a");
	node_publish(world, 0, "a", MSG_TEXT, "x", 1, 1);
	UNTIL(world, node->messages == 1 && node->answers[1] == 1);
	cr_assert_eq(node->status[1], 0);
	node_publish(world, 0, "h:a", MSG_TEXT, "x", 1, 2);
	UNTIL(world, node->answers[2] == 1);
	cr_assert_eq(node->status[2], FAN_EDENIED);
	cr_assert_eq(
	    engine_history(node->engine, "h:a", 3, &(struct engine_query){ .limit = 1 }, 3), 0);
	cr_assert(node->past.answers == 1 && node->past.status == FAN_EDENIED);
	cr_assert_eq(engine_presence(node->engine, "p:a", 3, 4), 0);
	cr_assert(node->present.answers == 1 && node->present.status == FAN_EDENIED);
	/* It is tried again. */
	redis_server_expect(&server, "ACL SETUSER app ~* +@all", "+OK");
	do {
		world_pass(world);
		node->answers[5] = 0;
		node_publish(world, 0, "h:a", MSG_TEXT, "x", 1, 5);
		UNTIL(world, node->answers[5] == 1);
	} while (node->status[5] != 0);
	cr_assert_eq(node->pos[5].offset, 1);
}

/* --- backends --------------------------------------------------------------------------------- */

Test(function, backends_publish)
{
	world_open(world, 0, url);
	node_subscribe(world, 0, "h:a");
	node_subscribe(world, 0, "plain");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a one", "*2\r\n:1\r\n$16\r\n");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a two k", "*2\r\n:2\r\n$16\r\n");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a two k", "*2\r\n:2\r\n$16\r\n");
	redis_server_expect(&server, "FCALL fanfare_publish 1 plain three", "*2\r\n:0\r\n$0\r\n");
	UNTIL(world, node->messages == 3);
	cr_assert(node_has(node, 0, "h:a", MSG_TEXT, "one", 3) && node->message[0].pos.offset == 1);
	cr_assert(node_has(node, 1, "h:a", MSG_TEXT, "two", 3) && node->message[1].pos.offset == 2);
	cr_assert(node_has(node, 2, "plain", MSG_TEXT, "three", 5));
	cr_assert_eq(node->message[2].pos.epoch[0], '\0');
	redis_server_expect(&server, "FCALL fanfare_forget 1 h:a", "*2\r\n:2\r\n$16\r\n");
}

/* The rights that docs/PUBLISHING.md says a backend needs; and no others. */
Test(function, backend_with_the_least_rights)
{
	char out[256];

	world_open(world, 0, url);
	redis_server_expect(&server,
	    "ACL SETUSER default resetkeys resetchannels ~h:* ~fanfare:{h:*}:* &fanfare:h:* "
	    "-@all +fcall +info +time +publish +hmget +hset +xadd +pexpire +get +set +del",
	    "+OK");
	redis_server_call(&server, "FCALL fanfare_publish 1 h:a one", NULL, 0, out, sizeof(out));
	cr_assert(strncmp(out, "*2\r\n:1\r\n", 8) == 0, "%s", out);
	redis_server_call(&server, "FCALL fanfare_publish 1 h:a two k", NULL, 0, out, sizeof(out));
	cr_assert(strncmp(out, "*2\r\n:2\r\n", 8) == 0, "%s", out);
	redis_server_call(&server, "FCALL fanfare_publish 1 x:a one", NULL, 0, out, sizeof(out));
	cr_assert(out[0] == '-', "%s", out);
	redis_server_call(&server, "GET fanfare:x", NULL, 0, out, sizeof(out));
	cr_assert(out[0] == '-', "%s", out);
}

Test(function, what_is_no_publication_is_refused)
{
	static char large[(64 << 20) + 1];
	char key[300], words[400], out[256];

	world_open(world, 0, url);
	redis_server_expect(&server, "FCALL fanfare_publish 0", "-");
	redis_server_expect(&server, "FCALL fanfare_publish 0 x", "-");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a", "-");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:{a} x", "-");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a* x", "-");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a\n x", "-");
	memset(key, 'k', sizeof(key));
	key[256] = '\0';
	(void)snprintf(words, sizeof(words), "FCALL fanfare_publish 1 h:a x %s", key);
	redis_server_expect(&server, words, "-");
	(void)snprintf(words, sizeof(words), "FCALL fanfare_publish 1 %s x", key);
	redis_server_expect(&server, words, "-");
	redis_server_call(
	    &server, "FCALL fanfare_publish 1 h:a", large, sizeof(large), out, sizeof(out));
	cr_assert(out[0] == '-', "%s", out);
	redis_server_expect(&server, "KEYS fanfare:*h:*", "*0");
	redis_server_expect(&server, "FCALL fanfare_history 1 h:{a}", "-");
	redis_server_expect(&server, "FCALL fanfare_forget 1 h:{a}", "-");
	redis_server_expect(&server, "FCALL fanfare_presence 1 h:{a}", "-");
	redis_server_expect(&server, "FCALL fanfare_join 1 h:{a} n c x", "-");
}

Test(function, refuses_where_redis_does)
{
	static const struct {
		const char *before, *after;
	} cases[] = {
		{ "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0" },
		{ "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0" },
		{ "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE" },
	};
	struct position pos;
	uint64_t i;

	world_open(world, 0, url);
	node_subscribe(world, 0, "h:a");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		redis_server_expect(&server, cases[i].before, "+OK");
		node_publish(world, 0, "h:a", MSG_TEXT, "x", 1, 10 + i);
		UNTIL(world, node->answers[10 + i] == 1);
		cr_assert_eq(node->status[10 + i], FAN_EDENIED, "%s", cases[i].before);
		redis_server_expect(&server, cases[i].after, "+OK");
	}
	pos = node_put(world, 0, "h:a", "x", "");
	cr_assert_eq(pos.offset, 1, "nothing of it was done");
	node_fence(world, 0, 1);
	cr_assert_eq(node->messages, 1);
}

/* Histories can be read, and members leave, when Redis has no memory left. */
Test(function, reads_without_memory)
{
	struct position top;

	world_open(world, 0, url);
	node_subscribe(world, 0, "j:a");
	(void)node_put(world, 0, "h:a", "1", "");
	node_join(world, 0, "j:a", "c", "ann", "");
	UNTIL(world, node->messages == 1);
	redis_server_expect(&server, "CONFIG SET maxmemory 1", "+OK");
	top = node_history(world, 0, "h:a", (struct engine_query){ .limit = 9, .bytes = 99 });
	cr_assert(top.offset == 1 && node->past.len == RECORD_HEAD + 1);
	node_leave(world, 0, "j:a", "c");
	UNTIL(world, node->messages == 2);
	cr_assert_eq(node->message[1].kind, MSG_LEAVE);
}

/* --- keys ------------------------------------------------------------------------------------- */

static unsigned
slot(const char *p, size_t n)
{
	unsigned crc = 0, bit;
	size_t i;

	for (i = 0; i < n; i++) {
		crc ^= (unsigned)(unsigned char)p[i] << 8;
		for (bit = 0; bit < 8; bit++)
			crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
		crc &= 0xffff;
	}
	return crc % 16384;
}

/* As Redis Cluster has it: what is in the first braces, else all. */
static unsigned
slot_of_key(const char *key, size_t n)
{
	const char *open = memchr(key, '{', n), *close;

	if (open != NULL) {
		close = memchr(open + 1, '}', n - (size_t)(open + 1 - key));
		if (close != NULL && close > open + 1)
			return slot(open + 1, (size_t)(close - open - 1));
	}
	return slot(key, n);
}

Test(function, keys_of_a_channel_share_its_slot)
{
	static const char name[] = "hj:a=b@c,d;e/f.g#h-i_j";
	const char *out, *p;
	unsigned n = 0;

	cr_assert_eq(slot("123456789", 9), 0x31c3);
	world_open(world, 0, url);
	(void)node_put(world, 0, name, "1", "a key {of} idempotency");
	node_join(world, 0, name, "c", "ann", "");
	node_presence(world, 0, name);
	out = redis_server_ask(&server, "KEYS fanfare:*");
	for (p = out; (p = strstr(p, "fanfare:")) != NULL; p++) {
		size_t len = strcspn(p, "\r");

		if (strncmp(p, "fanfare:{!", 10) == 0)
			continue;
		cr_assert_eq(slot_of_key(p, len), slot(name, strlen(name)), "%.*s", (int)len, p);
		n++;
	}
	cr_assert_eq(n, 5, "log, meta, key, members, users: %s", out);
}

Test(function, two_prefixes_share_a_redis)
{
	static char other[] = "other/", third[] = "third_1:";
	struct position pos;

	world_open(world, 0, url);
	world->node[1].conf.redis.prefix = other;
	world_open(world, 1, url);
	node_subscribe(world, 0, "h:a");
	node_subscribe(world, 1, "h:a");
	(void)node_put(world, 0, "h:a", "1", "k");
	(void)node_put(world, 0, "h:a", "2", "");
	pos = node_put(world, 1, "h:a", "1", "k");
	cr_assert_eq(pos.offset, 1);
	node_fence(world, 0, 1);
	node_fence(world, 1, 1);
	cr_assert(node->messages == 2 && world->node[1].messages == 1);
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a x", "*2\r\n:3");
	world_close(world, 1);
	world->node[1].conf.redis.prefix = third;
	world_open(world, 1, url);
	redis_server_expect(&server, "FCALL third_1_publish 1 h:a x", "*2\r\n:1");
	redis_server_expect(&server, "FCALL fanfare_publish 1 h:a x", "*2\r\n:4");
}

/* A channel's keys go a day after its history. */
Test(function, keys_do_not_stay_for_ever)
{
	const char *const keys[] = { "log", "meta", "key:k" };
	char words[64];
	size_t i;

	world_open(world, 0, url);
	(void)node_put(world, 0, "h:a", "1", "k");
	for (i = 0; i < 3; i++) {
		(void)snprintf(words, sizeof(words), "PTTL fanfare:{h:a}:%s", keys[i]);
		cr_assert_gt(
		    strtol(redis_server_ask(&server, words) + 1, NULL, 10), 1000, "%s", words);
	}
	node_join(world, 0, "p:a", "c", "ann", "");
	node_leave(world, 0, "p:a", "c");
	node_presence(world, 0, "p:a");
	UNTIL(world, !has("KEYS fanfare:{!nodes}:of:*", "fanfare"));
	redis_server_expect(&server, "KEYS fanfare:{p:a}:*", "*0");
}

/* Anybody may ask for channels that nobody uses. */
Test(function, a_channel_without_messages_is_soon_forgotten)
{
	static const char words[] = "PTTL fanfare:{h:a}:meta";
	long left;

	world_open(world, 0, url);
	(void)node_history(world, 0, "h:a", (struct engine_query){ 0 });
	left = strtol(redis_server_ask(&server, words) + 1, NULL, 10);
	cr_assert(left > 100000 && left <= 180000, "%ld", left);
	(void)node_history(world, 0, "h:a", (struct engine_query){ 0 });
	(void)node_forget(world, 0, "h:a");
	cr_assert_leq(strtol(redis_server_ask(&server, words) + 1, NULL, 10), 180000);
	(void)node_put(world, 0, "h:a", "1", "");
	(void)node_forget(world, 0, "h:a");
	(void)node_history(world, 0, "h:a", (struct engine_query){ 0 });
	cr_assert_gt(strtol(redis_server_ask(&server, words) + 1, NULL, 10), 86400000);
}

/* --- globs ------------------------------------------------------------------------------------ */

/* Lua says of each pair of lines, a name and a pattern, whether it finds the one in the other. */
static const char finder[] = "local out = {} "
			     "for name, pattern in ARGV[1]:gmatch('([^\\n]*)\\n([^\\n]*)\\n') do "
			     "out[#out + 1] = string.find(name, pattern) and '1' or '0' end "
			     "return table.concat(out)";

#define PAIRS 2000
#define ALPHABET "abyzAZ09:-._/"
#define GLOB_ALPHABET "ab-]z!^\\*?[[[]]:."

static void
random_text(char *out, size_t max, const char *alphabet)
{
	size_t n = (size_t)(rand() % (int)(max + 1)), i;

	for (i = 0; i < n; i++)
		out[i] = alphabet[(size_t)rand() % strlen(alphabet)];
	out[n] = '\0';
}

/* One glob of those that are written, with random letters. */
static void
random_glob(char out[64])
{
	static const char *const shapes[] = { "%c*", "*%c", "%c?%c", "[%c-%c]*", "[!%c]*",
		"[^%c%c]?*", "*[%c]*%c", "[]%c]*", "[[:alpha:]]%c*", "[[:digit:]-%c]*", "\\%c*",
		"[\\%c]*", "*%c*%c*", "[%c-%c-%c]", "[[:upper:][:punct:]]*%c", "[[.%c.]-z]*",
		"[[=%c=]]*" };
	const char *letters = "abz09:-";
	char c[3];
	size_t i;

	if (rand() % 2 == 0) {
		random_text(out, 10, GLOB_ALPHABET);
		return;
	}
	for (i = 0; i < 3; i++)
		c[i] = letters[(size_t)rand() % 7];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(out, 64, shapes[(size_t)rand() % (sizeof(shapes) / sizeof(shapes[0]))], c[0],
	    c[1], c[2]);
#pragma GCC diagnostic pop
}

Test(function, globs_mean_the_same_in_lua)
{
	static char glob[PAIRS][64], name[PAIRS][16], out[PAIRS + 64];
	char sha[41], words[64], *answers;
	struct buf pairs;
	unsigned i, round, matches = 0;

	srand(20);
	redis_server_call(&server, "SCRIPT LOAD", finder, sizeof(finder) - 1, out, sizeof(out));
	cr_assert_eq(sscanf(out, "$40 %40s", sha), 1, "%s", out);
	(void)snprintf(words, sizeof(words), "EVALSHA %s 0", sha);
	for (round = 0; round < 20; round++) {
		buf_init(&pairs, 1 << 20);
		for (i = 0; i < PAIRS; i++) {
			random_glob(glob[i]);
			random_text(name[i], 6, ALPHABET);
			cr_assert_eq(buf_printf(&pairs, "%s\n", name[i]), 0);
			cr_assert_eq(redis_glob_append(&pairs, glob[i]), 0);
			cr_assert_eq(buf_append(&pairs, "\n", 1), 0);
		}
		redis_server_call(
		    &server, words, buf_data(&pairs), buf_len(&pairs), out, sizeof(out));
		buf_fini(&pairs);
		cr_assert_eq(strtoul(out + 1, &answers, 10), PAIRS, "%.100s", out);
		for (i = 0; i < PAIRS; i++) {
			bool match = fnmatch(glob[i], name[i], 0) == 0;

			cr_assert_eq(
			    answers[2 + i] == '1', match, "glob %s, name %s", glob[i], name[i]);
			matches += match;
		}
	}
	cr_assert_gt(matches, 2000, "%u", matches);
}

/* --- presence in an outage -------------------------------------------------------------------- */

Test(function, a_join_that_was_lost_on_its_way_is_asked_for_again)
{
	world_open(world, 0, url);
	node_fence(world, 0, 1);
	node_fence(world, 0, 2);
	node->conf.presence.lease = 300;
	world_close(world, 0);
	world_open(world, 0, url);
	node_fence(world, 0, 3);
	proxy_hole(&proxy, PROXY_COMMANDS);
	node_join(world, 0, "p:a", "c", "ann", "");
	engine_flush(node->engine);
	proxy_cut(&proxy, PROXY_COMMANDS);
	UNTIL(world, node->restored == 2);
	cr_assert_eq(node->interrupted, 1);
	node_presence(world, 0, "p:a");
	cr_assert_eq(node->present.len, 0, "it is the hub who knows");
}

Test(function, members_are_asked_for_when_redis_has_forgotten_the_node)
{
	node->conf.presence.lease = 300;
	world_open(world, 0, url);
	node_join(world, 0, "p:a", "c", "ann", "");
	node_presence(world, 0, "p:a");
	cr_assert_gt(node->present.len, 0);
	redis_server_expect(&server, "FLUSHALL", "+OK");
	UNTIL(world, node->restored == 2);
	node_join(world, 0, "p:a", "c", "ann", "");
	node_presence(world, 0, "p:a");
	cr_assert_gt(node->present.len, 0);
}

/* --- events ----------------------------------------------------------------------------------- */

Test(function, events_go_to_a_bounded_stream)
{
	static char key[] = "app:events";
	static const char json[] = "{\"event\":\"connect\",\"client\":\"c1\"}";
	unsigned i;

	node->conf.events.stream = key;
	node->conf.events.length = 100;
	world_open(world, 0, url);
	engine_event(node->engine, json, strlen(json));
	node_fence(world, 0, 1);
	redis_server_expect(&server, "XRANGE app:events - +", "*1\r\n");
	cr_assert(has("XRANGE app:events - +",
	    "*4\r\n$5\r\nevent\r\n$7\r\nconnect\r\n$4\r\ndata\r\n$33\r\n{\"event\":\"connect\","
	    "\"client\":\"c1\"}\r\n"));
	for (i = 0; i < 1000; i++)
		engine_event(node->engine, json, strlen(json));
	node_fence(world, 0, 2);
	cr_assert_lt(strtol(redis_server_ask(&server, "XLEN app:events") + 1, NULL, 10), 300);
	redis_server_expect(&server, "DEL app:events", ":1");
	redis_server_expect(&server, "SET app:events x", "+OK");
	engine_event(node->engine, json, strlen(json));
	node_fence(world, 0, 3);
	cr_assert(engine_up(node->engine));
}
