/*
 * preset: how to speak to the brokers that the tool knows.
 *
 * Process: fanfare-bench.
 * Layer:   bench.  Uses settings.
 */
#ifndef BENCH_PRESET_H
#define BENCH_PRESET_H

struct dialect;

/* NULL: there is none of this name. */
const struct dialect *preset_find(const char *name);

/* The name of preset i with a line about it in *about, NULL behind the last. */
const char *preset_name(unsigned i, const char **about);

#endif
