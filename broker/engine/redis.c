/*
 * redis: the engine of many nodes, which meet in one Redis.
 *
 * Owns:    two links to Redis, the table of channels; by its parts the commands under way (redis_commands),
 *          the functions in Redis (redis_function), this node's members (redis_presence).
 * Process: hub.
 * Layer:   broker/engine.  Uses engine_impl, all of redis_*, envelope; libevent.
 *
 * One link is subscribed, the other carries commands; each connects again by itself.  Redis answers
 * and delivers in order on each, which the code relies on: replies match commands first in first
 * out, and a channel's messages need no sorting.
 *
 * The canary is a channel of this engine alone, with a name that no client may use.  A number is
 * published to it every redis.canary and must be back before the next is due; else the subscriber
 * link is deaf however healthy it looks, and both links are dropped.  It is subscribed last, so its
 * first return also proves that every other channel is live.  It is up when besides it is known whether
 * the functions can be had: without them channels with history, and presence, are refused.
 *
 *     DOWN --- subscriber link ready ---> SUBSCRIBING --- canary confirmed ---> PROVING
 *       ^                                                                          | canary is back
 *       '------------------ subscriber link lost (from any state) --------------- UP
 *
 * That a channel is live is said only while UP.  What is lost before, no `interrupted` would tell.
 *
 * Loss of the command link alone is no interruption: every message of the others still arrives.
 * The engine is not up until it is back, and what was under way is answered with FAN_EDOWN.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine_impl.h"
#include "broker/engine/envelope.h"
#include "broker/engine/redis_commands.h"
#include "broker/engine/redis_durable.h"
#include "broker/engine/redis_function.h"
#include "broker/engine/redis_history.h"
#include "broker/engine/redis_link.h"
#include "broker/engine/redis_presence.h"
#include "broker/engine/redis_resp.h"
#include "broker/engine/redis_subs.h"
#include "broker/engine/redis_url.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"

#define BATCH 128           /* channels in one SUBSCRIBE */
#define COMMAND_OVERHEAD 64 /* of a PUBLISH, beside the key and the payload */
#define CANARY_NAME_MAX 32
#define PREFIX_MAX (REDIS_KEY_MAX - CHANNEL_NAME_MAX - 16) /* "unsubscribe" fits as well */

enum redis_state {
	STATE_DOWN,
	STATE_SUBSCRIBING,
	STATE_PROVING,
	STATE_UP,
};

struct redis {
	struct engine engine;
	const struct conf *conf;
	enum redis_state state;
	struct redis_url url;
	const char *prefix;
	size_t prefix_len;
	struct redis_link *sub_link, *cmd_link;
	struct redis_subs subs;

	struct redis_commands commands; /* on cmd_link */
	struct redis_function function;
	struct redis_history history;
	struct redis_durable durable;
	struct redis_presence presence;
	uint64_t events_lost;

	char canary_name[CANARY_NAME_MAX];
	const struct redis_sub *canary_sub; /* while the subscriber link is ready */
	struct event canary_timer;
	struct timeval canary_interval;
	uint64_t canary_sent, canary_back;

	uint64_t down_since; /* ms */
};

/* --- publishing ------------------------------------------------------------------------------- */

static void
answer(struct redis *e, uint64_t token, int status)
{
	e->engine.handler->published(e->engine.arg, token, status, NULL);
}

/* The answer to a PUBLISH. */
static int
on_published(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis *e = arg;

	if (r != NULL && !r->array && r->v[0].type == REDIS_TYPE_ERROR) {
		redis_commands_log(&e->commands, "publish", &r->v[0]);
		answer(e, token, redis_error_status(&r->v[0]));
		return 0;
	}
	if (r != NULL && !r->array && r->v[0].type == REDIS_TYPE_INTEGER) {
		answer(e, token, 0);
		return 0;
	}
	answer(e, token, FAN_EDOWN);
	return r == NULL ? 0 : FAN_EPROTO;
}

static int
send_publish(struct redis *e, const struct redis_arg *key, const struct redis_arg *payload,
    redis_answer_fn fn, uint64_t token, size_t bytes)
{
	const struct redis_arg args[3] = { { .data = "PUBLISH", .len = 7 }, *key, *payload };

	return redis_commands_send(&e->commands, args, 3, fn, e, token, bytes);
}

/* --- the canary ------------------------------------------------------------------------------- */

static int
on_canary_published(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis *e = arg;

	(void)token;
	if (r == NULL)
		return 0;
	if (!r->array && r->v[0].type == REDIS_TYPE_ERROR)
		redis_commands_log(&e->commands, "publish", &r->v[0]);
	else if (r->array || r->v[0].type != REDIS_TYPE_INTEGER)
		return FAN_EPROTO;
	return 0;
}

/* Sends the number that is due, if there is a link for it. */
static void
canary_send(struct redis *e)
{
	char number[24];
	const struct redis_arg key = { e->prefix, e->prefix_len, e->canary_name,
		strlen(e->canary_name) };
	const struct redis_arg payload = { .data = number,
		.len = (size_t)snprintf(number, sizeof(number), "%" PRIu64, e->canary_sent) };

	/* If it cannot be sent it will not be back, and that is noticed. */
	if (send_publish(e, &key, &payload, on_canary_published, 0, 0) == 0)
		redis_link_flush(e->cmd_link);
}

static void
canary_next(struct redis *e)
{
	e->canary_sent++;
	canary_send(e);
}

static void
tell_live(struct redis *e, const struct redis_sub *sub)
{
	e->engine.handler->subscribed(
	    e->engine.arg, sub->key + e->prefix_len, sub->key_len - e->prefix_len);
}

/* Goes up if nothing is missing any more. */
static void
maybe_up(struct redis *e)
{
	const struct redis_sub *sub;
	size_t pos = 0;

	if (e->state < STATE_PROVING || e->canary_back != e->canary_sent ||
	    !redis_link_ready(e->cmd_link) || !redis_function_decided(&e->function))
		return;
	e->engine.up = true;
	if (e->state == STATE_UP)
		return;
	e->state = STATE_UP;
	redis_presence_begin(&e->presence);
	log_info("redis: restored channels=%zu after_ms=%" PRIu64, redis_subs_count(&e->subs) - 1,
	    clock_ms() - e->down_since);
	e->engine.handler->restored(e->engine.arg);
	while ((sub = redis_subs_tell_next(&e->subs, &pos)) != NULL)
		tell_live(e, sub);
}

static void
canary_arrived(struct redis *e, const struct redis_value *v)
{
	char number[24];
	int n = snprintf(number, sizeof(number), "%" PRIu64, e->canary_sent);

	if (v->len != (size_t)n || memcmp(v->data, number, v->len) != 0)
		return;
	e->canary_back = e->canary_sent;
	maybe_up(e);
}

static void
on_canary_due(evutil_socket_t fd, short what, void *arg)
{
	struct redis *e = arg;

	(void)fd;
	(void)what;
	if (e->canary_back == e->canary_sent) {
		canary_next(e);
		redis_function_tick(&e->function);
		redis_durable_ask(&e->durable);
	} else
		redis_link_drop(e->sub_link, FAN_ETIMEOUT, "deaf: the canary did not come back");
}

/* --- the subscriber link ---------------------------------------------------------------------- */

/* Sends what is gathered, in batches.  What finds no memory stays for the next time. */
static void
send_subs(struct redis *e, bool subscribe)
{
	const struct redis_sub *batch[BATCH];
	struct redis_arg args[BATCH + 1];
	size_t n, i;

	if (e->state == STATE_DOWN)
		return;
	args[0] = subscribe ? (struct redis_arg){ .data = "SUBSCRIBE", .len = 9 }
			    : (struct redis_arg){ .data = "UNSUBSCRIBE", .len = 11 };
	while ((n = redis_subs_gather(&e->subs, subscribe, batch, BATCH)) > 0) {
		for (i = 0; i < n; i++)
			args[i + 1] =
			    (struct redis_arg){ .data = batch[i]->key, .len = batch[i]->key_len };
		if (redis_link_command(e->sub_link, args, n + 1, n) != 0)
			return;
		redis_subs_sent(&e->subs, subscribe, n);
	}
}

/* Writes the Redis key of a channel to key and returns its length. */
static size_t
make_key(const struct redis *e, const char *channel, size_t len, char key[REDIS_KEY_MAX])
{
	memcpy(key, e->prefix, e->prefix_len);
	memcpy(key + e->prefix_len, channel, len);
	return e->prefix_len + len;
}

static void
on_sub_ready(void *arg)
{
	struct redis *e = arg;
	char key[REDIS_KEY_MAX];
	size_t len = make_key(e, e->canary_name, strlen(e->canary_name), key);
	struct redis_sub *canary;

	e->state = STATE_SUBSCRIBING;
	if (redis_subs_want(&e->subs, key, len, &canary) != 0) {
		/* The link may be inside its parser, so the timer drops it. */
		(void)event_add(&e->canary_timer, &e->canary_interval);
		e->canary_sent++;
		return;
	}
	e->canary_sub = canary;
	send_subs(e, true);
}

static int
on_message(struct redis *e, const struct redis_value *key, const struct redis_value *payload)
{
	const struct redis_sub *sub = redis_subs_find(&e->subs, key->data, key->len);
	struct envelope m;

	if (payload->type != REDIS_TYPE_STRING)
		return FAN_EPROTO;
	if (sub == NULL || sub->state != SUB_LIVE)
		return 0;
	if (sub == e->canary_sub) {
		canary_arrived(e, payload);
		return 0;
	}
	envelope_decode((const uint8_t *)payload->data, payload->len, &m);
	e->engine.handler->message(e->engine.arg, sub->key + e->prefix_len,
	    sub->key_len - e->prefix_len, m.kind, m.data, m.len,
	    m.has_position ? &m.position : NULL);
	return 0;
}

static int
on_confirmed(struct redis *e, const struct redis_value *key, bool subscribe)
{
	struct redis_sub *sub;
	int err = redis_subs_confirm(&e->subs, key->data, key->len, subscribe, &sub);

	if (err != 0)
		return err;
	if (sub != NULL && sub == e->canary_sub) {
		e->state = STATE_PROVING;
		(void)event_add(&e->canary_timer, &e->canary_interval);
		canary_next(e);
	} else if (sub != NULL && e->state == STATE_UP) {
		tell_live(e, sub);
	} else if (sub != NULL) {
		sub->told = false;
	}
	return 1;
}

static int
on_sub_reply(void *arg, const struct redis_reply *r)
{
	struct redis *e = arg;

	if (!r->array && r->v[0].type == REDIS_TYPE_ERROR) {
		redis_commands_log(&e->commands, "subscribe", &r->v[0]);
		return FAN_EDENIED;
	}
	if (!r->array || r->n != 3 || r->v[0].type != REDIS_TYPE_STRING ||
	    r->v[1].type != REDIS_TYPE_STRING)
		return FAN_EPROTO;
	if (r->v[0].len == 7 && memcmp(r->v[0].data, "message", 7) == 0)
		return on_message(e, &r->v[1], &r->v[2]);
	if (r->v[0].len == 9 && memcmp(r->v[0].data, "subscribe", 9) == 0)
		return on_confirmed(e, &r->v[1], true);
	if (r->v[0].len == 11 && memcmp(r->v[0].data, "unsubscribe", 11) == 0)
		return on_confirmed(e, &r->v[1], false);
	return FAN_EPROTO;
}

static void
on_sub_lost(void *arg, int err)
{
	struct redis *e = arg;
	bool was_up = e->state == STATE_UP;

	(void)event_del(&e->canary_timer);
	if (e->canary_sub != NULL)
		redis_subs_unwant(&e->subs, e->canary_sub->key, e->canary_sub->key_len);
	e->canary_sub = NULL;
	redis_subs_reset(&e->subs);
	e->state = STATE_DOWN;
	e->engine.up = false;
	if (was_up) {
		e->down_since = clock_ms();
		redis_presence_end(&e->presence);
		e->engine.handler->interrupted(e->engine.arg);
	}
	/* Who does not answer one link in time is not trusted to answer the other. */
	if (err == FAN_ETIMEOUT)
		redis_link_drop(e->cmd_link, err, "the subscriber link got no answer");
}

/* --- the command link ------------------------------------------------------------------------- */

static void
on_cmd_ready(void *arg)
{
	struct redis *e = arg;

	/* The number that is due may have been lost with the link. */
	if (e->state >= STATE_PROVING)
		canary_send(e);
	redis_function_connected(&e->function);
}

/* The functions are there, or it is known that they cannot be had. */
static void
on_functions_decided(void *arg)
{
	struct redis *e = arg;

	redis_durable_ask(&e->durable);
	maybe_up(e);
}

static int
on_cmd_reply(void *arg, const struct redis_reply *r)
{
	struct redis *e = arg;

	return redis_commands_reply(&e->commands, r);
}

static void
on_cmd_lost(void *arg, int err)
{
	struct redis *e = arg;

	e->engine.up = false;
	redis_commands_lost(&e->commands);
	redis_function_lost(&e->function);
	if (err == FAN_ETIMEOUT)
		redis_link_drop(e->sub_link, err, "the command link got no answer");
}

/* Members must join again, which `restored` asks for. */
static void
on_presence_broken(void *arg)
{
	struct redis *e = arg;

	redis_link_drop(e->sub_link, FAN_EGONE, "presence begins anew");
}

/* --- the engine ------------------------------------------------------------------------------- */

static const struct redis_link_handler sub_handler = {
	.ready = on_sub_ready,
	.reply = on_sub_reply,
	.lost = on_sub_lost,
};

static const struct redis_link_handler cmd_handler = {
	.ready = on_cmd_ready,
	.reply = on_cmd_reply,
	.lost = on_cmd_lost,
};

static void
redis_close(struct engine *engine)
{
	struct redis *e = (struct redis *)engine;

	if (e->events_lost > 0)
		log_warnx("engine=redis events_lost=%" PRIu64, e->events_lost);
	(void)event_del(&e->canary_timer);
	redis_link_free(e->sub_link);
	redis_link_free(e->cmd_link);
	redis_subs_fini(&e->subs);
	redis_url_fini(&e->url);
	redis_presence_fini(&e->presence);
	redis_function_fini(&e->function);
	redis_commands_fini(&e->commands);
	free(e);
}

static int
open_links(struct redis *e, struct event_base *base, const struct conf *c)
{
	struct redis_link_options o = { .url = &e->url,
		.connect_timeout = c->redis.connect_timeout,
		.timeout = c->redis.timeout };

	o.name = "subscriber";
	e->sub_link = redis_link_new(base, &o, &sub_handler, e);
	o.name = "commands";
	e->cmd_link = e->commands.link = redis_link_new(base, &o, &cmd_handler, e);
	return e->sub_link == NULL || e->cmd_link == NULL ? FAN_ENOMEM : 0;
}

static int
redis_open(struct engine **out, struct event_base *base, const struct conf *c,
    const struct engine_handler *h, void *arg)
{
	struct redis *e;
	const char *why;
	uint64_t node;
	int err;

	if (strlen(c->redis.prefix) > PREFIX_MAX) {
		log_errx("redis.prefix: at most %zu bytes", (size_t)PREFIX_MAX);
		return FAN_EINVAL;
	}
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return FAN_ENOMEM;
	err = redis_url_parse(c->redis.url, &e->url, &why);
	if (err != 0) {
		log_errx("redis.url: %s", why);
		free(e);
		return err;
	}
	e->engine = (struct engine){ .ops = &engine_redis, .handler = h, .arg = arg };
	e->conf = c;
	e->prefix = c->redis.prefix;
	e->prefix_len = strlen(e->prefix);
	e->down_since = clock_ms();
	redis_subs_init(&e->subs);
	evutil_secure_rng_get_bytes(&node, sizeof(node));
	/* '!' is no character of a channel's name. */
	(void)snprintf(e->canary_name, sizeof(e->canary_name), "!canary:%016" PRIx64, node);
	e->canary_interval.tv_sec = c->redis.canary / 1000;
	e->canary_interval.tv_usec = c->redis.canary % 1000 * 1000;
	event_assign(&e->canary_timer, base, -1, EV_PERSIST, on_canary_due, e);
	redis_commands_init(&e->commands, (size_t)c->redis.queue);
	e->history = (struct redis_history){ &e->engine, &e->function };
	e->durable =
	    (struct redis_durable){ .function = &e->function, .believed = 3 * c->redis.canary };
	redis_presence_init(&e->presence, base, c, &e->engine, &e->function, on_presence_broken, e);
	err = redis_function_init(&e->function, base, c, &e->commands, on_functions_decided, e);
	if (err == 0)
		err = open_links(e, base, c);
	if (err != 0) {
		redis_close(&e->engine);
		return err;
	}
	*out = &e->engine;
	return 0;
}

static const struct conf_rule *
rule_for(const struct redis *e, const char *channel, size_t len)
{
	char name[CHANNEL_NAME_MAX + 1];

	memcpy(name, channel, len);
	name[len] = '\0';
	return conf_rule_for(e->conf, name);
}

static int
publish_plainly(struct redis *e, const struct engine_message *m, uint64_t token)
{
	uint8_t head[ENVELOPE_HEAD];
	const struct redis_arg key = { e->prefix, e->prefix_len, m->channel, m->channel_len };
	const struct redis_arg payload = { .head = head,
		.head_len = envelope_head(m->kind, m->data, m->len, head),
		.data = m->data,
		.len = m->len };
	size_t bytes = COMMAND_OVERHEAD + e->prefix_len + m->channel_len + m->len;
	int err = redis_commands_take(&e->commands, bytes);

	if (err != 0)
		return err;
	err = send_publish(e, &key, &payload, on_published, token, bytes);
	if (err != 0)
		redis_commands_give(&e->commands, bytes);
	return err;
}

static int
redis_publish(struct engine *engine, const struct engine_message *m, uint64_t token)
{
	struct redis *e = (struct redis *)engine;

	if (!engine->up)
		return FAN_EDOWN;
	if (rule_for(e, m->channel, m->channel_len)->history.size == 0)
		return publish_plainly(e, m, token);
	return redis_history_publish(&e->history, m, token);
}

static int
redis_history(struct engine *engine, const char *channel, size_t channel_len,
    const struct engine_query *q, uint64_t token)
{
	struct redis *e = (struct redis *)engine;

	if (!engine->up)
		return FAN_EDOWN;
	if (rule_for(e, channel, channel_len)->history.size == 0) {
		engine->handler->history(engine->arg, token, 0, &(struct engine_past){ 0 });
		return 0;
	}
	return redis_history_read(&e->history, channel, channel_len, q, token);
}

static int
redis_forget(struct engine *engine, const char *channel, size_t channel_len, uint64_t token)
{
	struct redis *e = (struct redis *)engine;

	if (!engine->up)
		return FAN_EDOWN;
	return redis_history_forget(&e->history, channel, channel_len, token);
}

static void
redis_join(struct engine *engine, const char *channel, size_t channel_len, const struct member *m)
{
	redis_presence_join(&((struct redis *)engine)->presence, channel, channel_len, m);
}

static void
redis_leave(
    struct engine *engine, const char *channel, size_t channel_len, const char *client, size_t len)
{
	redis_presence_leave(
	    &((struct redis *)engine)->presence, channel, channel_len, client, len);
}

static int
redis_presence(struct engine *engine, const char *channel, size_t channel_len, uint64_t token)
{
	struct redis *e = (struct redis *)engine;

	if (!engine->up)
		return FAN_EDOWN;
	return redis_presence_read(&e->presence, channel, channel_len, token);
}

static int
on_event_written(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis *e = arg;

	(void)token;
	if (r != NULL && (r->array || r->v[0].type != REDIS_TYPE_ERROR))
		return 0;
	e->events_lost++;
	if (r != NULL)
		redis_commands_log(&e->commands, "write events", &r->v[0]);
	return 0;
}

/* XADD with the fields `event`, taken from the object, and `data`, which is all of it. */
static void
redis_event(struct engine *engine, const char *json, size_t len)
{
	struct redis *e = (struct redis *)engine;
	char length[24];
	const char *name;
	size_t name_len, bytes = COMMAND_OVERHEAD + strlen(e->conf->events.stream) + len;
	struct redis_arg args[10] = { { .data = "XADD", .len = 4 },
		{ .data = e->conf->events.stream, .len = strlen(e->conf->events.stream) },
		{ .data = "MAXLEN", .len = 6 }, { .data = "~", .len = 1 },
		{ .data = length,
		    .len = (size_t)snprintf(
			length, sizeof(length), "%" PRId64, e->conf->events.length) },
		{ .data = "*", .len = 1 }, { .data = "event", .len = 5 }, { 0 },
		{ .data = "data", .len = 4 }, { .data = json, .len = len } };

	/* The value is a string without escapes, a word of ours. */
	if (*e->conf->events.stream == '\0' ||
	    json_member(json, len, "event", &name, &name_len) != 0 || name_len < 2)
		return;
	args[7] = (struct redis_arg){ .data = name + 1, .len = name_len - 2 };
	if (redis_commands_take(&e->commands, bytes) != 0) {
		e->events_lost++;
	} else if (redis_commands_send(&e->commands, args, 10, on_event_written, e, 0, bytes) !=
	    0) {
		redis_commands_give(&e->commands, bytes);
		e->events_lost++;
	}
}

static int
redis_subscribe(struct engine *engine, const char *channel, size_t channel_len)
{
	struct redis *e = (struct redis *)engine;
	char key[REDIS_KEY_MAX];
	struct redis_sub *sub;
	int err = redis_subs_want(&e->subs, key, make_key(e, channel, channel_len, key), &sub);

	if (err == 0 && sub->state == SUB_LIVE) {
		if (e->state == STATE_UP)
			tell_live(e, sub);
		else
			sub->told = false;
	}
	return err;
}

static void
redis_unsubscribe(struct engine *engine, const char *channel, size_t channel_len)
{
	struct redis *e = (struct redis *)engine;
	char key[REDIS_KEY_MAX];

	redis_subs_unwant(&e->subs, key, make_key(e, channel, channel_len, key));
}

static void
redis_flush(struct engine *engine)
{
	struct redis *e = (struct redis *)engine;

	send_subs(e, true);
	send_subs(e, false);
	redis_link_flush(e->sub_link);
	redis_link_flush(e->cmd_link);
}

const struct engine_ops engine_redis = {
	.name = "redis",
	.open = redis_open,
	.close = redis_close,
	.publish = redis_publish,
	.history = redis_history,
	.forget = redis_forget,
	.join = redis_join,
	.leave = redis_leave,
	.presence = redis_presence,
	.event = redis_event,
	.subscribe = redis_subscribe,
	.unsubscribe = redis_unsubscribe,
	.flush = redis_flush,
};
