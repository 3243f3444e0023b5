/*
 * churn: the mode churn: connections that open, do their handshake, and close.
 *
 * Process: fanfare-bench.
 * Layer:   bench.  Uses address, dial, hist, opener, report, server, settings, text.
 */
#ifndef BENCH_CHURN_H
#define BENCH_CHURN_H

struct settings;

/* Runs the mode and prints its results.  Returns the exit status. */
int churn_main(const struct settings *s);

#endif
