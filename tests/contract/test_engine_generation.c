/*
 * Generations: a position of the redis engine never means other messages than it did, whatever became of
 * Redis; and where nothing was lost, it stays good if that can be proven.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/records.h"
#include "tests/contract/proxy.h"
#include "tests/contract/redis_server.h"
#include "tests/contract/world.h"

static struct redis_server server, second;
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
	node->conf.redis.canary = 300;
	/* The engine knows the address alone, behind which one server or the other is. */
	proxy_open(&proxy, world->base, server.dir, server.sock);
	(void)snprintf(url, sizeof(url), "unix://%s", proxy.path);
}

static void
teardown(void)
{
	proxy_close(&proxy);
	world_free(world);
	redis_server_stop(&server);
	redis_server_stop(&second);
}

TestSuite(generation, .init = setup, .fini = teardown, .timeout = 100);

/* As a backend does, which knows no hub. */
static struct position
raw_publish(const struct redis_server *s, const char *channel)
{
	char words[128], epoch[64] = "";
	struct position pos;
	unsigned long offset = 0;
	const char *out;

	(void)snprintf(words, sizeof(words), "FCALL fanfare_publish 1 %s raw", channel);
	out = redis_server_ask(s, words);
	cr_assert_eq(sscanf(out, "*2 :%lu $%*d %40s", &offset, epoch), 2, "%s", out);
	cr_assert_eq(position_set(&pos, offset, epoch, strlen(epoch)), 0);
	return pos;
}

static struct position
put(const char *text)
{
	return node_put(world, 0, "h:a", text, "");
}

static struct position
top(void)
{
	return node_history(world, 0, "h:a", (struct engine_query){ .limit = 0 });
}

static unsigned
kept(void)
{
	struct records rs;
	struct record r;
	unsigned n = 0;

	(void)node_history(
	    world, 0, "h:a", (struct engine_query){ .limit = 1000, .bytes = 1 << 20 });
	rs = (struct records){ node->past.data, node->past.len };
	while (records_next(&rs, &r) == 0)
		n++;
	return n;
}

/* Publishes as often until the hub has told the functions that writes are on disk. */
static struct position
put_durably(void)
{
	struct position pos;

	do {
		world_wait(world, 50); /* the history holds them all */
		pos = put("durable");
	} while (strncmp(redis_server_ask(&server, "HGET fanfare:{h:a}:meta durable"), "$1\r\n0",
		     5) == 0);
	return pos;
}

static void
restart(const char *conf)
{
	unsigned restored = node->restored;

	redis_server_kill(&server);
	server.conf = conf;
	redis_server_restart(&server);
	if (node->engine != NULL)
		UNTIL(world, node->restored > restored && engine_up(node->engine));
}

/* The file is made, after it was switched on or the data replaced. */
static void
until_rewritten(const struct redis_server *s)
{
	while (
	    strstr(redis_server_ask(s, "INFO persistence"), "aof_rewrite_in_progress:0") == NULL ||
	    strstr(redis_server_ask(s, "INFO persistence"), "aof_rewrite_scheduled:0") == NULL)
		world_pass(world);
}

#define ALWAYS "appendonly yes\nappendfsync always"
/* Where the lease must not be what decides. */
#define LONG 5000

static bool
trusted(const struct redis_server *s)
{
	return strncmp(redis_server_ask(s, "EXISTS fanfare:{!server}:trust"), ":1", 2) == 0;
}

/* --- one server ------------------------------------------------------------------------------- */

Test(generation, restart_with_an_old_snapshot)
{
	struct position before, after, next;

	world_open(world, 0, url);
	put("1");
	put("2");
	redis_server_expect(&server, "SAVE", "+OK");
	before = put("3");
	restart(NULL);
	after = top();
	cr_assert_eq(after.offset, 2, "the third is lost");
	cr_assert(!position_same_epoch(&before, &after));
	next = put("another third");
	cr_assert_eq(next.offset, 3);
	cr_assert(position_same_epoch(&next, &after));
	cr_assert_eq(kept(), 3, "messages stay");
}

Test(generation, restart_without_anything)
{
	struct position before, after;

	world_open(world, 0, url);
	before = put("1");
	restart(NULL);
	after = put("1");
	cr_assert_eq(after.offset, 1);
	cr_assert(!position_same_epoch(&before, &after));
}

Test(generation, restart_with_every_write_on_disk)
{
	struct position before, after;
	unsigned i, n;

	node->conf.redis.canary = LONG;
	restart(ALWAYS);
	world_open(world, 0, url);
	(void)put_durably();
	for (i = 0; i < 20; i++)
		before = put("x");
	n = (unsigned)before.offset;
	for (i = 0; i < 3; i++) {
		restart(ALWAYS);
		after = top();
		cr_assert_eq(after.offset, before.offset);
		cr_assert(position_same_epoch(&before, &after));
	}
	cr_assert_eq(kept(), n);
	after = put("next");
	cr_assert_eq(after.offset, before.offset + 1);
	cr_assert(position_same_epoch(&before, &after));
}

Test(generation, restart_with_a_file_that_lags)
{
	static const char *const confs[] = { "appendonly yes\nappendfsync everysec",
		"appendonly yes\nappendfsync no", ALWAYS "\nno-appendfsync-on-rewrite yes" };
	struct position before, after;
	size_t i;

	for (i = 0; i < 3; i++) {
		restart(confs[i]);
		if (i == 0)
			world_open(world, 0, url);
		put("1");
		world_wait(world, 700); /* some canaries */
		before = put("2");
		restart(confs[i]);
		after = top();
		cr_assert_eq(after.offset, before.offset);
		cr_assert(!position_same_epoch(&before, &after), "%s", confs[i]);
	}
}

/* Nothing was lost with ALWAYS alone, but that was not so from the beginning. */
Test(generation, settings_that_were_changed_count_when_the_hub_has_seen_them)
{
	struct position before, after;

	node->conf.redis.canary = 1000;
	world_open(world, 0, url);
	before = put("1");
	redis_server_expect(&server, "CONFIG SET appendonly yes appendfsync always", "+OK");
	restart(ALWAYS);
	after = top();
	cr_assert(!position_same_epoch(&before, &after), "written before");
	before = put_durably();
	/* No write follows, and yet it is not forgotten. */
	redis_server_expect(&server, "CONFIG SET appendfsync everysec", "+OK");
	UNTIL(world, !trusted(&server));
	world_wait(world, 1500); /* Redis writes every second */
	restart(ALWAYS);
	after = top();
	cr_assert(!position_same_epoch(&before, &after), "more may have been written");
}

/* The file knows nothing of its own end. */
static void
file_switched_off(unsigned restarts)
{
	static const char words[] = "HGET fanfare:{!server}:trust run";
	struct position before, lost, after;
	char run[64];

	restart(ALWAYS);
	world_open(world, 0, url);
	before = put_durably();
	(void)snprintf(run, sizeof(run), "%.63s", redis_server_ask(&server, words));
	redis_server_expect(&server, "CONFIG SET appendonly no", "+OK");
	world_wait(world, 3000);
	lost = put("lost");
	cr_assert(position_same_epoch(&before, &lost));
	restart(ALWAYS);
	if (restarts > 1) {
		UNTIL(
		    world, trusted(&server) && strcmp(redis_server_ask(&server, words), run) != 0);
		restart(ALWAYS);
	}
	after = top();
	cr_assert_lt(after.offset, lost.offset);
	cr_assert(!position_same_epoch(&before, &after));
}

Test(generation, restart_with_a_file_that_was_switched_off)
{
	file_switched_off(1);
}

/* What the second server began with is not made complete by its being trusted. */
Test(generation, second_restart_with_a_file_that_was_switched_off)
{
	file_switched_off(2);
}

/* What was switched on later proves nothing: the server began with something else. */
Test(generation, a_file_that_was_not_read_proves_nothing)
{
	struct position before, after;

	node->conf.redis.canary = LONG;
	restart(ALWAYS);
	world_open(world, 0, url);
	before = put_durably();
	redis_server_expect(&server, "SAVE", "+OK");
	put("lost");
	world_close(world, 0);
	restart(NULL);
	cr_assert(strncmp(redis_server_ask(&server, "HGET fanfare:{h:a}:meta durable"), "$10\r\n",
		      5) == 0);
	redis_server_expect(&server, "CONFIG SET appendonly yes appendfsync always", "+OK");
	until_rewritten(&server);
	after = raw_publish(&server, "h:a");
	cr_assert_eq(after.offset, before.offset + 1);
	cr_assert(!position_same_epoch(&before, &after));
}

Test(generation, backend_publishes_before_any_hub_is_back)
{
	struct position before, after;

	node->conf.redis.canary = LONG;
	restart(ALWAYS);
	world_open(world, 0, url);
	before = put_durably();
	world_close(world, 0);
	restart(ALWAYS);
	after = raw_publish(&server, "h:a");
	cr_assert_eq(after.offset, before.offset + 1);
	cr_assert(position_same_epoch(&before, &after), "all was there");
	restart(ALWAYS);
	before = after;
	after = raw_publish(&server, "h:a");
	cr_assert_eq(after.offset, before.offset + 1);
	cr_assert(!position_same_epoch(&before, &after), "nobody has looked at the settings");
	redis_server_expect(&server, "SAVE", "+OK");
	restart(NULL);
	before = after;
	after = raw_publish(&server, "h:a");
	cr_assert(!position_same_epoch(&before, &after));
}

Test(generation, flushed)
{
	struct position before, after;

	world_open(world, 0, url);
	put("1");
	before = put("2");
	redis_server_expect(&server, "FLUSHALL", "+OK");
	after = put("1");
	cr_assert_eq(after.offset, 1);
	cr_assert(!position_same_epoch(&before, &after));
	cr_assert_eq(kept(), 1);
}

Test(generation, only_one_of_the_keys_is_there)
{
	struct position before, after;

	world_open(world, 0, url);
	put("1");
	before = put("2");
	redis_server_expect(&server, "DEL fanfare:{h:a}:log", ":1");
	after = put("3");
	cr_assert(after.offset == 3 && position_same_epoch(&before, &after));
	cr_assert_eq(kept(), 1);
	redis_server_expect(&server, "DEL fanfare:{h:a}:meta", ":1");
	after = put("1");
	cr_assert(after.offset == 1 && !position_same_epoch(&before, &after));
	cr_assert_eq(kept(), 1, "what was kept under the old epoch is gone");
	/* Both, but not of the same time. */
	before = after;
	redis_server_expect(&server, "HSET fanfare:{h:a}:meta offset 0", ":0");
	after = put("1");
	cr_assert(after.offset == 1 && !position_same_epoch(&before, &after));
	cr_assert_eq(kept(), 1);
	/* The position alone is enough for a new one. */
	before = after;
	redis_server_expect(&server, "DEL fanfare:{h:a}:meta", ":1");
	after = top();
	cr_assert(after.offset == 0 && !position_same_epoch(&before, &after));
	cr_assert_eq(kept(), 0);
}

Test(generation, a_restart_is_no_gap_for_positions_that_are_asked_for)
{
	struct position a, b;

	world_open(world, 0, url);
	put("1");
	redis_server_expect(&server, "SAVE", "+OK");
	restart(NULL);
	a = top();
	b = top();
	cr_assert(position_same_epoch(&a, &b), "it changes once");
	cr_assert(strncmp(redis_server_ask(&server, "PTTL fanfare:{h:a}:meta"), ":8", 2) == 0,
	    "reading keeps it alive: %s", redis_server_ask(&server, "PTTL fanfare:{h:a}:meta"));
}

/* --- two servers ------------------------------------------------------------------------------ */

/* Makes `replica` follow `master` and waits until it has all. */
static void
follow(const struct redis_server *replica, const struct redis_server *master)
{
	char words[64];

	(void)snprintf(words, sizeof(words), "REPLICAOF 127.0.0.1 %d", master->port);
	redis_server_expect(replica, words, "+OK");
	while (
	    strstr(redis_server_ask(replica, "INFO replication"), "master_link_status:up") == NULL)
		world_pass(world);
}

/* What the channel's first `offset` messages wrote has come to the replica. */
static void
until_replicated(const struct redis_server *s, const char *offset)
{
	while (strstr(redis_server_ask(s, "HGET fanfare:{h:a}:meta offset"), offset) == NULL)
		world_pass(world);
}

/* The address belongs to that server from now on. */
static void
take_over(const struct redis_server *s)
{
	unsigned restored = node->restored;

	(void)snprintf(proxy.upstream, sizeof(proxy.upstream), "%s", s->sock);
	proxy_cut(&proxy, PROXY_COMMANDS);
	proxy_cut(&proxy, PROXY_SUBSCRIBER);
	UNTIL(world, node->restored > restored && engine_up(node->engine));
}

static void
promoted_without_the_last_writes(const char *conf)
{
	struct position common, lost, after, next;

	restart(conf);
	redis_server_start(&second);
	world_open(world, 0, url);
	follow(&second, &server);
	put("1");
	common = put("2");
	until_replicated(&second, "\r\n2\r\n");
	redis_server_expect(&second, "REPLICAOF NO ONE", "+OK");
	/* They are on the first alone. */
	put("lost");
	lost = put("lost");
	cr_assert_eq(lost.offset, 4);
	cr_assert(position_same_epoch(&common, &lost));
	take_over(&second);
	after = top();
	cr_assert_eq(after.offset, 2);
	cr_assert(!position_same_epoch(&lost, &after));
	put("another third");
	next = put("another fourth");
	cr_assert_eq(next.offset, 4, "the numbers are used again");
	cr_assert(position_same_epoch(&next, &after), "under the new epoch");
	/* Back to the first, whose messages are still there. */
	take_over(&server);
	after = top();
	cr_assert(after.offset == 4 && !position_same_epoch(&next, &after));
}

Test(generation, replica_without_the_last_writes_is_promoted)
{
	promoted_without_the_last_writes(NULL);
}

/* That every write is on disk says nothing about another server's disk. */
Test(generation, replica_without_the_last_durable_writes_is_promoted)
{
	promoted_without_the_last_writes(ALWAYS);
}

/* The last write was durable, on a server alone.  Only then it got a replica, which has all of that. */
Test(generation, replica_of_a_server_that_was_alone)
{
	struct position durable, lost, after;

	node->conf.redis.canary = LONG;
	restart(ALWAYS);
	redis_server_start(&second);
	redis_server_kill(&second);
	second.conf = ALWAYS;
	redis_server_restart(&second);
	world_open(world, 0, url);
	durable = put_durably();
	follow(&second, &server);
	until_rewritten(&second);
	redis_server_expect(&second, "REPLICAOF NO ONE", "+OK");
	lost = put("lost");
	take_over(&second);
	/* The hub has seen that this server came by its data from another, and that is remembered. */
	UNTIL(world, !trusted(&second));
	world_close(world, 0);
	redis_server_kill(&second);
	redis_server_restart(&second);
	after = raw_publish(&second, "h:a");
	cr_assert_eq(after.offset, lost.offset);
	cr_assert(!position_same_epoch(&durable, &after) && !position_same_epoch(&lost, &after));
}

/* The process is the same all the time, but not its data. */
Test(generation, demoted_and_promoted_in_one_process)
{
	struct position lost, after;

	redis_server_start(&second);
	world_open(world, 0, url);
	follow(&second, &server);
	put("1");
	put("2");
	until_replicated(&second, "\r\n2\r\n");
	redis_server_expect(&second, "REPLICAOF NO ONE", "+OK");
	lost = put("lost");
	cr_assert_eq(lost.offset, 3);
	follow(&server, &second);
	redis_server_expect(&server, "REPLICAOF NO ONE", "+OK");
	after = put("another third");
	cr_assert_eq(after.offset, 3);
	cr_assert(!position_same_epoch(&lost, &after));
}

Test(generation, replica_refuses_writes)
{
	redis_server_start(&second);
	world_open(world, 0, url);
	put("1");
	follow(&server, &second);
	node_publish(world, 0, "h:a", MSG_TEXT, "x", 1, 500);
	UNTIL(world, node->answers[500] == 1);
	cr_assert_neq(node->status[500], 0);
}
