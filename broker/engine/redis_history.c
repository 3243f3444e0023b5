/*
 * redis_history: publishing with history, reading and dropping it.  See redis_history.h.
 */
#include "broker/engine/redis_history.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine_impl.h"
#include "broker/engine/redis_function.h"
#include "broker/engine/redis_resp.h"
#include "common/buf.h"
#include "common/utf8.h"

#define NUMBER 24
/* The order of bytes in records is this machine's, whatever Redis runs on. */
#define ORDER (__BYTE_ORDER == __LITTLE_ENDIAN ? "<" : ">")

/* --- answers ---------------------------------------------------------------------------------- */

/*
 * The status that a reply of n values, the first two of them a position, amounts to.  FAN_EPROTO: it
 * is something else, and whoever breaks the protocol may have done anything.
 */
static int
reply_status(struct redis_history *h, const struct redis_reply *r, size_t n, const char *what,
    struct position *pos)
{
	if (r == NULL)
		return FAN_EDOWN;
	if (!r->array && r->v[0].type == REDIS_TYPE_ERROR) {
		redis_commands_log(h->function->commands, what, &r->v[0]);
		return redis_error_status(&r->v[0]);
	}
	if (!r->array || r->n != n || r->v[0].type != REDIS_TYPE_INTEGER || r->v[0].number < 0 ||
	    r->v[1].type != REDIS_TYPE_STRING ||
	    position_set(pos, (uint64_t)r->v[0].number, r->v[1].data, r->v[1].len) != 0)
		return FAN_EPROTO;
	return 0;
}

/* needed: a message without a position was not kept. */
static int
answer_position(struct redis_history *h, uint64_t token, const struct redis_reply *r,
    const char *what, bool needed)
{
	struct position pos = { 0 };
	int status = reply_status(h, r, 2, what, &pos);

	if (status == 0 && needed && pos.epoch[0] == '\0')
		status = FAN_EDOWN;
	h->engine->handler->published(h->engine->arg, token,
	    status == FAN_EPROTO ? FAN_EDOWN : status,
	    status == 0 && pos.epoch[0] != '\0' ? &pos : NULL);
	return status == FAN_EPROTO ? status : 0;
}

static int
on_published(void *arg, uint64_t token, const struct redis_reply *r)
{
	return answer_position(arg, token, r, "publish", true);
}

static int
on_forgotten(void *arg, uint64_t token, const struct redis_reply *r)
{
	return answer_position(arg, token, r, "forget history", false);
}

/*
 * Redis knows binary that was published as such; what else is not UTF-8 is binary as well.  So the
 * records are copied, looked at, and set right.  FAN_EPROTO: they are not records.
 */
static int
copy_records(struct buf *b, struct records in)
{
	struct record r;
	int err;

	while ((err = records_next(&in, &r)) == 0) {
		if (r.kind != MSG_TEXT && r.kind != MSG_BINARY)
			return FAN_EPROTO;
		if (r.kind == MSG_TEXT && !utf8_valid(r.data, r.len))
			r.kind = MSG_BINARY;
		err = records_append(b, &r);
		if (err != 0)
			return err;
	}
	return err == FAN_ENOENT ? 0 : err;
}

static int
on_history(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_history *h = arg;
	struct engine_past past = { 0 };
	struct buf b;
	int status = reply_status(h, r, 3, "read history", &past.top);

	buf_init(&b, SIZE_MAX / 8);
	if (status == 0 && r->v[2].type != REDIS_TYPE_STRING)
		status = FAN_EPROTO;
	if (status == 0)
		status = copy_records(
		    &b, (struct records){ (const uint8_t *)r->v[2].data, r->v[2].len });
	if (status == 0 && past.top.epoch[0] == '\0')
		status = FAN_EDOWN; /* what answers has no history where this node's rule has one */
	past.records = (struct records){ buf_data(&b), buf_len(&b) };
	h->engine->handler->history(h->engine->arg, token,
	    status == FAN_EPROTO ? FAN_EDOWN : status, status == 0 ? &past : NULL);
	buf_fini(&b);
	return status == FAN_EPROTO ? status : 0;
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Calls; where there are no functions, that is the answer. */
static int
call(struct redis_history *h, const struct redis_function_request *q)
{
	static const struct redis_value none = {
		.type = REDIS_TYPE_ERROR, .data = "there are no functions in Redis", .len = 31
	};
	const struct redis_reply denied = { .n = 1, .v = { none } };
	int err = redis_function_call(h->function, q);

	if (err != FAN_EDENIED)
		return err;
	(void)q->fn(h, q->token, &denied);
	return 0;
}

int
redis_history_publish(struct redis_history *h, const struct engine_message *m, uint64_t token)
{
	const struct redis_arg args[] = {
		{ .data = m->channel, .len = m->channel_len },
		{ .data = m->data, .len = m->len },
		{ .data = m->key, .len = m->key_len },
		{ .data = m->kind == MSG_BINARY ? "binary" : "text",
		    .len = m->kind == MSG_BINARY ? 6 : 4 },
	};

	return call(h,
	    &(struct redis_function_request){ "publish", args, 4, on_published, h, token, true });
}

int
redis_history_read(struct redis_history *h, const char *channel, size_t channel_len,
    const struct engine_query *q, uint64_t token)
{
	char after[NUMBER], limit[NUMBER], bytes[NUMBER];
	const struct redis_arg args[] = {
		{ .data = channel, .len = channel_len },
		{ .data = after, .len = (size_t)snprintf(after, NUMBER, "%" PRIu64, q->after) },
		{ .data = limit, .len = (size_t)snprintf(limit, NUMBER, "%u", q->limit) },
		{ .data = bytes, .len = (size_t)snprintf(bytes, NUMBER, "%zu", q->bytes) },
		{ .data = q->reverse ? "1" : "0", .len = 1 },
		{ .data = ORDER, .len = 1 },
	};

	return call(
	    h, &(struct redis_function_request){ "history", args, 6, on_history, h, token, true });
}

int
redis_history_forget(
    struct redis_history *h, const char *channel, size_t channel_len, uint64_t token)
{
	const struct redis_arg name = { .data = channel, .len = channel_len };

	return call(h,
	    &(struct redis_function_request){ "forget", &name, 1, on_forgotten, h, token, true });
}
