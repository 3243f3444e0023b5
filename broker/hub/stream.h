/*
 * stream: a channel with history, as the hub sees it: where it stands, and in which order its messages
 * go on to the workers.
 *
 * Owns:    the live messages that are held while history is read, and those who wait for the read.
 * Process: hub.
 * Layer:   broker/hub.  Uses common.  Knows neither engine nor peers: both are behind struct
 *          stream_ops, which also is how it is tested (and modelled, tests/model).
 *
 *     COLD ------ first read answered -----> LIVE <----- read answered ------ READING
 *                                        (passed on)  -- gap, new epoch, ->    (held)
 *                                                        or one who waits
 *
 * LIVE: the message after the last goes on at once; an older one is a copy and is dropped.  Anything
 * else, and whoever wants messages from a position before the last, makes the stream read; while it
 * reads, live messages are held, so that what is read comes first.  One round of reads, up to where the
 * channel then stands, serves all who wait (single flight); who comes meanwhile and needs more waits for
 * the next.  What is held is bounded: beyond, it is dropped and read again.
 *
 * Order: what everybody missed goes to all workers as it is read; at the round's end those who waited are
 * answered, with the range from their position to the last; then what was held goes on.  So a worker that
 * is answered has been sent exactly the messages up to the position in the answer.
 *
 * Who is refused: who is more than `recovery` messages behind, whose messages were trimmed or are more
 * bytes than are gathered (16 MiB, the newest), and, after a read that began when he had come, whose epoch
 * is another or whose position is beyond the top.  While COLD, everybody whom the engine refuses to read
 * for.
 */
#ifndef BROKER_HUB_STREAM_H
#define BROKER_HUB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"
#include "common/records.h"

struct stream;

/* All with the arg of stream_new.  They must not call back into the stream. */
struct stream_ops {
	/* This message is for every worker that has the channel. */
	void (*deliver)(void *arg, const struct stream *s, const struct record *r);
	/*
	 * The answer to one who waited: the stream stands at stream_position; recovered: rs are all
	 * messages from the position that he named up to there.  Who named none is not recovered.
	 */
	void (*answer)(void *arg, const struct stream *s, unsigned slot, uint32_t id,
	    bool recovered, struct records rs);
	/* The same where the engine refuses: the channel cannot be had. */
	void (*refuse)(void *arg, const struct stream *s, unsigned slot, uint32_t id, int status);
	/* Messages are missing that cannot be had, or the epoch is another: the workers must ask. */
	void (*gap)(void *arg, const struct stream *s);
	/*
	 * stream_due is true; it may be said again while it is.  The owner calls stream_read_begun
	 * before it begins the read.
	 */
	void (*due)(void *arg, struct stream *s);
};

/* What is to be read: engine_query's. */
struct stream_read {
	uint64_t after;
	unsigned limit;
};

/* recovery: the most messages that are given to one who waits.  NULL: no memory. */
struct stream *stream_new(
    const char *channel, size_t len, unsigned recovery, const struct stream_ops *ops, void *arg);
void stream_free(struct stream *s);

const char *stream_channel(const struct stream *s, size_t *len);
/* Where it stands: what has been delivered.  epoch "": COLD. */
const struct position *stream_position(const struct stream *s);

/*
 * A worker wants the channel from a position on (none: from now on); verify: not what is known, but
 * what the engine says, is to be answered.  Answered now or later, unless the slot asks again before.
 * FAN_ENOMEM: no answer comes.
 */
FAN_NODISCARD int stream_wait(
    struct stream *s, unsigned slot, uint32_t id, const struct position *since, bool verify);
/* The worker of this slot has gone; it is not answered any more. */
void stream_drop_slot(struct stream *s, unsigned slot);

/* A message has come from the engine.  Without memory it is read again. */
void stream_message(struct stream *s, const struct position *pos, const struct record *r);
/* The engine was away and is back, or may have lost something: what is missing is to be read. */
void stream_stale(struct stream *s);

/* Whether a read is to be begun, and which (NULL is allowed).  None while one is under way. */
bool stream_due(const struct stream *s, struct stream_read *out);
void stream_read_begun(struct stream *s);
/* Whether a read is due to go on with what earlier ones have gathered. */
bool stream_midway(const struct stream *s);
/* Its answer: records as engine_past has them.  Another read may be due then. */
void stream_read_done(struct stream *s, const struct position *top, struct records rs);
/* It has failed: none is due until stream_stale. */
void stream_read_failed(struct stream *s);
/*
 * The engine refuses it, while COLD: whoever waits is told so and waits no longer.  The next one who
 * comes makes another read due.
 */
void stream_refuse(struct stream *s, int status);

#endif
