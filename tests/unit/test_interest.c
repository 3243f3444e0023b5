/*
 * Unit tests of broker/hub/interest.
 */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hub/interest.h"
#include "common/publication.h"

static enum interest_state
add(struct interest *t, const char *channel, unsigned slot)
{
	enum interest_state was;

	cr_assert(interest_add(t, channel, strlen(channel), slot, 100 + slot, &was) == 0);
	return was;
}

static struct {
	unsigned n;
	uint32_t id[8]; /* of each slot, 0: not answered */
} answered;

static void
on_answer(void *arg, unsigned slot, uint32_t id)
{
	(void)arg;
	cr_assert(slot < 8 && answered.id[slot] == 0);
	answered.id[slot] = id;
	answered.n++;
}

/* How many waited. */
static unsigned
live(struct interest *t, const char *channel)
{
	memset(&answered, 0, sizeof(answered));
	interest_live(t, channel, strlen(channel), on_answer, NULL);
	return answered.n;
}

static bool
removed_last(struct interest *t, const char *channel, unsigned slot)
{
	return interest_remove(t, channel, strlen(channel), slot);
}

/* The slots that want the channel, as "0 3 8 ". */
static const char *
slots(const struct interest *t, const char *channel)
{
	static char out[4096];
	const struct interest_entry *e = interest_get(t, channel, strlen(channel));
	size_t n = 0;
	int slot;

	out[0] = '\0';
	if (e == NULL)
		return "gone";
	for (slot = -1; (slot = interest_next(t, e, (unsigned)(slot + 1))) >= 0;)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%d ", slot);
	return out;
}

Test(interest, a_channel_is_new_then_pending_then_live)
{
	struct interest *t = interest_new(4);

	cr_assert(add(t, "news", 0) == INTEREST_NONE);
	cr_assert(add(t, "news", 0) == INTEREST_PENDING);
	cr_assert(add(t, "news", 2) == INTEREST_PENDING);
	cr_assert(live(t, "new") == 0 && live(t, "newss") == 0);
	cr_assert(add(t, "news", 1) == INTEREST_PENDING);
	cr_assert(!removed_last(t, "news", 1));
	cr_assert(live(t, "news") == 2);
	cr_assert(answered.id[0] == 100 && answered.id[2] == 102);
	cr_assert(add(t, "news", 3) == INTEREST_LIVE);
	cr_assert(live(t, "news") == 0);
	cr_assert(interest_channels(t) == 1);
	cr_assert_str_eq(slots(t, "news"), "0 2 3 ");
	interest_free(t);
}

Test(interest, the_last_one_to_leave_ends_the_channel)
{
	struct interest *t = interest_new(4);

	add(t, "a", 1);
	add(t, "a", 2);
	cr_assert(live(t, "a") == 2);
	cr_assert(!removed_last(t, "a", 1));
	cr_assert(!removed_last(t, "a", 1)); /* twice */
	cr_assert(!removed_last(t, "a", 3)); /* never wanted it */
	cr_assert_str_eq(slots(t, "a"), "2 ");
	cr_assert(removed_last(t, "a", 2));
	cr_assert(!removed_last(t, "a", 2));
	cr_assert(!removed_last(t, "unknown", 0));
	cr_assert_str_eq(slots(t, "a"), "gone");
	cr_assert(interest_channels(t) == 0);
	/* It begins anew, as pending. */
	cr_assert(add(t, "a", 0) == INTEREST_NONE);
	cr_assert(add(t, "a", 1) == INTEREST_PENDING);
	interest_free(t);
}

/* A slot that left and came back waits under its new id, so an old answer cannot pass for it. */
Test(interest, the_last_question_is_answered)
{
	struct interest *t = interest_new(8);
	enum interest_state was;

	add(t, "a", 1);
	cr_assert(interest_add(t, "a", 1, 4, 7, &was) == 0);
	cr_assert(interest_add(t, "a", 1, 4, 8, &was) == 0);
	cr_assert(!removed_last(t, "a", 4));
	cr_assert(interest_add(t, "a", 1, 4, 9, &was) == 0);
	cr_assert(live(t, "a") == 2 && answered.id[4] == 9 && answered.id[1] == 101);
	/* What still waits is freed with the table. */
	add(t, "b", 1);
	add(t, "b", 2);
	interest_free(t);
}

Test(interest, an_outage_is_noted_once_a_channel)
{
	struct interest *t = interest_new(2);

	add(t, "a", 0);
	add(t, "b", 0);
	cr_assert(interest_note_outage(t, "a", 1, 1));
	cr_assert(!interest_note_outage(t, "a", 1, 1));
	cr_assert(interest_note_outage(t, "b", 1, 1));
	cr_assert(interest_note_outage(t, "a", 1, 2));
	cr_assert(!interest_note_outage(t, "c", 1, 2));
	interest_free(t);
}

Test(interest, every_slot_of_any_count)
{
	static const unsigned counts[] = { 1, 7, 8, 9, 64, 65, 1024 };
	struct interest *t;
	const struct interest_entry *e;
	unsigned i, slot;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		t = interest_new(counts[i]);
		for (slot = 0; slot < counts[i]; slot++)
			add(t, "c", slot);
		e = interest_get(t, "c", 1);
		for (slot = 0; slot < counts[i]; slot++)
			cr_assert(interest_next(t, e, slot) == (int)slot);
		cr_assert(interest_next(t, e, counts[i]) == -1);
		for (slot = 0; slot < counts[i] - 1; slot++) {
			cr_assert(!removed_last(t, "c", slot));
			cr_assert(interest_next(t, e, 0) == (int)slot + 1);
		}
		cr_assert(removed_last(t, "c", slot));
		interest_free(t);
	}
}

struct gone {
	unsigned n;
	bool seen[3000];
};

static void
on_gone(void *arg, const char *channel, size_t len)
{
	struct gone *g = arg;
	char name[16];
	unsigned long i;

	cr_assert(len > 1 && len < sizeof(name));
	memcpy(name, channel, len);
	name[len] = '\0';
	i = strtoul(name + 1, NULL, 10);
	cr_assert(i < 3000 && !g->seen[i]);
	g->seen[i] = true;
	g->n++;
}

Test(interest, a_slot_that_goes_takes_what_only_it_wanted)
{
	struct interest *t = interest_new(10);
	static struct gone g;
	char name[16];
	unsigned i;

	for (i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "c%u", i);
		add(t, name, 9);
		if (i % 3 == 0)
			add(t, name, 1);
	}
	interest_drop_slot(t, 5, on_gone, &g);
	cr_assert(g.n == 0 && interest_channels(t) == 3000);
	interest_drop_slot(t, 9, on_gone, &g);
	cr_assert(g.n == 2000 && interest_channels(t) == 1000);
	for (i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "c%u", i);
		cr_assert(g.seen[i] == (i % 3 != 0));
		cr_assert_str_eq(slots(t, name), i % 3 == 0 ? "1 " : "gone");
	}
	interest_drop_slot(t, 9, on_gone, &g);
	cr_assert(g.n == 2000);
	interest_free(t);
}

Test(interest, names_are_bytes_with_a_length)
{
	struct interest *t = interest_new(2);
	enum interest_state was;
	char longest[CHANNEL_NAME_MAX];

	memset(longest, 'n', sizeof(longest));
	cr_assert(interest_add(t, longest, sizeof(longest), 0, 1, &was) == 0);
	cr_assert(interest_add(t, longest, sizeof(longest) - 1, 1, 1, &was) == 0);
	cr_assert(was == INTEREST_NONE && interest_channels(t) == 2);
	cr_assert(interest_remove(t, longest, sizeof(longest), 0));
	cr_assert(interest_get(t, longest, sizeof(longest) - 1) != NULL);
	interest_free(t);
	interest_free(NULL);
}
