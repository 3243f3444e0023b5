/*
 * tls: TLS connections to the measured broker.  See tls.h.
 */
#include "bench/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "bench/settings.h"
#include "bench/text.h"

struct ssl_ctx_st *
tls_context(const struct settings *s)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (ctx == NULL)
		text_die("OpenSSL can not be set up");
	/* One recv() for all records that have come, and writes as send() makes them. */
	SSL_CTX_set_read_ahead(ctx, 1);
	(void)SSL_CTX_set_mode(ctx,
	    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	if (s->insecure) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		return ctx;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (s->ca != NULL ? SSL_CTX_load_verify_file(ctx, s->ca) != 1
			  : SSL_CTX_set_default_verify_paths(ctx) != 1)
		text_usage("--ca %s: no certificates can be read from it",
		    s->ca != NULL ? s->ca : "(the system's)");
	return ctx;
}

void
tls_context_free(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx);
}

/* Says whose certificate is expected: an address's or a name's. */
static bool
expect_host(SSL *tls, const char *host)
{
	struct in6_addr addr;

	if (inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host) == 1;
	/* The macro for it casts its const away. */
	return SSL_set1_host(tls, host) == 1 &&
	    SSL_ctrl(tls, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		(void *)(uintptr_t)host) == 1;
}

struct ssl_st *
tls_new(struct ssl_ctx_st *ctx, int fd, const char *host)
{
	SSL *tls = SSL_new(ctx);
	char name[NAME_MAX + 1];
	size_t n;

	if (*host == '[') {
		host++;
		n = strcspn(host, "]");
	} else {
		n = strcspn(host, ":");
	}
	if (n >= sizeof(name))
		text_usage("%s is no name of a host", host);
	memcpy(name, host, n);
	name[n] = '\0';
	if (tls == NULL || SSL_set_fd(tls, fd) != 1 || !expect_host(tls, name))
		text_die("OpenSSL can not be set up for %s", name);
	SSL_set_connect_state(tls);
	return tls;
}

void
tls_free(struct ssl_st *tls)
{
	SSL_free(tls);
}

enum tls_state
tls_handshake(struct ssl_st *tls)
{
	int done;

	ERR_clear_error();
	done = SSL_do_handshake(tls);
	if (done == 1)
		return TLS_OPEN;
	switch (SSL_get_error(tls, done)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANTS_IN;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANTS_OUT;
	default:
		return TLS_FAILED;
	}
}

const char *
tls_why(const struct ssl_st *tls)
{
	long verify = SSL_get_verify_result(tls);
	const char *why;

	if (verify != X509_V_OK)
		return X509_verify_cert_error_string(verify);
	why = ERR_reason_error_string(ERR_peek_last_error());
	return why != NULL ? why : "the connection ends";
}

/* What a call that did not succeed comes to, as recv and send would say it. */
static ssize_t
result(const SSL *tls, int done)
{
	switch (SSL_get_error(tls, done)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return errno != 0 ? -1 : 0;
	default:
		errno = EPROTO;
		return -1;
	}
}

ssize_t
tls_read(struct ssl_st *tls, void *p, size_t n)
{
	int done;

	ERR_clear_error();
	errno = 0;
	done = SSL_read(tls, p, n < INT_MAX ? (int)n : INT_MAX);
	return done > 0 ? done : result(tls, done);
}

ssize_t
tls_write(struct ssl_st *tls, const void *p, size_t n)
{
	int done;

	ERR_clear_error();
	errno = 0;
	done = SSL_write(tls, p, n < INT_MAX ? (int)n : INT_MAX);
	return done > 0 ? done : result(tls, done);
}

bool
tls_pending(const struct ssl_st *tls)
{
	return SSL_has_pending(tls) == 1;
}
