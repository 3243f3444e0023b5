/*
 * utf8: incremental check of UTF-8.  See utf8.h.
 *
 * Owns:    nothing; pure functions.
 * Process: any.
 * Layer:   common.  Uses err.
 *
 * Inside a character the state says what the next byte must be: its lowest and highest value, and
 * how many bytes are still to come.  The first continuation byte is the only one whose range is
 * ever narrower than 80-BF (RFC 3629 §4), so this is all that must be remembered.
 */
#include "common/utf8.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

#define EXPECT(more, low, high) ((uint32_t)(more) | (uint32_t)(low) << 8 | (uint32_t)(high) << 16)
#define MORE(state) ((state)&0xff)
#define LOW(state) ((state) >> 8 & 0xff)
#define HIGH(state) ((state) >> 16)

/* The state after a first byte that is not ASCII; UTF8_ACCEPT if no character begins with it. */
static uint32_t
after_lead(uint8_t c)
{
	if (c < 0xc2 || c > 0xf4)
		return UTF8_ACCEPT;
	if (c < 0xe0)
		return EXPECT(1, 0x80, 0xbf);
	if (c < 0xf0)
		return EXPECT(2, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf);
	return EXPECT(3, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf);
}

/* How many of the n bytes at p come before the first that is not ASCII. */
static size_t
ascii_run(const uint8_t *p, size_t n)
{
	uint64_t w[4];
	size_t i = 0;

	for (; n - i >= sizeof(w); i += sizeof(w)) {
		memcpy(w, p + i, sizeof(w));
		if (((w[0] | w[1] | w[2] | w[3]) & HIGH_BITS) != 0)
			break;
	}
	for (; n - i >= sizeof(w[0]); i += sizeof(w[0])) {
		memcpy(w, p + i, sizeof(w[0]));
		if ((w[0] & HIGH_BITS) != 0)
			break;
	}
	while (i < n && p[i] < 0x80)
		i++;
	return i;
}

int
utf8_feed(uint32_t *state, const uint8_t *p, size_t n)
{
	uint32_t s = *state;
	size_t i = 0;

	while (i < n) {
		uint8_t c = p[i];

		if (s != UTF8_ACCEPT) {
			if (c < LOW(s) || c > HIGH(s))
				return FAN_EINVAL;
			s = MORE(s) == 1 ? UTF8_ACCEPT : EXPECT(MORE(s) - 1, 0x80, 0xbf);
			i++;
		} else if (c < 0x80) {
			i += ascii_run(p + i, n - i);
		} else {
			s = after_lead(c);
			if (s == UTF8_ACCEPT)
				return FAN_EINVAL;
			i++;
		}
	}
	*state = s;
	return 0;
}

bool
utf8_valid(const uint8_t *p, size_t n)
{
	uint32_t state = UTF8_ACCEPT;

	return utf8_feed(&state, p, n) == 0 && state == UTF8_ACCEPT;
}
