/*
 * redis_glob: a rule's glob as a pattern of Lua, for the functions in Redis.
 *
 * Process: hub.
 * Layer:   broker/engine, lowest.  Uses common/buf, common/publication.
 */
#ifndef BROKER_ENGINE_REDIS_GLOB_H
#define BROKER_ENGINE_REDIS_GLOB_H

#include "common/err.h"

struct buf;

/*
 * Appends a pattern that finds exactly those channels' names, Fanfare's own included, that fnmatch(3)
 * without flags matches with the glob.  Errors as buf_append; something may have been appended then.
 */
FAN_NODISCARD int redis_glob_append(struct buf *b, const char *glob);

#endif
