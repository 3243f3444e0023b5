/*
 * proxy: stands between an engine and Redis, and does what networks and broken servers do.
 *
 * Owns:    its listening Unix socket and the connections that it carries.
 * Process: contract tests, in the loop of the engine under test.
 * Layer:   tests.  Uses libevent, Criterion.
 */
#ifndef TESTS_CONTRACT_PROXY_H
#define TESTS_CONTRACT_PROXY_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#define PROXY_CONNS 8

/* The subscriber's connection is the one that has carried a SUBSCRIBE. */
enum proxy_role {
	PROXY_COMMANDS,
	PROXY_SUBSCRIBER,
};

struct proxy;

struct proxy_conn {
	struct proxy *proxy;
	int down, up; /* to the engine, to Redis; -1: free */
	struct event *down_readable, *up_readable;
	enum proxy_role role;
	bool hole; /* carries nothing any more, and stays open */
};

struct proxy {
	struct event_base *base;
	char path[96];
	char upstream[96];
	int listener;
	struct event *acceptable;
	unsigned accepted; /* connections so far */
	size_t step;       /* most bytes carried to the engine at a time */
	struct proxy_conn conn[PROXY_CONNS];
};

/* Listens on dir/proxy.sock and connects to the Unix socket upstream. */
void proxy_open(struct proxy *p, struct event_base *base, const char *dir, const char *upstream);
void proxy_close(struct proxy *p);

/* Turns the connections of a role that exist now into black holes. */
void proxy_hole(struct proxy *p, enum proxy_role role);
/* Closes the connections of a role that exist now. */
void proxy_cut(struct proxy *p, enum proxy_role role);
/* Sends bytes to the engine as if they came from Redis. */
void proxy_inject(struct proxy *p, enum proxy_role role, const void *data, size_t n);

#endif
