/*
 * conf_table: the table of all options, the one source of what a configuration may hold.
 *
 * Owns:    nothing; constants.
 * Process: any.
 * Layer:   common.  Uses conf.h.
 */
#ifndef COMMON_CONF_TABLE_H
#define COMMON_CONF_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/conf.h"

/* In brackets: the C type of the field, and what min and max of struct conf_option_info bound. */
enum conf_type {
	CONF_INTEGER,  /* int64_t; the value */
	CONF_SIZE,     /* int64_t, bytes; the value */
	CONF_DURATION, /* int64_t, ms; the value */
	CONF_BOOLEAN,  /* bool; nothing */
	CONF_ENUM,     /* int, the index into words; nothing */
	CONF_STRING,   /* char *; the bytes, where it is not empty */
	CONF_LIST,     /* struct conf_list; the items */
	CONF_RULES,    /* struct conf_rules; the items */
};

struct conf_opt {
	struct conf_option_info info;
	size_t offset;   /* of the field */
	const char *def; /* the default as conf_set takes it; NULL: must be given */
	const char *const
	    *words; /* CONF_ENUM: ended by NULL; those before info.min cannot be set */
	enum conf_type type;
	bool url; /* a secret of which the password alone is hidden */
};

struct conf_table {
	const struct conf_opt *opts; /* those of one group stand together */
	size_t n;
};

extern const struct conf_table conf_options;      /* of struct conf */
extern const struct conf_table conf_rule_options; /* of struct conf_rule */

/* The option of that key, or NULL. */
const struct conf_opt *conf_table_find(const struct conf_table *t, const char *key);

/* Whether key, such as "limits", is the first part of others. */
bool conf_table_is_group(const struct conf_table *t, const char *key);

/* The bytes of key's group: 6 of "limits.queue", 0 of "workers". */
size_t conf_key_group(const char *key);

/*
 * The option whose key is closest to one that is unknown, or NULL where none is near.  Case, "-",
 * "_" and "." do not count.  *group_len: 0, or the bytes of the option's group if it is the group
 * that is meant.  group_len may be NULL: then no group is meant.
 */
const struct conf_opt *conf_table_nearest(
    const struct conf_table *t, const char *key, size_t *group_len);

#define CONF_ENV_PREFIX "FANFARE_"
#define CONF_ENV_SIZE 64

/* The variable of the environment for a key.  Returns out. */
const char *conf_env_name(char out[CONF_ENV_SIZE], const char *key);

#endif
