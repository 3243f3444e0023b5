/*
 * feed: from the engine to the workers: messages, what became of subscriptions, and outages.
 *
 * Process: hub.
 * Layer:   broker/hub, above streams.  Uses node, interest, peer, broker/engine, common.
 *
 * The functions are callbacks of an engine, with a struct node as arg.
 */
#ifndef BROKER_HUB_FEED_H
#define BROKER_HUB_FEED_H

#include <stddef.h>
#include <stdint.h>

#include "broker/hub/streams.h"
#include "common/publication.h"

struct engine_past;

void feed_message(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, const struct position *pos);
void feed_subscribed(void *arg, const char *channel, size_t channel_len);
/* Of a read whose token has TOKEN_STREAM. */
void feed_history(void *arg, uint64_t token, int status, const struct engine_past *past);
void feed_interrupted(void *arg);
void feed_restored(void *arg);

/* What streams do, with a struct node as arg, too. */
extern const struct streams_handler feed_streams;

#endif
