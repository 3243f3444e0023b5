/*
 * sse: from an HTTP request to a stream of Server-Sent Events (the HTML standard, "Server-sent
 * events"), and the stream itself.
 *
 * Owns:    a stream its session; there is nothing else of it but the conn.
 * Process: workers.
 * Layer:   worker/http, upper.  Uses opening, cors, http, net/conn, core, dialect.
 *
 * The stream ends with its connection and has no transfer coding, so its bytes are the same for all
 * who listen.  What the client still sends is thrown away, a read buffer of it in a loop pass at
 * most.  A stream that has to end says why in a comment.
 */
#ifndef WORKER_HTTP_SSE_H
#define WORKER_HTTP_SSE_H

#include <stdbool.h>

struct http;
struct http_request;

/* Whether the request's path is the endpoint's: "/sse" or below "/sse/". */
bool sse_matches(const struct http_request *req);

/* Begins the stream, or responds with what is wrong. */
void sse_begin(struct http *h, const struct http_request *req);

#endif
