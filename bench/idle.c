/*
 * idle: the mode idle: what connections cost that only wait.  See idle.h.
 */
#include "bench/idle.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/loop.h"
#include "bench/opener.h"
#include "bench/report.h"
#include "bench/server.h"
#include "bench/settings.h"
#include "bench/text.h"

#define FIRST 16 /* opened before the memory is looked at: what the first one costs is not theirs */
#define SETTLE_S 1 /* for the broker to come to rest */
#define NS_PER_S 1e9
#define NS_PER_US 1e3

struct idle {
	const struct settings *s;
	struct control control;
	struct opener opener;
	size_t counted;   /* connections between the two looks at the memory */
	uint64_t opening; /* ns that it took to open them */
	uint64_t kept;    /* ns between the two looks at the CPU */
	struct server_use before, open, after;
};

static void
rest(struct idle *t, double seconds, const char *what)
{
	uint64_t start = wire_now(), end = start + (uint64_t)(seconds * NS_PER_S), now, left;
	struct timespec ts;
	char line[80];

	for (now = start; now < end; now = wire_now()) {
		left = end - now < 1000000000 ? end - now : 999999999;
		ts = (struct timespec){ 0, (long)left };
		(void)nanosleep(&ts, NULL);
		(void)snprintf(line, sizeof(line), "%s: %.0f of %.0f s", what,
		    (double)(wire_now() - start) / NS_PER_S, seconds);
		if (t->s->progress && seconds > 2)
			text_progress(line);
	}
}

static void
set_up(struct idle *t)
{
	struct control *c = &t->control;
	struct role *role;
	size_t i, first;
	uint64_t start;

	c->settings = t->s;
	c->nloops = t->s->threads;
	c->loops = text_calloc(c->nloops, sizeof(*c->loops));
	for (i = 0; i < c->nloops; i++)
		loop_init(&c->loops[i], c);
	opener_init(&t->opener, c, t->s->connections);
	for (i = 0; i < t->opener.n; i++) {
		role = &t->opener.roles[i];
		role->loop = &c->loops[i % c->nloops];
		role->channel = t->s->own_channels ? (unsigned)i : 0;
		role->kind = t->s->dialect.plain ? CONN_PLAIN : CONN_WS;
	}
	first = t->opener.n > 2 * (size_t)FIRST ? FIRST : 0;
	opener_open(&t->opener, 0, first);
	rest(t, SETTLE_S, "first connections");
	server_look(t->s->server, SERVER_MEMORY, &t->before);
	start = wire_now();
	opener_open(&t->opener, first, t->opener.n - first);
	t->counted = t->opener.n - first;
	t->opening = wire_now() - start;
	for (i = 0; i < c->nloops; i++)
		loop_start(&c->loops[i]);
}

static void
tear_down(struct idle *t)
{
	struct control *c = &t->control;
	unsigned i;

	loop_set_phase(c, PHASE_END);
	for (i = 0; i < c->nloops; i++) {
		loop_join(&c->loops[i]);
		loop_fini(&c->loops[i]);
	}
	opener_fini(&t->opener);
	free(c->loops);
}

/* How evenly the connections are spread over those processes that hold any number of them. */
static void
report_spread(const struct idle *t, struct report *r)
{
	uint64_t grown, least = UINT64_MAX, most = 0;
	const struct server_process *old;
	unsigned holders = 0;
	size_t i;

	for (i = 0; i < t->open.n; i++) {
		old = server_find(&t->before, t->open.p[i].pid);
		grown = old == NULL || t->open.p[i].fds > old->fds
		    ? t->open.p[i].fds - (old != NULL ? old->fds : 0)
		    : 0;
		if (grown * 100 < t->counted)
			continue;
		holders++;
		least = grown < least ? grown : least;
		most = grown > most ? grown : most;
	}
	report_number(r, "processes", "server processes", (double)t->open.n, 0, "");
	report_number(r, "holders", "  that hold connections", holders, 0, "");
	report_number(r, "least", "  the least of one", holders > 0 ? (double)least : 0, 0, "");
	report_number(r, "most", "  the most of one", (double)most, 0, "");
}

static void
results(const struct idle *t)
{
	struct report r = { .n = 0 };
	double n = (double)t->counted, seconds = (double)t->kept / NS_PER_S;
	uint64_t cpu = server_cpu_between(&t->open, &t->after);

	report_text(&r, "mode", "mode", "idle");
	report_text(&r, "preset", "preset", t->s->preset);
	report_number(&r, "connections", "connections", t->s->connections, 0, "");
	report_text(&r, "channels", "channels", t->s->own_channels ? "one each" : "one for all");
	report_number(&r, "opened_per_s", "opened",
	    n * NS_PER_S / (double)(t->opening > 0 ? t->opening : 1), 0, "connections/s");
	report_number(&r, "seconds", "kept", seconds, 3, "s");
	if (t->s->server != 0) {
		report_number(
		    &r, "pss_before", "memory (PSS) before", (double)t->before.pss, 0, "B");
		report_number(
		    &r, "pss_after", "memory (PSS) with them", (double)t->open.pss, 0, "B");
		report_number(&r, "pss_per_connection", "memory a connection",
		    ((double)t->open.pss - (double)t->before.pss) / n, 0, "B");
		report_number(&r, "server_cpu_us", "CPU a connection and second",
		    (double)cpu / NS_PER_US / t->s->connections / seconds, 3, "us");
		report_busy(&r, "server_busy", "server busy", cpu, t->kept);
		report_spread(t, &r);
	}
	report_print(&r, t->s);
}

int
idle_main(const struct settings *s)
{
	struct idle *t = text_calloc(1, sizeof(*t));
	uint64_t start;

	t->s = s;
	set_up(t);
	rest(t, SETTLE_S, "settling");
	server_look(s->server, SERVER_MEMORY, &t->open);
	start = wire_now();
	rest(t, s->duration, "idle");
	server_look(s->server, SERVER_CPU, &t->after);
	t->kept = wire_now() - start;
	results(t);
	tear_down(t);
	free(t);
	return EXIT_SUCCESS;
}
