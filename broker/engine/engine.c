/*
 * engine: chooses the engine and passes calls on.  See engine.h.
 */
#include "broker/engine/engine.h"

#include "broker/engine/engine_impl.h"
#include "common/conf.h"

int
engine_open(struct engine **out, struct event_base *base, const struct conf *c,
    const struct engine_handler *h, void *arg)
{
	bool redis = c->redis.url != NULL && c->redis.url[0] != '\0';
	const struct engine_ops *ops = redis ? &engine_redis : &engine_memory;

	return ops->open(out, base, c, h, arg);
}

void
engine_close(struct engine *e)
{
	if (e != NULL)
		e->ops->close(e);
}

const char *
engine_name(const struct engine *e)
{
	return e->ops->name;
}

bool
engine_up(const struct engine *e)
{
	return e->up;
}

int
engine_publish(struct engine *e, const struct engine_message *m, uint64_t token)
{
	return e->ops->publish(e, m, token);
}

int
engine_history(struct engine *e, const char *channel, size_t channel_len,
    const struct engine_query *q, uint64_t token)
{
	return e->ops->history(e, channel, channel_len, q, token);
}

int
engine_forget(struct engine *e, const char *channel, size_t channel_len, uint64_t token)
{
	return e->ops->forget(e, channel, channel_len, token);
}

void
engine_join(struct engine *e, const char *channel, size_t channel_len, const struct member *m)
{
	e->ops->join(e, channel, channel_len, m);
}

void
engine_leave(
    struct engine *e, const char *channel, size_t channel_len, const char *client, size_t len)
{
	e->ops->leave(e, channel, channel_len, client, len);
}

int
engine_presence(struct engine *e, const char *channel, size_t channel_len, uint64_t token)
{
	return e->ops->presence(e, channel, channel_len, token);
}

void
engine_event(struct engine *e, const char *json, size_t len)
{
	e->ops->event(e, json, len);
}

int
engine_subscribe(struct engine *e, const char *channel, size_t channel_len)
{
	return e->ops->subscribe(e, channel, channel_len);
}

void
engine_unsubscribe(struct engine *e, const char *channel, size_t channel_len)
{
	e->ops->unsubscribe(e, channel, channel_len);
}

void
engine_flush(struct engine *e)
{
	e->ops->flush(e);
}
