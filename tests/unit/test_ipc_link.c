/*
 * Unit tests of common/ipc_link over socket pairs.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/block.h"
#include "common/ipc_link.h"
#include "common/ipc_msg.h"

#define MAX_MSG (32U << 20)
#define MAX_QUEUE (1U << 20)
#define PASSES 20000

/* One end, and what happened to it. */
struct end {
	struct ipc_link *link;
	unsigned messages, drained, closed;
	uint32_t last_id; /* of the last message; they count up */
	size_t bytes;     /* of payload */
	int err;
	int refuse;    /* what the message callback returns */
	bool suicide;  /* the message callback frees the link */
	uint8_t *want; /* the payload that is expected, or NULL */
	size_t want_len;
};

static struct event_base *base;

static int
on_message(void *arg, const struct ipc_msg *m)
{
	struct end *e = arg;

	cr_assert(e->closed == 0 && e->link != NULL);
	e->messages++;
	e->bytes += m->len;
	if (m->type == IPC_PUBLISH || m->type == IPC_PUBLISHED) {
		cr_assert(m->id == e->last_id + 1);
		e->last_id = m->id;
	}
	if (e->want != NULL && m->len > 0)
		cr_assert(m->len == e->want_len && memcmp(m->data, e->want, m->len) == 0);
	if (e->suicide) {
		ipc_link_free(e->link);
		e->link = NULL;
		/* Still lent. */
		cr_assert(m->channel_len == 0 || m->channel[0] == 'c');
	}
	return e->refuse;
}

static void
on_drained(void *arg)
{
	struct end *e = arg;

	cr_assert(!ipc_link_full(e->link));
	e->drained++;
}

static void
on_closed(void *arg, int err)
{
	struct end *e = arg;
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = 1 };

	e->closed++;
	e->err = err;
	cr_assert(ipc_link_send(e->link, &m) == FAN_EDOWN);
	ipc_link_free(e->link);
	e->link = NULL;
}

static const struct ipc_link_handler handler = { on_message, on_drained, on_closed };

static void
open_end(struct end *e, int fd)
{
	memset(e, 0, sizeof(*e));
	e->link = ipc_link_new(base, fd, MAX_MSG, MAX_QUEUE, &handler, e);
	cr_assert(e->link != NULL);
}

static void
pair(int fd[2])
{
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
}

static void
open_pair(struct end *a, struct end *b)
{
	int fd[2];

	pair(fd);
	open_end(a, fd[0]);
	open_end(b, fd[1]);
}

static void
setup(void)
{
	base = event_base_new();
	cr_assert(base != NULL);
}

static void
teardown(void)
{
	event_base_free(base);
}

TestSuite(ipc_link, .init = setup, .fini = teardown);

static void
pass(void)
{
	cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

static void
pump(const unsigned *counter, unsigned until)
{
	int i;

	for (i = 0; i < PASSES && *counter < until; i++)
		pass();
	cr_assert(*counter == until, "%u of %u", *counter, until);
}

static struct ipc_msg
publish(uint32_t id, const void *data, size_t len)
{
	return (struct ipc_msg){ .type = IPC_PUBLISH,
		.id = id,
		.channel = "c",
		.channel_len = 1,
		.data = data,
		.len = len };
}

static size_t
encode(const struct ipc_msg *m, uint8_t *out)
{
	ipc_msg_encode_head(m, out);
	if (m->len > 0)
		memcpy(out + IPC_HEAD_SIZE + m->channel_len, m->data, m->len);
	return ipc_msg_size(m);
}

Test(ipc_link, messages_arrive_in_order_both_ways)
{
	struct end a, b;
	uint32_t id;

	open_pair(&a, &b);
	for (id = 1; id <= 5000; id++) {
		struct ipc_msg m = publish(id, "payload", 7);

		cr_assert(ipc_link_send(a.link, &m) == 0);
		cr_assert(ipc_link_send(b.link, &m) == 0);
	}
	cr_assert(ipc_link_queued(a.link) > 0 && b.messages == 0);
	ipc_link_flush(a.link);
	ipc_link_flush(b.link);
	pump(&a.messages, 5000);
	pump(&b.messages, 5000);
	cr_assert(a.bytes == 35000 && b.bytes == 35000);
	cr_assert(ipc_link_queued(a.link) == 0);
	ipc_link_free(a.link);
	ipc_link_free(b.link);
}

Test(ipc_link, nothing_is_called_back_before_the_loop)
{
	struct end a, b;
	struct ipc_msg m = publish(1, "x", 1);

	open_pair(&a, &b);
	cr_assert(ipc_link_send(a.link, &m) == 0);
	ipc_link_flush(a.link);
	cr_assert(b.messages == 0);
	pump(&b.messages, 1);
	ipc_link_free(b.link);
	cr_assert(ipc_link_send(a.link, &m) == 0);
	ipc_link_flush(a.link);
	cr_assert(a.closed == 0);
	pump(&a.closed, 1);
	cr_assert(a.err == FAN_EGONE);
}

Test(ipc_link, a_large_message_arrives_and_small_ones_around_it)
{
	struct end a, b;
	size_t i, n = 16U << 20;
	uint8_t *data = malloc(n);
	struct ipc_msg m;

	cr_assert(data != NULL);
	for (i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 2654435761U >> 13);
	open_pair(&a, &b);
	b.want = data;
	b.want_len = n;
	/* Larger than the queue, so it goes only when the queue is empty. */
	m = publish(1, NULL, 0);
	cr_assert(ipc_link_send(a.link, &m) == 0);
	m = publish(2, data, n);
	cr_assert(ipc_link_send(a.link, &m) == 0);
	m = publish(3, NULL, 0);
	cr_assert(ipc_link_send(a.link, &m) == FAN_EFULL);
	pump(&a.drained, 1);
	cr_assert(ipc_link_send(a.link, &m) == 0);
	ipc_link_flush(a.link);
	pump(&b.messages, 3);
	cr_assert(b.bytes == n);
	ipc_link_free(a.link);
	ipc_link_free(b.link);
	free(data);
}

/* What was accepted arrives; what was refused does not; answers get through longer. */
Test(ipc_link, a_full_queue_refuses_then_drains)
{
	static uint8_t data[10000];
	struct ipc_msg m, answer = { .type = IPC_PUBLISHED };
	uint32_t sent = 0;
	struct end a, b;
	int fd[2], err;

	pair(fd);
	open_end(&a, fd[0]);
	for (;;) {
		m = publish(sent + 1, data, sizeof(data));
		err = ipc_link_send(a.link, &m);
		if (err != 0)
			break;
		sent++;
		cr_assert(sent < 1000);
	}
	cr_assert(err == FAN_EFULL && ipc_link_full(a.link));
	cr_assert(ipc_link_queued(a.link) <= MAX_QUEUE - MAX_QUEUE / 8);
	answer.id = ++sent;
	cr_assert(ipc_link_send(a.link, &answer) == 0);
	for (;;) {
		answer.id = sent + 1;
		err = ipc_link_send(a.link, &answer);
		if (err != 0)
			break;
		sent++;
	}
	cr_assert(err == FAN_EFULL && ipc_link_queued(a.link) <= MAX_QUEUE);
	pass();
	cr_assert(a.drained == 0 && ipc_link_full(a.link));

	open_end(&b, fd[1]);
	pump(&a.drained, 1);
	pump(&b.messages, sent);
	cr_assert(b.last_id == sent && !ipc_link_full(a.link) && ipc_link_queued(a.link) == 0);
	pass();
	cr_assert(a.drained == 1);
	ipc_link_free(a.link);
	ipc_link_free(b.link);
}

Test(ipc_link, a_shared_block_reaches_every_link_uncopied)
{
	static uint8_t data[100000];
	struct ipc_msg m = publish(1, data, sizeof(data));
	struct block *b = block_new(ipc_msg_size(&m));
	struct end from[3], to[3];
	int i;

	cr_assert(b != NULL);
	b->len = encode(&m, b->data);
	for (i = 0; i < 3; i++) {
		open_pair(&from[i], &to[i]);
		cr_assert(ipc_link_send_block(from[i].link, b) == 0);
	}
	cr_assert(b->refs == 4);
	for (i = 0; i < 2; i++) {
		ipc_link_flush(from[i].link);
		pump(&to[i].messages, 1);
		cr_assert(to[i].bytes == sizeof(data));
	}
	cr_assert(b->refs == 2);
	/* The third never sent its own. */
	ipc_link_free(from[2].link);
	cr_assert(b->refs == 1);
	ipc_link_free(to[2].link);
	for (i = 0; i < 2; i++) {
		ipc_link_free(from[i].link);
		ipc_link_free(to[i].link);
	}
	block_unref(b);
}

Test(ipc_link, a_small_block_is_copied)
{
	struct ipc_msg m = publish(1, "abc", 3);
	struct block *b = block_new(64);
	struct end x, y;

	cr_assert(b != NULL);
	open_pair(&x, &y);
	b->len = encode(&m, b->data);
	cr_assert(ipc_link_send_block(x.link, b) == 0 && b->refs == 1);
	block_unref(b);
	m = publish(2, "d", 1);
	cr_assert(ipc_link_send(x.link, &m) == 0);
	ipc_link_flush(x.link);
	pump(&y.messages, 2);
	cr_assert(y.bytes == 4);
	ipc_link_free(x.link);
	ipc_link_free(y.link);
}

Test(ipc_link, a_message_may_come_byte_by_byte)
{
	struct ipc_msg m = publish(1, "payload", 7);
	uint8_t wire[64];
	size_t i, n = encode(&m, wire);
	struct end e;
	int fd[2];

	pair(fd);
	open_end(&e, fd[0]);
	for (i = 0; i < n; i++) {
		cr_assert(e.messages == 0);
		cr_assert(write(fd[1], wire + i, 1) == 1);
		pass();
	}
	cr_assert(e.messages == 1 && e.bytes == 7 && e.closed == 0);
	ipc_link_free(e.link);
	close(fd[1]);
}

Test(ipc_link, what_came_before_the_end_is_delivered)
{
	struct ipc_msg m = publish(1, "payload", 7);
	uint8_t wire[64];
	size_t n = encode(&m, wire);
	struct end e;
	int fd[2];

	pair(fd);
	open_end(&e, fd[0]);
	cr_assert(write(fd[1], wire, n) == (ssize_t)n);
	/* And the beginning of another. */
	cr_assert(write(fd[1], wire, n - 1) == (ssize_t)n - 1);
	close(fd[1]);
	pump(&e.closed, 1);
	cr_assert(e.messages == 1 && e.err == FAN_EGONE);
}

/* One message's bytes, changed, and how the link ends. */
static int
end_of(size_t at, uint8_t value, int refuse)
{
	struct ipc_msg m = publish(1, "payload", 7);
	uint8_t wire[64];
	size_t n = encode(&m, wire);
	struct end e;
	int fd[2];

	pair(fd);
	open_end(&e, fd[0]);
	e.refuse = refuse;
	wire[at] = value;
	cr_assert(write(fd[1], wire, n) == (ssize_t)n);
	pump(&e.closed, 1);
	close(fd[1]);
	cr_assert(e.messages == (refuse != 0 ? 1 : 0));
	return e.err;
}

Test(ipc_link, the_end_says_why)
{
	cr_assert(end_of(4, 200, 0) == FAN_EPROTO);   /* no such type */
	cr_assert(end_of(3, 0x7f, 0) == FAN_ETOOBIG); /* a size of 2 GiB */
	cr_assert(end_of(4, IPC_PUBLISH, FAN_EDENIED) == FAN_EDENIED);
}

Test(ipc_link, limits_of_one_message)
{
	struct ipc_msg m = publish(1, "payload", 7);
	struct block *b = block_new(64);
	struct end x, y;

	cr_assert(b != NULL);
	open_pair(&x, &y);
	b->len = encode(&m, b->data);
	ipc_link_set_max_msg(x.link, b->len - 1);
	cr_assert(ipc_link_send(x.link, &m) == FAN_ETOOBIG);
	cr_assert(ipc_link_send_block(x.link, b) == FAN_ETOOBIG);
	cr_assert(ipc_link_queued(x.link) == 0 && !ipc_link_full(x.link));
	ipc_link_set_max_msg(x.link, b->len);
	cr_assert(ipc_link_send(x.link, &m) == 0);
	ipc_link_set_max_msg(y.link, b->len - 1);
	ipc_link_flush(x.link);
	pump(&y.closed, 1);
	cr_assert(y.err == FAN_ETOOBIG && y.messages == 0);
	ipc_link_free(x.link);
	block_unref(b);
}

Test(ipc_link, freed_inside_its_own_callback)
{
	struct ipc_msg m = publish(1, "payload", 7);
	struct end a, b;
	int refuse;

	for (refuse = 0; refuse >= FAN_EPROTO; refuse += FAN_EPROTO) {
		open_pair(&a, &b);
		b.suicide = true;
		b.refuse = refuse;
		m.id = 1;
		cr_assert(ipc_link_send(a.link, &m) == 0);
		m.id = 2;
		cr_assert(ipc_link_send(a.link, &m) == 0);
		ipc_link_flush(a.link);
		pump(&a.closed, 1);
		/* Neither the second message nor a last word. */
		cr_assert(b.messages == 1 && b.closed == 0);
	}
}

Test(ipc_link, freed_with_a_full_queue)
{
	static uint8_t data[100000];
	struct ipc_msg m = publish(1, data, sizeof(data));
	struct end a, b;

	open_pair(&a, &b);
	while (ipc_link_send(a.link, &m) == 0)
		continue;
	cr_assert(ipc_link_full(a.link));
	ipc_link_free(a.link);
	ipc_link_free(b.link);
	ipc_link_free(NULL);
}

Test(ipc_link, awaiting_handles_what_comes_without_the_loop)
{
	struct end a, b;
	struct ipc_msg m = publish(1, "x", 1);

	open_pair(&a, &b);
	ipc_link_await(b.link, 1);
	cr_assert(b.messages == 0);
	cr_assert(ipc_link_send(a.link, &m) == 0);
	ipc_link_flush(a.link);
	/* What is there already needs no waiting, however long it might take. */
	ipc_link_await(b.link, 999999);
	cr_assert(b.messages == 1);
	ipc_link_free(a.link);
	ipc_link_await(b.link, 999999);
	cr_assert(b.closed == 1 && b.link == NULL && b.err == FAN_EGONE);
}
