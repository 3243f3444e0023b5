/*
 * redis_durable: finds out whether Redis has each write on disk before it answers it.  See
 * redis_durable.h.
 */
#include "broker/engine/redis_durable.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/redis_function.h"
#include "broker/engine/redis_resp.h"

/* All of them must be so. */
static const struct setting {
	const char *name, *value;
} settings[] = {
	{ "appendonly", "yes" },
	{ "appendfsync", "always" },
	{ "no-appendfsync-on-rewrite", "no" },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int
on_attached(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_durable *d = arg;

	(void)token;
	if (r != NULL && !r->array && r->v[0].type == REDIS_TYPE_ERROR)
		redis_commands_log(d->function->commands, "attach", &r->v[0]);
	return 0;
}

/* What is not told is not believed. */
static void
tell(struct redis_durable *d)
{
	char believed[24];
	const struct redis_arg args[] = {
		{ .data = "!server", .len = 7 },
		{ .data = d->good ? "1" : "0", .len = 1 },
		{ .data = believed,
		    .len = (size_t)snprintf(believed, sizeof(believed), "%" PRId64, d->believed) },
	};

	if (redis_function_call(d->function,
		&(struct redis_function_request){ "attach", args, 3, on_attached, d, 0, false }) !=
	    0)
		d->answers = 0;
}

static int
on_setting(void *arg, uint64_t token, const struct redis_reply *r)
{
	const struct setting *s = &settings[token];
	struct redis_durable *d = arg;

	if (r == NULL)
		return 0;
	if (!r->array || r->n != 2 || r->v[1].type != REDIS_TYPE_STRING ||
	    r->v[1].len != strlen(s->value) || memcmp(r->v[1].data, s->value, r->v[1].len) != 0)
		d->good = false;
	if (++d->answers == SETTINGS)
		tell(d);
	return 0;
}

void
redis_durable_ask(struct redis_durable *d)
{
	struct redis_arg args[3] = { { .data = "CONFIG", .len = 6 }, { .data = "GET", .len = 3 } };
	size_t i;

	if (!redis_function_lasting(d->function))
		return;
	d->answers = 0;
	d->good = true;
	for (i = 0; i < SETTINGS; i++) {
		args[2] =
		    (struct redis_arg){ .data = settings[i].name, .len = strlen(settings[i].name) };
		if (redis_commands_send(d->function->commands, args, 3, on_setting, d, i, 0) != 0)
			return;
	}
}
