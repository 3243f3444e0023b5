/*
 * json: the subprotocol fanfare.json: many channels on one connection, commands and answers.
 *
 * Owns:    for each session that has sent a command, its rate and its unanswered commands.
 * Process: workers.
 * Layer:   worker/dialect.  Uses core, net/deadline, ws/deflate, common/json.
 *
 * Described in docs/PROTOCOL.md.  Commands are carried out in order; the answer to one that has to
 * wait for the hub may come after those of later ones, which is what `id` is for.
 */
#include "worker/dialect/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "worker/core/session.h"
#include "worker/ws/deflate.h"
#include "worker/ws/frame.h"
#include "worker/ws/reader.h"

#define ID_MAX 128      /* bytes of an id, as JSON text */
#define ANSWER_MAX 4096 /* bytes of an answer */
#define UNANSWERED_MAX 1024

/* A command that waits: for its channel to be live, or for the engine to accept it. */
struct waiting {
	TAILQ_ENTRY(waiting) link;
	struct session *session;
	struct sub *sub; /* of a subscribe; NULL: a publish */
	uint32_t ticket; /* of a publish */
	char name[CHANNEL_NAME_MAX + 1];
	char id[ID_MAX + 1]; /* JSON text; "": none */
};

struct state {
	struct deadline refill;
	struct session *session;
	TAILQ_HEAD(waiting_list, waiting) waiting;
	size_t nwaiting;
	uint64_t credit_at; /* clock_ms up to which credit was given */
	int64_t credit;     /* commands that may come now */
};

/* --- publications ------------------------------------------------------------------------- */

/* Appends one text frame with head, body and "}" as its payload. */
static int
append_frame(const struct variant *v, struct core *core, struct block **b, const struct buf *head,
    const void *body, size_t n)
{
	const struct deflate_part part[] = { { buf_data(head), buf_len(head) }, { body, n },
		{ "}", 1 } };

	return deflate_frame(core->deflater, v->window, b, WS_OP_TEXT, part, 3);
}

static int
encode(const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	const char *text = (const char *)p->data;
	struct buf head;
	int err;

	buf_init(&head, SIZE_MAX / 4);
	err = buf_printf(&head, "{\"channel\":\"%s\",\"data\":", p->channel->name);
	if (err == 0 && p->kind == MSG_TEXT && json_valid(text, p->len, JSON_DEPTH_MAX)) {
		err = append_frame(v, core, b, &head, text, p->len);
	} else if (err == 0 && p->kind == MSG_TEXT) {
		err = json_append_string(&head, text, p->len);
		if (err == 0)
			err = append_frame(v, core, b, &head, NULL, 0);
	} else if (err == 0) {
		static const char tail[] = ",\"encoding\":\"base64\"";

		err = json_append_base64(&head, p->data, p->len);
		if (err == 0)
			err = append_frame(v, core, b, &head, tail, sizeof(tail) - 1);
	}
	buf_fini(&head);
	return err;
}

static const struct variant variants[VARIANTS] = VARIANT_TABLE("fanfare.json", encode);

/* --- answers ------------------------------------------------------------------------------ */

/* Ends an object that was begun in b, err as that went, with the id to repeat, and sends it. */
static void
end_answer(struct session *s, struct buf *b, int err, const char *id)
{
	if (err == 0)
		err = buf_printf(b, "%s%s}", *id == '\0' ? "" : ",\"id\":", id);
	if (err == 0)
		s->transport->send(s->t, MSG_TEXT, buf_data(b), buf_len(b));
	else
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
	buf_fini(b);
}

/* {"VERB":"NAME","id":ID} */
static void
answer(struct session *s, const char *verb, const char *name, const char *id)
{
	struct buf b;

	buf_init(&b, ANSWER_MAX);
	end_answer(s, &b, buf_printf(&b, "{\"%s\":\"%s\"", verb, name), id);
}

static void
answer_error(struct session *s, int code, const char *message, const char *id)
{
	struct buf b;

	buf_init(&b, ANSWER_MAX);
	end_answer(s, &b,
	    buf_printf(&b, "{\"error\":{\"code\":%d,\"message\":\"%s\"}", code, message), id);
}

static void
answer_status(struct session *s, int status, const char *id)
{
	switch (status) {
	case FAN_EINVAL:
		answer_error(s, 400, "not a channel name", id);
		return;
	case FAN_EDENIED:
		answer_error(s, 403, "not allowed", id);
		return;
	case FAN_EEXIST:
		answer_error(s, 409, "subscribed already", id);
		return;
	case FAN_EFULL:
		answer_error(s, 429, "too many", id);
		return;
	case FAN_ETOOBIG:
		answer_error(s, 413, "too big", id);
		return;
	case FAN_ENOMEM:
		answer_error(s, 500, "out of memory", id);
		return;
	default:
		answer_error(s, 503, "try again later", id);
		return;
	}
}

/* --- commands that wait ------------------------------------------------------------------- */

static struct waiting *
wait_new(struct state *st, const char *name, const char *id)
{
	struct waiting *w;

	if (st->nwaiting >= UNANSWERED_MAX)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return NULL;
	w->session = st->session;
	memcpy(w->name, name, strlen(name) + 1);
	memcpy(w->id, id, strlen(id) + 1);
	TAILQ_INSERT_TAIL(&st->waiting, w, link);
	st->nwaiting++;
	return w;
}

static void
wait_free(struct state *st, struct waiting *w)
{
	TAILQ_REMOVE(&st->waiting, w, link);
	st->nwaiting--;
	free(w);
}

static struct waiting *
wait_of_sub(struct state *st, const struct sub *sub)
{
	struct waiting *w;

	TAILQ_FOREACH(w, &st->waiting, link)
	{
		if (w->sub == sub)
			return w;
	}
	return NULL;
}

static void
on_live(struct session *s, struct sub *sub, int status)
{
	struct waiting *w = wait_of_sub(s->state, sub);

	if (w == NULL)
		return;
	if (status == 0)
		status = session_attach(s, sub);
	if (status == 0) {
		answer(s, "subscribed", w->name, w->id);
	} else {
		session_unsubscribe(s, sub);
		answer_status(s, status, w->id);
	}
	wait_free(s->state, w);
}

static void
on_published(void *arg, int status, uint64_t value)
{
	struct waiting *w = arg;
	struct session *s = w->session;

	(void)value;
	if (status == 0)
		answer(s, "published", w->name, w->id);
	else
		answer_status(s, status == FAN_EDENIED ? FAN_EDOWN : status, w->id);
	wait_free(s->state, w);
}

/* --- commands ----------------------------------------------------------------------------- */

/* A command after its JSON was read; name is NUL-terminated, its length in name_len. */
struct command {
	const char *verb;
	const char *name;
	size_t name_len;
	const char *data; /* of a publish: JSON text */
	size_t data_len;
	char id[ID_MAX + 1];
};

static void
do_subscribe(struct session *s, const struct command *c)
{
	struct waiting *w;
	struct sub *sub;
	int err = session_subscribe(s, c->name, c->name_len, &sub);

	if (err == 0) {
		answer(s, "subscribed", c->name, c->id);
		return;
	}
	if (err != FAN_EAGAIN) {
		answer_status(s, err, c->id);
		return;
	}
	w = wait_new(s->state, c->name, c->id);
	if (w == NULL) {
		session_unsubscribe(s, sub);
		answer_status(s, FAN_EFULL, c->id);
		return;
	}
	w->sub = sub;
}

static void
do_unsubscribe(struct session *s, const struct command *c)
{
	struct sub *sub = session_find(s, c->name, c->name_len);
	struct waiting *w;

	if (sub == NULL) {
		answer_error(s, 404, "not subscribed", c->id);
		return;
	}
	w = wait_of_sub(s->state, sub);
	session_unsubscribe(s, sub);
	if (w != NULL) {
		answer_error(s, 409, "unsubscribed before it was live", w->id);
		wait_free(s->state, w);
	}
	answer(s, "unsubscribed", c->name, c->id);
}

static void
do_publish(struct session *s, const struct command *c)
{
	struct waiting *w;
	int err = session_may_publish(s->core, c->name, c->name_len);

	if (err != 0) {
		answer_status(s, err, c->id);
		return;
	}
	w = wait_new(s->state, c->name, c->id);
	if (w == NULL) {
		answer_status(s, FAN_EFULL, c->id);
		return;
	}
	err = uplink_publish(s->core->uplink, c->name, c->name_len, MSG_TEXT, c->data, c->data_len,
	    on_published, w, &w->ticket);
	if (err != 0) {
		wait_free(s->state, w);
		answer_status(s, err == FAN_EFULL ? FAN_EDOWN : err, c->id);
	}
	if (uplink_congested(s->core->uplink) && session_hold(s) != 0)
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(FAN_ENOMEM));
}

/* Reads the id to repeat.  FAN_EINVAL: it is none, *why says so.  FAN_ENOMEM. */
static int
read_id(const json_t *object, char id[ID_MAX + 1], const char **why)
{
	const json_t *v = json_object_get(object, "id");
	size_t n;

	id[0] = '\0';
	if (v == NULL)
		return 0;
	*why = "id must be a string or an integer";
	if (!json_is_string(v) && !json_is_integer(v))
		return FAN_EINVAL;
	n = json_dumpb(v, id, ID_MAX, JSON_ENCODE_ANY | JSON_COMPACT);
	id[n > ID_MAX ? 0 : n] = '\0';
	*why = "id is too long";
	return n == 0 ? FAN_ENOMEM : n > ID_MAX ? FAN_EINVAL : 0;
}

/* Finds verb and channel, and refuses what no command has.  Returns a phrase for what is wrong. */
static const char *
read_verb(json_t *object, struct command *c)
{
	const json_t *channel = NULL;
	const char *key;
	json_t *v;

	json_object_foreach(object, key, v)
	{
		if (strcmp(key, "subscribe") == 0 || strcmp(key, "unsubscribe") == 0 ||
		    strcmp(key, "publish") == 0) {
			if (channel != NULL)
				return "one command a message";
			c->verb = key;
			channel = v;
		} else if (strcmp(key, "id") != 0 && strcmp(key, "data") != 0 &&
		    strcmp(key, "offset") != 0 && strcmp(key, "epoch") != 0) {
			return "unknown member";
		}
	}
	if (channel == NULL)
		return "no command: send subscribe, unsubscribe or publish";
	if (!json_is_string(channel))
		return "the channel must be a string";
	c->name = json_string_value(channel);
	c->name_len = json_string_length(channel);
	return NULL;
}

static void
run(struct session *s, const char *text, size_t n)
{
	struct command c = { 0 };
	const char *why = NULL;
	json_t *object = NULL;
	int err = json_parse(text, n, JSON_DEPTH_MAX, &object, &why);

	if (err == 0 && !json_is_object(object)) {
		why = "a command is a JSON object";
		err = FAN_EINVAL;
	}
	if (err == 0)
		err = read_id(object, c.id, &why);
	if (err == 0 && (why = read_verb(object, &c)) != NULL)
		err = FAN_EINVAL;
	/* Who waits for the answer knows it by its id, which may not be known here. */
	if (err == FAN_ENOMEM)
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
	else if (err != 0)
		answer_error(s, 400, why, c.id);
	else if (strcmp(c.verb, "subscribe") == 0)
		do_subscribe(s, &c);
	else if (strcmp(c.verb, "unsubscribe") == 0)
		do_unsubscribe(s, &c);
	else if (json_member(text, n, "data", &c.data, &c.data_len) != 0)
		answer_error(s, 400, "publish needs data", c.id);
	else
		do_publish(s, &c);
	json_decref(object);
}

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
	st->session = s;
	TAILQ_INIT(&st->waiting);
	st->credit = s->core->conf->limits.commands_burst;
	st->credit_at = clock_ms();
	s->state = st;
	return st;
}

/* Takes one command's credit; without any left the session's input waits for more. */
static void
spend(struct state *st)
{
	struct session *s = st->session;
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
	int64_t rate = st->session->core->conf->limits.commands;
	uint64_t now = clock_ms();
	int64_t more = (int64_t)(now - st->credit_at) * rate / 1000;

	if (st->credit + more <= 0) {
		deadline_set(st->session->core->deadlines, d, 1);
		return;
	}
	session_resume(st->session, PAUSE_RATE);
}

static void
on_message(struct session *s, enum msg_kind kind, const uint8_t *data, size_t n)
{
	struct state *st = state_of(s);

	if (kind == MSG_BINARY) {
		s->transport->close(s->t, WS_CLOSE_UNSUPPORTED, "commands are text");
		return;
	}
	if (st == NULL) {
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(FAN_ENOMEM));
		return;
	}
	spend(st);
	run(s, (const char *)data, n);
}

static void
on_gap(struct session *s, const struct sub *sub)
{
	answer(s, "gap", sub->channel->name, "");
}

/* Quiet publishes are not used here. */
static void
on_refused(struct session *s, int status)
{
	answer_status(s, status, "");
}

static void
on_free(struct session *s)
{
	struct state *st = s->state;
	struct waiting *w;

	if (st == NULL)
		return;
	deadline_clear(&st->refill);
	while ((w = TAILQ_FIRST(&st->waiting)) != NULL) {
		/* wait_free takes w out of the list, which the analyzer does not see. */
		uplink_ticket_close(
		    s->core->uplink, w->ticket); /* NOLINT(clang-analyzer-unix.Malloc) */
		wait_free(st, w);
	}
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
	.on_gap = on_gap,
	.on_refused = on_refused,
	.on_free = on_free,
};
