/*
 * json_run: carries out the commands of fanfare.json.  See json_run.h.
 */
#include "worker/dialect/json_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/ipc_msg.h"
#include "common/json.h"
#include "common/member.h"
#include "common/records.h"
#include "worker/core/access.h"
#include "worker/core/identity.h"
#include "worker/core/lifecycle.h"
#include "worker/core/session.h"
#include "worker/dialect/json_command.h"
#include "worker/dialect/json_encode.h"
#include "worker/dialect/json_wait.h"
#include "worker/ws/reader.h"

/* Answers with an error, and the command is done. */
static void
wait_fail(struct json_waiting *w, int status)
{
	json_answer_status(w->all->session, status, w->id);
	json_wait_free(w);
}

/* --- subscribe ---------------------------------------------------------------------------- */

static void
answer_subscribed(struct session *s, const char *name, const struct sub_live *live, const char *id)
{
	struct buf b;
	int err;

	buf_init(&b, SIZE_MAX / 4);
	err = buf_printf(&b, "{\"subscribed\":\"%s\"", name);
	if (err == 0)
		err = json_encode_position(&b, &live->pos);
	/* What a plain channel was asked for has no meaning. */
	if (err == 0 && live->recovering && live->pos.epoch[0] != '\0')
		err = buf_printf(&b, ",\"recovered\":%s", live->recovered ? "true" : "false");
	json_answer_end(s, &b, err, id);
}

void
json_run_live(struct json_waits *all, struct sub *sub, int status, const struct sub_live *live)
{
	struct json_waiting *w = json_wait_find(all, sub);

	if (w == NULL)
		return;
	if (status == 0) {
		answer_subscribed(all->session, w->name, live, w->id);
		json_wait_free(w);
		return;
	}
	session_unsubscribe(all->session, sub);
	wait_fail(w, status);
}

int
json_run_ended(struct json_waits *all, const struct sub *sub, const char *reason)
{
	struct json_waiting *w = json_wait_find(all, sub);

	if (w == NULL)
		return FAN_ENOENT;
	json_answer_error(all->session, 401, reason, w->id);
	json_wait_free(w);
	return 0;
}

/* Subscribes now that it is allowed; w is answered, or waits for its channel. */
static void
subscribe(struct json_waiting *w)
{
	struct session *s = w->all->session;
	struct sub_live live = { 0 };
	struct sub *sub;
	int err = session_subscribe(s, w->name, w->name_len, 0, &w->since, &sub);

	if (err == FAN_EAGAIN) {
		w->sub = sub;
		return;
	}
	if (err != 0) {
		wait_fail(w, err);
		return;
	}
	session_live(sub, &live);
	answer_subscribed(s, w->name, &live, w->id);
	json_wait_free(w);
}

/* --- publish ------------------------------------------------------------------------------ */

/* What the hub was asked for is here: the command waits for nothing but its answer. */
static struct session *
wait_answered(struct json_waiting *w)
{
	w->ticket = 0;
	return w->all->session;
}

static void
on_published(void *arg, const struct uplink_answer *a)
{
	struct json_waiting *w = arg;
	struct session *s = wait_answered(w);

	if (a->status == 0) {
		lifecycle_published(s, w->name, w->name_len);
		json_answer_at(
		    s, "published", w->name, a->past == NULL ? NULL : &a->past->pos, w->id);
		json_wait_free(w);
		return;
	}
	/* It is the engine that refuses, and not the client who may not. */
	wait_fail(w, a->status == FAN_EDENIED ? FAN_EDOWN : a->status);
}

static void
publish(struct json_waiting *w, enum msg_kind kind, const void *data, size_t len, const char *key,
    size_t key_len)
{
	struct session *s = w->all->session;
	struct uplink *u = s->core->uplink;
	const struct uplink_message m = {
		.channel = w->name,
		.channel_len = w->name_len,
		.kind = kind,
		.data = data,
		.len = len,
		.key = key,
		.key_len = key_len,
	};
	int err = uplink_publish(u, &m, on_published, w, &w->ticket);

	if (err != 0)
		wait_fail(w, err == FAN_EFULL ? FAN_EDOWN : err);
	if (uplink_congested(u) && session_hold(s) != 0)
		s->transport->close(s->t, WS_CLOSE_INTERNAL, fan_strerror(FAN_ENOMEM));
}

/* --- what the application decides ---------------------------------------------------------- */

static void
on_verdict(void *arg, const struct access_verdict *v)
{
	struct json_waiting *w = arg;
	struct session *s = w->all->session;
	const char *key = (const char *)w->body;

	w->access = NULL;
	if (v->status != 0)
		wait_fail(w, v->status);
	else if (w->verb == JSON_SUBSCRIBE)
		subscribe(w);
	else if (v->data != NULL)
		publish(w, v->kind, v->data, v->len, key, w->key_len);
	else
		publish(w, MSG_TEXT, w->body + w->key_len, w->data_len, key, w->key_len);
	/* Last: what waited behind it may be carried out from inside. */
	session_resume(s, PAUSE_HOOK);
}

/* Asks; the session's input waits meanwhile, which keeps the order of what the client says. */
static void
ask(struct json_waiting *w, const struct json_command *c)
{
	struct session *s = w->all->session;
	bool publishes = c->verb == JSON_PUBLISH;
	int err = 0;

	if (publishes) {
		w->body = malloc(c->key_len + c->data_len);
		if (w->body == NULL) {
			wait_fail(w, FAN_ENOMEM);
			return;
		}
		w->key_len = c->key_len;
		w->data_len = c->data_len;
		if (c->key_len > 0)
			memcpy(w->body, c->key, c->key_len);
		memcpy(w->body + c->key_len, c->data, c->data_len);
	}
	err = access_ask(s, publishes ? ACCESS_PUBLISH : ACCESS_SUBSCRIBE, w->name, w->name_len,
	    MSG_TEXT, (const uint8_t *)c->data, c->data_len, on_verdict, w, &w->access);
	if (err != 0)
		wait_fail(w, err);
	else
		session_pause(s, PAUSE_HOOK);
}

/* --- history and presence ------------------------------------------------------------------ */

/* They cost the engine much: of a kind one at a time for a channel.  NULL: too many, or no memory. */
static struct json_waiting *
wait_alone(struct json_waits *all, const struct json_command *c)
{
	return json_wait_has(all, c) ? NULL : json_wait_new(all, c);
}

static void
on_history(void *arg, const struct uplink_answer *a)
{
	struct json_waiting *w = arg;
	struct session *s = wait_answered(w);
	struct records rs;
	struct record r;
	const char *comma = "";
	struct buf b;
	int err;

	if (a->status != 0 || a->past == NULL) {
		wait_fail(w, FAN_EDOWN);
		return;
	}
	rs = a->past->records;
	buf_init(&b, SIZE_MAX / 4);
	err = buf_printf(&b, "{\"history\":\"%s\",\"messages\":[", w->name);
	while (err == 0 && (err = records_next(&rs, &r)) == 0) {
		err = buf_printf(&b, "%s", comma);
		if (err == 0)
			err = json_encode_record(&b, &r);
		comma = ",";
	}
	if (err == FAN_ENOENT)
		err = buf_printf(&b, "]");
	if (err == 0)
		err = json_encode_position(&b, &a->past->pos);
	json_answer_end(s, &b, err, w->id);
	json_wait_free(w);
}

static void
on_presence(void *arg, const struct uplink_answer *a)
{
	struct json_waiting *w = arg;
	struct session *s = wait_answered(w);
	const uint8_t *p = a->members;
	size_t n = a->members_len;
	const char *comma = "";
	struct member m;
	struct buf b;
	int err;

	if (a->status != 0) {
		wait_fail(w, FAN_EDOWN);
		return;
	}
	buf_init(&b, SIZE_MAX / 4);
	err = buf_printf(&b, "{\"presence\":\"%s\",\"members\":[", w->name);
	while (err == 0 && (err = member_next(&p, &n, &m)) == 0) {
		err = buf_printf(&b, "%s", comma);
		if (err == 0)
			err = member_append_json(&b, &m);
		comma = ",";
	}
	if (err == FAN_ENOENT)
		err = buf_printf(&b, "]");
	json_answer_end(s, &b, err, w->id);
	json_wait_free(w);
}

/* --- commands ----------------------------------------------------------------------------- */

/* An error of a token: a phrase that says what is wrong with it. */
static void
answer_token_error(struct session *s, int err, const char *why, const char *id)
{
	if (err == FAN_EDENIED || err == FAN_EEXPIRED)
		json_answer_error(s, 401, why, id);
	else
		json_answer_status(s, err, id);
}

static void
do_token(struct json_waits *all, const struct json_command *c)
{
	struct session *s = all->session;
	const char *channel = NULL, *why = "";
	int err = access_token(s, c->name, c->name_len, &channel, &why);
	const struct identity *i;
	struct buf b;

	if (err != 0) {
		answer_token_error(s, err, why, c->id);
		return;
	}
	i = s->extra->identity;
	buf_init(&b, SIZE_MAX / 4);
	err = buf_printf(&b, "{\"token\":{\"user\":");
	if (err == 0)
		err = json_append_string(&b, i->user, strlen(i->user));
	if (err == 0 && channel != NULL)
		err = buf_printf(&b, ",\"channel\":\"%s\"}", channel);
	else if (err == 0)
		err = buf_printf(&b, ",\"expires\":%" PRId64 "}", i->expires);
	json_answer_end(s, &b, err, c->id);
}

/* Whether the command's token, if it has one, is of its channel; if not, it was answered. */
static bool
take_token(struct session *s, const struct json_command *c)
{
	const char *channel = NULL, *why = "";
	int err;

	if (c->token == NULL)
		return true;
	err = access_token(s, c->token, c->token_len, &channel, &why);
	if (err == 0 && (channel == NULL || strcmp(channel, c->name) != 0)) {
		err = FAN_EDENIED;
		why = "the token is not of this channel";
	}
	if (err != 0)
		answer_token_error(s, err, why, c->id);
	return err == 0;
}

static void
do_subscribe(struct json_waits *all, const struct json_command *c)
{
	struct session *s = all->session;
	struct json_waiting *w;
	int err;

	if (!take_token(s, c))
		return;
	err = access_check(s, ACCESS_SUBSCRIBE, c->name, c->name_len);
	if (err == FAN_EASK && session_find(s, c->name, c->name_len) != NULL)
		err = FAN_EEXIST;
	if (err != 0 && err != FAN_EASK) {
		json_answer_status(s, err, c->id);
		return;
	}
	w = json_wait_new(all, c);
	if (w == NULL)
		json_answer_status(s, FAN_EFULL, c->id);
	else if (err == FAN_EASK)
		ask(w, c);
	else
		subscribe(w);
}

static void
do_unsubscribe(struct json_waits *all, const struct json_command *c)
{
	struct session *s = all->session;
	struct sub *sub = session_find(s, c->name, c->name_len);
	struct json_waiting *w;

	if (sub == NULL || (sub->flags & SUB_INTERNAL) != 0) {
		json_answer_error(s, 404, "not subscribed", c->id);
		return;
	}
	w = json_wait_find(all, sub);
	session_unsubscribe(s, sub);
	if (w != NULL) {
		json_answer_error(s, 409, "unsubscribed before it was live", w->id);
		json_wait_free(w);
	}
	json_answer(s, "unsubscribed", c->name, c->id);
}

/* Whether it may be done, and what the channel's rule is.  Errors as access_check. */
static int
check(const struct session *s, enum access_what what, const struct json_command *c,
    const struct conf_rule **rule)
{
	int err = access_check(s, what, c->name, c->name_len);

	if (err != 0 && err != FAN_EASK)
		return err;
	return access_rule(s->core, c->name, c->name_len, rule) != 0 ? FAN_EINVAL : err;
}

static void
do_publish(struct json_waits *all, const struct json_command *c)
{
	struct session *s = all->session;
	const struct conf_rule *rule = NULL;
	struct json_waiting *w;
	int err = check(s, ACCESS_PUBLISH, c, &rule);
	int64_t most;

	if (rule == NULL) {
		json_answer_status(s, err, c->id);
		return;
	}
	most = rule->message > 0 ? rule->message : s->core->conf->limits.message;
	if (c->data_len > (size_t)most) {
		json_answer_status(s, FAN_ETOOBIG, c->id);
		return;
	}
	w = json_wait_new(all, c);
	if (w == NULL)
		json_answer_status(s, FAN_EFULL, c->id);
	else if (err == FAN_EASK)
		ask(w, c);
	else
		publish(w, MSG_TEXT, c->data, c->data_len, c->key, c->key_len);
}

static void
do_history(struct json_waits *all, const struct json_command *c)
{
	struct session *s = all->session;
	const int64_t most = s->core->conf->limits.recovery;
	const struct conf_rule *rule = NULL;
	struct json_waiting *w;
	char why[64];
	int err = check(s, ACCESS_HISTORY, c, &rule);

	if (err != 0) {
		json_answer_status(s, err, c->id);
	} else if (rule->history.size == 0) {
		json_answer_error(s, 404, "the channel keeps no history", c->id);
	} else if (c->limit > most) {
		(void)snprintf(why, sizeof(why), "limit must be at most %" PRId64, most);
		json_answer_error(s, 400, why, c->id);
	} else if ((w = wait_alone(all, c)) == NULL) {
		json_answer_status(s, FAN_EFULL, c->id);
	} else {
		err = uplink_history(s->core->uplink, w->name, w->name_len, &w->since,
		    (unsigned)(c->limit == 0 ? most : c->limit), c->reverse, on_history, w,
		    &w->ticket);
		if (err != 0)
			wait_fail(w, err == FAN_EFULL ? FAN_EDOWN : err);
	}
}

static void
do_presence(struct json_waits *all, const struct json_command *c)
{
	struct session *s = all->session;
	const struct conf_rule *rule = NULL;
	struct json_waiting *w;
	int err = check(s, ACCESS_PRESENCE, c, &rule);

	if (err != 0) {
		json_answer_status(s, err, c->id);
	} else if (!rule->presence) {
		json_answer_error(s, 404, "the channel keeps no presence", c->id);
	} else if ((w = wait_alone(all, c)) == NULL) {
		json_answer_status(s, FAN_EFULL, c->id);
	} else {
		err = uplink_presence(
		    s->core->uplink, w->name, w->name_len, on_presence, w, &w->ticket);
		if (err != 0)
			wait_fail(w, err == FAN_EFULL ? FAN_EDOWN : err);
	}
}

void
json_run(struct json_waits *all, const struct json_command *c)
{
	static void (*const run[])(struct json_waits * all, const struct json_command *c) = {
		[JSON_SUBSCRIBE] = do_subscribe,
		[JSON_UNSUBSCRIBE] = do_unsubscribe,
		[JSON_PUBLISH] = do_publish,
		[JSON_HISTORY] = do_history,
		[JSON_PRESENCE] = do_presence,
		[JSON_TOKEN] = do_token,
	};

	run[c->verb](all, c);
}
