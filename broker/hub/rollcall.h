/*
 * rollcall: workers' questions who is in a channel, gathered so that few of them reach the engine.
 *
 * Owns:    a bounded table of channels and of those who ask about them.
 * Process: hub.
 * Layer:   broker/hub.  Uses err, map.
 *
 * The engine's answer is as dear as the channel is large, and any client may ask.  So all who ask about a
 * channel share one question.  Only who asked before it began is answered by it, and so finds whoever had
 * joined before; who comes later is answered by the next one.  After each answer the channel rests, ten
 * times as long as that question took, within bounds; and few questions are under way at once.
 */
#ifndef BROKER_HUB_ROLLCALL_H
#define BROKER_HUB_ROLLCALL_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define ROLLCALL_ASKERS_MAX 65536
#define ROLLCALL_UNDER_WAY_MAX 8 /* questions at once, of all channels */
#define ROLLCALL_REST_MIN_MS 100
#define ROLLCALL_REST_MAX_MS 1000

/* Whoever asked, and the id under which: the owner's. */
struct rollcall_asker {
	uint32_t serial, id;
};

/* The channel's name and the bytes are lent.  Neither may add to the table. */
struct rollcall_handler {
	/* Asks the engine.  0: rollcalls_answer is called once with the token, maybe from inside. */
	int (*ask)(void *arg, const char *channel, size_t channel_len, uint64_t token);
	/* Once for each asker. */
	void (*answer)(void *arg, const struct rollcall_asker *asker, int status,
	    const uint8_t *members, size_t len);
};

struct rollcalls;

/* h must outlive the table.  NULL: no memory. */
struct rollcalls *rollcalls_new(const struct rollcall_handler *h, void *arg);
/* Calls nothing back.  NULL is allowed. */
void rollcalls_free(struct rollcalls *t);

/* Copies its arguments.  FAN_EFULL: too many ask.  FAN_ENOMEM. */
FAN_NODISCARD int rollcalls_add(struct rollcalls *t, const char *channel, size_t channel_len,
    const struct rollcall_asker *asker);
/* Asks what is due.  Not from callbacks of the engine. */
void rollcalls_begin(struct rollcalls *t, uint64_t now_ms);
/* The engine's answer.  Unknown tokens are ignored. */
void rollcalls_answer(struct rollcalls *t, uint64_t token, int status, const uint8_t *members,
    size_t len, uint64_t now_ms);
/* After how many ms rollcalls_begin is due again by time alone; negative: it is not. */
int64_t rollcalls_wait(const struct rollcalls *t, uint64_t now_ms);

#endif
