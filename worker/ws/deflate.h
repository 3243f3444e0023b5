/*
 * deflate: the extension permessage-deflate (RFC 7692): what is agreed in the handshake
 * (deflate_offer.c), and messages compressed and inflated.
 *
 * Owns:    a struct deflater its compressors, one for each size of window that is in use; a struct
 *          inflater its window, and the first of a worker the buffer that all of them write to.
 * Process: workers, and the tools that speak to them.
 * Layer:   worker/ws.  Uses frame, http/parse, common; zlib, which nothing else includes.
 *
 * What is sent refers to nothing that was sent before, whatever was agreed: so a broadcast is
 * compressed once, the result is shared, and a connection has no compressor of its own.  What is
 * received refers to earlier messages only where that was agreed; only then a connection has an
 * inflater of its own.
 */
#ifndef WORKER_WS_DEFLATE_H
#define WORKER_WS_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct block;
struct deflater;
struct http_request;
struct inflater;

#define DEFLATE_WINDOW_MIN 8 /* bits, RFC 7692 §7.1.2 */
#define DEFLATE_WINDOW_MAX 15
#define DEFLATE_FIELD_MAX 160 /* bytes of the answer's Sec-WebSocket-Extensions value, with NUL */

struct deflate_options {
	int level;            /* of zlib, 1 to 9 */
	int memory_level;     /* of zlib, 1 to 9; small windows use less */
	uint8_t window;       /* bits, 9 to 15: the largest, in both directions */
	size_t min_size;      /* bytes of a message that is worth it */
	bool client_takeover; /* clients may refer to earlier messages */
};

/* What was agreed with one client; all zero: no compression. */
struct deflate_agreed {
	uint8_t server_window; /* bits of what we send, 8 to 15; 0: nothing was agreed */
	uint8_t client_window; /* bits of what we receive, 8 to 15 */
	bool client_takeover;
};

/*
 * Chooses among a client's offers, in its order, the first that can be met (RFC 7692 §5, §7).  0:
 * *out and field (the value of Sec-WebSocket-Extensions in the answer) are set.  FAN_ENOENT: none.
 * FAN_EPROTO: a Sec-WebSocket-Extensions field is not what RFC 6455 §9.1 says.  An offer with an
 * unknown, repeated or invalid parameter is declined, and the next one looked at.
 */
FAN_NODISCARD int deflate_negotiate(const struct http_request *req, const struct deflate_options *o,
    struct deflate_agreed *out, char field[DEFLATE_FIELD_MAX]);

/* Bytes of a message, borrowed. */
struct deflate_part {
	const void *p;
	size_t n;
};

/* NULL: no memory.  The compressors are made when they are first used. */
struct deflater *deflater_new(const struct deflate_options *o);
void deflater_free(struct deflater *d);

/*
 * Appends one frame to *b, whose only reference the caller holds.  The message is the parts, joined:
 * compressed, with RSV1, where it has min_size and gets smaller; else, or with window 0 (d may be
 * NULL then), as it is.  opcode: text or binary.  FAN_ENOMEM: nothing was appended.
 */
FAN_NODISCARD int deflate_frame(struct deflater *d, unsigned window, struct block **b,
    uint8_t opcode, const struct deflate_part *part, size_t parts);

/*
 * An inflater for every connection without takeover: each message stands for itself.  NULL: no
 * memory.
 */
struct inflater *inflater_new(void);
/*
 * One whose messages may refer to up to 2^window bytes that it inflated before.  It writes to the
 * buffer of `shared`, which must outlive it.  NULL: no memory.
 */
struct inflater *inflater_new_takeover(struct inflater *shared, unsigned window);
void inflater_free(struct inflater *i);

/*
 * Inflates one message, the payload of its frames joined, without the four bytes that RFC 7692 §7.2.1
 * takes away.  *out is lent until the next call for any inflater with the same buffer.  FAN_ETOOBIG:
 * it has more than max bytes, and one byte more is all that was produced.  FAN_EPROTO: not deflate
 * data, or not the end of a block.  FAN_ENOMEM.  After an error the inflater must only be freed,
 * unless it has no takeover.
 */
FAN_NODISCARD int inflate_message(
    struct inflater *i, const uint8_t *p, size_t n, size_t max, const uint8_t **out, size_t *out_n);
/* What was lent is done with: gives a large buffer back. */
void inflate_done(struct inflater *i);

/* The most bytes that a compressed message of max bytes may have; more is refused unread. */
size_t inflate_input_max(size_t max);

#endif
