/*
 * tls_context: what the TLS connections of a worker share.  See tls_context.h.
 *
 * There is an SSL_CTX for each certificate, all alike but for that.  A connection begins with the
 * first, and moves to another when the client has named the host that it wants.
 */
#include "worker/net/tls_context.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/log.h"
#include "worker/net/tls_cert.h"

#define HOST_MAX 255 /* of a name in DNS, RFC 1035 §2.3.4 */

/*
 * Of good ciphers the one that costs least to encrypt with comes first.  A client that puts ChaCha20
 * first has no AES in hardware, and gets it (SSL_OP_PRIORITIZE_CHACHA).
 */
#define SUITES_1_2 "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20"
#define SUITES_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

/* Written by nobody, but OpenSSL's macro takes no const. */
static char groups[] = "X25519:P-256:P-384";

static const uint8_t alpn_http_1_1[] = "http/1.1";

/* --- certificates by name ------------------------------------------------------------------- */

struct name {
	SSL_CTX *ctx; /* borrowed */
	size_t len;
	char text[];
};

static const void *
name_key(const void *object, size_t *len)
{
	const struct name *n = object;

	*len = n->len;
	return n->text;
}

/* The name in lower case, without a dot at its end. */
static size_t
fold(char *out, const char *name, size_t len)
{
	size_t i;

	if (len > 0 && name[len - 1] == '.')
		len--;
	for (i = 0; i < len; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	return len;
}

static int
add_name(struct tls_certificates *c, SSL_CTX *ctx, const char *text, size_t len)
{
	struct name *n;
	int rc;

	if (len == 0 || len > HOST_MAX)
		return 0;
	n = malloc(sizeof(*n) + len);
	if (n == NULL)
		return FAN_ENOMEM;
	n->ctx = ctx;
	n->len = fold(n->text, text, len);
	rc = map_put(&c->names, n);
	if (rc != 0)
		free(n);
	return rc == FAN_EEXIST ? 0 : rc;
}

static int
add_names(struct tls_certificates *c, SSL_CTX *ctx)
{
	GENERAL_NAMES *names =
	    X509_get_ext_d2i(SSL_CTX_get0_certificate(ctx), NID_subject_alt_name, NULL, NULL);
	int i, rc = 0;

	for (i = 0; i < sk_GENERAL_NAME_num(names) && rc == 0; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS)
			rc = add_name(c, ctx, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
			    (size_t)ASN1_STRING_length(g->d.dNSName));
	}
	GENERAL_NAMES_free(names);
	return rc;
}

SSL_CTX *
tls_certificates_find(const struct tls_certificates *c, const char *name)
{
	char host[HOST_MAX];
	const struct name *n;
	size_t len = strnlen(name, sizeof(host) + 1);
	char *dot;

	if (len > sizeof(host))
		return NULL;
	len = fold(host, name, len);
	n = map_get(&c->names, host, len);
	dot = memchr(host, '.', len);
	/* "*.example.com" stands for what is one label before ".example.com". */
	if (n == NULL && dot != NULL && dot > host) {
		dot[-1] = '*';
		n = map_get(&c->names, dot - 1, len - (size_t)(dot - 1 - host));
	}
	return n != NULL ? n->ctx : NULL;
}

static void
certificates_fini(struct tls_certificates *c)
{
	struct name *n;
	size_t i, pos = 0;

	while ((n = map_next(&c->names, &pos)) != NULL)
		free(n);
	map_fini(&c->names);
	for (i = 0; i < c->n; i++)
		SSL_CTX_free(c->ctx[i]);
	free(c->ctx);
	memset(c, 0, sizeof(*c));
}

/* --- what OpenSSL asks for in a handshake ------------------------------------------------------ */

static struct tls_context *
context_of(SSL *ssl)
{
	return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

static int /* NOLINTNEXTLINE(readability-non-const-parameter): the signature is OpenSSL's */
on_server_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	SSL_CTX *ctx = NULL;

	(void)alert;
	(void)arg;
	if (name != NULL)
		ctx = tls_certificates_find(&context_of(ssl)->certificates, name);
	if (ctx == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_set_SSL_CTX(ssl, ctx) != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
    unsigned inlen, void *arg)
{
	unsigned at, n;

	(void)ssl;
	(void)arg;
	for (at = 0; at < inlen && (n = in[at]) < inlen - at; at += n + 1) {
		if (n != sizeof(alpn_http_1_1) - 1 || memcmp(in + at + 1, alpn_http_1_1, n) != 0)
			continue;
		*out = in + at + 1;
		*outlen = (unsigned char)n;
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol, RFC 7301 §3.2 */
}

static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int enc)
{
	int rc = tls_tickets_use(&context_of(ssl)->tickets, name, iv, cipher, mac, enc);

	/* Clients of TLS 1.3 use a ticket once (RFC 8446 §C.4), so each gets another for it. */
	return rc == 1 && !enc && SSL_version(ssl) >= TLS1_3_VERSION ? 2 : rc;
}

/* --- one context ---------------------------------------------------------------------------- */

static void
set_options(SSL_CTX *ctx, const struct conf *c)
{
	uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;

	/* Where a conversation ends is for HTTP and WebSocket to say: a cut one is seen there. */
	options |= SSL_OP_IGNORE_UNEXPECTED_EOF;
	if (c->tls.ktls)
		options |= SSL_OP_ENABLE_KTLS;
	(void)SSL_CTX_set_options(ctx, options);
	(void)SSL_CTX_set_mode(ctx,
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* A peer that sends records without data must not hold the worker in one read. */
	(void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
}

/* Tickets in place of a cache. */
static void
set_sessions(SSL_CTX *ctx)
{
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_timeout(ctx, TLS_TICKET_PERIOD);
	(void)SSL_CTX_set_num_tickets(ctx, 1);
	(void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

static int
set_protocol(SSL_CTX *ctx, const struct conf *c)
{
	int oldest = c->tls.min_version == CONF_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	return SSL_CTX_set_min_proto_version(ctx, oldest) == 1 &&
		SSL_CTX_set_cipher_list(ctx, SUITES_1_2) == 1 &&
		SSL_CTX_set_ciphersuites(ctx, SUITES_1_3) == 1 &&
		SSL_CTX_set1_groups_list(ctx, groups) == 1
	    ? 0
	    : -1;
}

/*
 * a: NULL where clients are asked for no certificate.  A ticket says in which session context it was
 * given, so that none from before a change of the authorities or the rule stands for a certificate.
 */
static int
set_clients(SSL_CTX *ctx, const struct conf *c, const struct tls_authorities *a)
{
	uint8_t id[SSL_MAX_SID_CTX_LENGTH] = { 0 };
	STACK_OF(X509_NAME) * names;
	int mode = SSL_VERIFY_PEER;

	if (a != NULL) {
		names = SSL_dup_CA_list(a->names);
		if (names == NULL)
			return -1;
		SSL_CTX_set_client_CA_list(ctx, names);
		SSL_CTX_set1_cert_store(ctx, a->store);
		if (c->tls.client_certificate == CONF_CLIENT_REQUIRED)
			mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
		SSL_CTX_set_verify(ctx, mode, NULL);
		memcpy(id, a->digest, sizeof(id));
		id[0] ^= (uint8_t)c->tls.client_certificate;
	}
	return SSL_CTX_set_session_id_context(ctx, id, sizeof(id)) == 1 ? 0 : -1;
}

/* NULL, after it was said why. */
static SSL_CTX *
context_new(struct tls_context *t, const struct conf *c, const struct tls_authorities *a,
    const char *item, FILE *err)
{
	const struct tls_report r = { .err = err, .key = "tls.certificates" };
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL) {
		tls_report_error(&r, "OpenSSL cannot be used: %s", tls_reason());
		return NULL;
	}
	set_options(ctx, c);
	set_sessions(ctx);
	(void)SSL_CTX_set_app_data(ctx, t);
	(void)SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	if (set_protocol(ctx, c) != 0 || set_clients(ctx, c, a) != 0) {
		tls_report_error(&r, "OpenSSL cannot be used: %s", tls_reason());
		SSL_CTX_free(ctx);
		return NULL;
	}
	if (tls_cert_load(ctx, item, &r) != 0) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

/* --- all of them ---------------------------------------------------------------------------- */

/* All items are read, whatever becomes of one, so that all errors are seen at once. */
static int
load_items(struct tls_certificates *out, struct tls_context *t, const struct conf *c,
    const struct tls_authorities *a, FILE *err)
{
	const struct tls_report r = { .err = err, .key = "tls.certificates" };
	const struct conf_list *items = &c->tls.certificates;
	int rc = 0;
	size_t i;

	out->ctx = calloc(items->n, sizeof(SSL_CTX *));
	if (out->ctx == NULL)
		return tls_report_nomem(&r);
	for (i = 0; i < items->n; i++) {
		SSL_CTX *ctx = context_new(t, c, a, items->item[i], err);

		if (ctx == NULL) {
			rc = FAN_EINVAL;
			continue;
		}
		out->ctx[out->n++] = ctx;
		if (add_names(out, ctx) != 0)
			return tls_report_nomem(&r);
	}
	return rc;
}

/* On failure out is empty. */
static int
load(struct tls_certificates *out, struct tls_context *t, const struct conf *c, FILE *err)
{
	const struct tls_report r = { .err = err, .key = "tls.client_ca" };
	struct tls_authorities a = { 0 };
	bool clients = c->tls.client_ca[0] != '\0';
	int rc = 0, items;

	memset(out, 0, sizeof(*out));
	map_init(&out->names, name_key);
	if (clients)
		rc = tls_authorities_load(&a, c->tls.client_ca, &r);
	items = load_items(out, t, c, clients && rc == 0 ? &a : NULL, err);
	if (rc == 0)
		rc = items;
	tls_authorities_fini(&a);
	if (rc != 0)
		certificates_fini(out);
	return rc;
}

struct tls_context *
tls_context_new(const struct conf *c, const uint8_t *secret)
{
	struct tls_context *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	tls_tickets_init(&t->tickets, secret);
	if (load(&t->certificates, t, c, NULL) != 0) {
		tls_context_free(t);
		return NULL;
	}
	return t;
}

void
tls_context_free(struct tls_context *t)
{
	if (t == NULL)
		return;
	certificates_fini(&t->certificates);
	tls_tickets_fini(&t->tickets);
	free(t);
}

int
tls_context_reload(struct tls_context *t, const struct conf *c)
{
	struct tls_certificates fresh;
	int rc = load(&fresh, t, c, NULL);

	if (rc != 0)
		return rc;
	certificates_fini(&t->certificates);
	t->certificates = fresh;
	return 0;
}

int
tls_check(const struct conf *c, FILE *err)
{
	struct tls_certificates certificates;
	int rc;

	if (c->tls.certificates.n == 0)
		return 0;
	rc = load(&certificates, NULL, c, err);
	if (rc == 0)
		certificates_fini(&certificates);
	return rc;
}
