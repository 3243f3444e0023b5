/*
 * ws: one WebSocket connection.  See ws.h.
 */
#include "worker/ws/ws.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/utf8.h"
#include "worker/net/conn.h"
#include "worker/ws/deflate.h"

enum ws_state {
	WS_OPEN,
	WS_CLOSING, /* our close frame is out, the peer's is awaited */
	WS_OVER,    /* nothing more is read or written */
};

/* Which deadline of the connection is running, apart from that of a message. */
enum ws_alive {
	ALIVE_IDLE,  /* until the next ping */
	ALIVE_PINGED /* until something comes from the peer */
};

struct ws {
	struct conn *conn;
	const struct ws_options *o;
	void *arg;
	struct ws_reader reader;
	struct inflater *inflater; /* its own, with takeover; NULL: not made yet */
	struct buf *held;          /* read while paused; NULL: none */
	uint64_t alive_due;        /* clock_ms of the next ping or of its missing answer; 0: none */
	uint64_t assemble_due;     /* clock_ms; 0: no message has begun */
	uint8_t state;
	uint8_t alive;
	uint8_t takeover; /* bits of the window that compressed messages share; 0: none is shared */
	bool paused;
};

static void on_data(struct conn *c, uint8_t *p, size_t n);
static void on_deadline(struct conn *c);
static void on_slow(struct conn *c);
static void on_shed(struct conn *c, uint32_t key, uint64_t messages);
static void on_drained(struct conn *c);
static size_t unit(const uint8_t *p, size_t n);
static void on_stop(struct conn *c);
static void on_close(struct conn *c, enum conn_reason reason);

static const struct conn_handler conn_handler = {
	.on_data = on_data,
	.on_deadline = on_deadline,
	.on_slow = on_slow,
	.on_shed = on_shed,
	.on_drained = on_drained,
	.unit = unit,
	.on_stop = on_stop,
	.on_close = on_close,
};

/* Sets the conn's one deadline to the earlier of ours. */
static void
rearm(struct ws *ws, uint64_t now)
{
	uint64_t due = ws->alive_due;

	if (ws->assemble_due != 0 && !ws->paused && (due == 0 || ws->assemble_due < due))
		due = ws->assemble_due;
	if (due == 0)
		conn_deadline(ws->conn, 0);
	else
		conn_deadline(ws->conn, due > now ? due - now : 1);
}

/* The time to the next ping, varied so that connections of one moment do not ping in step. */
static uint64_t
ping_wait(const struct ws *ws)
{
	uint64_t base = ws->o->ping_interval;
	uint64_t spread = base / 5;
	const void *self = ws;

	return base - base / 10 + (spread == 0 ? 0 : hash_bytes(&self, sizeof(self)) % spread);
}

static void
await_ping(struct ws *ws, uint64_t now)
{
	ws->alive = ALIVE_IDLE;
	ws->alive_due = ws->o->ping_interval == 0 ? 0 : now + ping_wait(ws);
}

struct ws *
ws_new(struct conn *c, const struct ws_options *o, void *arg)
{
	struct ws *ws = calloc(1, sizeof(*ws));
	uint64_t now = clock_ms();

	if (ws == NULL)
		return NULL;
	ws->conn = c;
	ws->o = o;
	ws->arg = arg;
	ws_reader_init(&ws->reader);
	conn_set_handler(c, &conn_handler, ws);
	await_ping(ws, now);
	rearm(ws, now);
	return ws;
}

void
ws_use_deflate(struct ws *ws, const struct deflate_agreed *agreed)
{
	ws->reader.deflate = true;
	ws->takeover = agreed->client_takeover ? agreed->client_window : 0;
}

/* In one write, as conn_discard asks: a head without its payload would be out of step. */
static void
send_frame(struct ws *ws, enum ws_opcode op, const void *data, size_t n, struct outq_tag tag)
{
	struct block *b = block_new(FRAME_HEAD_MAX + n);

	if (b == NULL) {
		conn_close(ws->conn, CONN_CLOSED_INTERNAL);
		return;
	}
	b->len = frame_head_encode(b->data, (uint8_t)(FRAME_FIN | op), n, NULL);
	if (n > 0)
		memcpy(b->data + b->len, data, n);
	b->len += n;
	conn_write_block(ws->conn, b, 0, b->len, tag);
	block_unref(b);
}

void
ws_send(struct ws *ws, enum ws_opcode op, const void *data, size_t n)
{
	uint8_t small[FRAME_HEAD_MAX + FRAME_CONTROL_MAX];
	size_t head;

	if (ws->state != WS_OPEN)
		return;
	if (n > FRAME_CONTROL_MAX) {
		send_frame(ws, op, data, n, (struct outq_tag){ 0, OUTQ_KEEP });
		return;
	}
	head = frame_head_encode(small, (uint8_t)(FRAME_FIN | op), n, NULL);
	if (n > 0)
		memcpy(small + head, data, n);
	conn_write(ws->conn, small, head + n);
}

/*
 * Where earlier output waits, the answer to the last ping alone waits behind it (§5.5.3): pings of one
 * who does not read cost no more than one pong.
 */
static void
send_pong(struct ws *ws, const uint8_t *data, size_t n)
{
	if (conn_is_idle(ws->conn))
		ws_send(ws, WS_OP_PONG, data, n);
	else if (ws->state == WS_OPEN)
		send_frame(ws, WS_OP_PONG, data, n, (struct outq_tag){ 0, OUTQ_LATEST });
}

void
ws_send_block(struct ws *ws, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	if (ws->state == WS_OPEN)
		conn_write_block(ws->conn, b, off, n, tag);
}

/* Sends our close frame, the last frame of this side; code WS_CLOSE_NO_STATUS: an empty one. */
static void
send_close(struct ws *ws, enum ws_state next, uint16_t code, const char *reason)
{
	uint8_t payload[FRAME_CONTROL_MAX] = { (uint8_t)(code >> 8), (uint8_t)code };
	uint8_t frame[FRAME_HEAD_MAX + FRAME_CONTROL_MAX];
	size_t n = code == WS_CLOSE_NO_STATUS ? 0 : 2 + strlen(reason);
	size_t head;

	assert(n <= FRAME_CONTROL_MAX);
	if (n > 2)
		memcpy(payload + 2, reason, n - 2);
	head = frame_head_encode(frame, FRAME_FIN | WS_OP_CLOSE, n, NULL);
	memcpy(frame + head, payload, n);
	/* The state first: the write may find the connection slow and come back here. */
	ws->state = (uint8_t)next;
	conn_write(ws->conn, frame, head + n);
}

void
ws_close(struct ws *ws, uint16_t code, const char *reason)
{
	if (ws->state != WS_OPEN)
		return;
	send_close(ws, WS_CLOSING, code, reason);
	if (!conn_is_open(ws->conn))
		return;
	ws->alive_due = ws->assemble_due = 0;
	conn_deadline(ws->conn, ws->o->close);
	if (ws->paused)
		ws_resume(ws);
}

/* Ends for a reason of ours that leaves nothing to wait for: close frame, flush, end. */
static void
fail(struct ws *ws, uint16_t code, const char *why, enum conn_reason reason)
{
	if (ws->state == WS_OPEN)
		send_close(ws, WS_OVER, code, why);
	ws->state = WS_OVER;
	conn_finish(ws->conn, reason);
}

/* The peer's close frame: answer it once and end (§5.5.1; the server closes TCP first, §7.1.1). */
static void
on_close_frame(struct ws *ws, const struct ws_event *ev)
{
	if (ws->state == WS_OPEN)
		send_close(ws, WS_OVER, ev->code, "");
	ws->state = WS_OVER;
	/* Nothing may follow the peer's close frame, so there is nothing to linger for. */
	if (conn_is_idle(ws->conn))
		conn_close(ws->conn, CONN_CLOSED_PEER);
	else
		conn_finish(ws->conn, CONN_CLOSED_PEER);
}

/* The inflater of this connection's messages; NULL: no memory. */
static struct inflater *
inflater_of(struct ws *ws)
{
	if (ws->takeover == 0)
		return ws->o->inflater;
	if (ws->inflater == NULL)
		ws->inflater = inflater_new_takeover(ws->o->inflater, ws->takeover);
	return ws->inflater;
}

static void
on_compressed(struct ws *ws, const struct ws_event *ev, enum msg_kind kind)
{
	struct inflater *i = inflater_of(ws);
	const uint8_t *data = NULL;
	size_t n = 0;
	int err = FAN_ENOMEM;

	if (i != NULL)
		err = inflate_message(i, ev->data, ev->len, ws->o->reader.message, &data, &n);
	if (err == FAN_ENOMEM)
		fail(ws, WS_CLOSE_INTERNAL, "out of memory", CONN_CLOSED_INTERNAL);
	else if (err == FAN_ETOOBIG)
		fail(ws, WS_CLOSE_TOO_BIG, "message too big", CONN_CLOSED_PROTOCOL);
	else if (err != 0)
		fail(ws, WS_CLOSE_INVALID_DATA, "invalid deflate data", CONN_CLOSED_PROTOCOL);
	else if (kind == MSG_TEXT && !utf8_valid(data, n))
		fail(ws, WS_CLOSE_INVALID_DATA, "invalid UTF-8", CONN_CLOSED_PROTOCOL);
	else
		ws->o->handler->on_message(ws->arg, kind, data, n);
	if (i != NULL)
		inflate_done(i);
}

static void
on_message(struct ws *ws, const struct ws_event *ev)
{
	enum msg_kind kind = ev->type == WS_EVENT_TEXT ? MSG_TEXT : MSG_BINARY;

	ws->assemble_due = 0;
	if (ws->state != WS_OPEN)
		return;
	if (ev->compressed)
		on_compressed(ws, ev, kind);
	else
		ws->o->handler->on_message(ws->arg, kind, ev->data, ev->len);
}

static void
on_event(struct ws *ws, const struct ws_event *ev)
{
	switch (ev->type) {
	case WS_EVENT_TEXT:
	case WS_EVENT_BINARY:
		on_message(ws, ev);
		break;
	case WS_EVENT_PING:
		send_pong(ws, ev->data, ev->len);
		break;
	case WS_EVENT_PONG:
		break;
	case WS_EVENT_CLOSE:
		on_close_frame(ws, ev);
		break;
	}
}

/* Keeps what cannot be delivered now. */
static void
hold(struct ws *ws, const uint8_t *p, size_t n)
{
	if (n == 0)
		return;
	if (ws->held == NULL) {
		ws->held = malloc(sizeof(*ws->held));
		if (ws->held != NULL)
			buf_init(ws->held, SIZE_MAX / 4);
	}
	if (ws->held == NULL || buf_append(ws->held, p, n) != 0)
		conn_close(ws->conn, CONN_CLOSED_INTERNAL);
}

/* Reads as far as state and pausing allow; what is left is held. */
static void
consume(struct ws *ws, uint8_t *p, size_t n)
{
	struct ws_event ev = { 0 };

	/* Also without input left: the reader then frees what its last event lent. */
	while (ws->state != WS_OVER && conn_is_open(ws->conn)) {
		int err;

		if (ws->paused) {
			hold(ws, p, n);
			return;
		}
		err = ws_reader_next(&ws->reader, &ws->o->reader, &p, &n, &ev);
		if (err == FAN_EAGAIN)
			break;
		if (err != 0) {
			fail(ws, ev.code, ev.why,
			    err == FAN_ENOMEM ? CONN_CLOSED_INTERNAL : CONN_CLOSED_PROTOCOL);
			return;
		}
		on_event(ws, &ev);
	}
}

/* After input: a message may have begun or ended, and the peer is known to live. */
static void
note_input(struct ws *ws)
{
	bool in_message = ws_reader_in_message(&ws->reader);
	uint64_t now;

	if (ws->state != WS_OPEN || !conn_is_open(ws->conn))
		return;
	if (ws->alive == ALIVE_IDLE && in_message == (ws->assemble_due != 0))
		return;
	now = clock_ms();
	if (ws->alive == ALIVE_PINGED)
		await_ping(ws, now);
	if (!in_message)
		ws->assemble_due = 0;
	else if (ws->assemble_due == 0)
		ws->assemble_due = now + ws->o->assemble;
	rearm(ws, now);
}

static void
on_data(struct conn *c, uint8_t *p, size_t n)
{
	struct ws *ws = c->up;

	consume(ws, p, n);
	note_input(ws);
}

void
ws_feed(struct ws *ws, uint8_t *p, size_t n)
{
	on_data(ws->conn, p, n);
}

void
ws_pause(struct ws *ws)
{
	if (ws->paused || ws->state != WS_OPEN)
		return;
	ws->paused = true;
	conn_pause(ws->conn);
}

void
ws_resume(struct ws *ws)
{
	struct buf *held = ws->held;

	if (!ws->paused)
		return;
	ws->paused = false;
	ws->held = NULL;
	if (ws->assemble_due != 0) {
		/* The message could not go on meanwhile; it gets its time anew. */
		ws->assemble_due = clock_ms() + ws->o->assemble;
		rearm(ws, clock_ms());
	}
	if (held != NULL) {
		/* The reader unmasks in place, in storage that is ours. */
		consume(ws, held->base + held->off, buf_len(held));
		buf_fini(held);
		free(held);
	}
	if (conn_is_open(ws->conn) && !ws->paused)
		conn_resume(ws->conn);
	note_input(ws);
}

static void
on_deadline(struct conn *c)
{
	struct ws *ws = c->up;
	uint64_t now = clock_ms();

	if (ws->state == WS_CLOSING) {
		conn_close(c, CONN_CLOSED_TIMEOUT);
		return;
	}
	if (ws->assemble_due != 0 && now >= ws->assemble_due && !ws->paused) {
		fail(ws, WS_CLOSE_POLICY, "message took too long", CONN_CLOSED_TIMEOUT);
		return;
	}
	if (ws->alive_due != 0 && now >= ws->alive_due) {
		if (ws->paused) {
			/* Not reading, we cannot tell; ask again later. */
			await_ping(ws, now);
		} else if (ws->alive == ALIVE_PINGED) {
			fail(ws, WS_CLOSE_POLICY, "ping was not answered", CONN_CLOSED_PING);
			return;
		} else {
			ws->alive = ALIVE_PINGED;
			ws->alive_due = now + ws->o->pong_timeout;
			ws_send(ws, WS_OP_PING, NULL, 0);
		}
	}
	if (conn_is_open(c))
		rearm(ws, now);
}

static void
on_slow(struct conn *c)
{
	struct ws *ws = c->up;

	if (ws->state == WS_OVER)
		return; /* the close frame itself met the long queue; fail goes on */
	conn_discard(c);
	if (ws->state == WS_OPEN)
		fail(ws, WS_CLOSE_TRY_LATER, "too slow", CONN_CLOSED_SLOW);
	else
		conn_close(c, CONN_CLOSED_SLOW);
}

static void
on_shed(struct conn *c, uint32_t key, uint64_t messages)
{
	const struct ws *ws = c->up;

	ws->o->handler->on_shed(ws->arg, key, messages);
}

static void
on_drained(struct conn *c)
{
	const struct ws *ws = c->up;

	if (ws->state == WS_OPEN)
		ws->o->handler->on_drained(ws->arg);
}

/* Every message of ours is one frame. */
static size_t
unit(const uint8_t *p, size_t n)
{
	struct frame_head head;

	if (frame_head_decode(p, n, &head) != 0 || head.len > n)
		return n;
	return head.size + (size_t)head.len;
}

static void
on_stop(struct conn *c)
{
	ws_close(c->up, WS_CLOSE_GOING_AWAY, "the server is stopping");
}

static void
on_close(struct conn *c, enum conn_reason reason)
{
	struct ws *ws = c->up;

	(void)reason;
	ws->o->handler->on_close(ws->arg);
	ws_reader_fini(&ws->reader);
	inflater_free(ws->inflater);
	if (ws->held != NULL) {
		buf_fini(ws->held);
		free(ws->held);
	}
	free(ws);
}
