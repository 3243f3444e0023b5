/*
 * backend: what all requests of the application's backend have in common: who may make them, and how
 * they fail.
 *
 * Process: workers.
 * Layer:   worker/http, above http and cors, below pub, user and api.
 */
#ifndef WORKER_HTTP_BACKEND_H
#define WORKER_HTTP_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct http;
struct http_request;

/*
 * Whether the request may be made: with api.key where one is set, and by no page of a foreign site.  false:
 * it was answered (a preflight, too).  methods: those of the endpoint, as in Allow.
 */
bool backend_admits(struct http *h, const struct http_request *req, const char *methods);

/* What a request says of its body. */
enum backend_body {
	BODY_TEXT,   /* declared as text: must be UTF-8 */
	BODY_BINARY, /* declared as something else */
	BODY_INFER,  /* not declared, or by a form's default: what the bytes are */
};
enum backend_body backend_body(const struct http_request *req);
/* The kind of message that the n bytes are.  FAN_EINVAL: they were declared as text and are not UTF-8. */
FAN_NODISCARD int backend_body_kind(
    enum backend_body declared, const uint8_t *data, size_t n, enum msg_kind *out);

/* Responds to what the hub or the engine has refused with this error. */
void backend_fail(struct http *h, int err);

#endif
