/*
 * engine: what the hub knows of the place where messages are published.
 *
 * Owner:   the hub opens one engine and closes it; an engine owns all its connections.
 * Process: hub.
 * Layer:   broker/engine.  Uses common.
 *
 * Two implementations, memory and redis, pass one contract suite (tests/contract).  A new engine
 * is one file and one line in engine.c's table.
 */
#ifndef BROKER_ENGINE_ENGINE_H
#define BROKER_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/member.h"
#include "common/publication.h"
#include "common/records.h"

struct conf;
struct event_base;

/* What a channel's history was asked for. */
struct engine_past {
	struct position top;    /* where the channel stands; offset 0: it has had no message */
	struct records records; /* lent */
};

/*
 * Callbacks, all with the hub's arg.  They come from the event loop or from inside engine_publish,
 * engine_subscribe, engine_history, engine_forget, engine_presence, engine_join and engine_leave.
 * They must not call into the engine.  Channel names are without the prefix, lent until return, as are
 * the bytes.
 */
struct engine_handler {
	/*
	 * A message of a channel that is subscribed, in the engine's order for this channel.
	 * Whatever was accepted after `subscribed` and before engine_unsubscribe comes here, once,
	 * unless `interrupted` is called.  pos: where the channel with history stands with it; NULL:
	 * it is not in a history.  A joining or leaving member is a message too (MSG_JOIN, MSG_LEAVE:
	 * JSON, without position), on channels whose rule says join_leave.
	 */
	void (*message)(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
	    const uint8_t *data, size_t len, const struct position *pos);
	/* The channel is live: messages accepted from now on arrive. Once per engine_subscribe. */
	void (*subscribed)(void *arg, const char *channel, size_t channel_len);
	/*
	 * The answer to engine_publish or engine_forget with this token, exactly once each, in any
	 * order.  0: the engine accepted it; pos is the message's position, NULL where it has none.
	 * FAN_EDOWN: it did not (or nobody knows).  FAN_EDENIED: the engine refuses writes.
	 */
	void (*published)(void *arg, uint64_t token, int status, const struct position *pos);
	/* The answer to engine_history, exactly once.  past is NULL unless status is 0. */
	void (*history)(void *arg, uint64_t token, int status, const struct engine_past *past);
	/* The answer to engine_presence, exactly once: packed members of all nodes. */
	void (*presence)(void *arg, uint64_t token, int status, const uint8_t *members, size_t len);
	/*
	 * The engine is away; messages may be missing on every channel from here on until
	 * `restored`.  Channels stay subscribed: the engine subscribes them again by itself.
	 */
	void (*interrupted)(void *arg);
	/*
	 * The engine serves, and every channel that was subscribed is live (again).  Members must be
	 * joined again: it may have lost them.
	 */
	void (*restored)(void *arg);
};

struct engine;

/*
 * Opens the engine that c asks for: redis where redis.url is set, else memory.  c is borrowed for
 * the engine's life.  An engine starts as down and calls `restored` when it serves, from the loop.
 * FAN_EINVAL: the configuration cannot be used; the reason was logged.
 */
FAN_NODISCARD int engine_open(struct engine **out, struct event_base *base, const struct conf *c,
    const struct engine_handler *h, void *arg);
/* Calls nothing back.  NULL is allowed. */
void engine_close(struct engine *e);

const char *engine_name(const struct engine *e);
/*
 * Whether the engine serves now; /readyz says so.  It may be false between `restored` and
 * `interrupted` too, where messages still arrive but nothing can be published.
 */
bool engine_up(const struct engine *e);

/* What is published; lent. */
struct engine_message {
	const char *channel;
	size_t channel_len;
	enum msg_kind kind; /* MSG_TEXT or MSG_BINARY */
	const uint8_t *data;
	size_t len;
	const char *key; /* of idempotency; the bytes are the publisher's choice */
	size_t key_len;  /* 0: none; at most 255 */
};

/*
 * Publishes; `published` answers with the token.  Everything is copied.  On a channel whose rule keeps
 * history the message gets the next offset; one whose key the channel has seen within the history's ttl
 * is not published again and answered with the position that it got then.  On other channels the key
 * has no effect.  Returns 0 if the answer will come (or has come already); otherwise no answer will:
 * FAN_EDOWN while down, FAN_EFULL when too much is under way or the keys take too much memory,
 * FAN_ENOMEM.  Text must be valid UTF-8; what is not may arrive as binary.
 */
FAN_NODISCARD int engine_publish(struct engine *e, const struct engine_message *m, uint64_t token);

/*
 * Reads the history of a channel, subscribed or not: where it stands, and the messages with an offset
 * above `after` (reverse: below `after`, the highest first; 0: from the top), the nearest to it first,
 * at most `limit` of them (0: the position alone) and about `bytes` bytes, at least one message if there
 * is any.  What was trimmed or expired is left out, so the records need not begin at after + 1.  All of
 * it is as of one moment.  A channel that never had a message gets an epoch by this; one whose rule
 * keeps no history has neither epoch nor messages.  Returns as engine_publish.
 */
struct engine_query {
	uint64_t after;
	unsigned limit;
	size_t bytes;
	bool reverse;
};
FAN_NODISCARD int engine_history(struct engine *e, const char *channel, size_t channel_len,
    const struct engine_query *q, uint64_t token);
/*
 * Drops a channel's history, answered by `published` with the position where it stands then: the
 * numbers go on and the epoch stays, so nobody who has all messages is told of a gap.
 */
FAN_NODISCARD int engine_forget(
    struct engine *e, const char *channel, size_t channel_len, uint64_t token);

/*
 * A member has come into the channel or left it, on this node.  Joining twice, or leaving twice, does
 * nothing.  Where the rule says join_leave, those who are subscribed get MSG_JOIN when a user's first
 * connection comes, and MSG_LEAVE when the last has gone; anonymous members count each for themselves.
 * While the engine is down both are forgotten: see `restored`.
 */
void engine_join(struct engine *e, const char *channel, size_t channel_len, const struct member *m);
void engine_leave(
    struct engine *e, const char *channel, size_t channel_len, const char *client, size_t len);
/* Asks who is in the channel, on all nodes; a client comes once.  Returns as engine_publish. */
FAN_NODISCARD int engine_presence(
    struct engine *e, const char *channel, size_t channel_len, uint64_t token);

/* Writes an event, a JSON object of len bytes, to events.stream.  What cannot be written is counted. */
void engine_event(struct engine *e, const char *json, size_t len);

/*
 * Subscribes a channel that is not subscribed.  While the engine is down it is remembered, and
 * `subscribed` comes after it is back.  FAN_EEXIST: it is subscribed.  FAN_ENOMEM.
 */
FAN_NODISCARD int engine_subscribe(struct engine *e, const char *channel, size_t channel_len);
/* Ends it at once: no message of the channel is called back any more. */
void engine_unsubscribe(struct engine *e, const char *channel, size_t channel_len);

/* Writes out what publish and subscribe have gathered; the hub calls it at each pass's end. */
void engine_flush(struct engine *e);

#endif
