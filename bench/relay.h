/*
 * relay: the floor's channels, and what is sent to those who are in them.
 *
 * Owns:    the channels, and for peers that do not read as fast as is sent, what waits for them.
 * Process: fanfare-bench floor, one thread.
 * Layer:   bench.  Uses settings, text, wire.
 *
 * There is no path through this with fewer system calls: FLOOR_SEND makes one send() for each
 * message and peer, FLOOR_COALESCED one for each peer and pass of the loop with all that has come
 * in that pass, FLOOR_PAIR one for each peer with all that one read has brought.
 */
#ifndef BENCH_RELAY_H
#define BENCH_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/settings.h"

struct channel;
struct relay;

/* Kept by the caller, in an array by fd; all zero where there is no connection. */
struct peer {
	struct channel *channel; /* NULL: its handshake is not done */
	uint32_t index;          /* in the channel's members */
	uint32_t nrest;          /* bytes in rest */
	uint8_t *rest;           /* of a frame or a request that has not come whole; owned */
	uint8_t *wait;           /* what its socket has not taken; owned */
	size_t nwait;
	size_t wait_room;
};

/*
 * peers: those of all fds.  blocked is called when fd is (or is no longer) to be watched for room.
 */
struct relay *relay_new(enum floor_kind kind, bool echo, struct peer *peers,
    void (*blocked)(void *arg, int fd, bool on), void *arg);

/* Puts fd into the channel of this name. */
void relay_join(struct relay *r, int fd, const char *name, size_t n);
/* Takes fd out, and forgets what was kept for it.  Does not close it. */
void relay_leave(struct relay *r, int fd);

/*
 * Takes in n bytes of frames from fd; what is no whole frame stays in its rest.  False: the peer is
 * to be closed, it says so or it breaks the protocol.
 */
bool relay_input(struct relay *r, int fd, const uint8_t *p, size_t n);

/* The socket has room again. */
void relay_writable(struct relay *r, int fd);

/* The end of a pass of the loop. */
void relay_flush(struct relay *r);

/* Appends to a peer's rest. */
void relay_keep(struct peer *peer, const uint8_t *p, size_t n);

#endif
