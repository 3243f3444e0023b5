/*
 * Unit tests of worker/proxied.
 */
#include "worker/proxied.h"

#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/sock.h"
#include "worker/net/deadline.h"

#define LINE "PROXY TCP4 192.0.2.1 192.0.2.2 1111 22\r\n"
#define BEHIND "\x16\x03\x01 and what follows"

static const char binary[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02"
			     "\x04\x57\0\x16"; /* the same client */

static struct event_base *base;
static struct deadlines *deadlines;
static struct proxied *p;
static struct {
	int calls, fd;
	struct sockaddr_storage client;
} end;

static void
on_end(void *arg, int fd, const struct sockaddr_storage *client)
{
	cr_assert_eq(arg, &end);
	end.calls++;
	end.fd = fd;
	if (client != NULL)
		end.client = *client;
}

static void
setup(void)
{
	base = event_base_new();
	deadlines = deadlines_new(base);
	p = proxied_new(base, deadlines, 500, on_end);
	cr_assert_not_null(p);
}

static void
teardown(void)
{
	proxied_free(p);
	deadlines_free(deadlines);
	event_base_free(base);
}

TestSuite(proxied, .init = setup, .fini = teardown);

/* Returns the proxy's end of a connection that was taken after `text` was sent over it. */
static int
take(const void *text, size_t n)
{
	int fd[2];

	memset(&end, 0, sizeof(end));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(send(fd[0], text, n, 0), (ssize_t)n);
	cr_assert_eq(proxied_take(p, fd[1], &end), 0);
	return fd[0];
}

static void
pass(void)
{
	(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The header was taken, and what is left to read is exactly this. */
static void
expect_client(int peer, const char *rest)
{
	char text[SOCK_ADDR_TEXT], got[64];

	cr_assert_eq(end.calls, 1);
	cr_assert_geq(end.fd, 0);
	cr_assert_eq(proxied_count(p), 0);
	cr_assert_str_eq(
	    sock_addr_text((const struct sockaddr *)&end.client, text), "192.0.2.1:1111");
	if (*rest != '\0') {
		cr_assert_eq(recv(end.fd, got, sizeof(got), 0), (ssize_t)strlen(rest));
		cr_assert_eq(memcmp(got, rest, strlen(rest)), 0);
	}
	cr_assert_eq(recv(end.fd, got, sizeof(got), 0), -1);
	close(end.fd);
	close(peer);
}

static void
expect_closed(int peer)
{
	char byte;

	cr_assert_eq(end.calls, 1);
	cr_assert_eq(end.fd, -1);
	cr_assert_eq(proxied_count(p), 0);
	/* Closed with unread bytes it is a reset. */
	cr_assert_leq(recv(peer, &byte, 1, 0), 0);
	close(peer);
}

Test(proxied, headers_that_are_there_at_once)
{
	expect_client(take(LINE, sizeof(LINE) - 1), "");
	expect_client(take(LINE BEHIND, sizeof(LINE BEHIND) - 1), BEHIND);
	expect_client(take(binary, sizeof(binary) - 1), "");
}

static void
in_two_parts(const char *header, size_t n)
{
	size_t i;
	int fd;

	for (i = 0; i < n; i++) {
		fd = take(header, i);
		pass();
		cr_assert_eq(end.calls, 0, "%zu bytes", i);
		cr_assert_eq(proxied_count(p), 1);
		cr_assert_eq(send(fd, header + i, n - i, 0), (ssize_t)(n - i));
		cr_assert_eq(send(fd, BEHIND, sizeof(BEHIND) - 1, 0), sizeof(BEHIND) - 1);
		pass();
		expect_client(fd, BEHIND);
	}
}

Test(proxied, headers_that_are_cut_at_every_byte)
{
	in_two_parts(LINE, sizeof(LINE) - 1);
	in_two_parts(binary, sizeof(binary) - 1);
}

Test(proxied, byte_by_byte)
{
	int fd = take("", 0);
	size_t i;

	for (i = 0; i < sizeof(binary) - 1; i++) {
		cr_assert_eq(end.calls, 0);
		cr_assert_eq(send(fd, binary + i, 1, 0), 1);
		pass();
	}
	expect_client(fd, "");
}

/* What has come of a header is not left in the socket, where it would wake us again and again. */
Test(proxied, a_part_of_a_header_is_taken)
{
	int fd[2], waiting = -1;
	char byte;

	memset(&end, 0, sizeof(end));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(send(fd[0], LINE, 20, 0), 20);
	waiting = dup(fd[1]);
	cr_assert_eq(proxied_take(p, fd[1], &end), 0);
	cr_assert_eq(proxied_count(p), 1);
	cr_assert_eq(recv(waiting, &byte, 1, MSG_PEEK), -1);
	cr_assert_eq(send(fd[0], LINE + 20, 5, 0), 5);
	pass();
	cr_assert_eq(recv(waiting, &byte, 1, MSG_PEEK), -1);
	close(waiting);
	close(fd[0]);
}

Test(proxied, what_is_no_header_is_closed)
{
	static const char *const bad[] = { "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "PROXY TCP4 x",
		"\r\n\r\nX" };
	size_t i;
	int fd;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_closed(take(bad[i], strlen(bad[i])));
	fd = take(LINE, 10);
	cr_assert_eq(send(fd, "x", 1, 0), 1);
	pass();
	expect_closed(fd);
}

Test(proxied, a_proxy_that_goes_away)
{
	int fd = take(LINE, 10);

	cr_assert_eq(shutdown(fd, SHUT_WR), 0);
	pass();
	expect_closed(fd);
}

Test(proxied, a_header_that_is_late)
{
	uint64_t now = clock_ms();
	int fd = take(LINE, 10), i;

	for (i = 1; i < 4; i++)
		deadlines_run(deadlines, now + (uint64_t)i * 100);
	cr_assert_eq(end.calls, 0);
	/* More of it does not buy more time. */
	cr_assert_eq(send(fd, LINE + 10, 10, 0), 10);
	pass();
	for (; i < 8; i++)
		deadlines_run(deadlines, now + (uint64_t)i * 100);
	expect_closed(fd);
}

Test(proxied, those_who_wait_are_closed_at_the_end)
{
	int fd = take(LINE, 10);
	char byte;

	proxied_free(p);
	p = NULL;
	cr_assert_eq(end.calls, 0);
	cr_assert_leq(recv(fd, &byte, 1, 0), 0);
	close(fd);
}
