/*
 * reply: the answers to publications by HTTP and Redis.
 *
 * Owns:    the start of an answer that has not arrived whole.
 * Process: fanfare-bench, in the thread of its connection.
 * Layer:   bench.  Uses text.
 */
#ifndef BENCH_REPLY_H
#define BENCH_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_HEAD_MAX 4096

struct reply {
	bool redis;
	size_t n;
	uint64_t skip; /* bytes of a body that are still to come */
	uint8_t head[REPLY_HEAD_MAX];
};

/*
 * Takes in n bytes; returns how many answers are complete with them.  Ends the process where one
 * says that a publication was refused.
 */
unsigned reply_feed(struct reply *r, const uint8_t *p, size_t n);

#endif
