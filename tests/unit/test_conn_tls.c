/*
 * Unit tests of conn where it speaks TLS: the handshake, the output queue in records, pausing, ends,
 * and whoever speaks something else.  The client is OpenSSL's, on the other end of a socket pair.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "common/conf.h"
#include "tests/unit/tls_fixture.h"
#include "worker/net/burst.h"
#include "worker/net/conn.h"
#include "worker/net/poller.h"
#include "worker/net/tls.h"

#define QUEUE_MAX ((size_t)4000000)
#define LONG ((size_t)600000) /* more than any socket pair here takes */
#define FAR 1000000           /* ms beyond every deadline */

static const uint8_t secret[TLS_SECRET_SIZE] = { 7 };
static const struct outq_tag keep = { 0, OUTQ_KEEP }, oldest = { 1, OUTQ_OLDEST };

static struct event_base *base;
static struct net net;
static struct identity id;
static struct conf *conf;
static SSL_CTX *ctx;

/* The client's end. */
static int fd;
static SSL *client;
static uint8_t got[2 * LONG];
static size_t ngot, records;

/* What the handler saw. */
static struct upper {
	struct conn *conn;
	uint8_t data[65536];
	size_t len;
	int eofs, deadlines, slows, sheds, stops, closes;
	enum conn_reason reason;
} up;

static void
on_data(struct conn *c, uint8_t *p, size_t n)
{
	cr_assert(conn_is_open(c));
	cr_assert_leq(up.len + n, sizeof(up.data));
	memcpy(up.data + up.len, p, n);
	up.len += n;
}

static void
on_eof(struct conn *c)
{
	(void)c;
	up.eofs++;
}

static void
on_deadline(struct conn *c)
{
	(void)c;
	up.deadlines++;
}

static void
on_slow(struct conn *c)
{
	(void)c;
	up.slows++;
}

static void
on_shed(struct conn *c, uint32_t key, uint64_t messages)
{
	(void)c;
	cr_assert_eq(key, 1);
	up.sheds += (int)messages;
}

static void
on_drained(struct conn *c)
{
	(void)c;
}

static void
on_stop(struct conn *c)
{
	(void)c;
	up.stops++;
}

static void
on_close(struct conn *c, enum conn_reason reason)
{
	(void)c;
	up.closes++;
	up.reason = reason;
}

static const struct conn_handler handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_deadline = on_deadline,
	.on_slow = on_slow,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.on_stop = on_stop,
	.on_close = on_close,
};

static void
setup(void)
{
	fixture_begin();
	id = identity_make("one", "DNS:one.example", NULL, -1, 30);
	pem_write("one.pem", id.x, NULL, id.key, NULL);
	conf = conf_with("one.pem", NULL);
	base = event_base_new();
	cr_assert_not_null(base);
	cr_assert_eq(net_init(&net, base, QUEUE_MAX, 10000, 5000), 0);
	net.tls = tls_context_new(conf, secret);
	cr_assert_not_null(net.tls);
	ctx = client_ctx(TLS1_3_VERSION);
}

static void
teardown(void)
{
	net_fini(&net);
	tls_context_free(net.tls);
	event_base_free(base);
	conf_free(conf);
	identity_fini(&id);
	SSL_free(client);
	SSL_CTX_free(ctx);
	(void)close(fd);
	fixture_end();
}

TestSuite(conn_tls, .timeout = 60, .init = setup, .fini = teardown);

static void
pass(void)
{
	cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
	net_reap(&net);
}

static void
settle(void)
{
	int i;

	for (i = 0; i < 10; i++)
		pass();
}

/* A connection whose handshake has not begun. */
static void
open_conn(void)
{
	int pair[2];

	pair_make(pair, true);
	fd = pair[1];
	up.conn = conn_new(&net, pair[0], &handler, &up);
	cr_assert_not_null(up.conn);
	cr_assert_eq(conn_set_tls(up.conn), 0);
	conn_start(up.conn);
	client = client_new(ctx, fd, "one.example");
}

static void
connect_client(void)
{
	int i;

	for (i = 0; i < 100 && SSL_do_handshake(client) != 1; i++)
		settle();
	settle();
	cr_assert(SSL_is_init_finished(client));
	cr_assert_not(up.conn->handshaking);
}

/* Reads what is there; returns what SSL_get_error says at the end. */
static int
take(void)
{
	int n;

	ERR_clear_error();
	while ((n = SSL_read(client, got + ngot, (int)(sizeof(got) - ngot))) > 0) {
		ngot += (size_t)n;
		records++;
	}
	return SSL_get_error(client, n);
}

/* Reads until n bytes have come in all. */
static void
take_all(size_t n)
{
	int i;

	for (i = 0; i < 100000 && ngot < n; i++) {
		(void)take();
		pass();
	}
	cr_assert_eq(ngot, n, "%zu", ngot);
}

static struct block *
new_block(size_t n, unsigned seed)
{
	struct block *b = block_new(n);
	size_t i;

	cr_assert_not_null(b);
	for (i = 0; i < n; i++)
		b->data[i] = (uint8_t)(i * 7 + i / 251 + seed);
	b->len = n;
	return b;
}

static void
send_text(const char *text)
{
	cr_assert_eq(SSL_write(client, text, (int)strlen(text)), (int)strlen(text));
}

/* --- the handshake ------------------------------------------------------------------------ */

Test(conn_tls, nothing_is_heard_before_the_handshake)
{
	open_conn();
	settle();
	cr_assert(up.conn->handshaking);
	connect_client();
	cr_assert_eq(up.len + (size_t)up.eofs, 0);
	send_text("hello");
	settle();
	cr_assert_eq(up.len, 5);
	cr_assert_eq(memcmp(up.data, "hello", 5), 0);
	conn_write(up.conn, "world", 5);
	take_all(5);
	cr_assert_eq(memcmp(got, "world", 5), 0);
}

Test(conn_tls, its_deadline_is_the_connections)
{
	open_conn();
	conn_deadline(up.conn, 1000);
	deadlines_run(net.deadlines, clock_ms() + FAR);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.deadlines, 0);
	cr_assert_eq(up.reason, CONN_CLOSED_TIMEOUT);
}

Test(conn_tls, a_stop_and_an_end_in_the_handshake)
{
	open_conn();
	conn_stop(up.conn);
	settle();
	cr_assert_eq(up.stops, 0);
	cr_assert_eq(up.reason, CONN_CLOSED_SHUTDOWN);
	SSL_free(client);
	(void)close(fd);

	open_conn();
	(void)SSL_do_handshake(client);
	cr_assert_eq(shutdown(fd, SHUT_WR), 0);
	settle();
	cr_assert_eq(up.closes, 2);
	cr_assert_eq(up.eofs, 0);
	cr_assert_eq(up.reason, CONN_CLOSED_VANISHED);
}

Test(conn_tls, plain_http_is_told_so)
{
	static const char request[] = "GET /ws HTTP/1.1\r\nHost: a\r\n\r\n";
	char answer[512];
	ssize_t n;

	open_conn();
	cr_assert_eq(write(fd, request, sizeof(request) - 1), (ssize_t)sizeof(request) - 1);
	settle();
	n = recv(fd, answer, sizeof(answer) - 1, 0);
	cr_assert_gt(n, 0);
	answer[n] = '\0';
	cr_assert_eq(strncmp(answer, "HTTP/1.1 400 ", 13), 0, "%s", answer);
	cr_assert_not_null(strstr(answer, "Content-Length: 24\r\n"));
	cr_assert_str_eq(strstr(answer, "\r\n\r\n"), "\r\n\r\nthis address speaks TLS\n");
	cr_assert_eq(recv(fd, answer, sizeof(answer), 0), 0);
	cr_assert_eq(up.closes, 0, "it lingers");
	(void)close(fd);
	settle();
	cr_assert_eq(up.reason, CONN_CLOSED_PROTOCOL);
}

Test(conn_tls, who_finds_no_terms_hears_why)
{
	cr_assert_eq(SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3), 0);
	open_conn();
	(void)SSL_do_handshake(client);
	settle();
	cr_assert_eq(SSL_do_handshake(client), -1);
	cr_assert_eq(
	    ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
	(void)close(fd);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.len, 0);
	cr_assert_eq(up.reason, CONN_CLOSED_PROTOCOL);
}

/* --- writing ------------------------------------------------------------------------------ */

Test(conn_tls, much_waits_plain_and_leaves_in_full_records)
{
	struct block *b = new_block(LONG, 0);
	size_t off, part = 500;

	open_conn();
	connect_client();
	for (off = 0; off < LONG; off += part) {
		if (off % 1000 == 0)
			conn_write_block(up.conn, b, off, part, keep);
		else
			conn_write(up.conn, b->data + off, part);
	}
	cr_assert_not(conn_is_idle(up.conn));
	take_all(LONG);
	cr_assert_eq(memcmp(got, b->data, LONG), 0);
	cr_assert(conn_is_idle(up.conn));
	/* Some were sent one by one before the socket was full. */
	cr_assert_leq(records, LONG / TLS_RECORD_MAX + 60, "%zu", records);
	/* And the poller is quiet again. */
	cr_assert_eq(b->refs, 1);
	block_unref(b);
}

Test(conn_tls, one_write_longer_than_records_and_socket)
{
	struct block *b = new_block(LONG, 3);

	open_conn();
	connect_client();
	conn_write_block(up.conn, b, 0, LONG, keep);
	cr_assert(b->refs == 2, "it is shared and not copied");
	take_all(LONG);
	cr_assert_eq(memcmp(got, b->data, LONG), 0);
	block_unref(b);
}

Test(conn_tls, what_a_record_was_begun_with_stays)
{
	struct block *b = new_block(LONG, 5);
	size_t begun;

	open_conn();
	connect_client();
	conn_write_block(up.conn, b, 0, LONG, keep);
	settle();
	begun = tls_pending(up.conn->tls);
	cr_assert_gt(begun, 0);
	/* It is one write that may not be cut; all that was added is dropped. */
	conn_write(up.conn, "xyz", 3);
	conn_discard(up.conn);
	conn_write(up.conn, "end", 3);
	take_all(LONG + 3);
	cr_assert_eq(memcmp(got, b->data, LONG), 0);
	cr_assert_eq(memcmp(got + LONG, "end", 3), 0);
	block_unref(b);
}

/* The same where the record was begun from a queue of many. */
Test(conn_tls, a_record_of_many_messages_stays)
{
	struct block *b = new_block(1000, 8);
	size_t i;

	open_conn();
	connect_client();
	for (i = 0; i < 500; i++)
		conn_write_block(up.conn, b, 0, 1000, oldest);
	(void)take();
	settle();
	cr_assert_eq(tls_pending(up.conn->tls), TLS_RECORD_MAX);
	conn_discard(up.conn);
	cr_assert_not(conn_is_idle(up.conn));
	conn_write(up.conn, "end", 3);
	for (i = 0; i < 1000 || !conn_is_idle(up.conn); i++) {
		(void)take();
		pass();
	}
	cr_assert_eq(ngot % 1000, 3, "%zu", ngot);
	cr_assert_lt(ngot, 400000);
	for (i = 0; i + 3 < ngot; i += 1000)
		cr_assert_eq(memcmp(got + i, b->data, 1000), 0);
	cr_assert_eq(memcmp(got + i, "end", 3), 0);
	block_unref(b);
}

/* Messages of 1,000 bytes; those that are left out are whole. */
Test(conn_tls, messages_are_left_out_whole)
{
	struct block *b = new_block(1000, 9);
	size_t i, n = 2 * QUEUE_MAX / 1000, seen = 0;

	open_conn();
	connect_client();
	for (i = 0; i < n; i++) {
		conn_write_block(up.conn, b, 0, 1000, oldest);
		if (i % 64 == 0)
			pass();
	}
	cr_assert_gt(up.sheds, 0);
	cr_assert(conn_is_open(up.conn));
	while (!conn_is_idle(up.conn)) {
		(void)take();
		pass();
		for (i = 0; i + 1000 <= ngot; i += 1000, seen++)
			cr_assert_eq(memcmp(got + i, b->data, 1000), 0, "message %zu", seen);
		memmove(got, got + i, ngot - i);
		ngot -= i;
	}
	(void)take();
	seen += ngot / 1000;
	cr_assert_eq(ngot % 1000, 0);
	cr_assert_eq(seen + (size_t)up.sheds, n);
	block_unref(b);
}

Test(conn_tls, a_burst_keeps_the_order)
{
	struct block *b = new_block(1000, 1);

	net_use_burst(&net, true);
	open_conn();
	connect_client();
	burst_begin(net.burst);
	conn_write_block(up.conn, b, 0, 600, keep);
	conn_write(up.conn, b->data + 600, 100);
	conn_write_block(up.conn, b, 700, 300, keep);
	burst_end(net.burst);
	take_all(1000);
	cr_assert_eq(memcmp(got, b->data, 1000), 0);
	block_unref(b);
}

/* --- reading ------------------------------------------------------------------------------ */

Test(conn_tls, a_pause_loses_nothing)
{
	struct block *b = new_block(40000, 2);
	size_t out = 0;
	int i;

	open_conn();
	connect_client();
	conn_pause(up.conn);
	for (i = 0; i < 300 && out < 40000; i++) {
		int n = SSL_write(client, b->data + out, (int)(40000 - out));

		out += n > 0 ? (size_t)n : 0;
		settle();
		if (i == 10) {
			cr_assert_eq(up.len, 0);
			conn_resume(up.conn);
		} else if (i == 11) {
			conn_pause(up.conn);
		} else if (i == 20) {
			conn_resume(up.conn);
		}
	}
	settle();
	cr_assert_eq(out, 40000);
	cr_assert_eq(up.len, 40000);
	cr_assert_eq(memcmp(up.data, b->data, 40000), 0);
	block_unref(b);
}

/*
 * The answer to a key update cannot leave while the socket is full.  (OpenSSL does not survive a
 * second one then; the connection ends in order.)
 */
Test(conn_tls, a_key_update_while_writing_is_blocked)
{
	struct block *b = new_block(LONG, 4);
	int i;

	open_conn();
	connect_client();
	conn_write_block(up.conn, b, 0, LONG, keep);
	settle();
	cr_assert_eq(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
	send_text("ab");
	settle();
	take_all(LONG);
	cr_assert_eq(memcmp(got, b->data, LONG), 0);
	for (i = 0; i < 3; i++) {
		cr_assert_eq(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
		send_text("cd");
		settle();
		conn_write(up.conn, "more", 4);
		take_all(LONG + 4 * (size_t)(i + 1));
	}
	cr_assert_eq(up.len, 8);
	block_unref(b);
}

/* --- ends --------------------------------------------------------------------------------- */

Test(conn_tls, finishing_sends_all_and_says_goodbye)
{
	struct block *b = new_block(LONG, 6);
	int i, error = 0;

	open_conn();
	connect_client();
	conn_write_block(up.conn, b, 0, LONG, keep);
	conn_finish(up.conn, CONN_CLOSED_DONE);
	for (i = 0; i < 100000 && error != SSL_ERROR_ZERO_RETURN; i++) {
		error = take();
		pass();
	}
	cr_assert_eq(error, SSL_ERROR_ZERO_RETURN);
	cr_assert_eq(ngot, LONG);
	cr_assert_eq(memcmp(got, b->data, LONG), 0);
	/* What still comes is thrown away, until the client closes too. */
	send_text("too late");
	settle();
	cr_assert_eq(up.len + (size_t)up.closes, 0);
	cr_assert_eq(SSL_shutdown(client), 1);
	(void)shutdown(fd, SHUT_WR);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_DONE);
	block_unref(b);
}

/* Reading waits for the socket to take the answers to many key updates, when the end comes. */
Test(conn_tls, finishing_does_not_go_on_with_what_reading_waited_for)
{
	uint8_t raw[4096];
	int i;

	open_conn();
	connect_client();
	for (i = 0; i < 10000 && !up.conn->read_waits; i++) {
		cr_assert_eq(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
		(void)SSL_do_handshake(client);
		pass();
	}
	cr_assert(up.conn->read_waits);
	conn_finish(up.conn, CONN_CLOSED_DONE);
	for (i = 0; i < 100; i++) {
		(void)recv(fd, raw, sizeof(raw), MSG_DONTWAIT);
		pass();
	}
	cr_assert_eq(
	    up.conn->watch, POLLER_IN, "nothing is to be written, so it must not be woken");
}

Test(conn_tls, the_clients_end_and_then_ours)
{
	open_conn();
	connect_client();
	cr_assert_eq(SSL_shutdown(client), 0);
	settle();
	cr_assert_eq(up.eofs, 1);
	conn_write(up.conn, "still", 5);
	take_all(5);
	conn_close(up.conn, CONN_CLOSED_POLICY);
	cr_assert_eq(take(), SSL_ERROR_ZERO_RETURN, "closing says goodbye too");
	settle();
	cr_assert_eq(up.reason, CONN_CLOSED_POLICY);
}

Test(conn_tls, bytes_that_were_tampered_with_end_it)
{
	static const uint8_t bad[45] = { 0x17, 3, 3, 0, 40 };

	open_conn();
	connect_client();
	cr_assert_eq(write(fd, bad, sizeof(bad)), (ssize_t)sizeof(bad));
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.eofs, 0);
	cr_assert_eq(up.reason, CONN_CLOSED_PROTOCOL);
}
