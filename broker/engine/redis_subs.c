/*
 * redis_subs: which Redis channels are wanted, and how far Redis has followed.  See redis_subs.h.
 */
#include "broker/engine/redis_subs.h"

#include <stdlib.h>
#include <string.h>

static const void *
key_of(const void *object, size_t *len)
{
	const struct redis_sub *sub = object;

	*len = sub->key_len;
	return sub->key;
}

void
redis_subs_init(struct redis_subs *s)
{
	map_init(&s->map, key_of);
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->ending);
}

void
redis_subs_fini(struct redis_subs *s)
{
	struct redis_sub *sub;
	size_t pos = 0;

	while ((sub = map_next(&s->map, &pos)) != NULL)
		free(sub);
	map_fini(&s->map);
}

static void
wait_to_subscribe(struct redis_subs *s, struct redis_sub *sub)
{
	sub->state = SUB_WAITING;
	TAILQ_INSERT_TAIL(&s->waiting, sub, entry);
}

static void
wait_to_end(struct redis_subs *s, struct redis_sub *sub)
{
	sub->state = SUB_ENDING;
	TAILQ_INSERT_TAIL(&s->ending, sub, entry);
}

static void
forget(struct redis_subs *s, struct redis_sub *sub)
{
	(void)map_del(&s->map, sub->key, sub->key_len);
	free(sub);
}

/* Adds a channel that is not in the map.  NULL: no memory. */
static struct redis_sub *
add(struct redis_subs *s, const char *key, size_t len)
{
	struct redis_sub *sub = calloc(1, sizeof(*sub) + len);

	if (sub == NULL)
		return NULL;
	sub->key_len = len;
	memcpy(sub->key, key, len);
	if (map_put(&s->map, sub) != 0) {
		free(sub);
		return NULL;
	}
	wait_to_subscribe(s, sub);
	return sub;
}

int
redis_subs_want(struct redis_subs *s, const char *key, size_t len, struct redis_sub **out)
{
	struct redis_sub *sub = map_get(&s->map, key, len);

	if (sub == NULL) {
		*out = add(s, key, len);
		return *out == NULL ? FAN_ENOMEM : 0;
	}
	switch (sub->state) {
	case SUB_ABANDONED:
		sub->state = SUB_SUBSCRIBING;
		break;
	case SUB_ENDING:
		TAILQ_REMOVE(&s->ending, sub, entry);
		sub->state = SUB_LIVE;
		break;
	case SUB_LEAVING:
		sub->state = SUB_RETURNING;
		break;
	case SUB_WAITING:
	case SUB_SUBSCRIBING:
	case SUB_LIVE:
	case SUB_RETURNING:
		return FAN_EEXIST;
	}
	sub->told = sub->state == SUB_LIVE;
	*out = sub;
	return 0;
}

void
redis_subs_unwant(struct redis_subs *s, const char *key, size_t len)
{
	struct redis_sub *sub = map_get(&s->map, key, len);

	if (sub == NULL)
		return;
	switch (sub->state) {
	case SUB_WAITING:
		TAILQ_REMOVE(&s->waiting, sub, entry);
		forget(s, sub);
		break;
	case SUB_SUBSCRIBING:
		sub->state = SUB_ABANDONED;
		break;
	case SUB_LIVE:
		wait_to_end(s, sub);
		break;
	case SUB_RETURNING:
		sub->state = SUB_LEAVING;
		break;
	case SUB_ABANDONED:
	case SUB_ENDING:
	case SUB_LEAVING:
		break;
	}
}

struct redis_sub *
redis_subs_find(const struct redis_subs *s, const char *key, size_t len)
{
	return map_get(&s->map, key, len);
}

size_t
redis_subs_gather(
    const struct redis_subs *s, bool subscribe, const struct redis_sub **out, size_t max)
{
	const struct redis_sub *sub;
	size_t n = 0;

	sub = subscribe ? TAILQ_FIRST(&s->waiting) : TAILQ_FIRST(&s->ending);
	for (; sub != NULL && n < max; sub = TAILQ_NEXT(sub, entry))
		out[n++] = sub;
	return n;
}

void
redis_subs_sent(struct redis_subs *s, bool subscribe, size_t n)
{
	struct redis_sub_list *list = subscribe ? &s->waiting : &s->ending;
	struct redis_sub *sub;

	while (n-- > 0 && (sub = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, sub, entry);
		sub->state = subscribe ? SUB_SUBSCRIBING : SUB_LEAVING;
	}
}

static int
confirm_subscribe(struct redis_subs *s, struct redis_sub *sub, struct redis_sub **tell)
{
	if (sub->state == SUB_ABANDONED) {
		wait_to_end(s, sub);
		return 0;
	}
	if (sub->state != SUB_SUBSCRIBING)
		return FAN_EPROTO;
	sub->state = SUB_LIVE;
	if (!sub->told)
		*tell = sub;
	sub->told = true;
	return 0;
}

static int
confirm_unsubscribe(struct redis_subs *s, struct redis_sub *sub)
{
	if (sub->state == SUB_RETURNING)
		wait_to_subscribe(s, sub);
	else if (sub->state == SUB_LEAVING)
		forget(s, sub);
	else
		return FAN_EPROTO;
	return 0;
}

int
redis_subs_confirm(
    struct redis_subs *s, const char *key, size_t len, bool subscribe, struct redis_sub **tell)
{
	struct redis_sub *sub = map_get(&s->map, key, len);

	*tell = NULL;
	if (sub == NULL)
		return FAN_EPROTO;
	return subscribe ? confirm_subscribe(s, sub, tell) : confirm_unsubscribe(s, sub);
}

struct redis_sub *
redis_subs_tell_next(const struct redis_subs *s, size_t *pos)
{
	struct redis_sub *sub;

	while ((sub = map_next(&s->map, pos)) != NULL) {
		if (sub->state == SUB_LIVE && !sub->told) {
			sub->told = true;
			return sub;
		}
	}
	return NULL;
}

void
redis_subs_reset(struct redis_subs *s)
{
	struct redis_sub_list unwanted = TAILQ_HEAD_INITIALIZER(unwanted);
	struct redis_sub *sub;
	size_t pos = 0;

	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->ending);
	while ((sub = map_next(&s->map, &pos)) != NULL) {
		switch (sub->state) {
		case SUB_WAITING:
		case SUB_SUBSCRIBING:
		case SUB_LIVE:
		case SUB_RETURNING:
			wait_to_subscribe(s, sub);
			break;
		case SUB_ABANDONED:
		case SUB_ENDING:
		case SUB_LEAVING:
			TAILQ_INSERT_TAIL(&unwanted, sub, entry);
			break;
		}
	}
	while ((sub = TAILQ_FIRST(&unwanted)) != NULL) {
		TAILQ_REMOVE(&unwanted, sub, entry);
		forget(s, sub);
	}
}
