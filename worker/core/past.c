/*
 * past: what a worker knows of the history of one channel.  See past.h.
 */
#include "worker/core/past.h"

#include <stdlib.h>

#include "common/ipc_msg.h"
#include "common/log.h"

static bool
known(const struct position *pos)
{
	return pos->epoch[0] != '\0';
}

struct past *
past_new(void)
{
	struct past *p = calloc(1, sizeof(*p));

	if (p != NULL)
		TAILQ_INIT(&p->waiters);
	return p;
}

void
past_free(struct past *p)
{
	free(p);
}

struct past_waiter *
past_wait(struct past *p, struct sub *sub, const struct position *since)
{
	struct past_waiter *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	if (!past_wants(p))
		p->refused = false;
	w->sub = sub;
	w->since = *since;
	w->in = &p->waiters;
	TAILQ_INSERT_TAIL(w->in, w, link);
	return w;
}

void
past_leave(struct past_waiter *w)
{
	TAILQ_REMOVE(w->in, w, link);
	free(w);
}

/* --- live messages ------------------------------------------------------------------------ */

enum past_message
past_message(struct past *p, uint64_t offset)
{
	if (p->gap || !known(&p->pos) || offset <= p->pos.offset)
		return PAST_OLD;
	if (offset != p->pos.offset + 1) {
		p->gap = true;
		return PAST_GAP;
	}
	p->pos.offset = offset;
	return PAST_NEXT;
}

void
past_gap(struct past *p)
{
	p->gap = known(&p->pos);
}

void
past_lost(struct past *p)
{
	past_gap(p);
	p->asking = false;
	p->refused = false;
}

/* --- questions ---------------------------------------------------------------------------- */

bool
past_wants(const struct past *p)
{
	return p->gap || !TAILQ_EMPTY(&p->waiters);
}

/*
 * Whether a position is one that the channel has passed, as far as is known here.  What else a
 * client may show is for the engine to judge: this worker may be behind.
 */
static bool
passed(const struct past *p, const struct position *base, const struct position *since)
{
	return position_same_epoch(base, since) &&
	    (!known(&p->pos) || since->offset <= p->pos.offset);
}

void
past_ask(struct past *p)
{
	const struct past_waiter *first = TAILQ_FIRST(&p->waiters);
	uint64_t low = UINT64_MAX, high = 0;
	struct past_waiter *w;

	p->asking = true;
	p->verify = !known(&p->pos) && first != NULL;
	p->asked = p->pos;
	if (p->verify)
		p->asked = first->since;
	if (p->gap)
		low = high = p->pos.offset;
	TAILQ_FOREACH(w, &p->waiters, link)
	{
		w->asked = true;
		if (!passed(p, &p->asked, &w->since)) {
			p->verify = true;
			continue;
		}
		if (w->since.offset < low)
			low = w->since.offset;
		if (w->since.offset > high)
			high = w->since.offset;
	}
	/* Those who are attached go first, because nobody can be attached before they have all. */
	if (p->refused && p->gap)
		return;
	if (low <= high)
		p->asked.offset = p->refused ? low + (high - low) / 2 : low;
}

/* --- answers ------------------------------------------------------------------------------ */

/* Whether the records are all that came after `asked`, up to the position of the answer. */
static bool
reaches_back(const struct past *p, const struct ipc_past *a)
{
	static struct log_gate gate;
	struct records rest = a->records;
	uint64_t n = 0;
	struct record r;

	if ((a->flags & IPC_PAST_RECOVERED) == 0 || !position_same_epoch(&p->asked, &a->pos))
		return false;
	if (records_check(a->records, p->asked.offset + 1) == 0) {
		while (records_next(&rest, &r) == 0)
			n++;
		if (p->asked.offset + n == a->pos.offset)
			return true;
	}
	if (log_gate_open(&gate, 5))
		log_errx("hub: the records of an answer are not those that were asked for");
	return false;
}

enum past_answer
past_answer(struct past *p, const struct ipc_past *a, bool attached, struct records *missed)
{
	const struct position was = p->pos;

	p->asking = false;
	p->whole = reaches_back(p, a);
	p->refused =
	    !p->whole && position_same_epoch(&p->asked, &a->pos) && p->asked.offset < a->pos.offset;
	if (attached && p->refused && position_same_epoch(&was, &a->pos) &&
	    p->asked.offset < was.offset && was.offset < a->pos.offset) {
		p->gap = true;
		return PAST_AGAIN;
	}
	p->pos = a->pos;
	p->gap = false;
	if (!attached || !known(&was))
		return PAST_SETTLED;
	if (!position_same_epoch(&was, &p->pos) || p->pos.offset < was.offset)
		return PAST_BROKEN;
	if (p->pos.offset == was.offset)
		return PAST_SETTLED;
	if (!p->whole || p->asked.offset > was.offset)
		return PAST_BROKEN;
	*missed = records_after(a->records, was.offset);
	return PAST_MISSED;
}

enum past_lot
past_lot(const struct past *p, const struct past_waiter *w)
{
	const struct position *since = &w->since;

	if (!position_same_epoch(since, &p->pos) || since->offset > p->pos.offset)
		return p->verify && w->asked ? PAST_REFUSED : PAST_WAITS;
	if (since->offset == p->pos.offset)
		return PAST_RECOVERED;
	if (!position_same_epoch(&p->asked, &p->pos))
		return PAST_WAITS;
	if (p->whole)
		return p->asked.offset <= since->offset ? PAST_RECOVERED : PAST_WAITS;
	return p->refused && since->offset <= p->asked.offset ? PAST_REFUSED : PAST_WAITS;
}
