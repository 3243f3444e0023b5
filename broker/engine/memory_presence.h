/*
 * memory_presence: who is in which channel, as the memory engine knows it.
 *
 * Owns:    a copy of each member.
 * Process: hub.
 * Layer:   broker/engine.  Uses common.
 */
#ifndef BROKER_ENGINE_MEMORY_PRESENCE_H
#define BROKER_ENGINE_MEMORY_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/member.h"

struct buf;
struct memory_presence;

/* NULL: no memory. */
struct memory_presence *memory_presence_new(void);
/* NULL is allowed. */
void memory_presence_free(struct memory_presence *p);

/*
 * *first: it is its user's first connection in the channel; anonymous ones always are.  FAN_EEXIST: the
 * connection is in the channel; nothing was changed.  FAN_ENOMEM.
 */
FAN_NODISCARD int memory_presence_join(struct memory_presence *p, const char *channel,
    size_t channel_len, const struct member *m, bool *first);

/*
 * Takes a connection out.  *last: no other of its user is in the channel; the member's JSON is then
 * appended to json.  FAN_ENOENT: it was not in the channel.  FAN_ENOMEM: it has left, but json lacks it.
 */
FAN_NODISCARD int memory_presence_leave(struct memory_presence *p, const char *channel,
    size_t channel_len, const char *client, size_t len, bool *last, struct buf *json);

/* Appends the channel's members, packed.  Errors as buf_append. */
FAN_NODISCARD int memory_presence_read(
    const struct memory_presence *p, const char *channel, size_t channel_len, struct buf *b);

#endif
