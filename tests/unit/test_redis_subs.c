/*
 * Unit tests of redis_subs: whatever the order of wanting, sending and confirming, the table agrees
 * with a Redis that is simulated beside it.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/redis_subs.h"

TestSuite(redis_subs, .timeout = 60);

static struct redis_sub *
want(struct redis_subs *s, const char *key)
{
	struct redis_sub *sub;

	cr_assert_eq(redis_subs_want(s, key, strlen(key), &sub), 0, "%s", key);
	return sub;
}

static struct redis_sub *
confirm(struct redis_subs *s, const char *key, bool subscribe)
{
	struct redis_sub *tell;

	cr_assert_eq(redis_subs_confirm(s, key, strlen(key), subscribe, &tell), 0, "%s", key);
	return tell;
}

Test(redis_subs, gathers_in_order_and_in_batches)
{
	const struct redis_sub *out[4];
	struct redis_subs s;
	char key[8];
	int i;

	redis_subs_init(&s);
	for (i = 0; i < 6; i++) {
		(void)snprintf(key, sizeof(key), "c%d", i);
		want(&s, key);
	}
	cr_assert_eq(redis_subs_gather(&s, true, out, 4), 4);
	cr_assert(memcmp(out[0]->key, "c0", 2) == 0 && memcmp(out[3]->key, "c3", 2) == 0);
	redis_subs_sent(&s, true, 4);
	cr_assert_eq(redis_subs_gather(&s, true, out, 4), 2);
	cr_assert(memcmp(out[0]->key, "c4", 2) == 0);
	cr_assert_eq(redis_subs_gather(&s, false, out, 4), 0);
	cr_assert_eq(redis_subs_count(&s), 6);
	redis_subs_fini(&s);
}

Test(redis_subs, refuses_what_was_not_asked_for)
{
	struct redis_sub *sub;
	struct redis_subs s;

	redis_subs_init(&s);
	cr_assert_eq(redis_subs_confirm(&s, "a", 1, true, &sub), FAN_EPROTO, "unknown");
	want(&s, "a");
	cr_assert_eq(redis_subs_want(&s, "a", 1, &sub), FAN_EEXIST);
	cr_assert_eq(redis_subs_confirm(&s, "a", 1, true, &sub), FAN_EPROTO, "not sent");
	redis_subs_sent(&s, true, 1);
	cr_assert_eq(redis_subs_confirm(&s, "a", 1, false, &sub), FAN_EPROTO, "the other command");
	cr_assert_not_null(confirm(&s, "a", true));
	cr_assert_eq(redis_subs_confirm(&s, "a", 1, true, &sub), FAN_EPROTO, "twice");
	redis_subs_unwant(&s, "b", 1);
	redis_subs_fini(&s);
}

Test(redis_subs, reset_keeps_what_is_wanted_and_tells_only_once)
{
	const struct redis_sub *out[8];
	struct redis_subs s;

	redis_subs_init(&s);
	want(&s, "live");
	want(&s, "gone");
	redis_subs_sent(&s, true, 2);
	cr_assert_not_null(confirm(&s, "live", true));
	cr_assert_not_null(confirm(&s, "gone", true));
	redis_subs_unwant(&s, "gone", 4);
	want(&s, "late");
	redis_subs_reset(&s);
	cr_assert_eq(redis_subs_count(&s), 2);
	cr_assert_null(redis_subs_find(&s, "gone", 4));
	cr_assert_eq(redis_subs_gather(&s, true, out, 8), 2);
	cr_assert_eq(redis_subs_gather(&s, false, out, 8), 0);
	redis_subs_sent(&s, true, 2);
	cr_assert_null(confirm(&s, "live", true), "the hub knows it as live");
	cr_assert_not_null(confirm(&s, "late", true));
	redis_subs_fini(&s);
}

/* What a hub wants, a Redis that answers in order, and the table between them. */
struct model {
	struct redis_subs subs;
	bool wanted, told; /* as the hub sees it */
	bool pipe[16];     /* commands that Redis has not answered: subscribe or not */
	size_t pipe_len;
	bool subscribed; /* as Redis sees it, after the last answer */
};

static void
model_send(struct model *m, bool subscribe)
{
	const struct redis_sub *out[2];
	size_t n = redis_subs_gather(&m->subs, subscribe, out, 2);

	cr_assert_leq(n, 1);
	redis_subs_sent(&m->subs, subscribe, n);
	if (n == 1)
		m->pipe[m->pipe_len++] = subscribe;
	cr_assert_leq(m->pipe_len, 1, "one command at a time");
}

static void
model_answer(struct model *m)
{
	struct redis_sub *tell;

	if (m->pipe_len == 0)
		return;
	m->subscribed = m->pipe[0];
	m->pipe_len = 0;
	cr_assert_eq(redis_subs_confirm(&m->subs, "a", 1, m->subscribed, &tell), 0);
	if (tell != NULL) {
		cr_assert(m->wanted && !m->told, "told exactly once for each want");
		m->told = true;
	}
}

static void
model_step(struct model *m, unsigned op)
{
	struct redis_sub *sub;

	switch (op) {
	case 0:
		cr_assert_eq(redis_subs_want(&m->subs, "a", 1, &sub), m->wanted ? FAN_EEXIST : 0);
		if (!m->wanted)
			m->told = sub->state == SUB_LIVE;
		m->wanted = true;
		break;
	case 1:
		redis_subs_unwant(&m->subs, "a", 1);
		m->wanted = m->told = false;
		break;
	case 2:
		model_send(m, true);
		model_send(m, false);
		break;
	case 3:
		model_answer(m);
		break;
	default:
		redis_subs_reset(&m->subs);
		m->pipe_len = 0;
		m->subscribed = false;
		break;
	}
	sub = redis_subs_find(&m->subs, "a", 1);
	if (sub != NULL && sub->state == SUB_LIVE)
		cr_assert(m->wanted && m->told && m->subscribed && m->pipe_len == 0);
}

/* All 5^8 sequences of want, unwant, send, answer, reset; each ends as the hub wants it. */
Test(redis_subs, every_interleaving_ends_as_wanted)
{
	unsigned run, rest, i;

	for (run = 0; run < 390625; run++) {
		struct model m = { .wanted = false };
		struct redis_sub *sub;

		redis_subs_init(&m.subs);
		for (i = 0, rest = run; i < 8; i++, rest /= 5)
			model_step(&m, rest % 5);
		for (i = 0; i < 3; i++) {
			model_step(&m, 2);
			model_step(&m, 3);
		}
		sub = redis_subs_find(&m.subs, "a", 1);
		cr_assert_eq(m.subscribed, m.wanted, "sequence %u", run);
		cr_assert_eq(sub != NULL, m.wanted);
		cr_assert(sub == NULL || (sub->state == SUB_LIVE && m.told));
		redis_subs_fini(&m.subs);
	}
}
