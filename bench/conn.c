/*
 * conn: one connection to the measured broker: what it has received, checked as it arrives.  See
 * conn.h.
 */
#include "bench/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/body.h"
#include "bench/flow.h"
#include "bench/loop.h"
#include "bench/reply.h"
#include "bench/settings.h"
#include "bench/text.h"
#include "bench/tls.h"

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

/* len bytes of payload are left from the stamp on. */
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

/* --- compressed messages ----------------------------------------------------------------------- */

/* Whether a payload is the one that was sent with the stamp that it has. */
static bool
is_as_sent(const struct settings *s, const struct flow *f, const uint8_t *p, uint32_t seq)
{
	size_t after = s->stamp_at + WIRE_STAMP;
	const uint8_t *body;

	if (f->bodies == NULL)
		return true;
	body = bodies_of(f->bodies, seq);
	return memcmp(p, body, s->stamp_at) == 0 &&
	    memcmp(p + after, body + after, s->size - after) == 0;
}

/* A message that was not compressed as the one before it was. */
static void
unpack(struct loop *l, struct conn *c)
{
	const struct settings *s = l->control->settings;
	struct packed *packed = &c->part->packed;
	const uint8_t *p;
	size_t n;

	if (!packed_inflate(packed, &c->packed, s->size, &p, &n) || n != s->size) {
		add(&l->count.malformed, 1);
		return;
	}
	take_stamp(l, c, p + s->stamp_at);
	if (!c->pending)
		return;
	if (!is_as_sent(s, c->part->flow, p, c->due.seq)) {
		c->pending = false;
		add(&l->count.malformed, 1);
		return;
	}
	if (c->due.seq == c->next && c->next > 0)
		packed_keep(packed, &c->packed, c->next);
	on_message(l, c);
}

static const uint8_t *
feed_packed(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	const struct flow *f = c->part->flow;

	p += packed_feed(&c->part->packed, &c->packed, c->next, p, n);
	if (c->packed.at < c->packed.len)
		return p;
	c->unpacking = false;
	if (!c->packed.known) {
		unpack(l, c);
		return p;
	}
	c->due.seq = c->next;
	c->due.ns = f->slots[c->next & f->mask].ns;
	on_message(l, c);
	return p;
}

/* --- stamps anywhere in a stream of bytes -------------------------------------------------------- */

static uint64_t
stamped_len(const struct loop *l)
{
	return l->control->settings->size - l->control->settings->stamp_at;
}

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
		begin_message(l, c, c->stamp, stamped_len(l));
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
			begin_message(l, c, p, stamped_len(l));
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

static inline bool
is_packed(const struct conn *c, const uint8_t *p)
{
	return c->deflate && c->part != NULL && (p[0] & WIRE_DEFLATED) != 0 &&
	    (p[0] & WIRE_FIN) != 0 && (p[0] & 0x0f) < CONTROL;
}

/* How many of the bytes at p must be there before begin_frame can look at them. */
static inline size_t
frame_need(const struct loop *l, const struct conn *c, const uint8_t *p, size_t n)
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
	if (c->marked || is_packed(c, p))
		return head;
	return head + (size_t)smaller(len, l->control->settings->stamp_at + WIRE_STAMP);
}

/* Takes the frame that begins at p, where all that frame_need asks for is; returns that much. */
static inline size_t
begin_frame(struct loop *l, struct conn *c, const uint8_t *p)
{
	const struct settings *s = l->control->settings;
	size_t need = frame_need(l, c, p, CONN_HEAD_MAX), head = wire_head_len(p);
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
	} else if (is_packed(c, p) && len > 0) {
		c->unpacking = true;
		packed_begin(&c->part->packed, &c->packed, c->next, len);
	} else if (c->part != NULL && len == s->size && (p[0] & WIRE_FIN) != 0 &&
	    (p[0] & WIRE_DEFLATED) == 0 && opcode != WIRE_CONTINUATION) {
		begin_message(l, c, p + head + s->stamp_at, len - s->stamp_at);
	} else {
		if (c->part != NULL)
			add(&l->count.malformed, 1);
		c->skip = head + len - need;
	}
	return need;
}

/* Collects the beginning of a frame over several reads; returns how many bytes it took. */
static size_t
collect_frame(struct loop *l, struct conn *c, const uint8_t *p, size_t n)
{
	size_t k = (size_t)smaller(frame_need(l, c, c->head, c->nhead) - c->nhead, n);

	memcpy(c->head + c->nhead, p, k);
	c->nhead = (uint8_t)(c->nhead + k);
	if (frame_need(l, c, c->head, c->nhead) == c->nhead) {
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
		} else if (c->unpacking) {
			p = feed_packed(l, c, p, n);
		} else if (c->nhead == 0 && frame_need(l, c, p, n) <= n) {
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

/* Returns whether there was anything. */
static bool
read_once(struct loop *l, struct conn *c)
{
	ssize_t n;

	if (c->tls != NULL)
		n = tls_read(c->tls, l->buffer, LOOP_BUFFER);
	else
		n = recv(c->fd, l->buffer, LOOP_BUFFER, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0)
		text_die("a connection breaks: %s", strerror(errno));
	if (n == 0)
		text_die("the server cuts a connection");
	l->now = wire_now();
	if (c->kind != CONN_REPLY)
		add(&l->count.bytes, (uint64_t)n);
	conn_feed(l, c, l->buffer, (size_t)n);
	atomic_store_explicit(&l->count.last_ns, l->now, memory_order_relaxed);
	return true;
}

void
conn_read(struct loop *l, struct conn *c)
{
	while (read_once(l, c) && c->tls != NULL && tls_pending(c->tls))
		;
}

ssize_t
conn_write(struct conn *c, const void *p, size_t n)
{
	return c->tls != NULL ? tls_write(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);
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
	sent = conn_write(c, p, n);
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
