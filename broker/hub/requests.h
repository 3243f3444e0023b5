/*
 * requests: from the workers to the engine, and its answers back to whoever asked.
 *
 * Process: hub.
 * Layer:   broker/hub, above streams.  Uses node, interest, count, members, peer, rollcall, broker/engine,
 *          common.
 *
 * An answer finds its asker by the token of the request, which holds the worker's serial and the id that
 * the worker gave; it is dropped where the worker has gone.  Questions who is in a channel go by rollcall.
 */
#ifndef BROKER_HUB_REQUESTS_H
#define BROKER_HUB_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct count_question;
struct engine_past;
struct ipc_msg;
struct node;
struct peer;
struct rollcall_handler;

/* Handles a message of a worker.  An error ends the peer. */
FAN_NODISCARD int requests_handle(struct node *n, struct peer *p, const struct ipc_msg *m);
/* The worker of this slot has gone: the engine forgets what nobody else wants.  Not from its callbacks. */
void requests_drop_slot(struct node *n, unsigned slot);

/* Callbacks of an engine, with a struct node as arg; history: but for TOKEN_STREAM. */
void requests_published(void *arg, uint64_t token, int status, const struct position *pos);
void requests_history(void *arg, uint64_t token, int status, const struct engine_past *past);
void requests_presence(void *arg, uint64_t token, int status, const uint8_t *members, size_t len);
/* With a struct node as arg; they answer who asked. */
extern const struct rollcall_handler requests_rollcall;
/* A callback of counts, with a struct node as arg. */
void requests_counted(void *arg, const struct count_question *q);

#endif
