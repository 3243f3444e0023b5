/*
 * raw: the dialect of clients that name no subprotocol.  Only the table of dialects includes this.
 *
 * Layer:   worker/dialect.
 */
#ifndef WORKER_DIALECT_RAW_H
#define WORKER_DIALECT_RAW_H

struct dialect;

extern const struct dialect dialect_raw;

#endif
