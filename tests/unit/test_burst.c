/*
 * Unit tests of burst: sends by io_uring over socket pairs, whole, partial, refused and failed, and
 * what conn makes of them.  Where this kernel or build has no io_uring only the fallback is tested.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "common/log.h"
#include "worker/net/burst.h"
#include "worker/net/conn.h"

#define MANY (2 * BURST_RING + 3) /* the ring is filled more than once */
#define LARGE ((size_t)2000000)   /* more than any socket pair here takes */
#define QUEUE_MAX (3 * LARGE)

static const struct outq_tag TAG = { 7, OUTQ_OLDEST };
static const struct outq_tag KEEP = { 0, OUTQ_KEEP };

/* --- burst alone -------------------------------------------------------------------------- */

static struct told {
	int n;
	void *object[MANY];
	int res[MANY];
} told;

static void
on_done(void *object, struct block *b, size_t off, size_t n, struct outq_tag tag, int res)
{
	cr_assert_not_null(b);
	cr_assert_leq(off + n, b->len);
	cr_assert_lt(told.n, MANY);
	cr_assert(tag.key == TAG.key && tag.shed == TAG.shed);
	told.object[told.n] = object;
	told.res[told.n] = res;
	told.n++;
}

static struct block *
new_block(size_t n)
{
	struct block *b = block_new(n);
	size_t i;

	cr_assert_not_null(b);
	for (i = 0; i < n; i++)
		b->data[i] = (uint8_t)(i * 7 + i / 256);
	b->len = n;
	return b;
}

static void
pair(int fd[2])
{
	int small = 4096;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
}

/* Reads what waits at fd and compares it with b from off on; returns how much it was. */
static size_t
take(int fd, const struct block *b, size_t off)
{
	static uint8_t in[65536];
	size_t got = 0;
	ssize_t n;

	while ((n = recv(fd, in, sizeof(in), MSG_DONTWAIT)) > 0) {
		cr_assert_leq(off + got + (size_t)n, b->len);
		cr_assert_eq(memcmp(in, b->data + off + got, (size_t)n), 0, "after %zu", got);
		got += (size_t)n;
	}
	return got;
}

/* Puts another file in the place of the process's one ring. */
static void
cut_ring(void)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;
	int null = open("/dev/null", O_RDWR), ring = -1;

	cr_assert_not_null(d);
	cr_assert_geq(null, 0);
	while ((e = readdir(d)) != NULL) {
		char to[64] = "";

		if (readlinkat(dirfd(d), e->d_name, to, sizeof(to) - 1) > 0 &&
		    strstr(to, "io_uring") != NULL)
			ring = (int)strtol(e->d_name, NULL, 10);
	}
	(void)closedir(d);
	cr_assert_geq(ring, 0);
	cr_assert_eq(dup2(null, ring), ring);
	(void)close(null);
}

static struct burst *
open_burst(void)
{
	struct burst *u = burst_new(on_done);

	memset(&told, 0, sizeof(told));
	if (u == NULL)
		cr_skip_test("no io_uring: %s", strerror(errno));
	burst_begin(u);
	cr_assert(burst_is_open(u));
	return u;
}

TestSuite(burst, .timeout = 60);

Test(burst, none_is_never_open)
{
	burst_begin(NULL);
	cr_assert_not(burst_is_open(NULL));
	burst_end(NULL);
	burst_free(NULL);
}

Test(burst, sends_at_the_end_and_in_order)
{
	struct burst *u = open_burst();
	struct block *b = new_block(1000);
	int fd[2][2], i;

	for (i = 0; i < 2; i++) {
		pair(fd[i]);
		burst_send(u, fd[i][0], &fd[i], b, (size_t)i * 10, 500, TAG);
	}
	cr_assert_eq(b->refs, 3);
	cr_assert_eq(told.n, 0);
	cr_assert_eq(take(fd[0][1], b, 0), 0);
	burst_end(u);
	cr_assert_not(burst_is_open(u));
	cr_assert_eq(b->refs, 1);
	cr_assert_eq(told.n, 2);
	for (i = 0; i < 2; i++) {
		cr_assert_eq(told.object[i], &fd[i]);
		cr_assert_eq(told.res[i], 500);
		cr_assert_eq(take(fd[i][1], b, (size_t)i * 10), 500);
	}
	burst_free(u);
	block_unref(b);
}

Test(burst, flush_leaves_it_open)
{
	struct burst *u = open_burst();
	struct block *b = new_block(10);
	int fd[2];

	pair(fd);
	burst_flush(u);
	cr_assert_eq(told.n, 0);
	burst_send(u, fd[0], NULL, b, 0, 10, TAG);
	burst_flush(u);
	cr_assert_eq(told.n, 1);
	cr_assert(burst_is_open(u));
	burst_send(u, fd[0], NULL, b, 0, 10, TAG);
	burst_end(u);
	cr_assert_eq(told.n, 2);
	burst_end(u);
	cr_assert_eq(told.n, 2);
	burst_free(u);
	block_unref(b);
}

Test(burst, partial_and_full_sockets)
{
	struct burst *u = open_burst();
	struct block *b = new_block(LARGE);
	int fd[2];

	pair(fd);
	burst_send(u, fd[0], &told, b, 0, LARGE, TAG);
	burst_flush(u);
	burst_send(u, fd[0], &told, b, (size_t)told.res[0], 100, TAG);
	burst_end(u);
	cr_assert_eq(told.n, 2);
	cr_assert_gt(told.res[0], 0);
	cr_assert_lt((size_t)told.res[0], LARGE);
	cr_assert_eq(told.res[1], -EAGAIN);
	cr_assert_eq(take(fd[1], b, 0), (size_t)told.res[0]);
	burst_free(u);
	block_unref(b);
}

Test(burst, an_error_is_its_own_alone)
{
	struct burst *u = open_burst();
	struct block *b = new_block(100);
	int fd[3][2], i;

	for (i = 0; i < 3; i++) {
		pair(fd[i]);
		burst_send(u, fd[i][0], NULL, b, 0, 100, TAG);
	}
	(void)close(fd[1][1]);
	burst_end(u);
	cr_assert_eq(told.res[0], 100);
	cr_assert_eq(told.res[1], -EPIPE);
	cr_assert_eq(told.res[2], 100);
	burst_free(u);
	block_unref(b);
}

/* More sends than the ring holds, in turn to a few sockets. */
static void
send_many(struct burst *u)
{
	struct block *b = new_block((size_t)MANY * 10);
	int fd[8][2], i;

	for (i = 0; i < 8; i++)
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd[i]), 0);
	for (i = 0; i < MANY; i++)
		burst_send(u, fd[i % 8][0], &fd[i % 8], b, (size_t)i * 10, 10, TAG);
	cr_assert_eq(told.n, MANY / BURST_RING * BURST_RING);
	burst_end(u);
	cr_assert_eq(told.n, MANY);
	for (i = 0; i < MANY; i++) {
		uint8_t in[10];

		cr_assert_eq(told.object[i], &fd[i % 8]);
		cr_assert_eq(told.res[i], 10);
		cr_assert_eq(recv(fd[i % 8][1], in, 10, MSG_DONTWAIT), 10);
		cr_assert_eq(memcmp(in, b->data + i * 10, 10), 0, "send %d", i);
	}
	cr_assert_eq(b->refs, 1);
	block_unref(b);
}

Test(burst, more_than_the_ring_holds)
{
	struct burst *u = open_burst();

	send_many(u);
	burst_free(u);
}

Test(burst, a_ring_that_breaks_is_replaced_by_sends)
{
	struct burst *u = open_burst();

	log_init("test", LOG_LEVEL_ERROR);
	cut_ring();
	send_many(u);
	burst_begin(u);
	cr_assert_not(burst_is_open(u));
	burst_free(u);
}

/* --- with conn ---------------------------------------------------------------------------- */

#define CONNS 40

static struct event_base *base;
static struct net net;
static int slows, closes, drained;
static uint64_t shed; /* messages */
static enum conn_reason last_reason;

static void
ignore_data(struct conn *c, uint8_t *p, size_t n)
{
	(void)c;
	(void)p;
	(void)n;
}

static void
on_slow(struct conn *c)
{
	(void)c;
	slows++;
}

static void
on_close(struct conn *c, enum conn_reason reason)
{
	(void)c;
	closes++;
	last_reason = reason;
}

#define MESSAGE 1000

static void
on_shed(struct conn *c, uint32_t key, uint64_t messages)
{
	(void)c;
	cr_assert_eq(key, 3);
	shed += messages;
}

static void
on_drained(struct conn *c)
{
	(void)c;
	drained++;
}

static size_t
unit(const uint8_t *p, size_t n)
{
	(void)p;
	return n < MESSAGE ? n : MESSAGE;
}

static const struct conn_handler handler = {
	.on_data = ignore_data,
	.on_slow = on_slow,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.unit = unit,
	.on_close = on_close,
};

static void
setup(void)
{
	log_init("test", LOG_LEVEL_ERROR);
	base = event_base_new();
	cr_assert_not_null(base);
	cr_assert_eq(net_init(&net, base, QUEUE_MAX, 10000, 5000), 0);
	net_use_burst(&net, true);
}

static void
teardown(void)
{
	net_fini(&net);
	event_base_free(base);
}

TestSuite(burst_conn, .timeout = 60, .init = setup, .fini = teardown);

static struct conn *
open_conn(int *peer)
{
	struct conn *c;
	int fd[2];

	pair(fd);
	c = conn_new(&net, fd[0], &handler, NULL);
	cr_assert_not_null(c);
	conn_start(c);
	*peer = fd[1];
	return c;
}

static void
begin(void)
{
	burst_begin(net.burst);
	if (!burst_is_open(net.burst))
		cr_skip_test("no io_uring");
}

/* Takes all that comes, which is what b holds from 0 on. */
static void
drain(int peer, const struct block *b)
{
	size_t got = 0;
	int i;

	for (i = 0; i < 100000 && got < b->len; i++) {
		got += take(peer, b, got);
		cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
	}
	cr_assert_eq(got, b->len);
}

Test(burst_conn, what_is_not_taken_is_queued)
{
	struct block *b = new_block(LARGE);
	struct conn *c[CONNS];
	int peer[CONNS], i;

	for (i = 0; i < CONNS; i++)
		c[i] = open_conn(&peer[i]);
	begin();
	for (i = 0; i < CONNS; i++)
		conn_write_block(c[i], b, 0, i % 2 == 0 ? LARGE : 100, KEEP);
	cr_assert(conn_is_idle(c[0]));
	burst_end(net.burst);
	for (i = 0; i < CONNS; i++) {
		cr_assert_eq(conn_is_idle(c[i]), i % 2 != 0);
		if (i % 2 == 0)
			drain(peer[i], b);
		else
			cr_assert_eq(take(peer[i], b, 0), 100);
		cr_assert(conn_is_idle(c[i]));
		cr_assert(conn_is_open(c[i]));
	}
	cr_assert_eq(b->refs, 1);
	block_unref(b);
}

/* The second write finds a queue, or none; a copied one comes after both. */
Test(burst_conn, order_within_a_connection)
{
	static const size_t first[] = { 100, LARGE - 200 };
	struct block *b = new_block(LARGE);
	struct conn *c;
	size_t i;
	int peer;

	for (i = 0; i < 2; i++) {
		c = open_conn(&peer);
		begin();
		conn_write_block(c, b, 0, first[i], KEEP);
		conn_write_block(c, b, first[i], LARGE - 100 - first[i], KEEP);
		conn_write(c, b->data + LARGE - 100, 100);
		burst_end(net.burst);
		drain(peer, b);
		cr_assert(conn_is_idle(c));
	}
	block_unref(b);
}

Test(burst_conn, a_begun_block_is_not_discarded)
{
	struct block *b = new_block(LARGE);
	struct conn *c, *full;
	int peer, full_peer;

	c = open_conn(&peer);
	full = open_conn(&full_peer);
	/* Its socket is full, but nothing waits in its queue. */
	while (send(full->fd, b->data, 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	begin();
	conn_write_block(c, b, 0, LARGE, KEEP);
	conn_write_block(full, b, 0, LARGE, KEEP);
	conn_discard(c);
	cr_assert_not(conn_is_idle(c), "a part has left");
	conn_discard(full);
	cr_assert(conn_is_idle(full), "nothing has left");
	burst_end(net.burst);
	drain(peer, b);
	block_unref(b);
}

/* A tag holds also for what a burst could not send: a beginning leaves, and then the end alone. */
Test(burst_conn, what_may_be_left_out)
{
	static const enum outq_shed kind[] = { OUTQ_LATEST, OUTQ_OLDEST };
	struct block *b = new_block(LARGE);
	static uint8_t in[LARGE];
	struct conn *c;
	size_t i, got, kept;
	int peer;
	ssize_t n;

	for (i = 0; i < 2; i++) {
		shed = 0;
		drained = 0;
		c = open_conn(&peer);
		net.queue_max = 100 * MESSAGE;
		begin();
		conn_write_block(c, b, 0, LARGE, (struct outq_tag){ 3, (uint8_t)kind[i] });
		burst_end(net.burst);
		cr_assert_not(conn_is_idle(c));
		cr_assert_gt(shed, 1000);
		for (got = 0; drained == 0; got += n > 0 ? (size_t)n : 0) {
			cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
			n = recv(peer, in + got, sizeof(in) - got, MSG_DONTWAIT);
		}
		while ((n = recv(peer, in + got, sizeof(in) - got, MSG_DONTWAIT)) > 0)
			got += (size_t)n;
		cr_assert_eq(got + shed * MESSAGE, LARGE);
		kept = kind[i] == OUTQ_LATEST ? MESSAGE : 50 * MESSAGE;
		cr_assert_gt(got, kept);
		cr_assert_eq(memcmp(in, b->data, MESSAGE), 0);
		cr_assert_eq(memcmp(in + got - kept, b->data + LARGE - kept, kept), 0);
		cr_assert_eq(slows, 0);
	}
	block_unref(b);
}

Test(burst_conn, slowness_is_seen)
{
	struct block *b = new_block(LARGE);
	struct conn *c;
	int peer, i;

	c = open_conn(&peer);
	begin();
	for (i = 0; i < 5; i++)
		conn_write_block(c, b, 0, LARGE, KEEP);
	burst_end(net.burst);
	cr_assert_gt(slows, 0);
	block_unref(b);
}

Test(burst_conn, a_stall_is_seen)
{
	struct block *b = new_block(LARGE);
	struct conn *c;
	int peer;

	c = open_conn(&peer);
	begin();
	conn_write_block(c, b, 0, LARGE, KEEP);
	burst_end(net.burst);
	deadlines_run(net.deadlines, clock_ms() + 20000);
	cr_assert_eq(slows, 1);
	block_unref(b);
}

Test(burst_conn, closing_sends_first)
{
	struct block *b = new_block(100);
	struct conn *c[3];
	int peer[3], i;
	char end;

	for (i = 0; i < 3; i++)
		c[i] = open_conn(&peer[i]);
	begin();
	for (i = 0; i < 3; i++)
		conn_write_block(c[i], b, 0, 100, KEEP);
	conn_close(c[0], CONN_CLOSED_DONE);
	conn_finish(c[1], CONN_CLOSED_DONE);
	conn_write_block(c[0], b, 0, 100, KEEP);
	conn_write_block(c[1], b, 0, 100, KEEP);
	burst_end(net.burst);
	for (i = 0; i < 3; i++) {
		cr_assert_eq(take(peer[i], b, 0), 100);
		cr_assert_eq(recv(peer[i], &end, 1, MSG_DONTWAIT), i < 2 ? 0 : -1);
	}
	net_reap(&net);
	cr_assert_eq(closes, 1);
	cr_assert_eq(last_reason, CONN_CLOSED_DONE);
	block_unref(b);
}

Test(burst_conn, a_peer_that_is_gone_is_closed)
{
	struct block *b = new_block(100);
	struct conn *c[3];
	int peer[3], i;

	for (i = 0; i < 3; i++)
		c[i] = open_conn(&peer[i]);
	(void)close(peer[1]);
	begin();
	for (i = 0; i < 3; i++)
		conn_write_block(c[i], b, 0, 100, KEEP);
	burst_end(net.burst);
	cr_assert(conn_is_open(c[0]));
	cr_assert_not(conn_is_open(c[1]));
	cr_assert(conn_is_open(c[2]));
	net_reap(&net);
	cr_assert_eq(closes, 1);
	cr_assert_eq(last_reason, CONN_CLOSED_VANISHED);
	block_unref(b);
}

/* Without a descriptor to be had there is no ring, and every write leaves at once. */
Test(burst_conn, without_a_ring)
{
	struct rlimit old, none;
	struct block *b = new_block(100);
	struct conn *c;
	int peer;

	burst_free(net.burst);
	net.burst = NULL;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	net_use_burst(&net, true);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	cr_assert_null(net.burst);
	c = open_conn(&peer);
	burst_begin(net.burst);
	conn_write_block(c, b, 0, 100, KEEP);
	cr_assert_eq(take(peer, b, 0), 100);
	burst_end(net.burst);
	block_unref(b);
}

Test(burst_conn, not_wanted)
{
	burst_free(net.burst);
	net.burst = NULL;
	net_use_burst(&net, false);
	cr_assert_null(net.burst);
}
