/*
 * hub: the process that holds the node's state.  See hub.h.
 *
 * A worker connects, proves itself by the cookie, and says which channels it wants; the hub
 * subscribes each channel once at the engine and passes each message on once to each worker that
 * wants it.  Engine callbacks only queue; what they lead to at the engine is done at the end of the
 * pass, and so are peers reaped that end, because an engine must not be called from its own callbacks.
 */
#include "broker/hub/hub.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/engine/engine.h"
#include "broker/hub/count.h"
#include "broker/hub/feed.h"
#include "broker/hub/interest.h"
#include "broker/hub/members.h"
#include "broker/hub/node.h"
#include "broker/hub/peer.h"
#include "broker/hub/requests.h"
#include "broker/hub/rollcall.h"
#include "broker/hub/streams.h"
#include "common/boot.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/ipc_msg.h"
#include "common/log.h"
#include "common/loop.h"

#define HELLO_TIMEOUT_MS 5000
#define STRANGERS_MAX 64 /* peers that have not proved themselves */
#define ACCEPTS 64       /* in one callback */
#define TICK_MS 250

TAILQ_HEAD(peers, peer);

struct hub {
	struct node node;
	struct boot *boot;
	struct loop *loop;
	struct peers peers; /* all, the youngest first */
	unsigned strangers;
	uint32_t serial;
	bool told_up; /* what the workers know of the engine */
	struct event *ev_accept, *ev_accept_again, *ev_tick, *ev_rollcall, *ev_term;
};

static void
arm_tick(struct hub *h)
{
	struct timeval tv = { 0, (suseconds_t)TICK_MS * 1000 };

	if (!event_pending(h->ev_tick, EV_TIMEOUT, NULL) && event_add(h->ev_tick, &tv) != 0)
		log_warnx("no timer");
}

/* So that a pass ends when it may ask again. */
static void
arm_rollcall(struct hub *h)
{
	int64_t ms = rollcalls_wait(h->node.rollcalls, clock_ms());
	struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000 * 1000) };

	if (ms >= 0 && event_add(h->ev_rollcall, &tv) != 0)
		log_warnx("no timer");
}

/* --- engine --------------------------------------------------------------------------------- */

static void
on_history(void *arg, uint64_t token, int status, const struct engine_past *past)
{
	if (token & TOKEN_STREAM)
		feed_history(arg, token, status, past);
	else
		requests_history(arg, token, status, past);
}

static const struct engine_handler engine_handler = { .message = feed_message,
	.subscribed = feed_subscribed,
	.published = requests_published,
	.history = on_history,
	.presence = requests_presence,
	.interrupted = feed_interrupted,
	.restored = feed_restored };

/* --- peers -------------------------------------------------------------------------------- */

/* Ends a peer with all that it wanted.  Never from a callback of the engine or of this peer. */
static void
drop_peer(struct hub *h, struct peer *p)
{
	TAILQ_REMOVE(&h->peers, p, entry);
	if (p->slot < 0) {
		h->strangers--;
	} else {
		h->node.by_slot[p->slot] = NULL;
		requests_drop_slot(&h->node, (unsigned)p->slot);
	}
	peer_free(p);
}

static int
handle_hello(struct hub *h, struct peer *p, const struct ipc_msg *m)
{
	struct ipc_msg welcome = { .type = IPC_WELCOME,
		.value = engine_up(h->node.engine) ? 1 : 0 };

	if (m->type != IPC_HELLO || m->id >= h->boot->workers || m->value != IPC_VERSION ||
	    CRYPTO_memcmp(m->data, h->boot->cookie, IPC_COOKIE_SIZE) != 0)
		return FAN_EDENIED;
	/* Whoever held the slot is a worker that died, or gave up its link. */
	if (h->node.by_slot[m->id] != NULL)
		drop_peer(h, h->node.by_slot[m->id]);
	h->strangers--;
	h->node.by_slot[m->id] = p;
	peer_accept(p, m->id, IPC_MSG_MAX);
	log_debug("peer=\"worker %d\" connected", p->slot);
	peer_send(p, &welcome);
	return 0;
}

static int
on_peer_message(void *arg, struct peer *p, const struct ipc_msg *m)
{
	struct hub *h = arg;

	return p->slot < 0 ? handle_hello(h, p, m) : requests_handle(&h->node, p, m);
}

/* The stranger that has waited longest gives way, so that strangers shut out no worker. */
static void
drop_oldest_stranger(struct hub *h)
{
	struct peer *p;

	TAILQ_FOREACH_REVERSE(p, &h->peers, peers, entry)
	{
		if (p->slot < 0) {
			drop_peer(h, p);
			return;
		}
	}
}

static void
welcome_stranger(struct hub *h, int fd)
{
	struct peer *p;

	if (h->strangers >= STRANGERS_MAX)
		drop_oldest_stranger(h);
	p = peer_new(
	    loop_base(h->loop), fd, (size_t)h->node.conf->limits.link_queue, on_peer_message, h);
	if (p == NULL) {
		log_warnx("peer refused reason=\"no memory\"");
		return;
	}
	p->serial = h->serial++ & TOKEN_SERIAL_MASK;
	p->deadline = clock_ms() + HELLO_TIMEOUT_MS;
	TAILQ_INSERT_HEAD(&h->peers, p, entry);
	h->strangers++;
}

static void
on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct timeval pause = { 0, 100000 };
	struct hub *h = arg;
	int i, fd;

	(void)what;
	for (i = 0; i < ACCEPTS; i++) {
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			welcome_stranger(h, fd);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Out of descriptors or memory: the listener would be ready for ever. */
		log_warn("cannot accept");
		if (event_add(h->ev_accept_again, &pause) == 0)
			(void)event_del(h->ev_accept);
		return;
	}
}

static void
on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct hub *h = arg;

	(void)fd;
	(void)what;
	if (event_add(h->ev_accept, NULL) != 0)
		log_warnx("cannot watch the workers' socket");
}

/* --- passes --------------------------------------------------------------------------------- */

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	uint64_t now = clock_ms();
	struct hub *h = arg;
	struct peer *p;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(p, &h->peers, entry)
	{
		if (p->slot < 0 && p->deadline <= now)
			p->dead = true;
	}
	counts_expire(h->node.counts, now);
	if (engine_up(h->node.engine))
		streams_tick(h->node.streams, now);
}

static void
on_rollcall(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	/* The end of the pass does it. */
}

static void
on_term(evutil_socket_t sig, short what, void *arg)
{
	struct hub *h = arg;

	(void)sig;
	(void)what;
	loop_stop(h->loop);
}

/* An engine that cannot publish is not up, although it may still deliver and so says nothing. */
static void
tell_engine(struct hub *h)
{
	struct ipc_msg m = { .type = IPC_ENGINE, .value = engine_up(h->node.engine) ? 1 : 0 };

	if (h->told_up == (m.value != 0))
		return;
	h->told_up = m.value != 0;
	node_send_all(&h->node, &m);
}

static void
rejoin(void *arg, const char *channel, size_t channel_len, const struct member *m)
{
	engine_join(arg, channel, channel_len, m);
}

/* What callbacks of the engine have left to be done. */
static void
serve_engine(struct node *n)
{
	if (n->rejoin)
		members_each(n->members, rejoin, n->engine);
	n->rejoin = false;
	if (engine_up(n->engine))
		streams_begin(n->streams);
	/* Behind the joins of this pass, which whoever asks after them is to see. */
	rollcalls_begin(n->rollcalls, clock_ms());
	engine_flush(n->engine);
}

static void
on_pass_end(void *arg)
{
	struct hub *h = arg;
	struct peer *p;

	for (p = TAILQ_FIRST(&h->peers); p != NULL;) {
		if (!p->dead) {
			p = TAILQ_NEXT(p, entry);
			continue;
		}
		drop_peer(h, p);
		/* That may have been the last straw for another one. */
		p = TAILQ_FIRST(&h->peers);
	}
	serve_engine(&h->node);
	tell_engine(h);
	TAILQ_FOREACH(p, &h->peers, entry)
	{
		peer_flush(p);
	}
	if (h->strangers > 0 || counts_pending(h->node.counts) || streams_ticking(h->node.streams))
		arm_tick(h);
	arm_rollcall(h);
}

/* --- start and end ---------------------------------------------------------------------------- */

static int
load_conf(struct hub *h)
{
	h->node.conf = conf_new();
	if (h->node.conf == NULL)
		return FAN_ENOMEM;
	return conf_load_text(
	    h->node.conf, "configuration", h->boot->config, h->boot->config_len, stderr);
}

static int
add_events(struct hub *h)
{
	struct event_base *base = loop_base(h->loop);

	h->ev_accept = event_new(base, h->boot->hub_fd, EV_READ | EV_PERSIST, on_accept, h);
	h->ev_accept_again = event_new(base, -1, 0, on_accept_again, h);
	h->ev_tick = event_new(base, -1, 0, on_tick, h);
	h->ev_rollcall = event_new(base, -1, 0, on_rollcall, h);
	h->ev_term = event_new(base, SIGTERM, EV_SIGNAL | EV_PERSIST, on_term, h);
	if (h->ev_accept == NULL || h->ev_accept_again == NULL || h->ev_tick == NULL ||
	    h->ev_rollcall == NULL || h->ev_term == NULL)
		return FAN_ENOMEM;
	if (event_add(h->ev_accept, NULL) != 0 || event_add(h->ev_term, NULL) != 0)
		return FAN_ESYS;
	return 0;
}

static int
hub_init(struct hub *h)
{
	struct node *n = &h->node;
	int err = load_conf(h);

	if (err != 0)
		return err;
	log_set_level((enum log_level)n->conf->log.level);
	h->loop = loop_new();
	n->slots = h->boot->workers;
	n->by_slot = calloc(n->slots, sizeof(struct peer *));
	n->interest = interest_new(n->slots);
	n->streams = streams_new((unsigned)n->conf->limits.recovery,
	    (uint64_t)n->conf->limits.position_check, &feed_streams, n);
	n->members = members_new(n->slots);
	n->counts = counts_new(n->slots, requests_counted, n);
	n->rollcalls = rollcalls_new(&requests_rollcall, n);
	if (h->loop == NULL || n->by_slot == NULL || n->interest == NULL || n->streams == NULL ||
	    n->members == NULL || n->counts == NULL || n->rollcalls == NULL)
		return FAN_ENOMEM;
	err = loop_add_hook(h->loop, on_pass_end, h);
	if (err == 0)
		err = engine_open(&n->engine, loop_base(h->loop), n->conf, &engine_handler, n);
	return err != 0 ? err : add_events(h);
}

static void
free_event(struct event *ev)
{
	if (ev != NULL)
		event_free(ev);
}

static void
hub_fini(struct hub *h)
{
	struct peer *p;

	engine_close(h->node.engine);
	while ((p = TAILQ_FIRST(&h->peers)) != NULL) {
		TAILQ_REMOVE(&h->peers, p, entry);
		peer_free(p);
	}
	free_event(h->ev_accept);
	free_event(h->ev_accept_again);
	free_event(h->ev_tick);
	free_event(h->ev_rollcall);
	free_event(h->ev_term);
	free(h->node.by_slot);
	rollcalls_free(h->node.rollcalls);
	counts_free(h->node.counts);
	members_free(h->node.members);
	streams_free(h->node.streams);
	interest_free(h->node.interest);
	loop_free(h->loop);
	conf_free(h->node.conf);
}

int
hub_main(struct boot *b)
{
	struct hub h = { .boot = b };
	int err;

	TAILQ_INIT(&h.peers);
	/* A terminal's Ctrl-C reaches the whole group; the master ends the hub after the workers. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	log_init("hub", LOG_LEVEL_INFO);
	err = hub_init(&h);
	if (err == 0) {
		boot_ready(b);
		err = loop_run(h.loop);
	}
	if (err != 0)
		log_errx("hub ends reason=\"%s\"", fan_strerror(err));
	hub_fini(&h);
	return err != 0;
}
