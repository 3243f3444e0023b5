/*
 * recovery: gives those who came with a position what they have missed.  See recovery.h.
 */
#include "worker/core/recovery.h"

#include <stdlib.h>

#include "common/block.h"
#include "worker/core/channel.h"
#include "worker/core/past.h"
#include "worker/core/session.h"
#include "worker/net/burst.h"

/* What is longer leaves by more than one write.  Offsets inside a block are 32 bits wide. */
#define RUN_BYTES ((size_t)32 * 1024 * 1024)
#define HEAD_ROOM 64

/* Encoded messages with successive offsets, in one block. */
struct run {
	struct block *block;
	uint64_t first;  /* offset of the first message */
	size_t n;        /* messages */
	uint32_t *start; /* where each one begins in the block */
};

static const struct variant *
variant_of(const struct past_waiter *w)
{
	const struct session *s = w->sub->session;

	return &s->dialect->variants[s->variant];
}

static void
close_for_memory(const struct past_waiter *w)
{
	const struct session *s = w->sub->session;

	s->transport->close(s->t, SESSION_TRY_LATER, fan_strerror(FAN_ENOMEM));
}

/*
 * Encodes what fits of *rs, and takes it off; start has room for all.  FAN_ENOMEM: up to there it
 * is done.
 */
static int
encode_run(struct core *core, const struct channel *c, const struct variant *v, struct run *run,
    struct records *rs)
{
	struct record r;

	run->n = 0;
	run->block =
	    channels_block(&core->channels, (rs->n < RUN_BYTES ? rs->n : RUN_BYTES) + HEAD_ROOM);
	if (run->block == NULL)
		return FAN_ENOMEM;
	while (run->block->len < RUN_BYTES && records_next(rs, &r) == 0) {
		const struct publication p = { c, r.kind, r.data, r.len, r.offset };

		if (run->n == 0)
			run->first = r.offset;
		run->start[run->n] = (uint32_t)run->block->len;
		if (v->encode(v, core, &run->block, &p) != 0)
			return FAN_ENOMEM;
		run->n++;
	}
	return 0;
}

/* Sends each waiter of the variant what of the run comes after its position. */
static void
send_run(struct core *core, const struct channel *c, const struct variant *v,
    const struct past_waiters *told, const struct run *run)
{
	const struct outq_tag tag = { c->id, c->shed };
	struct past_waiter *w;

	burst_begin(core->burst);
	TAILQ_FOREACH(w, told, link)
	{
		const struct session *s = w->sub->session;
		const uint64_t next = w->since.offset + 1;
		size_t from = 0;

		if (!w->recovered || variant_of(w) != v || next >= run->first + run->n)
			continue;
		if (next > run->first)
			from = run->start[next - run->first];
		if (run->block->len > from)
			s->transport->send_block(
			    s->t, run->block, from, run->block->len - from, tag);
	}
	/* Only now the block is free to be used again. */
	burst_end(core->burst);
}

static void
send_variant(struct core *core, const struct channel *c, const struct variant *v,
    struct past_waiters *told, struct records rs)
{
	uint64_t low = UINT64_MAX;
	struct past_waiter *w;
	struct run run;
	int err;

	TAILQ_FOREACH(w, told, link)
	{
		if (!w->recovered || variant_of(w) != v)
			continue;
		w->sent = true;
		if (w->since.offset < low)
			low = w->since.offset;
	}
	rs = records_after(rs, low);
	run.start = reallocarray(NULL, c->past->pos.offset - low + 1, sizeof(*run.start));
	err = run.start == NULL ? FAN_ENOMEM : 0;
	while (rs.n > 0 && err == 0) {
		err = encode_run(core, c, v, &run, &rs);
		if (run.n > 0)
			send_run(core, c, v, told, &run);
		if (run.block != NULL)
			channels_block_done(&core->channels, run.block);
	}
	free(run.start);
	if (err == 0)
		return;
	TAILQ_FOREACH(w, told, link)
	{
		if (w->recovered && variant_of(w) == v && w->since.offset < c->past->pos.offset)
			close_for_memory(w);
	}
}

/* Tells everybody in `due`, who so comes into `told`, or goes. */
static void
tell(const struct channel *c, struct past_waiters *due, struct past_waiters *told)
{
	struct past_waiter *w;

	while ((w = TAILQ_FIRST(due)) != NULL) {
		const struct sub_live live = { c->past->pos, true, w->recovered };
		struct session *s = w->sub->session;

		TAILQ_REMOVE(due, w, link);
		TAILQ_INSERT_TAIL(told, w, link);
		w->in = told;
		s->dialect->on_live(s, w->sub, 0, &live);
	}
}

void
recovery_serve(struct core *core, struct channel *c, struct records rs)
{
	struct past_waiters due = TAILQ_HEAD_INITIALIZER(due);
	struct past_waiters told = TAILQ_HEAD_INITIALIZER(told);
	struct past_waiter *w, *next;

	for (w = TAILQ_FIRST(&c->past->waiters); w != NULL; w = next) {
		enum past_lot lot = past_lot(c->past, w);

		next = TAILQ_NEXT(w, link);
		if (lot == PAST_WAITS)
			continue;
		w->recovered = lot == PAST_RECOVERED;
		TAILQ_REMOVE(&c->past->waiters, w, link);
		TAILQ_INSERT_TAIL(&due, w, link);
		w->in = &due;
	}
	tell(c, &due, &told);
	TAILQ_FOREACH(w, &told, link)
	{
		if (w->recovered && !w->sent)
			send_variant(core, c, variant_of(w), &told, rs);
	}
	while ((w = TAILQ_FIRST(&told)) != NULL) {
		struct sub *sub = w->sub;
		struct session *s = sub->session;

		channel_take_recovering(sub);
		if (session_attach(s, sub) != 0)
			s->transport->close(s->t, SESSION_TRY_LATER, fan_strerror(FAN_ENOMEM));
	}
}
