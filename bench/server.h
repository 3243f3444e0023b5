/*
 * server: what the processes of the measured server have used.
 *
 * Owns:    a list of processes, taken at one moment.
 * Process: fanfare-bench.
 * Layer:   bench.  Uses text.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_PROCESSES_MAX 512
#define SERVER_NAME_MAX 32

struct server_process {
	pid_t pid;
	pid_t parent;
	char name[SERVER_NAME_MAX]; /* what its command line begins with */
	uint64_t cpu_ns;            /* user and system, all threads, those that ended too */
	uint64_t pss;               /* bytes; 0 unless asked for */
	uint64_t fds;               /* open files; 0 unless asked for */
};

struct server_use {
	size_t n;
	struct server_process p[SERVER_PROCESSES_MAX];
	uint64_t cpu_ns; /* sums */
	uint64_t pss;
};

enum server_what {
	SERVER_CPU = 0,
	SERVER_MEMORY = 1, /* and the open files; takes the kernel a while */
};

/*
 * Looks at the process pid and all that descend from it; 0: at none.  Ends the process if there is
 * no such process, or it is not ours to look at.
 */
void server_look(pid_t pid, enum server_what what, struct server_use *use);

/*
 * CPU time between two looks.  A process that is new counts from its start, one that has ended
 * since does not count.
 */
uint64_t server_cpu_between(const struct server_use *before, const struct server_use *after);

/* CPU time of this program, ns. */
uint64_t server_own_cpu(void);

/* The entry of this pid, or NULL. */
const struct server_process *server_find(const struct server_use *use, pid_t pid);

#endif
