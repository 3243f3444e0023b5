/*
 * conf_yaml: a YAML text as a tree.  See conf_yaml.h.
 *
 * libyaml gives events; each read_ function is entered with the event that begins its node in
 * y->ev and leaves with that node's last event consumed.
 */
#include "common/conf_yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/conf_report.h"
#include "common/utf8.h"

/* As a format of printf. */
#define QUOTE_HINT "a value that begins with one of : * & ! | > @ %% ` [ { # goes in quotes"

struct reader {
	yaml_parser_t parser;
	yaml_event_t ev; /* the current event; zeroed where there is none */
	struct conf_report *r;
	const char *text;
	size_t n;
	size_t lines; /* of the text; libyaml ends a text on the line after its last */
	unsigned depth;
};

static int read_node(struct reader *y, struct conf_node **out);

void
conf_node_free(struct conf_node *node)
{
	if (node == NULL)
		return;
	for (size_t i = 0; i < node->n; i++)
		conf_node_free(node->child[i]);
	free(node->child);
	free(node->value);
	free(node);
}

bool
conf_node_is_null(const struct conf_node *node)
{
	return node->kind == CONF_NODE_SCALAR && node->plain &&
	    (node->value[0] == '\0' || strcmp(node->value, "~") == 0 ||
		strcmp(node->value, "null") == 0);
}

static size_t
mark_line(const struct reader *y, const yaml_mark_t *mark)
{
	return mark->line < y->lines ? mark->line + 1 : y->lines;
}

/* Whether the white space that the line begins with has a tab, which YAML allows nowhere there. */
static bool
tab_indents(const struct reader *y, size_t line)
{
	const char *p = y->text, *end = y->text + y->n;

	for (; line > 1 && p < end; p++)
		line -= *p == '\n';
	while (p < end && *p == ' ')
		p++;
	return p < end && *p == '\t';
}

/* Says what libyaml stumbled over. */
static int
report_syntax(struct reader *y)
{
	const yaml_parser_t *p = &y->parser;
	const char *problem = p->problem != NULL ? p->problem : "it cannot be read";
	size_t line = mark_line(y, &p->problem_mark);
	bool hint = false;

	if (p->error == YAML_MEMORY_ERROR)
		return conf_report_nomem(y->r);
	if (p->error == YAML_READER_ERROR) {
		/* Such errors come with an offset in place of a mark. */
		line = 1;
		for (size_t i = 0; i < p->problem_offset && i < y->n; i++)
			line += y->text[i] == '\n';
	} else if (strstr(problem, "expected node content") != NULL ||
	    strstr(problem, "cannot start any token") != NULL ||
	    strstr(problem, "alphabetic or numeric") != NULL) {
		hint = true;
	}
	if (tab_indents(y, line))
		conf_report_error(y->r, line, "not valid YAML: a tab cannot indent; use spaces");
	else if (hint)
		conf_report_error(y->r, line, "not valid YAML: %s; " QUOTE_HINT, problem);
	else if (p->context != NULL)
		conf_report_error(y->r, line, "not valid YAML: %s, %s that begins on line %zu",
		    problem, p->context, mark_line(y, &p->context_mark));
	else
		conf_report_error(y->r, line, "not valid YAML: %s", problem);
	return FAN_EINVAL;
}

/* Steps to the next event. */
static int
next(struct reader *y)
{
	yaml_event_delete(&y->ev);
	if (!yaml_parser_parse(&y->parser, &y->ev)) {
		memset(&y->ev, 0, sizeof(y->ev));
		return report_syntax(y);
	}
	return 0;
}

static struct conf_node *
node_new(struct reader *y, enum conf_node_kind kind)
{
	struct conf_node *node = calloc(1, sizeof(*node));

	if (node == NULL) {
		(void)conf_report_nomem(y->r);
		return NULL;
	}
	node->kind = kind;
	node->line = mark_line(y, &y->ev.start_mark);
	return node;
}

/* Takes child.  The array doubles at each power of two. */
static int
node_add(struct reader *y, struct conf_node *node, struct conf_node *child)
{
	if ((node->n & (node->n - 1)) == 0) {
		size_t cap = node->n == 0 ? 1 : node->n * 2;
		struct conf_node **grown = reallocarray(node->child, cap, sizeof(*grown));

		if (grown == NULL) {
			conf_node_free(child);
			return conf_report_nomem(y->r);
		}
		node->child = grown;
	}
	node->child[node->n++] = child;
	return 0;
}

/* Anchors and tags are refused where they stand; the node itself is read on. */
static void
check_properties(struct reader *y, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	size_t line = mark_line(y, &y->ev.start_mark);

	if (anchor != NULL)
		conf_report_error(y->r, line, "anchors are not used here; " QUOTE_HINT);
	if (tag != NULL)
		conf_report_error(y->r, line, "tags are not used here; " QUOTE_HINT);
}

static int
read_scalar(struct reader *y, struct conf_node **out)
{
	const char *value = (const char *)y->ev.data.scalar.value;
	size_t n = y->ev.data.scalar.length;
	struct conf_node *node;

	check_properties(y, y->ev.data.scalar.anchor, y->ev.data.scalar.tag);
	if ((node = node_new(y, CONF_NODE_SCALAR)) == NULL)
		return FAN_ENOMEM;
	if (memchr(value, '\0', n) != NULL) {
		conf_report_error(y->r, node->line, "a value must not hold a NUL");
		node->kind = CONF_NODE_BAD;
	}
	node->plain = y->ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if ((node->value = strndup(value, n)) == NULL) {
		conf_node_free(node);
		return conf_report_nomem(y->r);
	}
	*out = node;
	return 0;
}

static int
read_list(struct reader *y, struct conf_node **out)
{
	struct conf_node *node, *item;
	int rc;

	check_properties(y, y->ev.data.sequence_start.anchor, y->ev.data.sequence_start.tag);
	if ((node = node_new(y, CONF_NODE_LIST)) == NULL)
		return FAN_ENOMEM;
	for (;;) {
		if ((rc = next(y)) != 0)
			goto fail;
		if (y->ev.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (node->n == CONF_LIST_MAX) {
			conf_report_error(
			    y->r, node->line, "a list of more than %d items", CONF_LIST_MAX);
			rc = FAN_EINVAL;
			goto fail;
		}
		if ((rc = read_node(y, &item)) != 0 || (rc = node_add(y, node, item)) != 0)
			goto fail;
	}
	*out = node;
	return 0;
fail:
	conf_node_free(node);
	return rc;
}

/* The line on which the map has this key already, or 0. */
static size_t
find_key(const struct conf_node *map, const char *key)
{
	for (size_t i = 0; i + 1 < map->n; i += 2)
		if (strcmp(map->child[i]->value, key) == 0)
			return map->child[i]->line;
	return 0;
}

/* One pair; the current event begins its key. */
static int
read_pair(struct reader *y, struct conf_node *map)
{
	struct conf_node *key = NULL, *value = NULL;
	char quoted[CONF_QUOTE_SIZE];
	size_t before;
	int rc;

	if ((rc = read_node(y, &key)) != 0 || (rc = next(y)) != 0 ||
	    (rc = read_node(y, &value)) != 0) {
		conf_node_free(key);
		return rc;
	}
	if (key->kind == CONF_NODE_SCALAR && (before = find_key(map, key->value)) == 0) {
		if ((rc = node_add(y, map, key)) == 0)
			return node_add(y, map, value);
		conf_node_free(value);
		return rc;
	}
	if (key->kind == CONF_NODE_SCALAR)
		conf_report_error(y->r, key->line, "key %s is there already, on line %zu",
		    conf_quote(quoted, key->value), before);
	else if (key->kind != CONF_NODE_BAD)
		conf_report_error(y->r, key->line, "a key must be a plain word");
	conf_node_free(key);
	conf_node_free(value);
	return 0;
}

static int
read_map(struct reader *y, struct conf_node **out)
{
	struct conf_node *node;
	int rc;

	check_properties(y, y->ev.data.mapping_start.anchor, y->ev.data.mapping_start.tag);
	if ((node = node_new(y, CONF_NODE_MAP)) == NULL)
		return FAN_ENOMEM;
	for (;;) {
		if ((rc = next(y)) != 0)
			goto fail;
		if (y->ev.type == YAML_MAPPING_END_EVENT)
			break;
		if (node->n == (size_t)2 * CONF_MAP_MAX) {
			conf_report_error(
			    y->r, node->line, "a map of more than %d keys", CONF_MAP_MAX);
			rc = FAN_EINVAL;
			goto fail;
		}
		if ((rc = read_pair(y, node)) != 0)
			goto fail;
	}
	*out = node;
	return 0;
fail:
	conf_node_free(node);
	return rc;
}

static int
read_node(struct reader *y, struct conf_node **out)
{
	int rc;

	if (y->ev.type == YAML_SCALAR_EVENT)
		return read_scalar(y, out);
	if (y->ev.type == YAML_ALIAS_EVENT) {
		if ((*out = node_new(y, CONF_NODE_BAD)) == NULL)
			return FAN_ENOMEM;
		conf_report_error(y->r, (*out)->line, "aliases are not used here; " QUOTE_HINT);
		return 0;
	}
	if (y->depth == CONF_DEPTH_MAX) {
		conf_report_error(y->r, mark_line(y, &y->ev.start_mark), "nested more than %d deep",
		    CONF_DEPTH_MAX);
		return FAN_EINVAL;
	}
	y->depth++;
	rc = y->ev.type == YAML_SEQUENCE_START_EVENT ? read_list(y, out) : read_map(y, out);
	y->depth--;
	return rc;
}

/* The document that has begun, to its end. */
static int
read_document(struct reader *y, struct conf_node **out)
{
	int rc;

	if ((rc = next(y)) != 0 || (rc = read_node(y, out)) != 0)
		return rc;
	return next(y);
}

/* The stream: at most one document. */
static int
read_stream(struct reader *y, struct conf_node **out)
{
	int rc = next(y);

	if (rc == 0)
		rc = next(y);
	if (rc != 0 || y->ev.type == YAML_STREAM_END_EVENT)
		return rc;
	if ((rc = read_document(y, out)) != 0 || (rc = next(y)) != 0 ||
	    y->ev.type == YAML_STREAM_END_EVENT)
		return rc;
	conf_report_error(
	    y->r, mark_line(y, &y->ev.start_mark), "a second document; one is allowed");
	return FAN_EINVAL;
}

/* Bytes that no text may hold, said with their lines.  A character never spans lines. */
static int
check_bytes(struct reader *y)
{
	const char *p = y->text, *end = y->text + y->n;
	size_t before = y->r->errors;

	for (y->lines = 0; p < end; y->lines++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl != NULL ? nl : end;
		size_t n = (size_t)(stop - p);

		if (memchr(p, '\0', n) != NULL)
			conf_report_error(y->r, y->lines + 1, "a NUL byte");
		if (!utf8_valid((const uint8_t *)p, n))
			conf_report_error(y->r, y->lines + 1, "not valid UTF-8");
		p = nl != NULL ? nl + 1 : end;
	}
	if (y->lines == 0)
		y->lines = 1;
	return y->r->errors == before ? 0 : FAN_EINVAL;
}

int
conf_yaml_parse(struct conf_report *r, const char *text, size_t n, struct conf_node **out)
{
	struct reader y = { .r = r, .text = text, .n = n };
	int rc;

	*out = NULL;
	if (n > CONF_TEXT_MAX) {
		conf_report_error(r, 0, "larger than %u bytes", CONF_TEXT_MAX);
		return FAN_EINVAL;
	}
	if ((rc = check_bytes(&y)) != 0)
		return rc;
	if (!yaml_parser_initialize(&y.parser))
		return conf_report_nomem(r);
	yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, n);
	rc = read_stream(&y, out);
	yaml_event_delete(&y.ev);
	yaml_parser_delete(&y.parser);
	if (rc != 0) {
		conf_node_free(*out);
		*out = NULL;
	}
	return rc;
}
