/*
 * node: what the parts of the hub share: the engine, the workers and the tables.
 *
 * Owns:    nothing; hub.c makes and frees all of it.
 * Process: hub.
 * Layer:   broker/hub, below feed and requests.  Uses peer, ipc_msg.
 */
#ifndef BROKER_HUB_NODE_H
#define BROKER_HUB_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct counts;
struct engine;
struct interest;
struct ipc_msg;
struct members;
struct peer;
struct rollcalls;
struct streams;

struct node {
	struct conf *conf;
	struct engine *engine;
	struct interest *interest;
	struct streams *streams;
	struct members *members;
	struct counts *counts;
	struct rollcalls *rollcalls;
	struct peer **by_slot; /* the workers' */
	unsigned slots;
	bool served, interrupted; /* the engine: ever, and since it last did */
	bool rejoin;              /* the engine may have lost the members */
	uint32_t outages;
};

/*
 * The token of a call of the engine, but for rollcall.c's own: the serial of the worker that asked (30
 * bits), two flags, and the id that the worker gave (32 bits).
 */
#define TOKEN_SERIAL_SHIFT 34
#define TOKEN_SERIAL_MASK 0x3fffffffU
#define TOKEN_QUIET (1ULL << 32)  /* of a publish: only a failure is answered */
#define TOKEN_STREAM (1ULL << 32) /* of a history: a stream's read, the id being streams.c's */
#define TOKEN_TURN (1ULL << 33)   /* of a history: read backwards, wanted forwards */

/* The worker that has this serial, or NULL: it is gone. */
struct peer *node_peer(const struct node *n, uint32_t serial);
void node_send_all(const struct node *n, const struct ipc_msg *m);
#endif
