/*
 * worker_fixture: a worker without its process: its modules on one event base, a hub that the test
 * plays, and clients at the other end of socket pairs.
 *
 * Owns:    everything in struct world; a client its socket.
 * Process: unit tests.
 * Layer:   tests.  Uses the worker's modules; Criterion.
 *
 * Nothing runs but inside these functions, each of which runs as many loop passes as it needs and
 * fails the test when what it waits for does not come.
 */
#ifndef TESTS_UNIT_WORKER_FIXTURE_H
#define TESTS_UNIT_WORKER_FIXTURE_H

#include <criterion/criterion.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/boot.h"
#include "common/buf.h"
#include "common/ipc_msg.h"
#include "worker/core/session.h"
#include "worker/http/http.h"
#include "worker/net/conn.h"
#include "worker/uplink.h"
#include "worker/ws/deflate.h"
#include "worker/ws/ws.h"

struct world {
	struct event_base *base;
	struct conf *conf;
	struct boot boot;
	struct net net;
	struct uplink *uplink;
	struct core core;
	struct deflate_options deflate;
	struct ws_options ws;
	struct http_server server;
	int listen_fd; /* the hub's */
	int hub_fd;    /* the hub's end of the link; -1: none */
	struct buf hub_in;
	size_t hub_used; /* bytes of the message that was lent last */
	const struct uplink_handler *handler;
	void *handler_arg;
};

/* settings: "key=value" lines for conf_set, or "".  The hub does not answer yet. */
void world_open(struct world *w, const char *settings);
/* The same with an uplink handler of the test's own. */
void world_open_uplink(
    struct world *w, const char *settings, const struct uplink_handler *h, void *arg);
void world_close(struct world *w);

/* One pass: what is ready, then the hooks as worker.c has them. */
void world_pass(struct world *w);
/* Several passes, for what must not happen. */
void world_settle(struct world *w);

/* Runs passes until cond holds. */
#define WORLD_UNTIL(w, cond)                                                                       \
	do {                                                                                       \
		int world_tries = 0;                                                               \
		while (!(cond)) {                                                                  \
			cr_assert_lt(world_tries, 10000, "never came: %s", #cond);                 \
			/* What is under way needs a few passes; what needs time gets it. */       \
			(void)poll(NULL, 0, world_tries++ < 50 ? 0 : 1);                           \
			world_pass(w);                                                             \
		}                                                                                  \
	} while (0)

/* --- the hub ------------------------------------------------------------------------------ */

/* Accepts the worker's link, checks its hello, and welcomes it. */
void hub_welcome(struct world *w, bool engine_up);
/* Accepts and checks, and says nothing. */
void hub_accept(struct world *w);
/* Cuts the link, and waits until the worker knows. */
void hub_cut(struct world *w);
/* The worker's next message, lent until the next call; false: there is none yet. */
bool hub_next(struct world *w, struct ipc_msg *m);
/* The next message of the worker, lent until the next call; it must be of this type. */
struct ipc_msg hub_expect(struct world *w, enum ipc_type type);
/* The same, and about this channel. */
struct ipc_msg hub_expect_on(struct world *w, enum ipc_type type, const char *channel);
/* Nothing comes. */
void hub_quiet(struct world *w);
void hub_send(struct world *w, const struct ipc_msg *m);
/*
 * The next message is a question for a channel with history: from this position on
 * ("EPOCH:OFFSET", or "" for none).
 */
struct ipc_msg hub_expect_subscribe(
    struct world *w, const char *channel, const char *since, bool verify);
/* Answers the worker's last question for the channel; without a position where it is 0. */
void hub_subscribed(struct world *w, const char *channel, int status);
/*
 * The same for one with history: it stands at pos ("EPOCH:OFFSET"), and the words of `records`,
 * parted by spaces, are its last messages.
 */
void hub_subscribed_at(
    struct world *w, const char *channel, const char *pos, bool recovered, const char *records);
/* Sends m with a position and records as its payload; flags: IPC_PAST_. */
void hub_past(
    struct world *w, const struct ipc_msg *m, const char *pos, unsigned flags, const char *records);
/* A message with a position. */
void hub_message_at(struct world *w, const char *channel, uint64_t offset, const char *text);
/* Messages may be missing on every channel, those with history included. */
void hub_gap_all(struct world *w);
void hub_message(struct world *w, const char *channel, enum msg_kind kind, const char *text);
void hub_gap(struct world *w, const char *channel);

/* --- a client ----------------------------------------------------------------------------- */

struct client {
	struct world *w;
	int fd;
	struct buf in;
	bool eof;
};

/* A connection through http_accept. */
void client_open(struct world *w, struct client *c, enum listener_kind kind);
/* A client around the other end of a socket pair that the test uses itself. */
void client_wrap(struct world *w, struct client *c, int fd);
void client_close(struct client *c);
void client_send(struct client *c, const void *p, size_t n);
void client_text(struct client *c, const char *text);
/*
 * Ends c's connection, opens another to this listener and sends a request: its first line without the
 * version, field lines, each with its CRLF, and a body.  Host is added where it is not among them.
 */
void client_request(struct world *w, struct client *c, enum listener_kind kind, const char *line,
    const char *fields, const char *body);
/* Takes in what has come; returns how many bytes wait. */
size_t client_pull(struct client *c);
/* The next n bytes are exactly these. */
void client_expect(struct client *c, const void *p, size_t n);
/* A whole HTTP response: its status; its body must contain `part`. */
int client_response(struct client *c, const char *part);
/* The same of a response to HEAD, and of 101: a head alone, which must contain `part`. */
int client_head(struct client *c, const char *part);
void client_quiet(struct client *c);
/* The stream ends, with nothing before. */
void client_expect_eof(struct client *c);

/* A masked frame of the client's; bits as in its first byte. */
void client_frame(struct client *c, unsigned bits, const void *p, size_t n);
/* The next frame of the server's has these bits and this payload. */
void client_expect_frame(struct client *c, unsigned bits, const void *p, size_t n);
void client_expect_text(struct client *c, const char *text);
/* A close frame with this code. */
void client_expect_close(struct client *c, unsigned code);
/* The next frame is a compressed message of this kind, which stands for itself. */
void client_expect_deflated(struct client *c, unsigned opcode, const void *p, size_t n);
/* Sends a handshake for target; protocol: a subprotocol, or NULL. */
void client_handshake(struct client *c, const char *target, const char *protocol);
/* The same with the value of a Sec-WebSocket-Extensions field. */
void client_handshake_offering(
    struct client *c, const char *target, const char *protocol, const char *extensions);

#endif
