/*
 * cors: which pages may use an endpoint, and read its answers.  See cors.h.
 */
#include "worker/http/cors.h"

#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "worker/http/parse.h"
#include "worker/ws/handshake.h"

/* Bytes of an Origin that is echoed; a host has 253 at most. */
#define ORIGIN_MAX 512
/* Beside what pages may send to anyone: what /pub and /sse know. */
#define HEADERS "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key"
#define MAX_AGE 600 /* s that a browser may remember the answer to a preflight */

bool
cors_allowed(const struct conf *c, const struct http_request *req)
{
	return ws_origin_allowed(req, (const char *const *)c->origins.item, c->origins.n);
}

static bool
everybody(const struct conf *c)
{
	size_t i;

	for (i = 0; i < c->origins.n; i++) {
		if (strcmp(c->origins.item[i], "*") == 0)
			return true;
	}
	return false;
}

void
cors_fields(const struct conf *c, const struct http_request *req, char out[CORS_FIELDS_MAX])
{
	size_t pos = 0;
	const struct http_field *origin = http_field_next(req, "Origin", &pos);

	out[0] = '\0';
	if (origin == NULL || !cors_allowed(c, req))
		return;
	if (everybody(c))
		(void)snprintf(out, CORS_FIELDS_MAX, "Access-Control-Allow-Origin: *\r\n");
	else if (origin->value.n <= ORIGIN_MAX)
		(void)snprintf(out, CORS_FIELDS_MAX,
		    "Access-Control-Allow-Origin: %.*s\r\nVary: Origin\r\n", (int)origin->value.n,
		    origin->value.p);
}

bool
cors_is_preflight(const struct http_request *req)
{
	size_t origin = 0, method = 0;

	return http_slice_is(req->method, "OPTIONS") &&
	    http_field_next(req, "Origin", &origin) != NULL &&
	    http_field_next(req, "Access-Control-Request-Method", &method) != NULL;
}

void
cors_preflight_fields(const struct conf *c, const struct http_request *req, const char *methods,
    char out[CORS_FIELDS_MAX])
{
	size_t n;

	cors_fields(c, req, out);
	n = strlen(out);
	(void)snprintf(out + n, CORS_FIELDS_MAX - n,
	    "Access-Control-Allow-Methods: %s\r\nAccess-Control-Allow-Headers: " HEADERS "\r\n"
	    "Access-Control-Max-Age: %d\r\n",
	    methods, MAX_AGE);
}
