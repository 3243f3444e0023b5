/*
 * Tests of common/buf.
 */
#include "common/buf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void
check(const struct buf *b, const char *want)
{
	cr_assert_eq(buf_len(b), strlen(want));
	cr_assert_eq(memcmp(buf_data(b), want, strlen(want)), 0);
}

Test(buf, owns_nothing_while_empty)
{
	struct buf b;

	buf_init(&b, 10);
	cr_assert_null(b.base);
	cr_assert_null(buf_data(&b));
	cr_assert_eq(buf_len(&b), 0);
	cr_assert_eq(buf_append(&b, NULL, 0), 0);
	cr_assert_null(b.base);
	cr_assert_eq(buf_append(&b, "x", 1), 0);
	buf_fini(&b);
	cr_assert_null(b.base);
	cr_assert_eq(buf_append(&b, "again", 5), 0);
	check(&b, "again");
	buf_fini(&b);
	buf_fini(&b);
}

Test(buf, append_and_consume)
{
	struct buf b;

	buf_init(&b, 100);
	cr_assert_eq(buf_append(&b, "hello ", 6), 0);
	cr_assert_eq(buf_append(&b, "world", 5), 0);
	check(&b, "hello world");
	buf_consume(&b, 6);
	check(&b, "world");
	cr_assert_eq(buf_printf(&b, "-%d-%s", 42, "x"), 0);
	check(&b, "world-42-x");
	buf_consume(&b, 10);
	check(&b, "");
	cr_assert_eq(b.off, 0);
	cr_assert_eq(buf_append(&b, "y", 1), 0);
	buf_clear(&b);
	check(&b, "");
	cr_assert_not_null(b.base);
	buf_fini(&b);
}

Test(buf, the_maximum_to_the_byte)
{
	struct buf b;
	uint8_t *p;

	buf_init(&b, 8);
	cr_assert_eq(buf_append(&b, "123456789", 9), FAN_ETOOBIG);
	cr_assert_eq(buf_append(&b, "12345678", 8), 0);
	cr_assert_eq(buf_append(&b, "9", 1), FAN_ETOOBIG);
	cr_assert_eq(buf_reserve(&b, SIZE_MAX, &p), FAN_ETOOBIG);
	cr_assert_eq(buf_printf(&b, "%d", 9), FAN_ETOOBIG);
	check(&b, "12345678");
	buf_consume(&b, 3);
	cr_assert_eq(buf_append(&b, "abcd", 4), FAN_ETOOBIG);
	cr_assert_eq(buf_printf(&b, "%s", "abc"), 0);
	check(&b, "45678abc");
	buf_fini(&b);

	buf_init(&b, SIZE_MAX);
	cr_assert_eq(buf_append(&b, "x", 1), 0);
	cr_assert_eq(buf_reserve(&b, SIZE_MAX - 1, &p), FAN_ENOMEM);
	check(&b, "x");
	buf_fini(&b);
}

Test(buf, reserve_and_commit)
{
	struct buf b;
	const uint8_t *data;
	uint8_t *p;

	buf_init(&b, 1000);
	cr_assert_eq(buf_reserve(&b, 600, &p), 0);
	memset(p, 'a', 600);
	buf_commit(&b, 200);
	cr_assert_eq(buf_len(&b), 200);
	cr_assert_eq(buf_reserve(&b, 800, &p), 0);
	memset(p, 'b', 800);
	buf_commit(&b, 800);
	cr_assert_eq(buf_len(&b), 1000);
	data = buf_data(&b);
	cr_assert_not_null(data);
	cr_assert_eq(data[199], 'a');
	cr_assert_eq(data[200], 'b');
	cr_assert_eq(data[999], 'b');
	buf_fini(&b);
}

/* A queue against a plain model: what goes in comes out, and the storage stays bounded. */
Test(buf, queue)
{
	struct buf b;
	uint32_t x = 1;
	uint8_t in = 0, out = 0;
	size_t held = 0, i, k;

	buf_init(&b, 5000);
	for (i = 0; i < 200000; i++) {
		size_t n;

		x = x * 1664525 + 1013904223;
		n = (x >> 16) % 100;
		if ((x >> 8) % 2 == 0) {
			uint8_t bytes[100];

			for (k = 0; k < n; k++)
				bytes[k] = (uint8_t)(in + k);
			if (held + n > 5000) {
				cr_assert_eq(buf_append(&b, bytes, n), FAN_ETOOBIG);
				continue;
			}
			cr_assert_eq(buf_append(&b, bytes, n), 0);
			in = (uint8_t)(in + n);
			held += n;
		} else {
			if (n > held)
				n = held;
			for (k = 0; k < n; k++) {
				if (buf_data(&b)[k] != (uint8_t)(out + k))
					cr_assert(false, "byte %zu in round %zu", k, i);
			}
			buf_consume(&b, n);
			out = (uint8_t)(out + n);
			held -= n;
		}
		cr_assert_eq(buf_len(&b), held);
		cr_assert_leq(b.cap, 4 * b.max);
	}
	buf_fini(&b);
}

/* A queue that is nearly full is not moved at every append. */
Test(buf, full_queue_is_seldom_moved)
{
	struct buf b;
	size_t i, moves = 0;
	static const uint8_t block[60000];

	buf_init(&b, 65536);
	cr_assert_eq(buf_append(&b, block, sizeof(block)), 0);
	for (i = 0; i < 100000; i++) {
		const uint8_t *before = buf_data(&b);

		buf_consume(&b, 1);
		cr_assert_eq(buf_append(&b, "x", 1), 0);
		if (buf_data(&b) != before + 1)
			moves++;
	}
	cr_assert_leq(moves, 10, "%zu", moves);
	buf_fini(&b);
}
