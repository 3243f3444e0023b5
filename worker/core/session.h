/*
 * session: one client, whatever protocol it speaks: its subscriptions and its right to publish.
 *
 * Owns:    its subs, and what its dialect keeps for it.
 * Process: workers.
 * Layer:   worker/core.  Uses protocol, channel, uplink, common/conf.  Knows no wire format: below it
 *          lies a transport, above it a dialect, each behind a vtable of protocol.h.
 *
 * Life: session_new (opening: subscriptions may be begun) -> session_start (messages flow) ->
 * session_free, by whoever owns the transport, as the last thing.
 */
#ifndef WORKER_CORE_SESSION_H
#define WORKER_CORE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "common/publication.h"
#include "worker/core/channel.h"
#include "worker/core/protocol.h"
#include "worker/net/deadline.h"
#include "worker/net/outq.h"
#include "worker/uplink.h"

struct burst;
struct conf;
struct core;
struct deflater;
struct hooks;
struct identity;
struct publisher;
struct session;
struct tokens;

/*
 * Who hears of the coming and going of clients (worker/core/lifecycle.h): a vtable, because what it
 * needs stands above the session.  Of started sessions alone: after session_start; a sub has been
 * attached; an attached sub is about to leave; and the session ends, its subs have left.
 */
struct core_watch {
	void (*connected)(struct session *s);
	void (*disconnected)(struct session *s);
	void (*subscribed)(struct sub *sub);
	void (*unsubscribed)(struct sub *sub);
};

/* What all sessions of a worker share. */
struct core {
	const struct conf *conf;
	struct uplink *uplink;
	struct deadlines *deadlines;
	struct burst *burst;       /* of the transports; NULL: each send leaves at once */
	struct deflater *deflater; /* of the encoders; NULL: no compression */
	struct channels channels;
	struct hooks *hooks;                    /* of the application; NULL: none is configured */
	struct tokens *tokens;                  /* the keys of tokens; NULL: none is configured */
	const struct core_watch *watch;         /* set by lifecycle_init; NULL: nobody watches */
	unsigned slot;                          /* of this worker, for events */
	bool presence;                          /* some rule has it */
	bool events[5];                         /* which go to events.stream: enum core_event */
	TAILQ_HEAD(publishers, publisher) held; /* paused until the hub takes more */
	LIST_HEAD(openings, session_extra) opening; /* not started, in their user's channel */
	uint64_t shed_messages;                     /* left out of the queues of slow clients */
};

#define CLIENT_ID_SIZE 23 /* 16 random bytes in base64url, and a NUL */

struct session {
	struct core *core;
	const struct dialect *dialect;
	const struct transport *transport;
	void *t;
	struct sub *subs;
	struct sub first;            /* the storage of one sub; most sessions have one */
	void *state;                 /* the dialect's */
	struct session_extra *extra; /* NULL: it needs none; most sessions do not */
	uint32_t nsubs;  /* without SUB_INTERNAL ones, which stand at the end of the list */
	uint8_t variant; /* index into the dialect's variants */
	uint8_t paused;  /* bits of enum session_pause; the transport is paused while any is set */
	bool started;
	bool first_used;
};

/* Why a session's input is held back. */
enum session_pause {
	PAUSE_HUB = 1,  /* the hub takes no publish */
	PAUSE_RATE = 2, /* the dialect's rate of commands */
	PAUSE_HOOK = 4, /* the application decides on what came last */
};

/* What most sessions do not need; made at need. */
struct session_extra {
	struct publisher *publisher;       /* NULL: has not published */
	struct identity *identity;         /* NULL: anonymous */
	LIST_ENTRY(session_extra) opening; /* in the core's list; le_prev NULL: it is not */
	uint64_t began;                    /* clock_ms of session_start; 0: nobody asks */
	char client[CLIENT_ID_SIZE];       /* "": nobody has asked for it yet */
};

void core_init(struct core *core, const struct conf *c, struct uplink *u, struct deadlines *ds);
void core_fini(struct core *core);

/* Opening: t hears, by opening->live, when subs become READY.  NULL: no memory. */
struct session *session_new(
    struct core *core, const struct dialect *d, const struct transport *opening, void *t);
/* Takes it out of every channel. */
void session_free(struct session *s);

/* From now on messages go out through t; READY subs are attached.  FAN_ENOMEM. */
FAN_NODISCARD int session_start(struct session *s, const struct transport *ops, void *t);

/* The session's extra, made at need; NULL: no memory. */
struct session_extra *session_extra(struct session *s);
/*
 * The name of this connection among all, which presence, hooks and events use; NUL-terminated.
 * NULL: no memory.
 */
const char *session_client(struct session *s);

/*
 * Begins a subscription, *out is its sub.  Whether it is allowed is the caller's question
 * (worker/core/access.h).  flags: of enum sub_flag.  since, in a started session: from which
 * position on messages are wanted, NULL or none: from now on; it has no effect on a plain
 * channel. 0: READY, and attached if the session has started.  FAN_EAGAIN: on_live will come.
 * FAN_EINVAL: not a channel's name; FAN_EEXIST: has it already (or waits for it); FAN_EFULL:
 * limits.subscriptions; FAN_ENOMEM.
 */
FAN_NODISCARD int session_subscribe(struct session *s, const char *name, size_t len, unsigned flags,
    const struct position *since, struct sub **out);
/*
 * In a session that has just started: begins to recover a sub that was SUB_HELD, from `since` on;
 * on_live will come, maybe from inside.  FAN_ENOMEM.
 */
FAN_NODISCARD int session_recover(struct session *s, struct sub *sub, const struct position *since);
/* How the channel of an attached sub stands, to which it came without a position. */
void session_live(const struct sub *sub, struct sub_live *out);
/* In a started session: attaches a READY sub.  FAN_ENOMEM. */
FAN_NODISCARD int session_attach(struct session *s, struct sub *sub);
/* The same, by way of the dialect's on_live, which may end the sub: then 0 too. */
FAN_NODISCARD int session_take(struct session *s, struct sub *sub);
/* The session's sub of this channel, or NULL. */
struct sub *session_find(const struct session *s, const char *name, size_t len);
void session_unsubscribe(struct session *s, struct sub *sub);
/* Whether every sub is at least READY; one whose channel was lost since waits again. */
bool session_all_live(const struct session *s);

/*
 * Messages of the channel with this id were left out of the transport's queue.  The dialect tells
 * of it by on_gap when session_drained is called: nothing waits any more, or the client has taken
 * a queue's worth since.
 */
void session_shed(struct session *s, uint32_t key, uint64_t messages);
void session_drained(struct session *s);

/*
 * Publishes for a client whose dialect has no answers: on_refused hears of a refusal by the
 * engine. Whether it is allowed is the caller's question, and lifecycle_published his to call.
 * While the hub is away or congested, the message is kept and the session held back (its
 * transport is paused), so that nothing is lost before the hub has it.  FAN_ENOMEM; FAN_EFULL:
 * one is kept already, which means that the pause was not heeded.
 */
FAN_NODISCARD int session_publish(struct session *s, const char *name, size_t len,
    enum msg_kind kind, const uint8_t *data, size_t n);
/* Frees what publishing has left in s->extra; session_free's. */
void session_publisher_free(struct session *s);
/* Input stops while any bit is set. */
void session_pause(struct session *s, enum session_pause why);
void session_resume(struct session *s, enum session_pause why);

/*
 * Holds a publisher's input back until the hub's link is up and not congested.  FAN_ENOMEM: it was
 * not held.
 */
FAN_NODISCARD int session_hold(struct session *s);
/* Resumes the held sessions; called when the link comes up or has drained. */
void core_release_held(struct core *core);

#endif
