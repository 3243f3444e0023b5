/*
 * Contract of broker/engine/engine.h: presence, joining and leaving, the same cases for every engine.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/contract/world.h"

ENGINES(presence);

#define LEASE_MS 3000

/* Members in the last answer. */
static size_t
members_of(const struct node *n)
{
	const uint8_t *p = n->present.data;
	size_t len = n->present.len, count = 0;
	struct member m;
	int err;

	while ((err = member_next(&p, &len, &m)) == 0)
		count++;
	cr_assert_eq(err, FAN_ENOENT);
	return count;
}

static bool
is_text(const char *p, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(p, text, len) == 0;
}

/* Whether exactly one member of the last answer has this client, and is as said. */
static bool
present(const struct node *n, const char *client, const char *user, const char *info)
{
	const uint8_t *p = n->present.data;
	size_t len = n->present.len;
	unsigned count = 0;
	struct member m;

	while (member_next(&p, &len, &m) == 0) {
		if (!is_text(m.client, m.client_len, client))
			continue;
		count++;
		if (!is_text(m.user, m.user_len, user) || !is_text(m.info, m.info_len, info))
			return false;
	}
	return count == 1;
}

static bool
told(const struct node *n, size_t m, const char *channel, enum msg_kind kind, const char *json)
{
	return node_has(n, m, channel, kind, json, strlen(json)) &&
	    n->message[m].pos.epoch[0] == '\0';
}

CASE(presence, a_user_comes_and_goes_once)
{
	node_subscribe(w, 0, "j:a");
	node_join(w, 0, "j:a", "c1", "ann", "{\"n\":1}");
	node_join(w, 0, "j:a", "c2", "ann", "");
	node_join(w, 0, "j:a", "c3", "bob", "");
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(n), 3);
	cr_assert(present(n, "c1", "ann", "{\"n\":1}"));
	cr_assert(present(n, "c2", "ann", ""));
	cr_assert(present(n, "c3", "bob", ""));
	node_leave(w, 0, "j:a", "c1");
	node_leave(w, 0, "j:a", "c3");
	node_leave(w, 0, "j:a", "c2");
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(n), 0);
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 4);
	cr_assert(
	    told(n, 0, "j:a", MSG_JOIN, "{\"client\":\"c1\",\"user\":\"ann\",\"info\":{\"n\":1}}"));
	cr_assert(told(n, 1, "j:a", MSG_JOIN, "{\"client\":\"c3\",\"user\":\"bob\"}"));
	cr_assert(told(n, 2, "j:a", MSG_LEAVE, "{\"client\":\"c3\",\"user\":\"bob\"}"));
	cr_assert(told(n, 3, "j:a", MSG_LEAVE, "{\"client\":\"c2\",\"user\":\"ann\"}"));
}

CASE(presence, anonymous_members_count_each)
{
	node_subscribe(w, 0, "j:a");
	node_join(w, 0, "j:a", "c1", "", "");
	node_join(w, 0, "j:a", "c2", "", "[1]");
	node_join(w, 0, "j:a", "c3", "c1", "");
	node_leave(w, 0, "j:a", "c1");
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(n), 2);
	cr_assert(present(n, "c2", "", "[1]"));
	cr_assert(present(n, "c3", "c1", ""), "a user named like a connection is another");
	node_leave(w, 0, "j:a", "c3");
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 5);
	cr_assert(told(n, 0, "j:a", MSG_JOIN, "{\"client\":\"c1\"}"));
	cr_assert(told(n, 1, "j:a", MSG_JOIN, "{\"client\":\"c2\",\"info\":[1]}"));
	cr_assert(told(n, 2, "j:a", MSG_JOIN, "{\"client\":\"c3\",\"user\":\"c1\"}"));
	cr_assert(told(n, 3, "j:a", MSG_LEAVE, "{\"client\":\"c1\"}"));
	cr_assert(told(n, 4, "j:a", MSG_LEAVE, "{\"client\":\"c3\",\"user\":\"c1\"}"));
}

CASE(presence, joining_or_leaving_twice_does_nothing)
{
	node_subscribe(w, 0, "j:a");
	node_join(w, 0, "j:a", "c1", "ann", "");
	node_join(w, 0, "j:a", "c1", "ann", "");
	node_leave(w, 0, "j:a", "other");
	node_leave(w, 0, "j:never", "c1");
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(n), 1);
	node_leave(w, 0, "j:a", "c1");
	node_leave(w, 0, "j:a", "c1");
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 2, "one JOIN, one LEAVE");
	node_join(w, 0, "j:a", "c1", "ann", "");
	node_fence(w, 0, 2);
	cr_assert_eq(n->messages, 3);
	cr_assert(told(n, 2, "j:a", MSG_JOIN, "{\"client\":\"c1\",\"user\":\"ann\"}"));
}

CASE(presence, channels_are_apart)
{
	node_subscribe(w, 0, "j:a");
	node_join(w, 0, "j:a", "c1", "ann", "");
	node_join(w, 0, "j:b", "c1", "ann", "");
	node_leave(w, 0, "j:b", "c1");
	node_presence(w, 0, "j:b");
	cr_assert_eq(members_of(n), 0);
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(n), 1);
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 1, "who is not subscribed is not told");
}

CASE(presence, nobody_is_told_where_the_rule_is_silent)
{
	node_subscribe(w, 0, "p:a");
	node_join(w, 0, "p:a", "c1", "ann", "");
	node_presence(w, 0, "p:a");
	cr_assert_eq(members_of(n), 1);
	node_leave(w, 0, "p:a", "c1");
	node_presence(w, 0, "p:a");
	cr_assert_eq(members_of(n), 0);
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 0);
}

/* Comings and goings take no numbers of the history, and are not in it. */
CASE(presence, beside_a_history)
{
	const struct engine_query q = { .limit = 10, .bytes = 1000 };

	node_subscribe(w, 0, "hj:a");
	cr_assert_eq(node_put(w, 0, "hj:a", "1", "").offset, 1);
	node_join(w, 0, "hj:a", "c1", "ann", "");
	cr_assert_eq(node_put(w, 0, "hj:a", "2", "").offset, 2);
	node_leave(w, 0, "hj:a", "c1");
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 4);
	cr_assert(told(n, 1, "hj:a", MSG_JOIN, "{\"client\":\"c1\",\"user\":\"ann\"}"));
	cr_assert(told(n, 3, "hj:a", MSG_LEAVE, "{\"client\":\"c1\",\"user\":\"ann\"}"));
	cr_assert_eq(node_history(w, 0, "hj:a", q).offset, 2);
	cr_assert_eq(n->past.len, 2 * (RECORD_HEAD + 1));
}

CASE(presence, names_of_any_kind)
{
	static char user[USER_ID_MAX + 1], info[MEMBER_INFO_MAX + 1];
	char client[CLIENT_ID_MAX + 1] = "";

	memset(client, '-', CLIENT_ID_MAX);
	memset(user, '"', USER_ID_MAX);
	memset(info, ' ', MEMBER_INFO_MAX);
	info[0] = '0';
	node_subscribe(w, 0, "j:a");
	node_join(w, 0, "j:a", client, user, info);
	node_join(w, 0, "j:a", "_", "j\xc3\xbcrg\r\n\\ {}:*", "\"\\u0000\"");
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(n), 2);
	cr_assert(present(n, client, user, info));
	cr_assert(present(n, "_", "j\xc3\xbcrg\r\n\\ {}:*", "\"\\u0000\""));
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 2);
	cr_assert(told(n, 1, "j:a", MSG_JOIN,
	    "{\"client\":\"_\",\"user\":\"j\xc3\xbcrg\\r\\n\\\\ {}:*\",\"info\":\"\\u0000\"}"));
}

CASE(presence, five_thousand_members)
{
	char client[32], user[32];
	unsigned k;

	node_subscribe(w, 0, "j:many");
	for (k = 0; k < 5000; k++) {
		(void)snprintf(client, sizeof(client), "client-%u", k);
		(void)snprintf(user, sizeof(user), "user-%u", k % 1000);
		node_join(w, 0, "j:many", client, user, "{\"a\":1}");
		if (k % 100 == 0)
			world_pass(w);
	}
	node_presence(w, 0, "j:many");
	cr_assert_eq(members_of(n), 5000);
	cr_assert(present(n, "client-0", "user-0", "{\"a\":1}"));
	cr_assert(present(n, "client-4999", "user-999", "{\"a\":1}"));
	node_fence(w, 0, 1);
	cr_assert_eq(n->messages, 1000);
	for (k = 0; k < 4999; k++) {
		(void)snprintf(client, sizeof(client), "client-%u", k);
		node_leave(w, 0, "j:many", client);
		if (k % 100 == 0)
			world_pass(w);
	}
	node_presence(w, 0, "j:many");
	cr_assert_eq(members_of(n), 1);
	cr_assert(present(n, "client-4999", "user-999", "{\"a\":1}"));
	node_fence(w, 0, 2);
	cr_assert_eq(n->messages, 1999);
}

CASE(presence, closes_with_members)
{
	node_join(w, 0, "j:a", "c1", "ann", "");
	node_join(w, 0, "j:b", "c1", "ann", "{}");
	node_leave(w, 0, "j:b", "c1");
	world_close(w, 0);
	cr_assert_eq(n->messages, 0);
}

/* --- several nodes ------------------------------------------------------------------------------ */

/* Both nodes up on one Redis, subscribed to j:a. */
static struct world *
two_nodes(void)
{
	struct world *w = world_current;

	w->node[0].conf.presence.lease = w->node[1].conf.presence.lease = LEASE_MS;
	world_open(w, 0, w->url);
	world_open(w, 1, w->url);
	node_subscribe(w, 0, "j:a");
	node_subscribe(w, 1, "j:a");
	return w;
}

Test(presence_redis, once_per_user_over_two_nodes)
{
	struct world *w = two_nodes();
	struct node *a = &w->node[0], *b = &w->node[1];

	node_join(w, 0, "j:a", "c1", "ann", "");
	UNTIL(w, a->messages == 1 && b->messages == 1);
	node_join(w, 1, "j:a", "c2", "ann", "");
	node_join(w, 1, "j:a", "c3", "bob", "{}");
	UNTIL(w, a->messages == 2 && b->messages == 2);
	cr_assert(told(a, 1, "j:a", MSG_JOIN, "{\"client\":\"c3\",\"user\":\"bob\",\"info\":{}}"));
	node_presence(w, 0, "j:a");
	node_presence(w, 1, "j:a");
	cr_assert_eq(members_of(a), 3);
	cr_assert_eq(members_of(b), 3);
	cr_assert(present(a, "c1", "ann", "") && present(a, "c2", "ann", ""));
	cr_assert(present(b, "c1", "ann", "") && present(b, "c3", "bob", "{}"));
	node_leave(w, 0, "j:a", "c1");
	node_presence(w, 0, "j:a");
	cr_assert_eq(members_of(a), 2);
	node_leave(w, 1, "j:a", "c2");
	UNTIL(w, a->messages == 3 && b->messages == 3);
	cr_assert(told(a, 2, "j:a", MSG_LEAVE, "{\"client\":\"c2\",\"user\":\"ann\"}"));
	cr_assert(told(b, 2, "j:a", MSG_LEAVE, "{\"client\":\"c2\",\"user\":\"ann\"}"));
	node_fence(w, 0, 1);
	cr_assert_eq(a->messages, 3);
	node_fence(w, 1, 1);
	cr_assert_eq(b->messages, 3);
}

/* Its members are gone after a lease, and those who stay are told of users who had none elsewhere. */
Test(presence_redis, a_node_that_ends_vanishes)
{
	struct world *w = two_nodes();
	struct node *b = &w->node[1];

	node_join(w, 0, "j:a", "c1", "ann", "");
	node_join(w, 0, "j:a", "c2", "bob", "");
	node_join(w, 0, "j:a", "c3", "", "");
	UNTIL(w, b->messages == 3);
	node_join(w, 1, "j:a", "c4", "bob", "");
	node_presence(w, 1, "j:a");
	node_clear(b);
	world_close(w, 0);
	UNTIL(w, b->messages == 2);
	node_presence(w, 1, "j:a");
	cr_assert_eq(members_of(b), 1);
	cr_assert(present(b, "c4", "bob", ""));
	cr_assert(told(b, 0, "j:a", MSG_LEAVE, "{\"client\":\"c1\",\"user\":\"ann\"}") ||
	    told(b, 1, "j:a", MSG_LEAVE, "{\"client\":\"c1\",\"user\":\"ann\"}"));
	cr_assert(told(b, 0, "j:a", MSG_LEAVE, "{\"client\":\"c3\"}") ||
	    told(b, 1, "j:a", MSG_LEAVE, "{\"client\":\"c3\"}"));
	node_fence(w, 1, 1);
	cr_assert_eq(b->messages, 2);
}

/* Leases are renewed while nothing happens. */
Test(presence_redis, a_quiet_node_stays)
{
	struct world *w = two_nodes();
	struct node *b = &w->node[1];

	node_join(w, 0, "j:a", "c1", "ann", "");
	UNTIL(w, b->messages == 1);
	world_wait(w, 2 * LEASE_MS + 500);
	node_presence(w, 1, "j:a");
	cr_assert_eq(members_of(b), 1);
	cr_assert_eq(b->messages, 1);
}

/* A hub that starts again has its members in before the lease of the one before is over. */
Test(presence_redis, a_node_that_comes_back_was_never_away)
{
	struct world *w = two_nodes();
	struct node *b = &w->node[1];
	char client[32];
	unsigned k;

	for (k = 0; k < 50; k++) {
		(void)snprintf(client, sizeof(client), "client-%u", k);
		node_join(w, 0, "j:a", client, client, "");
	}
	UNTIL(w, b->messages == 50);
	world_close(w, 0);
	world_open(w, 0, w->url);
	for (k = 0; k < 50; k++) {
		(void)snprintf(client, sizeof(client), "client-%u", k);
		node_join(w, 0, "j:a", client, client, "");
	}
	node_presence(w, 1, "j:a");
	cr_assert_eq(members_of(b), 50, "each comes once");
	cr_assert(present(b, "client-7", "client-7", ""));
	world_wait(w, 2 * LEASE_MS + 500);
	node_presence(w, 1, "j:a");
	cr_assert_eq(members_of(b), 50);
	cr_assert_eq(b->messages, 50, "nobody was told of anything");
	for (k = 0; k < 50; k++) {
		(void)snprintf(client, sizeof(client), "client-%u", k);
		node_leave(w, 0, "j:a", client);
	}
	UNTIL(w, b->messages == 100);
	node_presence(w, 1, "j:a");
	cr_assert_eq(members_of(b), 0);
}
