/*
 * memory: how much of the machine's memory this process may have.
 *
 * Owns:    nothing.
 * Process: any.
 * Layer:   common.  Uses nothing.
 */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

#include <stdint.h>

/*
 * Bytes: the machine's memory, or less where a control group (version 2 or 1) that the process is in,
 * or one above it, allows less.  root stands before /proc and /sys; "" but in tests.
 */
uint64_t memory_limit(const char *root);

#endif
