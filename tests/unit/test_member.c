/*
 * Tests of common/member.
 */
#include "common/member.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "tests/unit/guard.h"

static struct member
member(const char *client, const char *user, const char *info)
{
	return (struct member){ client, strlen(client), user, strlen(user), info, strlen(info) };
}

static bool
same(const struct member *a, const struct member *b)
{
	return a->client_len == b->client_len && a->user_len == b->user_len &&
	    a->info_len == b->info_len && memcmp(a->client, b->client, a->client_len) == 0 &&
	    memcmp(a->user, b->user, a->user_len) == 0 &&
	    memcmp(a->info, b->info, a->info_len) == 0;
}

/* Decodes what is all of one member, at a guard page. */
static int
decode(const void *data, size_t n)
{
	struct guard g = guard_new(n);
	const uint8_t *p = guard_put(&g, data, n), *first = p;
	size_t left = n;
	struct member m;
	int err = member_next(&p, &left, &m);

	cr_assert_eq(p - first, err == 0 ? (ptrdiff_t)(n - left) : 0);
	cr_assert(err == 0 || left == n);
	guard_free(&g);
	return err;
}

/* Packs and decodes. */
static int
pass(const struct member *m)
{
	struct buf b;
	int err;

	buf_init(&b, SIZE_MAX);
	err = member_append(&b, m);
	if (err == 0)
		err = decode(buf_data(&b), buf_len(&b));
	buf_fini(&b);
	return err;
}

Test(member, round_trip)
{
	char user[USER_ID_MAX + 1] = "", info[MEMBER_INFO_MAX + 1] = "";
	struct member in[4], out;
	const uint8_t *p;
	size_t n, i;
	struct buf b;

	memset(user, 'u', USER_ID_MAX);
	memset(info, ' ', MEMBER_INFO_MAX);
	info[0] = '7';
	in[0] = member("c", "", "");
	in[1] = member("A-z_0", "j\xc3\xbcrg \"\n", "{\"name\":\"J\"}");
	in[2] = member("abcdefghijklmnopqrstuvwxyz012345", user, info);
	in[3] = member("d", "", "null");
	buf_init(&b, SIZE_MAX);
	for (i = 0; i < 4; i++)
		cr_assert_eq(member_append(&b, &in[i]), 0);
	p = buf_data(&b);
	n = buf_len(&b);
	for (i = 0; i < 4; i++) {
		cr_assert_eq(member_next(&p, &n, &out), 0);
		cr_assert(same(&in[i], &out), "member %zu", i);
	}
	cr_assert_eq(member_next(&p, &n, &out), FAN_ENOENT);
	buf_fini(&b);
}

Test(member, without_room_nothing_is_appended)
{
	struct member m = member("client", "user", "{}");
	struct buf b;
	size_t n;

	for (n = 0; n < 6 + 6 + 4 + 2; n++) {
		buf_init(&b, n);
		cr_assert_eq(member_append(&b, &m), FAN_ETOOBIG);
		cr_assert_eq(buf_len(&b), 0);
		buf_fini(&b);
	}
	buf_init(&b, n);
	cr_assert_eq(member_append(&b, &m), 0);
	buf_fini(&b);
}

Test(member, cut_short)
{
	struct member m = member("client", "user", "{}");
	struct buf b;
	size_t n;

	buf_init(&b, SIZE_MAX);
	cr_assert_eq(member_append(&b, &m), 0);
	cr_assert_eq(decode("", 0), FAN_ENOENT);
	for (n = 1; n < buf_len(&b); n++)
		cr_assert_eq(decode(buf_data(&b), n), FAN_EPROTO, "%zu bytes", n);
	cr_assert_eq(decode(buf_data(&b), n), 0);
	buf_fini(&b);
}

Test(member, malformed)
{
	static char user[USER_ID_MAX + 2], info[MEMBER_INFO_MAX + 2];
	static const char *const clients[] = { "", "a b", "a:b", "a\n", "\xc3\xa9",
		"abcdefghijklmnopqrstuvwxyz0123456" };
	static const char *const infos[] = { " ", "{", "{\"a\":1}x", "{} {}", "'a'", "\"\xff\"" };
	uint8_t large[8] = { 1, 'c', 0, 0xff, 0xff, 0xff, 0xff, 0 };
	struct member m;
	size_t i;

	for (i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		m = member(clients[i], "", "");
		cr_assert_neq(pass(&m), 0, "client %s", clients[i]);
	}
	for (i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
		m = member("c", "", infos[i]);
		cr_assert_eq(pass(&m), FAN_EPROTO, "info %s", infos[i]);
	}
	m = member("c", "\xff", "");
	cr_assert_eq(pass(&m), FAN_EPROTO);
	memset(user, 'u', USER_ID_MAX + 1);
	m = member("c", user, "");
	cr_assert_eq(pass(&m), FAN_ETOOBIG);
	memset(info, '1', MEMBER_INFO_MAX + 1);
	m = member("c", "", info);
	cr_assert_eq(pass(&m), FAN_ETOOBIG);
	cr_assert_eq(decode(large, sizeof(large)), FAN_EPROTO);
}

/* Lengths beyond the limits that come from elsewhere. */
Test(member, too_long)
{
	static uint8_t user[2 + 1 + USER_ID_MAX + 1 + 4];
	static uint8_t info[2 + 1 + 4 + MEMBER_INFO_MAX + 1];
	uint32_t n = MEMBER_INFO_MAX + 1;

	memset(user, 'u', sizeof(user) - 4);
	user[0] = 1;
	user[2] = USER_ID_MAX + 1;
	cr_assert_eq(decode(user, sizeof(user)), FAN_EPROTO);
	memset(info, '1', sizeof(info));
	info[0] = 1;
	info[2] = 0;
	memcpy(info + 3, &n, 4);
	cr_assert_eq(decode(info, sizeof(info)), FAN_EPROTO);
	n--;
	memcpy(info + 3, &n, 4);
	cr_assert_eq(decode(info, sizeof(info) - 1), 0);
}

static void
json_is(struct member m, const char *want)
{
	struct buf b;

	buf_init(&b, SIZE_MAX);
	cr_assert_eq(buf_append(&b, "<", 1), 0);
	cr_assert_eq(member_append_json(&b, &m), 0);
	cr_assert_eq(buf_len(&b), strlen(want) + 1);
	cr_assert(memcmp(buf_data(&b), "<", 1) == 0);
	cr_assert(memcmp(buf_data(&b) + 1, want, strlen(want)) == 0);
	cr_assert(json_valid((const char *)buf_data(&b) + 1, buf_len(&b) - 1, 32));
	buf_fini(&b);
}

Test(member, json)
{
	json_is(member("c-1", "", ""), "{\"client\":\"c-1\"}");
	json_is(member("c", "\"j\"\n", ""), "{\"client\":\"c\",\"user\":\"\\\"j\\\"\\n\"}");
	json_is(member("c", "", "[1, 2]"), "{\"client\":\"c\",\"info\":[1, 2]}");
	json_is(
	    member("c", "u", "{\"a\":1}"), "{\"client\":\"c\",\"user\":\"u\",\"info\":{\"a\":1}}");
}

Test(member, the_largest_json)
{
	static char user[USER_ID_MAX], info[MEMBER_INFO_MAX];
	char client[CLIENT_ID_MAX];
	struct member m = { client, sizeof(client), user, sizeof(user), info, sizeof(info) };
	struct buf b;

	memset(client, 'c', sizeof(client));
	memset(user, 1, sizeof(user));
	memset(info, '1', sizeof(info));
	buf_init(&b, SIZE_MAX);
	cr_assert_eq(member_append_json(&b, &m), 0);
	cr_assert_gt(buf_len(&b), sizeof(client) + 6 * sizeof(user) + sizeof(info));
	buf_fini(&b);
}

Test(member, json_without_room_leaves_nothing)
{
	struct member m = member("c", "u", "{}");
	struct buf b;

	buf_init(&b, 36);
	cr_assert_eq(member_append_json(&b, &m), 0);
	cr_assert_eq(buf_len(&b), 35);
	buf_fini(&b);
	buf_init(&b, 34);
	cr_assert_eq(member_append_json(&b, &m), FAN_ETOOBIG);
	cr_assert_eq(buf_len(&b), 0);
	buf_fini(&b);
}
