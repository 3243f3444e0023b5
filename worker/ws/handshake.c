/*
 * handshake: the opening handshake of RFC 6455 §4, both sides' pure parts.  See handshake.h.
 *
 * Owns:    nothing; pure functions.
 * Process: workers, and the command-line client.
 * Layer:   worker/ws.  Uses worker/http/parse, common; libcrypto.
 */
#include "worker/ws/handshake.h"

#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "worker/http/parse.h"

/* --- the client's request ---------------------------------------------------------------------- */

bool
ws_handshake_wanted(const struct http_request *req)
{
	return http_field_has_token(req, "upgrade", "websocket");
}

/* The only field of this name; NULL: there is none, or *several. */
static const struct http_field *
sole_field(const struct http_request *req, const char *name, bool *several)
{
	size_t pos = 0;
	const struct http_field *f = http_field_next(req, name, &pos);

	*several = f != NULL && http_field_next(req, name, &pos) != NULL;
	return *several ? NULL : f;
}

/* Whether the key is the base64 of 16 bytes: 22 letters, and two signs to fill up. */
static bool
key_valid(struct http_slice key)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789+/";
	size_t i;

	if (key.n != WS_KEY_LEN || memcmp(key.p + 22, "==", 2) != 0)
		return false;
	for (i = 0; i < 22; i++) {
		if (memchr(letters, key.p[i], sizeof(letters) - 1) == NULL)
			return false;
	}
	return true;
}

static int
refuse(int code, const char *phrase, int *status, const char **why)
{
	*status = code;
	*why = phrase;
	return FAN_EPROTO;
}

int
ws_handshake_check(
    const struct http_request *req, char accept[WS_ACCEPT_SIZE], int *status, const char **why)
{
	const struct http_field *version, *key;
	bool several;

	if (!http_slice_is(req->method, "GET"))
		return refuse(405, "method is not GET", status, why);
	if (req->minor < 1)
		return refuse(400, "WebSocket needs HTTP/1.1", status, why);
	if (req->host.n == 0)
		return refuse(400, "no Host", status, why);
	if (!ws_handshake_wanted(req))
		return refuse(400, "no Upgrade to websocket", status, why);
	if (!http_field_has_token(req, "connection", "upgrade"))
		return refuse(400, "Connection without upgrade", status, why);
	if (req->chunked || req->content_length > 0)
		return refuse(400, "handshake with a body", status, why);
	version = sole_field(req, "sec-websocket-version", &several);
	if (version == NULL && !several)
		return refuse(400, "no Sec-WebSocket-Version", status, why);
	if (several || !http_slice_is(version->value, "13"))
		return refuse(426, "Sec-WebSocket-Version is not 13", status, why);
	key = sole_field(req, "sec-websocket-key", &several);
	if (key == NULL || !key_valid(key->value))
		return refuse(400, "not one valid Sec-WebSocket-Key", status, why);
	ws_accept(key->value.p, accept);
	return 0;
}

void
ws_accept(const char *key, char accept[WS_ACCEPT_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	static EVP_MD *sha1;
	static EVP_MD_CTX *ctx;
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	char text[WS_KEY_LEN + sizeof(guid) - 1];

	memcpy(text, key, WS_KEY_LEN);
	memcpy(text + WS_KEY_LEN, guid, sizeof(guid) - 1);
	/* Without memory the digest stays zero, and the client refuses the answer. */
	/* Fetched once a process: a fetch for each handshake costs more than the digest. */
	if (sha1 == NULL)
		sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
	if (ctx == NULL)
		ctx = EVP_MD_CTX_new();
	if (sha1 == NULL || ctx == NULL || EVP_DigestInit_ex2(ctx, sha1, NULL) != 1 ||
	    EVP_DigestUpdate(ctx, text, sizeof(text)) != 1 ||
	    EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
		memset(digest, 0, sizeof(digest)); /* the client will refuse the answer */
	(void)EVP_EncodeBlock((unsigned char *)accept, digest, 20);
}

/* --- subprotocols ------------------------------------------------------------------------------ */

static bool
slices_equal(struct http_slice a, struct http_slice b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Adds a field's elements to offers[*n]; false: it is malformed, repeats one, or has too many. */
static bool
collect_offers(struct http_slice list, struct http_slice offers[WS_PROTOCOLS_MAX], size_t *n)
{
	struct http_slice s;
	size_t i;

	while (http_list_next(&list, &s)) {
		if (!http_is_token(s) || *n == WS_PROTOCOLS_MAX)
			return false;
		for (i = 0; i < *n; i++) {
			if (slices_equal(offers[i], s))
				return false;
		}
		offers[(*n)++] = s;
	}
	return true;
}

const char *
ws_handshake_protocol(const struct http_request *req, const char *const *supported, bool *malformed)
{
	struct http_slice offers[WS_PROTOCOLS_MAX];
	const struct http_field *f;
	size_t pos = 0, n = 0, i;
	const char *const *s;

	*malformed = false;
	while ((f = http_field_next(req, "sec-websocket-protocol", &pos)) != NULL) {
		if (!collect_offers(f->value, offers, &n)) {
			*malformed = true;
			return NULL;
		}
	}
	for (i = 0; i < n; i++) {
		for (s = supported; *s != NULL; s++) {
			if (http_slice_is(offers[i], *s))
				return *s;
		}
	}
	return NULL;
}

/* --- the Origin policy ------------------------------------------------------------------------- */

/* scheme://host[:port], in an Origin field or, where the host may begin with "*.", in the config. */
struct origin {
	struct http_slice scheme;
	struct http_slice host; /* of a pattern without its "*" */
	bool any_label;
	int port; /* -1: none given, and the scheme has no default */
};

static bool
origin_parse(struct http_slice s, bool pattern, struct origin *o)
{
	size_t i = 0;

	while (i < s.n && s.p[i] != ':')
		i++;
	o->scheme.p = s.p;
	o->scheme.n = i;
	if (!http_is_token(o->scheme) || s.n - i < 3 || memcmp(s.p + i, "://", 3) != 0)
		return false;
	s.p += i + 3;
	s.n -= i + 3;
	o->any_label = pattern && s.n > 2 && s.p[0] == '*' && s.p[1] == '.';
	if (o->any_label) {
		s.p++;
		s.n--;
	}
	if (!http_authority_split(s, &o->host, &o->port))
		return false;
	if (o->port < 0 && http_slice_is_nocase(o->scheme, "https"))
		o->port = 443;
	else if (o->port < 0 && http_slice_is_nocase(o->scheme, "http"))
		o->port = 80;
	return true;
}

static bool
slices_equal_nocase(struct http_slice a, struct http_slice b)
{
	return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

static bool
origin_matches(const struct origin *o, const char *allowed)
{
	struct http_slice text = { allowed, strlen(allowed) };
	struct http_slice host = o->host;
	struct origin want;

	if (!origin_parse(text, true, &want) || o->port != want.port ||
	    !slices_equal_nocase(o->scheme, want.scheme))
		return false;
	/* The pattern's host keeps its dot, so that the tail begins at a label's edge. */
	if (want.any_label) {
		if (host.n <= want.host.n)
			return false;
		host.p += host.n - want.host.n;
		host.n = want.host.n;
	}
	return slices_equal_nocase(host, want.host);
}

static bool
same_host(const struct http_request *req, const struct origin *o)
{
	struct http_slice host;
	int port;

	return http_authority_split(req->host, &host, &port) && slices_equal_nocase(host, o->host);
}

bool
ws_origin_allowed(const struct http_request *req, const char *const *allowed, size_t n)
{
	const struct http_field *f;
	struct origin o;
	bool several, valid;
	size_t i;

	f = sole_field(req, "origin", &several);
	if (f == NULL && !several)
		return true;
	valid = f != NULL && origin_parse(f->value, false, &o);
	for (i = 0; i < n; i++) {
		if (strcmp(allowed[i], "*") == 0 || (valid && origin_matches(&o, allowed[i])))
			return true;
	}
	return n == 0 && valid && same_host(req, &o);
}
