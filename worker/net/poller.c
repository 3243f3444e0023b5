/*
 * poller: which of many sockets are ready.  See poller.h.
 */
#include "worker/net/poller.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH 512 /* sockets served in one pass, so that what they gathered leaves soon */

struct poller {
	int fd;
	struct event *ev;
	void (*fn)(void *object, unsigned what);
	struct epoll_event ready[BATCH];
};

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct poller *p = arg;
	int n = epoll_wait(fd, p->ready, BATCH, 0);
	int i;

	(void)what;
	for (i = 0; i < n; i++) {
		unsigned ready = 0;

		if ((p->ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
			ready |= POLLER_IN;
		if ((p->ready[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
			ready |= POLLER_OUT;
		p->fn(p->ready[i].data.ptr, ready);
	}
}

struct poller *
poller_new(struct event_base *base, void (*fn)(void *object, unsigned what))
{
	struct poller *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->fn = fn;
	p->fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->fd >= 0)
		p->ev = event_new(base, p->fd, EV_READ | EV_PERSIST, on_ready, p);
	if (p->ev == NULL || event_add(p->ev, NULL) != 0) {
		poller_free(p);
		return NULL;
	}
	return p;
}

void
poller_free(struct poller *p)
{
	if (p == NULL)
		return;
	if (p->ev != NULL)
		event_free(p->ev);
	if (p->fd >= 0)
		(void)close(p->fd);
	free(p);
}

int
poller_watch(struct poller *p, int fd, void *object, unsigned char *have, unsigned want)
{
	struct epoll_event ev = { .data.ptr = object };
	int op = *have == 0 ? EPOLL_CTL_ADD : want == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

	if (want == *have)
		return 0;
	if ((want & POLLER_IN) != 0)
		ev.events |= EPOLLIN;
	if ((want & POLLER_OUT) != 0)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(p->fd, op, fd, &ev) != 0)
		return errno == ENOMEM || errno == ENOSPC ? FAN_ENOMEM : FAN_ESYS;
	*have = (unsigned char)want;
	return 0;
}
