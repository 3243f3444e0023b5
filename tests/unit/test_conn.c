/*
 * Unit tests of conn: the output queue, slow clients, closing and finishing, over socket pairs.
 * Deadlines are run at times of the test's choice, each later than the one before.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "tests/unit/conn_fixture.h"
#include "worker/net/conn.h"
#include "worker/net/poller.h"

TestSuite(conn, .timeout = 60, .init = conn_setup, .fini = conn_teardown);

static const struct outq_tag KEEP = { 0, OUTQ_KEEP };

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
		conn_write_block(up.conn, b, 1, 5, KEEP);
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

	conn_write_block(up.conn, b, 0, 5, KEEP);
	conn_write_block(up.conn, b, 5, 4, KEEP);
	conn_write_block(up.conn, b, 0, 4, KEEP);
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

	conn_write_block(up.conn, b, 0, 5, KEEP);
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
	conn_write_block(up.conn, b, 0, 7, KEEP);
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
	conn_write_block(up.conn, b, 0, 6, KEEP);
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

/* --- the client's address ------------------------------------------------------------------ */

/* Opens up.conn over TCP; returns the peer's end, whose address is *mine. */
static int
open_tcp(struct sockaddr_in *mine)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);

	cr_assert_eq(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&a, &n), 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)mine, &n), 0);
	up.conn = conn_new(&net, accept(listener, NULL, NULL), &full, &up);
	cr_assert_not_null(up.conn);
	close(listener);
	return fd;
}

Test(conn, a_peer_that_acknowledges_nothing_has_a_limit)
{
	struct sockaddr_in mine;
	unsigned ms = 0;
	socklen_t n = sizeof(ms);
	int fd = open_tcp(&mine);

	conn_unacked(up.conn, 33000);
	cr_assert_eq(getsockopt(up.conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &n), 0);
	cr_assert_eq(ms, 33000);
	conn_unacked(up.conn, UINT64_MAX);
	cr_assert_eq(getsockopt(up.conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &n), 0);
	cr_assert_eq(ms, INT_MAX);
	conn_close(up.conn, CONN_CLOSED_DONE);
	conn_unacked(up.conn, 1);
	close(fd);
}

Test(conn, the_client_is_the_peer)
{
	struct sockaddr_in mine;
	struct sockaddr_storage got;
	int fd = open_tcp(&mine);

	conn_client(up.conn, &got);
	cr_assert_eq(memcmp(&got, &mine, sizeof(mine)), 0);
	conn_close(up.conn, CONN_CLOSED_DONE);
	conn_client(up.conn, &got);
	cr_assert_eq(got.ss_family, AF_UNSPEC);
	close(fd);
}

Test(conn, the_client_is_whom_a_proxy_named)
{
	struct sockaddr_storage six = { .ss_family = AF_INET6 }, four = { .ss_family = AF_INET };
	struct sockaddr_storage got;
	int fd = open_conn(&full);

	conn_client(up.conn, &got);
	cr_assert_eq(got.ss_family, AF_UNIX);
	cr_assert_eq(
	    inet_pton(AF_INET6, "2001:db8::7", &((struct sockaddr_in6 *)&six)->sin6_addr), 1);
	((struct sockaddr_in6 *)&six)->sin6_port = htons(77);
	cr_assert_eq(conn_set_client(up.conn, &six), 0);
	conn_client(up.conn, &got);
	cr_assert_eq(memcmp(&got, &six, sizeof(got)), 0);
	cr_assert_eq(inet_pton(AF_INET, "192.0.2.1", &((struct sockaddr_in *)&four)->sin_addr), 1);
	cr_assert_eq(conn_set_client(up.conn, &four), 0);
	conn_client(up.conn, &got);
	cr_assert_eq(memcmp(&got, &four, sizeof(got)), 0);
	close(fd);
}
