/*
 * fuzz_token: keys and tokens (worker/auth), as strangers and operators write them.
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/auth, common; tests/unit/auth_keys.
 *
 * Input: a letter, and behind it what it says:
 *   B  bytes for base64url, and the same as its text
 *   K  a JWK Set, for verifying and for signing
 *   F  the same as the file of auth.jwks
 *   T  a token, put to a set of keys whose private halves are known to all
 *   C  claims, in a token that is properly signed; c: where audience and issuer are asked for
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/json.h"
#include "common/member.h"
#include "common/publication.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/auth_keys.h"
#include "worker/auth/base64url.h"
#include "worker/auth/jwk.h"
#include "worker/auth/jwt.h"
#include "worker/auth/token.h"

#define NOW INT64_C(1800000000)
#define SECRET "0123456789abcdef0123456789abcdef"
#define SET                                                                                        \
	"{\"keys\":[{\"kid\":\"r\"," RSA_PUBLIC_MEMBERS "},{\"kid\":\"e\"," EC_PUBLIC_MEMBERS "}," \
	"{\"kid\":\"o\"," OKP_PUBLIC_MEMBERS "},{\"kid\":\"h\",\"kty\":\"oct\",\"alg\":\"HS512\"," \
	"\"k\":\"" HS_K "\"},{\"kid\":\"m\",\"kty\":\"oct\",\"alg\":\"HS384\",\"k\":\"" HS_K       \
	"\"}]}"

/* A file of these bytes that has no other name than *path. */
static int
file_of(const void *p, size_t n, char path[64])
{
	int fd = memfd_create("jwks", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	(void)snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

static void
put(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
	FUZZ_CHECK(*field != NULL);
}

static struct conf *
new_conf(const char *secret, const char *jwks)
{
	struct conf *c = conf_new();

	FUZZ_CHECK(c != NULL);
	put(&c->auth.secret, secret);
	put(&c->auth.jwks, jwks);
	return c;
}

/* Made once: with the secret, and with the set; with a demand for audience and issuer, and without. */
static struct tokens *
known(bool strict)
{
	static struct tokens *made[2];
	char path[64];
	struct conf *c;
	int fd;

	if (made[strict] != NULL)
		return made[strict];
	fd = file_of(SET, sizeof(SET) - 1, path);
	c = new_conf(SECRET, path);
	if (strict) {
		put(&c->auth.audience, "a");
		put(&c->auth.issuer, "i");
	}
	FUZZ_CHECK(tokens_load(c, &made[strict]) == 0 && made[strict] != NULL);
	conf_free(c);
	close(fd);
	return made[strict];
}

/* --- base64url ------------------------------------------------------------------------------ */

static void
check_base64url(const uint8_t *p, size_t n)
{
	uint8_t *back = fuzz_copy(p, n);
	struct buf b;

	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(base64url_append(&b, p, n) == 0);
	FUZZ_CHECK(BASE64URL_BYTES(buf_len(&b)) == n);
	FUZZ_CHECK(base64url_decode((const char *)buf_data(&b), buf_len(&b), back) == 0);
	FUZZ_CHECK(n == 0 || memcmp(back, p, n) == 0);
	buf_clear(&b);
	/* What can be decoded is spelled so and not otherwise. */
	if (base64url_decode((const char *)p, n, back) == 0) {
		FUZZ_CHECK(base64url_append(&b, back, BASE64URL_BYTES(n)) == 0);
		FUZZ_CHECK(buf_len(&b) == n && (n == 0 || memcmp(buf_data(&b), p, n) == 0));
	}
	buf_fini(&b);
	free(back);
}

/* --- keys ----------------------------------------------------------------------------------- */

static void
check_jwk(const struct jwk *k)
{
	FUZZ_CHECK((k->secret != NULL) == jwk_alg_is_hmac(k->alg));
	FUZZ_CHECK((k->key != NULL) != jwk_alg_is_hmac(k->alg));
	FUZZ_CHECK(k->secret == NULL || k->secret_len >= 32);
	FUZZ_CHECK(k->kid == NULL || (*k->kid != '\0' && strlen(k->kid) <= JWK_KID_MAX));
}

/* What a private key signs its public half verifies, and no other key of the set. */
static void
check_pair(const struct jwk *private, const struct jwk_set *public)
{
	const struct jwk *k = jwk_set_find(public, private->kid);
	const char *why;
	struct buf b;
	struct jwt t;

	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(jwt_sign(private, "{}", 2, &b) == 0);
	FUZZ_CHECK(jwt_parse((const char *)buf_data(&b), buf_len(&b), &t, &why) == 0);
	FUZZ_CHECK(t.alg == private->alg);
	if (k != NULL && k->alg == private->alg)
		FUZZ_CHECK(jwt_verify(&t, k, &why) == 0);
	t.signature[0] ^= 1;
	FUZZ_CHECK(k == NULL || jwt_verify(&t, k, &why) == FAN_EDENIED);
	jwt_fini(&t);
	buf_fini(&b);
}

static void
count(void *arg, size_t number, const char *kid, const char *why)
{
	size_t *last = arg;

	FUZZ_CHECK(number > *last && number <= JWK_SET_MAX && why != NULL);
	FUZZ_CHECK(kid == NULL || strlen(kid) < SIZE_MAX);
	*last = number;
}

static void
check_set(const uint8_t *p, size_t n)
{
	char *text = (char *)fuzz_copy(p, n);
	struct jwk_set public, private;
	struct jwk_fault fault;
	size_t last = 0;
	int err = jwk_set_parse(text, n, JWK_VERIFY, &public, count, &last, &fault);

	FUZZ_CHECK(err == 0 || (err == FAN_EINVAL && fault.why != NULL && public.item == NULL));
	for (size_t i = 0; i < public.n; i++) {
		check_jwk(&public.item[i]);
		FUZZ_CHECK(
		    public.n == 1 || jwk_set_find(&public, public.item[i].kid) == &public.item[i]);
	}
	if (jwk_set_parse(text, n, JWK_SIGN, &private, NULL, NULL, &fault) == 0) {
		FUZZ_CHECK(private.n > 0);
		for (size_t i = 0; i < private.n; i++) {
			check_jwk(&private.item[i]);
			check_pair(&private.item[i], &public);
		}
		jwk_set_fini(&private);
	}
	jwk_set_fini(&public);
	free(text);
}

/* With a secret and without one. */
static void
check_file(const uint8_t *p, size_t n)
{
	char path[64], *said;
	int fd = file_of(p, n, path);

	for (int with = 0; with < 2; with++) {
		struct conf *c = new_conf(with ? SECRET : "", path);
		struct tokens *t = NULL;
		size_t len;
		FILE *err = open_memstream(&said, &len);
		int rc;

		FUZZ_CHECK(err != NULL);
		rc = tokens_check(c, err);
		(void)fclose(err);
		FUZZ_CHECK((rc == 0) == (len == 0) && (rc == 0 || rc == FAN_EINVAL));
		/* One line, whatever is in the names. */
		FUZZ_CHECK(len == 0 || strchr(said, '\n') == said + len - 1);
		FUZZ_CHECK(rc != 0 || (tokens_load(c, &t) == 0 && t != NULL));
		tokens_free(t);
		free(said);
		conf_free(c);
	}
	close(fd);
}

/* --- tokens --------------------------------------------------------------------------------- */

static void
check_globs(char **globs)
{
	size_t n = 0;

	for (; globs != NULL && globs[n] != NULL; n++)
		FUZZ_CHECK(*globs[n] != '\0' && *globs[n] != CHANNEL_INTERNAL &&
		    strlen(globs[n]) <= CHANNEL_NAME_MAX);
	FUZZ_CHECK(n <= TOKEN_GLOBS_MAX);
}

static void
check_claims(const struct claims *c)
{
	FUZZ_CHECK(c->user != NULL && strlen(c->user) <= USER_ID_MAX);
	FUZZ_CHECK(c->info == NULL ||
	    (strlen(c->info) <= MEMBER_INFO_MAX &&
		json_valid(c->info, strlen(c->info), JSON_DEPTH_MAX)));
	FUZZ_CHECK(c->channel == NULL ||
	    channel_name_valid(c->channel, strlen(c->channel), CHANNEL_NAME_MAX));
	FUZZ_CHECK(c->expires > NOW - 60);
	check_globs(c->channels);
	check_globs(c->publish);
}

/* Returns whether it is valid. */
static bool
check_token(const uint8_t *p, size_t n, bool strict)
{
	const char *why = NULL, *again;
	char *text = (char *)fuzz_copy(p, n);
	struct claims c;
	int err = token_verify(known(strict), text, n, NOW, &c, &why);

	FUZZ_CHECK(err == 0 || err == FAN_EDENIED || err == FAN_EEXPIRED);
	again = token_explain(known(strict), text, n, NOW);
	FUZZ_CHECK((again == NULL) == (err == 0));
	if (err == 0) {
		check_claims(&c);
		claims_fini(&c);
		/* One bit, and it is nobody's. */
		text[n / 2] ^= 1;
		FUZZ_CHECK(token_explain(known(strict), text, n, NOW) != NULL);
	} else {
		FUZZ_CHECK(why != NULL && c.user == NULL && c.info == NULL);
	}
	free(text);
	return err == 0;
}

static void
check_payload(const uint8_t *p, size_t n, bool strict)
{
	const char *why;
	struct jwk k;
	struct buf b;

	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(jwk_init_secret(&k, JWK_HS256, NULL, SECRET, strlen(SECRET), &why) == 0);
	FUZZ_CHECK(jwt_sign(&k, (const char *)p, n, &b) == 0);
	(void)check_token(buf_data(&b), buf_len(&b), strict);
	/* Of what is for one audience nothing changes where none is asked for. */
	if (strict && check_token(buf_data(&b), buf_len(&b), true))
		FUZZ_CHECK(check_token(buf_data(&b), buf_len(&b), false));
	buf_fini(&b);
	jwk_fini(&k);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0]) {
	case 'B':
		check_base64url(data + 1, size - 1);
		break;
	case 'K':
		check_set(data + 1, size - 1);
		break;
	case 'F':
		check_file(data + 1, size - 1);
		break;
	case 'C':
	case 'c':
		check_payload(data + 1, size - 1, data[0] == 'c');
		break;
	default:
		(void)check_token(data + 1, size - 1, data[0] == 't');
	}
	return 0;
}
