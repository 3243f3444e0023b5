/*
 * conf_read: values into the struct that a table describes.  See conf_read.h.
 */
#include "common/conf_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf_report.h"
#include "common/conf_table.h"
#include "common/conf_value.h"
#include "common/conf_yaml.h"
#include "common/utf8.h"

#define KEY_SIZE 128         /* a whole key with its NUL; longer ones are unknown anyway */
#define ITEM_MAX 1024        /* bytes of one item of a list of strings */
#define TEXT_SPACE " \t\r\n" /* what is cut off around a text */

/* The field of an option, where its type in the table says what it is. */
static void *
field(void *base, const struct conf_opt *o)
{
	return (char *)base + o->offset;
}

/* --- freeing -------------------------------------------------------------------------------- */

static void
list_free(struct conf_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->item[i]);
	free(l->item);
	*l = (struct conf_list){ 0 };
}

static void
rules_free(struct conf_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++)
		conf_read_free(&conf_rule_options, &rules->item[i]);
	free(rules->item);
	*rules = (struct conf_rules){ 0 };
}

void
conf_read_free(const struct conf_table *t, void *base)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct conf_opt *o = &t->opts[i];
		void *at = field(base, o);

		if (o->type == CONF_STRING) {
			free(*(char **)at);
			*(char **)at = NULL;
		} else if (o->type == CONF_LIST) {
			list_free(at);
		} else if (o->type == CONF_RULES) {
			rules_free(at);
		}
	}
}

/* --- scalars -------------------------------------------------------------------------------- */

static void
bad_value(
    struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, const char *why)
{
	char quoted[CONF_QUOTE_SIZE];

	conf_report_error(
	    r, node->line, "%s: %s: %s", o->info.key, conf_quote(quoted, node->value), why);
}

static void
out_of_range(struct conf_report *r, const struct conf_opt *o, const struct conf_node *node)
{
	char range[CONF_RANGE_SIZE], why[CONF_RANGE_SIZE + 32];

	(void)snprintf(why, sizeof(why), "out of range, which is %s", conf_range_text(o, range));
	bad_value(r, o, node, why);
}

static void
read_number(
    struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, int64_t *out)
{
	const char *why;
	int64_t v;

	if (conf_number_parse(o->type, node->value, &v, &why) != 0)
		bad_value(r, o, node, why);
	else if (v < o->info.min || v > o->info.max)
		out_of_range(r, o, node);
	else
		*out = v;
}

static void
read_boolean(
    struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, bool *out)
{
	const char *why;

	if (conf_boolean_parse(node->value, out, &why) != 0)
		bad_value(r, o, node, why);
}

static void
read_enum(struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, int *out)
{
	char range[CONF_RANGE_SIZE], why[CONF_RANGE_SIZE + 32];

	for (int i = (int)o->info.min; o->words[i] != NULL; i++) {
		if (strcmp(node->value, o->words[i]) == 0) {
			*out = i;
			return;
		}
	}
	(void)snprintf(why, sizeof(why), "write one of %s", conf_range_text(o, range));
	bad_value(r, o, node, why);
}

/* Errors do not repeat the value, which may be a secret. */
static int
read_string(
    struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, char **out)
{
	size_t n = strlen(node->value);
	char range[CONF_RANGE_SIZE];
	char *copy;

	if ((n > 0 || o->def == NULL) && ((int64_t)n < o->info.min || (int64_t)n > o->info.max)) {
		conf_report_error(r, node->line, "%s: a text of %s is needed, not of %zu",
		    o->info.key, conf_range_text(o, range), n);
		return 0;
	}
	if ((copy = strdup(node->value)) == NULL)
		return conf_report_nomem(r);
	free(*out);
	*out = copy;
	return 0;
}

/* --- lists ---------------------------------------------------------------------------------- */

static int
list_add(struct conf_report *r, const struct conf_opt *o, const struct conf_node *item,
    struct conf_list *l)
{
	if (item->kind == CONF_NODE_BAD)
		return 0;
	if (item->kind != CONF_NODE_SCALAR || conf_node_is_null(item) || item->value[0] == '\0' ||
	    strlen(item->value) > ITEM_MAX) {
		conf_report_error(r, item->line, "%s: each item must be a text of 1..%d bytes",
		    o->info.key, ITEM_MAX);
		return 0;
	}
	if ((l->item[l->n] = strdup(item->value)) == NULL)
		return conf_report_nomem(r);
	l->n++;
	return 0;
}

static bool
too_many(struct conf_report *r, const struct conf_opt *o, size_t line, size_t n)
{
	if ((int64_t)n <= o->info.max)
		return false;
	conf_report_error(
	    r, line, "%s: %zu items; at most %" PRId64 " can be", o->info.key, n, o->info.max);
	return true;
}

/* The n items replace what was in out. */
static int
read_list(struct conf_report *r, const struct conf_opt *o, size_t line,
    struct conf_node *const *items, size_t n, struct conf_list *out)
{
	struct conf_list l = { 0 };

	if (too_many(r, o, line, n))
		return 0;
	if (n > 0 && (l.item = calloc(n, sizeof(*l.item))) == NULL)
		return conf_report_nomem(r);
	for (size_t i = 0; i < n; i++) {
		int rc = list_add(r, o, items[i], &l);

		if (rc != 0) {
			list_free(&l);
			return rc;
		}
	}
	list_free(out);
	*out = l;
	return 0;
}

/* One rule; r->where says which. */
static int
read_rule(struct conf_report *r, const struct conf_node *node, struct conf_rule *out)
{
	int rc;

	if (node->kind == CONF_NODE_BAD)
		return 0;
	if (node->kind != CONF_NODE_MAP) {
		conf_report_error(r, node->line,
		    "each item must be keys and values, such as {match: \"chat:*\", publish: "
		    "anyone}");
		return 0;
	}
	rc = conf_read_defaults(r, &conf_rule_options, out);
	return rc == 0 ? conf_read_map(r, &conf_rule_options, node, out) : rc;
}

static int
read_rules(struct conf_report *r, const struct conf_opt *o, const struct conf_node *node,
    struct conf_rules *out)
{
	const char *outer = r->where;
	struct conf_rules rules = { 0 };
	char where[64];
	int rc = 0;

	if (node->kind != CONF_NODE_LIST) {
		conf_report_error(r, node->line,
		    "%s: write a list of rules, such as [{match: \"chat:*\", publish: anyone}]",
		    o->info.key);
		return 0;
	}
	if (too_many(r, o, node->line, node->n))
		return 0;
	if (node->n > 0 && (rules.item = calloc(node->n, sizeof(*rules.item))) == NULL)
		return conf_report_nomem(r);
	r->where = where;
	for (size_t i = 0; i < node->n && rc == 0; i++) {
		(void)snprintf(where, sizeof(where), "%s, rule %zu: ", o->info.key, i + 1);
		rc = read_rule(r, node->child[i], &rules.item[rules.n++]);
	}
	r->where = outer;
	if (rc != 0) {
		rules_free(&rules);
		return rc;
	}
	rules_free(out);
	*out = rules;
	return 0;
}

/* --- one option ----------------------------------------------------------------------------- */

static int
read_scalar(struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, void *at)
{
	switch (o->type) {
	case CONF_INTEGER:
	case CONF_SIZE:
	case CONF_DURATION:
		read_number(r, o, node, at);
		return 0;
	case CONF_BOOLEAN:
		read_boolean(r, o, node, at);
		return 0;
	case CONF_ENUM:
		read_enum(r, o, node, at);
		return 0;
	case CONF_STRING:
		return read_string(r, o, node, at);
	case CONF_LIST: {
		struct conf_node item = *node, *items[] = { &item };

		return read_list(r, o, node->line, items, 1, at);
	}
	case CONF_RULES:
		break; /* never a scalar */
	}
	return 0;
}

/* What to write for nothing. */
static const char *
none_hint(const struct conf_opt *o)
{
	if (o->type == CONF_LIST || o->type == CONF_RULES)
		return "; write [] for none";
	return o->type == CONF_STRING ? "; write \"\" for none" : "";
}

static int
read_option(
    struct conf_report *r, const struct conf_opt *o, const struct conf_node *node, void *base)
{
	void *at = field(base, o);

	if (node->kind == CONF_NODE_BAD)
		return 0;
	if (conf_node_is_null(node)) {
		conf_report_error(
		    r, node->line, "%s: no value is given%s", o->info.key, none_hint(o));
		return 0;
	}
	if (o->type == CONF_RULES)
		return read_rules(r, o, node, at);
	if (o->type == CONF_LIST && node->kind == CONF_NODE_LIST)
		return read_list(r, o, node->line, node->child, node->n, at);
	if (node->kind == CONF_NODE_SCALAR)
		return read_scalar(r, o, node, at);
	conf_report_error(r, node->line, "%s: the type is %s, not %s", o->info.key, o->info.type,
	    node->kind == CONF_NODE_LIST ? "list" : "keys and values");
	return 0;
}

/* --- a map of options ----------------------------------------------------------------------- */

static void
unknown_key(struct conf_report *r, const struct conf_table *t, const char *key,
    const struct conf_node *node)
{
	char quoted[CONF_QUOTE_SIZE];
	size_t group_len;
	const struct conf_opt *near = conf_table_nearest(t, key, &group_len);

	(void)conf_quote(quoted, key);
	if (near != NULL && strcmp(near->info.key, key) == 0)
		conf_report_error(r, node->line, "unknown key %s; write \"%s\" inside \"%.*s:\"",
		    quoted, key + conf_key_group(key) + 1, (int)conf_key_group(key), key);
	else if (near != NULL)
		conf_report_error(r, node->line, "unknown key %s; did you mean \"%.*s\"?", quoted,
		    (int)(group_len > 0 ? group_len : strlen(near->info.key)), near->info.key);
	else
		conf_report_error(
		    r, node->line, "unknown key %s; \"fanfare help config\" lists all", quoted);
}

/* Whether the map has the group of a key in dotted form as a map too. */
static bool
has_group(const struct conf_node *map, const char *key)
{
	size_t n = conf_key_group(key);

	for (size_t i = 0; i + 1 < map->n; i += 2)
		if (n > 0 && strlen(map->child[i]->value) == n &&
		    strncmp(map->child[i]->value, key, n) == 0)
			return true;
	return false;
}

/* prefix: "" or the group with its dot. */
static int
read_group(struct conf_report *r, const struct conf_table *t, const char *prefix,
    const struct conf_node *map, void *base)
{
	char key[KEY_SIZE], group[KEY_SIZE + 1];
	int rc = 0;

	if (map->kind == CONF_NODE_BAD || conf_node_is_null(map))
		return 0;
	if (map->kind != CONF_NODE_MAP) {
		conf_report_error(r, map->line, "%.*s%skeys and values are needed, one in a line",
		    (int)conf_key_group(prefix), prefix, *prefix != '\0' ? ": " : "");
		return 0;
	}
	for (size_t i = 0; i + 1 < map->n && rc == 0; i += 2) {
		const struct conf_node *name = map->child[i], *value = map->child[i + 1];
		bool whole = snprintf(key, sizeof(key), "%s%s", prefix, name->value) < KEY_SIZE;
		/*
		 * A file has the groups as maps; the dotted form is no second way, but in a rule,
		 * which often stands in one line.
		 */
		bool dotted = t == &conf_options && strchr(name->value, '.') != NULL;
		const struct conf_opt *o = whole && !dotted ? conf_table_find(t, key) : NULL;

		if (o != NULL && has_group(map, name->value)) {
			conf_report_error(r, name->line,
			    "%s stands beside \"%.*s:\"; write one of them", key,
			    (int)conf_key_group(key), key);
		} else if (o != NULL) {
			rc = read_option(r, o, value, base);
		} else if (whole && !dotted && conf_table_is_group(t, key)) {
			(void)snprintf(group, sizeof(group), "%s.", key);
			rc = read_group(r, t, group, value, base);
		} else {
			unknown_key(r, t, key, name);
		}
	}
	return rc;
}

static bool
has_key(const struct conf_node *map, const char *key)
{
	for (size_t i = 0; i + 1 < map->n; i += 2)
		if (strcmp(map->child[i]->value, key) == 0)
			return true;
	return false;
}

int
conf_read_map(
    struct conf_report *r, const struct conf_table *t, const struct conf_node *map, void *base)
{
	if (map == NULL)
		return 0;
	for (size_t i = 0; i < t->n; i++)
		if (t->opts[i].def == NULL && !has_key(map, t->opts[i].info.key))
			conf_report_error(r, map->line, "%s is missing", t->opts[i].info.key);
	return read_group(r, t, "", map, base);
}

/* --- text ----------------------------------------------------------------------------------- */

static bool
in_quotes(const char *text, size_t n)
{
	return n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n - 1] == text[0];
}

/* A node for n bytes of text: as YAML has it if it is in quotes, else as it is. */
static int
text_node(struct conf_report *r, const char *text, size_t n, struct conf_node **out)
{
	struct conf_node *node;

	if (in_quotes(text, n))
		return conf_yaml_parse(r, text, n, out);
	*out = NULL;
	if ((node = calloc(1, sizeof(*node))) == NULL)
		return conf_report_nomem(r);
	node->kind = CONF_NODE_SCALAR;
	if ((node->value = strndup(text, n)) == NULL) {
		free(node);
		return conf_report_nomem(r);
	}
	*out = node;
	return 0;
}

/* The bytes up to the next comma that is not in quotes. */
static size_t
item_len(const char *p, const char *end)
{
	const char *start = p;
	char quote = '\0';

	for (; p < end && (quote != '\0' || *p != ','); p++) {
		if (*p == quote)
			quote = '\0';
		else if (p == start && (*p == '"' || *p == '\''))
			quote = *p;
	}
	return (size_t)(p - start);
}

static const char *
skip_space(const char *p, const char *end)
{
	while (p < end && strchr(TEXT_SPACE, *p) != NULL)
		p++;
	return p;
}

static const char *
trim_end(const char *p, const char *end)
{
	while (end > p && strchr(TEXT_SPACE, end[-1]) != NULL)
		end--;
	return end;
}

/*
 * "a, b" or "[a, b]".  Not left to YAML, which would see a map in [:8080], a tag in !a, a comment
 * in #a.  The brackets of "[::1]:80" are no list's.
 */
static int
text_list(struct conf_report *r, const struct conf_opt *o, const char *p, const char *end, void *at)
{
	struct conf_node list = { .kind = CONF_NODE_LIST };
	int rc = 0;

	if (end - p >= 2 && *p == '[' && end[-1] == ']') {
		p++;
		end--;
	}
	end = trim_end(p, end);
	p = skip_space(p, end);
	/* No item is without a comma of its own but the last. */
	if ((list.child = calloc((size_t)(end - p) + 1, sizeof(*list.child))) == NULL)
		return conf_report_nomem(r);
	while (p < end && rc == 0) {
		size_t n = item_len(p, end);
		const char *stop = trim_end(p, p + n);

		rc = text_node(r, p, (size_t)(stop - p), &list.child[list.n]);
		list.n += list.child[list.n] != NULL;
		p = p + n < end ? skip_space(p + n + 1, end) : end;
	}
	if (rc == 0)
		rc = read_list(r, o, 0, list.child, list.n, at);
	for (size_t i = 0; i < list.n; i++)
		conf_node_free(list.child[i]);
	free(list.child);
	return rc == FAN_ENOMEM ? rc : 0;
}

int
conf_read_text(struct conf_report *r, const struct conf_opt *o, const char *text, void *base)
{
	const char *end = trim_end(text, text + strlen(text));
	const char *p = skip_space(text, end);
	struct conf_node *node;
	size_t n = (size_t)(end - p);
	int rc;

	if (!utf8_valid((const uint8_t *)p, n)) {
		conf_report_error(r, 0, "%s: not valid UTF-8", o->info.key);
		return 0;
	}
	if (o->type == CONF_LIST)
		return text_list(r, o, p, end, field(base, o));
	if (o->type == CONF_RULES) {
		if (n == 0) {
			p = "[]";
			n = 2;
		}
		rc = conf_yaml_parse(r, p, n, &node);
	} else {
		rc = text_node(r, p, n, &node);
	}
	if (rc == 0 && node != NULL)
		rc = read_option(r, o, node, base);
	if (rc != 0 && rc != FAN_ENOMEM)
		rc = 0;
	conf_node_free(node);
	return rc;
}

int
conf_read_defaults(struct conf_report *r, const struct conf_table *t, void *base)
{
	int rc = 0;

	for (size_t i = 0; i < t->n && rc == 0; i++)
		if (t->opts[i].def != NULL)
			rc = conf_read_text(r, &t->opts[i], t->opts[i].def, base);
	return rc;
}
