/*
 * feed: from the engine to the workers.  See feed.h.
 */
#include "broker/hub/feed.h"

#include <string.h>

#include "broker/engine/engine.h"
#include "broker/hub/interest.h"
#include "broker/hub/node.h"
#include "broker/hub/peer.h"
#include "common/block.h"
#include "common/ipc_msg.h"
#include "common/log.h"

#define READ_BYTES ((size_t)1 << 20)

/* --- messages ------------------------------------------------------------------------------- */

/* Encodes m.  NULL: too large for a link, or no memory. */
static struct block *
encode(const struct ipc_msg *m)
{
	size_t size = ipc_msg_size(m);
	struct block *b = size <= IPC_MSG_MAX ? block_new(size) : NULL;

	if (b == NULL)
		return NULL;
	ipc_msg_encode_head(m, b->data);
	if (m->len > 0)
		memcpy(b->data + IPC_HEAD_SIZE + m->channel_len, m->data, m->len);
	b->len = size;
	return b;
}

/* To every worker that wants the channel; gap: each hears first that others may be missing. */
static void
spread(const struct node *n, const struct ipc_msg *m, bool gap)
{
	static struct log_gate gate;
	const struct interest_entry *e = interest_get(n->interest, m->channel, m->channel_len);
	struct block *b;
	int slot;

	if (e == NULL)
		return;
	b = encode(m);
	if (b == NULL && log_gate_open(&gate, 5))
		log_warnx(
		    "message dropped channel=\"%.*s\" bytes=%zu: larger than 64 MiB, or no memory",
		    (int)m->channel_len, m->channel, m->len);
	for (slot = -1; (slot = interest_next(n->interest, e, (unsigned)(slot + 1))) >= 0;) {
		if (n->by_slot[slot] == NULL)
			continue;
		if (gap)
			peer_gap(n->by_slot[slot], m->channel, m->channel_len);
		if (b != NULL)
			peer_publish(n->by_slot[slot], b, m->channel, m->channel_len);
		else
			peer_miss(n->by_slot[slot], m->channel, m->channel_len);
	}
	block_unref(b);
}

void
feed_message(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, const struct position *pos)
{
	struct node *n = arg;
	struct record r = { .kind = kind, .data = data, .len = len };
	struct ipc_msg m = { .type = IPC_MESSAGE,
		.kind = kind,
		.channel = channel,
		.channel_len = channel_len,
		.data = data,
		.len = len };
	bool gap;

	if (pos != NULL) {
		r.offset = pos->offset;
		if (streams_message(n->streams, channel, channel_len, pos, &r))
			return;
	}
	/* A channel that is back sooner than the others: its gap comes before its messages. */
	gap = n->interrupted && !streams_has(n->streams, channel, channel_len) &&
	    interest_note_outage(n->interest, channel, channel_len, n->outages);
	spread(n, &m, gap);
}

static void
deliver(void *arg, const char *channel, size_t len, const struct record *r)
{
	struct ipc_msg m = { .type = IPC_MESSAGE,
		.kind = r->kind,
		.value = r->offset,
		.channel = channel,
		.channel_len = len,
		.data = r->data,
		.len = r->len };

	spread(arg, &m, false);
}

static void
gap(void *arg, const char *channel, size_t len)
{
	static struct log_gate gate;
	const struct node *n = arg;
	const struct interest_entry *e = interest_get(n->interest, channel, len);
	int slot = -1;

	if (log_gate_open(&gate, 5))
		log_warnx(
		    "channel=\"%.*s\" gap reason=\"its history was lost or does not reach back\"",
		    (int)len, channel);
	while (e != NULL && (slot = interest_next(n->interest, e, (unsigned)(slot + 1))) >= 0) {
		if (n->by_slot[slot] != NULL)
			peer_gap(n->by_slot[slot], channel, len);
	}
}

/* --- subscriptions -------------------------------------------------------------------------- */

static void
answer(void *arg, const struct stream *s, unsigned slot, uint32_t id, bool recovered,
    struct records rs)
{
	const struct node *n = arg;
	struct peer *p = n->by_slot[slot];
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct ipc_msg m = { .type = IPC_SUBSCRIBED, .id = id };
	struct ipc_past past = { .pos = *stream_position(s),
		.flags = recovered ? IPC_PAST_RECOVERED : 0,
		.records = rs };

	if (p == NULL)
		return;
	m.channel = stream_channel(s, &m.channel_len);
	if (peer_answer(p, &m, &past) == 0)
		return;
	/* No room for the records: the worker takes the position, and tells who has missed something. */
	past.flags = 0;
	m.data = head;
	m.len = ipc_past_head(&past, head);
	peer_send(p, &m);
}

static void
refuse(void *arg, const struct stream *s, unsigned slot, uint32_t id, int status)
{
	const struct node *n = arg;
	struct ipc_msg m = { .type = IPC_SUBSCRIBED, .id = id };

	/* It is the engine that refuses, and not the client who may not. */
	m.status = status == FAN_EDENIED ? FAN_EDOWN : status;
	m.channel = stream_channel(s, &m.channel_len);
	if (n->by_slot[slot] != NULL)
		peer_send(n->by_slot[slot], &m);
}

static int
begin_read(void *arg, const char *channel, size_t len, const struct stream_read *r, uint32_t token)
{
	const struct node *n = arg;
	const struct engine_query q = { .after = r->after, .limit = r->limit, .bytes = READ_BYTES };

	return engine_history(n->engine, channel, len, &q, TOKEN_STREAM | token);
}

const struct streams_handler feed_streams = { deliver, answer, refuse, gap, begin_read };

/* A plain channel that has become live. */
struct live_channel {
	const struct node *node;
	const char *name;
	size_t len;
};

static void
answer_plain(void *arg, unsigned slot, uint32_t id)
{
	const struct live_channel *c = arg;
	struct ipc_msg m = {
		.type = IPC_SUBSCRIBED, .id = id, .channel = c->name, .channel_len = c->len
	};

	if (c->node->by_slot[slot] != NULL)
		peer_send(c->node->by_slot[slot], &m);
}

static void
answer_nobody(void *arg, unsigned slot, uint32_t id)
{
	(void)arg;
	(void)slot;
	(void)id;
}

void
feed_subscribed(void *arg, const char *channel, size_t channel_len)
{
	struct live_channel c = { arg, channel, channel_len };
	struct node *n = arg;

	/* One with history is answered by its stream. */
	if (streams_has(n->streams, channel, channel_len)) {
		interest_live(n->interest, channel, channel_len, answer_nobody, NULL);
		streams_live(n->streams, channel, channel_len);
	} else {
		interest_live(n->interest, channel, channel_len, answer_plain, &c);
	}
}

void
feed_history(void *arg, uint64_t token, int status, const struct engine_past *past)
{
	const struct node *n = arg;
	const struct records nothing = { NULL, 0 };

	streams_read_done(n->streams, (uint32_t)token, status, status == 0 ? &past->top : NULL,
	    status == 0 ? past->records : nothing);
}

/* --- outages -------------------------------------------------------------------------------- */

void
feed_interrupted(void *arg)
{
	struct node *n = arg;

	/* One that never served has lost nothing. */
	n->interrupted = n->served;
	n->outages++;
	log_warnx("engine=%s down", engine_name(n->engine));
}

void
feed_restored(void *arg)
{
	struct node *n = arg;
	struct ipc_msg gap_on_plain = { .type = IPC_GAP };

	log_info(
	    "engine=%s up channels=%zu", engine_name(n->engine), interest_channels(n->interest));
	if (n->interrupted)
		node_send_all(n, &gap_on_plain);
	streams_stale(n->streams);
	n->served = true;
	n->interrupted = false;
	n->rejoin = true;
}
