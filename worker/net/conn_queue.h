/*
 * conn_queue: what waits of a connection's output: how long it may get, and what becomes of it then.
 *
 * Owns:    the queue, which exists only while something waits.
 * Process: workers.
 * Layer:   worker/net, a part of conn and used by nothing else.  Uses outq.
 *
 * A queue that is longer than net->queue_max is shed: what its tags allow is left out, down to 7/8, so
 * that it does not happen with every write.  When that is not enough the upper layer hears on_slow.
 * The same happens to the longest queues when the memory of all exceeds net->queues_max.
 */
#ifndef WORKER_NET_CONN_QUEUE_H
#define WORKER_NET_CONN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "worker/net/deadline.h"
#include "worker/net/outq.h"

struct block;
struct conn;
struct net;

struct conn_queue {
	struct outq q;
	struct deadline stall; /* the kernel takes nothing for too long */
	struct conn *conn;
	TAILQ_ENTRY(conn_queue) link; /* of net->queues */
	size_t untold; /* messages were left out: bytes to take before on_drained; 0: none were */
};

/*
 * Queues what is left of a write of n bytes, of which `sent` have left already.  What is slow then is
 * told, which may close the connection; so does a lack of memory.  The caller watches the socket.
 */
void conn_queue_block(
    struct conn *c, struct block *b, size_t off, size_t n, size_t sent, struct outq_tag tag);
void conn_queue_copy(struct conn *c, const void *p, size_t n, size_t sent);

/*
 * n bytes have left; c->queue is NULL if they were the last.  True: on_drained is due, once the
 * caller has done with the socket.
 */
FAN_NODISCARD bool conn_queue_took(struct conn *c, size_t n);
/* Drops what has not begun; c->queue is NULL if that was all. */
void conn_queue_discard(struct conn *c);
/* Drops everything.  There may be no queue. */
void conn_queue_free(struct conn *c);

/* A queue's deadline has passed. */
void conn_queue_on_stall(struct deadline *d);

/* Sheds the longest queues if all together hold more than net->queues_max. */
void conn_queues_shed(struct net *n);

#endif
