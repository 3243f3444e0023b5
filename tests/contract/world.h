/*
 * world: engines under test in one event loop, and a record of all that they called back.
 *
 * Owns:    the loop, the engines, the record; a redis-server where a case needs one.
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
#include "tests/contract/redis_server.h"

#define WORLD_NODES 2
#define WORLD_TOKENS 20000
#define WORLD_WAIT_MS 60000

/* Payloads that must survive as they are. */
struct payload {
	enum msg_kind kind;
	const char *data;
	size_t len;
};
#define WORLD_PAYLOADS 18
extern const struct payload world_payloads[WORLD_PAYLOADS];

struct message {
	char channel[CHANNEL_NAME_MAX + 1];
	enum msg_kind kind;
	uint8_t *data;
	size_t len;
	struct position pos; /* epoch "": it came with none */
};

/* The last answer to engine_history or engine_presence. */
struct answer {
	unsigned answers; /* so far */
	uint64_t token;
	int status;
	struct position top; /* of a history */
	uint8_t *data;       /* records, or packed members */
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
	struct position pos[WORLD_TOKENS];
	struct answer past, present;
	bool closed; /* nothing may be called back any more */
};

struct world {
	struct event_base *base;
	struct event *tick;
	const char *url; /* of the case's server; NULL: the memory engine */
	struct node node[WORLD_NODES];
};

/* A world without engines. */
struct world *world_new(void);
void world_free(struct world *w);

/*
 * A case runs on every engine, as a test of SUITE_memory and of SUITE_redis, in a world of its own and
 * with an engine that is up in node 0; ENGINES(SUITE) comes before.
 */
#define ENGINES(suite)                                                                             \
	TestSuite(suite##_memory, .init = world_setup_memory, .fini = world_teardown,              \
	    .timeout = WORLD_SECONDS);                                                             \
	TestSuite(suite##_redis, .init = world_setup_redis, .fini = world_teardown,                \
	    .timeout = WORLD_SECONDS)
/* All suites of one binary: with different limits Criterion 2.4.1 itself leaks now and then. */
#define WORLD_SECONDS 100
#define CASE(suite, name)                                                                          \
	static void case_##name(struct world *w, struct node *n);                                  \
	Test(suite##_memory, name)                                                                 \
	{                                                                                          \
		case_##name(world_begin_case(), world_current->node);                              \
	}                                                                                          \
	Test(suite##_redis, name)                                                                  \
	{                                                                                          \
		case_##name(world_begin_case(), world_current->node);                              \
	}                                                                                          \
	static void case_##name(struct world *w, struct node *n)
extern struct world *world_current;
void world_setup_memory(void);
void world_setup_redis(void);
struct world *world_begin_case(void);
void world_teardown(void);

/*
 * The rules that every node has, unless its conf.channels was set before:
 *
 *     h:*      a history of 100 messages
 *     tiny:*   of 5
 *     huge:*   of 100,000
 *     brief:*  of 100, with a ttl of WORLD_BRIEF_MS
 *     j:*      join_leave, no history
 *     hj:*     both
 *     p:*      presence without join_leave
 */
#define WORLD_BRIEF_MS 400

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

/* Passes for so many milliseconds. */
void world_wait(struct world *w, uint64_t ms);

/* Subscribes and waits for `subscribed`. */
void node_subscribe(struct world *w, size_t i, const char *channel);
/* Publishes, and fails the test unless it is taken.  Does not wait. */
void node_publish(struct world *w, size_t i, const char *channel, enum msg_kind kind,
    const void *data, size_t len, uint64_t token);
/* The same, and hands on what engine_publish returns. */
FAN_NODISCARD int node_try_publish(struct node *n, const char *channel, enum msg_kind kind,
    const void *data, size_t len, uint64_t token);
/* Publishes text with a key ("": none) and waits: where it got to. */
struct position node_put(
    struct world *w, size_t i, const char *channel, const char *text, const char *key);
/* Asks, and waits: the answer is in the node then, with status 0. */
struct position node_history(struct world *w, size_t i, const char *channel, struct engine_query q);
void node_presence(struct world *w, size_t i, const char *channel);
/* Drops the history and waits: where the channel stands. */
struct position node_forget(struct world *w, size_t i, const char *channel);
void node_join(struct world *w, size_t i, const char *channel, const char *client, const char *user,
    const char *info);
void node_leave(struct world *w, size_t i, const char *channel, const char *client);
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
