/*
 * redis_commands: the commands that Redis has not answered yet.  See redis_commands.h.
 */
#include "broker/engine/redis_commands.h"

#include <stdlib.h>
#include <string.h>

#include "broker/engine/redis_link.h"
#include "broker/engine/redis_resp.h"

#define RING_FIRST 64 /* entries; a power of two */
#define LOG_BURST 3

struct redis_pending {
	redis_answer_fn fn;
	void *arg;
	uint64_t token;
	size_t bytes;
};

void
redis_commands_init(struct redis_commands *c, size_t bytes_max)
{
	memset(c, 0, sizeof(*c));
	c->bytes_max = bytes_max;
}

void
redis_commands_fini(struct redis_commands *c)
{
	free(c->ring);
	c->ring = NULL;
	c->ring_size = c->ring_len = 0;
}

static int
ring_reserve(struct redis_commands *c)
{
	size_t size = c->ring_size == 0 ? RING_FIRST : c->ring_size * 2, i;
	struct redis_pending *ring;

	if (c->ring_len < c->ring_size)
		return 0;
	ring = calloc(size, sizeof(*ring));
	if (ring == NULL)
		return FAN_ENOMEM;
	for (i = 0; i < c->ring_len; i++)
		ring[i] = c->ring[(c->ring_first + i) & (c->ring_size - 1)];
	free(c->ring);
	c->ring = ring;
	c->ring_size = size;
	c->ring_first = 0;
	return 0;
}

int
redis_commands_send(struct redis_commands *c, const struct redis_arg *args, size_t n,
    redis_answer_fn fn, void *arg, uint64_t token, size_t bytes)
{
	int err = ring_reserve(c);

	if (err == 0)
		err = redis_link_command(c->link, args, n, 1);
	if (err != 0)
		return err;
	c->ring[(c->ring_first + c->ring_len++) & (c->ring_size - 1)] =
	    (struct redis_pending){ fn, arg, token, bytes };
	return 0;
}

int
redis_commands_take(struct redis_commands *c, size_t bytes)
{
	/* One is always let through, so that a large message is not refused for ever. */
	if (bytes > 0 && c->bytes > 0 && c->bytes + bytes > c->bytes_max)
		return FAN_EFULL;
	c->bytes += bytes;
	return 0;
}

void
redis_commands_give(struct redis_commands *c, size_t bytes)
{
	c->bytes -= bytes;
}

/* Takes the oldest out and answers it.  There is one. */
static int
answer_oldest(struct redis_commands *c, const struct redis_reply *r)
{
	struct redis_pending p = c->ring[c->ring_first];

	c->ring_first = (c->ring_first + 1) & (c->ring_size - 1);
	c->ring_len--;
	c->bytes -= p.bytes;
	return p.fn(p.arg, p.token, r);
}

int
redis_commands_reply(struct redis_commands *c, const struct redis_reply *r)
{
	int err;

	if (c->ring_len == 0)
		return FAN_EPROTO;
	err = answer_oldest(c, r);
	return err < 0 ? err : 1;
}

void
redis_commands_lost(struct redis_commands *c)
{
	while (c->ring_len > 0)
		(void)answer_oldest(c, NULL);
}

bool
redis_error_is(const struct redis_value *v, const char *words)
{
	size_t n = strlen(words);

	return v->type == REDIS_TYPE_ERROR && v->len >= n && memcmp(v->data, words, n) == 0;
}

int
redis_error_status(const struct redis_value *v)
{
	static const char *const later[] = { "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN",
		"TRYAGAIN", "ERR Function not found", "NOSCRIPT" };
	size_t i;

	for (i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		if (redis_error_is(v, later[i]))
			return FAN_EDOWN;
	}
	return FAN_EDENIED;
}

void
redis_commands_log(struct redis_commands *c, const char *what, const struct redis_value *v)
{
	if (log_gate_open(&c->gate, LOG_BURST))
		log_errx("redis: refuses to %s (%.*s)", what, (int)(v->len < 200 ? v->len : 200),
		    v->data);
}
