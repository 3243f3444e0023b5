/*
 * sse: one event for each publication (the HTML standard, "Server-sent events").
 *
 * Process: workers.
 * Layer:   worker/dialect.  Uses core, sse_ids; libcrypto for base64.
 *
 * Described in docs/PROTOCOL.md.  An event ends with an empty line, and no other line of it is
 * empty.
 */
#include "worker/dialect/sse.h"

#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/buf.h"
#include "worker/core/past.h"
#include "worker/core/session.h"
#include "worker/dialect/sse_ids.h"
#include "worker/ws/reader.h"

#define DATA "data: "
#define HEAD_MAX (POSITION_TEXT_MAX + 32) /* the lines of an event before its data */

/* The lines of a text; CRLF, CR and LF each end one.  A text of none is one empty line. */
struct lines {
	const char *next; /* NULL: the last was taken */
	const char *end;
	const char *lf, *cr; /* the next of each kind, or end */
};

static const char *
find(const char *p, const char *end, int c)
{
	const char *at = memchr(p, c, (size_t)(end - p));

	return at == NULL ? end : at;
}

static void
lines_init(struct lines *l, const char *text, size_t n)
{
	l->next = n == 0 ? "" : text;
	l->end = l->next + n;
	l->lf = find(l->next, l->end, '\n');
	l->cr = find(l->next, l->end, '\r');
}

/* The next line, without what ends it; NULL: there is none. */
static const char *
lines_next(struct lines *l, size_t *n)
{
	const char *line = l->next;
	const char *stop = l->lf < l->cr ? l->lf : l->cr;

	if (line == NULL)
		return NULL;
	*n = (size_t)(stop - line);
	if (stop == l->end) {
		l->next = NULL;
		return line;
	}
	l->next = stop + 1;
	if (stop == l->cr && l->next < l->end && l->lf == l->next)
		l->next++;
	/* Each kind is looked for again only once it was passed, so that one pass does for all. */
	if (l->lf < l->next)
		l->lf = find(l->next, l->end, '\n');
	if (l->cr < l->next)
		l->cr = find(l->next, l->end, '\r');
	return line;
}

static uint8_t *
put(uint8_t *out, const void *p, size_t n)
{
	memcpy(out, p, n);
	return out + n;
}

static int
append_text(struct block **b, const char *head, const char *text, size_t len)
{
	size_t n, size = strlen(head) + 1;
	struct lines l;
	const char *line;
	uint8_t *out;
	int err;

	lines_init(&l, text, len);
	while (lines_next(&l, &n) != NULL)
		size += sizeof(DATA) - 1 + n + 1;
	err = block_reserve(b, size, &out);
	if (err != 0)
		return err;
	out = put(out, head, strlen(head));
	lines_init(&l, text, len);
	while ((line = lines_next(&l, &n)) != NULL) {
		out = put(out, DATA, sizeof(DATA) - 1);
		out = put(out, line, n);
		*out++ = '\n';
	}
	*out = '\n';
	(*b)->len += size;
	return 0;
}

static int
append_binary(struct block **b, const char *head, const uint8_t *data, size_t len)
{
	const size_t before = strlen(head) + sizeof(DATA) - 1;
	size_t size = (len + 2) / 3 * 4;
	uint8_t *out;
	int err;

	if (len > INT_MAX / 4 * 3 - 3)
		return FAN_ETOOBIG;
	err = block_reserve(b, before + size + 2, &out);
	if (err != 0)
		return err;
	out = put(out, head, strlen(head));
	out = put(out, DATA, sizeof(DATA) - 1);
	/* Its NUL is where the line's end comes. */
	(void)EVP_EncodeBlock(out, data, (int)len);
	(void)put(out + size, "\n\n", 2);
	(*b)->len += before + size + 2;
	return 0;
}

/* The lines before the data: the position, and what is no plain message. */
static void
write_head(const struct publication *p, char head[HEAD_MAX])
{
	static const char *const event[MSG_KINDS] = { "", "event: binary\n", "event: join\n",
		"event: leave\n" };
	char *out = head;

	if (p->offset != 0 && p->channel->past != NULL) {
		struct position pos = p->channel->past->pos;

		pos.offset = p->offset;
		out = stpcpy(out, "id: ");
		out += position_print(&pos, out);
		*out++ = '\n';
	}
	(void)stpcpy(out, event[p->kind]);
}

static int
encode(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	char head[HEAD_MAX];

	(void)v;
	(void)core;
	write_head(p, head);
	if (p->kind == MSG_BINARY)
		return append_binary(b, head, p->data, p->len);
	return append_text(b, head, (const char *)p->data, p->len);
}

static const struct variant variants[] = { { "sse", encode, 0 } };

/* --- the session -------------------------------------------------------------------------- */

/* A user's own channel has no name for the client. */
static const char *
name_of(const struct sub *sub)
{
	return (sub->flags & SUB_INTERNAL) != 0 ? "" : sub->channel->name;
}

/* pos: where the stream goes on, NULL: as if nothing had happened. */
static void
tell_gap(struct session *s, const struct sub *sub, const struct position *pos)
{
	struct sse_place place = { 0 };
	const struct sse_ids alone = { 1, &place };
	const struct sse_ids *ids = s->state == NULL ? &alone : s->state;
	struct buf b;
	int err = 0;

	if (pos != NULL)
		place.pos = *pos;
	buf_init(&b, SIZE_MAX / 4);
	if (pos != NULL)
		err = sse_ids_append(ids, &b);
	if (err == 0)
		err = buf_printf(&b, "event: gap\n" DATA "%s\n\n", name_of(sub));
	if (err == 0)
		s->transport->send(s->t, MSG_TEXT, buf_data(&b), buf_len(&b));
	else
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
	buf_fini(&b);
}

/* It subscribes only while it opens: what becomes live later is what had a position. */
static void
on_live(struct session *s, struct sub *sub, int status, const struct sub_live *live)
{
	struct sse_place *place;

	if (status != 0) {
		session_unsubscribe(s, sub);
		s->transport->close(
		    s->t, SESSION_TRY_LATER, "the channel cannot be subscribed now");
		return;
	}
	if (live->recovered)
		return;
	place = s->state == NULL ? NULL : sse_ids_find(s->state, sub->channel->id);
	if (place != NULL)
		place->pos = live->pos;
	/* What keeps no history has no position that a client could come back with. */
	if (live->recovering && live->pos.epoch[0] != '\0')
		tell_gap(s, sub, &live->pos);
}

/* What the stream was opened for is no longer allowed, and it cannot ask again. */
static void
on_unsubscribed(struct session *s, const struct sub *sub, const char *reason)
{
	(void)sub;
	s->transport->close(s->t, WS_CLOSE_POLICY, reason);
}

/* The position stays: it may be ahead of what was sent. */
static void
on_gap(struct session *s, const struct sub *sub)
{
	tell_gap(s, sub, NULL);
}

static void
on_free(struct session *s)
{
	free(s->state);
	s->state = NULL;
}

/* on_message and on_refused are for those who can send. */
const struct dialect dialect_sse = {
	.subprotocol = NULL,
	.variants = variants,
	.subscribes = false,
	.on_live = on_live,
	.on_unsubscribed = on_unsubscribed,
	.on_gap = on_gap,
	.on_free = on_free,
};
