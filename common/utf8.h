/*
 * utf8: incremental check of UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
 *
 * Process: any.
 * Layer:   common.  Uses err.
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* At a character's end; also the state to start with.  Any other value: inside a character. */
#define UTF8_ACCEPT 0

/*
 * Feeds n bytes.  *state carries over from call to call.  0: all bytes so far can be the start of
 * valid UTF-8 (the text may end here only if *state is UTF8_ACCEPT).  FAN_EINVAL: the first bad
 * byte was met, whether or not its character is complete.  Runs of ASCII go a word at a time.
 */
FAN_NODISCARD int utf8_feed(uint32_t *state, const uint8_t *p, size_t n);

/* Whether the n bytes are complete, valid UTF-8. */
bool utf8_valid(const uint8_t *p, size_t n);

#endif
