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
struct ipc_past;
struct member;
struct uplink;

/* Callbacks, all with the owner's arg, from the event loop only.  Names and bytes are lent. */
struct uplink_handler {
	/* The hub knows nothing of this worker yet: announce every channel. */
	void (*up)(void *arg);
	/* The hub is gone; messages may be missing from here on. */
	void (*down)(void *arg);
	/*
	 * The answer to uplink_subscribe with m->id (type IPC_SUBSCRIBED; past: NULL if it has
	 * none).
	 */
	void (*subscribed)(void *arg, const struct ipc_msg *m, const struct ipc_past *past);
	/* A publication (type IPC_MESSAGE). */
	void (*message)(void *arg, const struct ipc_msg *m);
	/*
	 * Messages may be missing on the channel; len 0: on all plain ones, and if all is set on
	 * those with history too, which are to be asked for again.
	 */
	void (*gap)(void *arg, const char *channel, size_t len, bool all);
	/* How many subscribers the channel has here. */
	uint64_t (*count)(void *arg, const char *channel, size_t len);
	/* The link takes publishes again after uplink_congested was true. */
	void (*drained)(void *arg);
};

/*
 * An answer, lent until return.  Called once for each request, and the ticket is closed then; for a
 * standing ticket (uplink_ticket_open) it is called for each failure.
 */
struct uplink_answer {
	int status;                  /* 0 or an error; without 0 there is nothing else */
	uint64_t value;              /* of uplink_count: subscribers */
	const struct ipc_past *past; /* of uplink_publish, where the message has a position, and of
				      * uplink_history; else NULL */
	const uint8_t *members;      /* of uplink_presence: packed (common/member.h) */
	size_t members_len;
};
typedef void (*uplink_answer_fn)(void *arg, const struct uplink_answer *a);

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
 * link has no room, it is made anew.  since: NULL on a plain channel; else from which position on
 * messages are wanted, which may be none.  verify: what the hub knows is not enough.
 */
void uplink_subscribe(struct uplink *u, const char *channel, size_t len, uint32_t id,
    const struct position *since, bool verify);
void uplink_unsubscribe(struct uplink *u, const char *channel, size_t len);

/* What is published; lent. */
struct uplink_message {
	const char *channel;
	size_t channel_len;
	enum msg_kind kind;
	const void *data;
	size_t len;
	const char *key; /* of idempotency */
	size_t key_len;  /* 0: none; at most 255 */
};

/*
 * Publishes a copy.  0: fn will be called once, also when the hub goes.  Otherwise it will not:
 * FAN_EDOWN, FAN_EFULL, FAN_ENOMEM, FAN_ETOOBIG.  *ticket lets the caller give up the answer.
 */
FAN_NODISCARD int uplink_publish(struct uplink *u, const struct uplink_message *m,
    uplink_answer_fn fn, void *arg, uint32_t *ticket);
/* Asks for the subscribers of a channel on this node; errors and answer as uplink_publish. */
FAN_NODISCARD int uplink_count(struct uplink *u, const char *channel, size_t len,
    uplink_answer_fn fn, void *arg, uint32_t *ticket);
/*
 * Asks for at most `limit` messages of a channel's history behind `since` (none: the newest), or
 * with reverse for those before it, the newest first.  Errors and answer as uplink_publish.
 */
FAN_NODISCARD int uplink_history(struct uplink *u, const char *channel, size_t len,
    const struct position *since, unsigned limit, bool reverse, uplink_answer_fn fn, void *arg,
    uint32_t *ticket);
/* Drops a channel's history; errors and answer as uplink_publish. */
FAN_NODISCARD int uplink_forget(struct uplink *u, const char *channel, size_t len,
    uplink_answer_fn fn, void *arg, uint32_t *ticket);
/* Asks who is in a channel, on all nodes; errors and answer as uplink_publish. */
FAN_NODISCARD int uplink_presence(struct uplink *u, const char *channel, size_t len,
    uplink_answer_fn fn, void *arg, uint32_t *ticket);

/*
 * Tell the hub who comes and goes.  While it is away nothing is told: `up` joins everybody again;
 * where the link has no room, it is made anew.
 */
void uplink_join(struct uplink *u, const char *channel, size_t len, const struct member *m);
void uplink_leave(
    struct uplink *u, const char *channel, size_t len, const char *client, size_t client_len);
/*
 * Writes an event, a JSON object; where the hub is away or the link full, it is lost and counted.
 */
void uplink_event(struct uplink *u, const char *json, size_t len);

/* A standing ticket for a publisher that wants to hear of failures only.  FAN_ENOMEM. */
FAN_NODISCARD int uplink_ticket_open(
    struct uplink *u, uplink_answer_fn fn, void *arg, uint32_t *ticket);
/* Publishes under it.  0: the engine was asked; fn hears if it refuses.  Errors as above. */
FAN_NODISCARD int uplink_publish_quiet(
    struct uplink *u, uint32_t ticket, const struct uplink_message *m);
/* No answer comes under this ticket any more.  0 is allowed. */
void uplink_ticket_close(struct uplink *u, uint32_t number);

/* Writes out what is queued; a hook of the loop. */
void uplink_flush(void *arg);

/*
 * Where something was published since the last call: sends it, and gives the hub `us`
 * microseconds to send it back, which then is handled as from the loop.
 */
void uplink_turn(struct uplink *u, unsigned us);

#endif
