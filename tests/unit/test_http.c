/*
 * Unit tests of http: requests cut and joined in every way, bodies, keep-alive, deadlines, answers
 * that come later, and leaving for another protocol.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/worker_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static struct world w;
static struct client c;

/* What the endpoint saw. */
static struct {
	struct http *waiting;
	int begun, bodies, ctx_freed, left;
	char rest[64]; /* input behind the request that left */
} ep;

static void
ctx_free(struct http *h)
{
	free(h->ctx);
	ep.ctx_freed++;
}

static void
echo(struct http *h, const uint8_t *data, size_t n)
{
	ep.bodies++;
	http_respond(h, 200, "text/plain", "", data, n);
}

static void
echo_later(struct http *h, const uint8_t *data, size_t n)
{
	(void)data;
	(void)n;
	ep.bodies++;
	ep.waiting = h;
	http_wait(h);
}

/* The other protocol: keeps what came behind the request, and says "left". */
static void
left_data(struct conn *conn, uint8_t *p, size_t n)
{
	(void)conn;
	(void)strncat(ep.rest, (const char *)p, n);
}

static void
left_close(struct conn *conn, enum conn_reason reason)
{
	(void)conn;
	(void)reason;
	ep.left++;
}

static const struct conn_handler other = { .on_data = left_data, .on_close = left_close };

static void
leave(struct http *h)
{
	struct conn *conn = h->conn;
	uint8_t *p;
	size_t n;

	conn_set_handler(conn, &other, NULL);
	http_leave(h, &p, &n);
	conn_resume(conn);
	conn_write(conn, "left", 4);
	if (n > 0)
		left_data(conn, p, n);
	http_free(h);
}

static void
begin(struct http *h, const struct http_request *req)
{
	ep.begun++;
	h->ctx = malloc(1);
	h->ctx_free = ctx_free;
	if (http_slice_is(req->path, "/echo")) {
		http_want_body(h, echo);
	} else if (http_slice_is(req->path, "/later")) {
		http_want_body(h, echo_later);
	} else if (http_slice_is(req->path, "/wait")) {
		ep.waiting = h;
		http_wait(h);
	} else if (http_slice_is(req->path, "/leave")) {
		leave(h);
	} else if (http_slice_is(req->path, "/fields")) {
		cr_assert_eq(http_add_fields(h, "X-Field: 1\r\n"), 0);
		http_want_body(h, echo);
	} else if (http_slice_is(req->path, "/empty")) {
		http_respond(h, 204, NULL, "", NULL, 0);
	} else if (http_slice_is(req->path, "/stream")) {
		if (http_stream(h, "text/plain", "X-Extra: 1\r\n", "begin,", 6))
			leave(h);
	} else if (http_slice_is(req->path, "/fail")) {
		http_fail(h, 403, "", "no");
	} else {
		char path[32];

		(void)snprintf(path, sizeof(path), "%.*s", (int)req->path.n, req->path.p);
		http_respond(h, 200, "text/plain", "X-Extra: 1\r\n", path, strlen(path));
	}
}

static void
setup(void)
{
	world_open(&w, "limits.head=1000B\nlimits.body=1000B");
	w.server.begin = begin;
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
	cr_assert_eq(ep.ctx_freed, ep.begun, "each request's ctx is freed once");
}

TestSuite(http, .timeout = 60, .init = setup, .fini = teardown);

static void
open_with(const char *request)
{
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, request);
}

/* Waits for the end, and for the server's side of it. */
static void
expect_end(enum conn_reason reason)
{
	client_expect_eof(&c);
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	cr_assert_eq(w.net.ended[reason], 1);
}

Test(http, answers_and_keeps_alive)
{
	open_with(GET("/a"));
	cr_assert_eq(client_response(&c, "/a"), 200);
	client_text(&c, GET("/b"));
	cr_assert_eq(client_response(&c, "/b"), 200);
	client_quiet(&c);
}

Test(http, pipelined_requests_are_answered_in_order)
{
	open_with(GET("/a") "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" GET(
	    "/b") GET("/c"));
	cr_assert_eq(client_response(&c, "/a"), 200);
	cr_assert_eq(client_response(&c, "body"), 200);
	cr_assert_eq(client_response(&c, "/b"), 200);
	cr_assert_eq(client_response(&c, "/c"), 200);
	client_quiet(&c);
}

/* Each stream of requests, cut in two at every place, and byte by byte. */
static const char *const streams[] = {
	GET("/a") GET("/bb") GET("/ccc"),
	"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n/one" GET("/two"),
	"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
	"chunked\r\n\r\n2\r\n/o\r\n2;x=y\r\nne\r\n"
	"0\r\nT: r\r\n\r\n" GET("/two"),
	"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" GET("/two"),
};
static const char *const answers[][3] = {
	{ "/a", "/bb", "/ccc" },
	{ "/one", "/two", NULL },
	{ "/one", "/two", NULL },
	{ "/x", "/two", NULL },
};

static void
expect_answers(size_t i)
{
	size_t k;

	for (k = 0; k < 3 && answers[i][k] != NULL; k++)
		cr_assert_eq(client_response(&c, answers[i][k]), 200);
	cr_assert_eq(client_pull(&c), 0);
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
}

Test(http, cut_at_every_byte)
{
	size_t i, cut;

	for (i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		for (cut = 1; cut < strlen(streams[i]); cut++) {
			client_open(&w, &c, LISTENER_PUBLIC);
			client_send(&c, streams[i], cut);
			world_pass(&w);
			world_pass(&w);
			client_text(&c, streams[i] + cut);
			expect_answers(i);
		}
	}
}

Test(http, byte_by_byte)
{
	size_t i, at;

	for (i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		client_open(&w, &c, LISTENER_PUBLIC);
		for (at = 0; at < strlen(streams[i]); at++) {
			client_send(&c, streams[i] + at, 1);
			world_pass(&w);
		}
		expect_answers(i);
	}
}

Test(http, http_1_0_closes_unless_asked)
{
	open_with("GET /a HTTP/1.0\r\n\r\n" GET("/never"));
	cr_assert_eq(client_head(&c, "Connection: close\r\n"), 200);
	client_expect(&c, "/a", 2);
	client_expect_eof(&c);
	client_close(&c);
	open_with("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	cr_assert_eq(client_head(&c, "Connection: keep-alive\r\n"), 200);
	client_expect(&c, "/a", 2);
	client_quiet(&c);
}

Test(http, connection_close_is_obeyed)
{
	open_with("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	cr_assert_eq(client_response(&c, "/a"), 200);
	expect_end(CONN_CLOSED_DONE);
}

Test(http, head_has_no_body)
{
	open_with("HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n" GET("/b"));
	cr_assert_eq(client_head(&c, "Content-Length: 4\r\n"), 200);
	cr_assert_eq(client_response(&c, "/b"), 200);
}

Test(http, malformed_requests_are_refused_and_closed)
{
	open_with("GET /a HTTP/1.1\r\n\r\n" GET("/never"));
	cr_assert_eq(client_response(&c, "error"), 400);
	cr_assert_eq(ep.begun, 0);
	expect_end(CONN_CLOSED_PROTOCOL);
}

Test(http, too_long_a_head)
{
	char big[1200];

	memset(big, 'x', sizeof(big));
	open_with("GET /a HTTP/1.1\r\nHost: h\r\nX: ");
	client_send(&c, big, sizeof(big));
	cr_assert_eq(client_response(&c, "error"), 431);
	expect_end(CONN_CLOSED_PROTOCOL);
}

Test(http, too_big_a_body)
{
	char big[600];

	memset(big, 'x', sizeof(big));
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n");
	cr_assert_eq(client_response(&c, "too big"), 413);
	client_expect_eof(&c);
	client_close(&c);
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n258\r\n");
	client_send(&c, big, sizeof(big));
	client_quiet(&c);
	client_text(&c, "\r\n258\r\n");
	client_send(&c, big, sizeof(big));
	cr_assert_eq(client_response(&c, "too big"), 413);
	client_expect_eof(&c);
	cr_assert_eq(ep.bodies, 0);
}

Test(http, a_body_of_the_most_allowed)
{
	char big[1000];

	memset(big, 'x', sizeof(big));
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
	client_send(&c, big, sizeof(big));
	cr_assert_eq(client_response(&c, "xxx"), 200);
}

Test(http, a_malformed_chunk)
{
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
	cr_assert_eq(client_response(&c, "chunk"), 400);
	client_expect_eof(&c);
}

Test(http, expect_continue)
{
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
		  "Expect: 100-continue\r\n\r\n");
	cr_assert_eq(client_head(&c, ""), 100);
	client_text(&c, "ok");
	cr_assert_eq(client_response(&c, "ok"), 200);
	/* Who will not have the body says so at once, and does not guess where it ends. */
	client_text(&c,
	    "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
	    "Expect: 100-continue\r\n\r\n");
	cr_assert_eq(client_head(&c, "Connection: close\r\n"), 200);
	client_expect(&c, "/x", 2);
	client_expect_eof(&c);
}

/* An early answer says that the connection ends, where nobody will look for the body's end. */
Test(http, an_answer_before_a_heavy_body_says_close)
{
	static const char *const fields[] = { "Content-Length: 1001\r\n",
		"Transfer-Encoding: chunked\r\n", "Content-Length: 1\r\nExpect: 100-continue\r\n" };
	size_t i;

	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		open_with("POST /x HTTP/1.1\r\nHost: h\r\n");
		client_text(&c, fields[i]);
		client_text(&c, "\r\n" GET("/never"));
		cr_assert_eq(client_head(&c, "Connection: close\r\n"), 200, "%s", fields[i]);
		client_expect(&c, "/x", 2);
		client_expect_eof(&c);
		client_close(&c);
	}
	cr_assert_eq(ep.begun, 3);
	/* Expect without a body to come is no reason. */
	open_with("GET /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n");
	cr_assert_eq(client_response(&c, "/x"), 200);
	client_quiet(&c);
}

Test(http, a_204_has_no_length)
{
	open_with(GET("/empty") GET("/b"));
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Content-Length: 0", 17));
	cr_assert_eq(client_head(&c, "204 No Content\r\n"), 204);
	cr_assert_eq(client_response(&c, "/b"), 200);
}

/* Field lines that were added are in whatever answers the request, and not in the next answer. */
Test(http, added_fields)
{
	open_with("POST /fields HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok" GET("/b"));
	cr_assert_eq(client_head(&c, "\r\nX-Field: 1\r\n"), 200);
	client_expect(&c, "ok", 2);
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "X-Field", 7));
	cr_assert_eq(client_response(&c, "/b"), 200);
	client_text(&c, "POST /fields HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n");
	cr_assert_eq(client_head(&c, "\r\nX-Field: 1\r\n"), 413);
}

Test(http, a_body_nobody_wants_is_read_past)
{
	open_with("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n");
	cr_assert_eq(client_response(&c, "/x"), 200);
	client_send(&c, w.net.rbuf, 900);
	client_text(&c, GET("/b"));
	cr_assert_eq(client_response(&c, "/b"), 200);
}

/* --- answers that come later -------------------------------------------------------------- */

Test(http, an_answer_later_with_input_waiting)
{
	open_with(
	    "POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok" GET("/b") GET("/c"));
	client_quiet(&c);
	client_text(&c, GET("/d"));
	client_quiet(&c);
	cr_assert_eq(ep.begun, 1);
	http_respond(ep.waiting, 200, NULL, "", "late", 4);
	cr_assert_eq(client_response(&c, "late"), 200);
	cr_assert_eq(client_response(&c, "/b"), 200);
	cr_assert_eq(client_response(&c, "/c"), 200);
	cr_assert_eq(client_response(&c, "/d"), 200);
}

Test(http, later_answers_one_after_another)
{
	int i;

	open_with(GET("/later") GET("/wait") GET("/later") GET("/end"));
	for (i = 1; i <= 3; i++) {
		WORLD_UNTIL(&w, ep.waiting != NULL);
		struct http *h = ep.waiting;

		ep.waiting = NULL;
		http_respond(h, 200, NULL, "", "late", 4);
		cr_assert_eq(client_response(&c, "late"), 200);
	}
	cr_assert_eq(client_response(&c, "/end"), 200);
}

Test(http, a_second_answer_is_ignored)
{
	open_with(GET("/wait"));
	WORLD_UNTIL(&w, ep.waiting != NULL);
	http_respond(ep.waiting, 200, NULL, "", "one", 3);
	cr_assert_eq(client_response(&c, "one"), 200);
	client_quiet(&c);
}

Test(http, a_client_that_half_closes_gets_its_answer)
{
	open_with(GET("/wait"));
	cr_assert_eq(shutdown(c.fd, SHUT_WR), 0);
	WORLD_UNTIL(&w, ep.waiting != NULL);
	world_settle(&w);
	http_respond(ep.waiting, 200, NULL, "", "late", 4);
	cr_assert_eq(client_response(&c, "late"), 200);
	client_expect_eof(&c);
}

Test(http, a_client_that_half_closes_gets_its_body)
{
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok");
	cr_assert_eq(shutdown(c.fd, SHUT_WR), 0);
	cr_assert_eq(client_response(&c, "ok"), 200);
	client_expect_eof(&c);
}

Test(http, a_client_that_goes_amid_a_body)
{
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nok");
	world_settle(&w);
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	cr_assert_eq(ep.bodies, 0);
}

Test(http, a_connection_that_closes_while_the_answer_is_awaited)
{
	open_with(GET("/wait"));
	WORLD_UNTIL(&w, ep.waiting != NULL);
	conn_close(ep.waiting->conn, CONN_CLOSED_INTERNAL);
	http_respond(ep.waiting, 200, NULL, "", "x", 1);
	WORLD_UNTIL(&w, w.net.count == 0);
}

/* --- deadlines ---------------------------------------------------------------------------- */

Test(http, a_head_that_does_not_end)
{
	w.server.head_ms = 50;
	open_with("GET /a HTTP/1.1\r\n");
	cr_assert_eq(client_response(&c, "took too long"), 408);
	client_expect_eof(&c);
}

Test(http, a_body_that_does_not_end)
{
	w.server.body_ms = 50;
	open_with("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
	cr_assert_eq(client_response(&c, "took too long"), 408);
	client_expect_eof(&c);
}

Test(http, an_idle_connection_ends_without_a_word)
{
	w.server.idle_ms = 50;
	open_with(GET("/a"));
	cr_assert_eq(client_response(&c, "/a"), 200);
	expect_end(CONN_CLOSED_DONE);
}

Test(http, an_answer_that_does_not_come)
{
	w.server.head_ms = 50;
	open_with(GET("/later") GET("/never"));
	cr_assert_eq(client_response(&c, "try again later"), 503);
	client_expect_eof(&c);
	cr_assert_eq(ep.begun, 1);
}

/* A second request that waits has the head's time, not what is left of the idle time. */
Test(http, the_deadline_of_a_second_request_that_waits)
{
	w.server.head_ms = 50;
	w.server.idle_ms = 100000;
	open_with(GET("/a"));
	cr_assert_eq(client_response(&c, "/a"), 200);
	client_text(&c, GET("/wait"));
	cr_assert_eq(client_response(&c, "try again later"), 503);
}

/* --- the end of the worker ---------------------------------------------------------------- */

static void
stop(void)
{
	struct conn *conn = TAILQ_FIRST(&w.net.open);

	cr_assert_not_null(conn);
	conn_stop(conn);
}

Test(http, stopping_ends_an_idle_connection)
{
	open_with(GET("/a"));
	cr_assert_eq(client_response(&c, "/a"), 200);
	stop();
	expect_end(CONN_CLOSED_SHUTDOWN);
}

Test(http, stopping_waits_for_an_answer)
{
	open_with(GET("/wait"));
	WORLD_UNTIL(&w, ep.waiting != NULL);
	stop();
	client_quiet(&c);
	http_respond(ep.waiting, 200, NULL, "", "late", 4);
	cr_assert_eq(client_head(&c, "Connection: close"), 200);
}

Test(http, stopping_amid_a_head_answers_and_closes)
{
	open_with("GET /a HTTP/1.1\r\nHo");
	world_settle(&w);
	stop();
	client_text(&c, "st: h\r\n\r\n");
	cr_assert_eq(client_head(&c, "Connection: close"), 200);
	client_expect(&c, "/a", 2);
	client_expect_eof(&c);
}

/* --- leaving ------------------------------------------------------------------------------ */

Test(http, leaving_takes_what_came_behind)
{
	open_with(GET("/leave") "behind");
	client_expect(&c, "left", 4);
	cr_assert_str_eq(ep.rest, "behind");
	client_text(&c, "+more");
	WORLD_UNTIL(&w, strcmp(ep.rest, "behind+more") == 0);
}

Test(http, leaving_with_a_stream)
{
	open_with(GET("/stream"));
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Content-Length", 14));
	cr_assert_eq(client_head(&c, "X-Extra: 1\r\nConnection: close\r\n"), 200);
	client_expect(&c, "begin,left", 10);
	client_close(&c);
	open_with("HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n" GET("/never"));
	cr_assert_eq(client_head(&c, "X-Extra: 1\r\nConnection: close\r\n"), 200);
	client_expect_eof(&c);
	cr_assert_eq(ep.begun, 2);
}

Test(http, leaving_after_other_requests_and_in_pieces)
{
	open_with(GET("/a") "GET /leave HT");
	cr_assert_eq(client_response(&c, "/a"), 200);
	client_text(&c, "TP/1.1\r\nHost: h\r\n\r\nbehind");
	client_expect(&c, "left", 4);
	cr_assert_str_eq(ep.rest, "behind");
}

Test(http, leaving_later)
{
	open_with(GET("/wait") "behind");
	WORLD_UNTIL(&w, ep.waiting != NULL);
	leave(ep.waiting);
	client_expect(&c, "left", 4);
	cr_assert_str_eq(ep.rest, "behind");
	client_text(&c, "+more");
	WORLD_UNTIL(&w, strcmp(ep.rest, "behind+more") == 0);
}

/* The answer to the first was the last use of an object that the second had freed. */
Test(http, leaving_in_a_request_behind_one_that_waited)
{
	open_with(GET("/wait") GET("/leave") "behind");
	WORLD_UNTIL(&w, ep.waiting != NULL);
	http_respond(ep.waiting, 200, NULL, "", "late", 4);
	cr_assert_eq(client_response(&c, "late"), 200);
	client_expect(&c, "left", 4);
	cr_assert_str_eq(ep.rest, "behind");
	client_close(&c);
	WORLD_UNTIL(&w, ep.left == 1);
}

/* A refused request holds on to nothing while its connection lingers. */
Test(http, failing_frees_what_the_request_had)
{
	open_with(GET("/fail"));
	cr_assert_eq(client_response(&c, "no"), 403);
	cr_assert_eq(ep.ctx_freed, 1);
	cr_assert_eq(w.net.count, 1);
}
