/*
 * pub: the endpoint /pub/CHANNEL of backends: publishing, history, who is there.
 *
 * Process: workers.
 * Layer:   worker/http, above backend, below api.  Uses core, uplink, dialect/json_encode.
 */
#ifndef WORKER_HTTP_PUB_H
#define WORKER_HTTP_PUB_H

#include <stdbool.h>

struct http;
struct http_request;

bool pub_matches(const struct http_request *req);
void pub_begin(struct http *h, const struct http_request *req);

#endif
