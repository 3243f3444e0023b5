/*
 * Tests of worker/auth/jwt: the examples of the standards, each algorithm there and back, and what must
 * not be taken for a signature.
 */
#include "worker/auth/jwt.h"

#include <criterion/criterion.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "tests/unit/auth_keys.h"
#include "tests/unit/guard.h"
#include "worker/auth/base64url.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

#define OCT(alg) "{\"kty\":\"oct\",\"alg\":\"" alg "\",\"k\":\"" HS_K "\"}"

/* A key of each algorithm, in its order. */
static const char *const private_keys[JWK_ALGS] = { OCT("HS256"), OCT("HS384"), OCT("HS512"),
	RSA_PRIVATE_JWK, EC_PRIVATE_JWK, OKP_PRIVATE_JWK };

static const char *why;

static struct jwk
key_of(const char *text, enum jwk_use use)
{
	const char *json_why;
	struct jwk k;
	json_t *v;

	cr_assert_eq(json_parse(text, strlen(text), 32, &v, &json_why), 0);
	cr_assert_eq(jwk_parse(v, use, &k, &why), 0, "%s", why);
	json_decref(v);
	return k;
}

/* Splits and verifies: 0, FAN_EINVAL or FAN_EDENIED. */
static int
verify_n(const char *token, size_t n, const struct jwk *k)
{
	struct jwt t;
	int err = jwt_parse(token, n, &t, &why);

	if (err == 0) {
		err = jwt_verify(&t, k, &why);
		jwt_fini(&t);
	}
	return err;
}

static int
verify(const char *token, const struct jwk *k)
{
	return verify_n(token, strlen(token), k);
}

/* --- examples ------------------------------------------------------------------------------- */

/* The same payload and secret; made with Python's hmac. */
#define HS384_TOKEN                                                                                \
	"eyJhbGciOiJIUzM4NCJ9." RFC_PAYLOAD                                                        \
	".oXDrZsBTd6_RlkXLUTQJ0DSfHx5raR4Pq5jlRHf5v0WTm-zt8xcsCvXagNl0J4eM"
#define HS512_TOKEN                                                                                \
	"eyJhbGciOiJIUzUxMiJ9." RFC_PAYLOAD                                                        \
	".CyfHecbVPqPzB3zBwYd3rgVBi2Dgg-eAeX7JT8B85QbKLwSXyll8WKGdehse606szf9G3i-jr24QGkEtMAGSpg"

static const char *const examples[JWK_ALGS] = { HS_TOKEN, HS384_TOKEN, HS512_TOKEN, RSA_TOKEN,
	EC_TOKEN, OKP_TOKEN };

Test(jwt, examples_of_the_standards)
{
	for (int i = 0; i < JWK_ALGS; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);
		struct jwt t;
		char *payload;
		size_t n;

		cr_assert_eq(verify(examples[i], &k), 0, "%s: %s", jwk_alg_name(k.alg), why);
		cr_assert_eq(jwt_parse(examples[i], strlen(examples[i]), &t, &why), 0);
		cr_assert_eq(t.alg, k.alg);
		cr_assert_null(t.kid);
		cr_assert_eq(jwt_payload(&t, &payload, &n), 0);
		cr_assert_str_eq(payload,
		    i == JWK_EDDSA ? "Example of Ed25519 signing"
				   : "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n "
				     "\"http://example.com/is_root\":true}");
		cr_assert_eq(n, strlen(payload));
		free(payload);
		jwt_fini(&t);
		jwk_fini(&k);
	}
}

static char *
sign(const struct jwk *k, const char *payload)
{
	struct buf b;
	char *text;

	buf_init(&b, 1 << 20);
	cr_assert_eq(jwt_sign(k, payload, strlen(payload), &b), 0);
	text = strndup((const char *)buf_data(&b), buf_len(&b));
	buf_fini(&b);
	return text;
}

Test(jwt, there_and_back)
{
	for (int i = 0; i < JWK_ALGS; i++) {
		for (int named = 0; named < 2; named++) {
			struct jwk private = key_of(private_keys[i], JWK_SIGN);
			struct jwk public = key_of(private_keys[i], JWK_VERIFY);
			struct jwt t;
			char *token, *payload;
			size_t n;

			private.kid = named ? strdup("a \"key\"\n") : NULL;
			token = sign(&private, "{\"sub\":\"ada\"}");
			cr_assert_eq(verify(token, &public), 0, "%s", why);
			cr_assert_eq(jwt_parse(token, strlen(token), &t, &why), 0);
			cr_assert(named ? strcmp(t.kid, private.kid) == 0 : t.kid == NULL);
			cr_assert_eq(jwt_payload(&t, &payload, &n), 0);
			cr_assert_str_eq(payload, "{\"sub\":\"ada\"}");
			free(payload);
			free(token);
			jwt_fini(&t);
			jwk_fini(&private);
			jwk_fini(&public);
		}
	}
}

Test(jwt, what_cannot_sign)
{
	struct jwk public = key_of(EC_JWK, JWK_VERIFY), okp = key_of(OKP_PRIVATE_JWK, JWK_SIGN);
	struct buf b;

	buf_init(&b, 10);
	cr_assert_eq(jwt_sign(&public, "{}", 2, &b), FAN_EINVAL);
	cr_assert_eq(jwt_sign(&okp, "{}", 2, &b), FAN_ETOOBIG);
	cr_assert_eq(buf_len(&b), 0);
	buf_fini(&b);
	jwk_fini(&public);
	jwk_fini(&okp);
}

/* --- tampering ------------------------------------------------------------------------------ */

/* Every character stands for bits that count: another in its place, and it is another token. */
Test(jwt, no_character_can_be_changed, .timeout = 120)
{
	static const char others[] = "Aa0-_.=+ ";

	for (int i = 0; i < JWK_ALGS; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);
		char *token = strdup(examples[i]);
		size_t n = strlen(token);

		for (size_t at = 0; at < n; at++) {
			char was = token[at];

			for (size_t c = 0; c < sizeof(others); c++) {
				/* The last one is a NUL. */
				if (others[c] == was)
					continue;
				token[at] = others[c];
				cr_assert_neq(verify_n(token, n, &k), 0, "%d: %zu", i, at);
			}
			token[at] = (char)(was ^ 1);
			cr_assert_neq(verify_n(token, n, &k), 0, "%d: %zu", i, at);
			token[at] = was;
		}
		cr_assert_eq(verify_n(token, n, &k), 0);
		free(token);
		jwk_fini(&k);
	}
}

Test(jwt, every_cut_is_refused)
{
	struct guard g = guard_new(1024);

	for (int i = 0; i < JWK_ALGS; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);
		size_t n = strlen(examples[i]);

		for (size_t len = 0; len <= n; len++) {
			const char *p = (const char *)guard_put(&g, examples[i], len);

			cr_assert_eq(verify_n(p, len, &k) == 0, len == n, "%d: %zu", i, len);
			p = (const char *)guard_put(&g, examples[i] + n - len, len);
			cr_assert_eq(verify_n(p, len, &k) == 0, len == n, "%d: -%zu", i, len);
		}
		jwk_fini(&k);
	}
	guard_free(&g);
}

/* --- confusion ------------------------------------------------------------------------------ */

/* header.payload of these texts. */
static struct buf
input(const char *header, const char *payload)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	cr_assert_eq(base64url_append(&b, header, strlen(header)), 0);
	cr_assert_eq(buf_append(&b, ".", 1), 0);
	cr_assert_eq(base64url_append(&b, payload, strlen(payload)), 0);
	return b;
}

/* The token of it with these bytes as its signature. */
static char *
signed_with(struct buf *b, const void *signature, size_t n)
{
	char *text;

	cr_assert_eq(buf_append(b, ".", 1), 0);
	cr_assert_eq(base64url_append(b, signature, n), 0);
	text = strndup((const char *)buf_data(b), buf_len(b));
	buf_fini(b);
	return text;
}

/* Signed with HS256 by whatever bytes. */
static char *
mac_token(const char *header, const char *payload, const void *secret, size_t n)
{
	struct buf b = input(header, payload);
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned int len;

	cr_assert_not_null(
	    HMAC(EVP_sha256(), secret, (int)n, buf_data(&b), buf_len(&b), mac, &len));
	return signed_with(&b, mac, len);
}

/* Each key takes tokens of its own algorithm alone, whoever signed them. */
Test(jwt, key_has_one_algorithm)
{
	for (int i = 0; i < JWK_ALGS; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);

		for (int other = 0; other < JWK_ALGS; other++) {
			cr_assert_eq(verify(examples[other], &k), other == i ? 0 : FAN_EDENIED);
			if (other != i)
				cr_assert_str_eq(why, "the token's alg is not that of its key");
		}
		jwk_fini(&k);
	}
}

/* FAULTS 22: the public key as the secret of HMAC, as PEM, as DER, as its numbers. */
Test(jwt, public_key_is_no_secret)
{
	static const char *const keys[] = { RSA_JWK, EC_JWK, OKP_JWK };
	static const char *const headers[] = { "{\"alg\":\"HS256\"}", "{\"alg\":\"RS256\"}",
		"{\"alg\":\"ES256\"}", "{\"alg\":\"EdDSA\"}" };

	for (size_t i = 0; i < N_OF(keys); i++) {
		struct jwk k = key_of(keys[i], JWK_VERIFY);
		BIO *pem = BIO_new(BIO_s_mem());
		unsigned char *der = NULL;
		int len = i2d_PUBKEY(k.key, &der);
		char *text;
		long n;

		cr_assert(len > 0 && PEM_write_bio_PUBKEY(pem, k.key) == 1);
		n = BIO_get_mem_data(pem, &text);
		for (size_t h = 0; h < N_OF(headers); h++) {
			char *tokens[] = { mac_token(headers[h], "{}", text, (size_t)n),
				mac_token(headers[h], "{}", der, (size_t)len),
				mac_token(headers[h], "{}", keys[i], strlen(keys[i])),
				mac_token(headers[h], "{}", "", 0) };

			for (size_t t = 0; t < N_OF(tokens); t++) {
				cr_assert_eq(verify(tokens[t], &k), FAN_EDENIED);
				free(tokens[t]);
			}
		}
		OPENSSL_free(der);
		BIO_free(pem);
		jwk_fini(&k);
	}
}

Test(jwt, none_is_no_algorithm)
{
	static const char *const names[] = { "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ",
		"HS1", "RS384", "PS256", "ES256K", "ES384", "ES512", "A128KW", "dir" };
	struct jwk k = key_of(private_keys[0], JWK_VERIFY);
	char header[64];

	cr_assert_eq(verify("eyJhbGciOiJub25lIn0." RFC_PAYLOAD ".", &k), FAN_EINVAL);
	for (size_t i = 0; i < N_OF(names); i++) {
		struct buf b;
		char *token;

		(void)snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", names[i]);
		b = input(header, "{}");
		token = signed_with(&b, "", 0);
		cr_assert_eq(verify(token, &k), FAN_EINVAL, "%s", names[i]);
		cr_assert_str_eq(why, "the token's alg is not accepted");
		free(token);
	}
	jwk_fini(&k);
}

Test(jwt, no_signature_at_all)
{
	for (int i = 0; i < JWK_ALGS; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);
		const char *end = strrchr(examples[i], '.');

		cr_assert_eq(
		    verify_n(examples[i], (size_t)(end - examples[i]) + 1, &k), FAN_EDENIED);
		cr_assert_eq(verify_n(examples[i], (size_t)(end - examples[i]), &k), FAN_EINVAL);
		jwk_fini(&k);
	}
}

/* A signature that is right as far as it goes, and goes on. */
Test(jwt, nothing_behind_the_signature)
{
	static const char *const more[] = { "A", "AA", "AAAA", "AAAAAAAAAAAA" };

	for (int i = 0; i < JWK_ALGS; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);

		for (size_t m = 0; m < N_OF(more); m++) {
			char *token = NULL;
			struct jwt t;

			/* Behind whole bytes, whatever bits the last character had to spare. */
			cr_assert(asprintf(&token, "%s%s", examples[i], more[m]) > 0);
			cr_assert_neq(verify(token, &k), 0);
			free(token);
			cr_assert_eq(jwt_parse(examples[i], strlen(examples[i]), &t, &why), 0);
			t.signature = realloc(t.signature, t.signature_len + strlen(more[m]));
			memset(t.signature + t.signature_len, 0, strlen(more[m]));
			t.signature_len += strlen(more[m]);
			cr_assert_eq(jwt_verify(&t, &k, &why), FAN_EDENIED);
			jwt_fini(&t);
		}
		jwk_fini(&k);
	}
}

/* RFC 7518 §3.4 has r and s as they are; DER, other lengths, 0 and numbers beyond the order are none. */
Test(jwt, signatures_of_es256_that_are_none)
{
	struct jwk private = key_of(EC_PRIVATE_JWK, JWK_SIGN), k = key_of(EC_JWK, JWK_VERIFY);
	uint8_t bytes[200], der[128];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct buf b = input("{\"alg\":\"ES256\"}", "{}");
	size_t n = sizeof(der);
	char *token;

	cr_assert_eq(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, private.key), 1);
	cr_assert_eq(EVP_DigestSign(ctx, der, &n, buf_data(&b), buf_len(&b)), 1);
	EVP_MD_CTX_free(ctx);
	token = signed_with(&b, der, n);
	cr_assert_eq(verify(token, &k), FAN_EDENIED);
	free(token);
	for (int fill = 0; fill < 256; fill += 255) {
		memset(bytes, fill, sizeof(bytes));
		for (n = 0; n < sizeof(bytes); n++) {
			b = input("{\"alg\":\"ES256\"}", "{}");
			token = signed_with(&b, bytes, n);
			cr_assert_eq(verify(token, &k), FAN_EDENIED);
			free(token);
		}
	}
	jwk_fini(&private);
	jwk_fini(&k);
}

/* --- constant time -------------------------------------------------------------------------- */

static size_t compared, compared_bytes;

/* In place of OpenSSL's, which this program finds first: counts what is compared by it. */
int
CRYPTO_memcmp(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t differ = 0;

	compared++;
	compared_bytes += n;
	for (size_t i = 0; i < n; i++)
		differ |= x[i] ^ y[i];
	return differ;
}

/* FAULTS 24: a MAC is compared as a whole, wherever it differs, by the function that takes its time. */
Test(jwt, macs_are_compared_in_constant_time)
{
	for (int i = JWK_HS256; i <= JWK_HS512; i++) {
		struct jwk k = key_of(private_keys[i], JWK_VERIFY);
		struct jwt t;

		cr_assert_eq(jwt_parse(examples[i], strlen(examples[i]), &t, &why), 0);
		for (size_t at = 0; at < t.signature_len; at++) {
			t.signature[at] ^= 0x80;
			compared = compared_bytes = 0;
			cr_assert_eq(jwt_verify(&t, &k, &why), FAN_EDENIED);
			cr_assert_eq(compared, 1);
			cr_assert_eq(compared_bytes, t.signature_len);
			t.signature[at] ^= 0x80;
		}
		cr_assert_eq(jwt_verify(&t, &k, &why), 0);
		jwt_fini(&t);
		jwk_fini(&k);
	}
}

/* --- headers -------------------------------------------------------------------------------- */

static int
header_is(const char *header)
{
	uint8_t secret[32] = { 0 };
	struct jwk k;
	char *token = mac_token(header, "{}", secret, sizeof(secret));
	int err;

	cr_assert_eq(jwk_init_secret(&k, JWK_HS256, NULL, secret, sizeof(secret), &why), 0);
	err = verify(token, &k);
	jwk_fini(&k);
	free(token);
	return err;
}

Test(jwt, headers_that_are_followed)
{
	static const char *const good[] = { "{\"alg\":\"HS256\"}",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{\"alg\":\"HS256\",\"typ\":\"jwt\"}",
		"{\"alg\":\"HS256\",\"typ\":\"at+JWT\"}", " { \"alg\" : \"HS\\u0032\\u00356\" } ",
		/* Of these nothing is looked at. */
		"{\"alg\":\"HS256\",\"jku\":\"http://127.0.0.1:1/\",\"x5u\":\"file:///etc/passwd\","
		"\"jwk\":" OKP_JWK ",\"x5c\":[\"AAAA\"],\"cty\":\"JWT\",\"zip\":\"DEF\"}" };

	for (size_t i = 0; i < N_OF(good); i++)
		cr_assert_eq(header_is(good[i]), 0, "%s: %s", good[i], why);
}

Test(jwt, headers_that_are_refused)
{
	static const char *const bad[] = { "", "{", "5", "[]", "null", "\"HS256\"", "{}",
		"{\"alg\":5}", "{\"alg\":null}", "{\"alg\":[\"HS256\"]}", "{\"ALG\":\"HS256\"}",
		"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "{\"alg\":\"HS256\",\"crit\":[]}",
		"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
		"{\"alg\":\"HS256\",\"crit\":null}", "{\"alg\":\"HS256\",\"typ\":\"JOSE\"}",
		"{\"alg\":\"HS256\",\"typ\":\"\"}", "{\"alg\":\"HS256\",\"typ\":7}",
		"{\"alg\":\"HS256\",\"typ\":null}", "{\"alg\":\"HS256\",\"kid\":7}",
		"{\"alg\":\"HS256\",\"kid\":null}", "{\"alg\":\"HS256\",\"kid\":\"a\\u0000b\"}",
		"{\"alg\":\"HS256\",\"x\":[[[[[[[[[]]]]]]]]]}", "{\"alg\":\"HS256\"}x",
		"{\"alg\":\"HS256\",\"x\":\"\xff\"}" };

	for (size_t i = 0; i < N_OF(bad); i++) {
		cr_assert_eq(header_is(bad[i]), FAN_EINVAL, "%s", bad[i]);
		cr_assert(why != NULL && *why != '\0');
	}
}

Test(jwt, texts_that_are_no_tokens)
{
	static const char *const bad[] = { "", ".", "..", "...", "a", "a.b", "a.b.c", "ey", " ",
		HS_TOKEN ".", HS_TOKEN ".AA", "." HS_TOKEN, HS_TOKEN " ", " " HS_TOKEN,
		HS_TOKEN "=", HS_TOKEN "\n" };
	struct jwk k = key_of(private_keys[0], JWK_VERIFY);

	for (size_t i = 0; i < N_OF(bad); i++)
		cr_assert_eq(verify(bad[i], &k), FAN_EINVAL, "%s", bad[i]);
	jwk_fini(&k);
}

/* The payload is nobody's business before the signature; then it must be base64url. */
Test(jwt, payload_that_is_none)
{
	struct jwt t;
	char *payload;
	size_t n;

	cr_assert_eq(jwt_parse("eyJhbGciOiJIUzI1NiJ9.!.AA", 25, &t, &why), 0, "%s", why);
	cr_assert_eq(jwt_payload(&t, &payload, &n), FAN_EINVAL);
	cr_assert_null(payload);
	jwt_fini(&t);
	cr_assert_eq(jwt_parse("eyJhbGciOiJIUzI1NiJ9..AA", 24, &t, &why), 0, "%s", why);
	cr_assert_eq(jwt_payload(&t, &payload, &n), 0);
	cr_assert_eq(n, 0);
	free(payload);
	jwt_fini(&t);
}
