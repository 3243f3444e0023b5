/*
 * fuzz_frame: frames to messages (worker/ws/reader, frame), whatever the limits and however the
 * bytes arrive.
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/ws.
 *
 * Input: a byte of limits, the pieces as fuzz_cuts_read takes them, and the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "worker/ws/reader.h"

/* What a stream comes to. */
struct outcome {
	struct buf events;
	int err;
	struct ws_event failure;
	bool in_message;
};

static void
check_event(const struct ws_event *ev, const struct ws_reader_limits *limits)
{
	switch (ev->type) {
	case WS_EVENT_TEXT:
	case WS_EVENT_BINARY:
		FUZZ_CHECK(ev->len <= (ev->compressed ? limits->compressed : limits->message));
		FUZZ_CHECK(
		    ev->type == WS_EVENT_BINARY || ev->compressed || utf8_valid(ev->data, ev->len));
		break;
	case WS_EVENT_PING:
	case WS_EVENT_PONG:
		FUZZ_CHECK(ev->len <= FRAME_CONTROL_MAX);
		break;
	case WS_EVENT_CLOSE:
		FUZZ_CHECK(ev->len <= FRAME_CONTROL_MAX - 2 && utf8_valid(ev->data, ev->len));
		FUZZ_CHECK((ev->code >= 1000 && ev->code <= 1003) ||
		    (ev->code >= 1007 && ev->code <= 1014) ||
		    (ev->code >= 3000 && ev->code <= 4999) ||
		    (ev->code == WS_CLOSE_NO_STATUS && ev->len == 0));
		break;
	}
}

static void
check_failure(const struct ws_event *ev, int err)
{
	FUZZ_CHECK(ev->why != NULL && *ev->why != '\0' && strlen(ev->why) <= 123);
	switch (err) {
	case FAN_EPROTO:
		FUZZ_CHECK(ev->code == WS_CLOSE_PROTOCOL);
		break;
	case FAN_EINVAL:
		FUZZ_CHECK(ev->code == WS_CLOSE_INVALID_DATA);
		break;
	case FAN_ETOOBIG:
		FUZZ_CHECK(ev->code == WS_CLOSE_TOO_BIG);
		break;
	default:
		FUZZ_CHECK(false);
	}
}

static void
note_event(struct buf *b, const struct ws_event *ev)
{
	uint8_t head[] = { (uint8_t)ev->type, ev->compressed };

	fuzz_note(b, head, sizeof(head));
	fuzz_note_number(b, ev->type == WS_EVENT_CLOSE ? ev->code : 0);
	fuzz_note_number(b, (int64_t)ev->len);
	fuzz_note(b, ev->data, ev->len);
}

/* Feeds one piece, which it may change.  Returns what the reader said last. */
static int
feed(struct ws_reader *r, const struct ws_reader_limits *limits, uint8_t *p, size_t n,
    struct outcome *o)
{
	struct ws_event ev;
	bool closed = false;
	int err;

	for (;;) {
		size_t left = n;

		memset(&ev, 0, sizeof(ev));
		err = ws_reader_next(r, limits, &p, &n, &ev);
		FUZZ_CHECK(n <= left);
		if (err != 0)
			break;
		FUZZ_CHECK(!closed);
		closed = ev.type == WS_EVENT_CLOSE;
		check_event(&ev, limits);
		note_event(&o->events, &ev);
	}
	if (err == FAN_EAGAIN) {
		FUZZ_CHECK(n == 0);
	} else {
		check_failure(&ev, err);
		o->failure = ev;
	}
	return err;
}

static void
run(const struct ws_reader_limits *limits, bool deflate, struct fuzz_input in,
    struct fuzz_cuts *cuts, struct outcome *o)
{
	struct ws_reader r;

	memset(o, 0, sizeof(*o));
	buf_init(&o->events, SIZE_MAX / 8);
	ws_reader_init(&r);
	r.deflate = deflate;
	o->err = FAN_EAGAIN;
	while (in.n > 0 && o->err == FAN_EAGAIN) {
		struct fuzz_input piece = fuzz_take(&in, fuzz_cuts_next(cuts, in.n));
		uint8_t *copy = fuzz_copy(piece.p, piece.n);

		o->err = feed(&r, limits, copy, piece.n, o);
		free(copy);
	}
	o->in_message = o->err == FAN_EAGAIN && ws_reader_in_message(&r);
	ws_reader_fini(&r);
}

static void
check_same(const struct outcome *a, const struct outcome *b)
{
	FUZZ_CHECK(a->err == b->err && a->in_message == b->in_message);
	FUZZ_CHECK(a->failure.code == b->failure.code);
	FUZZ_CHECK(a->failure.why == b->failure.why || strcmp(a->failure.why, b->failure.why) == 0);
	FUZZ_CHECK(fuzz_same(&a->events, &b->events));
}

/* A head that can be read is the one that would be written, but for a mask of zeros. */
static void
check_head(struct fuzz_input in)
{
	uint8_t again[FRAME_HEAD_MAX], *copy = fuzz_copy(in.p, in.n);
	struct frame_head h;
	size_t n, k;
	int err = frame_head_decode(copy, in.n, &h);

	FUZZ_CHECK(err == 0 || err == FAN_EPROTO || (err == FAN_EAGAIN && in.n < FRAME_HEAD_MAX));
	free(copy);
	if (err != 0)
		return;
	n = frame_head_encode(again, h.bits, h.len, h.masked ? h.mask : NULL);
	FUZZ_CHECK(n == h.size && n <= in.n && memcmp(again, in.p, n) == 0);
	for (k = 0; k < n; k++) {
		copy = fuzz_copy(in.p, k);
		FUZZ_CHECK(frame_head_decode(copy, k, &h) == FAN_EAGAIN);
		free(copy);
	}
}

/* Masked in two parts and unmasked as one, anything is itself again. */
static void
check_mask(struct fuzz_input in, size_t cut)
{
	static const uint8_t mask[4] = { 0x12, 0x00, 0xfe, 0x81 };
	uint8_t *copy = fuzz_copy(in.p, in.n);

	cut = cut < in.n ? cut : in.n;
	frame_mask(copy, cut, mask, 3);
	frame_mask(copy + cut, in.n - cut, mask, 3 + cut);
	frame_mask(copy, in.n, mask, 3);
	FUZZ_CHECK(in.n == 0 || memcmp(copy, in.p, in.n) == 0);
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t messages[] = { 1, 2, 125, 126, 1000, 70000, 16, 7 };
	static const uint32_t fragments[] = { 1, 2, 3, 1000 };
	struct fuzz_input in = { data, size };
	struct outcome whole, part;
	struct fuzz_cuts cuts, one;
	uint8_t bits = fuzz_byte(&in);
	struct ws_reader_limits limits = {
		.message = messages[bits >> 2 & 7],
		.fragments = fragments[bits >> 5 & 3],
		.masked = (bits & 1) != 0,
	};
	bool deflate = (bits & 2) != 0;

	limits.compressed = limits.message * 2;
	fuzz_cuts_read(&cuts, &in);
	fuzz_cuts_even(&one, SIZE_MAX);
	run(&limits, deflate, in, &one, &whole);
	run(&limits, deflate, in, &cuts, &part);
	check_same(&whole, &part);
	buf_fini(&part.events);
	fuzz_cuts_even(&one, 1);
	run(&limits, deflate, in, &one, &part);
	check_same(&whole, &part);
	buf_fini(&part.events);
	buf_fini(&whole.events);
	check_head(in);
	check_mask(in, bits);
	return 0;
}
