/*
 * traffic: the modes fanout and pairs: messages through the broker, timed and checked.  See
 * traffic.h.
 */
#include "bench/traffic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/body.h"
#include "bench/conn.h"
#include "bench/flow.h"
#include "bench/loop.h"
#include "bench/opener.h"
#include "bench/report.h"
#include "bench/server.h"
#include "bench/settings.h"
#include "bench/text.h"

#define TICK_NS 2000000
#define NS_PER_S 1e9
#define NS_PER_US 1e3

struct traffic {
	const struct settings *s;
	struct control control;
	struct opener opener;
	struct bodies bodies; /* of PAYLOAD_JSON */
	struct flow *flows;
	unsigned nflows;
	size_t nbroker;   /* connections to the broker; those to publish by HTTP or Redis follow */
	uint64_t started; /* of what is measured; ns */
	uint64_t elapsed; /* until the last message came */
	uint64_t sent;
	uint64_t deliveries;
	uint64_t bytes;
	uint64_t client_cpu;
	struct hist latency;
	struct server_use before, after;
	uint64_t shown; /* when progress was last shown, and what */
	uint64_t shown_deliveries;
};

/* --- set-up ------------------------------------------------------------------------------------ */

/* A whole message with room for its stamp, filler behind it. */
static struct text
make_image(const struct settings *s, const char *host, const char *channel)
{
	const struct dialect *d = &s->dialect;
	const char *message = d->publish_message != NULL ? d->publish_message : "%p";
	const char *type = d->binary ? "application/octet-stream" : "text/plain";
	struct text image;
	char template[1024];
	int n;

	if (s->publish == PUBLISH_HTTP)
		n = snprintf(template, sizeof(template),
		    "POST %s HTTP/1.1\\r\\nHost: %s\\r\\nContent-Type: %s\\r\\n"
		    "Content-Length: %%n\\r\\n\\r\\n%%p",
		    d->http_path, host, type);
	else if (s->publish == PUBLISH_REDIS)
		n = snprintf(template, sizeof(template),
		    "*3\\r\\n$7\\r\\nPUBLISH\\r\\n$%zu\\r\\n%s%%c\\r\\n$%%n\\r\\n%%p\\r\\n",
		    strlen(d->redis_prefix) + strlen(channel), d->redis_prefix);
	else
		n = snprintf(template, sizeof(template), "%s", message);
	if (n < 0 || (size_t)n >= sizeof(template))
		text_usage("what publishes is longer than %zu bytes", sizeof(template));
	image = text_expand(template, channel, s->size);
	if (image.payload_at == TEXT_NO_PAYLOAD)
		text_usage("--publish-message has no %%p for the payload");
	memset(image.p + image.payload_at, 'x', s->size);
	return image;
}

/* Makes the flows, and the roles of all connections. */
static void
plan(struct traffic *t)
{
	const struct settings *s = t->s;
	unsigned per_flow = s->mode == MODE_FANOUT ? s->subscribers : 1, i, k;
	bool ws = s->publish == PUBLISH_WS, echo = ws && s->dialect.echo;
	enum conn_kind kind = s->dialect.plain ? CONN_PLAIN : CONN_WS;
	struct opener *o = &t->opener;
	struct role *role, *publishers;
	char channel[OPENER_CHANNEL_MAX];
	struct loop *l;

	if (s->payload == PAYLOAD_JSON)
		bodies_init(&t->bodies, s->size);
	t->nflows = s->mode == MODE_FANOUT ? 1 : s->pairs;
	t->flows = text_calloc(t->nflows, sizeof(*t->flows));
	/* Who publishes and hears himself is one of the subscribers of a fan-out. */
	if (!ws || !echo || s->mode == MODE_PAIRS)
		per_flow++;
	opener_init(o, &t->control, (size_t)t->nflows * per_flow);
	t->nbroker = ws ? o->n : o->n - t->nflows;
	role = o->roles;
	publishers = o->roles + (o->n - t->nflows);
	for (k = 0; k < t->nflows; k++) {
		l = &t->control.loops[k % t->control.nloops];
		opener_channel(&t->control, k, channel);
		flow_init(&t->flows[k], &t->control, l, k, make_image(s, o->publish.host, channel),
		    s->payload == PAYLOAD_JSON ? &t->bodies : NULL);
		publishers[k] = (struct role){ .loop = l,
			.flow = &t->flows[k],
			.channel = k,
			.kind = ws ? kind : CONN_REPLY };
		if (echo)
			publishers[k].part = flow_add_subscriber(&t->flows[k], l);
		for (i = 1; i < per_flow; i++, role++) {
			if (s->mode == MODE_FANOUT)
				l = &t->control.loops[i % t->control.nloops];
			*role = (struct role){ .loop = l, .channel = k, .kind = kind };
			role->part = flow_add_subscriber(&t->flows[k], l);
		}
	}
}

static void
set_up(struct traffic *t)
{
	struct control *c = &t->control;
	unsigned i;

	c->settings = t->s;
	c->nloops = t->s->threads;
	c->loops = text_calloc(c->nloops, sizeof(*c->loops));
	for (i = 0; i < c->nloops; i++)
		loop_init(&c->loops[i], c);
	plan(t);
	opener_open(&t->opener, 0, t->nbroker);
	opener_open(&t->opener, t->nbroker, t->opener.n - t->nbroker);
	for (i = 0; i < c->nloops; i++)
		loop_start(&c->loops[i]);
}

static void
stop(struct traffic *t)
{
	unsigned i;

	loop_set_phase(&t->control, PHASE_END);
	for (i = 0; i < t->control.nloops; i++)
		loop_join(&t->control.loops[i]);
}

static void
tear_down(struct traffic *t)
{
	struct control *c = &t->control;
	unsigned i;

	for (i = 0; i < c->nloops; i++)
		loop_fini(&c->loops[i]);
	opener_fini(&t->opener);
	for (i = 0; i < t->nflows; i++)
		flow_fini(&t->flows[i]);
	bodies_fini(&t->bodies);
	free(t->flows);
	free(c->loops);
}

/* --- what the loops have counted ------------------------------------------------------------------ */

struct totals {
	uint64_t deliveries, lost, doubled, reordered, malformed, bytes, last_ns;
};

static struct totals
totals(const struct traffic *t)
{
	struct totals all = { 0 };
	const struct count *c;
	uint64_t last_ns;
	unsigned i;

	for (i = 0; i < t->control.nloops; i++) {
		c = &t->control.loops[i].count;
		all.deliveries += atomic_load_explicit(&c->deliveries, memory_order_relaxed);
		all.lost += atomic_load_explicit(&c->lost, memory_order_relaxed);
		all.doubled += atomic_load_explicit(&c->doubled, memory_order_relaxed);
		all.reordered += atomic_load_explicit(&c->reordered, memory_order_relaxed);
		all.malformed += atomic_load_explicit(&c->malformed, memory_order_relaxed);
		all.bytes += atomic_load_explicit(&c->bytes, memory_order_relaxed);
		last_ns = atomic_load_explicit(&c->last_ns, memory_order_relaxed);
		all.last_ns = last_ns > all.last_ns ? last_ns : all.last_ns;
	}
	return all;
}

static uint64_t
sent(const struct traffic *t)
{
	uint64_t n = 0;
	unsigned i;

	for (i = 0; i < t->nflows; i++)
		n += atomic_load(&t->flows[i].sent);
	return n;
}

/* Whether all that may be sent has been, and has come. */
static bool
is_complete(const struct traffic *t, bool to_limit)
{
	unsigned i;

	for (i = 0; i < t->nflows; i++) {
		const struct flow *f = &t->flows[i];

		if ((to_limit && atomic_load(&f->sent) < atomic_load(&f->limit)) ||
		    !flow_is_complete(f))
			return false;
	}
	return true;
}

/* --- one run ------------------------------------------------------------------------------------- */

static void
nap(void)
{
	const struct timespec ts = { 0, TICK_NS };

	(void)nanosleep(&ts, NULL);
}

static void
show_progress(struct traffic *t, const char *what)
{
	uint64_t now = wire_now(), deliveries = totals(t).deliveries;
	char line[160];

	if (!t->s->progress || (double)(now - t->shown) < NS_PER_S)
		return;
	(void)snprintf(line, sizeof(line), "%s: %.0f s, %.0f deliveries/s, %llu in all", what,
	    (double)(now - t->started) / NS_PER_S,
	    (double)(deliveries - t->shown_deliveries) * NS_PER_S / (double)(now - t->shown),
	    (unsigned long long)deliveries);
	if (t->shown != 0)
		text_progress(line);
	t->shown = now;
	t->shown_deliveries = deliveries;
}

static void
await_subscribers(struct traffic *t)
{
	uint64_t start = wire_now(), ready, all;
	unsigned i;

	loop_set_phase(&t->control, PHASE_PROBE);
	for (;;) {
		for (i = 0, ready = all = 0; i < t->nflows; i++) {
			ready += flow_ready(&t->flows[i]);
			all += flow_subscribers(&t->flows[i]);
		}
		if (ready == all)
			break;
		if ((double)(wire_now() - start) > t->s->timeout * NS_PER_S)
			text_die("after %g s %llu of %llu subscribers have got no message",
			    t->s->timeout, (unsigned long long)(all - ready),
			    (unsigned long long)all);
		nap();
	}
	loop_set_phase(&t->control, PHASE_REST);
}

/* Waits until nothing is under way, or nothing has come for the timeout. */
static void
drain(struct traffic *t)
{
	uint64_t last = 0, deliveries, since = wire_now();

	loop_set_phase(&t->control, PHASE_REST);
	while (!is_complete(t, false)) {
		deliveries = totals(t).deliveries;
		if (deliveries != last)
			since = wire_now();
		last = deliveries;
		if ((double)(wire_now() - since) > t->s->timeout * NS_PER_S)
			return;
		nap();
	}
}

/* Publishes for so many seconds, or messages where `messages` is not 0. */
static void
run(struct traffic *t, const char *what, double seconds, uint64_t messages)
{
	uint64_t start = wire_now(), seen = 0, since = start, deliveries;
	unsigned i;

	t->started = start;
	t->shown = 0;
	for (i = 0; i < t->nflows; i++)
		flow_begin(&t->flows[i], messages, start + t->flows[i].interval * i / t->nflows);
	loop_set_phase(&t->control, PHASE_RUN);
	while (messages > 0 ? !is_complete(t, true)
			    : (double)(wire_now() - start) < seconds * NS_PER_S) {
		deliveries = totals(t).deliveries;
		if (deliveries != seen)
			since = wire_now();
		seen = deliveries;
		if ((double)(wire_now() - since) > t->s->timeout * NS_PER_S)
			break;
		show_progress(t, what);
		nap();
	}
	drain(t);
}

static void
measure(struct traffic *t)
{
	uint64_t sent_before, cpu;
	struct totals before, after;
	unsigned i;

	if (t->s->warmup > 0)
		run(t, "warm-up", t->s->warmup, 0);
	for (i = 0; i < t->control.nloops; i++)
		hist_clear(&t->control.loops[i].latency);
	sent_before = sent(t);
	before = totals(t);
	server_look(t->s->server, SERVER_CPU, &t->before);
	cpu = server_own_cpu();
	run(t, "run", t->s->duration, t->s->messages);
	t->client_cpu = server_own_cpu() - cpu;
	server_look(t->s->server, SERVER_CPU, &t->after);
	t->sent = sent(t) - sent_before;
	after = totals(t);
	t->deliveries = after.deliveries - before.deliveries;
	t->bytes = after.bytes - before.bytes;
	t->elapsed = after.last_ns > t->started ? after.last_ns - t->started : 0;
	for (i = 0; i < t->control.nloops; i++)
		hist_merge(&t->latency, &t->control.loops[i].latency);
}

/* --- results ------------------------------------------------------------------------------------- */

/* What never came and is followed by nothing shows only when all is over. */
static uint64_t
missing_at_end(const struct traffic *t)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < t->opener.n; i++) {
		const struct conn *c = &t->opener.conns[i];

		if (c->part != NULL)
			n += conn_missing(c, atomic_load(&c->part->flow->sent));
	}
	return n;
}

static void
describe(const struct traffic *t, struct report *r)
{
	static const char *const publish[] = { "ws", "http", "redis" };
	static const char *const payloads[] = { "fill", "json" };
	const struct settings *s = t->s;
	uint32_t subscribers = flow_subscribers(&t->flows[0]);

	report_text(r, "mode", "mode", s->mode == MODE_FANOUT ? "fanout" : "pairs");
	report_text(r, "preset", "preset", s->preset);
	report_text(r, "publish", "publish by", publish[s->publish]);
	if (s->mode == MODE_PAIRS)
		report_number(r, "pairs", "pairs", s->pairs, 0, "");
	report_number(r, "subscribers",
	    s->mode == MODE_PAIRS ? "subscribers of a channel" : "subscribers", subscribers, 0, "");
	report_number(r, "size", "payload", (double)s->size, 0, "B");
	report_text(r, "payload", NULL, payloads[s->payload]);
	report_text(r, "deflate", s->deflate ? "compressed" : NULL, s->deflate ? "yes" : "no");
	report_text(r, "tls", s->tls ? "TLS" : NULL, s->tls ? "yes" : "no");
	report_number(r, "window", s->window > 0 ? "window" : NULL, s->window, 0, "messages");
	report_number(r, "rate", s->rate > 0 ? "rate" : NULL, s->rate, 0, "messages/s");
	report_number(r, "threads", NULL, s->threads, 0, "");
}

static int
results(const struct traffic *t)
{
	struct report r = { .n = 0 };
	double seconds = (double)t->elapsed / NS_PER_S;
	struct totals all = totals(t);
	uint64_t lost = all.lost + missing_at_end(t);
	uint64_t cpu = server_cpu_between(&t->before, &t->after);

	describe(t, &r);
	report_number(&r, "seconds", "time", seconds, 3, "s");
	report_number(&r, "messages", "messages", (double)t->sent, 0, "");
	report_number(&r, "deliveries", "deliveries", (double)t->deliveries, 0, "");
	report_number(&r, "messages_per_s", "messages/s", (double)t->sent / seconds, 0, "");
	report_number(
	    &r, "deliveries_per_s", "deliveries/s", (double)t->deliveries / seconds, 0, "");
	report_number(&r, "wire_bytes", "received a delivery",
	    (double)t->bytes / (double)t->deliveries, 1, "B");
	if (t->s->server != 0) {
		report_number(&r, "server_cpu_us", "server CPU a delivery",
		    (double)cpu / NS_PER_US / (double)t->deliveries, 3, "us");
		report_number(&r, "server_cpu_us_message", "server CPU a message",
		    (double)cpu / NS_PER_US / (double)t->sent, 2, "us");
		report_processes(&r, &t->before, &t->after, (double)t->sent, "us a message");
		report_busy(&r, "server_busy", "server busy", cpu, t->elapsed);
	}
	report_busy(&r, "client_busy", "this program busy", t->client_cpu, t->elapsed);
	report_latency(&r, &t->latency);
	report_number(&r, "lost", "lost", (double)lost, 0, "");
	report_number(&r, "doubled", "doubled", (double)all.doubled, 0, "");
	report_number(&r, "out_of_order", "out of order", (double)all.reordered, 0, "");
	report_number(&r, "malformed", "malformed", (double)all.malformed, 0, "");
	report_print(&r, t->s);
	return t->deliveries > 0 && lost + all.doubled + all.reordered + all.malformed == 0
	    ? EXIT_SUCCESS
	    : EXIT_FAILURE;
}

int
traffic_main(const struct settings *s)
{
	struct traffic *t = text_calloc(1, sizeof(*t));
	int status;

	t->s = s;
	set_up(t);
	await_subscribers(t);
	measure(t);
	stop(t);
	status = results(t);
	tear_down(t);
	free(t);
	return status;
}
