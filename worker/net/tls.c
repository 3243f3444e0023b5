/*
 * tls: TLS on a connected socket.  See tls.h.
 */
#include "worker/net/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "worker/net/tls_context.h"

struct tls {
	SSL *ssl;
	const char *why;  /* static; after TLS_FAILED */
	uint16_t pending; /* bytes that the next write must begin with */
	bool ready;       /* the handshake is done */
	bool failed;      /* nothing more may be done with ssl */
	bool was_http;
};

struct tls *
tls_new(struct tls_context *t, int fd)
{
	struct tls *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	ERR_clear_error();
	s->ssl = SSL_new(t->certificates.ctx[0]);
	if (s->ssl == NULL || SSL_set_fd(s->ssl, fd) != 1) {
		s->failed = true;
		tls_free(s);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_accept_state(s->ssl);
	return s;
}

void
tls_free(struct tls *s)
{
	if (s == NULL)
		return;
	if (s->ready && !s->failed) {
		ERR_clear_error();
		(void)SSL_shutdown(s->ssl);
	}
	SSL_free(s->ssl);
	free(s);
	ERR_clear_error();
}

/* --- results ------------------------------------------------------------------------------ */

/* Why OpenSSL gave up. */
static void
explain(struct tls *s)
{
	unsigned long error = ERR_peek_last_error();
	long verified = SSL_get_verify_result(s->ssl);

	s->why = ERR_reason_error_string(error);
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST)
		s->was_http = true;
	else if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
		s->why = X509_verify_cert_error_string(verified);
	if (s->why == NULL)
		s->why = "unknown reason";
}

static int
result(struct tls *s, int rc)
{
	switch (SSL_get_error(s->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_EOF;
	case SSL_ERROR_SYSCALL:
		s->failed = true;
		return TLS_GONE;
	default:
		s->failed = true;
		explain(s);
		return TLS_FAILED;
	}
}

/* --- the interface ------------------------------------------------------------------------ */

int
tls_handshake(struct tls *s)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(s->ssl);
	if (rc != 1)
		return result(s, rc);
	s->ready = true;
	log_debug("tls: version=%s cipher=%s resumed=%d kernel=%d", SSL_get_version(s->ssl),
	    SSL_get_cipher_name(s->ssl), SSL_session_reused(s->ssl), tls_kernel_sends(s));
	return 0;
}

ssize_t
tls_read(struct tls *s, uint8_t *p, size_t n)
{
	size_t got;
	int rc;

	assert(n >= TLS_RECORD_MAX);
	ERR_clear_error();
	rc = SSL_read_ex(s->ssl, p, n, &got);
	return rc == 1 ? (ssize_t)got : result(s, rc);
}

ssize_t
tls_write(struct tls *s, const uint8_t *p, size_t n)
{
	size_t sent;
	int rc;

	assert(n >= s->pending);
	if (s->pending > 0)
		n = s->pending;
	else if (n > TLS_RECORD_MAX)
		n = TLS_RECORD_MAX;
	ERR_clear_error();
	rc = SSL_write_ex(s->ssl, p, n, &sent);
	if (rc == 1) {
		s->pending = 0;
		return (ssize_t)sent;
	}
	s->pending = (uint16_t)n;
	return result(s, rc);
}

size_t
tls_pending(const struct tls *s)
{
	return s->pending;
}

int
tls_shutdown(struct tls *s)
{
	int rc;

	ERR_clear_error();
	rc = SSL_shutdown(s->ssl);
	return rc >= 0 ? 0 : result(s, rc);
}

bool
tls_kernel_sends(const struct tls *s)
{
	return s->ready && BIO_get_ktls_send(SSL_get_wbio(s->ssl));
}

const char *
tls_why(const struct tls *s)
{
	return s->why;
}

bool
tls_was_http(const struct tls *s)
{
	return s->was_http;
}
