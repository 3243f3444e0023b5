/*
 * block: reference-counted bytes that many queues share.  See block.h.
 */
#include "common/block.h"

#include <assert.h>
#include <stdlib.h>

struct block *
block_new(size_t cap)
{
	struct block *b;

	if (cap > SIZE_MAX / 4)
		return NULL;
	b = malloc(sizeof(*b) + cap);
	if (b == NULL)
		return NULL;
	b->refs = 1;
	b->queued = 0;
	b->len = 0;
	b->cap = cap;
	return b;
}

struct block *
block_ref(struct block *b)
{
	b->refs++;
	return b;
}

void
block_unref(struct block *b)
{
	if (b != NULL && --b->refs == 0)
		free(b);
}

int
block_reserve(struct block **b, size_t n, uint8_t **out)
{
	struct block *old = *b, *grown;
	size_t cap;

	assert(old->refs == 1);
	if (old->cap - old->len < n) {
		if (n > SIZE_MAX / 4 - old->len)
			return FAN_ENOMEM;
		cap = old->cap * 2;
		if (cap < old->len + n)
			cap = old->len + n;
		grown = realloc(old, sizeof(*old) + cap);
		if (grown == NULL)
			return FAN_ENOMEM;
		grown->cap = cap;
		*b = old = grown;
	}
	*out = old->data + old->len;
	return 0;
}
