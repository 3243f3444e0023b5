/*
 * hist: a histogram of durations with logarithmic buckets; every value is kept within 0.8 %.
 *
 * Owns:    its counters; embedded, one for each thread, merged at the end.
 * Process: fanfare-bench.
 * Layer:   bench, lowest.  Uses nothing.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 7
#define HIST_BUCKETS ((65 - HIST_SUB_BITS) << HIST_SUB_BITS)

struct hist {
	uint64_t n;
	uint64_t max;
	uint64_t bucket[HIST_BUCKETS];
};

/* Values below 256 have a bucket each; above, 128 buckets share each power of two. */
static inline void
hist_add(struct hist *h, uint64_t v)
{
	unsigned shift =
	    v < (1U << HIST_SUB_BITS) ? 0 : 63 - HIST_SUB_BITS - (unsigned)__builtin_clzll(v | 1);

	h->bucket[((uint64_t)shift << HIST_SUB_BITS) + (v >> shift)]++;
	h->n++;
	if (v > h->max)
		h->max = v;
}

void hist_clear(struct hist *h);
void hist_merge(struct hist *into, const struct hist *from);

/* The value that a share (0..1) of all values does not exceed, 0 where there is none. */
uint64_t hist_quantile(const struct hist *h, double share);

#endif
