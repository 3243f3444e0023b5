/*
 * upgrade: from an HTTP request to a WebSocket session (RFC 6455 §4.2.2).
 *
 * Owns:    a session while it opens; then the ws owns it through its on_close.
 * Process: workers.
 * Layer:   worker/http, upper.  Uses opening, cors, http, ws, core, dialect.
 */
#ifndef WORKER_HTTP_UPGRADE_H
#define WORKER_HTTP_UPGRADE_H

#include <stdbool.h>

struct http;
struct http_request;
struct ws_handler;
struct ws_options;

/* The handler that the options name: it hands messages to the session. */
extern const struct ws_handler upgrade_ws_handler;

/* Whether the request's path is the WebSocket endpoint's: "/ws" or below "/ws/". */
bool upgrade_matches(const struct http_request *req);

/* Begins the upgrade, or responds with what is wrong.  o is borrowed for the worker's life. */
void upgrade_begin(struct http *h, const struct http_request *req, const struct ws_options *o);

#endif
