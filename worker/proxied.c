/*
 * proxied: connections that begin with a PROXY header.  See proxied.h.
 */
#include "worker/proxied.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sock.h"
#include "worker/net/deadline.h"
#include "worker/net/proxy_protocol.h"

struct waiting {
	struct proxied *in;
	TAILQ_ENTRY(waiting) link;
	struct deadline deadline;
	struct event *readable; /* NULL while nothing has to be waited for */
	void *arg;
	int fd;
	size_t have;
	uint8_t head[PROXY_HEADER_MAX];
};

struct proxied {
	struct event_base *base;
	struct deadlines *deadlines;
	uint64_t wait_ms;
	proxied_fn on_end;
	TAILQ_HEAD(waiting_list, waiting) all;
	size_t count;
	uint64_t refused;
	struct log_gate gate;
};

/* Frees w and returns its fd. */
static int
release(struct waiting *w)
{
	int fd = w->fd;

	TAILQ_REMOVE(&w->in->all, w, link);
	w->in->count--;
	deadline_clear(&w->deadline);
	if (w->readable != NULL)
		event_free(w->readable);
	free(w);
	return fd;
}

static void
fail(struct waiting *w, const char *why)
{
	struct proxied *p = w->in;
	struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(peer);
	char text[SOCK_ADDR_TEXT];
	void *arg = w->arg;

	p->refused++;
	if (log_gate_open(&p->gate, 1)) {
		(void)getpeername(w->fd, (struct sockaddr *)&peer, &len);
		sock_addr_unmap(&peer);
		log_warnx("PROXY header: %s proxy=%s refused=%llu", why,
		    sock_addr_text((const struct sockaddr *)&peer, text),
		    (unsigned long long)p->refused);
	}
	(void)close(release(w));
	p->on_end(arg, -1, NULL);
}

static void
succeed(struct waiting *w, const struct proxy_header *header)
{
	proxied_fn on_end = w->in->on_end;
	void *arg = w->arg;

	on_end(arg, release(w), &header->client);
}

/*
 * Reads what belongs to the header.  What is only looked at stays in the kernel and would wake us
 * again and again, so all that is known to belong to the header is taken at once.  FAN_EAGAIN: more
 * has to come; otherwise w is gone.
 */
static int
read_header(struct waiting *w)
{
	struct proxy_header header;
	uint8_t *end = w->head + w->have;
	ssize_t n = recv(w->fd, end, sizeof(w->head) - w->have, MSG_PEEK | MSG_DONTWAIT);
	size_t used, take;
	int err;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return FAN_EAGAIN;
	if (n <= 0) {
		fail(w, "the connection ended before it was there");
		return 0;
	}
	err = proxy_header_parse(w->head, w->have + (size_t)n, &header, &used);
	if (err != 0 && err != FAN_EAGAIN) {
		fail(w, "there is none, or a malformed one");
		return 0;
	}
	take = err == 0 ? used - w->have : (size_t)n;
	if (recv(w->fd, end, take, MSG_DONTWAIT) != (ssize_t)take) {
		fail(w, "the connection ended before it was there");
		return 0;
	}
	w->have += take;
	if (err == 0)
		succeed(w, &header);
	return err;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)read_header(arg);
}

static void
on_deadline(struct deadline *d)
{
	struct waiting *w =
	    (struct waiting *)(void *)((char *)d - offsetof(struct waiting, deadline));

	fail(w, "it did not come in time");
}

struct proxied *
proxied_new(struct event_base *base, struct deadlines *ds, uint64_t wait_ms, proxied_fn on_end)
{
	struct proxied *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->base = base;
	p->deadlines = ds;
	p->wait_ms = wait_ms;
	p->on_end = on_end;
	TAILQ_INIT(&p->all);
	deadlines_on(ds, DEADLINE_PROXIED, on_deadline);
	return p;
}

void
proxied_free(struct proxied *p)
{
	struct waiting *w;

	if (p == NULL)
		return;
	/* The analyzer does not see that release takes it off the list. */
	while ((w = TAILQ_FIRST(&p->all)) != NULL)
		(void)close(release(w)); /* NOLINT(clang-analyzer-unix.Malloc) */
	free(p);
}

int
proxied_take(struct proxied *p, int fd, void *arg)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		(void)close(fd);
		return FAN_ENOMEM;
	}
	w->in = p;
	w->fd = fd;
	w->arg = arg;
	deadline_init(&w->deadline, DEADLINE_PROXIED);
	TAILQ_INSERT_TAIL(&p->all, w, link);
	p->count++;
	/* Mostly the header is here already. */
	if (read_header(w) != FAN_EAGAIN)
		return 0;
	deadline_set(p->deadlines, &w->deadline, p->wait_ms);
	w->readable = event_new(p->base, fd, EV_READ | EV_PERSIST, on_readable, w);
	if (w->readable != NULL && event_add(w->readable, NULL) == 0)
		return 0;
	(void)close(release(w));
	return FAN_ENOMEM;
}

size_t
proxied_count(const struct proxied *p)
{
	return p->count;
}
