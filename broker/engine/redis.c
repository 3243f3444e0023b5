/*
 * redis: the engine of many nodes, which meet in one Redis.
 *
 * Owns:    two links to Redis, the table of channels, the publishes under way.
 * Process: hub.
 * Layer:   broker/engine.  Uses engine_impl, redis_link, redis_resp, redis_subs, redis_url, envelope;
 *          libevent.
 *
 * One link is subscribed, the other carries PUBLISH; each connects again by itself.  Redis answers
 * and delivers in order on each, which the code relies on: replies match publishes first in first
 * out, and a channel's messages need no sorting.
 *
 * The canary is a channel of this engine alone, with a name that no client may use.  A number is
 * published to it every redis.canary and must be back before the next is due; else the subscriber
 * link is deaf however healthy it looks, and both links are dropped.  It is subscribed last, so its
 * first return also proves that every other channel is live.
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
#include "broker/engine/redis_link.h"
#include "broker/engine/redis_resp.h"
#include "broker/engine/redis_subs.h"
#include "broker/engine/redis_url.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"

#define BATCH 128           /* channels in one SUBSCRIBE */
#define COMMAND_OVERHEAD 64 /* of a PUBLISH, beside the key and the payload */
#define UNDER_WAY_FIRST 64  /* entries of the ring; a power of two */
#define CANARY_NAME_MAX 32
#define PREFIX_MAX (REDIS_KEY_MAX - CHANNEL_NAME_MAX - 16) /* "unsubscribe" fits as well */
#define LOG_BURST 3

enum redis_state {
	STATE_DOWN,
	STATE_SUBSCRIBING,
	STATE_PROVING,
	STATE_UP,
};

/* A PUBLISH that Redis has not answered. */
struct under_way {
	uint64_t token;
	size_t bytes; /* counted against redis.queue; 0: the canary's, which has no token */
};

struct redis {
	struct engine engine;
	enum redis_state state;
	struct redis_url url;
	const char *prefix;
	size_t prefix_len;
	size_t queue_max;
	struct redis_link *sub_link, *cmd_link;
	struct redis_subs subs;

	struct under_way *ring; /* ring_size entries, ring_len of them from ring_first on */
	size_t ring_size, ring_first, ring_len;
	size_t bytes_under_way;

	char canary_name[CANARY_NAME_MAX];
	const struct redis_sub *canary_sub; /* while the subscriber link is ready */
	struct event canary_timer;
	struct timeval canary_interval;
	uint64_t canary_sent, canary_back;

	uint64_t down_since; /* ms */
	struct log_gate gate;
};

/* --- publishes under way ---------------------------------------------------------------------- */

static int
ring_reserve(struct redis *e)
{
	size_t size = e->ring_size == 0 ? UNDER_WAY_FIRST : e->ring_size * 2, i;
	struct under_way *ring;

	if (e->ring_len < e->ring_size)
		return 0;
	ring = calloc(size, sizeof(*ring));
	if (ring == NULL)
		return FAN_ENOMEM;
	for (i = 0; i < e->ring_len; i++)
		ring[i] = e->ring[(e->ring_first + i) & (e->ring_size - 1)];
	free(e->ring);
	e->ring = ring;
	e->ring_size = size;
	e->ring_first = 0;
	return 0;
}

/* Takes the oldest out and answers it.  There is one. */
static void
answer_oldest(struct redis *e, int status)
{
	struct under_way w = e->ring[e->ring_first];

	e->ring_first = (e->ring_first + 1) & (e->ring_size - 1);
	e->ring_len--;
	e->bytes_under_way -= w.bytes;
	if (w.bytes > 0)
		e->engine.handler->published(e->engine.arg, w.token, status);
}

/* Queues a PUBLISH.  bytes 0: of the canary.  Errors as redis_link_command. */
static int
send_publish(struct redis *e, const struct redis_arg *key, const struct redis_arg *payload,
    uint64_t token, size_t bytes)
{
	const struct redis_arg args[3] = { { .data = "PUBLISH", .len = 7 }, *key, *payload };
	int err = ring_reserve(e);

	if (err == 0)
		err = redis_link_command(e->cmd_link, args, 3, 1);
	if (err != 0)
		return err;
	e->ring[(e->ring_first + e->ring_len++) & (e->ring_size - 1)] =
	    (struct under_way){ token, bytes };
	e->bytes_under_way += bytes;
	return 0;
}

static bool
begins(const struct redis_value *v, const char *word)
{
	size_t n = strlen(word);

	return v->len >= n && memcmp(v->data, word, n) == 0;
}

/* Redis's error codes that say "later" rather than "no". */
static int
error_status(const struct redis_value *v)
{
	static const char *const later[] = { "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN",
		"TRYAGAIN" };
	size_t i;

	for (i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		if (begins(v, later[i]))
			return FAN_EDOWN;
	}
	return FAN_EDENIED;
}

static void
log_refusal(struct redis *e, const char *what, const struct redis_value *v)
{
	if (log_gate_open(&e->gate, LOG_BURST))
		log_errx("redis: refuses to %s (%.*s)", what, (int)(v->len < 200 ? v->len : 200),
		    v->data);
}

/* --- the canary ------------------------------------------------------------------------------- */

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
	if (send_publish(e, &key, &payload, 0, 0) == 0)
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

static void
become_up(struct redis *e)
{
	const struct redis_sub *sub;
	size_t pos = 0;

	e->state = STATE_UP;
	e->engine.up = true;
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
	if (e->state == STATE_PROVING && redis_link_ready(e->cmd_link))
		become_up(e);
}

static void
on_canary_due(evutil_socket_t fd, short what, void *arg)
{
	struct redis *e = arg;

	(void)fd;
	(void)what;
	if (e->canary_back == e->canary_sent)
		canary_next(e);
	else
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
	enum msg_kind kind;
	const uint8_t *data;
	size_t len;

	if (payload->type != REDIS_TYPE_STRING)
		return FAN_EPROTO;
	if (sub == NULL || sub->state != SUB_LIVE)
		return 0;
	if (sub == e->canary_sub) {
		canary_arrived(e, payload);
		return 0;
	}
	envelope_decode((const uint8_t *)payload->data, payload->len, &kind, &data, &len);
	e->engine.handler->message(
	    e->engine.arg, sub->key + e->prefix_len, sub->key_len - e->prefix_len, kind, data, len);
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
		log_refusal(e, "subscribe", &r->v[0]);
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

	e->engine.up = e->state == STATE_UP;
	/* The number that is due may have been lost with the link. */
	if (e->state >= STATE_PROVING)
		canary_send(e);
}

static int
on_cmd_reply(void *arg, const struct redis_reply *r)
{
	struct redis *e = arg;
	int status = 0;

	if (e->ring_len == 0 || r->array)
		return FAN_EPROTO;
	if (r->v[0].type == REDIS_TYPE_ERROR) {
		status = error_status(&r->v[0]);
		log_refusal(e, "publish", &r->v[0]);
	} else if (r->v[0].type != REDIS_TYPE_INTEGER) {
		return FAN_EPROTO;
	}
	answer_oldest(e, status);
	return 1;
}

static void
on_cmd_lost(void *arg, int err)
{
	struct redis *e = arg;

	e->engine.up = false;
	while (e->ring_len > 0)
		answer_oldest(e, FAN_EDOWN);
	if (err == FAN_ETIMEOUT)
		redis_link_drop(e->sub_link, err, "the command link got no answer");
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

	(void)event_del(&e->canary_timer);
	redis_link_free(e->sub_link);
	redis_link_free(e->cmd_link);
	redis_subs_fini(&e->subs);
	redis_url_fini(&e->url);
	free(e->ring);
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
	e->cmd_link = redis_link_new(base, &o, &cmd_handler, e);
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
	e->prefix = c->redis.prefix;
	e->prefix_len = strlen(e->prefix);
	e->queue_max = (size_t)c->redis.queue;
	e->down_since = clock_ms();
	redis_subs_init(&e->subs);
	evutil_secure_rng_get_bytes(&node, sizeof(node));
	/* '!' is no character of a channel's name. */
	(void)snprintf(e->canary_name, sizeof(e->canary_name), "!canary:%016" PRIx64, node);
	e->canary_interval.tv_sec = c->redis.canary / 1000;
	e->canary_interval.tv_usec = c->redis.canary % 1000 * 1000;
	event_assign(&e->canary_timer, base, -1, EV_PERSIST, on_canary_due, e);
	err = open_links(e, base, c);
	if (err != 0) {
		redis_close(&e->engine);
		return err;
	}
	*out = &e->engine;
	return 0;
}

static int
redis_publish(struct engine *engine, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, uint64_t token)
{
	struct redis *e = (struct redis *)engine;
	uint8_t head[ENVELOPE_HEAD];
	const struct redis_arg key = { e->prefix, e->prefix_len, channel, channel_len };
	struct redis_arg payload = { .head = head, .data = data, .len = len };
	size_t bytes = COMMAND_OVERHEAD + e->prefix_len + channel_len + len;

	if (!engine->up)
		return FAN_EDOWN;
	/* One is always let through, so that a large message is not refused for ever. */
	if (e->bytes_under_way > 0 && e->bytes_under_way + bytes > e->queue_max)
		return FAN_EFULL;
	payload.head_len = envelope_head(kind, data, len, head);
	return send_publish(e, &key, &payload, token, bytes);
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
	.subscribe = redis_subscribe,
	.unsubscribe = redis_unsubscribe,
	.flush = redis_flush,
};
