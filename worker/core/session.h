/*
 * session: one client, whatever protocol it speaks: its subscriptions and its right to publish.
 *
 * Owns:    its subs, and what its dialect keeps for it.
 * Process: workers.
 * Layer:   worker/core.  Uses channel, uplink, common/conf.  Knows no wire format: below it lies a
 *          transport, above it a dialect, each behind a vtable that is declared here.
 *
 * Life: session_new (opening: subscriptions may be begun) -> session_start (messages flow) -> session_free, by whoever owns the transport, as the last thing.
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
struct publisher;
struct session;

/* A publication as the encoders see it; lent. */
struct publication {
	const struct channel *channel;
	enum msg_kind kind;
	const uint8_t *data;
	size_t len;
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

/* A client protocol.  Every callback but on_free is for a started session. */
struct dialect {
	const char *subprotocol;        /* NULL: for clients that name none */
	const struct variant *variants; /* VARIANTS of them, or the plain one alone */
	/* Whether its messages are worth compressing: it has all VARIANTS then. */
	bool deflates;
	/* Whether a client may come without a channel, and subscribe later. */
	bool subscribes;
	void (*on_message)(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n);
	/* The channel of a waiting sub is live (0), or cannot be had; the sub is READY. */
	void (*on_live)(struct session *s, struct sub *sub, int status);
	/* Messages may be missing on the channel.  NULL: the dialect has no word for it. */
	void (*on_gap)(struct session *s, const struct sub *sub);
	/* The engine refused a publish of session_publish. */
	void (*on_refused)(struct session *s, int status);
	/* Frees s->state.  NULL: there is none. */
	void (*on_free)(struct session *s);
};

/* What all sessions of a worker share. */
struct core {
	const struct conf *conf;
	struct uplink *uplink;
	struct deadlines *deadlines;
	struct burst *burst;       /* of the transports; NULL: each send leaves at once */
	struct deflater *deflater; /* of the encoders; NULL: no compression */
	struct channels channels;
	TAILQ_HEAD(publishers, publisher) held; /* paused until the hub takes more */
	uint64_t shed_messages;                 /* left out of the queues of slow clients */
};

struct session {
	struct core *core;
	const struct dialect *dialect;
	const struct transport *transport;
	void *t;
	struct sub *subs;
	struct sub first;            /* the storage of one sub; most sessions have one */
	void *state;                 /* the dialect's */
	struct publisher *publisher; /* NULL: has not published */
	uint32_t nsubs;
	uint8_t variant; /* index into the dialect's variants */
	uint8_t paused;  /* bits of enum session_pause; the transport is paused while any is set */
	bool started;
	bool first_used;
};

/* Why a session's input is held back. */
enum session_pause {
	PAUSE_HUB = 1,  /* the hub takes no publish */
	PAUSE_RATE = 2, /* the dialect's rate of commands */
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

/*
 * Whether the channel may be subscribed or published to: 0, FAN_EINVAL (not a channel's name),
 * FAN_EDENIED (the rule says no).
 */
FAN_NODISCARD int session_may_subscribe(const struct core *core, const char *name, size_t len);
FAN_NODISCARD int session_may_publish(const struct core *core, const char *name, size_t len);

/*
 * Begins a subscription, *out is its sub.  0: READY, and attached if the session has started.
 * FAN_EAGAIN: on_live will come.  FAN_EINVAL, FAN_EDENIED as above; FAN_EEXIST: has it already (or
 * waits for it); FAN_EFULL: limits.subscriptions; FAN_ENOMEM.
 */
FAN_NODISCARD int session_subscribe(
    struct session *s, const char *name, size_t len, struct sub **out);
/* In a started session: attaches a sub that became live.  FAN_ENOMEM. */
FAN_NODISCARD int session_attach(struct session *s, struct sub *sub);
/* The session's sub of this channel, or NULL. */
struct sub *session_find(const struct session *s, const char *name, size_t len);
void session_unsubscribe(struct session *s, struct sub *sub);
/* Whether every sub is at least READY; one whose channel was lost since waits again. */
bool session_all_live(const struct session *s);

/*
 * Messages of the channel with this id were left out of the transport's queue.  The dialect tells of
 * it by on_gap when session_drained is called: nothing waits any more, or the client has taken a
 * queue's worth since.
 */
void session_shed(struct session *s, uint32_t key, uint64_t messages);
void session_drained(struct session *s);

/*
 * Publishes for a client whose dialect has no answers: on_refused hears of a refusal by the engine.
 * While the hub is away or congested, the message is kept and the session held back (its transport
 * is paused), so that nothing is lost before the hub has it.  FAN_EINVAL, FAN_EDENIED as
 * session_may_publish; FAN_ENOMEM.
 */
FAN_NODISCARD int session_publish(struct session *s, const char *name, size_t len,
    enum msg_kind kind, const uint8_t *data, size_t n);
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
