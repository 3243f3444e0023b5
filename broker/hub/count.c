/*
 * count: workers' questions how many subscribers a channel has.  See count.h.
 *
 * Questions have numbers in order of their opening, and all have the same time, so the table is a
 * ring in which the oldest is also the first to expire.
 */
#include "broker/hub/count.h"

#include <stdlib.h>
#include <string.h>

struct question {
	struct count_question q;
	uint64_t deadline;
	unsigned expected; /* slots that have not answered */
	uint8_t bytes[];   /* one bit for each such slot, then the channel's name */
};

struct counts {
	unsigned slots;
	void (*done)(void *arg, const struct count_question *q);
	void *arg;
	uint32_t first, end;              /* numbers: the oldest that may be open, and the next */
	struct question *ring[COUNT_MAX]; /* by number; NULL: done */
};

struct counts *
counts_new(unsigned slots, void (*done)(void *arg, const struct count_question *q), void *arg)
{
	struct counts *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->slots = slots;
	t->done = done;
	t->arg = arg;
	return t;
}

void
counts_free(struct counts *t)
{
	size_t i;

	if (t == NULL)
		return;
	for (i = 0; i < COUNT_MAX; i++)
		free(t->ring[i]);
	free(t);
}

static struct question *
find(const struct counts *t, uint32_t number)
{
	/* Unsigned distance, so that numbers may wrap around. */
	return number - t->first < t->end - t->first ? t->ring[number % COUNT_MAX] : NULL;
}

static void
finish(struct counts *t, uint32_t number)
{
	struct question *q = t->ring[number % COUNT_MAX];

	t->ring[number % COUNT_MAX] = NULL;
	while (t->first != t->end && t->ring[t->first % COUNT_MAX] == NULL)
		t->first++;
	t->done(t->arg, &q->q);
	free(q);
}

int
counts_open(struct counts *t, const struct count_question *q, uint64_t now_ms, uint32_t *number)
{
	size_t bitmap = (t->slots + 7) / 8;
	struct question *n = calloc(1, sizeof(*n) + bitmap + q->channel_len);

	if (n == NULL)
		return FAN_ENOMEM;
	if (t->end - t->first == COUNT_MAX)
		finish(t, t->first);
	memcpy(n->bytes + bitmap, q->channel, q->channel_len);
	n->q = *q;
	n->q.channel = (const char *)n->bytes + bitmap;
	n->deadline = now_ms + COUNT_TIMEOUT_MS;
	*number = t->end++;
	t->ring[*number % COUNT_MAX] = n;
	return 0;
}

void
counts_expect(struct counts *t, uint32_t number, unsigned slot)
{
	struct question *q = find(t, number);

	if (q == NULL)
		return;
	q->bytes[slot / 8] |= (uint8_t)(1U << (slot % 8));
	q->expected++;
}

void
counts_seal(struct counts *t, uint32_t number)
{
	struct question *q = find(t, number);

	if (q != NULL && q->expected == 0)
		finish(t, number);
}

void
counts_answer(struct counts *t, uint32_t number, unsigned slot, uint64_t value)
{
	struct question *q = find(t, number);
	uint8_t bit = (uint8_t)(1U << (slot % 8));

	if (q == NULL || !(q->bytes[slot / 8] & bit))
		return;
	q->bytes[slot / 8] &= (uint8_t)~bit;
	q->q.sum += value;
	if (--q->expected == 0)
		finish(t, number);
}

void
counts_slot_gone(struct counts *t, unsigned slot)
{
	uint32_t number;

	for (number = t->first; number != t->end; number++)
		counts_answer(t, number, slot, 0);
}

void
counts_expire(struct counts *t, uint64_t now_ms)
{
	while (t->first != t->end && t->ring[t->first % COUNT_MAX]->deadline <= now_ms)
		finish(t, t->first);
}

bool
counts_pending(const struct counts *t)
{
	return t->first != t->end;
}
