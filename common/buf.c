/*
 * buf: a contiguous byte buffer that grows up to a hard maximum.  See buf.h.
 */
#include "common/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256

void
buf_init(struct buf *b, size_t max)
{
	memset(b, 0, sizeof(*b));
	b->max = max;
}

void
buf_fini(struct buf *b)
{
	free(b->base);
	b->base = NULL;
	b->off = b->end = b->cap = 0;
}

int
buf_reserve(struct buf *b, size_t n, uint8_t **out)
{
	size_t len = buf_len(b);
	size_t want, cap;
	uint8_t *base;

	if (n > b->max || len > b->max - n)
		return FAN_ETOOBIG;
	if (b->cap - b->end >= n && b->base != NULL) {
		*out = b->base + b->end;
		return 0;
	}
	/* Moving down is worth it only when it frees half, so that its cost is amortised. */
	if (b->base != NULL && b->off >= b->cap / 2 && b->cap - len >= n) {
		memmove(b->base, b->base + b->off, len);
		b->off = 0;
		b->end = len;
		*out = b->base + b->end;
		return 0;
	}
	if (len + n > SIZE_MAX / 4)
		return FAN_ENOMEM;
	/* A queue gets room to run on, or a full one would be moved at every append. */
	want = b->off == 0 ? len + n : 2 * (len + n);
	cap = b->cap < BUF_FIRST ? BUF_FIRST : b->cap;
	while (cap < want)
		cap *= 2;
	if (b->off == 0 && cap > b->max)
		cap = b->max;
	/* realloc can move large storage without copying it, but only all of it. */
	if (b->base == NULL || b->off == 0) {
		base = realloc(b->base, cap);
		if (base == NULL)
			return FAN_ENOMEM;
	} else {
		base = malloc(cap);
		if (base == NULL)
			return FAN_ENOMEM;
		memcpy(base, b->base + b->off, len);
		free(b->base);
	}
	b->base = base;
	b->off = 0;
	b->end = len;
	b->cap = cap;
	*out = b->base + b->end;
	return 0;
}

void
buf_commit(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->end);
	b->end += n;
}

int
buf_append(struct buf *b, const void *data, size_t n)
{
	uint8_t *p;
	int err;

	if (n == 0)
		return 0;
	err = buf_reserve(b, n, &p);
	if (err != 0)
		return err;
	memcpy(p, data, n);
	b->end += n;
	return 0;
}

int
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int len, err;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		return FAN_ENOMEM;
	err = buf_append(b, text, (size_t)len);
	free(text);
	return err;
}

void
buf_consume(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	b->off += n;
	if (b->off == b->end)
		b->off = b->end = 0;
}

void
buf_clear(struct buf *b)
{
	b->off = b->end = 0;
}
