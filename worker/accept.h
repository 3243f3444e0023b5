/*
 * accept: takes connections from the worker's listening sockets.
 *
 * Owns:    its events.  The listening fds stay the process's.
 * Process: workers.
 * Layer:   worker.  Uses proxied, http/client, http/http, net/conn; libevent.
 */
#ifndef WORKER_ACCEPT_H
#define WORKER_ACCEPT_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct acceptor;
struct boot;
struct clients;
struct http_server;

struct acceptor_options {
	size_t max; /* connections at once; further public ones wait in the kernel's queue */
	int sndbuf; /* SO_SNDBUF in bytes; 0: the kernel's own */
	uint64_t proxy_header_ms;
	struct clients *clients; /* borrowed */
};

/* Begins to accept on the listeners of b (borrowed).  NULL: no memory. */
struct acceptor *acceptor_new(
    struct http_server *s, const struct boot *b, const struct acceptor_options *opt);
/* Stops accepting, and closes what waits for a PROXY header. */
void acceptor_free(struct acceptor *a);

#endif
