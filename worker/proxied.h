/*
 * proxied: connections that begin with a PROXY header, until that has come.
 *
 * Owns:    their sockets and what has come of their headers.
 * Process: workers.
 * Layer:   worker.  Uses net/proxy_protocol, net/deadline; libevent.
 *
 * A header's bytes are taken from the socket and not one more, so that whoever goes on, TLS or HTTP,
 * finds the stream at its beginning.
 */
#ifndef WORKER_PROXIED_H
#define WORKER_PROXIED_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct deadlines;
struct event_base;
struct proxied;
struct sockaddr_storage;

/*
 * What has become of a connection.  fd: to be taken, or -1 if it was closed.  client: as the header
 * names it, AF_UNSPEC where the proxy speaks for itself; lent.
 */
typedef void (*proxied_fn)(void *arg, int fd, const struct sockaddr_storage *client);

/* wait_ms: for the whole header.  NULL: no memory. */
struct proxied *proxied_new(
    struct event_base *base, struct deadlines *ds, uint64_t wait_ms, proxied_fn on_end);
/* Closes those that wait, without a word to on_end. */
void proxied_free(struct proxied *p);

/* Takes fd.  on_end is called with arg once, perhaps before this returns.  FAN_ENOMEM: it is not. */
FAN_NODISCARD int proxied_take(struct proxied *p, int fd, void *arg);
/* How many wait. */
size_t proxied_count(const struct proxied *p);

#endif
