/*
 * json_encode: what a client of fanfare.json hears.  See json_encode.h.
 */
#include "worker/dialect/json_encode.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/records.h"
#include "worker/core/past.h"
#include "worker/core/session.h"
#include "worker/ws/deflate.h"
#include "worker/ws/frame.h"
#include "worker/ws/reader.h"

#define ANSWER_MAX (SIZE_MAX / 4) /* what bounds an answer is what it is made of */
#define BASE64 ",\"encoding\":\"base64\""

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

int
json_encode_position(struct buf *b, const struct position *pos)
{
	if (pos == NULL || pos->epoch[0] == '\0')
		return 0;
	return buf_printf(b, ",\"offset\":%" PRIu64 ",\"epoch\":\"%s\"", pos->offset, pos->epoch);
}

/* All that stands before the value: of what, and where. */
static int
append_head(struct buf *b, const struct publication *p)
{
	const struct channel *c = p->channel;
	struct position pos = { 0 };
	int err;

	if (c->name[0] == CHANNEL_INTERNAL)
		return buf_printf(b, "{\"message\":");
	if (p->offset != 0 && c->past != NULL) {
		pos = c->past->pos;
		pos.offset = p->offset;
	}
	err = buf_printf(b, "{\"channel\":\"%s\"", c->name);
	if (err == 0)
		err = json_encode_position(b, &pos);
	return err == 0 ? buf_append(b, ",\"data\":", 8) : err;
}

/* A member who comes or goes; what is no JSON was not written by an engine of ours. */
static int
encode_member(const struct variant *v, struct core *core, struct block **b,
    const struct publication *p, struct buf *head)
{
	const char *text = (const char *)p->data;
	int err;

	if (!json_valid(text, p->len, JSON_DEPTH_MAX))
		return 0;
	err = buf_printf(head, "{\"%s\":\"%s\",\"member\":", p->kind == MSG_JOIN ? "join" : "leave",
	    p->channel->name);
	return err == 0 ? append_frame(v, core, b, head, text, p->len) : err;
}

static int
encode_data(const struct variant *v, struct core *core, struct block **b,
    const struct publication *p, struct buf *head)
{
	const char *text = (const char *)p->data;
	int err = append_head(head, p);

	if (err != 0)
		return err;
	if (p->kind == MSG_TEXT && json_valid(text, p->len, JSON_DEPTH_MAX))
		return append_frame(v, core, b, head, text, p->len);
	if (p->kind == MSG_TEXT) {
		err = json_append_string(head, text, p->len);
		return err == 0 ? append_frame(v, core, b, head, NULL, 0) : err;
	}
	err = json_append_base64(head, p->data, p->len);
	return err == 0 ? append_frame(v, core, b, head, BASE64, sizeof(BASE64) - 1) : err;
}

int
json_encode_publication(
    const struct variant *v, struct core *core, struct block **b, const struct publication *p)
{
	struct buf head;
	int err;

	buf_init(&head, SIZE_MAX / 4);
	if (p->kind == MSG_JOIN || p->kind == MSG_LEAVE)
		err = encode_member(v, core, b, p, &head);
	else
		err = encode_data(v, core, b, p, &head);
	buf_fini(&head);
	return err;
}

int
json_encode_record(struct buf *b, const struct record *r)
{
	const char *text = (const char *)r->data;
	int err = buf_printf(b, "{\"offset\":%" PRIu64 ",\"data\":", r->offset);

	if (err != 0)
		return err;
	if (r->kind == MSG_BINARY) {
		err = json_append_base64(b, r->data, r->len);
		if (err == 0)
			err = buf_append(b, BASE64, sizeof(BASE64) - 1);
	} else if (json_valid(text, r->len, JSON_DEPTH_MAX)) {
		err = buf_append(b, text, r->len);
	} else {
		err = json_append_string(b, text, r->len);
	}
	return err == 0 ? buf_append(b, "}", 1) : err;
}

/* --- answers ------------------------------------------------------------------------------ */

void
json_answer_end(struct session *s, struct buf *b, int err, const char *id)
{
	if (err == 0)
		err = buf_printf(b, "%s%s}", *id == '\0' ? "" : ",\"id\":", id);
	if (err == 0)
		s->transport->send(s->t, MSG_TEXT, buf_data(b), buf_len(b));
	else
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(err));
	buf_fini(b);
}

void
json_answer_at(struct session *s, const char *verb, const char *name, const struct position *pos,
    const char *id)
{
	struct buf b;
	int err;

	buf_init(&b, ANSWER_MAX);
	err = buf_printf(&b, "{\"%s\":\"%s\"", verb, name);
	if (err == 0)
		err = json_encode_position(&b, pos);
	json_answer_end(s, &b, err, id);
}

void
json_answer(struct session *s, const char *verb, const char *name, const char *id)
{
	json_answer_at(s, verb, name, NULL, id);
}

void
json_answer_error(struct session *s, int code, const char *message, const char *id)
{
	struct buf b;
	int err;

	buf_init(&b, ANSWER_MAX);
	err = buf_printf(&b, "{\"error\":{\"code\":%d,\"message\":", code);
	if (err == 0)
		err = json_append_string(&b, message, strlen(message));
	if (err == 0)
		err = buf_append(&b, "}", 1);
	json_answer_end(s, &b, err, id);
}

void
json_answer_status(struct session *s, int status, const char *id)
{
	switch (status) {
	case FAN_EINVAL:
		json_answer_error(s, 400, "not a channel name", id);
		return;
	case FAN_EDENIED:
		json_answer_error(s, 403, "not allowed", id);
		return;
	case FAN_EEXIST:
		json_answer_error(s, 409, "subscribed already", id);
		return;
	case FAN_EFULL:
		json_answer_error(s, 429, "too many", id);
		return;
	case FAN_ETOOBIG:
		json_answer_error(s, 413, "too big", id);
		return;
	case FAN_ENOMEM:
		json_answer_error(s, 500, "out of memory", id);
		return;
	default:
		json_answer_error(s, 503, "try again later", id);
		return;
	}
}
