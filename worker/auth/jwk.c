/*
 * jwk: keys of tokens out of a JWK Set.  See jwk.h.
 *
 * What OpenSSL queues as errors is cleared here: the TLS of the same process would take them for its own.
 */
#include "worker/auth/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "worker/auth/base64url.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))
#define P256_BYTES 32
#define ED25519_BYTES 32
#define EXPONENT_BITS_MAX 64 /* what OpenSSL takes with a large modulus */

static const char no_memory[] = "out of memory";

/* --- algorithms ----------------------------------------------------------------------------- */

static const struct {
	const char *name, *kty, *crv;
	size_t secret_min; /* RFC 7518 §3.2: as long as the hash */
} algs[JWK_ALGS] = {
	[JWK_HS256] = { "HS256", "oct", NULL, 32 },
	[JWK_HS384] = { "HS384", "oct", NULL, 48 },
	[JWK_HS512] = { "HS512", "oct", NULL, 64 },
	[JWK_RS256] = { "RS256", "RSA", NULL, 0 },
	[JWK_ES256] = { "ES256", "EC", "P-256", 0 },
	[JWK_EDDSA] = { "EdDSA", "OKP", "Ed25519", 0 },
};

const char *
jwk_alg_name(enum jwk_alg alg)
{
	return algs[alg].name;
}

int
jwk_alg_find(const char *name, enum jwk_alg *out)
{
	for (unsigned i = 0; i < JWK_ALGS; i++) {
		if (strcmp(name, algs[i].name) == 0) {
			*out = (enum jwk_alg)i;
			return 0;
		}
	}
	return FAN_ENOENT;
}

bool
jwk_alg_is_hmac(enum jwk_alg alg)
{
	return algs[alg].secret_min > 0;
}

/* --- members of the object ------------------------------------------------------------------ */

/* A member that must be a text where it is there.  FAN_ENOENT: it is not. */
static int
text_member(const json_t *object, const char *name, const char **out)
{
	const json_t *v = json_object_get(object, name);

	*out = json_string_value(v);
	if (v == NULL)
		return FAN_ENOENT;
	return *out != NULL ? 0 : FAN_EINVAL;
}

/* The bytes of a member; *out is for free(). */
static int
bytes_member(const json_t *object, const char *name, uint8_t **out, size_t *n)
{
	const char *text;
	int err = text_member(object, name, &text);
	size_t len;

	*out = NULL;
	if (err != 0)
		return err;
	len = strlen(text);
	*n = BASE64URL_BYTES(len);
	if ((*out = malloc(*n + 1)) == NULL)
		return FAN_ENOMEM;
	if (base64url_decode(text, len, *out) == 0)
		return 0;
	free(*out);
	*out = NULL;
	return FAN_EINVAL;
}

/* The same, of exactly n bytes, into out. */
static int
fixed_member(const json_t *object, const char *name, uint8_t *out, size_t n)
{
	uint8_t *bytes;
	size_t len;
	int err = bytes_member(object, name, &bytes, &len);

	if (err != 0)
		return err;
	if (len == n)
		memcpy(out, bytes, n);
	OPENSSL_cleanse(bytes, len);
	free(bytes);
	return len == n ? 0 : FAN_EINVAL;
}

/* What is said of a member that failed so. */
static const char *
why_of(int err, const char *broken)
{
	return err == FAN_ENOMEM ? no_memory : broken;
}

/* --- key material --------------------------------------------------------------------------- */

/* The n bytes are copied. */
static int
set_secret(struct jwk *k, const void *secret, size_t n, const char **why)
{
	if (n < algs[k->alg].secret_min) {
		*why = k->alg == JWK_HS256 ? "HS256 needs a secret of 32 bytes or more"
		    : k->alg == JWK_HS384  ? "HS384 needs a secret of 48 bytes or more"
					   : "HS512 needs a secret of 64 bytes or more";
		return FAN_EINVAL;
	}
	*why = no_memory;
	if ((k->secret = malloc(n)) == NULL)
		return FAN_ENOMEM;
	memcpy(k->secret, secret, n);
	k->secret_len = n;
	return 0;
}

int
jwk_init_secret(struct jwk *k, enum jwk_alg alg, const char *kid, const void *secret, size_t n,
    const char **why)
{
	int err;

	*k = (struct jwk){ .alg = alg };
	*why = no_memory;
	if (kid != NULL && (k->kid = strdup(kid)) == NULL)
		return FAN_ENOMEM;
	if ((err = set_secret(k, secret, n, why)) != 0)
		jwk_fini(k);
	return err;
}

static int
read_secret(const json_t *object, struct jwk *k, const char **why)
{
	uint8_t *bytes;
	size_t n = 0;
	int err = bytes_member(object, "k", &bytes, &n);

	if (err != 0) {
		*why = why_of(err, "k must be base64url without padding");
		return err == FAN_ENOENT ? FAN_EINVAL : err;
	}
	err = set_secret(k, bytes, n, why);
	OPENSSL_cleanse(bytes, n);
	free(bytes);
	return err;
}

/* A key pair or public key of that type; NULL: the parameters are none, or there is no memory. */
static EVP_PKEY *
from_params(const char *type, OSSL_PARAM_BLD *bld, bool pair)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 &&
	    EVP_PKEY_fromdata(ctx, &key, pair ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) <=
		0)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return key;
}

/* The numbers of an RSA key: two public ones, then the private ones. */
static const struct {
	const char *member, *param;
} rsa_numbers[] = {
	{ "n", OSSL_PKEY_PARAM_RSA_N },
	{ "e", OSSL_PKEY_PARAM_RSA_E },
	{ "d", OSSL_PKEY_PARAM_RSA_D },
	{ "p", OSSL_PKEY_PARAM_RSA_FACTOR1 },
	{ "q", OSSL_PKEY_PARAM_RSA_FACTOR2 },
	{ "dp", OSSL_PKEY_PARAM_RSA_EXPONENT1 },
	{ "dq", OSSL_PKEY_PARAM_RSA_EXPONENT2 },
	{ "qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1 },
};
#define RSA_PUBLIC 2
#define RSA_WITHOUT_FACTORS 3

/* FAN_ENOENT: the member is not there. */
static int
read_number(const json_t *object, const char *name, BIGNUM **out)
{
	uint8_t *bytes;
	size_t n;
	int err = bytes_member(object, name, &bytes, &n);

	if (err != 0)
		return err;
	*out = n <= JWK_RSA_BITS_MAX / 8 + 1 ? BN_bin2bn(bytes, (int)n, NULL) : NULL;
	OPENSSL_cleanse(bytes, n);
	free(bytes);
	return *out != NULL ? 0 : FAN_EINVAL;
}

/* NULL, or why nobody should trust such a key. */
static const char *
rsa_fault(const BIGNUM *modulus, const BIGNUM *exponent)
{
	int bits = BN_num_bits(modulus);

	if (bits < JWK_RSA_BITS_MIN)
		return "the RSA key is shorter than 2048 bits";
	if (bits > JWK_RSA_BITS_MAX)
		return "the RSA key is longer than 8192 bits";
	if (!BN_is_odd(modulus) || !BN_is_odd(exponent) || BN_is_one(exponent) ||
	    BN_num_bits(exponent) > EXPONENT_BITS_MAX)
		return "n and e are no RSA key";
	return NULL;
}

static int
read_rsa(const json_t *object, bool pair, struct jwk *k, const char **why)
{
	BIGNUM *number[N_OF(rsa_numbers)] = { NULL };
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	/* The factors may be left out, all five together (RFC 7518 §6.3.2). */
	size_t n = !pair                           ? RSA_PUBLIC
	    : json_object_get(object, "p") == NULL ? RSA_WITHOUT_FACTORS
						   : N_OF(rsa_numbers);
	int err = bld != NULL ? 0 : FAN_ENOMEM;

	for (size_t i = 0; i < n && err == 0; i++) {
		err = read_number(object, rsa_numbers[i].member, &number[i]);
		if (err == 0 && OSSL_PARAM_BLD_push_BN(bld, rsa_numbers[i].param, number[i]) != 1)
			err = FAN_ENOMEM;
	}
	*why = why_of(err, "a number of the RSA key is missing, or not base64url without padding");
	if (err == 0 && (*why = rsa_fault(number[0], number[1])) == NULL) {
		*why = "the numbers are no RSA key";
		k->key = from_params("RSA", bld, pair);
	}
	OSSL_PARAM_BLD_free(bld);
	for (size_t i = 0; i < N_OF(rsa_numbers); i++)
		BN_clear_free(number[i]);
	return err == FAN_ENOMEM ? err : k->key == NULL ? FAN_EINVAL : 0;
}

static int
read_ec(const json_t *object, bool pair, struct jwk *k, const char **why)
{
	uint8_t point[1 + 2 * P256_BYTES] = { POINT_CONVERSION_UNCOMPRESSED }, d[P256_BYTES];
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *scalar = NULL;
	int err = fixed_member(object, "x", point + 1, P256_BYTES);

	if (err == 0)
		err = fixed_member(object, "y", point + 1 + P256_BYTES, P256_BYTES);
	if (err == 0 && pair && (err = fixed_member(object, "d", d, P256_BYTES)) == 0)
		scalar = BN_bin2bn(d, P256_BYTES, NULL);
	*why = why_of(err, "x, y and d must be base64url of 32 bytes each");
	if (err == 0 && bld != NULL && (scalar != NULL || !pair) &&
	    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) ==
		1 &&
	    (!pair || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, scalar) == 1)) {
		*why = "x and y are no point of P-256";
		k->key = from_params("EC", bld, pair);
	}
	OPENSSL_cleanse(d, sizeof(d));
	OSSL_PARAM_BLD_free(bld);
	BN_clear_free(scalar);
	return err == FAN_ENOMEM ? err : k->key == NULL ? FAN_EINVAL : 0;
}

static int
read_okp(const json_t *object, bool pair, struct jwk *k, const char **why)
{
	uint8_t x[ED25519_BYTES], d[ED25519_BYTES], own[ED25519_BYTES];
	size_t n = sizeof(own);
	int err = fixed_member(object, "x", x, sizeof(x));

	if (err == 0 && pair)
		err = fixed_member(object, "d", d, sizeof(d));
	*why = why_of(err, "x and d must be base64url of 32 bytes each");
	if (err != 0)
		return err == FAN_ENOMEM ? err : FAN_EINVAL;
	k->key = pair ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, d, sizeof(d))
		      : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
	OPENSSL_cleanse(d, sizeof(d));
	/* With the private half OpenSSL makes the public one itself. */
	if (k->key != NULL && EVP_PKEY_get_raw_public_key(k->key, own, &n) == 1 &&
	    memcmp(own, x, sizeof(x)) == 0)
		return 0;
	*why = "x is not the public half of d";
	return FAN_EINVAL;
}

/* Whether what the private half signs the public half verifies. */
static bool
is_pair(const struct jwk *k)
{
	static const uint8_t probe[] = "probe";
	const EVP_MD *md = k->alg == JWK_EDDSA ? NULL : EVP_sha256();
	EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
	uint8_t signature[JWK_RSA_BITS_MAX / 8];
	size_t n = sizeof(signature);
	bool ok = sign != NULL && verify != NULL &&
	    EVP_DigestSignInit(sign, NULL, md, NULL, k->key) == 1 &&
	    EVP_DigestSign(sign, signature, &n, probe, sizeof(probe)) == 1 &&
	    EVP_DigestVerifyInit(verify, NULL, md, NULL, k->key) == 1 &&
	    EVP_DigestVerify(verify, signature, n, probe, sizeof(probe)) == 1;

	EVP_MD_CTX_free(sign);
	EVP_MD_CTX_free(verify);
	return ok;
}

static int
read_material(const json_t *object, enum jwk_use use, struct jwk *k, const char **why)
{
	bool pair = use == JWK_SIGN;
	int err;

	if (jwk_alg_is_hmac(k->alg))
		return read_secret(object, k, why);
	if (pair && json_object_get(object, "d") == NULL) {
		*why = "the private half is missing";
		return FAN_ENOENT;
	}
	err = k->alg == JWK_RS256 ? read_rsa(object, pair, k, why)
	    : k->alg == JWK_ES256 ? read_ec(object, pair, k, why)
				  : read_okp(object, pair, k, why);
	if (err == 0 && pair && !is_pair(k)) {
		*why = "the private half does not fit the public one";
		err = FAN_EINVAL;
	}
	return err;
}

/* --- one key -------------------------------------------------------------------------------- */

/* The algorithm, from alg, or else from kty and crv. */
static int
read_alg(const json_t *object, enum jwk_alg *out, const char **why)
{
	const char *kty, *crv, *name;
	bool curved = text_member(object, "crv", &crv) == 0;
	unsigned i = 0;
	int err;

	*why = "kty must be a text";
	if (text_member(object, "kty", &kty) != 0)
		return FAN_EINVAL;
	while (i < JWK_ALGS &&
	    (strcmp(kty, algs[i].kty) != 0 ||
		(algs[i].crv != NULL && (!curved || strcmp(crv, algs[i].crv) != 0))))
		i++;
	*why = "keys of this kty and crv are not used here";
	if (i == JWK_ALGS)
		return FAN_ENOENT;
	*out = (enum jwk_alg)i;
	if ((err = text_member(object, "alg", &name)) == FAN_ENOENT)
		return 0;
	*why = "alg must be a text";
	if (err != 0)
		return err;
	*why = "its alg is not used here";
	if (jwk_alg_find(name, out) != 0)
		return FAN_ENOENT;
	*why = "its alg does not fit its kty";
	return strcmp(algs[*out].kty, algs[i].kty) == 0 ? 0 : FAN_EINVAL;
}

/* Whether key_ops, a list of texts, has the word. */
static bool
has_op(const json_t *ops, const char *word)
{
	for (size_t i = 0; i < json_array_size(ops); i++)
		if (strcmp(json_string_value(json_array_get(ops, i)), word) == 0)
			return true;
	return false;
}

/* RFC 7517 §4.2, §4.3: what the key may be used for, where it says so. */
static int
check_use(const json_t *object, enum jwk_use use, enum jwk_alg alg, const char **why)
{
	const json_t *ops = json_object_get(object, "key_ops");
	const char *word;
	int err = text_member(object, "use", &word);

	*why = "use must be a text";
	if (err == FAN_EINVAL)
		return err;
	*why = "its use is not sig";
	if (err == 0 && strcmp(word, "sig") != 0)
		return FAN_ENOENT;
	if (ops == NULL)
		return 0;
	*why = "key_ops must be a list of texts";
	if (!json_is_array(ops))
		return FAN_EINVAL;
	for (size_t i = 0; i < json_array_size(ops); i++)
		if (!json_is_string(json_array_get(ops, i)))
			return FAN_EINVAL;
	*why = "its key_ops do not allow it";
	if (has_op(ops, use == JWK_SIGN ? "sign" : "verify"))
		return 0;
	/* Of a private key that may sign, the public half may verify. */
	return use == JWK_VERIFY && !jwk_alg_is_hmac(alg) && has_op(ops, "sign") ? 0 : FAN_ENOENT;
}

int
jwk_parse(const json_t *object, enum jwk_use use, struct jwk *out, const char **why)
{
	const char *kid;
	int err;

	*out = (struct jwk){ .alg = JWK_HS256 };
	*why = "a key must be an object";
	if (!json_is_object(object))
		return FAN_EINVAL;
	if ((err = read_alg(object, &out->alg, why)) != 0)
		return err;
	if ((err = check_use(object, use, out->alg, why)) != 0)
		return err;
	err = text_member(object, "kid", &kid);
	*why = "kid must be a text of 1 to 255 bytes";
	if (err == FAN_EINVAL || (err == 0 && (*kid == '\0' || strlen(kid) > JWK_KID_MAX)))
		return FAN_EINVAL;
	if (err == 0 && (out->kid = strdup(kid)) == NULL) {
		*why = no_memory;
		return FAN_ENOMEM;
	}
	err = read_material(object, use, out, why);
	if (err != 0)
		jwk_fini(out);
	ERR_clear_error();
	return err;
}

void
jwk_fini(struct jwk *k)
{
	if (k->secret != NULL)
		OPENSSL_cleanse(k->secret, k->secret_len);
	free(k->secret);
	free(k->kid);
	EVP_PKEY_free(k->key);
	*k = (struct jwk){ .alg = k->alg };
}
