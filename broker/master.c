/*
 * master: the process that the operator starts.  See master.h.
 */
#include "broker/master.h"

#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/child.h"
#include "broker/listen.h"
#include "common/boot.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "config.h"

#define STOP_GRACE_MS 3000 /* for what a worker does beside its close handshakes; for the hub */
#define REPEAT_MS 300      /* a signal to the whole group, which a parent passes on, comes twice */

static const int signals[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

struct master {
	const struct conf *conf;
	struct event_base *base;
	struct event *ev_signal[SIGNALS], *ev_deadline;
	struct listeners listeners;
	struct boot boot; /* what all children have in common */
	int hub_fd;
	unsigned workers;
	struct child hub;
	struct child *worker; /* one for each slot */
	bool ready, stopping;
	uint64_t stop_began; /* clock_ms */
};

/* --- stopping ------------------------------------------------------------------------------- */

static bool
workers_down(const struct master *m)
{
	unsigned i;

	for (i = 0; i < m->workers; i++) {
		if (m->worker[i].state != CHILD_DOWN)
			return false;
	}
	return true;
}

static void
kill_all(struct master *m)
{
	unsigned i;

	for (i = 0; i < m->workers; i++)
		child_kill(&m->worker[i]);
	child_kill(&m->hub);
}

static void
set_deadline(struct master *m, int64_t ms)
{
	struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	if (event_add(m->ev_deadline, &tv) != 0) {
		log_errx("no timer: the children are killed");
		kill_all(m);
	}
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	unsigned i;

	(void)fd;
	(void)what;
	if (workers_down(m)) {
		log_warnx("the hub does not stop: it is killed");
		child_kill(&m->hub);
		return;
	}
	for (i = 0; i < m->workers; i++) {
		if (m->worker[i].state == CHILD_DOWN)
			continue;
		log_warnx("child=\"%s\" does not stop: it is killed", m->worker[i].name);
		child_kill(&m->worker[i]);
	}
}

/* The next step of a stop, if it is due. */
static void
go_on_stopping(struct master *m)
{
	if (!workers_down(m))
		return;
	if (m->hub.state != CHILD_STOPPING && m->hub.state != CHILD_DOWN) {
		child_stop(&m->hub);
		set_deadline(m, STOP_GRACE_MS);
	}
	if (m->hub.state == CHILD_DOWN)
		(void)event_base_loopbreak(m->base);
}

static void
stop(struct master *m)
{
	unsigned i;

	log_info("stopping");
	m->stopping = true;
	m->stop_began = clock_ms();
	/* A connection that came now would wait here for a worker that is leaving. */
	listeners_close(&m->listeners);
	for (i = 0; i < m->workers; i++)
		child_stop(&m->worker[i]);
	set_deadline(m, m->conf->limits.close + STOP_GRACE_MS);
	go_on_stopping(m);
}

/* --- events ------------------------------------------------------------------------------- */

static void
on_ready(void *arg)
{
	struct master *m = arg;
	unsigned i;

	if (m->ready || m->hub.state != CHILD_RUNNING)
		return;
	for (i = 0; i < m->workers; i++) {
		if (m->worker[i].state != CHILD_RUNNING)
			return;
	}
	m->ready = true;
	log_info("ready");
}

static struct child *
find_child(struct master *m, pid_t pid)
{
	unsigned i;

	if (m->hub.pid == pid)
		return &m->hub;
	for (i = 0; i < m->workers; i++) {
		if (m->worker[i].pid == pid)
			return &m->worker[i];
	}
	return NULL;
}

static void
reap(struct master *m)
{
	struct child *c;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		c = find_child(m, pid);
		if (c == NULL)
			continue;
		/* Also the one that nobody told to stop is not replaced any more. */
		if (m->stopping)
			c->state = CHILD_STOPPING;
		child_died(c, status);
	}
	if (m->stopping)
		go_on_stopping(m);
}

static void
reload(struct master *m)
{
	unsigned i;

	if (m->conf->tls.certificates.n == 0 && m->conf->auth.jwks[0] == '\0') {
		log_info("SIGHUP ignored: the configuration is read at the start only");
		return;
	}
	log_info("SIGHUP: certificates and keys of tokens are read again; the rest of the "
		 "configuration is not");
	for (i = 0; i < m->workers; i++)
		child_reload(&m->worker[i]);
}

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct master *m = arg;

	(void)what;
	if (sig == SIGCHLD) {
		reap(m);
	} else if (sig == SIGHUP) {
		reload(m);
	} else if (m->stopping && clock_ms() - m->stop_began < REPEAT_MS) {
		log_debug("signal=%d repeated", (int)sig);
	} else if (m->stopping) {
		log_warnx("second signal: the children are killed");
		kill_all(m);
	} else {
		stop(m);
	}
}

/* --- start and end -------------------------------------------------------------------------- */

static void
raise_nofile(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) != 0)
		log_warn("cannot raise the limit of open files");
}

static unsigned
cores(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* Prints the effective configuration for the children. */
static int
print_conf(struct master *m)
{
	FILE *f = open_memstream(&m->boot.config, &m->boot.config_len);
	int bad;

	if (f == NULL)
		return FAN_ENOMEM;
	conf_print(m->conf, f, true);
	bad = ferror(f);
	return fclose(f) != 0 || bad ? FAN_ENOMEM : 0;
}

static int
init_hub(struct master *m)
{
	struct boot boot = m->boot;

	boot.role = BOOT_HUB;
	boot.hub_fd = CHILD_FIRST_FD;
	return child_init(&m->hub, m->base, &boot, &m->hub_fd, 1, on_ready, m);
}

static int
init_worker(struct master *m, unsigned slot)
{
	struct boot boot = m->boot;
	int fds[BOOT_LISTENERS_MAX];
	size_t i;

	boot.role = BOOT_WORKER;
	boot.slot = slot;
	boot.hub_fd = -1;
	boot.listeners = m->listeners.n;
	for (i = 0; i < m->listeners.n; i++) {
		fds[i] = m->listeners.item[i].fd[slot];
		boot.listener[i] = listener_boot(&m->listeners.item[i], CHILD_FIRST_FD + (int)i);
	}
	return child_init(&m->worker[slot], m->base, &boot, fds, m->listeners.n, on_ready, m);
}

static int
init_events(struct master *m)
{
	size_t i;

	m->base = event_base_new();
	if (m->base == NULL)
		return FAN_ENOMEM;
	for (i = 0; i < SIGNALS; i++) {
		m->ev_signal[i] =
		    event_new(m->base, signals[i], EV_SIGNAL | EV_PERSIST, on_signal, m);
		if (m->ev_signal[i] == NULL || event_add(m->ev_signal[i], NULL) != 0)
			return FAN_ENOMEM;
	}
	m->ev_deadline = event_new(m->base, -1, 0, on_deadline, m);
	return m->ev_deadline == NULL ? FAN_ENOMEM : 0;
}

static int
init_children(struct master *m)
{
	unsigned i;
	int err;

	m->boot.workers = m->workers;
	m->boot.master = getpid();
	m->hub_fd = listen_hub(m->boot.hub_name, &m->boot.hub_name_len);
	if (m->hub_fd < 0)
		return FAN_ESYS;
	if (getrandom(m->boot.cookie, sizeof(m->boot.cookie), 0) != sizeof(m->boot.cookie) ||
	    getrandom(m->boot.secret, sizeof(m->boot.secret), 0) != sizeof(m->boot.secret))
		return FAN_ESYS;
	err = print_conf(m);
	if (err == 0)
		err = init_hub(m);
	m->worker = calloc(m->workers, sizeof(*m->worker));
	if (m->worker == NULL)
		return FAN_ENOMEM;
	for (i = 0; i < m->workers && err == 0; i++)
		err = init_worker(m, i);
	return err;
}

static void
master_fini(struct master *m)
{
	unsigned i;
	size_t s;

	listeners_close(&m->listeners);
	child_fini(&m->hub);
	for (i = 0; i < m->workers && m->worker != NULL; i++)
		child_fini(&m->worker[i]);
	free(m->worker);
	boot_fini(&m->boot);
	for (s = 0; s < SIGNALS; s++) {
		if (m->ev_signal[s] != NULL)
			event_free(m->ev_signal[s]);
	}
	if (m->ev_deadline != NULL)
		event_free(m->ev_deadline);
	if (m->base != NULL)
		event_base_free(m->base);
	if (m->hub_fd >= 0)
		close(m->hub_fd);
}

static int
run(struct master *m)
{
	unsigned i;

	log_info("fanfare %s engine=%s workers=%u pid=%ld", PACKAGE_VERSION,
	    m->conf->redis.url[0] != '\0' ? "redis" : "memory", m->workers, (long)getpid());
	/* It names the address and the reason itself. */
	if (listeners_open(&m->listeners, m->conf, m->workers) != 0)
		return 1;
	if (init_events(m) != 0 || init_children(m) != 0) {
		log_err("cannot start");
		return 1;
	}
	child_start(&m->hub);
	for (i = 0; i < m->workers; i++)
		child_start(&m->worker[i]);
	if (event_base_dispatch(m->base) < 0) {
		log_err("the event loop failed");
		kill_all(m);
		return 1;
	}
	log_info("stopped");
	return 0;
}

int
master_main(const struct conf *c)
{
	struct master m = { .conf = c, .hub_fd = -1 };
	int status;

	/* Whoever reads our log may go away. */
	(void)signal(SIGPIPE, SIG_IGN);
	log_init("master", (enum log_level)c->log.level);
	raise_nofile();
	m.workers = c->workers > 0 ? (unsigned)c->workers : cores();
	status = run(&m);
	master_fini(&m);
	return status;
}
