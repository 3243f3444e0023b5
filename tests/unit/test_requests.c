/*
 * Unit tests of broker/hub/requests and broker/hub/feed, between an engine that is made up here and two
 * workers' links.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "broker/engine/engine.h"
#include "broker/hub/count.h"
#include "broker/hub/feed.h"
#include "broker/hub/interest.h"
#include "broker/hub/members.h"
#include "broker/hub/node.h"
#include "broker/hub/peer.h"
#include "broker/hub/requests.h"
#include "broker/hub/rollcall.h"
#include "broker/hub/streams.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/ipc_link.h"
#include "common/ipc_msg.h"

#define SLOTS 2
#define LINK_QUEUE ((size_t)256 * 1024)
#define TEXT(s) .data = (const uint8_t *)(s), .len = strlen(s)
#define ON(name) .channel = (name), .channel_len = strlen(name)

static const char config[] = "limits: {recovery: 5}\n"
			     "channels: [{match: 'h:*', history: {size: 10, ttl: 1m}}]\n";

static struct event_base *base;
static struct node node;
static struct peer *peers[SLOTS];
static struct ipc_link *links[SLOTS];
static char heard[SLOTS][4096]; /* what each worker has heard, in words */
static char asked[4096];        /* and the engine */
static int fails;               /* what the engine's functions return */
static uint64_t token;          /* of the last call */

static void say(char *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
say(char *out, const char *fmt, ...)
{
	size_t n = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out + n, sizeof(asked) - n, fmt, ap);
	va_end(ap);
}

/* --- the engine ----------------------------------------------------------------------------- */

const char *
engine_name(const struct engine *e)
{
	(void)e;
	return "none";
}

int
engine_publish(struct engine *e, const struct engine_message *m, uint64_t t)
{
	(void)e;
	token = t;
	say(asked, "publish %.*s %.*s key=%.*s; ", (int)m->channel_len, m->channel, (int)m->len,
	    (const char *)m->data, (int)m->key_len, m->key);
	return fails;
}

int
engine_history(
    struct engine *e, const char *channel, size_t len, const struct engine_query *q, uint64_t t)
{
	(void)e;
	token = t;
	say(asked, "history %.*s %d %u%s; ", (int)len, channel, (int)q->after, q->limit,
	    q->reverse ? " reverse" : "");
	return fails;
}

int
engine_forget(struct engine *e, const char *channel, size_t len, uint64_t t)
{
	(void)e;
	token = t;
	say(asked, "forget %.*s; ", (int)len, channel);
	return fails;
}

int
engine_presence(struct engine *e, const char *channel, size_t len, uint64_t t)
{
	(void)e;
	token = t;
	say(asked, "presence %.*s; ", (int)len, channel);
	return fails;
}

void
engine_join(struct engine *e, const char *channel, size_t len, const struct member *m)
{
	(void)e;
	say(asked, "join %.*s %.*s %.*s; ", (int)len, channel, (int)m->client_len, m->client,
	    (int)m->user_len, m->user);
}

void
engine_leave(struct engine *e, const char *channel, size_t len, const char *client, size_t n)
{
	(void)e;
	say(asked, "leave %.*s %.*s; ", (int)len, channel, (int)n, client);
}

void
engine_event(struct engine *e, const char *json, size_t len)
{
	(void)e;
	say(asked, "event %.*s; ", (int)len, json);
}

int
engine_subscribe(struct engine *e, const char *channel, size_t len)
{
	(void)e;
	say(asked, "subscribe %.*s; ", (int)len, channel);
	return fails;
}

void
engine_unsubscribe(struct engine *e, const char *channel, size_t len)
{
	(void)e;
	say(asked, "unsubscribe %.*s; ", (int)len, channel);
}

/* --- the workers ---------------------------------------------------------------------------- */

static void
say_past(char *out, const struct ipc_msg *m)
{
	struct ipc_past past;
	struct record r;

	if (m->len == 0)
		return;
	cr_assert(ipc_past_decode(m->data, m->len, &past) == 0);
	say(out, " %s:%d%s", past.pos.epoch, (int)past.pos.offset,
	    past.flags & IPC_PAST_RECOVERED ? "+" : "");
	while (records_next(&past.records, &r) == 0)
		say(out, " %d=%.*s", (int)r.offset, r.len < 10 ? (int)r.len : 0,
		    (const char *)r.data);
	cr_assert(past.records.n == 0);
}

static int
on_down(void *arg, const struct ipc_msg *m)
{
	char *out = arg;

	if (m->type == IPC_SUBSCRIBED || m->type == IPC_PUBLISHED || m->type == IPC_HISTORIED) {
		say(out, "%s %u %d",
		    m->type == IPC_SUBSCRIBED      ? "subscribed"
			: m->type == IPC_PUBLISHED ? "published"
						   : "historied",
		    m->id, m->status);
		say_past(out, m);
		say(out, "; ");
	} else if (m->type == IPC_PRESENT) {
		say(out, "present %u %d %zu; ", m->id, m->status, m->len);
	} else if (m->type == IPC_MESSAGE) {
		if (m->len < 100)
			say(out, "%.*s %d %.*s; ", (int)m->channel_len, m->channel, (int)m->value,
			    (int)m->len, (const char *)m->data);
	} else {
		cr_assert(m->type == IPC_GAP);
		say(out, "gap %.*s%d; ", (int)m->channel_len, m->channel, (int)m->value);
	}
	return 0;
}

static void
on_drained(void *arg)
{
	(void)arg;
}

static void
on_closed(void *arg, int err)
{
	(void)arg;
	cr_assert_fail("a link was closed: %s", fan_strerror(err));
}

static const struct ipc_link_handler link_handler = { on_down, on_drained, on_closed };

static int
on_up(void *arg, struct peer *p, const struct ipc_msg *m)
{
	(void)arg;
	(void)p;
	(void)m;
	return FAN_EPROTO;
}

static void
setup(void)
{
	unsigned i;
	int fd[2];

	base = event_base_new();
	node = (struct node){ .conf = conf_new(), .by_slot = peers, .slots = SLOTS };
	cr_assert(conf_load_text(node.conf, "test", config, strlen(config), stderr) == 0);
	node.interest = interest_new(SLOTS);
	node.streams = streams_new(5, 0, &feed_streams, &node);
	node.members = members_new(SLOTS);
	node.counts = counts_new(SLOTS, requests_counted, &node);
	node.rollcalls = rollcalls_new(&requests_rollcall, &node);
	for (i = 0; i < SLOTS; i++) {
		cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
		peers[i] = peer_new(base, fd[0], LINK_QUEUE, on_up, &node);
		peers[i]->serial = 7 + i;
		peer_accept(peers[i], i, IPC_MSG_MAX);
		links[i] =
		    ipc_link_new(base, fd[1], IPC_MSG_MAX, LINK_QUEUE, &link_handler, heard[i]);
		heard[i][0] = '\0';
	}
	asked[0] = '\0';
	fails = 0;
}

static void
teardown(void)
{
	unsigned i;

	for (i = 0; i < SLOTS; i++) {
		peer_free(peers[i]);
		ipc_link_free(links[i]);
	}
	rollcalls_free(node.rollcalls);
	counts_free(node.counts);
	members_free(node.members);
	streams_free(node.streams);
	interest_free(node.interest);
	conf_free(node.conf);
	event_base_free(base);
}

TestSuite(requests, .init = setup, .fini = teardown);

static void
up(unsigned slot, const struct ipc_msg *m)
{
	cr_assert(requests_handle(&node, peers[slot], m) == 0);
}

/* The worker has heard this, and nothing else, since the last time. */
static void
hears(unsigned slot, const char *what)
{
	int i;

	for (i = 0; i < 100; i++) {
		peer_flush(peers[slot]);
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	}
	cr_assert_str_eq(heard[slot], what);
	heard[slot][0] = '\0';
}

static void
engine_hears(const char *what)
{
	cr_assert_str_eq(asked, what);
	asked[0] = '\0';
}

static void
subscribe(unsigned slot, const char *channel, uint32_t id, const char *epoch, uint64_t offset)
{
	struct ipc_past past = { .pos = { .offset = offset } };
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct ipc_msg m = { .type = IPC_SUBSCRIBE, .id = id, ON(channel) };

	(void)snprintf(past.pos.epoch, sizeof(past.pos.epoch), "%s", epoch);
	if (channel[0] == 'h') {
		m.data = head;
		m.len = ipc_past_head(&past, head);
	}
	up(slot, &m);
}

/* The worker's link takes nothing large any more. */
static void
fill(unsigned slot)
{
	static char data[8000];
	struct ipc_msg m = {
		.type = IPC_MESSAGE, ON("fill"), .data = (const uint8_t *)data, .len = sizeof(data)
	};

	while (peer_answer(peers[slot], &m, NULL) == 0)
		;
}

/* The engine's answer to the last read: messages from first to last. */
static void
read_done(const char *epoch, uint64_t top, uint64_t first, uint64_t last, size_t len)
{
	struct engine_past past = { .top = { .offset = top } };
	struct buf b;
	uint8_t *data = malloc(len);
	uint64_t offset;

	memset(data, 'x', len);
	buf_init(&b, (size_t)1 << 24);
	(void)snprintf(past.top.epoch, sizeof(past.top.epoch), "%s", epoch);
	/* Downwards, too. */
	for (offset = first; first > 0; offset += first <= last ? 1 : -1ULL) {
		cr_assert(records_append(&b,
			      &(struct record){ .offset = offset, .data = data, .len = len }) == 0);
		if (offset == last)
			break;
	}
	past.records = (struct records){ buf_data(&b), buf_len(&b) };
	if (token & TOKEN_STREAM)
		feed_history(&node, token, 0, &past);
	else
		requests_history(&node, token, 0, &past);
	buf_fini(&b);
	free(data);
}

static void
message(const char *channel, const char *epoch, uint64_t offset, const char *data)
{
	struct position pos = { .offset = offset };

	(void)snprintf(pos.epoch, sizeof(pos.epoch), "%s", epoch);
	feed_message(&node, channel, strlen(channel), MSG_TEXT, (const uint8_t *)data, strlen(data),
	    offset > 0 ? &pos : NULL);
}

Test(requests, a_plain_channel)
{
	subscribe(0, "p", 1, "", 0);
	engine_hears("subscribe p; ");
	hears(0, "");
	feed_subscribed(&node, "p", 1);
	hears(0, "subscribed 1 0; ");
	subscribe(1, "p", 2, "", 0);
	hears(1, "subscribed 2 0; ");
	message("p", "", 0, "hello");
	message("other", "", 0, "hello");
	hears(0, "p 0 hello; ");
	hears(1, "p 0 hello; ");
	up(0, &(struct ipc_msg){ .type = IPC_UNSUBSCRIBE, ON("p") });
	engine_hears("");
	requests_drop_slot(&node, 1);
	engine_hears("unsubscribe p; ");
	fails = FAN_ENOMEM;
	subscribe(0, "p", 3, "", 0);
	hears(0, "subscribed 3 -2; ");
	cr_assert(interest_channels(node.interest) == 0);
}

Test(requests, a_channel_with_history)
{
	subscribe(0, "h:1", 1, "", 0);
	subscribe(1, "h:1", 2, "A", 3);
	streams_begin(node.streams);
	engine_hears("subscribe h:1; ");
	feed_subscribed(&node, "h:1", 3);
	streams_begin(node.streams);
	engine_hears("history h:1 3 1000; ");
	message("h:1", "A", 6, "six");
	message("h:1", "", 0, "aside"); /* of no history: nothing waits for it */
	read_done("A", 5, 4, 5, 1);
	hears(0, "h:1 0 aside; subscribed 1 0 A:5; h:1 6 six; ");
	hears(1, "h:1 0 aside; subscribed 2 0 A:5+ 4=x 5=x; h:1 6 six; ");
	up(0, &(struct ipc_msg){ .type = IPC_UNSUBSCRIBE, ON("h:1") });
	message("h:1", "A", 7, "seven");
	hears(0, "");
	hears(1, "h:1 7 seven; ");
	requests_drop_slot(&node, 1);
	engine_hears("unsubscribe h:1; ");
	cr_assert(streams_count(node.streams) == 0);
	fails = FAN_ENOMEM;
	subscribe(0, "h:1", 3, "", 0);
	hears(0, "subscribed 3 -2; ");
	cr_assert(streams_count(node.streams) == 0);
}

Test(requests, after_an_outage_plain_channels_hear_a_gap_and_others_are_repaired)
{
	feed_restored(&node);
	hears(0, ""); /* nothing was lost before it served */
	subscribe(0, "p", 1, "", 0);
	subscribe(0, "h:1", 2, "", 0);
	feed_subscribed(&node, "p", 1);
	feed_subscribed(&node, "h:1", 3);
	streams_begin(node.streams);
	read_done("A", 5, 0, 0, 1);
	hears(0, "subscribed 1 0; subscribed 2 0 A:5; ");
	feed_interrupted(&node);
	message("p", "", 0, "early");
	message("h:1", "", 0, "joins");
	feed_restored(&node);
	asked[0] = '\0';
	streams_begin(node.streams);
	engine_hears("history h:1 5 1000; ");
	read_done("A", 6, 6, 6, 1);
	hears(0, "gap p0; p 0 early; h:1 0 joins; gap 0; h:1 6 x; ");
	cr_assert(node.rejoin);
	/* Another epoch. */
	message("h:1", "B", 8, "eight");
	streams_begin(node.streams);
	read_done("B", 8, 7, 8, 1);
	hears(0, "gap h:10; ");
	/* A read that fails is for later. */
	streams_stale(node.streams);
	streams_begin(node.streams);
	feed_history(&node, token, FAN_EDOWN, NULL);
	hears(0, "");
}

Test(requests, records_for_which_there_is_no_room_are_left_out)
{
	subscribe(0, "h:1", 1, "A", 3);
	feed_subscribed(&node, "h:1", 3);
	streams_begin(node.streams);
	message("h:1", "A", 6, "six");
	fill(0);
	read_done("A", 5, 4, 5, 8000);
	cr_assert(!peers[0]->dead);
	/* Nor was there room for the message, and so he is told. */
	hears(0, "subscribed 1 0 A:5; gap h:10; ");
}

/* It is not the worker's client who may not. */
Test(requests, a_channel_that_the_engine_refuses_to_read)
{
	subscribe(0, "h:1", 1, "A", 3);
	subscribe(1, "h:1", 2, "", 0);
	feed_subscribed(&node, "h:1", 3);
	streams_begin(node.streams);
	feed_history(&node, token, FAN_EDENIED, NULL);
	hears(0, "subscribed 1 -9; ");
	hears(1, "subscribed 2 -9; ");
	/* The channel is still there for who asks again. */
	asked[0] = '\0';
	subscribe(1, "h:1", 3, "A", 4);
	streams_begin(node.streams);
	engine_hears("history h:1 4 1000; ");
	read_done("A", 5, 5, 5, 1);
	hears(1, "subscribed 3 0 A:5+ 5=x; ");
	hears(0, "");
}

Test(requests, a_publish_is_answered_with_its_position)
{
	struct position pos = { 9, "A" };
	struct ipc_msg m = { .type = IPC_PUBLISH, .id = 4, ON("h:1"), TEXT("keydata") };

	m.value = IPC_KEY(3);
	up(0, &m);
	engine_hears("publish h:1 data key=key; ");
	requests_published(&node, token, 0, &pos);
	hears(0, "published 4 0 A:9; ");
	m.value = IPC_PUBLISH_QUIET;
	up(0, &m);
	engine_hears("publish h:1 keydata key=; ");
	requests_published(&node, token, 0, &pos);
	hears(0, "");
	requests_published(&node, token, FAN_EDENIED, NULL);
	hears(0, "published 4 -8; ");
	fails = FAN_EFULL;
	up(0, &m);
	hears(0, "published 4 -10; ");
	asked[0] = '\0';
	m = (struct ipc_msg){ .type = IPC_FORGET, .id = 5, ON("h:1") };
	up(1, &m);
	engine_hears("forget h:1; ");
	hears(1, "published 5 -10; ");
	/* The worker has gone, and another has its slot. */
	peers[1]->serial++;
	requests_published(&node, token, 0, &pos);
	hears(1, "");
}

static void
ask_history(const char *epoch, uint64_t offset, unsigned flags, uint64_t limit)
{
	struct ipc_past past = { .pos = { .offset = offset }, .flags = flags };
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct ipc_msg m = { .type = IPC_HISTORY, .id = 6, .value = limit, ON("h:1") };

	(void)snprintf(past.pos.epoch, sizeof(past.pos.epoch), "%s", epoch);
	m.data = head;
	m.len = ipc_past_head(&past, head);
	up(0, &m);
}

Test(requests, history_forwards_and_backwards)
{
	ask_history("A", 3, 0, 2);
	engine_hears("history h:1 3 2; ");
	read_done("A", 9, 4, 5, 1);
	hears(0, "historied 6 0 A:9 4=x 5=x; ");
	ask_history("A", 3, IPC_PAST_REVERSE, UINT64_MAX);
	engine_hears("history h:1 3 5 reverse; "); /* limits.recovery at most */
	read_done("A", 9, 2, 1, 1);
	hears(0, "historied 6 0 A:9 2=x 1=x; ");
	/* The newest, the oldest of them first. */
	ask_history("", 0, 0, 3);
	engine_hears("history h:1 0 3 reverse; ");
	read_done("A", 9, 9, 7, 2);
	hears(0, "historied 6 0 A:9 7=xx 8=xx 9=xx; ");
	ask_history("", 0, 0, 0);
	read_done("A", 9, 0, 0, 0);
	hears(0, "historied 6 0 A:9; ");
	/* More than the link takes. */
	ask_history("", 0, 0, 2);
	fill(0);
	read_done("A", 9, 9, 8, 8000);
	hears(0, "historied 6 -10; ");
	fails = FAN_EDOWN;
	ask_history("A", 3, 0, 2);
	hears(0, "historied 6 -9; ");
}

static struct ipc_msg
join(struct buf *b, const char *client)
{
	struct member m = {
		.client = client, .client_len = strlen(client), .user = "u", .user_len = 1
	};

	buf_init(b, 4096);
	cr_assert(member_append(b, &m) == 0);
	return (
	    struct ipc_msg){ .type = IPC_JOIN, ON("c"), .data = buf_data(b), .len = buf_len(b) };
}

Test(requests, presence)
{
	struct buf b;
	struct ipc_msg m = join(&b, "c1");

	up(0, &m);
	up(0, &m);
	engine_hears("join c c1 u; join c c1 u; ");
	m.len--;
	cr_assert(requests_handle(&node, peers[0], &m) == FAN_EPROTO);
	buf_fini(&b);
	m = join(&b, "c2");
	up(1, &m);
	cr_assert(buf_append(&b, "junk", 4) == 0);
	m.data = buf_data(&b);
	m.len += 4;
	cr_assert(requests_handle(&node, peers[1], &m) == FAN_EPROTO);
	buf_fini(&b);
	engine_hears("join c c2 u; ");
	up(1, &(struct ipc_msg){ .type = IPC_LEAVE, ON("c"), TEXT("c1") });
	engine_hears(""); /* it is not there */
	up(1, &(struct ipc_msg){ .type = IPC_LEAVE, ON("c"), TEXT("c2") });
	engine_hears("leave c c2; ");
	requests_drop_slot(&node, 0);
	engine_hears("leave c c1; ");
}

/* However many ask at once, the engine is asked once. */
Test(requests, who_is_there)
{
	const uint64_t began = clock_ms();
	struct ipc_msg m = { .type = IPC_PRESENCE, .id = 8, ON("c") };
	uint64_t of_c;

	up(0, &m);
	m.id = 9;
	up(0, &m);
	up(1, &m);
	rollcalls_begin(node.rollcalls, began);
	engine_hears("presence c; ");
	of_c = token;
	/* Who asks now must not be told of before. */
	m.id = 10;
	up(1, &m);
	m = (struct ipc_msg){ .type = IPC_PRESENCE, .id = 11, ON("d") };
	up(1, &m);
	rollcalls_begin(node.rollcalls, began);
	engine_hears("presence d; ");
	requests_presence(&node, token, FAN_EDOWN, NULL, 0);
	requests_presence(&node, of_c, 0, (const uint8_t *)"packed", 6);
	hears(0, "present 8 0 6; present 9 0 6; ");
	hears(1, "present 11 -9 0; present 9 0 6; ");
	rollcalls_begin(node.rollcalls, began);
	engine_hears(""); /* the channel rests */
	fails = FAN_EDOWN;
	rollcalls_begin(node.rollcalls, clock_ms() + ROLLCALL_REST_MAX_MS);
	engine_hears("presence c; ");
	hears(1, "present 10 -9 0; ");
}

Test(requests, who_is_there_where_the_asker_has_gone_or_has_no_room)
{
	struct ipc_msg m = { .type = IPC_PRESENCE, .id = 8, ON("c") };
	static const uint8_t members[8000];

	up(0, &m);
	up(1, &m);
	rollcalls_begin(node.rollcalls, clock_ms());
	peers[0]->serial += SLOTS; /* another worker has the slot */
	fill(1);
	requests_presence(&node, token, 0, members, sizeof(members));
	hears(0, "");
	hears(1, "present 8 -10 0; ");
}

Test(requests, events_go_on_and_nonsense_does_not)
{
	struct ipc_msg m = { .type = IPC_EVENT, TEXT("{\"event\":\"x\"}") };

	up(0, &m);
	engine_hears("event {\"event\":\"x\"}; ");
	m.type = IPC_PUBLISHED;
	cr_assert(requests_handle(&node, peers[0], &m) == FAN_EPROTO);
	m.type = IPC_HELLO;
	cr_assert(requests_handle(&node, peers[0], &m) == FAN_EPROTO);
}
