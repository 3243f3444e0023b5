/*
 * tls_ticket: the keys of session tickets.  See tls_ticket.h.
 */
#include "worker/net/tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <time.h>

#define SHA256_SIZE 32

void
tls_tickets_init(struct tls_tickets *t, const uint8_t *secret)
{
	memset(t, 0, sizeof(*t));
	memcpy(t->secret, secret, sizeof(t->secret));
}

void
tls_tickets_fini(struct tls_tickets *t)
{
	OPENSSL_cleanse(t, sizeof(*t));
}

/* out = HMAC(secret, use || period); use tells the three apart. */
static int
derive(const struct tls_tickets *t, uint8_t use, uint64_t period, uint8_t out[SHA256_SIZE])
{
	uint8_t text[9] = { use };
	unsigned n = SHA256_SIZE;
	int i;

	for (i = 0; i < 8; i++)
		text[1 + i] = (uint8_t)(period >> (56 - 8 * i));
	return HMAC(EVP_sha256(), t->secret, sizeof(t->secret), text, sizeof(text), out, &n) == NULL
	    ? -1
	    : 0;
}

/* The key of a period, from one of two places, as only two neighbours are ever wanted.  NULL: failed. */
static const struct tls_ticket_key *
key_of(struct tls_tickets *t, uint64_t period)
{
	struct tls_ticket_key *k = &t->key[period % 2];
	uint8_t name[SHA256_SIZE];

	if (k->period == period)
		return k;
	k->period = 0;
	if (derive(t, 'n', period, name) != 0 || derive(t, 'c', period, k->cipher) != 0 ||
	    derive(t, 'm', period, k->mac) != 0)
		return NULL;
	memcpy(k->name, name, sizeof(k->name));
	k->period = period;
	return k;
}

static int
set_keys(const struct tls_ticket_key *k, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int enc)
{
	/* OpenSSL's interface takes what it only reads without const. */
	union {
		const uint8_t *in;
		void *out;
	} key = { .in = k->mac };
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.out, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1 &&
		EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, enc) == 1
	    ? 0
	    : -1;
}

int
tls_tickets_use(struct tls_tickets *t, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int enc)
{
	uint64_t period = (uint64_t)(time(NULL) + t->shift) / TLS_TICKET_PERIOD;
	const struct tls_ticket_key *k = key_of(t, period);
	int found = 1;

	if (k == NULL)
		return -1;
	if (enc) {
		memcpy(name, k->name, sizeof(k->name));
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			return -1;
		return set_keys(k, iv, cipher, mac, 1) == 0 ? 1 : -1;
	}
	if (memcmp(name, k->name, sizeof(k->name)) != 0) {
		found = 2;
		k = key_of(t, period - 1);
		if (k == NULL)
			return -1;
		if (memcmp(name, k->name, sizeof(k->name)) != 0)
			return 0;
	}
	return set_keys(k, iv, cipher, mac, 0) == 0 ? found : -1;
}
