/*
 * ipc_link: one end of the stream between a worker and the hub.  See ipc_link.h.
 */
#include "common/ipc_link.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/block.h"
#include "common/buf.h"
#include "common/ipc_msg.h"

/* What one readable callback takes in, but for a larger message. */
#define READ_SIZE ((size_t)256 * 1024)
#define OUT_BLOCK ((size_t)32 * 1024) /* small messages are gathered in blocks of this size */
#define SHARE_MIN 4096                /* from here on, sharing a block is cheaper than copying it */
#define WRITE_VECS 64

/* One block of the output queue. */
struct segment {
	TAILQ_ENTRY(segment) next;
	struct block *block;
	bool own; /* ours alone: small messages may be added to it */
};

struct ipc_link {
	int fd;
	int err;      /* broken: `closed` is to come with it */
	bool busy;    /* on_readable is under way */
	bool dead;    /* freed inside its own callback: goes when that returns */
	bool waiting; /* for writability: the kernel took no more */
	bool full;    /* a send met FAN_EFULL */
	size_t max_msg, max_queue;
	struct event *ev_read, *ev_write;
	const struct ipc_link_handler *h;
	void *arg;
	struct buf in;
	size_t need; /* bytes that the first message in it will take, 0: not known */
	TAILQ_HEAD(segments, segment) out;
	size_t out_off; /* of the first segment, written already */
	size_t queued;
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

struct ipc_link *
ipc_link_new(struct event_base *base, int fd, size_t max_msg, size_t max_queue,
    const struct ipc_link_handler *h, void *arg)
{
	struct ipc_link *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		close(fd);
		return NULL;
	}
	l->fd = fd;
	l->max_queue = max_queue;
	l->h = h;
	l->arg = arg;
	TAILQ_INIT(&l->out);
	buf_init(&l->in, 0);
	ipc_link_set_max_msg(l, max_msg);
	l->ev_read = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, l);
	l->ev_write = event_new(base, fd, EV_WRITE, on_writable, l);
	if (l->ev_read == NULL || l->ev_write == NULL || event_add(l->ev_read, NULL) != 0) {
		ipc_link_free(l);
		return NULL;
	}
	return l;
}

void
ipc_link_set_max_msg(struct ipc_link *l, size_t max_msg)
{
	l->max_msg = max_msg;
	/* Up to a message that lacks a byte, and what is read beyond its end. */
	l->in.max = max_msg + 2 * READ_SIZE;
}

static void
drop_head(struct ipc_link *l)
{
	struct segment *s = TAILQ_FIRST(&l->out);

	TAILQ_REMOVE(&l->out, s, next);
	block_unref(s->block);
	free(s);
	l->out_off = 0;
}

void
ipc_link_free(struct ipc_link *l)
{
	if (l == NULL)
		return;
	if (!l->dead) {
		if (l->ev_read != NULL)
			event_free(l->ev_read);
		if (l->ev_write != NULL)
			event_free(l->ev_write);
		close(l->fd);
		while (!TAILQ_EMPTY(&l->out))
			drop_head(l);
		l->dead = true;
	}
	/* The message that is being handled lies in the buffer. */
	if (l->busy)
		return;
	buf_fini(&l->in);
	free(l);
}

/* Hands out every message that is complete; need then says how long the next one will be. */
static int
take_messages(struct ipc_link *l)
{
	struct ipc_msg m;
	size_t used;
	int err = 0;

	while (!l->dead && err == 0) {
		err = ipc_msg_decode(buf_data(&l->in), buf_len(&l->in), l->max_msg, &m, &used);
		if (err == FAN_EAGAIN) {
			l->need = used;
			return 0;
		}
		if (err == 0)
			err = l->h->message(l->arg, &m);
		if (err == 0)
			buf_consume(&l->in, used);
	}
	return err;
}

/* Gives back what a giant message needed. */
static void
shrink(struct ipc_link *l)
{
	struct buf small;

	if (l->in.cap <= 4 * READ_SIZE || buf_len(&l->in) > READ_SIZE)
		return;
	buf_init(&small, l->in.max);
	/* Without memory the large buffer stays. */
	if (buf_append(&small, buf_data(&l->in), buf_len(&l->in)) != 0)
		return;
	buf_fini(&l->in);
	l->in = small;
}

/* One read, with room for the rest of the message that is under way. */
static int
read_some(struct ipc_link *l)
{
	size_t room = READ_SIZE;
	uint8_t *p;
	ssize_t n;
	int err;

	if (l->need > buf_len(&l->in) + room)
		room = l->need - buf_len(&l->in);
	err = buf_reserve(&l->in, room, &p);
	if (err != 0)
		return err;
	n = recv(l->fd, p, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return FAN_EGONE;
	buf_commit(&l->in, (size_t)n);
	return take_messages(l);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc_link *l = arg;
	int err;

	(void)fd;
	(void)what;
	l->busy = true;
	err = read_some(l);
	if (!l->dead && err == 0)
		err = l->err;
	if (!l->dead && err != 0) {
		l->err = err;
		(void)event_del(l->ev_read);
		(void)event_del(l->ev_write);
		l->h->closed(l->arg, err);
	}
	l->busy = false;
	if (l->dead)
		ipc_link_free(l);
	else
		shrink(l);
}

void
ipc_link_await(struct ipc_link *l, unsigned us)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	const struct timespec wait = { .tv_nsec = (long)us * 1000 };

	if (l->err == 0 && ppoll(&p, 1, &wait, NULL) > 0)
		on_readable(l->fd, EV_READ, l);
}

static size_t
gather(const struct ipc_link *l, struct iovec vec[WRITE_VECS])
{
	const struct segment *s;
	size_t n = 0, off = l->out_off;

	TAILQ_FOREACH(s, &l->out, next)
	{
		if (n == WRITE_VECS)
			break;
		vec[n].iov_base = s->block->data + off;
		vec[n].iov_len = s->block->len - off;
		off = 0;
		n++;
	}
	return n;
}

static void
written(struct ipc_link *l, size_t n)
{
	l->queued -= n;
	while (n > 0) {
		size_t left = TAILQ_FIRST(&l->out)->block->len - l->out_off;

		if (n < left) {
			l->out_off += n;
			return;
		}
		n -= left;
		drop_head(l);
	}
}

/* Marks the link as broken; `closed` is called from the loop, after what can still be read. */
static void
broke(struct ipc_link *l)
{
	l->err = FAN_EGONE;
	event_active(l->ev_read, EV_READ, 0);
}

/* Writes until the kernel takes no more.  waiting: so it is. */
static void
write_out(struct ipc_link *l)
{
	struct iovec vec[WRITE_VECS];
	struct msghdr msg = { .msg_iov = vec };
	ssize_t n;

	while (l->queued > 0) {
		msg.msg_iovlen = gather(l, vec);
		n = sendmsg(l->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			l->waiting = true;
			if (event_add(l->ev_write, NULL) != 0)
				broke(l);
			return;
		}
		if (n < 0) {
			broke(l);
			return;
		}
		written(l, (size_t)n);
	}
}

void
ipc_link_flush(struct ipc_link *l)
{
	if (l->err != 0 || l->dead || l->waiting)
		return;
	write_out(l);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc_link *l = arg;

	(void)fd;
	(void)what;
	l->waiting = false;
	write_out(l);
	if (l->err != 0 || !l->full || l->queued > l->max_queue / 2)
		return;
	l->full = false;
	l->h->drained(l->arg);
}

/* Whether a message could be one of a flood: an answer, with a position at most, is not. */
static bool
is_bulk(const struct ipc_msg *m)
{
	return m->type == IPC_PUBLISH || m->type == IPC_MESSAGE || m->len > IPC_PAST_HEAD_MAX;
}

/* Whether n more bytes may be queued. */
static int
admit(struct ipc_link *l, size_t n, bool bulk)
{
	size_t max = bulk ? l->max_queue - l->max_queue / 8 : l->max_queue;

	if (l->err != 0 || l->dead)
		return FAN_EDOWN;
	if (n > l->max_msg)
		return FAN_ETOOBIG;
	if (l->queued > 0 && l->queued + n > max)
		ipc_link_flush(l);
	if (l->err != 0)
		return FAN_EDOWN;
	if (l->queued == 0 || l->queued + n <= max)
		return 0;
	l->full = true;
	return FAN_EFULL;
}

/* Takes over the reference on b, also when it fails. */
static int
push(struct ipc_link *l, struct block *b, bool own)
{
	struct segment *s = malloc(sizeof(*s));

	if (s == NULL) {
		block_unref(b);
		return FAN_ENOMEM;
	}
	s->block = b;
	s->own = own;
	TAILQ_INSERT_TAIL(&l->out, s, next);
	return 0;
}

/* Lends the place for n bytes at the end of the queue, which they join at once. */
static int
extend(struct ipc_link *l, size_t n, uint8_t **out)
{
	struct segment *last = TAILQ_LAST(&l->out, segments);
	struct block *b;
	int err;

	if (last != NULL && last->own && last->block->cap - last->block->len >= n) {
		b = last->block;
	} else {
		b = block_new(n > OUT_BLOCK ? n : OUT_BLOCK);
		if (b == NULL)
			return FAN_ENOMEM;
		err = push(l, b, true);
		if (err != 0)
			return err;
	}
	*out = b->data + b->len;
	b->len += n;
	l->queued += n;
	return 0;
}

int
ipc_link_send(struct ipc_link *l, const struct ipc_msg *m)
{
	uint8_t *p;
	int err = admit(l, ipc_msg_size(m), is_bulk(m));

	if (err == 0)
		err = extend(l, ipc_msg_size(m), &p);
	if (err != 0)
		return err;
	ipc_msg_encode_head(m, p);
	if (m->len > 0)
		memcpy(p + IPC_HEAD_SIZE + m->channel_len, m->data, m->len);
	return 0;
}

int
ipc_link_send_block(struct ipc_link *l, struct block *b)
{
	uint8_t *p;
	int err = admit(l, b->len, true);

	if (err != 0)
		return err;
	if (b->len < SHARE_MIN) {
		err = extend(l, b->len, &p);
		if (err == 0)
			memcpy(p, b->data, b->len);
		return err;
	}
	err = push(l, block_ref(b), false);
	if (err == 0)
		l->queued += b->len;
	return err;
}

bool
ipc_link_full(const struct ipc_link *l)
{
	return l->full;
}

size_t
ipc_link_queued(const struct ipc_link *l)
{
	return l->queued;
}
