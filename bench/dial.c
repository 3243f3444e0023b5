/*
 * dial: opens many connections, some at a time, each with its WebSocket handshake.  See dial.h.
 */
#include "bench/dial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/address.h"
#include "bench/hist.h"
#include "bench/settings.h"
#include "bench/text.h"
#include "bench/tls.h"
#include "bench/wire.h"

/* RFC 6455 §1.3 has both; the tool needs no secret, and so no digest either. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define EVENTS 256
#define ANSWER_MAX 4096
#define TICK_MS 200

struct slot {
	int fd;             /* -1: free */
	uint32_t watched;   /* events in the epoll set, 0: not in it */
	struct ssl_st *tls; /* NULL: none */
	bool secured;       /* the handshake of TLS is done */
	uint64_t i;
	uint64_t start;
	size_t request_len;
	size_t sent;
	size_t got;
	char request[DIAL_REQUEST_MAX];
	char answer[ANSWER_MAX + 1];
};

struct dialer {
	const struct dial *d;
	int epfd;
	uint64_t next;
	uint64_t done;
	unsigned busy;
	unsigned nslots;
	struct slot *slots;
};

size_t
dial_handshake(
    const struct settings *s, const char *host, const char *target, char out[DIAL_REQUEST_MAX])
{
	char extra[DIAL_REQUEST_MAX] = "";
	size_t i, at = 0;
	int n;

	for (i = 0; i < s->nheaders && at < sizeof(extra); i++)
		at += (size_t)snprintf(extra + at, sizeof(extra) - at, "%s\r\n", s->headers[i]);
	n = snprintf(out, DIAL_REQUEST_MAX,
	    "GET %s HTTP/1.1\r\n"
	    "Host: %s\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Key: " KEY "\r\n"
	    "Sec-WebSocket-Version: 13\r\n"
	    "%s%s%s%s%s%s%s%s\r\n",
	    target, host,
	    s->deflate
		? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
		: "",
	    s->dialect.protocol != NULL ? "Sec-WebSocket-Protocol: " : "",
	    s->dialect.protocol != NULL ? s->dialect.protocol : "",
	    s->dialect.protocol != NULL ? "\r\n" : "", s->dialect.origin != NULL ? "Origin: " : "",
	    s->dialect.origin != NULL ? s->dialect.origin : "",
	    s->dialect.origin != NULL ? "\r\n" : "", extra);
	if (n < 0 || n >= DIAL_REQUEST_MAX || at >= sizeof(extra))
		text_usage("the handshake is longer than %d bytes", DIAL_REQUEST_MAX);
	return (size_t)n;
}

static void
watch(struct dialer *dr, struct slot *slot, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = slot };
	int op = slot->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (slot->watched == events)
		return;
	if (epoll_ctl(dr->epfd, op, slot->fd, &ev) != 0)
		text_die("epoll_ctl: %s", strerror(errno));
	slot->watched = events;
}

/* Hands the connection over, or closes it. */
static void
finish(struct dialer *dr, struct slot *slot, size_t head)
{
	const struct dial *d = dr->d;

	if (d->latency != NULL)
		hist_add(d->latency, wire_now() - slot->start);
	if (d->on_open == NULL) {
		tls_free(slot->tls);
		(void)close(slot->fd);
	} else {
		if (slot->watched != 0)
			(void)epoll_ctl(dr->epfd, EPOLL_CTL_DEL, slot->fd, NULL);
		d->on_open(d->arg, slot->i, slot->fd, slot->tls,
		    (const uint8_t *)slot->answer + head, slot->got - head);
	}
	slot->tls = NULL;
	slot->fd = -1;
	dr->busy--;
	dr->done++;
	if (d->opened != NULL)
		atomic_fetch_add_explicit(d->opened, 1, memory_order_relaxed);
}

static _Noreturn void
refuse(const struct dialer *dr, const struct slot *slot)
{
	size_t line = strcspn(slot->answer, "\r\n");

	if (strncmp(slot->answer, "HTTP/", 5) == 0)
		text_die("%s refuses connection %llu: %.*s", dr->d->to->host,
		    (unsigned long long)slot->i + 1, (int)line, slot->answer);
	text_die("%s does not answer connection %llu as a WebSocket server does", dr->d->to->host,
	    (unsigned long long)slot->i + 1);
}

/* Reads what there is of the answer, and finishes where it is whole. */
static void
on_readable(struct dialer *dr, struct slot *slot)
{
	const char *end;
	ssize_t n;

	if (slot->tls != NULL)
		n = tls_read(slot->tls, slot->answer + slot->got, ANSWER_MAX - slot->got);
	else
		n = recv(slot->fd, slot->answer + slot->got, ANSWER_MAX - slot->got, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		text_die("%s closes connection %llu in its handshake%s%s", dr->d->to->host,
		    (unsigned long long)slot->i + 1, n < 0 ? ": " : "",
		    n < 0 ? strerror(errno) : "");
	slot->got += (size_t)n;
	slot->answer[slot->got] = '\0';
	end = strstr(slot->answer, "\r\n\r\n");
	if (end == NULL) {
		if (slot->got == ANSWER_MAX)
			refuse(dr, slot);
		return;
	}
	if (strncmp(slot->answer, "HTTP/1.1 101", 12) != 0 || strstr(slot->answer, ACCEPT) == NULL)
		refuse(dr, slot);
	if (dr->d->needs != NULL && strstr(slot->answer, dr->d->needs) == NULL)
		text_die("%s answers connection %llu without %s", dr->d->to->host,
		    (unsigned long long)slot->i + 1, dr->d->needs);
	finish(dr, slot, (size_t)(end + 4 - slot->answer));
}

/* Sends what is left of the request; an unfinished connect shows as one that takes nothing. */
static void
on_writable(struct dialer *dr, struct slot *slot)
{
	size_t left = slot->request_len - slot->sent;
	ssize_t n = 0;

	if (left == 0 && slot->watched == 0) {
		watch(dr, slot,
		    EPOLLOUT); /* there is nothing to send that would tell that it is open */
		return;
	}
	if (left > 0 && slot->tls != NULL)
		n = tls_write(slot->tls, slot->request + slot->sent, left);
	else if (left > 0)
		n = send(slot->fd, slot->request + slot->sent, left, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
		text_die("connection %llu to %s: %s", (unsigned long long)slot->i + 1,
		    dr->d->to->host, strerror(errno));
	if (n > 0)
		slot->sent += (size_t)n;
	if (slot->sent < slot->request_len)
		watch(dr, slot, EPOLLOUT);
	else if (slot->request_len == 0)
		finish(dr, slot, 0);
	else
		watch(dr, slot, EPOLLIN);
}

/* Goes on with the handshake of TLS, and then with what it is for. */
static void
secure(struct dialer *dr, struct slot *slot)
{
	switch (tls_handshake(slot->tls)) {
	case TLS_OPEN:
		slot->secured = true;
		on_writable(dr, slot);
		return;
	case TLS_WANTS_IN:
		watch(dr, slot, EPOLLIN);
		return;
	case TLS_WANTS_OUT:
		watch(dr, slot, EPOLLOUT);
		return;
	case TLS_FAILED:
		break;
	}
	text_die("connection %llu to %s: TLS: %s", (unsigned long long)slot->i + 1, dr->d->to->host,
	    tls_why(slot->tls));
}

/* Why a connect failed, 0 if it did not. */
static int
socket_error(int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 ? err : errno;
}

static void
on_connected(struct dialer *dr, struct slot *slot, uint32_t events)
{
	int err = (events & (EPOLLERR | EPOLLHUP)) != 0 ? socket_error(slot->fd) : 0;

	if (err != 0)
		text_die("connection %llu to %s: %s", (unsigned long long)slot->i + 1,
		    dr->d->to->host, strerror(err));
	if (slot->tls != NULL && !slot->secured)
		secure(dr, slot);
	else
		on_writable(dr, slot);
}

static void
on_event(struct dialer *dr, struct slot *slot, uint32_t events)
{
	if ((slot->watched & EPOLLOUT) != 0)
		on_connected(dr, slot, events);
	else if (slot->tls != NULL && !slot->secured)
		secure(dr, slot);
	else
		on_readable(dr, slot);
}

static void
begin(struct dialer *dr, struct slot *slot)
{
	const struct dial *d = dr->d;

	slot->i = dr->next++;
	slot->sent = slot->got = 0;
	slot->watched = 0;
	slot->request_len = d->request(d->arg, slot->i, slot->request);
	slot->start = wire_now();
	slot->fd = address_connect(d->to, d->first + slot->i);
	if (slot->fd < 0)
		text_die("connection %llu to %s: %s", (unsigned long long)slot->i + 1, d->to->host,
		    strerror(errno));
	dr->busy++;
	if (d->tls != NULL) {
		slot->tls = tls_new(d->tls, slot->fd, d->to->host);
		slot->secured = false;
		watch(dr, slot, EPOLLOUT); /* it is open when there is room */
		return;
	}
	/* On the loopback it is connected by now. */
	on_writable(dr, slot);
}

static void
check_timeouts(struct dialer *dr)
{
	uint64_t now = wire_now();
	unsigned i;

	for (i = 0; i < dr->nslots; i++) {
		if (dr->slots[i].fd >= 0 &&
		    (double)(now - dr->slots[i].start) > dr->d->timeout * 1e9)
			text_die("connection %llu to %s: not open within %g s",
			    (unsigned long long)dr->slots[i].i + 1, dr->d->to->host,
			    dr->d->timeout);
	}
}

static void
fill_slots(struct dialer *dr)
{
	unsigned i;

	for (i = 0; i < dr->nslots && dr->busy < dr->nslots; i++) {
		if (dr->slots[i].fd < 0 && dr->next < dr->d->count)
			begin(dr, &dr->slots[i]);
	}
}

uint64_t
dial_all(const struct dial *d)
{
	struct dialer dr = { .d = d, .nslots = d->concurrency };
	struct epoll_event events[EVENTS];
	uint64_t checked = wire_now();
	int i, n;

	if (d->count < dr.nslots)
		dr.nslots = (unsigned)d->count;
	dr.slots = text_calloc(dr.nslots, sizeof(*dr.slots));
	for (i = 0; (unsigned)i < dr.nslots; i++)
		dr.slots[i].fd = -1;
	dr.epfd = epoll_create1(EPOLL_CLOEXEC);
	if (dr.epfd < 0)
		text_die("epoll: %s", strerror(errno));
	for (;;) {
		fill_slots(&dr);
		if (dr.busy == 0)
			break;
		n = epoll_wait(dr.epfd, events, EVENTS, TICK_MS);
		for (i = 0; i < n; i++)
			on_event(&dr, events[i].data.ptr, events[i].events);
		if (wire_now() - checked > TICK_MS * UINT64_C(1000000)) {
			checked = wire_now();
			check_timeouts(&dr);
		}
	}
	(void)close(dr.epfd);
	free(dr.slots);
	return dr.done;
}
