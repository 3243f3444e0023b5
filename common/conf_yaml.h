/*
 * conf_yaml: a YAML text as a tree of nodes that know their line.
 *
 * Owns:    the tree.
 * Process: any.
 * Layer:   common.  Uses conf_report, utf8; libyaml.
 *
 * The part of YAML that a configuration needs: one document of block and flow collections and
 * scalars.  Anchors, aliases, tags and duplicate keys are refused, as is what is not UTF-8.
 */
#ifndef COMMON_CONF_YAML_H
#define COMMON_CONF_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct conf_report;

#define CONF_TEXT_MAX (4U << 20) /* bytes of a text */
#define CONF_DEPTH_MAX 16        /* collections within one another */
#define CONF_MAP_MAX 256         /* pairs of one map */
#define CONF_LIST_MAX 10000      /* items of one list */

enum conf_node_kind {
	CONF_NODE_SCALAR,
	CONF_NODE_LIST,
	CONF_NODE_MAP,
	CONF_NODE_BAD, /* reported already: to be passed over */
};

struct conf_node {
	enum conf_node_kind kind;
	size_t line; /* from 1; 0: none to speak of */
	bool plain;  /* a scalar without quotes, not a block scalar */
	char *value; /* scalar: valid UTF-8 without NUL */
	/* List: its items.  Map: key, value, key, value...; keys are scalars, no two the same. */
	struct conf_node **child;
	size_t n;
};

/*
 * Parses n bytes.  *out is NULL where the text holds no document (empty, comments alone), otherwise
 * for conf_node_free.  Every error is written to r; the tree is there if reading could go on,
 * and FAN_EINVAL says that it is not.  FAN_ENOMEM.
 */
FAN_NODISCARD int conf_yaml_parse(
    struct conf_report *r, const char *text, size_t n, struct conf_node **out);

/* NULL is allowed. */
void conf_node_free(struct conf_node *node);

/* Whether the scalar is written as YAML's null: nothing at all, "~" or null. */
bool conf_node_is_null(const struct conf_node *node);

#endif
