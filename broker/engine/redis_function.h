/*
 * redis_function: the functions that run inside Redis (function.lua): loaded, and called.
 *
 * Owns:    the library's text, the calls that are under way.  Embedded in the engine.
 * Process: hub.
 * Layer:   broker/engine.  Uses redis_commands, redis_glob, redis_resp, common; libevent.
 *
 *     OFF -- link ready --> ASKING -- it is another, or none --> LOADING --> READY
 *      ^                      '------- the same text --------------------------^  '--> NONE
 *      '-- link lost, from any                                   (refused) -----------'
 *
 * Redis's functions are loaded where the library of that name is not this text.  Where FUNCTION and
 * FCALL are not known or not allowed, the same text is a script.  Where neither can be had it is NONE, and
 * tried again by redis_function_tick.  What is called in ASKING and LOADING waits; a call that Redis
 * cannot find (the functions were flushed) has the text loaded again and is repeated once.  Order is
 * kept.
 *
 * A node calls the functions by names that hold the text's version.  So where a node with other channel
 * rules has loaded its own, this one's are not found and nothing is done by the other's rules; they
 * are loaded again like those that were flushed, but once a second at most.
 *
 * The library and its functions are named after redis.prefix, since two nodes with different ones may
 * share a Redis: `fanfare:` makes fanfare_publish.
 */
#ifndef BROKER_ENGINE_REDIS_FUNCTION_H
#define BROKER_ENGINE_REDIS_FUNCTION_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "broker/engine/redis_commands.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/log.h"

struct conf;
struct event_base;
struct redis_arg;
struct redis_call;
STAILQ_HEAD(redis_calls, redis_call);

enum redis_function_state {
	FUNCTION_OFF,
	FUNCTION_ASKING,
	FUNCTION_LOADING,
	FUNCTION_READY,
	FUNCTION_NONE,
};

#define REDIS_FUNCTION_WORD 64
/* The fields are for redis_function.c alone, but for commands, which others may use. */
struct redis_function {
	enum redis_function_state state;
	struct redis_commands *commands;
	void (*decided)(void *arg);
	void *arg;
	char word[REDIS_FUNCTION_WORD]; /* library fanfare, function fanfare_publish */
	char version[17];
	struct buf text; /* but for the first lines, which say what it is loaded as */
	bool needed;     /* the configuration has channels with history or presence */
	bool script;
	uint64_t loaded; /* by this node, the last time; clock_ms, or 0 */
	struct log_gate gate;
	char sha[41];                  /* of the script */
	LIST_HEAD(, redis_call) calls; /* all of them */
	struct redis_calls again;      /* that Redis could not find */
	struct redis_calls held;       /* that came since */
	struct event timer;
};

/*
 * Makes the text.  decided is called each time when READY or NONE is reached, from the loop.
 * FAN_ENOMEM.
 */
FAN_NODISCARD int redis_function_init(struct redis_function *f, struct event_base *base,
    const struct conf *conf, struct redis_commands *commands, void (*decided)(void *arg),
    void *arg);
/* Calls nothing back.  Safe on zeroes. */
void redis_function_fini(struct redis_function *f);

/* The link is there, or gone: then redis_commands_lost answers what was sent, and this what was not. */
void redis_function_connected(struct redis_function *f);
void redis_function_lost(struct redis_function *f);
/* From time to time: looks again where there is none. */
void redis_function_tick(struct redis_function *f);

/* Whether calls are answered now: READY or NONE. */
bool redis_function_decided(const struct redis_function *f);
/* Whether it is READY, with functions rather than a script. */
bool redis_function_lasting(const struct redis_function *f);

/* n is at most REDIS_FUNCTION_ARGS; the first is the key, a channel's name.  All is copied. */
#define REDIS_FUNCTION_ARGS 6
struct redis_function_request {
	const char *name; /* publish; a literal */
	const struct redis_arg *args;
	size_t n;
	redis_answer_fn fn;
	void *arg;
	uint64_t token;
	bool bounded; /* counts against redis.queue */
};

/*
 * Calls a function; fn is called with its reply, exactly once.  FAN_EDENIED: there are none.
 * FAN_EDOWN, FAN_ENOMEM, FAN_EFULL, FAN_ETOOBIG.  fn is not called then.
 */
FAN_NODISCARD int redis_function_call(
    struct redis_function *f, const struct redis_function_request *q);

#endif
