/*
 * sse_ids: the ids of a stream's events: where it stands in each of its channels.
 *
 * Owns:    what sse_ids_copy returned, until free().
 * Process: workers.
 * Layer:   worker/dialect, below sse.  Uses common/block, common/buf, common/publication.
 *
 * The encoder gives an event the position in its own channel, "id: EPOCH:OFFSET", and all streams
 * share those bytes.  One that has several channels rewrites them for itself: its ids hold a position
 * for each channel, in the order of its address, joined by commas; a plain channel's is empty.
 */
#ifndef WORKER_DIALECT_SSE_IDS_H
#define WORKER_DIALECT_SSE_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct block;
struct buf;

struct sse_place {
	uint32_t channel;    /* struct channel's id; 0: not known yet */
	struct position pos; /* "": none */
};

/* place is lent, or lies behind the object itself (sse_ids_copy). */
struct sse_ids {
	size_t n;
	struct sse_place *place;
};

/* In one piece of memory.  NULL: no memory. */
struct sse_ids *sse_ids_copy(const struct sse_ids *ids);

/* Sets the places' positions as an id has them; what is malformed, missing or too much is none. */
void sse_ids_read(struct sse_ids *ids, const char *text, size_t n);

/* The place of a channel; NULL: it has none. */
struct sse_place *sse_ids_find(const struct sse_ids *ids, uint32_t channel);

/* Whether any channel has a position. */
bool sse_ids_any(const struct sse_ids *ids);

/* Appends the line "id: ...", with its end.  Errors as buf_append. */
FAN_NODISCARD int sse_ids_append(const struct sse_ids *ids, struct buf *b);

/*
 * Whole events of one channel, n bytes at p, with all positions in the place of one, as *out, a
 * reference that is the caller's; the channel's place moves on with them.  FAN_ENOENT: none of them
 * has an id.  FAN_ENOMEM.
 */
FAN_NODISCARD int sse_ids_rewrite(
    struct sse_ids *ids, uint32_t channel, const uint8_t *p, size_t n, struct block **out);

/* The size of the first of whole events, n bytes at p: only its end has an empty line. */
size_t sse_ids_event(const uint8_t *p, size_t n);

#endif
