/*
 * stream: a channel with history, as the hub sees it.  See stream.h.
 *
 * What makes this right, in short: live messages are passed on only where they follow the last one; a
 * read begins after all that it has to make up for; and whatever came during a read and could not be
 * kept is read again.  So what is held is there to save reads, and dropping it costs one more.
 *
 * All that one waits for is read in one *round*: as many reads as it takes from the lowest position that
 * is needed to where the channel then stands.
 */
#include "broker/hub/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/buf.h"

#define READ_LIMIT 1000            /* messages */
#define HELD_MAX ((size_t)1 << 20) /* bytes */
#define RUN_MAX ((size_t)16 << 20) /* bytes that are gathered for those who wait */
#define NO_RUN UINT64_MAX

/* One who waits.  A slot has one at most: it asks one question at a time. */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	unsigned slot;
	uint32_t id;
	struct position since;
	bool verify;
	bool asked; /* the round that is under way began after it came */
};

/* A live message that has to wait. */
struct held {
	STAILQ_ENTRY(held) link;
	uint64_t offset;
	enum msg_kind kind;
	size_t len;
	uint8_t data[];
};

struct stream {
	const struct stream_ops *ops;
	void *arg;
	unsigned recovery;
	struct position pos; /* of the last message that was passed on; epoch "": COLD */
	TAILQ_HEAD(waiters, waiter) waiters;

	bool stale;   /* something is missing, or may be */
	bool failed;  /* nothing can be read until the engine is back */
	bool reading; /* a read is under way */
	bool arrived; /* a message came since that began */
	bool missed;  /* and was not kept */

	/* The round. */
	bool mid;           /* its last read did not reach the top */
	struct position at; /* up to where it has read; epoch "": its first read is under way */
	struct buf run;     /* the records up to there */
	uint64_t run_after; /* from this offset on */

	STAILQ_HEAD(held_list, held) held; /* with rising offsets, of one epoch */
	char held_epoch[EPOCH_MAX + 1];
	uint64_t held_top;
	size_t held_bytes;

	size_t channel_len;
	char channel[];
};

enum verdict {
	WAIT,
	RECOVER,
	REFUSE,
};

struct stream *
stream_new(
    const char *channel, size_t len, unsigned recovery, const struct stream_ops *ops, void *arg)
{
	struct stream *s = calloc(1, sizeof(*s) + len);

	if (s == NULL)
		return NULL;
	s->ops = ops;
	s->arg = arg;
	s->recovery = recovery;
	TAILQ_INIT(&s->waiters);
	STAILQ_INIT(&s->held);
	buf_init(&s->run, RUN_MAX);
	s->channel_len = len;
	memcpy(s->channel, channel, len);
	return s;
}

static void
drop_first_held(struct stream *s)
{
	struct held *m = STAILQ_FIRST(&s->held);

	STAILQ_REMOVE_HEAD(&s->held, link);
	s->held_bytes -= sizeof(*m) + m->len;
	free(m);
}

static void
drop_held(struct stream *s)
{
	while (!STAILQ_EMPTY(&s->held))
		drop_first_held(s);
}

static void
drop_waiter(struct stream *s, struct waiter *w)
{
	TAILQ_REMOVE(&s->waiters, w, link);
	free(w);
}

void
stream_free(struct stream *s)
{
	struct waiter *w, *next;

	if (s == NULL)
		return;
	drop_held(s);
	for (w = TAILQ_FIRST(&s->waiters); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		free(w);
	}
	buf_fini(&s->run);
	free(s);
}

const char *
stream_channel(const struct stream *s, size_t *len)
{
	*len = s->channel_len;
	return s->channel;
}

const struct position *
stream_position(const struct stream *s)
{
	return &s->pos;
}

static bool
cold(const struct stream *s)
{
	return s->pos.epoch[0] == '\0';
}

/* --- those who wait ------------------------------------------------------------------------- */

static bool
has_position(const struct waiter *w)
{
	return w->since.epoch[0] != '\0';
}

/*
 * What w is to be told while the stream stands where it does, and the messages after run_after are at
 * hand.  Nobody is refused for a position that looks impossible before the engine was asked.
 */
static enum verdict
judge(const struct stream *s, const struct waiter *w, uint64_t run_after)
{
	const enum verdict unknown = w->asked ? REFUSE : WAIT;

	if (cold(s))
		return WAIT;
	if (!has_position(w))
		return REFUSE;
	if (w->verify && !w->asked)
		return WAIT;
	if (!position_same_epoch(&w->since, &s->pos) || w->since.offset > s->pos.offset)
		return unknown;
	if (w->since.offset == s->pos.offset)
		return RECOVER;
	if (s->pos.offset - w->since.offset > s->recovery)
		return REFUSE;
	return w->since.offset >= run_after ? RECOVER : unknown;
}

static void
answer(struct stream *s, const struct waiter *w, enum verdict v, struct records run)
{
	struct records rs = { NULL, 0 };

	if (v == RECOVER && w->since.offset < s->pos.offset)
		rs = records_after(run, w->since.offset);
	s->ops->answer(s->arg, s, w->slot, w->id, v == RECOVER, rs);
}

/* Answers all who can be, with the records after run_after. */
static void
answer_all(struct stream *s, struct records run, uint64_t run_after)
{
	struct waiter *w, *next;
	enum verdict v;

	for (w = TAILQ_FIRST(&s->waiters); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		v = judge(s, w, run_after);
		if (v == WAIT)
			continue;
		answer(s, w, v, run);
		drop_waiter(s, w);
	}
}

static void
notify(struct stream *s)
{
	if (stream_due(s, NULL))
		s->ops->due(s->arg, s);
}

int
stream_wait(struct stream *s, unsigned slot, uint32_t id, const struct position *since, bool verify)
{
	const struct records nothing = { NULL, 0 };
	struct waiter *w, asks = { .slot = slot, .id = id, .since = *since, .verify = verify };
	enum verdict v = judge(s, &asks, NO_RUN);

	stream_drop_slot(s, slot);
	if (v != WAIT) {
		answer(s, &asks, v, nothing);
		return 0;
	}
	w = malloc(sizeof(*w));
	if (w == NULL)
		return FAN_ENOMEM;
	*w = asks;
	TAILQ_INSERT_TAIL(&s->waiters, w, link);
	notify(s);
	return 0;
}

void
stream_drop_slot(struct stream *s, unsigned slot)
{
	struct waiter *w;

	TAILQ_FOREACH(w, &s->waiters, link)
	{
		if (w->slot == slot) {
			drop_waiter(s, w);
			return;
		}
	}
}

/* --- live messages -------------------------------------------------------------------------- */

static void
pass_on(struct stream *s, const struct record *r)
{
	s->pos.offset = r->offset;
	s->ops->deliver(s->arg, s, r);
}

/* false: not all is kept that should be. */
static bool
hold(struct stream *s, const struct position *pos, const struct record *r)
{
	bool whole = true;
	struct held *m;

	if (!STAILQ_EMPTY(&s->held)) {
		if (strcmp(s->held_epoch, pos->epoch) != 0) {
			drop_held(s);
			whole = false;
		} else if (r->offset <= s->held_top) {
			return true; /* a copy */
		}
	}
	if (s->held_bytes + sizeof(*m) + r->len > HELD_MAX)
		return false;
	m = malloc(sizeof(*m) + r->len);
	if (m == NULL)
		return false;
	m->offset = r->offset;
	m->kind = r->kind;
	m->len = r->len;
	if (r->len > 0)
		memcpy(m->data, r->data, r->len);
	memcpy(s->held_epoch, pos->epoch, sizeof(s->held_epoch));
	s->held_top = r->offset;
	STAILQ_INSERT_TAIL(&s->held, m, link);
	s->held_bytes += sizeof(*m) + m->len;
	return whole;
}

void
stream_message(struct stream *s, const struct position *pos, const struct record *r)
{
	bool same = position_same_epoch(pos, &s->pos);

	if (same && r->offset <= s->pos.offset)
		return;
	if (s->reading) {
		s->arrived = true;
		if (!hold(s, pos, r))
			s->missed = true;
	} else if (same && r->offset == s->pos.offset + 1) {
		pass_on(s, r);
	} else {
		/* The read that begins after this has it too. */
		s->stale = true;
		notify(s);
	}
}

/* After a round: what was held and follows goes on.  The rest was old, or is read again. */
static void
release_held(struct stream *s)
{
	const struct held *m;
	struct record r;

	if (strcmp(s->held_epoch, s->pos.epoch) == 0) {
		while ((m = STAILQ_FIRST(&s->held)) != NULL && m->offset <= s->pos.offset + 1) {
			r = (struct record){ m->offset, m->kind, m->data, m->len };
			if (m->offset > s->pos.offset)
				pass_on(s, &r);
			drop_first_held(s);
		}
	}
	if (s->missed || (s->arrived && !STAILQ_EMPTY(&s->held)))
		s->stale = true;
	drop_held(s);
}

void
stream_stale(struct stream *s)
{
	s->failed = false;
	s->stale = true;
	notify(s);
}

/* --- reading ------------------------------------------------------------------------------ */

/* From which position a round begins.  false: nobody needs a message, only the top. */
static bool
lowest_needed(const struct stream *s, uint64_t *low)
{
	const struct waiter *w;
	bool found = !cold(s);

	*low = s->pos.offset;
	TAILQ_FOREACH(w, &s->waiters, link)
	{
		if (!has_position(w) || (found && w->since.offset >= *low))
			continue;
		/* He will be refused. */
		if (!cold(s) && s->pos.offset - w->since.offset > s->recovery)
			continue;
		*low = w->since.offset;
		found = true;
	}
	return found;
}

bool
stream_midway(const struct stream *s)
{
	return s->mid;
}

bool
stream_due(const struct stream *s, struct stream_read *out)
{
	bool wanted = !TAILQ_EMPTY(&s->waiters) || (!cold(s) && (s->stale || s->mid));
	uint64_t low = s->at.offset;

	if (s->reading || s->failed || !wanted)
		return false;
	if (out != NULL) {
		out->limit = s->mid || lowest_needed(s, &low) ? READ_LIMIT : 0;
		out->after = low;
	}
	return true;
}

static void
end_round(struct stream *s)
{
	s->mid = false;
	s->at.epoch[0] = '\0';
	buf_fini(&s->run);
	buf_init(&s->run, RUN_MAX);
}

void
stream_read_begun(struct stream *s)
{
	struct waiter *w;

	s->reading = true;
	s->arrived = s->missed = s->stale = false;
	if (s->mid)
		return;
	end_round(s);
	(void)lowest_needed(s, &s->at.offset);
	s->run_after = s->at.offset;
	TAILQ_FOREACH(w, &s->waiters, link)
	{
		w->asked = true;
	}
}

/* The records are well formed, rise, and lie between `after` and `top`. */
static bool
sound(struct records rs, uint64_t after, uint64_t top)
{
	struct record r;
	int err;

	while ((err = records_next(&rs, &r)) == 0) {
		if (r.offset <= after || r.offset > top)
			return false;
		after = r.offset;
	}
	return err == FAN_ENOENT;
}

/* The round goes on from this offset, and no message before it is at hand. */
static void
restart_run(struct stream *s, uint64_t offset)
{
	buf_clear(&s->run);
	s->at.offset = s->run_after = offset;
}

/*
 * Takes what was read: all workers get what they have not had.  Returns what then follows the records
 * that were gathered before.
 */
static struct records
take(struct stream *s, struct records rs)
{
	struct records rest = rs;
	struct record r;

	while (records_next(&rest, &r) == 0) {
		if (r.offset != s->at.offset + 1) {
			restart_run(s, r.offset - 1);
			rs.n = RECORD_HEAD + r.len + rest.n;
			rs.p = rest.p - RECORD_HEAD - r.len;
		}
		s->at.offset = r.offset;
		if (cold(s) || r.offset <= s->pos.offset)
			continue;
		if (r.offset != s->pos.offset + 1)
			s->ops->gap(s->arg, s);
		pass_on(s, &r);
	}
	return rs;
}

/*
 * The lowest position from which messages are needed, now that the top is known.  *keep: somebody waits
 * for them.
 */
static uint64_t
still_needed(const struct stream *s, const struct position *top, bool *keep)
{
	uint64_t low = cold(s) ? top->offset : s->pos.offset;
	const struct waiter *w;

	*keep = false;
	TAILQ_FOREACH(w, &s->waiters, link)
	{
		if (!w->asked || !position_same_epoch(&w->since, top) ||
		    w->since.offset >= top->offset || top->offset - w->since.offset > s->recovery)
			continue;
		*keep = true;
		if (w->since.offset < low)
			low = w->since.offset;
	}
	return low;
}

/* Adds to what is gathered.  Where that is too much, the oldest are left out, or all. */
static void
gather(struct stream *s, struct records more)
{
	struct records rs;
	struct record r;

	while (buf_len(&s->run) > 0 && buf_len(&s->run) + more.n > RUN_MAX) {
		rs = (struct records){ buf_data(&s->run), buf_len(&s->run) };
		if (records_next(&rs, &r) != 0)
			break;
		s->run_after = r.offset;
		buf_consume(&s->run, buf_len(&s->run) - rs.n);
	}
	while (more.n > RUN_MAX && records_next(&more, &r) == 0)
		s->run_after = r.offset;
	if (more.n > 0 && buf_append(&s->run, more.p, more.n) != 0)
		restart_run(s, s->at.offset);
}

/* Everything up to the top was read: the rest of the run is `more`. */
static void
end_of_round(struct stream *s, const struct position *top, struct records more)
{
	if (cold(s))
		s->pos = *top;
	if (buf_len(&s->run) > 0) {
		gather(s, more);
		more = (struct records){ buf_data(&s->run), buf_len(&s->run) };
	}
	answer_all(s, more, s->run_after);
	end_round(s);
}

/*
 * The epoch is another, or messages were lost without a change of it.  Nobody's position is of any worth,
 * but for those who came with one of the new epoch, who are read for in the next round.
 */
static void
new_generation(struct stream *s, const struct position *top)
{
	const struct records nothing = { NULL, 0 };
	struct waiter *w;

	end_round(s);
	TAILQ_FOREACH(w, &s->waiters, link)
	{
		if (cold(s) || position_same_epoch(&w->since, top))
			w->asked = false;
	}
	if (cold(s))
		return;
	s->pos = *top;
	s->ops->gap(s->arg, s);
	answer_all(s, nothing, NO_RUN);
}

/* Returns whether the round is at its end. */
static bool
read_on(struct stream *s, const struct position *top, struct records rs)
{
	uint64_t before = s->at.offset, low;
	bool keep;

	/* Records that cannot be are as good as none. */
	if (!sound(rs, before, top->offset))
		rs.n = 0;
	memcpy(s->at.epoch, top->epoch, sizeof(s->at.epoch));
	rs = take(s, rs);
	low = still_needed(s, top, &keep);
	if (low > s->at.offset) {
		restart_run(s, low);
		rs.n = 0;
	} else if (s->at.offset == before && before < top->offset) {
		/* What is not there now will not come. */
		restart_run(s, top->offset);
		if (!cold(s) && s->pos.offset < top->offset) {
			s->ops->gap(s->arg, s);
			s->pos.offset = top->offset;
		}
	}
	if (s->at.offset >= top->offset) {
		end_of_round(s, top, rs);
		return true;
	}
	if (keep)
		gather(s, rs);
	else
		restart_run(s, s->at.offset);
	s->mid = true;
	return false;
}

void
stream_read_done(struct stream *s, const struct position *top, struct records rs)
{
	bool lost = !cold(s) && (!position_same_epoch(top, &s->pos) || top->offset < s->pos.offset);
	bool done = true;

	s->reading = false;
	if (lost || (s->mid && !position_same_epoch(top, &s->at)))
		new_generation(s, top);
	else
		done = read_on(s, top, rs);
	if (done && !cold(s))
		release_held(s);
	notify(s);
}

void
stream_read_failed(struct stream *s)
{
	struct waiter *w;

	s->reading = false;
	s->failed = true;
	end_round(s);
	TAILQ_FOREACH(w, &s->waiters, link)
	{
		w->asked = false;
	}
}

void
stream_refuse(struct stream *s, int status)
{
	struct waiter *w;

	s->reading = false;
	end_round(s);
	drop_held(s);
	while ((w = TAILQ_FIRST(&s->waiters)) != NULL) {
		s->ops->refuse(s->arg, s, w->slot, w->id, status);
		drop_waiter(s, w);
	}
}
