/*
 * cors: which pages may use an endpoint, and read its answers (the Fetch standard, "CORS protocol"),
 * by the same Origin policy as the WebSocket handshake.
 *
 * Owns:    nothing; pure functions.
 * Process: workers.
 * Layer:   worker/http.  Uses parse, ws/handshake, common/conf.
 *
 * There is no Access-Control-Allow-Credentials: Fanfare looks at no cookie, keys go in header fields
 * that a page sets itself.
 */
#ifndef WORKER_HTTP_CORS_H
#define WORKER_HTTP_CORS_H

#include <stdbool.h>

struct conf;
struct http_request;

#define CORS_FIELDS_MAX 1024

/* Whether the policy (`origins`) lets in the page that req comes from; yes where there is none. */
bool cors_allowed(const struct conf *c, const struct http_request *req);

/*
 * The field lines that an answer to req needs, each with its CRLF, in out; "" where req has no
 * Origin or one that is not allowed.  With "Vary: Origin", unless everybody is let in.
 */
void cors_fields(const struct conf *c, const struct http_request *req, char out[CORS_FIELDS_MAX]);

/* Whether req is a preflight: OPTIONS with Origin and Access-Control-Request-Method. */
bool cors_is_preflight(const struct http_request *req);
/*
 * The same for the answer to a preflight that is allowed; methods as Access-Control-Allow-Methods has
 * them ("GET, POST").
 */
void cors_preflight_fields(const struct conf *c, const struct http_request *req,
    const char *methods, char out[CORS_FIELDS_MAX]);

#endif
