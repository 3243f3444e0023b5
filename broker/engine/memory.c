/*
 * memory: the engine of a single node, which needs nothing but this process.
 *
 * Owns:    the names of the subscribed channels.
 * Process: hub.
 * Layer:   broker/engine.  Uses engine_impl, common/map; libevent.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine_impl.h"
#include "common/map.h"

struct memory {
	struct engine engine;
	struct map names;
	struct event start; /* fires in the first loop pass */
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

static int
memory_open(struct engine **out, struct event_base *base, const struct conf *c,
    const struct engine_handler *h, void *arg)
{
	const struct timeval now = { 0, 0 };
	struct memory *m = calloc(1, sizeof(*m));

	(void)c;
	if (m == NULL)
		return FAN_ENOMEM;
	m->engine = (struct engine){ .ops = &engine_memory, .handler = h, .arg = arg };
	map_init(&m->names, name_key);
	evtimer_assign(&m->start, base, on_start, m);
	if (evtimer_add(&m->start, &now) != 0) {
		free(m);
		return FAN_ENOMEM;
	}
	*out = &m->engine;
	return 0;
}

static void
memory_close(struct engine *e)
{
	struct memory *m = (struct memory *)e;
	struct name *n;
	size_t pos = 0;

	(void)evtimer_del(&m->start);
	while ((n = map_next(&m->names, &pos)) != NULL)
		free(n);
	map_fini(&m->names);
	free(m);
}

static int
memory_publish(struct engine *e, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, uint64_t token)
{
	const struct memory *m = (const struct memory *)e;

	if (!e->up)
		return FAN_EDOWN;
	if (map_get(&m->names, channel, channel_len) != NULL)
		e->handler->message(e->arg, channel, channel_len, kind, data, len);
	e->handler->published(e->arg, token, 0);
	return 0;
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
	.subscribe = memory_subscribe,
	.unsubscribe = memory_unsubscribe,
	.flush = memory_flush,
};
