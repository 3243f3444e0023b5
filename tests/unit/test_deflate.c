/*
 * Tests of worker/ws/deflate.  What is sent is inflated by zlib itself, with a window that is no
 * larger than the one agreed; what is received was compressed by zlib itself, or is written out.
 */
#include "worker/ws/deflate.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/block.h"
#include "tests/unit/guard.h"
#include "worker/ws/frame.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(s) s, sizeof(s) - 1
#define SIZE_LARGEST 70000

static const struct deflate_options options = {
	.level = 1, .memory_level = 8, .window = 15, .min_size = 128
};

/* --- compressing ------------------------------------------------------------------------------- */

/*
 * Inflates a message as a decoder does that remembers 2^bits bytes and no more: byte by byte, or
 * zlib would look into its output for what is further away.  Returns the size; -1: not valid.
 */
static long
limited_inflate(int bits, const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
	static const uint8_t tail[4] = { 0, 0, 0xff, 0xff };
	z_stream z = { 0 };
	size_t len = 0;
	int part, status = Z_OK;

	cr_assert_eq(inflateInit2(&z, -bits), Z_OK);
	for (part = 0; part < 2; part++) {
		z.next_in = (Bytef *)(uintptr_t)(part == 0 ? p : tail);
		z.avail_in = part == 0 ? (uInt)n : sizeof(tail);
		do {
			z.next_out = out + len;
			z.avail_out = len < max ? 1 : 0;
			status = inflate(&z, Z_SYNC_FLUSH);
			len += len < max && z.avail_out == 0 ? 1 : 0;
		} while (status == Z_OK && len < max);
	}
	(void)inflateEnd(&z);
	return (status == Z_OK || status == Z_BUF_ERROR) && z.avail_in == 0 ? (long)len : -1;
}

enum content {
	TEXT,   /* like JSON */
	RANDOM, /* does not shrink */
	ZEROS,
	DISTANT, /* comes again after 300 bytes, and nothing before */
	CONTENTS,
};

static void
fill(uint8_t *p, size_t n, enum content what)
{
	static const char *const words[] = { "\"name\":", "\"Lisbon\",", "{\"id\":", "true}",
		"\"price\":", ",", "12.5", "[null]" };
	uint32_t seed = 1;
	size_t i = 0;

	while (i < n) {
		seed = seed * 1103515245 + 12345;
		if (what == TEXT) {
			const char *word = words[(seed >> 16) % COUNT(words)];

			while (i < n && *word != '\0')
				p[i++] = (uint8_t)*word++;
			continue;
		}
		p[i] = what == ZEROS ? 0 : (uint8_t)(seed >> 16);
		if (what == DISTANT && i >= 300)
			p[i] = p[i - 300];
		i++;
	}
}

/* Sends p as one message, in three parts; returns the frame's payload, whose head is *h. */
static uint8_t *
send_one(struct deflater *d, unsigned window, struct block **b, const uint8_t *p, size_t n,
    struct frame_head *h)
{
	const struct deflate_part part[3] = { { p, n / 3 }, { NULL, 0 }, { p + n / 3, n - n / 3 } };
	size_t at = (*b)->len;

	cr_assert_eq(deflate_frame(d, window, b, WS_OP_BINARY, part, 3), 0);
	cr_assert_leq((*b)->len, (*b)->cap);
	cr_assert_eq(frame_head_decode((*b)->data + at, (*b)->len - at, h), 0);
	cr_assert_eq(at + h->size + h->len, (*b)->len);
	cr_assert_not(h->masked);
	cr_assert_eq(h->bits & ~FRAME_RSV1, FRAME_FIN | WS_OP_BINARY);
	return (*b)->data + at + h->size;
}

/* One message of this kind and size, inflated again; returns whether it was compressed. */
static bool
round_trip(struct deflater *d, struct inflater *f, unsigned window, const uint8_t *p, size_t n)
{
	static uint8_t out[SIZE_LARGEST + 1];
	struct block *b = block_new(16);
	const uint8_t *data = NULL, *payload;
	struct frame_head h;
	size_t len = 0;
	bool packed;

	cr_assert_not_null(b);
	payload = send_one(d, window, &b, p, n, &h);
	packed = (h.bits & FRAME_RSV1) != 0;
	if (packed) {
		cr_assert_lt(h.len, n);
		cr_assert_eq(limited_inflate((int)window, payload, h.len, out, sizeof(out)),
		    (long)n, "window %u, %zu bytes", window, n);
		cr_assert_eq(memcmp(out, p, n), 0, "window %u, %zu bytes", window, n);
		cr_assert_eq(inflate_message(f, payload, h.len, n, &data, &len), 0);
		payload = data;
	} else {
		len = (size_t)h.len;
	}
	cr_assert_eq(len, n);
	cr_assert(n == 0 || memcmp(payload, p, n) == 0, "window %u, %zu bytes", window, n);
	block_unref(b);
	return packed;
}

Test(deflate, every_window_kind_and_size)
{
	static const size_t sizes[] = { 0, 1, 2, 5, 125, 126, 127, 128, 129, 255, 256, 257, 300,
		511, 512, 1000, 1024, 4096, 32767, 32768, 65535, 65536, SIZE_LARGEST };
	static uint8_t p[SIZE_LARGEST];
	struct deflater *d = deflater_new(&options);
	struct inflater *f = inflater_new();
	unsigned window, kind;
	size_t i;

	cr_assert(d != NULL && f != NULL);
	for (kind = 0; kind < CONTENTS; kind++) {
		fill(p, sizeof(p), (enum content)kind);
		for (window = 0; window <= DEFLATE_WINDOW_MAX; window += window == 0 ? 8 : 1) {
			for (i = 0; i < COUNT(sizes); i++) {
				bool packed = round_trip(d, f, window, p, sizes[i]);

				if (sizes[i] < options.min_size || window == 0 || kind == RANDOM)
					cr_assert_not(packed, "%zu bytes", sizes[i]);
				else if (sizes[i] > 1000 && (kind != DISTANT || window > 9))
					cr_assert(packed, "window %u, kind %u, %zu bytes", window,
					    kind, sizes[i]);
			}
		}
	}
	inflater_free(f);
	deflater_free(d);
}

Test(deflate, every_level_and_memory_level)
{
	static uint8_t p[20000];
	struct deflate_options o = options;
	struct inflater *f = inflater_new();
	unsigned window;

	fill(p, sizeof(p), TEXT);
	cr_assert_not_null(f);
	for (o.level = 1; o.level <= 9; o.level++) {
		for (o.memory_level = 1; o.memory_level <= 9; o.memory_level++) {
			struct deflater *d = deflater_new(&o);

			cr_assert_not_null(d);
			for (window = 8; window <= DEFLATE_WINDOW_MAX; window += 7)
				cr_assert(round_trip(d, f, window, p, sizeof(p)));
			deflater_free(d);
		}
	}
	inflater_free(f);
}

/* The same message is the same bytes, whatever went before it. */
Test(deflate, nothing_refers_to_an_earlier_message)
{
	struct deflater *d = deflater_new(&options);
	struct block *b = block_new(4096);
	struct frame_head h[3];
	uint8_t *at[3], p[600], random[600];
	size_t i;

	cr_assert(d != NULL && b != NULL);
	fill(p, sizeof(p), TEXT);
	fill(random, sizeof(random), RANDOM);
	at[0] = send_one(d, 15, &b, p, sizeof(p), &h[0]);
	/* This one is given up half way. */
	at[1] = send_one(d, 15, &b, random, sizeof(random), &h[1]);
	cr_assert_eq(h[1].bits & FRAME_RSV1, 0);
	at[2] = send_one(d, 15, &b, p, sizeof(p), &h[2]);
	cr_assert_neq(h[0].bits & FRAME_RSV1, 0);
	cr_assert(h[0].bits == h[2].bits && h[0].len == h[2].len);
	cr_assert_eq(memcmp(at[0], at[2], h[0].len), 0);
	/* The flush's end is taken away (RFC 7692, section 7.2.1). */
	for (i = 0; i < 3; i += 2)
		cr_assert_neq(memcmp(at[i] + h[i].len - 4, "\0\0\xff\xff", 4), 0);
	block_unref(b);
	deflater_free(d);
}

/* zlib promises no window of 8 bits, but that it can refer to the byte before alone. */
Test(deflate, with_a_window_of_8_bits_only_the_byte_before_is_referred_to)
{
	struct deflater *d = deflater_new(&options);
	struct block *b = block_new(4096);
	struct frame_head h;
	uint8_t p[1600];
	size_t i;

	cr_assert(d != NULL && b != NULL);
	for (i = 0; i < sizeof(p); i++)
		p[i] = i % 2 == 0 ? 'a' : 'b';
	(void)send_one(d, 9, &b, p, sizeof(p), &h);
	cr_assert_lt(h.len, 30);
	(void)send_one(d, 8, &b, p, sizeof(p), &h);
	cr_assert_gt(h.len, sizeof(p) / 8);
	memset(p, 'a', sizeof(p));
	(void)send_one(d, 8, &b, p, sizeof(p), &h);
	cr_assert_lt(h.len, 30);
	block_unref(b);
	deflater_free(d);
}

Test(deflate, the_least_size_is_the_options)
{
	struct deflate_options o = options;
	struct deflater *d;
	struct inflater *f = inflater_new();
	uint8_t p[300];

	fill(p, sizeof(p), ZEROS);
	cr_assert_not_null(f);
	for (o.min_size = 0; o.min_size <= sizeof(p); o.min_size += 50) {
		size_t n;

		d = deflater_new(&o);
		cr_assert_not_null(d);
		for (n = 0; n <= sizeof(p); n += 10) {
			bool packed = round_trip(d, f, 12, p, n);

			cr_assert_eq(
			    packed, n >= 10 && n >= o.min_size, "%zu of %zu", n, o.min_size);
		}
		deflater_free(d);
	}
	inflater_free(f);
}

Test(deflate, plain_frames_need_no_deflater)
{
	struct block *b = block_new(16);
	struct frame_head h;
	uint8_t p[1000];

	cr_assert_not_null(b);
	fill(p, sizeof(p), ZEROS);
	cr_assert_eq(memcmp(send_one(NULL, 0, &b, p, sizeof(p), &h), p, sizeof(p)), 0);
	cr_assert_eq(h.bits, FRAME_FIN | WS_OP_BINARY);
	block_unref(b);
	deflater_free(NULL);
	inflater_free(NULL);
}

/* --- inflating --------------------------------------------------------------------------------- */

/* Inflates from before a forbidden page, and compares; err: what must come of it instead. */
static void
expect_inflated(struct inflater *f, const void *p, size_t n, const char *want, int err)
{
	struct guard g = guard_new(n);
	const uint8_t *out = NULL;
	size_t len = 0;
	int got = inflate_message(f, guard_put(&g, p, n), n, 1000, &out, &len);

	cr_assert_eq(got, err, "%d for %s", got, want);
	if (err == 0)
		cr_assert(len == strlen(want) && (len == 0 || memcmp(out, want, len) == 0),
		    "%.*s, not %s", (int)len, (const char *)out, want);
	guard_free(&g);
}

/* The octets of RFC 7692, section 7.2.3. */
Test(deflate, the_examples_of_the_rfc)
{
	struct inflater *f = inflater_new(), *own;

	cr_assert_not_null(f);
	own = inflater_new_takeover(f, 15);
	cr_assert_not_null(own);
	/* 7.2.3.1: one message, which also comes as two fragments, 7.2.3.2: one that refers to it. */
	expect_inflated(f, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello", 0);
	expect_inflated(own, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello", 0);
	expect_inflated(own, BYTES("\xf2\x00\x11\x00\x00"), "Hello", 0);
	/* 7.2.3.3: a block without compression. */
	expect_inflated(f, BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), "Hello", 0);
	/* 7.2.3.4: a block with BFINAL. */
	expect_inflated(f, BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello", 0);
	/* 7.2.3.5: two blocks. */
	expect_inflated(
	    f, BYTES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), "Hello", 0);
	/* 7.2.3.6: nothing. */
	expect_inflated(f, BYTES("\x00"), "", 0);
	inflater_free(own);
	inflater_free(f);
}

Test(deflate, other_forms_that_are_valid)
{
	struct inflater *f = inflater_new();

	cr_assert_not_null(f);
	/* What zlib leaves of a flush that had nothing to flush. */
	expect_inflated(f, "", 0, "", 0);
	/* Empty blocks: without compression, with fixed codes, and both around a text. */
	expect_inflated(f, BYTES("\x00\x00\x00\xff\xff\x00"), "", 0);
	expect_inflated(f, BYTES("\x02\x00"), "", 0);
	expect_inflated(f,
	    BYTES("\x00\x00\x00\xff\xff\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff\x00"), "Hello",
	    0);
	/* More after a block with BFINAL: blocks, another with BFINAL, and one that is empty. */
	expect_inflated(
	    f, BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00"), "HelloHello", 0);
	expect_inflated(f,
	    BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x03\x00\x00"),
	    "HelloHello", 0);
	inflater_free(f);
}

Test(deflate, invalid_data)
{
	static const struct {
		const char *p;
		size_t n;
	} bad[] = {
		{ BYTES("\x07") },             /* a reserved type of block */
		{ BYTES("\xff\xff\xff\xff") }, /* the same */
		{ BYTES("\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00") }, /* lengths differ */
		{ BYTES("\xf2\x00\x11\x00\x00") }, /* refers to what is not there */
		{ BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff") }, /* with the tail */
		{ BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00\xaa\xbb") },         /* garbage behind it */
		{ BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00\x00") },             /* a byte too many */
		{ BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00") },     /* BFINAL, and nothing more */
		{ BYTES("\x03\x00") },                         /* the same, empty */
		{ BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xaa") }, /* BFINAL, then garbage */
		{ BYTES("\x00\x04\x00\xfb\xff") },             /* the tail becomes a text */
		{ BYTES("\x00\x05\x00\xfa\xff\x48") },         /* the same, and it is too short */
		{ BYTES("\x04") },                             /* a table of codes, cut */
		{ BYTES("\x00\x00") },
	};
	static const uint8_t hello[] = { 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00 };
	struct inflater *f = inflater_new(), *own;
	size_t i;

	cr_assert_not_null(f);
	for (i = 0; i < COUNT(bad); i++) {
		expect_inflated(f, bad[i].p, bad[i].n, "an error", FAN_EPROTO);
		/* The next message, of another connection, does not suffer. */
		expect_inflated(f, hello, sizeof(hello), "Hello", 0);
		own = inflater_new_takeover(f, 15);
		cr_assert_not_null(own);
		expect_inflated(own, bad[i].p, bad[i].n, "an error", FAN_EPROTO);
		inflater_free(own);
	}
	for (i = 1; i < sizeof(hello); i++)
		expect_inflated(f, hello, i, "an error", FAN_EPROTO);
	inflater_free(f);
}

/* A client's compressor, which flushes after each message and keeps its window. */
static size_t
client_deflate(z_stream *z, const uint8_t *p, size_t n, uint8_t *out, size_t room, int flush)
{
	z->next_in = (Bytef *)(uintptr_t)p;
	z->avail_in = (uInt)n;
	z->next_out = out;
	z->avail_out = (uInt)room;
	(void)deflate(z, flush);
	cr_assert_gt(z->avail_out, 0);
	return room - z->avail_out - 4;
}

Test(deflate, takeover_of_every_window)
{
	static uint8_t p[40000], packed[50000];
	struct inflater *shared = inflater_new();
	const uint8_t *out = NULL, *other = NULL;
	size_t n, len = 0, alone;
	int bits, i;

	cr_assert_not_null(shared);
	fill(p, sizeof(p), RANDOM);
	for (bits = 8; bits <= 15; bits++) {
		struct inflater *own = inflater_new_takeover(shared, (unsigned)bits);
		z_stream z = { 0 };
		size_t size = bits == 15 ? 30000 : (size_t)100 << (bits - 8);

		cr_assert_not_null(own);
		/* zlib takes 9 for 8 in a client too. */
		cr_assert_eq(
		    deflateInit2(&z, 6, Z_DEFLATED, bits == 8 ? -9 : -bits, 8, Z_DEFAULT_STRATEGY),
		    Z_OK);
		alone = client_deflate(&z, p, size, packed, sizeof(packed), Z_SYNC_FLUSH);
		cr_assert_eq(inflate_message(own, packed, alone, size, &out, &len), 0);
		for (i = 0; i < 3; i++) {
			n = client_deflate(&z, p, size, packed, sizeof(packed), Z_SYNC_FLUSH);
			cr_assert_lt(n, alone / 2, "it refers to what was before");
			/* Another connection's message goes between, into the same buffer. */
			cr_assert_eq(
			    inflate_message(shared, (const uint8_t *)"\0", 1, 1, &other, &len), 0);
			cr_assert_eq(inflate_message(own, packed, n, size, &out, &len), 0);
			cr_assert(len == size && memcmp(out, p, size) == 0, "%d bits", bits);
			cr_assert_eq(out, other);
		}
		/* And whatever of its window the client's compressor makes use of. */
		fill(p + 30000, 10000, DISTANT);
		n = client_deflate(&z, p + 30000, 10000, packed, sizeof(packed), Z_SYNC_FLUSH);
		cr_assert_eq(inflate_message(own, packed, n, 10000, &out, &len), 0);
		cr_assert(len == 10000 && memcmp(out, p + 30000, len) == 0, "%d bits", bits);
		(void)deflateEnd(&z);
		inflater_free(own);
	}
	inflater_free(shared);
}

/* The blocks of a message may end where it likes: here with every byte, and with every few. */
Test(deflate, many_flushes_in_a_message)
{
	static const int flushes[] = { Z_SYNC_FLUSH, Z_FULL_FLUSH, Z_PARTIAL_FLUSH };
	static uint8_t p[1000], packed[10000];
	struct inflater *f = inflater_new();
	const uint8_t *out = NULL;
	size_t i, k, step, len = 0;

	cr_assert_not_null(f);
	fill(p, sizeof(p), TEXT);
	for (k = 0; k < COUNT(flushes); k++) {
		for (step = 1; step < 60; step += 29) {
			z_stream z = { 0 };
			size_t n = 0;

			cr_assert_eq(
			    deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
			for (i = 0; i < sizeof(p); i += step) {
				size_t part = sizeof(p) - i < step ? sizeof(p) - i : step;
				bool last = i + part == sizeof(p);

				n += client_deflate(&z, p + i, part, packed + n, sizeof(packed) - n,
					 last ? Z_SYNC_FLUSH : flushes[k]) +
				    (last ? 0 : 4);
			}
			(void)deflateEnd(&z);
			cr_assert_leq(n, inflate_input_max(sizeof(p)));
			cr_assert_eq(inflate_message(f, packed, n, sizeof(p), &out, &len), 0);
			cr_assert(len == sizeof(p) && memcmp(out, p, len) == 0);
		}
	}
	inflater_free(f);
}

/* --- bombs ------------------------------------------------------------------------------------- */

/* n zeros, compressed as far as it goes; *out is the test's to free. */
static size_t
bomb(size_t n, uint8_t **out)
{
	z_stream z = { 0 };
	size_t room = n / 500 + 1000, packed;
	uint8_t *zeros = calloc(1, n);

	*out = malloc(room);
	cr_assert(zeros != NULL && *out != NULL);
	cr_assert_eq(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
	packed = client_deflate(&z, zeros, n, *out, room, Z_SYNC_FLUSH);
	(void)deflateEnd(&z);
	free(zeros);
	return packed;
}

Test(deflate, a_message_of_the_limit_and_one_byte_more)
{
	static const size_t limits[] = { 1, 2, 1000, 4095, 4096, 4097, 65536, 1000000 };
	struct inflater *f = inflater_new(), *own;
	const uint8_t *out = NULL;
	size_t i, n, len = 0;
	uint8_t *p;

	cr_assert_not_null(f);
	own = inflater_new_takeover(f, 15);
	cr_assert_not_null(own);
	for (i = 0; i < COUNT(limits); i++) {
		n = bomb(limits[i], &p);
		cr_assert_eq(inflate_message(f, p, n, limits[i], &out, &len), 0);
		cr_assert_eq(len, limits[i]);
		cr_assert_eq(inflate_message(f, p, n, limits[i] - 1, &out, &len), FAN_ETOOBIG);
		cr_assert_eq(inflate_message(own, p, n, limits[i], &out, &len), 0);
		cr_assert_eq(len, limits[i]);
		free(p);
		n = bomb(limits[i] + 1, &p);
		cr_assert_eq(inflate_message(f, p, n, limits[i], &out, &len), FAN_ETOOBIG);
		free(p);
	}
	inflater_free(own);
	inflater_free(f);
}

/* However much of a repetition is left when the room ends, it comes with the next. */
Test(deflate, messages_of_more_than_the_first_room)
{
	const uint8_t *out = NULL;
	size_t size, n, len = 0;
	uint8_t *p;

	for (size = 4000; size < 4500; size++) {
		struct inflater *f = inflater_new();

		cr_assert_not_null(f);
		n = bomb(size, &p);
		cr_assert_eq(inflate_message(f, p, n, 10000, &out, &len), 0, "%zu", size);
		cr_assert_eq(len, size);
		free(p);
		inflater_free(f);
	}
}

/* 64 MiB in 64 KiB are stopped at the limit: no more than that is ever held. */
Test(deflate, a_bomb_takes_no_memory)
{
	struct inflater *f = inflater_new();
	const uint8_t *out = NULL;
	struct mallinfo2 before, after;
	uint8_t *p;
	size_t n = bomb((size_t)64 << 20, &p), len = 0;

	cr_assert_not_null(f);
	cr_assert_leq(n, 70000);
	before = mallinfo2();
	cr_assert_eq(inflate_message(f, p, n, 65536, &out, &len), FAN_ETOOBIG);
	after = mallinfo2();
	cr_assert_leq(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd + 150000);
	free(p);
	inflater_free(f);
}

/* A thousand streams in one message, each of which is small. */
Test(deflate, a_bomb_of_many_streams)
{
	struct inflater *f = inflater_new();
	const uint8_t *out = NULL;
	uint8_t p[7 * 1000 + 1];
	size_t i, len = 0;

	cr_assert_not_null(f);
	for (i = 0; i < 1000; i++)
		memcpy(p + 7 * i, "\xf3\x48\xcd\xc9\xc9\x07\x00", 7);
	p[sizeof(p) - 1] = 0;
	cr_assert_eq(inflate_message(f, p, sizeof(p), 5000, &out, &len), 0);
	cr_assert_eq(len, 5000);
	cr_assert_eq(inflate_message(f, p, sizeof(p), 4999, &out, &len), FAN_ETOOBIG);
	inflater_free(f);
}

Test(deflate, a_large_buffer_is_given_back)
{
	struct inflater *f = inflater_new();
	const uint8_t *out = NULL;
	struct mallinfo2 held, rest;
	uint8_t *p;
	size_t n = bomb((size_t)4 << 20, &p), len = 0;

	cr_assert_not_null(f);
	cr_assert_eq(inflate_message(f, p, n, (size_t)4 << 20, &out, &len), 0);
	cr_assert_eq(out[len - 1], 0);
	held = mallinfo2();
	inflate_done(f);
	rest = mallinfo2();
#ifndef __SANITIZE_ADDRESS__
	cr_assert_leq(rest.uordblks + rest.hblkhd + ((size_t)4 << 20), held.uordblks + held.hblkhd);
#endif
	(void)held;
	(void)rest;
	expect_inflated(f, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello", 0);
	inflate_done(f);
	free(p);
	inflater_free(f);
}

/* What an honest client sends fits: text and noise, in one piece and in a thousand. */
Test(deflate, the_limit_of_the_input_is_enough)
{
	static const size_t sizes[] = { 1, 100, 65536, 1000000 };
	size_t i;

	for (i = 0; i < COUNT(sizes); i++) {
		size_t max = inflate_input_max(sizes[i]);

		cr_assert_geq(max, compressBound((uLong)sizes[i]));
		cr_assert_geq(max, sizes[i] + sizes[i] / 8 + (size_t)5 * 1024);
		cr_assert_leq(max, sizes[i] * 2 + 10000);
	}
}
