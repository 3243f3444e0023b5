/*
 * child: one supervised process, the hub or a worker.
 *
 * Owns:    its process, the pipe by which it says that it serves, and its timer.
 * Process: master.
 * Layer:   broker.  Uses boot, clock, log; libevent.
 *
 *     DOWN --start--> STARTING --it says so--> RUNNING
 *                        |                        |
 *                        +-------- it dies -------+--> BACKING_OFF --time--> STARTING
 *     any but DOWN --stop--> STOPPING --it dies--> DOWN
 *
 * A child that dies is replaced at once; if it dies young again and again, after 100 ms, doubling
 * up to 5 s.
 */
#ifndef BROKER_CHILD_H
#define BROKER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/boot.h"
#include "common/err.h"

struct event;
struct event_base;

enum child_state {
	CHILD_DOWN,
	CHILD_STARTING,
	CHILD_RUNNING,
	CHILD_BACKING_OFF,
	CHILD_STOPPING,
};

/* Embedded.  Only name, state and pid are for others to read. */
struct child {
	char name[24]; /* "hub", "worker 0" */
	enum child_state state;
	pid_t pid;        /* 0: none */
	uint64_t started; /* ms */
	unsigned young_deaths;
	struct boot boot;
	int fds[BOOT_LISTENERS_MAX]; /* the master's numbers of what the child inherits */
	size_t nfds;
	int ready_fd; /* the master's end of the pipe; 0: none, for 0 to 2 are always open */
	struct event *ev_ready, *ev_restart;
	struct event_base *base;
	void (*on_ready)(void *arg);
	void *arg;
};

/*
 * Names the child after boot's role and slot.  boot is copied, but its config is borrowed; the nfds
 * fds, at most BOOT_LISTENERS_MAX, are lent for the child's life and stand at CHILD_FIRST_FD and
 * up there.  on_ready: the child said that it serves.  FAN_ENOMEM.
 */
#define CHILD_FIRST_FD (BOOT_FD + 1)
FAN_NODISCARD int child_init(struct child *c, struct event_base *base, const struct boot *boot,
    const int *fds, size_t nfds, void (*on_ready)(void *arg), void *arg);
/* Ends no process. */
void child_fini(struct child *c);

void child_start(struct child *c);
/* Its process was reaped with this status (waitpid). */
void child_died(struct child *c, int status);
/* SIGTERM, and no replacement from now on. */
void child_stop(struct child *c);
/* SIGHUP, if there is a process. */
void child_reload(const struct child *c);
/* SIGKILL, if there is a process. */
void child_kill(const struct child *c);

#endif
