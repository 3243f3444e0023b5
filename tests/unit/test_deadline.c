/*
 * Unit tests of deadline: never early, at most a tick late, and safe against what callbacks do.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdlib.h>

#include "common/clock.h"
#include "worker/net/deadline.h"

#define N 2000

static struct event_base *base;
static struct deadlines *ds;

struct item {
	struct deadline d; /* first */
	int fired;
	uint64_t ms; /* due, by the clock; at least */
	struct item *other;
};

static uint64_t now_ms; /* the time that the wheel is run for */

static void
on_fire(struct deadline *d)
{
	struct item *i = (struct item *)(void *)d;

	cr_assert_not(deadline_is_set(d));
	cr_assert_geq(now_ms, i->ms, "early");
	i->fired++;
}

/* Clears its neighbour, which may be due at the same time. */
static void
on_clear(struct deadline *d)
{
	struct item *i = (struct item *)(void *)d;

	i->fired++;
	if (i->other != NULL)
		deadline_clear(&i->other->d);
}

static void
setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	ds = deadlines_new(base);
	cr_assert_not_null(ds);
	deadlines_on(ds, DEADLINE_CONN, on_fire);
	deadlines_on(ds, DEADLINE_STALL, on_clear);
}

static void
teardown(void)
{
	deadlines_free(ds);
	event_base_free(base);
}

static void
run_at(uint64_t ms)
{
	now_ms = ms;
	deadlines_run(ds, ms);
}

TestSuite(deadline, .timeout = 60, .init = setup, .fini = teardown);

/* Over several turns of the wheel, in steps of half a tick. */
Test(deadline, none_is_early_and_all_come)
{
	struct item *items = calloc(N, sizeof(*items));
	uint64_t start = clock_ms(), t;
	int i, late = 0;

	cr_assert_not_null(items);
	for (i = 0; i < N; i++) {
		deadline_init(&items[i].d, DEADLINE_CONN);
		items[i].ms = start + (uint64_t)i * 97;
		deadline_set(ds, &items[i].d, (uint64_t)i * 97);
	}
	for (t = start; t < start + N * 97 + 1000; t += 50) {
		run_at(t);
		for (i = 0; i < N; i++) {
			/* The clock went on while they were set. */
			if (items[i].fired == 0 && items[i].ms + 1000 + DEADLINE_TICK_MS < t)
				late++;
		}
	}
	for (i = 0; i < N; i++)
		cr_assert_eq(items[i].fired, 1, "%d", i);
	cr_assert_eq(late, 0);
	free(items);
}

Test(deadline, a_long_sleep_fires_all_that_is_due_and_no_more)
{
	struct item near = { .ms = 0 }, middle = { .ms = 0 }, far = { .ms = 0 };
	uint64_t start = clock_ms();

	deadline_init(&near.d, DEADLINE_CONN);
	deadline_init(&middle.d, DEADLINE_CONN);
	deadline_init(&far.d, DEADLINE_CONN);
	deadline_set(ds, &near.d, 100);
	deadline_set(ds, &middle.d, 70000);
	deadline_set(ds, &far.d, 100000000);
	run_at(start + 90000);
	cr_assert(near.fired == 1 && middle.fired == 1 && far.fired == 0);
	cr_assert(deadline_is_set(&far.d));
	run_at(start + 99999000);
	cr_assert_eq(far.fired, 0);
	run_at(start + 100001000);
	cr_assert_eq(far.fired, 1);
}

Test(deadline, set_again_replaces_and_clear_clears)
{
	struct item a = { .ms = 0 }, b = { .ms = 0 };
	uint64_t start = clock_ms();

	deadline_init(&a.d, DEADLINE_CONN);
	deadline_init(&b.d, DEADLINE_CONN);
	cr_assert_not(deadline_is_set(&a.d));
	deadline_clear(&a.d);
	deadline_set(ds, &a.d, 100);
	deadline_set(ds, &a.d, 5000);
	deadline_set(ds, &b.d, 100);
	deadline_clear(&b.d);
	deadline_clear(&b.d);
	run_at(start + 2000);
	cr_assert(a.fired == 0 && b.fired == 0);
	run_at(start + 6000);
	cr_assert(a.fired == 1 && b.fired == 0);
}

Test(deadline, a_callback_can_clear_its_neighbours)
{
	struct item i[3] = { { .ms = 0 }, { .ms = 0 }, { .ms = 0 } };
	uint64_t start = clock_ms();
	int k;

	for (k = 0; k < 3; k++) {
		deadline_init(&i[k].d, DEADLINE_STALL);
		i[k].other = &i[(k + 1) % 3];
		deadline_set(ds, &i[k].d, 100);
	}
	run_at(start + 1000);
	/* Each clears the next, so no two neighbours both fire. */
	cr_assert_eq(i[0].fired + i[1].fired + i[2].fired, 2 - (i[0].fired + i[2].fired == 0));
	for (k = 0; k < 3; k++)
		cr_assert_not(deadline_is_set(&i[k].d));
}

static void
on_again(struct deadline *d)
{
	((struct item *)(void *)d)->fired++;
	deadline_set(ds, d, 0);
}

Test(deadline, a_callback_that_sets_itself_comes_once_a_tick)
{
	struct item i = { .ms = 0 };
	uint64_t start = clock_ms();

	deadlines_on(ds, DEADLINE_SESSION, on_again);
	deadline_init(&i.d, DEADLINE_SESSION);
	deadline_set(ds, &i.d, 0);
	run_at(start + 10 * DEADLINE_TICK_MS);
	cr_assert_geq(i.fired, 8);
	cr_assert_leq(i.fired, 11);
	deadline_clear(&i.d);
}

/* The timer is libevent's: nothing pends while nothing is set, so that an idle worker sleeps. */
Test(deadline, the_timer_runs_only_while_something_is_set)
{
	struct item i = { .ms = 0 };
	int tries = 0;

	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
	deadline_init(&i.d, DEADLINE_CONN);
	deadline_set(ds, &i.d, 1);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 1);
	now_ms = UINT64_MAX;
	while (i.fired == 0 && tries++ < 100)
		cr_assert_geq(event_base_loop(base, EVLOOP_ONCE), 0);
	cr_assert_eq(i.fired, 1);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
	deadline_set(ds, &i.d, 1);
	while (i.fired == 1 && tries++ < 200)
		cr_assert_geq(event_base_loop(base, EVLOOP_ONCE), 0);
	cr_assert_eq(i.fired, 2);
}
