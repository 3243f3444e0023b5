/*
 * session_fixture: sessions whose dialects and transports note what they are told.  See
 * session_fixture.h.
 */
#include "tests/unit/session_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/block.h"

struct world w;
int encoded;

static void
note(struct peer *p, const char *mark, const void *text, size_t n)
{
	size_t len = strlen(p->log);

	cr_assert_lt(len + strlen(mark) + n + 2, sizeof(p->log));
	(void)snprintf(
	    p->log + len, sizeof(p->log) - len, "%s%.*s,", mark, (int)n, (const char *)text);
}

static void
t_live(void *t, int status)
{
	struct peer *p = t;

	p->opened++;
	p->opened_status = status;
}

static void
t_send_block(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	struct peer *p = t;

	cr_assert_leq(off + n, b->len);
	p->sends++;
	p->tag = tag;
	p->bytes += n;
	if (n < 100)
		note(p, "", b->data + off, n);
}

static void
t_send(void *t, enum msg_kind kind, const void *data, size_t n)
{
	(void)kind;
	note(t, "", data, n);
}

static void
t_close(void *t, uint16_t code, const char *reason)
{
	(void)reason;
	(void)code;
	note(t, "closed", "", 0);
}

static void
t_pause(void *t)
{
	((struct peer *)t)->paused = true;
}

static void
t_resume(void *t)
{
	((struct peer *)t)->paused = false;
}

static const struct transport opening = { .live = t_live };
static const struct transport transport = {
	.send_block = t_send_block,
	.send = t_send,
	.close = t_close,
	.pause = t_pause,
	.resume = t_resume,
};

static int
encode_with(char mark, struct block **b, const struct publication *p)
{
	uint8_t *out;

	encoded++;
	if (p->len == 3 && memcmp(p->data, "oom", 3) == 0)
		return FAN_ENOMEM;
	cr_assert_eq(block_reserve(b, p->len + 2, &out), 0);
	out[0] = (uint8_t)mark;
	if (p->len > 0)
		memcpy(out + 1, p->data, p->len);
	out[p->len + 1] = ';';
	(*b)->len += p->len + 2;
	return 0;
}

static const struct variant variant_a[1], variant_b[1];

static int
encode_a(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	cr_assert_eq(v, variant_a);
	cr_assert_eq(core, &w.core);
	return encode_with('a', b, p);
}

static int
encode_b(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	cr_assert_eq(v, variant_b);
	cr_assert_eq(core, &w.core);
	return encode_with('b', b, p);
}

static const struct variant variant_a[] = { { "a", encode_a, 0 } };
static const struct variant variant_b[] = { { "b", encode_b, 0 } };

static void
d_message(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n)
{
	(void)s;
	(void)kind;
	(void)data;
	(void)n;
}

static void
d_live(struct session *s, struct sub *sub, int status, const struct sub_live *live)
{
	char text[CHANNEL_NAME_MAX + POSITION_TEXT_MAX + 2], pos[POSITION_TEXT_MAX] = "";
	struct peer *p = s->t;
	int n;

	cr_assert_eq(live == NULL, status != 0);
	if (status == 0 && live->pos.epoch[0] != '\0')
		(void)position_print(&live->pos, pos);
	n = snprintf(text, sizeof(text), "%s%s%s%s", sub->channel->name, *pos == '\0' ? "" : "@",
	    pos,
	    status != 0 || !live->recovering ? ""
		: live->recovered            ? "="
					     : "?");
	note(p, status == 0 ? "+" : "-", text, (size_t)n);
	if (status != 0 || p->leave_on_live)
		session_unsubscribe(s, sub);
}

static void
d_gap(struct session *s, const struct sub *sub)
{
	note(s->t, "!", sub->channel->name, sub->channel->len);
}

static void
d_refused(struct session *s, int status)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", status);
	note(s->t, "refused", text, strlen(text));
}

#define DIALECT(v)                                                                                 \
	{                                                                                          \
		.variants = (v), .subscribes = true, .on_message = d_message, .on_live = d_live,   \
		.on_gap = d_gap, .on_refused = d_refused                                           \
	}
const struct dialect dialect_a = DIALECT(variant_a);
const struct dialect dialect_b = DIALECT(variant_b);

void
session_setup(void)
{
	world_open(&w,
	    "limits.subscriptions=70000\nlimits.link_queue=64KiB\n"
	    "channels=[{match: \"pub*\", publish: anyone}, "
	    "{match: \"deny*\", subscribe: nobody}, {match: \"old*\", slow: drop-oldest}, "
	    "{match: \"new*\", slow: latest}, {match: \"kick*\", slow: kick}, "
	    "{match: \"h*\", history: {size: 100, ttl: 5m}}]");
}

void
session_teardown(void)
{
	world_close(&w);
}

void
peer_open(struct peer *p, const struct dialect *d)
{
	memset(p, 0, sizeof(*p));
	p->s = session_new(&w.core, d, &opening, p);
	cr_assert_not_null(p->s);
}

void
peer_begin(struct peer *p)
{
	cr_assert_eq(session_start(p->s, &transport, p), 0);
}

void
peer_start(struct peer *p, const struct dialect *d)
{
	peer_open(p, d);
	peer_begin(p);
}

int
peer_subscribe(struct peer *p, const char *channel)
{
	struct sub *sub;

	return session_subscribe(p->s, channel, strlen(channel), 0, NULL, &sub);
}

int
peer_subscribe_since(struct peer *p, const char *channel, const char *since)
{
	struct position pos;
	struct sub *sub;

	cr_assert_eq(position_parse(&pos, since, strlen(since)), 0);
	return session_subscribe(p->s, channel, strlen(channel), 0, &pos, &sub);
}

void
peer_unsubscribe(struct peer *p, const char *channel)
{
	struct sub *sub = session_find(p->s, channel, strlen(channel));

	cr_assert_not_null(sub);
	session_unsubscribe(p->s, sub);
}

/* Makes a channel live for a first subscriber. */
void
peer_join_live(struct peer *p, const char *channel)
{
	cr_assert_eq(peer_subscribe(p, channel), FAN_EAGAIN);
	hub_expect_on(&w, IPC_SUBSCRIBE, channel);
	hub_subscribed(&w, channel, 0);
	world_settle(&w);
	cr_assert_eq(session_find(p->s, channel, strlen(channel))->state, SUB_ATTACHED);
	p->log[0] = '\0';
}

void
peer_join_at(struct peer *p, const char *channel, const char *pos)
{
	cr_assert_eq(peer_subscribe(p, channel), FAN_EAGAIN);
	(void)hub_expect_subscribe(&w, channel, "", false);
	hub_subscribed_at(&w, channel, pos, false, "");
	world_settle(&w);
	cr_assert_eq(session_find(p->s, channel, strlen(channel))->state, SUB_ATTACHED);
	p->log[0] = '\0';
}

bool
channel_is_live(const char *name)
{
	const struct channel *c = channel_find(&w.core.channels, name, strlen(name));

	return c != NULL && c->live;
}
