/*
 * packed: compressed messages (RFC 7692): the first subscriber of a thread to get one has it
 * inflated, and the bytes of all others are compared with his.
 *
 * Owns:    the bytes of the messages under way, as they came compressed; the inflater.
 * Process: fanfare-bench, one for each flow and thread, used by that thread alone.
 * Layer:   bench.  Uses text, worker/ws/deflate.
 *
 * Inflating a thousand copies of a message would cost the tool more than the server's compressing it
 * once.  Bytes that differ from the first subscriber's are inflated by themselves.
 */
#ifndef BENCH_PACKED_H
#define BENCH_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inflater;

struct packed_slot {
	uint8_t *bytes;
	uint32_t len; /* 0: none yet */
	uint32_t room;
	uint32_t seq;
};

struct packed {
	struct inflater *inflater;
	struct packed_slot *slots;
	uint32_t mask; /* slots - 1 */
};

/* A message on its way in; all zero at first. */
struct packed_in {
	uint64_t len, at; /* bytes, and how many have come */
	uint8_t *bytes;   /* those that had to be kept; owned */
	uint64_t room;
	bool known; /* so far they are those of the slot */
};

/* slots is a power of two. */
void packed_init(struct packed *p, uint32_t slots);
void packed_fini(struct packed *p);

/* A message of len bytes begins; seq is the one that is due. */
void packed_begin(struct packed *p, struct packed_in *in, uint32_t seq, uint64_t len);
/* Takes up to n bytes of it and returns how many; it is whole when in->at is in->len. */
size_t packed_feed(
    struct packed *p, struct packed_in *in, uint32_t seq, const uint8_t *bytes, size_t n);

/*
 * Of a whole message that is not known: inflates it.  false: it can not be, or has more than max
 * bytes.  *out is lent until the next call.
 */
bool packed_inflate(
    struct packed *p, const struct packed_in *in, size_t max, const uint8_t **out, size_t *n);
/* Keeps it as that of message seq, for those that follow. */
void packed_keep(struct packed *p, struct packed_in *in, uint32_t seq);

void packed_in_fini(struct packed_in *in);

#endif
