/*
 * Tests of worker/http/parse.  Every head ends at a forbidden page, is cut at every byte, and is
 * fed byte by byte with `seen` moving on.
 */
#include "worker/http/parse.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LIMIT 1024

static const struct http_limits limits = { LIMIT, 8 };
static struct http_request req;
static struct guard page;

struct result {
	int err;
	int status;
	const char *why;
	size_t used;
};

static void
setup(void)
{
	page = guard_new((size_t)2 * LIMIT);
}

static void
teardown(void)
{
	guard_free(&page);
}

TestSuite(http_parse, .init = setup, .fini = teardown);

static struct result
parse(const char *head, size_t n, size_t seen)
{
	struct result r = { .status = 0 };
	const char *p = (const char *)guard_put(&page, head, n);

	r.err = http_request_parse(p, n, seen, &limits, &req, &r.used, &r.status, &r.why);
	return r;
}

/*
 * One byte more in every call, as a dribbling client sends it.  *needed is the number of bytes that
 * settled it.
 */
static struct result
dribble(const char *head, size_t n, size_t *needed)
{
	struct result r = { .err = FAN_EAGAIN };
	size_t seen;

	for (seen = 0; seen < n && r.err == FAN_EAGAIN; seen++)
		r = parse(head, seen + 1, seen);
	*needed = seen;
	return r;
}

static bool
is(struct http_slice s, const char *text)
{
	return http_slice_is(s, text);
}

/* Parses a head that must be right. */
static void
parse_good(const char *head)
{
	struct result r = parse(head, strlen(head), 0);

	cr_assert_eq(r.err, 0, "%s: %s", head, r.why);
	cr_assert_eq(r.used, strlen(head));
}

/* --- heads that are right ---------------------------------------------------------------------- */

static const char *const good[] = {
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET /a/b%20c?d=e&f=%00?g HTTP/1.1\r\nHost: example.com:8080\r\n\r\n",
	"M-SEARCH /\"<>\\^`{|} HTTP/1.1\r\nHost:[::1]:80\t \r\nX:\r\n\r\n",
	"POST /pub/x HTTP/1.1\r\nhOST: 127.0.0.1\r\nContent-Length: 0005\r\n\r\n",
	"POST /pub/x HTTP/1.1\r\nHost: a_b-c.d\r\nTransfer-Encoding: Chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX-Text: \x80\xff a\tb \t\r\n!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA: :\r\nB: ::\r\nC: x: y\r\n\r\n",
};

/* Every beginning is incomplete, whatever was seen before; what follows a head does not matter. */
Test(http_parse, good_heads_cut_at_every_byte)
{
	size_t row, n, seen, needed;

	for (row = 0; row < COUNT(good); row++) {
		size_t len = strlen(good[row]);
		char piped[512];
		struct result r;

		for (n = 0; n < len; n++) {
			for (seen = 0; seen <= n; seen++)
				cr_assert_eq(parse(good[row], n, seen).err, FAN_EAGAIN,
				    "row %zu, %zu bytes, %zu seen", row, n, seen);
		}
		for (seen = 0; seen < len; seen++) {
			r = parse(good[row], len, seen);
			cr_assert_eq(r.err, 0, "row %zu, %zu seen: %s", row, seen, r.why);
			cr_assert_eq(r.used, len);
		}
		r = dribble(good[row], len, &needed);
		cr_assert_eq(r.err, 0, "row %zu", row);
		cr_assert_eq(needed, len);
		(void)snprintf(piped, sizeof(piped), "%s\n\x01 GET", good[row]);
		r = parse(piped, strlen(piped), 0);
		cr_assert_eq(r.err, 0, "row %zu", row);
		cr_assert_eq(r.used, len);
	}
}

Test(http_parse, what_a_request_holds)
{
	size_t pos = 0;
	const struct http_field *f;

	parse_good("GET /a/b?c=d?e HTTP/1.1\r\nHost: h.example:81\r\nX-A:  one \t\r\nx-a:\r\n"
		   "Content-Length: 42\r\n\r\n");
	cr_assert(is(req.method, "GET"));
	cr_assert(is(req.path, "/a/b"));
	cr_assert(is(req.query, "c=d?e"));
	cr_assert(is(req.host, "h.example:81"));
	cr_assert_eq(req.minor, 1);
	cr_assert_eq(req.content_length, 42);
	cr_assert(req.keep_alive && !req.chunked && !req.expect_continue);
	cr_assert_eq(req.nfields, 4);
	f = http_field_next(&req, "X-a", &pos);
	cr_assert(f != NULL && is(f->value, "one"));
	f = http_field_next(&req, "X-a", &pos);
	cr_assert(f != NULL && is(f->value, ""));
	cr_assert_null(http_field_next(&req, "X-a", &pos));
	cr_assert_null(http_field_next(&req, "X-a", &pos));

	parse_good("GET /x HTTP/1.0\r\n\r\n");
	cr_assert(is(req.path, "/x") && is(req.query, "") && is(req.host, ""));
	cr_assert_eq(req.minor, 0);
	cr_assert_eq(req.content_length, -1);
	cr_assert_eq(req.nfields, 0);
	cr_assert(!req.keep_alive);

	parse_good("POST /? HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
		   "Expect: 100-Continue\r\n\r\n");
	cr_assert(is(req.path, "/") && is(req.query, ""));
	cr_assert(req.chunked && req.expect_continue);

	parse_good("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: "
		   "9007199254740991\r\n\r\n");
	cr_assert(!req.expect_continue);
	cr_assert_eq(req.content_length, (INT64_C(1) << 53) - 1);
}

Test(http_parse, keep_alive)
{
	static const struct {
		const char *version;
		const char *fields;
		bool want;
	} table[] = {
		{ "1.1", "", true },
		{ "1.0", "", false },
		{ "1.1", "Connection: close\r\n", false },
		{ "1.1", "Connection: Upgrade, CLOSE\r\n", false },
		{ "1.1", "Connection: foo\r\nConnection: bar ,\tclose\r\n", false },
		{ "1.1", "Connection: closed, xclose, clos\r\n", true },
		{ "1.1", "Connection: ,,\r\n", true },
		{ "1.0", "Connection: Keep-Alive\r\n", true },
		{ "1.0", "Connection: keep-alive, close\r\n", false },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		char head[256];

		(void)snprintf(head, sizeof(head), "GET / HTTP/%s\r\nHost: a\r\n%s\r\n",
		    table[i].version, table[i].fields);
		parse_good(head);
		cr_assert_eq(req.keep_alive, table[i].want, "row %zu", i);
	}
}

/* --- heads that are not ------------------------------------------------------------------------ */

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define BYTES(s) s, sizeof(s) - 1

static const struct {
	const char *bytes;
	size_t n;
	int status;
} bad[] = {
	/* the request line */
	{ BYTES("\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /  HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400 },
	{ BYTES(" GET / HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /\tHTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\t\r\n" HOST "\r\n"), 400 },
	{ BYTES("G\x80T / HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("G(T / HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET \r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / \r\n" HOST "\r\n"), 400 },
	{ BYTES("GET * HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET http://a/ HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /a#b HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /\x7f HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1x\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / http/1.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1,1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/x.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1.x\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/11.1\r\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/2.0\r\n" HOST "\r\n"), 505 },
	{ BYTES("GET / HTTP/0.9\r\n" HOST "\r\n"), 505 },
	{ BYTES("GET / HTTP/1.2\r\n" HOST "\r\n"), 505 },
	{ BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n" HOST "\r\n"), 400 },
	/* line ends and control bytes */
	{ BYTES("GET / HTTP/1.1\n" HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400 },
	{ BYTES(GET "\n"), 400 },
	{ BYTES(GET "X: a\rb\r\n\r\n"), 400 },
	{ BYTES(GET "X: a\r\rb\r\n\r\n"), 400 },
	{ BYTES(GET "\rX: b\r\n\r\n"), 400 },
	{ BYTES(GET "X: a\0b\r\n\r\n"), 400 },
	{ BYTES(GET "X: a\x1b[0m\r\n\r\n"), 400 },
	{ BYTES(GET "X: a\x7f\r\n\r\n"), 400 },
	{ BYTES("\x16\x03\x01\x02\x00\x01"), 400 }, /* a TLS client */
	{ BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400 },
	/* fields */
	{ BYTES(GET " folded: x\r\n\r\n"), 400 },
	{ BYTES(GET "X: a\r\n b\r\n\r\n"), 400 },
	{ BYTES(GET "X: a\r\n\tb\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400 },
	{ BYTES(GET "X : a\r\n\r\n"), 400 },
	{ BYTES(GET "X\t: a\r\n\r\n"), 400 },
	{ BYTES(GET "X y: a\r\n\r\n"), 400 },
	{ BYTES(GET ": a\r\n\r\n"), 400 },
	{ BYTES(GET "X\r\n\r\n"), 400 },
	{ BYTES(GET "X\x80: a\r\n\r\n"), 400 },
	{ BYTES(GET "X(: a\r\n\r\n"), 400 },
	/* Host */
	{ BYTES("GET / HTTP/1.1\r\n\r\n"), 400 },
	{ BYTES(GET HOST "\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.0\r\nHost: a, b\r\n\r\n"), 400 },
	/* Content-Length and Transfer-Encoding */
	{ BYTES(GET "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 1\r\ncontent-length: 2\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 1, 1\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 1 1\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length:\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: -1\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: +1\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 0x1\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 1.0\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 9007199254740992\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 18446744073709551617\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 99999999999999999999999999999999999999\r\n\r\n"), 400 },
	{ BYTES(GET "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: xchunked\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunkedx\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: identity\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: chunked;q=1\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: \"chunked\"\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding:\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding : chunked\r\n\r\n"), 400 },
	{ BYTES("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
	{ BYTES(GET "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501 },
	{ BYTES(GET "Transfer-Encoding: Deflate\r\n\r\n"), 501 },
	/* the rest */
	{ BYTES(GET "Expect: 200-ok\r\n\r\n"), 417 },
	{ BYTES(GET "Expect:\r\n\r\n"), 417 },
	{ BYTES(GET "1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n\r\n"), 431 },
};

Test(http_parse, bad_heads_whole_and_byte_by_byte)
{
	size_t row, needed;

	for (row = 0; row < COUNT(bad); row++) {
		int want = bad[row].status == 431 ? FAN_ETOOBIG : FAN_EPROTO;
		struct result r = parse(bad[row].bytes, bad[row].n, 0);

		cr_assert_eq(r.err, want, "row %zu: %s", row, bad[row].bytes);
		cr_assert_eq(r.status, bad[row].status, "row %zu: %s", row, bad[row].bytes);
		cr_assert_not_null(r.why);
		r = dribble(bad[row].bytes, bad[row].n, &needed);
		cr_assert_eq(r.err, want, "row %zu: %s", row, bad[row].bytes);
		cr_assert_eq(r.status, bad[row].status, "row %zu: %s", row, bad[row].bytes);
	}
}

/* What cannot become right is refused before the head is complete. */
Test(http_parse, refused_early)
{
	static const struct {
		const char *bytes;
		size_t at; /* the number of bytes that show it */
	} table[] = {
		{ "\x16\x03", 1 },
		{ "\r\n", 1 },
		{ "\nGET", 1 },
		{ " GET", 1 },
		{ "(", 1 },
		{ "GE\xc3", 3 },
		{ "GET *", 5 },
		{ "GET http", 5 },
		{ "GET  ", 5 },
		{ "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF*", 33 },
		{ "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF *", 34 },
		{ "GET / HTTP/1.1\n", 15 },
		{ "GET / HTTP/1.1\rX", 16 },
		{ "GET / HTTP/2.0\r\n", 16 },
		{ "GET /\xff HTTP/1.1\r\n", 17 },
		{ "GET / HTTP/1.1\r\nX: a\0", 21 },
		{ "GET / HTTP/1.1\r\nX: a\n", 21 },
		{ "GET / HTTP/1.1\r\nX: a\r\rb", 22 },
	};
	size_t i, needed;

	for (i = 0; i < COUNT(table); i++) {
		struct result r = dribble(table[i].bytes, table[i].at + 1, &needed);

		cr_assert_eq(r.err, FAN_EPROTO, "row %zu", i);
		cr_assert_eq(needed, table[i].at, "row %zu: %zu", i, needed);
		r = parse(table[i].bytes, table[i].at, 0);
		cr_assert_eq(r.err, FAN_EPROTO, "row %zu", i);
	}
}

/* No byte below space and no DEL may stand anywhere in a head, tabs and CRLF apart. */
Test(http_parse, every_byte_at_every_place)
{
	static const char head[] = "GET /ab HTTP/1.1\r\nHost: a\r\nXx: yz\r\n\r\n";
	size_t at, n = sizeof(head) - 1;
	unsigned int c;

	for (at = 0; at < n; at++) {
		for (c = 0; c < 256; c++) {
			char copy[sizeof(head)];
			struct result r;

			memcpy(copy, head, sizeof(head));
			copy[at] = (char)c;
			r = parse(copy, n, 0);
			if (copy[at] == head[at])
				cr_assert_eq(r.err, 0);
			else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
				cr_assert_eq(r.err, FAN_EPROTO, "byte %02x at %zu", c, at);
			else if (head[at] == '\r' || head[at] == '\n')
				cr_assert_eq(r.err, FAN_EPROTO, "byte %02x at %zu", c, at);
			else if (r.err == FAN_EAGAIN)
				cr_assert(c == '\r' && at + 1 < n, "byte %02x at %zu", c, at);
		}
	}
}

/* --- limits ------------------------------------------------------------------------------------ */

/* A head of n bytes with a field in it that fills it up. */
static void
make_head(char *out, size_t n)
{
	int len = snprintf(out, n + 1, GET "X: ");

	memset(out + len, 'x', n - 4 - (size_t)len);
	memcpy(out + n - 4, "\r\n\r\n", 4);
}

Test(http_parse, head_of_the_limit_and_one_more)
{
	char head[LIMIT + 2];
	size_t needed;
	struct result r;

	make_head(head, LIMIT);
	cr_assert_eq(parse(head, LIMIT, 0).err, 0);
	r = dribble(head, LIMIT, &needed);
	cr_assert_eq(r.err, 0);
	cr_assert_eq(r.used, LIMIT);

	make_head(head, LIMIT + 1);
	r = parse(head, LIMIT + 1, 0);
	cr_assert_eq(r.err, FAN_ETOOBIG);
	cr_assert_eq(r.status, 431);
	r = dribble(head, LIMIT + 1, &needed);
	cr_assert_eq(r.status, 431);
	cr_assert_eq(needed, LIMIT);
}

Test(http_parse, request_line_over_the_limit)
{
	char head[2 * LIMIT];
	size_t needed;
	struct result r;

	memset(head, 'a', sizeof(head));
	memcpy(head, "GET /", 5);
	r = parse(head, sizeof(head), 0);
	cr_assert_eq(r.err, FAN_ETOOBIG);
	cr_assert_eq(r.status, 414);
	r = dribble(head, sizeof(head), &needed);
	cr_assert_eq(r.status, 414);
	cr_assert_eq(needed, LIMIT);
	/* As if the limit had been lowered since the earlier call. */
	cr_assert_eq(parse(head, sizeof(head), LIMIT + 1).status, 414);
}

Test(http_parse, fields_never_exceed_the_array)
{
	static struct http_request many;
	const struct http_limits wide = { 65536, SIZE_MAX };
	char *head = malloc(65536);
	size_t n, i, used = 0;
	int status = 0;
	const char *why;

	cr_assert_not_null(head);
	n = (size_t)sprintf(head, GET);
	for (i = 1; i < HTTP_FIELDS_MAX; i++)
		n += (size_t)sprintf(head + n, "X: y\r\n");
	memcpy(head + n, "\r\n", 2);
	cr_assert_eq(http_request_parse(head, n + 2, 0, &wide, &many, &used, &status, &why), 0);
	cr_assert_eq(many.nfields, HTTP_FIELDS_MAX);
	n += (size_t)sprintf(head + n, "X: y\r\n\r\n");
	cr_assert_eq(
	    http_request_parse(head, n, 0, &wide, &many, &used, &status, &why), FAN_ETOOBIG);
	cr_assert_eq(status, 431);
	free(head);
}

/* --- slices ------------------------------------------------------------------------------------ */

static struct http_slice
sl(const char *text)
{
	struct http_slice s = { (const char *)guard_put(&page, text, strlen(text)), strlen(text) };

	return s;
}

Test(http_parse, comparisons)
{
	cr_assert(http_slice_is(sl("Abc"), "Abc"));
	cr_assert(!http_slice_is(sl("Abc"), "abc"));
	cr_assert(!http_slice_is(sl("Abc"), "Ab"));
	cr_assert(http_slice_is_nocase(sl("A-z9"), "a-Z9"));
	cr_assert(!http_slice_is_nocase(sl("ab"), "abc"));
	cr_assert(!http_slice_is_nocase(sl("abc"), "ab"));
	cr_assert(!http_slice_is_nocase(sl("@["), "`{"));
	cr_assert(http_slice_is_nocase(sl(""), ""));
}

Test(http_parse, token_characters)
{
	unsigned int c;

	for (c = 0; c < 256; c++) {
		char byte = (char)c;
		struct http_slice s = { &byte, 1 };
		bool want = c > 0x20 && c < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", (int)c) == NULL;

		cr_assert_eq(http_is_token(s), want, "byte %02x", c);
	}
	cr_assert(!http_is_token(sl("")));
	cr_assert(!http_is_token(sl("a b")));
}

Test(http_parse, authorities)
{
	static const struct {
		const char *text;
		const char *host; /* NULL: refused */
		int port;
	} table[] = {
		{ "a", "a", -1 },
		{ "a.example:80", "a.example", 80 },
		{ "1.2.3.4:0", "1.2.3.4", 0 },
		{ "a:65535", "a", 65535 },
		{ "[::1]", "[::1]", -1 },
		{ "[2001:DB8::1.2.3.4]:443", "[2001:DB8::1.2.3.4]", 443 },
		{ "", NULL, 0 },
		{ ":80", NULL, 0 },
		{ "a:", NULL, 0 },
		{ "a:65536", NULL, 0 },
		{ "a:99999999999999999999", NULL, 0 },
		{ "a:8o", NULL, 0 },
		{ "a:-1", NULL, 0 },
		{ "a:1:2", NULL, 0 },
		{ "a/b", NULL, 0 },
		{ "u@a", NULL, 0 },
		{ "*.a", NULL, 0 },
		{ "a\xc3\xa9", NULL, 0 },
		{ "[]", NULL, 0 },
		{ "[:]", NULL, 0 },
		{ "[::1", NULL, 0 },
		{ "[::1]x", NULL, 0 },
		{ "[::g]", NULL, 0 },
		{ "::1", NULL, 0 },
		{ "[", NULL, 0 },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		struct http_slice host;
		int port;
		bool ok = http_authority_split(sl(table[i].text), &host, &port);

		cr_assert_eq(ok, table[i].host != NULL, "%s", table[i].text);
		if (!ok)
			continue;
		cr_assert(is(host, table[i].host), "%s", table[i].text);
		cr_assert_eq(port, table[i].port, "%s", table[i].text);
	}
}

Test(http_parse, percent_decoding)
{
	static const struct {
		const char *in;
		bool plus;
		const char *out; /* NULL: refused */
	} table[] = {
		{ "", false, "" },
		{ "abc", false, "abc" },
		{ "a%20b+c", false, "a b+c" },
		{ "a%20b+c", true, "a b c" },
		{ "%2B%2b", true, "++" },
		{ "%c3%A9%2F%25", false, "\xc3\xa9/%" },
		{ "%", false, NULL },
		{ "a%4", false, NULL },
		{ "%4g", false, NULL },
		{ "%g4", false, NULL },
		{ "%%41", false, NULL },
		{ "%00", false, NULL },
		{ "a%", true, NULL },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		struct http_slice s = sl(table[i].in);
		struct guard place = guard_new(64);
		char *out = (char *)guard_put(&place, table[i].in, s.n);
		size_t len = 0;
		int err = http_percent_decode(s, table[i].plus, out, &len);

		cr_assert_eq(err, table[i].out == NULL ? FAN_EINVAL : 0, "%s", table[i].in);
		if (err == 0) {
			cr_assert_eq(len, strlen(table[i].out), "%s", table[i].in);
			cr_assert_eq(memcmp(out, table[i].out, len), 0, "%s", table[i].in);
		}
		guard_free(&place);
	}
}

Test(http_parse, query_pairs)
{
	static const struct {
		const char *query;
		const char *pairs;
	} table[] = {
		{ "", "" },
		{ "&&", "" },
		{ "a=b", "[a|b]" },
		{ "a", "[a|]" },
		{ "a=", "[a|]" },
		{ "=b", "[|b]" },
		{ "a=b=c&&d&e=f&", "[a|b=c][d|][e|f]" },
		{ "&channel=x%26y&channel=z", "[channel|x%26y][channel|z]" },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		struct http_slice rest = sl(table[i].query), name, value;
		char got[128] = "";
		size_t n = 0;

		while (http_query_next(&rest, &name, &value))
			n += (size_t)snprintf(got + n, sizeof(got) - n, "[%.*s|%.*s]", (int)name.n,
			    name.p, (int)value.n, value.p);
		cr_assert_str_eq(got, table[i].pairs);
		cr_assert(!http_query_next(&rest, &name, &value));
	}
}

Test(http_parse, list_elements)
{
	static const struct {
		const char *list;
		const char *elements;
	} table[] = {
		{ "", "[]" },
		{ "a", "[a]" },
		{ " a ,\tb c , ", "[a][b c][]" },
		{ ",", "[][]" },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		struct http_slice rest = sl(table[i].list), element;
		char got[128] = "";
		size_t n = 0;

		while (http_list_next(&rest, &element))
			n += (size_t)snprintf(
			    got + n, sizeof(got) - n, "[%.*s]", (int)element.n, element.p);
		cr_assert_str_eq(got, table[i].elements);
	}
}
