/*
 * Tests of worker/ws/reader.  A stream is fed whole, in two pieces cut at every byte, and byte by
 * byte, each piece ending at a forbidden page; what comes out is written down and compared.
 */
#include "worker/ws/reader.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FIN FRAME_FIN
#define STREAM_MAX 4096

static const uint8_t key[4] = { 0x12, 0x00, 0xfe, 0x81 };
static const struct ws_reader_limits server = { 1000, 8, true, 0 };
static const struct ws_reader_limits client = { 1000, 8, false, 0 };
/* The readers of these take compressed messages. */
static const struct ws_reader_limits deflating = { 1000, 8, true, 1200 };

struct stream {
	uint8_t bytes[STREAM_MAX];
	size_t n;
};

static void
add_frame(struct stream *s, uint8_t bits, const void *payload, size_t n, bool masked)
{
	cr_assert_leq(s->n + FRAME_HEAD_MAX + n, STREAM_MAX);
	s->n += frame_head_encode(s->bytes + s->n, bits, n, masked ? key : NULL);
	if (n > 0)
		memcpy(s->bytes + s->n, payload, n);
	if (masked)
		frame_mask(s->bytes + s->n, n, key, 0);
	s->n += n;
}

/* --- what came out, as text -------------------------------------------------------------------- */

struct script {
	char text[8192];
	size_t n;
};

static void
note(struct script *out, const struct ws_event *ev)
{
	static const char *const names[] = { "text", "binary", "ping", "pong", "close" };
	size_t i;
	int len;

	len = snprintf(out->text + out->n, sizeof(out->text) - out->n, "%s%s",
	    ev->compressed ? "deflated " : "", names[ev->type]);
	out->n += (size_t)len;
	if (ev->type == WS_EVENT_CLOSE)
		out->n += (size_t)sprintf(out->text + out->n, " %d", ev->code);
	out->n += (size_t)sprintf(out->text + out->n, "(");
	for (i = 0; i < ev->len && out->n + 16 < sizeof(out->text); i++) {
		bool plain = ev->data[i] > 0x20 && ev->data[i] < 0x7f;

		len = sprintf(out->text + out->n, plain ? "%c" : "\\%02x", ev->data[i]);
		out->n += (size_t)len;
	}
	out->n += (size_t)sprintf(out->text + out->n, ") ");
}

/*
 * Feeds one piece.  Returns what ws_reader_next said last.
 */
static int
feed(struct ws_reader *r, const struct ws_reader_limits *limits, const struct guard *g,
    const uint8_t *bytes, size_t n, struct script *out)
{
	uint8_t *p = guard_put(g, bytes, n);
	struct ws_event ev;
	int err;

	for (;;) {
		memset(&ev, 0, sizeof(ev));
		ev.compressed = true;
		err = ws_reader_next(r, limits, &p, &n, &ev);
		if (err != 0)
			break;
		note(out, &ev);
	}
	if (err == FAN_EAGAIN) {
		cr_assert_eq(n, 0, "input was left over");
	} else {
		cr_assert_not_null(ev.why);
		out->n += (size_t)sprintf(out->text + out->n, "fail %d %d", err, ev.code);
		memset(&ev, 0, sizeof(ev));
		cr_assert_eq(ws_reader_next(r, limits, &p, &n, &ev), FAN_EPROTO);
		cr_assert_eq(ev.code, WS_CLOSE_PROTOCOL);
	}
	return err;
}

/* Feeds a stream in pieces that end at the two cuts; step > 0: in pieces of that size instead. */
static void
run(const struct stream *s, const struct ws_reader_limits *limits, const struct guard *g,
    const size_t cuts[2], size_t step, struct script *out)
{
	struct ws_reader r;
	size_t from = 0, i = 0;
	int err = FAN_EAGAIN;

	out->n = 0;
	out->text[0] = '\0';
	ws_reader_init(&r);
	r.deflate = limits->compressed > 0;
	while (from < s->n && err == FAN_EAGAIN) {
		size_t to = s->n;

		if (step > 0)
			to = from + step < s->n ? from + step : s->n;
		else if (i < 2)
			to = cuts[i++];
		err = feed(&r, limits, g, s->bytes + from, to - from, out);
		from = to;
	}
	if (err == FAN_EAGAIN)
		(void)feed(&r, limits, g, NULL, 0, out);
	ws_reader_fini(&r);
}

/* Whole, byte by byte, in other sizes, and cut in two and three: always `want`. */
static void
check_stream(const struct stream *s, const struct ws_reader_limits *limits, const char *want)
{
	struct guard g = guard_new(STREAM_MAX);
	struct script out;
	size_t step, a, b;
	size_t cuts[2] = { 0, 0 };

	run(s, limits, &g, cuts, 0, &out);
	cr_assert_str_eq(out.text, want);
	for (step = 1; step < 20; step++) {
		run(s, limits, &g, cuts, step, &out);
		cr_assert_str_eq(out.text, want, "in steps of %zu:\n%s\n%s", step, out.text, want);
	}
	for (a = 0; a <= s->n; a++) {
		for (b = a; b <= s->n; b += s->n < 100 ? 1 : s->n) {
			cuts[0] = a;
			cuts[1] = b;
			run(s, limits, &g, cuts, 0, &out);
			cr_assert_str_eq(out.text, want, "cut at %zu, %zu", a, b);
		}
	}
	guard_free(&g);
}

/* --- streams that keep to the rules ------------------------------------------------------------ */

struct frame {
	int bits; /* -1 ends a list */
	const char *payload;
};

static void
check_frames(const struct frame *f, const char *want)
{
	struct stream masked = { .n = 0 }, plain = { .n = 0 };

	for (; f->bits >= 0; f++) {
		add_frame(&masked, (uint8_t)f->bits, f->payload, strlen(f->payload), true);
		add_frame(&plain, (uint8_t)f->bits, f->payload, strlen(f->payload), false);
	}
	check_stream(&masked, &server, want);
	check_stream(&plain, &client, want);
}

Test(reader, messages_in_one_frame)
{
	static const struct frame f[] = {
		{ FIN | WS_OP_TEXT, "Hello" },
		{ FIN | WS_OP_TEXT, "" },
		{ FIN | WS_OP_BINARY, "\x80\xff" },
		{ FIN | WS_OP_BINARY, "" },
		{ FIN | WS_OP_TEXT, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ -1, NULL },
	};

	check_frames(f,
	    "text(Hello) text() binary(\\80\\ff) binary() "
	    "text(\\c3\\a9\\e2\\82\\ac\\f0\\9f\\98\\80) ");
}

Test(reader, control_frames_between_fragments)
{
	static const struct frame f[] = {
		{ WS_OP_TEXT, "ab\xe2\x82" }, /* a character goes on in the next fragment */
		{ FIN | WS_OP_PING, "123" },
		{ WS_OP_CONTINUATION, "" },
		{ FIN | WS_OP_PONG, "" },
		{ FIN | WS_OP_PING, "\xff\xff" },
		{ WS_OP_CONTINUATION, "\xac" },
		{ FIN | WS_OP_CONTINUATION, "d" },
		{ WS_OP_BINARY, "" },
		{ FIN | WS_OP_PING, "" },
		{ FIN | WS_OP_CONTINUATION, "" },
		{ FIN | WS_OP_TEXT, "x" },
		{ -1, NULL },
	};

	check_frames(f,
	    "ping(123) pong() ping(\\ff\\ff) text(ab\\e2\\82\\acd) ping() binary() "
	    "text(x) ");
}

Test(reader, nothing_comes_after_a_close)
{
	static const struct frame f[] = {
		{ FIN | WS_OP_PING, "p" },
		{ FIN | WS_OP_CLOSE, "\x03\xe9going \xc3\xa9" },
		{ FIN | WS_OP_TEXT, "never" },
		{ 0x7f, "garbage" },
		{ -1, NULL },
	};

	check_frames(f, "ping(p) close 1001(going\\20\\c3\\a9) ");
}

Test(reader, close_inside_a_message)
{
	static const struct frame f[] = {
		{ WS_OP_TEXT, "begun" },
		{ FIN | WS_OP_CLOSE, "" },
		{ -1, NULL },
	};

	check_frames(f, "close 1005() ");
}

Test(reader, sizes_at_the_edges_of_the_length_forms)
{
	static const size_t sizes[] = { 125, 126, 127, 300 };
	size_t i, k;

	for (i = 0; i < COUNT(sizes); i++) {
		struct stream s = { .n = 0 };
		char payload[301] = { 0 }, want[400];

		for (k = 0; k < sizes[i]; k++)
			payload[k] = (char)('a' + k % 26);
		add_frame(&s, FIN | WS_OP_TEXT, payload, sizes[i], true);
		(void)snprintf(want, sizeof(want), "text(%s) ", payload);
		check_stream(&s, &server, want);
	}
}

/* --- the close frame --------------------------------------------------------------------------- */

Test(reader, every_close_code)
{
	struct guard g = guard_new(64);
	unsigned int code;

	for (code = 0; code <= 65535; code++) {
		bool allowed = (code >= 1000 && code <= 4999) && !(code >= 1016 && code <= 2999) &&
		    code != 1004 && code != 1005 && code != 1006 && code != 1015;
		uint8_t payload[2] = { (uint8_t)(code >> 8), (uint8_t)code };
		struct stream s = { .n = 0 };
		struct script out;
		char want[64];
		const size_t no_cuts[2] = { SIZE_MAX, 0 };

		add_frame(&s, FIN | WS_OP_CLOSE, payload, 2, true);
		(void)snprintf(want, sizeof(want), allowed ? "close %u() " : "fail %d 1002",
		    allowed ? code : (unsigned)FAN_EPROTO);
		run(&s, &server, &g, no_cuts, s.n, &out);
		cr_assert_str_eq(out.text, want, "code %u", code);
		if (code % 97 != 0)
			continue;
		run(&s, &server, &g, no_cuts, 1, &out);
		cr_assert_str_eq(out.text, want, "code %u", code);
	}
	guard_free(&g);
}

Test(reader, longest_reason)
{
	struct stream s = { .n = 0 };
	char payload[126] = "\x0b\xb8", want[200];

	memset(payload + 2, 'r', 123);
	add_frame(&s, FIN | WS_OP_CLOSE, payload, 125, true);
	(void)snprintf(want, sizeof(want), "close 3000(%s) ", payload + 2);
	check_stream(&s, &server, want);
}

/* --- streams that break a rule ----------------------------------------------------------------- */

struct bad {
	const char *name;
	const char *bytes;
	size_t n;
	size_t at; /* the number of bytes that show it */
	const char *before;
	int err;
	int code;
	bool masked; /* the reader's demand */
};

#define BYTES(s) s, sizeof(s) - 1
#define MASK "\0\0\0\0"

static const struct bad bad_streams[] = {
	{ "RSV1", BYTES("\xc1\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "RSV2", BYTES("\xa1\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "RSV3", BYTES("\x91\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "RSV1 on ping", BYTES("\xc9\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "opcode 3", BYTES("\x83\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "opcode 7", BYTES("\x87\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "opcode 11", BYTES("\x8b\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "opcode 15", BYTES("\x8f\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "fragmented ping", BYTES("\x09\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "fragmented pong", BYTES("\x0a\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "fragmented close", BYTES("\x08\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "long ping", BYTES("\x89\xfe\0\x7e" MASK), 2, "", FAN_EPROTO, 1002, true },
	{ "long close", BYTES("\x88\xff\0\0\0\0\0\0\0\1" MASK), 2, "", FAN_EPROTO, 1002, true },
	{ "one-byte close", BYTES("\x88\x81" MASK "\3"), 2, "", FAN_EPROTO, 1002, true },
	{ "not masked", BYTES("\x81\x01x"), 2, "", FAN_EPROTO, 1002, true },
	{ "masked", BYTES("\x81\x81" MASK "x"), 2, "", FAN_EPROTO, 1002, false },
	{ "ping not masked", BYTES("\x89\x00"), 2, "", FAN_EPROTO, 1002, true },
	{ "continuation first", BYTES("\x80\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
	{ "continuation after message", BYTES("\x81\x80" MASK "\x80\x80" MASK), 7, "text() ",
	    FAN_EPROTO, 1002, true },
	{ "text inside text", BYTES("\x01\x81" MASK "a\x81\x80" MASK), 8, "", FAN_EPROTO, 1002,
	    true },
	{ "binary inside empty text", BYTES("\x01\x80" MASK "\x02\x80" MASK), 7, "", FAN_EPROTO,
	    1002, true },
	{ "length in 16 bits", BYTES("\x82\xfe\0\x7d" MASK), 4, "", FAN_EPROTO, 1002, true },
	{ "length in 64 bits", BYTES("\x82\xff\0\0\0\0\0\0\xff\xff" MASK), 8, "", FAN_EPROTO, 1002,
	    true },
	{ "length 2^63", BYTES("\x82\xff\x80\0\0\0\0\0\0\0" MASK), 3, "", FAN_EPROTO, 1002, true },
	{ "length 2^63-1", BYTES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" MASK), 14, "",
	    FAN_ETOOBIG, 1009, true },
	{ "length 2^32", BYTES("\x82\xff\0\0\0\1\0\0\0\0" MASK), 14, "", FAN_ETOOBIG, 1009, true },
	{ "limit+1", BYTES("\x82\xfe\x03\xe9" MASK), 8, "", FAN_ETOOBIG, 1009, true },
	{ "limit+1 in two frames", BYTES("\x02\x81" MASK "a\x80\xfe\x03\xe8" MASK), 15, "",
	    FAN_ETOOBIG, 1009, true },
	{ "UTF-8 in an incomplete frame", BYTES("\x81\xfe\x03\xe8" MASK "ab\xe0\x80"), 12, "",
	    FAN_EINVAL, 1007, true },
	{ "UTF-8 in a fragment", BYTES("\x01\x82" MASK "\xf4\x8f\x80\x82" MASK "\xbf\xc0"), 16, "",
	    FAN_EINVAL, 1007, true },
	{ "UTF-8 cut off", BYTES("\x81\x82" MASK "a\xc3"), 8, "", FAN_EINVAL, 1007, true },
	{ "UTF-8 cut off in fragments", BYTES("\x01\x81" MASK "\xc3\x80\x80" MASK), 13, "",
	    FAN_EINVAL, 1007, true },
	{ "UTF-8 of a reason", BYTES("\x88\x85" MASK "\x03\xe8x\xed\xa0"), 11, "", FAN_EINVAL, 1007,
	    true },
	{ "reason cut off", BYTES("\x88\x83" MASK "\x03\xe8\xc3"), 9, "", FAN_EINVAL, 1007, true },
	{ "close code 999", BYTES("\x88\x84" MASK "\x03\xe7\x79\x79"), 8, "", FAN_EPROTO, 1002,
	    true },
	{ "ping, then RSV", BYTES("\x89\x80" MASK "\x92"), 7, "ping() ", FAN_EPROTO, 1002, true },
};

/* Refused at the byte that shows it, no earlier and no later, however the stream is cut. */
static void
check_bad(const struct bad *b, const struct ws_reader_limits *limits)
{
	struct guard g = guard_new(64);
	const size_t no_cuts[2] = { 0, 0 };
	struct stream s = { .n = b->n };
	struct script out;
	char want[128];
	size_t n;

	memcpy(s.bytes, b->bytes, b->n);
	(void)snprintf(want, sizeof(want), "%sfail %d %d", b->before, b->err, b->code);
	check_stream(&s, limits, want);
	for (n = 0; n < b->at; n++) {
		s.n = n;
		run(&s, limits, &g, no_cuts, 1, &out);
		cr_assert_null(strstr(out.text, "fail"), "%s: %zu bytes", b->name, n);
	}
	s.n = b->at;
	run(&s, limits, &g, no_cuts, 1, &out);
	cr_assert_str_eq(out.text, want, "%s", b->name);
	guard_free(&g);
}

Test(reader, rules_broken)
{
	size_t i;

	for (i = 0; i < COUNT(bad_streams); i++)
		check_bad(&bad_streams[i], bad_streams[i].masked ? &server : &client);
}

Test(reader, rules_of_compressed_messages_broken)
{
	static const struct bad bad[] = {
		{ "RSV2", BYTES("\xe1\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
		{ "RSV3", BYTES("\xd2\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
		{ "RSV1 on a continuation", BYTES("\x41\x81" MASK "a\xc0\x80" MASK), 8, "",
		    FAN_EPROTO, 1002, true },
		{ "RSV1 on the continuation of a plain message",
		    BYTES("\x01\x81" MASK "a\x40\x80" MASK), 8, "", FAN_EPROTO, 1002, true },
		{ "RSV1 on ping", BYTES("\xc9\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
		{ "RSV1 on close", BYTES("\xc8\x80" MASK), 1, "", FAN_EPROTO, 1002, true },
		{ "limit+1", BYTES("\xc1\xfe\x04\xb1" MASK), 8, "", FAN_ETOOBIG, 1009, true },
		{ "limit+1 in two frames", BYTES("\x41\x81" MASK "a\x80\xfe\x04\xb0" MASK), 15, "",
		    FAN_ETOOBIG, 1009, true },
		{ "limit+1 of a plain message", BYTES("\x81\xfe\x03\xe9" MASK), 8, "", FAN_ETOOBIG,
		    1009, true },
		{ "UTF-8 of a plain message", BYTES("\x81\x81" MASK "\xff"), 7, "", FAN_EINVAL,
		    1007, true },
	};
	size_t i;

	for (i = 0; i < COUNT(bad); i++)
		check_bad(&bad[i], &deflating);
}

/* As they came: no UTF-8 is asked of them, and what follows is judged by its own first frame. */
Test(reader, compressed_messages)
{
	struct stream s = { .n = 0 };
	char payload[1201], want[2600];

	memset(payload, 'c', 1200);
	payload[1200] = '\0';
	add_frame(&s, FIN | FRAME_RSV1 | WS_OP_TEXT, "\xff\xfe", 2, true);
	add_frame(&s, FIN | WS_OP_TEXT, "plain", 5, true);
	add_frame(&s, FRAME_RSV1 | WS_OP_TEXT, "\xff", 1, true);
	add_frame(&s, FIN | WS_OP_PING, "", 0, true);
	add_frame(&s, WS_OP_CONTINUATION, "", 0, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "\xc3", 1, true);
	add_frame(&s, WS_OP_BINARY, "p", 1, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "q", 1, true);
	add_frame(&s, FIN | FRAME_RSV1 | WS_OP_BINARY, "", 0, true);
	add_frame(&s, FIN | FRAME_RSV1 | WS_OP_BINARY, payload, 1200, true);
	add_frame(&s, FRAME_RSV1 | WS_OP_BINARY, payload, 600, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, payload, 600, true);
	(void)snprintf(want, sizeof(want),
	    "deflated text(\\ff\\fe) text(plain) ping() deflated text(\\ff\\c3) "
	    "binary(pq) deflated binary() deflated binary(%s) deflated binary(%s) ",
	    payload, payload);
	check_stream(&s, &deflating, want);
}

/*
 * FIN, the reserved bits, opcode and mask in every combination, outside and inside of a message, with
 * and without compression.
 */
Test(reader, every_first_byte)
{
	struct guard g = guard_new(64);
	const size_t no_cuts[2] = { 0, 0 };
	unsigned int i;

	for (i = 0; i < 256 * 8; i++) {
		unsigned int bits = i >> 3, op = bits & 15;
		bool inside = (i & 1) != 0, masked = (i & 2) != 0, deflate = (i & 4) != 0;
		bool data = op < 3, control = op >= 8 && op <= 10;
		unsigned int reserved = deflate && (op == 1 || op == 2) ? 0x30 : FRAME_RSV;
		bool good = (bits & reserved) == 0 && masked &&
		    (control ? (bits & FIN) != 0 : data && (op == 0) == inside);
		struct stream s = { .n = 0 };
		struct script out;

		if (inside)
			add_frame(&s, WS_OP_TEXT, "a", 1, true);
		add_frame(&s, (uint8_t)bits, NULL, 0, masked);
		run(&s, deflate ? &deflating : &server, &g, no_cuts, 1, &out);
		cr_assert_eq(strstr(out.text, "fail") == NULL, good,
		    "bits %02x, inside %d, masked %d, deflate %d: %s", bits, inside, masked,
		    deflate, out.text);
	}
	guard_free(&g);
}

/* --- limits ------------------------------------------------------------------------------------ */

Test(reader, message_of_exactly_the_limit)
{
	char payload[1001], want[1100];
	struct stream one = { .n = 0 }, two = { .n = 0 };

	memset(payload, 'm', 1000);
	payload[1000] = '\0';
	(void)snprintf(want, sizeof(want), "text(%s) ", payload);
	add_frame(&one, FIN | WS_OP_TEXT, payload, 1000, true);
	check_stream(&one, &server, want);
	add_frame(&two, WS_OP_TEXT, payload, 999, true);
	add_frame(&two, FIN | WS_OP_CONTINUATION, payload, 1, true);
	check_stream(&two, &server, want);
}

Test(reader, fragments_of_exactly_the_limit)
{
	struct stream s = { .n = 0 };
	int i;

	add_frame(&s, WS_OP_BINARY, "1", 1, true);
	for (i = 0; i < 6; i++)
		add_frame(&s, WS_OP_CONTINUATION, "", 0, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "8", 1, true);
	/* The count begins again with the next message. */
	add_frame(&s, WS_OP_TEXT, "n", 1, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "", 0, true);
	check_stream(&s, &server, "binary(18) text(n) ");
}

Test(reader, one_fragment_too_many)
{
	struct stream s = { .n = 0 };
	char want[64];
	int i;

	add_frame(&s, WS_OP_TEXT, "1", 1, true);
	for (i = 0; i < 7; i++)
		add_frame(&s, WS_OP_CONTINUATION, "", 0, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "", 0, true);
	(void)snprintf(want, sizeof(want), "fail %d %d", FAN_ETOOBIG, WS_CLOSE_TOO_BIG);
	check_stream(&s, &server, want);
}

/* A million empty continuations end at the cap, and cost no memory on the way there. */
Test(reader, million_empty_continuations)
{
	const struct ws_reader_limits limits = {
		.message = 65536, .fragments = 1024, .masked = true
	};
	struct stream s = { .n = 0 };
	struct ws_reader r;
	struct ws_event ev;
	size_t used = 0;
	uint32_t i;
	int err = 0;

	add_frame(&s, WS_OP_TEXT, NULL, 0, true);
	ws_reader_init(&r);
	for (i = 0; i < 1000000; i++) {
		uint8_t *p = s.bytes;
		size_t n = s.n;

		err = ws_reader_next(&r, &limits, &p, &n, &ev);
		if (err != FAN_EAGAIN)
			break;
		if (i == 0) {
			s.bytes[0] = WS_OP_CONTINUATION;
			used = mallinfo2().uordblks;
		}
		cr_assert_eq(mallinfo2().uordblks, used, "after %u frames", i);
	}
	cr_assert_eq(err, FAN_ETOOBIG);
	cr_assert_eq(ev.code, WS_CLOSE_TOO_BIG);
	cr_assert_eq(i, 1024);
	ws_reader_fini(&r);
}

/* --- memory and loans -------------------------------------------------------------------------- */

Test(reader, whole_message_is_lent_in_place)
{
	struct stream s = { .n = 0 };
	struct ws_reader r;
	struct ws_event ev;
	uint8_t *p = s.bytes;
	size_t n;

	cr_assert_leq(sizeof(struct ws_reader), 40);
	add_frame(&s, FIN | WS_OP_TEXT, "abc", 3, true);
	add_frame(&s, FIN | WS_OP_PING, "p", 1, true);
	n = s.n;
	ws_reader_init(&r);
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), 0);
	cr_assert_eq(ev.data, s.bytes + 6);
	cr_assert_null(r.message);
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), 0);
	cr_assert_eq(ev.data, s.bytes + 15);
	cr_assert_null(r.message);
	cr_assert_eq(n, 0);
	ws_reader_fini(&r);
}

/* A head comes alone and its payload in the next read: still no copy, and nothing taken before. */
Test(reader, announced_length_takes_no_memory)
{
	const struct ws_reader_limits limits = {
		.message = SIZE_MAX, .fragments = 8, .masked = true
	};
	struct stream s = { .n = 0 };
	struct ws_reader r;
	struct ws_event ev;
	uint8_t *p;
	size_t n, before;

	ws_reader_init(&r);
	p = s.bytes;
	n = frame_head_encode(s.bytes, FIN | WS_OP_BINARY, INT64_MAX, key);
	s.bytes[n] = 0;
	before = mallinfo2().uordblks;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_EAGAIN);
	cr_assert_null(r.message);
	n = 1;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_EAGAIN);
	cr_assert_not_null(r.message);
	cr_assert_leq(mallinfo2().uordblks, before + 1024);
	ws_reader_fini(&r);

	ws_reader_init(&r);
	add_frame(&s, FIN | WS_OP_TEXT, "xyz", 3, true);
	p = s.bytes;
	n = 6;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_EAGAIN);
	n = 3;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), 0);
	cr_assert_eq(ev.data, s.bytes + 6);
	cr_assert_eq(memcmp(ev.data, "xyz", 3), 0);
	cr_assert_null(r.message);
	ws_reader_fini(&r);
}

Test(reader, memory_is_given_back_with_the_next_call)
{
	struct stream s = { .n = 0 };
	struct ws_reader r;
	struct ws_event ev;
	uint8_t *p;
	size_t n;

	add_frame(&s, WS_OP_BINARY, "ab", 2, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "cd", 2, true);
	ws_reader_init(&r);
	p = s.bytes;
	n = s.n;
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), 0);
	cr_assert_eq(ev.len, 4);
	cr_assert_eq(memcmp(ev.data, "abcd", 4), 0);
	cr_assert_not_null(r.message);
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), FAN_EAGAIN);
	cr_assert_null(r.message);

	s.n = 0;
	add_frame(&s, FIN | WS_OP_PING, "ping", 4, true);
	p = s.bytes;
	n = 8;
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), FAN_EAGAIN);
	n = 2;
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), 0);
	cr_assert_eq(memcmp(ev.data, "ping", 4), 0);
	cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), FAN_EAGAIN);
	cr_assert_null(r.message);
	ws_reader_fini(&r);
}

Test(reader, in_message)
{
	struct stream s = { .n = 0 };
	struct ws_reader r;
	struct ws_event ev;
	uint8_t *p;
	size_t n, i;

	add_frame(&s, WS_OP_TEXT, "a", 1, true);
	add_frame(&s, FIN | WS_OP_PING, "", 0, true);
	add_frame(&s, FIN | WS_OP_CONTINUATION, "b", 1, true);
	ws_reader_init(&r);
	cr_assert(!ws_reader_in_message(&r));
	for (i = 0; i < s.n; i++) {
		int want = i == 12 || i == s.n - 1 ? 0 : FAN_EAGAIN;

		p = s.bytes + i;
		n = 1;
		cr_assert_eq(ws_reader_next(&r, &server, &p, &n, &ev), want, "byte %zu", i);
		cr_assert_eq(ws_reader_in_message(&r), i < s.n - 1, "byte %zu", i);
	}
	ws_reader_fini(&r);
}

/* The limit is lowered while a message is under assembly. */
Test(reader, limit_lowered_inside_a_message)
{
	struct ws_reader_limits limits = { .message = 100, .fragments = 8, .masked = true };
	struct stream s = { .n = 0 };
	struct ws_reader r;
	struct ws_event ev;
	char payload[80];
	uint8_t *p = s.bytes;
	size_t n;

	memset(payload, 'x', sizeof(payload));
	add_frame(&s, WS_OP_TEXT, payload, sizeof(payload), true);
	n = s.n;
	ws_reader_init(&r);
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_EAGAIN);
	limits.message = 50;
	s.n = 0;
	add_frame(&s, WS_OP_CONTINUATION, "", 0, true);
	p = s.bytes;
	n = s.n;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_ETOOBIG);
	ws_reader_fini(&r);

	limits.message = 100;
	ws_reader_init(&r);
	s.n = 0;
	add_frame(&s, FIN | WS_OP_TEXT, payload, sizeof(payload), true);
	p = s.bytes;
	n = 60;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_EAGAIN);
	limits.message = 70;
	n = s.n - 60;
	cr_assert_eq(ws_reader_next(&r, &limits, &p, &n, &ev), FAN_ETOOBIG);
	cr_assert_eq(ev.code, WS_CLOSE_TOO_BIG);
	ws_reader_fini(&r);
}

Test(reader, sixteen_mebibytes)
{
	const size_t size = (size_t)16 << 20, step = 65536;
	const struct ws_reader_limits limits = {
		.message = (size_t)16 << 20, .fragments = 8, .masked = true
	};
	uint8_t *bytes = malloc(FRAME_HEAD_MAX + size), *p = bytes;
	size_t head, total, i;
	struct ws_reader r;
	struct ws_event ev;
	int err = FAN_EAGAIN;

	cr_assert_not_null(bytes);
	head = frame_head_encode(bytes, FIN | WS_OP_BINARY, size, key);
	for (i = 0; i < size; i++)
		bytes[head + i] = (uint8_t)(i >> 16 ^ i);
	frame_mask(bytes + head, size, key, 0);
	total = head + size;
	ws_reader_init(&r);
	while (total > 0 && err == FAN_EAGAIN) {
		size_t n = total < step ? total : step, given = n;

		err = ws_reader_next(&r, &limits, &p, &n, &ev);
		total -= given - n;
	}
	cr_assert_eq(err, 0);
	cr_assert_eq(ev.len, size);
	for (i = 0; i < size; i++) {
		if (ev.data[i] != (uint8_t)(i >> 16 ^ i))
			cr_assert(false, "byte %zu", i);
	}
	ws_reader_fini(&r);
	free(bytes);
}
