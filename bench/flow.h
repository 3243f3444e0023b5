/*
 * flow: the numbered messages of one channel, from its publisher to all who subscribe to it.
 *
 * Owns:    the stamps of the messages under way, and the bytes that the publisher has yet to send.
 * Process: fanfare-bench.  The publishing side runs in one thread; each thread that has subscribers
 *          counts theirs in a `part` of its own.
 * Layer:   bench.  Uses body, loop, conn, packed, reply, text, wire.
 */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/packed.h"
#include "bench/wire.h"

#define FLOW_NEVER UINT64_MAX

struct bodies;
struct conn;
struct control;
struct loop;
struct text;

struct flow_slot {
	uint64_t ns; /* when the message was due */
	uint8_t stamp[WIRE_STAMP];
};

/* The subscribers of one thread. */
struct part {
	struct flow *flow;
	struct loop *loop;
	uint32_t subscribers;
	struct packed packed; /* where messages come compressed */
	uint32_t *got;        /* by slot: how many of them have the message */
	atomic_uint complete; /* the last message that all of them have */
	atomic_uint ready;    /* how many have got a probe */
};

struct flow {
	struct loop *loop; /* of the publisher */
	struct conn *conn; /* the publisher; borrowed */
	struct part *parts;
	unsigned nparts;
	uint32_t channel;
	uint32_t mask; /* slots - 1 */
	struct flow_slot *slots;
	atomic_uint sent;
	atomic_uint limit; /* the last that may be sent */
	uint32_t window;
	uint64_t interval;     /* ns between messages, 0: no rate */
	uint64_t due;          /* when the next one is */
	uint64_t probed;       /* when the last probe was sent */
	unsigned requests;     /* that have no answer yet */
	unsigned requests_max; /* 0: the protocol has no answers */
	bool queued;           /* in the loop's list */
	bool framed;           /* by WebSocket */
	uint8_t opcode;
	struct flow *next_runnable;
	uint8_t *image; /* of a message without its frame */
	size_t image_len;
	size_t payload_at;
	size_t stamp_at;
	const struct bodies *bodies; /* NULL: the payload is the image's */
	uint64_t random;
	uint8_t *out;
	size_t out_room, out_len, out_at;
};

/*
 * Prepares f for this channel, published in loop l.  image is a message without its frame, its
 * payload in place; taken.  bodies: the payloads to take in turn, borrowed; NULL: that of the image.
 * The publisher, f->conn, is the caller's to set.
 */
void flow_init(struct flow *f, struct control *c, struct loop *l, uint32_t channel,
    struct text image, const struct bodies *bodies);
void flow_fini(struct flow *f);

/* Counts a subscriber in, before the threads start.  Returns the part that it belongs to. */
struct part *flow_add_subscriber(struct flow *f, struct loop *l);

/* In the publisher's thread: sends what window and rate allow. */
void flow_pump(struct flow *f);
/* Nanoseconds until the next message may be sent; FLOW_NEVER: not before something happens. */
uint64_t flow_due_in(const struct flow *f, uint64_t now);
/* In the publisher's thread: a probe to those of whom none has come. */
void flow_probe(struct flow *f);
/* Sends what the socket did not take. */
void flow_flush(struct flow *f);
/* Appends bytes behind those that wait; ends the process if they are too many. */
void flow_append(struct flow *f, const uint8_t *p, size_t n);
/* An answer has come. */
void flow_on_answer(struct flow *f);

/* A subscriber of p has this message (or will never have it). */
void part_count(struct part *p, uint32_t seq);

/* Begins a run of messages at `rate`, in which at most `messages` are sent (0: no bound). */
void flow_begin(struct flow *f, uint64_t messages, uint64_t start);

/* How many subscribers have got a probe, and how many there are. */
uint32_t flow_ready(const struct flow *f);
uint32_t flow_subscribers(const struct flow *f);
/* The last message that all subscribers have. */
uint32_t flow_complete(const struct flow *f);
bool flow_is_complete(const struct flow *f);

#endif
