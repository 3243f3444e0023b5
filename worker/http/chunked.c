/*
 * chunked: the chunks of a request's body (RFC 9112 §7.1).  See parse.h.
 *
 * Owns:    nothing; pure functions.
 * Process: workers.
 * Layer:   worker/http, lowest.  Uses parse, common.
 *
 *   SIZE ─► EXT ─► SIZE_LF ─► DATA ─► DATA_CR ─► DATA_LF ─► SIZE …
 *                     └─ (size 0) ─► LINE ─► NAME ─► VALUE ─► LINE_LF ─► LINE …
 *                                      └─► END_LF ─► DONE
 */
#include "worker/http/parse.h"

#include <string.h>

#define DIGITS_MAX 13 /* of a chunk's size: less than 2^52 */
#define EXTRA_MAX 4096

enum chunked_state {
	CHUNK_SIZE, /* the zero of http_chunked_init */
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_LINE, /* at the start of a trailer, or of the empty line that ends the body */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_DONE,
	CHUNK_BAD,
};

void
http_chunked_init(struct http_chunked *c)
{
	memset(c, 0, sizeof(*c));
}

static bool
is_tchar(char byte)
{
	struct http_slice s = { &byte, 1 };

	return http_is_token(s);
}

/* Whether the byte may stand in a chunk extension or a trailer's value. */
static bool
is_text(char byte)
{
	return ((unsigned char)byte >= ' ' && byte != 0x7f) || byte == '\t';
}

/* Counts a byte that is neither size nor data.  The state to go on in. */
static enum chunked_state
extra(struct http_chunked *c, enum chunked_state next)
{
	if (c->extra == EXTRA_MAX)
		return CHUNK_BAD;
	c->extra++;
	return next;
}

static enum chunked_state
on_size(struct http_chunked *c, char byte)
{
	static const char hex[] = "0123456789abcdef0123456789ABCDEF";
	const char *digit = memchr(hex, byte, sizeof(hex) - 1);

	if (digit != NULL) {
		if (c->digits == DIGITS_MAX)
			return CHUNK_BAD;
		c->digits++;
		c->left = c->left << 4 | (uint64_t)((digit - hex) & 15);
		return CHUNK_SIZE;
	}
	if (c->digits == 0)
		return CHUNK_BAD;
	if (byte == ';')
		return extra(c, CHUNK_EXT);
	return byte == '\r' ? CHUNK_SIZE_LF : CHUNK_BAD;
}

/* The state after one byte that is not data. */
static enum chunked_state
step(struct http_chunked *c, char byte)
{
	switch ((enum chunked_state)c->state) {
	case CHUNK_SIZE:
		return on_size(c, byte);
	case CHUNK_EXT:
		if (byte == '\r')
			return CHUNK_SIZE_LF;
		return is_text(byte) ? extra(c, CHUNK_EXT) : CHUNK_BAD;
	case CHUNK_SIZE_LF:
		if (byte != '\n')
			return CHUNK_BAD;
		c->digits = 0;
		return c->left > 0 ? CHUNK_DATA : TRAILER_LINE;
	case CHUNK_DATA_CR:
		return byte == '\r' ? CHUNK_DATA_LF : CHUNK_BAD;
	case CHUNK_DATA_LF:
		return byte == '\n' ? CHUNK_SIZE : CHUNK_BAD;
	case TRAILER_LINE:
		if (byte == '\r')
			return CHUNK_END_LF;
		return is_tchar(byte) ? extra(c, TRAILER_NAME) : CHUNK_BAD;
	case TRAILER_NAME:
		if (byte == ':')
			return extra(c, TRAILER_VALUE);
		return is_tchar(byte) ? extra(c, TRAILER_NAME) : CHUNK_BAD;
	case TRAILER_VALUE:
		if (byte == '\r')
			return TRAILER_LF;
		return is_text(byte) ? extra(c, TRAILER_VALUE) : CHUNK_BAD;
	case TRAILER_LF:
		return byte == '\n' ? TRAILER_LINE : CHUNK_BAD;
	case CHUNK_END_LF:
		return byte == '\n' ? CHUNK_DONE : CHUNK_BAD;
	case CHUNK_DATA:
	case CHUNK_DONE:
	case CHUNK_BAD:
		break;
	}
	return CHUNK_BAD;
}

int
http_chunked_next(struct http_chunked *c, const char **p, size_t *n, struct http_slice *data)
{
	for (;;) {
		if (c->state == CHUNK_DONE)
			return FAN_EGONE;
		if (c->state == CHUNK_BAD)
			return FAN_EPROTO;
		if (*n == 0)
			return FAN_EAGAIN;
		if (c->state == CHUNK_DATA)
			break;
		c->state = (uint8_t)step(c, *(*p)++);
		--*n;
	}
	data->p = *p;
	data->n = c->left < *n ? (size_t)c->left : *n;
	*p += data->n;
	*n -= data->n;
	c->left -= data->n;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	return 0;
}
