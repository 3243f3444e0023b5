/*
 * Unit tests of Server-Sent Events: the events, which a reader of the test's own reads back, and the
 * stream from its request to its end.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "common/conf.h"
#include "tests/unit/guard.h"
#include "tests/unit/worker_fixture.h"
#include "worker/core/past.h"
#include "worker/dialect/sse.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"

static struct world w;
static struct client c;

/* --- events ------------------------------------------------------------------------------- */

TestSuite(sse_events, .timeout = 60);

/* Appends the event of a publication. */
static int
encode(struct block **b, enum msg_kind kind, const void *data, size_t n)
{
	const struct publication p = { .kind = kind, .data = data, .len = n };
	const struct variant *v = &dialect_sse.variants[VARIANT_PLAIN];

	return v->encode(v, NULL, b, &p);
}

static void
expect_event(enum msg_kind kind, const void *data, size_t n, const char *event)
{
	struct block *b = block_new(1);

	cr_assert_not_null(b);
	cr_assert_eq(encode(&b, kind, data, n), 0);
	cr_assert(b->len == strlen(event) && memcmp(b->data, event, b->len) == 0, "%.*s, not %s",
	    (int)b->len, (const char *)b->data, event);
	block_unref(b);
}

Test(sse_events, text)
{
	static const struct {
		const char *text, *event;
	} t[] = {
		{ "", "data: \n\n" },
		{ "a", "data: a\n\n" },
		{ "{\"a\":1}", "data: {\"a\":1}\n\n" },
		{ " a ", "data:  a \n\n" },
		{ ":a", "data: :a\n\n" },
		{ "event: x", "data: event: x\n\n" },
		{ "\xef\xbb\xbf"
		  "bom",
		    "data: \xef\xbb\xbf"
		    "bom\n\n" },
		{ "\xe2\x80\xa8", "data: \xe2\x80\xa8\n\n" }, /* U+2028 ends no line here */
		{ "\v\f\xc2\x85", "data: \v\f\xc2\x85\n\n" },
		{ "a\n", "data: a\ndata: \n\n" },
		{ "\na", "data: \ndata: a\n\n" },
		{ "a\nb", "data: a\ndata: b\n\n" },
		{ "a\rb", "data: a\ndata: b\n\n" },
		{ "a\r\nb", "data: a\ndata: b\n\n" },
		{ "a\n\rb", "data: a\ndata: \ndata: b\n\n" },
		{ "\n", "data: \ndata: \n\n" },
		{ "\r", "data: \ndata: \n\n" },
		{ "\r\n", "data: \ndata: \n\n" },
		{ "\n\n", "data: \ndata: \ndata: \n\n" },
		{ "\r\r\n", "data: \ndata: \ndata: \n\n" },
		{ "a\n\nevent: x\n\n", "data: a\ndata: \ndata: event: x\ndata: \ndata: \n\n" },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		expect_event(MSG_TEXT, t[i].text, strlen(t[i].text), t[i].event);
	expect_event(MSG_TEXT, NULL, 0, "data: \n\n");
}

Test(sse_events, binary)
{
	expect_event(MSG_BINARY, NULL, 0, "event: binary\ndata: \n\n");
	expect_event(MSG_BINARY, "\x00", 1, "event: binary\ndata: AA==\n\n");
	expect_event(MSG_BINARY, "\xff\xfe", 2, "event: binary\ndata: //4=\n\n");
	expect_event(MSG_BINARY, "\n\n\n", 3, "event: binary\ndata: CgoK\n\n");
	expect_event(MSG_BINARY, "fanfare", 7, "event: binary\ndata: ZmFuZmFyZQ==\n\n");
}

/* Reads one event as the HTML standard says, which must take all n bytes; its data into out. */
static size_t
read_event(const char *p, size_t n, char *out)
{
	const char *end = p + n, *nl;
	size_t len = 0;

	for (; (nl = memchr(p, '\n', (size_t)(end - p))) != p; p = nl + 1) {
		cr_assert_not_null(nl);
		cr_assert_null(memchr(p, '\r', (size_t)(nl - p)));
		cr_assert_eq(memcmp(p, "data: ", 6), 0);
		memcpy(out + len, p + 6, (size_t)(nl - p) - 6);
		len += (size_t)(nl - p) - 6;
		out[len++] = '\n';
	}
	cr_assert_eq(nl + 1, end, "the event goes on after its end");
	cr_assert_gt(len, 0);
	return len - 1;
}

/* What the payload must arrive as: each line end as LF. */
static size_t
normal(const char *p, size_t n, char *out)
{
	size_t i, len = 0;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n' && i > 0 && p[i - 1] == '\r')
			continue;
		out[len++] = (char)(p[i] == '\r' ? '\n' : p[i]);
	}
	return len;
}

/* Every text of up to seven of these bytes, at the end of what may be read. */
Test(sse_events, every_order_of_line_ends)
{
	static const char letters[] = "a\n\r:";
	struct guard g = guard_new(16);
	struct block *b = block_new(256);
	size_t n, k, i;

	cr_assert_not_null(b);
	for (n = 0; n <= 7; n++) {
		for (k = 0; k < (size_t)1 << (2 * n); k++) {
			char text[8], got[16], want[16];
			size_t len;

			for (i = 0; i < n; i++)
				text[i] = letters[k >> (2 * i) & 3];
			b->len = 0;
			cr_assert_eq(encode(&b, MSG_TEXT, guard_put(&g, text, n), n), 0);
			len = read_event((const char *)b->data, b->len, got);
			cr_assert(len == normal(text, n, want) && memcmp(got, want, len) == 0,
			    "%.*s", (int)n, text);
		}
	}
	block_unref(b);
	guard_free(&g);
}

Test(sse_events, append_to_what_is_there)
{
	static char big[100000];
	struct block *b = block_new(8);
	size_t len;

	memset(big, '\n', sizeof(big));
	cr_assert_not_null(b);
	cr_assert_eq(encode(&b, MSG_TEXT, "a", 1), 0);
	cr_assert_eq(encode(&b, MSG_BINARY, "a", 1), 0);
	len = b->len;
	cr_assert_eq(len, strlen("data: a\n\nevent: binary\ndata: YQ==\n\n"));
	cr_assert_eq(memcmp(b->data, "data: a\n\nevent: binary\ndata: YQ==\n\n", len), 0);
	/* The worst there is: seven bytes for one. */
	cr_assert_eq(encode(&b, MSG_TEXT, big, sizeof(big)), 0);
	cr_assert_eq(b->len - len, 7 * (sizeof(big) + 1) + 1);
	block_unref(b);
}

Test(sse_events, members)
{
	expect_event(
	    MSG_JOIN, "{\"client\":\"c\"}", 14, "event: join\ndata: {\"client\":\"c\"}\n\n");
	expect_event(MSG_LEAVE, "{}", 2, "event: leave\ndata: {}\n\n");
}

/* A position is the event's id, whatever its kind. */
Test(sse_events, positions)
{
	struct past past = { .pos = { 9, "Epoch1" } };
	struct channel *ch = calloc(1, sizeof(*ch) + 2);
	struct publication p = { .channel = ch, .kind = MSG_TEXT, .offset = UINT64_MAX };
	const struct variant *v = &dialect_sse.variants[VARIANT_PLAIN];
	struct block *b = block_new(1);
	static const char want[] = "id: Epoch1:18446744073709551615\ndata: x\n\n"
				   "id: Epoch1:7\nevent: binary\ndata: eA==\n\n";

	cr_assert(ch != NULL && b != NULL);
	ch->past = &past;
	p.data = (const uint8_t *)"x";
	p.len = 1;
	cr_assert_eq(v->encode(v, NULL, &b, &p), 0);
	p.offset = 7;
	p.kind = MSG_BINARY;
	cr_assert_eq(v->encode(v, NULL, &b, &p), 0);
	cr_assert(b->len == strlen(want) && memcmp(b->data, want, b->len) == 0, "%.*s", (int)b->len,
	    (const char *)b->data);
	block_unref(b);
	free(ch);
}

/* --- the stream --------------------------------------------------------------------------- */

static void
setup(void)
{
	world_open(&w,
	    "limits.subscriptions=3\nlimits.ping_interval=20s\n"
	    "channels=[{match: \"deny*\", subscribe: nobody}, {match: drop, slow: drop-oldest}]");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(sse, .timeout = 60, .init = setup, .fini = teardown);

static void
expect_text(const char *text)
{
	client_expect(&c, text, strlen(text));
}

static void
request(const char *text)
{
	client_close(&c);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, text);
}

/* A stream of the channel "a", all the way. */
static void
open_live(const char *text)
{
	hub_welcome(&w, true);
	request(text);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_head(&c,
			 "\r\nContent-Type: text/event-stream\r\n"
			 "Cache-Control: no-cache, no-transform\r\n"
			 "X-Accel-Buffering: no\r\n"),
	    200);
	expect_text(": open\n\n");
}

/* All of the stream has gone. */
static void
expect_gone(enum conn_reason reason)
{
	WORLD_UNTIL(&w, w.net.count == 0);
	cr_assert_eq(w.net.ended[reason], 1);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
}

Test(sse, begins_when_every_channel_is_live)
{
	hub_welcome(&w, true);
	request(GET("/sse/a?channel=b&last_event_id=x%3A1&channel=c"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_expect_on(&w, IPC_SUBSCRIBE, "b");
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	hub_subscribed(&w, "c", 0);
	hub_subscribed(&w, "a", 0);
	hub_message(&w, "a", MSG_TEXT, "before");
	client_quiet(&c);
	hub_subscribed(&w, "b", 0);
	cr_assert_eq(client_head(&c, ""), 200);
	expect_text(": open\n\n");
	hub_message(&w, "a", MSG_TEXT, "one\r\ntwo");
	hub_message(&w, "b", MSG_BINARY, "three");
	expect_text("data: one\ndata: two\n\nevent: binary\ndata: dGhyZWU=\n\n");
	client_quiet(&c);
}

Test(sse, a_live_channel_is_there_at_once)
{
	open_live(GET("/sse/a"));
	request(GET("/sse?channel=a"));
	cr_assert_eq(client_head(&c, ""), 200);
	expect_text(": open\n\n");
	hub_message(&w, "a", MSG_TEXT, "m");
	expect_text("data: m\n\n");
}

/* The bytes of an event are encoded once for all of them. */
Test(sse, shares_the_channel_with_websockets)
{
	struct client ws, other;

	open_live(GET("/sse/a"));
	client_open(&w, &other, LISTENER_PUBLIC);
	client_text(&other, GET("/sse/a"));
	cr_assert_eq(client_head(&other, ""), 200);
	client_expect(&other, ": open\n\n", 8);
	client_open(&w, &ws, LISTENER_PUBLIC);
	client_handshake(&ws, "/ws/a", NULL);
	cr_assert_eq(client_head(&ws, ""), 101);
	cr_assert_eq(channel_find(&w.core.channels, "a", 1)->ngroups, 2);
	hub_message(&w, "a", MSG_TEXT, "m");
	client_expect_text(&ws, "m");
	expect_text("data: m\n\n");
	client_expect(&other, "data: m\n\n", 9);
	client_close(&ws);
	client_close(&other);
}

Test(sse, has_no_length_and_no_coding)
{
	hub_welcome(&w, true);
	request("GET /sse/a HTTP/1.0\r\nConnection: keep-alive\r\nLast-Event-ID: x:1\r\n\r\n");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	WORLD_UNTIL(&w, client_pull(&c) > 100);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Content-Length", 14));
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Transfer-Encoding", 17));
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "keep-alive", 10));
	cr_assert_eq(client_head(&c, "Connection: close\r\n"), 200);
	expect_text(": open\n\n");
}

Test(sse, head_is_the_head_alone)
{
	hub_welcome(&w, true);
	request("HEAD /sse/a HTTP/1.1\r\nHost: h\r\n\r\n");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_head(&c, "Content-Type: text/event-stream\r\n"), 200);
	client_expect_eof(&c);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
}

static void
expect_refusal(const char *text, int status, const char *part)
{
	request(text);
	cr_assert_eq(client_response(&c, part), status, "%s", text);
	cr_assert_null(channel_find(&w.core.channels, "a", 1));
}

Test(sse, refusals)
{
	expect_refusal("POST /sse/a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "GET");
	expect_refusal("OPTIONS /sse/a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "GET");
	expect_refusal("GET /sse/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", 400, "body");
	expect_refusal(
	    "GET /sse/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "body");
	expect_refusal(GET("/sse"), 400, "name a channel: /sse/CHANNEL");
	expect_refusal(GET("/sse/"), 404, "not found");
	expect_refusal(GET("/sse/a%20b"), 400, "not a channel name");
	expect_refusal(GET("/sse/a?channel=deny1"), 403, "may not be subscribed");
	expect_refusal(GET("/sse/a?channel=b&channel=c&channel=d"), 400, "too many");
	expect_refusal(GET("/ssea"), 404, "not found");
	expect_refusal(
	    "GET /sse/a HTTP/1.1\r\nHost: h\r\nOrigin: https://evil\r\n\r\n", 403, "origin");
	client_close(&c);
	client_open(&w, &c, LISTENER_INTERNAL);
	client_text(&c, GET("/sse/a"));
	cr_assert_eq(client_response(&c, "not found"), 404);
}

Test(sse, gives_up_at_the_deadline)
{
	w.server.head_ms = 50;
	request(GET("/sse/a"));
	cr_assert_eq(client_response(&c, "try again later"), 503);
	client_expect_eof(&c);
	cr_assert_null(channel_find(&w.core.channels, "a", 1));
}

Test(sse, a_channel_that_cannot_be_had)
{
	hub_welcome(&w, true);
	request("GET /sse/a HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n\r\n");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", FAN_ENOMEM);
	/* The page may read what is wrong. */
	WORLD_UNTIL(&w, client_pull(&c) > 100);
	cr_assert_not_null(memmem(buf_data(&c.in), buf_len(&c.in),
	    "\r\nAccess-Control-Allow-Origin: http://h\r\nVary: Origin\r\n", 54));
	cr_assert_eq(client_response(&c, "cannot be subscribed"), 503);
	client_expect_eof(&c);
}

Test(sse, stops_while_it_waits)
{
	hub_welcome(&w, true);
	request(GET("/sse/a"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	conn_stop(TAILQ_FIRST(&w.net.open));
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_response(&c, "stopping"), 503);
}

Test(sse, origins)
{
	open_live("GET /sse/a HTTP/1.1\r\nHost: h:1\r\nOrigin: http://h:2\r\n\r\n");
	request("GET /sse/a HTTP/1.1\r\nHost: h:1\r\nOrigin: http://h:2\r\n\r\n");
	cr_assert_eq(
	    client_head(&c, "\r\nAccess-Control-Allow-Origin: http://h:2\r\nVary: Origin\r\n"),
	    200);
	expect_text(": open\n\n");
	request("OPTIONS /sse/a HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n"
		"Access-Control-Request-Method: GET\r\n\r\n");
	cr_assert_eq(client_head(&c, "\r\nAccess-Control-Allow-Methods: GET, HEAD\r\n"), 204);
	client_quiet(&c);
	request("OPTIONS /sse/a HTTP/1.1\r\nHost: h\r\nOrigin: http://evil\r\n"
		"Access-Control-Request-Method: GET\r\n\r\n");
	cr_assert_eq(client_response(&c, "origin"), 403);
}

Test(sse, says_that_messages_may_be_missing)
{
	open_live(GET("/sse/a"));
	hub_message(&w, "a", MSG_TEXT, "m");
	hub_gap(&w, "a");
	expect_text("data: m\n\nevent: gap\ndata: a\n\n");
	hub_cut(&w);
	hub_welcome(&w, true);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	client_quiet(&c);
	hub_subscribed(&w, "a", 0);
	hub_message(&w, "a", MSG_TEXT, "n");
	expect_text("event: gap\ndata: a\n\ndata: n\n\n");
}

/* The clock itself stands still, so that after the first one the next is due with the next tick. */
Test(sse, keeps_alive)
{
	uint64_t begun, at;

	open_live(GET("/sse/a"));
	begun = clock_ms();
	deadlines_run(w.net.deadlines, begun + 17900);
	client_quiet(&c);
	for (at = 18000; client_pull(&c) == 0; at += DEADLINE_TICK_MS) {
		cr_assert_leq(at, 22300);
		deadlines_run(w.net.deadlines, begun + at);
	}
	expect_text(":\n\n");
	deadlines_run(w.net.deadlines, begun + at);
	expect_text(":\n\n");
	hub_message(&w, "a", MSG_TEXT, "m");
	expect_text("data: m\n\n");
}

Test(sse, is_quiet_where_no_interval_is_set)
{
	w.conf->limits.ping_interval = 0;
	open_live(GET("/sse/a"));
	deadlines_run(w.net.deadlines, clock_ms() + 3600000);
	client_quiet(&c);
}

Test(sse, throws_away_what_the_client_sends)
{
	static char junk[200000];

	open_live(GET("/sse/a") GET("/sse/b"));
	client_send(&c, junk, sizeof(junk));
	world_settle(&w);
	hub_quiet(&w);
	hub_message(&w, "a", MSG_TEXT, "m");
	expect_text("data: m\n\n");
}

Test(sse, ends_with_the_client)
{
	open_live(GET("/sse/a"));
	client_close(&c);
	expect_gone(CONN_CLOSED_PEER);
}

Test(sse, ends_when_the_client_closes_its_half)
{
	open_live(GET("/sse/a"));
	cr_assert_eq(shutdown(c.fd, SHUT_WR), 0);
	expect_gone(CONN_CLOSED_PEER);
}

Test(sse, the_client_goes_while_it_waits)
{
	hub_welcome(&w, true);
	request(GET("/sse/a"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	client_close(&c);
	hub_subscribed(&w, "a", 0);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
	WORLD_UNTIL(&w, w.net.count == 0);
}

Test(sse, says_when_the_worker_stops)
{
	open_live(GET("/sse/a"));
	conn_stop(TAILQ_FIRST(&w.net.open));
	expect_text(": closed 1001 the server is stopping\n\n");
	client_expect_eof(&c);
	client_close(&c);
	expect_gone(CONN_CLOSED_SHUTDOWN);
}

Test(sse, says_why_it_is_closed)
{
	const struct session *s;

	open_live(GET("/sse/a"));
	s = TAILQ_FIRST(&w.net.open)->up;
	s->transport->close(s->t, 1008, "no longer allowed");
	hub_message(&w, "a", MSG_TEXT, "m");
	expect_text(": closed 1008 no longer allowed\n\n");
	client_expect_eof(&c);
	client_close(&c);
	expect_gone(CONN_CLOSED_POLICY);
}

/* A reason, of whoever gives it, is one line. */
Test(sse, a_reason_is_no_event)
{
	const struct session *s;

	open_live(GET("/sse/a"));
	s = TAILQ_FIRST(&w.net.open)->up;
	s->transport->close(s->t, 4001, "\x01x\n\ndata: y\r\n\x7f\xc3\xa4\t");
	expect_text(": closed 4001  x  data: y   \xc3\xa4 \n\n");
	client_expect_eof(&c);
}

Test(sse, who_does_not_read_is_cut_off)
{
	static char big[60001];
	int i;

	memset(big, 'x', sizeof(big) - 1);
	w.net.queue_max = 100000;
	open_live(GET("/sse/a"));
	for (i = 0; i < 100 && w.net.count > 0; i++) {
		hub_message(&w, "a", MSG_TEXT, big);
		world_settle(&w);
	}
	expect_gone(CONN_CLOSED_SLOW);
}

/* Takes one whole event off the stream; false: it has not come. */
static bool
take_event(char *event, size_t size)
{
	const uint8_t *p, *end;
	size_t n;

	if (client_pull(&c) == 0)
		return false;
	p = buf_data(&c.in);
	end = memmem(p, buf_len(&c.in), "\n\n", 2);
	if (end == NULL)
		return false;
	n = (size_t)(end - p) + 2;
	cr_assert_lt(n, size);
	memcpy(event, p, n);
	event[n] = '\0';
	buf_consume(&c.in, n);
	return true;
}

#define LAST 500
static char filler[3000];

/*
 * Opens a stream whose client may miss messages and does not read.  Several events lie in each block
 * of what waits.
 */
static void
flood(void)
{
	int i;

	memset(filler, 'x', sizeof(filler) - 1);
	w.net.queue_max = 50000;
	hub_welcome(&w, true);
	request(GET("/sse/drop"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "drop");
	hub_subscribed(&w, "drop", 0);
	cr_assert_eq(client_head(&c, ""), 200);
	expect_text(": open\n\n");
	for (i = 0; i <= LAST; i++) {
		char text[4000];

		(void)snprintf(text, sizeof(text), "%d\n%s", i, filler);
		hub_message(&w, "drop", MSG_TEXT, text);
		if (i % 7 == 6)
			world_settle(&w);
	}
	world_settle(&w);
}

/* Those that are left out go one by one. */
Test(sse, events_are_left_out_in_whole)
{
	static char event[4000], want[4000];
	int last = -1, gaps = 0, missing = 0;

	flood();
	while (last != LAST || gaps == 0) {
		int n;

		WORLD_UNTIL(&w, take_event(event, sizeof(event)));
		if (strcmp(event, "event: gap\ndata: drop\n\n") == 0) {
			gaps++;
			continue;
		}
		cr_assert_eq(sscanf(event, "data: %d", &n), 1, "%.50s", event);
		(void)snprintf(want, sizeof(want), "data: %d\ndata: %s\n\n", n, filler);
		cr_assert_str_eq(event, want);
		cr_assert_gt(n, last);
		missing += n - last - 1;
		last = n;
	}
	cr_assert_gt(missing, 0);
	cr_assert_eq(w.net.shed_messages, (uint64_t)missing);
}

/* Nothing that waits must leave, but for the keep-alive: so there is an end to waiting. */
Test(sse, who_may_miss_messages_and_takes_none_is_cut_off)
{
	flood();
	deadlines_run(w.net.deadlines, clock_ms() + 17900);
	world_settle(&w);
	cr_assert_eq(w.net.count, 1);
	deadlines_run(w.net.deadlines, clock_ms() + 23000);
	WORLD_UNTIL(&w, w.net.count == 0);
	cr_assert_eq(w.net.ended[CONN_CLOSED_SLOW], 1);
}
