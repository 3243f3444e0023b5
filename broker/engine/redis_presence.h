/*
 * redis_presence: who is in which channel, kept in Redis by the functions there.
 *
 * Owns:    this node's id and lease, and which channels it has members in.
 * Process: hub.
 * Layer:   broker/engine.  Uses engine_impl, redis_function, redis_resp; common; libevent.
 *
 * From `restored` to `interrupted` a node is one incarnation: it has a random id, which its members
 * carry, and a lease, renewed three times in its length.  The lease of an older incarnation runs out by
 * itself, after its members have joined again under the new one.  Whose lease is over is swept by any
 * node: by then it is in no presence that is read.
 *
 * Redis also has the set of channels in which a node has members, so that they are found by whoever sweeps.
 * A channel is put there before its first member joins, and taken out when Redis has said that the last
 * has left and no other call is under way for it.
 */
#ifndef BROKER_ENGINE_REDIS_PRESENCE_H
#define BROKER_ENGINE_REDIS_PRESENCE_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "broker/engine/engine.h"
#include "common/map.h"

struct event_base;
struct redis_function;
struct redis_place;
struct redis_sweep;

#define REDIS_NODE_ID 17

/* The fields are for redis_presence.c alone. */
struct redis_presence {
	struct engine *engine;
	struct redis_function *function;
	const char *prefix;
	void (*broken)(void *arg);
	void *arg;
	int64_t lease; /* ms */
	bool needed;   /* the configuration has channels with presence, or somebody has joined */
	bool running;
	bool lost; /* Redis may not know who has come and gone */
	uint64_t since;
	char node[REDIS_NODE_ID];
	struct event timer;
	struct map places; /* where members are, or calls under way */
	LIST_HEAD(, redis_place)
	all_places;                /* and those of older incarnations with calls under way */
	struct redis_sweep *sweep; /* under way; or NULL */
};

/*
 * broken is called from the loop when the members must join again under a new incarnation: the owner then
 * calls redis_presence_end, and redis_presence_begin as soon as it can.
 */
void redis_presence_init(struct redis_presence *p, struct event_base *base, const struct conf *c,
    struct engine *engine, struct redis_function *f, void (*broken)(void *arg), void *arg);
/* Calls nothing back.  Safe on zeroes. */
void redis_presence_fini(struct redis_presence *p);

void redis_presence_begin(struct redis_presence *p);
void redis_presence_end(struct redis_presence *p);

/* As their namesakes in engine.h. */
void redis_presence_join(
    struct redis_presence *p, const char *channel, size_t channel_len, const struct member *m);
void redis_presence_leave(struct redis_presence *p, const char *channel, size_t channel_len,
    const char *client, size_t len);
FAN_NODISCARD int redis_presence_read(
    struct redis_presence *p, const char *channel, size_t channel_len, uint64_t token);

#endif
