/*
 * rollcall: workers' questions who is in a channel.  See rollcall.h.
 *
 * A channel is in the table from its first question on until it has rested and nobody asks.  Meanwhile
 * it is ready, or under way, or rests.
 */
#include "broker/hub/rollcall.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/map.h"

#define REST_FACTOR 10 /* how much longer than its question took a channel rests */

struct rollcall {
	TAILQ_ENTRY(rollcall) link; /* unless it is under way */
	uint64_t at;                /* under way: since when; resting: until when */
	struct rollcall_asker *askers;
	size_t n, room;
	size_t asked; /* the first of them, whom the question under way will answer */
	size_t channel_len;
	char channel[];
};

TAILQ_HEAD(rollcall_list, rollcall);

struct rollcalls {
	const struct rollcall_handler *h;
	void *arg;
	struct map all;
	size_t askers;
	struct rollcall_list ready;
	struct rollcall_list resting;                       /* who may soonest comes first */
	struct rollcall *under_way[ROLLCALL_UNDER_WAY_MAX]; /* by token; NULL: free */
};

static const void *
rollcall_key(const void *object, size_t *len)
{
	const struct rollcall *r = object;

	*len = r->channel_len;
	return r->channel;
}

struct rollcalls *
rollcalls_new(const struct rollcall_handler *h, void *arg)
{
	struct rollcalls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->h = h;
	t->arg = arg;
	map_init(&t->all, rollcall_key);
	TAILQ_INIT(&t->ready);
	TAILQ_INIT(&t->resting);
	return t;
}

static void
rollcall_free(struct rollcall *r)
{
	free(r->askers);
	free(r);
}

void
rollcalls_free(struct rollcalls *t)
{
	struct rollcall *r;
	size_t pos = 0;

	if (t == NULL)
		return;
	while ((r = map_next(&t->all, &pos)) != NULL)
		rollcall_free(r);
	map_fini(&t->all);
	free(t);
}

/* --- who asks ------------------------------------------------------------------------------- */

static struct rollcall *
add_channel(struct rollcalls *t, const char *channel, size_t channel_len)
{
	struct rollcall *r = calloc(1, sizeof(*r) + channel_len);

	if (r == NULL)
		return NULL;
	memcpy(r->channel, channel, channel_len);
	r->channel_len = channel_len;
	r->room = 1;
	r->askers = calloc(r->room, sizeof(*r->askers));
	if (r->askers == NULL || map_put(&t->all, r) != 0) {
		rollcall_free(r);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->ready, r, link);
	return r;
}

static int
make_room(struct rollcall *r)
{
	size_t room = 2 * r->room;
	struct rollcall_asker *askers;

	if (r->n < r->room)
		return 0;
	askers = reallocarray(r->askers, room, sizeof(*askers));
	if (askers == NULL)
		return FAN_ENOMEM;
	r->askers = askers;
	r->room = room;
	return 0;
}

int
rollcalls_add(struct rollcalls *t, const char *channel, size_t channel_len,
    const struct rollcall_asker *asker)
{
	struct rollcall *r = map_get(&t->all, channel, channel_len);

	/* Channels that rest have nobody who asks, perhaps, and are bounded too. */
	if (t->askers >= ROLLCALL_ASKERS_MAX ||
	    (r == NULL && map_count(&t->all) >= ROLLCALL_ASKERS_MAX))
		return FAN_EFULL;
	if (r == NULL)
		r = add_channel(t, channel, channel_len);
	if (r == NULL || make_room(r) != 0)
		return FAN_ENOMEM;
	r->askers[r->n++] = *asker;
	t->askers++;
	return 0;
}

/* --- questions ------------------------------------------------------------------------------ */

static void
rest(struct rollcalls *t, struct rollcall *r, uint64_t now_ms)
{
	uint64_t ms = REST_FACTOR * (now_ms - r->at);
	struct rollcall *before;

	if (ms < ROLLCALL_REST_MIN_MS)
		ms = ROLLCALL_REST_MIN_MS;
	if (ms > ROLLCALL_REST_MAX_MS)
		ms = ROLLCALL_REST_MAX_MS;
	r->at = now_ms + ms;
	/* Questions of one time take about as long, so the place is near the end. */
	before = TAILQ_LAST(&t->resting, rollcall_list);
	while (before != NULL && before->at > r->at)
		before = TAILQ_PREV(before, rollcall_list, link);
	if (before == NULL)
		TAILQ_INSERT_HEAD(&t->resting, r, link);
	else
		TAILQ_INSERT_AFTER(&t->resting, before, r, link);
}

void
rollcalls_answer(struct rollcalls *t, uint64_t token, int status, const uint8_t *members,
    size_t len, uint64_t now_ms)
{
	struct rollcall *r = token < ROLLCALL_UNDER_WAY_MAX ? t->under_way[token] : NULL;
	size_t i;

	if (r == NULL)
		return;
	t->under_way[token] = NULL;
	for (i = 0; i < r->asked; i++)
		t->h->answer(t->arg, &r->askers[i], status, members, len);
	t->askers -= r->asked;
	r->n -= r->asked;
	memmove(r->askers, r->askers + r->asked, r->n * sizeof(*r->askers));
	r->asked = 0;
	rest(t, r, now_ms);
}

/* Those that have rested are ready where somebody asks, and forgotten where nobody does. */
static void
wake(struct rollcalls *t, uint64_t now_ms)
{
	struct rollcall *r;

	while ((r = TAILQ_FIRST(&t->resting)) != NULL && r->at <= now_ms) {
		TAILQ_REMOVE(&t->resting, r, link);
		if (r->n > 0) {
			TAILQ_INSERT_TAIL(&t->ready, r, link);
			continue;
		}
		(void)map_del(&t->all, r->channel, r->channel_len);
		rollcall_free(r);
	}
}

void
rollcalls_begin(struct rollcalls *t, uint64_t now_ms)
{
	struct rollcall *r;
	uint64_t token;
	int err;

	wake(t, now_ms);
	for (token = 0; token < ROLLCALL_UNDER_WAY_MAX; token++) {
		/* An answer from inside has freed the token again. */
		while (t->under_way[token] == NULL && (r = TAILQ_FIRST(&t->ready)) != NULL) {
			TAILQ_REMOVE(&t->ready, r, link);
			t->under_way[token] = r;
			r->asked = r->n;
			r->at = now_ms;
			err = t->h->ask(t->arg, r->channel, r->channel_len, token);
			if (err != 0)
				rollcalls_answer(t, token, err, NULL, 0, now_ms);
		}
	}
}

int64_t
rollcalls_wait(const struct rollcalls *t, uint64_t now_ms)
{
	const struct rollcall *r = TAILQ_FIRST(&t->resting);

	if (r == NULL)
		return -1;
	return r->at > now_ms ? (int64_t)(r->at - now_ms) : 0;
}
