/*
 * base64url: see base64url.h.
 */
#include "worker/auth/base64url.h"

#include "common/buf.h"

/* The six bits of a character, or -1. */
static int
value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int
base64url_decode(const char *text, size_t n, uint8_t *out)
{
	uint32_t bits = 0;
	unsigned have = 0;

	if (n % 4 == 1)
		return FAN_EINVAL;
	for (size_t i = 0; i < n; i++) {
		int v = value_of(text[i]);

		if (v < 0)
			return FAN_EINVAL;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			*out++ = (uint8_t)(bits >> have);
			bits &= (1U << have) - 1;
		}
	}
	return bits == 0 ? 0 : FAN_EINVAL;
}

int
base64url_append(struct buf *b, const void *data, size_t n)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = data;
	size_t len = n / 3 * 4 + (n % 3 * 4 + 2) / 3;
	uint32_t bits = 0;
	unsigned have = 0;
	uint8_t *out;
	int err = buf_reserve(b, len, &out);

	if (err != 0)
		return err;
	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | p[i];
		for (have += 8; have >= 6; have -= 6)
			*out++ = (uint8_t)alphabet[bits >> (have - 6) & 0x3f];
	}
	if (have > 0)
		*out = (uint8_t)alphabet[bits << (6 - have) & 0x3f];
	buf_commit(b, len);
	return 0;
}
