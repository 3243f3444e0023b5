/*
 * envelope: how a publication is written into Redis, and read out of it.  See envelope.h.
 */
#include "broker/engine/envelope.h"

#include <endian.h>
#include <string.h>

#include "common/json.h"
#include "common/utf8.h"

#define VERSION 1
#define FLAG_BINARY 0x01
#define FLAG_POSITION 0x02
#define FLAG_JOIN 0x04
#define FLAG_LEAVE 0x08

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

/* Takes the position off the payload. */
static bool
decode_position(struct envelope *e)
{
	uint64_t offset;
	size_t epoch_len;

	if (e->len < sizeof(offset) + 1)
		return false;
	memcpy(&offset, e->data, sizeof(offset));
	epoch_len = e->data[sizeof(offset)];
	e->data += sizeof(offset) + 1;
	e->len -= sizeof(offset) + 1;
	if (offset == 0 || epoch_len == 0 || epoch_len > e->len ||
	    position_set(&e->position, be64toh(offset), (const char *)e->data, epoch_len) != 0)
		return false;
	e->data += epoch_len;
	e->len -= epoch_len;
	e->has_position = true;
	return true;
}

static bool
is_object(const uint8_t *p, size_t n)
{
	return n > 0 && p[0] == '{' && json_valid((const char *)p, n, JSON_DEPTH_MAX);
}

/* Reads what follows the version.  false: it is no envelope after all. */
static bool
decode_flags(struct envelope *e, uint8_t flags)
{
	switch (flags) {
	case FLAG_JOIN:
	case FLAG_LEAVE:
		e->kind = flags == FLAG_JOIN ? MSG_JOIN : MSG_LEAVE;
		return is_object(e->data, e->len);
	case FLAG_POSITION:
	case FLAG_POSITION | FLAG_BINARY:
		if (!decode_position(e))
			return false;
		break;
	case 0:
	case FLAG_BINARY:
		break;
	default:
		return false;
	}
	e->kind =
	    (flags & FLAG_BINARY) != 0 || !utf8_valid(e->data, e->len) ? MSG_BINARY : MSG_TEXT;
	return true;
}

void
envelope_decode(const uint8_t *p, size_t n, struct envelope *out)
{
	bool wrapped = n >= ENVELOPE_HEAD && has_magic(p, n) && p[8] == VERSION;

	if (wrapped) {
		*out = (struct envelope){ .data = p + ENVELOPE_HEAD, .len = n - ENVELOPE_HEAD };
		if (decode_flags(out, p[9]))
			return;
	}
	*out = (struct envelope){ .data = p, .len = n };
	out->kind = utf8_valid(p, n) ? MSG_TEXT : MSG_BINARY;
}
