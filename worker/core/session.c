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

void
core_init(struct core *core, const struct conf *c, struct uplink *u, struct deadlines *ds)
{
	core->conf = c;
	core->uplink = u;
	core->deadlines = ds;
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
	if (s->held)
		TAILQ_REMOVE(&s->core->held, s, held_link);
	uplink_ticket_close(s->core->uplink, s->ticket);
	free(s->unsent);
	free(s);
}

int
session_attach(struct session *s, struct sub *sub)
{
	return channel_attach(sub, s->dialect->variant);
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

int
session_subscribe(struct session *s, const char *name, size_t len, struct sub **out)
{
	int err = session_may_subscribe(s->core, name, len);
	struct sub *sub;

	if (err != 0)
		return err;
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
	err = channel_join(&s->core->channels, name, len, sub);
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

void
session_hold(struct session *s)
{
	if (s->held)
		return;
	s->held = true;
	TAILQ_INSERT_TAIL(&s->core->held, s, held_link);
	session_pause(s, PAUSE_HUB);
}

static int
keep(struct session *s, const char *name, size_t len, enum msg_kind kind, const uint8_t *data,
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
	s->unsent = u;
	return 0;
}

int
session_publish(struct session *s, const char *name, size_t len, enum msg_kind kind,
    const uint8_t *data, size_t n)
{
	struct uplink *u = s->core->uplink;
	int err = session_may_publish(s->core, name, len);

	if (err != 0)
		return err;
	if (s->ticket == 0) {
		err = uplink_ticket_open(u, on_refused, s, &s->ticket);
		if (err != 0)
			return err;
	}
	err = uplink_publish_quiet(u, s->ticket, name, len, kind, data, n);
	if (err == FAN_EDOWN || err == FAN_EFULL)
		err = keep(s, name, len, kind, data, n);
	if (s->unsent != NULL || uplink_congested(u))
		session_hold(s);
	return err;
}

/* Sends what was kept.  False: the hub takes nothing yet. */
static bool
send_kept(struct session *s)
{
	struct unsent *m = s->unsent;
	int err;

	if (m == NULL)
		return true;
	err = uplink_publish_quiet(s->core->uplink, s->ticket, (const char *)m->bytes, m->name_len,
	    m->kind, m->bytes + m->name_len, m->n);
	if (err == FAN_EDOWN || err == FAN_EFULL)
		return false;
	s->unsent = NULL;
	free(m);
	if (err != 0)
		s->dialect->on_refused(s, err);
	return true;
}

void
core_release_held(struct core *core)
{
	struct session *s;

	/* A released session may be held again at once; it goes to the end, and the walk stops. */
	while ((s = TAILQ_FIRST(&core->held)) != NULL && !uplink_congested(core->uplink)) {
		if (!send_kept(s))
			return;
		TAILQ_REMOVE(&core->held, s, held_link);
		s->held = false;
		session_resume(s, PAUSE_HUB);
	}
}
