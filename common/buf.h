/*
 * buf: a contiguous byte buffer that grows up to a hard maximum.
 *
 * Owns:    its storage.  Embedded: buf_init / buf_fini.
 * Process: any.
 * Layer:   common.  Uses err.
 *
 * Bytes are appended at the end and consumed from the front.  An empty buffer owns no memory
 * after buf_init, buf_reset or buf_fini.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct buf {
	uint8_t *base; /* storage, or NULL */
	size_t off;    /* first byte not consumed */
	size_t end;    /* one past the last byte */
	size_t cap;    /* size of the storage */
	size_t max; /* most bytes that may be held at once; storage can be up to four times that */
};

void buf_init(struct buf *b, size_t max);
/* Frees the storage.  The buffer is empty and usable afterwards. */
void buf_fini(struct buf *b);

static inline const uint8_t *
buf_data(const struct buf *b)
{
	return b->base == NULL ? NULL : b->base + b->off;
}

static inline size_t
buf_len(const struct buf *b)
{
	return b->end - b->off;
}

/*
 * Makes room for n more bytes and lends the place in *out; buf_commit adds what was written.
 * FAN_ETOOBIG: more than the maximum would be held.  FAN_ENOMEM.
 */
FAN_NODISCARD int buf_reserve(struct buf *b, size_t n, uint8_t **out);
void buf_commit(struct buf *b, size_t n);

/* Copies n bytes to the end.  Errors as buf_reserve; nothing is appended then. */
FAN_NODISCARD int buf_append(struct buf *b, const void *data, size_t n);
FAN_NODISCARD int buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops n bytes from the front; n is at most buf_len(b).  Keeps the storage. */
void buf_consume(struct buf *b, size_t n);
/* Empties the buffer and keeps the storage. */
void buf_clear(struct buf *b);

#endif
