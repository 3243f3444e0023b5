/*
 * opening: a session whose client still speaks HTTP.  See opening.h.
 */
#include "worker/http/opening.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/core/session.h"
#include "worker/http/http.h"

static void
opening_free(struct http *h)
{
	struct opening *o = h->ctx;

	session_free(o->session);
	free(o);
}

static void
finish(struct opening *o)
{
	if (o->h->stopping)
		http_fail(o->h, 503, "", "the server is stopping");
	else
		o->finish(o);
}

static void
on_live(void *t, int status)
{
	struct opening *o = t;

	if (status != 0)
		http_fail(o->h, 503, "Retry-After: 1\r\n", "the channel cannot be subscribed now");
	else if (session_all_live(o->session))
		finish(o);
}

static const struct transport opening_transport = { .live = on_live };

/* --- the channels ------------------------------------------------------------------------- */

static int
subscribe(struct opening *o, struct http_slice name, bool plus)
{
	char decoded[CHANNEL_NAME_MAX * 3];
	struct sub *sub;
	size_t len;
	int err;

	if (name.n > sizeof(decoded) || http_percent_decode(name, plus, decoded, &len) != 0)
		return FAN_EINVAL;
	err = session_subscribe(o->session, decoded, len, &sub);
	/* A channel that is named twice is subscribed once. */
	return err == FAN_EAGAIN || err == FAN_EEXIST ? 0 : err;
}

/* Begins the subscriptions that path and query name. */
static int
subscribe_all(struct opening *o, const struct http_request *req, const char *root, size_t *count)
{
	struct http_slice rest = req->query, name, value;
	size_t skip = strlen(root) + 1;
	int err;

	*count = 0;
	if (req->path.n > skip) {
		value = (struct http_slice){ req->path.p + skip, req->path.n - skip };
		err = subscribe(o, value, false);
		if (err != 0)
			return err;
		++*count;
	}
	while (http_query_next(&rest, &name, &value)) {
		if (!http_slice_is(name, "channel"))
			continue;
		err = subscribe(o, value, true);
		if (err != 0)
			return err;
		++*count;
	}
	return 0;
}

static void
refuse_subscribe(struct http *h, int err)
{
	if (err == FAN_EINVAL)
		http_fail(h, 400, "", "not a channel name");
	else if (err == FAN_EDENIED)
		http_fail(h, 403, "", "this channel may not be subscribed");
	else if (err == FAN_EFULL)
		http_fail(h, 400, "", "too many channels");
	else
		http_fail(h, 500, "", fan_strerror(err));
}

static void
refuse_none(struct http *h, const char *root)
{
	char why[128];

	(void)snprintf(
	    why, sizeof(why), "name a channel: %s/CHANNEL or %s?channel=CHANNEL", root, root);
	http_fail(h, 400, "", why);
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
	size_t count;
	int err;

	o->h = h;
	h->ctx = o;
	h->ctx_free = opening_free;
	o->session = session_new(h->server->app, d, &opening_transport, o);
	if (o->session == NULL) {
		http_fail(h, 500, "", "out of memory");
		return;
	}
	err = subscribe_all(o, req, root, &count);
	if (err != 0)
		refuse_subscribe(h, err);
	else if (count == 0 && !d->subscribes)
		refuse_none(h, root);
	else if (session_all_live(o->session))
		finish(o);
	else
		http_wait(h);
}
