/*
 * Unit tests of broker/hub/count.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "broker/hub/count.h"

static struct {
	unsigned n;
	uint32_t asker, id;
	uint64_t sum;
	char channel[8];
} done;

static void
on_done(void *arg, const struct count_question *q)
{
	cr_assert(arg == &done);
	done.n++;
	done.asker = q->asker;
	done.id = q->id;
	done.sum = q->sum;
	cr_assert(q->channel_len < sizeof(done.channel));
	memcpy(done.channel, q->channel, q->channel_len);
	done.channel[q->channel_len] = '\0';
}

static struct counts *
table(unsigned slots)
{
	struct counts *t = counts_new(slots, on_done, &done);

	cr_assert(t != NULL);
	memset(&done, 0, sizeof(done));
	return t;
}

/* Asks the slots 0 to n-1. */
static uint32_t
ask(struct counts *t, uint32_t id, unsigned n, uint64_t now)
{
	struct count_question q = { .asker = 77, .id = id, .channel = "news", .channel_len = 4 };
	uint32_t number;
	unsigned slot;

	cr_assert(counts_open(t, &q, now, &number) == 0);
	for (slot = 0; slot < n; slot++)
		counts_expect(t, number, slot);
	counts_seal(t, number);
	return number;
}

Test(count, answers_are_added_up)
{
	struct counts *t = table(9);
	uint32_t number = ask(t, 5, 9, 0);
	unsigned slot;

	for (slot = 0; slot < 8; slot++)
		counts_answer(t, number, slot, slot);
	counts_answer(t, number, 3, 1000); /* twice */
	cr_assert(done.n == 0 && counts_pending(t));
	counts_answer(t, number, 8, 100);
	cr_assert(done.n == 1 && done.sum == 128 && done.id == 5 && done.asker == 77);
	cr_assert_str_eq(done.channel, "news");
	cr_assert(!counts_pending(t));
	counts_answer(t, number, 8, 100);
	counts_answer(t, number + 1, 0, 1);
	counts_answer(t, number - 1, 0, 1);
	cr_assert(done.n == 1);
	counts_free(t);
}

Test(count, nobody_to_ask)
{
	struct counts *t = table(4);

	(void)ask(t, 1, 0, 0);
	cr_assert(done.n == 1 && done.sum == 0 && !counts_pending(t));
	counts_free(t);
}

Test(count, a_slot_that_goes_counts_nothing)
{
	struct counts *t = table(3);
	uint32_t a = ask(t, 1, 3, 0), b = ask(t, 2, 1, 0);

	counts_answer(t, a, 0, 10);
	counts_slot_gone(t, 1);
	cr_assert(done.n == 0);
	counts_slot_gone(t, 2);
	cr_assert(done.n == 1 && done.id == 1 && done.sum == 10);
	counts_slot_gone(t, 0);
	cr_assert(done.n == 2 && done.id == 2 && done.sum == 0);
	counts_answer(t, b, 0, 1);
	cr_assert(done.n == 2);
	counts_free(t);
}

Test(count, the_sum_so_far_after_the_deadline)
{
	struct counts *t = table(2);
	uint32_t a = ask(t, 1, 2, 1000), b = ask(t, 2, 2, 1001);

	counts_answer(t, a, 1, 4);
	counts_answer(t, b, 1, 8);
	counts_expire(t, 1000 + COUNT_TIMEOUT_MS - 1);
	cr_assert(done.n == 0);
	counts_expire(t, 1000 + COUNT_TIMEOUT_MS);
	cr_assert(done.n == 1 && done.id == 1 && done.sum == 4);
	counts_expire(t, 1001 + COUNT_TIMEOUT_MS);
	cr_assert(done.n == 2 && done.id == 2 && done.sum == 8 && !counts_pending(t));
	counts_free(t);
}

Test(count, the_oldest_gives_way_when_the_table_is_full)
{
	struct counts *t = table(1);
	uint32_t number[COUNT_MAX + 1];
	unsigned i;

	for (i = 0; i < COUNT_MAX; i++)
		number[i] = ask(t, i, 1, 0);
	cr_assert(done.n == 0);
	/* A hole in the middle makes no room at the end of a ring. */
	counts_answer(t, number[10], 0, 3);
	cr_assert(done.n == 1 && done.id == 10);
	number[COUNT_MAX] = ask(t, COUNT_MAX, 1, 0);
	cr_assert(done.n == 2 && done.id == 0);
	for (i = 1; i <= COUNT_MAX; i++)
		counts_answer(t, number[i], 0, i);
	cr_assert(done.n == COUNT_MAX + 1 && done.sum == COUNT_MAX && !counts_pending(t));
	/* Around the ring several times. */
	for (i = 0; i < 3 * COUNT_MAX; i++)
		counts_answer(t, ask(t, i, 1, 0), 0, 1);
	cr_assert(done.n == 4 * COUNT_MAX + 1 && !counts_pending(t));
	(void)ask(t, 1, 1, 0);
	counts_free(t);
}
