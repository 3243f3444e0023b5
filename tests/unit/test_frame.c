/*
 * Tests of worker/ws/frame.
 */
#include "worker/ws/frame.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint8_t key[4] = { 0x37, 0xfa, 0x21, 0x3d };

static const struct {
	uint64_t len;
	uint8_t size; /* of an unmasked head */
} lengths[] = {
	{ 0, 2 },
	{ 1, 2 },
	{ 124, 2 },
	{ 125, 2 },
	{ 126, 4 },
	{ 127, 4 },
	{ 255, 4 },
	{ 256, 4 },
	{ 65534, 4 },
	{ 65535, 4 },
	{ 65536, 10 },
	{ 65537, 10 },
	{ (UINT64_C(1) << 31) - 1, 10 },
	{ UINT64_C(1) << 31, 10 },
	{ (UINT64_C(1) << 32) - 1, 10 },
	{ UINT64_C(1) << 32, 10 },
	{ (UINT64_C(1) << 63) - 1, 10 },
};

/* Encodes, and decodes every beginning of the result against the guard page. */
static void
round_trip(const struct guard *g, uint8_t bits, size_t row, bool masked)
{
	uint8_t head[FRAME_HEAD_MAX];
	size_t size = frame_head_encode(head, bits, lengths[row].len, masked ? key : NULL);
	struct frame_head out;
	size_t n;

	cr_assert_eq(size, lengths[row].size + (masked ? 4U : 0U), "row %zu", row);
	for (n = 0; n < size; n++)
		cr_assert_eq(frame_head_decode(guard_put(g, head, n), n, &out), FAN_EAGAIN,
		    "row %zu, %zu bytes", row, n);
	memset(&out, 0xee, sizeof(out));
	cr_assert_eq(frame_head_decode(guard_put(g, head, size), size, &out), 0, "row %zu", row);
	cr_assert_eq(out.bits, bits);
	cr_assert_eq(out.len, lengths[row].len, "row %zu", row);
	cr_assert_eq(out.size, size);
	cr_assert_eq(out.masked, masked);
	cr_assert_eq(memcmp(out.mask, masked ? key : (const uint8_t[4]){ 0 }, 4), 0);
}

/* All 256 first bytes: FIN, the reserved bits and the opcode in every combination. */
Test(frame, every_head_there_and_back)
{
	struct guard g = guard_new(FRAME_HEAD_MAX);
	unsigned int bits;
	size_t row;

	for (bits = 0; bits < 256; bits++) {
		for (row = 0; row < COUNT(lengths); row++) {
			round_trip(&g, (uint8_t)bits, row, false);
			round_trip(&g, (uint8_t)bits, row, true);
		}
	}
	guard_free(&g);
}

Test(frame, examples_of_the_rfc)
{
	/* RFC 6455 §5.7. */
	static const uint8_t hello[] = { 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51,
		0x58 };
	static const uint8_t kib64[] = { 0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0 };
	struct frame_head head;
	uint8_t payload[5];

	cr_assert_eq(frame_head_decode(hello, sizeof(hello), &head), 0);
	cr_assert_eq(head.bits, FRAME_FIN | WS_OP_TEXT);
	cr_assert_eq(head.len, 5);
	cr_assert_eq(head.size, 6);
	memcpy(payload, hello + 6, 5);
	frame_mask(payload, 5, head.mask, 0);
	cr_assert_eq(memcmp(payload, "Hello", 5), 0);
	cr_assert_eq(frame_head_decode(kib64, sizeof(kib64), &head), 0);
	cr_assert_eq(head.len, 65536);
	cr_assert_eq(head.size, 10);
}

/* Refused as soon as the bytes show it, and not one byte earlier. */
Test(frame, lengths_not_in_their_shortest_form)
{
	static const struct {
		uint8_t head[10];
		size_t at; /* the number of bytes that show it */
	} table[] = {
		{ { 0x82, 126, 0, 0 }, 4 },
		{ { 0x82, 126, 0, 125 }, 4 },
		{ { 0x82, 0xfe, 0, 125 }, 4 },
		{ { 0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0 }, 8 },
		{ { 0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff }, 8 },
		{ { 0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff }, 8 },
		{ { 0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0 }, 3 },
		{ { 0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 3 },
	};
	struct guard g = guard_new(16);
	struct frame_head head;
	size_t i, n;

	for (i = 0; i < COUNT(table); i++) {
		for (n = 0; n <= sizeof(table[i].head); n++) {
			int want = n < table[i].at ? FAN_EAGAIN : FAN_EPROTO;
			uint8_t *p = guard_put(&g, table[i].head, n);

			cr_assert_eq(frame_head_decode(p, n, &head), want, "row %zu, %zu", i, n);
		}
	}
	guard_free(&g);
}

Test(frame, mask_every_length_alignment_and_phase)
{
	struct guard g = guard_new(256);
	size_t n, phase, i;

	for (n = 0; n <= 150; n++) {
		for (phase = 0; phase < 9; phase++) {
			uint8_t plain[150];
			uint8_t *p;

			for (i = 0; i < n; i++)
				plain[i] = (uint8_t)(i * 7 + n);
			/* Ends at the boundary, so that the start takes every alignment. */
			p = guard_put(&g, plain, n);
			frame_mask(p, n, key, phase);
			for (i = 0; i < n; i++)
				cr_assert_eq(p[i], plain[i] ^ key[(phase + i) % 4],
				    "byte %zu of %zu, phase %zu", i, n, phase);
		}
	}
	guard_free(&g);
}

Test(frame, mask_in_pieces_equals_whole)
{
	uint8_t whole[97], pieces[97];
	size_t a, b, i;

	for (a = 0; a <= sizeof(whole); a++) {
		for (b = a; b <= sizeof(whole); b += 5) {
			for (i = 0; i < sizeof(whole); i++)
				whole[i] = pieces[i] = (uint8_t)(i * 31);
			frame_mask(whole, sizeof(whole), key, UINT64_MAX - 2);
			frame_mask(pieces, a, key, UINT64_MAX - 2);
			frame_mask(pieces + a, b - a, key, UINT64_MAX - 2 + a);
			frame_mask(pieces + b, sizeof(whole) - b, key, UINT64_MAX - 2 + b);
			cr_assert_eq(memcmp(whole, pieces, sizeof(whole)), 0, "%zu %zu", a, b);
		}
	}
}
