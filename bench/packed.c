/*
 * packed: compressed messages.  See packed.h.
 */
#include "bench/packed.h"

#include <stdlib.h>
#include <string.h>

#include "bench/text.h"
#include "worker/ws/deflate.h"

#define MESSAGE_MAX (128U << 20)

void
packed_init(struct packed *p, uint32_t slots)
{
	p->inflater = inflater_new();
	if (p->inflater == NULL)
		text_die("no memory");
	p->slots = text_calloc(slots, sizeof(*p->slots));
	p->mask = slots - 1;
}

void
packed_fini(struct packed *p)
{
	uint32_t i;

	if (p->slots == NULL)
		return;
	for (i = 0; i <= p->mask; i++)
		free(p->slots[i].bytes);
	free(p->slots);
	inflater_free(p->inflater);
}

void
packed_begin(struct packed *p, struct packed_in *in, uint32_t seq, uint64_t len)
{
	const struct packed_slot *slot = &p->slots[seq & p->mask];

	if (len > MESSAGE_MAX)
		text_die("the server sends a message of %llu bytes", (unsigned long long)len);
	in->len = len;
	in->at = 0;
	in->known = slot->seq == seq && slot->len == len && len > 0;
}

static void
keep_bytes(struct packed_in *in, const uint8_t *bytes, size_t n)
{
	if (in->room < in->len) {
		free(in->bytes);
		in->bytes = text_calloc(1, (size_t)in->len);
		in->room = in->len;
	}
	memcpy(in->bytes + in->at, bytes, n);
}

size_t
packed_feed(struct packed *p, struct packed_in *in, uint32_t seq, const uint8_t *bytes, size_t n)
{
	const struct packed_slot *slot = &p->slots[seq & p->mask];

	if (n > in->len - in->at)
		n = (size_t)(in->len - in->at);
	if (in->known && memcmp(bytes, slot->bytes + in->at, n) != 0) {
		uint64_t at = in->at;

		/* What came before was as the slot has it. */
		in->known = false;
		in->at = 0;
		keep_bytes(in, slot->bytes, (size_t)at);
		in->at = at;
	}
	if (!in->known)
		keep_bytes(in, bytes, n);
	in->at += n;
	return n;
}

bool
packed_inflate(
    struct packed *p, const struct packed_in *in, size_t max, const uint8_t **out, size_t *n)
{
	return inflate_message(p->inflater, in->bytes, (size_t)in->len, max, out, n) == 0;
}

void
packed_keep(struct packed *p, struct packed_in *in, uint32_t seq)
{
	struct packed_slot *slot = &p->slots[seq & p->mask];
	uint8_t *bytes = slot->bytes;
	uint32_t room = slot->room;

	slot->bytes = in->bytes;
	slot->room = (uint32_t)in->room;
	slot->len = (uint32_t)in->len;
	slot->seq = seq;
	in->bytes = bytes;
	in->room = room;
}

void
packed_in_fini(struct packed_in *in)
{
	free(in->bytes);
}
