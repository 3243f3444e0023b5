/*
 * token: the keys of tokens, and what a token claims.  See token.h.
 */
#include "worker/auth/token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/conf_report.h"
#include "common/json.h"
#include "common/log.h"
#include "common/member.h"
#include "common/publication.h"
#include "worker/auth/jwk.h"
#include "worker/auth/jwt.h"

#define JWKS_SIZE_MAX (256U << 10)
#define LINE_SIZE 1024
#define DATE_MAX INT64_C(253402300799) /* the end of the year 9999 */

static const char no_memory[] = "out of memory";

struct tokens {
	struct jwk secret; /* where has_secret */
	struct jwk_set set;
	char *audience, *issuer; /* "": not looked at */
	int64_t leeway;          /* s */
	size_t max;              /* bytes of a token */
	bool has_secret;
};

/* --- keys ----------------------------------------------------------------------------------- */

/* To err, or to the log where that is NULL. */
static void __attribute__((format(printf, 2, 3))) complain(FILE *err, const char *fmt, ...)
{
	char line[LINE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (err != NULL)
		(void)fprintf(err, "%s\n", line);
	else
		log_errx("%s", line);
}

/* All of the file; *text is for free(). */
static int
read_file(const char *path, char **text, size_t *n, FILE *err)
{
	/* What is not a file, such as a pipe, must not hold up a worker. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *why = NULL;
	struct stat st;
	ssize_t got = -1;

	*text = NULL;
	if (fd < 0 || fstat(fd, &st) != 0)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a file";
	else if (st.st_size > JWKS_SIZE_MAX)
		why = "larger than 256 KiB";
	else if ((*text = malloc((size_t)st.st_size + 1)) == NULL)
		why = no_memory;
	else
		got = read(fd, *text, (size_t)st.st_size);
	if (why == NULL && got < 0)
		why = strerror(errno);
	if (why != NULL)
		complain(err, "auth.jwks: %s: %s", path, why);
	if (fd >= 0)
		(void)close(fd);
	*n = got > 0 ? (size_t)got : 0;
	return why == NULL ? 0 : FAN_EINVAL;
}

struct note {
	const char *path;
	FILE *err;
};

/* A key that is passed over is no error; a worker's log says that it was. */
static void
note_key(void *arg, size_t number, const char *kid, const char *why)
{
	const struct note *note = arg;

	if (note->err == NULL)
		log_info("auth.jwks: %s: key %zu kid=%s passed over: %s", note->path, number,
		    kid != NULL ? kid : "-", why);
}

static int
load_set(struct tokens *t, const char *path, FILE *err)
{
	struct note note = { path, err };
	struct jwk_fault fault;
	char quoted[CONF_QUOTE_SIZE], *text;
	size_t n;
	int rc = read_file(path, &text, &n, err);

	if (rc == 0) {
		rc = jwk_set_parse(text, n, JWK_VERIFY, &t->set, note_key, &note, &fault);
		if (rc != 0 && fault.number == 0)
			complain(err, "auth.jwks: %s: %s", path, fault.why);
		else if (rc != 0)
			complain(err, "auth.jwks: %s: key %zu%s%s: %s", path, fault.number,
			    fault.kid[0] != '\0' ? ", kid " : "",
			    fault.kid[0] != '\0' ? conf_quote(quoted, fault.kid) : "", fault.why);
	}
	if (text != NULL)
		OPENSSL_cleanse(text, n);
	free(text);
	if (rc == 0 && t->has_secret && t->set.item[0].kid == NULL) {
		complain(err,
		    "auth.jwks: %s: key 1 needs a kid, since tokens without one are of auth.secret",
		    path);
		rc = FAN_EINVAL;
	}
	return rc;
}

static int
load(const struct conf *c, struct tokens **out, FILE *err)
{
	struct tokens *t;
	const char *why;
	int rc = FAN_ENOMEM;

	*out = NULL;
	if (c->auth.secret[0] == '\0' && c->auth.jwks[0] == '\0')
		return 0;
	if ((t = calloc(1, sizeof(*t))) == NULL)
		return rc;
	t->leeway = c->auth.leeway / 1000;
	t->max = (size_t)c->limits.token;
	t->has_secret = c->auth.secret[0] != '\0';
	t->audience = strdup(c->auth.audience);
	t->issuer = strdup(c->auth.issuer);
	if (t->audience == NULL || t->issuer == NULL)
		goto fail;
	if (t->has_secret) {
		rc = jwk_init_secret(
		    &t->secret, JWK_HS256, NULL, c->auth.secret, strlen(c->auth.secret), &why);
		if (rc != 0) {
			complain(err, "auth.secret: %s", why);
			goto fail;
		}
	}
	if (c->auth.jwks[0] != '\0' && (rc = load_set(t, c->auth.jwks, err)) != 0)
		goto fail;
	*out = t;
	return 0;
fail:
	tokens_free(t);
	return rc;
}

int
tokens_load(const struct conf *c, struct tokens **out)
{
	return load(c, out, NULL);
}

int
tokens_check(const struct conf *c, FILE *err)
{
	struct tokens *t;
	int rc = load(c, &t, err);

	tokens_free(t);
	return rc;
}

void
tokens_free(struct tokens *t)
{
	if (t == NULL)
		return;
	jwk_fini(&t->secret);
	jwk_set_fini(&t->set);
	free(t->audience);
	free(t->issuer);
	free(t);
}

/* --- claims --------------------------------------------------------------------------------- */

/* A NumericDate (RFC 7519 §2), cut to the second.  FAN_ENOENT: it is not there. */
static int
read_date(const json_t *o, const char *name, int64_t *out)
{
	const json_t *v = json_object_get(o, name);
	double d = json_number_value(v); /* finite: the parser refuses what no double holds */

	if (v == NULL)
		return FAN_ENOENT;
	if (!json_is_number(v) || d < 0 || d > (double)DATE_MAX)
		return FAN_EDENIED;
	*out = (int64_t)d;
	return 0;
}

static int
check_dates(
    const struct tokens *t, const json_t *o, int64_t now, int64_t *expires, const char **why)
{
	int64_t v = 0;
	int err = read_date(o, "exp", expires);

	*why = err == FAN_ENOENT ? "the token has no exp" : "the token's exp is not a time";
	if (err != 0)
		return FAN_EDENIED;
	err = read_date(o, "nbf", &v);
	*why = "the token's nbf is not a time";
	if (err == FAN_EDENIED)
		return err;
	*why = "the token is not valid yet";
	if (err == 0 && v > now + t->leeway)
		return FAN_EDENIED;
	err = read_date(o, "iat", &v);
	*why = "the token's iat is not a time";
	if (err == FAN_EDENIED)
		return err;
	*why = "the token was issued in the future";
	if (err == 0 && v > now + t->leeway)
		return FAN_EDENIED;
	*why = "the token has expired";
	return now >= *expires + t->leeway ? FAN_EEXPIRED : 0;
}

static bool
is_text(const json_t *v, const char *text)
{
	return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

static int
check_party(const struct tokens *t, const json_t *o, const char **why)
{
	const json_t *aud = json_object_get(o, "aud");
	bool meant = t->audience[0] == '\0' || is_text(aud, t->audience);

	for (size_t i = 0; i < json_array_size(aud) && !meant; i++)
		meant = is_text(json_array_get(aud, i), t->audience);
	*why = "the token is for another audience";
	if (!meant)
		return FAN_EDENIED;
	*why = "the token is of another issuer";
	if (t->issuer[0] != '\0' && !is_text(json_object_get(o, "iss"), t->issuer))
		return FAN_EDENIED;
	return 0;
}

static int
read_user(const json_t *o, char **out, const char **why)
{
	const json_t *v = json_object_get(o, "sub");
	const char *user = v != NULL ? json_string_value(v) : "";

	*why = "the token's sub is not a text of at most 180 bytes";
	if (user == NULL || strlen(user) > USER_ID_MAX)
		return FAN_EDENIED;
	*why = no_memory;
	return (*out = strdup(user)) != NULL ? 0 : FAN_ENOMEM;
}

static int
read_channel(const json_t *o, char **out, const char **why)
{
	const json_t *v = json_object_get(o, "channel");
	const char *name = json_string_value(v);

	if (v == NULL)
		return 0;
	*why = "the token's channel is not a channel's name";
	if (name == NULL || !channel_name_valid(name, strlen(name), CHANNEL_NAME_MAX))
		return FAN_EDENIED;
	*why = no_memory;
	return (*out = strdup(name)) != NULL ? 0 : FAN_ENOMEM;
}

static bool
is_glob(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || n > CHANNEL_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strchr("*?[]", text[i]) == NULL && !channel_name_valid(text + i, 1, 1))
			return false;
	return true;
}

/* *why stands already for a list that is none. */
static int
read_globs(const json_t *o, const char *name, char ***out, const char **why)
{
	const json_t *v = json_object_get(o, name);
	size_t n = json_array_size(v);

	if (v == NULL)
		return 0;
	if (!json_is_array(v) || n > TOKEN_GLOBS_MAX)
		return FAN_EDENIED;
	if ((*out = calloc(n + 1, sizeof(**out))) == NULL) {
		*why = no_memory;
		return FAN_ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		const char *glob = json_string_value(json_array_get(v, i));

		if (glob == NULL || !is_glob(glob))
			return FAN_EDENIED;
		if (((*out)[i] = strdup(glob)) == NULL) {
			*why = no_memory;
			return FAN_ENOMEM;
		}
	}
	return 0;
}

/* A copy of a valid JSON text without the white space outside of its strings; numbers stay as written. */
static char *
compact(const char *text, size_t n)
{
	char *copy = malloc(n + 1);
	bool quoted = false;
	size_t len = 0;

	for (size_t i = 0; copy != NULL && i < n; i++) {
		if (!quoted && strchr(" \t\r\n", text[i]) != NULL)
			continue;
		if (text[i] == '"')
			quoted = !quoted;
		copy[len++] = text[i];
		if (quoted && text[i] == '\\')
			copy[len++] = text[++i];
	}
	if (copy != NULL)
		copy[len] = '\0';
	return copy;
}

/* payload: the text that o was read from. */
static int
read_info(const json_t *o, const char *payload, size_t n, char **out, const char **why)
{
	const json_t *v = json_object_get(o, "info");
	const char *text;
	size_t len;

	if (v == NULL || json_is_null(v))
		return 0;
	*why = "the token's info is larger than 4096 bytes, or its name is written with escapes";
	if (json_member(payload, n, "info", &text, &len) != 0)
		return FAN_EDENIED;
	if ((*out = compact(text, len)) == NULL) {
		*why = no_memory;
		return FAN_ENOMEM;
	}
	return strlen(*out) <= MEMBER_INFO_MAX ? 0 : FAN_EDENIED;
}

static int
read_claims(const struct tokens *t, const char *payload, size_t n, int64_t now, struct claims *out,
    const char **why)
{
	json_t *o;
	int err = json_parse(payload, n, JSON_DEPTH_MAX, &o, why);

	if (err != 0)
		return err == FAN_ENOMEM ? err : FAN_EDENIED;
	*why = "the token's payload is not an object";
	err = json_is_object(o) ? 0 : FAN_EDENIED;
	if (err == 0)
		err = check_dates(t, o, now, &out->expires, why);
	if (err == 0)
		err = check_party(t, o, why);
	if (err == 0)
		err = read_user(o, &out->user, why);
	if (err == 0)
		err = read_channel(o, &out->channel, why);
	if (err == 0) {
		*why = "the token's channels is not a list of at most 100 patterns of names";
		err = read_globs(o, "channels", &out->channels, why);
	}
	if (err == 0) {
		*why = "the token's publish is not a list of at most 100 patterns of names";
		err = read_globs(o, "publish", &out->publish, why);
	}
	if (err == 0)
		err = read_info(o, payload, n, &out->info, why);
	json_decref(o);
	if (err != 0)
		claims_fini(out);
	return err;
}

static void
globs_free(char **globs)
{
	for (char **g = globs; g != NULL && *g != NULL; g++)
		free(*g);
	free(globs);
}

void
claims_fini(struct claims *c)
{
	free(c->user);
	free(c->info);
	free(c->channel);
	globs_free(c->channels);
	globs_free(c->publish);
	*c = (struct claims){ 0 };
}

/* --- tokens --------------------------------------------------------------------------------- */

static const struct jwk *
find_key(const struct tokens *t, const char *kid)
{
	return kid == NULL && t->has_secret ? &t->secret : jwk_set_find(&t->set, kid);
}

/* The client hears one phrase of all that has to do with keys; *detail is for the operator. */
static int
check_signature(const struct tokens *t, const struct jwt *j, const char **why, const char **detail)
{
	const struct jwk *key = find_key(t, j->kid);
	int err = FAN_EDENIED;

	*detail = j->kid != NULL ? "no key has the token's kid"
				 : "the token has no kid, and no key is for such tokens";
	if (key != NULL)
		err = jwt_verify(j, key, detail);
	*why = "the token is not signed by a key that is known here";
	return err;
}

static int
verify(const struct tokens *t, const char *token, size_t len, int64_t now, struct claims *out,
    const char **why, const char **detail)
{
	char *payload = NULL;
	struct jwt j;
	size_t n;
	int err;

	*out = (struct claims){ 0 };
	*detail = NULL;
	*why = "no token is accepted here";
	if (t == NULL)
		return FAN_EDENIED;
	*why = "the token is too long";
	if (len > t->max)
		return FAN_EDENIED;
	err = jwt_parse(token, len, &j, why);
	if (err != 0)
		return err == FAN_ENOMEM ? err : FAN_EDENIED;
	err = check_signature(t, &j, why, detail);
	if (err == 0) {
		*detail = NULL;
		*why = "the token's payload is not base64url";
		err = jwt_payload(&j, &payload, &n);
		if (err == FAN_EINVAL)
			err = FAN_EDENIED;
	}
	if (err == 0)
		err = read_claims(t, payload, n, now, out, why);
	free(payload);
	jwt_fini(&j);
	return err;
}

int
token_verify(const struct tokens *t, const char *token, size_t len, int64_t now, struct claims *out,
    const char **why)
{
	const char *detail;

	return verify(t, token, len, now, out, why, &detail);
}

const char *
token_explain(const struct tokens *t, const char *token, size_t len, int64_t now)
{
	const char *why, *detail;
	struct claims c;

	if (verify(t, token, len, now, &c, &why, &detail) != 0)
		return detail != NULL ? detail : why;
	claims_fini(&c);
	return NULL;
}
