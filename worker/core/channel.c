/*
 * channel: the channels that this worker's sessions have, and who is in them.  See channel.h.
 */
#include "worker/core/channel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "worker/uplink.h"

#define GROUPS_MAX 255
#define BLOCK_FIRST 128 /* a slow client's queue may hold it for a few bytes */
#define BLOCK_KEEP ((size_t)16 * 1024)

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
ask_hub(struct channel *c)
{
	c->ask = ++c->table->asks;
	uplink_subscribe(c->table->uplink, c->name, c->len, c->ask);
}

static struct channel *
channel_new(struct channels *t, const char *name, size_t len, enum outq_shed shed)
{
	struct channel *c = calloc(1, sizeof(*c) + len + 1);

	if (c == NULL)
		return NULL;
	c->table = t;
	c->id = ++t->ids;
	c->shed = (uint8_t)shed;
	c->len = (uint8_t)len;
	memcpy(c->name, name, len);
	if (map_put(&t->map, c) != 0) {
		free(c);
		return NULL;
	}
	ask_hub(c);
	return c;
}

static void
channel_free(struct channel *c)
{
	struct channels *t = c->table;
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
	free(c);
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

int
channel_join(struct channels *t, const char *name, size_t len, enum outq_shed shed, struct sub *sub)
{
	struct channel *c = channel_find(t, name, len);

	if (c == NULL) {
		c = channel_new(t, name, len, shed);
		if (c == NULL)
			return FAN_ENOMEM;
	} else if (c->ask == 0) {
		ask_hub(c);
	}
	sub->channel = c;
	c->subs++;
	if (c->live) {
		sub->state = SUB_READY;
		return 0;
	}
	wait_in(c, sub);
	return FAN_EAGAIN;
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

static void
unwait(struct sub *sub)
{
	*sub->u.wait.prev = sub->u.wait.next;
	if (sub->u.wait.next != NULL)
		sub->u.wait.next->u.wait.prev = sub->u.wait.prev;
}

void
channel_leave(struct sub *sub)
{
	struct channel *c = sub->channel;

	if (sub->state == SUB_WAITING) {
		unwait(sub);
	} else if (sub->state == SUB_ATTACHED) {
		struct group *g = &c->groups[sub->group];
		struct sub *last = group_subs(g)[--g->n];

		group_subs(g)[sub->u.place.index] = last;
		last->u.place.index = sub->u.place.index;
	}
	sub->channel = NULL;
	if (--c->subs == 0)
		channel_free(c);
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
		c->lost = c->lost || c->live;
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
		ask_hub(c);
}
