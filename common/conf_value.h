/*
 * conf_value: numbers of an option as text, and back.
 *
 * Owns:    nothing; pure functions.
 * Process: any.
 * Layer:   common.  Uses conf_table.
 */
#ifndef COMMON_CONF_VALUE_H
#define COMMON_CONF_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf_table.h"

/*
 * Parses text as an integer ("12"), a size ("65536", "64KiB", "64k") or a duration ("500ms", "25s",
 * "5m", "2h", "1d", "0").  What does not fit 64 bits becomes INT64_MAX or its negative.
 * FAN_EINVAL with a phrase that says what to write in *why.
 */
FAN_NODISCARD int conf_number_parse(
    enum conf_type type, const char *text, int64_t *out, const char **why);

#define CONF_NUMBER_SIZE 32

/* Writes v with the largest unit that leaves it whole, as conf_number_parse reads it. */
const char *conf_number_text(enum conf_type type, int64_t v, char out[CONF_NUMBER_SIZE]);

/* "true", "yes" or "on"; "false", "no" or "off".  FAN_EINVAL with *why. */
FAN_NODISCARD int conf_boolean_parse(const char *text, bool *out, const char **why);

#define CONF_RANGE_SIZE 96

/* Writes what the option's values may be: "1..64MiB", "error|warn", "at most 32". */
const char *conf_range_text(const struct conf_opt *o, char out[CONF_RANGE_SIZE]);

#endif
