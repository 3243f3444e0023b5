/*
 * Tests of worker/auth/base64url and worker/auth/jwk: keys, each with its one algorithm.
 */
#include "worker/auth/jwk.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "tests/unit/auth_keys.h"
#include "tests/unit/guard.h"
#include "worker/auth/base64url.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* --- base64url ------------------------------------------------------------------------------ */

Test(base64url, examples)
{
	/* RFC 4648 §10, without the padding; RFC 7515 §C. */
	static const char *const pairs[][2] = { { "", "" }, { "f", "Zg" }, { "fo", "Zm8" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg" }, { "fooba", "Zm9vYmE" },
		{ "foobar", "Zm9vYmFy" }, { "\x03\xec\xff\xe0\xc1", "A-z_4ME" } };

	for (size_t i = 0; i < N_OF(pairs); i++) {
		size_t n = strlen(pairs[i][1]);
		uint8_t bytes[8];
		struct buf b;

		cr_assert_eq(base64url_decode(pairs[i][1], n, bytes), 0);
		cr_assert_eq(BASE64URL_BYTES(n), strlen(pairs[i][0]));
		cr_assert_eq(memcmp(bytes, pairs[i][0], BASE64URL_BYTES(n)), 0);
		buf_init(&b, 64);
		cr_assert_eq(base64url_append(&b, pairs[i][0], strlen(pairs[i][0])), 0);
		cr_assert_eq(buf_len(&b), n);
		cr_assert(n == 0 || memcmp(buf_data(&b), pairs[i][1], n) == 0);
		buf_fini(&b);
	}
}

Test(base64url, every_length_and_byte_comes_back)
{
	uint8_t data[256], back[256];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 3);
	for (size_t n = 0; n <= sizeof(data); n++) {
		struct guard text = guard_new(512), out = guard_new(512);
		struct buf b;
		uint8_t *p;

		buf_init(&b, 512);
		cr_assert_eq(base64url_append(&b, guard_put(&text, data, n), n), 0);
		cr_assert_eq(BASE64URL_BYTES(buf_len(&b)), n);
		p = guard_put(&out, back, n);
		cr_assert_eq(
		    base64url_decode(
			(const char *)guard_put(&text, buf_data(&b), buf_len(&b)), buf_len(&b), p),
		    0);
		cr_assert(n == 0 || memcmp(p, data, n) == 0);
		buf_fini(&b);
		guard_free(&text);
		guard_free(&out);
	}
}

Test(base64url, one_spelling_alone)
{
	static const char *const bad[] = { "A", "AAAAA", "Zg==", "Zm8=", "Zm9v\n", " Zg", "Zh",
		"Zm9", "+w", "/w", "A+zz", "Zm8\xc3", "Zg\x80" };
	uint8_t out[8];

	for (size_t i = 0; i < N_OF(bad); i++)
		cr_assert_eq(
		    base64url_decode(bad[i], strlen(bad[i]), out), FAN_EINVAL, "%s", bad[i]);
	cr_assert_eq(base64url_decode("AA\0A", 4, out), FAN_EINVAL);
	/* Of all 256 bytes 64 are of the alphabet. */
	for (int c = 0, good = 0; c < 256; c++) {
		char text[4] = { 'A', 'A', 'A', (char)c };

		good += base64url_decode(text, 4, out) == 0;
		cr_assert(c < 255 || good == 64);
	}
}

Test(base64url, no_more_than_the_buffer_takes)
{
	struct buf b;

	buf_init(&b, 3);
	cr_assert_eq(base64url_append(&b, "ab", 2), 0);
	cr_assert_eq(base64url_append(&b, "a", 1), FAN_ETOOBIG);
	cr_assert_eq(buf_len(&b), 3);
	buf_fini(&b);
}

/* --- one key -------------------------------------------------------------------------------- */

static const char *why;

static int
parse(const char *text, enum jwk_use use, struct jwk *out)
{
	const char *json_why;
	json_t *v = NULL;
	int err;

	cr_assert_eq(
	    json_parse(text, strlen(text), 32, &v, &json_why), 0, "%s: %s", text, json_why);
	why = NULL;
	err = jwk_parse(v, use, out, &why);
	json_decref(v);
	return err;
}

static void
refused(const char *text, enum jwk_use use, int want, const char *phrase)
{
	struct jwk k;

	cr_assert_eq(parse(text, use, &k), want, "%s: %s", text, why);
	cr_assert_str_eq(why, phrase, "%s: %s", text, why);
	cr_assert(k.secret == NULL && k.key == NULL && k.kid == NULL);
}

Test(jwk, algorithm_is_the_one_of_its_kind_unless_it_says_another)
{
	static const struct {
		const char *text;
		enum jwk_alg alg;
	} keys[] = {
		{ HS_JWK, JWK_HS256 },
		{ RSA_JWK, JWK_RS256 },
		{ EC_JWK, JWK_ES256 },
		{ OKP_JWK, JWK_EDDSA },
		{ "{\"alg\":\"HS256\",\"kty\":\"oct\",\"k\":\"" HS_K "\"}", JWK_HS256 },
		{ "{\"alg\":\"HS384\",\"kty\":\"oct\",\"k\":\"" HS_K "\"}", JWK_HS384 },
		{ "{\"alg\":\"HS512\",\"kty\":\"oct\",\"k\":\"" HS_K "\"}", JWK_HS512 },
		{ "{\"alg\":\"RS256\"," RSA_PUBLIC_MEMBERS "}", JWK_RS256 },
		{ "{\"alg\":\"ES256\"," EC_PUBLIC_MEMBERS "}", JWK_ES256 },
		{ "{\"alg\":\"EdDSA\"," OKP_PUBLIC_MEMBERS "}", JWK_EDDSA },
	};
	struct jwk k;

	for (size_t i = 0; i < N_OF(keys); i++) {
		cr_assert_eq(parse(keys[i].text, JWK_VERIFY, &k), 0, "%s: %s", keys[i].text, why);
		cr_assert_eq(k.alg, keys[i].alg);
		cr_assert_eq(jwk_alg_is_hmac(k.alg), k.secret != NULL);
		cr_assert_neq(k.secret != NULL, k.key != NULL);
		cr_assert_null(k.kid);
		jwk_fini(&k);
	}
}

Test(jwk, names_of_algorithms)
{
	static const char *const none[] = { "", "none", "hs256", "HS256 ", "RS384", "PS256",
		"ES384", "Ed25519" };
	enum jwk_alg alg;

	for (int i = 0; i < JWK_ALGS; i++) {
		cr_assert_eq(jwk_alg_find(jwk_alg_name((enum jwk_alg)i), &alg), 0);
		cr_assert_eq((int)alg, i);
	}
	for (size_t i = 0; i < N_OF(none); i++)
		cr_assert_eq(jwk_alg_find(none[i], &alg), FAN_ENOENT, "%s", none[i]);
}

Test(jwk, algorithm_that_does_not_fit_is_an_error)
{
	static const char *const bad[] = {
		"{\"alg\":\"HS256\"," RSA_PUBLIC_MEMBERS "}",
		"{\"alg\":\"ES256\"," RSA_PUBLIC_MEMBERS "}",
		"{\"alg\":\"RS256\"," EC_PUBLIC_MEMBERS "}",
		"{\"alg\":\"EdDSA\"," EC_PUBLIC_MEMBERS "}",
		"{\"alg\":\"ES256\"," OKP_PUBLIC_MEMBERS "}",
		"{\"alg\":\"RS256\",\"kty\":\"oct\",\"k\":\"" HS_K "\"}",
	};

	for (size_t i = 0; i < N_OF(bad); i++)
		refused(bad[i], JWK_VERIFY, FAN_EINVAL, "its alg does not fit its kty");
	refused("{\"alg\":5," RSA_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_EINVAL, "alg must be a text");
}

/* RFC 7517 §5. */
Test(jwk, kinds_that_are_not_known_are_passed_over)
{
	refused("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}", JWK_VERIFY,
	    FAN_ENOENT, "keys of this kty and crv are not used here");
	refused("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"}", JWK_VERIFY, FAN_ENOENT,
	    "keys of this kty and crv are not used here");
	refused("{\"kty\":\"EC\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", JWK_VERIFY, FAN_ENOENT,
	    "keys of this kty and crv are not used here");
	refused("{\"kty\":\"AKP\"}", JWK_VERIFY, FAN_ENOENT,
	    "keys of this kty and crv are not used here");
	refused("{\"alg\":\"RS512\"," RSA_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_ENOENT,
	    "its alg is not used here");
	refused("{\"alg\":\"none\"," RSA_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_ENOENT,
	    "its alg is not used here");
}

Test(jwk, use_and_key_ops)
{
	static const char *const good[] = { "\"use\":\"sig\"", "\"key_ops\":[\"verify\"]",
		"\"key_ops\":[\"sign\",\"verify\"],\"use\":\"sig\"", "\"key_ops\":[\"sign\"]" };
	char text[2048];
	struct jwk k;

	for (size_t i = 0; i < N_OF(good); i++) {
		(void)snprintf(text, sizeof(text), "{%s,%s}", EC_PUBLIC_MEMBERS, good[i]);
		cr_assert_eq(parse(text, JWK_VERIFY, &k), 0, "%s: %s", text, why);
		jwk_fini(&k);
	}
	refused("{\"use\":\"enc\"," EC_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_ENOENT,
	    "its use is not sig");
	refused("{\"use\":1," EC_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_EINVAL, "use must be a text");
	refused("{\"key_ops\":[\"wrapKey\"]," EC_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_ENOENT,
	    "its key_ops do not allow it");
	refused("{\"key_ops\":[]," EC_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_ENOENT,
	    "its key_ops do not allow it");
	refused("{\"key_ops\":[\"sign\"],\"kty\":\"oct\",\"k\":\"" HS_K "\"}", JWK_VERIFY,
	    FAN_ENOENT, "its key_ops do not allow it");
	refused("{\"key_ops\":[\"verify\"]," EC_PUBLIC_MEMBERS ",\"d\":\"" EC_D "\"}", JWK_SIGN,
	    FAN_ENOENT, "its key_ops do not allow it");
	refused("{\"key_ops\":\"verify\"," EC_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_EINVAL,
	    "key_ops must be a list of texts");
	refused("{\"key_ops\":[1]," EC_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_EINVAL,
	    "key_ops must be a list of texts");
}

Test(jwk, kid)
{
	char kid[JWK_KID_MAX + 2], text[1024];
	struct jwk k;

	memset(kid, 'k', sizeof(kid));
	kid[JWK_KID_MAX] = '\0';
	(void)snprintf(text, sizeof(text), "{\"kid\":\"%s\",%s}", kid, OKP_PUBLIC_MEMBERS);
	cr_assert_eq(parse(text, JWK_VERIFY, &k), 0);
	cr_assert_str_eq(k.kid, kid);
	jwk_fini(&k);
	(void)snprintf(text, sizeof(text), "{\"kid\":\"%sk\",%s}", kid, OKP_PUBLIC_MEMBERS);
	refused(text, JWK_VERIFY, FAN_EINVAL, "kid must be a text of 1 to 255 bytes");
	refused("{\"kid\":\"\"," OKP_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_EINVAL,
	    "kid must be a text of 1 to 255 bytes");
	refused("{\"kid\":7," OKP_PUBLIC_MEMBERS "}", JWK_VERIFY, FAN_EINVAL,
	    "kid must be a text of 1 to 255 bytes");
}

Test(jwk, secrets_as_long_as_the_hash)
{
	static const size_t least[] = { 32, 48, 64 };
	static const char *const phrases[] = { "HS256 needs a secret of 32 bytes or more",
		"HS384 needs a secret of 48 bytes or more",
		"HS512 needs a secret of 64 bytes or more" };
	uint8_t secret[64] = { 0 };
	struct jwk k;

	for (int i = 0; i < 3; i++) {
		enum jwk_alg alg = (enum jwk_alg)(JWK_HS256 + i);
		char text[256];
		struct buf b;

		cr_assert_eq(
		    jwk_init_secret(&k, alg, NULL, secret, least[i] - 1, &why), FAN_EINVAL);
		cr_assert_str_eq(why, phrases[i]);
		cr_assert_eq(jwk_init_secret(&k, alg, "a", secret, least[i], &why), 0);
		cr_assert_str_eq(k.kid, "a");
		jwk_fini(&k);
		buf_init(&b, 256);
		cr_assert_eq(base64url_append(&b, secret, least[i] - 1), 0);
		(void)snprintf(text, sizeof(text),
		    "{\"kty\":\"oct\",\"alg\":\"%s\",\"k\":\"%.*s\"}", jwk_alg_name(alg),
		    (int)buf_len(&b), (const char *)buf_data(&b));
		refused(text, JWK_VERIFY, FAN_EINVAL, phrases[i]);
		buf_fini(&b);
	}
	refused("{\"kty\":\"oct\"}", JWK_VERIFY, FAN_EINVAL, "k must be base64url without padding");
	refused("{\"kty\":\"oct\",\"k\":\"" HS_K "=\"}", JWK_VERIFY, FAN_EINVAL,
	    "k must be base64url without padding");
	refused("{\"kty\":\"oct\",\"k\":[]}", JWK_VERIFY, FAN_EINVAL,
	    "k must be base64url without padding");
}

/* A public RSA key whose modulus has so many bits. */
static void
rsa_of(size_t bits, bool even, const char *exponent, char *out, size_t size)
{
	uint8_t modulus[1100];
	struct buf b;

	memset(modulus, 0xff, sizeof(modulus));
	modulus[0] = (uint8_t)(0xff >> (7 - (bits + 7) % 8));
	modulus[(bits + 7) / 8 - 1] = even ? 0xfe : 0xff;
	buf_init(&b, 4096);
	cr_assert_eq(base64url_append(&b, modulus, (bits + 7) / 8), 0);
	(void)snprintf(out, size, "{\"kty\":\"RSA\",\"e\":\"%s\",\"n\":\"%.*s\"}", exponent,
	    (int)buf_len(&b), (const char *)buf_data(&b));
	buf_fini(&b);
}

Test(jwk, sizes_of_rsa)
{
	char text[4096];
	struct jwk k;

	rsa_of(2048, false, "AQAB", text, sizeof(text));
	cr_assert_eq(parse(text, JWK_VERIFY, &k), 0, "%s", why);
	jwk_fini(&k);
	rsa_of(8192, false, "Aw", text, sizeof(text));
	cr_assert_eq(parse(text, JWK_VERIFY, &k), 0, "%s", why);
	jwk_fini(&k);
	rsa_of(2047, false, "AQAB", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "the RSA key is shorter than 2048 bits");
	rsa_of(1024, false, "AQAB", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "the RSA key is shorter than 2048 bits");
	rsa_of(8193, false, "AQAB", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "the RSA key is longer than 8192 bits");
	rsa_of(8800, false, "AQAB", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL,
	    "a number of the RSA key is missing, or not base64url without padding");
	rsa_of(2048, true, "AQAB", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "n and e are no RSA key");
	rsa_of(2048, false, "AQ", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "n and e are no RSA key");
	rsa_of(2048, false, "AQAA", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "n and e are no RSA key");
	rsa_of(2048, false, "AQAAAAAAAAAB", text, sizeof(text));
	refused(text, JWK_VERIFY, FAN_EINVAL, "n and e are no RSA key");
	refused("{\"kty\":\"RSA\",\"n\":\"" RSA_N "\"}", JWK_VERIFY, FAN_EINVAL,
	    "a number of the RSA key is missing, or not base64url without padding");
}

Test(jwk, points_that_are_none)
{
	/* x and y exchanged are no point; neither is 0, 0. */
	refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_Y "\",\"y\":\"" EC_X "\"}",
	    JWK_VERIFY, FAN_EINVAL, "x and y are no point of P-256");
	refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
		"\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
		"\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
	    JWK_VERIFY, FAN_EINVAL, "x and y are no point of P-256");
	refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"" EC_Y "\"}", JWK_VERIFY,
	    FAN_EINVAL, "x, y and d must be base64url of 32 bytes each");
	refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\"}", JWK_VERIFY, FAN_EINVAL,
	    "x, y and d must be base64url of 32 bytes each");
	refused("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", JWK_VERIFY, FAN_EINVAL,
	    "x and d must be base64url of 32 bytes each");
	refused("{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", JWK_VERIFY, FAN_EINVAL,
	    "x and d must be base64url of 32 bytes each");
}

/* Whether the key can sign. */
static bool
can_sign(const struct jwk *k)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t out[1024];
	size_t n = sizeof(out);
	bool ok = EVP_DigestSignInit(
		      ctx, NULL, k->alg == JWK_EDDSA ? NULL : EVP_sha256(), NULL, k->key) == 1 &&
	    EVP_DigestSign(ctx, out, &n, (const uint8_t *)"x", 1) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

Test(jwk, private_halves_are_kept_for_signing_alone)
{
	static const char *const keys[] = { RSA_PRIVATE_JWK, EC_PRIVATE_JWK, OKP_PRIVATE_JWK };
	static const char *const public[] = { RSA_JWK, EC_JWK, OKP_JWK };
	struct jwk k;

	for (size_t i = 0; i < N_OF(keys); i++) {
		cr_assert_eq(parse(keys[i], JWK_VERIFY, &k), 0, "%s", why);
		cr_assert_not(can_sign(&k), "%zu", i);
		jwk_fini(&k);
		cr_assert_eq(parse(keys[i], JWK_SIGN, &k), 0, "%s", why);
		cr_assert(can_sign(&k), "%zu", i);
		jwk_fini(&k);
		refused(public[i], JWK_SIGN, FAN_ENOENT, "the private half is missing");
	}
}

Test(jwk, private_half_of_another_key)
{
	refused("{" EC_PUBLIC_MEMBERS ",\"d\":\"" OKP_D "\"}", JWK_SIGN, FAN_EINVAL,
	    "the private half does not fit the public one");
	refused("{" OKP_PUBLIC_MEMBERS ",\"d\":\"" EC_D "\"}", JWK_SIGN, FAN_EINVAL,
	    "x is not the public half of d");
	refused("{" RSA_PUBLIC_MEMBERS ",\"d\":\"" RSA_N "\"}", JWK_SIGN, FAN_EINVAL,
	    "the private half does not fit the public one");
	/* All of the factors or none. */
	refused("{" RSA_PUBLIC_MEMBERS ",\"d\":\"" RSA_D "\",\"p\":\"AQAB\"}", JWK_SIGN, FAN_EINVAL,
	    "a number of the RSA key is missing, or not base64url without padding");
	refused("{" EC_PUBLIC_MEMBERS ",\"d\":\"AQAB\"}", JWK_SIGN, FAN_EINVAL,
	    "x, y and d must be base64url of 32 bytes each");
	refused("{" OKP_PUBLIC_MEMBERS ",\"d\":\"AQAB\"}", JWK_SIGN, FAN_EINVAL,
	    "x and d must be base64url of 32 bytes each");
}

Test(jwk, what_is_no_key)
{
	refused("{}", JWK_VERIFY, FAN_EINVAL, "kty must be a text");
	refused("{\"kty\":1}", JWK_VERIFY, FAN_EINVAL, "kty must be a text");
	refused("[]", JWK_VERIFY, FAN_EINVAL, "a key must be an object");
	refused("\"RSA\"", JWK_VERIFY, FAN_EINVAL, "a key must be an object");
}

/* --- sets ----------------------------------------------------------------------------------- */

static char notes[256];

static void
note(void *arg, size_t number, const char *kid, const char *reason)
{
	size_t n = strlen(notes);

	cr_assert_eq(arg, notes);
	(void)snprintf(
	    notes + n, sizeof(notes) - n, "%zu %s: %s\n", number, kid != NULL ? kid : "-", reason);
}

static struct jwk_fault fault;

static int
parse_set(const char *text, struct jwk_set *out)
{
	struct guard g = guard_new(strlen(text));
	int err;

	notes[0] = '\0';
	err = jwk_set_parse((const char *)guard_put(&g, text, strlen(text)), strlen(text),
	    JWK_VERIFY, out, note, notes, &fault);
	guard_free(&g);
	return err;
}

static void
refused_set(const char *text, size_t number, const char *kid, const char *phrase)
{
	struct jwk_set s;

	cr_assert_eq(parse_set(text, &s), FAN_EINVAL, "%s", text);
	cr_assert_str_eq(fault.why, phrase);
	cr_assert_eq(fault.number, number);
	cr_assert_str_eq(fault.kid, kid);
	cr_assert(s.n == 0 && s.item == NULL);
}

Test(jwk_set, keys_are_found_by_kid)
{
	struct jwk_set s;

	cr_assert_eq(parse_set("{\"keys\":[{\"kid\":\"a\"," EC_PUBLIC_MEMBERS "},"
			       "{\"kid\":\"b\",\"use\":\"enc\"," RSA_PUBLIC_MEMBERS "},"
			       "{\"kty\":\"new\"},"
			       "{\"kid\":\"c\"," OKP_PUBLIC_MEMBERS "}],\"x\":1}",
			 &s),
	    0, "%s", fault.why);
	cr_assert_eq(s.n, 2);
	cr_assert_eq(jwk_set_find(&s, "a")->alg, JWK_ES256);
	cr_assert_eq(jwk_set_find(&s, "c")->alg, JWK_EDDSA);
	cr_assert_null(jwk_set_find(&s, "b"));
	cr_assert_null(jwk_set_find(&s, ""));
	cr_assert_null(jwk_set_find(&s, NULL));
	cr_assert_str_eq(notes,
	    "2 b: its use is not sig\n"
	    "3 -: keys of this kty and crv are not used here\n");
	jwk_set_fini(&s);
}

Test(jwk_set, only_key_needs_no_name)
{
	static const char *const texts[] = { "{\"keys\":[" OKP_JWK "]}", OKP_JWK };
	struct jwk_set s;

	for (size_t i = 0; i < N_OF(texts); i++) {
		cr_assert_eq(parse_set(texts[i], &s), 0, "%s", fault.why);
		cr_assert_eq(jwk_set_find(&s, NULL), &s.item[0]);
		cr_assert_null(jwk_set_find(&s, "a"));
		jwk_set_fini(&s);
	}
}

Test(jwk_set, faults_name_the_key)
{
	refused_set("{\"keys\":[{\"kid\":\"a\"," EC_PUBLIC_MEMBERS
		    "},{\"kid\":\"a\"," OKP_PUBLIC_MEMBERS "}]}",
	    2, "a", "its kid is another key's too");
	refused_set("{\"keys\":[{\"kid\":\"a\"," EC_PUBLIC_MEMBERS "}," OKP_JWK "]}", 2, "",
	    "each of several keys needs a kid");
	refused_set("{\"keys\":[" EC_JWK ",{\"kid\":\"b\"," OKP_PUBLIC_MEMBERS "}]}", 2, "b",
	    "each of several keys needs a kid");
	refused_set("{\"keys\":[{\"kid\":\"a\"," EC_PUBLIC_MEMBERS
		    "},{\"kid\":\"s\",\"kty\":\"oct\","
		    "\"k\":\"AAAA\"}]}",
	    2, "s", "HS256 needs a secret of 32 bytes or more");
	refused_set("{\"keys\":[5]}", 1, "", "a key must be an object");
}

Test(jwk_set, texts_that_are_none)
{
	static const char many[] = "{\"kty\":\"x\"},";
	char text[sizeof(many) * (JWK_SET_MAX + 2)] = "{\"keys\":[";
	struct jwk_set s;

	refused_set("", 0, "", "malformed JSON");
	refused_set("{", 0, "", "malformed JSON");
	refused_set("5", 0, "", "a JWK Set is needed: {\"keys\": [...]}");
	refused_set("{}", 0, "", "a JWK Set is needed: {\"keys\": [...]}");
	refused_set("{\"keys\":{}}", 0, "", "a JWK Set is needed: {\"keys\": [...]}");
	refused_set("{\"keys\":[]}", 0, "", "no key in it can verify tokens");
	refused_set("{\"keys\":[{\"kty\":\"x\"}]}", 0, "", "no key in it can verify tokens");
	refused_set("{\"keys\":[],\"keys\":[]}", 0, "", "duplicate key in JSON");
	refused_set("[[[[[[[[[]]]]]]]]]", 0, "", "JSON nested too deep");
	for (int i = 0; i < JWK_SET_MAX; i++)
		(void)strcat(text, many);
	(void)strcpy(text + strlen(text) - 1, "]}");
	refused_set(text, 0, "", "no key in it can verify tokens");
	(void)strcpy(text + strlen(text) - 2, ",{}]}");
	refused_set(text, 0, "", "more than 100 keys");
	cr_assert_eq(
	    jwk_set_parse(EC_JWK, strlen(EC_JWK), JWK_SIGN, &s, NULL, NULL, &fault), FAN_EINVAL);
	cr_assert_str_eq(fault.why, "no key in it can sign tokens");
}

Test(jwk_set, every_cut_is_refused)
{
	static const char text[] =
	    "{\"keys\":[{\"kid\":\"a\"," EC_PUBLIC_MEMBERS "},{\"kid\":\"b\","
	    "\"kty\":\"oct\",\"k\":\"" HS_K "\"}]}";
	struct guard g = guard_new(sizeof(text));
	struct jwk_set s;

	for (size_t n = 0; n < sizeof(text) - 1; n++)
		cr_assert_eq(jwk_set_parse((const char *)guard_put(&g, text, n), n, JWK_VERIFY, &s,
				 NULL, NULL, &fault),
		    FAN_EINVAL, "%zu", n);
	guard_free(&g);
}
