/*
 * fuzz: what the fuzz targets share: properties that must hold, and input taken apart.
 *
 * Owns:    nothing.
 * Process: fuzz targets.
 * Layer:   tests.  Uses common/buf.
 *
 * A target is one file with LLVMFuzzerTestOneInput, which ends the process where a property does
 * not hold.  With clang and --enable-fuzzing libFuzzer calls it; in any other build replay.c does,
 * with the files that it is given.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

/* What is left of an input; lent. */
struct fuzz_input {
	const uint8_t *p;
	size_t n;
};

/* The next byte; 0 at the end. */
uint8_t fuzz_byte(struct fuzz_input *in);
/* The next n bytes, or as many as there are. */
struct fuzz_input fuzz_take(struct fuzz_input *in, size_t n);
/* What comes before the next line feed, which goes too, or before the end. */
struct fuzz_input fuzz_line(struct fuzz_input *in);

/*
 * A copy in memory of its own of exactly n bytes, so that AddressSanitizer sees what reads past
 * them; never NULL.  The caller frees it.
 */
uint8_t *fuzz_copy(const void *p, size_t n);
/* The same, up to the first NUL and with one. */
char *fuzz_string(struct fuzz_input in);

/* Appends to a transcript; ends the process where there is no memory. */
void fuzz_note(struct buf *b, const void *p, size_t n);
void fuzz_note_number(struct buf *b, int64_t number);
bool fuzz_same(const struct buf *a, const struct buf *b);

/* In which pieces a stream arrives: so many bytes, in turn. */
#define FUZZ_CUTS_MAX 16
struct fuzz_cuts {
	size_t size[FUZZ_CUTS_MAX];
	size_t n;
	size_t at;
};

/* A number of pieces and their sizes, from the input's first bytes. */
void fuzz_cuts_read(struct fuzz_cuts *c, struct fuzz_input *in);
/* Pieces of this size. */
void fuzz_cuts_even(struct fuzz_cuts *c, size_t size);
/* How much of what is left arrives next; at least 1 unless nothing is left. */
size_t fuzz_cuts_next(struct fuzz_cuts *c, size_t left);

#endif
