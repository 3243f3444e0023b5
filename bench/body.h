/*
 * body: payloads as an application has them: JSON text, a little different each time.
 *
 * Owns:    a number of bodies, which the messages take in turn.
 * Process: fanfare-bench.
 * Layer:   bench.  Uses text, wire.
 *
 *     {"id":"STAMP","event":"trades","items":[{"symbol":"KDYX","price":87.31,...},...],"note":"..."}
 */
#ifndef BENCH_BODY_H
#define BENCH_BODY_H

#include <stddef.h>
#include <stdint.h>

#define BODY_STAMP_AT 7 /* where the stamp stands in such a payload */
#define BODY_LEAST 96   /* bytes that it has at least */

struct bodies {
	uint8_t *p;
	size_t size; /* of each */
	uint32_t n;
};

/* size is at least BODY_LEAST.  The same size gives the same bodies. */
void bodies_init(struct bodies *b, size_t size);
void bodies_fini(struct bodies *b);

/* That of message seq, with room for its stamp. */
static inline const uint8_t *
bodies_of(const struct bodies *b, uint32_t seq)
{
	return b->p + seq % b->n * b->size;
}

#endif
