/*
 * conn: one client's socket: reading, the output queue, closing.
 *
 * Owns:    its fd and its output queue.  The upper layer (HTTP, then WebSocket) hangs on it
 *          by a vtable and owns itself.
 * Process: workers.
 * Layer:   worker/net.  Uses burst, deadline, poller, common/block.
 *
 * States: OPEN -> (FINISHING: output goes out, input is thrown away) -> CLOSED -> freed by the
 * reaper at the end of the loop pass.  A connection is in the list of its state.
 *
 * Order of callbacks: on_data*, on_eof at most once, on_deadline and on_slow at any time while OPEN,
 * and on_close as the last one, always from the reaper, never from inside a conn_ function.
 * After conn_close and conn_finish no other callback than on_close comes.
 *
 * Output: what is written goes to the kernel at once while nothing is queued; what it does not take
 * is queued.  Bytes leave in the order in which they were written, none is left out in the middle
 * but by conn_discard.  The socket is watched for writability only while something is queued.
 */
#ifndef WORKER_NET_CONN_H
#define WORKER_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "worker/net/deadline.h"

struct block;
struct burst;
struct conn;
struct event_base;
struct outq;
struct poller;

/* Why a connection ended; each is counted and named by conn_reason_text. */
enum conn_reason {
	CONN_CLOSED_PEER,     /* the peer closed, after a closing handshake where there is one */
	CONN_CLOSED_VANISHED, /* the peer closed or reset without one */
	CONN_CLOSED_DONE,     /* served, and not kept alive */
	CONN_CLOSED_PROTOCOL, /* the peer broke HTTP, WebSocket or its dialect */
	CONN_CLOSED_POLICY,   /* not allowed */
	CONN_CLOSED_TIMEOUT,  /* a deadline of the handshake, a request or a message */
	CONN_CLOSED_PING,     /* a ping was not answered */
	CONN_CLOSED_SLOW,     /* the output queue was too long or stood still */
	CONN_CLOSED_SHUTDOWN, /* this worker stops */
	CONN_CLOSED_INTERNAL, /* no memory, or an engine that is away */
	CONN_REASONS,
};
const char *conn_reason_text(enum conn_reason r);

struct conn_handler {
	/* Bytes have come; they may be changed in place and are lent until return. */
	void (*on_data)(struct conn *c, uint8_t *p, size_t n);
	/* The peer will send no more (it may still read).  NULL: the connection is closed. */
	void (*on_eof)(struct conn *c);
	/* conn_deadline passed. */
	void (*on_deadline)(struct conn *c);
	/* Too much waits in the queue, or nothing moved for too long.  NULL: it is closed. */
	void (*on_slow)(struct conn *c);
	/* The worker stops: end politely, soon. */
	void (*on_stop)(struct conn *c);
	/* The end; the upper layer frees what it owns.  c is freed after return. */
	void (*on_close)(struct conn *c, enum conn_reason reason);
};

/* What the connections of a worker share. */
struct net {
	struct event_base *base;
	struct deadlines *deadlines;
	struct poller *poller;
	struct burst *burst; /* NULL: each write is a call of its own */
	uint8_t *rbuf;       /* the one read buffer */
	size_t rbuf_size;
	size_t queue_max;   /* bytes queued for one connection before it counts as slow */
	uint64_t stall_ms;  /* time without progress before it counts as slow */
	uint64_t linger_ms; /* time for the peer to take what is left when finishing */
	TAILQ_HEAD(conn_list, conn) open;
	struct conn_list finishing;
	struct conn_list closed;
	size_t count; /* connections in the three lists */
	uint64_t ended[CONN_REASONS];
	/* A connection's place came free; set by the acceptor. */
	void (*on_freed)(void *arg);
	void *on_freed_arg;
};

enum conn_state {
	CONN_OPEN,
	CONN_FINISHING,
	CONN_CLOSED,
};

/* The fields are conn.c's own but for those marked public. */
struct conn {
	struct net *net; /* public, read only */
	const struct conn_handler *h;
	void *up;          /* public: the upper layer's object */
	struct outq *outq; /* NULL while nothing is queued */
	struct deadline deadline;
	TAILQ_ENTRY(conn) link;
	int fd;
	uint8_t watch; /* what the poller watches */
	uint8_t reason;
	uint8_t kind; /* public: the listener's kind, set by the acceptor */
	uint8_t state : 2;
	bool paused : 1;
	bool in_burst : 1; /* its write waits in the open burst */
};

/* stall_ms and the sizes are in milliseconds and bytes.  FAN_ENOMEM. */
FAN_NODISCARD int net_init(struct net *n, struct event_base *base, size_t queue_max,
    uint64_t stall_ms, uint64_t linger_ms);
/*
 * From now on what conn_write_block writes while net->burst is open leaves together, by io_uring, if
 * `wanted` and this kernel and build have it.  Logs which way is taken.
 */
void net_use_burst(struct net *n, bool wanted);
/* Closes what is left, calling on_close. */
void net_fini(struct net *n);
/* Frees the connections that were closed in this pass; a hook of the loop, after the flushes. */
void net_reap(void *net);

/*
 * Takes fd, connected and non-blocking, also on failure.  NULL: no memory.  conn_start reads for the
 * first time and begins to watch; h and up must be set by then.
 */
struct conn *conn_new(struct net *n, int fd, const struct conn_handler *h, void *up);
void conn_start(struct conn *c);
/* Hands the connection to another upper layer. */
void conn_set_handler(struct conn *c, const struct conn_handler *h, void *up);

/* Stops and resumes reading.  A paused connection's closing is not noticed. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* ms from now; 0 clears it.  One per connection. */
void conn_deadline(struct conn *c, uint64_t ms);

/*
 * Writes a copy of n bytes.  May close the connection (no memory, reset by the peer, slow); the
 * caller notices by conn_is_open.
 */
void conn_write(struct conn *c, const void *p, size_t n);
/* Writes n bytes of b from off on, sharing b for what is queued. */
void conn_write_block(struct conn *c, struct block *b, size_t off, size_t n);
/* Drops what is queued and not begun.  Only whole units were written to it, so the stream stays in
 * step. */
void conn_discard(struct conn *c);

static inline bool
conn_is_open(const struct conn *c)
{
	return c->state == CONN_OPEN;
}

/* Whether nothing waits to be written. */
static inline bool
conn_is_idle(const struct conn *c)
{
	return c->outq == NULL;
}

/* Asks the upper layer to end, because the worker stops. */
void conn_stop(struct conn *c);

/* Closes now; what is queued is lost.  on_close follows at the end of the pass. */
void conn_close(struct conn *c, enum conn_reason reason);
/*
 * Writes out what is queued, shuts down the sending side, and throws away what still comes until the
 * peer closes too or net->linger_ms have passed, so that the last bytes are not lost to a reset.
 */
void conn_finish(struct conn *c, enum conn_reason reason);

#endif
