/*
 * token_key: `fanfare token key`: new keys for tokens, as a JWK Set, and the public halves of keys.
 * See token.h.
 */
#include "cli/token.h"

#include <err.h>
#include <getopt.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check.h"
#include "common/buf.h"
#include "common/json.h"
#include "worker/auth/base64url.h"
#include "worker/auth/jwk.h"

#define RSA_BITS 2048
#define SECRET_BYTES 64 /* enough for each of the three */
#define NUMBER_MAX (JWK_RSA_BITS_MAX / 8)
#define TEXT_MAX 2048 /* of one number */

static const char usage[] =
    "usage: fanfare token key [--alg ALG] [--kid KID]\n"
    "       fanfare token key --public FILE\n"
    "Prints a new private key as a JWK Set, for --jwk; keep it where only its owner can read it.\n"
    "--public prints the public halves of the keys in FILE: what auth.jwks needs of them.\n"
    "\n"
    "      --alg ALG      HS256, HS384, HS512, RS256, ES256 or EdDSA (default ES256)\n"
    "      --kid KID      the key's name, which its tokens carry\n"
    "      --public FILE  a JWK or JWK Set with private keys; - is standard input\n"
    "  -h, --help\n";

/* --- making --------------------------------------------------------------------------------- */

static int
set_bytes(json_t *o, const char *name, const void *data, size_t n)
{
	struct buf text;
	int rc;

	buf_init(&text, TEXT_MAX);
	rc = base64url_append(&text, data, n);
	if (rc == 0 &&
	    json_object_set_new(
		o, name, json_stringn((const char *)buf_data(&text), buf_len(&text))) != 0)
		rc = FAN_ENOMEM;
	if (buf_len(&text) > 0)
		OPENSSL_cleanse(text.base, text.cap);
	buf_fini(&text);
	return rc;
}

/* A number of the key; width: its bytes, 0: as many as it needs. */
static int
set_number(json_t *o, const char *name, const EVP_PKEY *key, const char *param, size_t width)
{
	uint8_t bytes[NUMBER_MAX];
	BIGNUM *number = NULL;
	int rc = FAN_ENOMEM, n;

	if (EVP_PKEY_get_bn_param(key, param, &number) != 1)
		return rc;
	n = width > 0 ? (int)width : BN_num_bytes(number);
	if (n <= NUMBER_MAX && BN_bn2binpad(number, bytes, n) == n)
		rc = set_bytes(o, name, bytes, (size_t)n);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	BN_clear_free(number);
	return rc;
}

static int
fill_secret(json_t *o)
{
	uint8_t secret[SECRET_BYTES];
	int rc = FAN_ENOMEM;

	if (RAND_priv_bytes(secret, sizeof(secret)) == 1)
		rc = set_bytes(o, "k", secret, sizeof(secret));
	OPENSSL_cleanse(secret, sizeof(secret));
	return rc;
}

static int
fill_rsa(json_t *o)
{
	static const char *const numbers[][2] = {
		{ "n", OSSL_PKEY_PARAM_RSA_N },
		{ "e", OSSL_PKEY_PARAM_RSA_E },
		{ "d", OSSL_PKEY_PARAM_RSA_D },
		{ "p", OSSL_PKEY_PARAM_RSA_FACTOR1 },
		{ "q", OSSL_PKEY_PARAM_RSA_FACTOR2 },
		{ "dp", OSSL_PKEY_PARAM_RSA_EXPONENT1 },
		{ "dq", OSSL_PKEY_PARAM_RSA_EXPONENT2 },
		{ "qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1 },
	};
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS);
	int rc = key != NULL ? 0 : FAN_ENOMEM;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && rc == 0; i++)
		rc = set_number(o, numbers[i][0], key, numbers[i][1], 0);
	EVP_PKEY_free(key);
	return rc;
}

static int
fill_ec(json_t *o)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	int rc = key != NULL ? 0 : FAN_ENOMEM;

	if (rc == 0)
		rc = set_number(o, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, 32);
	if (rc == 0)
		rc = set_number(o, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
	if (rc == 0)
		rc = set_number(o, "d", key, OSSL_PKEY_PARAM_PRIV_KEY, 32);
	EVP_PKEY_free(key);
	return rc;
}

static int
fill_okp(json_t *o)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	uint8_t x[32], d[32];
	size_t xn = sizeof(x), dn = sizeof(d);
	int rc = FAN_ENOMEM;

	if (key != NULL && EVP_PKEY_get_raw_public_key(key, x, &xn) == 1 &&
	    EVP_PKEY_get_raw_private_key(key, d, &dn) == 1 && (rc = set_bytes(o, "x", x, xn)) == 0)
		rc = set_bytes(o, "d", d, dn);
	OPENSSL_cleanse(d, sizeof(d));
	EVP_PKEY_free(key);
	return rc;
}

static const struct {
	const char *kty, *crv;
	int (*fill)(json_t *o);
} kinds[JWK_ALGS] = {
	[JWK_HS256] = { "oct", NULL, fill_secret },
	[JWK_HS384] = { "oct", NULL, fill_secret },
	[JWK_HS512] = { "oct", NULL, fill_secret },
	[JWK_RS256] = { "RSA", NULL, fill_rsa },
	[JWK_ES256] = { "EC", "P-256", fill_ec },
	[JWK_EDDSA] = { "OKP", "Ed25519", fill_okp },
};

/* --- printing ------------------------------------------------------------------------------- */

static int
print_set(json_t *keys)
{
	json_t *set = json_object();
	int bad = json_object_set(set, "keys", keys);

	bad |= bad == 0 ? json_dumpf(set, stdout, JSON_INDENT(2)) : 0;
	json_decref(set);
	(void)fputc('\n', stdout);
	if (bad != 0)
		warnx("%s", fan_strerror(FAN_ENOMEM));
	return bad != 0 ? 1 : cli_finish_stdout();
}

static int
print_new(enum jwk_alg alg, const char *kid)
{
	json_t *o = json_object(), *keys = json_array();
	int status = 1, bad = json_object_set_new(o, "kty", json_string(kinds[alg].kty));

	if (kinds[alg].crv != NULL)
		bad |= json_object_set_new(o, "crv", json_string(kinds[alg].crv));
	if (kid != NULL)
		bad |= json_object_set_new(o, "kid", json_string(kid));
	bad |= json_object_set_new(o, "alg", json_string(jwk_alg_name(alg)));
	bad |= json_object_set_new(o, "use", json_string("sig"));
	if (bad == 0)
		bad = kinds[alg].fill(o);
	if (bad == 0)
		bad = json_array_append(keys, o);
	if (bad == 0)
		status = print_set(keys);
	else
		warnx("no key could be made");
	json_decref(o);
	json_decref(keys);
	return status;
}

/* Takes away what is private; a key of HMAC has no public half. */
static int
make_public(json_t *key)
{
	static const char *const private[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "key_ops" };
	const char *kty = json_string_value(json_object_get(key, "kty"));

	if (kty == NULL || strcmp(kty, "oct") == 0 || json_object_get(key, "k") != NULL) {
		warnx("a secret has no public half; give the broker the file itself");
		return FAN_EINVAL;
	}
	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
		(void)json_object_del(key, private[i]);
	return 0;
}

static int
print_public(const char *path)
{
	struct jwk_fault fault;
	struct jwk_set set = { 0 };
	json_t *root = NULL, *keys = NULL;
	char *text;
	size_t n;
	int status = 1, rc = token_read_file(path, &text, &n);

	if (rc != 0)
		return status;
	rc = jwk_set_parse(text, n, JWK_VERIFY, &set, NULL, NULL, &fault);
	if (rc == 0)
		rc = json_parse(text, n, JSON_DEPTH_MAX, &root, &fault.why);
	if (rc != 0)
		warnx("%s: key %zu: %s", path, fault.number, fault.why);
	if (rc == 0) {
		keys = json_incref(json_object_get(root, "keys"));
		if (keys == NULL && (keys = json_array()) != NULL)
			rc = json_array_append(keys, root);
		for (size_t i = 0; i < json_array_size(keys) && rc == 0; i++)
			rc = make_public(json_array_get(keys, i));
		if (rc == 0)
			status = print_set(keys);
	}
	jwk_set_fini(&set);
	json_decref(keys);
	json_decref(root);
	OPENSSL_cleanse(text, n);
	free(text);
	return status;
}

/* --- the command ---------------------------------------------------------------------------- */

int
cli_token_key(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "alg", required_argument, NULL, 'a' },
		{ "kid", required_argument, NULL, 'k' },
		{ "public", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *kid = NULL, *file = NULL;
	enum jwk_alg alg = JWK_ES256;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			(void)fputs(usage, stdout);
			return cli_finish_stdout();
		}
		if (opt == 'a' && jwk_alg_find(optarg, &alg) == 0)
			continue;
		if (opt == 'k' && *optarg != '\0' && strlen(optarg) <= JWK_KID_MAX)
			kid = optarg;
		else if (opt == 'p')
			file = optarg;
		else {
			(void)fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc || (file != NULL && kid != NULL)) {
		(void)fputs(usage, stderr);
		return 2;
	}
	return file != NULL ? print_public(file) : print_new(alg, kid);
}
