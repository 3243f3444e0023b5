/*
 * wait: waits that a signal ends.
 *
 * Owns:    the flag that SIGINT and SIGTERM set.
 * Process: the command line, one thread.
 * Layer:   cli, lowest.  Uses common.
 */
#include "cli/wait.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

static void
on_signal(int sig)
{
	if (stop_signal)
		_exit(1);
	stop_signal = sig;
}

void
wait_catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

bool
wait_stopped(void)
{
	return stop_signal != 0;
}

/*
 * The signals are only let in while we wait, so that none slips in between the check and the wait.
 */
int
wait_fd(int fd, short events, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };
	sigset_t block, old;
	int r = -1;

	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &old);
	while (r < 0 && !stop_signal) {
		r = ppoll(&pfd, 1, &ts, &old);
		if (r < 0 && errno != EINTR)
			break;
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return FAN_EAGAIN;
	return r == 0 ? FAN_ETIMEOUT : 0;
}

void
wait_ms(int ms)
{
	int r = wait_fd(-1, 0, ms);

	(void)r; /* either way the sleep is over */
}
