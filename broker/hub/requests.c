/*
 * requests: from the workers to the engine, and its answers back.  See requests.h.
 */
#include "broker/hub/requests.h"

#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine.h"
#include "broker/hub/count.h"
#include "broker/hub/interest.h"
#include "broker/hub/members.h"
#include "broker/hub/node.h"
#include "broker/hub/peer.h"
#include "broker/hub/rollcall.h"
#include "broker/hub/streams.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/ipc_msg.h"

#define HISTORY_BYTES ((size_t)4 << 20) /* of one answer, about */

static uint64_t
token_of(const struct peer *p, const struct ipc_msg *m)
{
	return (uint64_t)p->serial << TOKEN_SERIAL_SHIFT | m->id;
}

static struct peer *
asker(const struct node *n, uint64_t token)
{
	return node_peer(n, (uint32_t)(token >> TOKEN_SERIAL_SHIFT));
}

/* --- subscriptions -------------------------------------------------------------------------- */

/* Somebody is the first to want the channel. */
static int
open_channel(struct node *n, const struct ipc_msg *m)
{
	char name[CHANNEL_NAME_MAX + 1];
	const struct conf_rule *rule;
	int err;

	memcpy(name, m->channel, m->channel_len);
	name[m->channel_len] = '\0';
	rule = conf_rule_for(n->conf, name);
	if (rule->history.size > 0) {
		err = streams_add(
		    n->streams, m->channel, m->channel_len, rule->position_check, clock_ms());
		if (err != 0)
			return err;
	}
	err = engine_subscribe(n->engine, m->channel, m->channel_len);
	if (err != 0)
		streams_remove(n->streams, m->channel, m->channel_len);
	return err;
}

/* The last who wanted the channel has gone. */
static void
close_channel(void *arg, const char *channel, size_t len)
{
	struct node *n = arg;

	streams_remove(n->streams, channel, len);
	engine_unsubscribe(n->engine, channel, len);
}

static int
wait_for_stream(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	struct ipc_past past = { .flags = 0 };

	if (m->len > 0 && ipc_past_decode(m->data, m->len, &past) != 0)
		return FAN_EPROTO;
	return streams_wait(n->streams, m->channel, m->channel_len, (unsigned)p->slot, m->id,
	    &past.pos, (past.flags & IPC_PAST_VERIFY) != 0);
}

static void
handle_unsubscribe(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	streams_leave(n->streams, m->channel, m->channel_len, (unsigned)p->slot);
	if (interest_remove(n->interest, m->channel, m->channel_len, (unsigned)p->slot))
		close_channel(n, m->channel, m->channel_len);
}

/* Answered here, or later by the feed: a plain channel when it is live, others by their stream. */
static void
handle_subscribe(struct node *n, struct peer *p, const struct ipc_msg *m)
{
	struct ipc_msg answer = { .type = IPC_SUBSCRIBED,
		.id = m->id,
		.channel = m->channel,
		.channel_len = m->channel_len };
	enum interest_state was;
	bool plain;

	answer.status =
	    interest_add(n->interest, m->channel, m->channel_len, (unsigned)p->slot, m->id, &was);
	if (answer.status == 0 && was == INTEREST_NONE) {
		answer.status = open_channel(n, m);
		if (answer.status != 0)
			(void)interest_remove(
			    n->interest, m->channel, m->channel_len, (unsigned)p->slot);
	}
	plain = !streams_has(n->streams, m->channel, m->channel_len);
	if (answer.status == 0 && !plain) {
		answer.status = wait_for_stream(n, p, m);
		if (answer.status != 0 && was == INTEREST_NONE)
			handle_unsubscribe(n, p, m);
	}
	if (answer.status != 0 || (plain && was == INTEREST_LIVE))
		peer_send(p, &answer);
}

/* --- publishing ------------------------------------------------------------------------------- */

void
requests_published(void *arg, uint64_t token, int status, const struct position *pos)
{
	struct peer *p = asker(arg, token);
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = (uint32_t)token, .status = status };
	struct ipc_past past = { .flags = 0 };
	uint8_t head[IPC_PAST_HEAD_MAX];

	if (p == NULL || m.id == 0 || ((token & TOKEN_QUIET) && status == 0))
		return;
	if (status == 0 && pos != NULL) {
		past.pos = *pos;
		m.data = head;
		m.len = ipc_past_head(&past, head);
	}
	peer_send(p, &m);
}

static void
handle_publish(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	size_t key_len = IPC_KEY_LEN(m->value);
	struct engine_message em = { .channel = m->channel,
		.channel_len = m->channel_len,
		.kind = m->kind,
		.data = m->data + key_len,
		.len = m->len - key_len,
		.key = (const char *)m->data,
		.key_len = key_len };
	uint64_t token = token_of(p, m);
	int err;

	if (m->value & IPC_PUBLISH_QUIET)
		token |= TOKEN_QUIET;
	err = engine_publish(n->engine, &em, token);
	if (err != 0)
		requests_published(n, token, err, NULL);
}

static void
handle_forget(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	uint64_t token = token_of(p, m);
	int err = engine_forget(n->engine, m->channel, m->channel_len, token);

	if (err != 0)
		requests_published(n, token, err, NULL);
}

/* --- history -------------------------------------------------------------------------------- */

/* The records from the last to the first, in new memory.  NULL: none is left. */
static uint8_t *
turn(struct records rs)
{
	uint8_t *out = malloc(rs.n), *end;
	struct record r;
	size_t size;

	if (out == NULL)
		return NULL;
	for (end = out + rs.n; records_next(&rs, &r) == 0;) {
		size = RECORD_HEAD + r.len;
		end -= size;
		memcpy(end, rs.p - size, size);
	}
	return out;
}

void
requests_history(void *arg, uint64_t token, int status, const struct engine_past *past)
{
	struct peer *p = asker(arg, token);
	struct ipc_msg m = { .type = IPC_HISTORIED, .id = (uint32_t)token, .status = status };
	struct ipc_past answer = { .flags = 0 };
	uint8_t *turned = NULL;

	if (p == NULL)
		return;
	if (status == 0) {
		answer.pos = past->top;
		answer.records = past->records;
	}
	if ((token & TOKEN_TURN) && answer.records.n > 0) {
		answer.records.p = turned = turn(answer.records);
		if (turned == NULL)
			m.status = FAN_ENOMEM;
	}
	if (m.status == 0)
		m.status = peer_answer(p, &m, &answer);
	if (m.status != 0)
		peer_send(p, &m);
	free(turned);
}

static int
handle_history(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	uint64_t most = (uint64_t)n->conf->limits.recovery, token = token_of(p, m);
	struct engine_query q = { .bytes = HISTORY_BYTES };
	struct ipc_past since = { .flags = 0 };
	int err;

	if (m->len > 0 && ipc_past_decode(m->data, m->len, &since) != 0)
		return FAN_EPROTO;
	q.limit = (unsigned)(m->value < most ? m->value : most);
	q.after = since.pos.offset;
	q.reverse = (since.flags & IPC_PAST_REVERSE) != 0;
	/* The newest ones are at hand from the top only. */
	if (since.pos.epoch[0] == '\0' && !q.reverse) {
		q.reverse = true;
		token |= TOKEN_TURN;
	}
	err = engine_history(n->engine, m->channel, m->channel_len, &q, token);
	if (err != 0)
		requests_history(n, token, err, NULL);
	return 0;
}

/* --- presence and events ---------------------------------------------------------------------- */

static int
handle_join(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	const uint8_t *at = m->data;
	size_t left = m->len;
	struct member member;
	int err;

	if (member_next(&at, &left, &member) != 0 || left > 0)
		return FAN_EPROTO;
	err = members_join(n->members, (unsigned)p->slot, m->channel, m->channel_len, &member);
	if (err != 0 && err != FAN_EEXIST)
		return err;
	engine_join(n->engine, m->channel, m->channel_len, &member);
	return 0;
}

static void
handle_leave(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	const char *client = (const char *)m->data;

	if (members_leave(
		n->members, (unsigned)p->slot, m->channel, m->channel_len, client, m->len) == 0)
		engine_leave(n->engine, m->channel, m->channel_len, client, m->len);
}

static void
on_left(void *arg, const char *channel, size_t channel_len, const struct member *m)
{
	struct node *n = arg;

	engine_leave(n->engine, channel, channel_len, m->client, m->client_len);
}

static int
ask_presence(void *arg, const char *channel, size_t channel_len, uint64_t number)
{
	const struct node *n = arg;

	return engine_presence(n->engine, channel, channel_len, number);
}

static void
answer_presence(
    void *arg, const struct rollcall_asker *asker, int status, const uint8_t *members, size_t len)
{
	struct peer *p = node_peer(arg, asker->serial);
	struct ipc_msg m = { .type = IPC_PRESENT, .id = asker->id, .status = status };

	if (p == NULL)
		return;
	if (status == 0) {
		m.data = members;
		m.len = len;
		m.status = peer_answer(p, &m, NULL);
		if (m.status == 0)
			return;
		m.len = 0;
	}
	peer_send(p, &m);
}

const struct rollcall_handler requests_rollcall = { ask_presence, answer_presence };

void
requests_presence(void *arg, uint64_t token, int status, const uint8_t *members, size_t len)
{
	const struct node *n = arg;

	rollcalls_answer(n->rollcalls, token, status, members, len, clock_ms());
}

static void
handle_presence(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	const struct rollcall_asker asker = { .serial = p->serial, .id = m->id };
	int err = rollcalls_add(n->rollcalls, m->channel, m->channel_len, &asker);

	if (err != 0)
		answer_presence(n, &asker, err, NULL, 0);
}

/* --- counts --------------------------------------------------------------------------------- */

void
requests_counted(void *arg, const struct count_question *q)
{
	struct peer *p = node_peer(arg, q->asker);
	struct ipc_msg answer = { .type = IPC_COUNTED,
		.id = q->id,
		.value = q->sum,
		.channel = q->channel,
		.channel_len = q->channel_len };

	if (p != NULL)
		peer_send(p, &answer);
}

static int
handle_count(struct node *n, const struct peer *p, const struct ipc_msg *m)
{
	const struct interest_entry *e = interest_get(n->interest, m->channel, m->channel_len);
	struct count_question q = { .asker = p->serial,
		.id = m->id,
		.channel = m->channel,
		.channel_len = m->channel_len };
	struct ipc_msg ask = {
		.type = IPC_COUNT, .channel = m->channel, .channel_len = m->channel_len
	};
	int slot = -1, err;

	err = counts_open(n->counts, &q, clock_ms(), &ask.id);
	if (err != 0)
		return err;
	while (e != NULL && (slot = interest_next(n->interest, e, (unsigned)(slot + 1))) >= 0) {
		if (n->by_slot[slot] == NULL)
			continue;
		counts_expect(n->counts, ask.id, (unsigned)slot);
		peer_send(n->by_slot[slot], &ask);
	}
	counts_seal(n->counts, ask.id);
	return 0;
}

/* --- all ------------------------------------------------------------------------------------ */

int
requests_handle(struct node *n, struct peer *p, const struct ipc_msg *m)
{
	switch (m->type) {
	case IPC_SUBSCRIBE:
		handle_subscribe(n, p, m);
		return 0;
	case IPC_UNSUBSCRIBE:
		handle_unsubscribe(n, p, m);
		return 0;
	case IPC_PUBLISH:
		handle_publish(n, p, m);
		return 0;
	case IPC_FORGET:
		handle_forget(n, p, m);
		return 0;
	case IPC_HISTORY:
		return handle_history(n, p, m);
	case IPC_JOIN:
		return handle_join(n, p, m);
	case IPC_LEAVE:
		handle_leave(n, p, m);
		return 0;
	case IPC_PRESENCE:
		handle_presence(n, p, m);
		return 0;
	case IPC_EVENT:
		engine_event(n->engine, (const char *)m->data, m->len);
		return 0;
	case IPC_COUNT:
		return handle_count(n, p, m);
	case IPC_COUNTED:
		counts_answer(n->counts, m->id, (unsigned)p->slot, m->value);
		return 0;
	case IPC_HELLO:
	case IPC_WELCOME:
	case IPC_SUBSCRIBED:
	case IPC_PUBLISHED:
	case IPC_MESSAGE:
	case IPC_GAP:
	case IPC_ENGINE:
	case IPC_HISTORIED:
	case IPC_PRESENT:
		break;
	}
	return FAN_EPROTO;
}

void
requests_drop_slot(struct node *n, unsigned slot)
{
	streams_drop_slot(n->streams, slot);
	interest_drop_slot(n->interest, slot, close_channel, n);
	members_drop_slot(n->members, slot, on_left, n);
	counts_slot_gone(n->counts, slot);
}
