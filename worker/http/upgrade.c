/*
 * upgrade: from an HTTP request to a WebSocket session.  See upgrade.h.
 */
#include "worker/http/upgrade.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/core/session.h"
#include "worker/dialect/dialect.h"
#include "worker/http/cors.h"
#include "worker/http/http.h"
#include "worker/http/opening.h"
#include "worker/net/conn.h"
#include "worker/ws/deflate.h"
#include "worker/ws/handshake.h"
#include "worker/ws/ws.h"

#define ROOT "/ws"

/* A handshake that was found good and waits for its channels. */
struct upgrade {
	struct opening o;
	const struct ws_options *options;
	const char *subprotocol; /* the one chosen, or NULL */
	struct deflate_agreed deflate;
	char extensions[DEFLATE_FIELD_MAX]; /* the answer's field; "": none */
	char accept[WS_ACCEPT_SIZE];
};

/* --- the session's transport -------------------------------------------------------------- */

static void
t_send_block(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	ws_send_block(t, b, off, n, tag);
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
on_shed(void *arg, uint32_t key, uint64_t messages)
{
	session_shed(arg, key, messages);
}

static void
on_drained(void *arg)
{
	session_drained(arg);
}

static void
on_close(void *arg)
{
	session_free(arg);
}

const struct ws_handler upgrade_ws_handler = {
	.on_message = on_message,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.on_close = on_close,
};

/* --- the answer --------------------------------------------------------------------------- */

static void
write_101(struct conn *c, const struct upgrade *u)
{
	bool protocol = u->subprotocol != NULL, extensions = u->extensions[0] != '\0';
	char head[512];
	int n = snprintf(head, sizeof(head),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: %s\r\n%s%s%s%s%s%s\r\n",
	    u->accept, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? u->subprotocol : "",
	    protocol ? "\r\n" : "", extensions ? "Sec-WebSocket-Extensions: " : "", u->extensions,
	    extensions ? "\r\n" : "");

	if (n > 0)
		conn_write(c, head, (size_t)n);
}

/* Every channel is live: the connection becomes a WebSocket. */
static void
finish(struct opening *o)
{
	struct upgrade *u = (struct upgrade *)(void *)((char *)o - offsetof(struct upgrade, o));
	struct http *h = o->h;
	struct conn *c = h->conn;
	struct session *s = o->session;
	struct ws *ws;
	uint8_t *rest;
	size_t n;

	ws = ws_new(c, u->options, s);
	if (ws == NULL) {
		http_fail(h, 500, "", "out of memory");
		return;
	}
	if (u->deflate.server_window != 0) {
		ws_use_deflate(ws, &u->deflate);
		s->variant = VARIANT_DEFLATE(u->deflate.server_window);
	}
	o->session = NULL;
	write_101(c, u);
	http_leave(h, &rest, &n);
	if (session_start(s, &ws_transport, ws) != 0)
		conn_close(c, CONN_CLOSED_INTERNAL);
	conn_resume(c);
	if (n > 0)
		ws_feed(ws, rest, n);
	http_free(h);
}

/* --- the request -------------------------------------------------------------------------- */

/* Chooses the subprotocol and what is compressed.  NULL, or a phrase for what is malformed. */
static const char *
choose(struct upgrade *u, const struct http_request *req)
{
	const struct deflate_options *o = u->options->deflate;
	bool malformed;

	u->subprotocol = ws_handshake_protocol(req, dialect_subprotocols, &malformed);
	if (malformed)
		return "malformed Sec-WebSocket-Protocol";
	if (o != NULL && dialect_find(u->subprotocol)->deflates &&
	    deflate_negotiate(req, o, &u->deflate, u->extensions) == FAN_EPROTO)
		return "malformed Sec-WebSocket-Extensions";
	return NULL;
}

/* Checks all but the channels; NULL after a response. */
static struct upgrade *
check(struct http *h, const struct http_request *req, const struct ws_options *options)
{
	const struct core *core = h->server->app;
	struct upgrade *u = calloc(1, sizeof(*u));
	const char *why = "";
	int status = 400;

	if (u == NULL) {
		http_fail(h, 500, "", "out of memory");
		return NULL;
	}
	u->options = options;
	if (!ws_handshake_wanted(req)) {
		http_fail(h, 426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
		    "this is a WebSocket endpoint");
	} else if (ws_handshake_check(req, u->accept, &status, &why) != 0) {
		http_fail(h, status,
		    status == 426       ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			: status == 405 ? "Allow: GET\r\n"
					: "",
		    why);
	} else if (!cors_allowed(core->conf, req)) {
		http_fail(h, 403, "", "this origin is not allowed");
	} else {
		why = choose(u, req);
		if (why == NULL)
			return u;
		http_fail(h, 400, "", why);
	}
	free(u);
	return NULL;
}

bool
upgrade_matches(const struct http_request *req)
{
	return opening_matches(req, ROOT);
}

void
upgrade_begin(struct http *h, const struct http_request *req, const struct ws_options *options)
{
	struct upgrade *u = check(h, req, options);

	if (u == NULL)
		return;
	u->o.finish = finish;
	opening_begin(&u->o, h, req, ROOT, dialect_find(u->subprotocol));
}
