/*
 * memory: the engine of a single node, which needs nothing but this process.
 *
 * Owns:    the names of the subscribed channels, the histories, the members.
 * Process: hub.
 * Layer:   broker/engine.  Uses engine_impl, memory_history, memory_presence, common; libevent.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine_impl.h"
#include "broker/engine/memory_history.h"
#include "broker/engine/memory_presence.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/map.h"

struct memory {
	struct engine engine;
	const struct conf *conf;
	struct map names;
	struct memory_history *history;
	struct memory_presence *presence;
	uint64_t events;    /* that had nowhere to go */
	struct event start; /* fires in the first loop pass */
	struct event sweep;
};

struct name {
	size_t len;
	char text[];
};

static const void *
name_key(const void *object, size_t *len)
{
	const struct name *n = object;

	*len = n->len;
	return n->text;
}

static const struct conf_rule *
rule_for(const struct memory *m, const char *channel, size_t len)
{
	char name[CHANNEL_NAME_MAX + 1];

	memcpy(name, channel, len);
	name[len] = '\0';
	return conf_rule_for(m->conf, name);
}

static void
on_start(evutil_socket_t fd, short what, void *arg)
{
	struct memory *m = arg;
	const struct name *n;
	size_t pos = 0;

	(void)fd;
	(void)what;
	m->engine.up = true;
	m->engine.handler->restored(m->engine.arg);
	while ((n = map_next(&m->names, &pos)) != NULL)
		m->engine.handler->subscribed(m->engine.arg, n->text, n->len);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct memory *m = arg;

	(void)fd;
	(void)what;
	memory_history_sweep(m->history, clock_ms());
}

static void
memory_close(struct engine *e)
{
	struct memory *m = (struct memory *)e;
	struct name *n;
	size_t pos = 0;

	if (m->events > 0)
		log_warnx("engine=memory events_lost=%" PRIu64, m->events);
	(void)evtimer_del(&m->start);
	(void)event_del(&m->sweep);
	while ((n = map_next(&m->names, &pos)) != NULL)
		free(n);
	map_fini(&m->names);
	memory_history_free(m->history);
	memory_presence_free(m->presence);
	free(m);
}

static int
memory_open(struct engine **out, struct event_base *base, const struct conf *c,
    const struct engine_handler *h, void *arg)
{
	const struct timeval now = { 0, 0 }, second = { 1, 0 };
	struct memory *m = calloc(1, sizeof(*m));
	int err;

	if (m == NULL)
		return FAN_ENOMEM;
	m->engine = (struct engine){ .ops = &engine_memory, .handler = h, .arg = arg };
	m->conf = c;
	map_init(&m->names, name_key);
	evtimer_assign(&m->start, base, on_start, m);
	event_assign(&m->sweep, base, -1, EV_PERSIST, on_sweep, m);
	err = memory_history_new(&m->history, (size_t)c->limits.history_memory);
	if (err != 0)
		goto fail;
	err = FAN_ENOMEM;
	m->presence = memory_presence_new();
	if (m->presence == NULL || evtimer_add(&m->start, &now) != 0 ||
	    event_add(&m->sweep, &second) != 0)
		goto fail;
	*out = &m->engine;
	return 0;

fail:
	memory_close(&m->engine);
	return err;
}

/* The channel's rule where it keeps history, else NULL. */
static const struct conf_rule *
history_rule(const struct memory *m, const char *channel, size_t len)
{
	const struct conf_rule *r = rule_for(m, channel, len);

	return r->history.size > 0 ? r : NULL;
}

/* Calls the message back if its channel is subscribed. */
static void
deliver(const struct memory *m, const struct engine_message *msg, const struct position *pos)
{
	if (map_get(&m->names, msg->channel, msg->channel_len) != NULL)
		m->engine.handler->message(m->engine.arg, msg->channel, msg->channel_len, msg->kind,
		    msg->data, msg->len, pos);
}

static int
memory_publish(struct engine *e, const struct engine_message *msg, uint64_t token)
{
	const struct memory *m = (const struct memory *)e;
	const struct position *at = NULL;
	const struct conf_rule *r;
	struct position pos;
	bool again = false;

	if (!e->up)
		return FAN_EDOWN;
	r = history_rule(m, msg->channel, msg->channel_len);
	if (r != NULL) {
		int err = memory_history_append(m->history, msg, r, clock_ms(), &pos, &again);

		if (err != 0)
			return err;
		at = &pos;
	}
	if (!again)
		deliver(m, msg, at);
	e->handler->published(e->arg, token, 0, at);
	return 0;
}

static int
memory_read(struct engine *e, const char *channel, size_t channel_len, const struct engine_query *q,
    uint64_t token)
{
	const struct memory *m = (const struct memory *)e;
	const struct conf_rule *r;
	struct engine_past past = { 0 };
	struct buf b;
	int err = 0;

	if (!e->up)
		return FAN_EDOWN;
	buf_init(&b, SIZE_MAX);
	r = history_rule(m, channel, channel_len);
	if (r != NULL)
		err = memory_history_read(
		    m->history, channel, channel_len, r, q, clock_ms(), &past.top, &b);
	if (err == 0) {
		past.records = (struct records){ buf_data(&b), buf_len(&b) };
		e->handler->history(e->arg, token, 0, &past);
	}
	buf_fini(&b);
	return err;
}

static int
memory_forget(struct engine *e, const char *channel, size_t channel_len, uint64_t token)
{
	const struct memory *m = (const struct memory *)e;
	const struct conf_rule *r;
	struct position top;
	int err = 0;

	if (!e->up)
		return FAN_EDOWN;
	r = history_rule(m, channel, channel_len);
	if (r != NULL)
		err = memory_history_forget(m->history, channel, channel_len, r, clock_ms(), &top);
	if (err == 0)
		e->handler->published(e->arg, token, 0, r == NULL ? NULL : &top);
	return err;
}

/* Tells those who are subscribed that a member has come or gone. */
static void
tell(const struct memory *m, const char *channel, size_t channel_len, enum msg_kind kind,
    const struct buf *json)
{
	struct engine_message msg = { .channel = channel,
		.channel_len = channel_len,
		.kind = kind,
		.data = buf_data(json),
		.len = buf_len(json) };

	if (rule_for(m, channel, channel_len)->join_leave)
		deliver(m, &msg, NULL);
}

static void
memory_join(struct engine *e, const char *channel, size_t channel_len, const struct member *member)
{
	const struct memory *m = (const struct memory *)e;
	struct buf json;
	bool first;
	int err;

	if (!e->up)
		return;
	buf_init(&json, SIZE_MAX);
	err = memory_presence_join(m->presence, channel, channel_len, member, &first);
	if (err == 0 && first) {
		err = member_append_json(&json, member);
		if (err == 0)
			tell(m, channel, channel_len, MSG_JOIN, &json);
	}
	if (err != 0 && err != FAN_EEXIST)
		log_warnx("engine=memory join: %s", fan_strerror(err));
	buf_fini(&json);
}

static void
memory_leave(
    struct engine *e, const char *channel, size_t channel_len, const char *client, size_t len)
{
	const struct memory *m = (const struct memory *)e;
	struct buf json;
	bool last;
	int err;

	if (!e->up)
		return;
	buf_init(&json, SIZE_MAX);
	err = memory_presence_leave(m->presence, channel, channel_len, client, len, &last, &json);
	if (err == 0 && last)
		tell(m, channel, channel_len, MSG_LEAVE, &json);
	else if (err != 0 && err != FAN_ENOENT)
		log_warnx("engine=memory leave: %s", fan_strerror(err));
	buf_fini(&json);
}

static int
memory_members(struct engine *e, const char *channel, size_t channel_len, uint64_t token)
{
	const struct memory *m = (const struct memory *)e;
	struct buf b;
	int err;

	if (!e->up)
		return FAN_EDOWN;
	buf_init(&b, SIZE_MAX);
	err = memory_presence_read(m->presence, channel, channel_len, &b);
	if (err == 0)
		e->handler->presence(e->arg, token, 0, buf_data(&b), buf_len(&b));
	buf_fini(&b);
	return err;
}

static void
memory_event(struct engine *e, const char *json, size_t len)
{
	struct memory *m = (struct memory *)e;

	(void)json;
	(void)len;
	m->events++;
}

static int
memory_subscribe(struct engine *e, const char *channel, size_t channel_len)
{
	struct memory *m = (struct memory *)e;
	struct name *n = malloc(sizeof(*n) + channel_len);
	int err;

	if (n == NULL)
		return FAN_ENOMEM;
	n->len = channel_len;
	memcpy(n->text, channel, channel_len);
	err = map_put(&m->names, n);
	if (err != 0) {
		free(n);
		return err;
	}
	if (e->up)
		e->handler->subscribed(e->arg, channel, channel_len);
	return 0;
}

static void
memory_unsubscribe(struct engine *e, const char *channel, size_t channel_len)
{
	struct memory *m = (struct memory *)e;

	free(map_del(&m->names, channel, channel_len));
}

static void
memory_flush(struct engine *e)
{
	(void)e; /* nothing is ever held back */
}

const struct engine_ops engine_memory = {
	.name = "memory",
	.open = memory_open,
	.close = memory_close,
	.publish = memory_publish,
	.history = memory_read,
	.forget = memory_forget,
	.join = memory_join,
	.leave = memory_leave,
	.presence = memory_members,
	.event = memory_event,
	.subscribe = memory_subscribe,
	.unsubscribe = memory_unsubscribe,
	.flush = memory_flush,
};
