/*
 * fanout: from the hub's link to the subscribers' sockets.  See fanout.h.
 */
#include "worker/core/fanout.h"

#include "common/block.h"
#include "common/ipc_msg.h"
#include "common/log.h"
#include "worker/core/channel.h"
#include "worker/core/lifecycle.h"
#include "worker/core/past.h"
#include "worker/core/recovery.h"
#include "worker/core/session.h"
#include "worker/core/user.h"
#include "worker/net/burst.h"

/* Offsets inside a block are 32 bits wide; a block this long leaves before its pass ends. */
#define BLOCK_LONG ((size_t)128 * 1024 * 1024)
#define HEAD_ROOM 64

static void
send_group(const struct channel *c, struct group *g)
{
	struct sub **subs = group_subs(g);
	const struct outq_tag tag = { c->id, c->shed };
	struct block *b = g->block;
	uint32_t i;

	for (i = 0; i < g->n; i++) {
		struct sub *sub = subs[i];
		struct session *s = sub->session;

		if (b->len > sub->u.place.from)
			s->transport->send_block(
			    s->t, b, sub->u.place.from, b->len - sub->u.place.from, tag);
		sub->u.place.from = 0;
	}
}

static void
send_channel(struct channel *c)
{
	size_t i;

	for (i = 0; i < c->ngroups; i++) {
		if (c->groups[i].block != NULL)
			send_group(c, &c->groups[i]);
	}
}

static void
group_sent(struct core *core, struct group *g)
{
	channels_block_done(&core->channels, g->block);
	g->block = NULL;
}

static void
channel_sent(struct core *core, struct channel *c)
{
	size_t i;

	TAILQ_REMOVE(&core->channels.dirty, c, dirty_link);
	c->dirty = false;
	for (i = 0; i < c->ngroups; i++) {
		if (c->groups[i].block != NULL)
			group_sent(core, &c->groups[i]);
	}
}

size_t
fanout_due(const struct core *core)
{
	const struct channel *c;
	size_t n = 0;

	TAILQ_FOREACH(c, &core->channels.dirty, dirty_link)
	n += c->subs;
	return n;
}

/* In one burst, and only then the blocks are free to be used again. */
void
fanout_flush(void *arg)
{
	struct core *core = arg;
	struct channel *c;

	burst_begin(core->burst);
	for (c = TAILQ_FIRST(&core->channels.dirty); c != NULL; c = TAILQ_NEXT(c, dirty_link))
		send_channel(c);
	burst_end(core->burst);
	while ((c = TAILQ_FIRST(&core->channels.dirty)) != NULL)
		channel_sent(core, c);
}

static void
gap_channel(struct channel *c)
{
	size_t i;
	uint32_t j;

	for (i = 0; i < c->ngroups; i++) {
		struct group *g = &c->groups[i];

		for (j = 0; j < g->n; j++) {
			struct sub *sub = group_subs(g)[j];

			if (sub->session->dialect->on_gap != NULL)
				sub->session->dialect->on_gap(sub->session, sub);
		}
	}
}

/* Encodes for one group.  Without memory its subscribers miss the message, and are told. */
static int
encode(struct core *core, struct group *g, const struct publication *p)
{
	if (g->block == NULL)
		g->block = channels_block(&core->channels, p->len + HEAD_ROOM);
	if (g->block == NULL)
		return FAN_ENOMEM;
	return g->variant->encode(g->variant, core, &g->block, p);
}

static void
tell_lost(struct core *core, struct channel *c, size_t len)
{
	static struct log_gate gate;

	if (log_gate_open(&gate, 5))
		log_errx("channel=%s a message of %zu bytes was lost: no memory", c->name, len);
	/* What came before the gap goes out before it is told. */
	fanout_flush(core);
	gap_channel(c);
}

/* Encodes for all who are attached, at this moment. */
static inline void
publish(struct core *core, struct channel *c, const struct publication *p)
{
	bool lost = false;
	size_t i;

	for (i = 0; i < c->ngroups; i++) {
		struct group *g = &c->groups[i];

		if (g->n == 0)
			continue;
		if (g->block != NULL && g->block->len > BLOCK_LONG) {
			send_group(c, g);
			group_sent(core, g);
		}
		if (encode(core, g, p) != 0)
			lost = true;
	}
	if (!c->dirty) {
		c->dirty = true;
		TAILQ_INSERT_TAIL(&core->channels.dirty, c, dirty_link);
	}
	if (lost)
		tell_lost(core, c, p->len);
}

/* Whether a message of a channel with history, or of a user's own, is to go out. */
static bool
look_at(struct core *core, struct channel *c, const struct ipc_msg *m, struct publication *p)
{
	if (c->past == NULL)
		return user_message(core, c, m, p) == 0;
	if (m->value == 0)
		return true; /* a member comes or goes: it is in no history */
	p->offset = m->value;
	switch (past_message(c->past, m->value)) {
	case PAST_NEXT:
		return true;
	case PAST_OLD:
		return false;
	case PAST_GAP:
		break;
	}
	channel_want(&core->channels, c);
	return false;
}

static void
on_message(void *arg, const struct ipc_msg *m)
{
	struct core *core = arg;
	struct channel *c = channel_find(&core->channels, m->channel, m->channel_len);
	struct publication p = { .channel = c, .kind = m->kind, .data = m->data, .len = m->len };

	if (c == NULL)
		return; /* its last subscriber left while the message was under way */
	/* The new hub has not answered yet, but what it sends comes after all that was missed. */
	if (c->lost == 1) {
		c->lost = LOST_TOLD;
		gap_channel(c);
	}
	if (c->special && !look_at(core, c, m, &p))
		return;
	publish(core, c, &p);
}

/* --- the hub's answers -------------------------------------------------------------------- */

/* Who was subscribed before the hub was lost, and cannot be again, must not wait for messages. */
static void
close_attached(const struct channel *c)
{
	size_t i;
	uint32_t j;

	for (i = 0; i < c->ngroups; i++) {
		struct group *g = &c->groups[i];

		for (j = 0; j < g->n; j++) {
			struct session *s = group_subs(g)[j]->session;

			s->transport->close(
			    s->t, SESSION_TRY_LATER, "the channel cannot be subscribed now");
		}
	}
}

/* The channel is live, or cannot be had, for a sub that has waited and is READY now. */
static void
take(struct sub *sub, int status)
{
	struct session *s = sub->session;

	if (!s->started)
		s->transport->live(s->t, status);
	else if (status != 0 && (sub->flags & SUB_INTERNAL) == 0)
		s->dialect->on_live(s, sub, status, NULL);
	else if (status != 0 || session_take(s, sub) != 0)
		s->transport->close(
		    s->t, SESSION_TRY_LATER, "the channel cannot be subscribed now");
}

static void
refused(struct core *core, struct channel *c, int status)
{
	struct past_waiter *w;

	c->ask = 0;
	channel_set_live(&core->channels, c, false);
	close_attached(c);
	if (c->past == NULL)
		return;
	past_lost(c->past);
	while ((w = TAILQ_FIRST(&c->past->waiters)) != NULL) {
		struct sub *sub = w->sub;

		channel_take_recovering(sub);
		take(sub, status);
	}
}

/* The answer for a channel with history.  False: nobody can be served before the next one. */
static bool
repaired(struct core *core, struct channel *c, const struct ipc_past *past)
{
	static const struct ipc_past none;
	struct records missed = { NULL, 0 };
	bool attached = false;
	struct record r;
	size_t i;

	for (i = 0; i < c->ngroups; i++)
		attached = attached || c->groups[i].n > 0;
	past = past != NULL ? past : &none;
	switch (past_answer(c->past, past, attached, &missed)) {
	case PAST_AGAIN:
		return false;
	case PAST_BROKEN:
		/* What came before the gap goes out before it is told. */
		fanout_flush(core);
		gap_channel(c);
		break;
	case PAST_MISSED:
	case PAST_SETTLED:
		break;
	}
	while (records_next(&missed, &r) == 0) {
		const struct publication p = { c, r.kind, r.data, r.len, r.offset };

		publish(core, c, &p);
	}
	channel_set_live(&core->channels, c, true);
	recovery_serve(core, c, past->records);
	return true;
}

/* The same for a plain one. */
static void
lives(struct core *core, struct channel *c)
{
	channel_set_live(&core->channels, c, true);
	if (c->lost > 0) {
		/* Told again, as more may have been missed since; what came before goes out first. */
		if (c->lost == LOST_TOLD)
			fanout_flush(core);
		c->lost = 0;
		gap_channel(c);
	}
}

static void
on_subscribed(void *arg, const struct ipc_msg *m, const struct ipc_past *past)
{
	struct core *core = arg;
	struct channel *c = channel_find(&core->channels, m->channel, m->channel_len);
	bool settled = true;
	struct sub *sub;

	/* The answer to a question that was taken back says nothing of the one after it. */
	if (c == NULL || c->ask != m->id)
		return;
	/* The channel goes with its last sub, and on_live may end that. */
	channel_hold(c);
	if (m->status != 0)
		refused(core, c, m->status);
	else if (c->past != NULL)
		settled = repaired(core, c, past);
	else
		lives(core, c);
	while (settled && (sub = channel_take_waiting(c)) != NULL)
		take(sub, m->status);
	if (c->past != NULL && m->status == 0)
		channel_want(&core->channels, c);
	channel_release(&core->channels, c);
}

static void
gap_one(struct core *core, struct channel *c, bool history)
{
	if (c->past == NULL) {
		gap_channel(c);
	} else if (history) {
		past_gap(c->past);
		channel_want(&core->channels, c);
	}
}

static void
on_gap(void *arg, const char *name, size_t len, bool all)
{
	struct core *core = arg;
	struct channel *c;
	size_t pos = 0;

	/* What came before the gap goes out before it is told. */
	fanout_flush(core);
	if (len > 0) {
		c = channel_find(&core->channels, name, len);
		if (c != NULL)
			gap_one(core, c, true);
		return;
	}
	while ((c = map_next(&core->channels.map, &pos)) != NULL)
		gap_one(core, c, all);
}

static uint64_t
on_count(void *arg, const char *name, size_t len)
{
	const struct core *core = arg;
	const struct channel *c = channel_find(&core->channels, name, len);
	uint64_t n = 0;
	size_t i;

	for (i = 0; c != NULL && i < c->ngroups; i++)
		n += c->groups[i].n;
	return n;
}

static void
on_up(void *arg)
{
	struct core *core = arg;

	channels_announce(&core->channels);
	lifecycle_announce(core);
	core_release_held(core);
}

static void
on_down(void *arg)
{
	struct core *core = arg;

	channels_lost(&core->channels);
}

static void
on_drained(void *arg)
{
	core_release_held(arg);
}

const struct uplink_handler fanout_uplink_handler = {
	.up = on_up,
	.down = on_down,
	.subscribed = on_subscribed,
	.message = on_message,
	.gap = on_gap,
	.count = on_count,
	.drained = on_drained,
};
