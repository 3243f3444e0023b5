/*
 * fanout: from the hub's link to the subscribers' sockets.  See fanout.h.
 */
#include "worker/core/fanout.h"

#include "common/block.h"
#include "common/ipc_msg.h"
#include "common/log.h"
#include "worker/core/channel.h"
#include "worker/core/session.h"
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
on_message(void *arg, const struct ipc_msg *m)
{
	static struct log_gate gate;
	struct core *core = arg;
	struct channel *c = channel_find(&core->channels, m->channel, m->channel_len);
	struct publication p = { .channel = c, .kind = m->kind, .data = m->data, .len = m->len };
	bool lost = false;
	size_t i;

	if (c == NULL)
		return; /* its last subscriber left while the message was under way */
	for (i = 0; i < c->ngroups; i++) {
		struct group *g = &c->groups[i];

		if (g->n == 0)
			continue;
		if (g->block != NULL && g->block->len > BLOCK_LONG) {
			send_group(c, g);
			group_sent(core, g);
		}
		if (encode(core, g, &p) != 0)
			lost = true;
	}
	if (!c->dirty) {
		c->dirty = true;
		TAILQ_INSERT_TAIL(&core->channels.dirty, c, dirty_link);
	}
	if (lost) {
		if (log_gate_open(&gate, 5))
			log_errx("channel=%s a message of %zu bytes was lost: no memory", c->name,
			    m->len);
		/* What came before the gap goes out before it is told. */
		fanout_flush(core);
		gap_channel(c);
	}
}

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

static void
on_subscribed(void *arg, const char *name, size_t len, uint32_t id, int status)
{
	struct core *core = arg;
	struct channel *c = channel_find(&core->channels, name, len);
	struct sub *sub;

	/* The answer to a question that was taken back says nothing of the one after it. */
	if (c == NULL || c->ask != id)
		return;
	if (status == 0 && !c->live) {
		c->live = true;
		core->channels.live++;
		if (c->lost) {
			c->lost = false;
			gap_channel(c);
		}
	} else if (status != 0) {
		c->ask = 0;
		close_attached(c);
	}
	/* The channel goes with its last sub, and on_live may end the session that has it. */
	while ((c = channel_find(&core->channels, name, len)) != NULL &&
	    (sub = channel_take_waiting(c)) != NULL) {
		struct session *s = sub->session;

		if (s->started)
			s->dialect->on_live(s, sub, status);
		else
			s->transport->live(s->t, status);
	}
}

static void
on_gap(void *arg, const char *name, size_t len)
{
	struct core *core = arg;
	struct channel *c;
	size_t pos = 0;

	/* What came before the gap goes out before it is told. */
	fanout_flush(core);
	if (len > 0) {
		c = channel_find(&core->channels, name, len);
		if (c != NULL)
			gap_channel(c);
		return;
	}
	while ((c = map_next(&core->channels.map, &pos)) != NULL)
		gap_channel(c);
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
