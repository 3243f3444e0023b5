/*
 * Unit tests of envelope: kinds survive Redis, and any bytes are a publication.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/envelope.h"
#include "tests/unit/guard.h"

#define MAGIC                                                                                      \
	"\xff"                                                                                     \
	"fanfare"

static struct guard guard;

static void
setup(void)
{
	guard = guard_new(256);
}

static void
teardown(void)
{
	guard_free(&guard);
}

TestSuite(envelope, .init = setup, .fini = teardown, .timeout = 10);

/* Decodes a copy that ends at the forbidden page. */
static struct envelope
decode(const void *p, size_t n)
{
	const uint8_t *at = guard_put(&guard, p, n);
	struct envelope d;

	envelope_decode(at, n, &d);
	cr_assert_eq(d.has_position, d.position.epoch[0] != '\0');
	cr_assert(d.data >= at);
	cr_assert_eq(d.data + d.len, at + n, "the payload ends where the input ends");
	return d;
}

/* Encodes, puts head and payload together, decodes; returns the size of the head. */
static size_t
round_trip(enum msg_kind kind, const char *data, size_t n)
{
	uint8_t wire[200], *head = guard_put(&guard, wire, 0) - ENVELOPE_HEAD;
	size_t head_len = envelope_head(kind, (const uint8_t *)data, n, head);
	struct envelope d;

	cr_assert(head_len == 0 || head_len == ENVELOPE_HEAD);
	memcpy(wire, head, head_len);
	memcpy(wire + head_len, data, n);
	d = decode(wire, head_len + n);
	cr_assert_eq(d.kind, kind, "%zu bytes", n);
	cr_assert_eq(d.len, n);
	cr_assert(memcmp(d.data, data, n) == 0);
	return head_len;
}

Test(envelope, what_a_reader_infers_goes_plain)
{
	cr_assert_eq(round_trip(MSG_TEXT, "", 0), 0);
	cr_assert_eq(round_trip(MSG_TEXT, "{\"a\":1}", 7), 0);
	cr_assert_eq(round_trip(MSG_TEXT, "gr\xc3\xbc\xc3\x9f", 6), 0);
	cr_assert_eq(round_trip(MSG_TEXT, "a\0b\r\n", 5), 0);
	cr_assert_eq(round_trip(MSG_TEXT, "fanfare", 7), 0);
	cr_assert_eq(round_trip(MSG_BINARY, "\xff", 1), 0);
	cr_assert_eq(round_trip(MSG_BINARY,
			 "\xff"
			 "fanfar",
			 7),
	    0);
	cr_assert_eq(round_trip(MSG_BINARY, "\x80\x00\x01", 3), 0);
}

Test(envelope, binary_that_looks_like_text_is_wrapped)
{
	cr_assert_eq(round_trip(MSG_BINARY, "", 0), ENVELOPE_HEAD);
	cr_assert_eq(round_trip(MSG_BINARY, "plain", 5), ENVELOPE_HEAD);
	cr_assert_eq(round_trip(MSG_BINARY, "\0", 1), ENVELOPE_HEAD);
}

Test(envelope, payload_that_begins_with_the_magic_is_wrapped)
{
	cr_assert_eq(round_trip(MSG_BINARY, MAGIC, 8), ENVELOPE_HEAD);
	cr_assert_eq(round_trip(MSG_BINARY, MAGIC "\x01\x01hello", 15), ENVELOPE_HEAD);
	cr_assert_eq(round_trip(MSG_BINARY, MAGIC "\x01\x01" MAGIC "\x01\x01", 20), ENVELOPE_HEAD);
}

/* The layout is a promise to the next version. */
Test(envelope, head_has_the_documented_bytes)
{
	uint8_t head[ENVELOPE_HEAD];

	cr_assert_eq(envelope_head(MSG_BINARY, (const uint8_t *)"x", 1, head), ENVELOPE_HEAD);
	cr_assert(memcmp(head, MAGIC "\x01\x01", ENVELOPE_HEAD) == 0);
}

Test(envelope, text_flag_holds_only_for_utf8)
{
	struct envelope d = decode(MAGIC "\x01\x00"
					 "text",
	    14);

	cr_assert_eq(d.kind, MSG_TEXT);
	cr_assert_eq(d.len, 4);
	d = decode(MAGIC "\x01\x00"
			 "te\xfft",
	    14);
	cr_assert_eq(d.kind, MSG_BINARY);
	cr_assert_eq(d.len, 4);
}

Test(envelope, every_truncation_of_a_head_is_plain_binary)
{
	static const char whole[] = MAGIC "\x01\x01";
	struct envelope d = decode("", 0);
	size_t n;

	cr_assert_eq(d.kind, MSG_TEXT);
	cr_assert_eq(d.len, 0);
	for (n = 1; n < ENVELOPE_HEAD; n++) {
		d = decode(whole, n);
		cr_assert_eq(d.kind, MSG_BINARY, "%zu bytes", n);
		cr_assert_eq(d.len, n);
	}
	d = decode(whole, ENVELOPE_HEAD);
	cr_assert_eq(d.kind, MSG_BINARY);
	cr_assert_eq(d.len, 0);
}

Test(envelope, unknown_versions_and_flags_are_plain_binary)
{
	/* Good after each of the flags that are known. */
	static const char tails[][24] = { "data", "\0\0\0\0\0\0\0\7\3abcdata", "{\"a\":1}" };
	static const size_t lens[] = { 4, 16, 7 };
	char wire[40] = MAGIC "\x01\x01";
	unsigned i, tail;

	for (tail = 0; tail < 3; tail++) {
		memcpy(wire + ENVELOPE_HEAD, tails[tail], lens[tail]);
		for (i = 0; i < 256; i++) {
			struct envelope d;
			bool known =
			    i <= 1 || (tail == 1 && i <= 3) || (tail == 2 && (i == 4 || i == 8));

			wire[8] = (char)i;
			wire[9] = 1;
			d = decode(wire, ENVELOPE_HEAD + lens[tail]);
			cr_assert_eq(d.kind, MSG_BINARY);
			cr_assert_eq(d.len == ENVELOPE_HEAD + lens[tail], i != 1, "version %u", i);
			wire[8] = 1;
			wire[9] = (char)i;
			d = decode(wire, ENVELOPE_HEAD + lens[tail]);
			cr_assert_eq(d.len == ENVELOPE_HEAD + lens[tail], !known, "flags %u", i);
			if (!known)
				cr_assert(d.kind == MSG_BINARY && !d.has_position);
		}
	}
}

#define AT(flags, offset, epoch) MAGIC "\x01" flags "\0\0\0\0\0\0" offset epoch

Test(envelope, position)
{
	struct envelope d = decode(AT("\x02", "\x01\x02",
				       "\x03"
				       "aZ9") "text",
	    26);

	cr_assert(d.has_position && d.kind == MSG_TEXT);
	cr_assert_eq(d.position.offset, 0x102);
	cr_assert_str_eq(d.position.epoch, "aZ9");
	cr_assert(d.len == 4 && memcmp(d.data, "text", 4) == 0);
	d = decode(AT("\x03", "\x00\x01",
		       "\x01"
		       "a") "text",
	    24);
	cr_assert(d.has_position && d.kind == MSG_BINARY && d.position.offset == 1 && d.len == 4);
	/* What is not UTF-8 is binary, whatever the flag. */
	d = decode(AT("\x02", "\x00\x01",
		       "\x01"
		       "a") "\xff",
	    21);
	cr_assert(d.has_position && d.kind == MSG_BINARY && d.len == 1);
	d = decode(AT("\x02", "\x00\x01",
		       "\x01"
		       "a"),
	    20);
	cr_assert(d.has_position && d.kind == MSG_TEXT && d.len == 0);
}

Test(envelope, every_truncation_of_a_position_is_plain_binary)
{
	static const char whole[] = AT("\x02", "\x00\x01",
	    "\x03"
	    "abc");
	size_t n;

	for (n = ENVELOPE_HEAD; n < sizeof(whole) - 1; n++) {
		struct envelope d = decode(whole, n);

		cr_assert(!d.has_position && d.kind == MSG_BINARY && d.len == n, "%zu bytes", n);
	}
	cr_assert(decode(whole, n).has_position);
}

Test(envelope, malformed_positions_are_plain_binary)
{
	static const char *const bad[] = {
		AT("\x02", "\x00\x01",
		    "\x03"
		    "a-b"),
		AT("\x02", "\x00\x01",
		    "\x21"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
	};
	static const char none[] = AT("\x02", "\x00\x01", "\x00") "text";
	static const char zero[] = AT("\x02", "\x00\x00",
	    "\x01"
	    "a");
	struct envelope d;

	d = decode(bad[0], 22);
	cr_assert(!d.has_position && d.len == 22);
	d = decode(bad[1], 52);
	cr_assert(!d.has_position && d.len == 52);
	d = decode(none, sizeof(none) - 1);
	cr_assert(!d.has_position && d.len == sizeof(none) - 1);
	d = decode(zero, sizeof(zero) - 1);
	cr_assert(!d.has_position && d.len == sizeof(zero) - 1);
}

Test(envelope, members)
{
	static const char join[] = MAGIC "\x01\x04{\"client\":\"c\"}";
	static const char leave[] = MAGIC "\x01\x08{}";
	static const char *const bad[] = { "", "x", "[]", "{", "{}}", "{\"a\":\"\xff\"}", "null" };
	char wire[40];
	struct envelope d = decode(join, sizeof(join) - 1);
	size_t i, n;

	cr_assert(
	    d.kind == MSG_JOIN && d.len == 14 && memcmp(d.data, "{\"client\":\"c\"}", 14) == 0);
	d = decode(leave, sizeof(leave) - 1);
	cr_assert(d.kind == MSG_LEAVE && d.len == 2);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		n = (size_t)snprintf(wire, sizeof(wire), MAGIC "\x01\x04%s", bad[i]);
		d = decode(wire, n);
		cr_assert(d.kind == MSG_BINARY && d.len == n, "%s", bad[i]);
	}
}
