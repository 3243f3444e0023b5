/*
 * burst: many sends that go to the kernel in one system call, by io_uring.
 *
 * Owns:    its ring, and a reference on each block between burst_send and done.
 * Process: workers.
 * Layer:   worker/net.  Uses outq (its tags), common/block, common/log; liburing, which nothing else includes.
 *
 * Between burst_begin and burst_end sends are only gathered.  They leave when as many as the ring
 * holds have come, by burst_flush, and at burst_end.  done is called once for each of them, in their
 * order, and from nowhere but these three.
 *
 * A send never waits: what the socket does not take at once is told to done.  So nothing is under
 * way in the kernel when one of these functions returns, and a descriptor may be closed once its
 * send is done.
 */
#ifndef WORKER_NET_BURST_H
#define WORKER_NET_BURST_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/net/outq.h"

struct block;
struct burst;

#define BURST_RING 256 /* sends that leave together */

/*
 * res: how many of the n bytes of b from off on the kernel has taken, or a negative errno.  May not
 * send in this burst.
 */
typedef void (*burst_done)(
    void *object, struct block *b, size_t off, size_t n, struct outq_tag tag, int res);

/*
 * NULL, with errno: no memory, no descriptor, a kernel without io_uring or one that denies it, or a
 * program built without it (ENOSYS).
 */
struct burst *burst_new(burst_done done);
/* NULL is allowed.  Not while it is open. */
void burst_free(struct burst *u);

/* NULL is allowed, and is never open. */
void burst_begin(struct burst *u);
void burst_end(struct burst *u);
bool burst_is_open(const struct burst *u);

/*
 * While open: sends n > 0 bytes of b from off on, which stay as they are until done.  The tag is for
 * done alone.
 */
void burst_send(struct burst *u, int fd, void *object, struct block *b, size_t off, size_t n,
    struct outq_tag tag);
/* Does what has been gathered; the burst stays open. */
void burst_flush(struct burst *u);

#endif
