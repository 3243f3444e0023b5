/*
 * session: one client's subscriptions and its right to publish.  See session.h.
 */
#include "worker/core/session.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/log.h"

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
core_init(struct core *core, const struct conf *c, struct uplink *u, struct deadlines *ds)
{
	core->conf = c;
	core->uplink = u;
	core->deadlines = ds;
	core->burst = NULL;
	core->deflater = NULL;
	core->shed_messages = 0;
	channels_init(&core->channels, u);
	TAILQ_INIT(&core->held);
}

void
core_fini(struct core *core)
{
	channels_fini(&core->channels);
}

struct session *
session_new(struct core *core, const struct dialect *d, const struct transport *opening, void *t)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->core = core;
	s->dialect = d;
	s->transport = opening;
	s->t = t;
	return s;
}

static void
publisher_free(struct session *s)
{
	struct publisher *p = s->publisher;

	if (p == NULL)
		return;
	if (p->held)
		TAILQ_REMOVE(&s->core->held, p, link);
	uplink_ticket_close(s->core->uplink, p->ticket);
	free(p->unsent);
	free(p);
}

static void
sub_free(struct session *s, struct sub *sub)
{
	channel_leave(sub);
	s->nsubs--;
	if (sub == &s->first)
		s->first_used = false;
	else
		free(sub);
}

void
session_free(struct session *s)
{
	struct sub *sub;

	if (s == NULL)
		return;
	if (s->dialect->on_free != NULL)
		s->dialect->on_free(s);
	while ((sub = s->subs) != NULL) {
		s->subs = sub->next;
		sub_free(s, sub);
	}
	publisher_free(s);
	free(s);
}

int
session_attach(struct session *s, struct sub *sub)
{
	return channel_attach(sub, &s->dialect->variants[s->variant]);
}

int
session_start(struct session *s, const struct transport *ops, void *t)
{
	struct sub *sub;

	/* First of all: what is attached may be sent to, also after a failure. */
	s->transport = ops;
	s->t = t;
	s->started = true;
	for (sub = s->subs; sub != NULL; sub = sub->next) {
		if (sub->state == SUB_READY && session_attach(s, sub) != 0)
			return FAN_ENOMEM;
	}
	return 0;
}

/* The rule of a channel, *err set where the name is none. */
static const struct conf_rule *
rule_for(const struct core *core, const char *name, size_t len, int *err)
{
	char text[CHANNEL_NAME_MAX + 1];

	if (!channel_name_valid(name, len, (size_t)core->conf->limits.channel_name)) {
		*err = FAN_EINVAL;
		return NULL;
	}
	memcpy(text, name, len);
	text[len] = '\0';
	return conf_rule_for(core->conf, text);
}

int
session_may_subscribe(const struct core *core, const char *name, size_t len)
{
	int err = 0;
	const struct conf_rule *r = rule_for(core, name, len, &err);

	if (r == NULL)
		return err;
	return r->subscribe == CONF_ANYONE ? 0 : FAN_EDENIED;
}

int
session_may_publish(const struct core *core, const char *name, size_t len)
{
	int err = 0;
	const struct conf_rule *r = rule_for(core, name, len, &err);

	if (r == NULL)
		return err;
	return r->publish == CONF_ANYONE ? 0 : FAN_EDENIED;
}

struct sub *
session_find(const struct session *s, const char *name, size_t len)
{
	struct sub *sub;

	for (sub = s->subs; sub != NULL; sub = sub->next) {
		if (sub->channel->len == len && memcmp(sub->channel->name, name, len) == 0)
			return sub;
	}
	return NULL;
}

/* What may become of a channel's messages in the queue of a slow client. */
static enum outq_shed
shed_by(const struct conf *c, const struct conf_rule *r)
{
	switch (r->slow == CONF_SLOW_DEFAULT ? c->limits.slow : r->slow) {
	case CONF_SLOW_DROP_OLDEST:
		return OUTQ_OLDEST;
	case CONF_SLOW_LATEST:
		return OUTQ_LATEST;
	default:
		return OUTQ_KEEP;
	}
}

int
session_subscribe(struct session *s, const char *name, size_t len, struct sub **out)
{
	int err = 0;
	const struct conf_rule *r = rule_for(s->core, name, len, &err);
	struct sub *sub;

	if (r == NULL)
		return err;
	if (r->subscribe != CONF_ANYONE)
		return FAN_EDENIED;
	if (session_find(s, name, len) != NULL)
		return FAN_EEXIST;
	if (s->nsubs >= s->core->conf->limits.subscriptions)
		return FAN_EFULL;
	if (!s->first_used) {
		sub = &s->first;
		memset(sub, 0, sizeof(*sub));
	} else {
		sub = calloc(1, sizeof(*sub));
		if (sub == NULL)
			return FAN_ENOMEM;
	}
	sub->session = s;
	err = channel_join(&s->core->channels, name, len, shed_by(s->core->conf, r), sub);
	if (err != 0 && err != FAN_EAGAIN) {
		if (sub != &s->first)
			free(sub);
		return err;
	}
	if (sub == &s->first)
		s->first_used = true;
	sub->next = s->subs;
	s->subs = sub;
	s->nsubs++;
	if (err == 0 && s->started && session_attach(s, sub) != 0) {
		session_unsubscribe(s, sub);
		return FAN_ENOMEM;
	}
	*out = sub;
	return err;
}

void
session_unsubscribe(struct session *s, struct sub *sub)
{
	struct sub **p = &s->subs;

	while (*p != sub)
		p = &(*p)->next;
	*p = sub->next;
	sub_free(s, sub);
}

bool
session_all_live(const struct session *s)
{
	struct sub *sub;
	bool all = true;

	for (sub = s->subs; sub != NULL; sub = sub->next)
		all = channel_still_live(sub) && all;
	return all;
}

/* --- what a slow client misses ------------------------------------------------------------ */

void
session_shed(struct session *s, uint32_t key, uint64_t messages)
{
	struct sub *sub;

	s->core->shed_messages += messages;
	for (sub = s->subs; sub != NULL; sub = sub->next) {
		if (sub->channel->id == key) {
			sub->missed = true;
			return;
		}
	}
}

void
session_drained(struct session *s)
{
	struct sub *sub;

	for (sub = s->subs; sub != NULL; sub = sub->next) {
		bool missed = sub->missed;

		sub->missed = false;
		if (missed && s->dialect->on_gap != NULL)
			s->dialect->on_gap(s, sub);
	}
}

/* --- publishing --------------------------------------------------------------------------- */

static void
on_refused(void *arg, int status, uint64_t value)
{
	struct session *s = arg;

	(void)value;
	s->dialect->on_refused(s, status);
}

void
session_pause(struct session *s, enum session_pause why)
{
	if (s->paused == 0)
		s->transport->pause(s->t);
	s->paused |= (uint8_t)why;
}

void
session_resume(struct session *s, enum session_pause why)
{
	if (s->paused == 0)
		return;
	s->paused &= (uint8_t) ~(unsigned)why;
	if (s->paused == 0)
		s->transport->resume(s->t);
}

/* The session's publisher, made at need; NULL: no memory. */
static struct publisher *
publisher_of(struct session *s)
{
	if (s->publisher == NULL) {
		s->publisher = calloc(1, sizeof(*s->publisher));
		if (s->publisher != NULL)
			s->publisher->session = s;
	}
	return s->publisher;
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
keep(struct publisher *p, const char *name, size_t len, enum msg_kind kind, const uint8_t *data,
    size_t n)
{
	struct unsent *u = malloc(sizeof(*u) + len + n);

	if (u == NULL)
		return FAN_ENOMEM;
	u->kind = kind;
	u->name_len = len;
	u->n = n;
	memcpy(u->bytes, name, len);
	if (n > 0)
		memcpy(u->bytes + len, data, n);
	p->unsent = u;
	return 0;
}

int
session_publish(struct session *s, const char *name, size_t len, enum msg_kind kind,
    const uint8_t *data, size_t n)
{
	struct uplink *u = s->core->uplink;
	int err = session_may_publish(s->core, name, len);
	struct publisher *p;

	if (err != 0)
		return err;
	p = publisher_of(s);
	if (p == NULL)
		return FAN_ENOMEM;
	if (p->ticket == 0) {
		err = uplink_ticket_open(u, on_refused, s, &p->ticket);
		if (err != 0)
			return err;
	}
	err = uplink_publish_quiet(u, p->ticket, name, len, kind, data, n);
	if (err == FAN_EDOWN || err == FAN_EFULL)
		err = keep(p, name, len, kind, data, n);
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
	err = uplink_publish_quiet(s->core->uplink, p->ticket, (const char *)m->bytes, m->name_len,
	    m->kind, m->bytes + m->name_len, m->n);
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
