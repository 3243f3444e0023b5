/*
 * http: a connection while it speaks HTTP/1.1.  See http.h.
 */
#include "worker/http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/net/conn.h"

#define RESPONSE_HEAD_MAX 2048
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

static bool run(struct http *h);
static void on_data(struct conn *c, uint8_t *p, size_t n);
static void on_eof(struct conn *c);
static void on_deadline(struct conn *c);
static void on_stop(struct conn *c);
static void on_close(struct conn *c, enum conn_reason reason);

static const struct conn_handler handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_deadline = on_deadline,
	.on_stop = on_stop,
	.on_close = on_close,
};

struct http *
http_prepare(struct http_server *s, int fd, enum listener_kind kind)
{
	struct http *h = calloc(1, sizeof(*h));
	struct conn *c;

	if (h == NULL) {
		(void)close(fd);
		return NULL;
	}
	c = conn_new(s->net, fd, &handler, h);
	if (c == NULL) {
		free(h);
		return NULL;
	}
	c->kind = (uint8_t)kind & 1U;
	h->conn = c;
	h->server = s;
	h->first = true;
	buf_init(&h->in, s->limits.head + 2 * s->net->rbuf_size);
	buf_init(&h->body, s->body_max);
	conn_deadline(c, s->head_ms);
	return h;
}

int
http_accept(struct http_server *s, int fd, enum listener_kind kind)
{
	struct http *h = http_prepare(s, fd, kind);

	if (h == NULL)
		return FAN_ENOMEM;
	conn_start(h->conn);
	return 0;
}

enum listener_kind
http_listener(const struct http *h)
{
	return (enum listener_kind)h->conn->kind;
}

/* Frees what a request had. */
static void
drop_ctx(struct http *h)
{
	if (h->ctx != NULL && h->ctx_free != NULL)
		h->ctx_free(h);
	h->ctx = NULL;
	h->ctx_free = NULL;
	free(h->fields);
	h->fields = NULL;
}

static void
destroy(struct http *h)
{
	drop_ctx(h);
	buf_fini(&h->in);
	buf_fini(&h->body);
	free(h->peer);
	free(h);
}

static void
on_close(struct conn *c, enum conn_reason reason)
{
	(void)reason;
	destroy(c->up);
}

/* --- responses ---------------------------------------------------------------------------- */

static const char *
phrase(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 204:
		return "No Content";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 417:
		return "Expectation Failed";
	case 426:
		return "Upgrade Required";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Internal Server Error";
	}
}

/* After a response whose request has been read to its end. */
static void
next_request(struct http *h)
{
	drop_ctx(h);
	buf_clear(&h->body);
	if (!h->keep_alive || h->eof) {
		h->state = HTTP_LEFT;
		conn_finish(h->conn, CONN_CLOSED_DONE);
		return;
	}
	h->state = HTTP_HEAD;
	h->seen = 0;
	h->first = false;
	h->responded = h->want_body = h->chunked = h->head_only = false;
	h->body_left = 0;
	h->on_body = NULL;
	conn_deadline(h->conn, h->server->idle_ms);
}

int
http_add_fields(struct http *h, const char *fields)
{
	free(h->fields);
	h->fields = *fields == '\0' ? NULL : strdup(fields);
	return *fields == '\0' || h->fields != NULL ? 0 : FAN_ENOMEM;
}

/* Writes head and body; framing: the field line that says where the body ends, or "". */
static void
write_response(struct http *h, int status, const char *framing, const char *type, const char *extra,
    const void *body, size_t n)
{
	char head[RESPONSE_HEAD_MAX];
	char date[64];
	time_t now = time(NULL);
	struct tm tm;
	int len;

	h->responded = true;
	(void)gmtime_r(&now, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	len = snprintf(head, sizeof(head), "HTTP/1.1 %d %s\r\nDate: %s\r\n%s%s%s%s%s%s%s\r\n",
	    status, phrase(status), date, framing,
	    type == NULL ? "" : "Content-Type: ", type == NULL ? "" : type,
	    type == NULL ? "" : "\r\n", extra, h->fields == NULL ? "" : h->fields,
	    !h->keep_alive      ? "Connection: close\r\n"
		: h->minor == 0 ? "Connection: keep-alive\r\n"
				: "");
	if (len < 0 || (size_t)len >= sizeof(head)) {
		conn_close(h->conn, CONN_CLOSED_INTERNAL);
		return;
	}
	if (h->head_only)
		n = 0;
	if (n <= sizeof(head) - (size_t)len) {
		/* One segment where it fits. */
		if (n > 0)
			memcpy(head + len, body, n);
		conn_write(h->conn, head, (size_t)len + n);
	} else {
		conn_write(h->conn, head, (size_t)len);
		conn_write(h->conn, body, n);
	}
}

void
http_respond(
    struct http *h, int status, const char *type, const char *extra, const void *body, size_t n)
{
	char framing[48] = ""; /* a 204 has neither body nor length, RFC 9110 §8.6 */

	if (h->responded || h->state == HTTP_LEFT)
		return;
	if (h->heavy && h->state == HTTP_HEAD)
		h->keep_alive = false;
	if (status != 204)
		(void)snprintf(framing, sizeof(framing), "Content-Length: %zu\r\n", n);
	write_response(h, status, framing, type, extra, body, n);
	if (h->state != HTTP_HANDLING)
		return; /* run goes on from here */
	next_request(h);
	if (!h->running && h->state == HTTP_HEAD && conn_is_open(h->conn)) {
		h->cur = h->in.base == NULL ? NULL : h->in.base + h->in.off;
		h->cur_n = buf_len(&h->in);
		if (run(h) && (h->state == HTTP_HEAD || h->state == HTTP_BODY))
			conn_resume(h->conn);
	}
}

/* The end of a connection whose last answer is written. */
static void
end(struct http *h, enum conn_reason reason)
{
	h->state = HTTP_LEFT;
	drop_ctx(h);
	conn_finish(h->conn, reason);
}

bool
http_stream(struct http *h, const char *type, const char *extra, const void *begin, size_t n)
{
	h->keep_alive = false;
	write_response(h, 200, "", type, extra, begin, n);
	if (h->head_only)
		end(h, CONN_CLOSED_DONE);
	return !h->head_only;
}

void
http_error(struct http *h, int status, const char *extra, const char *why)
{
	char body[256];
	int n = snprintf(
	    body, sizeof(body), "{\"error\":{\"code\":%d,\"message\":\"%s\"}}\n", status, why);

	if (n > 0)
		http_respond(h, status, "application/json", extra, body, (size_t)n);
}

void
http_fail(struct http *h, int status, const char *extra, const char *why)
{
	h->keep_alive = false;
	http_error(h, status, extra, why);
	/* Only a connection that is kept alive runs on in there, and may go. */
	if (h->state != HTTP_LEFT) /* NOLINT(clang-analyzer-unix.Malloc) */
		end(h, CONN_CLOSED_PROTOCOL);
}

void
http_want_body(struct http *h, void (*on_body)(struct http *h, const uint8_t *data, size_t n))
{
	h->want_body = true;
	h->on_body = on_body;
}

void
http_wait(struct http *h)
{
	h->state = HTTP_HANDLING;
	h->watching = false;
	/* What the client sends ahead stays in the kernel, whose buffer is bounded. */
	conn_pause(h->conn);
}

void
http_watch(struct http *h)
{
	h->state = HTTP_HANDLING;
	h->watching = true;
}

void
http_leave(struct http *h, uint8_t **p, size_t *n)
{
	h->state = HTTP_LEFT;
	*p = h->cur;
	*n = h->cur_n;
	if (!h->running) {
		*p = h->in.base == NULL ? NULL : h->in.base + h->in.off;
		*n = buf_len(&h->in);
	}
	h->conn = NULL;
}

void
http_free(struct http *h)
{
	/* Inside run, h is still needed; run's caller sees that the conn is gone and frees it. */
	if (!h->running)
		destroy(h);
}

/* --- requests ----------------------------------------------------------------------------- */

static void
body_done(struct http *h)
{
	if (h->responded) {
		next_request(h);
		return;
	}
	h->state = HTTP_HANDLING;
	conn_deadline(h->conn, h->server->head_ms);
	h->on_body(h, buf_data(&h->body), buf_len(&h->body));
}

/* Adds to the body, or throws away what nobody wants.  False: the request has failed. */
static bool
body_add(struct http *h, const void *p, size_t n)
{
	int err;

	if (!h->want_body || h->responded)
		return true;
	err = buf_append(&h->body, p, n);
	if (err == 0)
		return true;
	if (err == FAN_ETOOBIG)
		http_fail(h, 413, "", "the body is too big");
	else
		http_fail(h, 500, "", "out of memory");
	return false;
}

static void
take(struct http *h, size_t n)
{
	h->cur += n;
	h->cur_n -= n;
}

static void
run_body(struct http *h)
{
	if (!h->chunked) {
		size_t n = h->body_left < h->cur_n ? (size_t)h->body_left : h->cur_n;

		if (!body_add(h, h->cur, n))
			return;
		take(h, n);
		h->body_left -= n;
		if (h->body_left == 0)
			body_done(h);
		return;
	}
	while (h->state == HTTP_BODY) {
		const char *p = (const char *)h->cur;
		struct http_slice data;
		size_t n = h->cur_n;
		int err = http_chunked_next(&h->chunks, &p, &n, &data);

		take(h, h->cur_n - n);
		if (err == FAN_EAGAIN)
			return;
		if (err == FAN_EGONE)
			body_done(h);
		else if (err != 0)
			http_fail(h, 400, "", "malformed chunk");
		else if (!body_add(h, data.p, data.n))
			return;
	}
}

/* What is left to do after begin, whatever it did. */
static void
after_begin(struct http *h, const struct http_request *req)
{
	bool body = req->chunked || req->content_length > 0;

	if (h->state != HTTP_HEAD || !conn_is_open(h->conn))
		return;
	if (!body || (h->responded && !h->keep_alive)) {
		body_done(h);
		return;
	}
	if (req->content_length > (int64_t)h->server->body_max) {
		http_fail(h, 413, "", "the body is too big");
		return;
	}
	if (req->expect_continue)
		conn_write(h->conn, CONTINUE, sizeof(CONTINUE) - 1);
	h->state = HTTP_BODY;
	h->chunked = req->chunked;
	h->body_left = req->chunked ? 0 : (uint64_t)req->content_length;
	http_chunked_init(&h->chunks);
	conn_deadline(h->conn, h->server->body_ms);
}

static void
run_head(struct http *h)
{
	struct http_request req;
	const char *why = NULL;
	size_t used = 0, pos = 0;
	int status = 400;
	int err = http_request_parse((const char *)h->cur, h->cur_n, h->seen, &h->server->limits,
	    &req, &used, &status, &why);

	/* An idle connection has the time for head and answer from the head's first byte on. */
	if (h->seen == 0 && !h->first)
		conn_deadline(h->conn, h->server->head_ms);
	if (err == FAN_EAGAIN) {
		h->seen = h->cur_n;
		return;
	}
	if (err != 0) {
		http_fail(h, status, "", why);
		return;
	}
	h->seen = 0;
	h->minor = (uint8_t)req.minor;
	/* What follows a request to upgrade may be meant for another protocol, so it is not read. */
	h->keep_alive =
	    req.keep_alive && !h->stopping && http_field_next(&req, "Upgrade", &pos) == NULL;
	h->head_only = http_slice_is(req.method, "HEAD");
	/* Who is refused may send no body after Expect, and of the others the end may be far. */
	h->heavy = req.chunked || req.content_length > (int64_t)h->server->body_max ||
	    (req.expect_continue && req.content_length > 0);
	take(h, used);
	h->server->begin(h, &req);
	if (h->conn != NULL)
		after_begin(h, &req);
}

/*
 * Uses the input of this moment as far as the state allows; what is left goes to h->in.  False:
 * another protocol has taken over, and h is gone.
 */
static bool
run(struct http *h)
{
	bool from_in = h->cur != NULL && h->in.base != NULL && h->cur == h->in.base + h->in.off;
	size_t total = h->cur_n;

	h->running = true;
	while (h->cur_n > 0 && h->seen < h->cur_n &&
	    (h->state == HTTP_HEAD || h->state == HTTP_BODY) && conn_is_open(h->conn)) {
		if (h->state == HTTP_HEAD)
			run_head(h);
		else
			run_body(h);
	}
	h->running = false;
	if (h->conn == NULL) {
		destroy(h);
		return false;
	}
	if (from_in)
		buf_consume(&h->in, total - h->cur_n);
	else if (h->cur_n > 0 && h->state != HTTP_LEFT && buf_append(&h->in, h->cur, h->cur_n) != 0)
		conn_close(h->conn, CONN_CLOSED_INTERNAL);
	if (buf_len(&h->in) == 0)
		buf_fini(&h->in);
	h->cur = NULL;
	h->cur_n = 0;
	return true;
}

static void
on_data(struct conn *c, uint8_t *p, size_t n)
{
	struct http *h = c->up;

	h->cur = p;
	h->cur_n = n;
	if (buf_len(&h->in) > 0) {
		if (buf_append(&h->in, p, n) != 0) {
			conn_close(c, CONN_CLOSED_INTERNAL);
			return;
		}
		h->cur = h->in.base + h->in.off;
		h->cur_n = buf_len(&h->in);
	}
	if (run(h) && h->state == HTTP_HANDLING && buf_len(&h->in) >= h->server->net->rbuf_size)
		conn_pause(c);
}

static void
on_eof(struct conn *c)
{
	struct http *h = c->up;

	h->eof = true;
	if (h->state == HTTP_HANDLING && !h->watching)
		return; /* it gets its answer, and then the end */
	if (conn_is_idle(c))
		conn_close(c, CONN_CLOSED_VANISHED);
	else
		conn_finish(c, CONN_CLOSED_DONE);
}

static void
on_deadline(struct conn *c)
{
	struct http *h = c->up;

	if (h->state == HTTP_HANDLING)
		http_fail(h, 503, "Retry-After: 1\r\n", "try again later");
	else if (h->state == HTTP_HEAD && !h->first && buf_len(&h->in) == 0)
		conn_close(c, CONN_CLOSED_DONE);
	else
		http_fail(h, 408, "", "the request took too long");
}

static void
on_stop(struct conn *c)
{
	struct http *h = c->up;

	/* A request that is being served gets its answer. */
	h->keep_alive = false;
	h->stopping = true;
	if (h->state == HTTP_HEAD && buf_len(&h->in) == 0)
		conn_finish(c, CONN_CLOSED_SHUTDOWN);
}
