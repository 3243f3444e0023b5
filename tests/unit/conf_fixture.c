/*
 * conf_fixture: a configuration to read into.  See conf_fixture.h.
 */
#include "tests/unit/conf_fixture.h"

#include <stdlib.h>
#include <string.h>

struct conf *c;
char *said;

void
setup(void)
{
	c = conf_new();
	cr_assert_not_null(c);
}

void
teardown(void)
{
	conf_free(c);
	free(said);
}

FILE *
listen_to(size_t *n)
{
	FILE *f;

	free(said);
	said = NULL;
	f = open_memstream(&said, n);
	cr_assert_not_null(f);
	return f;
}

int
load(const char *yaml)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_load_text(c, "F", yaml, strlen(yaml), f);

	fclose(f);
	return rc;
}

int
set(const char *assignment)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_set(c, assignment, f);

	fclose(f);
	return rc;
}

int
env(const char *variable)
{
	char *copy = strdup(variable), *list[] = { copy, NULL };
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_load_env(c, list, f);

	fclose(f);
	free(copy);
	return rc;
}

int
check(void)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_check(c, f);

	fclose(f);
	return rc;
}

char *
printed(const struct conf *conf, bool secrets)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	cr_assert_not_null(f);
	conf_print(conf, f, secrets);
	fclose(f);
	return text;
}
