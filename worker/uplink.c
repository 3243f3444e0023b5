/*
 * uplink: the worker's side of the link to the hub.  See uplink.h.
 */
#include "worker/uplink.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/ipc_link.h"
#include "common/ipc_msg.h"
#include "common/log.h"
#include "common/member.h"

#define RETRY_FIRST_MS 10
#define RETRY_MAX_MS 200
#define CONGESTED_BYTES ((size_t)4 * 1024 * 1024)

/* A ticket's number is its index + 1 in the low bits and a generation above. */
#define TICKET_BITS 22
#define TICKET_MASK ((1U << TICKET_BITS) - 1)

struct ticket {
	uplink_answer_fn fn; /* NULL: free */
	void *arg;
	uint32_t number;
	uint32_t next_free; /* index + 1; 0: none */
	bool standing;
};

struct uplink {
	const struct boot *boot;
	const struct uplink_handler *h;
	void *arg;
	struct event_base *base;
	struct event *retry;
	unsigned retry_ms;
	struct ipc_link *link;
	size_t max_queue;
	bool welcomed, engine_up, congested;
	bool published;  /* since uplink_turn */
	bool start_over; /* the link is to be given up in the next pass */
	uint64_t events_lost;
	struct ticket *tickets;
	uint32_t ntickets, free_ticket;
};

static void retry_later(struct uplink *u);

/* --- tickets ------------------------------------------------------------------------------ */

static int
ticket_open(struct uplink *u, uplink_answer_fn fn, void *arg, bool standing, uint32_t *out)
{
	struct ticket *t;
	uint32_t i;

	if (u->free_ticket == 0) {
		uint32_t more = u->ntickets == 0 ? 64 : u->ntickets;
		struct ticket *grown;

		if (u->ntickets + more > TICKET_MASK)
			return FAN_EFULL;
		grown = reallocarray(u->tickets, u->ntickets + more, sizeof(*grown));
		if (grown == NULL)
			return FAN_ENOMEM;
		u->tickets = grown;
		memset(grown + u->ntickets, 0, more * sizeof(*grown));
		for (i = u->ntickets; i < u->ntickets + more; i++) {
			grown[i].number = i + 1;
			grown[i].next_free = u->free_ticket;
			u->free_ticket = i + 1;
		}
		u->ntickets += more;
	}
	t = &u->tickets[u->free_ticket - 1];
	u->free_ticket = t->next_free;
	t->fn = fn;
	t->arg = arg;
	t->standing = standing;
	*out = t->number;
	return 0;
}

static struct ticket *
ticket_find(struct uplink *u, uint32_t number)
{
	uint32_t i = number & TICKET_MASK;

	if (i == 0 || i > u->ntickets || u->tickets[i - 1].number != number ||
	    u->tickets[i - 1].fn == NULL)
		return NULL;
	return &u->tickets[i - 1];
}

void
uplink_ticket_close(struct uplink *u, uint32_t number)
{
	struct ticket *t = ticket_find(u, number);

	if (t == NULL)
		return;
	t->fn = NULL;
	/* A new generation, so that a late answer finds nobody. */
	t->number += 1U << TICKET_BITS;
	t->next_free = u->free_ticket;
	u->free_ticket = number & TICKET_MASK;
}

static void
ticket_answer(struct uplink *u, uint32_t number, const struct uplink_answer *a)
{
	struct ticket *t = ticket_find(u, number);
	uplink_answer_fn fn;
	void *arg;

	if (t == NULL)
		return;
	fn = t->fn;
	arg = t->arg;
	if (!t->standing)
		uplink_ticket_close(u, number);
	fn(arg, a);
}

/* --- the link ----------------------------------------------------------------------------- */

/* The answer to a request, which may hold a position and records. */
static int
on_answer(struct uplink *u, const struct ipc_msg *m)
{
	struct uplink_answer a = { .status = m->status, .value = m->value };
	struct ipc_past past;

	if (m->type == IPC_PRESENT) {
		a.members = m->data;
		a.members_len = m->len;
	} else if (m->len > 0) {
		if (ipc_past_decode(m->data, m->len, &past) != 0)
			return FAN_EPROTO;
		a.past = &past;
	}
	ticket_answer(u, m->id, &a);
	return 0;
}

static int
on_subscribed(struct uplink *u, const struct ipc_msg *m)
{
	struct ipc_past past;

	if (m->len > 0 && ipc_past_decode(m->data, m->len, &past) != 0)
		return FAN_EPROTO;
	u->h->subscribed(u->arg, m, m->len > 0 ? &past : NULL);
	return 0;
}

static int
on_message(void *arg, const struct ipc_msg *m)
{
	struct uplink *u = arg;
	struct ipc_msg answer;

	if (!u->welcomed && m->type != IPC_WELCOME)
		return FAN_EPROTO;
	switch (m->type) {
	case IPC_WELCOME:
		if (u->welcomed)
			return FAN_EPROTO;
		u->welcomed = true;
		u->engine_up = m->value != 0;
		u->retry_ms = RETRY_FIRST_MS;
		log_debug("hub: reached");
		u->h->up(u->arg);
		return 0;
	case IPC_ENGINE:
		u->engine_up = m->value != 0;
		return 0;
	case IPC_SUBSCRIBED:
		return on_subscribed(u, m);
	case IPC_MESSAGE:
		u->h->message(u->arg, m);
		return 0;
	case IPC_GAP:
		u->h->gap(u->arg, m->channel, m->channel_len, m->value != 0);
		return 0;
	case IPC_PUBLISHED:
	case IPC_COUNTED:
	case IPC_HISTORIED:
	case IPC_PRESENT:
		return on_answer(u, m);
	case IPC_COUNT:
		answer = (struct ipc_msg){ .type = IPC_COUNTED,
			.id = m->id,
			.value = u->h->count(u->arg, m->channel, m->channel_len),
			.channel = m->channel,
			.channel_len = m->channel_len };
		return ipc_link_send(u->link, &answer);
	case IPC_HELLO:
	case IPC_SUBSCRIBE:
	case IPC_UNSUBSCRIBE:
	case IPC_PUBLISH:
	case IPC_HISTORY:
	case IPC_FORGET:
	case IPC_JOIN:
	case IPC_LEAVE:
	case IPC_PRESENCE:
	case IPC_EVENT:
		break;
	}
	return FAN_EPROTO;
}

static void
on_drained(void *arg)
{
	struct uplink *u = arg;

	if (!u->congested)
		return;
	u->congested = false;
	u->h->drained(u->arg);
}

static void
on_closed(void *arg, int err)
{
	static const struct uplink_answer gone = { .status = FAN_EDOWN };
	struct uplink *u = arg;
	bool was_up = u->welcomed;
	uint32_t i;

	log_warnx("hub: link lost reason=\"%s\"", fan_strerror(err));
	ipc_link_free(u->link);
	u->link = NULL;
	u->welcomed = u->engine_up = u->congested = u->start_over = false;
	for (i = 0; i < u->ntickets; i++) {
		if (u->tickets[i].fn != NULL && !u->tickets[i].standing)
			ticket_answer(u, u->tickets[i].number, &gone);
	}
	if (was_up)
		u->h->down(u->arg);
	retry_later(u);
}

static const struct ipc_link_handler link_handler = { on_message, on_drained, on_closed };

static int
dial(struct uplink *u)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct ipc_msg hello = { .type = IPC_HELLO,
		.id = u->boot->slot,
		.value = IPC_VERSION,
		.data = u->boot->cookie,
		.len = sizeof(u->boot->cookie) };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return FAN_ESYS;
	memcpy(un.sun_path, u->boot->hub_name, u->boot->hub_name_len);
	if (connect(fd, (const struct sockaddr *)&un,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + u->boot->hub_name_len)) != 0) {
		(void)close(fd);
		return FAN_ESYS;
	}
	u->link = ipc_link_new(u->base, fd, IPC_MSG_MAX, u->max_queue, &link_handler, u);
	if (u->link == NULL)
		return FAN_ENOMEM;
	return ipc_link_send(u->link, &hello);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct uplink *u = arg;

	(void)fd;
	(void)what;
	if (u->start_over && u->link != NULL) {
		on_closed(u, FAN_EFULL);
		return;
	}
	u->start_over = false;
	if (dial(u) == 0)
		return;
	log_warn("hub: cannot connect");
	ipc_link_free(u->link);
	u->link = NULL;
	retry_later(u);
}

static void
retry_later(struct uplink *u)
{
	struct timeval tv = { 0, (suseconds_t)u->retry_ms * 1000 };

	u->retry_ms = u->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : u->retry_ms * 2;
	(void)event_add(u->retry, &tv);
}

/* --- the interface ------------------------------------------------------------------------ */

struct uplink *
uplink_new(struct event_base *base, const struct boot *b, const struct conf *c,
    const struct uplink_handler *h, void *arg)
{
	struct uplink *u = calloc(1, sizeof(*u));
	struct timeval now = { 0, 0 };

	if (u == NULL)
		return NULL;
	u->boot = b;
	u->h = h;
	u->arg = arg;
	u->base = base;
	u->retry_ms = RETRY_FIRST_MS;
	u->max_queue = (size_t)c->limits.link_queue;
	u->retry = event_new(base, -1, 0, on_retry, u);
	if (u->retry == NULL || event_add(u->retry, &now) != 0) {
		uplink_free(u);
		return NULL;
	}
	return u;
}

void
uplink_free(struct uplink *u)
{
	if (u == NULL)
		return;
	ipc_link_free(u->link);
	if (u->retry != NULL)
		event_free(u->retry);
	free(u->tickets);
	free(u);
}

bool
uplink_up(const struct uplink *u)
{
	return u->welcomed;
}

bool
uplink_ready(const struct uplink *u)
{
	return u->welcomed && u->engine_up;
}

bool
uplink_congested(const struct uplink *u)
{
	return u->congested;
}

/*
 * The hub has missed something that it must not.  Not at once: the caller may be inside of what
 * `down` touches.
 */
static void
make_anew(struct uplink *u, int err)
{
	static const struct timeval now = { 0, 0 };

	log_warnx("hub: the link is made anew reason=\"%s\"", fan_strerror(err));
	u->start_over = true;
	(void)event_add(u->retry, &now);
}

static void
tell(struct uplink *u, const struct ipc_msg *m)
{
	int err;

	if (!u->welcomed || u->start_over)
		return;
	err = ipc_link_send(u->link, m);
	if (err != 0)
		make_anew(u, err);
}

void
uplink_subscribe(struct uplink *u, const char *channel, size_t len, uint32_t id,
    const struct position *since, bool verify)
{
	struct ipc_msg m = {
		.type = IPC_SUBSCRIBE, .id = id, .channel = channel, .channel_len = len
	};
	uint8_t past[IPC_PAST_HEAD_MAX];

	if (since != NULL) {
		m.len = ipc_past_head(
		    &(struct ipc_past){ *since, verify ? IPC_PAST_VERIFY : 0, { NULL, 0 } }, past);
		m.data = past;
	}
	tell(u, &m);
}

void
uplink_unsubscribe(struct uplink *u, const char *channel, size_t len)
{
	tell(u,
	    &(struct ipc_msg){ .type = IPC_UNSUBSCRIBE, .channel = channel, .channel_len = len });
}

/* --- who is there ------------------------------------------------------------------------- */

void
uplink_join(struct uplink *u, const char *channel, size_t len, const struct member *m)
{
	struct ipc_msg join = { .type = IPC_JOIN, .channel = channel, .channel_len = len };
	struct buf b;
	int err;

	if (!u->welcomed || u->start_over)
		return;
	buf_init(&b, IPC_MSG_MAX);
	err = member_append(&b, m);
	join.data = buf_data(&b);
	join.len = buf_len(&b);
	if (err == 0)
		tell(u, &join);
	else
		make_anew(u, err);
	buf_fini(&b);
}

void
uplink_leave(
    struct uplink *u, const char *channel, size_t len, const char *client, size_t client_len)
{
	tell(u,
	    &(struct ipc_msg){ .type = IPC_LEAVE,
		.channel = channel,
		.channel_len = len,
		.data = (const uint8_t *)client,
		.len = client_len });
}

void
uplink_event(struct uplink *u, const char *json, size_t len)
{
	static struct log_gate gate;
	const struct ipc_msg m = { .type = IPC_EVENT, .data = (const uint8_t *)json, .len = len };

	if (u->welcomed && ipc_link_send(u->link, &m) == 0)
		return;
	u->events_lost++;
	if (log_gate_open(&gate, 5))
		log_warnx("hub: events are lost all=%llu", (unsigned long long)u->events_lost);
}

/* --- requests ----------------------------------------------------------------------------- */

/* Sends a request, whose answer will go to fn. */
static int
request(struct uplink *u, struct ipc_msg *m, uplink_answer_fn fn, void *arg, uint32_t *ticket)
{
	int err;

	if (!u->welcomed)
		return FAN_EDOWN;
	err = ticket_open(u, fn, arg, false, ticket);
	if (err != 0)
		return err;
	m->id = *ticket;
	err = ipc_link_send(u->link, m);
	if (err != 0)
		uplink_ticket_close(u, *ticket);
	return err;
}

int
uplink_count(struct uplink *u, const char *channel, size_t len, uplink_answer_fn fn, void *arg,
    uint32_t *ticket)
{
	struct ipc_msg m = { .type = IPC_COUNT, .channel = channel, .channel_len = len };

	return request(u, &m, fn, arg, ticket);
}

int
uplink_history(struct uplink *u, const char *channel, size_t len, const struct position *since,
    unsigned limit, bool reverse, uplink_answer_fn fn, void *arg, uint32_t *ticket)
{
	struct ipc_past past = { .flags = reverse ? IPC_PAST_REVERSE : 0 };
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct ipc_msg m = { .type = IPC_HISTORY,
		.value = limit,
		.channel = channel,
		.channel_len = len,
		.data = head };

	if (since != NULL)
		past.pos = *since;
	m.len = ipc_past_head(&past, head);
	return request(u, &m, fn, arg, ticket);
}

int
uplink_forget(struct uplink *u, const char *channel, size_t len, uplink_answer_fn fn, void *arg,
    uint32_t *ticket)
{
	struct ipc_msg m = { .type = IPC_FORGET, .channel = channel, .channel_len = len };

	return request(u, &m, fn, arg, ticket);
}

int
uplink_presence(struct uplink *u, const char *channel, size_t len, uplink_answer_fn fn, void *arg,
    uint32_t *ticket)
{
	struct ipc_msg m = { .type = IPC_PRESENCE, .channel = channel, .channel_len = len };

	return request(u, &m, fn, arg, ticket);
}

/* --- publishing --------------------------------------------------------------------------- */

/* The key goes before the data, as one payload. */
static int
send_keyed(struct uplink *u, struct ipc_msg *m, const struct uplink_message *from)
{
	uint8_t *bytes;
	int err;

	if (from->key_len > IPC_KEY_MAX || from->len > IPC_MSG_MAX)
		return FAN_ETOOBIG;
	m->len = from->key_len + from->len;
	bytes = malloc(m->len);
	if (bytes == NULL)
		return FAN_ENOMEM;
	memcpy(bytes, from->key, from->key_len);
	if (from->len > 0)
		memcpy(bytes + from->key_len, from->data, from->len);
	m->value |= IPC_KEY(from->key_len);
	m->data = bytes;
	err = ipc_link_send(u->link, m);
	free(bytes);
	return err;
}

static int
send_publish(struct uplink *u, uint32_t ticket, bool quiet, const struct uplink_message *from)
{
	struct ipc_msg m = { .type = IPC_PUBLISH,
		.kind = from->kind,
		.id = ticket,
		.value = quiet ? IPC_PUBLISH_QUIET : 0,
		.channel = from->channel,
		.channel_len = from->channel_len,
		.data = from->data,
		.len = from->len };
	int err = from->key_len > 0 ? send_keyed(u, &m, from) : ipc_link_send(u->link, &m);

	u->published = true;
	if (ipc_link_queued(u->link) > CONGESTED_BYTES || err == FAN_EFULL)
		u->congested = true;
	return err;
}

int
uplink_publish(struct uplink *u, const struct uplink_message *m, uplink_answer_fn fn, void *arg,
    uint32_t *ticket)
{
	int err;

	if (!u->welcomed)
		return FAN_EDOWN;
	err = ticket_open(u, fn, arg, false, ticket);
	if (err != 0)
		return err;
	err = send_publish(u, *ticket, false, m);
	if (err != 0)
		uplink_ticket_close(u, *ticket);
	return err;
}

int
uplink_ticket_open(struct uplink *u, uplink_answer_fn fn, void *arg, uint32_t *ticket)
{
	return ticket_open(u, fn, arg, true, ticket);
}

int
uplink_publish_quiet(struct uplink *u, uint32_t ticket, const struct uplink_message *m)
{
	if (!u->welcomed)
		return FAN_EDOWN;
	return send_publish(u, ticket, true, m);
}

void
uplink_flush(void *arg)
{
	struct uplink *u = arg;

	if (u->link == NULL)
		return;
	ipc_link_flush(u->link);
	/* The link itself calls `drained` only after a refusal; here also after mere congestion. */
	if (u->congested && ipc_link_queued(u->link) < CONGESTED_BYTES / 2) {
		on_drained(u);
		/* What was held back until now must not wait for the next pass. */
		ipc_link_flush(u->link);
	}
}

void
uplink_turn(struct uplink *u, unsigned us)
{
	if (!u->published)
		return;
	u->published = false;
	uplink_flush(u);
	if (u->link != NULL)
		ipc_link_await(u->link, us);
}
