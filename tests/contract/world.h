/*
 * world: engines under test in one event loop, and a record of all that they called back.
 *
 * Owns:    the loop, the engines, the records.
 * Process: contract tests.
 * Layer:   tests.  Uses broker/engine, libevent, Criterion.
 */
#ifndef TESTS_CONTRACT_WORLD_H
#define TESTS_CONTRACT_WORLD_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/engine/engine.h"
#include "common/clock.h"
#include "common/conf.h"

#define WORLD_NODES 2
#define WORLD_TOKENS 20000
#define WORLD_WAIT_MS 60000

struct message {
	char channel[CHANNEL_NAME_MAX + 1];
	enum msg_kind kind;
	uint8_t *data;
	size_t len;
};

struct node {
	struct conf conf;
	struct engine *engine;
	unsigned restored, interrupted;
	unsigned subscribed; /* channels other than the fence */
	bool fenced;         /* the channel named fence is subscribed */
	struct message *message;
	size_t messages, message_room;
	unsigned published;            /* answers to all tokens */
	uint8_t answers[WORLD_TOKENS]; /* to each token */
	int status[WORLD_TOKENS];      /* of the last answer */
	bool closed;                   /* nothing may be called back any more */
};

struct world {
	struct event_base *base;
	struct event *tick;
	struct node node[WORLD_NODES];
};

/* A world without engines. */
struct world *world_new(void);
void world_free(struct world *w);

/*
 * Opens an engine and waits until it has been restored once.  url NULL: the memory engine.
 * Options other than those set here are left to the caller, who fills w->node[i].conf first.
 */
void world_open(struct world *w, size_t i, const char *url);
/* The same without waiting. */
void world_begin(struct world *w, size_t i, const char *url);
void world_close(struct world *w, size_t i);

/* One pass of the loop, with the flush at its end. */
void world_pass(struct world *w);

/* Passes until cond holds; the test fails if it takes unreasonably long. */
#define UNTIL(w, cond)                                                                             \
	do {                                                                                       \
		uint64_t until_end = clock_ms() + WORLD_WAIT_MS;                                   \
		while (!(cond)) {                                                                  \
			cr_assert(clock_ms() < until_end, "waited in vain for: %s", #cond);        \
			world_pass(w);                                                             \
		}                                                                                  \
	} while (0)

/* Subscribes and waits for `subscribed`. */
void node_subscribe(struct world *w, size_t i, const char *channel);
/* Publishes, and fails the test unless it is taken.  Does not wait. */
void node_publish(struct world *w, size_t i, const char *channel, enum msg_kind kind,
    const void *data, size_t len, uint64_t token);
/* Whether message number m of the node is as said. */
bool node_has(const struct node *n, size_t m, const char *channel, enum msg_kind kind,
    const void *data, size_t len);
/*
 * Publishes to the channel named fence and waits until that arrives: everything that was published
 * before has arrived then, or never will.  The fence's own messages are not kept.
 */
void node_fence(struct world *w, size_t i, uint64_t token);
/* Forgets the messages so far. */
void node_clear(struct node *n);

#endif
