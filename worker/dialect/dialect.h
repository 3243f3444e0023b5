/*
 * dialect: the table of client protocols.  A new one is one file and one line here.
 *
 * Process: workers.
 * Layer:   worker/dialect.  Uses core, ws/frame.
 */
#ifndef WORKER_DIALECT_DIALECT_H
#define WORKER_DIALECT_DIALECT_H

struct core;
struct dialect;

/* The subprotocols that the WebSocket endpoint knows, ended by NULL. */
extern const char *const dialect_subprotocols[];

/* The dialect of a subprotocol of that list, or of NULL: none. */
const struct dialect *dialect_find(const char *subprotocol);

/* Registers what the dialects need of the core, once. */
void dialects_init(struct core *core);

#endif
