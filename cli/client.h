/*
 * client: a WebSocket client that blocks (RFC 6455, the client's side).
 *
 * Owns:    its socket and the message under assembly.
 * Process: the command line, one thread.
 * Layer:   cli.  Uses secure, wait, worker/ws, common; libcurl for URLs.
 *
 * What goes wrong is told in words for a person, in a buffer of CLIENT_WHY bytes that the caller
 * lends; bytes of the peer in it are printable.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stddef.h>

#include "common/err.h"

struct client;
struct ws_event;

#define CLIENT_WHY 512

struct client_options {
	const char *url;    /* ws:// or wss://HOST[:PORT][/PREFIX] */
	const char *target; /* path and query after the prefix, percent-encoded, begins with "/" */
	const char *protocol; /* the subprotocol to insist on, or NULL */
	const char *origin;   /* the Origin to name, or NULL */
	const char *cacert;   /* file with the authorities for wss, or NULL: the system's */
};

/*
 * Connects and shakes hands.  0: the caller ends it with client_close.  Otherwise why[] tells, and
 *   FAN_EINVAL   the URL cannot be used
 *   FAN_EDENIED  the server answered, and will answer the same again
 *   FAN_EDOWN    no connection, or none now
 *   FAN_EAGAIN   a signal asked to stop
 *   FAN_ENOMEM
 */
FAN_NODISCARD int client_open(
    const struct client_options *o, struct client **out, char why[CLIENT_WHY]);

/* Sends a close frame with this code, if the connection still lives, and frees. NULL is allowed. */
void client_close(struct client *c, unsigned code);

/*
 * Waits for the next message, answering pings.  A server that is silent is pinged.
 * 0: *ev is a text or binary message, lent until the next call.
 * FAN_EDENIED, FAN_EDOWN, FAN_EAGAIN as client_open: the connection is over.
 */
FAN_NODISCARD int client_receive(struct client *c, struct ws_event *ev, char why[CLIENT_WHY]);

/*
 * What an error is about, as one printable line: the message of {"error":{"message":...}}, or else
 * the first line of the n bytes.
 */
void client_error_text(char *out, size_t size, const char *data, size_t n);

#endif
