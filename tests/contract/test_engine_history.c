/*
 * Contract of broker/engine/engine.h: histories and positions, the same cases for every engine.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/memory_history.h"
#include "common/records.h"
#include "tests/contract/world.h"

ENGINES(history);

#define MANY ((size_t)1 << 20) /* bytes */

static struct engine_query
since(uint64_t after, unsigned limit)
{
	return (struct engine_query){ .after = after, .limit = limit, .bytes = MANY };
}

static struct engine_query
before(uint64_t after, unsigned limit)
{
	return (
	    struct engine_query){ .after = after, .limit = limit, .bytes = MANY, .reverse = true };
}

/* Publishes the texts "m1" to "mCOUNT" from number `first` on, and waits for the answers. */
static void
fill(struct world *w, size_t i, const char *channel, unsigned first, unsigned count)
{
	struct node *n = &w->node[i];
	unsigned want = n->published + count, k;
	char text[16];

	for (k = first; k < first + count; k++) {
		(void)snprintf(text, sizeof(text), "m%u", k);
		n->answers[k] = 0;
		node_publish(w, i, channel, MSG_TEXT, text, strlen(text), k);
		if (k % 100 == 0)
			world_pass(w);
	}
	UNTIL(w, n->published == want);
	for (k = first; k < first + count; k++)
		cr_assert_eq(n->status[k], 0);
}

/* Whether the last answer holds the messages from `first` to `last`, in this order, as from fill. */
static bool
holds(const struct node *n, uint64_t first, uint64_t last)
{
	struct records rs = { n->past.data, n->past.len };
	uint64_t step = first <= last ? 1 : UINT64_MAX, want;
	struct record r;
	char text[16];

	for (want = first; want != last + step; want += step) {
		(void)snprintf(text, sizeof(text), "m%u", (unsigned)want);
		if (records_next(&rs, &r) != 0 || r.offset != want || r.kind != MSG_TEXT ||
		    r.len != strlen(text) || memcmp(r.data, text, r.len) != 0)
			return false;
	}
	return rs.n == 0;
}

static unsigned
records_of(const struct node *n)
{
	struct records rs = { n->past.data, n->past.len };
	struct record r;
	unsigned count = 0;
	int err;

	while ((err = records_next(&rs, &r)) == 0)
		count++;
	cr_assert_eq(err, FAN_ENOENT);
	return count;
}

static bool
same(struct position a, struct position b)
{
	return a.offset == b.offset && position_same_epoch(&a, &b);
}

CASE(history, numbers_from_one_in_one_epoch)
{
	struct position a, b, other;
	unsigned k;

	node_subscribe(w, 0, "h:a");
	a = node_put(w, 0, "h:a", "1", "");
	cr_assert_eq(a.offset, 1);
	for (k = 0; a.epoch[k] != '\0'; k++)
		cr_assert(isalnum((unsigned char)a.epoch[k]), "epoch %s", a.epoch);
	b = node_put(w, 0, "h:a", "2", "");
	cr_assert_eq(b.offset, 2);
	cr_assert(position_same_epoch(&a, &b));
	other = node_put(w, 0, "h:b", "1", "");
	cr_assert_eq(other.offset, 1, "each channel has numbers of its own");
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 2);
	cr_assert(same(n->message[0].pos, a), "messages carry their position");
	cr_assert(same(n->message[1].pos, b));
}

CASE(history, a_channel_without_messages_has_an_epoch)
{
	struct position empty, again, first;

	empty = node_history(w, 0, "h:new", since(0, 10));
	cr_assert_eq(empty.offset, 0);
	cr_assert_str_neq(empty.epoch, "");
	cr_assert_eq(n->past.len, 0);
	again = node_history(w, 0, "h:new", since(0, 0));
	cr_assert(same(empty, again));
	first = node_put(w, 0, "h:new", "m1", "");
	cr_assert_eq(first.offset, 1);
	cr_assert(position_same_epoch(&first, &empty), "who knew it empty has missed nothing");
}

CASE(history, reads_what_came_after)
{
	struct position top;

	fill(w, 0, "h:a", 1, 10);
	top = node_history(w, 0, "h:a", since(0, 100));
	cr_assert_eq(top.offset, 10);
	cr_assert(same(top, n->pos[10]));
	cr_assert(holds(n, 1, 10));
	(void)node_history(w, 0, "h:a", since(3, 4));
	cr_assert(holds(n, 4, 7), "the nearest first");
	(void)node_history(w, 0, "h:a", since(9, 4));
	cr_assert(holds(n, 10, 10));
	top = node_history(w, 0, "h:a", since(5, 0));
	cr_assert(top.offset == 10 && n->past.len == 0, "the position alone");
	for (uint64_t after = 10; after != 0; after *= 2) {
		top = node_history(w, 0, "h:a", since(after, 4));
		cr_assert(top.offset == 10 && n->past.len == 0, "after %ju", (uintmax_t)after);
	}
	(void)node_history(w, 0, "h:a", since(UINT64_MAX, 4));
	cr_assert_eq(n->past.len, 0);
	(void)node_history(w, 0, "h:a", since(INT64_MAX, 4));
	cr_assert_eq(n->past.len, 0);
}

CASE(history, reads_in_reverse)
{
	struct position top;

	fill(w, 0, "h:a", 1, 10);
	top = node_history(w, 0, "h:a", before(0, 100));
	cr_assert_eq(top.offset, 10);
	cr_assert(holds(n, 10, 1));
	(void)node_history(w, 0, "h:a", before(0, 3));
	cr_assert(holds(n, 10, 8));
	(void)node_history(w, 0, "h:a", before(8, 3));
	cr_assert(holds(n, 7, 5));
	(void)node_history(w, 0, "h:a", before(3, 3));
	cr_assert(holds(n, 2, 1));
	(void)node_history(w, 0, "h:a", before(1, 3));
	cr_assert_eq(n->past.len, 0);
	(void)node_history(w, 0, "h:a", before(11, 2));
	cr_assert(holds(n, 10, 9));
	(void)node_history(w, 0, "h:a", before(UINT64_MAX, 2));
	cr_assert(holds(n, 10, 9));
	(void)node_history(w, 0, "h:a", before(0, 0));
	cr_assert_eq(n->past.len, 0);
}

/* Ten messages of 1,000 bytes. */
CASE(history, reads_about_so_many_bytes)
{
	static char text[1001];
	struct engine_query q = since(0, 100);
	unsigned k, got;

	memset(text, 'x', sizeof(text) - 1);
	for (k = 0; k < 10; k++)
		(void)node_put(w, 0, "h:a", text, "");
	q.bytes = 3500;
	(void)node_history(w, 0, "h:a", q);
	got = records_of(n);
	cr_assert(got >= 2 && got <= 4, "%u messages", got);
	cr_assert_eq(records_check((struct records){ n->past.data, n->past.len }, 1), 0);
	q.reverse = true;
	(void)node_history(w, 0, "h:a", q);
	got = records_of(n);
	cr_assert(got >= 2 && got <= 4, "%u messages in reverse", got);
	q = since(4, 100);
	q.bytes = 1;
	(void)node_history(w, 0, "h:a", q);
	got = records_of(n);
	cr_assert(got >= 1 && got <= 2, "at least one: %u", got);
	cr_assert_eq(records_check((struct records){ n->past.data, n->past.len }, 5), 0);
}

CASE(history, keeps_the_last_of_the_rules_size)
{
	struct position top;

	fill(w, 0, "tiny:a", 1, 12);
	top = node_history(w, 0, "tiny:a", since(0, 100));
	cr_assert_eq(top.offset, 12);
	cr_assert(holds(n, 8, 12));
	(void)node_history(w, 0, "tiny:a", since(3, 2));
	cr_assert(holds(n, 8, 9), "what was trimmed is left out");
	(void)node_history(w, 0, "tiny:a", before(0, 100));
	cr_assert(holds(n, 12, 8));
	(void)node_history(w, 0, "tiny:a", before(8, 100));
	cr_assert_eq(n->past.len, 0);
	fill(w, 0, "tiny:a", 13, 300);
	(void)node_history(w, 0, "tiny:a", since(300, 100));
	cr_assert(holds(n, 308, 312));
}

CASE(history, expires_and_numbers_go_on)
{
	struct position top;

	fill(w, 0, "brief:a", 1, 3);
	top = n->pos[3];
	world_wait(w, WORLD_BRIEF_MS + 200);
	cr_assert(same(node_history(w, 0, "brief:a", since(0, 10)), top), "it stands as it did");
	cr_assert_eq(n->past.len, 0);
	(void)node_history(w, 0, "brief:a", before(0, 10));
	cr_assert_eq(n->past.len, 0);
	fill(w, 0, "brief:a", 4, 1);
	cr_assert_eq(n->pos[4].offset, 4);
	cr_assert(position_same_epoch(&n->pos[4], &top));
}

/* Both are there after longer than the ttl, if the test was not held up itself. */
CASE(history, the_last_message_keeps_all)
{
	uint64_t first, second;
	char name[32];
	unsigned k;

	for (k = 0; k < 20; k++) {
		(void)snprintf(name, sizeof(name), "brief:%u", k);
		first = clock_ms();
		fill(w, 0, name, 1, 1);
		world_wait(w, WORLD_BRIEF_MS / 2);
		second = clock_ms();
		fill(w, 0, name, 2, 1);
		if (clock_ms() - first >= WORLD_BRIEF_MS)
			continue;
		world_wait(w, WORLD_BRIEF_MS - (clock_ms() - first) + 10);
		(void)node_history(w, 0, name, since(0, 10));
		if (clock_ms() - second >= WORLD_BRIEF_MS)
			continue;
		cr_assert(holds(n, 1, 2));
		return;
	}
	cr_assert_fail("the machine is too slow for this test");
}

CASE(history, forgets_but_numbers_go_on)
{
	struct position top, left;

	fill(w, 0, "h:a", 1, 5);
	fill(w, 0, "h:b", 1, 2);
	top = node_history(w, 0, "h:a", since(0, 0));
	left = node_forget(w, 0, "h:a");
	cr_assert(same(left, top));
	cr_assert(same(node_history(w, 0, "h:a", since(0, 10)), top));
	cr_assert_eq(n->past.len, 0);
	(void)node_history(w, 0, "h:b", since(0, 10));
	cr_assert(holds(n, 1, 2), "others keep theirs");
	fill(w, 0, "h:a", 6, 2);
	cr_assert_eq(n->pos[7].offset, 7);
	cr_assert(position_same_epoch(&n->pos[7], &top));
	(void)node_history(w, 0, "h:a", since(5, 10));
	cr_assert(holds(n, 6, 7));
	left = node_forget(w, 0, "h:never");
	cr_assert_eq(left.offset, 0);
}

CASE(history, the_same_key_publishes_once)
{
	struct position first, again, next;

	node_subscribe(w, 0, "h:a");
	first = node_put(w, 0, "h:a", "one", "key");
	next = node_put(w, 0, "h:a", "two", "");
	again = node_put(w, 0, "h:a", "other bytes", "key");
	cr_assert(same(first, again));
	cr_assert_eq(next.offset, 2);
	cr_assert_eq(node_put(w, 0, "h:a", "three", "Key").offset, 3, "another key");
	cr_assert_eq(node_put(w, 0, "h:b", "one", "key").offset, 1, "another channel");
	cr_assert_eq(node_put(w, 0, "h:a", "two", "").offset, 4, "no key is no key");
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 4);
	cr_assert(node_has(n, 0, "h:a", MSG_TEXT, "one", 3));
	(void)node_history(w, 0, "h:a", since(0, 10));
	cr_assert_eq(records_of(n), 4);
	(void)node_forget(w, 0, "h:a");
	cr_assert_eq(node_history(w, 0, "h:a", since(0, 0)).offset, 4);
}

/* All under way at once. */
CASE(history, keys_in_one_burst)
{
	const char *const keys[3] = { "a", "b", "c" };
	unsigned k;

	node_subscribe(w, 0, "h:a");
	for (k = 0; k < 300; k++) {
		const struct engine_message m = { "h:a", 3, MSG_TEXT, (const uint8_t *)"x", 1,
			keys[k % 3], 1 };

		cr_assert_eq(engine_publish(n->engine, &m, k), 0);
	}
	UNTIL(w, n->published == 300);
	for (k = 0; k < 300; k++)
		cr_assert(n->status[k] == 0 && n->pos[k].offset == k % 3 + 1);
	node_fence(w, 0, 300);
	cr_assert_eq(n->messages, 3);
}

CASE(history, a_key_of_any_bytes)
{
	char name[255];
	struct engine_message m = { "h:a", 3, MSG_TEXT, (const uint8_t *)"x", 1, name, 1 };
	unsigned k, token = 0;

	for (k = 0; k < sizeof(name); k++)
		name[k] = (char)(k + 1);
	for (m.key_len = 1; m.key_len <= sizeof(name); m.key_len += 127) {
		cr_assert_eq(engine_publish(n->engine, &m, token++), 0);
		cr_assert_eq(engine_publish(n->engine, &m, token++), 0);
	}
	name[0] = '\0';
	m.key_len = 1;
	cr_assert_eq(engine_publish(n->engine, &m, token++), 0);
	m.key = "{}\r\n: *";
	m.key_len = 7;
	cr_assert_eq(engine_publish(n->engine, &m, token++), 0);
	UNTIL(w, n->published == token);
	for (k = 0; k < 6; k++)
		cr_assert_eq(n->pos[k].offset, k / 2 + 1);
	cr_assert_eq(n->pos[6].offset, 4);
	cr_assert_eq(n->pos[7].offset, 5);
}

CASE(history, a_key_is_forgotten_after_the_ttl)
{
	cr_assert_eq(node_put(w, 0, "brief:a", "1", "key").offset, 1);
	world_wait(w, WORLD_BRIEF_MS + 200);
	cr_assert_eq(node_put(w, 0, "brief:a", "2", "key").offset, 2);
	cr_assert_eq(n->published, 2);
}

CASE(history, plain_channels_have_none)
{
	struct position top;

	node_subscribe(w, 0, "plain");
	cr_assert_str_eq(node_put(w, 0, "plain", "1", "key").epoch, "");
	cr_assert_str_eq(node_put(w, 0, "plain", "1", "key").epoch, "", "keys have no effect");
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 2);
	cr_assert_str_eq(n->message[1].pos.epoch, "");
	top = node_history(w, 0, "plain", since(0, 10));
	cr_assert(top.offset == 0 && top.epoch[0] == '\0' && n->past.len == 0);
	cr_assert_str_eq(node_forget(w, 0, "plain").epoch, "");
}

CASE(history, internal_channels_have_none)
{
	static char all[] = "*";
	static struct conf_rule rule = { .match = all, .history = { 10, 60000 } };

	world_close(w, 0);
	n->conf.channels = (struct conf_rules){ &rule, 1 };
	world_open(w, 0, w->url);
	node_subscribe(w, 0, "!user:abc");
	cr_assert_eq(node_put(w, 0, "user", "1", "").offset, 1);
	cr_assert_str_eq(node_put(w, 0, "!user:abc", "1", "").epoch, "");
	UNTIL(w, n->messages == 1);
	cr_assert(node_has(n, 0, "!user:abc", MSG_TEXT, "1", 1));
}

/* Which rule applies is the same everywhere: what fnmatch and conf_rule_for say. */
CASE(history, rules_match_as_globs)
{
	static char globs[][24] = { "a?c", "[x-z]*", "[!a-w]:*", "lit.eral", "b*b*b", "-%.+^$",
		"\\*q", "e[", "*:end", "[]#]-", "[a-" };
	static const char *const names[] = { "abc", "ac", "a:c", "x", "x1", "y:/", "-:1", "A:9",
		"lit.eral", "litxeral", "bbb", "b1b2b3b", "b1b2b3", "-%.+^$", "*q", "q", "e[", "e",
		"x:end", ":end", "end", "w:end1", "#-", "]-", "a-", "[a-", "a", "1:1", "=" };
	static struct conf_rule rules[sizeof(globs) / sizeof(globs[0])];
	char channel[CHANNEL_NAME_MAX + 1];
	size_t k, tried = 0;

	for (k = 0; k < sizeof(globs) / sizeof(globs[0]); k++)
		rules[k] = (struct conf_rule){ .match = globs[k],
			.history = { k % 3 == 2 ? 0 : (int64_t)k + 1, 60000 } };
	world_close(w, 0);
	n->conf.channels = (struct conf_rules){ rules, k };
	world_open(w, 0, w->url);
	for (k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		const struct conf_rule *r = conf_rule_for(&n->conf, names[k]);

		(void)snprintf(channel, sizeof(channel), "%s", names[k]);
		if (!channel_name_valid(channel, strlen(channel), CHANNEL_NAME_MAX))
			continue;
		tried++;
		cr_assert_eq(node_put(w, 0, channel, "1", "").epoch[0] != '\0', r->history.size > 0,
		    "%s", channel);
	}
	cr_assert_gt(tried, 20);
}

CASE(history, kinds_and_bytes_survive)
{
	struct records rs;
	struct record r;
	size_t k;

	for (k = 0; k < WORLD_PAYLOADS; k++)
		node_publish(w, 0, "h:kinds", world_payloads[k].kind, world_payloads[k].data,
		    world_payloads[k].len, k);
	UNTIL(w, n->published == WORLD_PAYLOADS);
	(void)node_history(w, 0, "h:kinds", since(0, 100));
	rs = (struct records){ n->past.data, n->past.len };
	for (k = 0; k < WORLD_PAYLOADS; k++) {
		cr_assert_eq(records_next(&rs, &r), 0);
		cr_assert(r.kind == world_payloads[k].kind && r.len == world_payloads[k].len &&
			memcmp(r.data, world_payloads[k].data, r.len) == 0,
		    "payload %zu", k);
	}
	cr_assert_eq(rs.n, 0);
}

CASE(history, live_messages_carry_the_same_bytes)
{
	size_t k;

	node_subscribe(w, 0, "h:kinds");
	for (k = 0; k < WORLD_PAYLOADS; k++)
		node_publish(w, 0, "h:kinds", world_payloads[k].kind, world_payloads[k].data,
		    world_payloads[k].len, k);
	UNTIL(w, n->messages == WORLD_PAYLOADS);
	for (k = 0; k < WORLD_PAYLOADS; k++) {
		cr_assert(node_has(n, k, "h:kinds", world_payloads[k].kind, world_payloads[k].data,
			      world_payloads[k].len),
		    "payload %zu", k);
		cr_assert_eq(n->message[k].pos.offset, k + 1);
	}
}

/* Text and binary by turns, of 64 KiB each, and one MiB at the end. */
CASE(history, large_payloads)
{
	const size_t large = (size_t)64 << 10;
	uint8_t *data = malloc(MANY);
	struct engine_query q = { .limit = 100, .bytes = 64 << 20 };
	struct records rs;
	struct record r;
	uint64_t k;

	cr_assert_not_null(data);
	for (k = 0; k < 20; k++) {
		memset(data, (int)(k % 2 == 0 ? 'a' : 0xf0) + (int)k, large);
		node_publish(w, 0, "h:large", k % 2 == 0 ? MSG_TEXT : MSG_BINARY, data, large, k);
	}
	memset(data, 'z', MANY);
	node_publish(w, 0, "h:large", MSG_TEXT, data, MANY, k);
	UNTIL(w, n->published == 21);
	(void)node_history(w, 0, "h:large", q);
	rs = (struct records){ n->past.data, n->past.len };
	for (k = 0; k < 21; k++) {
		size_t len = k == 20 ? MANY : large;

		memset(data, k == 20 ? 'z' : (int)(k % 2 == 0 ? 'a' : 0xf0) + (int)k, len);
		cr_assert_eq(records_next(&rs, &r), 0);
		cr_assert(r.offset == k + 1 && r.len == len && memcmp(r.data, data, len) == 0,
		    "message %d", (int)k);
		cr_assert_eq(r.kind, k % 2 == 0 ? MSG_TEXT : MSG_BINARY);
	}
	cr_assert_eq(rs.n, 0);
	free(data);
}

CASE(history, is_kept_without_subscribers)
{
	fill(w, 0, "h:a", 1, 2);
	node_subscribe(w, 0, "h:a");
	fill(w, 0, "h:a", 3, 2);
	engine_unsubscribe(n->engine, "h:a", 3);
	fill(w, 0, "h:a", 5, 2);
	(void)node_history(w, 0, "h:a", since(0, 10));
	cr_assert(holds(n, 1, 6));
}

/* Reads that are under way among publications show one moment each. */
CASE(history, a_read_is_of_one_moment)
{
	const struct engine_query q = since(0, 100);
	unsigned k, reads = 0;
	uint64_t last = 0;
	char text[16];

	for (k = 1; k <= 90; k++) {
		(void)snprintf(text, sizeof(text), "m%u", k);
		node_publish(w, 0, "h:a", MSG_TEXT, text, strlen(text), k);
		cr_assert_eq(engine_history(n->engine, "h:a", 3, &q, k), 0);
		if (k % 7 == 0)
			world_pass(w);
		if (n->past.answers == reads)
			continue;
		reads = n->past.answers;
		cr_assert_eq(n->past.status, 0);
		cr_assert_geq(n->past.top.offset, last);
		last = n->past.top.offset;
		cr_assert(holds(n, 1, last));
	}
	UNTIL(w, n->past.answers == 90 && n->published == 90);
	cr_assert_eq(n->past.top.offset, 90);
	cr_assert(holds(n, 1, 90));
}

CASE(history, two_hundred_channels)
{
	char name[32];
	unsigned k, c;

	for (k = 1; k <= 30; k++) {
		for (c = 0; c < 200; c++) {
			(void)snprintf(name, sizeof(name), "h:%u", c);
			node_publish(w, 0, name, MSG_TEXT, name, strlen(name), k * 200 + c);
		}
		world_pass(w);
	}
	UNTIL(w, n->published == 6000);
	for (k = 1; k <= 30; k++) {
		for (c = 0; c < 200; c++)
			cr_assert_eq(n->pos[k * 200 + c].offset, k);
	}
	for (c = 0; c < 200; c += 20) {
		struct records rs;
		struct record r;

		(void)snprintf(name, sizeof(name), "h:%u", c);
		cr_assert_eq(node_history(w, 0, name, since(29, 100)).offset, 30);
		rs = (struct records){ n->past.data, n->past.len };
		cr_assert_eq(records_next(&rs, &r), 0);
		cr_assert(r.len == strlen(name) && memcmp(r.data, name, r.len) == 0);
	}
}

CASE(history, cannot_be_asked_while_down)
{
	const struct engine_query q = since(0, 1);
	struct position first = node_put(w, 0, "h:a", "m1", ""), next;

	world_close(w, 0);
	world_begin(w, 0, w->url);
	cr_assert_eq(engine_history(n->engine, "h:a", 3, &q, 1), FAN_EDOWN);
	cr_assert_eq(engine_forget(n->engine, "h:a", 3, 1), FAN_EDOWN);
	cr_assert_eq(engine_presence(n->engine, "h:a", 3, 1), FAN_EDOWN);
	UNTIL(w, n->restored == 1);
	next = node_history(w, 0, "h:a", since(0, 10));
	if (w->url == NULL) {
		cr_assert_eq(next.offset, 0);
		cr_assert(!position_same_epoch(&first, &next), "it was lost with the process");
	} else {
		cr_assert(same(first, next));
		cr_assert(holds(n, 1, 1));
	}
}

CASE(history, closes_with_reads_under_way)
{
	const struct engine_query q = since(0, 10);
	unsigned k;

	fill(w, 0, "h:a", 1, 10);
	for (k = 0; k < 10; k++) {
		cr_assert_eq(engine_history(n->engine, "h:a", 3, &q, k), 0);
		cr_assert_eq(engine_presence(n->engine, "j:a", 3, k), 0);
		cr_assert_eq(engine_forget(n->engine, "h:b", 3, 100 + k), 0);
	}
	engine_flush(n->engine);
	world_close(w, 0);
	for (k = 0; k < 5; k++)
		world_pass(w);
}

/* Two nodes publish at the same time, and see the same. */
Test(history_redis, two_nodes_see_one_order)
{
	struct world *w = world_begin_case();
	struct node *a = &w->node[0], *b = &w->node[1];
	unsigned k;

	world_open(w, 1, w->url);
	node_subscribe(w, 0, "huge:a");
	node_subscribe(w, 1, "huge:a");
	for (k = 0; k < 3000; k++) {
		node_publish(w, k % 2, "huge:a", MSG_TEXT, &k, sizeof(k), k);
		if (k % 64 == 0)
			world_pass(w);
	}
	UNTIL(w, a->messages == 3000 && b->messages == 3000);
	for (k = 0; k < 3000; k++) {
		const struct message *m = &a->message[k];

		cr_assert_eq(m->pos.offset, k + 1);
		cr_assert(same(m->pos, b->message[k].pos));
		cr_assert_eq(memcmp(m->data, b->message[k].data, sizeof(k)), 0);
	}
	for (k = 0; k < 3000; k++) {
		const struct position *p = &w->node[k % 2].pos[k];

		cr_assert_eq(
		    memcmp(a->message[p->offset - 1].data, &k, sizeof(k)), 0, "message %u", k);
	}
	node_fence(w, 0, 3001);
	cr_assert_eq(a->messages, 3000);
	cr_assert_eq(node_put(w, 0, "huge:a", "x", "key").offset, 3001);
	cr_assert_eq(node_put(w, 1, "huge:a", "x", "key").offset, 3001, "keys hold for all nodes");
}

/* --- the memory engine's bound ------------------------------------------------------------------ */

/* A world in which all histories may take so many bytes. */
static struct world *
bounded(int64_t bytes)
{
	world_current->node[0].conf.limits.history_memory = bytes;
	return world_begin_case();
}

/* The oldest messages of what was written least recently go first. */
Test(history_memory, is_bounded_over_all_channels)
{
	struct world *w = bounded(256 << 10);
	struct node *n = &w->node[0];
	static char text[1025];
	struct records rs;
	struct record r;
	unsigned k;

	memset(text, 'x', sizeof(text) - 1);
	for (k = 0; k < 50; k++)
		(void)node_put(w, 0, "huge:old", text, "");
	for (k = 0; k < 150; k++)
		(void)node_put(w, 0, "huge:mid", text, "");
	(void)node_history(w, 0, "huge:old", since(0, 1000));
	cr_assert_eq(records_of(n), 50, "all have room so far");
	for (k = 0; k < 70; k++)
		(void)node_put(w, 0, "huge:new", text, "");
	cr_assert_eq(node_history(w, 0, "huge:old", since(0, 1000)).offset, 50);
	cr_assert_lt(records_of(n), 50);
	cr_assert_gt(records_of(n), 10);
	rs = (struct records){ n->past.data, n->past.len };
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert_eq(r.offset, 51 - records_of(n), "the newest are kept");
	(void)node_history(w, 0, "huge:mid", since(0, 1000));
	cr_assert_eq(records_of(n), 150);
	for (k = 0; k < 300; k++)
		(void)node_put(w, 0, "huge:new", text, "");
	cr_assert_eq(node_history(w, 0, "huge:old", since(0, 1000)).offset, 50);
	cr_assert_eq(n->past.len, 0);
	cr_assert_eq(node_history(w, 0, "huge:mid", since(0, 1000)).offset, 150);
	cr_assert_eq(n->past.len, 0);
	cr_assert_eq(node_history(w, 0, "huge:new", since(0, 1000)).offset, 370);
	cr_assert(records_of(n) > 200 && records_of(n) < 250, "%u", records_of(n));
}

/* A message that is larger than all histories may be is not kept, but counted. */
Test(history_memory, a_message_beyond_the_bound)
{
	struct world *w = bounded(64 << 10);
	struct node *n = &w->node[0];
	uint8_t *data = calloc(1, MANY);

	cr_assert_not_null(data);
	node_subscribe(w, 0, "h:a");
	(void)node_put(w, 0, "h:a", "m1", "");
	node_publish(w, 0, "h:a", MSG_TEXT, data, MANY, 2);
	cr_assert_eq(n->pos[2].offset, 2);
	cr_assert_eq(n->messages, 2, "it is delivered");
	cr_assert_eq(node_history(w, 0, "h:a", since(0, 10)).offset, 2);
	cr_assert_eq(n->past.len, 0);
	cr_assert_eq(node_put(w, 0, "h:a", "m3", "").offset, 3);
	(void)node_history(w, 0, "h:a", since(0, 10));
	cr_assert(holds(n, 3, 3));
	free(data);
}

/* Names that clients can make up are bounded, and push out no messages; a state that went is told. */
Test(history_memory, names_are_bounded)
{
	struct world *w = bounded(64 << 10);
	struct position first = node_put(w, 0, "h:first", "m1", ""), made_up, later;
	char name[64];
	unsigned k;

	made_up = node_history(w, 0, "h:0", since(0, 1));
	for (k = 1; k < 5000; k++) {
		(void)snprintf(name, sizeof(name), "h:%u", k);
		(void)node_history(w, 0, name, since(0, 1));
	}
	later = node_history(w, 0, "h:0", since(0, 1));
	cr_assert(!position_same_epoch(&made_up, &later), "it could not be kept");
	cr_assert(same(node_history(w, 0, "h:first", since(0, 1)), first));
	cr_assert(holds(&w->node[0], 1, 1));
}

#define DAY ((uint64_t)24 * 3600 * 1000)

/* What has expired goes without being asked for; a state goes a day later, whole. */
Test(memory_history, sweeps)
{
	static const struct conf_rule rule = { .history = { 100, 1000 } };
	struct memory_history *h;
	char name[32];
	struct engine_message m = {
		.channel = name, .data = (const uint8_t *)"m1", .len = 2, .key = "key", .key_len = 3
	};
	struct position pos;
	size_t full, bare, k;
	bool again;

	cr_assert_eq(memory_history_new(&h, 64 << 20), 0);
	for (k = 0; k < 30000; k++) {
		m.channel_len = (size_t)snprintf(name, sizeof(name), "brief:%zu", k);
		cr_assert_eq(memory_history_append(h, &m, &rule, 5000, &pos, &again), 0);
	}
	full = memory_history_bytes(h);
	for (k = 0; k < 20; k++)
		memory_history_sweep(h, 5999);
	cr_assert_eq(memory_history_bytes(h), full);
	memory_history_sweep(h, 6000);
	cr_assert_lt(memory_history_bytes(h), full);
	bare = memory_history_bytes(h);
	cr_assert_gt(bare, full / 2, "one sweep does not look at all");
	for (k = 0; k < 20; k++)
		memory_history_sweep(h, 6000 + DAY - 1);
	bare = memory_history_bytes(h);
	cr_assert_lt(bare, full / 3 * 2);
	cr_assert_eq(memory_history_channels(h), 30000);
	for (k = 0; k < 100; k++)
		memory_history_sweep(h, 6000 + DAY);
	cr_assert_eq(memory_history_channels(h), 0);
	cr_assert_eq(memory_history_bytes(h), 0, "what is counted is all that there was");
	memory_history_free(h);
}

/* Reading keeps a state, and a new one has another epoch. */
Test(memory_history, epochs_are_never_given_twice)
{
	static const struct conf_rule rule = { .history = { 100, 1000 } };
	const struct engine_message m = {
		.channel = "a", .channel_len = 1, .data = (const uint8_t *)"m1", .len = 2
	};
	const struct engine_query q = { .limit = 1 };
	struct position pos, now;
	struct memory_history *h;
	bool again;

	cr_assert_eq(memory_history_new(&h, 64 << 20), 0);
	cr_assert_eq(memory_history_append(h, &m, &rule, 1, &pos, &again), 0);
	cr_assert_eq(memory_history_read(h, "a", 1, &rule, &q, DAY, &now, NULL), 0);
	memory_history_sweep(h, 2 * DAY);
	cr_assert_eq(memory_history_read(h, "a", 1, &rule, &q, 2 * DAY, &now, NULL), 0);
	cr_assert(same(pos, now));
	memory_history_sweep(h, 3 * DAY + 1001);
	cr_assert_eq(memory_history_append(h, &m, &rule, 3 * DAY + 1001, &now, &again), 0);
	cr_assert_eq(now.offset, 1);
	cr_assert(!position_same_epoch(&pos, &now));
	memory_history_free(h);
}
