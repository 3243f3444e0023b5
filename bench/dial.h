/*
 * dial: opens many connections, some at a time, each with its WebSocket handshake.
 *
 * Owns:    the connections that are on their way.
 * Process: fanfare-bench; each call works alone, in the caller's thread.
 * Layer:   bench.  Uses address, hist, settings, text, tls, wire.
 */
#ifndef BENCH_DIAL_H
#define BENCH_DIAL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct address;
struct hist;
struct settings;
struct ssl_ctx_st;
struct ssl_st;

#define DIAL_REQUEST_MAX 4096

struct dial {
	const struct address *to;
	uint64_t first; /* the number of the first, for those who open in several threads */
	uint64_t count;
	unsigned concurrency;
	double timeout;                /* seconds for each */
	struct ssl_ctx_st *tls;        /* NULL: without */
	const char *needs;             /* what the answer must have in it; may be NULL */
	atomic_uint_least64_t *opened; /* counted up if not NULL */
	struct hist *latency;          /* from connect to the end of the handshake; may be NULL */
	/*
	 * Writes the request of connection i (the number within count) into out; returns its length, 0
	 * for a connection without a handshake.
	 */
	size_t (*request)(void *arg, uint64_t i, char out[DIAL_REQUEST_MAX]);
	/*
	 * Takes over the open fd, and its TLS if it has any.  The server has already sent the n bytes at
	 * p behind its handshake.  NULL: they are closed at once.
	 */
	void (*on_open)(
	    void *arg, uint64_t i, int fd, struct ssl_st *tls, const uint8_t *p, size_t n);
	void *arg;
};

/* Opens them all; ends the process if the server refuses one.  Returns how many. */
uint64_t dial_all(const struct dial *d);

/* Writes a WebSocket handshake for this target; returns its length. */
size_t dial_handshake(
    const struct settings *s, const char *host, const char *target, char out[DIAL_REQUEST_MAX]);

#endif
