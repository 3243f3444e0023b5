/*
 * interest: which worker wants which channel.  See interest.h.
 */
#include "broker/hub/interest.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/map.h"
#include "common/publication.h"

/* A slot that waits for its channel to be live. */
struct waiter {
	struct waiter *next;
	unsigned slot;
	uint32_t id;
};

struct interest_entry {
	union {
		struct waiter *waiters;           /* of a pending channel */
		struct interest_entry *next_gone; /* of one that nobody wants, in drop_slot */
	} u;
	uint32_t outage; /* the last one noted */
	bool live;
	uint8_t len;
	uint8_t bytes[]; /* the name, then one bit for each slot */
};

struct interest {
	struct map channels;
	unsigned slots;
};

static const void *
entry_name(const void *object, size_t *len)
{
	const struct interest_entry *e = object;

	*len = e->len;
	return e->bytes;
}

static size_t
bitmap_size(const struct interest *t)
{
	return (t->slots + 7) / 8;
}

static bool
wants(const struct interest_entry *e, unsigned slot)
{
	return (e->bytes[e->len + slot / 8] >> (slot % 8) & 1) != 0;
}

/* The link to the slot's waiter, or to the end of the list. */
static struct waiter **
find_waiter(struct interest_entry *e, unsigned slot)
{
	struct waiter **w = &e->u.waiters;

	while (*w != NULL && (*w)->slot != slot)
		w = &(*w)->next;
	return w;
}

static void
pop_waiter(struct waiter **w)
{
	struct waiter *gone = *w;

	if (gone == NULL)
		return;
	*w = gone->next;
	free(gone);
}

static int
push_waiter(struct interest_entry *e, unsigned slot, uint32_t id)
{
	struct waiter *w = *find_waiter(e, slot);

	if (w == NULL) {
		w = malloc(sizeof(*w));
		if (w == NULL)
			return FAN_ENOMEM;
		w->slot = slot;
		w->next = e->u.waiters;
		e->u.waiters = w;
	}
	w->id = id;
	return 0;
}

/* Clears the slot's bit.  true: no bit is left, and no waiter. */
static bool
forget(const struct interest *t, struct interest_entry *e, unsigned slot)
{
	uint8_t *bits = e->bytes + e->len;

	pop_waiter(find_waiter(e, slot));

	bits[slot / 8] &= (uint8_t) ~(1U << (slot % 8));
	return interest_next(t, e, 0) < 0;
}

struct interest *
interest_new(unsigned slots)
{
	struct interest *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->slots = slots;
	map_init(&t->channels, entry_name);
	return t;
}

void
interest_free(struct interest *t)
{
	struct interest_entry *e;
	size_t pos = 0;

	if (t == NULL)
		return;
	while ((e = map_next(&t->channels, &pos)) != NULL) {
		while (e->u.waiters != NULL)
			pop_waiter(&e->u.waiters);
		free(e);
	}
	map_fini(&t->channels);
	free(t);
}

static struct interest_entry *
create(struct interest *t, const char *channel, size_t len)
{
	struct interest_entry *e = calloc(1, sizeof(*e) + len + bitmap_size(t));

	if (e == NULL)
		return NULL;
	e->len = (uint8_t)len;
	memcpy(e->bytes, channel, len);
	if (map_put(&t->channels, e) != 0) {
		free(e);
		return NULL;
	}
	return e;
}

static void
destroy(struct interest *t, struct interest_entry *e)
{
	(void)map_del(&t->channels, e->bytes, e->len);
	free(e);
}

int
interest_add(struct interest *t, const char *channel, size_t len, unsigned slot, uint32_t id,
    enum interest_state *was)
{
	struct interest_entry *e = map_get(&t->channels, channel, len);

	assert(slot < t->slots && len > 0 && len <= CHANNEL_NAME_MAX);
	*was = e == NULL ? INTEREST_NONE : e->live ? INTEREST_LIVE : INTEREST_PENDING;
	if (e == NULL)
		e = create(t, channel, len);
	if (e == NULL)
		return FAN_ENOMEM;
	if (!e->live && push_waiter(e, slot, id) != 0) {
		if (*was == INTEREST_NONE)
			destroy(t, e);
		return FAN_ENOMEM;
	}
	e->bytes[e->len + slot / 8] |= (uint8_t)(1U << (slot % 8));
	return 0;
}

bool
interest_remove(struct interest *t, const char *channel, size_t len, unsigned slot)
{
	struct interest_entry *e = map_get(&t->channels, channel, len);

	assert(slot < t->slots);
	if (e == NULL || !forget(t, e, slot))
		return false;
	destroy(t, e);
	return true;
}

void
interest_drop_slot(struct interest *t, unsigned slot,
    void (*gone)(void *arg, const char *channel, size_t len), void *arg)
{
	struct interest_entry *e, *list = NULL;
	size_t pos = 0;

	assert(slot < t->slots);
	/* The map must stand still while it is walked, so what falls empty is listed first. */
	while ((e = map_next(&t->channels, &pos)) != NULL) {
		if (!wants(e, slot) || !forget(t, e, slot))
			continue;
		e->u.next_gone = list;
		list = e;
	}
	while ((e = list) != NULL) {
		list = e->u.next_gone;
		gone(arg, (const char *)e->bytes, e->len);
		destroy(t, e);
	}
}

void
interest_live(struct interest *t, const char *channel, size_t len,
    void (*answer)(void *arg, unsigned slot, uint32_t id), void *arg)
{
	struct interest_entry *e = map_get(&t->channels, channel, len);

	if (e == NULL)
		return;
	e->live = true;
	while (e->u.waiters != NULL) {
		answer(arg, e->u.waiters->slot, e->u.waiters->id);
		pop_waiter(&e->u.waiters);
	}
}

bool
interest_note_outage(struct interest *t, const char *channel, size_t len, uint32_t outage)
{
	struct interest_entry *e = map_get(&t->channels, channel, len);

	if (e == NULL || e->outage == outage)
		return false;
	e->outage = outage;
	return true;
}

const struct interest_entry *
interest_get(const struct interest *t, const char *channel, size_t len)
{
	return map_get(&t->channels, channel, len);
}

int
interest_next(const struct interest *t, const struct interest_entry *e, unsigned from)
{
	unsigned slot = from;

	while (slot < t->slots) {
		if (slot % 8 == 0 && e->bytes[e->len + slot / 8] == 0) {
			slot += 8;
			continue;
		}
		if (wants(e, slot))
			return (int)slot;
		slot++;
	}
	return -1;
}

size_t
interest_channels(const struct interest *t)
{
	return map_count(&t->channels);
}
