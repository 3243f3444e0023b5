/*
 * conn_tls: what a connection does differently when it speaks TLS.
 *
 * Owns:    nothing; the state is the connection's.
 * Process: workers.
 * Layer:   worker/net, a part of conn and used by nothing else.  Uses tls, conn_queue, outq, poller.
 *
 * What waits in the output queue is plain, so that it is shared with others.  It is encrypted when it
 * leaves, as many bytes to a record as wait, up to TLS_RECORD_MAX; what a record was begun with is
 * pinned in the queue.  Where the kernel encrypts, only the handshake, reading and the goodbye are
 * done here, and what is written takes the same way as on a plain connection.
 */
#ifndef WORKER_NET_CONN_TLS_H
#define WORKER_NET_CONN_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct conn;

/* What the poller shall watch, where a plain connection would want this. */
unsigned conn_tls_wants(const struct conn *c, unsigned want);
/*
 * The socket is ready for `what`: goes on with the handshake.  Returns what the connection is ready
 * for beyond that; 0 if it was closed.
 */
unsigned conn_tls_ready(struct conn *c, unsigned what);

/* Reads at most net->rbuf_size bytes to net->rbuf.  0: the end; -1: nothing now, or it was closed. */
ssize_t conn_tls_read(struct conn *c);
/* While nothing is queued: returns how much of it has left; -1: the connection was closed. */
ssize_t conn_tls_send(struct conn *c, const uint8_t *p, size_t n);
/* Writes from the queue what the socket takes, or closes.  Returns what conn_queue_took does. */
FAN_NODISCARD bool conn_tls_flush(struct conn *c);
/* Nothing more will be written.  False: not said yet, and to be called again when writable. */
FAN_NODISCARD bool conn_tls_goodbye(struct conn *c);

#endif
