/*
 * json_command: a command of fanfare.json, from its text.
 *
 * Owns:    the parsed JSON, which the strings lie in.
 * Process: workers.
 * Layer:   worker/dialect, below json_run.  Uses common/json, common/publication.
 */
#ifndef WORKER_DIALECT_JSON_COMMAND_H
#define WORKER_DIALECT_JSON_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

#define JSON_ID_MAX 128 /* bytes of an id, as JSON text */

enum json_verb {
	JSON_SUBSCRIBE,
	JSON_UNSUBSCRIBE,
	JSON_PUBLISH,
	JSON_HISTORY,
	JSON_PRESENCE,
	JSON_TOKEN,
};

/* Strings are NUL-terminated and hold no other NUL; what a command does not have is NULL or 0. */
struct json_command {
	enum json_verb verb;
	const char *name; /* the channel as the client wrote it; of JSON_TOKEN the token */
	size_t name_len;
	const char *data; /* of a publish, always: JSON text, which lies in the command's */
	size_t data_len;
	const char *key;
	size_t key_len;
	const char *token;
	size_t token_len;
	struct position since; /* "": none was given */
	int64_t limit;         /* 0: none was given */
	bool reverse;
	char id[JSON_ID_MAX + 1]; /* JSON text; "": none */
	json_t *object;
};

/*
 * Reads n bytes of text, which must stay as long as the command.  0: the caller frees it by
 * json_command_fini.  FAN_EINVAL: *why is a phrase; what could be read of the id is there.  FAN_ENOMEM.
 */
FAN_NODISCARD int json_command_read(
    struct json_command *c, const char *text, size_t n, const char **why);
void json_command_fini(struct json_command *c);

#endif
