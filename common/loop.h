/*
 * loop: a libevent base that runs in passes, with work to do at the end of each.
 *
 * Owns:    the event_base and the list of hooks.
 * Process: hub, workers.
 * Layer:   common.  Uses err; libevent.
 *
 * One pass: wait for events, run the callback of every event that is ready, then run the hooks in
 * the order in which they were added.  Hooks flush what the callbacks gathered and reap what they
 * closed.  A hook may be called when nothing happened; it is cheap then.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include "common/err.h"

struct event_base;
struct loop;

/* NULL: libevent could not be set up. */
struct loop *loop_new(void);
void loop_free(struct loop *l);

/* Lent; lives as long as the loop. */
struct event_base *loop_base(struct loop *l);

/* Adds a hook.  FAN_EFULL after eight. */
FAN_NODISCARD int loop_add_hook(struct loop *l, void (*fn)(void *arg), void *arg);

/* Runs passes until loop_stop.  FAN_ESYS: libevent failed. */
FAN_NODISCARD int loop_run(struct loop *l);
/* Ends loop_run after the pass that is under way, its hooks included. */
void loop_stop(struct loop *l);

#endif
