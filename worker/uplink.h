/*
 * uplink: the worker's side of the link to the hub.
 *
 * Owns:    the link, its reconnecting, and the table of publishes that wait for an answer.
 * Process: workers.
 * Layer:   worker, below ws, core and all others.  Uses common.
 *
 * The link is down until the hub has welcomed this worker, and again whenever the hub goes; it
 * connects by itself until it is up.
 */
#ifndef WORKER_UPLINK_H
#define WORKER_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct boot;
struct conf;
struct event_base;
struct ipc_msg;
struct uplink;

/* Callbacks, all with the owner's arg, from the event loop only.  Names and bytes are lent. */
struct uplink_handler {
	/* The hub knows nothing of this worker yet: announce every channel. */
	void (*up)(void *arg);
	/* The hub is gone; messages may be missing from here on. */
	void (*down)(void *arg);
	/* The answer to uplink_subscribe with this id. */
	void (*subscribed)(void *arg, const char *channel, size_t len, uint32_t id, int status);
	/* A publication (type IPC_MESSAGE). */
	void (*message)(void *arg, const struct ipc_msg *m);
	/* Messages may be missing on the channel; len 0: on all. */
	void (*gap)(void *arg, const char *channel, size_t len);
	/* How many subscribers the channel has here. */
	uint64_t (*count)(void *arg, const char *channel, size_t len);
	/* The link takes publishes again after uplink_congested was true. */
	void (*drained)(void *arg);
};

/*
 * An answer: status 0 or an error; value as the request defines it.  Called once for
 * uplink_publish and uplink_count, and the ticket is closed then.  For a standing ticket
 * (uplink_ticket_open) it is called for each failure.
 */
typedef void (*uplink_answer_fn)(void *arg, int status, uint64_t value);

/* b and c are borrowed for the uplink's life.  NULL: no memory. */
struct uplink *uplink_new(struct event_base *base, const struct boot *b, const struct conf *c,
    const struct uplink_handler *h, void *arg);
void uplink_free(struct uplink *u);

/* Whether the hub is reached. */
bool uplink_up(const struct uplink *u);
/* Whether the hub is reached and its engine serves. */
bool uplink_ready(const struct uplink *u);
/* Whether so much waits for the hub that publishers should be held back until `drained`. */
bool uplink_congested(const struct uplink *u);

/*
 * Tell the hub.  While it is away nothing is told, because `up` announces every channel; where the
 * link has no room, it is made anew.
 */
void uplink_subscribe(struct uplink *u, const char *channel, size_t len, uint32_t id);
void uplink_unsubscribe(struct uplink *u, const char *channel, size_t len);

/*
 * Publishes a copy.  0: fn will be called once, also when the hub goes.  Otherwise it will not:
 * FAN_EDOWN, FAN_EFULL, FAN_ENOMEM, FAN_ETOOBIG.  *ticket lets the caller give up the answer.
 */
FAN_NODISCARD int uplink_publish(struct uplink *u, const char *channel, size_t len,
    enum msg_kind kind, const void *data, size_t n, uplink_answer_fn fn, void *arg,
    uint32_t *ticket);
/* Asks for the subscribers of a channel on this node; errors and answer as uplink_publish. */
FAN_NODISCARD int uplink_count(struct uplink *u, const char *channel, size_t len,
    uplink_answer_fn fn, void *arg, uint32_t *ticket);

/* A standing ticket for a publisher that wants to hear of failures only.  FAN_ENOMEM. */
FAN_NODISCARD int uplink_ticket_open(
    struct uplink *u, uplink_answer_fn fn, void *arg, uint32_t *ticket);
/* Publishes under it.  0: the engine was asked; fn hears if it refuses.  Errors as above. */
FAN_NODISCARD int uplink_publish_quiet(struct uplink *u, uint32_t ticket, const char *channel,
    size_t len, enum msg_kind kind, const void *data, size_t n);
/* No answer comes under this ticket any more.  0 is allowed. */
void uplink_ticket_close(struct uplink *u, uint32_t number);

/* Writes out what is queued; a hook of the loop. */
void uplink_flush(void *arg);

/*
 * Where something was published since the last call: sends it, and gives the hub `us` microseconds to
 * send it back, which then is handled as from the loop.
 */
void uplink_turn(struct uplink *u, unsigned us);

#endif
