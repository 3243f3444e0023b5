/*
 * Tests of common/records.
 */
#include "common/records.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/unit/guard.h"

#define LARGE 65536

static void
append(struct buf *b, uint64_t offset, enum msg_kind kind, const void *data, size_t len)
{
	struct record r = { offset, kind, data, len };

	cr_assert_eq(records_append(b, &r), 0);
}

static struct records
all(const struct buf *b)
{
	return (struct records){ buf_data(b), buf_len(b) };
}

Test(records, round_trip)
{
	static uint8_t large[LARGE];
	struct record r;
	struct records rs;
	struct buf b;

	memset(large, 0xab, sizeof(large));
	buf_init(&b, SIZE_MAX);
	append(&b, 1, MSG_TEXT, "", 0);
	append(&b, 1, MSG_TEXT, NULL, 0);
	append(&b, UINT64_MAX, MSG_BINARY, "\0\xff", 2);
	append(&b, 7, MSG_BINARY, large, LARGE);
	cr_assert_eq(buf_len(&b), 4 * RECORD_HEAD + 2 + LARGE);
	rs = all(&b);
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert(r.offset == 1 && r.kind == MSG_TEXT && r.len == 0);
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert(r.offset == 1 && r.kind == MSG_TEXT && r.len == 0);
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert(r.offset == UINT64_MAX && r.kind == MSG_BINARY && r.len == 2);
	cr_assert(memcmp(r.data, "\0\xff", 2) == 0);
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert(r.offset == 7 && r.len == LARGE && memcmp(r.data, large, LARGE) == 0);
	cr_assert_eq(records_next(&rs, &r), FAN_ENOENT);
	cr_assert_eq(rs.n, 0);
	buf_fini(&b);
}

Test(records, without_room_nothing_is_appended)
{
	struct record r = { 1, MSG_TEXT, (const uint8_t *)"abc", 3 };
	struct buf b;

	buf_init(&b, RECORD_HEAD + 3 + RECORD_HEAD + 2);
	cr_assert_eq(records_append(&b, &r), 0);
	cr_assert_eq(records_append(&b, &r), FAN_ETOOBIG);
	cr_assert_eq(buf_len(&b), RECORD_HEAD + 3);
	cr_assert_eq(records_check(all(&b), 1), 0);
	buf_fini(&b);
}

/* Every length short of the whole, at a guard page, is malformed and takes nothing. */
Test(records, cut_short)
{
	struct guard g = guard_new(64);
	struct record r;
	struct records rs;
	struct buf b;
	size_t n;

	buf_init(&b, SIZE_MAX);
	append(&b, 1, MSG_TEXT, "hello", 5);
	for (n = 1; n < buf_len(&b); n++) {
		rs = (struct records){ guard_put(&g, buf_data(&b), n), n };
		cr_assert_eq(records_next(&rs, &r), FAN_EPROTO, "%zu bytes", n);
		cr_assert_eq(rs.n, n);
		cr_assert_eq(records_check(rs, 1), FAN_EPROTO);
		cr_assert_eq(records_after(rs, 5).n, n, "bytes that are no record stay");
	}
	rs = (struct records){ guard_put(&g, buf_data(&b), n), n };
	cr_assert_eq(records_next(&rs, &r), 0);
	cr_assert_eq(rs.n, 0);
	buf_fini(&b);
	guard_free(&g);
}

Test(records, malformed)
{
	uint8_t head[RECORD_HEAD] = { 1 };
	struct records rs = { head, sizeof(head) };
	struct record r;
	unsigned kind;

	for (kind = MSG_BINARY + 1; kind < 256; kind++) {
		head[12] = (uint8_t)kind;
		cr_assert_eq(records_next(&rs, &r), FAN_EPROTO, "kind %u", kind);
	}
	head[12] = MSG_TEXT;
	memset(head + 8, 0xff, 4);
	cr_assert_eq(records_next(&rs, &r), FAN_EPROTO, "4 GiB of data");
}

Test(records, check)
{
	struct buf b;
	struct records none = { NULL, 0 };
	size_t n;

	cr_assert_eq(records_check(none, 1), 0);
	buf_init(&b, SIZE_MAX);
	append(&b, 5, MSG_TEXT, "a", 1);
	append(&b, 6, MSG_TEXT, "b", 1);
	cr_assert_eq(records_check(all(&b), 5), 0);
	cr_assert_eq(records_check(all(&b), 4), FAN_EPROTO);
	cr_assert_eq(records_check(all(&b), 6), FAN_EPROTO);
	n = buf_len(&b);
	append(&b, 8, MSG_TEXT, "d", 1);
	cr_assert_eq(records_check(all(&b), 5), FAN_EPROTO, "7 is missing");
	cr_assert_eq(records_check((struct records){ buf_data(&b), n }, 5), 0);
	buf_clear(&b);
	append(&b, 5, MSG_TEXT, "a", 1);
	append(&b, 5, MSG_TEXT, "a", 1);
	cr_assert_eq(records_check(all(&b), 5), FAN_EPROTO, "5 comes twice");
	cr_assert_eq(buf_append(&b, "x", 1), 0);
	buf_consume(&b, RECORD_HEAD + 1);
	cr_assert_eq(records_check(all(&b), 5), FAN_EPROTO, "a byte is left over");
	buf_fini(&b);
}

Test(records, after)
{
	struct record r;
	struct records rs;
	struct buf b;
	uint64_t i;

	buf_init(&b, SIZE_MAX);
	for (i = 3; i <= 7; i++)
		append(&b, i, MSG_TEXT, "abcdefg", (size_t)i);
	for (i = 0; i <= 8; i++) {
		rs = records_after(all(&b), i);
		if (i >= 7) {
			cr_assert_eq(rs.n, 0);
			continue;
		}
		cr_assert_eq(records_next(&rs, &r), 0);
		cr_assert_eq(r.offset, i < 3 ? 3 : i + 1);
		cr_assert_eq(r.len, r.offset);
	}
	cr_assert_eq(records_after((struct records){ NULL, 0 }, 0).n, 0);
	buf_fini(&b);
}
