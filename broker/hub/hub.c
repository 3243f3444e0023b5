/*
 * hub: the process that holds the node's state.  See hub.h.
 *
 * A worker connects, proves itself by the cookie, and says which channels it wants; the hub
 * subscribes each channel once at the engine and passes each message on once to each worker that
 * wants it.  Engine callbacks only queue; peers that end are reaped at the end of the pass,
 * because an engine must not be called from its own callbacks.
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
#include "broker/hub/interest.h"
#include "broker/hub/peer.h"
#include "common/block.h"
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

/* engine_publish's token: the peer's serial, whether only a failure is answered, the id. */
#define TOKEN_QUIET (1ULL << 32)
#define TOKEN_SERIAL_SHIFT 33
#define SERIAL_MASK 0x7fffffffU

TAILQ_HEAD(peers, peer);

struct hub {
	struct boot *boot;
	struct conf *conf;
	struct loop *loop;
	struct engine *engine;
	struct interest *interest;
	struct counts *counts;
	struct peers peers;    /* all, the youngest first */
	struct peer **by_slot; /* the workers' */
	unsigned strangers;
	uint32_t serial;
	bool told_up;             /* what the workers know of it */
	bool served, interrupted; /* the engine: ever, and since it last did */
	uint32_t outages;
	size_t max_msg;
	struct event *ev_accept, *ev_accept_again, *ev_tick, *ev_term;
};

static void
arm_tick(struct hub *h)
{
	struct timeval tv = { 0, (suseconds_t)TICK_MS * 1000 };

	if (!event_pending(h->ev_tick, EV_TIMEOUT, NULL) && event_add(h->ev_tick, &tv) != 0)
		log_warnx("no timer");
}

/* The peer that had this serial, unless it is gone. */
static struct peer *
peer_by_serial(struct hub *h, uint32_t serial)
{
	unsigned i;

	for (i = 0; i < h->boot->workers; i++) {
		if (h->by_slot[i] != NULL && h->by_slot[i]->serial == serial)
			return h->by_slot[i];
	}
	return NULL;
}

static void
send_all(struct hub *h, const struct ipc_msg *m)
{
	unsigned i;

	for (i = 0; i < h->boot->workers; i++) {
		if (h->by_slot[i] != NULL)
			peer_send(h->by_slot[i], m);
	}
}

/* --- engine to workers ------------------------------------------------------------------------ */

/* Encodes m.  NULL: too large for a link, or no memory. */
static struct block *
encode(const struct hub *h, const struct ipc_msg *m)
{
	size_t size = ipc_msg_size(m);
	struct block *b = size <= h->max_msg ? block_new(size) : NULL;

	if (b == NULL)
		return NULL;
	ipc_msg_encode_head(m, b->data);
	if (m->len > 0)
		memcpy(b->data + IPC_HEAD_SIZE + m->channel_len, m->data, m->len);
	b->len = size;
	return b;
}

static void
on_engine_message(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len)
{
	static struct log_gate gate;
	struct hub *h = arg;
	const struct interest_entry *e = interest_get(h->interest, channel, channel_len);
	struct ipc_msg m = { .type = IPC_MESSAGE,
		.kind = kind,
		.channel = channel,
		.channel_len = channel_len,
		.data = data,
		.len = len };
	struct block *b;
	bool gap;
	int slot;

	if (e == NULL)
		return;
	b = encode(h, &m);
	if (b == NULL && log_gate_open(&gate, 5))
		log_warnx(
		    "message dropped channel=\"%.*s\" bytes=%zu: larger than 64 MiB, or no memory",
		    (int)channel_len, channel, len);
	/* A channel that is back sooner than the others: its gap comes before its messages. */
	gap = h->interrupted && interest_note_outage(h->interest, channel, channel_len, h->outages);
	for (slot = -1; (slot = interest_next(h->interest, e, (unsigned)(slot + 1))) >= 0;) {
		if (h->by_slot[slot] == NULL)
			continue;
		if (gap)
			peer_gap(h->by_slot[slot], channel, channel_len);
		if (b != NULL)
			peer_publish(h->by_slot[slot], b, channel, channel_len);
		else
			peer_miss(h->by_slot[slot], channel, channel_len);
	}
	block_unref(b);
}

/* A channel that has become live, and the hub whose workers are told. */
struct live_channel {
	struct hub *hub;
	const char *name;
	size_t len;
};

static void
answer_subscribe(void *arg, unsigned slot, uint32_t id)
{
	const struct live_channel *c = arg;
	struct ipc_msg m = {
		.type = IPC_SUBSCRIBED, .id = id, .channel = c->name, .channel_len = c->len
	};

	if (c->hub->by_slot[slot] != NULL)
		peer_send(c->hub->by_slot[slot], &m);
}

static void
on_engine_subscribed(void *arg, const char *channel, size_t channel_len)
{
	struct live_channel c = { arg, channel, channel_len };

	interest_live(c.hub->interest, channel, channel_len, answer_subscribe, &c);
}

static void
answer_publish(struct hub *h, uint64_t token, int status)
{
	struct peer *p = peer_by_serial(h, (uint32_t)(token >> TOKEN_SERIAL_SHIFT));
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = (uint32_t)token, .status = status };

	if (p == NULL || m.id == 0 || ((token & TOKEN_QUIET) && status == 0))
		return;
	peer_send(p, &m);
}

static void
on_engine_published(void *arg, uint64_t token, int status)
{
	answer_publish(arg, token, status);
}

static void
on_engine_interrupted(void *arg)
{
	struct hub *h = arg;

	/* One that never served has lost nothing. */
	h->interrupted = h->served;
	h->outages++;
	log_warnx("engine=%s down", engine_name(h->engine));
}

static void
on_engine_restored(void *arg)
{
	struct hub *h = arg;
	struct ipc_msg gap = { .type = IPC_GAP };

	log_info(
	    "engine=%s up channels=%zu", engine_name(h->engine), interest_channels(h->interest));
	if (h->interrupted)
		send_all(h, &gap);
	h->served = true;
	h->interrupted = false;
}

static const struct engine_handler engine_handler = { on_engine_message, on_engine_subscribed,
	on_engine_published, on_engine_interrupted, on_engine_restored };

/* --- workers to engine ------------------------------------------------------------------------ */

static void
handle_subscribe(struct hub *h, struct peer *p, const struct ipc_msg *m)
{
	struct ipc_msg answer = { .type = IPC_SUBSCRIBED,
		.id = m->id,
		.channel = m->channel,
		.channel_len = m->channel_len };
	enum interest_state was;

	answer.status =
	    interest_add(h->interest, m->channel, m->channel_len, (unsigned)p->slot, m->id, &was);
	if (answer.status == 0 && was == INTEREST_NONE) {
		answer.status = engine_subscribe(h->engine, m->channel, m->channel_len);
		if (answer.status != 0)
			(void)interest_remove(
			    h->interest, m->channel, m->channel_len, (unsigned)p->slot);
	}
	/* A pending channel is answered by on_engine_subscribed. */
	if (answer.status != 0 || was == INTEREST_LIVE)
		peer_send(p, &answer);
}

static void
handle_unsubscribe(struct hub *h, struct peer *p, const struct ipc_msg *m)
{
	if (interest_remove(h->interest, m->channel, m->channel_len, (unsigned)p->slot))
		engine_unsubscribe(h->engine, m->channel, m->channel_len);
}

static void
handle_publish(struct hub *h, struct peer *p, const struct ipc_msg *m)
{
	uint64_t token = (uint64_t)p->serial << TOKEN_SERIAL_SHIFT | m->id;
	int err;

	if (m->value != 0)
		token |= TOKEN_QUIET;
	err =
	    engine_publish(h->engine, m->channel, m->channel_len, m->kind, m->data, m->len, token);
	if (err != 0)
		answer_publish(h, token, err);
}

static void
on_counted(void *arg, const struct count_question *q)
{
	struct hub *h = arg;
	struct peer *p = peer_by_serial(h, q->asker);
	struct ipc_msg answer = { .type = IPC_COUNTED,
		.id = q->id,
		.value = q->sum,
		.channel = q->channel,
		.channel_len = q->channel_len };

	if (p != NULL)
		peer_send(p, &answer);
}

static int
handle_count(struct hub *h, struct peer *p, const struct ipc_msg *m)
{
	const struct interest_entry *e = interest_get(h->interest, m->channel, m->channel_len);
	struct count_question q = { .asker = p->serial,
		.id = m->id,
		.channel = m->channel,
		.channel_len = m->channel_len };
	struct ipc_msg ask = {
		.type = IPC_COUNT, .channel = m->channel, .channel_len = m->channel_len
	};
	int slot = -1, err;

	err = counts_open(h->counts, &q, clock_ms(), &ask.id);
	if (err != 0)
		return err;
	while (e != NULL && (slot = interest_next(h->interest, e, (unsigned)(slot + 1))) >= 0) {
		if (h->by_slot[slot] == NULL)
			continue;
		counts_expect(h->counts, ask.id, (unsigned)slot);
		peer_send(h->by_slot[slot], &ask);
	}
	counts_seal(h->counts, ask.id);
	arm_tick(h);
	return 0;
}

/* --- peers -------------------------------------------------------------------------------- */

static void
on_unwanted(void *arg, const char *channel, size_t len)
{
	struct hub *h = arg;

	engine_unsubscribe(h->engine, channel, len);
}

/* Ends a peer with all that it wanted.  Never from a callback of the engine or of this peer. */
static void
drop_peer(struct hub *h, struct peer *p)
{
	TAILQ_REMOVE(&h->peers, p, entry);
	if (p->slot < 0) {
		h->strangers--;
	} else {
		h->by_slot[p->slot] = NULL;
		interest_drop_slot(h->interest, (unsigned)p->slot, on_unwanted, h);
		counts_slot_gone(h->counts, (unsigned)p->slot);
	}
	peer_free(p);
}

static int
handle_hello(struct hub *h, struct peer *p, const struct ipc_msg *m)
{
	struct ipc_msg welcome = { .type = IPC_WELCOME, .value = engine_up(h->engine) ? 1 : 0 };

	if (m->type != IPC_HELLO || m->id >= h->boot->workers || m->value != IPC_VERSION ||
	    CRYPTO_memcmp(m->data, h->boot->cookie, IPC_COOKIE_SIZE) != 0)
		return FAN_EDENIED;
	/* Whoever held the slot is a worker that died, or gave up its link. */
	if (h->by_slot[m->id] != NULL)
		drop_peer(h, h->by_slot[m->id]);
	h->strangers--;
	h->by_slot[m->id] = p;
	peer_accept(p, m->id, h->max_msg);
	log_debug("peer=\"worker %d\" connected", p->slot);
	peer_send(p, &welcome);
	return 0;
}

static int
on_peer_message(void *arg, struct peer *p, const struct ipc_msg *m)
{
	struct hub *h = arg;

	if (p->slot < 0)
		return handle_hello(h, p, m);
	switch (m->type) {
	case IPC_SUBSCRIBE:
		handle_subscribe(h, p, m);
		return 0;
	case IPC_UNSUBSCRIBE:
		handle_unsubscribe(h, p, m);
		return 0;
	case IPC_PUBLISH:
		handle_publish(h, p, m);
		return 0;
	case IPC_COUNT:
		return handle_count(h, p, m);
	case IPC_COUNTED:
		counts_answer(h->counts, m->id, (unsigned)p->slot, m->value);
		return 0;
	case IPC_HELLO:
	case IPC_WELCOME:
	case IPC_SUBSCRIBED:
	case IPC_PUBLISHED:
	case IPC_MESSAGE:
	case IPC_GAP:
	case IPC_ENGINE:
		break;
	}
	return FAN_EPROTO;
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
	    loop_base(h->loop), fd, (size_t)h->conf->limits.link_queue, on_peer_message, h);
	if (p == NULL) {
		log_warnx("peer refused reason=\"no memory\"");
		return;
	}
	p->serial = h->serial++ & SERIAL_MASK;
	p->deadline = clock_ms() + HELLO_TIMEOUT_MS;
	TAILQ_INSERT_HEAD(&h->peers, p, entry);
	h->strangers++;
	arm_tick(h);
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
	counts_expire(h->counts, now);
	if (h->strangers > 0 || counts_pending(h->counts))
		arm_tick(h);
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
	struct ipc_msg m = { .type = IPC_ENGINE, .value = engine_up(h->engine) ? 1 : 0 };

	if (h->told_up == (m.value != 0))
		return;
	h->told_up = m.value != 0;
	send_all(h, &m);
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
	engine_flush(h->engine);
	tell_engine(h);
	TAILQ_FOREACH(p, &h->peers, entry)
	{
		peer_flush(p);
	}
}

/* --- start and end ---------------------------------------------------------------------------- */

static int
load_conf(struct hub *h)
{
	h->conf = conf_new();
	if (h->conf == NULL)
		return FAN_ENOMEM;
	return conf_load_text(
	    h->conf, "configuration", h->boot->config, h->boot->config_len, stderr);
}

static int
add_events(struct hub *h)
{
	struct event_base *base = loop_base(h->loop);

	h->ev_accept = event_new(base, h->boot->hub_fd, EV_READ | EV_PERSIST, on_accept, h);
	h->ev_accept_again = event_new(base, -1, 0, on_accept_again, h);
	h->ev_tick = event_new(base, -1, 0, on_tick, h);
	h->ev_term = event_new(base, SIGTERM, EV_SIGNAL | EV_PERSIST, on_term, h);
	if (h->ev_accept == NULL || h->ev_accept_again == NULL || h->ev_tick == NULL ||
	    h->ev_term == NULL)
		return FAN_ENOMEM;
	if (event_add(h->ev_accept, NULL) != 0 || event_add(h->ev_term, NULL) != 0)
		return FAN_ESYS;
	return 0;
}

static int
hub_init(struct hub *h)
{
	int err = load_conf(h);

	if (err != 0)
		return err;
	log_set_level((enum log_level)h->conf->log.level);
	h->max_msg = IPC_MSG_MAX;
	h->loop = loop_new();
	h->interest = interest_new(h->boot->workers);
	h->counts = counts_new(h->boot->workers, on_counted, h);
	h->by_slot = calloc(h->boot->workers, sizeof(struct peer *));
	if (h->loop == NULL || h->interest == NULL || h->counts == NULL || h->by_slot == NULL)
		return FAN_ENOMEM;
	err = loop_add_hook(h->loop, on_pass_end, h);
	if (err == 0)
		err = engine_open(&h->engine, loop_base(h->loop), h->conf, &engine_handler, h);
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

	engine_close(h->engine);
	while ((p = TAILQ_FIRST(&h->peers)) != NULL) {
		TAILQ_REMOVE(&h->peers, p, entry);
		peer_free(p);
	}
	free_event(h->ev_accept);
	free_event(h->ev_accept_again);
	free_event(h->ev_tick);
	free_event(h->ev_term);
	free(h->by_slot);
	counts_free(h->counts);
	interest_free(h->interest);
	loop_free(h->loop);
	conf_free(h->conf);
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
