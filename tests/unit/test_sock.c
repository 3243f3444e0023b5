/*
 * Unit tests of common/sock.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/sock.h"

static const char *
text_of(const struct sock_addr *a, char out[SOCK_ADDR_TEXT])
{
	return sock_addr_text((const struct sockaddr *)&a->ss, out);
}

Test(sock, addresses_that_are_understood)
{
	static const struct {
		const char *in, *out;
		bool any, loopback;
	} cases[] = {
		{ "127.0.0.1:8080", "127.0.0.1:8080", false, true },
		{ "127.9.8.7:1", "127.9.8.7:1", false, true },
		{ "0.0.0.0:65535", "0.0.0.0:65535", false, false },
		{ "10.1.2.3:0", "10.1.2.3:0", false, false },
		{ "localhost:8081", "127.0.0.1:8081", false, true },
		{ "[::1]:8080", "[::1]:8080", false, true },
		{ "[::]:80", "[::]:80", false, false },
		{ "[2001:db8::2]:443", "[2001:db8::2]:443", false, false },
		{ "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", false, true },
		{ "[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]:80", false, false },
		{ ":8080", "[::]:8080", true, false },
	};
	char out[SOCK_ADDR_TEXT];
	struct sock_addr a;
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert(sock_addr_parse(cases[i].in, &a, &why) == 0, "%s", cases[i].in);
		cr_assert_str_eq(text_of(&a, out), cases[i].out);
		cr_assert(a.any == cases[i].any, "%s", cases[i].in);
		cr_assert(sock_addr_is_loopback(&a) == cases[i].loopback, "%s", cases[i].in);
	}
}

Test(sock, addresses_that_are_refused)
{
	static const char *const cases[] = { "", "8080", "127.0.0.1", ":", "127.0.0.1:", ":65536",
		":-1", ":+1", ": 1", ":1 ", ":0x10", ":123456", ":99999999999999999999", "host:80",
		"LOCALHOST:80", "127.1:80", "1.2.3.4.5:80", "256.0.0.1:80", "::1:80", "[::1]",
		"[::1:80", "::1]:80", "[]:80", "[:80", "[127.0.0.1]:80", "[::1]x:80", "[::1%lo]:80",
		"127.0.0.1 :80", "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:80" };
	struct sock_addr a;
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		why = NULL;
		cr_assert(sock_addr_parse(cases[i], &a, &why) == FAN_EINVAL, "%s", cases[i]);
		cr_assert(why != NULL && *why != '\0');
	}
}

Test(sock, an_address_of_another_family_has_a_text)
{
	struct sockaddr sa = { .sa_family = AF_UNSPEC };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sock_addr a;
	char out[SOCK_ADDR_TEXT];

	cr_assert_str_eq(sock_addr_text(&sa, out), "?");
	cr_assert_str_eq(sock_addr_text((const struct sockaddr *)&un, out), "unix");
	memset(un.sun_path, 'x', sizeof(un.sun_path) - 1);
	un.sun_path[0] = '/';
	sock_addr_text((const struct sockaddr *)&un, out);
	cr_assert(strncmp(out, "unix:/xxx", 9) == 0 && strlen(out) == 5 + sizeof(un.sun_path) - 1);
	memset(&a, 0, sizeof(a));
	a.ss.ss_family = AF_UNIX;
	cr_assert(!sock_addr_is_loopback(&a));
}

Test(sock, mapped_addresses)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "[::ffff:192.0.2.1]:80", "192.0.2.1:80" },
		{ "[::192.0.2.1]:80", "[::192.0.2.1]:80" },
		{ "[2001:db8::1]:80", "[2001:db8::1]:80" },
		{ "192.0.2.1:80", "192.0.2.1:80" },
	};
	char out[SOCK_ADDR_TEXT];
	struct sock_addr a;
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(sock_addr_parse(cases[i].in, &a, &why), 0);
		sock_addr_unmap(&a.ss);
		cr_assert_str_eq(text_of(&a, out), cases[i].out);
	}
}

static struct sock_addr
loopback(void)
{
	struct sock_addr a;
	const char *why;

	cr_assert(sock_addr_parse("127.0.0.1:0", &a, &why) == 0);
	return a;
}

static in_port_t
port_of(const struct sock_addr *a)
{
	struct sockaddr_in sin;

	memcpy(&sin, &a->ss, sizeof(sin));
	return ntohs(sin.sin_port);
}

static int
option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	cr_assert(getsockopt(fd, level, name, &value, &len) == 0);
	return value;
}

Test(sock, several_sockets_share_a_port)
{
	struct sock_addr a = loopback(), b = { .len = sizeof(b.ss) };
	int fds[4], i;

	cr_assert(sock_listen(&a, 16, fds, 4) == 0);
	cr_assert(port_of(&a) != 0);
	for (i = 0; i < 4; i++) {
		cr_assert(getsockname(fds[i], (struct sockaddr *)&b.ss, &b.len) == 0);
		cr_assert(port_of(&b) == port_of(&a));
		cr_assert(option(fds[i], SOL_SOCKET, SO_ACCEPTCONN) == 1);
		cr_assert(option(fds[i], SOL_SOCKET, SO_REUSEPORT) == 1);
		cr_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		cr_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
	}
	for (i = 0; i < 4; i++)
		close(fds[i]);
}

Test(sock, what_is_accepted_has_no_delay)
{
	struct sock_addr a = loopback();
	int listener, client, fd;

	cr_assert(sock_listen(&a, 16, &listener, 1) == 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(connect(client, (const struct sockaddr *)&a.ss, a.len) == 0);
	fd = accept(listener, NULL, NULL);
	cr_assert(fd >= 0);
	cr_assert(option(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
	close(fd);
	close(client);
	close(listener);
}

Test(sock, an_address_in_use_is_refused_even_when_it_would_be_shared)
{
	struct sock_addr a = loopback(), again, any;
	in_port_t port;
	int fds[2], more[2] = { -1, -1 };
	struct sockaddr_in sin;

	cr_assert(sock_listen(&a, 16, fds, 2) == 0);
	port = port_of(&a);
	again = a;
	errno = 0;
	cr_assert(sock_listen(&again, 16, more, 2) == FAN_ESYS && errno == EADDRINUSE);
	/* Every address includes this one. */
	any = a;
	memcpy(&sin, &any.ss, sizeof(sin));
	sin.sin_addr.s_addr = htonl(INADDR_ANY);
	memcpy(&any.ss, &sin, sizeof(sin));
	errno = 0;
	cr_assert(sock_listen(&any, 16, more, 2) == FAN_ESYS && errno == EADDRINUSE);
	close(fds[0]);
	close(fds[1]);
	cr_assert(sock_listen(&again, 16, more, 2) == 0 && port_of(&again) == port);
	close(more[0]);
	close(more[1]);
}

/* A restart must not wait for what its old connections leave behind. */
Test(sock, an_address_with_old_connections_can_be_listened_on)
{
	struct sock_addr a = loopback();
	int listener, client, fd;

	cr_assert(sock_listen(&a, 16, &listener, 1) == 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(connect(client, (const struct sockaddr *)&a.ss, a.len) == 0);
	fd = accept(listener, NULL, NULL);
	cr_assert(fd >= 0);
	/* Closed first on this side: TIME_WAIT. */
	close(fd);
	close(listener);
	close(client);
	cr_assert(sock_listen(&a, 16, &listener, 1) == 0);
	close(listener);
}

Test(sock, every_address_takes_ipv4)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6;
	struct sock_addr a;
	const char *why;
	int listener, client;

	cr_assert(sock_addr_parse(":0", &a, &why) == 0);
	cr_assert(sock_listen(&a, 16, &listener, 1) == 0);
	/* The port stands at the same place in both families. */
	memcpy(&sin6, &a.ss, sizeof(sin6));
	to.sin_port = sin6.sin6_port;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(connect(client, (const struct sockaddr *)&to, sizeof(to)) == 0);
	close(client);
	close(listener);
}

Test(sock, an_address_of_nobody_fails_with_errno)
{
	struct sock_addr a;
	const char *why;
	int fd = -1;

	/* RFC 5737: for documentation only. */
	cr_assert(sock_addr_parse("192.0.2.1:0", &a, &why) == 0);
	errno = 0;
	cr_assert(sock_listen(&a, 16, &fd, 1) == FAN_ESYS && errno == EADDRNOTAVAIL);
}
