/*
 * accept: takes connections from the worker's listening sockets.  See accept.h.
 */
#include "worker/accept.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/boot.h"
#include "common/log.h"
#include "worker/http/http.h"
#include "worker/net/conn.h"

#define BATCH 64     /* connections taken from one listener in a pass */
#define PAUSE_MS 100 /* before trying again when the process has no fd left */

struct listener {
	struct acceptor *acceptor;
	struct event *ev;
	int fd;
	enum listener_kind kind;
};

struct acceptor {
	struct http_server *server;
	struct event *resume;
	size_t max;
	bool full;    /* as many connections as may be: the public listeners wait */
	bool starved; /* no fd is left: all listeners wait */
	struct log_gate gate;
	size_t n;
	struct listener listener[];
};

/*
 * Watches the listeners that may accept.  Clients who fill the worker must not shut out its operator,
 * so an internal listener waits only for fds.
 */
static void
watch(struct acceptor *a)
{
	size_t i;

	for (i = 0; i < a->n; i++) {
		struct listener *l = &a->listener[i];

		if (a->starved || (a->full && l->kind == LISTENER_PUBLIC))
			(void)event_del(l->ev);
		else
			(void)event_add(l->ev, NULL);
	}
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *a = arg;

	(void)fd;
	(void)what;
	if (!a->full && !a->starved)
		return;
	a->starved = false;
	a->full = a->server->net->count >= a->max;
	watch(a);
}

/* A connection has ended. */
static void
on_freed(void *arg)
{
	on_resume(-1, 0, arg);
}

/* The process or the machine has no fd left: accepting again at once would spin. */
static void
out_of_fds(struct acceptor *a)
{
	static const struct timeval later = { 0, (suseconds_t)PAUSE_MS * 1000 };

	if (log_gate_open(&a->gate, 1))
		log_warn("accept: waiting connections=%zu", a->server->net->count);
	a->starved = true;
	watch(a);
	(void)event_add(a->resume, &later);
}

static void
on_acceptable(evutil_socket_t lfd, short what, void *arg)
{
	struct listener *l = arg;
	struct acceptor *a = l->acceptor;
	int i;

	(void)what;
	for (i = 0; i < BATCH; i++) {
		int fd;

		if (l->kind == LISTENER_PUBLIC && a->server->net->count >= a->max) {
			if (log_gate_open(&a->gate, 1))
				log_warnx("accept: waiting connections=%zu is the most here",
				    a->server->net->count);
			a->full = true;
			watch(a);
			return;
		}
		fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM)
				out_of_fds(a);
			else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				log_warn("accept");
			return;
		}
		if (http_accept(a->server, fd, l->kind) != 0) {
			out_of_fds(a);
			return;
		}
	}
}

struct acceptor *
acceptor_new(struct http_server *s, const struct boot *b, size_t max, int sndbuf)
{
	struct acceptor *a = calloc(1, sizeof(*a) + b->listeners * sizeof(a->listener[0]));
	struct event_base *base = s->net->base;
	size_t i;

	if (a == NULL)
		return NULL;
	a->server = s;
	a->max = max;
	a->resume = event_new(base, -1, 0, on_resume, a);
	if (a->resume == NULL)
		goto fail;
	for (i = 0; i < b->listeners; i++) {
		struct listener *l = &a->listener[a->n];

		l->acceptor = a;
		l->fd = b->listener[i].fd;
		l->kind = b->listener[i].internal ? LISTENER_INTERNAL : LISTENER_PUBLIC;
		/* Accepted sockets inherit it. */
		if (sndbuf > 0 &&
		    setsockopt(l->fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)) != 0)
			log_warn("SO_SNDBUF=%d", sndbuf);
		l->ev = event_new(base, l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
		if (l->ev == NULL || event_add(l->ev, NULL) != 0)
			goto fail;
		a->n++;
	}
	s->net->on_freed = on_freed;
	s->net->on_freed_arg = a;
	return a;

fail:
	acceptor_free(a);
	return NULL;
}

void
acceptor_free(struct acceptor *a)
{
	size_t i;

	if (a == NULL)
		return;
	a->server->net->on_freed = NULL;
	for (i = 0; i < a->n; i++)
		event_free(a->listener[i].ev);
	if (a->resume != NULL)
		event_free(a->resume);
	free(a);
}
