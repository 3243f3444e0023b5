/*
 * sse: the dialect of Server-Sent Events, which a client can only listen to.
 *
 * Layer:   worker/dialect.
 */
#ifndef WORKER_DIALECT_SSE_H
#define WORKER_DIALECT_SSE_H

struct dialect;

/*
 * For a transport that hands over no message and whose `send` takes whole events.  A session's state is
 * NULL, or the struct sse_ids of a stream with several channels, which it owns then (sse_ids_copy).
 */
extern const struct dialect dialect_sse;

#endif
