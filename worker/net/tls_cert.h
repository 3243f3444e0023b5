/*
 * tls_cert: certificates, keys and authorities from their files.
 *
 * Owns:    nothing.
 * Process: workers; the command line and the master through tls_check.
 * Layer:   worker/net, part of tls.  Uses common/log; OpenSSL.
 *
 * What is wrong is said with option, file and reason.  Nothing here asks for a pass phrase.
 */
#ifndef WORKER_NET_TLS_CERT_H
#define WORKER_NET_TLS_CERT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

/* Where what is said goes. */
struct tls_report {
	FILE *err;       /* NULL: to the log, with what was read */
	const char *key; /* the option that is read */
};

void tls_report_error(const struct tls_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Says that there is no memory.  Returns FAN_ENOMEM. */
int tls_report_nomem(const struct tls_report *r);

/* The reason of OpenSSL's last error in its own words, never NULL; empties its list of errors. */
const char *tls_reason(void);

/*
 * Reads one item of tls.certificates, "CHAIN.pem KEY.pem" or one file with both, into ctx.
 * FAN_EINVAL, FAN_ENOMEM.
 */
FAN_NODISCARD int tls_cert_load(SSL_CTX *ctx, const char *item, const struct tls_report *r);

#define TLS_AUTHORITIES_DIGEST 32

/* Who may have signed a client's certificate. */
struct tls_authorities {
	X509_STORE *store;
	STACK_OF(X509_NAME) * names;
	uint8_t digest[TLS_AUTHORITIES_DIGEST]; /* of the file */
};

/* FAN_EINVAL, FAN_ENOMEM: *a is empty.  The caller frees with tls_authorities_fini. */
FAN_NODISCARD int tls_authorities_load(
    struct tls_authorities *a, const char *path, const struct tls_report *r);
void tls_authorities_fini(struct tls_authorities *a);

#endif
