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
	int (*publish)(struct engine *e, const char *channel, size_t channel_len,
	    enum msg_kind kind, const uint8_t *data, size_t len, uint64_t token);
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
