/*
 * burst: many sends that go to the kernel in one system call.  See burst.h.
 */
#include "worker/net/burst.h"

#include "config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/block.h"
#include "common/log.h"

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

/* DONTWAIT also keeps the kernel from waiting on its own, so that each send ends at once. */
#define SEND_FLAGS (MSG_NOSIGNAL | MSG_DONTWAIT)

#define BURST_FEW 8 /* fewer sends cost no less together, as docs/PERFORMANCE.md shows */

struct gathered {
	void *object;
	struct block *block;
	size_t off, n;
	struct outq_tag tag;
	int fd;
	int res;
};

struct burst {
#ifdef HAVE_LIBURING
	struct io_uring ring;
#endif
	burst_done done;
	bool open;
	bool broken; /* the ring is gone; each send is a call of its own */
	unsigned n;
	struct gathered item[BURST_RING];
};

/* --- the ring ----------------------------------------------------------------------------- */

#ifdef HAVE_LIBURING

/* The best flags that the kernel has: completions cost least where one task alone asks for them. */
static int
ring_init(struct burst *u)
{
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
		    IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
		0,
	};
	struct io_uring *ring = &u->ring;
	struct io_uring_probe *probe;
	bool can_send;
	int err = -EINVAL;
	size_t i;

	for (i = 0; err == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++)
		err = io_uring_queue_init(BURST_RING, ring, flags[i]);
	if (err != 0)
		return err;
	probe = io_uring_get_probe_ring(ring);
	can_send = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_SEND);
	io_uring_free_probe(probe);
	if (!can_send) {
		io_uring_queue_exit(ring);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Submits what is gathered and waits for its end; returns how many of them the kernel took. */
static unsigned
ring_run(struct burst *u)
{
	struct io_uring_cqe *cqe;
	unsigned i, given = 0;
	int r;

	for (i = 0; i < u->n; i++) {
		const struct gathered *g = &u->item[i];
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

		assert(sqe != NULL); /* the ring holds as many as are gathered */
		io_uring_prep_send(sqe, g->fd, g->block->data + g->off,
		    g->n < INT_MAX ? g->n : INT_MAX, SEND_FLAGS);
		sqe->user_data = i;
	}
	while (given < u->n) {
		r = io_uring_submit(&u->ring);
		if (r > 0)
			given += (unsigned)r;
		else if (r != -EINTR)
			break;
	}
	for (i = 0; i < given; i++) {
		/* They are there already: nothing waits but for the kernel's own surprise. */
		do
			r = io_uring_wait_cqe(&u->ring, &cqe);
		while (r == -EINTR);
		if (r != 0)
			break;
		u->item[cqe->user_data].res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
	}
	return given;
}

static void
ring_exit(struct burst *u)
{
	io_uring_queue_exit(&u->ring);
}

#else

static int
ring_init(struct burst *u)
{
	(void)u;
	return -ENOSYS;
}

static unsigned
ring_run(struct burst *u)
{
	(void)u;
	return 0;
}

static void
ring_exit(struct burst *u)
{
	(void)u;
}

#endif

/* --- the interface ------------------------------------------------------------------------ */

struct burst *
burst_new(burst_done done)
{
	struct burst *u = calloc(1, sizeof(*u));
	int err;

	if (u == NULL)
		return NULL;
	err = ring_init(u);
	if (err != 0) {
		free(u);
		errno = -err;
		return NULL;
	}
	u->done = done;
	return u;
}

void
burst_free(struct burst *u)
{
	if (u == NULL)
		return;
	assert(!u->open);
	if (!u->broken)
		ring_exit(u);
	free(u);
}

static void
send_alone(struct gathered *g)
{
	ssize_t sent =
	    send(g->fd, g->block->data + g->off, g->n < INT_MAX ? g->n : INT_MAX, SEND_FLAGS);

	g->res = sent < 0 ? -errno : (int)sent;
}

void
burst_flush(struct burst *u)
{
	unsigned i = 0, n = u->n;

	if (!u->broken && n >= BURST_FEW) {
		i = ring_run(u);
		if (i < n) {
			log_warnx("io_uring failed, each send is a call of its own from now on");
			ring_exit(u);
			u->broken = true;
		}
	}
	for (; i < n; i++)
		send_alone(&u->item[i]);
	u->n = 0;
	for (i = 0; i < n; i++) {
		struct gathered g = u->item[i];

		u->done(g.object, g.block, g.off, g.n, g.tag, g.res);
		block_unref(g.block);
	}
}

void
burst_begin(struct burst *u)
{
	if (u == NULL)
		return;
	assert(!u->open);
	u->open = !u->broken;
}

void
burst_end(struct burst *u)
{
	if (u == NULL || !u->open)
		return;
	burst_flush(u);
	u->open = false;
}

bool
burst_is_open(const struct burst *u)
{
	return u != NULL && u->open;
}

void
burst_send(struct burst *u, int fd, void *object, struct block *b, size_t off, size_t n,
    struct outq_tag tag)
{
	assert(u->open);
	u->item[u->n++] = (struct gathered){ object, block_ref(b), off, n, tag, fd, -EIO };
	if (u->n == BURST_RING)
		burst_flush(u);
}
