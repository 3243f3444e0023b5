/*
 * accept: takes connections from the worker's listening sockets.
 *
 * Owns:    its events.  The listening fds stay the process's.
 * Process: workers.
 * Layer:   worker.  Uses http/http, net/conn; libevent.
 */
#ifndef WORKER_ACCEPT_H
#define WORKER_ACCEPT_H

#include <stddef.h>

#include "common/err.h"

struct acceptor;
struct boot;
struct http_server;

/*
 * Begins to accept on the listeners of b (borrowed).  max: most connections at once; further public
 * ones wait in the kernel's queue until a place is free.  sndbuf: SO_SNDBUF in bytes, 0 the kernel's
 * own.  NULL: no memory.
 */
struct acceptor *acceptor_new(struct http_server *s, const struct boot *b, size_t max, int sndbuf);
/* Stops accepting. */
void acceptor_free(struct acceptor *a);

#endif
