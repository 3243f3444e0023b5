/*
 * floor: the cheapest WebSocket server that can be, to measure others against.  See floor.h.
 *
 * Who asks for the same path is in the same channel; what one sends goes to all of them.  Nothing
 * is checked that a client of good will does right, and a peer that closes its side is gone with
 * what it has sent last: both would cost, and no measured run needs them.
 */
#include "bench/floor.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/relay.h"
#include "bench/settings.h"
#include "bench/text.h"
#include "common/sock.h"
#include "worker/ws/handshake.h"

#define EVENTS 512
#define BUFFER ((size_t)256 * 1024)
#define BACKLOG 4096
#define DEFER_SECONDS 5
#define REQUEST_MAX 8192

#define WATCHED (EPOLLIN | EPOLLRDHUP)

struct server {
	int epfd;
	int listener;
	struct relay *relay;
	struct peer *peers; /* by fd */
	size_t npeers;
	uint8_t *buffer;
};

static void
watch(const struct server *sv, int op, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	if (epoll_ctl(sv->epfd, op, fd, &ev) != 0)
		text_die("epoll_ctl: %s", strerror(errno));
}

static void
on_blocked(void *arg, int fd, bool on)
{
	watch(arg, EPOLL_CTL_MOD, fd, on ? WATCHED | EPOLLOUT : WATCHED);
}

/* Answers a whole request; false: it is none that can be. */
static bool
answer(struct server *sv, int fd, const char *request)
{
	static const char field[] = "\r\nSec-WebSocket-Key:";
	const char *path = strchr(request, ' '), *end, *key;
	char accept[WS_ACCEPT_SIZE], head[160];
	int n;

	end = path != NULL ? strchr(path + 1, ' ') : NULL;
	key = end != NULL ? strcasestr(end, field) : NULL;
	if (key == NULL)
		return false;
	key += strlen(field);
	key += strspn(key, " ");
	if (strcspn(key, "\r") != WS_KEY_LEN)
		return false;
	ws_accept(key, accept);
	n = snprintf(head, sizeof(head),
	    "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: %s\r\n\r\n",
	    accept);
	if (send(fd, head, (size_t)n, MSG_NOSIGNAL) != n)
		return false;
	relay_join(sv->relay, fd, path + 1, (size_t)(end - path - 1));
	return true;
}

/* Bytes of a peer that is not in a channel yet; they end with a NUL at p[n]. */
static bool
on_request(struct server *sv, int fd, uint8_t *p, size_t n)
{
	struct peer *peer = &sv->peers[fd];
	bool good;
	char *end;

	if (peer->nrest > 0) {
		relay_keep(peer, p, n + 1);
		peer->nrest--;
		p = peer->rest;
		n = peer->nrest;
	}
	end = strstr((const char *)p, "\r\n\r\n");
	if (end == NULL) {
		if (peer->nrest == 0)
			relay_keep(peer, p, n);
		return n < REQUEST_MAX;
	}
	good = answer(sv, fd, (const char *)p);
	n -= (size_t)(end + 4 - (char *)p);
	peer->nrest = 0;
	return good && (n == 0 || relay_input(sv->relay, fd, (const uint8_t *)end + 4, n));
}

/* Reads what there is; false: the peer is to be closed. */
static bool
on_readable(struct server *sv, int fd)
{
	ssize_t n = recv(fd, sv->buffer, BUFFER - 1, 0);

	if (n < 0)
		return errno == EAGAIN;
	if (n == 0)
		return false;
	if (sv->peers[fd].channel != NULL)
		return relay_input(sv->relay, fd, sv->buffer, (size_t)n);
	sv->buffer[n] = '\0';
	return on_request(sv, fd, sv->buffer, (size_t)n);
}

static void
drop(struct server *sv, int fd)
{
	relay_leave(sv->relay, fd);
	(void)close(fd);
}

/* The request is there when the connection is, so the loop learns of it only after the answer. */
static void
on_connections(struct server *sv)
{
	int fd;

	for (;;) {
		fd = accept4(sv->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EAGAIN && errno != ECONNABORTED)
				text_die("accept: %s", strerror(errno));
			return;
		}
		if ((size_t)fd >= sv->npeers) {
			(void)close(fd);
			continue;
		}
		if (on_readable(sv, fd))
			watch(sv, EPOLL_CTL_ADD, fd, WATCHED);
		else
			drop(sv, fd);
	}
}

static void
on_peer(struct server *sv, int fd, uint32_t events)
{
	if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
		drop(sv, fd);
		return;
	}
	if ((events & EPOLLOUT) != 0)
		relay_writable(sv->relay, fd);
	if ((events & EPOLLIN) != 0 && !on_readable(sv, fd))
		drop(sv, fd);
}

static void
start(struct server *sv, const char *listen_at)
{
	struct sock_addr addr;
	char text[SOCK_ADDR_TEXT];
	const char *why;
	int seconds = DEFER_SECONDS;

	if (sock_addr_parse(listen_at, &addr, &why) != 0)
		text_usage("--listen %s: %s", listen_at, why);
	if (sock_listen(&addr, BACKLOG, &sv->listener, 1) != 0)
		text_die("can not listen on %s: %s", listen_at, strerror(errno));
	if (setsockopt(sv->listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) != 0)
		text_die("TCP_DEFER_ACCEPT: %s", strerror(errno));
	sv->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (sv->epfd < 0)
		text_die("epoll: %s", strerror(errno));
	watch(sv, EPOLL_CTL_ADD, sv->listener, EPOLLIN);
	(void)printf("listening on %s\n", sock_addr_text((const struct sockaddr *)&addr.ss, text));
	if (fflush(stdout) != 0)
		text_die("standard output can not be written");
}

int
floor_main(const struct settings *s)
{
	struct epoll_event events[EVENTS];
	struct rlimit limit;
	struct server sv = { .buffer = text_calloc(1, BUFFER) };
	int i, n;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		text_die("getrlimit: %s", strerror(errno));
	/* Zero pages until an fd is used. */
	sv.npeers = limit.rlim_cur;
	sv.peers = mmap(NULL, sv.npeers * sizeof(*sv.peers), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sv.peers == MAP_FAILED)
		text_die("no memory");
	sv.relay = relay_new(s->floor, s->dialect.echo, sv.peers, on_blocked, &sv);
	start(&sv, s->listen);
	for (;;) {
		n = epoll_wait(sv.epfd, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			text_die("epoll_wait: %s", strerror(errno));
		for (i = 0; i < n; i++) {
			if (events[i].data.fd == sv.listener)
				on_connections(&sv);
			else
				on_peer(&sv, events[i].data.fd, events[i].events);
		}
		relay_flush(sv.relay);
	}
}
