/*
 * worker: the wiring of the worker's modules.  See worker.h.
 */
#include "worker/worker.h"

#include <event2/event.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/boot.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/memory.h"
#include "worker/accept.h"
#include "worker/auth/token.h"
#include "worker/core/access.h"
#include "worker/core/fanout.h"
#include "worker/core/lifecycle.h"
#include "worker/core/session.h"
#include "worker/dialect/dialect.h"
#include "worker/hook/hook.h"
#include "worker/http/api.h"
#include "worker/http/client.h"
#include "worker/http/http.h"
#include "worker/http/upgrade.h"
#include "worker/net/conn.h"
#include "worker/net/tls.h"
#include "worker/uplink.h"
#include "worker/ws/deflate.h"
#include "worker/ws/ws.h"

#define OWN_FDS 32
#define LONG_FANOUT 256 /* sends, about a millisecond */
#define TURN_US 50
#define NO_HUB_S 1 /* how long a new worker waits for the hub before it accepts */

struct worker {
	struct boot *boot;
	struct conf *conf;
	struct loop *loop;
	struct net net;
	struct uplink *uplink;
	struct core core;
	struct deflate_options deflate;
	struct ws_options ws;
	struct http_server server;
	struct clients clients;
	struct acceptor *acceptor;
	struct event *sigterm, *sigint, *sighup;
	struct event *stopped; /* the deadline of an orderly end */
	struct event *no_hub;  /* the deadline of the first link to the hub */
	bool stopping, failed;
	char name[32];
};

/* What a request is for: the server struct is part of the worker's. */
static void
begin(struct http *h, const struct http_request *req)
{
	struct worker *w =
	    (struct worker *)(void *)((char *)h->server - offsetof(struct worker, server));

	if (!client_asks(&w->clients, h, req))
		return;
	if (http_listener(h) == LISTENER_PUBLIC && upgrade_matches(req))
		upgrade_begin(h, req, &w->ws);
	else
		api_begin(h, req);
}

/*
 * 90 % of the fds, where the configuration sets no number; where these are few, less, so that the
 * worker has enough left to reach the hub again and to answer its operator.
 */
static size_t
connections_max(const struct conf *c)
{
	struct rlimit rl;
	rlim_t own;

	if (c->limits.connections > 0)
		return (size_t)c->limits.connections;
	if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur == RLIM_INFINITY)
		return SIZE_MAX;
	own = rl.rlim_cur / 10 > OWN_FDS ? rl.rlim_cur / 10 : OWN_FDS;
	if (own > rl.rlim_cur / 2)
		own = rl.rlim_cur / 2;
	return (size_t)(rl.rlim_cur - own);
}

/* --- accepting ---------------------------------------------------------------------------- */

static void
start_accepting(struct worker *w)
{
	const struct conf *c = w->conf;

	if (w->acceptor != NULL || w->stopping)
		return;
	w->acceptor = acceptor_new(&w->server, w->boot,
	    &(struct acceptor_options){
		.max = connections_max(c),
		.sndbuf = (int)c->limits.sndbuf,
		.proxy_header_ms = (uint64_t)c->limits.proxy_header,
		.clients = &w->clients,
	    });
	if (w->acceptor != NULL)
		return;
	log_errx("cannot accept: %s", fan_strerror(FAN_ENOMEM));
	w->failed = true;
	loop_stop(w->loop);
}

/* A hook: once the hub knows this worker, it can serve. */
static void
serve_if_linked(void *arg)
{
	struct worker *w = arg;

	if (!uplink_up(w->uplink))
		return;
	boot_ready(w->boot); /* which does a thing only once */
	start_accepting(w);
}

/* Without a hub for so long, clients had better hear 503 than nothing. */
static void
on_no_hub(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_accepting(arg);
}

/* --- the end ------------------------------------------------------------------------------ */

static void
stop_if_empty(void *arg)
{
	struct worker *w = arg;

	/* The application hears of those who have just gone. */
	if (w->stopping && w->net.count == 0 && !hooks_busy(w->core.hooks))
		loop_stop(w->loop);
}

static void
on_stopped(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	loop_stop(w->loop);
}

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct worker *w = arg;
	struct timeval tv = { w->conf->limits.close / 1000 + 1, 0 };
	struct conn *c, *next;

	(void)what;
	(void)sig;
	if (w->stopping)
		return;
	w->stopping = true;
	acceptor_free(w->acceptor);
	w->acceptor = NULL;
	log_info("stopping connections=%zu", w->net.count);
	for (c = TAILQ_FIRST(&w->net.open); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		conn_stop(c);
	}
	(void)event_add(w->stopped, &tv);
}

static void
reload_keys(struct worker *w)
{
	struct tokens *fresh;

	if (tokens_load(w->conf, &fresh) != 0) {
		log_errx("the keys of tokens stay those that were read before");
		return;
	}
	tokens_free(w->core.tokens);
	w->core.tokens = fresh;
}

static void
on_sighup(evutil_socket_t sig, short what, void *arg)
{
	struct worker *w = arg;

	(void)sig;
	(void)what;
	if (w->net.tls != NULL && tls_context_reload(w->net.tls, w->conf) != 0)
		log_errx("the certificates stay those that were read before");
	reload_keys(w);
}

/* --- the beginning ------------------------------------------------------------------------ */

static void
set_options(struct worker *w)
{
	const struct conf *c = w->conf;

	w->ws = (struct ws_options){
		.handler = &upgrade_ws_handler,
		.reader = { .message = (size_t)c->limits.message,
		    .fragments = (uint32_t)c->limits.fragments,
		    .masked = true,
		    .compressed = inflate_input_max((size_t)c->limits.message) },
		.assemble = (uint64_t)c->limits.assemble,
		.ping_interval = (uint64_t)c->limits.ping_interval,
		.pong_timeout = (uint64_t)c->limits.pong_timeout,
		.close = (uint64_t)c->limits.close,
	};
	w->server = (struct http_server){
		.net = &w->net,
		.limits = { (size_t)c->limits.head, (size_t)c->limits.fields },
		.body_max = (size_t)c->limits.body,
		.head_ms = (uint64_t)c->limits.handshake,
		.body_ms = (uint64_t)c->limits.assemble,
		.idle_ms = (uint64_t)c->limits.idle,
		.app = &w->core,
		.begin = begin,
	};
}

/* permessage-deflate, if the configuration wants it. */
static int
use_deflate(struct worker *w)
{
	const struct conf *c = w->conf;

	if (!c->deflate.enabled)
		return 0;
	w->deflate = (struct deflate_options){
		.level = (int)c->deflate.level,
		.memory_level = (int)c->deflate.memory_level,
		.window = (uint8_t)c->deflate.window_bits,
		.min_size = (size_t)c->deflate.min_size,
		.client_takeover = c->deflate.client_context_takeover,
	};
	w->ws.deflate = &w->deflate;
	w->ws.inflater = inflater_new();
	w->core.deflater = deflater_new(&w->deflate);
	return w->ws.inflater == NULL || w->core.deflater == NULL ? FAN_ENOMEM : 0;
}

/* A queue holds two of the largest messages at least, whatever limits.queue says. */
static size_t
queue_max(const struct conf *c)
{
	size_t two = 2 * ((size_t)c->limits.message + 1024);

	return (size_t)c->limits.queue > two ? (size_t)c->limits.queue : two;
}

/*
 * A hook: what this worker's own clients have just published comes back from the hub in microseconds.
 * Before a fan-out that takes much longer it is worth waiting for: it would wait for the whole of it.
 */
static void
turn_first(void *arg)
{
	struct worker *w = arg;

	if (fanout_due(&w->core) >= LONG_FANOUT)
		uplink_turn(w->uplink, TURN_US);
}

/* All queues of this worker may hold a quarter of its share of the memory, unless it is said. */
static size_t
queues_max(const struct conf *c, const struct boot *b)
{
	if (c->limits.queues > 0)
		return (size_t)c->limits.queues;
	return (size_t)(memory_limit("") / (b->workers > 0 ? b->workers : 1) / 4);
}

/* After SIGHUP is watched: files that are replaced from now on are read again. */
static int
load_files(struct worker *w)
{
	int err = tokens_load(w->conf, &w->core.tokens);

	_Static_assert(BOOT_SECRET_SIZE == TLS_SECRET_SIZE, "the master makes the tickets' secret");
	if (err != 0 || w->conf->tls.certificates.n == 0)
		return err;
	w->net.tls = tls_context_new(w->conf, w->boot->secret);
	return w->net.tls != NULL ? 0 : FAN_EINVAL;
}

static int
setup(struct worker *w)
{
	const struct conf *c = w->conf;
	const struct timeval no_hub = { NO_HUB_S, 0 };
	struct event_base *base;
	int err;

	w->loop = loop_new();
	if (w->loop == NULL)
		return FAN_ENOMEM;
	base = loop_base(w->loop);
	err = net_init(
	    &w->net, base, queue_max(c), (uint64_t)c->limits.stall, (uint64_t)c->limits.close);
	if (err != 0)
		return err;
	w->net.queues_max = queues_max(c, w->boot);
	err = clients_init(&w->clients, c, &w->net);
	if (err != 0)
		return err;
	net_use_burst(&w->net, c->fanout.io_uring);
	w->uplink = uplink_new(base, w->boot, c, &fanout_uplink_handler, &w->core);
	if (w->uplink == NULL)
		return FAN_ENOMEM;
	core_init(&w->core, c, w->uplink, w->net.deadlines);
	w->core.burst = w->net.burst;
	w->core.slot = w->boot->slot;
	lifecycle_init(&w->core);
	access_init(&w->core);
	dialects_init(&w->core);
	err = hooks_open(&w->core.hooks, base, c);
	if (err != 0)
		return err;
	set_options(w);
	err = use_deflate(w);
	if (err != 0)
		return err;
	/* The link after the reaper, because who leaves a channel last tells the hub. */
	if (loop_add_hook(w->loop, turn_first, w) != 0 ||
	    loop_add_hook(w->loop, fanout_flush, &w->core) != 0 ||
	    loop_add_hook(w->loop, net_reap, &w->net) != 0 ||
	    loop_add_hook(w->loop, uplink_flush, w->uplink) != 0 ||
	    loop_add_hook(w->loop, serve_if_linked, w) != 0 ||
	    loop_add_hook(w->loop, stop_if_empty, w) != 0)
		return FAN_EFULL;
	w->sigterm = evsignal_new(base, SIGTERM, on_signal, w);
	w->sigint = evsignal_new(base, SIGINT, on_signal, w);
	w->sighup = evsignal_new(base, SIGHUP, on_sighup, w);
	w->stopped = event_new(base, -1, 0, on_stopped, w);
	w->no_hub = event_new(base, -1, 0, on_no_hub, w);
	if (w->sigterm == NULL || w->sigint == NULL || w->sighup == NULL || w->stopped == NULL ||
	    w->no_hub == NULL || event_add(w->sigterm, NULL) != 0 ||
	    event_add(w->sigint, NULL) != 0 || event_add(w->sighup, NULL) != 0 ||
	    event_add(w->no_hub, &no_hub) != 0)
		return FAN_ENOMEM;
	return load_files(w);
}

static void
teardown(struct worker *w)
{
	acceptor_free(w->acceptor);
	if (w->net.deadlines != NULL) {
		/* Closing frees the sessions, which leave their channels. */
		net_fini(&w->net);
		if (w->uplink != NULL)
			core_fini(&w->core);
	}
	hooks_close(w->core.hooks);
	tokens_free(w->core.tokens);
	deflater_free(w->core.deflater);
	inflater_free(w->ws.inflater);
	clients_fini(&w->clients);
	tls_context_free(w->net.tls);
	uplink_free(w->uplink);
	if (w->sigterm != NULL)
		event_free(w->sigterm);
	if (w->sigint != NULL)
		event_free(w->sigint);
	if (w->sighup != NULL)
		event_free(w->sighup);
	if (w->stopped != NULL)
		event_free(w->stopped);
	if (w->no_hub != NULL)
		event_free(w->no_hub);
	loop_free(w->loop);
}

int
worker_main(struct boot *b)
{
	struct worker w = { .boot = b };
	int err;

	(void)snprintf(w.name, sizeof(w.name), "worker %u", b->slot);
	log_init(w.name, LOG_LEVEL_INFO);
	(void)signal(SIGPIPE, SIG_IGN);
	w.conf = conf_new();
	if (w.conf == NULL ||
	    conf_load_text(w.conf, "configuration", b->config, b->config_len, stderr) != 0) {
		log_errx("cannot read the configuration");
		conf_free(w.conf);
		return 1;
	}
	log_set_level((enum log_level)w.conf->log.level);
	err = setup(&w);
	if (err != 0)
		log_errx("cannot start: %s", fan_strerror(err));
	else if ((err = loop_run(w.loop)) != 0)
		log_err("the event loop failed");
	teardown(&w);
	conf_free(w.conf);
	return err == 0 && !w.failed ? 0 : 1;
}
