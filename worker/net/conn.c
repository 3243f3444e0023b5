/*
 * conn: one client's socket: reading, the output queue, closing.  See conn.h.
 */
#include "worker/net/conn.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/block.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/sock.h"
#include "worker/net/burst.h"
#include "worker/net/conn_queue.h"
#include "worker/net/conn_tls.h"
#include "worker/net/guests.h"
#include "worker/net/poller.h"
#include "worker/net/tls.h"

#define RBUF_SIZE ((size_t)64 * 1024)
#define IOV_BATCH 64
#define CROWD 64 /* connections whose memory is worth giving back */

static void on_ready(void *object, unsigned what);
static void on_burst_done(
    void *object, struct block *b, size_t off, size_t n, struct outq_tag tag, int res);

const char *
conn_reason_text(enum conn_reason r)
{
	static const char *const text[CONN_REASONS] = { "closed by the peer", "peer vanished",
		"done", "protocol error", "policy", "timeout", "ping not answered", "slow",
		"shutdown", "internal error" };

	return text[r];
}

static void
on_deadline(struct deadline *d)
{
	struct conn *c = (struct conn *)(void *)((char *)d - offsetof(struct conn, deadline));

	if (c->state != CONN_OPEN)
		conn_close(c, (enum conn_reason)c->reason);
	else if (c->handshaking)
		conn_close(c, CONN_CLOSED_TIMEOUT);
	else
		c->h->on_deadline(c);
}

int
net_init(
    struct net *n, struct event_base *base, size_t queue_max, uint64_t stall_ms, uint64_t linger_ms)
{
	memset(n, 0, sizeof(*n));
	n->base = base;
	n->queue_max = queue_max;
	n->stall_ms = stall_ms;
	n->linger_ms = linger_ms;
	n->rbuf_size = RBUF_SIZE;
	TAILQ_INIT(&n->open);
	TAILQ_INIT(&n->finishing);
	TAILQ_INIT(&n->closed);
	TAILQ_INIT(&n->queues);
	n->rbuf = malloc(n->rbuf_size);
	n->deadlines = deadlines_new(base);
	n->poller = poller_new(base, on_ready);
	if (n->rbuf == NULL || n->deadlines == NULL || n->poller == NULL) {
		net_fini(n);
		return FAN_ENOMEM;
	}
	deadlines_on(n->deadlines, DEADLINE_CONN, on_deadline);
	deadlines_on(n->deadlines, DEADLINE_STALL, conn_queue_on_stall);
	return 0;
}

void
net_use_burst(struct net *n, bool wanted)
{
	if (wanted)
		n->burst = burst_new(on_burst_done);
	if (n->burst != NULL)
		log_info("fan-out by io_uring");
	else if (wanted)
		log_info("fan-out by send; io_uring cannot be used: %s", strerror(errno));
	else
		log_info("fan-out by send");
}

void
net_fini(struct net *n)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&n->open)) != NULL)
		conn_close(c, CONN_CLOSED_SHUTDOWN);
	while ((c = TAILQ_FIRST(&n->finishing)) != NULL)
		conn_close(c, (enum conn_reason)c->reason);
	net_reap(n);
	burst_free(n->burst);
	guests_free(n->guests);
	deadlines_free(n->deadlines);
	poller_free(n->poller);
	free(n->rbuf);
	free(n->sbuf);
	n->burst = NULL;
	n->guests = NULL;
	n->deadlines = NULL;
	n->poller = NULL;
	n->rbuf = NULL;
	n->sbuf = NULL;
}

/* --- events ------------------------------------------------------------------------------- */

/* Watches what the state asks for: to read unless paused, to write while something is queued. */
static void
rewatch(struct conn *c)
{
	unsigned want = (c->paused ? 0 : POLLER_IN) | (c->queue == NULL ? 0 : POLLER_OUT);

	if (c->tls != NULL)
		want = conn_tls_wants(c, want);
	if (c->state != CONN_CLOSED && poller_watch(c->net->poller, c->fd, c, &c->watch, want) != 0)
		conn_close(c, CONN_CLOSED_INTERNAL);
}

/* Nothing more will be written: tells the peer. */
static void
end_output(struct conn *c)
{
	if (c->tls == NULL || conn_tls_goodbye(c))
		(void)shutdown(c->fd, SHUT_WR);
}

/* Returns what conn_queue_took does. */
static bool
send_queue(struct conn *c)
{
	struct iovec iov[IOV_BATCH];
	struct msghdr mh = { .msg_iov = iov };
	ssize_t sent;

	if (c->sealed)
		return conn_tls_flush(c);
	mh.msg_iovlen = outq_iov(&c->queue->q, iov, IOV_BATCH);
	sent = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent >= 0)
		return conn_queue_took(c, (size_t)sent);
	if (errno != EAGAIN && errno != EINTR)
		conn_close(c, CONN_CLOSED_VANISHED);
	return false;
}

static void
write_queue(struct conn *c)
{
	bool tell = send_queue(c);

	if (c->queue == NULL && c->state == CONN_FINISHING) {
		/* Paused while finishing: the peer has closed its side already. */
		if (c->paused) {
			conn_close(c, (enum conn_reason)c->reason);
			return;
		}
		end_output(c);
	}
	if (c->queue == NULL)
		rewatch(c);
	if (tell && c->state == CONN_OPEN)
		c->h->on_drained(c);
}

/*
 * 0: the end; -1: nothing now, or the connection was closed.  What is thrown away need not be
 * decrypted.
 */
static ssize_t
receive(struct conn *c)
{
	ssize_t n;

	if (c->tls != NULL && c->state == CONN_OPEN)
		return conn_tls_read(c);
	n = recv(c->fd, c->net->rbuf, c->net->rbuf_size, MSG_DONTWAIT);
	if (n >= 0 || errno == EAGAIN || errno == EINTR)
		return n;
	/* From a kernel that decrypts: not data, so the peer's goodbye. */
	if (errno == EIO && c->tls != NULL)
		return 0;
	conn_close(c, CONN_CLOSED_VANISHED);
	return -1;
}

static void
read_once(struct conn *c)
{
	ssize_t n = receive(c);

	if (n < 0)
		return;
	if (c->state == CONN_FINISHING) {
		if (n == 0 && c->queue == NULL)
			conn_close(c, (enum conn_reason)c->reason);
		else if (n == 0)
			conn_pause(c);
		return;
	}
	if (n > 0) {
		c->h->on_data(c, c->net->rbuf, (size_t)n);
		return;
	}
	if (c->h->on_eof == NULL) {
		conn_close(c, CONN_CLOSED_VANISHED);
		return;
	}
	conn_pause(c);
	c->h->on_eof(c);
}

static void
on_ready(void *object, unsigned what)
{
	struct conn *c = object;

	if (c->tls != NULL)
		what = conn_tls_ready(c, what);
	if ((what & POLLER_OUT) != 0 && c->state != CONN_CLOSED && c->queue != NULL)
		write_queue(c);
	else if ((what & POLLER_OUT) != 0 && c->state == CONN_FINISHING && c->goodbye)
		end_output(c);
	if ((what & POLLER_IN) != 0 && c->state != CONN_CLOSED && !c->paused)
		read_once(c);
	if (c->tls != NULL)
		rewatch(c);
}

/* --- the interface ------------------------------------------------------------------------ */

struct conn *
conn_new(struct net *n, int fd, const struct conn_handler *h, void *up)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		(void)close(fd);
		return NULL;
	}
	c->net = n;
	c->fd = fd;
	c->h = h;
	c->up = up;
	deadline_init(&c->deadline, DEADLINE_CONN);
	TAILQ_INSERT_TAIL(&n->open, c, link);
	n->count++;
	return c;
}

void
conn_start(struct conn *c)
{
	/* With TCP_DEFER_ACCEPT, and mostly without, the first bytes are here already. */
	if (c->tls != NULL)
		(void)conn_tls_ready(c, POLLER_IN);
	else
		read_once(c);
	rewatch(c);
}

int
conn_set_tls(struct conn *c)
{
	struct net *n = c->net;

	if (n->sbuf == NULL)
		n->sbuf = malloc(TLS_RECORD_MAX);
	if (n->sbuf == NULL)
		return FAN_ENOMEM;
	c->tls = tls_new(n->tls, c->fd);
	c->handshaking = c->tls != NULL;
	return c->handshaking ? 0 : FAN_ENOMEM;
}

void
conn_set_handler(struct conn *c, const struct conn_handler *h, void *up)
{
	c->h = h;
	c->up = up;
}

static socklen_t
address_size(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET ? sizeof(struct sockaddr_in)
	    : sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					: sizeof(sa->sa_family);
}

void
conn_client(const struct conn *c, struct sockaddr_storage *out)
{
	socklen_t size = sizeof(*out);

	memset(out, 0, sizeof(*out));
	if (c->client != NULL)
		memcpy(out, c->client, address_size(c->client));
	else if (c->fd < 0 || getpeername(c->fd, (struct sockaddr *)out, &size) != 0)
		out->ss_family = AF_UNSPEC;
	else if (out->ss_family == AF_UNIX)
		*out = (struct sockaddr_storage){ .ss_family = AF_UNIX };
}

int
conn_set_client(struct conn *c, const struct sockaddr_storage *client)
{
	/* Only as much as its family needs, as many connections may have one. */
	socklen_t size = address_size((const struct sockaddr *)client);
	struct sockaddr *copy = malloc(size);

	if (copy == NULL)
		return FAN_ENOMEM;
	memcpy(copy, client, size);
	free(c->client);
	c->client = copy;
	return 0;
}

void
conn_pause(struct conn *c)
{
	c->paused = true;
	if (c->watch != 0)
		rewatch(c);
}

void
conn_resume(struct conn *c)
{
	c->paused = false;
	rewatch(c);
}

void
conn_unacked(struct conn *c, uint64_t ms)
{
	unsigned value = ms < INT_MAX ? (unsigned)ms : INT_MAX;

	/* A unix socket has none, and needs none. */
	if (c->state == CONN_OPEN)
		(void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof(value));
}

void
conn_deadline(struct conn *c, uint64_t ms)
{
	/* While finishing it is the lingering's. */
	if (c->state != CONN_OPEN)
		return;
	if (ms == 0)
		deadline_clear(&c->deadline);
	else
		deadline_set(c->net->deadlines, &c->deadline, ms);
}

/* Sends what the kernel takes now; returns how much, or -1 after closing the connection. */
static ssize_t
send_now(struct conn *c, const uint8_t *p, size_t n)
{
	ssize_t sent;

	if (c->sealed)
		return conn_tls_send(c, p, n);
	sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	conn_close(c, CONN_CLOSED_VANISHED);
	return -1;
}

/* Queues what the kernel has not taken of n bytes of b from off on. */
static void
queue_rest(struct conn *c, struct block *b, size_t off, size_t n, size_t sent, struct outq_tag tag)
{
	bool first = c->queue == NULL;

	if (sent == n)
		return;
	conn_queue_block(c, b, off, n, sent, tag);
	if (first)
		rewatch(c);
}

/* A write has left with its burst; res as in burst.h. */
static void
on_burst_done(void *object, struct block *b, size_t off, size_t n, struct outq_tag tag, int res)
{
	struct conn *c = object;

	c->in_burst = false;
	if (res >= 0 || res == -EAGAIN || res == -EINTR)
		queue_rest(c, b, off, n, res > 0 ? (size_t)res : 0, tag);
	else
		conn_close(c, CONN_CLOSED_VANISHED);
}

/* What was written before comes first, and no fd is closed under a send. */
static void
leave_burst(struct conn *c)
{
	if (c->in_burst)
		burst_flush(c->net->burst);
}

void
conn_write(struct conn *c, const void *p, size_t n)
{
	ssize_t sent = 0;
	bool first;

	leave_burst(c);
	first = c->queue == NULL;
	if (c->state != CONN_OPEN || n == 0)
		return;
	if (first && (sent = send_now(c, p, n)) < 0)
		return;
	if ((size_t)sent == n)
		return;
	conn_queue_copy(c, p, n, (size_t)sent);
	if (first)
		rewatch(c);
}

void
conn_write_block(struct conn *c, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	ssize_t sent = 0;

	leave_burst(c);
	if (c->state != CONN_OPEN || n == 0)
		return;
	assert(off + n <= b->len);
	if (c->queue == NULL && !c->sealed && burst_is_open(c->net->burst)) {
		c->in_burst = true;
		burst_send(c->net->burst, c->fd, c, b, off, n, tag);
		return;
	}
	if (c->queue == NULL && (sent = send_now(c, b->data + off, n)) < 0)
		return;
	queue_rest(c, b, off, n, (size_t)sent, tag);
}

void
conn_discard(struct conn *c)
{
	leave_burst(c);
	if (c->queue == NULL)
		return;
	conn_queue_discard(c);
	if (c->queue == NULL)
		rewatch(c);
}

static void
log_end(const struct conn *c, enum conn_reason reason)
{
	struct sockaddr_storage client;
	char text[SOCK_ADDR_TEXT];

	if (!log_shows(LOG_LEVEL_DEBUG))
		return;
	conn_client(c, &client);
	log_debug("closed client=%s reason=\"%s\"",
	    sock_addr_text((const struct sockaddr *)&client, text), conn_reason_text(reason));
}

void
conn_close(struct conn *c, enum conn_reason reason)
{
	struct net *n = c->net;

	leave_burst(c);
	if (c->state == CONN_CLOSED)
		return;
	log_end(c, reason);
	if (c->state == CONN_OPEN)
		TAILQ_REMOVE(&n->open, c, link);
	else
		TAILQ_REMOVE(&n->finishing, c, link);
	c->state = CONN_CLOSED;
	c->reason = (uint8_t)reason;
	TAILQ_INSERT_TAIL(&n->closed, c, link);
	deadline_clear(&c->deadline);
	conn_queue_free(c);
	tls_free(c->tls);
	c->tls = NULL;
	(void)close(c->fd);
	c->fd = -1;
}

void
conn_finish(struct conn *c, enum conn_reason reason)
{
	leave_burst(c);
	if (c->state != CONN_OPEN)
		return;
	TAILQ_REMOVE(&c->net->open, c, link);
	TAILQ_INSERT_TAIL(&c->net->finishing, c, link);
	c->state = CONN_FINISHING;
	c->reason = (uint8_t)reason;
	c->paused = false;
	/* What comes now is not decrypted, so that reading needs no writing any more. */
	c->read_waits = false;
	deadline_set(c->net->deadlines, &c->deadline, c->net->linger_ms);
	if (c->queue == NULL)
		end_output(c);
	rewatch(c);
}

void
conn_stop(struct conn *c)
{
	if (c->handshaking)
		conn_close(c, CONN_CLOSED_SHUTDOWN);
	else if (c->state == CONN_OPEN)
		c->h->on_stop(c);
}

/* What a crowd has left behind is given back: by itself malloc only gives back what is at the end. */
static void
give_back(struct net *n)
{
	if (n->peak < CROWD || n->count > n->peak / 2)
		return;
	n->peak = n->count;
	(void)malloc_trim(0);
}

void
net_reap(void *net)
{
	struct net *n = net;
	struct conn *c;
	bool any = false;

	if (n->count > n->peak)
		n->peak = n->count;
	conn_queues_shed(n);
	while ((c = TAILQ_FIRST(&n->closed)) != NULL) {
		TAILQ_REMOVE(&n->closed, c, link);
		n->count--;
		n->ended[c->reason]++;
		c->h->on_close(c, (enum conn_reason)c->reason);
		guest_leave(c->guest, clock_ms());
		free(c->client);
		free(c);
		any = true;
	}
	if (any && n->on_freed != NULL)
		n->on_freed(n->on_freed_arg);
	give_back(n);
}
