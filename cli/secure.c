/*
 * secure: TLS on a connected socket, the client's side.  See secure.h.
 */
#include "cli/secure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/wait.h"
#include "common/clock.h"

struct secure {
	SSL_CTX *ctx;
	SSL *ssl;
	bool ready;
};

/*
 * OpenSSL writes by write(2), which may raise SIGPIPE; standard output relies on that signal, the
 * socket must not.
 */
struct silence {
	struct sigaction before;
};

static void
silence_begin(struct silence *s)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)sigaction(SIGPIPE, &ignore, &s->before);
	ERR_clear_error();
}

static void
silence_end(const struct silence *s)
{
	(void)sigaction(SIGPIPE, &s->before, NULL);
}

static int
set_host(struct secure *s, const char *host)
{
	uint8_t address[16];
	/* OpenSSL's macro takes the const away. */
	char name[256];

	if (snprintf(name, sizeof(name), "%s", host) >= (int)sizeof(name))
		return 0;
	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), host);
	return SSL_set_tlsext_host_name(s->ssl, name) == 1 && SSL_set1_host(s->ssl, host) == 1;
}

/* FAN_EINVAL: the authorities cannot be read. */
static int
prepare(struct secure *s, int fd, const char *host, const char *cacert)
{
	static const unsigned char alpn[] = "\x08http/1.1";

	s->ctx = SSL_CTX_new(TLS_client_method());
	if (s->ctx == NULL)
		return FAN_ENOMEM;
	SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER, NULL);
	(void)SSL_CTX_set_mode(
	    s->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_options(s->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	if (SSL_CTX_set_min_proto_version(s->ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_alpn_protos(s->ctx, alpn, sizeof(alpn) - 1) != 0)
		return FAN_ENOMEM;
	if ((cacert != NULL ? SSL_CTX_load_verify_file(s->ctx, cacert)
			    : SSL_CTX_set_default_verify_paths(s->ctx)) != 1)
		return FAN_EINVAL;
	s->ssl = SSL_new(s->ctx);
	if (s->ssl == NULL || SSL_set_fd(s->ssl, fd) != 1 || set_host(s, host) != 1)
		return FAN_ENOMEM;
	return 0;
}

static int
shake_hands(struct secure *s, int fd, int ms)
{
	uint64_t now, deadline = clock_ms() + (uint64_t)ms;

	while ((now = clock_ms()) < deadline) {
		struct silence silence;
		int rc, error, waited;

		silence_begin(&silence);
		rc = SSL_connect(s->ssl);
		error = SSL_get_error(s->ssl, rc);
		silence_end(&silence);
		if (rc == 1) {
			s->ready = true;
			return 0;
		}
		if (error == SSL_ERROR_SSL)
			return FAN_EDENIED;
		if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
			return FAN_EDOWN;
		waited = wait_fd(
		    fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, (int)(deadline - now));
		if (waited == FAN_EAGAIN)
			return waited;
	}
	return FAN_EDOWN;
}

static void
explain(const struct secure *s, int r, const char *cacert, char *why, size_t size)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	long verified = s->ssl != NULL ? SSL_get_verify_result(s->ssl) : X509_V_OK;

	if (r == FAN_EINVAL)
		(void)snprintf(why, size, "%s: no authorities can be read from it",
		    cacert != NULL ? cacert : "the system's store");
	else if (r == FAN_EDENIED && verified != X509_V_OK)
		(void)snprintf(why, size, "the server's certificate is not trusted: %s",
		    X509_verify_cert_error_string(verified));
	else if (r == FAN_EDENIED)
		(void)snprintf(
		    why, size, "no TLS: %s", reason != NULL ? reason : "the server refused");
	else if (r == FAN_EDOWN)
		(void)snprintf(why, size, "no answer to the TLS handshake");
}

int
secure_open(int fd, const char *host, const char *cacert, int ms, struct secure **out, char *why,
    size_t size)
{
	struct secure *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return FAN_ENOMEM;
	r = prepare(s, fd, host, cacert);
	if (r == 0)
		r = shake_hands(s, fd, ms);
	if (r != 0) {
		explain(s, r, cacert, why, size);
		secure_close(s);
		return r == FAN_EINVAL ? FAN_EDENIED : r;
	}
	*out = s;
	return 0;
}

void
secure_close(struct secure *s)
{
	struct silence silence;

	if (s == NULL)
		return;
	silence_begin(&silence);
	if (s->ready)
		(void)SSL_shutdown(s->ssl);
	silence_end(&silence);
	SSL_free(s->ssl);
	SSL_CTX_free(s->ctx);
	free(s);
}

/* What recv and send would have returned. */
static ssize_t
result(struct secure *s, int rc)
{
	int error = SSL_get_error(s->ssl, rc);

	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = EAGAIN;
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
		s->ready = false;
		errno = ECONNRESET;
	}
	return -1;
}

ssize_t
secure_send(struct secure *s, const void *p, size_t n)
{
	struct silence silence;
	size_t done = 0;
	ssize_t r;
	int rc;

	silence_begin(&silence);
	rc = SSL_write_ex(s->ssl, p, n, &done);
	r = rc == 1 ? (ssize_t)done : result(s, rc);
	silence_end(&silence);
	return r;
}

ssize_t
secure_recv(struct secure *s, void *p, size_t n)
{
	struct silence silence;
	size_t done = 0;
	ssize_t r;
	int rc;

	silence_begin(&silence);
	rc = SSL_read_ex(s->ssl, p, n, &done);
	r = rc == 1 ? (ssize_t)done : result(s, rc);
	silence_end(&silence);
	return r;
}
