/*
 * Unit tests of broker/hub/peer: what a worker hears when its link had no room.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/hub/peer.h"
#include "common/block.h"
#include "common/err.h"
#include "common/ipc_link.h"
#include "common/ipc_msg.h"

#define MAX_QUEUE ((size_t)256 * 1024)
#define PAYLOAD 8000
#define PASSES 20000

static struct event_base *base;
static struct peer *peer;
static unsigned heard; /* messages that came to the peer */

/* The worker's end: everything that it hears, in order. */
static struct {
	struct ipc_link *link;
	int fd; /* -1: the link has it */
	unsigned messages, gaps, gaps_on_all, others, closed;
	int last;     /* number of the last publication */
	bool told[2]; /* a gap came since the last publication of channel c0, c1 */
	bool told_all;
	unsigned gaps_before_answer;
	struct ipc_past past; /* of the last answer; its records are gone */
} worker;

static int
on_peer_message(void *arg, struct peer *p, const struct ipc_msg *m)
{
	cr_assert(arg == &worker && p == peer);
	heard++;
	return m->type == IPC_HELLO ? 0 : FAN_EDENIED;
}

static int
on_worker_message(void *arg, const struct ipc_msg *m)
{
	int number, channel;

	cr_assert(arg == &worker);
	if (m->type == IPC_GAP) {
		worker.gaps++;
		if (m->channel_len == 0) {
			cr_assert(m->value == 1);
			worker.gaps_on_all++;
			worker.told_all = true;
		} else if (m->channel_len == 2 && m->channel[0] == 'c') {
			worker.told[m->channel[1] - '0'] = true;
		}
		return 0;
	}
	if (m->type == IPC_SUBSCRIBED) {
		cr_assert(ipc_past_decode(m->data, m->len, &worker.past) == 0);
		/* A gap that was there first was told first. */
		cr_assert(worker.gaps == worker.gaps_before_answer);
	}
	if (m->type != IPC_MESSAGE) {
		worker.others++;
		return 0;
	}
	number = atoi((const char *)m->data);
	channel = m->channel[0] == 'c' ? m->channel[1] - '0' : 0;
	cr_assert(number > worker.last);
	/* The publications take turns on two channels. */
	if (worker.last >= 0 && number != worker.last + 1)
		cr_assert(worker.told[channel] || worker.told_all, "%d after %d without a gap",
		    number, worker.last);
	worker.told[channel] = false;
	worker.last = number;
	worker.messages++;
	return 0;
}

static void
on_worker_drained(void *arg)
{
	(void)arg;
}

static void
on_worker_closed(void *arg, int err)
{
	(void)arg;
	(void)err;
	worker.closed++;
	ipc_link_free(worker.link);
	worker.link = NULL;
}

static const struct ipc_link_handler worker_handler = { on_worker_message, on_worker_drained,
	on_worker_closed };

static void
setup(void)
{
	int fd[2];

	memset(&worker, 0, sizeof(worker));
	worker.last = -1;
	base = event_base_new();
	cr_assert(base != NULL);
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
	peer = peer_new(base, fd[0], MAX_QUEUE, on_peer_message, &worker);
	cr_assert(peer != NULL);
	worker.fd = fd[1];
}

static void
teardown(void)
{
	peer_free(peer);
	ipc_link_free(worker.link);
	if (worker.fd >= 0)
		close(worker.fd);
	event_base_free(base);
}

TestSuite(peer, .init = setup, .fini = teardown);

/* From now on the worker reads. */
static void
worker_reads(void)
{
	worker.link =
	    ipc_link_new(base, worker.fd, 2 * PAYLOAD, MAX_QUEUE, &worker_handler, &worker);
	worker.fd = -1;
	cr_assert(worker.link != NULL);
}

static void
pass(void)
{
	cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	peer_flush(peer);
}

static void
pump(const unsigned *counter, unsigned until)
{
	int i;

	for (i = 0; i < PASSES && *counter < until; i++)
		pass();
	cr_assert(*counter == until, "%u of %u", *counter, until);
}

static void
publish(const char *channel, int number)
{
	static char data[PAYLOAD];
	struct ipc_msg m = { .type = IPC_MESSAGE,
		.channel = channel,
		.channel_len = strlen(channel),
		.data = (const uint8_t *)data,
		.len = sizeof(data) };
	struct block *b = block_new(ipc_msg_size(&m));

	cr_assert(b != NULL);
	(void)snprintf(data, sizeof(data), "%d", number);
	ipc_msg_encode_head(&m, b->data);
	memcpy(b->data + IPC_HEAD_SIZE + m.channel_len, m.data, m.len);
	b->len = ipc_msg_size(&m);
	peer_publish(peer, b, channel, m.channel_len);
	block_unref(b);
}

Test(peer, a_full_link_loses_publications_and_says_so_first)
{
	int number;

	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	for (number = 0; number < 500; number++) {
		publish(number % 2 == 0 ? "c0" : "c1", number);
		cr_assert(ipc_link_queued(peer->link) <= MAX_QUEUE);
	}
	cr_assert(!peer->dead && peer->gaps == 2 && !peer->gap_on_all);
	worker_reads();
	pump(&worker.gaps, 2);
	cr_assert(worker.gaps_on_all == 0 && worker.messages > 0 && worker.last < 499);
	number = (int)worker.messages;
	publish("c0", 500);
	publish("c1", 501);
	pump(&worker.messages, (unsigned)number + 2);
	cr_assert(worker.gaps == 2 && worker.last == 501 && peer->gaps == 0);
}

Test(peer, many_channels_become_one_gap)
{
	char channel[8];
	int number;

	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	for (number = 0; number < 300; number++) {
		(void)snprintf(channel, sizeof(channel), "%d", number);
		publish(channel, number);
	}
	cr_assert(peer->gap_on_all);
	worker_reads();
	pump(&worker.gaps_on_all, 1);
	cr_assert(worker.gaps == 1 && peer->gaps == 0 && !peer->gap_on_all);
}

Test(peer, a_gap_that_is_no_fault_of_the_link_comes_before_the_next_publication)
{
	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	worker_reads();
	publish("c0", 0);
	publish("c1", 1);
	peer_gap(peer, "c1", 2);
	peer_gap(peer, "c1", 2);
	peer_miss(peer, "c0", 2);
	publish("c1", 9);
	pump(&worker.messages, 3);
	cr_assert(worker.gaps == 2);
}

Test(peer, a_gap_is_told_even_if_nothing_follows)
{
	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	worker_reads();
	peer_miss(peer, "c0", 2);
	pump(&worker.gaps, 1);
	cr_assert(worker.told[0]);
}

Test(peer, answers_pass_where_publications_do_not_until_there_is_no_room_at_all)
{
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = 1 };
	int number;

	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	for (number = 0; number < 200; number++)
		publish("c0", number);
	cr_assert(peer->gaps == 1);
	peer_send(peer, &m);
	cr_assert(!peer->dead);
	for (number = 0; number < 100000 && !peer->dead; number++)
		peer_send(peer, &m);
	cr_assert(peer->dead && ipc_link_queued(peer->link) <= MAX_QUEUE);
	/* The dead take everything in silence. */
	peer_send(peer, &m);
	publish("c0", 200);
	peer_flush(peer);
}

Test(peer, before_it_has_proved_itself_only_a_hello_fits)
{
	struct ipc_msg hello = { .type = IPC_HELLO,
		.value = IPC_VERSION,
		.data = (const uint8_t *)"0123456789abcdef",
		.len = IPC_COOKIE_SIZE };
	struct ipc_msg more = {
		.type = IPC_SUBSCRIBE, .channel = "seventeen-letters", .channel_len = 17
	};

	worker_reads();
	cr_assert(ipc_link_send(worker.link, &hello) == 0);
	ipc_link_flush(worker.link);
	pump(&heard, 1);
	cr_assert(!peer->dead);
	cr_assert(ipc_link_send(worker.link, &more) == 0);
	ipc_link_flush(worker.link);
	pass();
	cr_assert(peer->dead && heard == 1);
}

static struct ipc_msg
subscribed(void)
{
	return (
	    struct ipc_msg){ .type = IPC_SUBSCRIBED, .id = 1, .channel = "c0", .channel_len = 2 };
}

Test(peer, an_answer_comes_with_its_records_and_behind_the_gap)
{
	static const uint8_t records[PAYLOAD];
	struct ipc_past past = { .pos = { .offset = 7, .epoch = "E" },
		.flags = IPC_PAST_RECOVERED,
		.records = { records, sizeof(records) } };
	struct ipc_msg m = subscribed();

	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	worker_reads();
	peer_gap(peer, "c0", 2);
	worker.gaps_before_answer = 1;
	cr_assert(peer_answer(peer, &m, &past) == 0);
	pump(&worker.others, 1);
	cr_assert(worker.past.pos.offset == 7 && worker.past.flags == IPC_PAST_RECOVERED);
	cr_assert_str_eq(worker.past.pos.epoch, "E");
	cr_assert(worker.past.records.n == sizeof(records));
	past.records.n = 0;
	cr_assert(peer_answer(peer, &m, &past) == 0);
	pump(&worker.others, 2);
	cr_assert(worker.past.records.n == 0);
}

Test(peer, an_answer_without_room_for_its_records_can_be_given_without_them)
{
	static const uint8_t records[PAYLOAD];
	struct ipc_past past = { .pos = { .offset = 7, .epoch = "E" },
		.records = { records, sizeof(records) } };
	struct ipc_msg m = subscribed();
	int number;

	peer_accept(peer, 0, (size_t)2 * PAYLOAD);
	for (number = 0; number < 200; number++)
		publish("c0", number);
	cr_assert(peer_answer(peer, &m, &past) == FAN_EFULL && !peer->dead);
	past.records.n = 0;
	cr_assert(peer_answer(peer, &m, &past) == 0 && !peer->dead);
	/* Larger than any message of this link. */
	past.records.n = sizeof(records);
	m.type = IPC_HISTORIED;
	peer_accept(peer, 0, PAYLOAD);
	cr_assert(peer_answer(peer, &m, &past) == FAN_ETOOBIG && !peer->dead);
	peer->dead = true;
	cr_assert(peer_answer(peer, &m, &past) == 0);
}
