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
#include "common/publication.h"

struct conf;
struct event_base;

/*
 * Callbacks, all with the hub's arg.  They come from the event loop or from inside engine_publish
 * and engine_subscribe (never from inside the others).  They must not call into the engine.
 * Channel names are without the prefix, lent until return, as are the bytes.
 */
struct engine_handler {
	/*
	 * A message of a channel that is subscribed, in the engine's order for this channel.
	 * Whatever was accepted after `subscribed` and before engine_unsubscribe comes here, once,
	 * unless `interrupted` is called.
	 */
	void (*message)(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
	    const uint8_t *data, size_t len);
	/* The channel is live: messages accepted from now on arrive. Once per engine_subscribe. */
	void (*subscribed)(void *arg, const char *channel, size_t channel_len);
	/*
	 * The answer to engine_publish with this token, exactly once each, in any order.
	 * 0: the engine accepted it.  FAN_EDOWN: it did not (or nobody knows).  FAN_EDENIED: the
	 * engine refuses writes.
	 */
	void (*published)(void *arg, uint64_t token, int status);
	/*
	 * The engine is away; messages may be missing on every channel from here on until
	 * `restored`.  Channels stay subscribed: the engine subscribes them again by itself.
	 */
	void (*interrupted)(void *arg);
	/* The engine serves, and every channel that was subscribed is live (again). */
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

/*
 * Publishes; `published` answers with the token.  Everything is copied.  Returns 0 if the answer
 * will come (or has come already); otherwise no answer will: FAN_EDOWN while down, FAN_EFULL when
 * too much is under way, FAN_ENOMEM.  Text must be valid UTF-8; what is not may arrive as binary.
 */
FAN_NODISCARD int engine_publish(struct engine *e, const char *channel, size_t channel_len,
    enum msg_kind kind, const uint8_t *data, size_t len, uint64_t token);

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
