/*
 * peer: one connection to the hub, a worker's once it has proved itself.
 *
 * Owns:    its link, and the record of what the link had no room for.
 * Process: hub.
 * Layer:   broker/hub.  Uses ipc_link, ipc_msg, block, err, log.
 *
 * Order: after a publication could not be queued, none follows on this peer before an IPC_GAP for
 * its channel.  A gap on all is told with value 1: channels with history are asked for again then.  A
 * peer is never freed by its own callbacks: it turns dead, and the hub reaps it.
 */
#ifndef BROKER_HUB_PEER_H
#define BROKER_HUB_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"

#define PEER_GAPS_MAX 64 /* channels remembered by name; beyond, the gap is on all */

struct block;
struct event_base;
struct ipc_link;
struct ipc_msg;
struct ipc_past;
struct peer;

/* A message came; lent.  Nonzero ends the peer. */
typedef int (*peer_message_fn)(void *arg, struct peer *p, const struct ipc_msg *m);

struct peer {
	TAILQ_ENTRY(peer) entry; /* the hub's */
	int slot;                /* -1: it has not proved itself */
	uint32_t serial;         /* differs from that of every peer before */
	uint64_t deadline;       /* to prove itself */
	bool dead;               /* to be reaped */

	/* peer.c's own. */
	struct ipc_link *link;
	peer_message_fn message;
	void *arg;
	uint64_t dropped; /* publications, since the link last had room */
	bool gap_on_all;
	size_t gaps;
	char *gap[PEER_GAPS_MAX];
};

/*
 * Takes fd, also when it fails.  At first only an IPC_HELLO fits through its link.  NULL: no
 * memory.
 */
struct peer *peer_new(
    struct event_base *base, int fd, size_t max_queue, peer_message_fn message, void *arg);
/* NULL is allowed. */
void peer_free(struct peer *p);

/* It has proved to be the worker of this slot. */
void peer_accept(struct peer *p, unsigned slot, size_t max_msg);

/* Queues a message that must not be lost: the peer is dead if there is no room. */
void peer_send(struct peer *p, const struct ipc_msg *m);
/*
 * Queues an answer that may be large, with `past` as its payload unless that is NULL.  FAN_EFULL,
 * FAN_ETOOBIG, FAN_ENOMEM: nothing was queued, and something short is to be sent instead.
 */
FAN_NODISCARD int peer_answer(struct peer *p, const struct ipc_msg *m, const struct ipc_past *past);
/* Queues an encoded publication of the channel, or remembers that it is missing. */
void peer_publish(struct peer *p, struct block *b, const char *channel, size_t len);
/* Publications of the channel may be missing: the peer hears so before the next one of it. */
void peer_gap(struct peer *p, const char *channel, size_t len);
/* A publication of the channel can not be delivered to this peer. */
void peer_miss(struct peer *p, const char *channel, size_t len);
/* The end of a pass: writes out what is queued. */
void peer_flush(struct peer *p);

#endif
