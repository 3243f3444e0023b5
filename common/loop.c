/*
 * loop: a libevent base that runs in passes.  See loop.h.
 */
#include "common/loop.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>

#define HOOKS_MAX 8

struct loop {
	struct event_base *base;
	bool stop;
	size_t hooks;
	struct {
		void (*fn)(void *arg);
		void *arg;
	} hook[HOOKS_MAX];
};

struct loop *
loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));
	struct event_config *cfg;

	if (l == NULL)
		return NULL;
	cfg = event_config_new();
	if (cfg != NULL) {
		/* One thread a process: no locks.  */
		(void)event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
		l->base = event_base_new_with_config(cfg);
		event_config_free(cfg);
	}
	if (l->base == NULL) {
		free(l);
		return NULL;
	}
	return l;
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	event_base_free(l->base);
	free(l);
}

struct event_base *
loop_base(struct loop *l)
{
	return l->base;
}

int
loop_add_hook(struct loop *l, void (*fn)(void *arg), void *arg)
{
	if (l->hooks == HOOKS_MAX)
		return FAN_EFULL;
	l->hook[l->hooks].fn = fn;
	l->hook[l->hooks].arg = arg;
	l->hooks++;
	return 0;
}

int
loop_run(struct loop *l)
{
	size_t i;

	while (!l->stop) {
		if (event_base_loop(l->base, EVLOOP_ONCE) < 0)
			return FAN_ESYS;
		for (i = 0; i < l->hooks; i++)
			l->hook[i].fn(l->hook[i].arg);
	}
	return 0;
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
}
