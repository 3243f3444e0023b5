/*
 * opening: a session whose client still speaks HTTP.  See opening.h.
 *
 * The steps, each of which may end with an answer to the client, after which the opening is gone:
 * the request is read -> its tokens are taken -> the connect hook is asked -> every channel is
 * checked -> the channel of its user is joined -> the subscribe hook is asked about each channel
 * whose rule says so, one after the other -> the channels are joined -> they are live.
 */
#include "worker/http/opening.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "worker/core/access.h"
#include "worker/core/session.h"
#include "worker/core/user.h"
#include "worker/hook/hook.h"
#include "worker/http/connect.h"
#include "worker/http/http.h"

#define BAD_TOKEN "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"
#define RETRY "Retry-After: 1\r\n"

/* What a step has come to. */
enum step {
	STEP_ENDED, /* the client has its answer, or its protocol: the opening is gone */
	STEP_WAITS, /* for the application, or for the hub */
};

/* A channel of the request. */
struct opening_channel {
	uint8_t len;
	char name[CHANNEL_NAME_MAX + 1];
};

static void
opening_free(struct http *h)
{
	struct opening *o = h->ctx;

	access_cancel(o->question);
	free(o->channels);
	session_free(o->session);
	free(o);
}

static enum step
fail(struct opening *o, int status, const char *extra, const char *why)
{
	http_fail(o->h, status, extra, why);
	return STEP_ENDED;
}

static enum step
fail_status(struct opening *o, int err)
{
	switch (err) {
	case FAN_EINVAL:
		return fail(o, 400, "", "not a channel name");
	case FAN_EDENIED:
		return fail(o, 403, "", "this channel may not be subscribed");
	case FAN_EFULL:
		return fail(o, 400, "", "too many channels");
	case FAN_EDOWN:
		return fail(o, 503, RETRY, "the application cannot be asked now");
	default:
		return fail(o, 500, "", "out of memory");
	}
}

/* --- the channels ------------------------------------------------------------------------- */

static enum step
finish(struct opening *o)
{
	if (o->h->stopping)
		return fail(o, 503, "", "the server is stopping");
	o->finish(o);
	return STEP_ENDED;
}

static void
on_live(void *t, int status)
{
	struct opening *o = t;

	if (status == FAN_EDENIED)
		(void)fail(o, 403, "", "the application has disconnected this user");
	else if (status != 0)
		(void)fail(o, 503, RETRY, "the channel cannot be subscribed now");
	else if (o->joined && session_all_live(o->session))
		(void)finish(o);
}

static const struct transport opening_transport = { .live = on_live };

static enum step
join(struct opening *o)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < o->nchannels; i++) {
		const struct opening_channel *c = &o->channels[i];
		bool held = o->held != NULL && o->held(o, i);
		struct sub *sub;

		err =
		    session_subscribe(o->session, c->name, c->len, held ? SUB_HELD : 0, NULL, &sub);
		if (err == FAN_EAGAIN)
			err = 0;
		if (err == 0 && o->subscribed != NULL)
			o->subscribed(o, i, sub);
	}
	if (err != 0)
		return fail_status(o, err);
	o->joined = true;
	return session_all_live(o->session) ? finish(o) : STEP_WAITS;
}

static void on_verdict(void *arg, const struct access_verdict *v);

/* About one channel at a time: the questions of all clients share one queue. */
static enum step
ask(struct opening *o)
{
	while (o->checked < o->nchannels) {
		const struct opening_channel *c = &o->channels[o->checked];
		int err = access_check(o->session, ACCESS_SUBSCRIBE, c->name, c->len);

		if (err == FAN_EASK) {
			err = access_ask(o->session, ACCESS_SUBSCRIBE, c->name, c->len, MSG_TEXT,
			    NULL, 0, on_verdict, o, &o->question);
			return err == 0 ? STEP_WAITS : fail_status(o, err);
		}
		if (err != 0)
			return fail_status(o, err);
		o->checked++;
	}
	return join(o);
}

static void
on_verdict(void *arg, const struct access_verdict *v)
{
	struct opening *o = arg;

	o->question = NULL;
	if (v->status != 0) {
		(void)fail_status(o, v->status);
		return;
	}
	o->checked++;
	(void)ask(o);
}

/* Checks every channel, before the application is asked about any. */
static enum step
check(struct opening *o)
{
	int err = 0;

	for (size_t i = 0; i < o->nchannels; i++) {
		const struct opening_channel *c = &o->channels[i];

		err = access_check(o->session, ACCESS_SUBSCRIBE, c->name, c->len);
		if (err != 0 && err != FAN_EASK)
			return fail_status(o, err);
	}
	/* First of all, because the user may be disconnected while the application is asked. */
	err = user_join(o->session);
	return err == 0 ? ask(o) : fail_status(o, err);
}

/* --- who it is ---------------------------------------------------------------------------- */

/* All is known of the client. */
static enum step
admit(struct opening *o)
{
	if (access_admitted(o->session))
		return check(o);
	/* One that can show a token later has the time for it, and no channel until then. */
	if (!o->session->dialect->subscribes || o->nchannels > 0)
		return fail(o, 401, "WWW-Authenticate: Bearer\r\n", "a token is needed");
	return access_await_token(o->session) == 0 ? check(o) : fail_status(o, FAN_ENOMEM);
}

static void
on_connect_verdict(void *arg, const struct access_verdict *v)
{
	struct opening *o = arg;

	o->question = NULL;
	if (v->status == 0)
		(void)admit(o);
	else if (v->status == FAN_EDENIED)
		(void)fail(o, 403, "", "the application refuses this client");
	else
		(void)fail_status(o, v->status);
}

static enum step
ask_connect(struct opening *o, const struct http_request *req)
{
	struct buf b;
	int err;

	buf_init(&b, CONNECT_MAX);
	err = connect_append(&b, o->h, o->session, req);
	if (err == 0)
		err = access_ask_connect(o->session, (const char *)buf_data(&b), buf_len(&b),
		    on_connect_verdict, o, &o->question);
	buf_fini(&b);
	return err == 0 ? STEP_WAITS : fail_status(o, FAN_ENOMEM);
}

/* --- the request -------------------------------------------------------------------------- */

/* 0, or the client was refused. */
static int
take_token(struct opening *o, struct http_slice token)
{
	const char *channel, *why;
	int err = access_token(o->session, token.p, token.n, &channel, &why);

	if (err == FAN_EDENIED || err == FAN_EEXPIRED)
		(void)fail(o, 401, BAD_TOKEN, why);
	else if (err != 0)
		(void)fail_status(o, err);
	return err;
}

/* What the request shows of tokens; where none are taken, these words are none of Fanfare's. */
static int
take_tokens(struct opening *o, const struct http_request *req)
{
	struct http_slice rest = req->query, name, value;
	int err = 0;

	if (o->session->core->tokens == NULL)
		return 0;
	if (connect_bearer(req, &value))
		err = take_token(o, value);
	while (err == 0 && http_query_next(&rest, &name, &value))
		if (http_slice_is(name, "token"))
			err = take_token(o, value);
	return err;
}

/* Adds a channel to those of the request, unless it is there already. */
static int
add_channel(struct opening *o, const struct core *core, struct http_slice name, bool plus)
{
	char decoded[CHANNEL_NAME_MAX * 3];
	struct opening_channel *c;
	size_t len;

	if (name.n > sizeof(decoded) || http_percent_decode(name, plus, decoded, &len) != 0 ||
	    !channel_name_valid(decoded, len, (size_t)core->conf->limits.channel_name))
		return FAN_EINVAL;
	for (size_t i = 0; i < o->nchannels; i++)
		if (o->channels[i].len == len && memcmp(o->channels[i].name, decoded, len) == 0)
			return 0;
	if (o->nchannels >= (size_t)core->conf->limits.subscriptions)
		return FAN_EFULL;
	c = reallocarray(o->channels, o->nchannels + 1, sizeof(*c));
	if (c == NULL)
		return FAN_ENOMEM;
	o->channels = c;
	c += o->nchannels++;
	c->len = (uint8_t)len;
	memcpy(c->name, decoded, len);
	c->name[len] = '\0';
	return 0;
}

/* Reads the channels that path and query name. */
static int
read_channels(
    struct opening *o, const struct core *core, const struct http_request *req, const char *root)
{
	struct http_slice rest = req->query, name, value;
	size_t skip = strlen(root) + 1;
	int err = 0;

	if (req->path.n > skip) {
		value = (struct http_slice){ req->path.p + skip, req->path.n - skip };
		err = add_channel(o, core, value, false);
	}
	while (err == 0 && http_query_next(&rest, &name, &value))
		if (http_slice_is(name, "channel"))
			err = add_channel(o, core, value, true);
	return err;
}

static enum step
refuse_none(struct opening *o, const char *root)
{
	char why[128];

	(void)snprintf(
	    why, sizeof(why), "name a channel: %s/CHANNEL or %s?channel=CHANNEL", root, root);
	return fail(o, 400, "", why);
}

static enum step
begin(struct opening *o, const struct http_request *req, const char *root, const struct dialect *d)
{
	struct core *core = o->h->server->app;
	int err = read_channels(o, core, req, root);

	if (err != 0)
		return fail_status(o, err);
	if (o->nchannels == 0 && !d->subscribes)
		return refuse_none(o, root);
	o->session = session_new(core, d, &opening_transport, o);
	if (o->session == NULL)
		return fail_status(o, FAN_ENOMEM);
	if (take_tokens(o, req) != 0)
		return STEP_ENDED;
	return hooks_has(core->hooks, HOOK_CONNECT) ? ask_connect(o, req) : admit(o);
}

/* --- the interface ------------------------------------------------------------------------ */

bool
opening_matches(const struct http_request *req, const char *root)
{
	size_t n = strlen(root);

	return req->path.n >= n && memcmp(req->path.p, root, n) == 0 &&
	    (req->path.n == n || (req->path.n > n + 1 && req->path.p[n] == '/'));
}

void
opening_begin(struct opening *o, struct http *h, const struct http_request *req, const char *root,
    const struct dialect *d)
{
	o->h = h;
	h->ctx = o;
	h->ctx_free = opening_free;
	if (begin(o, req, root, d) == STEP_WAITS)
		http_watch(h);
}
