/*
 * session: one client's subscriptions.  See session.h.
 */
#include "worker/core/session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/conf.h"
#include "common/log.h"
#include "worker/core/identity.h"
#include "worker/core/past.h"

_Static_assert(sizeof(void *) != 8 || sizeof(struct session) <= 112, "idle connections are many");

void
core_init(struct core *core, const struct conf *c, struct uplink *u, struct deadlines *ds)
{
	core->conf = c;
	core->uplink = u;
	core->deadlines = ds;
	core->burst = NULL;
	core->deflater = NULL;
	core->hooks = NULL;
	core->tokens = NULL;
	core->watch = NULL;
	core->slot = 0;
	core->presence = false;
	memset(core->events, 0, sizeof(core->events));
	core->shed_messages = 0;
	channels_init(&core->channels, u);
	TAILQ_INIT(&core->held);
	LIST_INIT(&core->opening);
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

/* --- what few sessions need --------------------------------------------------------------- */

struct session_extra *
session_extra(struct session *s)
{
	if (s->extra == NULL)
		s->extra = calloc(1, sizeof(*s->extra));
	return s->extra;
}

/* Writes the 16 bytes in base64url (RFC 4648 §5) without padding, and a NUL. */
static void
write_client(const uint8_t id[16], char out[CLIENT_ID_SIZE])
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned have = 0;
	size_t i, n = 0;

	for (i = 0; i < 16; i++) {
		bits = bits << 8 | id[i];
		for (have += 8; have >= 6; have -= 6)
			out[n++] = digits[bits >> (have - 6) & 63];
	}
	out[n++] = digits[bits << (6 - have) & 63];
	out[n] = '\0';
}

const char *
session_client(struct session *s)
{
	struct session_extra *e = session_extra(s);
	uint8_t id[16];

	if (e == NULL)
		return NULL;
	if (e->client[0] == '\0') {
		if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
			return NULL;
		write_client(id, e->client);
	}
	return e->client;
}

/* It opens no more. */
static void
leave_opening(struct session *s)
{
	struct session_extra *e = s->extra;

	if (e == NULL || e->opening.le_prev == NULL)
		return;
	LIST_REMOVE(e, opening);
	e->opening.le_prev = NULL;
}

static void
extra_free(struct session *s)
{
	struct session_extra *e = s->extra;

	if (e == NULL)
		return;
	leave_opening(s);
	session_publisher_free(s);
	identity_free(e->identity);
	free(e);
}

/* --- the life of a session ---------------------------------------------------------------- */

/* The sub is out of the session's list. */
static void
sub_free(struct session *s, struct sub *sub)
{
	const struct core_watch *watch = s->core->watch;

	if (sub->state == SUB_ATTACHED && watch != NULL)
		watch->unsubscribed(sub);
	if ((sub->flags & SUB_INTERNAL) == 0)
		s->nsubs--;
	channel_leave(&s->core->channels, sub);
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
	if (s->started && s->core->watch != NULL)
		s->core->watch->disconnected(s);
	extra_free(s);
	free(s);
}

int
session_attach(struct session *s, struct sub *sub)
{
	int err = channel_attach(sub, &s->dialect->variants[s->variant]);

	if (err == 0 && s->core->watch != NULL)
		s->core->watch->subscribed(sub);
	return err;
}

int
session_start(struct session *s, const struct transport *ops, void *t)
{
	struct sub *sub;

	/* First of all: what is attached may be sent to, also after a failure. */
	s->transport = ops;
	s->t = t;
	s->started = true;
	leave_opening(s);
	if (s->core->watch != NULL)
		s->core->watch->connected(s);
	for (sub = s->subs; sub != NULL; sub = sub->next) {
		if (sub->state == SUB_READY && (sub->flags & SUB_HELD) == 0 &&
		    session_attach(s, sub) != 0)
			return FAN_ENOMEM;
	}
	return 0;
}

/* --- subscriptions ------------------------------------------------------------------------ */

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

/* What may become of a channel's messages in the queue of a slow client; slow: enum conf_slow. */
static enum outq_shed
shed_by(const struct conf *c, int slow)
{
	switch (slow == CONF_SLOW_DEFAULT ? c->limits.slow : slow) {
	case CONF_SLOW_DROP_OLDEST:
		return OUTQ_OLDEST;
	case CONF_SLOW_LATEST:
		return OUTQ_LATEST;
	default:
		return OUTQ_KEEP;
	}
}

/* FAN_EINVAL: it is not a channel's name. */
static int
options_for(
    const struct conf *c, const char *name, size_t len, bool internal, struct channel_options *out)
{
	char text[CHANNEL_NAME_MAX + 1];
	const struct conf_rule *r;

	if (internal) {
		*out = (struct channel_options){ shed_by(c, CONF_SLOW_DEFAULT), false };
		return channel_name_internal(name, len) ? 0 : FAN_EINVAL;
	}
	if (!channel_name_valid(name, len, (size_t)c->limits.channel_name))
		return FAN_EINVAL;
	memcpy(text, name, len);
	text[len] = '\0';
	r = conf_rule_for(c, text);
	out->history = r->history.size > 0;
	/*
	 * Who comes back with a position tells by it what he has had: a hole before it that he was not
	 * told of would be lost for ever.
	 */
	out->shed = out->history ? OUTQ_KEEP : shed_by(c, r->slow);
	return 0;
}

/* Puts it into the session's list. */
static void
sub_add(struct session *s, struct sub *sub)
{
	struct sub **p = &s->subs;

	if ((sub->flags & SUB_INTERNAL) == 0) {
		s->nsubs++;
	} else {
		while (*p != NULL)
			p = &(*p)->next;
	}
	sub->next = *p;
	*p = sub;
}

int
session_subscribe(struct session *s, const char *name, size_t len, unsigned flags,
    const struct position *since, struct sub **out)
{
	bool internal = (flags & SUB_INTERNAL) != 0;
	struct channel_options o;
	struct sub *sub = &s->first;
	int err = options_for(s->core->conf, name, len, internal, &o);

	if (err != 0)
		return err;
	if (session_find(s, name, len) != NULL)
		return FAN_EEXIST;
	if (!internal && s->nsubs >= s->core->conf->limits.subscriptions)
		return FAN_EFULL;
	if (!s->first_used) {
		memset(sub, 0, sizeof(*sub));
	} else {
		sub = calloc(1, sizeof(*sub));
		if (sub == NULL)
			return FAN_ENOMEM;
	}
	sub->session = s;
	sub->flags = (uint8_t)flags;
	err = channel_join(&s->core->channels, name, len, &o, s->started ? since : NULL, sub);
	if (err != 0 && err != FAN_EAGAIN) {
		if (sub != &s->first)
			free(sub);
		return err;
	}
	if (sub == &s->first)
		s->first_used = true;
	sub_add(s, sub);
	if (err == 0 && s->started && session_attach(s, sub) != 0) {
		session_unsubscribe(s, sub);
		return FAN_ENOMEM;
	}
	*out = sub;
	return err;
}

int
session_recover(struct session *s, struct sub *sub, const struct position *since)
{
	int err = channel_recover(&s->core->channels, sub, since);

	if (err != FAN_ENOMEM)
		sub->flags &= (uint8_t) ~(unsigned)SUB_HELD;
	if (err == 0)
		err = session_take(s, sub);
	return err == FAN_EAGAIN ? 0 : err;
}

void
session_live(const struct sub *sub, struct sub_live *out)
{
	const struct past *p = sub->channel->past;

	memset(out, 0, sizeof(*out));
	if (p != NULL)
		out->pos = p->pos;
}

/* Whether it still is the session's, and has not been subscribed anew meanwhile. */
static bool
still_ready(const struct session *s, const struct sub *sub)
{
	const struct sub *own;

	for (own = s->subs; own != NULL; own = own->next) {
		if (own == sub)
			return sub->state == SUB_READY;
	}
	return false;
}

int
session_take(struct session *s, struct sub *sub)
{
	struct sub_live live;

	if ((sub->flags & SUB_INTERNAL) == 0) {
		session_live(sub, &live);
		s->dialect->on_live(s, sub, 0, &live);
		if (!still_ready(s, sub))
			return 0;
	}
	return session_attach(s, sub);
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

/* --- input -------------------------------------------------------------------------------- */

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
