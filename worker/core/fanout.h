/*
 * fanout: from the hub's link to the subscribers' sockets.
 *
 * Owns:    nothing; works on the core's channels and their sessions.
 * Process: workers.
 * Layer:   worker/core, top.  Uses session, channel, uplink.
 *
 * A message is encoded once for each group of its channel into the group's block.  At the end of
 * the loop pass each subscriber gets its part of the block with one send; what the socket does not
 * take is queued as a reference to the block.
 */
#ifndef WORKER_CORE_FANOUT_H
#define WORKER_CORE_FANOUT_H

#include <stddef.h>

#include "worker/uplink.h"

struct core;

/* The handler to open the uplink with; its arg is the struct core. */
extern const struct uplink_handler fanout_uplink_handler;

/* How many sends the pass has gathered. */
size_t fanout_due(const struct core *core);
/* Sends what the pass has gathered; a hook of the loop, before the connections are reaped. */
void fanout_flush(void *arg);

#endif
