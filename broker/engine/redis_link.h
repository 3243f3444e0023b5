/*
 * redis_link: one connection to Redis that comes back by itself.
 *
 * Owns:    the socket, the reader of replies, the output buffer, the timers, a name lookup.
 * Process: hub.
 * Layer:   broker/engine.  Uses redis_resp, redis_url, common/buf, clock, log; libevent, evdns.
 *
 * Whatever breaks the protocol or a bound of redis_resp drops the link.  Nothing here blocks.
 *
 *     WAITING ---> RESOLVING ---> CONNECTING ---> HANDSHAKE ---> READY
 *        ^ back-off  |  (names only)   |           (AUTH, SELECT)  |
 *        '-----------+-----------------+--------------+-----------'
 *                    any failure, a deadline, redis_link_drop
 */
#ifndef BROKER_ENGINE_REDIS_LINK_H
#define BROKER_ENGINE_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct event_base;
struct redis_arg;
struct redis_link;
struct redis_reply;
struct redis_url;

/* Callbacks, all with the owner's arg, all from the event loop. */
struct redis_link_handler {
	/* Commands can be sent now. */
	void (*ready)(void *arg);
	/*
	 * A reply, lent until return.  Returns 1 if it answers a command, 0 if Redis pushed it, or
	 * an error that drops the link.  Must not call redis_link_drop on this link.
	 */
	int (*reply)(void *arg, const struct redis_reply *r);
	/*
	 * The link was ready and is not any more: no reply will come to what was sent.  It connects
	 * again by itself.  FAN_ETIMEOUT: Redis did not answer in time.
	 */
	void (*lost)(void *arg, int err);
};

struct redis_link_options {
	const char *name;            /* for logs */
	const struct redis_url *url; /* borrowed for the link's life */
	int64_t connect_timeout;     /* ms, for the name and the connection */
	int64_t timeout;             /* ms, for an answer */
};

/* Begins to connect from the event loop.  NULL: no memory. */
struct redis_link *redis_link_new(struct event_base *base, const struct redis_link_options *o,
    const struct redis_link_handler *h, void *arg);
/* Calls nothing back.  NULL is allowed. */
void redis_link_free(struct redis_link *l);

bool redis_link_ready(const struct redis_link *l);

/*
 * Queues a copy of a command that Redis answers with `replies` replies.  FAN_EDOWN: not ready.
 * FAN_ENOMEM, FAN_ETOOBIG; nothing was queued then.
 */
FAN_NODISCARD int redis_link_command(
    struct redis_link *l, const struct redis_arg *args, size_t n, size_t replies);

/* Writes what the socket takes.  Calls nothing back: a failure is met in a later loop pass. */
void redis_link_flush(struct redis_link *l);

/* Closes a link that is ready and calls `lost`.  why is for the log. */
void redis_link_drop(struct redis_link *l, int err, const char *why);

#endif
