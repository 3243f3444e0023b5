/*
 * conn: one client's socket: reading, the output queue, closing.  See conn.h.
 */
#include "worker/net/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/block.h"
#include "common/log.h"
#include "worker/net/burst.h"
#include "worker/net/poller.h"

#define RBUF_SIZE ((size_t)64 * 1024)
#define IOV_BATCH 64
#define COPY_BLOCK 1024 /* room of a block for small copied writes */

struct outq_entry {
	struct block *block;
	size_t off, end;
};

/* What the kernel has not taken yet; exists only while there is something. */
struct outq {
	struct deadline stall;
	struct conn *conn;
	size_t bytes;
	bool begun; /* a part of the first entry has left already */
	size_t head, n, cap;
	struct outq_entry *entry;
};

static void on_ready(void *object, unsigned what);
static void on_burst_done(void *object, struct block *b, size_t off, size_t n, int res);

const char *
conn_reason_text(enum conn_reason r)
{
	static const char *const text[CONN_REASONS] = { "closed by the peer", "peer vanished",
		"done", "protocol error", "policy", "timeout", "ping not answered", "slow",
		"shutdown", "internal error" };

	return text[r];
}

static void
on_stall(struct deadline *d)
{
	struct outq *q = (struct outq *)(void *)((char *)d - offsetof(struct outq, stall));
	struct conn *c = q->conn;

	if (c->state != CONN_OPEN || c->h->on_slow == NULL)
		conn_close(c, CONN_CLOSED_SLOW);
	else
		c->h->on_slow(c);
}

static void
on_deadline(struct deadline *d)
{
	struct conn *c = (struct conn *)(void *)((char *)d - offsetof(struct conn, deadline));

	if (c->state == CONN_OPEN)
		c->h->on_deadline(c);
	else
		conn_close(c, (enum conn_reason)c->reason);
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
	n->rbuf = malloc(n->rbuf_size);
	n->deadlines = deadlines_new(base);
	n->poller = poller_new(base, on_ready);
	if (n->rbuf == NULL || n->deadlines == NULL || n->poller == NULL) {
		net_fini(n);
		return FAN_ENOMEM;
	}
	deadlines_on(n->deadlines, DEADLINE_CONN, on_deadline);
	deadlines_on(n->deadlines, DEADLINE_STALL, on_stall);
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
	deadlines_free(n->deadlines);
	poller_free(n->poller);
	free(n->rbuf);
	n->burst = NULL;
	n->deadlines = NULL;
	n->poller = NULL;
	n->rbuf = NULL;
}

/* --- the output queue --------------------------------------------------------------------- */

static void
outq_pop(struct outq *q)
{
	block_unref(q->entry[q->head].block);
	q->head++;
	q->n--;
}

static void
outq_free(struct conn *c)
{
	struct outq *q = c->outq;

	if (q == NULL)
		return;
	while (q->n > 0)
		outq_pop(q);
	deadline_clear(&q->stall);
	free(q->entry);
	free(q);
	c->outq = NULL;
}

/* Adds an entry at the end; takes the caller's reference on b, also on failure. */
static int
outq_push(struct conn *c, struct block *b, size_t off, size_t end)
{
	struct outq *q = c->outq;

	if (q == NULL) {
		q = calloc(1, sizeof(*q));
		if (q == NULL)
			goto fail;
		q->conn = c;
		deadline_init(&q->stall, DEADLINE_STALL);
		c->outq = q;
	}
	if (q->head + q->n == q->cap) {
		/* Move down when that frees half, else grow. */
		if (q->head > q->cap / 2) {
			memmove(q->entry, q->entry + q->head, q->n * sizeof(*q->entry));
			q->head = 0;
		} else {
			size_t cap = q->cap == 0 ? 4 : q->cap * 2;
			struct outq_entry *e = realloc(q->entry, cap * sizeof(*e));

			if (e == NULL)
				goto fail;
			q->entry = e;
			q->cap = cap;
		}
	}
	q->entry[q->head + q->n++] = (struct outq_entry){ b, off, end };
	q->bytes += end - off;
	return 0;

fail:
	block_unref(b);
	return FAN_ENOMEM;
}

/* Copies to the end, into the last block where that is ours alone and has room. */
static int
outq_copy(struct conn *c, const uint8_t *p, size_t n)
{
	struct outq *q = c->outq;
	struct block *b;

	if (q != NULL && q->n > 0) {
		struct outq_entry *last = &q->entry[q->head + q->n - 1];

		b = last->block;
		if (b->refs == 1 && last->end == b->len && b->cap - b->len >= n) {
			memcpy(b->data + b->len, p, n);
			b->len += n;
			last->end += n;
			q->bytes += n;
			return 0;
		}
	}
	b = block_new(n > COPY_BLOCK ? n : COPY_BLOCK);
	if (b == NULL)
		return FAN_ENOMEM;
	memcpy(b->data, p, n);
	b->len = n;
	return outq_push(c, b, 0, n);
}

/* Drops n bytes that the kernel took from the front. */
static void
outq_took(struct outq *q, size_t n)
{
	q->bytes -= n;
	while (n > 0) {
		struct outq_entry *e = &q->entry[q->head];

		if (n < e->end - e->off) {
			e->off += n;
			q->begun = true;
			return;
		}
		n -= e->end - e->off;
		q->begun = false;
		outq_pop(q);
	}
}

/* --- events ------------------------------------------------------------------------------- */

/* Watches what the state asks for: to read unless paused, to write while something is queued. */
static void
rewatch(struct conn *c)
{
	unsigned want = (c->paused ? 0 : POLLER_IN) | (c->outq == NULL ? 0 : POLLER_OUT);

	if (c->state != CONN_CLOSED && poller_watch(c->net->poller, c->fd, c, &c->watch, want) != 0)
		conn_close(c, CONN_CLOSED_INTERNAL);
}

static void
write_queue(struct conn *c)
{
	struct outq *q = c->outq;
	struct iovec iov[IOV_BATCH];
	struct msghdr mh = { .msg_iov = iov };
	ssize_t sent;
	size_t i;

	for (i = 0; i < q->n && i < IOV_BATCH; i++) {
		struct outq_entry *e = &q->entry[q->head + i];

		iov[i].iov_base = e->block->data + e->off;
		iov[i].iov_len = e->end - e->off;
	}
	mh.msg_iovlen = i;
	sent = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c, CONN_CLOSED_VANISHED);
		return;
	}
	outq_took(q, (size_t)sent);
	if (q->n > 0) {
		deadline_set(c->net->deadlines, &q->stall, c->net->stall_ms);
		return;
	}
	outq_free(c);
	if (c->state == CONN_FINISHING) {
		/* Paused while finishing: the peer has closed its side already. */
		if (c->paused) {
			conn_close(c, (enum conn_reason)c->reason);
			return;
		}
		(void)shutdown(c->fd, SHUT_WR);
	}
	rewatch(c);
}

static void
read_once(struct conn *c)
{
	ssize_t n = recv(c->fd, c->net->rbuf, c->net->rbuf_size, MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c, CONN_CLOSED_VANISHED);
		return;
	}
	if (c->state == CONN_FINISHING) {
		if (n == 0 && c->outq == NULL)
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

	if ((what & POLLER_OUT) != 0 && c->state != CONN_CLOSED && c->outq != NULL)
		write_queue(c);
	if ((what & POLLER_IN) != 0 && c->state != CONN_CLOSED && !c->paused)
		read_once(c);
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
	read_once(c);
	rewatch(c);
}

void
conn_set_handler(struct conn *c, const struct conn_handler *h, void *up)
{
	c->h = h;
	c->up = up;
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

/* The queue has grown: watch for writability, and say so where it is too long. */
static void
queued(struct conn *c, bool was_empty)
{
	if (was_empty) {
		deadline_set(c->net->deadlines, &c->outq->stall, c->net->stall_ms);
		rewatch(c);
		return;
	}
	if (c->outq->bytes <= c->net->queue_max || c->state != CONN_OPEN)
		return;
	if (c->h->on_slow == NULL)
		conn_close(c, CONN_CLOSED_SLOW);
	else
		c->h->on_slow(c);
}

/* Sends what the kernel takes now; returns how much, or -1 after closing the connection. */
static ssize_t
send_now(struct conn *c, const uint8_t *p, size_t n)
{
	ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	conn_close(c, CONN_CLOSED_VANISHED);
	return -1;
}

/* Queues what the kernel has not taken of n bytes of b from off on. */
static void
queue_rest(struct conn *c, struct block *b, size_t off, size_t n, size_t sent)
{
	bool was_empty = c->outq == NULL;

	if (sent == n)
		return;
	if (outq_push(c, block_ref(b), off + sent, off + n) != 0) {
		conn_close(c, CONN_CLOSED_INTERNAL);
		return;
	}
	if (was_empty)
		c->outq->begun = sent > 0;
	queued(c, was_empty);
}

/* A write has left with its burst; res as in burst.h. */
static void
on_burst_done(void *object, struct block *b, size_t off, size_t n, int res)
{
	struct conn *c = object;

	c->in_burst = false;
	if (res >= 0 || res == -EAGAIN || res == -EINTR)
		queue_rest(c, b, off, n, res > 0 ? (size_t)res : 0);
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
	const uint8_t *bytes = p;
	bool was_empty;
	ssize_t sent = 0;

	leave_burst(c);
	was_empty = c->outq == NULL;
	if (c->state != CONN_OPEN || n == 0)
		return;
	if (was_empty && (sent = send_now(c, bytes, n)) < 0)
		return;
	if ((size_t)sent == n)
		return;
	if (outq_copy(c, bytes + sent, n - (size_t)sent) != 0) {
		conn_close(c, CONN_CLOSED_INTERNAL);
		return;
	}
	if (was_empty)
		c->outq->begun = sent > 0;
	queued(c, was_empty);
}

void
conn_write_block(struct conn *c, struct block *b, size_t off, size_t n)
{
	ssize_t sent = 0;

	leave_burst(c);
	if (c->state != CONN_OPEN || n == 0)
		return;
	assert(off + n <= b->len);
	if (c->outq == NULL && burst_is_open(c->net->burst)) {
		c->in_burst = true;
		burst_send(c->net->burst, c->fd, c, b, off, n);
		return;
	}
	if (c->outq == NULL && (sent = send_now(c, b->data + off, n)) < 0)
		return;
	queue_rest(c, b, off, n, (size_t)sent);
}

void
conn_discard(struct conn *c)
{
	struct outq *q;
	size_t keep;

	leave_burst(c);
	q = c->outq;
	if (q == NULL)
		return;
	keep = q->begun ? 1 : 0;
	while (q->n > keep) {
		struct outq_entry *last = &q->entry[q->head + q->n - 1];

		q->bytes -= last->end - last->off;
		block_unref(last->block);
		q->n--;
	}
	if (q->n == 0) {
		outq_free(c);
		rewatch(c);
	}
}

void
conn_close(struct conn *c, enum conn_reason reason)
{
	struct net *n = c->net;

	leave_burst(c);
	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_OPEN)
		TAILQ_REMOVE(&n->open, c, link);
	else
		TAILQ_REMOVE(&n->finishing, c, link);
	c->state = CONN_CLOSED;
	c->reason = (uint8_t)reason;
	TAILQ_INSERT_TAIL(&n->closed, c, link);
	deadline_clear(&c->deadline);
	outq_free(c);
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
	deadline_set(c->net->deadlines, &c->deadline, c->net->linger_ms);
	if (c->outq == NULL)
		(void)shutdown(c->fd, SHUT_WR);
	rewatch(c);
}

void
conn_stop(struct conn *c)
{
	if (c->state == CONN_OPEN)
		c->h->on_stop(c);
}

void
net_reap(void *net)
{
	struct net *n = net;
	struct conn *c;
	bool any = false;

	while ((c = TAILQ_FIRST(&n->closed)) != NULL) {
		TAILQ_REMOVE(&n->closed, c, link);
		n->count--;
		n->ended[c->reason]++;
		c->h->on_close(c, (enum conn_reason)c->reason);
		free(c);
		any = true;
	}
	if (any && n->on_freed != NULL)
		n->on_freed(n->on_freed_arg);
}
