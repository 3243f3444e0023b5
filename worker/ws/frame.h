/*
 * frame: the WebSocket frame of RFC 6455 §5.2 as bytes.
 *
 * Owns:    nothing; pure functions.
 * Process: workers, and the command-line client.
 * Layer:   worker/ws, lowest.  Uses common.
 */
#ifndef WORKER_WS_FRAME_H
#define WORKER_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum ws_opcode {
	WS_OP_CONTINUATION = 0x0,
	WS_OP_TEXT = 0x1,
	WS_OP_BINARY = 0x2,
	WS_OP_CLOSE = 0x8,
	WS_OP_PING = 0x9,
	WS_OP_PONG = 0xa,
};

#define FRAME_HEAD_MAX 14     /* bytes of the longest head, mask included */
#define FRAME_CONTROL_MAX 125 /* payload of a control frame, §5.5 */

#define FRAME_FIN 0x80
#define FRAME_RSV1 0x40
#define FRAME_RSV 0x70

struct frame_head {
	uint8_t bits; /* first byte: FRAME_FIN, FRAME_RSV and the opcode in the low four bits */
	bool masked;
	uint8_t mask[4]; /* zero if not masked */
	uint8_t size;    /* bytes of the head itself */
	uint64_t len;    /* bytes of payload */
};

/*
 * Decodes a head.  FAN_EAGAIN: n bytes are not enough (n < FRAME_HEAD_MAX then).  FAN_EPROTO: the
 * length is not in its shortest form or has the top bit set.  Opcode and reserved bits are left
 * to the caller.
 */
FAN_NODISCARD int frame_head_decode(const uint8_t *p, size_t n, struct frame_head *out);

/*
 * Writes a head with the length in its shortest form and returns its size, 2 to FRAME_HEAD_MAX.
 * mask: 4 bytes, or NULL for an unmasked frame.
 */
size_t frame_head_encode(
    uint8_t out[FRAME_HEAD_MAX], uint8_t bits, uint64_t len, const uint8_t *mask);

/*
 * Masks or unmasks n bytes in place (§5.3); phase is how many bytes of this frame's payload came
 * before, modulo 4 is taken here.  A vector or a word at a time.
 */
void frame_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase);

#endif
