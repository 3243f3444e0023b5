/*
 * user: what the application sends to a user, wherever it is connected, and the user's
 * disconnection.
 *
 * Process: workers.
 * Layer:   worker/core, above session, below fanout.  Uses session, identity, common/publication.
 *
 * Every session with a user is subscribed to the user's internal channel (CHANNEL_USER).  Its
 * messages begin with one byte: 'T' or 'B', then a message for the user, text or binary; or 'D',
 * then a close code in decimal, a space and a reason: the user's connections are closed.
 */
#ifndef WORKER_CORE_USER_H
#define WORKER_CORE_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct buf;
struct channel;
struct core;
struct ipc_msg;
struct publication;
struct session;

#define USER_REASON_MAX 123 /* bytes of a reason, RFC 6455 §5.5.1 */

/*
 * Subscribes a session, opening or started, to the channel of its user, if it has one and is not in
 * it yet.  From then on one that opens hears by transport->live, with FAN_EDENIED, that its user is
 * disconnected.  FAN_ENOMEM.
 */
FAN_NODISCARD int user_join(struct session *s);

/*
 * Reads a message of a user's channel.  0: *out is what is to be sent to the channel's sessions.
 * FAN_EGONE: they were all told to close, and the channel may be gone.  FAN_EPROTO: malformed, and
 * to be ignored.
 */
FAN_NODISCARD int user_message(
    struct core *core, struct channel *c, const struct ipc_msg *m, struct publication *out);

/* Whether connections may be closed with this code: 1000, 1008, 1011 to 1013, 3000 to 4999. */
bool user_code_valid(unsigned code);

/* Appends what is to be published in a user's channel.  Errors as buf_append. */
FAN_NODISCARD int user_append_message(
    struct buf *b, enum msg_kind kind, const uint8_t *data, size_t n);
/* The code is valid; the reason is UTF-8 of at most USER_REASON_MAX bytes. */
FAN_NODISCARD int user_append_disconnect(struct buf *b, uint16_t code, const char *reason);

#endif
