/*
 * token: `fanfare token`, which makes tokens of clients, inspects them, and makes keys.
 *
 * Owns:    nothing.
 * Process: the command line.
 * Layer:   cli.  Uses check, worker/auth, common.
 */
#ifndef CLI_TOKEN_H
#define CLI_TOKEN_H

#include <stddef.h>

#include "common/err.h"

/* Each is given argv from its own name on, and returns the exit status: 0, 1 an error, 2 wrong usage. */

/* `fanfare token ...`, `fanfare token inspect ...`, `fanfare token key ...` */
int cli_token(int argc, char **argv);
/* 1 too where the token is not valid. */
int cli_token_inspect(int argc, char **argv);
int cli_token_key(int argc, char **argv);

#define TOKEN_FILE_MAX (256U << 10)

/*
 * Reads a whole file ("-": standard input), up to TOKEN_FILE_MAX; *text is for free(), NUL-terminated.
 * FAN_EINVAL, FAN_ENOMEM: the reason was written to standard error.
 */
FAN_NODISCARD int token_read_file(const char *path, char **text, size_t *n);

#endif
