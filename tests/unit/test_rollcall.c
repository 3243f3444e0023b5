/*
 * Unit tests of broker/hub/rollcall, with an engine and a clock that are made up here.
 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "broker/hub/rollcall.h"

static struct rollcalls *t;
static char said[4096];
static uint64_t token; /* of the last question */
static int fails;      /* what asking returns */
static bool at_once;   /* it is answered from inside */
static uint64_t now;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
say(const char *fmt, ...)
{
	size_t n = strlen(said);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(said + n, sizeof(said) - n, fmt, ap);
	va_end(ap);
}

static void
engine_answers(uint64_t number, const char *members)
{
	rollcalls_answer(t, number, 0, (const uint8_t *)members, strlen(members), now);
}

static int
on_ask(void *arg, const char *channel, size_t channel_len, uint64_t number)
{
	cr_assert_null(arg);
	token = number;
	say("%.*s? ", (int)channel_len, channel);
	if (at_once)
		engine_answers(number, "now");
	return fails;
}

static void
on_answer(
    void *arg, const struct rollcall_asker *asker, int status, const uint8_t *members, size_t len)
{
	cr_assert_null(arg);
	say("%u.%u=%d%.*s ", asker->serial, asker->id, status, (int)len, (const char *)members);
}

static const struct rollcall_handler handler = { on_ask, on_answer };

static void
setup(void)
{
	t = rollcalls_new(&handler, NULL);
	now = 5000;
}

static void
teardown(void)
{
	rollcalls_free(t);
}

TestSuite(rollcall, .init = setup, .fini = teardown);

static int
add(const char *channel, uint32_t id)
{
	const struct rollcall_asker asker = { 7, id };

	return rollcalls_add(t, channel, strlen(channel), &asker);
}

/* This much later, this is said, and nothing else since the last time. */
static void
after(uint64_t ms, const char *what)
{
	now += ms;
	rollcalls_begin(t, now);
	cr_assert_str_eq(said, what);
	said[0] = '\0';
}

Test(rollcall, those_who_ask_before_share_a_question_and_the_others_the_next)
{
	cr_assert(add("a", 1) == 0 && add("a", 2) == 0 && add("b", 3) == 0);
	cr_assert_eq(rollcalls_wait(t, now), -1);
	after(0, "a? b? ");
	cr_assert(add("a", 4) == 0 && add("a", 5) == 0 && add("a", 6) == 0);
	after(5000, ""); /* one at a time, however long it takes */
	engine_answers(token, "B");
	engine_answers(token, "again");
	engine_answers(0, "A");
	engine_answers(ROLLCALL_UNDER_WAY_MAX, "unknown");
	after(0, "7.3=0B 7.1=0A 7.2=0A ");
	after(ROLLCALL_REST_MAX_MS - 1, "");
	cr_assert_eq(rollcalls_wait(t, now), 1);
	after(1, "a? ");
	cr_assert_eq(rollcalls_wait(t, now), -1);
	engine_answers(token, "C");
	after(0, "7.4=0C 7.5=0C 7.6=0C ");
}

/* Ten times as long as the question took, within bounds. */
Test(rollcall, a_channel_rests)
{
	static const struct {
		uint64_t took, rests;
	} c[] = { { 0, 100 }, { 10, 100 }, { 21, 210 }, { 100, 1000 }, { 101, 1000 } };
	size_t i;

	for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		cr_assert_eq(add("a", 1), 0);
		after(0, "a? ");
		now += c[i].took;
		engine_answers(token, "");
		cr_assert_eq(add("a", 2), 0);
		after(c[i].rests - 1, "7.1=0 ");
		cr_assert_eq(rollcalls_wait(t, now), 1);
		at_once = true;
		after(1, "a? 7.2=0now ");
		at_once = false;
		/* And is forgotten. */
		after(ROLLCALL_REST_MIN_MS, "");
		cr_assert_eq(rollcalls_wait(t, now), -1);
	}
}

Test(rollcall, who_rests_shorter_is_ready_sooner)
{
	cr_assert(add("slow", 1) == 0 && add("middle", 2) == 0 && add("fast", 3) == 0);
	after(0, "slow? middle? fast? ");
	now += 50;
	engine_answers(0, ""); /* rests until 5550 */
	cr_assert(add("slow", 4) == 0 && add("middle", 5) == 0 && add("new", 6) == 0);
	after(0, "7.1=0 new? ");
	engine_answers(0, ""); /* until 5150 */
	engine_answers(1, ""); /* until 5550 */
	cr_assert_eq(rollcalls_wait(t, now), 100);
	cr_assert_eq(add("new", 7), 0);
	after(100, "7.6=0 7.2=0 new? ");
	after(400, "slow? middle? ");
}

Test(rollcall, few_questions_are_under_way_at_once)
{
	char name[8];
	unsigned i;

	for (i = 1; i <= ROLLCALL_UNDER_WAY_MAX + 2; i++) {
		(void)snprintf(name, sizeof(name), "c%u", i);
		cr_assert_eq(add(name, i), 0);
	}
	after(0, "c1? c2? c3? c4? c5? c6? c7? c8? ");
	engine_answers(3, "");
	after(0, "7.4=0 c9? ");
	cr_assert_eq(token, 3);
	at_once = true;
	engine_answers(1, "");
	cr_assert_eq(add("c11", 11), 0);
	after(0, "7.2=0 c10? 7.10=0now c11? 7.11=0now ");
}

Test(rollcall, a_question_that_cannot_be_asked_fails)
{
	fails = FAN_EDOWN;
	cr_assert(add("a", 1) == 0 && add("b", 2) == 0);
	after(0, "a? 7.1=-9 b? 7.2=-9 ");
	cr_assert_eq(add("a", 3), 0);
	after(ROLLCALL_REST_MIN_MS - 1, "");
	fails = 0;
	after(1, "a? ");
	rollcalls_answer(t, token, FAN_EDOWN, NULL, 0, now);
	after(0, "7.3=-9 ");
}

Test(rollcall, is_bounded)
{
	char name[12];
	unsigned i;

	for (i = 0; i < ROLLCALL_ASKERS_MAX; i++)
		cr_assert_eq(add("a", i), 0);
	cr_assert_eq(add("a", i), FAN_EFULL);
	cr_assert_eq(add("b", i), FAN_EFULL);
	after(0, "a? ");
	engine_answers(token, "");
	said[0] = '\0';
	after(ROLLCALL_REST_MIN_MS, "");
	/* Channels that rest count as well. */
	at_once = true;
	for (i = 0; i < ROLLCALL_ASKERS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "c%u", i);
		cr_assert_eq(add(name, i), 0);
		rollcalls_begin(t, now);
		said[0] = '\0';
	}
	cr_assert_eq(add("b", i), FAN_EFULL);
	cr_assert_eq(add("c0", i), 0);
	after(ROLLCALL_REST_MIN_MS, "c0? 7.65536=0now ");
	cr_assert_eq(add("b", i), 0);
}
