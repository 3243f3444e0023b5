/*
 * redis_history: publishing with history, reading and dropping it, by the functions in Redis.
 *
 * Process: hub.
 * Layer:   broker/engine.  Uses engine_impl, redis_function, redis_resp; common.
 *
 * Results and answers are those of the namesakes in engine.h, through the engine's handler.  Where
 * there are no functions the answer is FAN_EDENIED.  Publishing and reading are for channels whose rule
 * keeps history: an answer without a position counts as none.
 */
#ifndef BROKER_ENGINE_REDIS_HISTORY_H
#define BROKER_ENGINE_REDIS_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "broker/engine/engine.h"

struct redis_function;

/* Embedded in the engine, which outlives all calls. */
struct redis_history {
	struct engine *engine;
	struct redis_function *function;
};

FAN_NODISCARD int redis_history_publish(
    struct redis_history *h, const struct engine_message *m, uint64_t token);
FAN_NODISCARD int redis_history_read(struct redis_history *h, const char *channel,
    size_t channel_len, const struct engine_query *q, uint64_t token);
FAN_NODISCARD int redis_history_forget(
    struct redis_history *h, const char *channel, size_t channel_len, uint64_t token);

#endif
