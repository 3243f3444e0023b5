/*
 * redis_link: one connection to Redis that comes back by itself.
 *
 * Owns:    the socket, the reply parser, the output buffer, the timers, a name lookup.
 * Process: hub.
 * Layer:   broker/engine.  Uses redis_url, common/buf, clock, log; libevent, evdns, and hiredis for
 *          the parsing of replies.  No other file knows hiredis.
 *
 * What comes from Redis is not trusted with memory: nothing is allocated from a length that the
 * peer names before its bytes are there, arrays and strings are bounded, and whatever breaks the
 * protocol or a bound drops the link.  Nothing here blocks.
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
struct redis_link;
struct redis_url;

#define REDIS_ARRAY_MAX 16                 /* elements of a reply; none of them is an array */
#define REDIS_BULK_MAX ((64 << 20) + 4096) /* bytes of a string: a message and its envelope */
#define REDIS_KEY_MAX 1024                 /* bytes of all strings of an array but its last */

enum redis_type {
	REDIS_TYPE_STRING,
	REDIS_TYPE_STATUS,
	REDIS_TYPE_ERROR,
	REDIS_TYPE_INTEGER,
	REDIS_TYPE_NIL,
};

struct redis_value {
	enum redis_type type;
	const char *data; /* of a string, status or error; not NUL-terminated */
	size_t len;
	int64_t number; /* of an integer */
};

struct redis_reply {
	bool array;
	size_t n; /* 1 unless it is an array */
	struct redis_value v[REDIS_ARRAY_MAX];
};

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

/* One argument of a command: head_len bytes, then len bytes. */
struct redis_arg {
	const void *head;
	size_t head_len;
	const void *data;
	size_t len;
};

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
