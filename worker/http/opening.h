/*
 * opening: a session whose client still speaks HTTP: what WebSocket and SSE have in common until
 * their connection is theirs.
 *
 * Owns:    the session, until the protocol that was asked for takes it.
 * Process: workers.
 * Layer:   worker/http, above http, below upgrade and sse.  Uses http, core.
 *
 * The answer goes out once every channel of the request is live, so that whatever is published after
 * the client has it arrives.  While the hub or the engine is away the client waits, at most until the
 * deadline of the handshake.
 */
#ifndef WORKER_HTTP_OPENING_H
#define WORKER_HTTP_OPENING_H

#include <stdbool.h>

struct dialect;
struct http;
struct http_request;
struct session;

/* The first member of what the protocol keeps until then. */
struct opening {
	struct http *h;
	struct session *session; /* NULL once the protocol has taken it */
	/* Every channel is live: takes the session and the connection, or answers by http_fail. */
	void (*finish)(struct opening *o);
};

/* Whether the request's path is root, say "/ws", or below it. */
bool opening_matches(const struct http_request *req, const char *root);

/*
 * Begins a session for the channels that req names, below root or as ?channel=NAME, and calls
 * o->finish, now or later; or answers what is wrong with them.  o, all zero but for finish and what
 * follows it, comes from malloc and is h's from now on, as its ctx.
 */
void opening_begin(struct opening *o, struct http *h, const struct http_request *req,
    const char *root, const struct dialect *d);

#endif
