/*
 * streams: the channels with history that somebody on this node wants, and when each of them reads.
 *
 * Owns:    a stream for each such channel.
 * Process: hub.
 * Layer:   broker/hub, above stream.  Uses common.
 *
 * Reads begin in streams_begin only, which the hub calls at the end of a pass, because the engine must
 * not be called from its own callbacks; STREAMS_READS at most are under way at once, and the others wait
 * in the order in which they came to need one.  A round of reads that was begun goes on first.
 */
#ifndef BROKER_HUB_STREAMS_H
#define BROKER_HUB_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/hub/stream.h"
#include "common/err.h"
#include "common/publication.h"
#include "common/records.h"

#define STREAMS_READS 64

struct streams;

/* All with the arg of streams_new.  They must not call back into the table; see struct stream_ops. */
struct streams_handler {
	void (*deliver)(void *arg, const char *channel, size_t len, const struct record *r);
	void (*answer)(void *arg, const struct stream *s, unsigned slot, uint32_t id,
	    bool recovered, struct records rs);
	void (*refuse)(void *arg, const struct stream *s, unsigned slot, uint32_t id, int status);
	void (*gap)(void *arg, const char *channel, size_t len);
	/*
	 * Begins a read; streams_read_done is called with the token, unless this fails.  It may be
	 * called from inside.
	 */
	int (*read)(void *arg, const char *channel, size_t len, const struct stream_read *r,
	    uint32_t token);
};

/*
 * recovery: see stream_new.  check: every so many ms each stream with position check that has had no
 * message compares its position with the engine's; 0: never.  NULL: no memory.
 */
struct streams *streams_new(
    unsigned recovery, uint64_t check, const struct streams_handler *h, void *arg);
void streams_free(struct streams *t);

/* The channel is wanted.  It reads nothing before streams_live.  FAN_EEXIST, FAN_ENOMEM. */
FAN_NODISCARD int streams_add(
    struct streams *t, const char *channel, size_t len, bool check, uint64_t now);
/* Nobody wants it any more.  An unknown one is none. */
void streams_remove(struct streams *t, const char *channel, size_t len);
bool streams_has(const struct streams *t, const char *channel, size_t len);
size_t streams_count(const struct streams *t);

/* The engine delivers the channel. */
void streams_live(struct streams *t, const char *channel, size_t len);
/* As stream_wait.  FAN_ENOENT: it has no stream. */
FAN_NODISCARD int streams_wait(struct streams *t, const char *channel, size_t len, unsigned slot,
    uint32_t id, const struct position *since, bool verify);
/* The worker of this slot does not want the channel any more. */
void streams_leave(struct streams *t, const char *channel, size_t len, unsigned slot);
/* The worker of this slot has gone. */
void streams_drop_slot(struct streams *t, unsigned slot);

/* As stream_message.  false: the channel has no stream. */
bool streams_message(struct streams *t, const char *channel, size_t len, const struct position *pos,
    const struct record *r);
/* The engine was away and is back. */
void streams_stale(struct streams *t);

/* Begins the reads that are due. */
void streams_begin(struct streams *t);
/*
 * The answer to a read; without status 0 it is read again after the next tick.  With FAN_EDENIED there is
 * no end to that in sight: of a stream that has never been read, those who wait are refused instead.
 */
void streams_read_done(
    struct streams *t, uint32_t token, int status, const struct position *top, struct records rs);

/*
 * Now and then, while the engine serves: checks positions, spread over the interval, and tries failed
 * reads again.
 */
void streams_tick(struct streams *t, uint64_t now);
/* Whether streams_tick has anything to do, now or later. */
bool streams_ticking(const struct streams *t);

#endif
