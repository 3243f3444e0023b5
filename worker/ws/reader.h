/*
 * reader: bytes of a WebSocket stream in, messages and control frames out (RFC 6455 §5, §7, §8.1;
 * RFC 7692 §6.2).
 *
 * Owns:    the message that is being assembled, and nothing else; no socket, no events.
 * Process: workers, and the command-line client.
 * Layer:   worker/ws.  Uses frame, common/buf, common/utf8.
 *
 * A reader at rest owns no memory besides itself.  A message that is complete in one unfragmented
 * frame inside the input is lent in place, without a copy.  A compressed message comes out as it came,
 * its payloads joined.
 */
#ifndef WORKER_WS_READER_H
#define WORKER_WS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "worker/ws/frame.h"

/* Close codes, RFC 6455 §7.4.1 and the IANA registry. */
enum ws_close_code {
	WS_CLOSE_NORMAL = 1000,
	WS_CLOSE_GOING_AWAY = 1001,
	WS_CLOSE_PROTOCOL = 1002,
	WS_CLOSE_UNSUPPORTED = 1003,
	WS_CLOSE_NO_STATUS = 1005, /* never on the wire: a close frame without a code */
	WS_CLOSE_ABNORMAL = 1006,  /* never on the wire: the connection was lost */
	WS_CLOSE_INVALID_DATA = 1007,
	WS_CLOSE_POLICY = 1008,
	WS_CLOSE_TOO_BIG = 1009,
	WS_CLOSE_INTERNAL = 1011,
	WS_CLOSE_RESTART = 1012,
	WS_CLOSE_TRY_LATER = 1013,
	WS_CLOSE_TLS = 1015, /* never on the wire */
};

/* What a peer must keep to; shared by all readers of a worker, borrowed. */
struct ws_reader_limits {
	size_t message;     /* bytes of a message, at least 1 */
	uint32_t fragments; /* frames of a message, at least 1 */
	bool masked;        /* true: frames must be masked (we are the server), false: must not */
	size_t compressed;  /* bytes of a compressed message, before it is inflated */
};

enum ws_event_type {
	WS_EVENT_TEXT,
	WS_EVENT_BINARY,
	WS_EVENT_PING,
	WS_EVENT_PONG,
	WS_EVENT_CLOSE, /* code, and the reason as data; no further event comes */
};

/* data is lent until the next call of ws_reader_next, ws_reader_fini, or use of the input. */
struct ws_event {
	enum ws_event_type type;
	bool compressed; /* a message whose data is deflated, and of text not checked */
	uint16_t code; /* of a close: 1000-4999, or WS_CLOSE_NO_STATUS; of a failure: to be sent */
	const char *why; /* of a failure: a fixed phrase for the close frame's reason */
	const uint8_t *data;
	size_t len;
};

struct ws_message; /* the message under assembly; in reader.c */

struct ws_reader {
	struct ws_message *message; /* NULL at rest */
	uint64_t left;              /* payload bytes of the current frame still to come */
	uint8_t mask[4];            /* of the current frame */
	uint8_t phase;              /* its payload bytes so far, modulo 4 */
	uint8_t bits;               /* its first byte */
	uint8_t head[FRAME_HEAD_MAX];
	uint8_t head_len; /* bytes of an incomplete head kept in `head` */
	uint8_t state;
	bool deflate; /* public: messages may come compressed; set before the first byte */
};

void ws_reader_init(struct ws_reader *r);
/* Frees what is under assembly. */
void ws_reader_fini(struct ws_reader *r);

/*
 * Reads from *p up to *n bytes, which it may change (unmasking is done in place), and moves *p and
 * *n past what it used.
 *
 * 0: *ev is an event; call again with the rest.
 * FAN_EAGAIN: all input was used, and no event is complete.  After a close, always.
 * FAN_EPROTO, FAN_EINVAL (bad UTF-8), FAN_ETOOBIG, FAN_ENOMEM: ev->code and ev->why say with what
 * to close; the reader must only be finished then.  Each is reported at the first byte that shows
 * it: bad UTF-8 at the bad byte, a frame too long at its head, before memory is taken for it.
 *
 * Checked: masking as limits say; RSV bits (all must be 0, but RSV1 of a message's first frame where
 * r->deflate is set); reserved opcodes; control frames unfragmented and at most 125 bytes;
 * continuation only inside a message, and nothing else between; UTF-8 of text that is not compressed
 * and of close reasons; close codes (1000-1003, 1007-1014, 3000-4999 may be sent by
 * a peer; a payload of one byte may not).
 */
FAN_NODISCARD int ws_reader_next(struct ws_reader *r, const struct ws_reader_limits *limits,
    uint8_t **p, size_t *n, struct ws_event *ev);

/* Whether a message or a control frame has begun (a byte of it has come) and is not complete. */
bool ws_reader_in_message(const struct ws_reader *r);

#endif
