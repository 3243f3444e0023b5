/*
 * Tests of the measuring tool's messages: stamps, and a client's frames.
 */
#include "bench/wire.h"

#include <criterion/criterion.h>

Test(wire, a_stamp_comes_back)
{
	static const struct wire_stamp stamps[] = { { 0, 0, 0 }, { 1, 2, 3 },
		{ 0xffff, UINT32_MAX, UINT64_MAX },
		{ 0xabc, 0x12345678, UINT64_C(0x123456789abcdef0) } };
	struct wire_stamp back;
	uint8_t bytes[WIRE_STAMP];
	size_t i;

	for (i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
		wire_stamp_write(&stamps[i], bytes);
		cr_assert(wire_stamp_read(bytes, &back));
		cr_assert_eq(back.channel, stamps[i].channel);
		cr_assert_eq(back.seq, stamps[i].seq);
		cr_assert_eq(back.ns, stamps[i].ns);
	}
}

Test(wire, the_form_of_a_stamp)
{
	const struct wire_stamp stamp = { 0x1f, 0x2a, 0x3b };
	uint8_t bytes[WIRE_STAMP];

	wire_stamp_write(&stamp, bytes);
	cr_assert_arr_eq(bytes, "@fb:001f0000002a000000000000003b", WIRE_STAMP);
}

Test(wire, a_changed_stamp_is_none)
{
	const struct wire_stamp stamp = { 7, 8, 9 };
	struct wire_stamp back;
	uint8_t bytes[WIRE_STAMP];
	size_t i;

	for (i = 0; i < WIRE_STAMP; i++) {
		wire_stamp_write(&stamp, bytes);
		bytes[i] = 'g';
		cr_assert_not(wire_stamp_read(bytes, &back), "at %zu", i);
	}
}

/* RFC 6455 §5.2: the shortest form of a length. */
Test(wire, heads)
{
	static const struct {
		size_t n, head;
	} cases[] = { { 0, 2 }, { 125, 2 }, { 126, 4 }, { 65535, 4 }, { 65536, 10 },
		{ 1 << 30, 10 } };
	static const uint8_t mask[4] = { 1, 2, 3, 4 };
	uint8_t head[WIRE_HEAD_MAX];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(wire_head(head, WIRE_TEXT, cases[i].n, NULL), cases[i].head);
		cr_assert_eq(head[0], WIRE_FIN | WIRE_TEXT);
		cr_assert_eq(wire_head_len(head), cases[i].head);
		cr_assert_eq(wire_payload_len(head), cases[i].n);
		cr_assert_eq(wire_head(head, WIRE_BINARY, cases[i].n, mask), cases[i].head + 4);
		cr_assert_eq(wire_head_len(head), cases[i].head + 4);
		cr_assert_eq(wire_payload_len(head), cases[i].n);
		cr_assert_arr_eq(head + cases[i].head, mask, sizeof(mask));
	}
}

/* RFC 6455 §5.7: a masked "Hello". */
Test(wire, mask)
{
	static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
	static const uint8_t masked[5] = { 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
	uint8_t bytes[64], plain[64];
	size_t i, n;

	wire_mask(bytes, (const uint8_t *)"Hello", 5, mask);
	cr_assert_arr_eq(bytes, masked, sizeof(masked));
	for (i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 37);
	for (n = 0; n <= sizeof(plain); n++) {
		wire_mask(bytes, plain, n, mask);
		for (i = 0; i < n; i++)
			cr_assert_eq(bytes[i], plain[i] ^ mask[i % 4]);
		wire_mask(bytes, bytes, n, mask);
		cr_assert_arr_eq(bytes, plain, n);
	}
}
