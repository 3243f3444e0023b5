/*
 * A model test of broker/hub/stream: a stream between an engine whose feed and reads are late, lossy or
 * cut short, and workers whose links are late and overrun, over very many random steps.
 *
 * The oracle: whatever happens, each client gets the messages of the channel in order and once, and where
 * one is missing it was told so first; in the end, each stands where the engine stands.  And where nothing
 * was lost for good, nobody is told anything.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "broker/hub/stream.h"
#include "common/buf.h"

#define WORKERS 3
#define CLIENTS 6
#define MESSAGES 40000
#define STEPS 60000
#define SEEDS 40
#define SETTLE 1000000

/* What may happen. */
struct world_options {
	unsigned size;     /* of the history */
	unsigned recovery; /* of a waiter */
	bool epochs;       /* the engine may change its epoch, and lose messages by that */
	bool scarce;       /* memory, for the stream */
	unsigned seed;
};

static struct world_options opt;

/* --- chance --------------------------------------------------------------------------------- */

static uint64_t chance_state;

static unsigned
chance(unsigned n)
{
	chance_state = chance_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(chance_state >> 33) % n;
}

/* --- memory --------------------------------------------------------------------------------- */

static bool scarce; /* now: the stream is at work */
static unsigned refusals;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static bool
refused(void)
{
	if (!scarce || chance(20) != 0)
		return false;
	refusals++;
	return true;
}

void *
__wrap_malloc(size_t n)
{
	return refused() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return refused() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
	return refused() ? NULL : __real_realloc(p, n);
}

/* --- queues --------------------------------------------------------------------------------- */

enum kind {
	MESSAGE, /* engine to hub, hub to worker */
	ANSWER,  /* hub to worker */
	GAP,
	ASK, /* worker to hub */
	LEAVE,
};

struct item {
	TAILQ_ENTRY(item) link;
	enum kind kind;
	struct position pos;
	uint64_t message; /* its number, which no other has */
	uint32_t id;
	bool flag; /* verify, recovered */
	struct buf records;
};

TAILQ_HEAD(items, item);

static struct item *
add(struct items *q, enum kind kind, const struct position *pos)
{
	struct item *i;

	scarce = false; /* for what is not the stream's */
	i = calloc(1, sizeof(*i));
	cr_assert(i != NULL);
	i->kind = kind;
	if (pos != NULL)
		i->pos = *pos;
	buf_init(&i->records, (size_t)64 << 20);
	TAILQ_INSERT_TAIL(q, i, link);
	return i;
}

static void
drop(struct items *q)
{
	struct item *i = TAILQ_FIRST(q);

	TAILQ_REMOVE(q, i, link);
	buf_fini(&i->records);
	free(i);
}

static void
drop_all(struct items *q)
{
	while (!TAILQ_EMPTY(q))
		drop(q);
}

/* --- the engine ----------------------------------------------------------------------------- */

static struct {
	struct position top;
	unsigned epochs;
	uint64_t log[MESSAGES]; /* the number of the message at each offset */
	uint64_t published;
	bool away;
	struct items feed;
	/* The read that is under way: its answer is as of some moment between its begin and end. */
	bool reading, executed;
	struct stream_read query;
	struct position answer_top;
	struct buf answer;
} engine;

static void
new_epoch(void)
{
	(void)snprintf(engine.top.epoch, sizeof(engine.top.epoch), "E%u", ++engine.epochs);
}

static void
publish(void)
{
	struct item *i;

	if (engine.top.offset + 1 >= MESSAGES)
		return;
	engine.log[++engine.top.offset] = ++engine.published;
	if (engine.away || chance(60) == 0)
		return; /* nobody hears of it */
	i = add(&engine.feed, MESSAGE, &engine.top);
	i->message = engine.published;
}

static void
append(struct buf *b, uint64_t offset)
{
	struct record r = { .offset = offset,
		.data = (const uint8_t *)&engine.log[offset],
		.len = sizeof(engine.log[offset]) };

	cr_assert(records_append(b, &r) == 0);
}

static void
execute_read(void)
{
	uint64_t offset = engine.query.after + 1;
	unsigned n = 1 + chance(20); /* as where the messages are large */

	if (engine.top.offset > opt.size && offset <= engine.top.offset - opt.size)
		offset = engine.top.offset - opt.size + 1;
	buf_clear(&engine.answer);
	for (; n > 0 && engine.query.limit > 0 && offset <= engine.top.offset; n--)
		append(&engine.answer, offset++);
	engine.answer_top = engine.top;
	engine.executed = true;
}

/* --- workers and their clients ---------------------------------------------------------------- */

enum state {
	AWAY,
	WAITS,
	ATTACHED,
};

static struct client {
	enum state state;
	unsigned worker;
	struct position pos; /* of the last message that it has; epoch "": none yet */
	uint64_t last;       /* the number of that message */
	bool asked;          /* its worker's question is from its position */
	unsigned told;
} clients[CLIENTS];

static struct worker {
	bool wants;          /* the channel */
	struct position pos; /* epoch "": not known */
	bool gap, asking, verify;
	uint32_t id; /* of the question */
	struct position asked;
	struct items down, up; /* the link */
	bool missed;           /* the link was overrun, and it has not been told */
} workers[WORKERS];

static unsigned told;

static void
receive(struct client *c, uint64_t offset, uint64_t message)
{
	cr_assert(offset == c->pos.offset + 1, "seed %u: %d after %d", opt.seed, (int)offset,
	    (int)c->pos.offset);
	cr_assert(message > c->last, "seed %u: message %d after %d", opt.seed, (int)message,
	    (int)c->last);
	c->pos.offset = offset;
	c->last = message;
}

static void
receive_records(struct client *c, struct records rs, const struct position *to)
{
	struct record r;
	uint64_t message;

	rs = records_after(rs, c->pos.offset);
	while (records_next(&rs, &r) == 0) {
		memcpy(&message, r.data, sizeof(message));
		receive(c, r.offset, message);
	}
	cr_assert(c->pos.offset == to->offset, "seed %u: recovered to %d of %d", opt.seed,
	    (int)c->pos.offset, (int)to->offset);
}

static void
tell(struct client *c, const struct position *pos)
{
	c->pos = *pos;
	c->told++;
	told++;
}

/* Asks what is to be asked next, as a worker does: for itself first. */
static void
worker_ask(struct worker *w)
{
	unsigned self = (unsigned)(w - workers), n;
	struct item *i;

	if (w->asking || !w->wants)
		return;
	w->asked = w->pos;
	w->verify = false;
	for (n = 0; n < CLIENTS; n++)
		clients[n].asked &= clients[n].worker != self;
	for (n = 0; n < CLIENTS && !w->gap; n++) {
		if (clients[n].state != WAITS || clients[n].worker != self)
			continue;
		w->asked = clients[n].pos;
		w->verify =
		    strcmp(w->asked.epoch, w->pos.epoch) != 0 || w->asked.offset > w->pos.offset;
		clients[n].asked = true;
		break;
	}
	if (n == CLIENTS && w->pos.epoch[0] != '\0')
		return;
	w->asking = true;
	i = add(&w->up, ASK, &w->asked);
	i->id = ++w->id;
	i->flag = w->verify;
}

static void
worker_message(struct worker *w, const struct item *i)
{
	unsigned n;

	if (w->pos.epoch[0] == '\0' || w->gap || i->pos.offset <= w->pos.offset)
		return;
	if (i->pos.offset != w->pos.offset + 1) {
		w->gap = true;
		return;
	}
	w->pos.offset++;
	for (n = 0; n < CLIENTS; n++) {
		if (clients[n].state == ATTACHED && &workers[clients[n].worker] == w)
			receive(&clients[n], i->pos.offset, i->message);
	}
}

static void
worker_answer(struct worker *w, const struct item *i)
{
	struct records rs = { buf_data(&i->records), buf_len(&i->records) };
	bool attached = false, same = position_same_epoch(&w->pos, &i->pos);
	bool whole = i->flag && position_same_epoch(&w->asked, &i->pos);
	bool covered = whole && same && w->asked.offset <= w->pos.offset;
	struct client *c;

	w->asking = false;
	for (c = clients; c < clients + CLIENTS; c++)
		attached |= c->state == ATTACHED && &workers[c->worker] == w;
	/* The waiter's answer is of no use for those who are here already. */
	if (attached && !covered && !(same && i->pos.offset == w->pos.offset) &&
	    !(w->gap && memcmp(&w->asked, &w->pos, sizeof(w->pos)) == 0)) {
		w->gap = true;
		return;
	}
	for (c = clients; c < clients + CLIENTS; c++) {
		if (&workers[c->worker] != w || c->state == AWAY ||
		    (c->state == WAITS && !c->asked))
			continue;
		if (c->state == ATTACHED && same && i->pos.offset == c->pos.offset)
			continue;
		if (c->state == ATTACHED ? covered : whole)
			receive_records(c, rs, &i->pos);
		else if (c->pos.epoch[0] == '\0')
			c->pos = i->pos;
		else
			tell(c, &i->pos);
		c->state = ATTACHED;
	}
	w->pos = i->pos;
	w->gap = false;
}

/* The next thing that has come down the worker's link. */
static void
worker_step(struct worker *w)
{
	struct item *i = TAILQ_FIRST(&w->down);

	if (i != NULL) {
		if (i->kind == MESSAGE)
			worker_message(w, i);
		else if (i->kind == GAP)
			w->gap = w->pos.epoch[0] != '\0';
		else if (w->asking && i->id == w->id)
			worker_answer(w, i);
		drop(&w->down);
	}
	worker_ask(w);
}

static void
client_leaves(struct client *c)
{
	struct worker *w = &workers[c->worker];
	unsigned n, left = 0;

	c->state = AWAY;
	c->asked = false;
	for (n = 0; n < CLIENTS; n++)
		left += clients[n].state != AWAY && &workers[clients[n].worker] == w;
	if (left > 0 || !w->wants)
		return;
	w->wants = w->asking = w->gap = false;
	w->pos.epoch[0] = '\0';
	(void)add(&w->up, LEAVE, NULL);
}

static void
client_step(struct client *c)
{
	if (c->state != AWAY) {
		client_leaves(c);
		return;
	}
	c->worker = chance(WORKERS);
	c->state = WAITS;
	workers[c->worker].wants = true;
	if (chance(10) == 0) {
		c->pos.epoch[0] = '\0'; /* a new one */
		c->pos.offset = 0;
	}
	worker_ask(&workers[c->worker]);
}

/* --- the hub -------------------------------------------------------------------------------- */

static struct {
	struct stream *stream;
	bool wants[WORKERS];
} hub;

static void
queue_gap(struct worker *w)
{
	if (w->missed)
		(void)add(&w->down, GAP, NULL);
	w->missed = false;
}

static void
on_deliver(void *arg, const struct stream *s, const struct record *r)
{
	struct position pos = *stream_position(s);
	struct item *i;
	unsigned n;

	(void)arg;
	cr_assert(pos.offset == r->offset);
	for (n = 0; n < WORKERS; n++) {
		if (!hub.wants[n])
			continue;
		/* The link has no room now and then; the next that fits follows a gap. */
		if (chance(150) == 0) {
			workers[n].missed = true;
			continue;
		}
		queue_gap(&workers[n]);
		i = add(&workers[n].down, MESSAGE, &pos);
		memcpy(&i->message, r->data, sizeof(i->message));
	}
	scarce = opt.scarce;
}

static void
on_answer(void *arg, const struct stream *s, unsigned slot, uint32_t id, bool recovered,
    struct records rs)
{
	struct item *i;

	(void)arg;
	cr_assert(hub.wants[slot]);
	if (chance(2) == 0)
		queue_gap(&workers[slot]);
	i = add(&workers[slot].down, ANSWER, stream_position(s));
	i->id = id;
	i->flag = recovered;
	cr_assert(rs.n == 0 || buf_append(&i->records, rs.p, rs.n) == 0);
	scarce = opt.scarce;
}

static void
on_refuse(void *arg, const struct stream *s, unsigned slot, uint32_t id, int status)
{
	(void)arg;
	(void)s;
	cr_assert_fail("slot %u id %u status %d: this engine refuses nothing", slot, id, status);
}

static void
on_gap(void *arg, const struct stream *s)
{
	unsigned n;

	(void)arg;
	(void)s;
	for (n = 0; n < WORKERS; n++)
		workers[n].missed |= hub.wants[n];
}

static void
on_due(void *arg, struct stream *s)
{
	(void)arg;
	cr_assert(stream_due(s, NULL));
}

static const struct stream_ops ops = { on_deliver, on_answer, on_refuse, on_gap, on_due };

static void
hub_start(void)
{
	hub.stream = stream_new("c", 1, opt.recovery, &ops, NULL);
	cr_assert(hub.stream != NULL);
	memset(hub.wants, 0, sizeof(hub.wants));
}

/* It dies, and another takes its place. */
static void
hub_restart(void)
{
	struct worker *w;

	stream_free(hub.stream);
	hub_start();
	drop_all(&engine.feed);
	engine.reading = false;
	for (w = workers; w < workers + WORKERS; w++) {
		drop_all(&w->down);
		drop_all(&w->up);
		w->asking = w->missed = false;
		w->gap = w->pos.epoch[0] != '\0';
		worker_ask(w);
	}
}

/* The next thing that has come up from a worker. */
static void
hub_listen(unsigned n)
{
	struct item *i = TAILQ_FIRST(&workers[n].up);

	if (i == NULL)
		return;
	if (i->kind == LEAVE) {
		hub.wants[n] = false;
		stream_drop_slot(hub.stream, n);
	} else {
		hub.wants[n] = true;
		scarce = opt.scarce;
		/* It asks again then. */
		if (stream_wait(hub.stream, n, i->id, &i->pos, i->flag) != 0)
			workers[n].asking &= workers[n].id != i->id;
		scarce = false;
	}
	drop(&workers[n].up);
}

static void
hub_feed(void)
{
	struct item *i = TAILQ_FIRST(&engine.feed);
	struct record r;

	if (i == NULL)
		return;
	r = (struct record){ .offset = i->pos.offset,
		.data = (const uint8_t *)&i->message,
		.len = sizeof(i->message) };
	scarce = opt.scarce;
	stream_message(hub.stream, &i->pos, &r);
	if (chance(50) == 0)
		stream_message(hub.stream, &i->pos, &r); /* a copy */
	scarce = false;
	drop(&engine.feed);
}

static void
hub_read(void)
{
	struct records rs;

	if (!engine.reading) {
		if (engine.away || !stream_due(hub.stream, &engine.query))
			return;
		stream_read_begun(hub.stream);
		engine.reading = true;
		engine.executed = false;
	} else if (!engine.executed) {
		execute_read();
	} else {
		engine.reading = false;
		rs = (struct records){ buf_data(&engine.answer), buf_len(&engine.answer) };
		scarce = opt.scarce;
		stream_read_done(hub.stream, &engine.answer_top, rs);
		scarce = false;
	}
}

/* --- disasters ------------------------------------------------------------------------------ */

/* The link to the engine goes, and comes back. */
static void
outage(void)
{
	unsigned lost;

	engine.away = !engine.away;
	if (!engine.away) {
		if (opt.epochs && chance(3) == 0) {
			lost = chance(4);
			engine.top.offset -= lost < engine.top.offset ? lost : 0;
			new_epoch();
		}
		stream_stale(hub.stream);
		return;
	}
	drop_all(&engine.feed);
	if (engine.reading)
		stream_read_failed(hub.stream);
	engine.reading = false;
}

static void
disaster(void)
{
	switch (chance(8)) {
	case 0:
		hub_restart();
		break;
	case 1:
	case 2:
		outage();
		break;
	case 3:
		stream_stale(hub.stream); /* a position check */
		break;
	case 4:
		if (opt.epochs)
			new_epoch(); /* without a sign */
		break;
	default:
		client_step(&clients[chance(CLIENTS)]);
		break;
	}
}

static void
step(bool quiet)
{
	unsigned n = chance(1000);

	if (n < 5 && !quiet)
		disaster();
	else if (n < 200 && !quiet)
		publish();
	else if (n < 400)
		hub_feed();
	else if (n < 550)
		hub_read();
	else if (n < 900)
		worker_step(&workers[n % WORKERS]);
	else
		hub_listen(n % WORKERS);
}

/* --- the test ------------------------------------------------------------------------------- */

static bool
busy(void)
{
	bool any = engine.reading || stream_due(hub.stream, NULL) || !TAILQ_EMPTY(&engine.feed);
	const struct worker *w;

	for (w = workers; w < workers + WORKERS; w++)
		any |= w->asking || w->gap || !TAILQ_EMPTY(&w->down) || !TAILQ_EMPTY(&w->up);
	return any;
}

/* Nothing more happens but what is on its way, and one look at the engine. */
static void
settle(void)
{
	unsigned i, n, left = SETTLE;

	if (engine.away)
		outage();
	for (i = 0; i < 4; i++) {
		do {
			step(true);
		} while (busy() && --left > 0);
		cr_assert(left > 0, "seed %u: it does not come to rest", opt.seed);
		/* Links have room again, and the position is checked. */
		for (n = 0; n < WORKERS; n++)
			queue_gap(&workers[n]);
		if (i == 0)
			stream_stale(hub.stream);
		for (n = 0; n < WORKERS; n++)
			worker_ask(&workers[n]);
	}
}

static void
check_end(void)
{
	unsigned n;

	for (n = 0; n < CLIENTS; n++) {
		cr_assert(clients[n].state != WAITS, "seed %u: client %u waits", opt.seed, n);
		if (clients[n].state == ATTACHED)
			cr_assert(clients[n].pos.offset == engine.top.offset &&
				position_same_epoch(&clients[n].pos, &engine.top),
			    "seed %u: client %u at %d of %d", opt.seed, n,
			    (int)clients[n].pos.offset, (int)engine.top.offset);
	}
}

static void
run(struct world_options options)
{
	unsigned n;

	opt = options;
	chance_state = opt.seed;
	told = 0;
	memset(&engine, 0, sizeof(engine));
	memset(clients, 0, sizeof(clients));
	memset(workers, 0, sizeof(workers));
	TAILQ_INIT(&engine.feed);
	buf_init(&engine.answer, (size_t)64 << 20);
	for (n = 0; n < WORKERS; n++) {
		TAILQ_INIT(&workers[n].down);
		TAILQ_INIT(&workers[n].up);
	}
	new_epoch();
	hub_start();
	for (n = 0; n < STEPS; n++)
		step(false);
	settle();
	check_end();
	stream_free(hub.stream);
	drop_all(&engine.feed);
	buf_fini(&engine.answer);
	for (n = 0; n < WORKERS; n++) {
		drop_all(&workers[n].down);
		drop_all(&workers[n].up);
	}
}

/* Whatever is lost on the way is still in the history: everybody gets everything. */
Test(stream_model, nobody_misses_anything_while_history_reaches_back)
{
	unsigned seed;

	for (seed = 1; seed <= SEEDS; seed++) {
		run((struct world_options){ .size = MESSAGES, .recovery = MESSAGES, .seed = seed });
		cr_assert(told == 0, "seed %u: %u were told", seed, told);
		cr_assert(engine.published > STEPS / 10);
	}
}

Test(stream_model, whoever_misses_something_is_told)
{
	unsigned seed, all = 0;

	for (seed = 1; seed <= SEEDS; seed++) {
		run((struct world_options){
		    .size = 30, .recovery = 20 + seed, .epochs = true, .seed = seed });
		all += told;
	}
	cr_assert(all > 0);
}

Test(stream_model, without_memory_nobody_is_lied_to)
{
	unsigned seed;

	for (seed = 1; seed <= SEEDS; seed++)
		run((struct world_options){ .size = 200,
		    .recovery = 100,
		    .epochs = seed % 2 == 0,
		    .scarce = true,
		    .seed = seed });
	cr_assert(refusals > SEEDS);
}
