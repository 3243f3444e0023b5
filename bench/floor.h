/*
 * floor: the cheapest WebSocket server that can be, to measure others against.
 *
 * Process: fanfare-bench floor.
 * Layer:   bench.  Uses relay, settings, text; and the project's handshake and sock.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

struct settings;

/* Serves until it is ended by a signal. */
int floor_main(const struct settings *s);

#endif
