/*
 * frame: the WebSocket frame of RFC 6455 §5.2 as bytes.  See frame.h.
 *
 * Owns:    nothing; pure functions.
 * Process: workers, and the command-line client.
 * Layer:   worker/ws, lowest.  Uses common.
 */
#include "worker/ws/frame.h"

#include <string.h>

#define MASKED 0x80
#define LEN16 126 /* in the seven bits: the length follows in 2 bytes */
#define LEN64 127 /* in the seven bits: the length follows in 8 bytes */

static uint64_t
get_be(const uint8_t *p, size_t n)
{
	uint64_t x = 0;
	size_t i;

	for (i = 0; i < n; i++)
		x = x << 8 | p[i];
	return x;
}

static void
put_be(uint8_t *p, uint64_t x, size_t n)
{
	while (n > 0) {
		p[--n] = (uint8_t)x;
		x >>= 8;
	}
}

/* The length field at p, of which n bytes have come. */
static int
decode_len(uint8_t len7, const uint8_t *p, size_t n, struct frame_head *out)
{
	if (len7 < LEN16) {
		out->len = len7;
		return 0;
	}
	if (len7 == LEN16) {
		if (n < 2)
			return FAN_EAGAIN;
		out->len = get_be(p, 2);
		return out->len < LEN16 ? FAN_EPROTO : 0;
	}
	/* The first byte shows the top bit, the first six whether 16 bits would have done. */
	if (n >= 1 && (p[0] & 0x80) != 0)
		return FAN_EPROTO;
	if (n >= 6 && get_be(p, 6) == 0)
		return FAN_EPROTO;
	if (n < 8)
		return FAN_EAGAIN;
	out->len = get_be(p, 8);
	return 0;
}

int
frame_head_decode(const uint8_t *p, size_t n, struct frame_head *out)
{
	uint8_t len7;
	size_t size;
	int err;

	if (n < 2)
		return FAN_EAGAIN;
	len7 = p[1] & 0x7f;
	size = len7 < LEN16 ? 2 : len7 == LEN16 ? 4 : 10;
	err = decode_len(len7, p + 2, n - 2, out);
	if (err != 0)
		return err;
	out->bits = p[0];
	out->masked = (p[1] & MASKED) != 0;
	memset(out->mask, 0, sizeof(out->mask));
	if (out->masked) {
		if (n < size + sizeof(out->mask))
			return FAN_EAGAIN;
		memcpy(out->mask, p + size, sizeof(out->mask));
		size += sizeof(out->mask);
	}
	out->size = (uint8_t)size;
	return 0;
}

size_t
frame_head_encode(uint8_t out[FRAME_HEAD_MAX], uint8_t bits, uint64_t len, const uint8_t *mask)
{
	size_t size;

	out[0] = bits;
	if (len < LEN16) {
		out[1] = (uint8_t)len;
		size = 2;
	} else if (len <= UINT16_MAX) {
		out[1] = LEN16;
		put_be(out + 2, len, 2);
		size = 4;
	} else {
		out[1] = LEN64;
		put_be(out + 2, len, 8);
		size = 10;
	}
	if (mask != NULL) {
		out[1] |= MASKED;
		memcpy(out + size, mask, 4);
		size += 4;
	}
	return size;
}

void
frame_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase)
{
	uint8_t key[8];
	uint64_t w[4], k;
	size_t i;

	for (i = 0; i < sizeof(key); i++)
		key[i] = mask[(phase + i) & 3];
	memcpy(&k, key, sizeof(k));
	/* Through memcpy, because payloads begin anywhere; compilers make vector loads of it. */
	for (; n >= sizeof(w); n -= sizeof(w), p += sizeof(w)) {
		memcpy(w, p, sizeof(w));
		w[0] ^= k;
		w[1] ^= k;
		w[2] ^= k;
		w[3] ^= k;
		memcpy(p, w, sizeof(w));
	}
	for (; n >= sizeof(k); n -= sizeof(k), p += sizeof(k)) {
		memcpy(w, p, sizeof(k));
		w[0] ^= k;
		memcpy(p, w, sizeof(k));
	}
	for (i = 0; i < n; i++)
		p[i] ^= key[i];
}
