/*
 * channel: the channels that this worker's sessions have, and who is in them.
 *
 * Owns:    the channels, their arrays of subscribers and the blocks of the current loop pass.  A
 *          struct sub belongs to its session.
 * Process: workers.
 * Layer:   worker/core, lowest but for past.  Uses past, uplink, net/outq, common.  Knows nothing
 *          of sessions.
 *
 * A channel exists while it has a sub.  States: PENDING (the hub was or will be asked) -> LIVE
 * (every message accepted from now on comes here) -> PENDING again when the hub is lost.
 *
 * A sub waits until its channel is live, then it is attached to the group of its variant: all
 * subscribers who get the same bytes.  A message is encoded once for each group.
 *
 * What a channel with history keeps besides is worker/core/past.h's: there a sub also waits that
 * wants messages from a position on, whether the channel is live or not.
 */
#ifndef WORKER_CORE_CHANNEL_H
#define WORKER_CORE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "common/map.h"
#include "worker/net/outq.h"

struct block;
struct past;
struct past_waiter;
struct position;
struct session;
struct uplink;
struct variant;

#define CHANNELS_SPARE 64

enum sub_state {
	SUB_WAITING,    /* for the channel to be live; in the channel's list */
	SUB_RECOVERING, /* for the messages after a position; in the channel's past */
	SUB_READY,      /* the channel was live; not attached yet */
	SUB_ATTACHED,   /* in its group's array */
};

/* One session in one channel. */
struct sub {
	struct session *session;
	struct channel *channel;
	struct sub *next; /* of the same session */
	union {
		struct {
			struct sub *next;
			struct sub **prev;
		} wait;
		struct past_waiter *waiter;
		struct {
			uint32_t index; /* in the group's array */
			uint32_t from;  /* where its part of the group's block begins */
		} place;
	} u;
	uint8_t state;
	uint8_t group;
	bool missed;   /* messages were left out of the session's queue, and it was not told yet */
	uint8_t flags; /* enum sub_flag */
};

enum sub_flag {
	SUB_HELD = 1,     /* session_start does not attach it: session_recover will */
	SUB_INTERNAL = 2, /* the session's own channel, which its client did not ask for */
	SUB_PRESENT = 4,  /* its session is a member of the channel */
};

/* The subscribers who get the same bytes. */
struct group {
	const struct variant *variant;
	struct block *block; /* what is due in this pass; NULL: nothing */
	union {
		struct sub *one; /* while cap is 1, which is what most channels come to */
		struct sub **many;
	} subs;
	uint32_t n, cap;
};

static inline struct sub **
group_subs(struct group *g)
{
	return g->cap == 1 ? &g->subs.one : g->subs.many;
}

#define LOST_TOLD 2

struct channel {
	struct past *past;               /* NULL: the channel is plain */
	TAILQ_ENTRY(channel) dirty_link; /* while a group's block holds something */
	struct sub *waiting;
	struct group *groups; /* &first, or an array once there are more */
	struct group first;
	uint32_t subs; /* in any state, and whoever holds the channel */
	uint32_t id;   /* its own among all that this worker ever had */
	uint32_t ask;  /* the id of the last question to the hub, whose answer counts; 0: refused */
	bool live;
	uint8_t lost; /* a plain one: was live before the hub was lost; LOST_TOLD: that was told */
	bool dirty;
	bool special; /* it has a past, or is a user's own: each message is looked at */
	uint8_t shed; /* enum outq_shed: what its rule says of slow clients */
	uint8_t ngroups;
	uint8_t len;
	char name[]; /* NUL-terminated */
};

struct channels {
	struct uplink *uplink;
	struct map map;
	TAILQ_HEAD(channel_list, channel) dirty;
	uint64_t live; /* channels that are live */
	uint32_t asks; /* questions to the hub so far */
	uint32_t ids;  /* channels so far */
	/* Empty blocks for the groups of the next passes, so that small messages cost no malloc. */
	unsigned nspare;
	struct block *spare[CHANNELS_SPARE];
};

void channels_init(struct channels *t, struct uplink *u);
/* Every sub must be gone. */
void channels_fini(struct channels *t);

struct channel *channel_find(const struct channels *t, const char *name, size_t len);

/* What a channel's rule says of it; of the first who joins. */
struct channel_options {
	enum outq_shed shed; /* what its messages may suffer in a slow client's queue */
	bool history;
};

/*
 * Puts sub, whose session is set, into the channel of this name.  Where the channel is new the
 * hub is asked.  since, of a sub whose session has started: from which position on it wants
 * messages, NULL or none: from now on; without effect on a plain channel.  0: it is live, the sub
 * is READY.  FAN_EAGAIN: the sub is WAITING or RECOVERING.  FAN_ENOMEM: it is in no channel.
 */
FAN_NODISCARD int channel_join(struct channels *t, const char *name, size_t len,
    const struct channel_options *o, const struct position *since, struct sub *sub);
/*
 * The same for a sub that is READY or WAITING, and now wants messages from a position on.
 * FAN_ENOMEM: nothing has changed.
 */
FAN_NODISCARD int channel_recover(
    struct channels *t, struct sub *sub, const struct position *since);
/* Attaches a READY sub: it gets every message that is published from now on.  FAN_ENOMEM. */
FAN_NODISCARD int channel_attach(struct sub *sub, const struct variant *v);
/* Takes a sub out, in any state.  The channel goes with its last sub. */
void channel_leave(struct channels *t, struct sub *sub);
/* The channel stays until it is released, whoever leaves. */
void channel_hold(struct channel *c);
void channel_release(struct channels *t, struct channel *c);

/*
 * Whether a sub is READY or ATTACHED.  One that became READY before the hub was lost waits again.
 */
bool channel_still_live(struct sub *sub);
/* Takes the first WAITING sub as READY; NULL when none waits. */
struct sub *channel_take_waiting(struct channel *c);
/* Takes a RECOVERING sub as READY; its waiter is gone. */
void channel_take_recovering(struct sub *sub);
/* A channel with history: asks the hub where something is wanted and no question is under way. */
void channel_want(struct channels *t, struct channel *c);
/* A live or a refused answer has come. */
void channel_set_live(struct channels *t, struct channel *c, bool live);

/* A group's block for len bytes, taken from the spare ones if it can; NULL: no memory. */
struct block *channels_block(struct channels *t, size_t len);
/* Gives a group's block back after it was sent; the queues may still hold it. */
void channels_block_done(struct channels *t, struct block *b);

/* The hub is gone: no channel is live. */
void channels_lost(struct channels *t);
/* The hub is back: asks for every channel. */
void channels_announce(struct channels *t);

#endif
