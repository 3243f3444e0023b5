/*
 * loop: one thread's connections and its epoll loop.
 *
 * Owns:    its connections, its read buffer, what it has counted.
 * Process: fanfare-bench, each loop in a thread of its own; the main thread steers by `phase` and
 *          reads the counters.
 * Layer:   bench.  Uses conn, flow, hist, text.
 */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/conn.h"
#include "bench/hist.h"

#define LOOP_BUFFER ((size_t)256 * 1024)

struct flow;
struct loop;
struct settings;

enum phase {
	PHASE_REST,  /* answer pings, publish nothing */
	PHASE_PROBE, /* publish probes until every subscriber has got one */
	PHASE_RUN,
	PHASE_END,
};

/* What all threads share. */
struct control {
	const struct settings *settings;
	atomic_int phase;
	struct loop *loops;
	unsigned nloops;
};

struct loop {
	struct control *control;
	pthread_t thread;
	int epfd;
	int wake_fd;
	atomic_int phase_seen; /* set before anything is done in that phase */
	uint64_t now;          /* ns, of the last read */
	struct count count;
	struct hist latency;
	uint8_t *buffer;
	struct flow **flows; /* whose publisher is in this thread */
	size_t nflows;
	struct flow *runnable; /* list of those that may have room in their window */
	struct loop *remote;   /* where a publisher waits for what this thread has read */
};

/* Opens what a loop needs.  Ends the process where that fails. */
void loop_init(struct loop *l, struct control *control);
void loop_fini(struct loop *l);

void loop_start(struct loop *l);
void loop_join(struct loop *l);

/* Sets the phase of all threads, and waits until each has seen it. */
void loop_set_phase(struct control *c, enum phase phase);

/* Makes the thread look at its flows; from any thread. */
void loop_wake(struct loop *l);

/* Before the threads start: the connection is watched from now on. */
void loop_add_conn(struct loop *l, struct conn *c);
/* Sets whether the connection is watched for room to write. */
void loop_watch_out(struct loop *l, struct conn *c, bool on);

/* Before the threads start: the loop publishes for this flow. */
void loop_add_flow(struct loop *l, struct flow *f);

#endif
