/*
 * Unit tests of tls_context, tls_cert and tls_ticket: the choice of the certificate, reloading,
 * resumption, client certificates, and what is said of bad files.
 */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "tests/unit/tls_fixture.h"
#include "worker/net/tls_context.h"

static const uint8_t secret[TLS_SECRET_SIZE] = { 1, 2, 3 };
static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

static struct identity one; /* one.example, in one.pem and one.key */
static struct conf *conf;   /* with that alone */
static struct tls_context *context;

static struct ends e;

static void
setup(void)
{
	fixture_begin();
	one = identity_make("one", "DNS:one.example", NULL, -1, 30);
	pem_write("one.pem", one.x, NULL, NULL, NULL);
	pem_write("one.key", NULL, NULL, one.key, NULL);
	conf = conf_with("one.pem one.key", NULL);
	context = tls_context_new(conf, secret);
	cr_assert_not_null(context);
}

static void
teardown(void)
{
	tls_context_free(context);
	conf_free(conf);
	identity_fini(&one);
	fixture_end();
}

TestSuite(tls_context, .timeout = 60, .init = setup, .fini = teardown);

/* In place of the suite's. */
static void
use(struct conf *c)
{
	tls_context_free(context);
	conf_free(conf);
	conf = c;
	context = tls_context_new(c, secret);
	cr_assert_not_null(context);
}

/* --- several certificates ------------------------------------------------------------------- */

static void
expect_name(const char *asked, const char *got)
{
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	char name[FIXTURE_PATH];

	ends_open(&e, context, ctx, asked);
	cr_assert_eq(handshake(e.t, e.client), 0);
	cr_assert_str_eq(server_name(e.client, name), got, "%s: %s", asked, name);
	to_server(e.client, e.t, "x");
	ends_close(&e);
	SSL_CTX_free(ctx);
}

Test(tls_context, the_name_chooses_the_certificate)
{
	struct identity wild =
	    identity_make("wild", "DNS:*.Example.com,DNS:one.example", NULL, -1, 30);
	struct identity exact =
	    identity_make("exact", "DNS:a.example.com,DNS:two.example.,IP:127.0.0.1", NULL, -1, 30);

	pem_write("wild.pem", wild.x, NULL, wild.key, NULL);
	pem_write("exact.pem", NULL, NULL, exact.key, NULL);
	pem_write("exact.crt", exact.x, one.x, NULL, NULL);
	use(conf_with("one.pem one.key", "wild.pem", "exact.crt exact.pem", NULL));

	expect_name(NULL, "one");
	expect_name("unknown.example", "one");
	expect_name("one.example", "one"); /* the first that has it */
	expect_name("b.example.com", "wild");
	expect_name("B.EXAMPLE.COM.", "wild");
	expect_name("a.example.com", "exact"); /* before the wildcard */
	expect_name("two.example", "exact");
	expect_name("x.b.example.com", "one"); /* a wildcard is one label */
	expect_name("example.com", "one");
	identity_fini(&wild);
	identity_fini(&exact);
}

Test(tls_context, names_that_nobody_has)
{
	char name[400];

	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	cr_assert_null(tls_certificates_find(&context->certificates, ""));
	cr_assert_null(tls_certificates_find(&context->certificates, "."));
	cr_assert_null(tls_certificates_find(&context->certificates, ".example"));
	cr_assert_null(tls_certificates_find(&context->certificates, "..one.example"));
	cr_assert_null(tls_certificates_find(&context->certificates, name));
	cr_assert_not_null(tls_certificates_find(&context->certificates, "one.example"));
}

Test(tls_context, a_reload_changes_what_new_connections_see)
{
	struct identity two = identity_make("two", "DNS:one.example", NULL, -1, 30);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct ends half, old;

	ends_open(&half, context, ctx, "one.example");
	(void)SSL_do_handshake(half.client);
	ends_open(&old, context, ctx, "one.example");
	cr_assert_eq(handshake(old.t, old.client), 0);

	pem_write("one.pem", two.x, NULL, NULL, NULL);
	cr_assert_eq(tls_context_reload(context, conf), FAN_EINVAL); /* the key is the old one */
	expect_name("one.example", "one");
	pem_write("one.key", NULL, NULL, two.key, NULL);
	cr_assert_eq(tls_context_reload(context, conf), 0);
	expect_name("one.example", "two");

	to_server(old.client, old.t, "old");
	to_client(old.t, old.client, "old");
	ends_close(&old);
	/* Begun before the reload, finished after it. */
	cr_assert_eq(handshake(half.t, half.client), 0);
	to_client(half.t, half.client, "half");
	ends_close(&half);
	SSL_CTX_free(ctx);
	identity_fini(&two);
}

/* --- resumption ----------------------------------------------------------------------------- */

static SSL_SESSION *kept;
static bool renewed; /* the last visit brought a new ticket */

static int
on_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	renewed = true;
	SSL_SESSION_free(kept);
	kept = s;
	return 1;
}

static SSL_CTX *
resuming_ctx(int version)
{
	SSL_CTX *ctx = client_ctx(version);

	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	return ctx;
}

static bool
same_ticket(const SSL_SESSION *a, const SSL_SESSION *b)
{
	const unsigned char *ta, *tb;
	size_t na, nb;

	SSL_SESSION_get0_ticket(a, &ta, &na);
	SSL_SESSION_get0_ticket(b, &tb, &nb);
	return na == nb && memcmp(ta, tb, na) == 0;
}

/* One connection by the ticket that is kept, if any; its own ticket is kept for the next. */
static bool
visit(struct tls_context *t, SSL_CTX *ctx)
{
	SSL_SESSION *s;
	bool resumed;

	ends_open(&e, t, ctx, "one.example");
	if (kept != NULL)
		cr_assert_eq(SSL_set_session(e.client, kept), 1);
	renewed = false;
	cr_assert_eq(handshake(e.t, e.client), 0);
	to_client(e.t, e.client, "x"); /* with it come the tickets of TLS 1.3 */
	resumed = SSL_session_reused(e.client);
	/* The callback is not told of a new ticket of TLS 1.2 where an old one was used. */
	s = SSL_get1_session(e.client);
	if (SSL_version(e.client) == TLS1_2_VERSION && !same_ticket(s, kept))
		(void)on_session(e.client, s);
	else
		SSL_SESSION_free(s);
	cr_assert_eq(SSL_shutdown(e.client), 0);
	ends_close(&e);
	return resumed;
}

Test(tls_context, a_ticket_is_good_at_every_worker)
{
	struct tls_context *other = tls_context_new(conf, secret);
	size_t i;

	for (i = 0; i < VERSIONS; i++) {
		SSL_CTX *ctx = resuming_ctx(versions[i]);

		cr_assert_not(visit(context, ctx));
		cr_assert(renewed);
		cr_assert(visit(other, ctx));
		/* In TLS 1.3 a ticket serves once. */
		cr_assert_eq(renewed, versions[i] == TLS1_3_VERSION);
		cr_assert(visit(context, ctx));
		SSL_SESSION_free(kept);
		kept = NULL;
		SSL_CTX_free(ctx);
	}
	tls_context_free(other);
}

Test(tls_context, a_ticket_of_another_master_is_not)
{
	static const uint8_t foreign[TLS_SECRET_SIZE] = { 1, 2, 4 };
	struct tls_context *other = tls_context_new(conf, foreign);
	size_t i;

	for (i = 0; i < VERSIONS; i++) {
		SSL_CTX *ctx = resuming_ctx(versions[i]);

		cr_assert_not(visit(context, ctx));
		cr_assert_not(visit(other, ctx));
		SSL_SESSION_free(kept);
		kept = NULL;
		SSL_CTX_free(ctx);
	}
	tls_context_free(other);
}

Test(tls_context, a_key_is_good_for_two_periods)
{
	SSL_CTX *ctx = resuming_ctx(TLS1_2_VERSION);

	cr_assert_not(visit(context, ctx));
	context->tickets.shift = TLS_TICKET_PERIOD;
	cr_assert(visit(context, ctx));
	cr_assert(renewed, "a new one for the old one");
	cr_assert(visit(context, ctx));
	cr_assert_not(renewed);
	context->tickets.shift = 3 * TLS_TICKET_PERIOD;
	cr_assert_not(visit(context, ctx));
	cr_assert(renewed);
	context->tickets.shift = 0;
	cr_assert_not(visit(context, ctx), "a key of the future");
	SSL_SESSION_free(kept);
	kept = NULL;
	SSL_CTX_free(ctx);
}

/* --- client certificates -------------------------------------------------------------------- */

static void
show(SSL_CTX *ctx, const struct identity *id)
{
	cr_assert_eq(SSL_CTX_use_certificate(ctx, id->x), 1);
	cr_assert_eq(SSL_CTX_use_PrivateKey(ctx, id->key), 1);
}

/* id: NULL shows none.  why: NULL where it succeeds. */
static void
expect_client(const struct identity *id, const char *why)
{
	size_t i;

	for (i = 0; i < VERSIONS; i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);

		if (id != NULL)
			show(ctx, id);
		ends_open(&e, context, ctx, NULL);
		if (why == NULL) {
			cr_assert_eq(handshake(e.t, e.client), 0, "%s", tls_why(e.t));
			to_server(e.client, e.t, "x");
		} else {
			cr_assert_eq(handshake(e.t, e.client), TLS_FAILED);
			cr_assert_str_eq(tls_why(e.t), why);
		}
		ends_close(&e);
		SSL_CTX_free(ctx);
	}
}

Test(tls_context, client_certificates)
{
	struct identity ca = identity_make("ca", NULL, NULL, -1, 30);
	struct identity foreign = identity_make("other ca", NULL, NULL, -1, 30);
	struct identity good = identity_make("good", NULL, &ca, -1, 30);
	struct identity old = identity_make("old", NULL, &ca, -3, -1);
	struct identity bad = identity_make("bad", NULL, &foreign, -1, 30);
	SSL_CTX *ctx = resuming_ctx(TLS1_3_VERSION);

	pem_write("ca.pem", ca.x, NULL, NULL, NULL);
	pem_write("cas.pem", foreign.x, ca.x, NULL, NULL);
	conf_put_file(conf, "tls.client_ca", "ca.pem");
	cr_assert_eq(tls_context_reload(context, conf), 0);
	expect_client(NULL, "peer did not return a certificate");
	expect_client(&good, NULL);
	expect_client(&bad, "unable to get local issuer certificate");
	expect_client(&old, "certificate has expired");
	show(ctx, &good);
	cr_assert_not(visit(context, ctx));
	cr_assert(visit(context, ctx));

	conf_put(conf, "tls.client_certificate", "optional");
	cr_assert_eq(tls_context_reload(context, conf), 0);
	cr_assert_not(visit(context, ctx), "a ticket of another rule");
	expect_client(NULL, NULL);
	expect_client(&good, NULL);
	expect_client(&bad, "unable to get local issuer certificate");
	conf_put_file(conf, "tls.client_ca", "cas.pem");
	cr_assert_eq(tls_context_reload(context, conf), 0);
	cr_assert_not(visit(context, ctx), "a ticket of other authorities");
	expect_client(&good, NULL);
	expect_client(&bad, NULL);

	SSL_SESSION_free(kept);
	kept = NULL;
	SSL_CTX_free(ctx);
	identity_fini(&ca);
	identity_fini(&foreign);
	identity_fini(&good);
	identity_fini(&old);
	identity_fini(&bad);
}

/* --- bad files ---------------------------------------------------------------------------- */

/* What tls_check says of c, which it frees, must match the pattern, whole. */
static void
expect_said(struct conf *c, int rc, const char *pattern)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	cr_assert_not_null(f);
	cr_assert_eq(tls_check(c, f), rc, "%s", pattern);
	cr_assert_eq(fclose(f), 0);
	cr_assert_eq(fnmatch(pattern, text, 0), 0, "%s", text);
	free(text);
	conf_free(c);
}

Test(tls_context, what_is_said_of_bad_files)
{
	struct identity two = identity_make("two", NULL, NULL, -1, 30);
	struct identity old = identity_make("old", NULL, NULL, -3, -1);
	struct identity early = identity_make("early", NULL, NULL, 1, 3);
	struct conf *c;

	pem_write("two.key", NULL, NULL, two.key, NULL);
	pem_write("locked.key", NULL, NULL, one.key, "sesame");
	pem_write("old.pem", old.x, NULL, old.key, NULL);
	pem_write("early.pem", early.x, NULL, early.key, NULL);
	pem_write("empty.pem", NULL, NULL, NULL, NULL);

	expect_said(conf_with("one.pem one.key", NULL), 0, "");
	expect_said(conf_with("none.pem one.key", NULL), FAN_EINVAL,
	    "tls.certificates: /*/none.pem: No such file or directory\n");
	expect_said(conf_with("one.pem none.key", NULL), FAN_EINVAL,
	    "tls.certificates: /*/none.key: No such file or directory\n");
	expect_said(conf_with(" ", NULL), FAN_EINVAL, "tls.certificates: /*: Is a directory\n");
	expect_said(conf_with("empty.pem", NULL), FAN_EINVAL,
	    "tls.certificates: /*/empty.pem: holds no certificate in PEM\n");
	expect_said(conf_with("one.pem", NULL), FAN_EINVAL,
	    "tls.certificates: /*/one.pem: holds no private key in PEM\n");
	expect_said(conf_with("one.pem two.key", NULL), FAN_EINVAL,
	    "tls.certificates: /*/two.key: the key does not belong to the certificate\n");
	expect_said(conf_with("one.pem locked.key", NULL), FAN_EINVAL,
	    "tls.certificates: /*/locked.key: the key is encrypted*\n");
	expect_said(conf_with("old.pem", NULL), 0,
	    "tls.certificates: /*/old.pem: the certificate has expired at 20*Z\n");
	expect_said(conf_with("early.pem", NULL), 0,
	    "tls.certificates: /*/early.pem: the certificate is not valid before 20*Z\n");
	expect_said(conf_with("empty.pem", "none.pem", NULL), FAN_EINVAL, "*empty.pem*none.pem*");

	c = conf_with("one.pem one.key", NULL);
	conf_put_file(c, "tls.client_ca", "none.pem");
	expect_said(c, FAN_EINVAL, "tls.client_ca: /*/none.pem: No such file or directory\n");
	c = conf_with("one.pem one.key", NULL);
	conf_put_file(c, "tls.client_ca", "one.key");
	expect_said(c, FAN_EINVAL, "tls.client_ca: /*/one.key: holds no certificate in PEM\n");
	c = conf_with("one.pem one.key", NULL);
	conf_put(c, "tls.certificates", "a b c");
	expect_said(c, FAN_EINVAL, "tls.certificates: \"a b c\": write *\n");
	identity_fini(&two);
	identity_fini(&old);
	identity_fini(&early);
}
