/*
 * address: where to connect to, and sockets that do.  See address.h.
 */
#include "bench/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/text.h"

#define SOURCES 200        /* addresses of the loopback to come from */
#define SOURCE_PORTS 16384 /* each has some 28,000, those in TIME_WAIT among them */
#define UNIX_SCHEME "unix:"

static void
parse_unix(const char *path, struct address *a)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (strncmp(path, "//", 2) == 0)
		path += 2;
	if (strlen(path) >= sizeof(un.sun_path))
		text_usage("\"%s\" is too long for a socket", path);
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	memcpy(&a->ss, &un, sizeof(un));
	a->len = sizeof(un);
	(void)snprintf(a->host, sizeof(a->host), "localhost");
}

static void
look_up(const char *host, const char *port, struct address *a)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	int err;

	err = getaddrinfo(host, port, &hints, &list);
	if (err != 0)
		text_usage("%s:%s: %s", host, port, gai_strerror(err));
	memcpy(&a->ss, list->ai_addr, list->ai_addrlen);
	a->len = list->ai_addrlen;
	freeaddrinfo(list);
}

void
address_parse(const char *text, const char *port, struct address *a)
{
	char host[ADDRESS_HOST_MAX];
	const char *start, *end, *colon;
	size_t len;

	memset(a, 0, sizeof(*a));
	if (strncmp(text, UNIX_SCHEME, strlen(UNIX_SCHEME)) == 0) {
		parse_unix(text + strlen(UNIX_SCHEME), a);
		return;
	}
	if (strncmp(text, "https:", 6) == 0)
		text_usage("%s: publishing by TLS is not measured here", text);
	if (strncmp(text, "wss:", 4) == 0)
		port = "443";
	start = strstr(text, "://");
	start = start != NULL ? start + 3 : text;
	len = strcspn(start, "/");
	if (len == 0 || len >= sizeof(a->host))
		text_usage("\"%s\" is not an address; one is 127.0.0.1:8080", text);
	memcpy(a->host, start, len);
	colon = strrchr(a->host, ':');
	end = strchr(a->host, ']');
	if (colon != NULL && (end == NULL || colon > end)) {
		port = colon + 1;
		len = (size_t)(colon - a->host);
	}
	start = a->host;
	if (*start == '[' && end != NULL) {
		start++;
		len = (size_t)(end - start);
	}
	(void)snprintf(host, sizeof(host), "%.*s", (int)len, start);
	look_up(host, port, a);
}

static bool
is_loopback4(const struct address *a)
{
	struct sockaddr_in in;

	memcpy(&in, &a->ss, sizeof(in));
	return in.sin_family == AF_INET && ntohl(in.sin_addr.s_addr) >> 24 == 127;
}

/* The port is left to connect(), which knows the other end and may share it. */
static int
bind_source(int fd, size_t i)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int on = 1;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(i / SOURCE_PORTS % SOURCES));
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) != 0)
		return -1;
	return bind(fd, (const struct sockaddr *)&in, sizeof(in));
}

int
address_connect(const struct address *a, size_t i)
{
	int fd, on = 1, saved;

	fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (a->ss.ss_family != AF_UNIX &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		goto fail;
	if (i >= SOURCE_PORTS && is_loopback4(a) && bind_source(fd, i) != 0)
		goto fail;
	if (connect(fd, (const struct sockaddr *)&a->ss, a->len) != 0 && errno != EINPROGRESS)
		goto fail;
	return fd;
fail:
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}
