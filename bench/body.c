/*
 * body: payloads as an application has them.  See body.h.
 */
#include "bench/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/text.h"
#include "bench/wire.h"

#define BODIES_MAX 64
#define BYTES_MAX ((size_t)4 * 1024 * 1024)
#define ITEM_MAX 160 /* more than an item has */

struct writer {
	char *p;
	size_t n, room;
	uint64_t random;
};

static uint32_t
next(struct writer *w, uint32_t below)
{
	w->random ^= w->random << 13; /* xorshift64 */
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(w->random >> 32) % below;
}

static void
put(struct writer *w, const char *text)
{
	size_t n = strlen(text);

	memcpy(w->p + w->n, text, n);
	w->n += n;
}

static void
put_item(struct writer *w)
{
	char text[ITEM_MAX], symbol[5] = "";
	int i;

	for (i = 0; i < 4; i++)
		symbol[i] = (char)('A' + next(w, 26));
	(void)snprintf(text, sizeof(text),
	    "{\"symbol\":\"%s\",\"price\":%u.%02u,\"volume\":%u,\"side\":\"%s\",\"time\":17%011u}",
	    symbol, next(w, 900) + 1, next(w, 100), next(w, 100000),
	    next(w, 2) == 0 ? "buy" : "sell", next(w, UINT32_MAX));
	put(w, text);
}

/* Words up to the end of the room but `left` bytes. */
static void
put_words(struct writer *w, size_t left)
{
	static const char *const words[] = { "the ", "order ", "was ", "filled ", "by ", "another ",
		"market ", "and ", "settles ", "tomorrow ", "at ", "a ", "better ", "price ",
		"than ", "asked " };

	while (w->n + left + 10 < w->room)
		put(w, words[next(w, sizeof(words) / sizeof(words[0]))]);
	while (w->n + left < w->room)
		put(w, ".");
}

static void
write_body(struct writer *w)
{
	static const char end[] = "],\"note\":\"", last[] = "\"}";
	size_t first;

	put(w, "{\"id\":\"");
	memset(w->p + w->n, '0', WIRE_STAMP);
	w->n += WIRE_STAMP;
	put(w, "\",\"event\":\"trades\",\"items\":[");
	/* Three quarters are numbers and names. */
	for (first = w->n; w->n + ITEM_MAX + sizeof(end) + sizeof(last) < w->room / 4 * 3 + 64;) {
		if (w->n > first)
			put(w, ",");
		put_item(w);
	}
	put(w, end);
	put_words(w, sizeof(last) - 1);
	put(w, last);
}

void
bodies_init(struct bodies *b, size_t size)
{
	struct writer w = { .room = size, .random = UINT64_C(0x9e3779b97f4a7c15) };
	uint32_t i;

	b->size = size;
	b->n = BYTES_MAX / size < BODIES_MAX ? (uint32_t)(BYTES_MAX / size) : BODIES_MAX;
	if (b->n == 0)
		b->n = 1;
	b->p = text_calloc(b->n, size);
	for (i = 0; i < b->n; i++) {
		w.p = (char *)b->p + i * size;
		w.n = 0;
		write_body(&w);
	}
}

void
bodies_fini(struct bodies *b)
{
	free(b->p);
}
