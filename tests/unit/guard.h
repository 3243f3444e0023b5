/*
 * guard: input whose last byte is the last before a page that must not be touched, so that a codec
 * which reads or writes past its input dies at once.
 *
 * Process: unit tests.
 * Layer:   tests.  Uses Criterion.
 */
#ifndef TESTS_UNIT_GUARD_H
#define TESTS_UNIT_GUARD_H

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
	uint8_t *base;
	size_t room; /* bytes before the forbidden page */
	size_t page;
};

/* Room for at least `room` bytes. */
static inline struct guard
guard_new(size_t room)
{
	struct guard g;

	g.page = (size_t)sysconf(_SC_PAGESIZE);
	g.room = (room + g.page) / g.page * g.page;
	g.base =
	    mmap(NULL, g.room + g.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(g.base != MAP_FAILED);
	cr_assert(mprotect(g.base + g.room, g.page, PROT_NONE) == 0);
	return g;
}

static inline void
guard_free(struct guard *g)
{
	cr_assert(munmap(g->base, g->room + g->page) == 0);
}

/* Copies n bytes so that they end at the forbidden page, and lends the copy. */
static inline uint8_t *
guard_put(const struct guard *g, const void *data, size_t n)
{
	uint8_t *p = g->base + g->room - n;

	cr_assert(n <= g->room);
	if (n > 0)
		memcpy(p, data, n);
	return p;
}

#endif
