/*
 * conn_queue: what waits of a connection's output: how long it may get, and what becomes of it then.
 * See conn_queue.h.
 */
#include "worker/net/conn_queue.h"

#include <stdlib.h>

#include "common/log.h"
#include "worker/net/conn.h"
#include "worker/net/tls.h"

static size_t
seven_eighths(size_t n)
{
	return n - n / 8;
}

static void
on_left(void *arg, uint32_t key, uint64_t messages)
{
	struct conn_queue *cq = arg;
	struct conn *c = cq->conn;

	if (key == 0)
		return; /* no message: a pong that a newer one replaces */
	c->net->shed_messages += messages;
	if (cq->untold == 0)
		cq->untold = c->net->queue_max;
	if (c->state == CONN_OPEN)
		c->h->on_shed(c, key, messages);
}

/* As outq_shed. */
static bool
shed(struct conn_queue *cq, size_t max)
{
	return outq_shed(&cq->q, max, cq->conn->h->unit, on_left, cq);
}

static void
slow(struct conn *c)
{
	if (c->state != CONN_OPEN || c->h->on_slow == NULL)
		conn_close(c, CONN_CLOSED_SLOW);
	else
		c->h->on_slow(c);
}

void
conn_queue_on_stall(struct deadline *d)
{
	struct conn_queue *cq =
	    (struct conn_queue *)(void *)((char *)d - offsetof(struct conn_queue, stall));
	struct net *n = cq->conn->net;

	/* Who waits only for what may be left out costs no more by standing still. */
	if (cq->conn->state == CONN_OPEN && !outq_must_leave(&cq->q))
		deadline_set(n->deadlines, &cq->stall, n->stall_ms);
	else
		slow(cq->conn);
}

/* The connection's queue, made at need; NULL: no memory. */
static struct conn_queue *
queue_of(struct conn *c)
{
	struct conn_queue *cq = c->queue;

	if (cq != NULL)
		return cq;
	cq = calloc(1, sizeof(*cq));
	if (cq == NULL)
		return NULL;
	cq->conn = c;
	cq->q.memory = &c->net->queued;
	c->net->queued += sizeof(*cq);
	deadline_init(&cq->stall, DEADLINE_STALL);
	TAILQ_INSERT_TAIL(&c->net->queues, cq, link);
	c->queue = cq;
	deadline_set(c->net->deadlines, &cq->stall, c->net->stall_ms);
	return cq;
}

/* What was just added may have been too much.  A first write is never, be it as long as it may. */
static void
grown(struct conn_queue *cq, bool first)
{
	struct conn *c = cq->conn;
	size_t max = c->net->queue_max;

	if (outq_weight(&cq->q) <= max)
		return;
	if (!shed(cq, seven_eighths(max)) && outq_weight(&cq->q) > max && !first)
		slow(c);
}

/* What has left of the first write, and what TLS has begun to send. */
static void
begin(struct conn_queue *cq, size_t sent)
{
	outq_took(&cq->q, sent);
	if (cq->conn->tls != NULL)
		outq_pin(&cq->q, tls_pending(cq->conn->tls));
}

void
conn_queue_block(
    struct conn *c, struct block *b, size_t off, size_t n, size_t sent, struct outq_tag tag)
{
	bool first = c->queue == NULL;
	struct conn_queue *cq = queue_of(c);

	if (c->h->on_shed == NULL)
		tag.shed = OUTQ_KEEP;
	if (cq == NULL || outq_push(&cq->q, b, off, off + n, tag) != 0) {
		conn_close(c, CONN_CLOSED_INTERNAL);
		return;
	}
	begin(cq, sent);
	if (tag.shed == OUTQ_LATEST)
		outq_renew(&cq->q, c->h->unit, on_left, cq);
	grown(cq, first);
}

void
conn_queue_copy(struct conn *c, const void *p, size_t n, size_t sent)
{
	bool first = c->queue == NULL;
	struct conn_queue *cq = queue_of(c);

	if (cq == NULL || outq_copy(&cq->q, p, n) != 0) {
		conn_close(c, CONN_CLOSED_INTERNAL);
		return;
	}
	begin(cq, sent);
	grown(cq, first);
}

bool
conn_queue_took(struct conn *c, size_t n)
{
	struct conn_queue *cq = c->queue;
	bool told = cq->untold == 0;

	outq_took(&cq->q, n);
	cq->untold -= n < cq->untold ? n : cq->untold;
	if (outq_is_empty(&cq->q)) {
		conn_queue_free(c);
		return !told;
	}
	deadline_set(c->net->deadlines, &cq->stall, c->net->stall_ms);
	return !told && cq->untold == 0;
}

void
conn_queue_discard(struct conn *c)
{
	if (c->queue == NULL)
		return;
	outq_discard(&c->queue->q, c->h->unit);
	if (outq_is_empty(&c->queue->q))
		conn_queue_free(c);
}

void
conn_queue_free(struct conn *c)
{
	struct conn_queue *cq = c->queue;

	if (cq == NULL)
		return;
	outq_fini(&cq->q);
	deadline_clear(&cq->stall);
	TAILQ_REMOVE(&c->net->queues, cq, link);
	c->net->queued -= sizeof(*cq);
	free(cq);
	c->queue = NULL;
}

/* --- all queues of a worker --------------------------------------------------------------- */

static size_t
longest(const struct net *n)
{
	const struct conn_queue *cq;
	size_t max = 0;

	for (cq = TAILQ_FIRST(&n->queues); cq != NULL; cq = TAILQ_NEXT(cq, link)) {
		size_t weight = outq_weight(&cq->q);

		max = weight > max ? weight : max;
	}
	return max;
}

/* Ends the connection, with a word if it can be had for little. */
static void
kick(struct conn *c, size_t most)
{
	slow(c);
	if (c->queue != NULL && outq_weight(&c->queue->q) >= most)
		conn_close(c, CONN_CLOSED_SLOW);
}

/*
 * One round: the queues that are at least `most` long are shed, and where the tags are not enough
 * their connections end, until the sum is small enough.  Returns how many were concerned.  Blocks that
 * many share go with the last of them only, so all are shed before the first is kicked.
 */
static size_t
shed_longest(struct net *n, size_t most, size_t enough)
{
	struct conn_queue *cq, *next;
	size_t clients = 0;

	for (cq = TAILQ_FIRST(&n->queues); cq != NULL; cq = TAILQ_NEXT(cq, link)) {
		if (outq_weight(&cq->q) < most)
			continue;
		(void)shed(cq, most / 2);
		clients++;
	}
	for (cq = TAILQ_FIRST(&n->queues); cq != NULL && n->queued > enough; cq = next) {
		next = TAILQ_NEXT(cq, link);
		if (outq_weight(&cq->q) >= most)
			kick(cq->conn, most);
	}
	return clients;
}

void
conn_queues_shed(struct net *n)
{
	static struct log_gate gate;
	size_t enough = seven_eighths(n->queues_max), before = n->queued, clients = 0, most;
	uint64_t messages = n->shed_messages;

	if (n->queues_max == 0 || n->queued <= n->queues_max)
		return;
	/* Each round leaves none of the longest quarter, so that few rounds are enough. */
	while (n->queued > enough && (most = longest(n)) > 0)
		clients += shed_longest(n, most - most / 4, enough);
	n->shed_clients += clients;
	if (log_gate_open(&gate, 1))
		log_warnx("queues of all clients over limits.queues: bytes=%zu now=%zu "
			  "shed=%zu messages=%llu",
		    before, n->queued, clients, (unsigned long long)(n->shed_messages - messages));
}
