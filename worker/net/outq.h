/*
 * outq: what the kernel has not taken yet of one connection's output.
 *
 * Owns:    its entries and a reference on each one's block.
 * Process: workers.
 * Layer:   worker/net, lowest.  Uses common/block.
 *
 * Entries leave in order.  What a client may miss carries a tag; it can be left out again, in whole
 * messages, as long as none of its bytes has left (or was handed to TLS).  Everything else stays.
 */
#ifndef WORKER_NET_OUTQ_H
#define WORKER_NET_OUTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"

struct block;

/* What may become of a write that waits. */
enum outq_shed {
	OUTQ_KEEP,   /* it stays */
	OUTQ_OLDEST, /* it is left out where too much waits, the oldest first */
	OUTQ_LATEST, /* it is left out when newer bytes of the same key wait */
};

struct outq_tag {
	uint32_t key; /* of a channel, whose subscriber is told what was left out; 0: of none */
	uint8_t shed; /* enum outq_shed */
};

/*
 * How whoever writes divides its bytes: the size of the first whole message of n > 0 bytes at p.
 * 0, or more than n: all of them are one.
 */
typedef size_t (*outq_unit)(const uint8_t *p, size_t n);

/*
 * Told that so many messages of a key were left out: once by each function for each key, unless more
 * than OUTQ_KEYS are concerned.  It may not touch the queue.
 */
typedef void (*outq_left)(void *arg, uint32_t key, uint64_t messages);
#define OUTQ_KEYS 32

struct outq_entry {
	struct block *block; /* NULL: a hole, which has no bytes */
	uint32_t off, end;   /* in the block */
	uint32_t key;
	uint8_t shed;
};

/*
 * Embedded; zero-initialised it is empty.  The fields are outq.c's own but for `memory`, which is set
 * before all else, and `bytes`, which may be read.
 */
struct outq {
	size_t *memory; /* where the memory of many queues is summed, that of shared blocks once */
	struct outq_entry *entry;
	size_t bytes;  /* how many wait */
	size_t pinned; /* how many of them, from the front on, are spoken for */
	uint32_t head, n, cap;
	uint32_t holes;  /* entries between the others that were left out */
	uint32_t latest; /* entries with OUTQ_LATEST */
	uint32_t begun;  /* bytes of the first entry that have left since a message began */
};

/* What an entry costs besides its bytes: itself and its block's head, about. */
#define OUTQ_ENTRY_WEIGHT 64

/* Drops everything; the queue is as new but for `memory`. */
void outq_fini(struct outq *q);

static inline bool
outq_is_empty(const struct outq *q)
{
	return q->bytes == 0;
}

/* How long it is: its bytes, and something for each entry, so that tiny messages are not free. */
static inline size_t
outq_weight(const struct outq *q)
{
	return q->bytes + (size_t)(q->n - q->holes) * OUTQ_ENTRY_WEIGHT;
}

/* Whether something waits that may not be left out by its tag. */
bool outq_must_leave(const struct outq *q);

/*
 * Adds bytes [off, end) of b, at least one, with a reference of its own.  With a tag other than
 * OUTQ_KEEP they are whole messages.  FAN_ENOMEM: that, or b reaches beyond 4 GiB.
 */
FAN_NODISCARD int outq_push(
    struct outq *q, struct block *b, size_t off, size_t end, struct outq_tag tag);
/* Adds a copy of n > 0 bytes, which stay; small ones share a block.  FAN_ENOMEM. */
FAN_NODISCARD int outq_copy(struct outq *q, const uint8_t *p, size_t n);

/* Fills iov from the front; returns how many of max it filled. */
size_t outq_iov(const struct outq *q, struct iovec *iov, size_t max);
/*
 * Lends up to n bytes from the front, *len of them, in one piece: in place where the first entry has
 * as many or is alone, otherwise gathered in scratch, which has room for n.
 */
const uint8_t *outq_lend(const struct outq *q, size_t n, uint8_t *scratch, size_t *len);
/* The first n <= bytes have left; pins of them are gone. */
void outq_took(struct outq *q, size_t n);
/* From now on the first n <= bytes stay, whatever their tag says. */
void outq_pin(struct outq *q, size_t n);

/*
 * Drops what has neither begun to leave nor is pinned.  An OUTQ_KEEP entry stays whole where a part
 * of it does, of others the messages that have begun.
 */
void outq_discard(struct outq *q, outq_unit unit);
/*
 * Leaves out messages with OUTQ_OLDEST, the oldest first, until the weight is at most max.  Returns
 * whether it is, or nothing waits but one message that might be left out, and another that has begun:
 * these two may always wait, however long.
 */
FAN_NODISCARD bool outq_shed(struct outq *q, size_t max, outq_unit unit, outq_left left, void *arg);
/*
 * After a push with OUTQ_LATEST: leaves out all waiting messages of the last entry's key but the
 * last.
 */
void outq_renew(struct outq *q, outq_unit unit, outq_left left, void *arg);

#endif
