/*
 * Unit tests of ws: delivery, pausing, the closing handshake in all its ways, pings, deadlines and
 * slow clients, over socket pairs.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "tests/unit/worker_fixture.h"
#include "worker/ws/frame.h"

#define TEXT (FRAME_FIN | WS_OP_TEXT)
#define BINARY (FRAME_FIN | WS_OP_BINARY)
#define CLOSE (FRAME_FIN | WS_OP_CLOSE)
#define PING (FRAME_FIN | WS_OP_PING)
#define PONG (FRAME_FIN | WS_OP_PONG)

static struct world w;
static struct ws *ws;
static struct conn *conn;
static struct client peer;

/* What the handler saw, and what it shall do with a message. */
static struct {
	char log[512];
	int closes, drained;
	uint64_t shed; /* messages */
	void (*on_message)(const char *text);
} up;

static void
on_message(void *arg, enum msg_kind kind, const uint8_t *data, size_t n)
{
	char text[64];

	cr_assert_eq(arg, &up);
	cr_assert_eq(up.closes, 0);
	cr_assert_lt(n, sizeof(text));
	if (n > 0)
		memcpy(text, data, n);
	text[n] = '\0';
	cr_assert_lt(strlen(up.log) + n + 3, sizeof(up.log));
	strcat(up.log, kind == MSG_TEXT ? "t" : "b");
	strcat(up.log, text);
	strcat(up.log, ",");
	if (up.on_message != NULL)
		up.on_message(text);
}

static void
on_close(void *arg)
{
	cr_assert_eq(arg, &up);
	up.closes++;
}

static void
on_shed(void *arg, uint32_t key, uint64_t messages)
{
	cr_assert_eq(arg, &up);
	cr_assert_eq(key, 7);
	up.shed += messages;
}

static void
on_drained(void *arg)
{
	cr_assert_eq(arg, &up);
	up.drained++;
	ws_send(ws, WS_OP_TEXT, "gap", 3);
}

static const struct ws_handler handler = {
	.on_message = on_message,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.on_close = on_close,
};
static const struct conn_handler before = { .on_data = NULL };

static void
open_ws(void)
{
	int fd[2], small = 4096;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	client_wrap(&w, &peer, fd[0]);
	conn = conn_new(&w.net, fd[1], &before, NULL);
	cr_assert_not_null(conn);
	w.ws.handler = &handler;
	ws = ws_new(conn, &w.ws, &up);
	cr_assert_not_null(ws);
	conn_start(conn);
}

static void
setup(void)
{
	world_open(&w, "limits.queue=100000\nlimits.message=100000\nlimits.fragments=3");
}

static void
teardown(void)
{
	client_close(&peer);
	world_close(&w);
}

TestSuite(ws, .timeout = 60, .init = setup, .fini = teardown);

#define EXPECT_LOG(text)                                                                           \
	do {                                                                                       \
		world_settle(&w);                                                                  \
		cr_assert_str_eq(up.log, text);                                                    \
	} while (0)

static void
text(const char *s)
{
	client_frame(&peer, TEXT, s, strlen(s));
}

/* Queues more than the socket takes; returns how many bytes the frames had. */
static size_t
flood(enum ws_opcode op)
{
	static char big[60000];
	size_t n = 0;

	while (conn_is_idle(conn)) {
		ws_send(ws, op, big, sizeof(big));
		n += sizeof(big) + 4;
	}
	return n;
}

static void
drop(size_t n)
{
	WORLD_UNTIL(&w, client_pull(&peer) >= n);
	buf_consume(&peer.in, n);
}

/* --- messages ----------------------------------------------------------------------------- */

Test(ws, delivers_text_binary_and_empty_messages)
{
	open_ws();
	text("one");
	client_frame(&peer, BINARY, "two", 3);
	text("");
	EXPECT_LOG("tone,btwo,t,");
}

Test(ws, assembles_fragments_with_a_ping_between)
{
	open_ws();
	client_frame(&peer, WS_OP_TEXT, "a", 1);
	client_frame(&peer, PING, "p", 1);
	client_frame(&peer, FRAME_FIN | WS_OP_CONTINUATION, "b", 1);
	EXPECT_LOG("tab,");
	client_expect_frame(&peer, PONG, "p", 1);
}

Test(ws, sends_frames_of_every_length)
{
	static const size_t len[] = { 0, 1, 125, 126, 127, 65535, 65536, 90000 };
	static char data[90000];
	size_t i;

	memset(data, 'd', sizeof(data));
	open_ws();
	for (i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		ws_send(ws, WS_OP_BINARY, data, len[i]);
		client_expect_frame(&peer, BINARY, data, len[i]);
	}
}

Test(ws, sends_a_part_of_a_block)
{
	struct block *b = block_new(16);

	cr_assert_not_null(b);
	memcpy(b->data, "\x81\x01x\x81\x01y", 6);
	b->len = 6;
	open_ws();
	ws_send_block(ws, b, 3, 3, (struct outq_tag){ 0, OUTQ_KEEP });
	client_expect_text(&peer, "y");
	block_unref(b);
}

Test(ws, feeds_what_came_behind_the_handshake)
{
	uint8_t early[] = { 0x81, 0x81, 0, 0, 0, 0, 'e' };

	open_ws();
	ws_feed(ws, early, sizeof(early));
	EXPECT_LOG("te,");
}

/* --- pausing ------------------------------------------------------------------------------ */

static void
pause_at_each(const char *s)
{
	(void)s;
	ws_pause(ws);
}

Test(ws, pausing_in_the_middle_of_a_read_keeps_the_rest)
{
	open_ws();
	up.on_message = pause_at_each;
	text("1");
	text("2");
	text("3");
	EXPECT_LOG("t1,");
	text("4");
	ws_resume(ws);
	EXPECT_LOG("t1,t2,");
	ws_resume(ws);
	ws_resume(ws);
	EXPECT_LOG("t1,t2,t3,t4,");
	up.on_message = NULL;
	ws_resume(ws);
	ws_resume(ws);
	text("5");
	EXPECT_LOG("t1,t2,t3,t4,t5,");
}

Test(ws, pausing_in_the_middle_of_a_message_keeps_it)
{
	open_ws();
	client_send(&peer, "\x81\x85\0\0\0\0he", 8);
	world_settle(&w);
	ws_pause(ws);
	client_send(&peer, "llo", 3);
	EXPECT_LOG("");
	ws_resume(ws);
	EXPECT_LOG("thello,");
}

static void
pause_and_resume(const char *s)
{
	(void)s;
	ws_pause(ws);
	ws_resume(ws);
}

Test(ws, pausing_and_resuming_in_one_callback_changes_nothing)
{
	open_ws();
	up.on_message = pause_and_resume;
	text("1");
	text("2");
	text("3");
	EXPECT_LOG("t1,t2,t3,");
}

static void
pause_and_close(const char *s)
{
	(void)s;
	ws_pause(ws);
	ws_close(ws, 1000, "enough");
	ws_resume(ws);
}

Test(ws, closing_while_paused_delivers_nothing_more)
{
	open_ws();
	up.on_message = pause_and_close;
	text("1");
	text("2");
	client_expect_close(&peer, 1000);
	text("3");
	client_frame(&peer, CLOSE, "\x03\xe8", 2);
	client_expect_eof(&peer);
	cr_assert_str_eq(up.log, "t1,");
	WORLD_UNTIL(&w, up.closes == 1);
}

Test(ws, freed_while_paused_with_input_held)
{
	open_ws();
	up.on_message = pause_at_each;
	text("1");
	text("2");
	EXPECT_LOG("t1,");
	conn_close(conn, CONN_CLOSED_SHUTDOWN);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_str_eq(up.log, "t1,");
}

/* --- closing ------------------------------------------------------------------------------ */

Test(ws, the_peer_closes_first)
{
	open_ws();
	text("last");
	client_frame(&peer, CLOSE, "\x0b\xb8reason", 8);
	client_expect_close(&peer, 3000);
	client_expect_eof(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_str_eq(up.log, "tlast,");
	cr_assert_eq(w.net.ended[CONN_CLOSED_PEER], 1);
}

Test(ws, an_empty_close_frame_gets_an_empty_one)
{
	open_ws();
	client_frame(&peer, CLOSE, "", 0);
	client_expect_frame(&peer, CLOSE, "", 0);
	client_expect_eof(&peer);
}

Test(ws, we_close_first)
{
	open_ws();
	ws_close(ws, 4000, "because");
	ws_close(ws, 4001, "too late");
	ws_send(ws, WS_OP_TEXT, "too late", 8);
	client_expect_frame(&peer, CLOSE,
	    "\x0f\xa0"
	    "because",
	    9);
	text("not delivered");
	client_frame(&peer, PING, "", 0);
	client_quiet(&peer);
	cr_assert_eq(up.closes, 0, "the peer's frame is awaited");
	client_frame(&peer, CLOSE, "\x0f\xa0", 2);
	client_expect_eof(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_str_eq(up.log, "");
	cr_assert_eq(w.net.ended[CONN_CLOSED_PEER], 1);
}

Test(ws, both_close_at_once)
{
	open_ws();
	client_frame(&peer, CLOSE, "\x03\xe8", 2);
	ws_close(ws, 1001, "");
	client_expect_close(&peer, 1001);
	client_expect_eof(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
}

Test(ws, a_peer_that_does_not_answer_the_close_is_cut)
{
	w.ws.close = 50;
	open_ws();
	ws_close(ws, 1000, "");
	client_expect_close(&peer, 1000);
	/* Bytes that are no close frame do not stretch it. */
	text("x");
	client_expect_eof(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_TIMEOUT], 1);
	cr_assert_str_eq(up.log, "");
}

Test(ws, a_close_frame_behind_a_full_queue_is_still_answered)
{
	size_t n;

	open_ws();
	n = flood(WS_OP_BINARY);
	client_frame(&peer, CLOSE, "\x03\xe8", 2);
	world_settle(&w);
	drop(n);
	client_expect_close(&peer, 1000);
	client_expect_eof(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
}

Test(ws, a_peer_that_vanishes)
{
	open_ws();
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_VANISHED], 1);
}

Test(ws, a_broken_rule_is_told_and_ends_it)
{
	open_ws();
	text("good");
	client_send(&peer, "\x81\x01x", 3);
	text("not delivered");
	client_expect_close(&peer, 1002);
	client_expect_eof(&peer);
	cr_assert_str_eq(up.log, "tgood,");
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_PROTOCOL], 1);
}

Test(ws, bad_utf8_and_too_long_messages_have_their_codes)
{
	open_ws();
	client_frame(&peer, TEXT, "\xff", 1);
	client_expect_close(&peer, 1007);
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	up.closes = 0;
	open_ws();
	client_send(&peer, "\x82\xff\0\0\0\0\0\x01\x86\xa1\0\0\0\0", 14);
	client_expect_close(&peer, 1009);
}

Test(ws, a_broken_rule_while_closing_ends_at_once)
{
	open_ws();
	ws_close(ws, 1000, "");
	client_expect_close(&peer, 1000);
	client_send(&peer, "\xff", 1);
	client_expect_eof(&peer);
}

Test(ws, the_end_of_the_worker_is_told)
{
	open_ws();
	conn_stop(conn);
	client_expect_close(&peer, 1001);
}

static void
close_in_callback(const char *s)
{
	(void)s;
	ws_close(ws, 1008, "no");
}

Test(ws, closing_in_a_callback_stops_delivery)
{
	open_ws();
	up.on_message = close_in_callback;
	text("1");
	text("2");
	client_expect_close(&peer, 1008);
	cr_assert_str_eq(up.log, "t1,");
}

/* --- deadlines ---------------------------------------------------------------------------- */

Test(ws, pings_and_takes_any_byte_for_an_answer)
{
	int i;

	w.ws.ping_interval = 50;
	w.ws.pong_timeout = 5000;
	open_ws();
	client_expect_frame(&peer, PING, "", 0);
	client_frame(&peer, PONG, "", 0);
	client_expect_frame(&peer, PING, "", 0);
	for (i = 0; i < 2; i++) {
		text("alive");
		client_expect_frame(&peer, PING, "", 0);
	}
	cr_assert_eq(up.closes, 0);
}

Test(ws, an_unanswered_ping_ends_it)
{
	w.ws.ping_interval = 10;
	w.ws.pong_timeout = 10;
	open_ws();
	client_expect_frame(&peer, PING, "", 0);
	client_expect_close(&peer, 1008);
	client_expect_eof(&peer);
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_PING], 1);
}

/* Nothing is read from a paused peer, so its answer cannot be missed. */
Test(ws, a_paused_peer_is_not_asked)
{
	w.ws.ping_interval = 10;
	w.ws.pong_timeout = 10;
	open_ws();
	ws_pause(ws);
	(void)usleep(250000);
	client_quiet(&peer);
	ws_resume(ws);
	client_expect_frame(&peer, PING, "", 0);
}

Test(ws, a_message_that_takes_too_long)
{
	w.ws.assemble = 50;
	open_ws();
	client_frame(&peer, WS_OP_TEXT, "begun", 5);
	client_expect_close(&peer, 1008);
	client_expect_eof(&peer);
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_TIMEOUT], 1);
}

/* Neither pings nor single bytes stretch the time of a message. */
Test(ws, bytes_do_not_stretch_a_message)
{
	int i;

	w.ws.assemble = 300;
	open_ws();
	client_send(&peer, "\x82\xfe\x01\x00\0\0\0\0", 8);
	for (i = 0; i < 200 && up.closes == 0 && client_pull(&peer) == 0; i++) {
		client_send(&peer, "x", 1);
		(void)usleep(5000);
		world_pass(&w);
	}
	client_expect_close(&peer, 1008);
}

/* The time in which we do not read is not the peer's fault. */
Test(ws, a_pause_does_not_count_against_a_message)
{
	w.ws.assemble = 1000;
	open_ws();
	client_frame(&peer, WS_OP_TEXT, "a", 1);
	world_settle(&w);
	ws_pause(ws);
	(void)usleep(1300000);
	client_quiet(&peer);
	ws_resume(ws);
	(void)usleep(200000);
	client_quiet(&peer);
	client_frame(&peer, FRAME_FIN | WS_OP_CONTINUATION, "b", 1);
	EXPECT_LOG("tab,");
}

/* --- slow peers --------------------------------------------------------------------------- */

Test(ws, a_slow_peer_is_closed_with_1013_and_frames_stay_in_step)
{
	static char big[60000];
	int i;

	open_ws();
	(void)flood(WS_OP_BINARY);
	for (i = 0; i < 10; i++)
		ws_send(ws, WS_OP_TEXT, "queued", 6);
	ws_send(ws, WS_OP_BINARY, big, sizeof(big));
	ws_send(ws, WS_OP_BINARY, big, sizeof(big));
	/* Whatever of the flood had begun comes whole, then the close frame. */
	do {
		struct frame_head h = { 0 };

		WORLD_UNTIL(&w, client_pull(&peer) >= FRAME_HEAD_MAX || peer.eof);
		cr_assert_eq(frame_head_decode(buf_data(&peer.in), buf_len(&peer.in), &h), 0);
		if (h.bits != BINARY)
			break;
		drop(h.size + h.len);
	} while (true);
	client_expect_close(&peer, 1013);
	client_expect_eof(&peer);
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_SLOW], 1);
}

/*
 * Head and payload were two writes: where the socket took the head and nothing more, discarding
 * dropped the payload alone.  How full the socket is decides, so that every fill is tried.
 */
Test(ws, a_discarded_message_goes_with_its_head)
{
	static char payload[300], big[60000];
	struct frame_head h = { 0 };
	int fill, i;

	for (fill = 0; fill < 40; fill++) {
		open_ws();
		for (i = 0; i < fill; i++)
			ws_send(ws, WS_OP_TEXT, "short", 5);
		ws_send(ws, WS_OP_BINARY, payload, sizeof(payload));
		for (i = 0; i < 8; i++)
			ws_send(ws, WS_OP_BINARY, big, sizeof(big));
		do {
			WORLD_UNTIL(&w, client_pull(&peer) >= FRAME_HEAD_MAX || peer.eof);
			cr_assert_eq(
			    frame_head_decode(buf_data(&peer.in), buf_len(&peer.in), &h), 0);
			if (h.bits != CLOSE)
				drop(h.size + h.len);
		} while (h.bits == TEXT || h.bits == BINARY);
		client_expect_close(&peer, 1013);
		client_close(&peer);
		WORLD_UNTIL(&w, up.closes == 1);
		up.closes = 0;
	}
}

/* Frames with a size of every kind, three in one write; each begins with its number. */
static void
send_numbered(uint32_t from, struct outq_tag tag)
{
	static const size_t len[] = { 100, 3000, 70000 };
	struct block *b = block_new(80000);
	uint32_t i;

	cr_assert_not_null(b);
	for (i = 0; i < 3; i++) {
		uint32_t number = from + i;

		b->len += frame_head_encode(b->data + b->len, BINARY, len[i], NULL);
		memset(b->data + b->len, 0, len[i]);
		memcpy(b->data + b->len, &number, sizeof(number));
		b->len += len[i];
	}
	ws_send_block(ws, b, 0, b->len, tag);
	block_unref(b);
}

Test(ws, what_is_left_out_are_whole_frames)
{
	static const enum outq_shed shed[] = { OUTQ_OLDEST, OUTQ_LATEST };
	size_t i;

	for (i = 0; i < 2; i++) {
		uint32_t n, got = 0, last = 0;

		memset(&up, 0, sizeof(up));
		open_ws();
		for (n = 1; n <= 300; n += 3)
			send_numbered(n, (struct outq_tag){ 7, (uint8_t)shed[i] });
		cr_assert(conn_is_open(conn));
		for (;;) {
			struct frame_head h = { 0 };
			const uint8_t *p;
			uint32_t number;

			WORLD_UNTIL(&w, client_pull(&peer) >= 5);
			cr_assert_eq(
			    frame_head_decode(buf_data(&peer.in), buf_len(&peer.in), &h), 0);
			if (h.bits == TEXT)
				break;
			cr_assert_eq(h.bits, BINARY);
			buf_consume(&peer.in, h.size);
			WORLD_UNTIL(&w, client_pull(&peer) >= h.len);
			p = buf_data(&peer.in);
			cr_assert_not_null(p);
			memcpy(&number, p, sizeof(number));
			cr_assert_gt(number, last);
			cr_assert_eq(h.len,
			    number % 3 == 1       ? 100U
				: number % 3 == 2 ? 3000U
						  : 70000U);
			last = number;
			got++;
			drop(h.len);
		}
		cr_assert_eq(last, 300);
		client_expect_text(&peer, "gap");
		cr_assert_eq(up.shed, 300 - got);
		cr_assert_gt(up.shed, 100);
		cr_assert_eq(up.drained, 1);
		client_close(&peer);
		WORLD_UNTIL(&w, up.closes == 1);
	}
}

/* Who asks and asks and does not read costs one pong, and misses no message by it. */
Test(ws, of_pings_that_come_while_output_waits_the_last_is_answered)
{
	size_t flooded;
	int i;

	open_ws();
	flooded = flood(WS_OP_BINARY);
	for (i = 0; i < 1000; i++) {
		char payload[8];
		int n = snprintf(payload, sizeof(payload), "%d", i);

		client_frame(&peer, PING, payload, (size_t)n);
		world_settle(&w);
	}
	drop(flooded);
	client_expect_frame(&peer, PONG, "999", 3);
	client_quiet(&peer);
	cr_assert_eq(up.shed, 0);
	cr_assert_eq(up.drained, 0);
	cr_assert_eq(w.net.shed_messages, 0);
	client_frame(&peer, PING, "again", 5);
	client_expect_frame(&peer, PONG, "again", 5);
}

Test(ws, a_slow_peer_that_is_being_closed_is_cut)
{
	open_ws();
	(void)flood(WS_OP_BINARY);
	w.net.queue_max = 1;
	ws_close(ws, 1000, "");
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_SLOW], 1);
}
