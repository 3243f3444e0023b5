/*
 * deadline: coarse deadlines of many objects on one timer.
 *
 * Owns:    the wheel and one libevent timer, which runs only while a deadline is set.  A struct
 *          deadline is embedded in the object that it belongs to, and cleared before that is freed.
 * Process: workers.
 * Layer:   worker/net, lowest.  Uses common; libevent.
 *
 * Time goes in ticks of DEADLINE_TICK_MS.  A deadline fires at the first tick at or after its time,
 * never before it.  Setting and clearing cost a few instructions and no system call.
 */
#ifndef WORKER_NET_DEADLINE_H
#define WORKER_NET_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#define DEADLINE_TICK_MS 100

struct event_base;
struct deadlines;

/* Which of the wheel's callbacks a deadline goes to. */
enum deadline_class {
	DEADLINE_CONN,     /* of a connection's upper layer */
	DEADLINE_STALL,    /* of a connection's output queue */
	DEADLINE_SESSION,  /* of a session's dialect */
	DEADLINE_GUESTS,   /* of the addresses that have left */
	DEADLINE_PROXIED,  /* of a PROXY header */
	DEADLINE_IDENTITY, /* of a session's tokens */
	DEADLINE_CLASSES,
};

struct deadline {
	struct deadline *next;
	struct deadline **prev; /* NULL: not set */
	uint32_t due;           /* tick */
	uint8_t cls;            /* enum deadline_class */
};

/* NULL: no memory. */
struct deadlines *deadlines_new(struct event_base *base);
void deadlines_free(struct deadlines *ds);

/* fn may set and clear any deadline, and free the object that d is in. */
void deadlines_on(struct deadlines *ds, enum deadline_class cls, void (*fn)(struct deadline *d));

void deadline_init(struct deadline *d, enum deadline_class cls);
/* Fires once, ms milliseconds from now; replaces an earlier setting. */
void deadline_set(struct deadlines *ds, struct deadline *d, uint64_t ms);
/* Does nothing if it is not set. */
void deadline_clear(struct deadline *d);

static inline bool
deadline_is_set(const struct deadline *d)
{
	return d->prev != 0;
}

/* Runs what is due at the time now_ms (as clock_ms); the timer calls it, and tests do. */
void deadlines_run(struct deadlines *ds, uint64_t now_ms);

#endif
