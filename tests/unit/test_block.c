/*
 * Tests of common/block.
 */
#include "common/block.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <string.h>

Test(block, freed_with_the_last_reference)
{
	size_t before = mallinfo2().uordblks;
	struct block *b = block_new(1000);

	cr_assert_not_null(b);
	cr_assert_eq(b->refs, 1);
	cr_assert_eq(b->len, 0);
	cr_assert_eq(b->cap, 1000);
	cr_assert_eq(block_ref(b), b);
	cr_assert_eq(b->refs, 2);
	block_unref(b);
	cr_assert_eq(b->refs, 1);
	block_unref(b);
	cr_assert_eq(mallinfo2().uordblks, before);
	block_unref(NULL);
}

Test(block, grows_and_keeps_what_is_there)
{
	struct block *b = block_new(0);
	uint8_t *p;
	size_t i, k;

	cr_assert_not_null(b);
	for (i = 1; i <= 300; i++) {
		cr_assert_eq(block_reserve(&b, i, &p), 0);
		cr_assert_eq(p, b->data + b->len);
		cr_assert_geq(b->cap - b->len, i);
		memset(p, (int)(i & 0xff), i);
		b->len += i;
	}
	p = b->data;
	for (i = 1; i <= 300; i++) {
		for (k = 0; k < i; k++)
			cr_assert_eq(*p++, (uint8_t)i);
	}
	cr_assert_eq(p, b->data + b->len);
	block_unref(b);
}

Test(block, room_that_is_there_is_lent_in_place)
{
	struct block *b = block_new(100), *same = b;
	uint8_t *p;

	cr_assert_not_null(b);
	cr_assert_eq(block_reserve(&b, 100, &p), 0);
	cr_assert_eq(b, same);
	b->len = 100;
	cr_assert_eq(block_reserve(&b, 0, &p), 0);
	cr_assert_eq(b, same);
	block_unref(b);
}

Test(block, no_memory_leaves_it_unchanged)
{
	struct block *b = block_new(10), *same = b;
	uint8_t *p;

	cr_assert_not_null(b);
	memcpy(b->data, "0123456789", 10);
	b->len = 10;
	cr_assert_eq(block_reserve(&b, SIZE_MAX, &p), FAN_ENOMEM);
	cr_assert_eq(b, same);
	cr_assert_eq(b->len, 10);
	cr_assert_eq(memcmp(b->data, "0123456789", 10), 0);
	block_unref(b);
	cr_assert_null(block_new(SIZE_MAX));
}
