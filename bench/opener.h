/*
 * opener: the connections of a run: opens them, spreads them over the threads, subscribes.
 *
 * Owns:    the connections.
 * Process: fanfare-bench, the main thread, before the loops start.
 * Layer:   bench.  Uses address, conn, dial, loop, reply, settings, text, tls.
 */
#ifndef BENCH_OPENER_H
#define BENCH_OPENER_H

#include <stddef.h>

#include "bench/address.h"
#include "bench/conn.h"

struct control;
struct flow;
struct loop;
struct part;
struct ssl_ctx_st;

/* What a connection is to be. */
struct role {
	struct loop *loop;
	struct part *part; /* subscribes; NULL: no */
	struct flow *flow; /* publishes; NULL: no */
	unsigned channel;  /* the number of its channel */
	enum conn_kind kind;
};

struct opener {
	struct control *control;
	size_t n;
	struct role *roles;
	struct conn *conns; /* conns[i] has roles[i] */
	size_t first;       /* of those that are being opened */
	struct address broker;
	struct address publish;
	struct ssl_ctx_st *tls; /* NULL: without */
};

/* Room for n connections; the caller fills in the roles. */
void opener_init(struct opener *o, struct control *c, size_t n);

/*
 * Opens connections `first` to `first + n - 1`, which are all CONN_REPLY or none of them is.  Ends
 * the process if one fails.
 */
void opener_open(struct opener *o, size_t first, size_t n);

/* Closes all. */
void opener_fini(struct opener *o);

/* The name of channel i; where there is one channel only, its name as the user gave it. */
#define OPENER_CHANNEL_MAX 300
void opener_channel(const struct control *c, unsigned i, char out[OPENER_CHANNEL_MAX]);

#endif
