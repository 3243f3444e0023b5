/*
 * deflate: messages compressed and inflated.  See deflate.h.
 */
#include "worker/ws/deflate.h"

#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "common/block.h"
#include "common/buf.h"
#include "worker/ws/frame.h"

#define WINDOWS (DEFLATE_WINDOW_MAX - DEFLATE_WINDOW_MIN + 1)
#define WINDOW_ZLIB 9         /* the smallest that zlib compresses with */
#define MEMORY_SMALL 5        /* the memory level of windows that are small */
#define CHUNK 4096            /* the least room for what is inflated */
#define KEEP ((size_t)131072) /* the most bytes that the buffer keeps between messages */

/* What a flush ends with, and a message goes without (RFC 7692 §7.2.1). */
static const uint8_t tail[4] = { 0x00, 0x00, 0xff, 0xff };

struct deflater {
	struct deflate_options o;
	z_stream *stream[WINDOWS]; /* NULL: not used yet */
};

struct inflater {
	z_stream z;
	bool takeover;
	struct buf *out; /* shared by the inflaters of a worker */
	struct buf own;  /* what `out` is of the first of them */
};

/* --- compressing ------------------------------------------------------------------------------- */

struct deflater *
deflater_new(const struct deflate_options *o)
{
	struct deflater *d = calloc(1, sizeof(*d));

	if (d != NULL)
		d->o = *o;
	return d;
}

void
deflater_free(struct deflater *d)
{
	size_t i;

	for (i = 0; d != NULL && i < WINDOWS; i++) {
		if (d->stream[i] == NULL)
			continue;
		(void)deflateEnd(d->stream[i]);
		free(d->stream[i]);
	}
	free(d);
}

/*
 * zlib cannot keep to a window of 8 bits but by referring to the byte before alone.  Its table of
 * hashes is swept each time that a window is full, so a large one costs small windows more than the
 * compression itself; it grows with the window, from where it does not matter any more.
 */
static z_stream *
stream_new(const struct deflate_options *o, unsigned window)
{
	z_stream *z = calloc(1, sizeof(*z));
	int bits = window < WINDOW_ZLIB ? WINDOW_ZLIB : (int)window;
	int memory = bits - 7 > MEMORY_SMALL ? bits - 7 : MEMORY_SMALL;

	if (z != NULL &&
	    deflateInit2(z, o->level, Z_DEFLATED, -bits,
		memory < o->memory_level ? memory : o->memory_level,
		window < WINDOW_ZLIB ? Z_RLE : Z_DEFAULT_STRATEGY) != Z_OK) {
		free(z);
		z = NULL;
	}
	return z;
}

/* A stream that has seen nothing yet; NULL: no memory. */
static z_stream *
stream_get(struct deflater *d, unsigned window)
{
	z_stream **z = &d->stream[window - DEFLATE_WINDOW_MIN];

	if (*z == NULL)
		*z = stream_new(&d->o, window);
	else
		(void)deflateReset(*z);
	return *z;
}

/* Compresses into out and returns the size without the tail; 0: it is not less than room. */
static size_t
compress_parts(
    z_stream *z, const struct deflate_part *part, size_t parts, uint8_t *out, size_t room)
{
	size_t i;

	z->next_out = out;
	z->avail_out = (uInt)room;
	for (i = 0; i < parts && z->avail_out > 0; i++) {
		z->next_in = part[i].p;
		z->avail_in = (uInt)part[i].n;
		(void)deflate(z, i + 1 < parts ? Z_NO_FLUSH : Z_SYNC_FLUSH);
	}
	return z->avail_out == 0 ? 0 : room - z->avail_out - sizeof(tail);
}

int
deflate_frame(struct deflater *d, unsigned window, struct block **b, uint8_t opcode,
    const struct deflate_part *part, size_t parts)
{
	size_t n = 0, head, packed = 0, i;
	z_stream *z = NULL;
	uint8_t *out;
	int err;

	for (i = 0; i < parts; i++)
		n += part[i].n;
	err = block_reserve(b, FRAME_HEAD_MAX + n + sizeof(tail), &out);
	if (err != 0)
		return err;
	head = frame_head_encode(out, (uint8_t)(FRAME_FIN | opcode), n, NULL);
	/* Without memory for a compressor a message may always go as it is. */
	if (window != 0 && n >= d->o.min_size && n < UINT32_MAX / 2)
		z = stream_get(d, window);
	if (z != NULL)
		packed = compress_parts(z, part, parts, out + head, n + sizeof(tail) - 1);
	if (packed > 0) {
		size_t at = frame_head_encode(
		    out, (uint8_t)(FRAME_FIN | FRAME_RSV1 | opcode), packed, NULL);

		if (at < head)
			memmove(out + at, out + head, packed);
		(*b)->len += at + packed;
		return 0;
	}
	for (i = 0; i < parts; i++) {
		if (part[i].n > 0)
			memcpy(out + head, part[i].p, part[i].n);
		head += part[i].n;
	}
	(*b)->len += head;
	return 0;
}

/* --- inflating --------------------------------------------------------------------------------- */

static struct inflater *
new_inflater(unsigned window)
{
	struct inflater *i = calloc(1, sizeof(*i));

	if (i == NULL)
		return NULL;
	if (inflateInit2(&i->z, -(int)window) != Z_OK) {
		free(i);
		return NULL;
	}
	buf_init(&i->own, 0);
	i->out = &i->own;
	return i;
}

struct inflater *
inflater_new(void)
{
	return new_inflater(DEFLATE_WINDOW_MAX);
}

struct inflater *
inflater_new_takeover(struct inflater *shared, unsigned window)
{
	struct inflater *i = new_inflater(window);

	if (i == NULL)
		return NULL;
	i->takeover = true;
	i->out = shared->out;
	return i;
}

void
inflater_free(struct inflater *i)
{
	if (i == NULL)
		return;
	(void)inflateEnd(&i->z);
	buf_fini(&i->own);
	free(i);
}

/* Lends zlib what room there is, but one byte more than max at most. */
static int
lend_room(struct inflater *i, size_t max)
{
	size_t left = max + 1 - buf_len(i->out);
	uint8_t *p;
	int err = buf_reserve(i->out, left < CHUNK ? left : CHUNK, &p);

	if (err != 0)
		return err;
	if (i->out->cap - i->out->end < left)
		left = i->out->cap - i->out->end;
	i->z.next_out = p;
	i->z.avail_out = left < UINT32_MAX ? (uInt)left : UINT32_MAX;
	return 0;
}

static int
inflate_bytes(struct inflater *i, const uint8_t *p, size_t n, size_t max)
{
	z_stream *z = &i->z;

	z->next_in = p;
	z->avail_in = (uInt)n;
	do {
		int status, err = lend_room(i, max);
		uInt room = z->avail_out;

		if (err != 0)
			return err;
		status = inflate(z, Z_SYNC_FLUSH);
		buf_commit(i->out, room - z->avail_out);
		if (buf_len(i->out) > max)
			return FAN_ETOOBIG;
		/* A block with BFINAL ends a stream, not the message: another begins (§7.2.3.4). */
		if (status == Z_STREAM_END)
			status = inflateReset(z);
		if (status == Z_MEM_ERROR)
			return FAN_ENOMEM;
		if (status != Z_OK && status != Z_BUF_ERROR)
			return FAN_EPROTO;
	} while (z->avail_in > 0 || z->avail_out == 0);
	return 0;
}

/* Whether the last byte was the last of a block, which was not a stream's last. */
static bool
between_blocks(const z_stream *z)
{
	return z->data_type == 128;
}

int
inflate_message(
    struct inflater *i, const uint8_t *p, size_t n, size_t max, const uint8_t **out, size_t *out_n)
{
	size_t len;
	int err;

	buf_clear(i->out);
	i->out->max = max + 1;
	/*
	 * An empty message is one byte; but zlib, asked to flush where there is nothing to, writes
	 * nothing, and peers send that.
	 */
	if (n > 0) {
		if (n > UINT32_MAX)
			return FAN_ETOOBIG;
		if (!i->takeover)
			(void)inflateReset(&i->z);
		err = inflate_bytes(i, p, n, max);
		if (err != 0)
			return err;
		len = buf_len(i->out);
		err = inflate_bytes(i, tail, sizeof(tail), max);
		if (err != 0)
			return err;
		/* The tail is a whole block, and an empty one, or the message was cut. */
		if (buf_len(i->out) != len || !between_blocks(&i->z))
			return FAN_EPROTO;
	}
	*out = buf_data(i->out);
	*out_n = buf_len(i->out);
	return 0;
}

void
inflate_done(struct inflater *i)
{
	if (i->out->cap > KEEP)
		buf_fini(i->out);
}

/* Nine bits for eight at the worst, and five bytes for each of a thousand flushes. */
size_t
inflate_input_max(size_t max)
{
	return max + max / 8 + 8192;
}
