/*
 * api: the HTTP endpoints: /pub/CHANNEL, /healthz, /readyz, the demo page.
 *
 * Process: workers.
 * Layer:   worker/http, top.  Uses http, core, ws/handshake (for the Origin policy).
 */
#ifndef WORKER_HTTP_API_H
#define WORKER_HTTP_API_H

#include "worker/http/http.h"

struct core;

/* Answers a request that is not for WebSocket; server->app is the struct core. */
void api_begin(struct http *h, const struct http_request *req);

#endif
