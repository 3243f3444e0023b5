/*
 * interest: which worker wants which channel.
 *
 * Owns:    one entry for each channel that anybody wants: about 60 bytes and the name.
 * Process: hub.
 * Layer:   broker/hub.  Uses map.
 *
 * A worker is a slot, a number below the count that the table was made for.  A channel is pending
 * until interest_live says that the engine delivers it.  A data structure and nothing else: what
 * the hub tells the engine and the workers follows from the answers given here.
 */
#ifndef BROKER_HUB_INTEREST_H
#define BROKER_HUB_INTEREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct interest;
struct interest_entry;

enum interest_state {
	INTEREST_NONE, /* nobody wants the channel */
	INTEREST_PENDING,
	INTEREST_LIVE,
};

/* NULL: no memory. */
struct interest *interest_new(unsigned slots);
/* NULL is allowed. */
void interest_free(struct interest *t);

/*
 * Notes that the slot wants the channel (1 to CHANNEL_NAME_MAX bytes), which may be known, and
 * while it is pending the id under which it was asked for last.  *was:
  * the channel's state before; INTEREST_NONE: it is new, and pending now.  FAN_ENOMEM: nothing has
 * changed.
 */
FAN_NODISCARD int interest_add(struct interest *t, const char *channel, size_t len, unsigned slot,
    uint32_t id, enum interest_state *was);
/* Takes that back.  true: the slot was the last, and the channel is gone. */
bool interest_remove(struct interest *t, const char *channel, size_t len, unsigned slot);
/*
 * Takes back everything that the slot wants, and calls gone for each channel that nobody wants
 * any more.  gone must not call into this table.
 */
void interest_drop_slot(struct interest *t, unsigned slot,
    void (*gone)(void *arg, const char *channel, size_t len), void *arg);

/*
 * Marks the channel, if anybody wants it, as live, and calls answer for each slot that waited for
 * that.  answer must not call into this table.
 */
void interest_live(struct interest *t, const char *channel, size_t len,
    void (*answer)(void *arg, unsigned slot, uint32_t id), void *arg);

/*
 * Notes the outage of this number (not 0) on the channel.  true: it was not noted before, and
 * somebody wants the channel.
 */
bool interest_note_outage(struct interest *t, const char *channel, size_t len, uint32_t outage);

/* The channel's entry, lent until the next change.  NULL: nobody wants it. */
const struct interest_entry *interest_get(
    const struct interest *t, const char *channel, size_t len);
/* The lowest slot from `from` on that wants the channel, or -1. */
int interest_next(const struct interest *t, const struct interest_entry *e, unsigned from);

size_t interest_channels(const struct interest *t);

#endif
