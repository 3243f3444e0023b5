/*
 * backend: who may make the requests of the application's backend, and how they fail.  See backend.h.
 */
#include "worker/http/backend.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "common/conf.h"
#include "common/utf8.h"
#include "worker/core/session.h"
#include "worker/http/cors.h"
#include "worker/http/http.h"

static const struct conf *
conf_of(const struct http *h)
{
	const struct core *core = h->server->app;

	return core->conf;
}

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
	const struct conf *c = conf_of(h);
	size_t pos = 0;

	if (http_field_next(req, "Origin", &pos) == NULL)
		return false;
	if (!cors_allowed(c, req))
		return true;
	return http_listener(h) == LISTENER_INTERNAL && c->origins.n == 0 && !host_is_address(req);
}

bool
backend_admits(struct http *h, const struct http_request *req, const char *methods)
{
	const struct conf *c = conf_of(h);
	char fields[CORS_FIELDS_MAX];

	if (foreign_page(h, req)) {
		http_error(h, 403, "", "a page of another site may not use this");
		return false;
	}
	/* A browser asks without the key whether the page may send it. */
	if (cors_is_preflight(req)) {
		cors_preflight_fields(c, req, methods, fields);
		http_respond(h, 204, NULL, fields, NULL, 0);
		return false;
	}
	cors_fields(c, req, fields);
	if (http_add_fields(h, fields) != 0)
		http_error(h, 500, "", "out of memory");
	else if (c->api.key[0] != '\0' && !has_key(req, c->api.key))
		http_error(h, 401, "WWW-Authenticate: Bearer\r\n", "the API key is missing");
	else
		return true;
	return false;
}

static bool
media_is(struct http_slice type, const char *name)
{
	size_t n = strlen(name);

	if (type.n < n || strncasecmp(type.p, name, n) != 0)
		return false;
	return type.n == n || type.p[n] == ';' || type.p[n] == ' ' || type.p[n] == '\t';
}

enum backend_body
backend_body(const struct http_request *req)
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

int
backend_body_kind(enum backend_body declared, const uint8_t *data, size_t n, enum msg_kind *out)
{
	bool text = declared != BODY_BINARY && utf8_valid(data, n);

	if (declared == BODY_TEXT && !text)
		return FAN_EINVAL;
	*out = text ? MSG_TEXT : MSG_BINARY;
	return 0;
}

void
backend_fail(struct http *h, int err)
{
	switch (err) {
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
