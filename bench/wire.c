/*
 * wire: what the measured messages look like, and the WebSocket frames around them.  See wire.h.
 */
#include "bench/wire.h"

static void
hex_write(uint8_t *out, size_t digits, uint64_t v)
{
	while (digits-- > 0) {
		out[digits] = (uint8_t) "0123456789abcdef"[v & 15];
		v >>= 4;
	}
}

static bool
hex_read(const uint8_t *p, size_t digits, uint64_t *v)
{
	size_t i;

	*v = 0;
	for (i = 0; i < digits; i++) {
		unsigned c = p[i];

		if (c - '0' < 10)
			c -= '0';
		else if (c - 'a' < 6)
			c -= 'a' - 10;
		else
			return false;
		*v = *v << 4 | c;
	}
	return true;
}

void
wire_stamp_write(const struct wire_stamp *stamp, uint8_t *out)
{
	static const uint8_t mark[WIRE_MARK_LEN] = { '@', 'f', 'b', ':' };

	memcpy(out, mark, sizeof(mark));
	hex_write(out + 4, 4, stamp->channel);
	hex_write(out + 8, 8, stamp->seq);
	hex_write(out + 16, 16, stamp->ns);
}

bool
wire_stamp_read(const uint8_t *p, struct wire_stamp *stamp)
{
	uint64_t channel, seq;

	if (memcmp(p, WIRE_MARK, WIRE_MARK_LEN) != 0 || !hex_read(p + 4, 4, &channel) ||
	    !hex_read(p + 8, 8, &seq) || !hex_read(p + 16, 16, &stamp->ns))
		return false;
	stamp->channel = (uint32_t)channel;
	stamp->seq = (uint32_t)seq;
	return true;
}

size_t
wire_head(uint8_t *out, enum wire_opcode opcode, size_t n, const uint8_t *mask)
{
	size_t at = 2, i;

	out[0] = (uint8_t)(WIRE_FIN | opcode);
	if (n < 126) {
		out[1] = (uint8_t)n;
	} else if (n < 65536) {
		out[1] = 126;
		out[at++] = (uint8_t)(n >> 8);
		out[at++] = (uint8_t)n;
	} else {
		out[1] = 127;
		for (i = 0; i < 8; i++)
			out[at++] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
	}
	if (mask != NULL) {
		out[1] |= WIRE_MASKED;
		memcpy(out + at, mask, 4);
		at += 4;
	}
	return at;
}

void
wire_mask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t mask[4])
{
	uint64_t word, m;
	size_t i = 0;
	uint32_t m4;

	memcpy(&m4, mask, sizeof(m4));
	m = (uint64_t)m4 << 32 | m4;
	for (; i + sizeof(word) <= n; i += sizeof(word)) {
		memcpy(&word, from + i, sizeof(word));
		word ^= m;
		memcpy(to + i, &word, sizeof(word));
	}
	for (; i < n; i++)
		to[i] = from[i] ^ mask[i & 3];
}
