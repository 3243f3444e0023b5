/*
 * conn: one client's socket: reading, the output queue, closing.
 *
 * Owns:    its fd and its output queue.  The upper layer (HTTP, then WebSocket) hangs on it
 *          by a vtable and owns itself.
 * Process: workers.
 * Layer:   worker/net.  Uses burst, deadline, poller, tls, common/block.
 *
 * States: OPEN -> (FINISHING: output goes out, input is thrown away) -> CLOSED -> freed by the
 * reaper at the end of the loop pass.  A connection is in the list of its state.
 *
 * Order of callbacks: on_data*, on_eof at most once, on_deadline and on_slow at any time while OPEN,
 * and on_close as the last one, always from the reaper, never from inside a conn_ function.
 * After conn_close and conn_finish no other callback than on_close comes.
 *
 * Output: what is written goes to the kernel at once while nothing is queued; what it does not take
 * is queued.  Bytes leave in the order in which they were written; whole messages are left out where
 * too much waits and their tags allow it, and by conn_discard.  The socket is watched for writability
 * only while something is queued.
 */
#ifndef WORKER_NET_CONN_H
#define WORKER_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "worker/net/deadline.h"
#include "worker/net/outq.h"

struct block;
struct burst;
struct conn;
struct conn_queue;
struct event_base;
struct guest;
struct guests;
struct poller;
struct sockaddr;
struct sockaddr_storage;
struct tls;
struct tls_context;

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
	/*
	 * Messages with this key were left out of the queue, by their tag; before on_slow, and from
	 * inside the function that writes.  It may not write or close itself.  NULL: all tags count
	 * as OUTQ_KEEP.
	 */
	void (*on_shed)(struct conn *c, uint32_t key, uint64_t messages);
	/*
	 * After on_shed: nothing waits any more, or the peer has taken as much since as may wait for
	 * it.  So one who never catches up is told too, and not for each message.
	 */
	void (*on_drained)(struct conn *c);
	/* How what is written with a tag divides into messages; needed where on_shed is. */
	outq_unit unit;
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
	struct burst *burst;     /* NULL: each write is a call of its own */
	struct tls_context *tls; /* public: for conn_set_tls; NULL: there are no certificates */
	struct guests *guests;   /* public: NULL: no limits of addresses; owned */
	uint8_t *rbuf;           /* the one read buffer */
	uint8_t *sbuf;           /* room for one record's plain text; NULL until TLS is spoken */
	size_t rbuf_size;
	size_t queue_max;   /* bytes queued for one connection before it counts as slow */
	size_t queues_max;  /* memory of what is queued for all before it is shed; 0: no bound */
	uint64_t stall_ms;  /* time without progress before it counts as slow */
	uint64_t linger_ms; /* time for the peer to take what is left when finishing */
	TAILQ_HEAD(conn_list, conn) open;
	struct conn_list finishing;
	struct conn_list closed;
	size_t count; /* connections in the three lists */
	size_t peak;  /* the most of them since memory was last given back */
	TAILQ_HEAD(conn_queues, conn_queue) queues; /* of those for whom something waits */
	size_t queued;          /* the memory of all that waits, shared blocks once */
	uint64_t shed_messages; /* left out by their tags */
	uint64_t shed_clients;  /* whose queues were shortened because of queues_max */
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
	void *up;                 /* public: the upper layer's object */
	struct conn_queue *queue; /* NULL while nothing is queued */
	struct tls *tls;          /* NULL: plain */
	struct sockaddr *client;  /* as a trusted proxy named it; NULL: the socket's peer */
	struct guest *guest;      /* public: its place among those of its address, or NULL; owned */
	struct deadline deadline;
	TAILQ_ENTRY(conn) link;
	int fd;
	uint8_t watch; /* what the poller watches */
	uint8_t reason;
	uint8_t state : 2;
	uint8_t kind : 1; /* public: the listener's kind, set by the acceptor */
	bool paused : 1;
	bool in_burst : 1; /* its write waits in the open burst */
	/* Of TLS: */
	bool handshaking : 1;
	bool sealed : 1;      /* what is written is encrypted here, not by the kernel */
	bool read_waits : 1;  /* reading, or the handshake, goes on when the socket is writable */
	bool write_waits : 1; /* writing goes on when it is readable */
	bool goodbye : 1;     /* close_notify has not left yet */
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
/*
 * The end of a pass: sheds the longest queues where all hold too much, and frees the connections that
 * were closed.  A hook of the loop, after the flushes.
 */
void net_reap(void *net);

/*
 * Takes fd, connected and non-blocking, also on failure.  NULL: no memory.  conn_start reads for the
 * first time and begins to watch; h and up must be set by then.
 */
struct conn *conn_new(struct net *n, int fd, const struct conn_handler *h, void *up);
void conn_start(struct conn *c);
/*
 * Between conn_new and conn_start: the peer speaks TLS, by net->tls, which is set.  But for on_close
 * no callback comes before the handshake is done; conn_deadline runs meanwhile.  FAN_ENOMEM.
 */
FAN_NODISCARD int conn_set_tls(struct conn *c);
/* Hands the connection to another upper layer. */
void conn_set_handler(struct conn *c, const struct conn_handler *h, void *up);

/*
 * The client's address: what a trusted proxy said, else the socket's peer (AF_UNIX, without a path,
 * for a unix socket; AF_UNSPEC if it has gone).
 */
void conn_client(const struct conn *c, struct sockaddr_storage *out);
/* From now on that is the client's address, copied.  FAN_ENOMEM. */
FAN_NODISCARD int conn_set_client(struct conn *c, const struct sockaddr_storage *client);

/* Stops and resumes reading.  A paused connection's closing is not noticed. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/*
 * Of TCP: the connection ends when the peer has acknowledged nothing of what was sent for ms, which
 * finds a peer that vanished without a word (TCP_USER_TIMEOUT; RFC 5482 §3.1).  ms is at most 24 days.
 */
void conn_unacked(struct conn *c, uint64_t ms);

/* ms from now; 0 clears it.  One per connection. */
void conn_deadline(struct conn *c, uint64_t ms);

/*
 * Writes a copy of n bytes.  May close the connection (no memory, reset by the peer, slow); the
 * caller notices by conn_is_open.
 */
void conn_write(struct conn *c, const void *p, size_t n);
/*
 * Writes n bytes of b from off on, sharing b for what is queued; the tag says what may become of them
 * while they wait.  With a tag other than OUTQ_KEEP they are whole messages.
 */
void conn_write_block(struct conn *c, struct block *b, size_t off, size_t n, struct outq_tag tag);
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
	return c->queue == NULL;
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
