/*
 * session_publish: what a session publishes by itself, and how it is held back while the hub
 * cannot take it.  See session.h.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/core/session.h"

/* A message that the hub could not take yet. */
struct unsent {
	enum msg_kind kind;
	size_t name_len;
	size_t n;
	uint8_t bytes[]; /* the name, then the data */
};

/* What a session needs once it has published; most never do. */
struct publisher {
	TAILQ_ENTRY(publisher) link; /* of core->held */
	struct session *session;
	struct unsent *unsent; /* NULL: none */
	uint32_t ticket;       /* of quiet publishes; 0: none yet */
	bool held;
};

void
session_publisher_free(struct session *s)
{
	struct publisher *p = s->extra->publisher;

	if (p == NULL)
		return;
	if (p->held)
		TAILQ_REMOVE(&s->core->held, p, link);
	uplink_ticket_close(s->core->uplink, p->ticket);
	free(p->unsent);
	free(p);
}

static void
on_refused(void *arg, const struct uplink_answer *a)
{
	struct session *s = arg;

	s->dialect->on_refused(s, a->status);
}

/* The session's publisher, made at need; NULL: no memory. */
static struct publisher *
publisher_of(struct session *s)
{
	struct session_extra *e = session_extra(s);

	if (e == NULL || e->publisher != NULL)
		return e == NULL ? NULL : e->publisher;
	e->publisher = calloc(1, sizeof(*e->publisher));
	if (e->publisher != NULL)
		e->publisher->session = s;
	return e->publisher;
}

int
session_hold(struct session *s)
{
	struct publisher *p = publisher_of(s);

	if (p == NULL)
		return FAN_ENOMEM;
	if (p->held)
		return 0;
	p->held = true;
	TAILQ_INSERT_TAIL(&s->core->held, p, link);
	session_pause(s, PAUSE_HUB);
	return 0;
}

static int
keep(struct publisher *p, const struct uplink_message *m)
{
	struct unsent *u = malloc(sizeof(*u) + m->channel_len + m->len);

	if (u == NULL)
		return FAN_ENOMEM;
	u->kind = m->kind;
	u->name_len = m->channel_len;
	u->n = m->len;
	memcpy(u->bytes, m->channel, m->channel_len);
	if (m->len > 0)
		memcpy(u->bytes + m->channel_len, m->data, m->len);
	p->unsent = u;
	return 0;
}

int
session_publish(struct session *s, const char *name, size_t len, enum msg_kind kind,
    const uint8_t *data, size_t n)
{
	const struct uplink_message m = {
		.channel = name, .channel_len = len, .kind = kind, .data = data, .len = n
	};
	struct uplink *u = s->core->uplink;
	struct publisher *p = publisher_of(s);
	int err;

	if (p == NULL)
		return FAN_ENOMEM;
	if (p->unsent != NULL)
		return FAN_EFULL;
	if (p->ticket == 0) {
		err = uplink_ticket_open(u, on_refused, s, &p->ticket);
		if (err != 0)
			return err;
	}
	err = uplink_publish_quiet(u, p->ticket, &m);
	if (err == FAN_EDOWN || err == FAN_EFULL)
		err = keep(p, &m);
	if (err == 0 && (p->unsent != NULL || uplink_congested(u)))
		err = session_hold(s);
	return err;
}

/* Sends what was kept.  False: the hub takes nothing yet. */
static bool
send_kept(struct publisher *p)
{
	struct session *s = p->session;
	struct unsent *m = p->unsent;
	int err;

	if (m == NULL)
		return true;
	err = uplink_publish_quiet(s->core->uplink, p->ticket,
	    &(struct uplink_message){ .channel = (const char *)m->bytes,
		.channel_len = m->name_len,
		.kind = m->kind,
		.data = m->bytes + m->name_len,
		.len = m->n });
	if (err == FAN_EDOWN || err == FAN_EFULL)
		return false;
	p->unsent = NULL;
	free(m);
	if (err != 0)
		s->dialect->on_refused(s, err);
	return true;
}

void
core_release_held(struct core *core)
{
	struct publisher *p;

	/* A released session may be held again at once; it goes to the end, and the walk stops. */
	while ((p = TAILQ_FIRST(&core->held)) != NULL && !uplink_congested(core->uplink)) {
		if (!send_kept(p))
			return;
		TAILQ_REMOVE(&core->held, p, link);
		p->held = false;
		session_resume(p->session, PAUSE_HUB);
	}
}
