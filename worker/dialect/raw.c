/*
 * raw: one WebSocket message for each publication, and one publication for each message.
 *
 * Owns:    for a session whose message the application decides on, that message.
 * Process: workers.
 * Layer:   worker/dialect.  Uses core, ws/deflate.
 *
 * Described in docs/PROTOCOL.md.  The dialect has no words of its own: what it cannot do ends the
 * connection with a close code and a reason.
 */
#include "worker/dialect/raw.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "worker/core/access.h"
#include "worker/core/lifecycle.h"
#include "worker/core/session.h"
#include "worker/ws/deflate.h"
#include "worker/ws/frame.h"
#include "worker/ws/reader.h"

/* A message that the application is asked about; the session's state meanwhile. */
struct asked {
	struct session *session;
	struct access *access;
	enum msg_kind kind;
	size_t len;
	uint8_t data[];
};

/* Who comes and goes is told to those who can tell it from a message. */
static int
encode(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	const struct deflate_part part = { p->data, p->len };

	if (p->kind == MSG_JOIN || p->kind == MSG_LEAVE)
		return 0;
	return deflate_frame(core->deflater, v->window, b,
	    p->kind == MSG_TEXT ? WS_OP_TEXT : WS_OP_BINARY, &part, 1);
}

static const struct variant variants[VARIANTS] = VARIANT_TABLE("raw", encode);

/* The only channel that the client has named; NULL: there are more, or none any more. */
static const struct channel *
only_channel(const struct session *s)
{
	return s->nsubs == 1 ? s->subs->channel : NULL;
}

/* Publishes, or ends the connection; err: of what was asked before. */
static void
publish(struct session *s, int err, enum msg_kind kind, const uint8_t *data, size_t n)
{
	const struct channel *c = only_channel(s);

	if (err == 0 && c == NULL)
		err = FAN_EDENIED;
	if (err == 0)
		err = session_publish(s, c->name, c->len, kind, data, n);
	if (err == 0)
		lifecycle_published(s, c->name, c->len);
	else if (err == FAN_EDENIED)
		s->transport->close(
		    s->t, WS_CLOSE_POLICY, "clients may not publish to this channel");
	else if (err == FAN_EDOWN)
		s->dialect->on_refused(s, err);
	else
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
}

static void
on_verdict(void *arg, const struct access_verdict *v)
{
	struct asked *a = arg;
	struct session *s = a->session;

	s->state = NULL;
	if (v->data != NULL)
		publish(s, v->status, v->kind, v->data, v->len);
	else
		publish(s, v->status, a->kind, a->data, a->len);
	free(a);
	/* Last: the next message may come from inside. */
	session_resume(s, PAUSE_HOOK);
}

/* The session's input waits for the answer, which keeps the order of what the client says. */
static int
ask(struct session *s, const struct channel *c, enum msg_kind kind, const uint8_t *data, size_t n)
{
	struct asked *a = malloc(sizeof(*a) + n);
	int err;

	if (a == NULL)
		return FAN_ENOMEM;
	a->session = s;
	a->kind = kind;
	a->len = n;
	if (n > 0)
		memcpy(a->data, data, n);
	err = access_ask(
	    s, ACCESS_PUBLISH, c->name, c->len, kind, data, n, on_verdict, a, &a->access);
	if (err != 0) {
		free(a);
		return err;
	}
	s->state = a;
	session_pause(s, PAUSE_HOOK);
	return 0;
}

static void
on_message(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n)
{
	const struct channel *c = only_channel(s);
	const struct conf_rule *rule = NULL;
	int err;

	if (c == NULL) {
		s->transport->close(
		    s->t, WS_CLOSE_POLICY, "to publish, connect to exactly one channel");
		return;
	}
	err = access_check(s, ACCESS_PUBLISH, c->name, c->len);
	if ((err == 0 || err == FAN_EASK) && access_rule(s->core, c->name, c->len, &rule) == 0 &&
	    rule->message > 0 && n > (size_t)rule->message) {
		s->transport->close(s->t, WS_CLOSE_TOO_BIG, "message too big");
		return;
	}
	if (err == FAN_EASK) {
		err = ask(s, c, kind, data, n);
		if (err == 0)
			return;
	}
	publish(s, err, kind, data, n);
}

/* A raw session subscribes only while it opens, so none of its subs waits later. */
static void
on_live(struct session *s, struct sub *sub, int status, const struct sub_live *live)
{
	(void)s;
	(void)sub;
	(void)status;
	(void)live;
}

/* What the connection was opened for is no longer allowed, and it cannot ask again. */
static void
on_unsubscribed(struct session *s, const struct sub *sub, const char *reason)
{
	(void)sub;
	s->transport->close(s->t, WS_CLOSE_POLICY, reason);
}

static void
on_refused(struct session *s, int status)
{
	(void)status;
	s->transport->close(s->t, WS_CLOSE_TRY_LATER, "the message could not be published");
}

static void
on_free(struct session *s)
{
	struct asked *a = s->state;

	if (a != NULL)
		access_cancel(a->access);
	free(a);
	s->state = NULL;
}

const struct dialect dialect_raw = {
	.subprotocol = NULL,
	.variants = variants,
	.deflates = true,
	.subscribes = false,
	.on_message = on_message,
	.on_live = on_live,
	.on_unsubscribed = on_unsubscribed,
	.on_refused = on_refused,
	.on_free = on_free,
};
