/*
 * Unit tests of conn_queue: what may be left out of a queue that is too long, standing still, and the
 * bound of all queues, over socket pairs.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/conn_fixture.h"
#include "worker/net/conn_queue.h"

TestSuite(conn_queue, .timeout = 60, .init = conn_setup, .fini = conn_teardown);

static const struct outq_tag KEEP = { 0, OUTQ_KEEP };
static const struct outq_tag OLDEST = { 1, OUTQ_OLDEST };
static const struct outq_tag LATEST = { 2, OUTQ_LATEST };

static size_t
waiting(const struct conn *c)
{
	return c->queue == NULL ? 0 : outq_weight(&c->queue->q);
}

/* Messages "<N...>" with numbers from..to, each of `size` bytes, in one write. */
static void
write_messages(struct conn *c, int from, int to, size_t size, struct outq_tag tag)
{
	struct block *b = block_new((size_t)(to - from + 1) * size);
	int i;

	cr_assert_not_null(b);
	for (i = from; i <= to; i++) {
		uint8_t *p = b->data + b->len;

		memset(p, '.', size);
		p[snprintf((char *)p, size, "<%d", i)] = '.';
		p[size - 1] = '>';
		b->len += size;
	}
	conn_write_block(c, b, 0, b->len, tag);
	block_unref(b);
}

/* Reads what comes until the queue is empty; the numbers of its messages, none of them torn. */
static int
read_numbers(int fd, struct conn *c, int *numbers, int max)
{
	static char in[4 * FLOOD];
	size_t n = 0, at = 0;
	int idle = 0, count = 0;

	while (idle < 5) {
		ssize_t got = recv(fd, in + n, sizeof(in) - n, MSG_DONTWAIT);

		n += got > 0 ? (size_t)got : 0;
		idle = got > 0 || !conn_is_idle(c) ? 0 : idle + 1;
		pass();
	}
	while (at < n) {
		size_t len = unit((const uint8_t *)in + at, n - at);

		cr_assert_eq(in[at], '<', "torn");
		cr_assert_eq(in[at + len - 1], '>', "torn");
		cr_assert_lt(count, max);
		numbers[count++] = atoi(in + at + 1);
		at += len;
	}
	return count;
}

Test(conn_queue, the_oldest_are_left_out_of_too_long_a_queue)
{
	int fd = open_conn(&full), numbers[5000], n, i, holes = 0;

	for (i = 0; i < 500; i++)
		write_messages(up.conn, i * 10, i * 10 + 9, 1000, OLDEST);
	cr_assert_eq(up.slows, 0);
	cr_assert_leq(waiting(up.conn), QUEUE_MAX);
	cr_assert_geq(waiting(up.conn), QUEUE_MAX / 2);
	cr_assert_eq(up.drained, 0);
	n = read_numbers(fd, up.conn, numbers, 5000);
	cr_assert_eq(numbers[0], 0);
	cr_assert_eq(numbers[n - 1], 4999);
	for (i = 1; i < n; i++) {
		cr_assert_gt(numbers[i], numbers[i - 1]);
		holes += numbers[i] != numbers[i - 1] + 1;
	}
	cr_assert_eq(holes, 1);
	cr_assert_eq(up.shed[1], (uint64_t)(5000 - n));
	cr_assert_eq(net.shed_messages, up.shed[1]);
	cr_assert_eq(up.drained, 1);
	cr_assert_eq(net.queued, 0);
	close(fd);
}

/* One write that is longer than a queue may be. */
Test(conn_queue, the_newest_of_a_long_write_wait)
{
	int fd = open_conn(&full), numbers[2000], n;

	write_messages(up.conn, 0, 1999, 1000, OLDEST);
	cr_assert_leq(waiting(up.conn), QUEUE_MAX);
	n = read_numbers(fd, up.conn, numbers, 2000);
	cr_assert_eq(numbers[n - 1], 1999);
	cr_assert_eq(up.shed[1], (uint64_t)(2000 - n));
	close(fd);
}

Test(conn_queue, the_latest_alone_waits)
{
	int fd = open_conn(&full), i;
	size_t queued;

	fill(up.conn);
	queued = waiting(up.conn);
	for (i = 0; i < 200; i++)
		write_messages(up.conn, i * 10, i * 10 + 9, 1000, LATEST);
	cr_assert_eq(up.shed[2], 1999);
	cr_assert_eq(waiting(up.conn), queued + 1000 + OUTQ_ENTRY_WEIGHT);
	cr_assert_eq(up.slows, 0);
	close(fd);
}

/* A part of the first write leaves at once; of the rest the last message is kept. */
Test(conn_queue, the_latest_of_a_write_that_has_begun)
{
	int fd = open_conn(&full), numbers[2000], n, i;

	write_messages(up.conn, 0, 1999, 1000, LATEST);
	write_messages(up.conn, 2000, 2000, 1000, LATEST);
	n = read_numbers(fd, up.conn, numbers, 2000);
	for (i = 0; i < n - 1; i++)
		cr_assert_eq(numbers[i], i);
	cr_assert_eq(numbers[n - 1], 2000);
	cr_assert_eq(up.shed[2], (uint64_t)(2001 - n));
	cr_assert_eq(up.drained, 1);
	close(fd);
}

Test(conn_queue, what_has_no_tag_stays_among_what_has)
{
	int fd = open_conn(&full), numbers[4000], n, i, kept = 0, latest = 0;

	for (i = 0; i < 1000; i++) {
		write_messages(up.conn, i, i, 1000, OLDEST);
		write_messages(up.conn, 10000 + i, 10000 + i, 1000, LATEST);
		if (i % 50 == 0)
			conn_write(up.conn, "<20000>", 7);
	}
	cr_assert_eq(up.slows, 0);
	n = read_numbers(fd, up.conn, numbers, 4000);
	for (i = 0; i < n; i++) {
		kept += numbers[i] == 20000;
		if (numbers[i] >= 10000 && numbers[i] < 20000)
			latest = numbers[i];
	}
	cr_assert_eq(kept, 20);
	cr_assert_eq(latest, 10999);
	cr_assert_eq(numbers[n - 2] + numbers[n - 1], 999 + 10999);
	cr_assert_eq(up.shed[1] + up.shed[2] + (uint64_t)n, 2020);
	close(fd);
}

Test(conn_queue, what_may_not_be_left_out_is_slow_after_all)
{
	int fd = open_conn(&full), i;

	fill(up.conn);
	for (i = 0; i < 50 && up.slows == 0; i++) {
		write_messages(up.conn, i, i, 5000, OLDEST);
		write_messages(up.conn, i, i, 5000, KEEP);
	}
	cr_assert_eq(up.slows, 1);
	cr_assert_eq(up.shed[1], (uint64_t)i, "first what may be left out");
	close(fd);
}

Test(conn_queue, without_on_shed_a_tag_means_nothing)
{
	static struct conn_handler untold;
	int fd, i;

	untold = full;
	untold.on_shed = NULL;
	fd = open_conn(&untold);
	fill(up.conn);
	for (i = 0; i < 30; i++)
		write_messages(up.conn, i, i, 5000, i % 2 == 0 ? OLDEST : LATEST);
	cr_assert_gt(up.slows, 0);
	close(fd);
}

/* Messages that are longer than a queue may be. */
Test(conn_queue, one_message_may_wait_however_long)
{
	static const struct outq_tag tag[] = { { 1, OUTQ_OLDEST }, { 2, OUTQ_LATEST } };
	int i, k;

	for (i = 0; i < 2; i++) {
		int fd = open_conn(&full), numbers[10], n;

		for (k = 1; k <= 5; k++)
			write_messages(up.conn, k, k, FLOOD / 2, tag[i]);
		cr_assert_eq(up.slows, 0);
		n = read_numbers(fd, up.conn, numbers, 10);
		cr_assert(n == 2 && numbers[0] == 1 && numbers[1] == 5);
		cr_assert_eq(up.shed[i + 1], 3);
		close(fd);
	}
}

/* The client takes a little of it, again and again, and never all. */
Test(conn_queue, who_never_catches_up_is_told_now_and_then)
{
	int fd = open_conn(&full), i;
	size_t taken = 0;

	for (i = 0; i < 200; i++)
		write_messages(up.conn, i, i, 1000, OLDEST);
	cr_assert_gt(up.shed[1], 0);
	for (i = 0; i < 400; i++) {
		skip(fd, 1000);
		taken += 1000;
		pass();
		write_messages(up.conn, i, i, 1000, OLDEST);
		write_messages(up.conn, i, i, 1000, OLDEST);
		cr_assert_not(conn_is_idle(up.conn));
	}
	cr_assert_geq(up.drained, 2);
	cr_assert_leq((size_t)up.drained, taken / QUEUE_MAX + 1);
	close(fd);
}

/* --- standing still ------------------------------------------------------------------------ */

/* Fills the socket with messages that may be left out, until some wait. */
static void
fill_messages(struct conn *c, struct outq_tag tag)
{
	int i;

	for (i = 0; conn_is_idle(c); i++) {
		cr_assert_lt(i, 1000);
		write_messages(c, i, i, 10000, tag);
	}
}

Test(conn_queue, who_waits_only_for_what_may_be_left_out_may_stand_still)
{
	int fd = open_conn(&full), i;

	fill_messages(up.conn, OLDEST);
	write_messages(up.conn, 1, 1, 100, LATEST);
	for (i = 1; i < 10; i++)
		deadlines_run(net.deadlines, clock_ms() + (uint64_t)i * 11000);
	cr_assert_eq(up.slows, 0);
	conn_write(up.conn, "<1>", 3);
	deadlines_run(net.deadlines, clock_ms() + 200000);
	cr_assert_eq(up.slows, 1);
	close(fd);
}

Test(conn_queue, a_finishing_queue_may_not_stand_still)
{
	int fd = open_conn(&full);

	fill_messages(up.conn, OLDEST);
	conn_finish(up.conn, CONN_CLOSED_DONE);
	deadlines_run(net.deadlines, clock_ms() + 4000);
	pass();
	cr_assert_eq(up.closes, 0);
	deadlines_run(net.deadlines, clock_ms() + 11000);
	pass();
	cr_assert_eq(up.closes, 1);
	close(fd);
}

/* --- all queues together ------------------------------------------------------------------- */

#define MANY 8

/* Connections with an upper layer each, whose queues hold what was asked for, about. */
static struct upper many[MANY];

static void
many_on_slow(struct conn *c)
{
	((struct upper *)c->up)->slows++;
	conn_discard(c);
	conn_finish(c, CONN_CLOSED_SLOW);
}

static void
many_on_close(struct conn *c, enum conn_reason reason)
{
	struct upper *u = c->up;

	u->closes++;
	u->reason = reason;
	u->conn = NULL;
}

static int
open_many(struct upper *u, size_t queued, struct outq_tag tag)
{
	static struct conn_handler handler;
	int fd, i;

	handler = full;
	handler.on_slow = many_on_slow;
	handler.on_close = many_on_close;
	fd = open_conn(&handler);
	u->conn = up.conn;
	u->conn->up = u;
	for (i = 0; waiting(u->conn) < queued; i++) {
		cr_assert_lt(i, 10000);
		write_messages(u->conn, i, i, 1000, tag);
	}
	return fd;
}

Test(conn_queue, the_longest_queues_are_shed_first)
{
	int fd[MANY], i;

	log_init("test", LOG_LEVEL_ERROR);
	for (i = 0; i < MANY; i++)
		fd[i] = open_many(&many[i], (size_t)(i + 1) * 10000, OLDEST);
	pass();
	cr_assert_eq(net.shed_messages, 0, "no bound is set");
	net.queues_max = net.queued - 1;
	pass();
	cr_assert_leq(net.queued, net.queues_max - net.queues_max / 8);
	for (i = 0; i < MANY; i++)
		cr_assert_eq(many[i].slows, 0);
	cr_assert_eq(many[0].shed[1], 0);
	cr_assert_eq(many[3].shed[1], 0);
	cr_assert_gt(many[MANY - 1].shed[1], 0);
	cr_assert_geq(net.shed_clients, 1);
	cr_assert_leq(net.shed_clients, 3);
	for (i = 0; i < MANY; i++)
		close(fd[i]);
}

Test(conn_queue, who_cannot_be_shed_is_kicked)
{
	int fd[MANY], i;

	log_init("test", LOG_LEVEL_ERROR);
	for (i = 0; i < MANY; i++)
		fd[i] = open_many(&many[i], 50000, i % 2 == 0 ? KEEP : OLDEST);
	net.queues_max = 200000;
	pass();
	cr_assert_leq(net.queued, 175000);
	for (i = 0; i < MANY; i++) {
		if (i % 2 == 0)
			cr_assert(many[i].slows == 1 || many[i].shed[1] == 0);
		else
			cr_assert_eq(many[i].slows, 0);
	}
	cr_assert_eq(many[0].slows, 1);
	cr_assert_gt(many[1].shed[1], 0);
	for (i = 0; i < MANY; i++)
		close(fd[i]);
}

/* A bound so small that nothing may wait. */
Test(conn_queue, the_bound_holds_whatever_it_takes)
{
	int fd[MANY], i;

	log_init("test", LOG_LEVEL_ERROR);
	for (i = 0; i < MANY; i++)
		fd[i] = open_many(&many[i], i % 3 == 0 ? 1000 : (size_t)i * 5000,
		    i % 3 == 0       ? LATEST
			: i % 3 == 1 ? OLDEST
				     : KEEP);
	net.queues_max = 1;
	pass();
	cr_assert_eq(net.queued, 0);
	cr_assert(TAILQ_EMPTY(&net.queues));
	for (i = 0; i < MANY; i++)
		cr_assert_eq(many[i].slows, 1);
	for (i = 0; i < MANY; i++)
		close(fd[i]);
}
