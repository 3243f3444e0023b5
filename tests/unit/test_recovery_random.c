/*
 * Unit tests of recovery: interleavings at random of a channel's messages, losses, questions and
 * answers with subscribers that come and go, against what each subscriber must get: every message
 * after his position, once and in order, or the word that some are missing.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/block.h"
#include "common/buf.h"
#include "tests/unit/session_fixture.h"
#include "worker/core/past.h"

TestSuite(recovery_random, .timeout = 120, .init = session_setup, .fini = session_teardown);

#define VIEWERS 12
#define RECOVERY 20 /* how far back the hub looks for one who comes */
#define STEPS 200

/* --- chance ------------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned
chance(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % n;
}

/* --- memory ------------------------------------------------------------------------------- */

/* The linker puts these in front of the C library's. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

static bool scarce; /* allocations may fail */
static bool armed;  /* the worker runs, not the test */
static unsigned failed;

static bool
fails(void)
{
	if (!scarce || !armed || chance(12) != 0)
		return false;
	failed++;
	return true;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *
__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

/* --- the engine and the hub ---------------------------------------------------------------- */

struct question {
	uint32_t id;
	struct position since;
	bool verify;
};

static bool gentle; /* nothing is lost that cannot be had again */
static char name[16];

static struct {
	struct position top;
	uint64_t first; /* the first message that is still there */
	unsigned epochs;
} engine;

static struct {
	struct position pos; /* what it has sent on; "": it has not asked the engine yet */
	bool wanted;
	bool dropped; /* something did not fit into the link, and it was not told yet */
	struct question asked[64];
	size_t n;
} hub;

static struct {
	unsigned recovered, refused, gaps, closed, repaired, messages;
} seen;

static void
new_epoch(void)
{
	(void)snprintf(engine.top.epoch, sizeof(engine.top.epoch), "E%u", engine.epochs++);
}

static bool
recoverable(const struct position *since, const struct position *pos)
{
	return position_same_epoch(since, pos) && since->offset <= pos->offset &&
	    pos->offset - since->offset <= RECOVERY && since->offset + 1 >= engine.first;
}

static void
hub_tells_gap(const char *channel)
{
	hub_send(&w,
	    &(struct ipc_msg){ .type = IPC_GAP,
		.value = *channel == '\0',
		.channel = channel,
		.channel_len = strlen(channel) });
}

static void
hub_delivers(void)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64, ++hub.pos.offset);
	if (!hub.wanted)
		return;
	if (chance(12) == 0) {
		hub.dropped = true;
		return;
	}
	if (hub.dropped && chance(2) == 0) {
		hub_tells_gap("");
		hub.dropped = false;
	}
	hub_message_at(&w, name, hub.pos.offset, text);
}

/* The hub asks the engine, and sends on what it finds. */
static void
hub_reads(void)
{
	if (hub.pos.epoch[0] == '\0') {
		hub.pos = engine.top;
		return;
	}
	if (!position_same_epoch(&hub.pos, &engine.top) || engine.top.offset < hub.pos.offset) {
		hub.pos = engine.top;
		if (hub.wanted)
			hub_tells_gap(name);
		return;
	}
	if (hub.pos.offset + 1 < engine.first && hub.pos.offset < engine.top.offset) {
		if (hub.wanted)
			hub_tells_gap(name);
		hub.pos.offset = engine.first - 1;
	}
	while (hub.pos.offset < engine.top.offset)
		hub_delivers();
}

/* Takes in what the worker has said. */
static void
hub_hears(void)
{
	struct ipc_past past;
	struct ipc_msg m;

	while (hub_next(&w, &m)) {
		if (m.channel_len != strlen(name) || memcmp(m.channel, name, m.channel_len) != 0)
			continue;
		if (m.type == IPC_UNSUBSCRIBE) {
			hub.wanted = hub.dropped = false;
			hub.n = 0;
			continue;
		}
		cr_assert_eq(m.type, IPC_SUBSCRIBE);
		cr_assert_eq(ipc_past_decode(m.data, m.len, &past), 0);
		hub.wanted = true;
		cr_assert_lt(hub.n, 64);
		hub.asked[hub.n++] =
		    (struct question){ m.id, past.pos, (past.flags & IPC_PAST_VERIFY) != 0 };
	}
}

static void
hub_answers(void)
{
	struct ipc_msg m = { .type = IPC_SUBSCRIBED, .channel = name, .channel_len = strlen(name) };
	struct question q;
	char pos[POSITION_TEXT_MAX], records[1024] = "";
	size_t n = 0;
	bool all;

	if (hub.n == 0)
		return;
	q = hub.asked[0];
	memmove(hub.asked, hub.asked + 1, --hub.n * sizeof(q));
	m.id = q.id;
	if (!gentle && chance(100) == 0) {
		m.status = FAN_EDOWN;
		hub_send(&w, &m);
		return;
	}
	if (hub.pos.epoch[0] == '\0' ||
	    (q.since.epoch[0] != '\0' && (q.verify || q.since.offset != hub.pos.offset)))
		hub_reads();
	all = recoverable(&q.since, &hub.pos);
	for (uint64_t i = q.since.offset + 1; all && i <= hub.pos.offset; i++)
		n += (size_t)snprintf(records + n, sizeof(records) - n, "%" PRIu64 " ", i);
	(void)position_print(&hub.pos, pos);
	hub_past(&w, &m, pos, all ? IPC_PAST_RECOVERED : 0, records);
}

/* --- the subscribers ------------------------------------------------------------------------ */

struct viewer {
	struct session *s; /* NULL: nobody is there */
	bool live, closed;
	bool told; /* that messages may be missing, after the last one */
	bool asked_since;
	struct position since;
	struct position last;
};

static struct viewer viewers[VIEWERS];

static void
v_send_block(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	const char *p = (const char *)b->data + off, *end = p + n;
	struct viewer *v = t;

	(void)tag;
	cr_assert(v->live);
	while (p < end) {
		size_t len = strcspn(p, ";");
		struct position pos;

		cr_assert_eq(
		    position_parse(&pos, p, len), 0, "%.*s of %zu at %zu", (int)len, p, n, off);
		p += len + 1;
		seen.messages++;
		if (v->closed)
			continue;
		if (!v->told)
			cr_assert(
			    position_same_epoch(&pos, &v->last) && pos.offset == v->last.offset + 1,
			    "%s:%" PRIu64 " after %s:%" PRIu64, pos.epoch, pos.offset,
			    v->last.epoch, v->last.offset);
		else if (position_same_epoch(&pos, &v->last))
			cr_assert_gt(pos.offset, v->last.offset);
		v->last = pos;
		v->told = false;
	}
}

static void
v_send(void *t, enum msg_kind kind, const void *data, size_t n)
{
	(void)t;
	(void)kind;
	(void)data;
	(void)n;
}

static void
v_close(void *t, uint16_t code, const char *reason)
{
	struct viewer *v = t;

	(void)code;
	(void)reason;
	v->closed = true;
	seen.closed++;
	cr_assert_not(gentle);
}

static const struct transport transport = {
	.send_block = v_send_block, .send = v_send, .close = v_close
};

static void
v_live(struct session *s, struct sub *sub, int status, const struct sub_live *live)
{
	struct viewer *v = s->t;

	cr_assert_not(v->live);
	if (status != 0) {
		v->closed = true;
		session_unsubscribe(s, sub);
		return;
	}
	v->live = true;
	cr_assert_eq(live->recovering, v->asked_since);
	v->last = live->pos;
	if (live->recovering && live->recovered) {
		seen.recovered++;
		cr_assert(position_same_epoch(&v->since, &live->pos));
		cr_assert_leq(v->since.offset, live->pos.offset);
		v->last = v->since;
	} else if (live->recovering) {
		seen.refused++;
		cr_assert_not(recoverable(&v->since, &engine.top), "%s:%" PRIu64 " was refused",
		    v->since.epoch, v->since.offset);
	}
	if (chance(40) == 0) {
		session_unsubscribe(s, sub);
		v->closed = true;
	}
}

static void
v_gap(struct session *s, const struct sub *sub)
{
	struct viewer *v = s->t;

	cr_assert_str_eq(sub->channel->name, name);
	v->told = true;
	seen.gaps++;
	cr_assert_not(gentle, "a gap that could be repaired");
}

static int
v_encode(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	struct position pos = p->channel->past->pos;
	char text[POSITION_TEXT_MAX];
	uint8_t *out;
	size_t n;

	(void)v;
	(void)core;
	if (!gentle && chance(300) == 0)
		return FAN_ENOMEM;
	n = (size_t)snprintf(text, sizeof(text), "%" PRIu64, p->offset);
	cr_assert(p->len == n && memcmp(p->data, text, n) == 0);
	pos.offset = p->offset;
	n = position_print(&pos, text);
	if (block_reserve(b, n + 1, &out) != 0)
		return FAN_ENOMEM;
	memcpy(out, text, n);
	out[n] = ';';
	(*b)->len += n + 1;
	return 0;
}

static const struct variant variant_c[] = { { "c", v_encode, 0 } };
static const struct variant variant_d[] = { { "d", v_encode, 0 } };
static const struct dialect dialect_c = {
	.variants = variant_c, .on_live = v_live, .on_gap = v_gap
};
static const struct dialect dialect_d = {
	.variants = variant_d, .on_live = v_live, .on_gap = v_gap
};
static const struct transport opening;

/* A position that a client might show. */
static void
choose_position(struct viewer *v)
{
	const struct viewer *other = &viewers[chance(VIEWERS)];
	uint64_t back = chance(RECOVERY + 3);

	v->since = engine.top;
	v->since.offset = back > v->since.offset ? 0 : v->since.offset - back;
	if (chance(3) == 0 && other->last.epoch[0] != '\0')
		v->since = other->last;
	if (!gentle && chance(8) == 0)
		(void)snprintf(
		    v->since.epoch, sizeof(v->since.epoch), "E%u", chance(engine.epochs + 1));
	if (!gentle && chance(20) == 0)
		v->since.offset = UINT64_MAX - chance(2);
}

static void
viewer_goes(struct viewer *v)
{
	session_free(v->s);
	v->s = NULL;
}

static int
viewer_subscribes(struct viewer *v, struct sub **sub)
{
	v->s = session_new(&w.core, chance(2) == 0 ? &dialect_c : &dialect_d, &opening, v);
	if (v->s == NULL || session_start(v->s, &transport, v) != 0)
		return FAN_ENOMEM;
	return session_subscribe(
	    v->s, name, strlen(name), 0, v->asked_since ? &v->since : NULL, sub);
}

static void
viewer_comes(struct viewer *v)
{
	struct sub_live live;
	struct sub *sub;
	int err;

	memset(v, 0, sizeof(*v));
	v->asked_since = chance(3) != 0;
	if (v->asked_since)
		choose_position(v);
	armed = true;
	err = viewer_subscribes(v, &sub);
	armed = false;
	if (err == FAN_ENOMEM) {
		viewer_goes(v);
	} else if (err == 0) {
		cr_assert_not(v->asked_since);
		session_live(sub, &live);
		v->last = live.pos;
		v->live = true;
	} else {
		cr_assert_eq(err, FAN_EAGAIN);
	}
}

static void
viewer_acts(void)
{
	struct viewer *v = &viewers[chance(VIEWERS)];

	if (v->s == NULL)
		viewer_comes(v);
	else if (v->closed || chance(4) == 0)
		viewer_goes(v);
}

/* --- the runs ------------------------------------------------------------------------------ */

static void
hub_is_new(void)
{
	memset(&hub, 0, sizeof(hub));
	if (chance(2) == 0)
		viewer_acts();
	hub_welcome(&w, true);
	hub_hears();
}

/* What changes the engine's mind comes when no answer is on its way. */
static void
settle(void)
{
	world_settle(&w);
	if (!uplink_up(w.uplink)) {
		(void)close(w.hub_fd);
		hub_is_new();
		world_settle(&w);
	}
	hub_hears();
}

static void
lose_something(void)
{
	settle();
	switch (chance(3)) {
	case 0:
		new_epoch();
		break;
	case 1:
		new_epoch();
		engine.top.offset -= chance(4) > engine.top.offset ? 0 : chance(2);
		if (engine.first > engine.top.offset + 1)
			engine.first = engine.top.offset + 1;
		break;
	default:
		engine.first += chance(8);
		if (engine.first > engine.top.offset + 1)
			engine.first = engine.top.offset + 1;
		break;
	}
}

static void
hub_dies(void)
{
	hub_hears();
	hub_cut(&w);
	hub_is_new();
}

/* The worker runs; where it had no memory to tell the hub something, it has left it. */
static void
worker_runs(bool whole_pass)
{
	armed = true;
	if (whole_pass)
		world_pass(&w);
	else
		cr_assert_geq(event_base_loop(w.base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
	armed = false;
	if (uplink_up(w.uplink))
		return;
	(void)close(w.hub_fd);
	hub_is_new();
}

static void
step(void)
{
	unsigned what = chance(100);

	if (what < 25) {
		viewer_acts();
	} else if (what < 45) {
		if (hub.pos.offset + RECOVERY > engine.top.offset + 2 || !gentle)
			engine.top.offset++;
	} else if (what < 60) {
		if (hub.pos.epoch[0] != '\0')
			hub_reads();
	} else if (what < 75) {
		hub_hears();
		hub_answers();
	} else if (what < 90) {
		worker_runs(true);
	} else if (what < 96) {
		/* What has come is encoded and not sent yet. */
		worker_runs(false);
	} else if (what < 98 && !gentle) {
		lose_something();
	} else if (what == 98 && hub.dropped) {
		hub_tells_gap("");
		hub.dropped = false;
	} else if (chance(4) == 0) {
		hub_dies();
	}
}

/* Until nothing is asked any more. */
static void
quiesce(void)
{
	int tries = 0;

	do {
		settle();
		while (hub.n > 0)
			hub_answers();
		settle();
		if (hub.dropped)
			hub_tells_gap("");
		hub.dropped = false;
		settle();
		cr_assert_lt(tries++, 100);
	} while (hub.n > 0);
}

static void
run(unsigned number)
{
	const struct channel *c;
	size_t i;

	(void)snprintf(name, sizeof(name), "h%u", number);
	memset(&engine, 0, sizeof(engine));
	new_epoch();
	engine.first = 1;
	engine.top.offset = chance(40);
	for (i = 0; i < STEPS; i++)
		step();
	quiesce();
	/* The last message of all comes to everybody. */
	engine.top.offset++;
	if (hub.pos.epoch[0] != '\0')
		hub_reads();
	quiesce();
	c = channel_find(&w.core.channels, name, strlen(name));
	cr_assert(c == NULL || c->ask == 0 || (TAILQ_EMPTY(&c->past->waiters) && !c->past->gap));
	for (i = 0; i < VIEWERS; i++) {
		const struct viewer *v = &viewers[i];

		if (v->s == NULL || v->closed)
			continue;
		cr_assert(v->live);
		cr_assert(v->told ||
			(position_same_epoch(&v->last, &engine.top) &&
			    v->last.offset == engine.top.offset),
		    "%s:%" PRIu64 " is not %s:%" PRIu64, v->last.epoch, v->last.offset,
		    engine.top.epoch, engine.top.offset);
	}
	for (i = 0; i < VIEWERS; i++) {
		if (viewers[i].s != NULL)
			viewer_goes(&viewers[i]);
	}
	settle();
	memset(&hub, 0, sizeof(hub));
	memset(viewers, 0, sizeof(viewers));
}

static void
runs(unsigned first, unsigned n)
{
	hub_welcome(&w, true);
	for (unsigned i = first; i < first + n; i++) {
		seed = 0x9e3779b97f4a7c15 * (i + 1);
		run(i);
	}
}

/* Where everything can be had nobody hears of a gap, and nobody is refused. */
Test(recovery_random, nothing_is_lost_that_is_still_there)
{
	gentle = true;
	runs(0, 150);
	cr_assert_gt(seen.recovered, 1000);
	cr_assert_gt(seen.messages, 10000);
}

Test(recovery_random, every_message_once_or_the_word_that_it_is_missing)
{
	runs(1000, 300);
	cr_assert_gt(seen.recovered, 1000);
	cr_assert_gt(seen.refused, 100);
	cr_assert_gt(seen.gaps, 100);
	cr_assert_gt(seen.closed, 10);
}

Test(recovery_random, and_so_it_is_where_memory_is_scarce)
{
	scarce = true;
	runs(2000, 150);
	cr_assert_gt(failed, 300, "%u", failed);
	cr_assert_gt(seen.recovered, 300);
	cr_assert_gt(seen.messages, 3000);
}
