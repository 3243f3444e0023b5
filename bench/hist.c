/*
 * hist: a histogram of durations with logarithmic buckets.  See hist.h.
 */
#include "bench/hist.h"

#include <stddef.h>
#include <string.h>

void
hist_clear(struct hist *h)
{
	memset(h, 0, sizeof(*h));
}

void
hist_merge(struct hist *into, const struct hist *from)
{
	size_t i;

	for (i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
	into->n += from->n;
	if (from->max > into->max)
		into->max = from->max;
}

/* The middle of the values that fall into bucket i. */
static uint64_t
middle(size_t i)
{
	size_t shift = i >> HIST_SUB_BITS;
	uint64_t low;

	if (shift < 2)
		return i;
	shift--; /* the upper half of the first range is its own second bucket row */
	low = (uint64_t)(i - (shift << HIST_SUB_BITS)) << shift;
	return low + (UINT64_C(1) << shift) / 2;
}

uint64_t
hist_quantile(const struct hist *h, double share)
{
	uint64_t rank, seen = 0;
	size_t i;

	if (h->n == 0)
		return 0;
	rank = (uint64_t)(share * (double)h->n);
	if (rank >= h->n)
		return h->max;
	for (i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > rank)
			return middle(i) < h->max ? middle(i) : h->max;
	}
	return h->max;
}
