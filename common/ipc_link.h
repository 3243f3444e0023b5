/*
 * ipc_link: one end of the stream between a worker and the hub.
 *
 * Owns:    its fd, its read buffer and its output queue.
 * Process: hub, workers.
 * Layer:   common.  Uses ipc_msg, buf, block, err; libevent.
 *
 * Order: messages arrive in the order in which they were sent, or the link is closed; none is
 * dropped from the middle.  What is sent is queued and leaves with ipc_link_flush, which the owner
 * calls at the end of each loop pass; while the kernel takes no more, the link watches for
 * writability by itself.
 */
#ifndef COMMON_IPC_LINK_H
#define COMMON_IPC_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct block;
struct event_base;
struct ipc_link;
struct ipc_msg;

/*
 * Callbacks, all with the owner's arg.  They may call ipc_link_send and its kin; only closed and
 * message may lead to ipc_link_free of this link.
 */
struct ipc_link_handler {
	/* A message; lent until return.  Nonzero closes the link with that error. */
	int (*message)(void *arg, const struct ipc_msg *m);
	/*
	 * From the loop, once the queue has fallen to half its maximum after a send had met
	 * FAN_EFULL.
	 */
	void (*drained)(void *arg);
	/* The last call: the stream ended (FAN_EGONE) or broke.  The owner frees the link. */
	void (*closed)(void *arg, int err);
};

/*
 * Takes fd, a connected non-blocking stream socket, also when it fails.  max_msg: largest message
 * either way; max_queue: bytes that may wait for the peer (one message is always let through an
 * empty queue; publishes, publications and all that is large leave an eighth to the rest, so that a
 * flood of publications does not shut out the answers).  Nothing is called back before the next loop pass.
 * NULL: no memory.
 */
struct ipc_link *ipc_link_new(struct event_base *base, int fd, size_t max_msg, size_t max_queue,
    const struct ipc_link_handler *h, void *arg);
/* Closes the fd.  NULL is allowed.  Allowed inside this link's own callbacks. */
void ipc_link_free(struct ipc_link *l);

/* Changes the largest message, for a peer that has proved itself. */
void ipc_link_set_max_msg(struct ipc_link *l, size_t max_msg);

/*
 * Queues a copy.  FAN_EFULL: no room, nothing was queued.  FAN_ETOOBIG, FAN_ENOMEM.  FAN_EDOWN:
 * the link has broken; `closed` was called or will be.
 */
FAN_NODISCARD int ipc_link_send(struct ipc_link *l, const struct ipc_msg *m);
/*
 * Queues one whole encoded message that several links share; takes its own reference, and copies
 * instead where the block is small.  Errors as ipc_link_send.
 */
FAN_NODISCARD int ipc_link_send_block(struct ipc_link *l, struct block *b);
/* Writes what the kernel takes now.  Errors reach `closed` in the next pass. */
void ipc_link_flush(struct ipc_link *l);

/*
 * Waits up to `us` microseconds for bytes of the peer and handles what has come, as the loop would.  Not
 * inside this link's callbacks; after it the link may be gone, if `closed` was called.
 */
void ipc_link_await(struct ipc_link *l, unsigned us);

/* Whether a send met FAN_EFULL and `drained` is still to come. */
bool ipc_link_full(const struct ipc_link *l);
size_t ipc_link_queued(const struct ipc_link *l);

#endif
