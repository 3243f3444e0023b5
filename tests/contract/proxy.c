/*
 * proxy: stands between an engine and Redis.  See proxy.h.
 */
#include "tests/contract/proxy.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STEP (64 * 1024)

static void
conn_close(struct proxy_conn *c)
{
	if (c->down < 0)
		return;
	event_free(c->down_readable);
	event_free(c->up_readable);
	(void)close(c->down);
	(void)close(c->up);
	c->down = c->up = -1;
}

/* Sockets here are blocking for writing: both ends always read. */
static void
send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t did = send(fd, p, n, MSG_NOSIGNAL);

		if (did <= 0)
			return; /* gone; its own event says so */
		p += did;
		n -= (size_t)did;
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct proxy_conn *c = arg;
	bool from_engine = fd == c->down;
	char bytes[STEP];
	ssize_t n = recv(fd, bytes, from_engine ? STEP : c->proxy->step, MSG_DONTWAIT);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	if (from_engine && memmem(bytes, (size_t)n, "\r\nSUBSCRIBE\r\n", 13) != NULL)
		c->role = PROXY_SUBSCRIBER;
	if (!c->hole)
		send_all(from_engine ? c->up : c->down, bytes, (size_t)n);
}

static void
on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct proxy *p = arg;
	struct proxy_conn *c = p->conn;

	(void)what;
	p->accepted++;
	while (c->down >= 0)
		c++;
	cr_assert(c < p->conn + PROXY_CONNS);
	c->down = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(c->down >= 0);
	c->up = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(c->up >= 0);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", p->upstream);
	c->proxy = p;
	c->role = PROXY_COMMANDS;
	c->hole = false;
	c->down_readable = event_new(p->base, c->down, EV_READ | EV_PERSIST, on_readable, c);
	c->up_readable = event_new(p->base, c->up, EV_READ | EV_PERSIST, on_readable, c);
	cr_assert(c->down_readable != NULL && c->up_readable != NULL);
	if (connect(c->up, (const struct sockaddr *)&sun, sizeof(sun)) != 0) {
		conn_close(c);
		return;
	}
	cr_assert(event_add(c->down_readable, NULL) == 0);
	cr_assert(event_add(c->up_readable, NULL) == 0);
}

void
proxy_open(struct proxy *p, struct event_base *base, const char *dir, const char *upstream)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t i;

	memset(p, 0, sizeof(*p));
	p->base = base;
	p->step = STEP;
	for (i = 0; i < PROXY_CONNS; i++)
		p->conn[i].down = p->conn[i].up = -1;
	(void)snprintf(p->path, sizeof(p->path), "%s/proxy.sock", dir);
	(void)snprintf(p->upstream, sizeof(p->upstream), "%s", upstream);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", p->path);
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(p->listener >= 0);
	cr_assert(bind(p->listener, (const struct sockaddr *)&sun, sizeof(sun)) == 0);
	cr_assert(listen(p->listener, 16) == 0);
	p->acceptable = event_new(base, p->listener, EV_READ | EV_PERSIST, on_acceptable, p);
	cr_assert(p->acceptable != NULL && event_add(p->acceptable, NULL) == 0);
}

void
proxy_close(struct proxy *p)
{
	size_t i;

	for (i = 0; i < PROXY_CONNS; i++)
		conn_close(&p->conn[i]);
	event_free(p->acceptable);
	(void)close(p->listener);
	(void)unlink(p->path);
}

void
proxy_hole(struct proxy *p, enum proxy_role role)
{
	size_t i;

	for (i = 0; i < PROXY_CONNS; i++) {
		if (p->conn[i].down >= 0 && p->conn[i].role == role)
			p->conn[i].hole = true;
	}
}

void
proxy_cut(struct proxy *p, enum proxy_role role)
{
	size_t i;

	for (i = 0; i < PROXY_CONNS; i++) {
		if (p->conn[i].down >= 0 && p->conn[i].role == role)
			conn_close(&p->conn[i]);
	}
}

void
proxy_inject(struct proxy *p, enum proxy_role role, const void *data, size_t n)
{
	size_t i;

	for (i = 0; i < PROXY_CONNS; i++) {
		if (p->conn[i].down >= 0 && p->conn[i].role == role)
			send_all(p->conn[i].down, data, n);
	}
}
