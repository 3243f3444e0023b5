/*
 * opening: a session whose client still speaks HTTP: what WebSocket and SSE have in common until
 * their connection is theirs.
 *
 * Owns:    the session, until the protocol that was asked for takes it.
 * Process: workers.
 * Layer:   worker/http, above http, below upgrade and sse.  Uses http, core.
 *
 * The answer goes out once the client is let in and every channel of the request is live, so that
 * whatever is published after the client has it arrives.  While the hub or the engine is away the
 * client waits, at most until the deadline of the handshake.
 */
#ifndef WORKER_HTTP_OPENING_H
#define WORKER_HTTP_OPENING_H

#include <stdbool.h>
#include <stddef.h>

struct access;
struct dialect;
struct http;
struct http_request;
struct opening_channel;
struct session;
struct sub;

/* The first member of what the protocol keeps until then. */
struct opening {
	struct http *h;
	struct session *session; /* NULL once the protocol has taken it */
	/* Every channel is live: takes the session and the connection, or answers by http_fail. */
	void (*finish)(struct opening *o);
	/*
	 * For protocols whose clients come back with positions; NULL for the others.  The channels
	 * of a request are counted from 0 in the order in which it names them; one that is named
	 * twice counts where it is named first.  Asked before a channel is subscribed: true if it
	 * is to be SUB_HELD, because the protocol calls session_recover for it after session_start.
	 */
	bool (*held)(struct opening *o, size_t nth);
	/* The channel has its sub, which may be gone again before finish.  Set where held is. */
	void (*subscribed)(struct opening *o, size_t nth, const struct sub *sub);
	/* opening.c's own. */
	struct access *question; /* what the application is asked now */
	struct opening_channel *channels;
	size_t nchannels, checked; /* of the channels, those about which nothing is to be asked */
	bool joined;               /* every channel has its sub */
};

/* Whether the request's path is root, say "/ws", or below it. */
bool opening_matches(const struct http_request *req, const char *root);

/*
 * Begins a session for the channels that req names, below root or as ?channel=NAME, of the client
 * that its tokens (Authorization: Bearer, ?token=) and the connect hook name, and calls o->finish,
 * now or later; or answers what is wrong with them, or not allowed.  o, all zero but for finish and
 * what follows it, comes from malloc and is h's from now on, as its ctx.
 */
void opening_begin(struct opening *o, struct http *h, const struct http_request *req,
    const char *root, const struct dialect *d);

#endif
