/*
 * protocol: what a client protocol is to the core: a transport below each session, and a dialect above
 * it, as vtables.
 *
 * Process: workers.
 * Layer:   worker/core, below session.  Uses common/publication, net/outq.
 */
#ifndef WORKER_CORE_PROTOCOL_H
#define WORKER_CORE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/publication.h"
#include "worker/net/outq.h"

struct block;
struct channel;
struct core;
struct session;
struct sub;

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

#endif
