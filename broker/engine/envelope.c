/*
 * envelope: how a publication is written into Redis, and read out of it.  See envelope.h.
 */
#include "broker/engine/envelope.h"

#include <stdbool.h>
#include <string.h>

#include "common/utf8.h"

#define VERSION 1
#define FLAG_BINARY 0x01

static const uint8_t magic[8] = { 0xff, 'f', 'a', 'n', 'f', 'a', 'r', 'e' };

static bool
has_magic(const uint8_t *p, size_t n)
{
	return n >= sizeof(magic) && memcmp(p, magic, sizeof(magic)) == 0;
}

size_t
envelope_head(enum msg_kind kind, const uint8_t *data, size_t len, uint8_t head[ENVELOPE_HEAD])
{
	if (kind == MSG_TEXT || (!has_magic(data, len) && !utf8_valid(data, len)))
		return 0;
	memcpy(head, magic, sizeof(magic));
	head[8] = VERSION;
	head[9] = FLAG_BINARY;
	return ENVELOPE_HEAD;
}

void
envelope_decode(const uint8_t *p, size_t n, enum msg_kind *kind, const uint8_t **data, size_t *len)
{
	bool binary = false;

	if (n >= ENVELOPE_HEAD && has_magic(p, n) && p[8] == VERSION &&
	    (p[9] & ~FLAG_BINARY) == 0) {
		binary = (p[9] & FLAG_BINARY) != 0;
		p += ENVELOPE_HEAD;
		n -= ENVELOPE_HEAD;
	}
	*kind = binary || !utf8_valid(p, n) ? MSG_BINARY : MSG_TEXT;
	*data = p;
	*len = n;
}
