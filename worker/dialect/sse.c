/*
 * sse: one event for each publication (the HTML standard, "Server-sent events").
 *
 * Process: workers.
 * Layer:   worker/dialect.  Uses core; libcrypto for base64.
 *
 * Described in docs/PROTOCOL.md.  An event ends with an empty line, and no other line of it is
 * empty.
 */
#include "worker/dialect/sse.h"

#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/block.h"
#include "worker/core/session.h"

#define DATA "data: "
#define BINARY "event: binary\n" DATA

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
append_text(struct block **b, const char *text, size_t len)
{
	struct lines l;
	const char *line;
	size_t n, size = 1;
	uint8_t *out;
	int err;

	lines_init(&l, text, len);
	while (lines_next(&l, &n) != NULL)
		size += sizeof(DATA) - 1 + n + 1;
	err = block_reserve(b, size, &out);
	if (err != 0)
		return err;
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
append_binary(struct block **b, const uint8_t *data, size_t len)
{
	size_t size = (len + 2) / 3 * 4;
	uint8_t *out;
	int err;

	if (len > INT_MAX / 4 * 3 - 3)
		return FAN_ETOOBIG;
	err = block_reserve(b, sizeof(BINARY) - 1 + size + 2, &out);
	if (err != 0)
		return err;
	out = put(out, BINARY, sizeof(BINARY) - 1);
	/* Its NUL is where the line's end comes. */
	(void)EVP_EncodeBlock(out, data, (int)len);
	(void)put(out + size, "\n\n", 2);
	(*b)->len += sizeof(BINARY) - 1 + size + 2;
	return 0;
}

static int
encode(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	(void)v;
	(void)core;
	if (p->kind == MSG_TEXT)
		return append_text(b, (const char *)p->data, p->len);
	return append_binary(b, p->data, p->len);
}

static const struct variant variants[] = { { "sse", encode, 0 } };

/* It subscribes only while it opens, so none of its subs waits later. */
static void
on_live(struct session *s, struct sub *sub, int status)
{
	(void)s;
	(void)sub;
	(void)status;
}

static void
on_gap(struct session *s, const struct sub *sub)
{
	char event[CHANNEL_NAME_MAX + 32];
	int n = snprintf(event, sizeof(event), "event: gap\n" DATA "%s\n\n", sub->channel->name);

	if (n > 0)
		s->transport->send(s->t, MSG_TEXT, event, (size_t)n);
}

/* on_message and on_refused are for those who can send. */
const struct dialect dialect_sse = {
	.subprotocol = NULL,
	.variants = variants,
	.subscribes = false,
	.on_live = on_live,
	.on_gap = on_gap,
};
