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

/* Reads the text at a guard page. */
static int
parse(const char *text, size_t n, struct position *out)
{
	struct guard g = guard_new(n);
	int err = position_parse(out, (const char *)guard_put(&g, text, n), n);

	guard_free(&g);
	return err;
}

Test(publication, positions_as_text)
{
	static const struct {
		const char *text, *epoch;
		uint64_t offset;
	} table[] = { { "a:0", "a", 0 }, { "Zz09:17", "Zz09", 17 },
		{ "abcdefghijklmnopqrstuvwxyz012345:18446744073709551615",
		    "abcdefghijklmnopqrstuvwxyz012345", UINT64_MAX } };
	struct position p;
	char text[POSITION_TEXT_MAX];
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t n = strlen(table[i].text);

		cr_assert_eq(parse(table[i].text, n, &p), 0, "%s", table[i].text);
		cr_assert_str_eq(p.epoch, table[i].epoch);
		cr_assert_eq(p.offset, table[i].offset);
		cr_assert_eq(position_print(&p, text), n);
		cr_assert_str_eq(text, table[i].text);
	}
}

Test(publication, texts_that_are_no_position)
{
	static const char *const table[] = { "", ":", "a", "a:", ":1", "17", "a:b", "a:1 ", "a: 1",
		"a:-1", "a:+1", "a:1:2", "a-b:1", "\xc3\xa9:1", "a\n:1", "[:1", "`:1", "{:1", "@:1",
		"/:1", "a:18446744073709551616", "a:99999999999999999999",
		"a:1000000000000000000000", "abcdefghijklmnopqrstuvwxyz0123456:1" };
	struct position p = { 5, "before" };
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		cr_assert_eq(parse(table[i], strlen(table[i]), &p), FAN_EINVAL, "%s", table[i]);
	cr_assert_eq(parse("a\0:1", 4, &p), FAN_EINVAL);
	cr_assert_eq(parse("a:1\0", 4, &p), FAN_EINVAL);
	cr_assert_eq(p.offset, 5, "as it was");
	cr_assert_str_eq(p.epoch, "before");
}

Test(publication, positions_set)
{
	struct position p;

	cr_assert_eq(position_set(&p, 3, "Epoch1", 6), 0);
	cr_assert_eq(p.offset, 3);
	cr_assert_str_eq(p.epoch, "Epoch1");
	cr_assert_eq(position_set(&p, 4, "no-epoch", 8), FAN_EINVAL);
	cr_assert_eq(p.offset, 3, "as it was");
	cr_assert_eq(position_set(&p, 4, NULL, 0), 0);
	cr_assert_eq(p.offset, 0, "none has no offset");
	cr_assert_str_eq(p.epoch, "");
}

Test(publication, epochs_compared)
{
	struct position a = { 1, "one" }, b = { 2, "one" }, c = { 1, "On" }, none = { 0, "" };

	cr_assert(position_same_epoch(&a, &b));
	cr_assert(!position_same_epoch(&a, &c));
	cr_assert(!position_same_epoch(&a, &none));
	cr_assert(!position_same_epoch(&none, &a));
	cr_assert(!position_same_epoch(&none, &none), "two that have no position share nothing");
}

Test(publication, internal_names)
{
	char name[300];

	cr_assert(channel_name_internal("!a", 2));
	cr_assert(channel_name_internal("!user:Zm9v", 10));
	cr_assert(!channel_name_internal("!", 1));
	cr_assert(!channel_name_internal("", 0));
	cr_assert(!channel_name_internal("a", 1));
	cr_assert(!channel_name_internal("a!", 2));
	cr_assert(!channel_name_internal("!!a", 3));
	cr_assert(!channel_name_internal("! a", 3));
	cr_assert(!channel_name_valid("!a", 2, CHANNEL_NAME_MAX), "no client can use it");
	memset(name, 'n', sizeof(name));
	name[0] = CHANNEL_INTERNAL;
	cr_assert(channel_name_internal(name, CHANNEL_NAME_MAX));
	cr_assert(!channel_name_internal(name, CHANNEL_NAME_MAX + 1));
}

Test(publication, channel_of_a_user)
{
	/* The first are those of RFC 4648 §10. */
	static const struct {
		const char *user, *name;
	} table[] = { { "f", "!user:Zg" }, { "fo", "!user:Zm8" }, { "foo", "!user:Zm9v" },
		{ "foob", "!user:Zm9vYg" }, { "fooba", "!user:Zm9vYmE" },
		{ "foobar", "!user:Zm9vYmFy" }, { "\xff\xef\xfe", "!user:_-_-" },
		{ "a b\n", "!user:YSBiCg" } };
	char name[CHANNEL_NAME_MAX + 1], user[USER_ID_MAX + 1];
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		cr_assert_eq(channel_name_of_user(name, table[i].user, strlen(table[i].user)),
		    strlen(table[i].name));
		cr_assert_str_eq(name, table[i].name);
	}
	memset(user, 0xff, sizeof(user));
	for (i = 1; i <= USER_ID_MAX; i++) {
		size_t n = channel_name_of_user(name, user, i);

		cr_assert_eq(n, 6 + (i * 8 + 5) / 6);
		cr_assert_eq(strlen(name), n);
		cr_assert(channel_name_internal(name, n), "%s", name);
	}
	cr_assert_eq(channel_name_of_user(name, user, 0), 0);
	cr_assert_eq(channel_name_of_user(name, user, USER_ID_MAX + 1), 0);
}
