/*
 * Unit tests of envelope: kinds survive Redis, and any bytes are a publication.
 */
#include <criterion/criterion.h>
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

struct decoded {
	enum msg_kind kind;
	const uint8_t *data;
	size_t len;
};

/* Decodes a copy that ends at the forbidden page. */
static struct decoded
decode(const void *p, size_t n)
{
	const uint8_t *at = guard_put(&guard, p, n);
	struct decoded d;

	envelope_decode(at, n, &d.kind, &d.data, &d.len);
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
	struct decoded d;

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
	struct decoded d = decode(MAGIC "\x01\x00"
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
	struct decoded d = decode("", 0);
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
	char wire[14] = MAGIC "\x01\x01"
			      "data";
	unsigned i;

	for (i = 0; i < 256; i++) {
		struct decoded d;

		wire[8] = (char)i;
		wire[9] = 1;
		d = decode(wire, 14);
		cr_assert_eq(d.kind, MSG_BINARY);
		cr_assert_eq(d.len, i == 1 ? 4 : 14, "version %u", i);
		wire[8] = 1;
		wire[9] = (char)i;
		d = decode(wire, 14);
		cr_assert_eq(d.kind, i == 0 ? MSG_TEXT : MSG_BINARY);
		cr_assert_eq(d.len, i <= 1 ? 4 : 14, "flags %u", i);
	}
}
