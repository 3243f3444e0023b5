/*
 * token_inspect: `fanfare token inspect`: what a token says, and whether the broker would accept it.
 * See token.h.
 *
 * Neither the signature nor anything of a key is printed.  The claims are printed whether they are true or
 * not, in ASCII, so that none of them can write to the terminal what it likes.
 */
#include "cli/token.h"

#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/check.h"
#include "common/conf.h"
#include "common/json.h"
#include "worker/auth/base64url.h"
#include "worker/auth/token.h"

#define WORDS_SIZE 64

static const char usage[] = "usage: fanfare token inspect [-c FILE] TOKEN|-\n"
			    "Prints what a token says, TOKEN or that of standard input; and "
			    "whether the broker would accept it,\n"
			    "where its keys are known.  Exits with 1 if it would not.\n"
			    "\n"
			    "  -c, --config FILE  the broker's configuration\n"
			    "  -h, --help\n";

/* --- printing ------------------------------------------------------------------------------- */

/* "in 59 minutes", "3 days ago". */
static const char *
words(int64_t seconds, char out[WORDS_SIZE])
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
	int64_t n = seconds < 0 ? -seconds : seconds;
	size_t i = 0;

	/* Two of a unit at least, so that little is lost by leaving out the smaller ones. */
	while (i < 3 && n < 2 * units[i].seconds)
		i++;
	n /= units[i].seconds;
	if (n == 0)
		(void)snprintf(out, WORDS_SIZE, "now");
	else
		(void)snprintf(out, WORDS_SIZE, "%s%" PRId64 " %s%s%s", seconds < 0 ? "" : "in ", n,
		    units[i].name, n == 1 ? "" : "s", seconds < 0 ? " ago" : "");
	return out;
}

static void
print_date(const json_t *claims, const char *name, const char *label, int64_t now)
{
	const json_t *v = json_object_get(claims, name);
	double d = json_number_value(v);
	char text[32] = "", ago[WORDS_SIZE];
	struct tm tm;
	time_t t;

	if (!json_is_number(v) || d < 0 || d > 253402300799.0)
		return;
	t = (time_t)d;
	if (gmtime_r(&t, &tm) != NULL)
		(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
	(void)printf("%s: %s, %s\n", label, text, words((int64_t)d - now, ago));
}

/* One part of the token, up to n characters; NULL: it is not JSON, which was said. */
static json_t *
read_part(const char *label, const char *text, size_t n)
{
	uint8_t *bytes = malloc(BASE64URL_BYTES(n) + 1);
	const char *why = "not base64url without padding";
	json_t *v = NULL;

	if (bytes == NULL)
		why = fan_strerror(FAN_ENOMEM);
	else if (base64url_decode(text, n, bytes) == 0 &&
	    json_parse((const char *)bytes, BASE64URL_BYTES(n), JSON_DEPTH_MAX, &v, &why) != 0)
		v = NULL;
	if (v == NULL)
		warnx("the token's %s: %s", label, why);
	free(bytes);
	return v;
}

static void
print_part(const char *label, const json_t *v)
{
	char *text = json_dumps(
	    v, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));

	(void)printf("%s: %s\n", label, text != NULL ? text : "?");
	free(text);
}

/* --- the command ---------------------------------------------------------------------------- */

static int
print_verdict(const char *config, const char *token, size_t n, int64_t now)
{
	struct tokens *tokens = NULL;
	struct conf *c;
	const char *why;
	int status = 1;

	if (cli_load_conf(config, NULL, 0, &c) != 0)
		return status;
	if (tokens_load(c, &tokens) == 0 && tokens != NULL) {
		why = token_explain(tokens, token, n, now);
		(void)printf("valid: %s%s\n", why == NULL ? "yes" : "no: ", why == NULL ? "" : why);
		status = why != NULL;
	} else if (config == NULL) {
		(void)puts("valid: not checked; name the broker's configuration with -c");
		status = 0;
	} else {
		warnx(
		    "%s has neither auth.secret nor auth.jwks, so that no token is valid", config);
	}
	tokens_free(tokens);
	conf_free(c);
	return status;
}

static int
inspect(const char *config, const char *token, size_t n)
{
	const char *first = memchr(token, '.', n);
	size_t head = first != NULL ? (size_t)(first - token) : 0;
	const char *second = first != NULL ? memchr(first + 1, '.', n - head - 1) : NULL;
	int64_t now = (int64_t)time(NULL);
	json_t *header = NULL, *claims = NULL;
	int status = 1;

	if (second == NULL) {
		warnx("a token has three parts with dots between them");
		return status;
	}
	if ((header = read_part("header", token, head)) != NULL &&
	    (claims = read_part("payload", first + 1, (size_t)(second - first) - 1)) != NULL) {
		print_part("header", header);
		print_part("claims", claims);
		print_date(claims, "iat", "issued", now);
		print_date(claims, "nbf", "not valid before", now);
		print_date(claims, "exp", "expires", now);
		status = print_verdict(config, token, n, now);
	}
	json_decref(header);
	json_decref(claims);
	return cli_finish_stdout() != 0 ? 1 : status;
}

/* The token without the white space around it. */
static int
inspect_text(const char *config, const char *text)
{
	size_t n;

	text += strspn(text, " \t\r\n");
	n = strcspn(text, " \t\r\n");
	if (n == 0 || text[n + strspn(text + n, " \t\r\n")] != '\0') {
		warnx("one token is needed");
		return 1;
	}
	return inspect(config, text, n);
}

int
cli_token_inspect(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *config = NULL;
	char *text;
	size_t n;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		if (opt == 'h') {
			(void)fputs(usage, stdout);
			return cli_finish_stdout();
		}
		if (opt != 'c') {
			(void)fputs(usage, stderr);
			return 2;
		}
		config = optarg;
	}
	if (optind + 1 != argc) {
		(void)fputs(usage, stderr);
		return 2;
	}
	if (strcmp(argv[optind], "-") != 0)
		return inspect_text(config, argv[optind]);
	if (token_read_file("-", &text, &n) != 0)
		return 1;
	status = inspect_text(config, text);
	free(text);
	return status;
}
