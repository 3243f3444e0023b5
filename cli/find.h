/*
 * find: where the node with a given configuration listens.
 *
 * Process: the command line.
 * Layer:   cli.  Uses common.
 */
#ifndef CLI_FIND_H
#define CLI_FIND_H

#include <stdbool.h>

#include "common/err.h"

/*
 * The first plain public or internal address of the node with this configuration file (and the
 * environment), as SCHEME://HOST:PORT for callers on its machine.  *key, if key is not NULL, is
 * its API key, or NULL.  Both strings are the caller's to free.  Errors are told on stderr.
 */
FAN_NODISCARD int find_node(
    const char *config, bool internal, const char *scheme, char **url, char **key);

#endif
