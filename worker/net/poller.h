/*
 * poller: which of many sockets are ready, at no memory for each.
 *
 * Owns:    an epoll instance, which the loop watches as one event.
 * Process: workers.
 * Layer:   worker/net, lowest.  Uses common; libevent.
 *
 * A libevent event costs 128 bytes a socket and its map 40 more, twice what all else of an idle
 * connection takes; here the kernel keeps the pointer.  One more epoll_wait in each pass is the
 * price, and the dispatch of an event is cheaper in return.
 */
#ifndef WORKER_NET_POLLER_H
#define WORKER_NET_POLLER_H

#include "common/err.h"

struct event_base;
struct poller;

#define POLLER_IN 1U  /* readable, or the peer has gone */
#define POLLER_OUT 2U /* writable, or the peer has gone */

/*
 * fn: called from the loop with the object of a ready socket and what it is ready for.  An object
 * that is closed inside a callback may still be called for in the same pass, so it must live until
 * the pass's end.  NULL: no memory, or no fd.
 */
struct poller *poller_new(struct event_base *base, void (*fn)(void *object, unsigned what));
void poller_free(struct poller *p);

/*
 * Changes what is watched of fd from *have (0: nothing) to want, and sets *have.  Closing the fd
 * ends the watching by itself.  FAN_ESYS, FAN_ENOMEM: *have is unchanged.
 */
FAN_NODISCARD int poller_watch(
    struct poller *p, int fd, void *object, unsigned char *have, unsigned want);

#endif
