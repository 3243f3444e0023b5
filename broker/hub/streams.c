/*
 * streams: the channels with history that somebody on this node wants.  See streams.h.
 */
#include "broker/hub/streams.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/map.h"

enum queued {
	NOT_QUEUED,
	QUEUED_DUE,
	QUEUED_FAILED,
};

struct entry {
	TAILQ_ENTRY(entry) link; /* of the queue that it is in */
	enum queued queued;
	TAILQ_ENTRY(entry) check_link; /* of those whose position is checked */
	uint64_t checked;
	bool check, quiet; /* quiet: no message since it was checked */
	bool live;
	struct read *read; /* NULL: none is under way */
	struct stream *stream;
	struct streams *streams;
};

TAILQ_HEAD(entries, entry);

struct read {
	bool busy;
	struct entry *entry; /* NULL: it has gone meanwhile */
};

struct streams {
	const struct streams_handler *h;
	void *arg;
	unsigned recovery;
	struct map all;
	struct entries due, failed;
	struct read reads[STREAMS_READS];
	unsigned reading;
	struct entries checks; /* the one whose turn it is first */
	size_t checking;       /* how many they are */
	uint64_t check, ticked;
};

static const void *
entry_name(const void *object, size_t *len)
{
	const struct entry *e = object;

	return stream_channel(e->stream, len);
}

static struct entry *
find(const struct streams *t, const char *channel, size_t len)
{
	return map_get(&t->all, channel, len);
}

static void
unqueue(struct entry *e)
{
	struct streams *t = e->streams;

	if (e->queued == QUEUED_DUE)
		TAILQ_REMOVE(&t->due, e, link);
	else if (e->queued == QUEUED_FAILED)
		TAILQ_REMOVE(&t->failed, e, link);
	e->queued = NOT_QUEUED;
}

/* --- what a stream says ---------------------------------------------------------------------- */

static void
on_deliver(void *arg, const struct stream *s, const struct record *r)
{
	const struct entry *e = arg;
	size_t len;
	const char *channel = stream_channel(s, &len);

	e->streams->h->deliver(e->streams->arg, channel, len, r);
}

static void
on_answer(void *arg, const struct stream *s, unsigned slot, uint32_t id, bool recovered,
    struct records rs)
{
	const struct entry *e = arg;

	e->streams->h->answer(e->streams->arg, s, slot, id, recovered, rs);
}

static void
on_refuse(void *arg, const struct stream *s, unsigned slot, uint32_t id, int status)
{
	const struct entry *e = arg;

	e->streams->h->refuse(e->streams->arg, s, slot, id, status);
}

static void
on_gap(void *arg, const struct stream *s)
{
	const struct entry *e = arg;
	size_t len;
	const char *channel = stream_channel(s, &len);

	e->streams->h->gap(e->streams->arg, channel, len);
}

static void
on_due(void *arg, struct stream *s)
{
	struct entry *e = arg;

	if (!e->live || e->queued == QUEUED_DUE)
		return;
	unqueue(e);
	/* What was begun is ended first, so that no more of them hold records than can read at once. */
	if (stream_midway(s))
		TAILQ_INSERT_HEAD(&e->streams->due, e, link);
	else
		TAILQ_INSERT_TAIL(&e->streams->due, e, link);
	e->queued = QUEUED_DUE;
}

static const struct stream_ops stream_ops = { on_deliver, on_answer, on_refuse, on_gap, on_due };

/* --- the table ------------------------------------------------------------------------------ */

struct streams *
streams_new(unsigned recovery, uint64_t check, const struct streams_handler *h, void *arg)
{
	struct streams *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->h = h;
	t->arg = arg;
	t->recovery = recovery;
	t->check = check;
	map_init(&t->all, entry_name);
	TAILQ_INIT(&t->due);
	TAILQ_INIT(&t->failed);
	TAILQ_INIT(&t->checks);
	return t;
}

void
streams_free(struct streams *t)
{
	struct entry *e;
	size_t pos = 0;

	if (t == NULL)
		return;
	while ((e = map_next(&t->all, &pos)) != NULL) {
		stream_free(e->stream);
		free(e);
	}
	map_fini(&t->all);
	free(t);
}

int
streams_add(struct streams *t, const char *channel, size_t len, bool check, uint64_t now)
{
	struct entry *e = calloc(1, sizeof(*e));
	int err = FAN_ENOMEM;

	if (e == NULL)
		return FAN_ENOMEM;
	e->streams = t;
	e->stream = stream_new(channel, len, t->recovery, &stream_ops, e);
	if (e->stream != NULL)
		err = map_put(&t->all, e);
	if (err != 0) {
		stream_free(e->stream);
		free(e);
		return err;
	}
	e->check = check && t->check > 0;
	if (e->check) {
		e->checked = now;
		TAILQ_INSERT_TAIL(&t->checks, e, check_link);
		t->checking++;
	}
	return 0;
}

void
streams_remove(struct streams *t, const char *channel, size_t len)
{
	struct entry *e = map_del(&t->all, channel, len);

	if (e == NULL)
		return;
	unqueue(e);
	if (e->check) {
		TAILQ_REMOVE(&t->checks, e, check_link);
		t->checking--;
	}
	if (e->read != NULL)
		e->read->entry = NULL;
	stream_free(e->stream);
	free(e);
}

bool
streams_has(const struct streams *t, const char *channel, size_t len)
{
	return find(t, channel, len) != NULL;
}

size_t
streams_count(const struct streams *t)
{
	return map_count(&t->all);
}

void
streams_live(struct streams *t, const char *channel, size_t len)
{
	struct entry *e = find(t, channel, len);

	if (e == NULL)
		return;
	e->live = true;
	if (stream_due(e->stream, NULL))
		on_due(e, e->stream);
}

int
streams_wait(struct streams *t, const char *channel, size_t len, unsigned slot, uint32_t id,
    const struct position *since, bool verify)
{
	struct entry *e = find(t, channel, len);

	return e == NULL ? FAN_ENOENT : stream_wait(e->stream, slot, id, since, verify);
}

void
streams_leave(struct streams *t, const char *channel, size_t len, unsigned slot)
{
	struct entry *e = find(t, channel, len);

	if (e != NULL)
		stream_drop_slot(e->stream, slot);
}

void
streams_drop_slot(struct streams *t, unsigned slot)
{
	struct entry *e;
	size_t pos = 0;

	while ((e = map_next(&t->all, &pos)) != NULL)
		stream_drop_slot(e->stream, slot);
}

bool
streams_message(struct streams *t, const char *channel, size_t len, const struct position *pos,
    const struct record *r)
{
	struct entry *e = find(t, channel, len);

	if (e == NULL)
		return false;
	e->quiet = false;
	stream_message(e->stream, pos, r);
	return true;
}

void
streams_stale(struct streams *t)
{
	struct entry *e;
	size_t pos = 0;

	while ((e = map_next(&t->all, &pos)) != NULL)
		stream_stale(e->stream);
}

/* --- reads ---------------------------------------------------------------------------------- */

static struct read *
free_read(struct streams *t)
{
	struct read *r = t->reads;

	while (r->busy)
		r++;
	return r;
}

void
streams_begin(struct streams *t)
{
	struct stream_read what;
	struct entry *e;
	struct read *r;
	const char *channel;
	size_t len;
	int err = 0;

	while (err == 0 && t->reading < STREAMS_READS && (e = TAILQ_FIRST(&t->due)) != NULL) {
		unqueue(e);
		if (!stream_due(e->stream, &what))
			continue;
		r = free_read(t);
		r->busy = true;
		r->entry = e;
		e->read = r;
		t->reading++;
		stream_read_begun(e->stream);
		channel = stream_channel(e->stream, &len);
		err = t->h->read(t->arg, channel, len, &what, (uint32_t)(r - t->reads));
		if (err != 0)
			streams_read_done(
			    t, (uint32_t)(r - t->reads), err, NULL, (struct records){ NULL, 0 });
	}
}

void
streams_read_done(
    struct streams *t, uint32_t token, int status, const struct position *top, struct records rs)
{
	struct read *r = &t->reads[token];
	struct entry *e = r->entry;

	assert(token < STREAMS_READS && r->busy);
	r->busy = false;
	r->entry = NULL;
	t->reading--;
	if (e == NULL)
		return;
	e->read = NULL;
	if (status == 0) {
		stream_read_done(e->stream, top, rs);
		return;
	}
	if (status == FAN_EDENIED && stream_position(e->stream)->epoch[0] == '\0') {
		stream_refuse(e->stream, status);
		return;
	}
	stream_read_failed(e->stream);
	unqueue(e);
	TAILQ_INSERT_TAIL(&t->failed, e, link);
	e->queued = QUEUED_FAILED;
}

/* --- now and then ---------------------------------------------------------------------------- */

/* Twice as many as are due on average, so that a crowd that came together is drawn apart. */
static void
check_positions(struct streams *t, uint64_t now, uint64_t elapsed)
{
	uint64_t n = 1 + t->checking * 2 * elapsed / t->check;
	struct entry *e;

	while (n-- > 0 && (e = TAILQ_FIRST(&t->checks)) != NULL && e->checked + t->check <= now) {
		TAILQ_REMOVE(&t->checks, e, check_link);
		TAILQ_INSERT_TAIL(&t->checks, e, check_link);
		e->checked = now;
		/* One that has messages finds a gap by itself.  The read makes up for what is missing. */
		if (e->quiet)
			stream_stale(e->stream);
		e->quiet = true;
	}
}

void
streams_tick(struct streams *t, uint64_t now)
{
	struct entry *e;

	/* It leaves the queue by that, or is not due at all. */
	while ((e = TAILQ_FIRST(&t->failed)) != NULL) {
		unqueue(e);
		stream_stale(e->stream);
	}
	if (t->check > 0)
		check_positions(t, now, now - t->ticked < t->check ? now - t->ticked : t->check);
	t->ticked = now;
}

bool
streams_ticking(const struct streams *t)
{
	return t->checking > 0 || !TAILQ_EMPTY(&t->failed) || !TAILQ_EMPTY(&t->due);
}
