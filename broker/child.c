/*
 * child: one supervised process.  See child.h.
 */
#include "broker/child.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define YOUNG_MS 10000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
/* The boot image, what the caller lends, the pipe. */
#define FDS_MAX (BOOT_LISTENERS_MAX + 2)

static void on_ready_readable(evutil_socket_t fd, short what, void *arg);

static void
on_restart(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	child_start(arg);
}

int
child_init(struct child *c, struct event_base *base, const struct boot *boot, const int *fds,
    size_t nfds, void (*on_ready)(void *arg), void *arg)
{
	memset(c, 0, sizeof(*c));
	if (boot->role == BOOT_HUB)
		(void)snprintf(c->name, sizeof(c->name), "hub");
	else
		(void)snprintf(c->name, sizeof(c->name), "worker %u", boot->slot);
	c->boot = *boot;
	c->boot.ready_fd = CHILD_FIRST_FD + (int)nfds;
	memcpy(c->fds, fds, nfds * sizeof(*fds));
	c->nfds = nfds;
	c->base = base;
	c->on_ready = on_ready;
	c->arg = arg;
	c->ev_restart = event_new(base, -1, 0, on_restart, c);
	return c->ev_restart == NULL ? FAN_ENOMEM : 0;
}

/* It has said that it serves, or never will. */
static void
close_ready(struct child *c)
{
	if (c->ev_ready != NULL)
		event_free(c->ev_ready);
	c->ev_ready = NULL;
	if (c->ready_fd > 0)
		close(c->ready_fd);
	c->ready_fd = 0;
}

void
child_fini(struct child *c)
{
	close_ready(c);
	if (c->ev_restart != NULL)
		event_free(c->ev_restart);
	c->ev_restart = NULL;
}

/* --- in the new process ------------------------------------------------------------------- */

/* Puts fds[i] at BOOT_FD + i, whatever numbers they have now, and closes everything above. */
static int
place_fds(int *fds, size_t n)
{
	size_t i;

	/* Out of the way first, so that none is overwritten before its turn. */
	for (i = 0; i < n; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, BOOT_FD + (int)n);
		if (fds[i] < 0)
			return FAN_ESYS;
	}
	for (i = 0; i < n; i++) {
		if (dup2(fds[i], BOOT_FD + (int)i) < 0)
			return FAN_ESYS;
	}
	closefrom(BOOT_FD + (int)n);
	return 0;
}

/*
 * As a program finds them that was started by hand; all are blocked until then.  But for SIGHUP, which
 * must not kill a child that cannot take it yet.
 */
static void
reset_signals(void)
{
	sigset_t none;
	int sig;

	for (sig = 1; sig < NSIG; sig++) {
		if (sig != SIGKILL && sig != SIGSTOP)
			(void)signal(sig, sig == SIGHUP ? SIG_IGN : SIG_DFL);
	}
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void
become(struct child *c, int boot_fd, int ready_fd)
{
	int fds[FDS_MAX];
	char title[sizeof(c->name) + 16];
	char *argv[] = { title, NULL };

	/* The master may have died before the prctl. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != c->boot.master)
		_exit(127);
	(void)snprintf(title, sizeof(title), "fanfare: %s", c->name);
	fds[0] = boot_fd;
	memcpy(fds + 1, c->fds, c->nfds * sizeof(*fds));
	fds[1 + c->nfds] = ready_fd;
	if (place_fds(fds, c->nfds + 2) != 0) {
		log_warn("child=\"%s\" cannot hand over sockets", c->name);
		_exit(127);
	}
	reset_signals();
	(void)execv("/proc/self/exe", argv);
	log_warn("child=\"%s\" cannot execute /proc/self/exe", c->name);
	_exit(127);
}

/* --- in the master ------------------------------------------------------------------------ */

/* Returns the pid, or FAN_ESYS. */
static pid_t
fork_child(struct child *c, int boot_fd, int ready_fd)
{
	sigset_t all, before;
	pid_t pid;
	int saved;

	/* libevent's handlers must not run in the child: they write to a socket that is shared. */
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		become(c, boot_fd, ready_fd);
	saved = errno;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return pid < 0 ? FAN_ESYS : pid;
}

static int
spawn(struct child *c)
{
	int boot_fd, pipe_fd[2];
	int err = FAN_ESYS;

	boot_fd = boot_write(&c->boot);
	if (boot_fd < 0)
		return boot_fd;
	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		goto out;
	c->ready_fd = pipe_fd[0];
	c->ev_ready = event_new(c->base, c->ready_fd, EV_READ, on_ready_readable, c);
	if (c->ev_ready != NULL && event_add(c->ev_ready, NULL) == 0) {
		c->pid = fork_child(c, boot_fd, pipe_fd[1]);
		if (c->pid > 0)
			err = 0;
	}
	close(pipe_fd[1]);
	if (err != 0) {
		c->pid = 0;
		close_ready(c);
	}
out:
	close(boot_fd);
	return err;
}

static void
on_ready_readable(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;
	bool serves;
	char said;

	(void)what;
	serves = read(fd, &said, 1) == 1;
	close_ready(c);
	if (!serves || c->state != CHILD_STARTING)
		return;
	c->state = CHILD_RUNNING;
	log_debug("child=\"%s\" pid=%ld serves", c->name, (long)c->pid);
	c->on_ready(c->arg);
}

/* How long its replacement has to wait. */
static unsigned
backoff_ms(struct child *c)
{
	unsigned i, ms = BACKOFF_FIRST_MS;

	if (clock_ms() - c->started >= YOUNG_MS)
		c->young_deaths = 0;
	if (c->young_deaths++ == 0)
		return 0;
	for (i = 2; i < c->young_deaths && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

static void
restart_in(struct child *c, unsigned ms)
{
	struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	c->state = CHILD_BACKING_OFF;
	if (event_add(c->ev_restart, &tv) != 0)
		log_errx("child=\"%s\" no timer: it is not replaced", c->name);
}

void
child_start(struct child *c)
{
	unsigned ms;

	c->started = clock_ms();
	if (spawn(c) == 0) {
		c->state = CHILD_STARTING;
		return;
	}
	ms = backoff_ms(c);
	log_warn("child=\"%s\" cannot be started retry_in=%ums", c->name, ms);
	restart_in(c, ms);
}

static const char *
status_text(int status, char *out, size_t n)
{
	const char *sig = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	if (sig != NULL)
		(void)snprintf(out, n, "SIG%s", sig);
	else if (WIFSIGNALED(status))
		(void)snprintf(out, n, "signal %d", WTERMSIG(status));
	else
		(void)snprintf(out, n, "exit %d", WEXITSTATUS(status));
	return out;
}

void
child_died(struct child *c, int status)
{
	pid_t pid = c->pid;
	char text[32];
	unsigned ms;

	c->pid = 0;
	close_ready(c);
	(void)status_text(status, text, sizeof(text));
	if (c->state == CHILD_STOPPING) {
		c->state = CHILD_DOWN;
		log_info("child=\"%s\" pid=%ld status=\"%s\" stopped", c->name, (long)pid, text);
		return;
	}
	ms = backoff_ms(c);
	log_warnx(
	    "child=\"%s\" pid=%ld status=\"%s\" restart_in=%ums", c->name, (long)pid, text, ms);
	restart_in(c, ms);
}

void
child_stop(struct child *c)
{
	(void)event_del(c->ev_restart);
	if (c->pid == 0) {
		c->state = CHILD_DOWN;
		return;
	}
	c->state = CHILD_STOPPING;
	(void)kill(c->pid, SIGTERM);
}

void
child_reload(const struct child *c)
{
	if (c->pid > 0)
		(void)kill(c->pid, SIGHUP);
}

void
child_kill(const struct child *c)
{
	if (c->pid > 0)
		(void)kill(c->pid, SIGKILL);
}
