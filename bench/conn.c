/*
 * conn: one connection to the measured broker: what it has received, checked as it arrives.  See
 * conn.h.
 */
#include "bench/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/flow.h"
#include "bench/loop.h"
#include "bench/reply.h"
#include "bench/settings.h"
#include "bench/text.h"

#define CONTROL 8 /* opcodes from here are of control frames */

static const uint8_t zero_mask[4] = { 0, 0, 0, 0 };

/* Only this thread writes it. */
static inline void
add(atomic_uint_least64_t *n, uint64_t k)
{
	atomic_store_explicit(
	    n, atomic_load_explicit(n, memory_order_relaxed) + k, memory_order_relaxed);
}

static inline uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- what a message is ------------------------------------------------------------------------- */

/* A message that is not the one due: a probe, or a fault of the broker. */
static void
on_unexpected(struct loop *l, struct conn *c)
{
	uint32_t seq = c->due.seq, gap, i;

	if (seq == 0) {
		if (c->next == 0) {
			c->next = 1;
			atomic_fetch_add(&c->part->ready, 1);
		}
		return;
	}
	if (seq < c->next) {
		i = c->next - 1 - seq;
		if (i < 64 && (c->missing >> i & 1) != 0) {
			c->missing &= ~(UINT64_C(1) << i);
			add(&l->count.reordered, 1);
			add(&l->count.lost, UINT64_MAX); /* one less */
		} else {
			add(&l->count.doubled, 1);
		}
		return;
	}
	gap = seq - c->next;
	add(&l->count.lost, gap);
	add(&l->count.deliveries, 1);
	c->missing = gap < 63 ? (c->missing << (gap + 1)) | ((UINT64_C(1) << (gap + 1)) - 2)
			      : UINT64_MAX - 1;
	for (; c->next <= seq; c->next++)
		part_count(c->part, c->next);
}

/* The message of which the stamp is in c->due has arrived whole. */
static inline void
on_message(struct loop *l, struct conn *c)
{
	c->pending = false;
	if (__builtin_expect(c->due.seq != c->next || c->next == 0, 0)) {
		on_unexpected(l, c);
		return;
	}
	c->next++;
	c->missing <<= 1;
	add(&l->count.deliveries, 1);
	hist_add(&l->latency, l->now > c->due.ns ? l->now - c->due.ns : 0);
	part_count(c->part, c->due.seq);
}

/*
 * Finds out which message begins with the stamp at p.  It is nearly always the one that is due,
 * of which the stamp is known.
 */
static inline void
take_stamp(struct loop *l, struct conn *c, const uint8_t *p)
{
	const struct flow *f = c->part->flow;
	const struct flow_slot *slot = &f->slots[c->next & f->mask];
	uint32_t sent = atomic_load_explicit(&f->sent, memory_order_acquire);

	c->pending = true;
	if (c->next <= sent && memcmp(p, slot->stamp, WIRE_STAMP) == 0) {
		c->due.seq = c->next;
		c->due.ns = slot->ns;
	} else if (!wire_stamp_read(p, &c->due) || c->due.channel != f->channel ||
	    c->due.seq > sent) {
		c->pending = false;
		add(&l->count.malformed, 1);
	}
}

static inline void
begin_message(struct loop *l, struct conn *c, const uint8_t *stamp, uint64_t len)
{
	take_stamp(l, c, stamp);
	c->skip = len - WIRE_STAMP;
	if (c->skip == 0 && c->pending)
		on_message(l, c);
}

static const uint8_t *
skip_body(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	uint64_t k = smaller(c->skip, n);

	c->skip -= k;
	if (c->skip == 0 && c->pending)
		on_message(l, c);
	return p + k;
}

/* --- stamps anywhere in a stream of bytes -------------------------------------------------------- */

/* Takes one byte of a stamp that may begin in one read and end in another. */
static void
collect_stamp(struct loop *l, struct conn *c, uint8_t byte)
{
	if (c->nstamp < WIRE_MARK_LEN && byte != (uint8_t)WIRE_MARK[c->nstamp])
		c->nstamp = 0;
	if (c->nstamp > 0 || byte == (uint8_t)WIRE_MARK[0])
		c->stamp[c->nstamp++] = byte;
	if (c->nstamp == WIRE_STAMP) {
		c->nstamp = 0;
		begin_message(l, c, c->stamp, l->control->settings->size);
	}
}

static void
scan(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n, *found;

	if (c->part == NULL)
		return;
	while (p < end) {
		if (c->skip > 0) {
			p = skip_body(l, c, p, (size_t)(end - p));
			continue;
		}
		if (c->nstamp > 0) {
			collect_stamp(l, c, *p++);
			continue;
		}
		found = memchr(p, WIRE_MARK[0], (size_t)(end - p));
		if (found == NULL)
			return;
		p = found;
		if (end - p >= WIRE_STAMP && memcmp(p, WIRE_MARK, WIRE_MARK_LEN) == 0) {
			begin_message(l, c, p, l->control->settings->size);
			p += WIRE_STAMP;
		} else {
			collect_stamp(l, c, *p++);
		}
	}
}

/* --- WebSocket frames -------------------------------------------------------------------------- */

static _Noreturn void
on_close_frame(const uint8_t *p, size_t n)
{
	if (n < 2)
		text_die("the server closes a connection without saying why");
	text_die("the server closes a connection: %u %.*s", (unsigned)(p[0] << 8 | p[1]),
	    (int)(n - 2), (const char *)p + 2);
}

static void
on_control(struct loop *l, struct conn *c, uint8_t opcode, const uint8_t *p, size_t n)
{
	uint8_t pong[6 + 125];
	size_t head;

	if (opcode == WIRE_CLOSE)
		on_close_frame(p, n);
	if (opcode != WIRE_PING)
		return;
	head = wire_head(pong, WIRE_PONG, n, zero_mask);
	memcpy(pong + head, p, n);
	conn_send(l, c, pong, head + n);
}

/* How many of the bytes at p must be there before begin_frame can look at them. */
static inline size_t
frame_need(const struct conn *c, const uint8_t *p, size_t n)
{
	size_t head;
	uint64_t len;

	if (n < 2)
		return 2;
	head = wire_head_len(p);
	if (n < head)
		return head;
	len = wire_payload_len(p);
	if ((p[0] & 0x0f) >= CONTROL)
		return head + (size_t)smaller(len, 125);
	return c->marked ? head : head + (size_t)smaller(len, WIRE_STAMP);
}

/* Takes the frame that begins at p, where all that frame_need asks for is; returns that much. */
static inline size_t
begin_frame(struct loop *l, struct conn *c, const uint8_t *p)
{
	size_t need = frame_need(c, p, CONN_HEAD_MAX), head = wire_head_len(p);
	uint8_t opcode = p[0] & 0x0f;
	uint64_t len = wire_payload_len(p);

	if ((p[1] & WIRE_MASKED) != 0)
		text_die("the server sends a masked frame");
	if (opcode >= CONTROL) {
		if (len > 125)
			text_die("the server sends a control frame of %llu bytes",
			    (unsigned long long)len);
		on_control(l, c, opcode, p + head, (size_t)len);
	} else if (c->marked) {
		c->body = len;
	} else if (c->part != NULL && len == l->control->settings->size && (p[0] & WIRE_FIN) != 0 &&
	    opcode != WIRE_CONTINUATION) {
		begin_message(l, c, p + head, len);
	} else {
		if (c->part != NULL)
			add(&l->count.malformed, 1);
		c->skip = len - smaller(len, WIRE_STAMP);
	}
	return need;
}

/* Collects the beginning of a frame over several reads; returns how many bytes it took. */
static size_t
collect_frame(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	size_t k = (size_t)smaller(frame_need(c, c->head, c->nhead) - c->nhead, n);

	memcpy(c->head + c->nhead, p, k);
	c->nhead = (uint8_t)(c->nhead + k);
	if (frame_need(c, c->head, c->nhead) == c->nhead) {
		c->nhead = 0;
		(void)begin_frame(l, c, c->head);
	}
	return k;
}

static void
feed_frames(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;

	while (p < end) {
		n = (size_t)(end - p);
		if (c->marked && c->body > 0) {
			n = (size_t)smaller(n, c->body);
			c->body -= n;
			scan(l, c, p, n);
			p += n;
		} else if (!c->marked && c->skip > 0) {
			p = skip_body(l, c, p, n);
		} else if (c->nhead == 0 && frame_need(c, p, n) <= n) {
			p += begin_frame(l, c, p);
		} else {
			p += collect_frame(l, c, p, n);
		}
	}
}

/* --- the socket ---------------------------------------------------------------------------------- */

void
conn_feed(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	unsigned answers;

	if (c->kind == CONN_WS) {
		feed_frames(l, c, p, n);
	} else if (c->kind == CONN_PLAIN) {
		scan(l, c, p, n);
	} else {
		answers = reply_feed(c->reply, p, n);
		while (answers-- > 0)
			flow_on_answer(c->flow);
	}
}

void
conn_read(struct loop *l, struct conn *c)
{
	ssize_t n = recv(c->fd, l->buffer, LOOP_BUFFER, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		text_die("a connection breaks: %s", strerror(errno));
	if (n == 0)
		text_die("the server cuts a connection");
	l->now = wire_now();
	conn_feed(l, c, l->buffer, (size_t)n);
	atomic_store_explicit(&l->count.last_ns, l->now, memory_order_relaxed);
}

void
conn_send(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	ssize_t sent;

	(void)l;
	if (c->flow != NULL) {
		flow_append(c->flow, p, n);
		flow_flush(c->flow);
		return;
	}
	sent = send(c->fd, p, n, MSG_NOSIGNAL);
	if (sent < 0 || (size_t)sent < n)
		text_die("the server does not read what a subscriber sends");
}

void
conn_send_message(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	uint8_t frame[WIRE_HEAD_MAX + 4096];
	size_t head = 0;

	if (n > sizeof(frame) - WIRE_HEAD_MAX)
		text_usage("a template makes a message of more than %zu bytes",
		    sizeof(frame) - WIRE_HEAD_MAX);
	if (c->kind == CONN_WS)
		head = wire_head(frame,
		    l->control->settings->dialect.binary ? WIRE_BINARY : WIRE_TEXT, n, zero_mask);
	memcpy(frame + head, p, n);
	conn_send(l, c, frame, head + n);
}

uint64_t
conn_missing(const struct conn *c, uint32_t sent)
{
	uint32_t last = c->next > 0 ? c->next - 1 : 0;

	return c->part != NULL && sent > last ? sent - last : 0;
}
