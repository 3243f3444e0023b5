/*
 * api: the HTTP endpoints.  See api.h.
 */
#include "worker/http/api.h"

#include <string.h>

#include "common/conf.h"
#include "web/demo_page.h"
#include "worker/core/session.h"
#include "worker/http/parse.h"
#include "worker/http/pub.h"
#include "worker/http/sse.h"
#include "worker/http/user.h"

#define PLAIN "text/plain; charset=utf-8"

static struct core *
core_of(const struct http *h)
{
	return h->server->app;
}

static bool
get_only(struct http *h, const struct http_request *req)
{
	if (http_slice_is(req->method, "GET") || http_slice_is(req->method, "HEAD"))
		return true;
	http_error(h, 405, "Allow: GET, HEAD\r\n", "use GET");
	return false;
}

static void
readyz(struct http *h)
{
	const struct uplink *u = core_of(h)->uplink;
	const char *why = !uplink_up(u) ? "the hub is away\n" : "the engine is away\n";

	if (uplink_ready(u))
		http_respond(h, 200, PLAIN, "", "ready\n", 6);
	else
		http_respond(h, 503, PLAIN, "", why, strlen(why));
}

static void
demo(struct http *h)
{
	http_respond(h, 200, "text/html; charset=utf-8",
	    "Cache-Control: no-cache\r\n"
	    "X-Content-Type-Options: nosniff\r\n"
	    "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; "
	    "style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; "
	    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n",
	    demo_page, sizeof(demo_page));
}

void
api_begin(struct http *h, const struct http_request *req)
{
	const struct conf *c = core_of(h)->conf;
	bool internal = http_listener(h) == LISTENER_INTERNAL;
	bool backend = internal || c->api.key[0] != '\0';

	if (backend && pub_matches(req)) {
		pub_begin(h, req);
	} else if (backend && user_api_matches(req)) {
		user_api_begin(h, req);
	} else if (internal && http_slice_is(req->path, "/healthz")) {
		if (get_only(h, req))
			http_respond(h, 200, PLAIN, "", "ok\n", 3);
	} else if (internal && http_slice_is(req->path, "/readyz")) {
		if (get_only(h, req))
			readyz(h);
	} else if (!internal && sse_matches(req)) {
		sse_begin(h, req);
	} else if (!internal && c->demo.enabled && http_slice_is(req->path, "/")) {
		if (get_only(h, req))
			demo(h);
	} else {
		http_error(h, 404, "", "not found");
	}
}
