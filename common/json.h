/*
 * json: jansson with Fanfare's limits, and slices of JSON text.
 *
 * Process: any.
 * Layer:   common.  Uses err, buf; jansson.
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct buf;

#define JSON_DEPTH_MAX 32
#define JSON_VALID_DEPTH_MAX 64 /* what json_valid bounds its depth to */

/*
 * Parses n bytes of strict JSON (RFC 8259): any value, nested at most `depth` deep, no duplicate
 * keys, no NUL in strings, integers within 64 bits.  0: *out is a new reference that the caller
 * gives back with json_decref.  FAN_EINVAL or FAN_ENOMEM with a fixed English phrase in *why
 * otherwise.
 */
FAN_NODISCARD int json_parse(
    const char *text, size_t n, size_t depth, json_t **out, const char **why);

/*
 * Whether n bytes are one valid JSON value nested at most `depth` deep (and at most
 * JSON_VALID_DEPTH_MAX).  A single pass without allocation; strings must be valid UTF-8 without
 * halves of surrogate pairs.  Duplicate keys are not looked for.
 */
bool json_valid(const char *text, size_t n, size_t depth);

/*
 * In the text of a valid JSON object, finds the value of the member named `key` (written without
 * escapes) and lends its exact bytes, without surrounding white space.  FAN_ENOENT: no such
 * member.
 */
FAN_NODISCARD int json_member(
    const char *text, size_t n, const char *key, const char **value, size_t *value_len);

/*
 * Appends n bytes of valid UTF-8 as a JSON string with its quotes; control characters, the quote
 * and the backslash are escaped, and nothing else.  Errors as buf_append.
 */
FAN_NODISCARD int json_append_string(struct buf *b, const char *text, size_t n);

/* Appends n bytes in base64 (RFC 4648 §4) as a JSON string with its quotes. */
FAN_NODISCARD int json_append_base64(struct buf *b, const void *data, size_t n);

#endif
