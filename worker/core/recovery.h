/*
 * recovery: gives those who came with a position what they have missed.
 *
 * Owns:    nothing; works on a channel's waiters and their sessions.
 * Process: workers.
 * Layer:   worker/core, below fanout.  Uses past, channel, session, net/burst, common.
 *
 * Each is told by his dialect's on_live, then gets the messages after his position, and then is
 * attached, before any other message can come.  What they get is encoded once for each variant:
 * who was further gets the end of the same block.
 */
#ifndef WORKER_CORE_RECOVERY_H
#define WORKER_CORE_RECOVERY_H

#include "common/records.h"

struct channel;
struct core;

/*
 * The channel, held by the caller, has got an answer, which came with these records: serves all
 * whose lot is known by it.  Who cannot be served for want of memory is closed, to come again.
 */
void recovery_serve(struct core *core, struct channel *c, struct records rs);

#endif
