/*
 * reader: bytes of a WebSocket stream in, messages and control frames out.  See reader.h.
 *
 * Owns:    the message that is being assembled.
 * Process: workers, and the command-line client.
 * Layer:   worker/ws.  Uses frame, common/buf, common/utf8.
 *
 *            head complete                    payload complete
 *   HEAD ───────────────────► PAYLOAD ───────────────────────────► HEAD
 *    │  a rule is broken         │  a close frame       └─► CLOSED (input is thrown away)
 *    └──────────► FAILED ◄───────┘
 */
#include "worker/ws/reader.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/utf8.h"

enum reader_state {
	READER_HEAD, /* the zero of ws_reader_init */
	READER_PAYLOAD,
	READER_CLOSED,
	READER_FAILED,
};

/* Beside an error code: the frame is complete, and it makes no event. */
#define NO_EVENT 1

#define OPCODE(bits) ((bits)&0x0f)
#define IS_CONTROL(bits) (((bits)&0x08) != 0)
#define IS_COMPRESSED(bits) (((bits)&FRAME_RSV1) != 0)

/* Exists only while a data message, or the payload of a control frame, is incomplete. */
struct ws_message {
	struct buf payload;
	uint32_t utf8;      /* of text, utf8_feed's state */
	uint32_t fragments; /* frames so far */
	bool compressed;    /* by its first frame */
	uint8_t opcode;     /* 0: no data message has begun, or its event is out */
	uint8_t control_len;
	uint8_t control[FRAME_CONTROL_MAX];
};

void
ws_reader_init(struct ws_reader *r)
{
	memset(r, 0, sizeof(*r));
}

void
ws_reader_fini(struct ws_reader *r)
{
	if (r->message != NULL)
		buf_fini(&r->message->payload);
	free(r->message);
	r->message = NULL;
}

bool
ws_reader_in_message(const struct ws_reader *r)
{
	return r->state == READER_PAYLOAD || r->head_len > 0 ||
	    (r->message != NULL && r->message->opcode != 0);
}

static int
fail(struct ws_reader *r, struct ws_event *ev, int err, uint16_t code, const char *why)
{
	r->state = READER_FAILED;
	ev->code = code;
	ev->why = why;
	return err;
}

static int
fail_protocol(struct ws_reader *r, struct ws_event *ev, const char *why)
{
	return fail(r, ev, FAN_EPROTO, WS_CLOSE_PROTOCOL, why);
}

static int
fail_utf8(struct ws_reader *r, struct ws_event *ev)
{
	return fail(r, ev, FAN_EINVAL, WS_CLOSE_INVALID_DATA, "invalid UTF-8");
}

static int
fail_memory(struct ws_reader *r, struct ws_event *ev)
{
	return fail(r, ev, FAN_ENOMEM, WS_CLOSE_INTERNAL, "out of memory");
}

static int
fail_too_big(struct ws_reader *r, struct ws_event *ev, const char *why)
{
	return fail(r, ev, FAN_ETOOBIG, WS_CLOSE_TOO_BIG, why);
}

static int
emit(struct ws_event *ev, enum ws_event_type type, const uint8_t *data, size_t len)
{
	ev->type = type;
	ev->compressed = false;
	ev->code = 0;
	ev->why = NULL;
	ev->data = data;
	ev->len = len;
	return 0;
}

static int
emit_message(struct ws_event *ev, uint8_t opcode, bool compressed, const uint8_t *data, size_t len)
{
	(void)emit(ev, opcode == WS_OP_TEXT ? WS_EVENT_TEXT : WS_EVENT_BINARY, data, len);
	ev->compressed = compressed;
	return 0;
}

static void
use_all(uint8_t **p, size_t *n)
{
	if (*n > 0)
		*p += *n;
	*n = 0;
}

/* r->message, made at need; NULL: no memory. */
static struct ws_message *
message_get(struct ws_reader *r)
{
	if (r->message == NULL) {
		r->message = calloc(1, sizeof(*r->message));
		if (r->message != NULL)
			buf_init(&r->message->payload, 0);
	}
	return r->message;
}

/* --- heads ------------------------------------------------------------------------------------- */

/* The rule that the first n bytes of a head, at least one, show to be broken; NULL: none so far. */
static const char *
broken_rule(const struct ws_reader *r, bool masked, const uint8_t *p, size_t n)
{
	bool inside = r->message != NULL && r->message->opcode != 0;
	bool first = OPCODE(p[0]) == WS_OP_TEXT || OPCODE(p[0]) == WS_OP_BINARY;

	if ((p[0] & FRAME_RSV & ~(r->deflate && first ? FRAME_RSV1 : 0)) != 0)
		return "reserved bit set";
	switch (OPCODE(p[0])) {
	case WS_OP_CONTINUATION:
		if (!inside)
			return "continuation outside of a message";
		break;
	case WS_OP_TEXT:
	case WS_OP_BINARY:
		if (inside)
			return "new message inside a fragmented one";
		break;
	case WS_OP_CLOSE:
	case WS_OP_PING:
	case WS_OP_PONG:
		if ((p[0] & FRAME_FIN) == 0)
			return "fragmented control frame";
		if (n >= 2 && (p[1] & 0x7f) > FRAME_CONTROL_MAX)
			return "control frame too long";
		if (n >= 2 && OPCODE(p[0]) == WS_OP_CLOSE && (p[1] & 0x7f) == 1)
			return "close frame of one byte";
		break;
	default:
		return "reserved opcode";
	}
	if (n >= 2 && ((p[1] & 0x80) != 0) != masked)
		return masked ? "frame is not masked" : "frame is masked";
	return NULL;
}

static size_t
message_max(const struct ws_reader_limits *limits, bool compressed)
{
	return compressed ? limits->compressed : limits->message;
}

/* Applies the limits to the frame whose head is complete, and counts it. */
static int
admit(struct ws_reader *r, const struct ws_reader_limits *limits, const struct frame_head *head,
    struct ws_event *ev)
{
	struct ws_message *m = r->message;
	bool compressed = IS_COMPRESSED(head->bits);
	size_t total = 0, max;

	if (IS_CONTROL(head->bits))
		return 0;
	if (m != NULL && OPCODE(head->bits) == WS_OP_CONTINUATION) {
		if (m->fragments >= limits->fragments)
			return fail_too_big(r, ev, "too many fragments");
		m->fragments++;
		compressed = m->compressed;
		total = buf_len(&m->payload);
	}
	max = message_max(limits, compressed);
	if (total > max || head->len > max - total)
		return fail_too_big(r, ev, "message too big");
	return 0;
}

static int
read_head(struct ws_reader *r, const struct ws_reader_limits *limits, uint8_t **p, size_t *n,
    struct ws_event *ev)
{
	const uint8_t *src = *p;
	size_t have = *n, kept = r->head_len;
	struct frame_head head;
	const char *why;
	int err;

	if (*n == 0)
		return FAN_EAGAIN;
	if (kept > 0) {
		size_t more = sizeof(r->head) - kept;

		if (more > *n)
			more = *n;
		memcpy(r->head + kept, *p, more);
		src = r->head;
		have = kept + more;
	}
	why = broken_rule(r, limits->masked, src, have);
	if (why != NULL)
		return fail_protocol(r, ev, why);
	err = frame_head_decode(src, have, &head);
	if (err == FAN_EAGAIN) {
		if (kept == 0)
			memcpy(r->head, src, have);
		r->head_len = (uint8_t)have;
		use_all(p, n);
		return err;
	}
	if (err != 0)
		return fail_protocol(r, ev, "length is not in its shortest form");
	err = admit(r, limits, &head, ev);
	if (err != 0)
		return err;
	*p += head.size - kept;
	*n -= head.size - kept;
	r->head_len = 0;
	r->bits = head.bits;
	r->left = head.len;
	r->phase = 0;
	memcpy(r->mask, head.mask, sizeof(r->mask));
	r->state = READER_PAYLOAD;
	return 0;
}

/* --- payloads ---------------------------------------------------------------------------------- */

/* Takes what is there of the current frame's payload, unmasked in place. */
static uint8_t *
take_payload(struct ws_reader *r, bool masked, uint8_t **p, size_t *n, size_t *len)
{
	uint8_t *data = *p;

	*len = r->left < *n ? (size_t)r->left : *n;
	if (*len == 0)
		return data;
	if (masked)
		frame_mask(data, *len, r->mask, r->phase);
	r->phase = (uint8_t)((r->phase + *len) & 3);
	r->left -= *len;
	*p += *len;
	*n -= *len;
	return data;
}

static bool
close_code_allowed(unsigned int code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	    (code >= 3000 && code <= 4999);
}

/* A close frame's payload, of which len bytes have come. */
static int
read_close(struct ws_reader *r, const uint8_t *data, size_t len, struct ws_event *ev)
{
	uint32_t utf8 = UTF8_ACCEPT;
	unsigned int code = WS_CLOSE_NO_STATUS;

	if (len >= 2) {
		code = (unsigned int)data[0] << 8 | data[1];
		if (!close_code_allowed(code))
			return fail_protocol(r, ev, "invalid close code");
		data += 2;
		len -= 2;
		if (utf8_feed(&utf8, data, len) != 0 || (r->left == 0 && utf8 != UTF8_ACCEPT))
			return fail_utf8(r, ev);
	}
	if (r->left > 0)
		return FAN_EAGAIN;
	r->state = READER_CLOSED;
	(void)emit(ev, WS_EVENT_CLOSE, data, len);
	ev->code = (uint16_t)code;
	return 0;
}

static int
read_control(struct ws_reader *r, const uint8_t *data, size_t len, bool whole, struct ws_event *ev)
{
	if (!whole) {
		struct ws_message *m;

		if (len == 0)
			return FAN_EAGAIN;
		m = message_get(r);
		if (m == NULL)
			return fail_memory(r, ev);
		memcpy(m->control + m->control_len, data, len);
		m->control_len = (uint8_t)(m->control_len + len);
		data = m->control;
		len = m->control_len;
	}
	if (OPCODE(r->bits) == WS_OP_CLOSE)
		return read_close(r, data, len, ev);
	if (r->left > 0)
		return FAN_EAGAIN;
	r->state = READER_HEAD;
	return emit(ev, OPCODE(r->bits) == WS_OP_PING ? WS_EVENT_PING : WS_EVENT_PONG, data, len);
}

/* A message that is complete in one frame and in the input. */
static int
lend_message(struct ws_reader *r, const uint8_t *data, size_t len, struct ws_event *ev)
{
	uint8_t opcode = OPCODE(r->bits);
	bool compressed = IS_COMPRESSED(r->bits);

	if (opcode == WS_OP_TEXT && !compressed && !utf8_valid(data, len))
		return fail_utf8(r, ev);
	r->state = READER_HEAD;
	return emit_message(ev, opcode, compressed, data, len);
}

/* Adds len bytes of the current frame to the message, which they may begin or complete. */
static int
assemble(struct ws_reader *r, const struct ws_reader_limits *limits, const uint8_t *data,
    size_t len, struct ws_event *ev)
{
	struct ws_message *m = message_get(r);
	bool check;
	int err;

	if (m == NULL)
		return fail_memory(r, ev);
	if (m->opcode == 0) {
		m->opcode = OPCODE(r->bits);
		m->compressed = IS_COMPRESSED(r->bits);
		m->fragments = 1;
	}
	check = m->opcode == WS_OP_TEXT && !m->compressed;
	if (check && utf8_feed(&m->utf8, data, len) != 0)
		return fail_utf8(r, ev);
	m->payload.max = message_max(limits, m->compressed);
	err = buf_append(&m->payload, data, len);
	if (err == FAN_ETOOBIG)
		return fail_too_big(r, ev, "message too big");
	if (err != 0)
		return fail_memory(r, ev);
	if (r->left > 0)
		return FAN_EAGAIN;
	r->state = READER_HEAD;
	if ((r->bits & FRAME_FIN) == 0)
		return NO_EVENT;
	if (check && m->utf8 != UTF8_ACCEPT)
		return fail_utf8(r, ev);
	(void)emit_message(
	    ev, m->opcode, m->compressed, buf_data(&m->payload), buf_len(&m->payload));
	m->opcode = 0;
	return 0;
}

static int
read_payload(struct ws_reader *r, const struct ws_reader_limits *limits, uint8_t **p, size_t *n,
    struct ws_event *ev)
{
	uint64_t due = r->left;
	bool begun = r->message != NULL && r->message->opcode != 0;
	size_t len;
	const uint8_t *data = take_payload(r, limits->masked, p, n, &len);

	if (IS_CONTROL(r->bits)) {
		bool kept = r->message != NULL && r->message->control_len > 0;

		return read_control(r, data, len, r->left == 0 && !kept, ev);
	}
	if (!begun) {
		if (len == 0 && due > 0)
			return FAN_EAGAIN; /* no memory for a length that was only announced */
		if (r->left == 0 && (r->bits & FRAME_FIN) != 0)
			return lend_message(r, data, len, ev);
	}
	return assemble(r, limits, data, len, ev);
}

/* Gives back what the last event lent. */
static void
end_loan(struct ws_reader *r)
{
	if (r->message == NULL || r->state != READER_HEAD)
		return;
	r->message->control_len = 0;
	if (r->message->opcode == 0)
		ws_reader_fini(r);
}

int
ws_reader_next(struct ws_reader *r, const struct ws_reader_limits *limits, uint8_t **p, size_t *n,
    struct ws_event *ev)
{
	int err;

	end_loan(r);
	do {
		if (r->state == READER_CLOSED) {
			use_all(p, n);
			return FAN_EAGAIN;
		}
		if (r->state == READER_FAILED)
			return fail_protocol(r, ev, "the stream has failed");
		if (r->state == READER_HEAD) {
			err = read_head(r, limits, p, n, ev);
			if (err != 0)
				return err;
		}
		err = read_payload(r, limits, p, n, ev);
	} while (err == NO_EVENT);
	return err;
}
