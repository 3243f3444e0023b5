/*
 * traffic: the modes fanout and pairs: messages through the broker, timed and checked.
 *
 * Process: fanfare-bench.
 * Layer:   bench.  Uses address, conn, dial, flow, loop, opener, report, server, settings, text.
 */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

struct settings;

/* Runs the mode and prints its results.  Returns the exit status: 1 if a message went wrong. */
int traffic_main(const struct settings *s);

#endif
