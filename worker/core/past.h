/*
 * past: what a worker knows of the history of one channel: where it stands, and who waits for
 * messages from before that.
 *
 * Owns:    the waiters.
 * Process: workers.
 * Layer:   worker/core, below channel.  Uses common.  Asks and sends nothing itself: what is to
 *          be done is told to the caller.
 *
 * The hub's link is in order, and its answer to a question (IPC_SUBSCRIBE with a position) stands
 * at the position up to which it has sent messages.  So there is nothing to merge here:
 *
 * - Live messages come with offsets that rise by 1.  One that is not the next means that some
 *   were lost on the way: the channel is asked for from its position on, and live messages are
 *   ignored until the answer is there, because it holds them.
 * - Who subscribes with a position waits for such an answer too, and then gets the records from his
 *   position on and is attached in the same moment.
 *
 * One question is under way at a time, from the lowest position that anybody needs; whoever comes
 * meanwhile is served by it too if it reaches back far enough, else by the next.  Where the
 * lowest position cannot be had the next question is from the middle of the others, so that a
 * crowd of different positions takes few.
 */
#ifndef WORKER_CORE_PAST_H
#define WORKER_CORE_PAST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "common/publication.h"
#include "common/records.h"

struct ipc_past;
struct sub;

TAILQ_HEAD(past_waiters, past_waiter);

/* One who waits for messages from a position on. */
struct past_waiter {
	TAILQ_ENTRY(past_waiter) link;
	struct past_waiters *in; /* the list that it is in */
	struct sub *sub;
	struct position since;
	bool asked; /* it was there when the last question was asked */
	bool recovered;
	bool sent;
};

struct past {
	struct position pos;   /* of the last message that went to the subscribers; "": not known */
	struct position asked; /* the position of the last question; "": none */
	bool asking;           /* a question is under way */
	bool verify;           /* it is for the engine's word */
	bool gap;              /* messages are missing: live ones are ignored until the answer */
	bool refused;          /* the last answer did not reach back to `asked` */
	bool whole;            /* the last answer did: it has all records from `asked` to `pos` */
	struct past_waiters waiters;
};

/* NULL: no memory. */
struct past *past_new(void);
/* Everybody must have left.  NULL is allowed. */
void past_free(struct past *p);

/* Lets sub, whose session has started, wait for the messages after `since`.  NULL: no memory. */
struct past_waiter *past_wait(struct past *p, struct sub *sub, const struct position *since);
/* Takes the waiter out of the list that it is in, and frees it. */
void past_leave(struct past_waiter *w);

enum past_message {
	PAST_NEXT, /* it is the next one */
	PAST_OLD,  /* it is to be ignored */
	PAST_GAP,  /* it too, and the hub is to be asked */
};
/* A live message has come. */
enum past_message past_message(struct past *p, uint64_t offset);
/* Messages may be missing. */
void past_gap(struct past *p);
/* The hub is gone, and with it the question. */
void past_lost(struct past *p);

/* Whether the hub is to be asked (again) once no question is under way. */
bool past_wants(const struct past *p);
/* A question is asked: p->asked is its position, p->verify whether it is for the engine's word. */
void past_ask(struct past *p);

enum past_answer {
	PAST_SETTLED, /* nobody who is attached misses anything */
	PAST_MISSED,  /* they miss *missed, which are to be sent to them first */
	PAST_BROKEN,  /* messages are missing that cannot be had: they are to be told */
	PAST_AGAIN,   /* not known yet: the hub is to be asked again, and nobody be served before */
};
/*
 * The answer has come.  attached: somebody is.  Unless PAST_AGAIN the channel now stands at
 * p->pos, and each waiter can be asked for his lot.
 */
enum past_answer past_answer(
    struct past *p, const struct ipc_past *a, bool attached, struct records *missed);

enum past_lot {
	PAST_RECOVERED, /* the answer's records after his position are all */
	PAST_REFUSED,   /* they cannot be had */
	PAST_WAITS,     /* for another question */
};
enum past_lot past_lot(const struct past *p, const struct past_waiter *w);

#endif
