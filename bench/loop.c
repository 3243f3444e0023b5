/*
 * loop: one thread's connections and its epoll loop.  See loop.h.
 */
#include "bench/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "bench/flow.h"
#include "bench/text.h"

#define EVENTS 512
#define PROBE_TICK_NS 20000000
#define NS 1000000000

void
loop_init(struct loop *l, struct control *control)
{
	struct epoll_event ev = { .events = EPOLLIN };

	l->control = control;
	l->buffer = text_calloc(1, LOOP_BUFFER);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	atomic_init(&l->phase_seen, PHASE_REST);
	if (l->epfd < 0 || l->wake_fd < 0 ||
	    epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wake_fd, &ev) != 0)
		text_die("epoll: %s", strerror(errno));
}

void
loop_fini(struct loop *l)
{
	(void)close(l->epfd);
	(void)close(l->wake_fd);
	free(l->buffer);
	free(l->flows);
}

void
loop_add_conn(struct loop *l, struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, c->fd, &ev) != 0)
		text_die("epoll: %s", strerror(errno));
}

void
loop_watch_out(struct loop *l, struct conn *c, bool on)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	if (c->watch_out == on)
		return;
	if (on)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		text_die("epoll: %s", strerror(errno));
	c->watch_out = on;
}

void
loop_add_flow(struct loop *l, struct flow *f)
{
	struct flow **grown = reallocarray(l->flows, l->nflows + 1, sizeof(struct flow *));

	if (grown == NULL)
		text_die("no memory");
	l->flows = grown;
	l->flows[l->nflows++] = f;
}

/* How long the loop may sleep; NULL: until something happens. */
static const struct timespec *
sleep_time(const struct loop *l, int phase, struct timespec *ts)
{
	uint64_t now, due, ns = FLOW_NEVER;
	size_t i;

	if (phase == PHASE_PROBE) {
		ns = PROBE_TICK_NS;
	} else if (phase == PHASE_RUN && l->nflows > 0 && l->flows[0]->interval > 0) {
		now = wire_now();
		for (i = 0; i < l->nflows; i++) {
			due = flow_due_in(l->flows[i], now);
			ns = due < ns ? due : ns;
		}
	}
	if (ns == FLOW_NEVER)
		return NULL;
	ts->tv_sec = (time_t)(ns / NS);
	ts->tv_nsec = (long)(ns % NS);
	return ts;
}

static int
wait_events(struct loop *l, struct epoll_event *events, const struct timespec *ts)
{
	int n;

	if (ts == NULL)
		n = epoll_wait(l->epfd, events, EVENTS, -1);
	else
		n = epoll_pwait2(l->epfd, events, EVENTS, ts, NULL);
	if (n < 0 && errno == ENOSYS) /* a kernel before 5.11 */
		n = epoll_wait(l->epfd, events, EVENTS, 1);
	if (n < 0 && errno != EINTR)
		text_die("epoll_wait: %s", strerror(errno));
	return n;
}

static void
on_event(struct loop *l, const struct epoll_event *ev)
{
	struct conn *c = ev->data.ptr;

	if (c == NULL) {
		uint64_t n;

		/* It only wakes us; a number that is gone already has done so. */
		if (read(l->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			text_die("eventfd: %s", strerror(errno));
		return;
	}
	if ((ev->events & EPOLLOUT) != 0)
		flow_flush(c->flow);
	if ((ev->events & (uint32_t)~EPOLLOUT) != 0)
		conn_read(l, c);
}

/* Lets the publishers go on for whom something has changed; `all`: whoever they are. */
static void
publish(struct loop *l, int phase, bool all)
{
	struct flow *f;
	size_t i;

	while ((f = l->runnable) != NULL) {
		l->runnable = f->next_runnable;
		f->queued = false;
		if (phase == PHASE_RUN)
			flow_pump(f);
	}
	for (i = 0; all && i < l->nflows; i++) {
		if (phase == PHASE_RUN)
			flow_pump(l->flows[i]);
		else if (phase == PHASE_PROBE)
			flow_probe(l->flows[i]);
	}
}

static void *
loop_main(void *arg)
{
	struct epoll_event events[EVENTS];
	struct loop *l = arg;
	struct timespec ts;
	bool all;
	int i, n, phase;

	(void)prctl(PR_SET_TIMERSLACK, 1UL);
	for (;;) {
		phase = atomic_load(&l->control->phase);
		all = phase == PHASE_PROBE || atomic_load(&l->phase_seen) != phase;
		atomic_store(&l->phase_seen, phase);
		if (phase == PHASE_END)
			return NULL;
		publish(l, phase, all);
		n = wait_events(l, events, sleep_time(l, phase, &ts));
		for (i = 0; i < n; i++)
			on_event(l, &events[i]);
		/* Another thread's wake, or a message that has become due, may be for any flow. */
		for (i = 0; i < n && !all; i++)
			all = events[i].data.ptr == NULL;
		publish(l, phase, all || (l->nflows > 0 && l->flows[0]->interval > 0));
		if (l->remote != NULL) {
			loop_wake(l->remote);
			l->remote = NULL;
		}
	}
}

void
loop_wake(struct loop *l)
{
	uint64_t one = 1;

	if (write(l->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		text_die("eventfd: %s", strerror(errno));
}

void
loop_start(struct loop *l)
{
	int err = pthread_create(&l->thread, NULL, loop_main, l);

	if (err != 0)
		text_die("can not start a thread: %s", strerror(err));
}

void
loop_join(struct loop *l)
{
	(void)pthread_join(l->thread, NULL);
}

void
loop_set_phase(struct control *c, enum phase phase)
{
	const struct timespec tick = { 0, 200000 };
	unsigned i;

	atomic_store(&c->phase, (int)phase);
	for (i = 0; i < c->nloops; i++)
		loop_wake(&c->loops[i]);
	for (i = 0; i < c->nloops; i++) {
		while (atomic_load(&c->loops[i].phase_seen) != (int)phase)
			(void)nanosleep(&tick, NULL);
	}
}
