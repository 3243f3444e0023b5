/*
 * base64url: the base64 of tokens and keys (RFC 7515 §2): the URL-safe alphabet without padding.
 *
 * Owns:    nothing; pure functions.
 * Process: workers; the command line.
 * Layer:   worker/auth, lowest.  Uses common/buf, err.
 */
#ifndef WORKER_AUTH_BASE64URL_H
#define WORKER_AUTH_BASE64URL_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct buf;

/* The bytes that n characters stand for, if they stand for any. */
#define BASE64URL_BYTES(n) ((n) / 4 * 3 + (n) % 4 * 3 / 4)

/*
 * Decodes n characters to out, which has room for BASE64URL_BYTES(n), all of which are written.
 * FAN_EINVAL: another character, padding, a length that none has, or bits that are not 0 behind the last
 * byte, so that each text of bytes has one spelling.
 */
FAN_NODISCARD int base64url_decode(const char *text, size_t n, uint8_t *out);

/* Appends n bytes encoded.  Errors as buf_append; nothing was appended then. */
FAN_NODISCARD int base64url_append(struct buf *b, const void *data, size_t n);

#endif
