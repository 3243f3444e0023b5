/*
 * block: reference-counted bytes that many queues share.
 *
 * Owns:    its bytes.  Freed with the last reference.
 * Process: any; never shared between processes or threads.
 * Layer:   common.  Uses err.
 *
 * Bytes are appended while the writer is the only holder; once a second reference exists, what is
 * there never changes or moves.
 */
#ifndef COMMON_BLOCK_H
#define COMMON_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct block {
	uint32_t refs;
	uint32_t queued; /* how many of these are of outgoing queues, which count it once; theirs */
	size_t len;      /* bytes in use */
	size_t cap;      /* bytes of storage */
	uint8_t data[];
};

/* One reference, no bytes, room for cap.  NULL: no memory. */
struct block *block_new(size_t cap);
struct block *block_ref(struct block *b);
/* NULL is allowed. */
void block_unref(struct block *b);

/*
 * Makes room for n more bytes at the end and lends the place in *out; the caller adds to b->len
 * what it wrote.  May move the block, so *b is replaced.  The caller holds the only reference.
 * FAN_ENOMEM: *b is unchanged.
 */
FAN_NODISCARD int block_reserve(struct block **b, size_t n, uint8_t **out);

#endif
