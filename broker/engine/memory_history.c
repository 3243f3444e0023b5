/*
 * memory_history: the histories of the memory engine.  See memory_history.h.
 */
#include "broker/engine/memory_history.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/map.h"
#include "common/records.h"

#define STATE_LIFE ((uint64_t)24 * 3600 * 1000) /* ms that a state outlives its messages */
/* A sweep looks at this part of the channels, and at so many at least. */
#define SWEEP_PART 16
#define SWEEP_LEAST 1000
#define RING_FIRST 8
#define EPOCH_RANDOM 10 /* characters */
/* What malloc takes for itself, about. */
#define MALLOC_COST 16
/* A channel's part of the table of channels, or a key's of the table of keys. */
#define TABLE_COST (2 * sizeof(struct map_slot))

struct message {
	uint32_t len;
	uint8_t kind;
	uint8_t data[];
};

/* A key of idempotency that was seen. */
struct key {
	STAILQ_ENTRY(key) next;
	uint64_t offset;
	uint64_t expires;
	size_t len;
	char text[];
};

TAILQ_HEAD(channel_list, channel);

struct channel {
	TAILQ_ENTRY(channel) turn;  /* in `all`: the next to be swept first */
	TAILQ_ENTRY(channel) order; /* in `in` */
	struct channel_list *in;    /* `kept`, `keyed` or `bare` */
	struct position top;
	uint64_t expires;      /* when the messages do */
	uint64_t ends;         /* when the state does */
	struct message **ring; /* the newest at (first + count - 1) % room */
	size_t room;           /* a power of two, or 0 */
	size_t first, count;
	struct map keys;
	STAILQ_HEAD(key_list, key) seen; /* the oldest first */
	size_t len;
	char name[];
};

struct memory_history {
	struct map channels;
	struct channel_list all;
	struct channel_list kept;  /* with messages, the least recently written first */
	struct channel_list keyed; /* with keys only */
	struct channel_list bare;  /* with neither, the least recently used first */
	size_t bytes, max;
	size_t bare_bytes; /* of those, what `bare` takes */
	size_t key_bytes;  /* what the keys take, and the channels that cannot go because of them */
	uint64_t epochs;   /* given so far */
	char random[EPOCH_RANDOM + 1];
};

static const void *
channel_key(const void *object, size_t *len)
{
	const struct channel *c = object;

	*len = c->len;
	return c->name;
}

static const void *
key_key(const void *object, size_t *len)
{
	const struct key *k = object;

	*len = k->len;
	return k->text;
}

static size_t
message_cost(size_t len)
{
	return sizeof(struct message) + len + MALLOC_COST;
}

static size_t
key_cost(size_t len)
{
	return sizeof(struct key) + len + MALLOC_COST + TABLE_COST;
}

static size_t
channel_cost(const struct channel *c)
{
	return sizeof(*c) + c->len + MALLOC_COST + TABLE_COST;
}

/* --- one channel -------------------------------------------------------------------------------- */

/* Where it belongs. */
static struct channel_list *
list_of(struct memory_history *h, const struct channel *c)
{
	if (c->count > 0)
		return &h->kept;
	return STAILQ_EMPTY(&c->seen) ? &h->bare : &h->keyed;
}

static uint64_t
first_offset(const struct channel *c)
{
	return c->top.offset - c->count + 1;
}

static struct message *
message_at(const struct channel *c, uint64_t offset)
{
	return c->ring[(c->first + (size_t)(offset - first_offset(c))) & (c->room - 1)];
}

static void
drop_ring(struct memory_history *h, struct channel *c)
{
	h->bytes -= c->room * sizeof(struct message *);
	free(c->ring);
	c->ring = NULL;
	c->room = c->first = 0;
}

static void
drop_message(struct memory_history *h, struct channel *c)
{
	/* There is one, so there is a ring, which the analyzer does not see. */
	struct message *m = c->ring[c->first]; /* NOLINT(clang-analyzer-core.NullDereference) */

	h->bytes -= message_cost(m->len);
	free(m);
	c->first = (c->first + 1) & (c->room - 1);
	if (--c->count == 0)
		drop_ring(h, c);
}

static void
drop_key(struct memory_history *h, struct channel *c)
{
	struct key *k = STAILQ_FIRST(&c->seen);

	STAILQ_REMOVE_HEAD(&c->seen, next);
	(void)map_del(&c->keys, k->text, k->len);
	h->bytes -= key_cost(k->len);
	h->key_bytes -= key_cost(k->len);
	free(k);
	if (STAILQ_EMPTY(&c->seen)) {
		map_fini(&c->keys);
		h->key_bytes -= channel_cost(c);
	}
}

static void
take_out(struct memory_history *h, struct channel *c)
{
	TAILQ_REMOVE(c->in, c, order);
	h->bare_bytes -= c->in == &h->bare ? channel_cost(c) : 0;
}

/* Puts it at the end of the list where it belongs. */
static void
put_in(struct memory_history *h, struct channel *c)
{
	c->in = list_of(h, c);
	TAILQ_INSERT_TAIL(c->in, c, order);
	h->bare_bytes += c->in == &h->bare ? channel_cost(c) : 0;
}

/* After things were dropped. */
static void
settle(struct memory_history *h, struct channel *c)
{
	if (c->in == list_of(h, c))
		return;
	take_out(h, c);
	put_in(h, c);
}

static void
drop_channel(struct memory_history *h, struct channel *c)
{
	take_out(h, c);
	while (c->count > 0)
		drop_message(h, c);
	drop_ring(h, c);
	while (!STAILQ_EMPTY(&c->seen))
		drop_key(h, c);
	(void)map_del(&h->channels, c->name, c->len);
	TAILQ_REMOVE(&h->all, c, turn);
	h->bytes -= channel_cost(c);
	free(c);
}

/* Drops what has expired, but for the state. */
static void
expire(struct memory_history *h, struct channel *c, uint64_t now)
{
	while (c->count > 0 && now >= c->expires)
		drop_message(h, c);
	while (!STAILQ_EMPTY(&c->seen) && now >= STAILQ_FIRST(&c->seen)->expires)
		drop_key(h, c);
	settle(h, c);
}

/*
 * Makes room, for the sake of c, which stays.  Names alone, which clients can make up, must not take
 * the room of the messages.  A key stays for its ttl, because its publisher relies on it.
 */
static void
press(struct memory_history *h, const struct channel *c)
{
	while (h->bytes > h->max) {
		struct channel *kept = TAILQ_FIRST(&h->kept), *bare = TAILQ_FIRST(&h->bare);

		if (bare == c)
			bare = TAILQ_NEXT(bare, order);
		if (bare != NULL && (kept == NULL || h->bare_bytes > h->max / 4)) {
			drop_channel(h, bare);
		} else if (kept != NULL) {
			drop_message(h, kept);
			settle(h, kept);
		} else {
			return;
		}
	}
}

/* --- all channels ------------------------------------------------------------------------------- */

/* Writes an epoch that was never given before. */
static void
next_epoch(struct memory_history *h, struct position *p)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	uint64_t n = h->epochs++;
	size_t i = EPOCH_RANDOM;

	memset(p, 0, sizeof(*p));
	memcpy(p->epoch, h->random, EPOCH_RANDOM);
	do {
		p->epoch[i++] = digits[n % 36];
		n /= 36;
	} while (n > 0);
}

static struct channel *
new_channel(struct memory_history *h, const char *name, size_t len)
{
	struct channel *c = calloc(1, sizeof(*c) + len);

	if (c == NULL)
		return NULL;
	c->len = len;
	memcpy(c->name, name, len);
	map_init(&c->keys, key_key);
	STAILQ_INIT(&c->seen);
	if (map_put(&h->channels, c) != 0) {
		free(c);
		return NULL;
	}
	next_epoch(h, &c->top);
	TAILQ_INSERT_TAIL(&h->all, c, turn);
	put_in(h, c);
	h->bytes += channel_cost(c);
	return c;
}

/* The channel as it is now; it is made if there is none.  NULL: no memory. */
static struct channel *
use(struct memory_history *h, const char *name, size_t len, const struct conf_rule *r, uint64_t now)
{
	struct channel *c = map_get(&h->channels, name, len);
	uint64_t ends = now + (uint64_t)r->history.ttl + STATE_LIFE;

	if (c == NULL)
		c = new_channel(h, name, len);
	if (c == NULL)
		return NULL;
	expire(h, c, now);
	if (c->ends < ends)
		c->ends = ends;
	if (c->in == &h->bare) {
		take_out(h, c);
		put_in(h, c);
	}
	return c;
}

int
memory_history_new(struct memory_history **out, size_t max)
{
	static const char digits[32] = "abcdefghijklmnopqrstuvwxyzABCDEF";
	struct memory_history *h = calloc(1, sizeof(*h));
	size_t i;

	if (h == NULL)
		return FAN_ENOMEM;
	if (getrandom(h->random, EPOCH_RANDOM, 0) != EPOCH_RANDOM) {
		free(h);
		return FAN_ESYS;
	}
	for (i = 0; i < EPOCH_RANDOM; i++)
		h->random[i] = digits[h->random[i] & 31];
	h->max = max;
	map_init(&h->channels, channel_key);
	TAILQ_INIT(&h->all);
	TAILQ_INIT(&h->kept);
	TAILQ_INIT(&h->keyed);
	TAILQ_INIT(&h->bare);
	*out = h;
	return 0;
}

void
memory_history_free(struct memory_history *h)
{
	struct channel *c;

	if (h == NULL)
		return;
	while ((c = TAILQ_FIRST(&h->all)) != NULL)
		drop_channel(h, c);
	map_fini(&h->channels);
	free(h);
}

void
memory_history_sweep(struct memory_history *h, uint64_t now)
{
	size_t all = map_count(&h->channels), left = all / SWEEP_PART;

	if (left < SWEEP_LEAST)
		left = all < SWEEP_LEAST ? all : SWEEP_LEAST;
	for (; left > 0; left--) {
		struct channel *c = TAILQ_FIRST(&h->all);

		expire(h, c, now);
		if (now >= c->ends && c->in == &h->bare) {
			drop_channel(h, c);
			continue;
		}
		TAILQ_REMOVE(&h->all, c, turn);
		TAILQ_INSERT_TAIL(&h->all, c, turn);
	}
}

size_t
memory_history_bytes(const struct memory_history *h)
{
	return h->bytes;
}

size_t
memory_history_channels(const struct memory_history *h)
{
	return map_count(&h->channels);
}

/* --- writing ------------------------------------------------------------------------------------ */

/* Makes room for one more message in the ring. */
static int
reserve(struct memory_history *h, struct channel *c)
{
	size_t room = c->room == 0 ? RING_FIRST : c->room * 2, i;
	struct message **ring;

	if (c->count < c->room)
		return 0;
	ring = calloc(room, sizeof(*ring));
	if (ring == NULL)
		return FAN_ENOMEM;
	for (i = 0; i < c->count; i++)
		ring[i] = c->ring[(c->first + i) & (c->room - 1)];
	free(c->ring);
	h->bytes += (room - c->room) * sizeof(*ring);
	c->ring = ring;
	c->room = room;
	c->first = 0;
	return 0;
}

/* What a key of this length adds to key_bytes. */
static size_t
key_share(const struct channel *c, size_t len)
{
	return key_cost(len) + (STAILQ_EMPTY(&c->seen) ? channel_cost(c) : 0);
}

/* Remembers the message's key, which was not seen, for the message that comes next. */
static int
remember(
    struct memory_history *h, struct channel *c, const struct engine_message *m, uint64_t expires)
{
	struct key *k = malloc(sizeof(*k) + m->key_len);

	if (k == NULL)
		return FAN_ENOMEM;
	k->offset = c->top.offset + 1;
	k->expires = expires;
	k->len = m->key_len;
	memcpy(k->text, m->key, m->key_len);
	if (map_put(&c->keys, k) != 0) {
		free(k);
		return FAN_ENOMEM;
	}
	h->key_bytes += key_share(c, k->len);
	STAILQ_INSERT_TAIL(&c->seen, k, next);
	h->bytes += key_cost(k->len);
	return 0;
}

static void
push(struct memory_history *h, struct channel *c, struct message *message)
{
	c->ring[(c->first + c->count++) & (c->room - 1)] = message;
	c->top.offset++;
	h->bytes += message_cost(message->len);
}

static struct message *
copy_message(const struct engine_message *m)
{
	struct message *copy;

	if (m->len > UINT32_MAX || (copy = malloc(sizeof(*copy) + m->len)) == NULL)
		return NULL;
	copy->len = (uint32_t)m->len;
	copy->kind = (uint8_t)m->kind;
	if (m->len > 0)
		memcpy(copy->data, m->data, m->len);
	return copy;
}

int
memory_history_append(struct memory_history *h, const struct engine_message *m,
    const struct conf_rule *r, uint64_t now, struct position *pos, bool *again)
{
	struct channel *c = use(h, m->channel, m->channel_len, r, now);
	const struct key *k;
	struct message *message;

	if (c == NULL)
		return FAN_ENOMEM;
	*pos = c->top;
	k = m->key_len == 0 ? NULL : map_get(&c->keys, m->key, m->key_len);
	*again = k != NULL;
	if (k != NULL) {
		pos->offset = k->offset;
		return 0;
	}
	if (m->key_len > 0 && h->key_bytes + key_share(c, m->key_len) > h->max / 4) {
		press(h, c); /* it may be a new one */
		return FAN_EFULL;
	}
	message = copy_message(m);
	if (message == NULL)
		return FAN_ENOMEM;
	if (reserve(h, c) != 0 ||
	    (m->key_len > 0 && remember(h, c, m, now + (uint64_t)r->history.ttl) != 0)) {
		free(message);
		return FAN_ENOMEM;
	}
	push(h, c, message);
	take_out(h, c);
	put_in(h, c);
	c->expires = now + (uint64_t)r->history.ttl;
	while (c->count > (size_t)r->history.size)
		drop_message(h, c);
	press(h, c);
	pos->offset = c->top.offset;
	return 0;
}

/* --- reading ------------------------------------------------------------------------------------ */

/* Appends what q asks for. */
static int
append_records(const struct channel *c, const struct engine_query *q, struct buf *b)
{
	uint64_t top = c->top.offset, at;
	size_t before = buf_len(b);
	unsigned n;

	if (q->reverse)
		at = q->after == 0 || q->after > top ? top : q->after - 1;
	else if (q->after >= top)
		return 0;
	else
		at = q->after < first_offset(c) ? first_offset(c) : q->after + 1;
	for (n = 0; n < q->limit && at >= first_offset(c) && at <= top; n++) {
		const struct message *m = message_at(c, at);
		struct record r = { at, (enum msg_kind)m->kind, m->data, m->len };
		int err;

		if (n > 0 && buf_len(b) - before + RECORD_HEAD + m->len > q->bytes)
			break;
		err = records_append(b, &r);
		if (err != 0)
			return err;
		at += q->reverse ? UINT64_MAX : 1;
	}
	return 0;
}

int
memory_history_read(struct memory_history *h, const char *channel, size_t len,
    const struct conf_rule *r, const struct engine_query *q, uint64_t now, struct position *top,
    struct buf *b)
{
	struct channel *c = use(h, channel, len, r, now);

	if (c == NULL)
		return FAN_ENOMEM;
	press(h, c);
	*top = c->top;
	return c->count == 0 ? 0 : append_records(c, q, b);
}

int
memory_history_forget(struct memory_history *h, const char *channel, size_t len,
    const struct conf_rule *r, uint64_t now, struct position *top)
{
	struct channel *c = use(h, channel, len, r, now);

	if (c == NULL)
		return FAN_ENOMEM;
	c->expires = now;
	expire(h, c, now);
	press(h, c);
	*top = c->top;
	return 0;
}
