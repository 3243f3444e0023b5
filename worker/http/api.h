/*
 * api: the HTTP endpoints: /healthz, /readyz, the demo page; /pub by pub, /user by user, /sse by sse.
 *
 * Process: workers.
 * Layer:   worker/http, top.  Uses http, pub, user, sse, core.
 */
#ifndef WORKER_HTTP_API_H
#define WORKER_HTTP_API_H

#include "worker/http/http.h"

struct core;

/* Answers a request that is not for WebSocket; server->app is the struct core. */
void api_begin(struct http *h, const struct http_request *req);

#endif
