/*
 * clock: monotonic time.  A step of the wall clock changes none of it.
 *
 * Process: any.
 * Layer:   common.  Uses nothing.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

/* Milliseconds and microseconds since an arbitrary start (CLOCK_MONOTONIC), never 0. */
uint64_t clock_ms(void);
uint64_t clock_us(void);

#endif
