/*
 * engine_impl: the vtable behind engine.h; only engines and engine.c include it.
 *
 * Layer:   broker/engine.
 *
 * An engine's struct begins with a struct engine.  Each function has the contract of its namesake
 * in engine.h.
 */
#ifndef BROKER_ENGINE_ENGINE_IMPL_H
#define BROKER_ENGINE_ENGINE_IMPL_H

#include "broker/engine/engine.h"

struct engine_ops {
	const char *name;
	int (*open)(struct engine **out, struct event_base *base, const struct conf *c,
	    const struct engine_handler *h, void *arg);
	void (*close)(struct engine *e);
	int (*publish)(struct engine *e, const struct engine_message *m, uint64_t token);
	int (*history)(struct engine *e, const char *channel, size_t channel_len,
	    const struct engine_query *q, uint64_t token);
	int (*forget)(struct engine *e, const char *channel, size_t channel_len, uint64_t token);
	void (*join)(
	    struct engine *e, const char *channel, size_t channel_len, const struct member *m);
	void (*leave)(struct engine *e, const char *channel, size_t channel_len, const char *client,
	    size_t len);
	int (*presence)(struct engine *e, const char *channel, size_t channel_len, uint64_t token);
	void (*event)(struct engine *e, const char *json, size_t len);
	int (*subscribe)(struct engine *e, const char *channel, size_t channel_len);
	void (*unsubscribe)(struct engine *e, const char *channel, size_t channel_len);
	void (*flush)(struct engine *e);
};

struct engine {
	const struct engine_ops *ops;
	const struct engine_handler *handler;
	void *arg;
	bool up;
};

extern const struct engine_ops engine_memory;
extern const struct engine_ops engine_redis;

#endif
