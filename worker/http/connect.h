/*
 * connect: what the connect hook is told of a client and its request.
 *
 * Process: workers.
 * Layer:   worker/http, above http, below opening.  Uses http, net/conn, core, common.
 *
 * Where Fanfare takes tokens, those of the request are left out.
 */
#ifndef WORKER_HTTP_CONNECT_H
#define WORKER_HTTP_CONNECT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct buf;
struct http;
struct http_request;
struct http_slice;
struct session;

#define CONNECT_MAX ((size_t)1024 * 1024) /* more than any request makes */

/* The token of Authorization: Bearer.  false: there is none. */
bool connect_bearer(const struct http_request *req, struct http_slice *out);

/* Appends the JSON object, see docs/HOOKS.md.  FAN_ENOMEM, or as buf_append. */
FAN_NODISCARD int connect_append(
    struct buf *b, const struct http *h, struct session *s, const struct http_request *req);

#endif
