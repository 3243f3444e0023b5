/*
 * check: `fanfare check` and `fanfare help`, and loading the configuration for any command.
 *
 * Owns:    nothing.
 * Process: the command line's own; cli_load_conf also the master.
 * Layer:   cli.  Uses rule, common, broker/engine/redis_url, worker/net/tls, worker/auth/token.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <stddef.h>

#include "common/err.h"

struct conf;

/*
 * The defaults, then file (NULL: none; "-": standard input), the process's environment and the
 * nsets "key=value" of sets, each over the ones before; then conf_check, the syntax of redis.url, and the
 * files that tls.* and auth.jwks name.  Everything that is wrong is written to standard error.  0: *out is
 * for conf_free.  FAN_EINVAL, FAN_ENOMEM: *out is NULL.
 */
FAN_NODISCARD int cli_load_conf(
    const char *file, char *const *sets, size_t nsets, struct conf **out);

/* What was printed counts only if it arrived: 0, or 1 after a word about it on standard error. */
int cli_finish_stdout(void);

/* Both are given argv from their own name on ("check", ...), and return an exit status. */

/* `fanfare check [-c FILE] [--set KEY=VALUE]... [--channel NAME]`; 1: something is wrong. */
int cli_check(int argc, char **argv);
/* `fanfare help [config [--example]]` */
int cli_help(int argc, char **argv);

#endif
