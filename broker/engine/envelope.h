/*
 * envelope: how a publication is written into Redis, and read out of it.
 *
 * Process: hub.
 * Layer:   broker/engine, lowest.  Uses common/utf8, common/publication.
 *
 * A Redis message has no kind, so a reader infers it: valid UTF-8 is text, anything else binary.
 * Where that gives the right kind, the payload goes as it is, and every other reader of the Redis
 * channel sees it plainly.  Where it would not, a head of ENVELOPE_HEAD bytes goes in front:
 *
 *     8 bytes  0xff "fanfare"    0xff never occurs in UTF-8
 *     u8       version           1
 *     u8       flags             bit 0: binary; bit 1 is set aside for a position (offset and
 *                                epoch) behind the head; the others are 0
 *
 * What looks like an envelope but has another version or unknown flags is a plain binary payload.
 */
#ifndef BROKER_ENGINE_ENVELOPE_H
#define BROKER_ENGINE_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "common/publication.h"

#define ENVELOPE_HEAD 10

/*
 * Writes the head that must go in front of the payload, and returns its size: ENVELOPE_HEAD, or 0
 * where the payload goes as it is.  Text is valid UTF-8; the caller has made sure.
 */
size_t envelope_head(
    enum msg_kind kind, const uint8_t *data, size_t len, uint8_t head[ENVELOPE_HEAD]);

/*
 * The kind and the payload of n bytes read from Redis.  *data points into p.  Any bytes are a
 * publication, and what comes out as text is valid UTF-8, whoever wrote it.
 */
void envelope_decode(
    const uint8_t *p, size_t n, enum msg_kind *kind, const uint8_t **data, size_t *len);

#endif
