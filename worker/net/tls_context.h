/*
 * tls_context: what the TLS connections of a worker share.
 *
 * Owns:    the certificates by name, the tickets' keys.
 * Process: workers.
 * Layer:   worker/net, part of tls.  Uses tls_cert, tls_ticket, common/map; OpenSSL.
 */
#ifndef WORKER_NET_TLS_CONTEXT_H
#define WORKER_NET_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/map.h"
#include "worker/net/tls_ticket.h"

/* What the files held when they were read. */
struct tls_certificates {
	SSL_CTX **ctx; /* in the configuration's order; the first is the default */
	size_t n;
	struct map names; /* to the context of the first certificate that has the name */
};

struct tls_context {
	struct tls_certificates certificates;
	struct tls_tickets tickets;
};

/*
 * The certificate for the name that a client asked for, or NULL: none has it.  A wildcard stands for
 * one label, and a certificate with the name itself comes before it (RFC 6125 §6.4.3).
 */
SSL_CTX *tls_certificates_find(const struct tls_certificates *c, const char *name);

#endif
