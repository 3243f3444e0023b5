/*
 * members: who is in which channel on this node, so that the engine can be told again after it has lost
 * that, and told of all whom a dead worker had.
 *
 * Owns:    a copy of each member.
 * Process: hub.
 * Layer:   broker/hub.  Uses common/map, common/member.
 */
#ifndef BROKER_HUB_MEMBERS_H
#define BROKER_HUB_MEMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/member.h"

struct members;

/* All is lent until return.  It must not call into the table. */
typedef void (*members_fn)(
    void *arg, const char *channel, size_t channel_len, const struct member *m);

/* NULL: no memory. */
struct members *members_new(unsigned slots);
void members_free(struct members *t);

/* FAN_EEXIST: the connection is in the channel; what is known of it is replaced.  FAN_ENOMEM. */
FAN_NODISCARD int members_join(struct members *t, unsigned slot, const char *channel,
    size_t channel_len, const struct member *m);
/* FAN_ENOENT: it was not in the channel under this slot. */
FAN_NODISCARD int members_leave(struct members *t, unsigned slot, const char *channel,
    size_t channel_len, const char *client, size_t len);
/* Forgets all of a slot; fn is called for each. */
void members_drop_slot(struct members *t, unsigned slot, members_fn fn, void *arg);
void members_each(const struct members *t, members_fn fn, void *arg);
size_t members_count(const struct members *t);

#endif
