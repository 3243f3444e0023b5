/*
 * redis_link: one connection to Redis that comes back by itself.  See redis_link.h.
 */
#include "broker/engine/redis_link.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <hiredis/hiredis.h>
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

#include "broker/engine/redis_url.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

/* hiredis moves what it has not parsed after each KiB that it has, so it is fed small pieces. */
#define READ_CHUNK (16 * 1024)
#define READ_PASS (256 * 1024)
#define READER_KEEP (1024 * 1024) /* an empty parser buffer above this is freed */
#define LINE_MAX_BYTES 4096
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

	redisReader *reader;
	struct redis_reply reply; /* being put together by the parser's callbacks */
	char
	    scratch[REDIS_KEY_MAX]; /* strings of an array that may move before its last is there */
	size_t scratch_len;
	const char *refused; /* why a callback stopped the parser */
	int refused_err;

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
	if (l->reader != NULL)
		redisReaderFree(l->reader);
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

/* --- parsing ---------------------------------------------------------------------------------- */

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
handshake_reply(struct redis_link *l)
{
	const struct redis_value *v = &l->reply.v[0];
	int len = (int)(v->len < 200 ? v->len : 200);

	if (!l->reply.array && v->type == REDIS_TYPE_STATUS) {
		if (--l->handshake == 0)
			become_ready(l);
		return 0;
	}
	if (l->reply.array || v->type != REDIS_TYPE_ERROR)
		return FAN_EPROTO;
	if (log_gate_open(&l->gate, LOG_BURST))
		log_errx("redis: %s (%.*s)",
		    strncmp(v->data, "WRONGPASS", 9) == 0 ? "wrong password or user"
							  : "refuses AUTH or SELECT",
		    len, v->data);
	return FAN_EDENIED;
}

/* The reply is whole.  Its last string is still where the parser has it. */
static int
deliver(struct redis_link *l)
{
	int got;

	if (l->state == LINK_HANDSHAKE)
		got = handshake_reply(l);
	else
		got = l->handler->reply(l->arg, &l->reply);
	if (got > 0 && l->awaiting > 0)
		l->awaiting--;
	if (got >= 0)
		return 0;
	l->refused = fan_strerror(got);
	l->refused_err = got;
	return got;
}

/*
 * Adds a value to the reply under way.  Strings are lent in place where they complete the reply;
 * what is behind an earlier one may be read only after the parser's buffer has moved, so that is
 * copied.  Returns what hiredis takes for an object, or NULL to stop it.
 */
static void *
add_value(
    const redisReadTask *task, enum redis_type type, const char *data, size_t len, int64_t number)
{
	struct redis_link *l = task->privdata;
	struct redis_reply *r = &l->reply;
	bool last = task->parent == NULL || task->idx + 1 == (int)task->parent->elements;

	if (task->parent == NULL) {
		r->array = false;
		r->n = 0;
	}
	if (!last && len > sizeof(l->scratch) - l->scratch_len) {
		l->refused = "a string is too long";
		return NULL;
	}
	if (!last && len > 0) {
		data = memcpy(l->scratch + l->scratch_len, data, len);
		l->scratch_len += len;
	}
	/* on_array has made sure that there is room. */
	r->v[r->n++] = (struct redis_value){ type, data, len, number };
	return last && deliver(l) != 0 ? NULL : l;
}

static void *
on_string(const redisReadTask *task, char *s, size_t n)
{
	enum redis_type type = REDIS_TYPE_STRING;

	if (task->type == REDIS_REPLY_STATUS)
		type = REDIS_TYPE_STATUS;
	else if (task->type == REDIS_REPLY_ERROR)
		type = REDIS_TYPE_ERROR;
	return add_value(task, type, s, n, 0);
}

static void *
on_integer(const redisReadTask *task, long long number)
{
	return add_value(task, REDIS_TYPE_INTEGER, NULL, 0, number);
}

static void *
on_nil(const redisReadTask *task)
{
	return add_value(task, REDIS_TYPE_NIL, NULL, 0, 0);
}

#if HIREDIS_MAJOR >= 1
static void *
on_array(const redisReadTask *task, size_t elements)
#else
static void *
on_array(const redisReadTask *task, int elements)
#endif
{
	struct redis_link *l = task->privdata;

	if (task->parent != NULL || elements < 1 || elements > REDIS_ARRAY_MAX) {
		l->refused = "an array is nested, empty or too long";
		return NULL;
	}
	l->reply.array = true;
	l->reply.n = 0;
	l->scratch_len = 0;
	return l;
}

static void
on_free(void *object)
{
	(void)object; /* it is the link itself */
}

static redisReplyObjectFunctions reply_functions = {
	.createString = on_string,
	.createArray = on_array,
	.createInteger = on_integer,
	.createNil = on_nil,
	.freeObject = on_free,
};

/*
 * What stays in the parser's buffer is a line that has not ended, or the length line of a string
 * and a part of the string.  Returns what is wrong with it, or NULL.
 */
static const char *
check_rest(const redisReader *r)
{
	const char *p = r->buf + r->pos;
	size_t n = r->len - r->pos;
	unsigned long long declared;
	char *end;

	if (n == 0)
		return NULL;
	declared = strtoull(p, &end, 10);
	if (end != p && *end == '\r')
		return declared > REDIS_BULK_MAX ? "a string is too long" : NULL;
	return n > LINE_MAX_BYTES ? "a line is too long" : NULL;
}

/* Returns false if the link was lost over the bytes. */
static bool
consume(struct redis_link *l, const char *bytes, size_t n)
{
	const char *wrong;
	void *object;

	l->refused = NULL;
	l->refused_err = FAN_EPROTO;
	if (redisReaderFeed(l->reader, bytes, n) != REDIS_OK) {
		fail(l, FAN_ENOMEM, "no memory for a reply");
		return false;
	}
	do {
		if (redisReaderGetReply(l->reader, &object) != REDIS_OK) {
			wrong = l->refused != NULL ? l->refused : redisReaderGetError(l->reader);
			fail(l, l->refused_err, "%s", wrong);
			return false;
		}
	} while (object != NULL);
	wrong = check_rest(l->reader);
	if (wrong != NULL)
		fail(l, FAN_EPROTO, "%s", wrong);
	return wrong == NULL;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct redis_link *l = arg;
	char chunk[READ_CHUNK];
	size_t total = 0;
	ssize_t n;

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
		if (!consume(l, chunk, (size_t)n))
			return;
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

/* Writes "<mark><n>CRLF" to p and returns the place behind it. */
static uint8_t *
put_count(uint8_t *p, char mark, size_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	*p++ = (uint8_t)mark;
	p = (uint8_t *)memcpy(p, digits + i, sizeof(digits) - i) + (sizeof(digits) - i);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

static uint8_t *
put_bytes(uint8_t *p, const void *data, size_t n)
{
	return n == 0 ? p : (uint8_t *)memcpy(p, data, n) + n;
}

/* Appends a command in RESP, whatever the state. */
static int
append(struct redis_link *l, const struct redis_arg *args, size_t n)
{
	const size_t count_max = 23; /* a mark, 20 digits, CRLF */
	size_t need = count_max, i;
	uint8_t *start, *p;
	int err;

	for (i = 0; i < n; i++) {
		if (args[i].len > OUT_MAX || args[i].head_len > OUT_MAX || need > OUT_MAX)
			return FAN_ETOOBIG;
		need += count_max + args[i].head_len + args[i].len + 2;
	}
	err = buf_reserve(&l->out, need, &start);
	if (err != 0)
		return err;
	p = put_count(start, '*', n);
	for (i = 0; i < n; i++) {
		p = put_count(p, '$', args[i].head_len + args[i].len);
		p = put_bytes(p, args[i].head, args[i].head_len);
		p = put_bytes(p, args[i].data, args[i].len);
		p = put_bytes(p, "\r\n", 2);
	}
	buf_commit(&l->out, (size_t)(p - start));
	return 0;
}

int
redis_link_command(struct redis_link *l, const struct redis_arg *args, size_t n, size_t replies)
{
	int err;

	if (l->state != LINK_READY)
		return FAN_EDOWN;
	err = append(l, args, n);
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
		err = append(l, args, n);
		if (err != 0)
			return err;
		l->handshake++;
	}
	if (u->db != 0) {
		args[0] = (struct redis_arg){ .data = "SELECT", .len = 6 };
		args[1] = (struct redis_arg){ .data = db,
			.len = (size_t)snprintf(db, sizeof(db), "%u", u->db) };
		err = append(l, args, 2);
		if (err != 0)
			return err;
		l->handshake++;
	}
	return 0;
}

static void
on_connected(struct redis_link *l)
{
	l->reader = redisReaderCreateWithFunctions(&reply_functions);
	if (l->reader == NULL || queue_handshake(l) != 0) {
		fail(l, FAN_ENOMEM, "no memory for a connection");
		return;
	}
	l->reader->privdata = l;
	l->reader->maxbuf = READER_KEEP;
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
