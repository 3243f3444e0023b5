/*
 * envelope: how a publication is written into Redis, and read out of it.
 *
 * Process: hub.
 * Layer:   broker/engine, lowest.  Uses common/utf8, common/json, common/publication.
 *
 * A Redis message has no kind, so a reader infers it: valid UTF-8 is text, anything else binary.
 * Where that gives the right kind, and there is no more to say, the payload goes as it is, and every
 * other reader of the Redis channel sees it plainly.  Else a head goes in front:
 *
 *     8 bytes  0xff "fanfare"    0xff never occurs in UTF-8
 *     u8       version           1
 *     u8       flags             bit 0: binary (else inferred, as above)
 *                                bit 1: a position follows
 *                                bit 2: a member has joined; bit 3: has left; neither has bits 0, 1
 *                                the others are 0
 *     u64      offset            with bit 1; big-endian; not 0
 *     u8, ...  epoch             with bit 1; its length and its bytes
 *
 * What looks like an envelope but has another version, unknown flags or a malformed position is a
 * plain binary payload, and so is a member that is not a JSON object.
 *
 * Heads with a position or a member are written by the functions in Redis (function.lua).
 */
#ifndef BROKER_ENGINE_ENVELOPE_H
#define BROKER_ENGINE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/publication.h"

#define ENVELOPE_HEAD 10 /* of a head without a position */

/* data is lent. */
struct envelope {
	enum msg_kind kind;
	bool has_position;
	struct position position; /* epoch "" where there is none */
	const uint8_t *data;
	size_t len;
};

/*
 * Writes the head that must go in front of a payload without a position, and returns its size:
 * ENVELOPE_HEAD, or 0 where the payload goes as it is.  Text is valid UTF-8; the caller has made sure.
 */
size_t envelope_head(
    enum msg_kind kind, const uint8_t *data, size_t len, uint8_t head[ENVELOPE_HEAD]);

/*
 * Takes apart n bytes read from Redis.  out->data points into p.  Any bytes are a publication, what
 * comes out as text is valid UTF-8, and a member a JSON object, whoever wrote it.
 */
void envelope_decode(const uint8_t *p, size_t n, struct envelope *out);

#endif
