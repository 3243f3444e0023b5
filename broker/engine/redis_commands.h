/*
 * redis_commands: the commands that Redis has not answered yet, on the link that carries them.
 *
 * Owns:    a ring of them.  Embedded in the engine.
 * Process: hub.
 * Layer:   broker/engine.  Uses redis_link, redis_resp, common/log.
 *
 * Redis answers in order, so replies are matched first in first out.
 */
#ifndef BROKER_ENGINE_REDIS_COMMANDS_H
#define BROKER_ENGINE_REDIS_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/log.h"

struct redis_arg;
struct redis_link;
struct redis_reply;
struct redis_value;

/*
 * The answer to one command, exactly once.  r: the reply, lent; NULL: the link was lost, and nobody
 * knows what became of it.  A negative result drops the link.
 */
typedef int (*redis_answer_fn)(void *arg, uint64_t token, const struct redis_reply *r);

struct redis_pending;

/* The fields are for redis_commands.c alone. */
struct redis_commands {
	struct redis_link *link;
	struct redis_pending *ring; /* ring_size entries, ring_len of them from ring_first on */
	size_t ring_size, ring_first, ring_len;
	size_t bytes, bytes_max;
	struct log_gate gate;
};

/* bytes_max: of redis_commands_take. */
void redis_commands_init(struct redis_commands *c, size_t bytes_max);
/* Calls nothing back. */
void redis_commands_fini(struct redis_commands *c);

/*
 * Queues a command of n arguments with one reply.  bytes were taken with redis_commands_take, and are
 * given back with the answer.  Errors as redis_link_command; nothing was queued then.
 */
FAN_NODISCARD int redis_commands_send(struct redis_commands *c, const struct redis_arg *args,
    size_t n, redis_answer_fn fn, void *arg, uint64_t token, size_t bytes);
/* Counts bytes that are under way.  FAN_EFULL: too many; but one message is always let through. */
FAN_NODISCARD int redis_commands_take(struct redis_commands *c, size_t bytes);
void redis_commands_give(struct redis_commands *c, size_t bytes);

/* A reply has come: answers the oldest.  Results as redis_link_handler.reply. */
FAN_NODISCARD int redis_commands_reply(struct redis_commands *c, const struct redis_reply *r);
/* The link is lost: answers all. */
void redis_commands_lost(struct redis_commands *c);

/* Whether it is an error that begins with these words. */
bool redis_error_is(const struct redis_value *v, const char *words);
/* What an error says of a command that Redis did not carry out: FAN_EDOWN "later", FAN_EDENIED "no". */
int redis_error_status(const struct redis_value *v);
/* Logs it; seldom.  what: a verb. */
void redis_commands_log(struct redis_commands *c, const char *what, const struct redis_value *v);

#endif
