/*
 * tls_fixture: certificates made at test time, and a TLS client.  See tls_fixture.h.
 */
#include "tests/unit/tls_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "worker/net/tls.h"

#define DAY (24 * 3600)

static char folder[32];

/* --- files -------------------------------------------------------------------------------- */

void
fixture_begin(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_LEVEL_ERROR);
	(void)snprintf(folder, sizeof(folder), "/tmp/fanfare-tls-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

void
fixture_end(void)
{
	DIR *d = opendir(folder);
	const struct dirent *e;
	char path[512];

	cr_assert_not_null(d);
	while ((e = readdir(d)) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		if (e->d_name[0] != '.')
			(void)remove(path);
	}
	(void)closedir(d);
	(void)rmdir(folder);
}

const char *
fixture_path(const char *name, char out[FIXTURE_PATH])
{
	cr_assert_lt(snprintf(out, FIXTURE_PATH, "%s/%s", folder, name), FIXTURE_PATH);
	return out;
}

void
pem_write(const char *name, X509 *x, X509 *also, EVP_PKEY *key, const char *pass)
{
	char path[FIXTURE_PATH], phrase[32] = "";
	FILE *f = fopen(fixture_path(name, path), "we");

	cr_assert_not_null(f);
	if (x != NULL)
		cr_assert_eq(PEM_write_X509(f, x), 1);
	if (also != NULL)
		cr_assert_eq(PEM_write_X509(f, also), 1);
	if (pass != NULL)
		(void)snprintf(phrase, sizeof(phrase), "%s", pass);
	if (key != NULL)
		cr_assert_eq(
		    PEM_write_PKCS8PrivateKey(f, key, pass != NULL ? EVP_aes_128_cbc() : NULL,
			phrase, (int)strlen(phrase), NULL, NULL),
		    1);
	cr_assert_eq(fclose(f), 0);
}

/* --- certificates --------------------------------------------------------------------------- */

static void
add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	cr_assert_not_null(e, "%s", value);
	cr_assert_eq(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

struct identity
identity_make(const char *cn, const char *san, const struct identity *issuer, int from, int until)
{
	static long serial = 1;
	struct identity id = { .x = X509_new(), .key = EVP_EC_gen("P-256") };
	X509 *by = issuer != NULL ? issuer->x : id.x;
	X509_NAME *name = X509_get_subject_name(id.x);

	cr_assert(id.x != NULL && id.key != NULL);
	cr_assert_eq(X509_set_version(id.x, 2), 1);
	cr_assert_eq(ASN1_INTEGER_set(X509_get_serialNumber(id.x), serial++), 1);
	cr_assert_not_null(X509_gmtime_adj(X509_getm_notBefore(id.x), (long)from * DAY));
	cr_assert_not_null(X509_gmtime_adj(X509_getm_notAfter(id.x), (long)until * DAY));
	cr_assert_eq(X509_NAME_add_entry_by_txt(
			 name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0),
	    1);
	cr_assert_eq(X509_set_issuer_name(id.x, X509_get_subject_name(by)), 1);
	cr_assert_eq(X509_set_pubkey(id.x, id.key), 1);
	if (issuer == NULL)
		add_extension(id.x, by, NID_basic_constraints, "critical,CA:TRUE");
	if (san != NULL)
		add_extension(id.x, by, NID_subject_alt_name, san);
	cr_assert_neq(X509_sign(id.x, issuer != NULL ? issuer->key : id.key, EVP_sha256()), 0);
	return id;
}

void
identity_fini(struct identity *id)
{
	X509_free(id->x);
	EVP_PKEY_free(id->key);
}

/* --- configurations ------------------------------------------------------------------------- */

void
conf_put(struct conf *c, const char *key, const char *value)
{
	char line[1024];

	(void)snprintf(line, sizeof(line), "%s=%s", key, value);
	cr_assert_eq(conf_set(c, line, stderr), 0, "%s", line);
}

void
conf_put_file(struct conf *c, const char *key, const char *name)
{
	char path[FIXTURE_PATH];

	conf_put(c, key, fixture_path(name, path));
}

struct conf *
conf_with(const char *first, ...)
{
	struct conf *c = conf_new();
	char list[1024] = "", path[FIXTURE_PATH];
	const char *item;
	va_list ap;

	cr_assert_not_null(c);
	va_start(ap, first);
	for (item = first; item != NULL; item = va_arg(ap, const char *)) {
		size_t len = strlen(list), n = strcspn(item, " ");
		char name[FIXTURE_PATH];

		(void)snprintf(name, sizeof(name), "%.*s", (int)n, item);
		(void)snprintf(list + len, sizeof(list) - len, "%s\"%s", len > 0 ? ", " : "[",
		    fixture_path(name, path));
		len = strlen(list);
		if (item[n] == ' ')
			(void)snprintf(list + len, sizeof(list) - len, " %s",
			    fixture_path(item + n + 1, path));
		(void)strncat(list, "\"", sizeof(list) - strlen(list) - 1);
	}
	va_end(ap);
	(void)strncat(list, "]", sizeof(list) - strlen(list) - 1);
	conf_put(c, "tls.certificates", list);
	return c;
}

/* --- the client ----------------------------------------------------------------------------- */

void
pair_make(int fd[2], bool small)
{
	int least = 1, i;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	for (i = 0; i < 2 && small; i++)
		cr_assert_eq(setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
}

SSL_CTX *
client_ctx(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	cr_assert_not_null(ctx);
	cr_assert_eq(SSL_CTX_set_min_proto_version(ctx, version), 1);
	cr_assert_eq(SSL_CTX_set_max_proto_version(ctx, version), 1);
	if (version < TLS1_2_VERSION)
		cr_assert_eq(SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0"), 1);
	(void)SSL_CTX_set_mode(
	    ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return ctx;
}

SSL *
client_new(SSL_CTX *ctx, int fd, const char *name)
{
	SSL *ssl = SSL_new(ctx);

	cr_assert_not_null(ssl);
	cr_assert_eq(SSL_set_fd(ssl, fd), 1);
	SSL_set_connect_state(ssl);
	if (name != NULL)
		cr_assert_eq(SSL_set_tlsext_host_name(ssl, name), 1);
	return ssl;
}

static bool
wants(SSL *ssl, int rc)
{
	int error = SSL_get_error(ssl, rc);

	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

int
handshake(struct tls *t, SSL *client)
{
	int theirs = 0, ours = TLS_WANT_READ, i;

	for (i = 0; i < 10000; i++) {
		if (theirs != 1)
			theirs = SSL_do_handshake(client);
		if (ours == TLS_WANT_READ || ours == TLS_WANT_WRITE)
			ours = tls_handshake(t);
		if (ours != TLS_WANT_READ && ours != TLS_WANT_WRITE &&
		    (ours != 0 || theirs == 1 || !wants(client, theirs)))
			return ours;
	}
	cr_assert_fail("the handshake does not end");
	return TLS_FAILED;
}

void
to_server(SSL *client, struct tls *t, const char *text)
{
	static uint8_t got[TLS_RECORD_MAX];
	size_t n = strlen(text);
	ssize_t rc = TLS_WANT_READ;
	int i;

	cr_assert_eq(SSL_write(client, text, (int)n), (int)n);
	for (i = 0; i < 10 && rc == TLS_WANT_READ; i++)
		rc = tls_read(t, got, sizeof(got));
	cr_assert_eq(rc, (ssize_t)n, "%zd", rc);
	cr_assert_eq(memcmp(got, text, n), 0);
}

void
to_client(struct tls *t, SSL *client, const char *text)
{
	char got[1024];
	size_t n = strlen(text);

	cr_assert_eq(tls_write(t, (const uint8_t *)text, n), (ssize_t)n);
	cr_assert_eq(SSL_read(client, got, sizeof(got)), (int)n);
	cr_assert_eq(memcmp(got, text, n), 0);
}

const char *
server_name(SSL *client, char out[FIXTURE_PATH])
{
	X509 *x = SSL_get0_peer_certificate(client);

	cr_assert_not_null(x);
	cr_assert_gt(
	    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out, FIXTURE_PATH),
	    0);
	return out;
}

void
ends_open(struct ends *s, struct tls_context *t, SSL_CTX *ctx, const char *name)
{
	pair_make(s->fd, false);
	s->t = tls_new(t, s->fd[0]);
	s->client = client_new(ctx, s->fd[1], name);
	cr_assert_not_null(s->t);
}

void
ends_close(struct ends *s)
{
	SSL_free(s->client);
	tls_free(s->t);
	(void)close(s->fd[0]);
	(void)close(s->fd[1]);
	*s = (struct ends){ .fd = { -1, -1 } };
}
