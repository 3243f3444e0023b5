/*
 * jwt: a signed token in compact form (RFC 7515 §3.1, RFC 7519): split, verified, made.
 *
 * Owns:    the decoded parts of a token.
 * Process: workers; the command line.
 * Layer:   worker/auth, above jwk.  Uses jwk, base64url, common/json; OpenSSL.
 *
 * Nothing but the header is looked at before the signature has been verified.  Of the header alg, kid and
 * typ count; jwk, jku, x5c, x5u are never looked at, and crit is refused.
 */
#ifndef WORKER_AUTH_JWT_H
#define WORKER_AUTH_JWT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "worker/auth/jwk.h"

struct buf;

struct jwt {
	const char *text; /* lent: what is signed, then a dot and the signature */
	size_t signed_len;
	size_t header_len; /* encoded */
	json_t *header;
	enum jwk_alg alg;
	const char *kid; /* lent by header; NULL: none */
	uint8_t *signature;
	size_t signature_len;
};

/*
 * Splits n bytes, which must outlive *out, and reads the header.  FAN_EINVAL: not a token that could be
 * verified; *why is a fixed phrase.  FAN_ENOMEM.  There is nothing to free then.
 */
FAN_NODISCARD int jwt_parse(const char *text, size_t n, struct jwt *out, const char **why);
void jwt_fini(struct jwt *t);

/*
 * Whether the key signed it, by the key's algorithm, which must also be the header's.  FAN_EDENIED; *why
 * is for the operator alone.
 */
FAN_NODISCARD int jwt_verify(const struct jwt *t, const struct jwk *key, const char **why);

/*
 * The payload, whether the signature was verified or not; *out is for free(), NUL-terminated, *n its length.
 * FAN_EINVAL: not base64url.  FAN_ENOMEM.
 */
FAN_NODISCARD int jwt_payload(const struct jwt *t, char **out, size_t *n);

/*
 * Appends the token of these n bytes of payload, signed by the key, with {"alg","typ","kid"} as its
 * header.  FAN_EINVAL: the key cannot sign.  Otherwise errors as buf_append; nothing was appended then.
 */
FAN_NODISCARD int jwt_sign(const struct jwk *key, const char *payload, size_t n, struct buf *out);

#endif
