/*
 * deadline: coarse deadlines of many objects on one timer.  See deadline.h.
 *
 * A wheel of SLOTS lists; a deadline further away than one turn waits in its slot and is passed
 * over until its turn has come.
 */
#include "worker/net/deadline.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/clock.h"

#define SLOTS 512 /* a power of two; one turn is 51.2 s */

struct deadlines {
	struct event *timer;
	bool running;
	uint64_t start; /* clock_ms of tick 0 */
	uint32_t now;   /* the tick that was run last */
	void (*fire[DEADLINE_CLASSES])(struct deadline *d);
	struct deadline *slot[SLOTS];
};

static uint32_t
tick_of(const struct deadlines *ds, uint64_t ms)
{
	return (uint32_t)((ms - ds->start) / DEADLINE_TICK_MS);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	deadlines_run(arg, clock_ms());
}

struct deadlines *
deadlines_new(struct event_base *base)
{
	struct deadlines *ds = calloc(1, sizeof(*ds));

	if (ds == NULL)
		return NULL;
	ds->start = clock_ms();
	ds->timer = event_new(base, -1, EV_PERSIST, on_timer, ds);
	if (ds->timer == NULL) {
		free(ds);
		return NULL;
	}
	return ds;
}

void
deadlines_free(struct deadlines *ds)
{
	if (ds == NULL)
		return;
	event_free(ds->timer);
	free(ds);
}

void
deadlines_on(struct deadlines *ds, enum deadline_class cls, void (*fn)(struct deadline *d))
{
	ds->fire[cls] = fn;
}

void
deadline_init(struct deadline *d, enum deadline_class cls)
{
	d->next = NULL;
	d->prev = NULL;
	d->due = 0;
	d->cls = (uint8_t)cls;
}

static void
link_into(struct deadline **head, struct deadline *d)
{
	d->next = *head;
	d->prev = head;
	if (d->next != NULL)
		d->next->prev = &d->next;
	*head = d;
}

void
deadline_clear(struct deadline *d)
{
	if (d->prev == NULL)
		return;
	*d->prev = d->next;
	if (d->next != NULL)
		d->next->prev = d->prev;
	d->next = NULL;
	d->prev = NULL;
}

void
deadline_set(struct deadlines *ds, struct deadline *d, uint64_t ms)
{
	static const struct timeval tick = { 0, (suseconds_t)DEADLINE_TICK_MS * 1000 };
	uint64_t now = clock_ms();

	deadline_clear(d);
	if (!ds->running) {
		/* Nothing was set while the timer stood still, so no slot needs a visit. */
		ds->now = tick_of(ds, now);
		ds->running = event_add(ds->timer, &tick) == 0;
	}
	d->due = tick_of(ds, now + ms) + 1;
	if (d->due <= ds->now)
		d->due = ds->now + 1;
	link_into(&ds->slot[d->due & (SLOTS - 1)], d);
}

/* Fires what is due in one slot.  Callbacks may change the list, so it is moved aside first. */
static void
run_slot(struct deadlines *ds, size_t i)
{
	struct deadline *todo = ds->slot[i], *d;

	ds->slot[i] = NULL;
	if (todo != NULL)
		todo->prev = &todo;
	while ((d = todo) != NULL) {
		deadline_clear(d);
		if (d->due > ds->now)
			link_into(&ds->slot[i], d);
		else
			ds->fire[d->cls](d);
	}
}

void
deadlines_run(struct deadlines *ds, uint64_t now_ms)
{
	uint32_t target = tick_of(ds, now_ms);
	uint32_t steps = 0;
	size_t i;

	/* After a long sleep one turn visits every slot; more turns would find nothing new. */
	if (target - ds->now > SLOTS && target > ds->now) {
		ds->now = target - SLOTS;
	}
	while (ds->now < target && steps++ <= SLOTS) {
		ds->now++;
		run_slot(ds, ds->now & (SLOTS - 1));
	}
	for (i = 0; i < SLOTS; i++) {
		if (ds->slot[i] != NULL)
			return;
	}
	(void)event_del(ds->timer);
	ds->running = false;
}
