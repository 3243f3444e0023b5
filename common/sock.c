/*
 * sock: socket addresses as text, and listening sockets.  See sock.h.
 */
#include "common/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int
parse_port(const char *s, in_port_t *out)
{
	uint32_t v = 0;
	const char *p;

	for (p = s; *p >= '0' && *p <= '9' && p - s < 5; p++)
		v = v * 10 + (uint32_t)(*p - '0');
	if (p == s || *p != '\0' || v > UINT16_MAX)
		return FAN_EINVAL;
	*out = htons((uint16_t)v);
	return 0;
}

static void
set_in6(struct sock_addr *a, const struct in6_addr *host, in_port_t port)
{
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6, .sin6_addr = *host, .sin6_port = port
	};

	memcpy(&a->ss, &sin6, sizeof(sin6));
	a->len = sizeof(sin6);
}

static void
set_in(struct sock_addr *a, in_addr_t host, in_port_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = port };

	sin.sin_addr.s_addr = host;
	memcpy(&a->ss, &sin, sizeof(sin));
	a->len = sizeof(sin);
}

int
sock_addr_parse(const char *text, struct sock_addr *out, const char **why)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2] = "";
	struct in6_addr in6;
	struct in_addr in;
	in_port_t port;
	size_t n;

	memset(out, 0, sizeof(*out));
	*why = "must be HOST:PORT, [IPV6]:PORT or :PORT";
	if (colon == NULL)
		return FAN_EINVAL;
	n = (size_t)(colon - text);
	if (n >= sizeof(host))
		return FAN_EINVAL;
	memcpy(host, text, n);
	if (parse_port(colon + 1, &port) != 0) {
		*why = "the port must be a number from 0 to 65535";
		return FAN_EINVAL;
	}
	if (n == 0) {
		out->any = true;
		set_in6(out, &in6addr_any, port);
		return 0;
	}
	if (strcmp(host, "localhost") == 0) {
		set_in(out, htonl(INADDR_LOOPBACK), port);
		return 0;
	}
	if (host[0] == '[') {
		*why = "no IPv6 address stands between the brackets";
		if (host[n - 1] != ']')
			return FAN_EINVAL;
		host[n - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &in6) != 1)
			return FAN_EINVAL;
		set_in6(out, &in6, port);
		return 0;
	}
	if (inet_pton(AF_INET, host, &in) == 1) {
		set_in(out, in.s_addr, port);
		return 0;
	}
	*why = strchr(host, ':') != NULL
	    ? "an IPv6 address needs brackets: [::1]:8080"
	    : "the host must be an IP address, localhost, or nothing for every address";
	return FAN_EINVAL;
}

bool
sock_addr_is_loopback(const struct sock_addr *a)
{
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;

	if (a->ss.ss_family == AF_INET) {
		memcpy(&sin, &a->ss, sizeof(sin));
		return (ntohl(sin.sin_addr.s_addr) >> 24) == 127;
	}
	if (a->ss.ss_family != AF_INET6)
		return false;
	memcpy(&sin6, &a->ss, sizeof(sin6));
	if (IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr))
		return sin6.sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&sin6.sin6_addr);
}

const char *
sock_addr_text(const struct sockaddr *sa, char out[SOCK_ADDR_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?";
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;

	if (sa->sa_family == AF_INET) {
		memcpy(&sin, sa, sizeof(sin));
		(void)inet_ntop(AF_INET, &sin.sin_addr, host, sizeof(host));
		(void)snprintf(out, SOCK_ADDR_TEXT, "%s:%u", host, ntohs(sin.sin_port));
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&sin6, sa, sizeof(sin6));
		(void)inet_ntop(AF_INET6, &sin6.sin6_addr, host, sizeof(host));
		(void)snprintf(out, SOCK_ADDR_TEXT, "[%s]:%u", host, ntohs(sin6.sin6_port));
	} else if (sa->sa_family == AF_UNIX) {
		const char *path = (const char *)sa + offsetof(struct sockaddr_un, sun_path);

		(void)snprintf(out, SOCK_ADDR_TEXT, *path != '\0' ? "unix:%s" : "unix", path);
	} else {
		(void)snprintf(out, SOCK_ADDR_TEXT, "?");
	}
	return out;
}

void
sock_addr_unmap(struct sockaddr_storage *ss)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6;

	if (ss->ss_family != AF_INET6)
		return;
	memcpy(&sin6, ss, sizeof(sin6));
	if (!IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr))
		return;
	memcpy(&sin.sin_addr, &sin6.sin6_addr.s6_addr[12], sizeof(sin.sin_addr));
	sin.sin_port = sin6.sin6_port;
	memset(ss, 0, sizeof(*ss));
	memcpy(ss, &sin, sizeof(sin));
}

/* A socket that is bound to a; with the port that the kernel chose, where a has none. */
static int
open_bound(struct sock_addr *a, bool share)
{
	int on = 1, v6only = !a->any, fd, saved;

	fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return FAN_ESYS;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		goto fail;
	if (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
		goto fail;
	if (a->ss.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) != 0)
		goto fail;
	if (bind(fd, (const struct sockaddr *)&a->ss, a->len) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a->ss, &a->len) != 0)
		goto fail;
	return fd;
fail:
	saved = errno;
	close(fd);
	errno = saved;
	return FAN_ESYS;
}

/*
 * SO_REUSEPORT lets every process of the same user in.  Without it the kernel refuses an address
 * on which somebody listens, so one socket tries that first; it also chooses the port.
 */
static int
probe(struct sock_addr *a)
{
	int fd = open_bound(a, false);
	struct sockaddr_in6 sin6;

	if (fd < 0 && a->any && a->ss.ss_family == AF_INET6 &&
	    (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
		/* A machine without IPv6. */
		memcpy(&sin6, &a->ss, sizeof(sin6));
		set_in(a, htonl(INADDR_ANY), sin6.sin6_port);
		fd = open_bound(a, false);
	}
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int
sock_listen(struct sock_addr *a, int backlog, int *fds, size_t n)
{
	struct sock_addr bound = *a;
	size_t i = 0;
	int saved;

	if (probe(&bound) != 0)
		return FAN_ESYS;
	for (i = 0; i < n; i++) {
		fds[i] = open_bound(&bound, true);
		if (fds[i] < 0)
			goto fail;
		if (listen(fds[i], backlog) != 0) {
			i++;
			goto fail;
		}
	}
	*a = bound;
	return 0;
fail:
	saved = errno;
	while (i-- > 0)
		close(fds[i]);
	errno = saved;
	return FAN_ESYS;
}
