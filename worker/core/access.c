/*
 * access: who may do what on a channel.  See access.h; what the application is asked is in
 * access_ask.c.
 */
#include "worker/core/access.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/conf.h"
#include "worker/auth/token.h"
#include "worker/core/identity.h"
#include "worker/core/lifecycle.h"
#include "worker/core/session.h"
#include "worker/core/user.h"
#include "worker/hook/hook.h"

#define CLOSE_POLICY 1008                     /* RFC 6455 §7.4.1 */
#define WARNING_MS 25000                      /* before a connection's token ends */
#define SLEEP_MAX ((uint64_t)24 * 3600000)    /* of the deadline, which is set again then */
#define FAR_S ((int64_t)10 * 365 * 24 * 3600) /* what is valid for longer is taken for this */
#define OPENING_MS 500

static struct identity *
identity_of(const struct session *s)
{
	return s->extra == NULL ? NULL : s->extra->identity;
}

/* --- the rules ---------------------------------------------------------------------------- */

int
access_rule(const struct core *core, const char *name, size_t len, const struct conf_rule **out)
{
	char text[CHANNEL_NAME_MAX + 1];

	if (!channel_name_valid(name, len, (size_t)core->conf->limits.channel_name))
		return FAN_EINVAL;
	memcpy(text, name, len);
	text[len] = '\0';
	*out = conf_rule_for(core->conf, text);
	return 0;
}

static int
word_of(const struct conf_rule *r, enum access_what what)
{
	switch (what) {
	case ACCESS_SUBSCRIBE:
		return r->subscribe;
	case ACCESS_PUBLISH:
		return r->publish;
	case ACCESS_HISTORY:
		return r->read_history;
	case ACCESS_PRESENCE:
		return r->read_presence;
	}
	return CONF_NOBODY;
}

/* Whether one of the session's tokens names the channel. */
static bool
named_by_token(const struct identity *i, enum access_what what, const char *channel)
{
	if (i == NULL)
		return false;
	if (what == ACCESS_PUBLISH)
		return globs_match(&i->publish, channel);
	return globs_match(&i->subscribe, channel) ||
	    identity_granted(i, channel, clock_ms()) != NULL;
}

static bool
may_ask(const struct core *core, enum access_what what)
{
	return (what == ACCESS_SUBSCRIBE && hooks_has(core->hooks, HOOK_SUBSCRIBE)) ||
	    (what == ACCESS_PUBLISH && hooks_has(core->hooks, HOOK_PUBLISH));
}

bool
access_admitted(const struct session *s)
{
	const struct identity *i = identity_of(s);

	return !s->core->conf->auth.required || (i != NULL && i->admitted);
}

int
access_check(const struct session *s, enum access_what what, const char *name, size_t len)
{
	const struct identity *i = identity_of(s);
	const struct conf_rule *r = NULL;
	char text[CHANNEL_NAME_MAX + 1];
	bool allowed = false;
	int err = access_rule(s->core, name, len, &r);

	if (err != 0)
		return err;
	if (!access_admitted(s))
		return FAN_EDENIED;
	switch (word_of(r, what)) {
	case CONF_ANYONE:
		allowed = true;
		break;
	case CONF_AUTHENTICATED:
		allowed = i != NULL && i->authenticated;
		break;
	case CONF_TOKEN:
		memcpy(text, name, len);
		text[len] = '\0';
		allowed = named_by_token(i, what, text);
		break;
	case CONF_APP:
		return may_ask(s->core, what) ? FAN_EASK : FAN_EDENIED;
	default:
		break;
	}
	return allowed ? 0 : FAN_EDENIED;
}

/* --- the end of tokens -------------------------------------------------------------------- */

static uint64_t
leeway_of(const struct session *s)
{
	return (uint64_t)s->core->conf->auth.leeway;
}

/* The clock_ms `more` ms after this time (s since 1970); now where that has been. */
static uint64_t
end_of(int64_t expires, uint64_t more)
{
	struct timespec wall;
	int64_t left;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	left = expires - wall.tv_sec;
	left = (left > FAR_S ? FAR_S : left) * 1000 - wall.tv_nsec / 1000000 + (int64_t)more;
	return clock_ms() + (left > 0 ? (uint64_t)left : 0);
}

/* Sets the deadline to what comes next. */
static void
schedule(struct identity *i)
{
	uint64_t now = clock_ms(), next = 0;
	const struct grant *g;

	if (i->ends != 0)
		next = i->ends;
	if (i->warns != 0 && (next == 0 || i->warns < next))
		next = i->warns;
	SLIST_FOREACH(g, &i->grants, link)
	if (next == 0 || g->ends < next)
		next = g->ends;
	deadline_clear(&i->deadline);
	if (next == 0)
		return;
	next = next > now ? next - now : 0;
	deadline_set(
	    i->session->core->deadlines, &i->deadline, next > SLEEP_MAX ? SLEEP_MAX : next);
}

/* Sets when the connection ends, and when its client hears of that, by its expiry. */
static void
set_end(struct identity *i)
{
	const struct session *s = i->session;
	uint64_t now = clock_ms(), life, notice;

	i->ends = i->warns = 0;
	if (i->expires == 0)
		return;
	life = end_of(i->expires, 0) - now; /* none, where it is in its leeway */
	notice = life / 10 < WARNING_MS ? life / 10 : WARNING_MS;
	i->ends = end_of(i->expires, leeway_of(s));
	if (s->dialect->on_expiring != NULL)
		i->warns = now + life - notice;
}

static void
end_sub(struct session *s, struct sub *sub, const char *why)
{
	char name[CHANNEL_NAME_MAX + 1];
	size_t len = sub->channel->len;

	if (s->dialect->on_unsubscribed == NULL) {
		s->transport->close(s->t, CLOSE_POLICY, why);
		return;
	}
	memcpy(name, sub->channel->name, len);
	s->dialect->on_unsubscribed(s, sub, why);
	if (session_find(s, name, len) == sub)
		session_unsubscribe(s, sub);
}

/* Ends the subscriptions that no token allows any more. */
static void
end_denied_subs(struct session *s, const char *why)
{
	struct sub *sub, *next;

	if (!s->started)
		return;
	for (sub = s->subs; sub != NULL; sub = next) {
		const struct channel *c = sub->channel;

		next = sub->next;
		if (!(sub->flags & SUB_INTERNAL) &&
		    access_check(s, ACCESS_SUBSCRIBE, c->name, c->len) == FAN_EDENIED)
			end_sub(s, sub, why);
	}
}

static void
warn(struct identity *i, uint64_t now)
{
	struct session *s = i->session;
	uint64_t late = now + leeway_of(s);

	i->warns = 0;
	s->dialect->on_expiring(s, i->ends > late ? i->ends - late : 0);
}

static void
on_deadline(struct deadline *d)
{
	struct identity *i =
	    (struct identity *)(void *)((char *)d - offsetof(struct identity, deadline));
	struct session *s = i->session;
	uint64_t now = clock_ms();

	if (!s->started) {
		/* It can be told nothing yet, and the handshake has a deadline of its own. */
		deadline_set(s->core->deadlines, d, OPENING_MS);
		return;
	}
	if (i->ends != 0 && i->ends <= now) {
		s->transport->close(
		    s->t, CLOSE_POLICY, i->admitted ? "token expired" : "no token was shown");
		return;
	}
	if (i->warns != 0 && i->warns <= now)
		warn(i, now);
	if (identity_drop_ended(i, now))
		end_denied_subs(s, "token expired");
	schedule(i);
}

void
access_init(struct core *core)
{
	deadlines_on(core->deadlines, DEADLINE_IDENTITY, on_deadline);
}

/* --- who it is ---------------------------------------------------------------------------- */

/* The session's identity, made at need; NULL: no memory. */
static struct identity *
make_identity(struct session *s)
{
	struct session_extra *x = session_extra(s);

	if (x != NULL && x->identity == NULL)
		x->identity = identity_new(s);
	return x == NULL ? NULL : x->identity;
}

/* After a change of what is known of the client, whose user was `before`. */
static int
identified(struct identity *i, const char *before)
{
	struct session *s = i->session;
	bool another = strcmp(i->user, before) != 0;

	set_end(i);
	schedule(i);
	if (!s->started)
		return 0;
	end_denied_subs(s, "the newer token does not allow it");
	lifecycle_identified(s, another);
	return another ? user_join(s) : 0;
}

static int
take(struct session *s, const struct claims *c, const char **channel)
{
	struct identity *i = make_identity(s);
	char before[USER_ID_MAX + 1] = "";
	int err;

	if (i == NULL)
		return FAN_ENOMEM;
	if (c->channel != NULL) {
		err = identity_grant(i, c, end_of(c->expires, leeway_of(s)));
		if (err != 0)
			return err;
		*channel = SLIST_FIRST(&i->grants)->channel;
		schedule(i);
		return 0;
	}
	/* Tokens of two users in one handshake are refused in whatever order they stand there. */
	if (!s->started && c->user[0] != '\0' && identity_grants_another(i, c->user))
		return FAN_EDENIED;
	memcpy(before, i->user, strlen(i->user));
	err = identity_claim(i, c);
	return err != 0 ? err : identified(i, before);
}

int
access_token(
    struct session *s, const char *token, size_t len, const char **channel, const char **why)
{
	const struct core *core = s->core;
	struct claims c;
	int err;

	*channel = NULL;
	*why = "tokens are not taken here";
	if (core->tokens == NULL)
		return FAN_EDENIED;
	*why = "the token is too long";
	if (len > (size_t)core->conf->limits.token)
		return FAN_EDENIED;
	err = token_verify(core->tokens, token, len, time(NULL), &c, why);
	if (err != 0)
		return err;
	err = take(s, &c, channel);
	claims_fini(&c);
	if (err == FAN_EDENIED)
		*why = "the token is another user's";
	else if (err == FAN_EFULL)
		*why = "too many tokens";
	return err == FAN_EFULL ? FAN_EDENIED : err;
}

int
access_name(struct session *s, const struct claims *c)
{
	char before[USER_ID_MAX + 1] = "";
	struct identity *i;
	int err;

	/* Most are let in without a word, and need no more. */
	if (c->user[0] == '\0' && c->info == NULL && c->channels == NULL && c->publish == NULL &&
	    c->expires == 0 && !s->core->conf->auth.required)
		return 0;
	i = make_identity(s);
	if (i == NULL)
		return FAN_ENOMEM;
	memcpy(before, i->user, strlen(i->user));
	err = identity_name(i, c);
	return err != 0 ? err : identified(i, before);
}

int
access_await_token(struct session *s)
{
	struct identity *i = make_identity(s);

	if (i == NULL)
		return FAN_ENOMEM;
	i->ends = clock_ms() + (uint64_t)s->core->conf->limits.authenticate;
	schedule(i);
	return 0;
}
