/*
 * Tests of the measuring tool's histogram: ranks are exact, values within 0.8 %.
 */
#include "bench/hist.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define WITHIN 0.008

static struct hist *
new_hist(void)
{
	struct hist *h = calloc(1, sizeof(*h));

	cr_assert_not_null(h);
	return h;
}

static void
assert_near(uint64_t got, uint64_t expected)
{
	double off = (double)got - (double)expected;

	cr_assert(off <= WITHIN * (double)expected && -off <= WITHIN * (double)expected,
	    "%llu instead of %llu", (unsigned long long)got, (unsigned long long)expected);
}

Test(hist, empty)
{
	struct hist *h = new_hist();

	cr_assert_eq(hist_quantile(h, 0.5), 0);
	cr_assert_eq(hist_quantile(h, 1), 0);
	free(h);
}

Test(hist, small_values_are_exact)
{
	struct hist *h = new_hist();
	uint64_t v;

	for (v = 0; v < 200; v++)
		hist_add(h, v);
	cr_assert_eq(h->n, 200);
	cr_assert_eq(hist_quantile(h, 0), 0);
	cr_assert_eq(hist_quantile(h, 0.5), 100);
	cr_assert_eq(hist_quantile(h, 0.99), 198);
	cr_assert_eq(hist_quantile(h, 1), 199);
	free(h);
}

Test(hist, every_magnitude_is_near)
{
	struct hist *h = new_hist();
	uint64_t v, odd;
	int bit;

	for (bit = 0; bit < 64; bit++) {
		v = UINT64_C(1) << bit;
		for (odd = 0; odd < 3; odd++) {
			hist_clear(h);
			hist_add(h, v + odd * (v / 3));
			hist_add(h, UINT64_MAX);
			assert_near(hist_quantile(h, 0), v + odd * (v / 3));
		}
	}
	cr_assert_eq(hist_quantile(h, 1), UINT64_MAX);
	free(h);
}

Test(hist, ranks_of_a_wide_range)
{
	struct hist *h = new_hist();
	uint64_t i;

	for (i = 1; i <= 100000; i++)
		hist_add(h, i * 1000);
	assert_near(hist_quantile(h, 0.5), 50001000);
	assert_near(hist_quantile(h, 0.99), 99001000);
	assert_near(hist_quantile(h, 0.999), 99901000);
	cr_assert_eq(hist_quantile(h, 1), 100000000);
	free(h);
}

Test(hist, merged_is_as_if_added_to_one)
{
	struct hist *a = new_hist(), *b = new_hist(), *both = new_hist();
	uint64_t i;

	for (i = 0; i < 5000; i++) {
		hist_add(i % 3 == 0 ? a : b, i * i);
		hist_add(both, i * i);
	}
	hist_merge(a, b);
	cr_assert_arr_eq(a, both, sizeof(*a));
	free(a);
	free(b);
	free(both);
}
