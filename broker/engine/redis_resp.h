/*
 * redis_resp: Redis's protocol (RESP 2) as bytes: replies read, commands written.
 *
 * Owns:    the parser with its buffer.
 * Process: hub.
 * Layer:   broker/engine.  Uses common/buf, common/err; hiredis for the parsing of replies.  No
 *          other file knows hiredis.
 *
 * What comes from Redis is not trusted with memory: nothing is allocated from a length that the
 * peer names before its bytes are there, and arrays, strings and lines are bounded.
 */
#ifndef BROKER_ENGINE_REDIS_RESP_H
#define BROKER_ENGINE_REDIS_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct buf;
struct redis_reader;

#define REDIS_ARRAY_MAX 16                   /* elements; none of them is an array */
#define REDIS_BULK_MAX ((64UL << 20) + 4096) /* bytes of a string: a message and its envelope */
#define REDIS_LINE_MAX 4096UL                /* bytes of a line that has not ended */
#define REDIS_KEY_MAX 1024UL                 /* bytes of all strings of an array but its last */

enum redis_type {
	REDIS_TYPE_STRING,
	REDIS_TYPE_STATUS,
	REDIS_TYPE_ERROR,
	REDIS_TYPE_INTEGER,
	REDIS_TYPE_NIL,
};

struct redis_value {
	enum redis_type type;
	const char *data; /* of a string, status or error; not NUL-terminated; else NULL */
	size_t len;
	int64_t number; /* of an integer */
};

struct redis_reply {
	bool array;
	size_t n; /* 1 unless it is an array */
	struct redis_value v[REDIS_ARRAY_MAX];
};

/*
 * Is called with each whole reply, lent until return.  A nonzero result stops the reader, which is
 * of no use afterwards.  Must not call into the reader.
 */
typedef int (*redis_reply_fn)(void *arg, const struct redis_reply *r);

/* NULL: no memory. */
struct redis_reader *redis_reader_new(redis_reply_fn fn, void *arg);
/* NULL is allowed. */
void redis_reader_free(struct redis_reader *r);

/*
 * Takes n bytes as they came and calls back every reply that they complete.  FAN_EPROTO: malformed,
 * or over a bound; FAN_ENOMEM; or what the callback returned.  *why is a phrase then, lent by the
 * reader.  Cheapest in pieces of up to some 16 KiB.
 */
FAN_NODISCARD int redis_reader_feed(
    struct redis_reader *r, const char *bytes, size_t n, const char **why);

/* One argument of a command: head_len bytes, then len bytes. */
struct redis_arg {
	const void *head;
	size_t head_len;
	const void *data;
	size_t len;
};

/* Appends a command of n arguments.  Errors as buf_reserve; nothing is appended then. */
FAN_NODISCARD int redis_command_append(struct buf *out, const struct redis_arg *args, size_t n);

#endif
