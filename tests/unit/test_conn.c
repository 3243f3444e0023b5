/*
 * Unit tests of conn: the output queue, slow clients, closing and finishing, over socket pairs.
 * Deadlines are run at times of the test's choice, each later than the one before.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "worker/net/conn.h"
#include "worker/net/poller.h"

#define QUEUE_MAX 100000
#define FLOOD 2000000 /* more than any socket pair here takes */
#define FAR 1000000   /* ms beyond every deadline */

static struct event_base *base;
static struct net net;
static int freed;

/* What the handler saw, and what it shall do. */
static struct upper {
	struct conn *conn;
	char data[256];
	size_t len;
	int eofs, deadlines, slows, stops, closes;
	enum conn_reason reason;
	void (*on_data)(struct conn *c);
	void (*on_slow)(struct conn *c);
} up;

static void
on_data(struct conn *c, uint8_t *p, size_t n)
{
	cr_assert_eq(up.closes, 0);
	cr_assert(conn_is_open(c));
	cr_assert_leq(up.len + n, sizeof(up.data));
	memcpy(up.data + up.len, p, n);
	up.len += n;
	if (up.on_data != NULL)
		up.on_data(c);
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
	cr_assert(conn_is_open(c));
	up.deadlines++;
}

static void
on_slow(struct conn *c)
{
	cr_assert(conn_is_open(c));
	up.slows++;
	if (up.on_slow != NULL)
		up.on_slow(c);
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
	cr_assert_eq(c->up, &up);
	up.closes++;
	up.reason = reason;
}

static const struct conn_handler full = { on_data, on_eof, on_deadline, on_slow, on_stop,
	on_close };
static const struct conn_handler plain = {
	.on_data = on_data, .on_deadline = on_deadline, .on_stop = on_stop, .on_close = on_close
};

static void
on_freed(void *arg)
{
	(void)arg;
	freed++;
}

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

static void
setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	cr_assert_eq(net_init(&net, base, QUEUE_MAX, 10000, 5000), 0);
	net.on_freed = on_freed;
}

static void
teardown(void)
{
	net.on_freed = NULL;
	net_fini(&net);
	event_base_free(base);
}

TestSuite(conn, .timeout = 60, .init = setup, .fini = teardown);

/* Returns the peer's end. */
static int
open_conn(const struct conn_handler *h)
{
	int fd[2], small = 4096;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	up.conn = conn_new(&net, fd[1], h, &up);
	cr_assert_not_null(up.conn);
	conn_start(up.conn);
	return fd[0];
}

/* Fills the socket until the queue holds something; returns how many bytes were written. */
static size_t
fill(struct conn *c)
{
	static const char dots[64000] = { '.' }; /* large ones are taken in part */
	size_t n = 0;

	while (conn_is_idle(c)) {
		conn_write(c, dots, sizeof(dots));
		n += sizeof(dots);
		cr_assert_lt(n, FLOOD);
	}
	return n;
}

/* Reads and drops exactly n bytes. */
static void
skip(int fd, size_t n)
{
	char trash[4096];

	while (n > 0) {
		ssize_t got = recv(fd, trash, n < sizeof(trash) ? n : sizeof(trash), MSG_DONTWAIT);

		if (got > 0)
			n -= (size_t)got;
		else
			pass();
	}
}

static void
expect(int fd, const char *text)
{
	char got[256] = { 0 };
	size_t n = 0, want = strlen(text);
	int tries = 0;

	while (n < want) {
		ssize_t r = recv(fd, got + n, want - n, MSG_DONTWAIT);

		if (r > 0)
			n += (size_t)r;
		cr_assert_neq(r, 0, "the stream ended");
		cr_assert_lt(tries++, 1000, "got %s", got);
		pass();
	}
	cr_assert_str_eq(got, text);
}

static void
expect_eof(int fd)
{
	char c;
	ssize_t n;
	int tries = 0;

	while ((n = recv(fd, &c, 1, MSG_DONTWAIT)) < 0) {
		cr_assert_lt(tries++, 1000);
		pass();
	}
	cr_assert_eq(n, 0);
}

static struct block *
block_of(const char *text)
{
	struct block *b = block_new(strlen(text));

	cr_assert_not_null(b);
	memcpy(b->data, text, strlen(text));
	b->len = strlen(text);
	return b;
}

Test(conn, reads_what_had_come_before_the_start)
{
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(write(fd[0], "early", 5), 5);
	up.conn = conn_new(&net, fd[1], &full, &up);
	cr_assert_not_null(up.conn);
	conn_start(up.conn);
	cr_assert(up.len == 5 && memcmp(up.data, "early", 5) == 0);
	cr_assert_eq(write(fd[0], "late", 4), 4);
	settle();
	cr_assert_eq(up.len, 9);
	close(fd[0]);
}

Test(conn, queued_bytes_keep_their_order)
{
	int fd = open_conn(&full);
	struct block *b = block_of("[block]");
	size_t n = fill(up.conn);
	int i;

	/* More entries than one sendmsg takes, copies and shared blocks in turn. */
	for (i = 0; i < 100; i++) {
		conn_write(up.conn, "(copy)", 6);
		conn_write_block(up.conn, b, 1, 5);
	}
	cr_assert_gt(b->refs, 1, "queued blocks are shared");
	skip(fd, n);
	for (i = 0; i < 100; i++)
		expect(fd, "(copy)block");
	cr_assert(conn_is_idle(up.conn));
	cr_assert_eq(b->refs, 1);
	cr_assert_eq(up.slows, 0);
	conn_write(up.conn, "again", 5);
	expect(fd, "again");
	block_unref(b);
	close(fd);
}

/* A block that its other holders gave up is still not written to beyond its part. */
Test(conn, a_copy_behind_a_part_of_a_block_does_not_change_it)
{
	int fd = open_conn(&full);
	struct block *b = block_of("head tail");
	size_t n = fill(up.conn);

	conn_write_block(up.conn, b, 0, 5);
	conn_write_block(up.conn, b, 5, 4);
	conn_write_block(up.conn, b, 0, 4);
	block_unref(b);
	conn_write(up.conn, "!", 1);
	skip(fd, n);
	expect(fd, "head tailhead!");
	close(fd);
}

Test(conn, only_a_full_socket_is_watched_for_writability)
{
	int fd = open_conn(&full);
	size_t n;

	conn_write(up.conn, "x", 1);
	cr_assert_eq(up.conn->watch & POLLER_OUT, 0);
	n = fill(up.conn);
	cr_assert_neq(up.conn->watch & POLLER_OUT, 0);
	skip(fd, n + 1);
	settle();
	cr_assert_eq(up.conn->watch & POLLER_OUT, 0);
	close(fd);
}

Test(conn, discard_keeps_what_has_begun)
{
	int fd = open_conn(&full);
	struct block *b = block_of("never");
	size_t n = fill(up.conn);

	conn_write_block(up.conn, b, 0, 5);
	conn_discard(up.conn);
	cr_assert_eq(b->refs, 1);
	conn_write(up.conn, "next", 4);
	skip(fd, n);
	expect(fd, "next");
	block_unref(b);
	close(fd);
}

Test(conn, discard_drops_all_where_nothing_has_begun)
{
	int fd = open_conn(&full);
	struct block *b = block_of("dropped");
	size_t n = fill(up.conn);

	/* Read to the middle of what is in the kernel: the queue's first entry has begun. */
	conn_discard(up.conn);
	skip(fd, n);
	settle();
	cr_assert(conn_is_idle(up.conn));
	/* A socket that is exactly full takes nothing of the next. */
	while (send(up.conn->fd, ".", 1, MSG_DONTWAIT) == 1)
		continue;
	conn_write_block(up.conn, b, 0, 7);
	cr_assert_not(conn_is_idle(up.conn));
	conn_discard(up.conn);
	cr_assert(conn_is_idle(up.conn));
	cr_assert_eq(up.conn->watch & POLLER_OUT, 0);
	cr_assert(conn_is_open(up.conn));
	block_unref(b);
	close(fd);
}

Test(conn, too_long_a_queue_is_slow_but_one_message_is_not)
{
	static char big[FLOOD];
	int fd = open_conn(&full);

	conn_write(up.conn, big, sizeof(big));
	cr_assert_eq(up.slows, 0);
	conn_write(up.conn, "x", 1);
	cr_assert_eq(up.slows, 1);
	cr_assert(conn_is_open(up.conn));
	close(fd);
}

Test(conn, without_on_slow_it_is_closed)
{
	static char big[FLOOD];
	int fd = open_conn(&plain);

	conn_write(up.conn, big, sizeof(big));
	conn_write(up.conn, "x", 1);
	cr_assert_eq(up.closes, 0, "never from inside");
	pass();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_SLOW);
	close(fd);
}

static void
write_from_slow(struct conn *c)
{
	if (up.slows < 3)
		conn_write(c, "more", 4);
	else
		conn_close(c, CONN_CLOSED_SLOW);
}

Test(conn, on_slow_can_write_and_close)
{
	static char big[FLOOD];
	int fd = open_conn(&full);

	up.on_slow = write_from_slow;
	conn_write(up.conn, big, sizeof(big));
	conn_write(up.conn, "x", 1);
	cr_assert_eq(up.slows, 3);
	cr_assert_not(conn_is_open(up.conn));
	pass();
	cr_assert_eq(up.closes, 1);
	close(fd);
}

Test(conn, a_queue_that_stands_still_is_slow)
{
	int fd = open_conn(&full);

	fill(up.conn);
	deadlines_run(net.deadlines, clock_ms() + 9000);
	cr_assert_eq(up.slows, 0);
	deadlines_run(net.deadlines, clock_ms() + 10500);
	cr_assert_eq(up.slows, 1);
	close(fd);
}

Test(conn, an_empty_queue_does_not_stall)
{
	int fd = open_conn(&full);
	size_t n = fill(up.conn);

	skip(fd, n);
	settle();
	cr_assert(conn_is_idle(up.conn));
	deadlines_run(net.deadlines, clock_ms() + FAR);
	cr_assert_eq(up.slows, 0);
	close(fd);
}

Test(conn, the_deadline_fires_once_and_can_be_cleared)
{
	int fd = open_conn(&full);

	conn_deadline(up.conn, 1000);
	deadlines_run(net.deadlines, clock_ms() + 900);
	cr_assert_eq(up.deadlines, 0);
	deadlines_run(net.deadlines, clock_ms() + 1200);
	deadlines_run(net.deadlines, clock_ms() + 5000);
	cr_assert_eq(up.deadlines, 1);
	conn_deadline(up.conn, 6000);
	conn_deadline(up.conn, 0);
	deadlines_run(net.deadlines, clock_ms() + FAR);
	cr_assert_eq(up.deadlines, 1);
	close(fd);
}

Test(conn, a_vanished_peer_is_noticed)
{
	int fd = open_conn(&plain);

	close(fd);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_VANISHED);
	cr_assert_eq(net.ended[CONN_CLOSED_VANISHED], 1);
	cr_assert_eq(net.count, 0);
	cr_assert_eq(freed, 1);
}

Test(conn, writing_to_a_vanished_peer_closes)
{
	int fd = open_conn(&full);

	close(fd);
	conn_write(up.conn, "x", 1);
	cr_assert_not(conn_is_open(up.conn));
	conn_write(up.conn, "y", 1);
	pass();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_VANISHED);
}

Test(conn, eof_is_told_once_and_output_still_goes)
{
	int fd = open_conn(&full);

	cr_assert_eq(shutdown(fd, SHUT_WR), 0);
	settle();
	cr_assert_eq(up.eofs, 1);
	cr_assert(conn_is_open(up.conn));
	conn_write(up.conn, "answer", 6);
	conn_finish(up.conn, CONN_CLOSED_DONE);
	expect(fd, "answer");
	expect_eof(fd);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_DONE);
	close(fd);
}

Test(conn, finish_writes_out_the_queue_after_the_peers_eof)
{
	int fd = open_conn(&full);
	size_t n = fill(up.conn);

	conn_write(up.conn, "last", 4);
	conn_finish(up.conn, CONN_CLOSED_DONE);
	cr_assert_eq(shutdown(fd, SHUT_WR), 0);
	settle();
	cr_assert_eq(up.closes, 0, "the queue is not out");
	skip(fd, n);
	expect(fd, "last");
	expect_eof(fd);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_DONE);
	close(fd);
}

Test(conn, finish_throws_away_input_until_the_peer_closes)
{
	int fd = open_conn(&full);

	conn_write(up.conn, "bye", 3);
	conn_finish(up.conn, CONN_CLOSED_PROTOCOL);
	conn_write(up.conn, "never", 5);
	cr_assert_eq(write(fd, "ignored", 7), 7);
	settle();
	cr_assert_eq(up.len, 0);
	expect(fd, "bye");
	expect_eof(fd);
	cr_assert_eq(up.closes, 0);
	close(fd);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_PROTOCOL);
	cr_assert_eq(up.eofs, 0);
}

Test(conn, finish_lingers_no_longer_than_set)
{
	int fd = open_conn(&full);

	conn_finish(up.conn, CONN_CLOSED_PROTOCOL);
	/* The upper layer can no longer stretch or end that. */
	conn_deadline(up.conn, 0);
	conn_deadline(up.conn, 500000);
	deadlines_run(net.deadlines, clock_ms() + 4000);
	pass();
	cr_assert_eq(up.closes, 0);
	deadlines_run(net.deadlines, clock_ms() + 5500);
	pass();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_PROTOCOL);
	cr_assert_eq(up.deadlines, 0);
	close(fd);
}

Test(conn, finish_of_a_paused_connection_hears_the_peers_end)
{
	int fd = open_conn(&full);

	conn_pause(up.conn);
	conn_finish(up.conn, CONN_CLOSED_DONE);
	expect_eof(fd);
	cr_assert_eq(up.closes, 0);
	close(fd);
	settle();
	cr_assert_eq(up.closes, 1);
}

Test(conn, a_paused_connection_reads_nothing)
{
	int fd = open_conn(&full);
	size_t n;

	conn_pause(up.conn);
	cr_assert_eq(write(fd, "held", 4), 4);
	settle();
	cr_assert_eq(up.len, 0);
	/* Output goes on meanwhile. */
	n = fill(up.conn);
	skip(fd, n);
	settle();
	cr_assert(conn_is_idle(up.conn));
	cr_assert_eq(up.len, 0);
	conn_resume(up.conn);
	settle();
	cr_assert_eq(up.len, 4);
	close(fd);
}

static void
close_it(struct conn *c)
{
	conn_close(c, CONN_CLOSED_POLICY);
	conn_close(c, CONN_CLOSED_DONE);
	conn_finish(c, CONN_CLOSED_DONE);
	conn_write(c, "x", 1);
	conn_pause(c);
	conn_resume(c);
	conn_discard(c);
	conn_deadline(c, 1);
	conn_stop(c);
}

Test(conn, closing_inside_a_callback_is_final)
{
	int fd = open_conn(&full);

	up.on_data = close_it;
	cr_assert_eq(write(fd, "a", 1), 1);
	settle();
	cr_assert_eq(up.closes, 1);
	cr_assert_eq(up.reason, CONN_CLOSED_POLICY);
	cr_assert_eq(up.stops, 0);
	deadlines_run(net.deadlines, clock_ms() + FAR);
	cr_assert_eq(up.deadlines, 0);
	expect_eof(fd);
	close(fd);
}

Test(conn, closing_with_a_queue_frees_it)
{
	int fd = open_conn(&full);
	struct block *b = block_of("queued");

	fill(up.conn);
	conn_write_block(up.conn, b, 0, 6);
	conn_close(up.conn, CONN_CLOSED_INTERNAL);
	cr_assert_eq(b->refs, 1);
	deadlines_run(net.deadlines, clock_ms() + FAR);
	cr_assert_eq(up.slows, 0);
	block_unref(b);
	close(fd);
}

Test(conn, stop_asks_open_ones_only)
{
	int fd = open_conn(&full);

	conn_stop(up.conn);
	cr_assert_eq(up.stops, 1);
	conn_finish(up.conn, CONN_CLOSED_SHUTDOWN);
	conn_stop(up.conn);
	cr_assert_eq(up.stops, 1);
	close(fd);
}

Test(conn, every_reason_has_a_text)
{
	int i;

	for (i = 0; i < CONN_REASONS; i++)
		cr_assert_gt(strlen(conn_reason_text((enum conn_reason)i)), 0);
}
