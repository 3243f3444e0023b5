/*
 * count: workers' questions how many subscribers a channel has, while the answers are gathered.
 *
 * Owns:    a bounded table of questions.
 * Process: hub.
 * Layer:   broker/hub.  Uses err.
 *
 * A question is opened, the slots that are asked are noted, then it is sealed.  It is done, with
 * the sum so far, when every slot has answered or gone, when COUNT_TIMEOUT_MS have passed, or
 * when a newer question needs its place; `done` is called once for each.
 */
#ifndef BROKER_HUB_COUNT_H
#define BROKER_HUB_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define COUNT_TIMEOUT_MS 2000
#define COUNT_MAX 256 /* questions at once */

struct count_question {
	uint32_t asker; /* whoever asked, and the id under which: the owner's */
	uint32_t id;
	uint64_t sum;
	const char *channel;
	size_t channel_len;
};

struct counts;

/* done's question is lent until it returns; it must not call into this table.  NULL: no memory. */
struct counts *counts_new(
    unsigned slots, void (*done)(void *arg, const struct count_question *q), void *arg);
/* Calls nothing back.  NULL is allowed. */
void counts_free(struct counts *t);

/* Copies q.  *number names it to the slots.  FAN_ENOMEM. */
FAN_NODISCARD int counts_open(
    struct counts *t, const struct count_question *q, uint64_t now_ms, uint32_t *number);
/* The slot has been asked. */
void counts_expect(struct counts *t, uint32_t number, unsigned slot);
/* All have been asked. */
void counts_seal(struct counts *t, uint32_t number);

/* An answer.  Late, unknown and second ones are ignored. */
void counts_answer(struct counts *t, uint32_t number, unsigned slot, uint64_t value);
/* The slot will answer nothing any more. */
void counts_slot_gone(struct counts *t, unsigned slot);
void counts_expire(struct counts *t, uint64_t now_ms);
bool counts_pending(const struct counts *t);

#endif
