/*
 * outq: what the kernel has not taken yet of one connection's output.  See outq.h.
 *
 * The entries lie in one array, from head on.  An entry that is left out in the middle becomes a hole;
 * holes are closed when the array is full or many go at once, so that leaving one out costs nothing.
 * The first and the last entry are never holes.
 */
#include "worker/net/outq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"

#define COPY_BLOCK 1024 /* room of a block for small copied writes */
#define FIRST_CAP 4

/* What was left out in one operation, by key. */
struct tally {
	outq_left left;
	void *arg;
	size_t n;
	struct {
		uint32_t key;
		uint64_t messages;
	} item[OUTQ_KEYS];
};

static void
tell(struct tally *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		t->left(t->arg, t->item[i].key, t->item[i].messages);
	t->n = 0;
}

static void
count(struct tally *t, uint32_t key, uint64_t messages)
{
	size_t i;

	if (messages == 0)
		return;
	for (i = 0; i < t->n && t->item[i].key != key; i++)
		continue;
	if (i == OUTQ_KEYS) {
		tell(t);
		i = 0;
	}
	if (i == t->n) {
		t->item[i].key = key;
		t->item[i].messages = 0;
		t->n++;
	}
	t->item[i].messages += messages;
}

/* --- entries ------------------------------------------------------------------------------ */

static struct outq_entry *
at(const struct outq *q, uint32_t i)
{
	return &q->entry[q->head + i];
}

static uint32_t
length(const struct outq_entry *e)
{
	return e->end - e->off;
}

/* The bytes of a block with its head. */
static size_t
block_size(const struct block *b)
{
	return sizeof(*b) + b->cap;
}

static struct block *
hold(struct outq *q, struct block *b)
{
	if (b->queued++ == 0)
		*q->memory += block_size(b);
	return block_ref(b);
}

static void
release(struct outq *q, struct block *b)
{
	if (--b->queued == 0)
		*q->memory -= block_size(b);
	block_unref(b);
}

/* The size of the message that begins at off. */
static uint32_t
message(const struct outq_entry *e, uint32_t off, outq_unit unit)
{
	uint32_t rest = e->end - off;
	size_t n = unit == NULL ? 0 : unit(e->block->data + off, rest);

	return n == 0 || n > rest ? rest : (uint32_t)n;
}

/* Takes an entry's bytes and its block away. */
static void
clear(struct outq *q, struct outq_entry *e)
{
	if (e->block == NULL)
		return;
	q->bytes -= length(e);
	if (e->shed == OUTQ_LATEST)
		q->latest--;
	release(q, e->block);
	*e = (struct outq_entry){ .block = NULL };
	q->holes++;
}

/* Holes at the ends are forgotten. */
static void
trim(struct outq *q)
{
	while (q->n > 0 && at(q, 0)->block == NULL) {
		q->head++;
		q->n--;
		q->holes--;
		q->begun = 0;
	}
	while (q->n > 0 && at(q, q->n - 1)->block == NULL) {
		q->n--;
		q->holes--;
	}
	if (q->n == 0)
		q->head = 0;
}

static void
close_up(struct outq *q)
{
	uint32_t i, kept = 0;

	for (i = 0; i < q->n; i++) {
		const struct outq_entry *e = at(q, i);

		if (e->block != NULL)
			q->entry[kept++] = *e;
	}
	q->head = 0;
	q->n = kept;
	q->holes = 0;
}

static int
grow(struct outq *q)
{
	uint32_t cap = q->cap == 0 ? FIRST_CAP : q->cap * 2;
	struct outq_entry *e = cap < q->cap ? NULL : reallocarray(q->entry, cap, sizeof(*e));

	if (e == NULL)
		return FAN_ENOMEM;
	*q->memory += (cap - q->cap) * sizeof(*e);
	q->entry = e;
	q->cap = cap;
	return 0;
}

/* Makes room for one more at the end. */
static int
make_room(struct outq *q)
{
	if (q->head + q->n < q->cap)
		return 0;
	if (q->cap == 0 || q->head + q->holes < q->cap / 2)
		return grow(q);
	close_up(q);
	return 0;
}

/* Cuts entry i in two; the second begins at pos. */
static int
split(struct outq *q, uint32_t i, uint32_t pos)
{
	struct outq_entry *e;

	if (q->head > 0) {
		memmove(at(q, 0) - 1, at(q, 0), (i + 1) * sizeof(*e));
		q->head--;
	} else {
		if (q->n == q->cap && grow(q) != 0)
			return FAN_ENOMEM;
		memmove(at(q, i) + 1, at(q, i), (q->n - i) * sizeof(*e));
	}
	q->n++;
	e = at(q, i);
	e[1] = e[0];
	(void)hold(q, e->block);
	if (e->shed == OUTQ_LATEST)
		q->latest++;
	e[0].end = pos;
	e[1].off = pos;
	return 0;
}

/*
 * How many entries, from the front on, must stay.  An entry in which messages that must stay are
 * followed by others is cut there; where memory is short it stays whole.
 */
static uint32_t
fixed(struct outq *q, outq_unit unit)
{
	size_t pinned = q->pinned;
	struct outq_entry *e;
	uint32_t i, begin, pos, must;

	for (i = 0; i < q->n && length(at(q, i)) <= pinned; i++)
		pinned -= length(at(q, i));
	if (i == q->n)
		return i;
	e = at(q, i);
	begin = e->off - (i == 0 ? q->begun : 0);
	must = e->off + (uint32_t)pinned;
	if (begin == must)
		return i;
	if (e->shed == OUTQ_KEEP)
		return i + 1;
	for (pos = begin; pos < must;) {
		pos += message(e, pos, unit);
		/* So that these need not be walked again. */
		if (i == 0 && pos <= e->off)
			q->begun = e->off - pos;
	}
	if (pos == e->off)
		return i;
	if (pos < e->end)
		(void)split(q, i, pos);
	return i + 1;
}

/* --- the interface ------------------------------------------------------------------------ */

void
outq_fini(struct outq *q)
{
	uint32_t i;

	for (i = 0; i < q->n; i++)
		clear(q, at(q, i));
	*q->memory -= q->cap * sizeof(*q->entry);
	free(q->entry);
	*q = (struct outq){ .memory = q->memory };
}

bool
outq_must_leave(const struct outq *q)
{
	uint32_t i;

	for (i = 0; i < q->n; i++) {
		const struct outq_entry *e = at(q, i);

		if (e->block != NULL && e->shed == OUTQ_KEEP)
			return true;
	}
	return false;
}

int
outq_push(struct outq *q, struct block *b, size_t off, size_t end, struct outq_tag tag)
{
	assert(off < end && end <= b->len);
	if (end > UINT32_MAX || make_room(q) != 0)
		return FAN_ENOMEM;
	*at(q, q->n++) =
	    (struct outq_entry){ hold(q, b), (uint32_t)off, (uint32_t)end, tag.key, tag.shed };
	q->bytes += end - off;
	if (tag.shed == OUTQ_LATEST)
		q->latest++;
	return 0;
}

int
outq_copy(struct outq *q, const uint8_t *p, size_t n)
{
	struct block *b;
	int err;

	/* Not behind what has begun, which stays whole: outq_discard would keep this too. */
	if (q->n > 1 || (q->n == 1 && q->begun == 0)) {
		struct outq_entry *last = at(q, q->n - 1);

		b = last->block;
		if (last->shed == OUTQ_KEEP && b->refs == 1 && last->end == b->len &&
		    b->cap - b->len >= n) {
			memcpy(b->data + b->len, p, n);
			b->len += n;
			last->end += (uint32_t)n;
			q->bytes += n;
			return 0;
		}
	}
	b = block_new(n > COPY_BLOCK ? n : COPY_BLOCK);
	if (b == NULL)
		return FAN_ENOMEM;
	memcpy(b->data, p, n);
	b->len = n;
	err = outq_push(q, b, 0, n, (struct outq_tag){ 0, OUTQ_KEEP });
	block_unref(b);
	return err;
}

size_t
outq_iov(const struct outq *q, struct iovec *iov, size_t max)
{
	size_t filled = 0;
	uint32_t i;

	for (i = 0; i < q->n && filled < max; i++) {
		const struct outq_entry *e = at(q, i);

		if (e->block == NULL)
			continue;
		iov[filled].iov_base = e->block->data + e->off;
		iov[filled++].iov_len = length(e);
	}
	return filled;
}

const uint8_t *
outq_lend(const struct outq *q, size_t n, uint8_t *scratch, size_t *len)
{
	const struct outq_entry *e;
	uint32_t i;

	if (n > q->bytes)
		n = q->bytes;
	*len = n;
	if (n > 0 && length(e = at(q, 0)) >= n)
		return e->block->data + e->off;
	for (i = 0; n > 0; i++) {
		size_t part = length(e = at(q, i));

		if (e->block == NULL)
			continue;
		if (part > n)
			part = n;
		memcpy(scratch + (*len - n), e->block->data + e->off, part);
		n -= part;
	}
	return scratch;
}

void
outq_took(struct outq *q, size_t n)
{
	assert(n <= q->bytes);
	q->pinned -= n < q->pinned ? n : q->pinned;
	while (n > 0) {
		struct outq_entry *e = at(q, 0);

		if (n < length(e)) {
			e->off += (uint32_t)n;
			q->begun += (uint32_t)n;
			q->bytes -= n;
			return;
		}
		n -= length(e);
		clear(q, e);
		trim(q);
	}
}

void
outq_pin(struct outq *q, size_t n)
{
	assert(n <= q->bytes);
	q->pinned = n;
}

void
outq_discard(struct outq *q, outq_unit unit)
{
	uint32_t i = fixed(q, unit);

	for (; i < q->n; i++)
		clear(q, at(q, i));
	trim(q);
}

/* Whether nothing waits but what has begun and one entry, which might be left out too. */
static bool
is_one_message(const struct outq *q, uint32_t stay)
{
	return q->n - q->holes <= stay + 1 && !outq_must_leave(q);
}

bool
outq_shed(struct outq *q, size_t max, outq_unit unit, outq_left left, void *arg)
{
	struct tally t = { .left = left, .arg = arg };
	uint32_t i, stay;

	if (outq_weight(q) <= max)
		return true;
	stay = fixed(q, unit);
	for (i = stay; i < q->n && outq_weight(q) > max; i++) {
		struct outq_entry *e = at(q, i);
		uint64_t messages = 0;
		uint32_t n, key = e->key;

		if (e->block == NULL || e->shed != OUTQ_OLDEST)
			continue;
		for (; e->off < e->end && outq_weight(q) > max; messages++) {
			n = message(e, e->off, unit);
			if (i == q->n - 1 && e->off + n == e->end && is_one_message(q, stay))
				break;
			e->off += n;
			q->bytes -= n;
		}
		if (e->off == e->end)
			clear(q, e);
		count(&t, key, messages);
	}
	trim(q);
	if (q->holes > 0)
		close_up(q);
	tell(&t);
	return outq_weight(q) <= max || is_one_message(q, stay);
}

void
outq_renew(struct outq *q, outq_unit unit, outq_left left, void *arg)
{
	uint32_t i, stay = fixed(q, unit), pos, n, key;
	struct tally t = { .left = left, .arg = arg };
	struct outq_entry *e;
	uint64_t messages = 0;

	if (stay == q->n)
		return;
	e = at(q, q->n - 1);
	key = e->key;
	for (pos = e->off; (n = message(e, pos, unit)) < e->end - pos; pos += n)
		messages++;
	q->bytes -= pos - e->off;
	e->off = pos;
	/* From the end, as the one before is mostly near; each key has one beside the new one. */
	for (i = q->n - 1; q->latest > 1 && i-- > stay;) {
		e = at(q, i);
		if (e->block == NULL || e->shed != OUTQ_LATEST || e->key != key)
			continue;
		clear(q, e);
		messages++;
		break;
	}
	trim(q);
	count(&t, key, messages);
	tell(&t);
}
