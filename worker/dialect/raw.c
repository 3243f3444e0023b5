/*
 * raw: one WebSocket message for each publication, and one publication for each message.
 *
 * Process: workers.
 * Layer:   worker/dialect.  Uses core, ws/deflate.
 *
 * Described in docs/PROTOCOL.md.  The dialect has no words of its own: what it cannot do ends the
 * connection with a close code and a reason.
 */
#include "worker/dialect/raw.h"

#include "worker/core/session.h"
#include "worker/ws/deflate.h"
#include "worker/ws/frame.h"
#include "worker/ws/reader.h"

static int
encode(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	const struct deflate_part part = { p->data, p->len };

	return deflate_frame(core->deflater, v->window, b,
	    p->kind == MSG_TEXT ? WS_OP_TEXT : WS_OP_BINARY, &part, 1);
}

static const struct variant variants[VARIANTS] = VARIANT_TABLE("raw", encode);

static void
on_message(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n)
{
	const struct channel *c = s->subs->channel;
	int err;

	if (s->nsubs != 1) {
		s->transport->close(
		    s->t, WS_CLOSE_POLICY, "to publish, connect to exactly one channel");
		return;
	}
	err = session_publish(s, c->name, c->len, kind, data, n);
	if (err == FAN_EDENIED)
		s->transport->close(
		    s->t, WS_CLOSE_POLICY, "clients may not publish to this channel");
	else if (err != 0)
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
}

/* A raw session subscribes only while it opens, so none of its subs waits later. */
static void
on_live(struct session *s, struct sub *sub, int status)
{
	(void)s;
	(void)sub;
	(void)status;
}

static void
on_refused(struct session *s, int status)
{
	(void)status;
	s->transport->close(s->t, WS_CLOSE_TRY_LATER, "the message could not be published");
}

const struct dialect dialect_raw = {
	.subprotocol = NULL,
	.variants = variants,
	.deflates = true,
	.subscribes = false,
	.on_message = on_message,
	.on_live = on_live,
	.on_refused = on_refused,
};
