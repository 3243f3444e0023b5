/*
 * redis_durable: finds out whether Redis has each write on disk before it answers it, and tells the
 * functions, which decide by it whether an epoch outlives a restart.
 *
 * Process: hub.
 * Layer:   broker/engine.  Uses redis_function, redis_commands, redis_resp.
 */
#ifndef BROKER_ENGINE_REDIS_DURABLE_H
#define BROKER_ENGINE_REDIS_DURABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_function;

/* Embedded in the engine.  Zeroes but for the first two are right to begin with. */
struct redis_durable {
	struct redis_function *function;
	int64_t believed; /* ms for which the functions believe it */
	size_t answers;   /* of the settings that were asked for */
	bool good;        /* all of them so far */
};

/* Asks for the settings (CONFIG GET), then calls `attach`.  Where functions do not last, does nothing. */
void redis_durable_ask(struct redis_durable *d);

#endif
