/*
 * channel: the channels that this worker's sessions have, and who is in them.  See channel.h.
 */
#include "worker/core/channel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/publication.h"
#include "worker/core/past.h"
#include "worker/uplink.h"

#define GROUPS_MAX 255
#define BLOCK_FIRST 128 /* a slow client's queue may hold it for a few bytes */
#define BLOCK_KEEP ((size_t)16 * 1024)

_Static_assert(sizeof(void *) != 8 || (sizeof(struct sub) <= 48 && sizeof(struct channel) <= 96),
    "subscriptions and channels are many");

static const void *
channel_key(const void *object, size_t *len)
{
	const struct channel *c = object;

	*len = c->len;
	return c->name;
}

void
channels_init(struct channels *t, struct uplink *u)
{
	t->uplink = u;
	t->live = 0;
	t->asks = 0;
	t->ids = 0;
	t->nspare = 0;
	map_init(&t->map, channel_key);
	TAILQ_INIT(&t->dirty);
}

void
channels_fini(struct channels *t)
{
	assert(map_count(&t->map) == 0);
	map_fini(&t->map);
	while (t->nspare > 0)
		block_unref(t->spare[--t->nspare]);
}

struct channel *
channel_find(const struct channels *t, const char *name, size_t len)
{
	return map_get(&t->map, name, len);
}

static void
ask_hub(struct channels *t, struct channel *c)
{
	struct past *p = c->past;

	c->ask = ++t->asks;
	if (p != NULL)
		past_ask(p);
	uplink_subscribe(t->uplink, c->name, c->len, c->ask, p == NULL ? NULL : &p->asked,
	    p != NULL && p->verify);
}

void
channel_want(struct channels *t, struct channel *c)
{
	if (past_wants(c->past) && !c->past->asking)
		ask_hub(t, c);
}

static struct channel *
channel_new(struct channels *t, const char *name, size_t len, const struct channel_options *o)
{
	struct channel *c = calloc(1, sizeof(*c) + len + 1);

	if (c == NULL)
		return NULL;
	c->id = ++t->ids;
	c->shed = (uint8_t)o->shed;
	c->len = (uint8_t)len;
	memcpy(c->name, name, len);
	if (o->history)
		c->past = past_new();
	c->special = o->history || *name == CHANNEL_INTERNAL;
	if ((o->history && c->past == NULL) || map_put(&t->map, c) != 0) {
		past_free(c->past);
		free(c);
		return NULL;
	}
	return c;
}

static void
channel_free(struct channels *t, struct channel *c)
{
	size_t i;

	(void)map_del(&t->map, c->name, c->len);
	if (c->dirty)
		TAILQ_REMOVE(&t->dirty, c, dirty_link);
	if (c->live)
		t->live--;
	uplink_unsubscribe(t->uplink, c->name, c->len);
	for (i = 0; i < c->ngroups; i++) {
		block_unref(c->groups[i].block);
		if (c->groups[i].cap > 1)
			free(c->groups[i].subs.many);
	}
	if (c->groups != &c->first)
		free(c->groups);
	past_free(c->past);
	free(c);
}

void
channel_hold(struct channel *c)
{
	c->subs++;
}

void
channel_release(struct channels *t, struct channel *c)
{
	if (--c->subs == 0)
		channel_free(t, c);
}

static void
wait_in(struct channel *c, struct sub *sub)
{
	sub->state = SUB_WAITING;
	sub->u.wait.next = c->waiting;
	sub->u.wait.prev = &c->waiting;
	if (c->waiting != NULL)
		c->waiting->u.wait.prev = &sub->u.wait.next;
	c->waiting = sub;
}

static void
unwait(struct sub *sub)
{
	*sub->u.wait.prev = sub->u.wait.next;
	if (sub->u.wait.next != NULL)
		sub->u.wait.next->u.wait.prev = sub->u.wait.prev;
}

int
channel_recover(struct channels *t, struct sub *sub, const struct position *since)
{
	struct channel *c = sub->channel;
	struct past_waiter *w;

	if (c->past == NULL || since == NULL || since->epoch[0] == '\0')
		return sub->state == SUB_READY ? 0 : FAN_EAGAIN;
	w = past_wait(c->past, sub, since);
	if (w == NULL)
		return FAN_ENOMEM;
	if (sub->state == SUB_WAITING)
		unwait(sub);
	sub->state = SUB_RECOVERING;
	sub->u.waiter = w;
	channel_want(t, c);
	return FAN_EAGAIN;
}

int
channel_join(struct channels *t, const char *name, size_t len, const struct channel_options *o,
    const struct position *since, struct sub *sub)
{
	struct channel *c = channel_find(t, name, len);
	int err;

	if (c == NULL) {
		c = channel_new(t, name, len, o);
		if (c == NULL)
			return FAN_ENOMEM;
	}
	sub->channel = c;
	c->subs++;
	if (c->live)
		sub->state = SUB_READY;
	else
		wait_in(c, sub);
	/* With a position it is in the first question already. */
	err = channel_recover(t, sub, since);
	if (err == FAN_ENOMEM)
		channel_leave(t, sub);
	else if (c->ask == 0)
		ask_hub(t, c);
	return err;
}

bool
channel_still_live(struct sub *sub)
{
	if (sub->state == SUB_READY && !sub->channel->live)
		wait_in(sub->channel, sub);
	return sub->state != SUB_WAITING;
}

/* The channel's group of a variant, made where there is none; NULL: no memory. */
static struct group *
group_of(struct channel *c, const struct variant *v)
{
	struct group *g;
	size_t i;

	for (i = 0; i < c->ngroups; i++) {
		if (c->groups[i].variant == v)
			return &c->groups[i];
	}
	if (c->ngroups == GROUPS_MAX)
		return NULL;
	g = &c->first;
	if (c->ngroups > 0) {
		struct group *old = c->groups == &c->first ? NULL : c->groups;

		g = reallocarray(old, (size_t)c->ngroups + 1, sizeof(*g));
		if (g == NULL)
			return NULL;
		if (old == NULL)
			g[0] = c->first;
	}
	c->groups = g;
	g += c->ngroups++;
	memset(g, 0, sizeof(*g));
	g->variant = v;
	g->cap = 1;
	return g;
}

static int
grow(struct group *g)
{
	uint32_t cap = g->cap * 2;
	struct sub **old = g->cap == 1 ? NULL : g->subs.many;
	struct sub **subs = reallocarray(old, cap, sizeof(struct sub *));

	if (subs == NULL)
		return FAN_ENOMEM;
	if (old == NULL)
		subs[0] = g->subs.one;
	g->subs.many = subs;
	g->cap = cap;
	return 0;
}

int
channel_attach(struct sub *sub, const struct variant *v)
{
	struct group *g = group_of(sub->channel, v);

	assert(sub->state == SUB_READY);
	if (g == NULL)
		return FAN_ENOMEM;
	if (g->n == g->cap && grow(g) != 0)
		return FAN_ENOMEM;
	sub->u.place.index = g->n;
	/* What is in the block was published before it came. */
	sub->u.place.from = g->block == NULL ? 0 : (uint32_t)g->block->len;
	sub->group = (uint8_t)(g - sub->channel->groups);
	sub->state = SUB_ATTACHED;
	group_subs(g)[g->n++] = sub;
	return 0;
}

void
channel_leave(struct channels *t, struct sub *sub)
{
	struct channel *c = sub->channel;

	if (sub->state == SUB_WAITING) {
		unwait(sub);
	} else if (sub->state == SUB_RECOVERING) {
		past_leave(sub->u.waiter);
	} else if (sub->state == SUB_ATTACHED) {
		struct group *g = &c->groups[sub->group];
		struct sub *last = group_subs(g)[--g->n];

		group_subs(g)[sub->u.place.index] = last;
		last->u.place.index = sub->u.place.index;
	}
	sub->channel = NULL;
	channel_release(t, c);
}

void
channel_take_recovering(struct sub *sub)
{
	past_leave(sub->u.waiter);
	sub->state = SUB_READY;
}

void
channel_set_live(struct channels *t, struct channel *c, bool live)
{
	if (live && !c->live)
		t->live++;
	else if (!live && c->live)
		t->live--;
	c->live = live;
}

struct sub *
channel_take_waiting(struct channel *c)
{
	struct sub *sub = c->waiting;

	if (sub != NULL) {
		unwait(sub);
		sub->state = SUB_READY;
	}
	return sub;
}

struct block *
channels_block(struct channels *t, size_t len)
{
	struct block *b;

	if (t->nspare == 0 || len > BLOCK_KEEP)
		return block_new(len > BLOCK_FIRST ? len : BLOCK_FIRST);
	b = t->spare[--t->nspare];
	b->len = 0;
	return b;
}

void
channels_block_done(struct channels *t, struct block *b)
{
	if (b->refs == 1 && b->cap <= BLOCK_KEEP && t->nspare < CHANNELS_SPARE)
		t->spare[t->nspare++] = b;
	else
		block_unref(b);
}

void
channels_lost(struct channels *t)
{
	struct channel *c;
	size_t pos = 0;

	while ((c = map_next(&t->map, &pos)) != NULL) {
		if (c->past != NULL)
			past_lost(c->past);
		else
			c->lost = c->lost > 0 || c->live;
		c->live = false;
	}
	t->live = 0;
}

void
channels_announce(struct channels *t)
{
	struct channel *c;
	size_t pos = 0;

	while ((c = map_next(&t->map, &pos)) != NULL)
		ask_hub(t, c);
}
