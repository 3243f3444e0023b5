/*
 * jwk: keys of tokens out of a JWK Set (RFC 7517, RFC 7518 §6, RFC 8037), each with the one algorithm
 * that it is for.
 *
 * Owns:    the key material of its keys.
 * Process: workers; the command line.
 * Layer:   worker/auth, above base64url.  Uses base64url, common/json; OpenSSL.
 *
 * kty and crv say which algorithm a key without `alg` has: oct HS256, RSA RS256, P-256 ES256, Ed25519
 * EdDSA.
 */
#ifndef WORKER_AUTH_JWK_H
#define WORKER_AUTH_JWK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

enum jwk_alg {
	JWK_HS256,
	JWK_HS384,
	JWK_HS512,
	JWK_RS256,
	JWK_ES256,
	JWK_EDDSA,
};
#define JWK_ALGS 6

#define JWK_KID_MAX 255
#define JWK_SET_MAX 100 /* keys of one set */
#define JWK_RSA_BITS_MIN 2048
#define JWK_RSA_BITS_MAX 8192

/* The name in a header, such as "ES256". */
const char *jwk_alg_name(enum jwk_alg alg);
/* The algorithm of exactly that name.  FAN_ENOENT: there is none. */
FAN_NODISCARD int jwk_alg_find(const char *name, enum jwk_alg *out);
/* Whether it is one of the three with a shared secret. */
bool jwk_alg_is_hmac(enum jwk_alg alg);

enum jwk_use {
	JWK_VERIFY, /* of an asymmetric key only the public half is kept */
	JWK_SIGN,   /* the private half is needed */
};

struct jwk {
	enum jwk_alg alg;
	char *kid;       /* NULL: none */
	uint8_t *secret; /* of HMAC, else NULL */
	size_t secret_len;
	struct evp_pkey_st *key; /* of the others, else NULL */
};

/*
 * A key for HMAC of n bytes, which are copied.  FAN_EINVAL: too few for the algorithm (RFC 7518 §3.2);
 * *why says so.  FAN_ENOMEM.  kid may be NULL; it is copied.
 */
FAN_NODISCARD int jwk_init_secret(struct jwk *k, enum jwk_alg alg, const char *kid,
    const void *secret, size_t n, const char **why);

/*
 * Reads one JWK.  FAN_EINVAL: it is broken; FAN_ENOENT: it is sound, as far as can be seen, but not for
 * this use or of a kind that is not known here (RFC 7517 §5 has it passed over); FAN_ENOMEM.  *why is a
 * fixed phrase then, and there is nothing to free.
 */
FAN_NODISCARD int jwk_parse(
    const json_t *object, enum jwk_use use, struct jwk *out, const char **why);
/* Wipes and frees what it holds. */
void jwk_fini(struct jwk *k);

struct jwk_set {
	struct jwk *item;
	size_t n;
};

/* Called for each key that is passed over; number counts from 1, kid may be NULL. */
typedef void (*jwk_note_fn)(void *arg, size_t number, const char *kid, const char *why);

/* Which key of a set is broken, for a message. */
struct jwk_fault {
	const char *why; /* a fixed phrase */
	size_t number;   /* of the key, from 1; 0: the text as a whole */
	char kid[JWK_KID_MAX + 1];
};

/*
 * Reads a JWK Set, or a single JWK as a set of one.  Keys that are passed over are told to note (may be
 * NULL).  FAN_EINVAL: a broken key, two with one kid, a key without kid among several, or no key left;
 * *fault says which.  FAN_ENOMEM.  There is nothing to free then.
 */
FAN_NODISCARD int jwk_set_parse(const char *text, size_t n, enum jwk_use use, struct jwk_set *out,
    jwk_note_fn note, void *arg, struct jwk_fault *fault);
void jwk_set_fini(struct jwk_set *s);
/* The key of that kid, or the only one where kid is NULL; else NULL. */
const struct jwk *jwk_set_find(const struct jwk_set *s, const char *kid);

#endif
