/*
 * flow: the numbered messages of one channel, from its publisher to all who subscribe to it.  See
 * flow.h.
 */
#include "bench/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/body.h"
#include "bench/conn.h"
#include "bench/loop.h"
#include "bench/settings.h"
#include "bench/text.h"

#define PROBE_EVERY_NS 100000000
#define NS_PER_S 1e9

/* Where only the rate bounds what is under way, so many messages may be; of one flow and of many. */
#define UNBOUND_ONE 4095
#define UNBOUND_MANY 255

/* What may wait for the publisher's socket: much is written at once, not all there is. */
#define OUT_ROOM ((size_t)256 * 1024)

/* --- set-up ------------------------------------------------------------------------------------ */

void
flow_init(struct flow *f, struct control *c, struct loop *l, uint32_t channel, struct text image,
    const struct bodies *bodies)
{
	const struct settings *s = c->settings;
	uint32_t slots = 1;
	unsigned i;

	f->loop = l;
	f->channel = channel;
	f->window = s->window;
	if (f->window == 0)
		f->window = s->mode == MODE_PAIRS ? UNBOUND_MANY : UNBOUND_ONE;
	while (slots <= f->window)
		slots *= 2;
	f->mask = slots - 1;
	f->slots = text_calloc(slots, sizeof(*f->slots));
	f->interval = s->rate > 0 ? (uint64_t)(NS_PER_S / s->rate) : 0;
	f->framed = s->publish == PUBLISH_WS && !s->dialect.plain;
	f->requests_max = s->publish == PUBLISH_HTTP ? s->pipeline : 0;
	f->opcode = s->dialect.binary ? WIRE_BINARY : WIRE_TEXT;
	f->random = wire_now() | 1;
	f->image = image.p;
	f->image_len = image.n;
	f->payload_at = image.payload_at;
	f->stamp_at = image.payload_at + s->stamp_at;
	f->bodies = bodies;
	f->out_room = OUT_ROOM + image.n + WIRE_HEAD_MAX;
	f->out = text_calloc(1, f->out_room);
	f->nparts = c->nloops;
	f->parts = text_calloc(f->nparts, sizeof(*f->parts));
	for (i = 0; i < f->nparts; i++) {
		f->parts[i].flow = f;
		f->parts[i].loop = &c->loops[i];
	}
	loop_add_flow(l, f);
}

void
flow_fini(struct flow *f)
{
	unsigned i;

	for (i = 0; i < f->nparts; i++) {
		packed_fini(&f->parts[i].packed);
		free(f->parts[i].got);
	}
	free(f->parts);
	free(f->slots);
	free(f->image);
	free(f->out);
}

struct part *
flow_add_subscriber(struct flow *f, struct loop *l)
{
	struct part *p = &f->parts[l - l->control->loops];

	if (p->got == NULL) {
		p->got = text_calloc((size_t)f->mask + 1, sizeof(*p->got));
		if (l->control->settings->deflate)
			packed_init(&p->packed, f->mask + 1);
	}
	p->subscribers++;
	return p;
}

void
flow_begin(struct flow *f, uint64_t messages, uint64_t start)
{
	uint32_t sent = atomic_load(&f->sent);
	bool bound = messages > 0 && messages < UINT32_MAX - sent;

	atomic_store(&f->limit, bound ? sent + (uint32_t)messages : UINT32_MAX);
	f->due = start;
}

/* --- where it stands --------------------------------------------------------------------------- */

uint32_t
flow_complete(const struct flow *f)
{
	uint32_t least = UINT32_MAX, complete;
	unsigned i;

	for (i = 0; i < f->nparts; i++) {
		if (f->parts[i].subscribers == 0)
			continue;
		complete = atomic_load_explicit(&f->parts[i].complete, memory_order_acquire);
		least = complete < least ? complete : least;
	}
	return least;
}

bool
flow_is_complete(const struct flow *f)
{
	return flow_complete(f) == atomic_load(&f->sent);
}

uint32_t
flow_subscribers(const struct flow *f)
{
	uint32_t n = 0;
	unsigned i;

	for (i = 0; i < f->nparts; i++)
		n += f->parts[i].subscribers;
	return n;
}

uint32_t
flow_ready(const struct flow *f)
{
	uint32_t n = 0;
	unsigned i;

	for (i = 0; i < f->nparts; i++)
		n += atomic_load(&f->parts[i].ready);
	return n;
}

/* --- sending ----------------------------------------------------------------------------------- */

static void
make_runnable(struct flow *f)
{
	if (f->queued)
		return;
	f->queued = true;
	f->next_runnable = f->loop->runnable;
	f->loop->runnable = f;
}

void
flow_flush(struct flow *f)
{
	ssize_t n;

	while (f->out_at < f->out_len) {
		n = conn_write(f->conn, f->out + f->out_at, f->out_len - f->out_at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			loop_watch_out(f->loop, f->conn, true);
			return;
		}
		if (n < 0)
			text_die("a publisher's connection breaks: %s", strerror(errno));
		f->out_at += (size_t)n;
	}
	f->out_at = f->out_len = 0;
	if (f->conn->watch_out) {
		loop_watch_out(f->loop, f->conn, false);
		make_runnable(f);
	}
}

void
flow_append(struct flow *f, const uint8_t *p, size_t n)
{
	if (n > f->out_room - f->out_len)
		text_die("the server does not read what a publisher sends");
	memcpy(f->out + f->out_len, p, n);
	f->out_len += n;
}

static bool
has_room(const struct flow *f)
{
	return f->out_room - f->out_len >= f->image_len + WIRE_HEAD_MAX &&
	    (f->requests_max == 0 || f->requests < f->requests_max);
}

/* Puts a payload into the image. */
static void
set_payload(struct flow *f, const struct wire_stamp *stamp)
{
	if (f->bodies != NULL)
		memcpy(f->image + f->payload_at, bodies_of(f->bodies, stamp->seq), f->bodies->size);
	wire_stamp_write(stamp, f->image + f->stamp_at);
}

/* Appends the image, which has its stamp. */
static void
append_image(struct flow *f)
{
	uint8_t *out = f->out + f->out_len, mask[4];

	if (f->framed) {
		f->random ^= f->random << 13; /* xorshift64 */
		f->random ^= f->random >> 7;
		f->random ^= f->random << 17;
		memcpy(mask, &f->random, sizeof(mask));
		out += wire_head(out, (enum wire_opcode)f->opcode, f->image_len, mask);
		wire_mask(out, f->image, f->image_len, mask);
	} else {
		memcpy(out, f->image, f->image_len);
	}
	f->out_len = (size_t)(out - f->out) + f->image_len;
	f->requests += f->requests_max > 0;
}

static bool
window_is_open(const struct flow *f, uint32_t sent)
{
	return sent < atomic_load_explicit(&f->limit, memory_order_relaxed) &&
	    sent - flow_complete(f) < f->window && has_room(f);
}

uint64_t
flow_due_in(const struct flow *f, uint64_t now)
{
	if (!window_is_open(f, atomic_load_explicit(&f->sent, memory_order_relaxed)))
		return FLOW_NEVER;
	return f->due > now ? f->due - now : 0;
}

void
flow_pump(struct flow *f)
{
	uint32_t sent = atomic_load_explicit(&f->sent, memory_order_relaxed);
	uint64_t now = wire_now();
	struct wire_stamp stamp = { .channel = f->channel, .ns = now };
	struct flow_slot *slot;

	while (window_is_open(f, sent)) {
		if (f->interval > 0) {
			if (f->due > now)
				break;
			/* Late or not, a message's time is that at which it was due. */
			stamp.ns = f->due;
			f->due += f->interval;
		}
		stamp.seq = ++sent;
		slot = &f->slots[sent & f->mask];
		slot->ns = stamp.ns;
		set_payload(f, &stamp);
		memcpy(slot->stamp, f->image + f->stamp_at, WIRE_STAMP);
		append_image(f);
	}
	atomic_store_explicit(&f->sent, sent, memory_order_release);
	if (f->out_len > 0 && !f->conn->watch_out)
		flow_flush(f);
}

void
flow_probe(struct flow *f)
{
	struct wire_stamp stamp = { .channel = f->channel, .ns = wire_now() };

	if (flow_ready(f) == flow_subscribers(f) || stamp.ns - f->probed < PROBE_EVERY_NS ||
	    !has_room(f))
		return;
	f->probed = stamp.ns;
	set_payload(f, &stamp);
	append_image(f);
	flow_flush(f);
}

/* --- what comes back --------------------------------------------------------------------------- */

void
flow_on_answer(struct flow *f)
{
	if (f->requests > 0)
		f->requests--;
	make_runnable(f);
}

void
part_count(struct part *p, uint32_t seq)
{
	struct flow *f = p->flow;
	uint32_t *got = &p->got[seq & f->mask];

	if (++*got < p->subscribers)
		return;
	*got = 0;
	atomic_store_explicit(&p->complete, seq, memory_order_release);
	if (f->loop == p->loop)
		make_runnable(f);
	else
		p->loop->remote = f->loop;
}
