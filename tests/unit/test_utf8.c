/*
 * Tests of common/utf8.  The reference is built from the other side: every code point is encoded,
 * and each encoding and each beginning of one is marked.  What is not marked is invalid.
 */
#include "common/utf8.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/guard.h"

enum mark {
	MARK_BAD,
	MARK_PART,
	MARK_WHOLE,
};

/* By the number that 1, 2 or 3 bytes make, big end first. */
static uint8_t *marks[4];

static size_t
encode(uint32_t cp, uint8_t out[4])
{
	if (cp < 0x80) {
		out[0] = (uint8_t)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (uint8_t)(0xc0 | cp >> 6);
		out[1] = (uint8_t)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (uint8_t)(0xe0 | cp >> 12);
		out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | cp >> 18);
	out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (cp & 0x3f));
	return 4;
}

static bool
is_scalar(uint32_t cp)
{
	return cp < 0xd800 || cp > 0xdfff;
}

static void
setup(void)
{
	uint32_t cp;
	size_t n, i;

	for (i = 1; i <= 3; i++) {
		marks[i] = calloc((size_t)1 << (8 * i), 1);
		cr_assert_not_null(marks[i]);
	}
	for (cp = 0; cp <= 0x10ffff; cp++) {
		uint8_t c[4];
		uint32_t key = 0;

		if (!is_scalar(cp))
			continue;
		n = encode(cp, c);
		for (i = 1; i <= n && i <= 3; i++) {
			key = key << 8 | c[i - 1];
			marks[i][key] = i == n ? MARK_WHOLE : MARK_PART;
		}
	}
}

static void
teardown(void)
{
	size_t i;

	for (i = 1; i <= 3; i++)
		free(marks[i]);
}

/* How many of the n bytes, at most 3, come before the first bad one; *whole: nothing is cut off. */
static size_t
reference(const uint8_t *p, size_t n, bool *whole)
{
	size_t start, i;
	uint32_t key = 0;

	*whole = true;
	for (start = i = 0; i < n; i++) {
		key = key << 8 | p[i];
		switch ((enum mark)marks[i + 1 - start][key]) {
		case MARK_BAD:
			return i;
		case MARK_PART:
			*whole = false;
			break;
		case MARK_WHOLE:
			*whole = true;
			start = i + 1;
			key = 0;
			break;
		}
	}
	return n;
}

/* Bytes before the one that is refused, fed one at a time; n if none is. */
static size_t
bytewise(const uint8_t *p, size_t n, bool *whole)
{
	uint32_t state = UTF8_ACCEPT;
	size_t i;

	for (i = 0; i < n; i++) {
		if (utf8_feed(&state, p + i, 1) != 0)
			return i;
	}
	*whole = state == UTF8_ACCEPT;
	return n;
}

static void
check_like_reference(const uint8_t *p, size_t n)
{
	uint32_t state = UTF8_ACCEPT;
	bool whole = true, want_whole;
	size_t want = reference(p, n, &want_whole);
	int err = utf8_feed(&state, p, n);

	/* cr_assert is too slow for what is called 17 million times. */
	if ((err == 0) == (want == n) && (err != 0 || (state == UTF8_ACCEPT) == want_whole) &&
	    utf8_valid(p, n) == (want == n && want_whole) && bytewise(p, n, &whole) == want &&
	    (want < n || whole == want_whole))
		return;
	cr_assert(false, "%02x %02x %02x of %zu bytes: refused at another byte than %zu, or not",
	    p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n, want);
}

TestSuite(utf8, .init = setup, .fini = teardown);

Test(utf8, all_sequences_of_one_to_three_bytes)
{
	uint8_t c[3];
	uint32_t x;

	for (x = 0; x < 1U << 24; x++) {
		c[0] = (uint8_t)(x >> 16);
		c[1] = (uint8_t)(x >> 8);
		c[2] = (uint8_t)x;
		if ((x & 0xffff) == 0)
			check_like_reference(c, 1);
		if ((x & 0xff) == 0)
			check_like_reference(c, 2);
		check_like_reference(c, 3);
	}
}

Test(utf8, all_code_points)
{
	uint32_t cp;

	for (cp = 0; cp <= 0x10ffff; cp++) {
		uint8_t c[4];
		size_t n = encode(cp, c);

		if (utf8_valid(c, n) != is_scalar(cp))
			cr_assert(false, "U+%04X", cp);
	}
}

Test(utf8, fourth_bytes)
{
	static const uint8_t last[] = { 0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff };
	uint32_t x;
	size_t i;

	for (x = 0xf00000; x <= 0xffffff; x++) {
		uint8_t c[4] = { (uint8_t)(x >> 16), (uint8_t)(x >> 8), (uint8_t)x, 0 };

		for (i = 0; i < sizeof(last); i++) {
			bool want = marks[3][x] == MARK_PART && (last[i] & 0xc0) == 0x80;

			c[3] = last[i];
			if (utf8_valid(c, 4) != want)
				cr_assert(false, "%06x %02x", x, last[i]);
		}
	}
}

Test(utf8, refused_at_the_first_bad_byte)
{
	static const struct {
		const char *bytes;
		size_t at;
	} table[] = {
		{ "\x80", 0 },
		{ "\xc0", 0 },
		{ "\xc1", 0 },
		{ "\xf5", 0 },
		{ "\xff", 0 },
		{ "a\xfe", 1 },
		{ "\xe0\x80", 1 },
		{ "\xe0\x9f", 1 },
		{ "\xed\xa0", 1 },
		{ "\xf0\x8f", 1 },
		{ "\xf4\x90", 1 },
		{ "\xc3(", 1 },
		{ "\xe2\x82(", 2 },
		{ "\xf0\x9f\x92(", 3 },
		{ "\xe2\xe2", 1 },
		{ "\xc3\xa9\xa9", 2 },
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const uint8_t *p = (const uint8_t *)table[i].bytes;
		uint32_t state = UTF8_ACCEPT;

		cr_assert_eq(utf8_feed(&state, p, table[i].at), 0, "row %zu", i);
		cr_assert_eq(utf8_feed(&state, p + table[i].at, 1), FAN_EINVAL, "row %zu", i);
		cr_assert(!utf8_valid(p, strlen(table[i].bytes)), "row %zu", i);
	}
}

/* One bad or cut character at every place of long ASCII, so that every word and tail is crossed. */
Test(utf8, anywhere_in_long_text)
{
	struct guard g = guard_new(128);
	size_t n, at;

	for (n = 1; n <= 100; n++) {
		for (at = 0; at < n; at++) {
			uint8_t text[100];
			uint32_t state = UTF8_ACCEPT;
			size_t cut;
			uint8_t *p;

			memset(text, 'x', n);
			text[at] = 0x80;
			p = guard_put(&g, text, n);
			cr_assert(!utf8_valid(p, n), "bad byte at %zu of %zu", at, n);
			text[at] = 0xc3;
			if (at + 1 < n)
				text[at + 1] = 0xa9;
			p = guard_put(&g, text, n);
			cr_assert_eq(utf8_valid(p, n), at + 1 < n, "at %zu of %zu", at, n);
			cut = at + 1;
			cr_assert_eq(utf8_feed(&state, p, cut), 0);
			cr_assert_neq(state, UTF8_ACCEPT);
			cr_assert_eq(utf8_feed(&state, p + cut, n - cut), 0);
		}
	}
	guard_free(&g);
}

Test(utf8, nothing)
{
	uint32_t state = UTF8_ACCEPT;

	cr_assert_eq(utf8_feed(&state, NULL, 0), 0);
	cr_assert_eq(state, UTF8_ACCEPT);
	cr_assert(utf8_valid(NULL, 0));
}
