/*
 * Tests of worker/auth/token: reading the keys, and what a token may claim.
 */
#include "worker/auth/token.h"

#include <criterion/criterion.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/member.h"
#include "tests/unit/auth_keys.h"
#include "tests/unit/guard.h"
#include "worker/auth/base64url.h"
#include "worker/auth/jwt.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))
#define NOW INT64_C(1800000000)
#define SECRET "0123456789abcdef0123456789abcdef"

static struct conf *conf;
static struct tokens *tokens;
static struct claims claims;
static char path[] = "/tmp/fanfare-token-XXXXXX";
static const char *why;

static void
put(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
}

static void
write_file(const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	cr_assert_eq(fwrite(text, 1, n, f), n);
	cr_assert_eq(fclose(f), 0);
}

/* Reads the keys anew, by auth.secret and by this JWK Set (NULL: none). */
static void
load(const char *secret, const char *set)
{
	tokens_free(tokens);
	put(&conf->auth.secret, secret);
	put(&conf->auth.jwks, set != NULL ? path : "");
	if (set != NULL)
		write_file(set, strlen(set));
	cr_assert_eq(tokens_load(conf, &tokens), 0);
}

static void
setup(void)
{
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	close(fd);
	conf = conf_new();
	cr_assert_not_null(conf);
	load(SECRET, NULL);
}

static void
teardown(void)
{
	tokens_free(tokens);
	conf_free(conf);
	unlink(path);
}

TestSuite(token, .init = setup, .fini = teardown);

/* A token of this payload, for free(). */
static char *
sign_with(const struct jwk *k, const char *payload)
{
	struct buf b;
	char *text;

	buf_init(&b, 1 << 20);
	cr_assert_eq(jwt_sign(k, payload, strlen(payload), &b), 0);
	text = strndup((const char *)buf_data(&b), buf_len(&b));
	buf_fini(&b);
	return text;
}

static char *
sign(const char *payload)
{
	struct jwk k;
	char *text;

	cr_assert_eq(jwk_init_secret(&k, JWK_HS256, NULL, SECRET, strlen(SECRET), &why), 0);
	text = sign_with(&k, payload);
	jwk_fini(&k);
	return text;
}

static int
verify_at(const char *token, int64_t now)
{
	struct guard g = guard_new(strlen(token));
	int err;

	memset(&claims, 0xa5, sizeof(claims));
	why = NULL;
	err = token_verify(tokens, (const char *)guard_put(&g, token, strlen(token)), strlen(token),
	    now, &claims, &why);
	guard_free(&g);
	return err;
}

/* The result for a token of auth.secret with this payload. */
static int
claim_at(const char *payload, int64_t now)
{
	char *token = sign(payload);
	int err = verify_at(token, now);

	free(token);
	return err;
}

static void
refused(const char *payload, const char *phrase)
{
	cr_assert_eq(claim_at(payload, NOW), FAN_EDENIED, "%s", payload);
	cr_assert_str_eq(why, phrase, "%s: %s", payload, why);
	cr_assert(claims.user == NULL && claims.info == NULL && claims.channel == NULL &&
	    claims.channels == NULL && claims.publish == NULL);
}

static void
good(const char *payload)
{
	cr_assert_eq(claim_at(payload, NOW), 0, "%s: %s", payload, why);
}

#define EXP "\"exp\":1800000060"

/* --- claims --------------------------------------------------------------------------------- */

Test(token, all_claims)
{
	good("{" EXP
	     ",\"sub\":\"ada\",\"info\":{ \"a b\" : [1.10, \"\\\" \\\\\"] },\"channels\":[\"a:*\","
	     "\"b\"],\"publish\":[\"c:[0-9]?\"],\"iat\":1799999999,\"nbf\":1799999999.5,\"jti\":"
	     "\"x\"}");
	cr_assert_str_eq(claims.user, "ada");
	cr_assert_str_eq(claims.info, "{\"a b\":[1.10,\"\\\" \\\\\"]}");
	cr_assert_null(claims.channel);
	cr_assert_str_eq(claims.channels[0], "a:*");
	cr_assert_str_eq(claims.channels[1], "b");
	cr_assert_null(claims.channels[2]);
	cr_assert_str_eq(claims.publish[0], "c:[0-9]?");
	cr_assert_null(claims.publish[1]);
	cr_assert_eq(claims.expires, 1800000060);
	claims_fini(&claims);
	cr_assert_null(claims.user);
}

Test(token, nothing_but_exp_is_needed)
{
	good("{" EXP "}");
	cr_assert_str_eq(claims.user, "");
	cr_assert(claims.info == NULL && claims.channel == NULL && claims.channels == NULL &&
	    claims.publish == NULL);
	claims_fini(&claims);
	good("{" EXP ",\"channel\":\"room:1\",\"info\":null,\"channels\":[]}");
	cr_assert_str_eq(claims.channel, "room:1");
	cr_assert_null(claims.info);
	cr_assert_null(claims.channels[0]);
	claims_fini(&claims);
}

/* FAULTS 22. */
Test(token, exp_is_a_time_and_is_there)
{
	static const char *const bad[] = { "\"1800000060\"", "null", "true", "[1800000060]", "{}",
		"-1", "-0.5", "253402300800", "1e300", "1800000060000" };
	char payload[128];

	refused("{}", "the token has no exp");
	refused("{\"sub\":\"a\",\"iat\":1}", "the token has no exp");
	refused("{\"EXP\":1800000060}", "the token has no exp");
	for (size_t i = 0; i < N_OF(bad); i++) {
		(void)snprintf(payload, sizeof(payload), "{\"exp\":%s}", bad[i]);
		refused(payload, "the token's exp is not a time");
	}
	/* What no double or integer holds is no JSON here. */
	cr_assert_eq(claim_at("{\"exp\":1e309}", NOW), FAN_EDENIED);
	cr_assert_eq(claim_at("{\"exp\":-1e309}", NOW), FAN_EDENIED);
	cr_assert_eq(claim_at("{\"exp\":18446744073709551616}", NOW), FAN_EDENIED);
	cr_assert_eq(claim_at("{\"exp\":NaN}", NOW), FAN_EDENIED);
	cr_assert_eq(claim_at("{\"exp\":Infinity}", NOW), FAN_EDENIED);
	good("{\"exp\":253402300799}");
	claims_fini(&claims);
	good("{\"exp\":1800000060.9}");
	cr_assert_eq(claims.expires, 1800000060);
	claims_fini(&claims);
	good("{\"exp\":1.80000006e9}");
	cr_assert_eq(claims.expires, 1800000060);
	claims_fini(&claims);
}

Test(token, times_with_leeway)
{
	const char *payload = "{\"exp\":1800000060,\"nbf\":1800000000,\"iat\":1799999990}";

	conf->auth.leeway = 30000;
	load(SECRET, NULL);
	cr_assert_eq(claim_at(payload, 1800000089), 0, "%s", why);
	claims_fini(&claims);
	cr_assert_eq(claim_at(payload, 1800000090), FAN_EEXPIRED);
	cr_assert_str_eq(why, "the token has expired");
	cr_assert_eq(claim_at(payload, INT64_MAX / 2), FAN_EEXPIRED);
	cr_assert_eq(claim_at(payload, 1799999970), 0, "%s", why);
	claims_fini(&claims);
	cr_assert_eq(claim_at(payload, 1799999969), FAN_EDENIED);
	cr_assert_str_eq(why, "the token is not valid yet");
	cr_assert_eq(claim_at("{" EXP ",\"iat\":1800000030}", NOW), 0);
	claims_fini(&claims);
	refused("{" EXP ",\"iat\":1800000031}", "the token was issued in the future");
	refused("{" EXP ",\"iat\":\"1\"}", "the token's iat is not a time");
	refused("{" EXP ",\"nbf\":[]}", "the token's nbf is not a time");
	conf->auth.leeway = 0;
	load(SECRET, NULL);
	cr_assert_eq(claim_at(payload, 1800000059), 0);
	claims_fini(&claims);
	cr_assert_eq(claim_at(payload, 1800000060), FAN_EEXPIRED);
	cr_assert_eq(claim_at(payload, 1799999999), FAN_EDENIED);
}

Test(token, audience_and_issuer)
{
	static const char *const others[] = { "", ",\"aud\":\"b\"", ",\"aud\":\"\"", ",\"aud\":[]",
		",\"aud\":[\"b\",\"aa\"]", ",\"aud\":[[\"a\"]]", ",\"aud\":{\"a\":1}", ",\"aud\":1",
		",\"aud\":\"A\"", ",\"aud\":null" };
	char payload[128];

	/* Not looked at unless it is set. */
	good("{" EXP ",\"aud\":\"x\",\"iss\":\"y\"}");
	claims_fini(&claims);
	put(&conf->auth.audience, "a");
	load(SECRET, NULL);
	for (size_t i = 0; i < N_OF(others); i++) {
		(void)snprintf(payload, sizeof(payload), "{" EXP "%s}", others[i]);
		refused(payload, "the token is for another audience");
	}
	good("{" EXP ",\"aud\":\"a\"}");
	claims_fini(&claims);
	good("{" EXP ",\"aud\":[\"b\",1,\"a\"]}");
	claims_fini(&claims);
	put(&conf->auth.audience, "");
	put(&conf->auth.issuer, "https://i");
	load(SECRET, NULL);
	refused("{" EXP "}", "the token is of another issuer");
	refused("{" EXP ",\"iss\":\"https://i/\"}", "the token is of another issuer");
	refused("{" EXP ",\"iss\":[\"https://i\"]}", "the token is of another issuer");
	good("{" EXP ",\"iss\":\"https://i\"}");
	claims_fini(&claims);
}

Test(token, user)
{
	char payload[512], user[USER_ID_MAX + 2];

	memset(user, 'u', sizeof(user));
	user[USER_ID_MAX] = '\0';
	(void)snprintf(payload, sizeof(payload), "{" EXP ",\"sub\":\"%s\"}", user);
	good(payload);
	cr_assert_str_eq(claims.user, user);
	claims_fini(&claims);
	(void)snprintf(payload, sizeof(payload), "{" EXP ",\"sub\":\"%su\"}", user);
	refused(payload, "the token's sub is not a text of at most 180 bytes");
	refused("{" EXP ",\"sub\":42}", "the token's sub is not a text of at most 180 bytes");
	refused("{" EXP ",\"sub\":null}", "the token's sub is not a text of at most 180 bytes");
	cr_assert_eq(claim_at("{" EXP ",\"sub\":\"a\\u0000b\"}", NOW), FAN_EDENIED);
}

Test(token, channel_is_a_name)
{
	static const char *const bad[] = { "\"\"", "\"a b\"", "\"a*\"", "\"!user:x\"", "\"\\n\"",
		"5", "[\"a\"]", "null" };
	char payload[512], name[CHANNEL_NAME_MAX + 2];

	for (size_t i = 0; i < N_OF(bad); i++) {
		(void)snprintf(payload, sizeof(payload), "{" EXP ",\"channel\":%s}", bad[i]);
		refused(payload, "the token's channel is not a channel's name");
	}
	memset(name, 'c', sizeof(name));
	name[CHANNEL_NAME_MAX] = '\0';
	(void)snprintf(payload, sizeof(payload), "{" EXP ",\"channel\":\"%s\"}", name);
	good(payload);
	claims_fini(&claims);
	(void)snprintf(payload, sizeof(payload), "{" EXP ",\"channel\":\"%sc\"}", name);
	refused(payload, "the token's channel is not a channel's name");
}

static void
check_globs(const char *claim, const char *phrase)
{
	static const char *const bad[] = { "\"a\"", "{}", "5", "null", "[5]", "[\"\"]", "[\"a b\"]",
		"[\"a\",\"!user:*\"]", "[\"\\u00e9\"]", "[[\"a\"]]", "[\"\\\\\"]" };
	char payload[4096], glob[CHANNEL_NAME_MAX + 2];
	size_t n;

	for (size_t i = 0; i < N_OF(bad); i++) {
		(void)snprintf(payload, sizeof(payload), "{" EXP ",\"%s\":%s}", claim, bad[i]);
		refused(payload, phrase);
	}
	memset(glob, '*', sizeof(glob));
	glob[CHANNEL_NAME_MAX] = '\0';
	(void)snprintf(payload, sizeof(payload), "{" EXP ",\"%s\":[\"%s\"]}", claim, glob);
	good(payload);
	claims_fini(&claims);
	(void)snprintf(payload, sizeof(payload), "{" EXP ",\"%s\":[\"%s*\"]}", claim, glob);
	refused(payload, phrase);
	n = (size_t)snprintf(payload, sizeof(payload), "{" EXP ",\"%s\":[\"*\"", claim);
	for (int i = 1; i < TOKEN_GLOBS_MAX; i++)
		n += (size_t)snprintf(payload + n, sizeof(payload) - n, ",\"*\"");
	(void)snprintf(payload + n, sizeof(payload) - n, "]}");
	good(payload);
	claims_fini(&claims);
	(void)snprintf(payload + n, sizeof(payload) - n, ",\"*\"]}");
	refused(payload, phrase);
}

Test(token, globs)
{
	check_globs(
	    "channels", "the token's channels is not a list of at most 100 patterns of names");
	check_globs(
	    "publish", "the token's publish is not a list of at most 100 patterns of names");
}

/* As it was written, but for white space: a number must not become another. */
Test(token, info_is_kept_compact)
{
	static const char *const pairs[][2] = { { "5", "5" }, { "\"a  b\\n\"", "\"a  b\\n\"" },
		{ "true", "true" }, { "1.10", "1.10" },
		{ "12345678901234567", "12345678901234567" }, { "[ 1 ,\t2\n]", "[1,2]" },
		{ "{ \"a\" : \"\\\\\" , \"b\" : \" \\\" \" }",
		    "{\"a\":\"\\\\\",\"b\":\" \\\" \"}" },
		{ "\"\xc3\xa9\xe2\x80\xa8\"", "\"\xc3\xa9\xe2\x80\xa8\"" }, { "{}", "{}" } };
	char payload[512];

	for (size_t i = 0; i < N_OF(pairs); i++) {
		(void)snprintf(payload, sizeof(payload), "{" EXP ",\"info\": %s }", pairs[i][0]);
		good(payload);
		cr_assert_str_eq(claims.info, pairs[i][1]);
		claims_fini(&claims);
	}
}

Test(token, size_of_info)
{
	const char *phrase =
	    "the token's info is larger than 4096 bytes, or its name is written with "
	    "escapes";
	char *payload = malloc(3 * MEMBER_INFO_MAX);
	size_t n;

	conf->limits.token = 64 << 10;
	load(SECRET, NULL);
	/* Its white space does not count. */
	n = (size_t)sprintf(payload, "{" EXP ",\"info\":[%*s\"", MEMBER_INFO_MAX, "");
	memset(payload + n, 'x', MEMBER_INFO_MAX);
	strcpy(payload + n + MEMBER_INFO_MAX - 4, "\"]}");
	good(payload);
	cr_assert_eq(strlen(claims.info), MEMBER_INFO_MAX);
	claims_fini(&claims);
	strcpy(payload + n + MEMBER_INFO_MAX - 4, "x\"]}");
	refused(payload, phrase);
	refused("{" EXP ",\"inf\\u006f\":1}", phrase);
	free(payload);
}

Test(token, payload_is_an_object)
{
	static const char *const bad[] = { "", "5", "[]", "null", "{", "{" EXP "} x",
		"{" EXP "," EXP "}", "{" EXP ",\"sub\":\"\xff\"}" };

	for (size_t i = 0; i < N_OF(bad); i++)
		cr_assert_eq(claim_at(bad[i], NOW), FAN_EDENIED, "%s", bad[i]);
	refused("[]", "the token's payload is not an object");
}

Test(token, length)
{
	char *token = sign("{" EXP "}");

	conf->limits.token = (int64_t)strlen(token);
	load(SECRET, NULL);
	cr_assert_eq(verify_at(token, NOW), 0);
	claims_fini(&claims);
	conf->limits.token--;
	load(SECRET, NULL);
	cr_assert_eq(verify_at(token, NOW), FAN_EDENIED);
	cr_assert_str_eq(why, "the token is too long");
	free(token);
}

/* --- keys ----------------------------------------------------------------------------------- */

#define UNKNOWN "the token is not signed by a key that is known here"
#define SET                                                                                        \
	"{\"keys\":[{\"kid\":\"r\"," RSA_PUBLIC_MEMBERS ",\"d\":\"" RSA_D                          \
	"\"},{\"kid\":\"e\"," EC_PUBLIC_MEMBERS "},{\"kid\":\"o\"," OKP_PUBLIC_MEMBERS             \
	"},{\"kid\":\"h\",\"kty\":\"oct\","                                                        \
	"\"k\":\"" HS_K "\"}]}"

/* A private key of the standards' examples, with a name. */
static struct jwk
key_of(const char *text, const char *kid)
{
	struct jwk_set s;
	struct jwk_fault fault;
	struct jwk k;

	cr_assert_eq(jwk_set_parse(text, strlen(text), JWK_SIGN, &s, NULL, NULL, &fault), 0, "%s",
	    fault.why);
	k = s.item[0];
	free(s.item);
	k.kid = kid != NULL ? strdup(kid) : NULL;
	return k;
}

static int
verify_of(const char *jwk, const char *kid)
{
	struct jwk k = key_of(jwk, kid);
	char *token = sign_with(&k, "{" EXP "}");
	int err = verify_at(token, NOW);

	if (err == 0)
		claims_fini(&claims);
	free(token);
	jwk_fini(&k);
	return err;
}

Test(token, key_by_kid)
{
	load("", SET);
	cr_assert_eq(verify_of(RSA_PRIVATE_JWK, "r"), 0);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "e"), 0);
	cr_assert_eq(verify_of(OKP_PRIVATE_JWK, "o"), 0);
	cr_assert_eq(verify_of(HS_JWK, "h"), 0);
	/* Of several there is none for tokens without a kid. */
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, NULL), FAN_EDENIED);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "o"), FAN_EDENIED);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "E"), FAN_EDENIED);
	cr_assert_str_eq(why, UNKNOWN);
}

Test(token, secret_is_for_tokens_without_kid)
{
	struct jwk k;
	char *token;

	load(SECRET, SET);
	good("{" EXP "}");
	claims_fini(&claims);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "e"), 0);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, NULL), FAN_EDENIED);
	cr_assert_eq(jwk_init_secret(&k, JWK_HS256, "x", SECRET, strlen(SECRET), &why), 0);
	token = sign_with(&k, "{" EXP "}");
	cr_assert_eq(verify_at(token, NOW), FAN_EDENIED);
	free(token);
	jwk_fini(&k);
}

Test(token, only_key_of_the_set_needs_no_kid)
{
	load("", EC_JWK);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, NULL), 0);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "e"), FAN_EDENIED);
	load("", "{\"keys\":[{\"kid\":\"e\"," EC_PUBLIC_MEMBERS "}]}");
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, NULL), 0);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "e"), 0);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "f"), FAN_EDENIED);
}

Test(token, without_keys_nothing_is_valid)
{
	char *token = sign("{" EXP "}");

	load("", NULL);
	cr_assert_null(tokens);
	cr_assert_eq(verify_at(token, NOW), FAN_EDENIED);
	cr_assert_str_eq(why, "no token is accepted here");
	cr_assert_not_null(token_explain(NULL, token, strlen(token), NOW));
	free(token);
}

/* The client hears the same of a name, an algorithm and a signature that are wrong; the operator does not. */
Test(token, refusal_tells_nothing_of_keys)
{
	static const char *const explained[] = { "no key has the token's kid",
		"the token's alg is not that of its key", "the signature is not that of the key",
		"the token has no kid, and no key is for such tokens" };
	struct jwk keys[] = { key_of(EC_PRIVATE_JWK, "x"), key_of(EC_PRIVATE_JWK, "r"),
		key_of(EC_PRIVATE_JWK, "e"), key_of(EC_PRIVATE_JWK, NULL) };

	load("", SET);
	for (size_t i = 0; i < N_OF(keys); i++) {
		char *token = sign_with(&keys[i], "{" EXP "}");

		if (i == 2) {
			char *c = token + strlen(token) - 20;

			*c = *c == 'A' ? 'B' : 'A';
		}
		cr_assert_eq(verify_at(token, NOW), FAN_EDENIED);
		cr_assert_str_eq(why, UNKNOWN);
		cr_assert_str_eq(
		    token_explain(tokens, token, strlen(token), NOW), explained[i], "%zu", i);
		free(token);
		jwk_fini(&keys[i]);
	}
}

Test(token, explained_to_the_operator)
{
	char *token = sign("{" EXP "}");

	cr_assert_null(token_explain(tokens, token, strlen(token), NOW));
	cr_assert_str_eq(
	    token_explain(tokens, token, strlen(token), NOW + 1000), "the token has expired");
	free(token);
}

/* Any open, socket or connect ends the process from now on. */
static void
forbid_opening(void)
{
#define FORBID(call)                                                                               \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),                                           \
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
	static struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		FORBID(SYS_openat),
#ifdef SYS_open
		FORBID(SYS_open),
#endif
		FORBID(SYS_socket),
		FORBID(SYS_connect),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { N_OF(filter), filter };

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void
refuse_strange_kids(void)
{
	static const char *const kids[] = { "/etc/passwd", "../../../../dev/null",
		"file:///dev/zero", "http://127.0.0.1:1/", "e' OR '1'='1", "%s%n%n", "" };
	for (size_t i = 0; i < N_OF(kids); i++) {
		cr_assert_eq(verify_of(EC_PRIVATE_JWK, kids[i]), FAN_EDENIED);
		cr_assert_str_eq(why, UNKNOWN);
	}
}

/* FAULTS 22: a kid of 10 KiB. */
Test(token, long_kid)
{
	char *header = malloc(16384), *token;
	struct jwt t;
	struct buf b;

	(void)sprintf(header, "{\"alg\":\"ES256\",\"kid\":\"%0*d\"}", 10240, 7);
	buf_init(&b, 1 << 20);
	cr_assert_eq(base64url_append(&b, header, strlen(header)), 0);
	cr_assert_eq(buf_append(&b, ".e30.AAAA", 10), 0);
	token = (char *)(uintptr_t)buf_data(&b);
	load("", SET);
	cr_assert_eq(verify_at(token, NOW), FAN_EDENIED);
	cr_assert_str_eq(why, "the token is too long");
	conf->limits.token = 64 << 10;
	load("", SET);
	cr_assert_eq(verify_at(token, NOW), FAN_EDENIED);
	cr_assert_str_eq(why, UNKNOWN);
	cr_assert_eq(jwt_parse(token, strlen(token), &t, &why), 0);
	cr_assert_eq(strlen(t.kid), 10240);
	jwt_fini(&t);
	buf_fini(&b);
	free(header);
}

/* FAULTS 22: nothing that a token names is opened.  The end of the process proves that it was not. */
Test(token, names_lead_nowhere)
{
	pid_t pid;
	int status;

	load("", SET);
	cr_assert_eq(verify_of(EC_PRIVATE_JWK, "e"), 0); /* OpenSSL has opened what it wants now */
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		forbid_opening();
		refuse_strange_kids();
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

/* --- reading keys --------------------------------------------------------------------------- */

static char said[1024];

static int
check(const char *set, size_t n)
{
	FILE *err = fmemopen(said, sizeof(said), "w");
	int rc;

	write_file(set, n);
	rc = tokens_check(conf, err);
	fclose(err);
	return rc;
}

static void
bad_file(const char *set, const char *message)
{
	char want[1024];

	cr_assert_eq(check(set, strlen(set)), FAN_EINVAL, "%s", set);
	(void)snprintf(want, sizeof(want), "auth.jwks: %s: %s\n", path, message);
	cr_assert_str_eq(said, want);
}

Test(token, broken_files_are_named)
{
	static char large[300 << 10];

	put(&conf->auth.secret, "");
	put(&conf->auth.jwks, path);
	cr_assert_eq(check(SET, strlen(SET)), 0);
	cr_assert_str_eq(said, "");
	bad_file("", "malformed JSON");
	bad_file("nonsense", "malformed JSON");
	bad_file("{\"keys\":[]}", "no key in it can verify tokens");
	bad_file("{\"keys\":[{\"kid\":\"a\"," EC_PUBLIC_MEMBERS
		 "},{\"kid\":\"b\\n\",\"kty\":\"RSA\"}]}",
	    "key 2, kid \"b\\x0a\": a number of the RSA key is missing, or not base64url without "
	    "padding");
	bad_file("{\"keys\":[{\"kty\":5}]}", "key 1: kty must be a text");
	memset(large, ' ', sizeof(large));
	cr_assert_eq(check(large, sizeof(large)), FAN_EINVAL);
	cr_assert_not_null(strstr(said, ": larger than 256 KiB\n"), "%s", said);
	put(&conf->auth.secret, SECRET);
	bad_file(EC_JWK, "key 1 needs a kid, since tokens without one are of auth.secret");
	/* The log is told the same, and nothing is loaded. */
	tokens_free(tokens);
	cr_assert_eq(tokens_load(conf, &tokens), FAN_EINVAL);
	cr_assert_null(tokens);
}

/* What tokens_check says where auth.jwks is this. */
static void
unreadable(const char *name, const char *message)
{
	FILE *err = fmemopen(said, sizeof(said), "w");
	char want[256];

	put(&conf->auth.jwks, name);
	cr_assert_eq(tokens_check(conf, err), FAN_EINVAL);
	fclose(err);
	(void)snprintf(want, sizeof(want), "auth.jwks: %s: %s\n", name, message);
	cr_assert_str_eq(said, want);
}

Test(token, files_that_cannot_be_read)
{
	char pipe_path[64];

	unreadable("/nonexistent/keys.json", "No such file or directory");
	unreadable("/tmp", "not a file");
	/* Nobody writes to this one: it must not be waited for. */
	(void)snprintf(pipe_path, sizeof(pipe_path), "%s.pipe", path);
	cr_assert_eq(mkfifo(pipe_path, 0600), 0);
	unreadable(pipe_path, "not a file");
	unlink(pipe_path);
}

Test(token, secret_that_is_too_short)
{
	FILE *err = fmemopen(said, sizeof(said), "w");

	put(&conf->auth.secret, "short");
	cr_assert_eq(tokens_check(conf, err), FAN_EINVAL);
	fclose(err);
	cr_assert_str_eq(said, "auth.secret: HS256 needs a secret of 32 bytes or more\n");
}
