/*
 * token: the keys of tokens, and what a token claims (JWT, RFC 7519).
 *
 * Owns:    the keys.
 * Process: workers; the command line.
 * Layer:   worker/auth, top.  Uses jwt, jwk, common.
 *
 * A key has one algorithm, and a token is verified with the key that its kid names by that algorithm
 * alone, whatever its header says; one without kid by auth.secret with HS256, or by the only key of the
 * set.  Nothing that a token says leads to a file or a connection.  exp must be there.
 */
#ifndef WORKER_AUTH_TOKEN_H
#define WORKER_AUTH_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

struct conf;
struct tokens;

#define TOKEN_GLOBS_MAX 100 /* of channels, and of publish */

/*
 * What a valid token says.  Strings are NUL-terminated, lists ended by NULL.  With a channel it is a
 * subscription token, else one of a connection.
 */
struct claims {
	char *user;      /* sub, up to USER_ID_MAX bytes; "": none */
	char *info;      /* JSON text up to MEMBER_INFO_MAX; NULL: none */
	char *channel;   /* the one that it allows; NULL: of a connection */
	char **channels; /* globs that may be subscribed to by the rule's token; NULL: none */
	char **publish;  /* the same for publishing; NULL: none */
	int64_t expires; /* exp, s since 1970 */
};

/*
 * Reads auth.* of c; *out is NULL where neither secret nor jwks is set.  FAN_EINVAL: what is wrong was
 * logged, with file, key and reason.  FAN_ENOMEM.
 */
FAN_NODISCARD int tokens_load(const struct conf *c, struct tokens **out);
/* The same, and nothing is kept: what is wrong is written to err, a line. */
FAN_NODISCARD int tokens_check(const struct conf *c, FILE *err);
/* NULL is allowed. */
void tokens_free(struct tokens *t);

/*
 * Verifies a token of len bytes at the time now (s since 1970).  0: the caller frees *out by claims_fini.
 * FAN_EDENIED: not valid; FAN_EEXPIRED: it was; *why is a fixed phrase then that tells nothing of keys, and
 * there is nothing to free.  FAN_ENOMEM.  t may be NULL: no token is valid.
 */
FAN_NODISCARD int token_verify(const struct tokens *t, const char *token, size_t len, int64_t now,
    struct claims *out, const char **why);
/* The same for the operator: NULL, or a fixed phrase that may tell of keys. */
const char *token_explain(const struct tokens *t, const char *token, size_t len, int64_t now);
void claims_fini(struct claims *c);

#endif
