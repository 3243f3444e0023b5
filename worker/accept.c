/*
 * accept: takes connections from the worker's listening sockets.  See accept.h.
 */
#include "worker/accept.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/log.h"
#include "common/sock.h"
#include "worker/http/client.h"
#include "worker/http/http.h"
#include "worker/net/conn.h"
#include "worker/proxied.h"

#define BATCH 64     /* connections taken from one listener in a pass */
#define PAUSE_MS 100 /* before trying again when the process has no fd left */

struct listener {
	struct acceptor *acceptor;
	struct event *ev;
	int fd;
	enum listener_kind kind;
	bool tls, proxy, unix_socket;
};

struct acceptor {
	struct http_server *server;
	struct acceptor_options opt;
	struct proxied *proxied;
	struct event *resume;
	uint64_t
	    untrusted; /* connections that came to a listener with proxy from who is no proxy */
	bool full;     /* as many connections as may be: the public listeners wait */
	bool starved;  /* no fd is left: all listeners wait */
	struct log_gate gate, untrusted_gate;
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

static size_t
connections(const struct acceptor *a)
{
	return a->server->net->count + proxied_count(a->proxied);
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
	a->full = connections(a) >= a->opt.max;
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
		log_warn("accept: waiting connections=%zu", connections(a));
	a->starved = true;
	watch(a);
	(void)event_add(a->resume, &later);
}

/*
 * Takes fd, of which nothing but a PROXY header was read.  named: the header named the client.
 * FAN_ENOMEM.
 */
static int
serve(struct listener *l, int fd, const struct sockaddr_storage *client, bool named)
{
	struct acceptor *a = l->acceptor;
	struct http *h = http_prepare(a->server, fd, l->kind);
	bool debug = log_shows(LOG_LEVEL_DEBUG) != 0;
	char text[SOCK_ADDR_TEXT];

	if (h == NULL)
		return FAN_ENOMEM;
	/* Where the end is logged, the address is needed after the socket has lost it. */
	if ((named || debug) && conn_set_client(h->conn, client) != 0)
		goto fail;
	if (debug)
		log_debug("connected client=%s%s",
		    sock_addr_text((const struct sockaddr *)client, text),
		    named ? " by=proxy" : "");
	/*
	 * Over TLS there is nobody to tell yet; and who is refused again and again must not fill the
	 * worker by being told.
	 */
	if (l->kind == LISTENER_PUBLIC &&
	    !client_arrives(a->opt.clients, h, !l->tls && connections(a) <= a->opt.max / 2))
		return 0;
	if (l->tls && conn_set_tls(h->conn) != 0)
		goto fail;
	conn_start(h->conn);
	return 0;

fail:
	conn_close(h->conn, CONN_CLOSED_INTERNAL);
	return FAN_ENOMEM;
}

/* A PROXY header is there, or its connection has ended. */
static void
on_proxied(void *arg, int fd, const struct sockaddr_storage *named)
{
	struct listener *l = arg;
	struct sockaddr_storage client = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(client);
	bool is_named;

	if (fd < 0) {
		on_freed(l->acceptor);
		return;
	}
	is_named = named->ss_family != AF_UNSPEC;
	if (is_named)
		client = *named;
	else
		(void)getpeername(fd, (struct sockaddr *)&client, &len);
	sock_addr_unmap(&client);
	if (serve(l, fd, &client, is_named) != 0)
		out_of_fds(l->acceptor);
}

static bool
is_proxy(struct acceptor *a, const struct sockaddr_storage *peer)
{
	char text[SOCK_ADDR_TEXT];

	if (addr_set_has(&a->opt.clients->trusted, (const struct sockaddr *)peer))
		return true;
	a->untrusted++;
	if (log_gate_open(&a->untrusted_gate, 1))
		log_warnx("PROXY header: peer=%s is not in proxy.trusted refused=%llu",
		    sock_addr_text((const struct sockaddr *)peer, text),
		    (unsigned long long)a->untrusted);
	return false;
}

/* Takes fd, just accepted.  FAN_ENOMEM. */
static int
welcome(struct listener *l, int fd, struct sockaddr_storage *peer)
{
	struct acceptor *a = l->acceptor;
	int sndbuf = a->opt.sndbuf;

	sock_addr_unmap(peer);
	/* Unlike of TCP, a socket accepted from a unix socket does not inherit it. */
	if (l->unix_socket && sndbuf > 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	if (!l->proxy)
		return serve(l, fd, peer, false);
	if (is_proxy(a, peer))
		return proxied_take(a->proxied, fd, l);
	(void)close(fd);
	return 0;
}

static void
on_acceptable(evutil_socket_t lfd, short what, void *arg)
{
	struct listener *l = arg;
	struct acceptor *a = l->acceptor;
	int i;

	(void)what;
	for (i = 0; i < BATCH; i++) {
		struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(peer);
		int fd;

		if (l->kind == LISTENER_PUBLIC && connections(a) >= a->opt.max) {
			if (log_gate_open(&a->gate, 1))
				log_warnx("accept: waiting connections=%zu is the most here",
				    connections(a));
			a->full = true;
			watch(a);
			return;
		}
		fd = accept4(lfd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM)
				out_of_fds(a);
			else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				log_warn("accept");
			return;
		}
		if (welcome(l, fd, &peer) != 0) {
			out_of_fds(a);
			return;
		}
	}
}

struct acceptor *
acceptor_new(struct http_server *s, const struct boot *b, const struct acceptor_options *opt)
{
	struct acceptor *a = calloc(1, sizeof(*a) + b->listeners * sizeof(a->listener[0]));
	struct event_base *base = s->net->base;
	size_t i;

	if (a == NULL)
		return NULL;
	a->server = s;
	a->opt = *opt;
	a->proxied = proxied_new(base, s->net->deadlines, opt->proxy_header_ms, on_proxied);
	a->resume = event_new(base, -1, 0, on_resume, a);
	if (a->proxied == NULL || a->resume == NULL)
		goto fail;
	for (i = 0; i < b->listeners; i++) {
		const struct boot_listener *from = &b->listener[i];
		struct listener *l = &a->listener[a->n];

		l->acceptor = a;
		l->fd = from->fd;
		l->kind = from->internal ? LISTENER_INTERNAL : LISTENER_PUBLIC;
		l->tls = from->tls;
		l->proxy = from->proxy;
		l->unix_socket = from->unix_socket;
		/* Accepted sockets inherit it. */
		if (opt->sndbuf > 0 && !l->unix_socket &&
		    setsockopt(l->fd, SOL_SOCKET, SO_SNDBUF, &opt->sndbuf, sizeof(opt->sndbuf)) !=
			0)
			log_warn("SO_SNDBUF=%d", opt->sndbuf);
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
	proxied_free(a->proxied);
	free(a);
}
