/*
 * fuzz_conf: configurations: a file's text, one assignment, a variable of the environment
 * (common/conf).
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, common.
 *
 * Input: "=KEY=VALUE" for --set, "$NAME=VALUE" for the environment, or else a file's text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"

struct text {
	char *p;
	size_t n;
};

static struct text
printed(const struct conf *c, bool secrets)
{
	struct text t = { NULL, 0 };
	FILE *f = open_memstream(&t.p, &t.n);

	FUZZ_CHECK(f != NULL);
	conf_print(c, f, secrets);
	FUZZ_CHECK(fclose(f) == 0);
	return t;
}

/* A secret that is long enough to be nothing else, unless another option is the same. */
static void
check_hidden(const char *secret, const struct text *first, const struct text *hidden)
{
	const char *at = strlen(secret) >= 24 ? strstr(first->p, secret) : NULL;

	if (at != NULL && strstr(at + 1, secret) == NULL)
		FUZZ_CHECK(strstr(hidden->p, secret) == NULL);
}

/* What is printed is read as the same, whatever it was. */
static void
check_print(const struct conf *c)
{
	struct text first = printed(c, true), second, hidden = printed(c, false);
	struct conf *again = conf_new();

	FUZZ_CHECK(again != NULL);
	FUZZ_CHECK(utf8_valid((const uint8_t *)first.p, first.n));
	FUZZ_CHECK(conf_load_text(again, "printed", first.p, first.n, stderr) == 0);
	second = printed(again, true);
	FUZZ_CHECK(first.n == second.n && memcmp(first.p, second.p, first.n) == 0);
	check_hidden(c->api.key, &first, &hidden);
	check_hidden(c->auth.secret, &first, &hidden);
	check_hidden(c->hooks.key, &first, &hidden);
	conf_free(again);
	free(first.p);
	free(second.p);
	free(hidden.p);
}

/* Errors are told in whole lines, in which control bytes of the input do not appear. */
static void
check_errors(const struct text *t, int err)
{
	size_t i;

	FUZZ_CHECK(err == 0 || err == FAN_EINVAL);
	FUZZ_CHECK((err == 0) == (t->n == 0));
	FUZZ_CHECK(t->n == 0 || t->p[t->n - 1] == '\n');
	for (i = 0; i < t->n; i++)
		FUZZ_CHECK((unsigned char)t->p[i] >= ' ' || t->p[i] == '\n');
}

static int
load(struct conf *c, struct fuzz_input in, FILE *err)
{
	char *text, *env[2] = { NULL, NULL };
	int status;

	if (in.n == 0 || (in.p[0] != '=' && in.p[0] != '$')) {
		uint8_t *copy = fuzz_copy(in.p, in.n);

		status = conf_load_text(c, "fuzz", (const char *)copy, in.n, err);
		free(copy);
		return status;
	}
	text = fuzz_string((struct fuzz_input){ in.p + 1, in.n - 1 });
	if (in.p[0] == '=') {
		status = conf_set(c, text, err);
	} else {
		env[0] = text;
		status = conf_load_env(c, env, err);
	}
	free(text);
	return status;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text errors = { NULL, 0 };
	FILE *err = open_memstream(&errors.p, &errors.n);
	struct conf *c = conf_new();
	int status;

	FUZZ_CHECK(c != NULL && err != NULL);
	status = load(c, (struct fuzz_input){ data, size }, err);
	FUZZ_CHECK(fflush(err) == 0);
	check_errors(&errors, status);
	if (status == 0) {
		check_print(c);
		status = conf_check(c, err);
		FUZZ_CHECK(fflush(err) == 0);
		check_errors(&errors, status);
		FUZZ_CHECK(conf_rule_for(c, "news") != NULL);
	}
	FUZZ_CHECK(fclose(err) == 0);
	free(errors.p);
	conf_free(c);
	return 0;
}
