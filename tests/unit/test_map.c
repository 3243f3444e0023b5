/*
 * Tests of common/map.
 */
#include "common/map.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 3000

struct item {
	char name[16];
	size_t len;
	bool in;
	unsigned int seen;
};

static struct item items[ITEMS];

static const void *
item_key(const void *object, size_t *len)
{
	const struct item *it = object;

	*len = it->len;
	return it->name;
}

static void
name_items(void)
{
	size_t i;

	for (i = 0; i < ITEMS; i++)
		items[i].len = (size_t)sprintf(items[i].name, "name:%zu", i);
}

TestSuite(map, .init = name_items);

Test(map, empty)
{
	struct map m;
	size_t pos = 0;

	map_init(&m, item_key);
	cr_assert_eq(map_count(&m), 0);
	cr_assert_null(map_get(&m, "a", 1));
	cr_assert_null(map_del(&m, "a", 1));
	cr_assert_null(map_next(&m, &pos));
	map_fini(&m);
	map_fini(&m);
	cr_assert_eq(map_put(&m, &items[0]), 0);
	cr_assert_eq(map_get(&m, items[0].name, items[0].len), &items[0]);
	map_fini(&m);
	cr_assert_null(map_get(&m, items[0].name, items[0].len));
}

Test(map, keys_are_bytes)
{
	static struct item a = { .name = "a\0b", .len = 3 }, b = { .name = "a\0c", .len = 3 },
			   c = { .name = "a", .len = 1 }, none = { .len = 0 },
			   twin = { .name = "a\0b", .len = 3 };
	struct map m;

	map_init(&m, item_key);
	cr_assert_eq(map_put(&m, &a), 0);
	cr_assert_eq(map_put(&m, &b), 0);
	cr_assert_eq(map_put(&m, &c), 0);
	cr_assert_eq(map_put(&m, &none), 0);
	cr_assert_eq(map_put(&m, &a), FAN_EEXIST);
	cr_assert_eq(map_put(&m, &twin), FAN_EEXIST);
	cr_assert_eq(map_count(&m), 4);
	cr_assert_eq(map_get(&m, "a\0b", 3), &a);
	cr_assert_eq(map_get(&m, "a\0c", 3), &b);
	cr_assert_eq(map_get(&m, "a", 1), &c);
	cr_assert_eq(map_get(&m, "", 0), &none);
	cr_assert_null(map_get(&m, "a\0", 2));
	cr_assert_eq(map_del(&m, "a\0b", 3), &a);
	cr_assert_null(map_del(&m, "a\0b", 3));
	cr_assert_eq(map_put(&m, &twin), 0);
	cr_assert_eq(map_get(&m, "a\0b", 3), &twin);
	map_fini(&m);
}

static void
check_all(const struct map *m)
{
	size_t i, pos = 0, count = 0;
	struct item *it;

	for (i = 0; i < ITEMS; i++) {
		items[i].seen = 0;
		cr_assert_eq(map_get(m, items[i].name, items[i].len),
		    items[i].in ? (void *)&items[i] : NULL, "item %zu", i);
	}
	while ((it = map_next(m, &pos)) != NULL) {
		it->seen++;
		count++;
	}
	for (i = 0; i < ITEMS; i++)
		cr_assert_eq(items[i].seen, items[i].in, "item %zu", i);
	cr_assert_eq(map_count(m), count);
	cr_assert_null(map_next(m, &pos));
}

/* Random puts and deletes against a plain model, growing and shrinking. */
Test(map, against_a_model)
{
	struct map m;
	uint32_t x = 7;
	size_t round, i;

	map_init(&m, item_key);
	for (round = 0; round < 40; round++) {
		/* Rounds that fill and rounds that empty alternate. */
		uint32_t put_of_8 = round % 2 == 0 ? 6 : 2;

		for (i = 0; i < 4000; i++) {
			struct item *it;

			x = x * 1664525 + 1013904223;
			it = &items[(x >> 8) % ITEMS];
			if (x >> 29 < put_of_8) {
				cr_assert_eq(map_put(&m, it), it->in ? FAN_EEXIST : 0);
				it->in = true;
			} else {
				cr_assert_eq(
				    map_del(&m, it->name, it->len), it->in ? (void *)it : NULL);
				it->in = false;
			}
		}
		check_all(&m);
	}
	map_fini(&m);
}

Test(map, shrinks_when_it_is_nearly_empty)
{
	struct map m;
	size_t i, full;

	map_init(&m, item_key);
	for (i = 0; i < ITEMS; i++) {
		items[i].in = true;
		cr_assert_eq(map_put(&m, &items[i]), 0);
		cr_assert_leq(map_count(&m) * 4, (m.mask + 1) * 3, "more than 3/4 full");
	}
	check_all(&m);
	full = m.mask + 1;
	for (i = 0; i < ITEMS - 1; i++) {
		items[i].in = false;
		cr_assert_eq(map_del(&m, items[i].name, items[i].len), &items[i]);
	}
	check_all(&m);
	cr_assert_leq((m.mask + 1) * 64, full, "%zu slots of %zu", m.mask + 1, full);
	map_fini(&m);
}
