/*
 * ws: one WebSocket connection: messages in and out, ping and pong, the closing handshake
 * (RFC 6455 §5.5, §7), and what comes compressed (RFC 7692).
 *
 * Owns:    itself, its reader, and its inflater where it has one of its own.  Takes over a conn's
 *          handler; the conn outlives it.
 * Process: workers.
 * Layer:   worker/ws.  Uses net/conn, reader, frame, deflate.
 *
 * States: OPEN -> CLOSING (our close frame is out, the peer's is awaited) -> over.
 * Order of callbacks: on_message* while OPEN, then on_close as the last one, from the reaper at the
 * end of a loop pass; the ws is freed after it returns.
 */
#ifndef WORKER_WS_WS_H
#define WORKER_WS_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"
#include "worker/net/outq.h"
#include "worker/ws/reader.h"

struct block;
struct conn;
struct deflate_agreed;
struct deflate_options;
struct inflater;
struct ws;

struct ws_handler {
	/* A whole message, lent until return. */
	void (*on_message)(void *arg, enum msg_kind kind, const uint8_t *data, size_t n);
	/* As conn's on_shed and on_drained. */
	void (*on_shed)(void *arg, uint32_t key, uint64_t messages);
	void (*on_drained)(void *arg);
	void (*on_close)(void *arg);
};

/* What all WebSocket connections of a worker share; times in ms. */
struct ws_options {
	const struct ws_handler *handler;
	struct ws_reader_limits reader;
	uint64_t assemble;      /* from a message's first byte to its last */
	uint64_t ping_interval; /* 0: no pings; each connection varies it by up to 10 % */
	uint64_t pong_timeout;  /* any bytes from the peer count as an answer */
	uint64_t close;         /* for the peer's close frame */
	const struct deflate_options *deflate; /* what may be agreed; NULL: no compression */
	struct inflater *inflater; /* of all connections without takeover, where deflate is set */
};

/*
 * Makes a WebSocket of an open conn, after the 101 was written.  o is borrowed for its life.
 * NULL: no memory; the conn keeps its handler.
 */
struct ws *ws_new(struct conn *c, const struct ws_options *o, void *arg);

/* Before the first byte: messages may come compressed, as was agreed. */
void ws_use_deflate(struct ws *ws, const struct deflate_agreed *agreed);

/* Bytes that had come behind the handshake's request; may call back. */
void ws_feed(struct ws *ws, uint8_t *p, size_t n);

/* Sends one unfragmented message or control frame; a control frame has at most 125 bytes. */
void ws_send(struct ws *ws, enum ws_opcode op, const void *data, size_t n);
/* Sends whole frames that were encoded before, n bytes of b from off on. */
void ws_send_block(struct ws *ws, struct block *b, size_t off, size_t n, struct outq_tag tag);

/*
 * Sends a close frame with the code and a reason of at most 123 bytes of UTF-8, and begins the
 * closing handshake.  Nothing more is sent or delivered.  Does nothing unless OPEN.
 */
void ws_close(struct ws *ws, uint16_t code, const char *reason);

/*
 * Stops delivering messages; the peer is held back by TCP.  What has been read already is kept.
 * While paused, no answer to a ping is expected.  ws_resume may call back.
 */
void ws_pause(struct ws *ws);
void ws_resume(struct ws *ws);

#endif
