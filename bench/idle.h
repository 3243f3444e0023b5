/*
 * idle: the mode idle: what connections cost that only wait.
 *
 * Process: fanfare-bench.
 * Layer:   bench.  Uses conn, loop, opener, report, server, settings, text.
 */
#ifndef BENCH_IDLE_H
#define BENCH_IDLE_H

struct settings;

/* Runs the mode and prints its results.  Returns the exit status. */
int idle_main(const struct settings *s);

#endif
