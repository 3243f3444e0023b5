/*
 * sse: from an HTTP request to a stream of Server-Sent Events.  See sse.h.
 */
#include "worker/http/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/hash.h"
#include "worker/core/session.h"
#include "worker/dialect/sse.h"
#include "worker/http/cors.h"
#include "worker/http/http.h"
#include "worker/http/opening.h"
#include "worker/net/conn.h"
#include "worker/ws/reader.h"

#define ROOT "/sse"
#define METHODS "GET, HEAD"
#define FIELDS "Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n"
#define BEGIN ": open\n\n" /* proxies and clients see at once that the stream is there */
#define KEEP_ALIVE ":\n\n"

/* --- the stream: a conn whose upper layer is the session ---------------------------------- */

/* The next keep-alive, varied by 10 % so that streams of one moment do not send in step. */
static void
await_keep_alive(struct conn *c)
{
	const struct session *s = c->up;
	uint64_t base = (uint64_t)s->core->conf->limits.ping_interval;
	uint64_t spread = base / 5;

	conn_deadline(c, base - base / 10 + (spread == 0 ? 0 : hash_bytes(&c, sizeof(c)) % spread));
}

static void
on_deadline(struct conn *c)
{
	/* Behind what waits too: who takes nothing any more is found by what may not be left out. */
	conn_write(c, KEEP_ALIVE, sizeof(KEEP_ALIVE) - 1);
	await_keep_alive(c);
}

static void
t_send_block(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	conn_write_block(t, b, off, n, tag);
}

static void
t_send(void *t, enum msg_kind kind, const void *data, size_t n)
{
	(void)kind;
	conn_write(t, data, n);
}

/* Says why in a comment, by a close code of WebSocket and a reason of at most 123 bytes. */
static void
end(struct conn *c, unsigned code, const char *reason, enum conn_reason why)
{
	char comment[160];
	int n = snprintf(comment, sizeof(comment), ": closed %u %s\n\n", code, reason);

	if (n > 0)
		conn_write(c, comment, (size_t)n);
	conn_finish(c, why);
}

static void
t_close(void *t, uint16_t code, const char *reason)
{
	end(t, code, reason, CONN_CLOSED_POLICY);
}

/* pause and resume are for sessions that publish. */
static const struct transport transport = {
	.send_block = t_send_block,
	.send = t_send,
	.close = t_close,
};

/* Its type is struct conn_handler's. */
static void
on_data(struct conn *c, uint8_t *p, size_t n) /* NOLINT(readability-non-const-parameter) */
{
	(void)c;
	(void)p;
	(void)n;
}

static void
on_eof(struct conn *c)
{
	conn_close(c, CONN_CLOSED_PEER);
}

static void
on_shed(struct conn *c, uint32_t key, uint64_t messages)
{
	session_shed(c->up, key, messages);
}

static void
on_drained(struct conn *c)
{
	session_drained(c->up);
}

static void
on_stop(struct conn *c)
{
	end(c, WS_CLOSE_GOING_AWAY, "the server is stopping", CONN_CLOSED_SHUTDOWN);
}

static void
on_close(struct conn *c, enum conn_reason reason)
{
	(void)reason;
	session_free(c->up);
}

/* Whole events of n bytes at p: the size of the first.  Only its end has an empty line. */
static size_t
unit(const uint8_t *p, size_t n)
{
	const uint8_t *end = memmem(p, n, "\n\n", 2);

	return end == NULL ? n : (size_t)(end - p) + 2;
}

/* A client who does not keep up and may not miss anything is cut off: it would not read why. */
static const struct conn_handler handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_deadline = on_deadline,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.unit = unit,
	.on_stop = on_stop,
	.on_close = on_close,
};

/* --- the request -------------------------------------------------------------------------- */

/* Every channel is live: the connection becomes a stream. */
static void
finish(struct opening *o)
{
	struct http *h = o->h;
	struct conn *c = h->conn;
	struct session *s = o->session;
	int64_t interval = s->core->conf->limits.ping_interval;
	uint8_t *rest;
	size_t n;

	if (!http_stream(h, "text/event-stream", FIELDS, BEGIN, sizeof(BEGIN) - 1))
		return;
	o->session = NULL;
	conn_set_handler(c, &handler, s);
	http_leave(h, &rest, &n);
	if (session_start(s, &transport, c) != 0)
		conn_close(c, CONN_CLOSED_INTERNAL);
	await_keep_alive(c);
	/* There is no pong: what says that the client lives is that its kernel takes the comments. */
	if (interval > 0)
		conn_unacked(c, (uint64_t)(interval + s->core->conf->limits.pong_timeout));
	conn_resume(c);
	http_free(h);
}

bool
sse_matches(const struct http_request *req)
{
	return opening_matches(req, ROOT);
}

static void
preflight(struct http *h, const struct http_request *req, const struct conf *c)
{
	char fields[CORS_FIELDS_MAX];

	cors_preflight_fields(c, req, METHODS, fields);
	http_respond(h, 204, NULL, fields, NULL, 0);
}

void
sse_begin(struct http *h, const struct http_request *req)
{
	const struct core *core = h->server->app;
	char fields[CORS_FIELDS_MAX];
	struct opening *o;

	if (!cors_allowed(core->conf, req)) {
		http_error(h, 403, "", "this origin is not allowed");
		return;
	}
	if (cors_is_preflight(req)) {
		preflight(h, req, core->conf);
		return;
	}
	cors_fields(core->conf, req, fields);
	o = calloc(1, sizeof(*o));
	if (o == NULL || http_add_fields(h, fields) != 0) {
		http_fail(h, 500, "", "out of memory");
	} else if (!http_slice_is(req->method, "GET") && !http_slice_is(req->method, "HEAD")) {
		http_error(h, 405, "Allow: " METHODS "\r\n", "use GET");
	} else if (req->chunked || req->content_length > 0) {
		http_fail(h, 400, "", "a body is not taken here");
	} else {
		o->finish = finish;
		opening_begin(o, h, req, ROOT, &dialect_sse);
		return;
	}
	free(o);
}
