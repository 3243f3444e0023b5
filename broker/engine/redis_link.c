/*
 * redis_link: one connection to Redis that comes back by itself.  See redis_link.h.
 */
#include "broker/engine/redis_link.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/engine/redis_resp.h"
#include "broker/engine/redis_url.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#define READ_CHUNK (16UL * 1024)
#define READ_PASS (256UL * 1024)
#define OUT_MAX ((size_t)1 << 30)
#define OUT_KEEP ((size_t)1 << 20)
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define LOG_BURST 5

enum link_state {
	LINK_WAITING,
	LINK_RESOLVING,
	LINK_CONNECTING,
	LINK_HANDSHAKE,
	LINK_READY,
};

/* Outlives the link where libevent still has to answer. */
struct lookup {
	struct redis_link *link; /* NULL: nobody waits any more */
};

struct redis_link {
	enum link_state state;
	int fd;
	struct redis_link_options opt;
	const struct redis_link_handler *handler;
	void *arg;
	struct event_base *base;
	struct event readable, writable;
	struct event timer; /* WAITING: try again; READY: an answer is due; else: give up */

	struct redis_reader *reader;
	struct buf out;
	size_t awaiting;   /* replies that are due */
	uint64_t progress; /* when Redis last gave a sign of life while replies were due, ms */

	unsigned handshake; /* replies that are due before READY */
	unsigned attempt;   /* chooses among the addresses of a name */
	unsigned backoff;   /* ms */
	uint64_t ready_at;  /* ms */

	struct evdns_base *dns; /* made when a name is first looked up */
	struct evdns_getaddrinfo_request *request;
	struct lookup *lookup;
	struct log_gate gate;
};

static void
arm(struct redis_link *l, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

	(void)event_add(&l->timer, &tv);
}

/* --- losing ----------------------------------------------------------------------------------- */

static void
shut(struct redis_link *l)
{
	if (l->lookup != NULL) {
		l->lookup->link = NULL;
		l->lookup = NULL;
		if (l->request != NULL)
			evdns_getaddrinfo_cancel(l->request);
		l->request = NULL;
	}
	(void)event_del(&l->timer);
	if (l->fd >= 0) {
		(void)event_del(&l->readable);
		(void)event_del(&l->writable);
		(void)close(l->fd);
		l->fd = -1;
	}
	redis_reader_free(l->reader);
	l->reader = NULL;
	buf_fini(&l->out);
	l->awaiting = 0;
	l->state = LINK_WAITING;
}

/* Closes, and sets the timer for another attempt. */
static void fail(struct redis_link *l, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
fail(struct redis_link *l, int err, const char *fmt, ...)
{
	bool was_ready = l->state == LINK_READY;
	char why[256], where[REDIS_URL_TEXT];
	uint32_t random;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	shut(l);
	/* A link that served for a while begins afresh; one that is refused at once does not. */
	if (was_ready && clock_ms() - l->ready_at > BACKOFF_MAX_MS)
		l->backoff = 0;
	l->backoff = l->backoff == 0 ? BACKOFF_MIN_MS : l->backoff * 2;
	if (l->backoff > BACKOFF_MAX_MS)
		l->backoff = BACKOFF_MAX_MS;
	evutil_secure_rng_get_bytes(&random, sizeof(random));
	arm(l, l->backoff / 2 + random % (l->backoff / 2 + 1));
	l->attempt++;
	if (log_gate_open(&l->gate, LOG_BURST))
		log_warnx("redis: %s link=%s to=%s reason=\"%s\"",
		    was_ready ? "lost" : "cannot connect", l->opt.name,
		    redis_url_text(l->opt.url, where), why);
	if (was_ready)
		l->handler->lost(l->arg, err);
}

void
redis_link_drop(struct redis_link *l, int err, const char *why)
{
	if (l->state == LINK_READY)
		fail(l, err, "%s", why);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void
become_ready(struct redis_link *l)
{
	char where[REDIS_URL_TEXT];

	(void)event_del(&l->timer);
	l->state = LINK_READY;
	l->ready_at = clock_ms();
	if (log_gate_open(&l->gate, LOG_BURST))
		log_info("redis: connected link=%s to=%s", l->opt.name,
		    redis_url_text(l->opt.url, where));
	l->handler->ready(l->arg);
	redis_link_flush(l);
}

static int
handshake_reply(struct redis_link *l, const struct redis_reply *r)
{
	const struct redis_value *v = &r->v[0];
	int len = (int)(v->len < 200 ? v->len : 200);

	if (!r->array && v->type == REDIS_TYPE_STATUS) {
		if (--l->handshake == 0)
			become_ready(l);
		return 0;
	}
	if (r->array || v->type != REDIS_TYPE_ERROR)
		return FAN_EPROTO;
	if (log_gate_open(&l->gate, LOG_BURST))
		log_errx("redis: %s (%.*s)",
		    strncmp(v->data, "WRONGPASS", 9) == 0 ? "wrong password or user"
							  : "refuses AUTH or SELECT",
		    len, v->data);
	return FAN_EDENIED;
}

static int
on_reply(void *arg, const struct redis_reply *r)
{
	struct redis_link *l = arg;
	int got;

	if (l->state == LINK_HANDSHAKE)
		return handshake_reply(l, r);
	got = l->handler->reply(l->arg, r);
	if (got > 0 && l->awaiting > 0)
		l->awaiting--;
	return got < 0 ? got : 0;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct redis_link *l = arg;
	char chunk[READ_CHUNK];
	const char *why;
	size_t total = 0;
	ssize_t n;
	int err;

	(void)what;
	do {
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			fail(l, FAN_EGONE, "%s", n == 0 ? "closed by Redis" : strerror(errno));
			return;
		}
		l->progress = clock_ms();
		err = redis_reader_feed(l->reader, chunk, (size_t)n, &why);
		if (err != 0) {
			fail(l, err, "%s", why);
			return;
		}
		total += (size_t)n;
	} while ((size_t)n == sizeof(chunk) && total < READ_PASS);
}

/* --- writing ---------------------------------------------------------------------------------- */

void
redis_link_flush(struct redis_link *l)
{
	ssize_t n;

	if (l->state < LINK_HANDSHAKE)
		return;
	while (buf_len(&l->out) > 0) {
		n = send(l->fd, buf_data(&l->out), buf_len(&l->out), MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			(void)event_add(&l->writable, NULL);
			return;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			/* on_readable meets the end, and no callback comes from here. */
			(void)shutdown(l->fd, SHUT_RDWR);
			return;
		}
		buf_consume(&l->out, (size_t)n);
	}
	(void)event_del(&l->writable);
	if (l->out.cap > OUT_KEEP)
		buf_fini(&l->out);
}

int
redis_link_command(struct redis_link *l, const struct redis_arg *args, size_t n, size_t replies)
{
	int err;

	if (l->state != LINK_READY)
		return FAN_EDOWN;
	err = redis_command_append(&l->out, args, n);
	if (err != 0)
		return err;
	if (l->awaiting == 0) {
		l->progress = clock_ms();
		if (!evtimer_pending(&l->timer, NULL))
			arm(l, l->opt.timeout);
	}
	l->awaiting += replies;
	return 0;
}

bool
redis_link_ready(const struct redis_link *l)
{
	return l->state == LINK_READY;
}

/* --- connecting ------------------------------------------------------------------------------- */

/* Queues AUTH and SELECT as far as the URL asks for them. */
static int
queue_handshake(struct redis_link *l)
{
	const struct redis_url *u = l->opt.url;
	struct redis_arg args[3] = { { .data = "AUTH", .len = 4 } };
	char db[16];
	size_t n = 1;
	int err;

	l->handshake = 0;
	if (u->password != NULL) {
		if (u->user != NULL)
			args[n++] = (struct redis_arg){ .data = u->user, .len = strlen(u->user) };
		args[n++] = (struct redis_arg){ .data = u->password, .len = strlen(u->password) };
		err = redis_command_append(&l->out, args, n);
		if (err != 0)
			return err;
		l->handshake++;
	}
	if (u->db != 0) {
		args[0] = (struct redis_arg){ .data = "SELECT", .len = 6 };
		args[1] = (struct redis_arg){ .data = db,
			.len = (size_t)snprintf(db, sizeof(db), "%u", u->db) };
		err = redis_command_append(&l->out, args, 2);
		if (err != 0)
			return err;
		l->handshake++;
	}
	return 0;
}

static void
on_connected(struct redis_link *l)
{
	l->reader = redis_reader_new(on_reply, l);
	if (l->reader == NULL || queue_handshake(l) != 0) {
		fail(l, FAN_ENOMEM, "no memory for a connection");
		return;
	}
	(void)event_add(&l->readable, NULL);
	if (l->handshake == 0) {
		become_ready(l);
		return;
	}
	l->state = LINK_HANDSHAKE;
	arm(l, l->opt.timeout);
	redis_link_flush(l);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct redis_link *l = arg;
	socklen_t len = sizeof(int);
	int err = 0;

	(void)what;
	if (l->state != LINK_CONNECTING) {
		/* The socket had been full, so somebody reads at the other end. */
		l->progress = clock_ms();
		redis_link_flush(l);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		err = errno;
	if (err != 0)
		fail(l, FAN_ESYS, "%s", strerror(err));
	else
		on_connected(l);
}

static void
set_tcp_options(int fd)
{
	const int on = 1, idle = 15, interval = 5, count = 3;

	/* Without any of these the link works; it only notices less. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void
connect_to(struct redis_link *l, const struct sockaddr *sa, socklen_t len)
{
	l->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		fail(l, FAN_ESYS, "%s", strerror(errno));
		return;
	}
	if (sa->sa_family != AF_UNIX)
		set_tcp_options(l->fd);
	event_assign(&l->readable, l->base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
	event_assign(&l->writable, l->base, l->fd, EV_WRITE | EV_PERSIST, on_writable, l);
	l->state = LINK_CONNECTING;
	if (connect(l->fd, sa, len) != 0 && errno != EINPROGRESS) {
		fail(l, FAN_ESYS, "%s", strerror(errno));
		return;
	}
	/* A connection that is there already is writable in the next pass. */
	(void)event_add(&l->writable, NULL);
}

static void
on_resolved(int err, struct evutil_addrinfo *list, void *arg)
{
	struct lookup *k = arg;
	struct redis_link *l = k->link;
	struct evutil_addrinfo *ai;
	unsigned n = 0;

	free(k);
	if (l != NULL) {
		l->lookup = NULL;
		l->request = NULL;
		for (ai = list; ai != NULL; ai = ai->ai_next)
			n++;
		if (err != 0 || n == 0) {
			fail(l, FAN_ESYS, "cannot resolve the name: %s", evutil_gai_strerror(err));
		} else {
			/* Each attempt takes the next of the addresses. */
			for (ai = list, n = l->attempt % n; n > 0; n--)
				ai = ai->ai_next;
			connect_to(l, ai->ai_addr, (socklen_t)ai->ai_addrlen);
		}
	}
	if (list != NULL)
		evutil_freeaddrinfo(list);
}

static void
on_dns_log(int is_warning, const char *text)
{
	(void)is_warning;
	log_debug("dns: %s", text);
}

static void
resolve(struct redis_link *l, const struct addrinfo *hints)
{
	struct evdns_getaddrinfo_request *request;

	if (l->dns == NULL) {
		evdns_set_log_fn(on_dns_log);
		l->dns = evdns_base_new(l->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
		/* Where the file is missing, the local resolver is asked. */
		if (l->dns != NULL)
			(void)evdns_base_resolv_conf_parse(
			    l->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
	}
	l->lookup = l->dns == NULL ? NULL : malloc(sizeof(*l->lookup));
	if (l->lookup == NULL) {
		fail(l, FAN_ENOMEM, "no memory for a lookup");
		return;
	}
	l->state = LINK_RESOLVING;
	l->lookup->link = l;
	/* on_resolved may have run already when this returns; then it is NULL. */
	request = evdns_getaddrinfo(
	    l->dns, l->opt.url->host, l->opt.url->port, hints, on_resolved, l->lookup);
	if (request != NULL)
		l->request = request;
}

static void
connect_tcp(struct redis_link *l)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	const char *host = l->opt.url->host;
	struct addrinfo *ai;

	/* Not left to a resolver, so that it works where there is none. */
	if (strcasecmp(host, "localhost") == 0)
		host = l->attempt % 2 == 0 ? "127.0.0.1" : "::1";
	if (getaddrinfo(host, l->opt.url->port, &hints, &ai) == 0) {
		connect_to(l, ai->ai_addr, ai->ai_addrlen);
		freeaddrinfo(ai);
		return;
	}
	hints.ai_flags = AI_NUMERICSERV;
	resolve(l, &hints);
}

static void
connect_start(struct redis_link *l)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	arm(l, l->opt.connect_timeout);
	if (l->opt.url->path == NULL) {
		connect_tcp(l);
		return;
	}
	/* redis_url has checked that it fits. */
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", l->opt.url->path);
	connect_to(l, (const struct sockaddr *)&sun, sizeof(sun));
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct redis_link *l = arg;
	uint64_t waited;

	(void)fd;
	(void)what;
	switch (l->state) {
	case LINK_WAITING:
		connect_start(l);
		return;
	case LINK_RESOLVING:
		fail(l, FAN_ETIMEOUT, "the name was not resolved in time");
		return;
	case LINK_CONNECTING:
		fail(l, FAN_ETIMEOUT, "no connection in time");
		return;
	case LINK_HANDSHAKE:
		fail(l, FAN_ETIMEOUT, "no answer to AUTH or SELECT in time");
		return;
	case LINK_READY:
		break;
	}
	if (l->awaiting == 0)
		return;
	waited = clock_ms() - l->progress;
	if (waited >= (uint64_t)l->opt.timeout)
		fail(l, FAN_ETIMEOUT, "no answer for %llu ms", (unsigned long long)waited);
	else
		arm(l, l->opt.timeout - (int64_t)waited);
}

struct redis_link *
redis_link_new(struct event_base *base, const struct redis_link_options *o,
    const struct redis_link_handler *h, void *arg)
{
	struct redis_link *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->fd = -1;
	l->opt = *o;
	l->handler = h;
	l->arg = arg;
	l->base = base;
	buf_init(&l->out, OUT_MAX);
	evtimer_assign(&l->timer, base, on_timer, l);
	arm(l, 0);
	return l;
}

void
redis_link_free(struct redis_link *l)
{
	if (l == NULL)
		return;
	shut(l);
	if (l->dns != NULL)
		evdns_base_free(l->dns, 1);
	free(l);
}
