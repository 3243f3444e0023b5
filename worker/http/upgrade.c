/*
 * upgrade: from an HTTP request to a WebSocket session.  See upgrade.h.
 */
#include "worker/http/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "worker/core/session.h"
#include "worker/dialect/dialect.h"
#include "worker/http/http.h"
#include "worker/net/conn.h"
#include "worker/ws/handshake.h"
#include "worker/ws/ws.h"

/* A handshake that was found good and waits for its channels. */
struct opening {
	struct http *h;
	struct session *session; /* NULL once the ws owns it */
	const struct ws_options *options;
	const char *subprotocol; /* the one chosen, or NULL */
	char accept[WS_ACCEPT_SIZE];
};

/* --- the session's transport -------------------------------------------------------------- */

static void
t_send_block(void *t, struct block *b, size_t off, size_t n)
{
	ws_send_block(t, b, off, n);
}

static void
t_send(void *t, enum msg_kind kind, const void *data, size_t n)
{
	ws_send(t, kind == MSG_TEXT ? WS_OP_TEXT : WS_OP_BINARY, data, n);
}

static void
t_close(void *t, uint16_t code, const char *reason)
{
	ws_close(t, code, reason);
}

static void
t_pause(void *t)
{
	ws_pause(t);
}

static void
t_resume(void *t)
{
	ws_resume(t);
}

static const struct transport ws_transport = {
	.send_block = t_send_block,
	.send = t_send,
	.close = t_close,
	.pause = t_pause,
	.resume = t_resume,
};

static void
on_message(void *arg, enum msg_kind kind, const uint8_t *data, size_t n)
{
	struct session *s = arg;

	s->dialect->on_message(s, kind, data, n);
}

static void
on_close(void *arg)
{
	session_free(arg);
}

const struct ws_handler upgrade_ws_handler = { on_message, on_close };

/* --- opening ------------------------------------------------------------------------------ */

static void
opening_free(struct http *h)
{
	struct opening *o = h->ctx;

	session_free(o->session);
	free(o);
}

static void
write_101(struct conn *c, const struct opening *o)
{
	char head[256];
	int n = snprintf(head, sizeof(head),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
	    o->accept, o->subprotocol == NULL ? "" : "Sec-WebSocket-Protocol: ",
	    o->subprotocol == NULL ? "" : o->subprotocol, o->subprotocol == NULL ? "" : "\r\n");

	if (n > 0)
		conn_write(c, head, (size_t)n);
}

/* Every channel is live: the connection becomes a WebSocket. */
static void
finish(struct opening *o)
{
	struct http *h = o->h;
	struct conn *c = h->conn;
	struct session *s = o->session;
	struct ws *ws;
	uint8_t *rest;
	size_t n;

	if (h->stopping) {
		http_fail(h, 503, "", "the server is stopping");
		return;
	}
	ws = ws_new(c, o->options, s);
	if (ws == NULL) {
		http_fail(h, 500, "", "out of memory");
		return;
	}
	o->session = NULL;
	write_101(c, o);
	http_leave(h, &rest, &n);
	if (session_start(s, &ws_transport, ws) != 0)
		conn_close(c, CONN_CLOSED_INTERNAL);
	conn_resume(c);
	if (n > 0)
		ws_feed(ws, rest, n);
	http_free(h);
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

/* --- the request -------------------------------------------------------------------------- */

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
subscribe_all(struct opening *o, const struct http_request *req, size_t *count)
{
	struct http_slice rest = req->query, name, value;
	int err;

	*count = 0;
	if (req->path.n > 4) {
		err = subscribe(o, (struct http_slice){ req->path.p + 4, req->path.n - 4 }, false);
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

/* Checks all but the channels; NULL after a response. */
static struct opening *
check(struct http *h, const struct http_request *req)
{
	const struct core *core = h->server->app;
	const struct conf *c = core->conf;
	struct opening *o = calloc(1, sizeof(*o));
	const char *why = "";
	int status = 400;
	bool malformed = false;

	if (o == NULL) {
		http_fail(h, 500, "", "out of memory");
		return NULL;
	}
	if (!ws_handshake_wanted(req)) {
		http_fail(h, 426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
		    "this is a WebSocket endpoint");
	} else if (ws_handshake_check(req, o->accept, &status, &why) != 0) {
		http_fail(h, status,
		    status == 426       ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			: status == 405 ? "Allow: GET\r\n"
					: "",
		    why);
	} else if (!ws_origin_allowed(req, (const char *const *)c->origins.item, c->origins.n)) {
		http_fail(h, 403, "", "this origin is not allowed");
	} else {
		o->subprotocol = ws_handshake_protocol(req, dialect_subprotocols, &malformed);
		if (!malformed)
			return o;
		http_fail(h, 400, "", "malformed Sec-WebSocket-Protocol");
	}
	free(o);
	return NULL;
}

bool
upgrade_matches(const struct http_request *req)
{
	return http_slice_is(req->path, "/ws") ||
	    (req->path.n > 4 && memcmp(req->path.p, "/ws/", 4) == 0);
}

void
upgrade_begin(struct http *h, const struct http_request *req, const struct ws_options *options)
{
	struct core *core = h->server->app;
	struct opening *o = check(h, req);
	const struct dialect *d;
	size_t count;
	int err;

	if (o == NULL)
		return;
	d = dialect_find(o->subprotocol);
	o->h = h;
	o->options = options;
	h->ctx = o;
	h->ctx_free = opening_free;
	o->session = session_new(core, d, &opening_transport, o);
	if (o->session == NULL) {
		http_fail(h, 500, "", "out of memory");
		return;
	}
	err = subscribe_all(o, req, &count);
	if (err != 0)
		refuse_subscribe(h, err);
	else if (count == 0 && !d->subscribes)
		http_fail(h, 400, "", "name a channel: /ws/CHANNEL or /ws?channel=CHANNEL");
	else if (session_all_live(o->session))
		finish(o);
	else
		http_wait(h);
}
