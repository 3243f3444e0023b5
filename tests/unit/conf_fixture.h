/*
 * conf_fixture: a configuration to read into, and what the last call said.
 *
 * Owns:    both; a test file of conf has it to itself.
 * Process: unit tests.
 * Layer:   tests.  Uses common/conf; Criterion.
 */
#ifndef TESTS_UNIT_CONF_FIXTURE_H
#define TESTS_UNIT_CONF_FIXTURE_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/conf.h"

extern struct conf *c;
extern char *said;

/* Of each test. */
void setup(void);
void teardown(void);

/* A stream for the errors of a call, to be closed after it; they are in `said` then. */
FILE *listen_to(size_t *n);

/* Calls of conf.h on c, with their results; the file's name is F. */
int load(const char *yaml);
int set(const char *assignment);
int env(const char *variable);
int check(void);

/* The effective configuration as text, for free(). */
char *printed(const struct conf *conf, bool secrets);

#define GOOD(call) cr_assert_eq(call, 0, "%s: %s", #call, said)
#define BAD(call, text)                                                                            \
	do {                                                                                       \
		cr_assert_eq(call, FAN_EINVAL, "%s", #call);                                       \
		cr_assert_str_eq(said, text);                                                      \
	} while (0)
#define BAD_WITH(call, part)                                                                       \
	do {                                                                                       \
		cr_assert_eq(call, FAN_EINVAL, "%s", #call);                                       \
		cr_assert_not_null(strstr(said, part), "%s said: %s", #call, said);                \
	} while (0)

#endif
