/*
 * server: what the processes of the measured server have used.  See server.h.
 */
#include "bench/server.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/text.h"

/* Reads the parent out of /proc/PID/stat; the name before it may itself hold parentheses. */
static bool
read_parent(pid_t pid, struct server_process *p)
{
	char path[64], line[512];
	const char *end;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	end = fgets(line, sizeof(line), f) != NULL ? strrchr(line, ')') : NULL;
	(void)fclose(f);
	if (end == NULL || strlen(end) < 5)
		return false;
	memset(p, 0, sizeof(*p));
	p->pid = pid;
	p->parent = (pid_t)strtol(end + 4, NULL, 10);
	return true;
}

/* Servers like to write there what a process is for. */
static void
read_name(struct server_process *p)
{
	char path[64], line[256] = "";
	const char *slash;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)p->pid);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	(void)fclose(f);
	slash = strrchr(line, '/');
	(void)snprintf(p->name, sizeof(p->name), "%.*s", SERVER_NAME_MAX - 1,
	    slash != NULL ? slash + 1 : line);
}

/* /proc's ticks are of 10 ms, and its schedstat is of one thread; this clock has neither fault. */
static bool
read_cpu(struct server_process *p)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(p->pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
		return false;
	p->cpu_ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	return true;
}

static bool
read_memory(struct server_process *p)
{
	char path[64], line[256];
	bool found = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)p->pid);
	f = fopen(path, "re");
	if (f == NULL && (errno == EACCES || errno == EPERM))
		text_die("the memory of process %d is not ours to read: be root, or its user",
		    (int)p->pid);
	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), f) != NULL) {
		found = strncmp(line, "Pss:", 4) == 0;
		if (found)
			p->pss = strtoull(line + 4, NULL, 10) * 1024;
	}
	(void)fclose(f);
	return found;
}

static void
count_fds(struct server_process *p)
{
	const struct dirent *entry;
	char path[64];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
	dir = opendir(path);
	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		p->fds += entry->d_name[0] != '.';
	(void)closedir(dir);
}

/* Every process of the machine, with no more than its parent and its name.  NULL: no memory. */
static struct server_process *
all_processes(size_t *n)
{
	struct server_process *all = NULL, *grown;
	const struct dirent *entry;
	size_t room = 0;
	DIR *dir;

	*n = 0;
	dir = opendir("/proc");
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (*n == room) {
			room = room * 2 + 256;
			grown = reallocarray(all, room, sizeof(*all));
			if (grown == NULL)
				break;
			all = grown;
		}
		if (read_parent((pid_t)strtol(entry->d_name, NULL, 10), &all[*n]))
			++*n;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return all;
}

/* Fills use->p with pid and its descendants, each after its parent. */
static void
find_tree(pid_t pid, struct server_use *use)
{
	struct server_process *all;
	size_t i, n, at;

	all = all_processes(&n);
	for (i = 0; i < n && use->n == 0; i++) {
		if (all[i].pid == pid)
			use->p[use->n++] = all[i];
	}
	for (at = 0; at < use->n; at++) {
		for (i = 0; i < n; i++) {
			if (all[i].parent != use->p[at].pid)
				continue;
			if (use->n == SERVER_PROCESSES_MAX)
				text_die(
				    "--server-pid: more than %d processes", SERVER_PROCESSES_MAX);
			use->p[use->n++] = all[i];
		}
	}
	free(all);
	if (use->n == 0)
		text_die("--server-pid %d: there is no such process", (int)pid);
}

void
server_look(pid_t pid, enum server_what what, struct server_use *use)
{
	struct server_process *p;
	size_t i, kept = 0;
	bool there;

	memset(use, 0, sizeof(*use));
	if (pid == 0)
		return;
	find_tree(pid, use);
	for (i = 0; i < use->n; i++) {
		p = &use->p[i];
		there = read_cpu(p);
		read_name(p);
		if (there && what == SERVER_MEMORY) {
			there = read_memory(p);
			count_fds(p);
		}
		if (!there)
			continue; /* it ended in this moment */
		use->cpu_ns += p->cpu_ns;
		use->pss += p->pss;
		use->p[kept++] = *p;
	}
	use->n = kept;
}

uint64_t
server_own_cpu(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) != 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

const struct server_process *
server_find(const struct server_use *use, pid_t pid)
{
	size_t i;

	for (i = 0; i < use->n; i++) {
		if (use->p[i].pid == pid)
			return &use->p[i];
	}
	return NULL;
}

uint64_t
server_cpu_between(const struct server_use *before, const struct server_use *after)
{
	const struct server_process *old;
	uint64_t ns = 0;
	size_t i;

	for (i = 0; i < after->n; i++) {
		old = server_find(before, after->p[i].pid);
		ns += after->p[i].cpu_ns - (old != NULL ? old->cpu_ns : 0);
	}
	return ns;
}
