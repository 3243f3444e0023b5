/*
 * fuzz: what the fuzz targets share.  See fuzz.h.
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void
fuzz_fail(const char *file, int line, const char *condition)
{
	(void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

uint8_t
fuzz_byte(struct fuzz_input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

struct fuzz_input
fuzz_take(struct fuzz_input *in, size_t n)
{
	struct fuzz_input taken = { in->p, n < in->n ? n : in->n };

	in->p += taken.n;
	in->n -= taken.n;
	return taken;
}

struct fuzz_input
fuzz_line(struct fuzz_input *in)
{
	const uint8_t *end = in->n > 0 ? memchr(in->p, '\n', in->n) : NULL;
	struct fuzz_input line = fuzz_take(in, end != NULL ? (size_t)(end - in->p) : in->n);

	(void)fuzz_byte(in);
	return line;
}

uint8_t *
fuzz_copy(const void *p, size_t n)
{
	uint8_t *copy = malloc(n);

	FUZZ_CHECK(copy != NULL || n == 0);
	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

char *
fuzz_string(struct fuzz_input in)
{
	char *copy = malloc(in.n + 1);

	FUZZ_CHECK(copy != NULL);
	if (in.n > 0)
		memcpy(copy, in.p, in.n);
	copy[in.n] = '\0';
	return copy;
}

void
fuzz_note(struct buf *b, const void *p, size_t n)
{
	FUZZ_CHECK(n == 0 || buf_append(b, p, n) == 0);
}

void
fuzz_note_number(struct buf *b, int64_t number)
{
	fuzz_note(b, &number, sizeof(number));
}

bool
fuzz_same(const struct buf *a, const struct buf *b)
{
	return buf_len(a) == buf_len(b) &&
	    (buf_len(a) == 0 || memcmp(buf_data(a), buf_data(b), buf_len(a)) == 0);
}

void
fuzz_cuts_read(struct fuzz_cuts *c, struct fuzz_input *in)
{
	size_t i;

	c->n = 1 + fuzz_byte(in) % FUZZ_CUTS_MAX;
	c->at = 0;
	for (i = 0; i < c->n; i++)
		c->size[i] = fuzz_byte(in);
}

void
fuzz_cuts_even(struct fuzz_cuts *c, size_t size)
{
	c->n = 1;
	c->at = 0;
	c->size[0] = size;
}

size_t
fuzz_cuts_next(struct fuzz_cuts *c, size_t left)
{
	size_t size = c->size[c->at];

	c->at = (c->at + 1) % c->n;
	if (size == 0)
		size = 1;
	return size < left ? size : left;
}
