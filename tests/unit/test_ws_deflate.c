/*
 * Unit tests of ws: messages that come compressed, over socket pairs.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/unit/worker_fixture.h"
#include "worker/ws/deflate.h"
#include "worker/ws/frame.h"

#define TEXT (FRAME_FIN | WS_OP_TEXT)
#define BINARY (FRAME_FIN | WS_OP_BINARY)
#define CLOSE (FRAME_FIN | WS_OP_CLOSE)
#define PING (FRAME_FIN | WS_OP_PING)
#define PONG (FRAME_FIN | WS_OP_PONG)
/* "Hello", compressed; and the same, referring to the message before (RFC 7692, section 7.2.3). */
#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"
#define HELLO_AGAIN "\xf2\x00\x11\x00\x00"
#define DEFLATED FRAME_RSV1

static struct world w;
static struct ws *ws;
static struct client peer;

/* What the handler saw, and whether it shall pause at each message. */
static struct {
	char log[256];
	int closes;
	bool pauses;
} up;

static void
on_message(void *arg, enum msg_kind kind, const uint8_t *data, size_t n)
{
	size_t len = strlen(up.log);

	(void)arg;
	cr_assert_lt(len + n + 3, sizeof(up.log));
	up.log[len++] = kind == MSG_TEXT ? 't' : 'b';
	if (n > 0)
		memcpy(up.log + len, data, n);
	memcpy(up.log + len + n, ",", 2);
	if (up.pauses)
		ws_pause(ws);
}

static void
on_close(void *arg)
{
	(void)arg;
	up.closes++;
}

static const struct ws_handler handler = { .on_message = on_message, .on_close = on_close };
static const struct conn_handler before = { .on_data = NULL };

TestSuite(ws_deflate, .timeout = 60);

static void
open_ws(const char *settings)
{
	struct conn *conn;
	int fd[2];

	memset(&up, 0, sizeof(up));
	world_open(&w, settings);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	client_wrap(&w, &peer, fd[0]);
	conn = conn_new(&w.net, fd[1], &before, NULL);
	cr_assert_not_null(conn);
	w.ws.handler = &handler;
	ws = ws_new(conn, &w.ws, &up);
	cr_assert_not_null(ws);
	conn_start(conn);
}

static void
open_deflating(const char *settings, bool takeover)
{
	struct deflate_agreed agreed = { 15, 15, takeover };

	open_ws(settings);
	ws_use_deflate(ws, &agreed);
}

static void
teardown(void)
{
	client_close(&peer);
	world_close(&w);
}

#define EXPECT_LOG(text)                                                                           \
	do {                                                                                       \
		world_settle(&w);                                                                  \
		cr_assert_str_eq(up.log, text);                                                    \
	} while (0)

Test(ws_deflate, delivers_compressed_messages)
{
	open_deflating("deflate.enabled=true", false);
	client_frame(&peer, DEFLATED | TEXT, HELLO, 7);
	client_frame(&peer, TEXT, "plain", 5);
	client_frame(&peer, DEFLATED | BINARY, HELLO, 7);
	client_frame(&peer, DEFLATED | WS_OP_TEXT, HELLO, 3);
	client_frame(&peer, PING, "p", 1);
	client_frame(&peer, WS_OP_CONTINUATION, "", 0);
	client_frame(&peer, FRAME_FIN | WS_OP_CONTINUATION, HELLO + 3, 4);
	client_frame(&peer, DEFLATED | TEXT, "\0", 1);
	client_frame(&peer, DEFLATED | BINARY, "\x00\x01\x00\xfe\xff\xff", 7);
	EXPECT_LOG("tHello,tplain,bHello,tHello,t,b\xff,");
	client_expect_frame(&peer, PONG, "p", 1);
	teardown();
}

Test(ws_deflate, compressed_messages_wait_while_paused)
{
	open_deflating("deflate.enabled=true", false);
	up.pauses = true;
	client_frame(&peer, DEFLATED | TEXT, HELLO, 7);
	client_frame(&peer, DEFLATED | BINARY, HELLO, 7);
	EXPECT_LOG("tHello,");
	ws_resume(ws);
	EXPECT_LOG("tHello,bHello,");
	teardown();
}

Test(ws_deflate, a_message_may_refer_to_the_last_one_where_that_was_agreed)
{
	open_deflating("deflate.enabled=true", true);
	client_frame(&peer, DEFLATED | TEXT, HELLO, 7);
	client_frame(&peer, TEXT, "between", 7);
	client_frame(&peer, DEFLATED | TEXT, HELLO_AGAIN, 5);
	EXPECT_LOG("tHello,tbetween,tHello,");
	/* What was refused ends the connection, and with it the window. */
	client_frame(&peer, DEFLATED | TEXT, "\x07", 1);
	client_expect_close(&peer, 1007);
	teardown();
}

static void
expect_refused(const char *settings, unsigned bits, const void *p, size_t n, unsigned code)
{
	open_deflating(settings, false);
	client_frame(&peer, DEFLATED | TEXT, HELLO, 7);
	client_frame(&peer, bits, p, n);
	client_frame(&peer, TEXT, "not delivered", 13);
	client_expect_close(&peer, code);
	client_expect_eof(&peer);
	cr_assert_str_eq(up.log, "tHello,");
	client_close(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_PROTOCOL], 1);
	teardown();
}

Test(ws_deflate, compressed_messages_are_refused)
{
	static const char on[] = "deflate.enabled=true",
			  small[] = "deflate.enabled=true\n"
				    "limits.message=5";
	/* 6 bytes in a stored block; 100 zeros in a block with fixed codes. */
	static const char six[] = "\x00\x06\x00\xf9\xff"
				  "Hello!";
	static const char zeros[] = "\x62\x60\xa0\x3d\x00";

	expect_refused(on, DEFLATED | TEXT, HELLO_AGAIN, 5, 1007);
	expect_refused(on, DEFLATED | BINARY, "\xff", 1, 1007);
	expect_refused(on, DEFLATED | TEXT, HELLO, 6, 1007);
	/* 0xff, and what UTF-8 has not come to an end. */
	expect_refused(on, DEFLATED | TEXT, "\x00\x01\x00\xfe\xff\xff", 7, 1007);
	expect_refused(on, DEFLATED | TEXT, "\x00\x01\x00\xfe\xff\xc3", 7, 1007);
	expect_refused(small, DEFLATED | BINARY, six, 12, 1009);
	expect_refused(small, DEFLATED | BINARY, zeros, 5, 1009);
	expect_refused(on, DEFLATED | PING, "", 0, 1002);
	expect_refused(on, DEFLATED | FRAME_FIN | WS_OP_CONTINUATION, "", 0, 1002);
	expect_refused(on, TEXT | 0x20, HELLO, 7, 1002);
}

Test(ws_deflate, compressed_frames_too_long_for_any_message)
{
	char head[] = "\xc2\xfe\0\0\0\0\0";
	size_t more = inflate_input_max(5) + 1;

	open_deflating("deflate.enabled=true\nlimits.message=5", false);
	head[2] = (char)(more >> 8);
	head[3] = (char)more;
	client_send(&peer, head, 8);
	client_expect_close(&peer, 1009);
	teardown();
}

Test(ws_deflate, nothing_is_compressed_unless_agreed)
{
	open_ws("deflate.enabled=true");
	client_frame(&peer, DEFLATED | TEXT, HELLO, 7);
	client_expect_close(&peer, 1002);
	teardown();
}

/* After our close frame nothing is delivered, so nothing is inflated either. */
Test(ws_deflate, what_comes_compressed_while_closing_is_ignored)
{
	open_deflating("deflate.enabled=true", false);
	ws_close(ws, 1000, "");
	client_expect_close(&peer, 1000);
	client_frame(&peer, DEFLATED | TEXT, "\xff", 1);
	client_frame(&peer, CLOSE, "\x03\xe8", 2);
	client_expect_eof(&peer);
	WORLD_UNTIL(&w, up.closes == 1);
	cr_assert_eq(w.net.ended[CONN_CLOSED_PEER], 1);
	teardown();
}
