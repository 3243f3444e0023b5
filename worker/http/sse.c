/*
 * sse: from an HTTP request to a stream of Server-Sent Events.  See sse.h.
 */
#include "worker/http/sse.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/hash.h"
#include "worker/core/session.h"
#include "worker/dialect/sse.h"
#include "worker/dialect/sse_ids.h"
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

/* The same for a stream of several channels, with ids of its own. */
static void
t_send_rewritten(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	struct conn *c = t;
	const struct session *s = c->up;
	struct block *own;
	int err = sse_ids_rewrite(s->state, tag.key, b->data + off, n, &own);

	if (err == FAN_ENOENT) {
		conn_write_block(c, b, off, n, tag);
	} else if (err == 0) {
		conn_write_block(c, own, 0, own->len, tag);
		block_unref(own);
	} else {
		conn_close(c, CONN_CLOSED_INTERNAL);
	}
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

	/* Whatever the reason holds, it stays in this line. */
	for (int i = 0; i < n - 2; i++)
		if ((uint8_t)comment[i] < 0x20 || comment[i] == 0x7f)
			comment[i] = ' ';
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
static const struct transport transport_rewriting = {
	.send_block = t_send_rewritten,
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

/* A client who does not keep up and may not miss anything is cut off: it would not read why. */
static const struct conn_handler handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_deadline = on_deadline,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.unit = sse_ids_event,
	.on_stop = on_stop,
	.on_close = on_close,
};

/* --- positions ---------------------------------------------------------------------------- */

/* A request, with a place for each channel that it may name. */
struct request {
	struct opening o;
	size_t named;       /* channels so far */
	struct sse_ids ids; /* where the client wants to go on */
};

static struct request *
request_of(struct opening *o)
{
	return (struct request *)(void *)((char *)o - offsetof(struct request, o));
}

/* The position that the client comes with, of the query only where the field is not there. */
static void
read_positions(struct request *r, const struct http_request *req)
{
	struct http_slice rest = req->query, name, value;
	size_t pos = 0, len;
	const struct http_field *f = http_field_next(req, "Last-Event-ID", &pos);
	char *decoded;

	if (f != NULL) {
		sse_ids_read(&r->ids, f->value.p, f->value.n);
		return;
	}
	while (http_query_next(&rest, &name, &value)) {
		if (!http_slice_is(name, "last_event_id"))
			continue;
		decoded = malloc(value.n + 1);
		if (decoded != NULL && http_percent_decode(value, true, decoded, &len) == 0)
			sse_ids_read(&r->ids, decoded, len);
		free(decoded);
		return;
	}
}

/* NULL: no memory. */
static struct request *
request_new(const struct http_request *req)
{
	struct http_slice rest = req->query, name, value;
	struct request *r;
	size_t n = 1; /* that of the path */

	while (http_query_next(&rest, &name, &value))
		n += http_slice_is(name, "channel");
	r = calloc(1, sizeof(*r) + n * sizeof(struct sse_place));
	if (r == NULL)
		return NULL;
	r->ids.n = n;
	r->ids.place = (struct sse_place *)(void *)(r + 1);
	read_positions(r, req);
	return r;
}

static bool
held(struct opening *o, size_t nth)
{
	return request_of(o)->ids.place[nth].pos.epoch[0] != '\0';
}

static void
subscribed(struct opening *o, size_t nth, const struct sub *sub)
{
	struct request *r = request_of(o);

	r->ids.place[nth].channel = sub->channel->id;
	if (r->named <= nth)
		r->named = nth + 1;
}

/* The session's sub of a place, or NULL. */
static struct sub *
sub_at(const struct session *s, const struct sse_place *at)
{
	struct sub *sub = s->subs;

	while (sub != NULL && sub->channel->id != at->channel)
		sub = sub->next;
	return sub;
}

/* Sets where the channels stand that are live from the beginning; those that are held come back. */
static bool
read_live(const struct session *s, const struct sse_ids *ids)
{
	bool any = false;
	size_t i;

	for (i = 0; i < ids->n; i++) {
		const struct sub *sub = sub_at(s, &ids->place[i]);
		struct sub_live live;

		if (sub == NULL || sub->state != SUB_ATTACHED)
			continue;
		session_live(sub, &live);
		ids->place[i].pos = live.pos;
		any = any || live.pos.epoch[0] != '\0';
	}
	return any;
}

/* Tells the positions in an event of an id alone, so that the client has one before any message. */
static void
tell_positions(struct conn *c, const struct sse_ids *ids)
{
	struct buf b;

	buf_init(&b, SIZE_MAX / 4);
	if (sse_ids_append(ids, &b) == 0 && buf_append(&b, "\n", 1) == 0)
		conn_write(c, buf_data(&b), buf_len(&b));
	else
		conn_close(c, CONN_CLOSED_INTERNAL);
	buf_fini(&b);
}

/*
 * Starts the session.  Only one with several channels, of which any has history, needs to know its
 * positions from then on.  FAN_ENOMEM.
 */
static int
start(struct request *r, struct session *s, struct conn *c)
{
	const struct sse_ids ids = { r->named, r->ids.place }, *at = &ids;
	bool history = false;
	size_t i;
	int err;

	for (i = 0; i < ids.n; i++) {
		const struct sub *sub = sub_at(s, &ids.place[i]);

		history = history || (sub != NULL && sub->channel->past != NULL);
	}
	if (ids.n > 1 && history) {
		s->state = sse_ids_copy(&ids);
		if (s->state == NULL)
			return FAN_ENOMEM;
		at = s->state;
	}
	err = session_start(s, s->state == NULL ? &transport : &transport_rewriting, c);
	if (err == 0 && read_live(s, at))
		tell_positions(c, at);
	for (i = 0; err == 0 && i < ids.n; i++) {
		struct sub *sub = sub_at(s, &ids.place[i]);

		if (sub != NULL && (sub->flags & SUB_HELD) != 0)
			err = session_recover(s, sub, &ids.place[i].pos);
	}
	return err;
}

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
	if (start(request_of(o), s, c) != 0)
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
	struct request *r;

	if (!cors_allowed(core->conf, req)) {
		http_error(h, 403, "", "this origin is not allowed");
		return;
	}
	if (cors_is_preflight(req)) {
		preflight(h, req, core->conf);
		return;
	}
	cors_fields(core->conf, req, fields);
	r = request_new(req);
	if (r == NULL || http_add_fields(h, fields) != 0) {
		http_fail(h, 500, "", "out of memory");
	} else if (!http_slice_is(req->method, "GET") && !http_slice_is(req->method, "HEAD")) {
		http_error(h, 405, "Allow: " METHODS "\r\n", "use GET");
	} else if (req->chunked || req->content_length > 0) {
		http_fail(h, 400, "", "a body is not taken here");
	} else {
		r->o.finish = finish;
		r->o.held = held;
		r->o.subscribed = subscribed;
		opening_begin(&r->o, h, req, ROOT, &dialect_sse);
		return;
	}
	free(r);
}
