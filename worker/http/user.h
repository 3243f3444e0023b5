/*
 * user: the endpoint /user/USER of backends: a message to a user, wherever connected; a user's
 * disconnection.
 *
 * Process: workers.
 * Layer:   worker/http, above backend, below api.  Uses core/user, uplink.
 */
#ifndef WORKER_HTTP_USER_H
#define WORKER_HTTP_USER_H

#include <stdbool.h>

struct http;
struct http_request;

bool user_api_matches(const struct http_request *req);
void user_api_begin(struct http *h, const struct http_request *req);

#endif
