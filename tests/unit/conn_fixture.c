/*
 * conn_fixture: connections over socket pairs, and an upper layer that notes what it hears.  See
 * conn_fixture.h.
 */
#include "tests/unit/conn_fixture.h"

#include <criterion/criterion.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct event_base *base;
struct net net;
int freed;
struct upper up;

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

static void
on_shed(struct conn *c, uint32_t key, uint64_t messages)
{
	cr_assert(conn_is_open(c));
	cr_assert_lt(key, 4);
	((struct upper *)c->up)->shed[key] += messages;
}

static void
on_drained(struct conn *c)
{
	((struct upper *)c->up)->drained++;
}

size_t
unit(const uint8_t *p, size_t n)
{
	const uint8_t *end = memchr(p, '>', n);

	return end == NULL ? n : (size_t)(end - p) + 1;
}

const struct conn_handler full = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_deadline = on_deadline,
	.on_slow = on_slow,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.unit = unit,
	.on_stop = on_stop,
	.on_close = on_close,
};
const struct conn_handler plain = {
	.on_data = on_data, .on_deadline = on_deadline, .on_stop = on_stop, .on_close = on_close
};

static void
on_freed(void *arg)
{
	(void)arg;
	freed++;
}

void
pass(void)
{
	cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
	net_reap(&net);
}

void
settle(void)
{
	int i;

	for (i = 0; i < 10; i++)
		pass();
}

void
conn_setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	cr_assert_eq(net_init(&net, base, QUEUE_MAX, 10000, 5000), 0);
	net.on_freed = on_freed;
}

void
conn_teardown(void)
{
	net.on_freed = NULL;
	net_fini(&net);
	event_base_free(base);
}

/* Returns the peer's end. */
int
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
size_t
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
void
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

void
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

void
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
