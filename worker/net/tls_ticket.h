/*
 * tls_ticket: the keys of session tickets.
 *
 * Owns:    the secret and the keys of two periods.
 * Process: workers.
 * Layer:   worker/net, part of tls.  Uses OpenSSL.
 *
 * The keys of a period are HMAC-SHA256 of its number under the master's secret: whoever knows the
 * secret has the same keys at the same time, and after a restart has them again.
 */
#ifndef WORKER_NET_TLS_TICKET_H
#define WORKER_NET_TLS_TICKET_H

#include <openssl/evp.h>
#include <stdint.h>

#include "worker/net/tls.h"

#define TLS_TICKET_NAME 16

struct tls_ticket_key {
	uint64_t period; /* since 1970; 0: not derived yet */
	uint8_t name[TLS_TICKET_NAME];
	uint8_t cipher[32];
	uint8_t mac[32];
};

struct tls_tickets {
	uint8_t secret[TLS_SECRET_SIZE];
	int64_t shift; /* s; a test's: as if it were so much later */
	struct tls_ticket_key key[2];
};

void tls_tickets_init(struct tls_tickets *t, const uint8_t *secret);
void tls_tickets_fini(struct tls_tickets *t);

/*
 * What SSL_CTX_set_tlsext_ticket_key_evp_cb asks for: prepares to encrypt a ticket (enc), and writes
 * name and iv, or to decrypt the one of this name and iv.  1: done; 2: done, but give the client a
 * new one; 0: the key is unknown; -1: failed.
 */
int tls_tickets_use(struct tls_tickets *t, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int enc);

#endif
