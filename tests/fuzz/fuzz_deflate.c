/*
 * fuzz_deflate: permessage-deflate (worker/ws/deflate): what is agreed, what is inflated, and what
 * was compressed is inflated to the same.
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/ws.
 *
 * Input: a byte that says which, 'n', 'i' or 'c', two bytes of options, and then
 *     n  the values of Sec-WebSocket-Extensions fields, one a line
 *     i  compressed messages, each behind a byte of length
 *     c  messages to compress, each behind a byte of length
 */
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "tests/fuzz/fuzz.h"
#include "worker/http/parse.h"
#include "worker/ws/deflate.h"
#include "worker/ws/frame.h"

#define FIELDS_MAX 4
#define MESSAGES_MAX 8
#define INFLATED_MAX 4096

/* --- what is agreed ------------------------------------------------------------------------ */

static void
add_field(struct http_request *req, struct fuzz_input value)
{
	static const char name[] = "Sec-WebSocket-Extensions";
	struct http_field *f = &req->field[req->nfields++];

	f->name = (struct http_slice){ name, sizeof(name) - 1 };
	f->value = (struct http_slice){ (const char *)value.p, value.n };
}

/* What the answer says, offered again, is agreed to as it was. */
static void
check_answer(const struct deflate_options *o, const struct deflate_agreed *agreed, char *field)
{
	static struct http_request req;
	char again[DEFLATE_FIELD_MAX];
	struct deflate_agreed other;
	bool told;

	FUZZ_CHECK(memchr(field, '\0', DEFLATE_FIELD_MAX) != NULL);
	FUZZ_CHECK(strncmp(field, "permessage-deflate", 18) == 0);
	FUZZ_CHECK(strpbrk(field, "\r\n,") == NULL);
	FUZZ_CHECK(agreed->server_window >= DEFLATE_WINDOW_MIN);
	FUZZ_CHECK(agreed->server_window <= DEFLATE_WINDOW_MAX);
	FUZZ_CHECK(agreed->client_window >= DEFLATE_WINDOW_MIN);
	FUZZ_CHECK(agreed->client_window <= DEFLATE_WINDOW_MAX);
	FUZZ_CHECK(!agreed->client_takeover || o->client_takeover);
	/* What a client is not told it need not keep to. */
	told = strstr(field, "client_no_context_takeover") != NULL;
	FUZZ_CHECK(told == !agreed->client_takeover);
	told = strstr(field, "client_max_window_bits=") != NULL;
	FUZZ_CHECK(told || agreed->client_window == DEFLATE_WINDOW_MAX);
	told = strstr(field, "server_max_window_bits=") != NULL;
	FUZZ_CHECK(told || agreed->server_window == DEFLATE_WINDOW_MAX);
	req.nfields = 0;
	add_field(&req, (struct fuzz_input){ (const uint8_t *)field, strlen(field) });
	FUZZ_CHECK(deflate_negotiate(&req, o, &other, again) == 0);
	FUZZ_CHECK(other.server_window == agreed->server_window);
	FUZZ_CHECK(other.client_window == agreed->client_window);
	FUZZ_CHECK(other.client_takeover == agreed->client_takeover);
	FUZZ_CHECK(strcmp(field, again) == 0);
}

static void
check_negotiation(const struct deflate_options *o, struct fuzz_input in)
{
	static struct http_request req;
	uint8_t *lines[FIELDS_MAX];
	struct deflate_agreed agreed;
	char field[DEFLATE_FIELD_MAX];
	size_t n = 0, i;
	int err;

	req.nfields = 0;
	while (in.n > 0 && n < FIELDS_MAX) {
		struct fuzz_input line = fuzz_line(&in);

		lines[n] = fuzz_copy(line.p, line.n);
		add_field(&req, (struct fuzz_input){ lines[n], line.n });
		n++;
	}
	memset(field, 0x5a, sizeof(field));
	err = deflate_negotiate(&req, o, &agreed, field);
	FUZZ_CHECK(err == 0 || err == FAN_ENOENT || err == FAN_EPROTO);
	if (err == 0)
		check_answer(o, &agreed, field);
	for (i = 0; i < n; i++)
		free(lines[i]);
}

/* --- what is inflated ---------------------------------------------------------------------- */

static int
inflate_one(struct inflater *f, struct fuzz_input m, size_t max, struct buf *out)
{
	uint8_t *copy = fuzz_copy(m.p, m.n);
	const uint8_t *data = NULL;
	size_t n = 0;
	int err = inflate_message(f, copy, m.n, max, &data, &n);

	free(copy);
	FUZZ_CHECK(err == 0 || err == FAN_ETOOBIG || err == FAN_EPROTO);
	if (err == 0) {
		FUZZ_CHECK(n <= max);
		fuzz_note(out, data, n);
		inflate_done(f);
	}
	return err;
}

static struct inflater *
new_inflater(struct inflater *shared, uint8_t window, bool takeover)
{
	struct inflater *f = takeover ? inflater_new_takeover(shared, window) : inflater_new();

	FUZZ_CHECK(f != NULL);
	return f;
}

/* With or without the messages before it, unless it may refer to them. */
static void
check_inflate(uint8_t window, bool takeover, size_t max, struct fuzz_input in)
{
	struct inflater *shared = new_inflater(NULL, 0, false);
	struct inflater *f = new_inflater(shared, window, takeover), *fresh;
	struct buf got, alone;
	int err = 0, other;
	size_t i;

	for (i = 0; i < MESSAGES_MAX && in.n > 0 && (err == 0 || !takeover); i++) {
		struct fuzz_input m = fuzz_take(&in, fuzz_byte(&in));

		buf_init(&got, SIZE_MAX / 8);
		buf_init(&alone, SIZE_MAX / 8);
		err = inflate_one(f, m, max, &got);
		fresh = new_inflater(shared, window, takeover);
		other = inflate_one(fresh, m, max, &alone);
		if (!takeover || i == 0)
			FUZZ_CHECK(err == other && fuzz_same(&got, &alone));
		/* What fits is what would come of it without a bound. */
		if (err == 0 && other == 0 && buf_len(&alone) > 0)
			FUZZ_CHECK(
			    inflate_one(fresh, m, buf_len(&alone) - 1, &alone) == FAN_ETOOBIG);
		inflater_free(fresh);
		buf_fini(&got);
		buf_fini(&alone);
	}
	inflater_free(f);
	inflater_free(shared);
}

/* --- what is compressed -------------------------------------------------------------------- */

/* One frame at p, whose message is m; returns its size. */
static size_t
check_frame(const struct deflate_options *o, struct inflater *f, unsigned window, uint8_t opcode,
    const uint8_t *p, size_t n, struct fuzz_input m)
{
	const uint8_t *data = NULL;
	struct frame_head h;
	size_t len = 0;

	FUZZ_CHECK(frame_head_decode(p, n, &h) == 0 && h.size + h.len <= n && !h.masked);
	FUZZ_CHECK((h.bits & ~FRAME_RSV1) == (FRAME_FIN | opcode));
	if ((h.bits & FRAME_RSV1) == 0) {
		FUZZ_CHECK(h.len == m.n && (m.n == 0 || memcmp(p + h.size, m.p, m.n) == 0));
	} else {
		FUZZ_CHECK(window != 0 && m.n >= o->min_size && h.len < m.n);
		FUZZ_CHECK(h.len <= inflate_input_max(m.n));
		FUZZ_CHECK(inflate_message(f, p + h.size, (size_t)h.len, m.n, &data, &len) == 0);
		FUZZ_CHECK(len == m.n && memcmp(data, m.p, m.n) == 0);
		inflate_done(f);
	}
	return h.size + (size_t)h.len;
}

/* Appends the message in parts, cut where its own bytes say. */
static void
append(struct deflater *d, unsigned window, struct block **b, uint8_t opcode, struct fuzz_input m)
{
	struct deflate_part part[3];
	size_t i, n = 1 + m.n % 3;

	for (i = 0; i < n; i++) {
		struct fuzz_input piece =
		    fuzz_take(&m, i + 1 < n && m.n > 0 ? m.p[0] % (m.n + 1) : m.n);

		part[i] = (struct deflate_part){ piece.p, piece.n };
	}
	FUZZ_CHECK(deflate_frame(d, window, b, opcode, part, n) == 0);
}

static void
check_deflate(const struct deflate_options *o, unsigned window, struct fuzz_input in)
{
	static const uint8_t opcode[2] = { WS_OP_TEXT, WS_OP_BINARY };
	struct inflater *f = inflater_new(), *kept = NULL;
	struct deflater *d = deflater_new(o);
	struct block *b = block_new(64);
	struct fuzz_input m[MESSAGES_MAX];
	size_t n, i, at = 0;

	FUZZ_CHECK(f != NULL && d != NULL && b != NULL);
	kept = inflater_new_takeover(f, window == 0 ? DEFLATE_WINDOW_MAX : window);
	FUZZ_CHECK(kept != NULL);
	for (n = 0; n < MESSAGES_MAX && in.n > 0; n++) {
		m[n] = fuzz_take(&in, (size_t)fuzz_byte(&in) * 4);
		append(d, window, &b, opcode[n & 1], m[n]);
	}
	/* A receiver that keeps its window and one that does not: nothing refers to what was before. */
	for (i = 0; i < n; i++) {
		(void)check_frame(o, kept, window, opcode[i & 1], b->data + at, b->len - at, m[i]);
		at += check_frame(o, f, window, opcode[i & 1], b->data + at, b->len - at, m[i]);
	}
	FUZZ_CHECK(at == b->len);
	block_unref(b);
	deflater_free(d);
	inflater_free(kept);
	inflater_free(f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	uint8_t which = fuzz_byte(&in), first = fuzz_byte(&in), second = fuzz_byte(&in);
	struct deflate_options o = {
		.level = 1 + first % 9,
		.memory_level = 1 + (first >> 4) % 9,
		.window = (uint8_t)(9 + second % 7),
		.min_size = second >> 4,
		.client_takeover = (second & 8) != 0,
	};

	switch (which) {
	case 'n':
		check_negotiation(&o, in);
		break;
	case 'i':
		check_inflate((uint8_t)(8 + first % 8), (first & 8) != 0,
		    (size_t)second * INFLATED_MAX / 255, in);
		break;
	case 'c':
		check_deflate(&o, (second & 8) != 0 ? o.window : first >> 4 == 0 ? 0 : 9, in);
		break;
	default:
		break;
	}
	return 0;
}
