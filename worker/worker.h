/*
 * worker: the process that holds the clients' sockets; the wiring of its modules, and nothing else.
 *
 * Process: worker.
 * Layer:   worker, top.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

struct boot;

/* Runs until SIGTERM or SIGINT, or the master's end.  Returns the exit status. */
int worker_main(struct boot *b);

#endif
