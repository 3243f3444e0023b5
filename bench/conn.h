/*
 * conn: one connection to the measured broker: what it has received, checked as it arrives.
 *
 * Owns:    its fd, its TLS, and the start of a frame that has not arrived whole.
 * Process: fanfare-bench, in the thread of its loop.
 * Layer:   bench.  Uses flow, packed, reply, text, tls, wire.
 *
 * A message is looked at where it lies in the thread's read buffer.  What must be kept between two
 * reads is at most the head of a frame and the stamp of a payload.
 */
#ifndef BENCH_CONN_H
#define BENCH_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/packed.h"
#include "bench/wire.h"

struct flow;
struct loop;
struct part;
struct reply;
struct ssl_st;

enum conn_kind {
	CONN_WS,    /* WebSocket */
	CONN_PLAIN, /* a stream of bytes in which stamps are found */
	CONN_REPLY, /* answers to requests: HTTP, Redis */
};

/* 10 bytes of a server's frame and the payload of a control frame, or the stamp. */
#define CONN_HEAD_MAX 136

struct conn {
	int fd;
	uint8_t kind;
	bool marked;  /* stamps are found by their mark */
	bool pending; /* a message is complete when `skip` gets to 0 */
	bool watch_out;
	bool deflate;   /* permessage-deflate was agreed */
	bool unpacking; /* a compressed message is coming in */
	uint8_t nhead;
	uint8_t nstamp;
	uint32_t next;       /* the sequence number that is due; 0: no probe has come yet */
	uint64_t skip;       /* bytes of payload that need no look */
	uint64_t body;       /* marked: bytes of this frame's payload that are still to come */
	uint64_t missing;    /* bit i: number next - 1 - i has been skipped */
	struct part *part;   /* what it subscribes to; NULL: nothing */
	struct flow *flow;   /* what it publishes; NULL: nothing */
	struct reply *reply; /* of CONN_REPLY; owned */
	struct ssl_st *tls;  /* NULL: none; owned */
	struct packed_in packed;
	struct wire_stamp due;
	uint8_t head[CONN_HEAD_MAX];
	uint8_t stamp[WIRE_STAMP];
};

/* What has been received, and what was wrong with it. */
struct count {
	atomic_uint_least64_t deliveries;
	atomic_uint_least64_t lost;
	atomic_uint_least64_t doubled;
	atomic_uint_least64_t reordered;
	atomic_uint_least64_t malformed; /* not the payload that was sent */
	atomic_uint_least64_t last_ns;   /* of the last read */
	atomic_uint_least64_t bytes;     /* read from the broker, TLS taken away */
};

/* Takes in n bytes that arrived at l->now. */
void conn_feed(struct loop *l, struct conn *c, const uint8_t *p, size_t n);

/* Reads what there is, once, or with TLS all that has been received.  Ends the process if the server has closed the connection. */
void conn_read(struct loop *l, struct conn *c);

/* Sends bytes that are no publication (a subscription, a pong), behind those that wait. */
void conn_send(struct loop *l, struct conn *c, const uint8_t *p, size_t n);

/* Sends a message in a frame of its own, or as it is where there is no WebSocket. */
void conn_send_message(struct loop *l, struct conn *c, const uint8_t *p, size_t n);

/* As send, through TLS where there is any. */
ssize_t conn_write(struct conn *c, const void *p, size_t n);

/* How many of the messages up to `sent` it never got. */
uint64_t conn_missing(const struct conn *c, uint32_t sent);

#endif
