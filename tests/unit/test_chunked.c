/*
 * Tests of worker/http/chunked.  Every body is fed whole, in two pieces cut at every byte, and byte
 * by byte, each piece ending at a forbidden page.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/guard.h"
#include "worker/http/parse.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(s) s, sizeof(s) - 1

static struct guard page;

static void
setup(void)
{
	page = guard_new(16384);
}

static void
teardown(void)
{
	guard_free(&page);
}

TestSuite(chunked, .init = setup, .fini = teardown);

struct body {
	char text[16384];
	size_t n;
};

/* Feeds one piece and gathers the data.  *used is how many bytes were taken. */
static int
feed(struct http_chunked *c, const char *bytes, size_t n, size_t *used, struct body *out)
{
	const char *p = (const char *)guard_put(&page, bytes, n), *first = p;
	struct http_slice data;
	int err;

	while ((err = http_chunked_next(c, &p, &n, &data)) == 0) {
		cr_assert_gt(data.n, 0);
		cr_assert_leq(out->n + data.n, sizeof(out->text));
		memcpy(out->text + out->n, data.p, data.n);
		out->n += data.n;
	}
	*used = (size_t)(p - first);
	if (err != FAN_EAGAIN) {
		size_t left = 0;

		cr_assert_eq(http_chunked_next(c, &p, &left, &data), err, "an end must last");
	} else {
		cr_assert_eq(n, 0, "input was left over");
	}
	return err;
}

/* In pieces of `step` bytes after a first one of `cut`. */
static int
feed_pieces(const char *bytes, size_t n, size_t cut, size_t step, size_t *used, struct body *out)
{
	struct http_chunked c;
	size_t to = cut, more;
	int err = FAN_EAGAIN;

	http_chunked_init(&c);
	out->n = 0;
	for (*used = 0; err == FAN_EAGAIN && *used < n; to = *used + step < n ? *used + step : n) {
		err = feed(&c, bytes + *used, to - *used, &more, out);
		*used += more;
	}
	return err;
}

static void
check(const char *bytes, size_t n, int want, size_t want_used, const char *want_data)
{
	static struct body out;
	size_t used, cut;
	int err;

	for (cut = 0; cut <= n; cut++) {
		err = feed_pieces(bytes, n, cut, cut == 0 ? 1 : n, &used, &out);
		cr_assert_eq(err, want, "cut at %zu: %s", cut, bytes);
		cr_assert_eq(used, want_used, "cut at %zu: %zu used of %s", cut, used, bytes);
		if (want_data != NULL) {
			cr_assert_eq(out.n, strlen(want_data), "cut at %zu: %s", cut, bytes);
			cr_assert_eq(memcmp(out.text, want_data, out.n), 0, "cut at %zu", cut);
		}
	}
}

Test(chunked, bodies_cut_at_every_byte)
{
	static const struct {
		const char *bytes;
		const char *data;
	} table[] = {
		{ "0\r\n\r\n", "" },
		{ "5\r\nhello\r\n0\r\n\r\n", "hello" },
		{ "1\r\na\r\n1\r\nb\r\n00\r\n\r\n", "ab" },
		{ "0000000000009\r\n\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n0\r\n\r\n" },
		{ "A\r\n0123456789\r\n0\r\n\r\n", "0123456789" },
		{ "1F\r\n0123456789abcdef0123456789abcde\r\n0\r\n\r\n",
		    "0123456789abcdef0123456789abcde" },
		{ "2;a=b;c=\"d\te\x80\"\r\nxy\r\n0;last\r\n\r\n", "xy" },
		{ "2;\r\nxy\r\n0\r\nTrailer: a\tb\r\nX:\r\n\r\n", "xy" },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		size_t n = strlen(table[i].bytes);
		char piped[256];

		check(table[i].bytes, n, FAN_EGONE, n, table[i].data);
		(void)snprintf(piped, sizeof(piped), "%sGET / HTTP/1.1\r\n", table[i].bytes);
		check(piped, strlen(piped), FAN_EGONE, n, table[i].data);
		for (; n > 0; n--) {
			static struct body out;
			size_t used;

			cr_assert_eq(feed_pieces(table[i].bytes, n - 1, n - 1, 1, &used, &out),
			    FAN_EAGAIN, "row %zu, %zu bytes", i, n - 1);
		}
	}
}

/* `used` counts the byte that shows it. */
Test(chunked, malformed)
{
	static const struct {
		const char *bytes;
		size_t n;
		size_t used;
	} table[] = {
		{ BYTES("\r\n"), 1 },
		{ BYTES("x\r\n"), 1 },
		{ BYTES("-1\r\n"), 1 },
		{ BYTES("+1\r\n"), 1 },
		{ BYTES(" 1\r\n"), 1 },
		{ BYTES(";a\r\n"), 1 },
		{ BYTES("0x1\r\n"), 2 },
		{ BYTES("1 \r\n"), 2 },
		{ BYTES("1\t;a\r\n"), 2 },
		{ BYTES("1\n"), 2 },
		{ BYTES("1\0\r\n"), 2 },
		{ BYTES("1\rx"), 3 },
		{ BYTES("1\r\r\n"), 3 },
		{ BYTES("1;a\n"), 4 },
		{ BYTES("1;\0\r\n"), 3 },
		{ BYTES("1;\x7f\r\n"), 3 },
		{ BYTES("1;a\rb\r\n"), 5 },
		{ BYTES("fffffffffffff0\r\n"), 14 },
		{ BYTES("00000000000001\r\n"), 14 },
		{ BYTES("ffffffffffffffffff\r\n"), 14 },
		{ BYTES("1\r\nab\r\n"), 5 },
		{ BYTES("1\r\na\n"), 5 },
		{ BYTES("1\r\na\r\r"), 6 },
		{ BYTES("1\r\na\r\n\r\n"), 7 },
		{ BYTES("0\r\n\n"), 4 },
		{ BYTES("0\r\n\rx"), 5 },
		{ BYTES("0\r\n folded\r\n"), 4 },
		{ BYTES("0\r\n: x\r\n"), 4 },
		{ BYTES("0\r\nX\r\n"), 5 },
		{ BYTES("0\r\nX : y\r\n"), 5 },
		{ BYTES("0\r\nX: y\n"), 8 },
		{ BYTES("0\r\nX: \0\r\n"), 7 },
		{ BYTES("0\r\nX: y\rz"), 9 },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++)
		check(table[i].bytes, table[i].n, FAN_EPROTO, table[i].used, NULL);
}

/* The largest size that is understood: its data may begin, and there is no end to be seen. */
Test(chunked, largest_size)
{
	static const char bytes[] = "fffffffffffff\r\nx";
	static struct body out;
	struct http_chunked c;
	size_t used;

	http_chunked_init(&c);
	cr_assert_eq(feed(&c, bytes, sizeof(bytes) - 1, &used, &out), FAN_EAGAIN);
	cr_assert_eq(out.n, 1);
	cr_assert_eq(c.left, UINT64_C(0xffffffffffffe));
}

/* Extensions and trailers together, to the byte. */
Test(chunked, extra_bytes_are_bounded)
{
	static struct body out;
	static char bytes[8192];
	size_t n, used, k;
	int more;

	for (more = 0; more < 2; more++) {
		n = (size_t)sprintf(bytes, "1;");
		for (k = 0; k < 2000; k++)
			bytes[n++] = 'e';
		n += (size_t)sprintf(bytes + n, "\r\na\r\n0\r\nT:");
		for (k = 0; k < 4096 - 2001 - 2 + (size_t)more; k++)
			bytes[n++] = 't';
		n += (size_t)sprintf(bytes + n, "\r\n\r\n");
		cr_assert_eq(feed_pieces(bytes, n, n, 1, &used, &out),
		    more ? FAN_EPROTO : FAN_EGONE, "%d more", more);
		cr_assert_eq(feed_pieces(bytes, n, 1, 1, &used, &out),
		    more ? FAN_EPROTO : FAN_EGONE, "%d more", more);
	}
}

/* Data is lent in place, as much of it as is there. */
Test(chunked, data_is_lent)
{
	const char *bytes = "8\r\nabcdefgh\r\n0\r\n\r\n", *p = bytes;
	struct http_chunked c;
	struct http_slice data;
	size_t n = 7;

	http_chunked_init(&c);
	cr_assert_eq(http_chunked_next(&c, &p, &n, &data), 0);
	cr_assert_eq(data.p, bytes + 3);
	cr_assert_eq(data.n, 4);
	cr_assert_eq(http_chunked_next(&c, &p, &n, &data), FAN_EAGAIN);
	n = 4;
	cr_assert_eq(http_chunked_next(&c, &p, &n, &data), 0);
	cr_assert_eq(data.p, bytes + 7);
	cr_assert_eq(data.n, 4);
}
