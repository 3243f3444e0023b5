/*
 * churn: the mode churn: connections that open, do their handshake, and close.  See churn.h.
 */
#include "bench/churn.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/address.h"
#include "bench/dial.h"
#include "bench/hist.h"
#include "bench/report.h"
#include "bench/server.h"
#include "bench/settings.h"
#include "bench/text.h"
#include "bench/tls.h"
#include "bench/wire.h"

#define SETTLE_NS 100000000 /* for the server to see the last close */
#define TICK_NS 10000000
#define NS_PER_S 1e9
#define NS_PER_US 1e3

struct churn {
	const struct settings *s;
	struct address broker;
	struct ssl_ctx_st *tls; /* NULL: without */
	char request[DIAL_REQUEST_MAX];
	size_t request_len;
	atomic_uint_least64_t opened;
	atomic_uint ended; /* threads */
};

struct thread {
	struct churn *churn;
	pthread_t thread;
	uint64_t first, count;
	struct hist latency;
};

static size_t
request(void *arg, uint64_t i, char out[DIAL_REQUEST_MAX])
{
	const struct churn *t = arg;

	(void)i;
	memcpy(out, t->request, t->request_len);
	return t->request_len;
}

static void *
thread_main(void *arg)
{
	struct thread *th = arg;
	struct churn *t = th->churn;
	struct dial d = {
		.to = &t->broker,
		.first = th->first,
		.count = th->count,
		.concurrency = t->s->concurrency,
		.timeout = t->s->timeout,
		.tls = t->tls,
		.needs = t->s->deflate ? "permessage-deflate" : NULL,
		.opened = &t->opened,
		.latency = &th->latency,
		.request = request,
		.arg = t,
	};

	(void)dial_all(&d);
	atomic_fetch_add(&t->ended, 1);
	return NULL;
}

static void
prepare(struct churn *t)
{
	struct text target = text_expand(t->s->dialect.path, t->s->channel, 0);

	if (t->s->dialect.plain)
		text_usage("preset %s has no handshake", t->s->preset);
	address_parse(t->s->dialect.url, "80", &t->broker);
	if (t->s->tls)
		t->tls = tls_context(t->s);
	t->request_len = dial_handshake(t->s, t->broker.host, (const char *)target.p, t->request);
	free(target.p);
}

static void
await_threads(struct churn *t)
{
	const struct timespec tick = { 0, TICK_NS };
	uint64_t shown = wire_now(), now, opened, before = 0;
	char line[96];

	while (atomic_load(&t->ended) < t->s->threads) {
		(void)nanosleep(&tick, NULL);
		now = wire_now();
		if (!t->s->progress || (double)(now - shown) < NS_PER_S)
			continue;
		opened = atomic_load(&t->opened);
		(void)snprintf(line, sizeof(line), "%llu of %u connections, %.0f/s",
		    (unsigned long long)opened, t->s->connections,
		    (double)(opened - before) * NS_PER_S / (double)(now - shown));
		text_progress(line);
		shown = now;
		before = opened;
	}
}

/* Opens and closes all of them; returns the time that it took, in ns. */
static uint64_t
run(struct churn *t, struct hist *latency)
{
	struct thread *threads = text_calloc(t->s->threads, sizeof(*threads));
	uint64_t start = wire_now(), taken;
	unsigned i, n = t->s->threads;
	int err;

	for (i = 0; i < n; i++) {
		threads[i].churn = t;
		threads[i].first = (uint64_t)t->s->connections * i / n;
		threads[i].count = (uint64_t)t->s->connections * (i + 1) / n - threads[i].first;
		err = pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]);
		if (err != 0)
			text_die("can not start a thread: %s", strerror(err));
	}
	await_threads(t);
	taken = wire_now() - start;
	for (i = 0; i < n; i++) {
		(void)pthread_join(threads[i].thread, NULL);
		hist_merge(latency, &threads[i].latency);
	}
	free(threads);
	return taken;
}

static void
results(const struct churn *t, uint64_t taken, uint64_t own, const struct server_use *before,
    const struct server_use *after, const struct hist *latency)
{
	struct report r = { .n = 0 };
	double n = t->s->connections;
	uint64_t cpu = server_cpu_between(before, after);

	report_text(&r, "mode", "mode", "churn");
	report_text(&r, "preset", "preset", t->s->preset);
	report_number(&r, "connections", "connections", n, 0, "");
	report_number(&r, "concurrency", "at a time", t->s->concurrency * t->s->threads, 0, "");
	report_number(&r, "seconds", "time", (double)taken / NS_PER_S, 3, "s");
	report_number(
	    &r, "connections_per_s", "connections/s", n * NS_PER_S / (double)taken, 0, "");
	if (t->s->server != 0) {
		report_number(&r, "server_cpu_us", "server CPU a connection",
		    (double)cpu / NS_PER_US / n, 2, "us");
		report_processes(&r, before, after, n, "us");
		report_busy(&r, "server_busy", "server busy", cpu, taken);
	}
	report_busy(&r, "client_busy", "this program busy", own, taken);
	report_latency(&r, latency);
	report_print(&r, t->s);
}

int
churn_main(const struct settings *s)
{
	const struct timespec settle = { 0, SETTLE_NS };
	struct churn *t = text_calloc(1, sizeof(*t));
	struct server_use *before = text_calloc(2, sizeof(*before)), *after = before + 1;
	struct hist *latency = text_calloc(1, sizeof(*latency));
	uint64_t taken, own;

	t->s = s;
	prepare(t);
	server_look(s->server, SERVER_CPU, before);
	own = server_own_cpu();
	taken = run(t, latency);
	own = server_own_cpu() - own;
	(void)nanosleep(&settle, NULL);
	server_look(s->server, SERVER_CPU, after);
	results(t, taken, own, before, after, latency);
	tls_context_free(t->tls);
	free(latency);
	free(before);
	free(t);
	return EXIT_SUCCESS;
}
