/*
 * conf: loading a configuration.  See conf.h.
 *
 * What is read goes straight into the struct; after an error it holds a mixture, fit for
 * conf_free only.
 */
#include "common/conf.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf_read.h"
#include "common/conf_report.h"
#include "common/conf_table.h"
#include "common/conf_yaml.h"
#include "common/publication.h"

#define FILE_SIZE_MAX (1U << 20)

struct conf *
conf_new(void)
{
	struct conf_report r = { .where = "" };
	struct conf *c = calloc(1, sizeof(*c));

	if (c != NULL && conf_read_defaults(&r, &conf_options, c) != 0) {
		conf_free(c);
		return NULL;
	}
	return c;
}

void
conf_free(struct conf *c)
{
	if (c == NULL)
		return;
	conf_read_free(&conf_options, c);
	free(c);
}

static int
result(const struct conf_report *r, int rc)
{
	if (rc == 0 && r->errors > 0)
		return FAN_EINVAL;
	return rc;
}

int
conf_load_text(struct conf *c, const char *name, const char *text, size_t n, FILE *err)
{
	struct conf_report r = { .err = err, .name = name, .where = "" };
	struct conf_node *root;
	int rc = conf_yaml_parse(&r, text, n, &root);

	if (rc == 0)
		rc = conf_read_map(&r, &conf_options, root, c);
	conf_node_free(root);
	return result(&r, rc);
}

/* All of f; *text is for free(). */
static int
read_all(struct conf_report *r, FILE *f, char **text, size_t *n)
{
	/* One byte more, to see that there is one. */
	if ((*text = malloc(FILE_SIZE_MAX + 1)) == NULL)
		return conf_report_nomem(r);
	*n = fread(*text, 1, FILE_SIZE_MAX + 1, f);
	if (ferror(f)) {
		conf_report_error(r, 0, "%s", strerror(errno));
		return FAN_EINVAL;
	}
	if (*n > FILE_SIZE_MAX) {
		conf_report_error(r, 0, "larger than %u bytes", FILE_SIZE_MAX);
		return FAN_EINVAL;
	}
	return 0;
}

int
conf_load_file(struct conf *c, const char *path, FILE *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	struct conf_report r = { .err = err, .name = is_stdin ? "stdin" : path, .where = "" };
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t n = 0;
	int rc;

	if (f == NULL) {
		conf_report_error(&r, 0, "%s", strerror(errno));
		return FAN_EINVAL;
	}
	rc = read_all(&r, f, &text, &n);
	if (!is_stdin)
		(void)fclose(f);
	if (rc == 0)
		rc = conf_load_text(c, r.name, text, n, err);
	free(text);
	return rc;
}

int
conf_set(struct conf *c, const char *assignment, FILE *err)
{
	struct conf_report r = { .err = err, .name = "--set", .lineless = true, .where = "" };
	const char *eq = strchr(assignment, '=');
	char quoted[CONF_QUOTE_SIZE], *key;
	const struct conf_opt *o;
	int rc = 0;

	if (eq == NULL) {
		conf_report_error(&r, 0, "%s: write KEY=VALUE", conf_quote(quoted, assignment));
		return FAN_EINVAL;
	}
	if ((key = strndup(assignment, (size_t)(eq - assignment))) == NULL)
		return conf_report_nomem(&r);
	(void)conf_quote(quoted, key);
	if ((o = conf_table_find(&conf_options, key)) != NULL)
		rc = conf_read_text(&r, o, eq + 1, c);
	else if (conf_table_is_group(&conf_options, key))
		conf_report_error(&r, 0, "%s is a group; name one option of it", quoted);
	else if ((o = conf_table_nearest(&conf_options, key, NULL)) != NULL)
		conf_report_error(
		    &r, 0, "unknown key %s; did you mean \"%s\"?", quoted, o->info.key);
	else
		conf_report_error(
		    &r, 0, "unknown key %s; \"fanfare help config\" lists all", quoted);
	free(key);
	return result(&r, rc);
}

/* Container schedulers tell a service named fanfare about itself in variables of these names. */
static bool
is_scheduler_name(const char *name)
{
	const char *rest = name + sizeof(CONF_ENV_PREFIX) - 1;

	return strncmp(rest, "SERVICE_", 8) == 0 || strcmp(rest, "PORT") == 0 ||
	    strncmp(rest, "PORT_", 5) == 0;
}

static const struct conf_opt *
find_env(const char *name)
{
	char other[CONF_ENV_SIZE];

	for (size_t i = 0; i < conf_options.n; i++)
		if (strcmp(name, conf_env_name(other, conf_options.opts[i].info.key)) == 0)
			return &conf_options.opts[i];
	return NULL;
}

/* One variable that begins with FANFARE_. */
static int
load_variable(struct conf *c, const char *name, const char *value, FILE *err)
{
	struct conf_report r = { .err = err, .name = name, .lineless = true, .where = "" };
	const struct conf_opt *o = find_env(name);
	char near[CONF_ENV_SIZE], quoted[CONF_QUOTE_SIZE];

	if (o != NULL)
		return result(&r, conf_read_text(&r, o, value, c));
	if (is_scheduler_name(name))
		return 0;
	r.name = "environment";
	o = conf_table_nearest(&conf_options, name + sizeof(CONF_ENV_PREFIX) - 1, NULL);
	if (o != NULL)
		conf_report_error(&r, 0, "unknown variable %s; did you mean \"%s\"?",
		    conf_quote(quoted, name), conf_env_name(near, o->info.key));
	else
		conf_report_error(&r, 0, "unknown variable %s; \"fanfare help config\" lists all",
		    conf_quote(quoted, name));
	return FAN_EINVAL;
}

int
conf_load_env(struct conf *c, char *const *env, FILE *err)
{
	struct conf_report r = { .err = err, .name = "environment", .where = "" };
	int rc = 0;

	for (; *env != NULL; env++) {
		const char *eq = strchr(*env, '=');
		char *name;
		int one;

		if (eq == NULL || strncmp(*env, CONF_ENV_PREFIX, sizeof(CONF_ENV_PREFIX) - 1) != 0)
			continue;
		if ((name = strndup(*env, (size_t)(eq - *env))) == NULL)
			return conf_report_nomem(&r);
		one = load_variable(c, name, eq + 1, err);
		free(name);
		if (one == FAN_ENOMEM)
			return one;
		if (one != 0)
			rc = one;
	}
	return rc;
}

const struct conf_rule *
conf_rule_for(const struct conf *c, const char *channel)
{
	static char any[] = "*";
	static const struct conf_rule otherwise = {
		.match = any,
		.subscribe = CONF_ANYONE,
		.publish = CONF_NOBODY,
		.position_check = true,
	};

	/* Fanfare's own channels are nobody's to make rules for. */
	if (channel[0] == CHANNEL_INTERNAL)
		return &otherwise;
	for (size_t i = 0; i < c->channels.n; i++)
		if (fnmatch(c->channels.item[i].match, channel, 0) == 0)
			return &c->channels.item[i];
	return &otherwise;
}
