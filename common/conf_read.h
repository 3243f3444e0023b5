/*
 * conf_read: values of options, from YAML or from plain text, into the struct that a table
 * describes.
 *
 * Owns:    nothing; what it puts into the struct is freed with conf_read_free.
 * Process: any.
 * Layer:   common.  Uses conf_report, conf_table, conf_value, conf_yaml.
 *
 * base is the struct of the table.  Errors are written to r and counted there; the functions
 * return 0 then too, so that the next error is found as well, and FAN_ENOMEM otherwise.
 */
#ifndef COMMON_CONF_READ_H
#define COMMON_CONF_READ_H

#include "common/err.h"

struct conf_node;
struct conf_opt;
struct conf_report;
struct conf_table;

/* Reads every option of the map; NULL and YAML's null are an empty map. */
FAN_NODISCARD int conf_read_map(
    struct conf_report *r, const struct conf_table *t, const struct conf_node *map, void *base);

/*
 * Reads one option from the text of a command line or of the environment, without the white space
 * around it.  Unless it stands in quotes the text is the value, whatever YAML would see in it.
 * Lists are written "a, b" or "[a, b]"; rules are YAML.
 */
FAN_NODISCARD int conf_read_text(
    struct conf_report *r, const struct conf_opt *o, const char *text, void *base);

/* Sets all options that have one to their default. */
FAN_NODISCARD int conf_read_defaults(struct conf_report *r, const struct conf_table *t, void *base);

/* Frees the strings and lists of all options. */
void conf_read_free(const struct conf_table *t, void *base);

#endif
