/*
 * token: `fanfare token`: a token of a client, made with the broker's secret or with a key of one's own.
 * See token.h.
 */
#include "cli/token.h"

#include <err.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/check.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/conf_report.h"
#include "common/conf_value.h"
#include "common/json.h"
#include "worker/auth/jwk.h"
#include "worker/auth/jwt.h"
#include "worker/auth/token.h"

#define TTL_MS INT64_C(3600000)
#define TTL_MAX_MS (INT64_C(3650) * 24 * 3600 * 1000)

static const char usage[] =
    "usage: fanfare token [options]\n"
    "       fanfare token inspect [-c FILE] TOKEN|-\n"
    "       fanfare token key [--alg ALG] [--kid KID] | --public FILE\n"
    "Makes a token with which a client connects, or subscribes to one channel.\n"
    "\n"
    "  -c, --config FILE     the broker's configuration, whose auth.secret signs\n"
    "      --secret-file FILE  sign with the secret in this file, by HS256\n"
    "      --jwk FILE        sign with a private key of this JWK or JWK Set\n"
    "      --kid KID         which key of it; with --secret-file, the name of the secret\n"
    "      --user ID         who the client is (sub)\n"
    "      --ttl TIME        how long it is valid, such as 90s, 15m, 12h (default 1h)\n"
    "      --info JSON       what presence shows of the client\n"
    "      --channel NAME    makes a subscription token, for this channel\n"
    "      --channels GLOB   channels that may be subscribed to; as often as needed\n"
    "      --publish GLOB    channels that may be published to; as often as needed\n"
    "      --audience TEXT   aud (default: auth.audience)\n"
    "      --issuer TEXT     iss (default: auth.issuer)\n"
    "  -h, --help\n"
    "\n"
    "inspect prints what a token (- : of standard input) says and, with -c, whether the broker "
    "would\n"
    "accept it.  key makes a new private key; \"fanfare token key --help\" says more.\n";

struct request {
	const char *config, *secret_file, *jwk_file, *kid;
	const char *user, *info, *channel, *audience, *issuer;
	int64_t ttl; /* ms */
	json_t *channels, *publish;
};

int
token_read_file(const char *path, char **text, size_t *n)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	int rc = FAN_EINVAL;

	*text = NULL;
	if (f == NULL) {
		warn("%s", path);
		return rc;
	}
	*text = malloc(TOKEN_FILE_MAX + 1);
	*n = *text != NULL ? fread(*text, 1, TOKEN_FILE_MAX + 1, f) : 0;
	if (*text == NULL)
		warnx("%s", fan_strerror(rc = FAN_ENOMEM));
	else if (ferror(f))
		warn("%s", path);
	else if (*n > TOKEN_FILE_MAX)
		warnx("%s: larger than %u bytes", path, TOKEN_FILE_MAX);
	else
		rc = 0;
	if (!is_stdin)
		(void)fclose(f);
	if (rc == 0) {
		(*text)[*n] = '\0';
		return 0;
	}
	free(*text);
	*text = NULL;
	return rc;
}

/* --- the key -------------------------------------------------------------------------------- */

static int
key_of_secret(const char *secret, size_t n, const char *kid, struct jwk_set *out)
{
	const char *why;
	int rc;

	*out = (struct jwk_set){ .item = calloc(1, sizeof(*out->item)) };
	if (out->item == NULL) {
		warnx("%s", fan_strerror(FAN_ENOMEM));
		return FAN_ENOMEM;
	}
	rc = jwk_init_secret(&out->item[0], JWK_HS256, kid, secret, n, &why);
	if (rc != 0)
		warnx("%s", why);
	out->n = rc == 0;
	return rc;
}

/* The line feed that an editor leaves at the end is no part of it. */
static int
key_of_secret_file(const struct request *q, struct jwk_set *out)
{
	char *text;
	size_t n;
	int rc = token_read_file(q->secret_file, &text, &n);

	if (rc != 0)
		return rc;
	if (n > 0 && text[n - 1] == '\n')
		n--;
	rc = key_of_secret(text, n, q->kid, out);
	OPENSSL_cleanse(text, n);
	free(text);
	return rc;
}

static int
keys_of_file(const char *path, struct jwk_set *out)
{
	char quoted[CONF_QUOTE_SIZE], *text;
	struct jwk_fault fault;
	size_t n;
	int rc = token_read_file(path, &text, &n);

	if (rc != 0)
		return rc;
	rc = jwk_set_parse(text, n, JWK_SIGN, out, NULL, NULL, &fault);
	if (rc != 0 && fault.number == 0)
		warnx("%s: %s", path, fault.why);
	else if (rc != 0)
		warnx("%s: key %zu %s: %s", path, fault.number, conf_quote(quoted, fault.kid),
		    fault.why);
	OPENSSL_cleanse(text, n);
	free(text);
	return rc;
}

/* *key is lent by *set. */
static int
find_key(const struct request *q, const struct conf *c, struct jwk_set *set, const struct jwk **key)
{
	char quoted[CONF_QUOTE_SIZE];
	int rc;

	if (q->jwk_file != NULL)
		rc = keys_of_file(q->jwk_file, set);
	else if (q->secret_file != NULL)
		rc = key_of_secret_file(q, set);
	else
		rc = key_of_secret(c->auth.secret, strlen(c->auth.secret), NULL, set);
	if (rc != 0)
		return rc;
	*key = jwk_set_find(set, q->kid);
	if (*key == NULL && q->kid != NULL)
		warnx("%s: no key that can sign has the kid %s", q->jwk_file,
		    conf_quote(quoted, q->kid));
	else if (*key == NULL)
		warnx("%s: several keys; choose one with --kid", q->jwk_file);
	return *key != NULL ? 0 : FAN_EINVAL;
}

/* --- the claims ----------------------------------------------------------------------------- */

static int
set_text(json_t *o, const char *name, const char *text)
{
	if (text == NULL || *text == '\0')
		return 0;
	return json_object_set_new(o, name, json_string(text));
}

/* FAN_EINVAL: something in it no broker would accept; the reason was written. */
static int
make_claims(const struct request *q, const struct conf *c, json_t **out)
{
	int64_t now = (int64_t)time(NULL);
	json_t *o = json_object(), *info = NULL;
	const char *why;
	int bad = o == NULL;

	*out = o;
	if (q->info != NULL &&
	    json_parse(q->info, strlen(q->info), JSON_DEPTH_MAX - 1, &info, &why) != 0) {
		warnx("--info: %s", why);
		return FAN_EINVAL;
	}
	bad |= set_text(o, "iss", q->issuer != NULL ? q->issuer : c->auth.issuer);
	bad |= set_text(o, "aud", q->audience != NULL ? q->audience : c->auth.audience);
	bad |= set_text(o, "sub", q->user);
	bad |= json_object_set_new(o, "iat", json_integer(now));
	bad |= json_object_set_new(o, "exp", json_integer(now + q->ttl / 1000));
	bad |= set_text(o, "channel", q->channel);
	if (json_array_size(q->channels) > 0)
		bad |= json_object_set(o, "channels", q->channels);
	if (json_array_size(q->publish) > 0)
		bad |= json_object_set(o, "publish", q->publish);
	if (info != NULL)
		bad |= json_object_set_new(o, "info", info);
	if (bad != 0)
		warnx("a claim is not valid UTF-8");
	return bad == 0 ? 0 : FAN_EINVAL;
}

/* A broker that asked for nothing but the key would accept what it is going to print. */
static int
check_claims(const char *payload, size_t n)
{
	static char secret[] = "0123456789abcdef0123456789abcdef";
	struct conf *c = conf_new();
	struct tokens *tokens = NULL;
	struct jwk key = { 0 };
	struct buf token;
	const char *why = fan_strerror(FAN_ENOMEM);
	int rc = FAN_ENOMEM;

	buf_init(&token, SIZE_MAX / 8);
	if (c != NULL) {
		free(c->auth.secret);
		c->auth.secret = strdup(secret);
		c->limits.token = INT64_MAX;
		if (c->auth.secret != NULL)
			rc = tokens_load(c, &tokens);
	}
	if (rc == 0)
		rc = jwk_init_secret(&key, JWK_HS256, NULL, secret, strlen(secret), &why);
	if (rc == 0)
		rc = jwt_sign(&key, payload, n, &token);
	if (rc == 0) {
		why = token_explain(
		    tokens, (const char *)buf_data(&token), buf_len(&token), (int64_t)time(NULL));
		rc = why == NULL ? 0 : FAN_EINVAL;
	}
	if (rc != 0)
		warnx("%s", why);
	buf_fini(&token);
	jwk_fini(&key);
	tokens_free(tokens);
	conf_free(c);
	return rc;
}

/* --- the command ---------------------------------------------------------------------------- */

static int
print_token(const struct request *q, const struct conf *c, const struct jwk *key)
{
	json_t *claims;
	char *payload = NULL;
	struct buf token;
	int rc = make_claims(q, c, &claims);

	buf_init(&token, SIZE_MAX / 8);
	if (rc == 0 &&
	    (payload = json_dumps(claims, JSON_COMPACT | JSON_REAL_PRECISION(15))) == NULL)
		rc = FAN_ENOMEM;
	if (rc == 0)
		rc = check_claims(payload, strlen(payload));
	if (rc == 0 && (rc = jwt_sign(key, payload, strlen(payload), &token)) != 0)
		warnx("the key cannot sign");
	if (rc == 0 && buf_len(&token) > (size_t)c->limits.token) {
		warnx("the token of %zu bytes is longer than limits.token", buf_len(&token));
		rc = FAN_EINVAL;
	}
	if (rc == 0)
		(void)printf("%.*s\n", (int)buf_len(&token), (const char *)buf_data(&token));
	buf_fini(&token);
	free(payload);
	json_decref(claims);
	return rc == 0 ? cli_finish_stdout() : 1;
}

static int
make(const struct request *q)
{
	struct jwk_set set = { 0 };
	const struct jwk *key;
	struct conf *c;
	int status = 1;

	if (cli_load_conf(q->config, NULL, 0, &c) != 0)
		return status;
	if (q->jwk_file == NULL && q->secret_file == NULL && c->auth.secret[0] == '\0')
		warnx("there is no key to sign with; name the broker's configuration with -c where "
		      "it has "
		      "auth.secret, or a key with --jwk or --secret-file");
	else if (find_key(q, c, &set, &key) == 0)
		status = print_token(q, c, key);
	jwk_set_fini(&set);
	conf_free(c);
	return status;
}

/* Globs are not separated by commas, since a channel's name can have some. */
static int
add_glob(json_t **list, const char *glob)
{
	if (*list == NULL)
		*list = json_array();
	if (json_array_append_new(*list, json_string(glob)) == 0)
		return 0;
	warnx("a pattern is not valid UTF-8");
	return FAN_EINVAL;
}

static int
parse_ttl(const char *text, int64_t *out)
{
	const char *why = "write 1s to 3650d";

	if (conf_number_parse(CONF_DURATION, text, out, &why) == 0 && *out >= 1000 &&
	    *out <= TTL_MAX_MS)
		return 0;
	warnx("--ttl: %s", why);
	return FAN_EINVAL;
}

enum {
	OPT_SECRET_FILE = 256,
	OPT_JWK,
	OPT_KID,
	OPT_USER,
	OPT_TTL,
	OPT_INFO,
	OPT_CHANNEL,
	OPT_CHANNELS,
	OPT_PUBLISH,
	OPT_AUDIENCE,
	OPT_ISSUER,
};

/* One option; FAN_EINVAL: what is wrong was said.  FAN_ENOENT: there is no such option. */
static int
take_option(struct request *q, int opt)
{
	switch (opt) {
	case 'c':
		q->config = optarg;
		return 0;
	case OPT_SECRET_FILE:
		q->secret_file = optarg;
		return 0;
	case OPT_JWK:
		q->jwk_file = optarg;
		return 0;
	case OPT_KID:
		q->kid = optarg;
		return 0;
	case OPT_USER:
		q->user = optarg;
		return 0;
	case OPT_TTL:
		return parse_ttl(optarg, &q->ttl);
	case OPT_INFO:
		q->info = optarg;
		return 0;
	case OPT_CHANNEL:
		q->channel = optarg;
		return 0;
	case OPT_CHANNELS:
		return add_glob(&q->channels, optarg);
	case OPT_PUBLISH:
		return add_glob(&q->publish, optarg);
	case OPT_AUDIENCE:
		q->audience = optarg;
		return 0;
	case OPT_ISSUER:
		q->issuer = optarg;
		return 0;
	default:
		return FAN_ENOENT;
	}
}

/* What cannot be said together. */
static int
check_request(const struct request *q)
{
	if (q->jwk_file != NULL && q->secret_file != NULL)
		warnx("--jwk or --secret-file, not both");
	else if (q->kid != NULL && q->jwk_file == NULL && q->secret_file == NULL)
		warnx("--kid is for --jwk and --secret-file; auth.secret has none");
	else if (q->channel != NULL && (q->channels != NULL || q->publish != NULL))
		warnx(
		    "--channel makes a subscription token, which has no --channels and --publish");
	else
		return 0;
	return FAN_EINVAL;
}

static int
make_command(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "secret-file", required_argument, NULL, OPT_SECRET_FILE },
		{ "jwk", required_argument, NULL, OPT_JWK },
		{ "kid", required_argument, NULL, OPT_KID },
		{ "user", required_argument, NULL, OPT_USER },
		{ "ttl", required_argument, NULL, OPT_TTL },
		{ "info", required_argument, NULL, OPT_INFO },
		{ "channel", required_argument, NULL, OPT_CHANNEL },
		{ "channels", required_argument, NULL, OPT_CHANNELS },
		{ "publish", required_argument, NULL, OPT_PUBLISH },
		{ "audience", required_argument, NULL, OPT_AUDIENCE },
		{ "issuer", required_argument, NULL, OPT_ISSUER },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct request q = { .ttl = TTL_MS };
	int opt, status = -1, rc;

	while (status < 0 && (opt = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		if (opt == 'h') {
			(void)fputs(usage, stdout);
			status = cli_finish_stdout();
		} else if ((rc = take_option(&q, opt)) != 0) {
			if (rc == FAN_ENOENT)
				(void)fputs(usage, stderr);
			status = 2;
		}
	}
	if (status < 0 && optind < argc) {
		(void)fputs(usage, stderr);
		status = 2;
	}
	if (status < 0 && check_request(&q) != 0)
		status = 2;
	if (status < 0)
		status = make(&q);
	json_decref(q.channels);
	json_decref(q.publish);
	return status;
}

int
cli_token(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "inspect") == 0)
		return cli_token_inspect(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "key") == 0)
		return cli_token_key(argc - 1, argv + 1);
	return make_command(argc, argv);
}
