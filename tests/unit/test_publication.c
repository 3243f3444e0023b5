/*
 * Tests of common/publication.
 */
#include "common/publication.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

#include "tests/unit/guard.h"

Test(publication, every_byte)
{
	unsigned int c;

	for (c = 0; c < 256; c++) {
		bool want =
		    c < 0x80 && (isalnum((int)c) || (c != 0 && strchr("_:.#/-=@,;", (int)c)));
		char name[3] = { 'a', (char)c, 'z' };

		cr_assert_eq(channel_name_valid(name + 1, 1, 255), want, "byte %02x", c);
		cr_assert_eq(channel_name_valid(name, 3, 255), want, "byte %02x", c);
	}
}

Test(publication, lengths)
{
	struct guard g = guard_new(300);
	char name[300];
	const char *p;
	size_t n;

	memset(name, 'n', sizeof(name));
	for (n = 0; n < sizeof(name); n++) {
		p = (const char *)guard_put(&g, name, n);
		cr_assert_eq(
		    channel_name_valid(p, n, CHANNEL_NAME_MAX), n >= 1 && n <= 255, "%zu", n);
		cr_assert_eq(channel_name_valid(p, n, 10), n >= 1 && n <= 10, "%zu", n);
		cr_assert_eq(channel_name_valid(p, n, SIZE_MAX), n >= 1 && n <= 255, "%zu", n);
	}
	guard_free(&g);
}

/* Names that would mean more to Redis than a name. */
Test(publication, names_refused)
{
	static const char *const table[] = { "a b", "a\r\nPUBLISH x y", "a*", "a?", "[a]", "a\\b",
		"__keyspace@0__:*", "\xc3\xa9", "a\x7f", "a%20b", "a\"b", "a{b}" };
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		cr_assert(!channel_name_valid(table[i], strlen(table[i]), 255), "%s", table[i]);
	cr_assert(channel_name_valid("__keyspace@0__:a", 16, 255));
}
