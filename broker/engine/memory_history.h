/*
 * memory_history: the histories of the memory engine.
 *
 * Owns:    every message kept, and the keys of idempotency.
 * Process: hub.
 * Layer:   broker/engine.  Uses common.
 *
 * A channel's messages are a ring of its last ones.  They go when the rule's size is reached, when the
 * ttl has passed since the last, and when all histories together take more memory than they may: then
 * the oldest of that channel which was written least recently goes.  Offset and epoch outlive them by a
 * day since they were last asked for, unless memory is short.
 *
 * A key stays for the whole ttl, and its channel with it, so that no retry is published twice: keys are
 * not dropped for want of memory, but new ones refused.
 *
 * An epoch lasts as long as what is known here of a channel.  Its first part is random and drawn when
 * the engine starts, its second counts the epochs since.
 */
#ifndef BROKER_ENGINE_MEMORY_HISTORY_H
#define BROKER_ENGINE_MEMORY_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/engine/engine.h"

struct buf;
struct conf_rule;
struct memory_history;

/* max: bytes of all histories together.  FAN_ENOMEM.  FAN_ESYS: there is no randomness. */
FAN_NODISCARD int memory_history_new(struct memory_history **out, size_t max);
/* NULL is allowed. */
void memory_history_free(struct memory_history *h);

/*
 * Keeps the message, at clock_ms() = now, as r says, which keeps history.  *pos is its position;
 * *again: it was published before with this key, and *pos is the one it got then.  FAN_EFULL: its key
 * would bring the keys above a quarter of max; nothing is kept.  FAN_ENOMEM.
 */
FAN_NODISCARD int memory_history_append(struct memory_history *h, const struct engine_message *m,
    const struct conf_rule *r, uint64_t now, struct position *pos, bool *again);

/* As engine_history: *top is where the channel stands, the records are appended to b. */
FAN_NODISCARD int memory_history_read(struct memory_history *h, const char *channel, size_t len,
    const struct conf_rule *r, const struct engine_query *q, uint64_t now, struct position *top,
    struct buf *b);

/* As engine_forget. */
FAN_NODISCARD int memory_history_forget(struct memory_history *h, const char *channel, size_t len,
    const struct conf_rule *r, uint64_t now, struct position *top);

/* Drops what has expired, of some of the channels; all are looked at in turn. */
void memory_history_sweep(struct memory_history *h, uint64_t now);

/* Bytes that all histories take, and channels of which anything is known. */
size_t memory_history_bytes(const struct memory_history *h);
size_t memory_history_channels(const struct memory_history *h);

#endif
