/*
 * jwt: a signed token in compact form.  See jwt.h.
 */
#include "worker/auth/jwt.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/json.h"
#include "worker/auth/base64url.h"

#define HEADER_DEPTH 8
#define HEADER_MAX 2048 /* of one that is made; each byte of a kid may take six */
#define P256_BYTES ((size_t)32)
#define ECDSA_SIZE (2 * P256_BYTES)
#define ECDSA_DER_MAX 72

/* --- parts ---------------------------------------------------------------------------------- */

/* Decodes n characters; *out is for free() and has room for a NUL. */
static int
decode(const char *text, size_t n, uint8_t **out, size_t *len)
{
	*len = BASE64URL_BYTES(n);
	if ((*out = malloc(*len + 1)) == NULL)
		return FAN_ENOMEM;
	if (base64url_decode(text, n, *out) == 0) {
		(*out)[*len] = '\0';
		return 0;
	}
	free(*out);
	*out = NULL;
	return FAN_EINVAL;
}

/* What the header says; FAN_EINVAL with *why where it says what cannot be followed. */
static int
read_header(struct jwt *t, const char **why)
{
	const json_t *alg = json_object_get(t->header, "alg"),
		     *typ = json_object_get(t->header, "typ");
	const json_t *kid = json_object_get(t->header, "kid");
	const char *name = json_string_value(alg), *type = json_string_value(typ);

	*why = "the token's header is not an object with alg";
	if (name == NULL)
		return FAN_EINVAL;
	*why = "the token's alg is not accepted";
	if (jwk_alg_find(name, &t->alg) != 0)
		return FAN_EINVAL;
	*why = "the token's header has crit";
	if (json_object_get(t->header, "crit") != NULL)
		return FAN_EINVAL;
	*why = "the token's typ is not JWT";
	if (typ != NULL &&
	    (type == NULL || (strcasecmp(type, "JWT") != 0 && strcasecmp(type, "at+jwt") != 0)))
		return FAN_EINVAL;
	*why = "the token's kid is not a text";
	t->kid = json_string_value(kid);
	return kid != NULL && t->kid == NULL ? FAN_EINVAL : 0;
}

int
jwt_parse(const char *text, size_t n, struct jwt *out, const char **why)
{
	const char *first = n > 0 ? memchr(text, '.', n) : NULL, *second = NULL, *end = text + n;
	uint8_t *header = NULL;
	size_t len;
	int err = FAN_EINVAL;

	*out = (struct jwt){ .text = text };
	*why = "not a token of three parts in base64url";
	if (first != NULL)
		second = memchr(first + 1, '.', (size_t)(end - first) - 1);
	if (second == NULL)
		return FAN_EINVAL;
	out->header_len = (size_t)(first - text);
	out->signed_len = (size_t)(second - text);
	err = decode(text, out->header_len, &header, &len);
	if (err == 0)
		err = decode(
		    second + 1, (size_t)(end - second) - 1, &out->signature, &out->signature_len);
	if (err == 0)
		err = json_parse((char *)header, len, HEADER_DEPTH, &out->header, why);
	if (err == 0)
		err = read_header(out, why);
	free(header);
	if (err != 0)
		jwt_fini(out);
	return err;
}

void
jwt_fini(struct jwt *t)
{
	json_decref(t->header);
	free(t->signature);
	*t = (struct jwt){ 0 };
}

int
jwt_payload(const struct jwt *t, char **out, size_t *n)
{
	uint8_t *bytes;
	int err = decode(t->text + t->header_len + 1, t->signed_len - t->header_len - 1, &bytes, n);

	*out = (char *)bytes;
	return err;
}

/* --- signatures ----------------------------------------------------------------------------- */

static const EVP_MD *
digest_of(enum jwk_alg alg)
{
	return alg == JWK_EDDSA ? NULL
	    : alg == JWK_HS384  ? EVP_sha384()
	    : alg == JWK_HS512  ? EVP_sha512()
				: EVP_sha256();
}

/* FAN_ENOMEM. */
static int
mac(const struct jwk *k, const char *text, size_t n, uint8_t out[EVP_MAX_MD_SIZE], size_t *len)
{
	unsigned int size = 0;

	if (HMAC(digest_of(k->alg), k->secret, (int)k->secret_len, (const uint8_t *)text, n, out,
		&size) == NULL)
		return FAN_ENOMEM;
	*len = size;
	return 0;
}

static bool
mac_is(const struct jwt *t, const struct jwk *k)
{
	uint8_t own[EVP_MAX_MD_SIZE];
	size_t n;

	return mac(k, t->text, t->signed_len, own, &n) == 0 && t->signature_len == n &&
	    CRYPTO_memcmp(own, t->signature, n) == 0;
}

/* RFC 7518 §3.4: r and s, 32 bytes each, to what OpenSSL takes.  0: no memory, or no signature. */
static size_t
to_der(const uint8_t raw[ECDSA_SIZE], uint8_t der[ECDSA_DER_MAX])
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, (int)P256_BYTES, NULL);
	BIGNUM *s = BN_bin2bn(raw + P256_BYTES, (int)P256_BYTES, NULL);
	uint8_t *end = der;
	int n = 0;

	if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL; /* they are sig's now */
		n = i2d_ECDSA_SIG(sig, &end);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

static bool
signature_is(const struct jwt *t, const struct jwk *k)
{
	const uint8_t *signature = t->signature;
	size_t n = t->signature_len;
	uint8_t der[ECDSA_DER_MAX];
	EVP_MD_CTX *ctx;
	bool ok;

	if (k->alg == JWK_ES256) {
		if (n != ECDSA_SIZE || (n = to_der(signature, der)) == 0)
			return false;
		signature = der;
	}
	ctx = EVP_MD_CTX_new();
	ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, digest_of(k->alg), NULL, k->key) == 1 &&
	    EVP_DigestVerify(ctx, signature, n, (const uint8_t *)t->text, t->signed_len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error(); /* the TLS of the same process would take them for its own */
	return ok;
}

int
jwt_verify(const struct jwt *t, const struct jwk *key, const char **why)
{
	*why = "the token's alg is not that of its key";
	if (t->alg != key->alg)
		return FAN_EDENIED;
	*why = "the signature is not that of the key";
	return (key->key == NULL ? mac_is(t, key) : signature_is(t, key)) ? 0 : FAN_EDENIED;
}

/* --- making --------------------------------------------------------------------------------- */

/* The reverse of to_der. */
static int
from_der(const uint8_t *der, size_t n, uint8_t raw[ECDSA_SIZE])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
	const BIGNUM *r, *s;
	int err = FAN_ENOMEM;

	if (sig == NULL)
		return err;
	ECDSA_SIG_get0(sig, &r, &s);
	if (BN_bn2binpad(r, raw, (int)P256_BYTES) > 0 &&
	    BN_bn2binpad(s, raw + P256_BYTES, (int)P256_BYTES) > 0)
		err = 0;
	ECDSA_SIG_free(sig);
	return err;
}

static int
make_signature(
    const struct jwk *k, const char *text, size_t n, uint8_t out[JWK_RSA_BITS_MAX / 8], size_t *len)
{
	uint8_t der[ECDSA_DER_MAX];
	bool ec = k->alg == JWK_ES256, ok;
	EVP_MD_CTX *ctx;

	if (k->key == NULL)
		return mac(k, text, n, out, len);
	*len = ec ? sizeof(der) : JWK_RSA_BITS_MAX / 8;
	ctx = EVP_MD_CTX_new();
	ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, digest_of(k->alg), NULL, k->key) == 1 &&
	    EVP_DigestSign(ctx, ec ? der : out, len, (const uint8_t *)text, n) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (!ok)
		return FAN_EINVAL;
	if (!ec)
		return 0;
	ok = from_der(der, *len, out) == 0;
	*len = ECDSA_SIZE;
	return ok ? 0 : FAN_ENOMEM;
}

static int
append_header(struct buf *b, const struct jwk *k)
{
	struct buf text;
	int err;

	buf_init(&text, HEADER_MAX);
	err = buf_printf(&text, "{\"alg\":\"%s\",\"typ\":\"JWT\"", jwk_alg_name(k->alg));
	if (err == 0 && k->kid != NULL && (err = buf_append(&text, ",\"kid\":", 7)) == 0)
		err = json_append_string(&text, k->kid, strlen(k->kid));
	if (err == 0)
		err = buf_append(&text, "}", 1);
	if (err == 0)
		err = base64url_append(b, buf_data(&text), buf_len(&text));
	buf_fini(&text);
	return err;
}

int
jwt_sign(const struct jwk *key, const char *payload, size_t n, struct buf *out)
{
	uint8_t signature[JWK_RSA_BITS_MAX / 8];
	struct buf token;
	size_t len;
	int err;

	buf_init(&token, SIZE_MAX / 8);
	err = append_header(&token, key);
	if (err == 0)
		err = buf_append(&token, ".", 1);
	if (err == 0)
		err = base64url_append(&token, payload, n);
	if (err == 0)
		err = make_signature(
		    key, (const char *)buf_data(&token), buf_len(&token), signature, &len);
	if (err == 0)
		err = buf_append(&token, ".", 1);
	if (err == 0)
		err = base64url_append(&token, signature, len);
	if (err == 0)
		err = buf_append(out, buf_data(&token), buf_len(&token));
	buf_fini(&token);
	return err;
}
