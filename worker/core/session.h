/*
 * session: one client, whatever protocol it speaks: its subscriptions and its right to publish.
 *
 * Owns:    its subs, and what its dialect keeps for it.
 * Process: workers.
 * Layer:   worker/core.  Uses channel, uplink, common/conf.  Knows no wire format: below it lies a
 *          transport, above it a dialect, each behind a vtable that is declared here.
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
#include "worker/net/deadline.h"
#include "worker/net/outq.h"
#include "worker/uplink.h"

struct block;
struct burst;
struct conf;
struct conf_rule;
struct core;
struct deflater;
struct hooks;
struct identity;
struct publisher;
struct session;
struct tokens;

/*
 * A publication as the encoders see it; lent.  A kind that the dialect has no word for (MSG_JOIN,
 * MSG_LEAVE) is encoded to nothing.  The channel may be a user's own (its name begins with
 * CHANNEL_INTERNAL): then it is a message to the user, and the name is not told.
 */
struct publication {
	const struct channel *channel;
	enum msg_kind kind;
	const uint8_t *data;
	size_t len;
	uint64_t offset; /* 0: it is not in a history; else the epoch is channel->past->pos.epoch */
};

/* One way of encoding publications; subscribers of one variant share its bytes. */
struct variant {
	const char *name;
	/*
	 * Appends the publication to *b, whose only reference the caller holds; may move it.
	 * FAN_ENOMEM: nothing was appended.
	 */
	int (*encode)(const struct variant *v, struct core *core, struct block **b,
	    const struct publication *p);
	uint8_t window; /* bits of permessage-deflate; 0: not compressed */
};

/* A dialect's variants stand in the order of this: plain, then one for each size of window. */
#define VARIANT_PLAIN 0
#define VARIANT_DEFLATE(window) ((uint8_t)((window)-7))
#define VARIANTS 9
#define VARIANT_TABLE(name, encode)                                                                \
	{                                                                                          \
		{ name, encode, 0 }, { name, encode, 8 }, { name, encode, 9 },                     \
		    { name, encode, 10 }, { name, encode, 11 }, { name, encode, 12 },              \
		    { name, encode, 13 }, { name, encode, 14 }, { name, encode, 15 },              \
	}

#define SESSION_TRY_LATER 1013 /* RFC 6455 §7.4 leaves it to the registry: overload, come again */

/* What carries a session's bytes.  While a session is opening, only `live` is called. */
struct transport {
	/* Opening: a waiting sub is READY (0), or its channel cannot be had. */
	void (*live)(void *t, int status);
	/* Whole messages of one channel; the tag says what may be left out if they have to wait. */
	void (*send_block)(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag);
	/* One message of the dialect's own. */
	void (*send)(void *t, enum msg_kind kind, const void *data, size_t n);
	/* code: a WebSocket close code, say SESSION_TRY_LATER; reason at most 123 bytes. */
	void (*close)(void *t, uint16_t code, const char *reason);
	void (*pause)(void *t);
	void (*resume)(void *t);
};

/* How a subscription came about. */
struct sub_live {
	/* Of the channel's last message, the recovered ones included; "": the channel is plain. */
	struct position pos;
	bool recovering; /* a position was given, on a channel with history */
	bool recovered;  /* every message after it follows, before any other of the channel */
};

/* A client protocol.  Every callback but on_free is for a started session. */
struct dialect {
	const char *subprotocol;        /* NULL: for clients that name none */
	const struct variant *variants; /* VARIANTS of them, or the plain one alone */
	/* Whether its messages are worth compressing: it has all VARIANTS then. */
	bool deflates;
	/* Whether a client may come without a channel, and subscribe later. */
	bool subscribes;
	void (*on_message)(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n);
	/*
	 * What session_subscribe or session_recover said would come: 0, and live is set: the
	 * recovered messages go out behind what is sent from here, and then the sub is attached;
	 * or why the channel cannot be had, and live is NULL: the dialect ends the sub.  Not
	 * called for subs of an opening session, nor for SUB_INTERNAL ones.
	 */
	void (*on_live)(
	    struct session *s, struct sub *sub, int status, const struct sub_live *live);
	/* The subscription ended without the client's doing; the sub is gone when this returns. */
	void (*on_unsubscribed)(struct session *s, const struct sub *sub, const char *reason);
	/*
	 * The connection's token ends in so many ms: the client may show another.  NULL: no word.
	 */
	void (*on_expiring)(struct session *s, uint64_t ms);
	/*
	 * Messages may be missing on the channel, which may be the user's own (SUB_INTERNAL).
	 * NULL: the dialect has no word for it.
	 */
	void (*on_gap)(struct session *s, const struct sub *sub);
	/* The engine refused a publish of session_publish. */
	void (*on_refused)(struct session *s, int status);
	/* Frees s->state.  NULL: there is none. */
	void (*on_free)(struct session *s);
};

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
	uint64_t shed_messages;                 /* left out of the queues of slow clients */
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
	struct publisher *publisher; /* NULL: has not published */
	struct identity *identity;   /* NULL: anonymous */
	uint64_t began;              /* clock_ms of session_start; 0: nobody asks */
	char client[CLIENT_ID_SIZE]; /* "": nobody has asked for it yet */
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
