/*
 * sse_ids: the ids of a stream's events.  See sse_ids.h.
 */
#include "worker/dialect/sse_ids.h"

#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/buf.h"

#define ID "id: "
#define ID_LEN (sizeof(ID) - 1)

struct sse_ids *
sse_ids_copy(const struct sse_ids *ids)
{
	const size_t size = ids->n * sizeof(*ids->place);
	struct sse_ids *copy = malloc(sizeof(*copy) + size);

	if (copy == NULL)
		return NULL;
	copy->n = ids->n;
	copy->place = (struct sse_place *)(void *)(copy + 1);
	if (size > 0)
		memcpy(copy->place, ids->place, size);
	return copy;
}

void
sse_ids_read(struct sse_ids *ids, const char *text, size_t n)
{
	const char *end = text + n, *comma;
	size_t i;

	for (i = 0; i < ids->n; i++) {
		struct position *pos = &ids->place[i].pos;

		comma = text < end ? memchr(text, ',', (size_t)(end - text)) : NULL;
		if (comma == NULL)
			comma = end;
		if (position_parse(pos, text, (size_t)(comma - text)) != 0)
			*pos = (struct position){ 0 };
		text = comma < end ? comma + 1 : end;
	}
}

struct sse_place *
sse_ids_find(const struct sse_ids *ids, uint32_t channel)
{
	size_t i;

	for (i = 0; i < ids->n; i++) {
		if (ids->place[i].channel == channel)
			return &ids->place[i];
	}
	return NULL;
}

bool
sse_ids_any(const struct sse_ids *ids)
{
	size_t i;

	for (i = 0; i < ids->n; i++) {
		if (ids->place[i].pos.epoch[0] != '\0')
			return true;
	}
	return false;
}

/* The most that the line takes, and a NUL. */
static size_t
line_max(const struct sse_ids *ids)
{
	return ID_LEN + ids->n * POSITION_TEXT_MAX + 2;
}

static size_t
write_line(const struct sse_ids *ids, char *out)
{
	char *p = out;
	size_t i;

	memcpy(p, ID, ID_LEN);
	p += ID_LEN;
	for (i = 0; i < ids->n; i++) {
		if (i > 0)
			*p++ = ',';
		if (ids->place[i].pos.epoch[0] != '\0')
			p += position_print(&ids->place[i].pos, p);
	}
	*p++ = '\n';
	return (size_t)(p - out);
}

int
sse_ids_append(const struct sse_ids *ids, struct buf *b)
{
	uint8_t *out;
	int err = buf_reserve(b, line_max(ids), &out);

	if (err == 0)
		buf_commit(b, write_line(ids, (char *)out));
	return err;
}

size_t
sse_ids_event(const uint8_t *p, size_t n)
{
	const uint8_t *end = memmem(p, n, "\n\n", 2);

	return end == NULL ? n : (size_t)(end - p) + 2;
}

/* The length of the line that the event begins with, where that is its id; else 0. */
static size_t
id_line(const uint8_t *p, size_t n)
{
	const uint8_t *end;

	if (n < ID_LEN || memcmp(p, ID, ID_LEN) != 0)
		return 0;
	end = memchr(p, '\n', n);
	return end == NULL ? 0 : (size_t)(end - p) + 1;
}

static bool
has_id(const uint8_t *p, size_t n)
{
	size_t size;

	for (; n > 0; p += size, n -= size) {
		if (id_line(p, n) > 0)
			return true;
		size = sse_ids_event(p, n);
	}
	return false;
}

/* Appends one event of n bytes. */
static int
append_event(
    const struct sse_ids *ids, struct sse_place *at, const uint8_t *p, size_t n, struct block **b)
{
	size_t skip = id_line(p, n);
	uint8_t *out;
	int err = block_reserve(b, n + line_max(ids), &out);

	if (err != 0)
		return err;
	if (skip > 0 &&
	    position_parse(&at->pos, (const char *)p + ID_LEN, skip - ID_LEN - 1) == 0) {
		size_t len = write_line(ids, (char *)out);

		out += len;
		(*b)->len += len;
		p += skip;
		n -= skip;
	}
	memcpy(out, p, n);
	(*b)->len += n;
	return 0;
}

int
sse_ids_rewrite(
    struct sse_ids *ids, uint32_t channel, const uint8_t *p, size_t n, struct block **out)
{
	struct sse_place *at = sse_ids_find(ids, channel);
	struct block *b;
	size_t size;

	if (at == NULL || !has_id(p, n))
		return FAN_ENOENT;
	b = block_new(n + line_max(ids));
	if (b == NULL)
		return FAN_ENOMEM;
	for (; n > 0; p += size, n -= size) {
		size = sse_ids_event(p, n);
		if (append_event(ids, at, p, size, &b) != 0) {
			block_unref(b);
			return FAN_ENOMEM;
		}
	}
	*out = b;
	return 0;
}
