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
engine_publish(struct engine *e, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, uint64_t token)
{
	return e->ops->publish(e, channel, channel_len, kind, data, len, token);
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
