/*
 * json: the subprotocol fanfare.json: many channels on one connection, commands and answers.
 *
 * Owns:    for each session that has sent a command, its rate and its unanswered commands.
 * Process: workers.
 * Layer:   worker/dialect.  Uses core, json_command, json_encode, json_run, json_wait, net/deadline.
 *
 * Described in docs/PROTOCOL.md.
 */
#include "worker/dialect/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "worker/core/session.h"
#include "worker/dialect/json_command.h"
#include "worker/dialect/json_encode.h"
#include "worker/dialect/json_run.h"
#include "worker/dialect/json_wait.h"
#include "worker/ws/reader.h"

struct state {
	struct deadline refill;
	struct json_waits waiting;
	uint64_t credit_at; /* clock_ms up to which credit was given */
	int64_t credit;     /* commands that may come now */
};

static const struct variant variants[VARIANTS] =
    VARIANT_TABLE("fanfare.json", json_encode_publication);

/* --- the rate ----------------------------------------------------------------------------- */

static struct state *
state_of(struct session *s)
{
	struct state *st = s->state;

	if (st != NULL)
		return st;
	st = calloc(1, sizeof(*st));
	if (st == NULL)
		return NULL;
	deadline_init(&st->refill, DEADLINE_SESSION);
	json_waits_init(&st->waiting, s);
	st->credit = s->core->conf->limits.commands_burst;
	st->credit_at = clock_ms();
	s->state = st;
	return st;
}

/* Takes one command's credit; without any left the session's input waits for more. */
static void
spend(struct state *st)
{
	struct session *s = st->waiting.session;
	int64_t rate = s->core->conf->limits.commands;
	uint64_t now = clock_ms();
	int64_t more;

	if (rate == 0)
		return;
	more = (int64_t)(now - st->credit_at) * rate / 1000;
	if (more > 0) {
		int64_t burst = s->core->conf->limits.commands_burst;

		st->credit = st->credit + more > burst ? burst : st->credit + more;
		/* What is less than a command's worth counts on. */
		st->credit_at += (uint64_t)(more * 1000 / rate);
	}
	st->credit--;
	if (st->credit <= 0) {
		session_pause(s, PAUSE_RATE);
		deadline_set(s->core->deadlines, &st->refill, 1);
	}
}

static void
on_refill(struct deadline *d)
{
	struct state *st = (struct state *)(void *)((char *)d - offsetof(struct state, refill));
	struct session *s = st->waiting.session;
	int64_t rate = s->core->conf->limits.commands;
	uint64_t now = clock_ms();
	int64_t more = (int64_t)(now - st->credit_at) * rate / 1000;

	if (st->credit + more <= 0) {
		deadline_set(s->core->deadlines, d, 1);
		return;
	}
	session_resume(s, PAUSE_RATE);
}

/* --- the session -------------------------------------------------------------------------- */

static void
on_message(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n)
{
	struct state *st = state_of(s);
	struct json_command c;
	const char *why = NULL;
	int err;

	if (kind == MSG_BINARY) {
		s->transport->close(s->t, WS_CLOSE_UNSUPPORTED, "commands are text");
		return;
	}
	if (st == NULL) {
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(FAN_ENOMEM));
		return;
	}
	spend(st);
	err = json_command_read(&c, (const char *)data, n, &why);
	/* Who waits for the answer knows it by its id, which may not be known here. */
	if (err == FAN_ENOMEM)
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
	else if (err != 0)
		json_answer_error(s, 400, why, c.id);
	else
		json_run(&st->waiting, &c);
	if (err == 0)
		json_command_fini(&c);
}

/* Only what a command has subscribed waits. */
static void
on_live(struct session *s, struct sub *sub, int status, const struct sub_live *live)
{
	struct state *st = s->state;

	if (st != NULL)
		json_run_live(&st->waiting, sub, status, live);
}

static void
on_unsubscribed(struct session *s, const struct sub *sub, const char *reason)
{
	struct state *st = s->state;
	struct buf b;
	int err;

	if (st != NULL && json_run_ended(&st->waiting, sub, reason) == 0)
		return;
	buf_init(&b, SIZE_MAX / 4);
	err = buf_printf(&b, "{\"unsubscribed\":\"%s\",\"reason\":", sub->channel->name);
	if (err == 0)
		err = json_append_string(&b, reason, strlen(reason));
	json_answer_end(s, &b, err, "");
}

static void
on_expiring(struct session *s, uint64_t ms)
{
	struct buf b;

	buf_init(&b, SIZE_MAX / 4);
	json_answer_end(s, &b, buf_printf(&b, "{\"expiring\":%" PRIu64, ms / 1000), "");
}

/* A user's own channel has no name for the client. */
static void
on_gap(struct session *s, const struct sub *sub)
{
	json_answer(s, "gap", (sub->flags & SUB_INTERNAL) != 0 ? "" : sub->channel->name, "");
}

/* Quiet publishes are not used here. */
static void
on_refused(struct session *s, int status)
{
	json_answer_status(s, status, "");
}

static void
on_free(struct session *s)
{
	struct state *st = s->state;

	if (st == NULL)
		return;
	deadline_clear(&st->refill);
	json_waits_fini(&st->waiting);
	free(st);
	s->state = NULL;
}

void
dialect_json_init(struct core *core)
{
	deadlines_on(core->deadlines, DEADLINE_SESSION, on_refill);
}

const struct dialect dialect_json = {
	.subprotocol = "fanfare.json",
	.variants = variants,
	.deflates = true,
	.subscribes = true,
	.on_message = on_message,
	.on_live = on_live,
	.on_unsubscribed = on_unsubscribed,
	.on_expiring = on_expiring,
	.on_gap = on_gap,
	.on_refused = on_refused,
	.on_free = on_free,
};
