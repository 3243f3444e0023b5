/*
 * Subscribing with a position while messages are published: 10,000 random interleavings on every
 * engine, none with a message missed or seen twice.
 *
 * A run is one channel with a stream (broker/hub/stream.h) as the hub has it, three who come and go
 * with positions, and a publisher; with Redis he publishes over another connection.  What the engine
 * calls back waits in two queues, messages and answers to reads, as it may on its way through two
 * sockets; the run's dice say what goes on, what is lost and which read fails.  Many runs go on at once.
 *
 * The dice of a run are INTERLEAVE_SEED plus its number, and INTERLEAVE_RUNS says how many runs there
 * are.  What a failed run has printed repeats it, on the memory engine to the letter.
 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "broker/hub/stream.h"
#include "tests/contract/world.h"

ENGINES(interleave);

#define RUNS 10000
#define SEED 20251
#define AT_ONCE 250
#define STEPS 60
#define SLOTS 3
#define SENT_MAX STEPS
#define TINY 5 /* messages that channels named tiny keep; see world.h */
#define BEYOND 100000

/* One who is subscribed now and then. */
struct subscriber {
	enum {
		AWAY,
		WAITING, /* has asked with `have` */
		LIVE,    /* gets what comes after `have` */
		TOLD,    /* of a gap: must ask */
	} state;
	uint32_t id; /* of what it has asked last */
	struct position have;
	bool impossible; /* it has no position, or one that must be refused */
};

/* A callback of the engine on its way. */
struct parcel {
	STAILQ_ENTRY(parcel) next;
	bool subscribed;     /* it is `subscribed` */
	int status;          /* of a read */
	struct position pos; /* of the message, or the top */
	enum msg_kind kind;
	size_t len;
	uint8_t data[];
};

STAILQ_HEAD(parcels, parcel);

struct run {
	struct interleaving *in;
	uint64_t seed, dice;
	unsigned index;
	char name[32];
	unsigned recovery, size;
	struct stream *stream;
	unsigned lives; /* of streams so far */
	bool asked;     /* the engine, to subscribe */
	bool live;      /* `subscribed` has come */
	bool reading;   /* the stream has no answer yet */
	bool lost;      /* something was, and the stream does not know */
	struct parcels messages, reads;
	struct subscriber sub[SLOTS];
	char epoch[EPOCH_MAX + 1]; /* the only one; "" while unknown */
	unsigned sent, acked;
	uint64_t top;                  /* the highest offset that was seen */
	unsigned number[SENT_MAX + 1]; /* by offset: which message it is, from 1 on; 0: unknown */
};

/* All runs that go on at once, and the engines. */
struct interleaving {
	struct world *world;
	struct engine *hub, *publisher; /* one and the same in memory */
	unsigned up;
	unsigned under_way; /* publications and reads that the engine has not answered */
	struct run run[AT_ONCE];
	unsigned recovered, refused, gaps, losses, failures, held; /* that there were */
};

#define CHECK(r, cond)                                                                             \
	cr_assert(cond, "INTERLEAVE_RUNS=1 INTERLEAVE_SEED=%ju (%s): %s", (uintmax_t)(r)->seed,    \
	    (r)->name, #cond)

/* --- dice --------------------------------------------------------------------------------------- */

/* The next number of splitmix64. */
static uint64_t
next_random(uint64_t *dice)
{
	uint64_t x = *dice += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* 0 to n - 1. */
static unsigned
roll(struct run *r, unsigned n)
{
	return (unsigned)(next_random(&r->dice) % n);
}

/* --- what the stream says ----------------------------------------------------------------------- */

/* Each offset is one message, whoever tells of it. */
static void
is_number(struct run *r, uint64_t offset, unsigned number)
{
	CHECK(r, offset >= 1 && offset <= r->sent && number >= 1 && number <= r->sent);
	CHECK(r, r->number[offset] == 0 || r->number[offset] == number);
	r->number[offset] = number;
	if (r->top < offset)
		r->top = offset;
}

static void
is_epoch(struct run *r, const struct position *pos)
{
	CHECK(r, pos->epoch[0] != '\0');
	if (r->epoch[0] == '\0')
		memcpy(r->epoch, pos->epoch, sizeof(r->epoch));
	CHECK(r, strcmp(r->epoch, pos->epoch) == 0);
}

/* The subscriber gets this message. */
static void
get(struct run *r, struct subscriber *s, const struct record *record)
{
	unsigned number;

	CHECK(r, record->len == sizeof(number));
	memcpy(&number, record->data, sizeof(number));
	CHECK(r, record->kind == (number % 2 == 0 ? MSG_TEXT : MSG_BINARY));
	is_number(r, record->offset, number);
	CHECK(r, record->offset == s->have.offset + 1);
	s->have.offset++;
}

static void
on_deliver(void *arg, const struct stream *stream, const struct record *record)
{
	struct run *r = arg;
	unsigned i;

	CHECK(r, stream == r->stream);
	for (i = 0; i < SLOTS; i++) {
		if (r->sub[i].state == LIVE)
			get(r, &r->sub[i], record);
	}
}

/* Messages after this offset may be out of reach. */
static bool
may_be_gone(const struct run *r, uint64_t offset)
{
	return r->sent - offset > r->recovery || r->sent - offset > r->size;
}

static void
on_answer(void *arg, const struct stream *stream, unsigned slot, uint32_t id, bool recovered,
    struct records rs)
{
	struct run *r = arg;
	struct subscriber *s = &r->sub[slot];
	const struct position *pos = stream_position(stream);
	struct record record;

	CHECK(r, s->state == WAITING && s->id == id);
	is_epoch(r, pos);
	if (recovered) {
		CHECK(r, !s->impossible);
		r->in->recovered += rs.n > 0;
		while (rs.n > 0) {
			CHECK(r, records_next(&rs, &record) == 0);
			get(r, s, &record);
		}
		CHECK(r, s->have.offset == pos->offset);
	} else {
		CHECK(r, s->impossible || may_be_gone(r, s->have.offset));
		r->in->refused += !s->impossible;
	}
	s->have = *pos;
	s->impossible = false;
	s->state = LIVE;
}

static void
on_gap(void *arg, const struct stream *stream)
{
	struct run *r = arg;
	unsigned i;

	(void)stream;
	r->in->gaps++;
	for (i = 0; i < SLOTS; i++) {
		if (r->sub[i].state != LIVE)
			continue;
		CHECK(r, may_be_gone(r, r->sub[i].have.offset));
		r->sub[i].state = TOLD;
	}
}

static void
on_due(void *arg, struct stream *stream)
{
	(void)arg;
	(void)stream; /* the dice say when */
}

static const struct stream_ops stream_ops = {
	.deliver = on_deliver,
	.answer = on_answer,
	.gap = on_gap,
	.due = on_due,
};

/* --- what the engine says ----------------------------------------------------------------------- */

static void
post(struct parcels *to, const struct parcel *head, const void *data, size_t len)
{
	struct parcel *p = malloc(sizeof(*p) + len);

	cr_assert_not_null(p);
	*p = *head;
	p->len = len;
	if (len > 0)
		memcpy(p->data, data, len);
	STAILQ_INSERT_TAIL(to, p, next);
}

static void
clear(struct parcels *ps)
{
	struct parcel *p;

	while ((p = STAILQ_FIRST(ps)) != NULL) {
		STAILQ_REMOVE_HEAD(ps, next);
		free(p);
	}
}

static struct run *
run_named(struct interleaving *in, const char *channel, size_t len)
{
	const char *colon = memchr(channel, ':', len);
	size_t i = 0;

	cr_assert_not_null(colon);
	while (++colon < channel + len)
		i = i * 10 + (size_t)(*colon - '0');
	cr_assert(strlen(in->run[i % AT_ONCE].name) == len &&
	    memcmp(in->run[i % AT_ONCE].name, channel, len) == 0);
	return &in->run[i % AT_ONCE];
}

static void
on_message(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, const struct position *pos)
{
	struct run *r = run_named(arg, channel, channel_len);

	CHECK(r, pos != NULL && r->stream != NULL);
	post(&r->messages, &(struct parcel){ .pos = *pos, .kind = kind }, data, len);
}

static void
on_subscribed(void *arg, const char *channel, size_t channel_len)
{
	struct run *r = run_named(arg, channel, channel_len);

	post(&r->messages, &(struct parcel){ .subscribed = true }, NULL, 0);
}

/* Tokens of messages: the run, and which message it is.  Of reads: the run, and which stream. */
static uint64_t
token_of(const struct run *r, unsigned number)
{
	return (uint64_t)r->index << 32 | number;
}

static void
on_published(void *arg, uint64_t token, int status, const struct position *pos)
{
	struct interleaving *in = arg;
	struct run *r = &in->run[token >> 32];

	CHECK(r, status == 0 && pos != NULL);
	is_epoch(r, pos);
	is_number(r, pos->offset, (unsigned)token);
	r->acked++;
	in->under_way--;
}

static void
on_history(void *arg, uint64_t token, int status, const struct engine_past *past)
{
	struct interleaving *in = arg;
	struct run *r = &in->run[token >> 32];

	CHECK(r, status == 0);
	in->under_way--;
	if ((unsigned)token != r->lives)
		return; /* that stream has ended since */
	post(&r->reads, &(struct parcel){ .status = status, .pos = past->top }, past->records.p,
	    past->records.n);
}

static void
on_presence(void *arg, uint64_t token, int status, const uint8_t *members, size_t len)
{
	(void)arg;
	(void)token;
	(void)status;
	(void)members;
	(void)len;
	cr_assert_fail("nobody has asked");
}

static void
on_interrupted(void *arg)
{
	(void)arg;
	cr_assert_fail("the engine was there all the time");
}

static void
on_restored(void *arg)
{
	struct interleaving *in = arg;

	in->up++;
}

static const struct engine_handler engine_handler = {
	.message = on_message,
	.subscribed = on_subscribed,
	.published = on_published,
	.history = on_history,
	.presence = on_presence,
	.interrupted = on_interrupted,
	.restored = on_restored,
};

/* --- what happens ------------------------------------------------------------------------------- */

static void
publish(struct run *r)
{
	unsigned number = ++r->sent;
	const struct engine_message m = { .channel = r->name,
		.channel_len = strlen(r->name),
		.kind = number % 2 == 0 ? MSG_TEXT : MSG_BINARY,
		.data = (const uint8_t *)&number,
		.len = sizeof(number) };

	r->in->under_way++;
	CHECK(r, engine_publish(r->in->publisher, &m, token_of(r, number)) == 0);
}

/* The first of the messages on their way arrives, or is lost. */
static void
take_message(struct run *r, bool whole)
{
	struct parcel *p = STAILQ_FIRST(&r->messages);
	struct record record;

	if (p == NULL)
		return;
	STAILQ_REMOVE_HEAD(&r->messages, next);
	record = (struct record){ p->pos.offset, p->kind, p->data, p->len };
	if (p->subscribed) {
		r->live = true;
	} else if (!whole && roll(r, 12) == 0) {
		r->lost = true;
		r->in->losses++;
	} else {
		r->in->held += r->reading;
		stream_message(r->stream, &p->pos, &record);
	}
	free(p);
}

static void
take_read(struct run *r, bool whole)
{
	struct parcel *p = STAILQ_FIRST(&r->reads);

	if (p == NULL)
		return;
	STAILQ_REMOVE_HEAD(&r->reads, next);
	r->reading = false;
	if (!whole && roll(r, 12) == 0) {
		r->lost = true;
		r->in->failures++;
		stream_read_failed(r->stream);
	} else {
		stream_read_done(r->stream, &p->pos, (struct records){ p->data, p->len });
	}
	free(p);
}

/* On its way to the engine the wish to subscribe takes its time too. */
static void
subscribe(struct run *r)
{
	if (r->stream == NULL || r->asked)
		return;
	r->asked = true;
	CHECK(r, engine_subscribe(r->in->hub, r->name, strlen(r->name)) == 0);
}

/* Not before the channel is live: what is published between would be in neither. */
static void
begin_read(struct run *r)
{
	struct engine_query q = { 0 };
	struct stream_read read;

	if (r->stream == NULL || !r->live || !stream_due(r->stream, &read))
		return;
	q.after = read.after;
	q.limit = read.limit == 0 ? 0 : roll(r, 3) == 0 ? 2 : read.limit;
	q.bytes = roll(r, 3) == 0 ? 40 : 1 << 20;
	stream_read_begun(r->stream);
	r->reading = true;
	r->in->under_way++;
	CHECK(r,
	    engine_history(r->in->hub, r->name, strlen(r->name), &q, token_of(r, r->lives)) == 0);
}

/* Asks with what the subscriber has. */
static void
ask(struct run *r, unsigned slot)
{
	struct subscriber *s = &r->sub[slot];

	if (r->stream == NULL) {
		r->stream = stream_new(r->name, strlen(r->name), r->recovery, &stream_ops, r);
		cr_assert_not_null(r->stream);
		r->lives++;
	}
	s->state = WAITING;
	s->id++;
	s->impossible = s->have.epoch[0] == '\0' || strcmp(s->have.epoch, r->epoch) != 0 ||
	    s->have.offset == BEYOND;
	CHECK(r, stream_wait(r->stream, slot, s->id, &s->have, roll(r, 4) == 0) == 0);
}

/* Comes: back with what it has, or as somebody else with another position. */
static void
come(struct run *r, unsigned slot)
{
	struct subscriber *s = &r->sub[slot];
	unsigned which = roll(r, 10);

	if (which == 0 || r->epoch[0] == '\0')
		s->have = (struct position){ 0 };
	else if (which == 1)
		CHECK(r, position_set(&s->have, roll(r, SENT_MAX), "another", 7) == 0);
	else if (which == 2)
		CHECK(r, position_set(&s->have, BEYOND, r->epoch, strlen(r->epoch)) == 0);
	else if (which < 6 || s->have.epoch[0] == '\0')
		CHECK(r,
		    position_set(
			&s->have, roll(r, (unsigned)r->top + 1), r->epoch, strlen(r->epoch)) == 0);
	ask(r, slot);
}

/* The channel of which nobody wants to know any more. */
static void
end_stream(struct run *r)
{
	stream_free(r->stream);
	r->stream = NULL;
	r->asked = r->live = r->reading = r->lost = false;
	r->lives++;
	clear(&r->messages);
	clear(&r->reads);
	engine_unsubscribe(r->in->hub, r->name, strlen(r->name));
}

static void
go(struct run *r, unsigned slot)
{
	unsigned i;

	r->sub[slot].state = AWAY;
	stream_drop_slot(r->stream, slot);
	for (i = 0; i < SLOTS; i++) {
		if (r->sub[i].state != AWAY)
			return;
	}
	if (roll(r, 2) == 0)
		end_stream(r);
}

static void
come_or_go(struct run *r)
{
	unsigned slot = roll(r, SLOTS);
	struct subscriber *s = &r->sub[slot];

	if (s->state == AWAY)
		come(r, slot);
	else if (s->state == TOLD || roll(r, 4) == 0)
		ask(r, slot); /* as a worker does that has found a gap, or wants to know */
	else
		go(r, slot);
}

/* The engine was away: the hub says so to every stream. */
static void
tell_of_loss(struct run *r)
{
	if (r->stream != NULL && r->lost)
		stream_stale(r->stream);
	r->lost = false;
}

static void
step(struct run *r)
{
	unsigned what = roll(r, 100);

	if (what < 25)
		publish(r);
	else if (what < 50)
		take_message(r, false);
	else if (what < 65)
		take_read(r, false);
	else if (what < 80)
		begin_read(r);
	else if (what < 82)
		tell_of_loss(r);
	else if (what < 85)
		subscribe(r);
	else
		come_or_go(r);
}

/* --- runs --------------------------------------------------------------------------------------- */

static void
begin_run(struct interleaving *in, unsigned index, uint64_t seed, unsigned number)
{
	struct run *r = &in->run[index];

	memset(r, 0, sizeof(*r));
	r->in = in;
	r->index = index;
	r->seed = r->dice = seed;
	STAILQ_INIT(&r->messages);
	STAILQ_INIT(&r->reads);
	r->size = roll(r, 4) == 0 ? TINY : SENT_MAX;
	r->recovery = roll(r, 4) == 0 ? 3 : SENT_MAX;
	(void)snprintf(
	    r->name, sizeof(r->name), "%s:%u", r->size == TINY ? "tiny" : "huge", number);
}

/* Lets everything arrive.  Whether all has: everybody is there and has the last message. */
static bool
settled(struct run *r)
{
	bool all = r->acked == r->sent;
	unsigned i;

	tell_of_loss(r);
	subscribe(r);
	for (i = 0; i < SLOTS; i++) {
		if (r->sub[i].state == AWAY || r->sub[i].state == TOLD)
			ask(r, i);
	}
	while (!STAILQ_EMPTY(&r->messages))
		take_message(r, true);
	take_read(r, true);
	begin_read(r);
	for (i = 0; i < SLOTS; i++)
		all = all && r->sub[i].state == LIVE && r->sub[i].have.offset == r->sent;
	return all;
}

/* Every number was given to one message. */
static void
end_run(struct run *r)
{
	bool seen[SENT_MAX + 1] = { false };
	unsigned i;

	for (i = 1; i <= r->sent; i++) {
		CHECK(r, r->number[i] != 0 && !seen[r->number[i]]);
		seen[r->number[i]] = true;
	}
	/* Copies of what was read. */
	while (!STAILQ_EMPTY(&r->messages))
		take_message(r, true);
	end_stream(r);
}

static void
pass(struct interleaving *in, int how)
{
	engine_flush(in->hub);
	engine_flush(in->publisher);
	cr_assert(event_base_loop(in->world->base, how) >= 0);
}

/* So many runs, side by side. */
static void
run_batch(struct interleaving *in, uint64_t seed, unsigned first, unsigned count)
{
	uint64_t end = clock_ms() + WORLD_WAIT_MS;
	unsigned i, k, left = count;

	for (i = 0; i < count; i++)
		begin_run(in, (first + i) % AT_ONCE, seed + first + i, first + i);
	for (k = 0; k < STEPS; k++) {
		for (i = 0; i < count; i++)
			step(&in->run[(first + i) % AT_ONCE]);
		pass(in, EVLOOP_NONBLOCK);
		/* Redis is given time, from all that it wants to little. */
		while (in->under_way > k % 8 * AT_ONCE / 8)
			pass(in, EVLOOP_ONCE);
	}
	while (left > 0 || in->under_way > 0) {
		left = 0;
		for (i = 0; i < count; i++) {
			struct run *r = &in->run[(first + i) % AT_ONCE];
			bool done = settled(r), in_time = clock_ms() <= end;

			left += !done;
			CHECK(r, done || in_time);
		}
		pass(in, left > 0 ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
	}
	for (i = 0; i < count; i++)
		end_run(&in->run[(first + i) % AT_ONCE]);
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static struct engine *
open_engine(struct interleaving *in, struct conf *c)
{
	unsigned want = in->up + 1;
	struct engine *e;

	c->redis.url = strdup(in->world->url == NULL ? "" : in->world->url);
	cr_assert_not_null(c->redis.url);
	cr_assert_eq(engine_open(&e, in->world->base, c, &engine_handler, in), 0);
	UNTIL(in->world, in->up == want);
	return e;
}

static void
interleave(void)
{
	struct interleaving *in = calloc(1, sizeof(*in));
	uint64_t seed = from_environment("INTERLEAVE_SEED", SEED);
	unsigned runs = (unsigned)from_environment("INTERLEAVE_RUNS", RUNS), done, count;

	cr_assert_not_null(in);
	in->world = world_current;
	in->hub = in->publisher = open_engine(in, &in->world->node[0].conf);
	if (in->world->url != NULL)
		in->publisher = open_engine(in, &in->world->node[1].conf);
	for (done = 0; done < runs; done += count) {
		count = runs - done < AT_ONCE ? runs - done : AT_ONCE;
		run_batch(in, seed, done, count);
	}
	if (in->publisher != in->hub)
		engine_close(in->publisher);
	engine_close(in->hub);
	cr_log_info(
	    "seed=%ju runs=%u recovered=%u refused=%u gaps=%u losses=%u failures=%u held=%u",
	    (uintmax_t)seed, runs, in->recovered, in->refused, in->gaps, in->losses, in->failures,
	    in->held);
	/* Dice that bring about nothing of what is to be tried would prove nothing. */
	if (runs == RUNS)
		cr_assert(in->recovered > RUNS && in->refused > RUNS / 10 &&
		    in->gaps > RUNS / 200 && in->losses > RUNS / 10 && in->failures > RUNS / 20 &&
		    in->held > RUNS / 2);
	free(in);
}

Test(interleave_memory, ten_thousand_runs)
{
	interleave();
}

Test(interleave_redis, ten_thousand_runs)
{
	interleave();
}
