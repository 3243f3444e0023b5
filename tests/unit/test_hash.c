/*
 * Tests of common/hash.
 */
#include "common/hash.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/*
 * SipHash-1-3 of the bytes 0, 1, 2 … under a key of zeros, as CPython 3.11 computes hash(bytes) with
 * PYTHONHASHSEED=0.
 */
Test(hash, known_values)
{
	static const struct {
		size_t n;
		uint64_t want;
	} table[] = {
		{ 1, UINT64_C(0x68a914128e01e473) },
		{ 2, UINT64_C(0x010bac45c41e3669) },
		{ 3, UINT64_C(0x4d4c9a4a8ef6e0ad) },
		{ 7, UINT64_C(0x2f098ab0c751325a) },
		{ 8, UINT64_C(0xead411e67ebe2eea) },
		{ 9, UINT64_C(0x75927f9d95124362) },
		{ 15, UINT64_C(0xf30eb725bb91c9ea) },
		{ 16, UINT64_C(0x8972188433a5c5b7) },
		{ 17, UINT64_C(0x4883c49a2c009c1d) },
		{ 63, UINT64_C(0x385d3e39e5f37359) },
		{ 64, UINT64_C(0x75e05fd5bbc870c6) },
	};
	static const uint8_t key[16] = { 0 };
	struct guard g = guard_new(64);
	uint8_t bytes[64];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (i = 0; i < COUNT(table); i++)
		cr_assert_eq(siphash13(key, guard_put(&g, bytes, table[i].n), table[i].n),
		    table[i].want, "%zu bytes", table[i].n);
	guard_free(&g);
}

Test(hash, every_part_of_the_key_counts)
{
	uint8_t key[16] = { 0 };
	uint64_t plain = siphash13(key, "abc", 3);
	size_t i;

	for (i = 0; i < sizeof(key); i++) {
		key[i] = 0x80;
		cr_assert_neq(siphash13(key, "abc", 3), plain, "byte %zu", i);
		key[i] = 0;
	}
}

Test(hash, same_in_one_process)
{
	uint64_t first = hash_bytes("channel", 7);

	cr_assert_eq(hash_bytes("channel", 7), first);
	cr_assert_neq(hash_bytes("channel", 6), first);
	cr_assert_eq(hash_bytes(NULL, 0), hash_bytes("", 0));
}
