/*
 * api: the HTTP endpoints.  See api.h.
 */
#include "worker/http/api.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/conf.h"
#include "common/utf8.h"
#include "web/demo_page.h"
#include "worker/core/session.h"
#include "worker/http/cors.h"
#include "worker/http/parse.h"
#include "worker/http/sse.h"

#define JSON "application/json"
#define PLAIN "text/plain; charset=utf-8"

#define PUB "/pub/"
#define PUB_METHODS "GET, HEAD, POST"

static struct core *
core_of(const struct http *h)
{
	return h->server->app;
}

/* --- who may ask -------------------------------------------------------------------------- */

static bool
same_secret(struct http_slice given, const char *secret)
{
	size_t n = strlen(secret);

	return given.n == n && CRYPTO_memcmp(given.p, secret, n) == 0;
}

static bool
has_key(const struct http_request *req, const char *key)
{
	static const char scheme[] = "Bearer ";
	const struct http_field *f;
	size_t pos = 0;

	f = http_field_next(req, "X-API-Key", &pos);
	if (f != NULL && same_secret(f->value, key))
		return true;
	pos = 0;
	f = http_field_next(req, "Authorization", &pos);
	if (f == NULL || f->value.n < sizeof(scheme) - 1 ||
	    strncasecmp(f->value.p, scheme, sizeof(scheme) - 1) != 0)
		return false;
	return same_secret((struct http_slice){ f->value.p + sizeof(scheme) - 1,
			       f->value.n - (sizeof(scheme) - 1) },
	    key);
}

/* Whether the Host is an address or localhost, which no foreign DNS name can stand for. */
static bool
host_is_address(const struct http_request *req)
{
	char host[64];
	struct in_addr in4;
	size_t n;

	if (req->host.n == 0 || req->host.n >= sizeof(host))
		return false;
	if (req->host.p[0] == '[')
		return true;
	memcpy(host, req->host.p, req->host.n);
	host[req->host.n] = '\0';
	n = strcspn(host, ":");
	host[n] = '\0';
	return strcasecmp(host, "localhost") == 0 || inet_pton(AF_INET, host, &in4) == 1;
}

/*
 * A browser says by Origin on whose behalf it asks.  A page of another site must not publish through
 * the listener that trusts its machine, not even by a DNS name that was made to point here.
 */
static bool
foreign_page(const struct http *h, const struct http_request *req)
{
	const struct conf *c = core_of(h)->conf;
	size_t pos = 0;

	if (http_field_next(req, "Origin", &pos) == NULL)
		return false;
	if (!cors_allowed(c, req))
		return true;
	return http_listener(h) == LISTENER_INTERNAL && c->origins.n == 0 && !host_is_address(req);
}

/* --- /pub/CHANNEL ------------------------------------------------------------------------- */

enum body_kind {
	BODY_TEXT,   /* declared as text: must be UTF-8 */
	BODY_BINARY, /* declared as something else */
	BODY_INFER,  /* not declared, or by a form's default: what the bytes are */
};

struct pub {
	struct http *h;
	uint32_t ticket;
	bool post;
	enum body_kind kind;
	size_t len;
	char name[CHANNEL_NAME_MAX + 1];
};

static void
pub_free(struct http *h)
{
	struct pub *p = h->ctx;

	uplink_ticket_close(core_of(h)->uplink, p->ticket);
	free(p);
}

static bool
media_is(struct http_slice type, const char *name)
{
	size_t n = strlen(name);

	if (type.n < n || strncasecmp(type.p, name, n) != 0)
		return false;
	return type.n == n || type.p[n] == ';' || type.p[n] == ' ' || type.p[n] == '\t';
}

static enum body_kind
body_kind(const struct http_request *req)
{
	size_t pos = 0, n;
	const struct http_field *f = http_field_next(req, "Content-Type", &pos);

	/* curl -d says that it sends a form, whatever it sends. */
	if (f == NULL || media_is(f->value, "application/x-www-form-urlencoded"))
		return BODY_INFER;
	if (media_is(f->value, "application/json"))
		return BODY_TEXT;
	if (f->value.n >= 5 && strncasecmp(f->value.p, "text/", 5) == 0)
		return BODY_TEXT;
	for (n = 0; n < f->value.n && f->value.p[n] != ';' && f->value.p[n] != ' '; n++)
		continue;
	if (n >= 5 && strncasecmp(f->value.p + n - 5, "+json", 5) == 0)
		return BODY_TEXT;
	return BODY_BINARY;
}

static void
fail_status(struct http *h, int status)
{
	switch (status) {
	case FAN_ETOOBIG:
		http_error(h, 413, "", "the message is too big");
		return;
	case FAN_ENOMEM:
		http_error(h, 500, "", "out of memory");
		return;
	case FAN_EDENIED:
		http_error(h, 503, "Retry-After: 1\r\n", "the engine refuses to publish");
		return;
	case FAN_EFULL:
		http_error(h, 503, "Retry-After: 1\r\n", "too much is under way");
		return;
	default:
		http_error(h, 503, "Retry-After: 1\r\n", "the engine is away");
		return;
	}
}

static void
on_published(void *arg, int status, uint64_t value)
{
	struct pub *p = arg;

	(void)value;
	if (status == 0)
		http_respond(p->h, 200, JSON, "", "{}\n", 3);
	else
		fail_status(p->h, status);
}

static void
on_counted(void *arg, int status, uint64_t value)
{
	struct pub *p = arg;
	char body[CHANNEL_NAME_MAX + 64];
	int n;

	if (status != 0) {
		fail_status(p->h, status);
		return;
	}
	n = snprintf(body, sizeof(body), "{\"channel\":\"%s\",\"subscribers\":%" PRIu64 "}\n",
	    p->name, value);
	if (n > 0)
		http_respond(p->h, 200, JSON, "", body, (size_t)n);
}

static int
publish(struct pub *p, const uint8_t *data, size_t n)
{
	struct core *core = core_of(p->h);
	bool text = p->kind != BODY_BINARY && utf8_valid(data, n);

	if (n > (size_t)core->conf->limits.message)
		return FAN_ETOOBIG;
	return uplink_publish(core->uplink, p->name, p->len, text ? MSG_TEXT : MSG_BINARY, data, n,
	    on_published, p, &p->ticket);
}

static void
on_pub_body(struct http *h, const uint8_t *data, size_t n)
{
	struct pub *p = h->ctx;
	int err;

	if (p->post && p->kind == BODY_TEXT && !utf8_valid(data, n)) {
		http_error(h, 400, "", "the body is declared as text and is not UTF-8");
		return;
	}
	if (p->post)
		err = publish(p, data, n);
	else
		err = uplink_count(core_of(h)->uplink, p->name, p->len, on_counted, p, &p->ticket);
	if (err == 0)
		http_wait(h);
	else
		fail_status(h, err);
}

static void
begin_pub_channel(struct http *h, const struct http_request *req)
{
	const struct conf *c = core_of(h)->conf;
	const size_t skip = sizeof(PUB) - 1;
	struct http_slice name = { req->path.p + skip, req->path.n - skip };
	bool post = http_slice_is(req->method, "POST");
	char decoded[CHANNEL_NAME_MAX * 3 + 1];
	struct pub *p;
	size_t len;

	if (!post && !http_slice_is(req->method, "GET") && !http_slice_is(req->method, "HEAD")) {
		http_error(h, 405, "Allow: " PUB_METHODS "\r\n", "use POST to publish");
		return;
	}
	if (name.n >= sizeof(decoded) || http_percent_decode(name, false, decoded, &len) != 0 ||
	    !channel_name_valid(decoded, len, (size_t)c->limits.channel_name)) {
		http_error(h, 400, "", "not a channel name");
		return;
	}
	p = calloc(1, sizeof(*p));
	if (p == NULL) {
		http_error(h, 500, "", "out of memory");
		return;
	}
	p->h = h;
	p->post = post;
	p->kind = body_kind(req);
	p->len = len;
	memcpy(p->name, decoded, len);
	h->ctx = p;
	h->ctx_free = pub_free;
	http_want_body(h, on_pub_body);
}

static void
begin_pub(struct http *h, const struct http_request *req)
{
	const struct conf *c = core_of(h)->conf;
	char fields[CORS_FIELDS_MAX];

	if (foreign_page(h, req)) {
		http_error(h, 403, "", "a page of another site may not use this");
		return;
	}
	/* A browser asks without the key whether the page may send it. */
	if (cors_is_preflight(req)) {
		cors_preflight_fields(c, req, PUB_METHODS, fields);
		http_respond(h, 204, NULL, fields, NULL, 0);
		return;
	}
	cors_fields(c, req, fields);
	if (http_add_fields(h, fields) != 0)
		http_error(h, 500, "", "out of memory");
	else if (c->api.key[0] != '\0' && !has_key(req, c->api.key))
		http_error(h, 401, "WWW-Authenticate: Bearer\r\n", "the API key is missing");
	else
		begin_pub_channel(h, req);
}

/* --- the others --------------------------------------------------------------------------- */

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

	if (req->path.n >= sizeof(PUB) - 1 && memcmp(req->path.p, PUB, sizeof(PUB) - 1) == 0 &&
	    (internal || c->api.key[0] != '\0')) {
		begin_pub(h, req);
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
