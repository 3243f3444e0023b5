/*
 * redis_presence: who is in which channel, kept in Redis.  See redis_presence.h.
 */
#include "broker/engine/redis_presence.h"

#include <event2/event.h>
#include <event2/util.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine_impl.h"
#include "broker/engine/redis_function.h"
#include "broker/engine/redis_resp.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"

#define SWEEP_BATCH 64 /* of function.lua's places */
#define SET_KEY "{!nodes}:of:"

/* A channel in which this node has members. */
struct redis_place {
	LIST_ENTRY(redis_place) all;
	struct redis_presence *p;
	bool current;   /* of this incarnation: it is in the map */
	size_t pending; /* calls under way */
	int64_t count;  /* of members, by Redis's last answer */
	size_t len;
	char name[];
};

/* One node that is being swept. */
struct redis_sweep {
	struct redis_presence *p;
	char node[REDIS_NODE_ID];
	size_t under_way;
	bool stop; /* it is done, or has failed */
	size_t n;
	struct {
		char text[CHANNEL_NAME_MAX + 1];
		size_t len;
	} name[SWEEP_BATCH];
};

static const void *
place_key(const void *object, size_t *len)
{
	const struct redis_place *place = object;

	*len = place->len;
	return place->name;
}

static bool
is_error(const struct redis_reply *r)
{
	return !r->array && r->v[0].type == REDIS_TYPE_ERROR;
}

static bool
is_integer(const struct redis_reply *r)
{
	return !r->array && r->v[0].type == REDIS_TYPE_INTEGER;
}

/* --- the set of a node's channels ------------------------------------------------------------- */

/* SADD or SREM. */
static int
change_set(struct redis_presence *p, const char *command, const char *node, const char *channel,
    size_t len, redis_answer_fn fn, void *arg)
{
	char key[REDIS_NODE_ID + sizeof(SET_KEY)];
	const struct redis_arg args[3] = { { .data = command, .len = strlen(command) },
		{ p->prefix, strlen(p->prefix), key,
		    (size_t)snprintf(key, sizeof(key), SET_KEY "%s", node) },
		{ .data = channel, .len = len } };

	return redis_commands_send(p->function->commands, args, 3, fn, arg, 0, 0);
}

/* What Redis refused now may be taken later; what is wrong for ever is only logged. */
static void
note_failure(struct redis_presence *p, const struct redis_reply *r, const char *what)
{
	static const char *const later[] = { "OOM", "READONLY", "MISCONF", "NOREPLICAS" };
	size_t i;

	if (r == NULL) {
		p->lost = true;
		return;
	}
	redis_commands_log(p->function->commands, what, &r->v[0]);
	if (redis_error_status(&r->v[0]) == FAN_EDOWN)
		p->lost = true;
	for (i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		if (redis_error_is(&r->v[0], later[i]))
			p->lost = true;
	}
}

static int
on_added(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_presence *p = arg;

	(void)token;
	if (r == NULL || is_error(r))
		note_failure(p, r, "note a channel of this node");
	return 0;
}

static int
on_removed(void *arg, uint64_t token, const struct redis_reply *r)
{
	/* What stays in the set finds nobody. */
	(void)arg;
	(void)token;
	(void)r;
	return 0;
}

/* --- members ---------------------------------------------------------------------------------- */

static void lease_begin(struct redis_presence *p);

static void
place_free(struct redis_place *place)
{
	if (place->current)
		(void)map_del(&place->p->places, place->name, place->len);
	LIST_REMOVE(place, all);
	free(place);
}

/* The channel's place; made if it is not there.  NULL: no memory, or Redis cannot be told. */
static struct redis_place *
place_get(struct redis_presence *p, const char *channel, size_t len)
{
	struct redis_place *place = map_get(&p->places, channel, len);

	if (place != NULL)
		return place;
	place = malloc(sizeof(*place) + len);
	if (place == NULL)
		return NULL;
	*place = (struct redis_place){ .p = p, .current = true, .len = len };
	memcpy(place->name, channel, len);
	if (map_put(&p->places, place) != 0) {
		free(place);
		return NULL;
	}
	LIST_INSERT_HEAD(&p->all_places, place, all);
	if (change_set(p, "SADD", p->node, channel, len, on_added, p) == 0)
		return place;
	place_free(place);
	return NULL;
}

static void
place_settle(struct redis_place *place)
{
	struct redis_presence *p = place->p;

	if (place->pending > 0 || (place->current && place->count > 0))
		return;
	if (place->current)
		(void)change_set(p, "SREM", p->node, place->name, place->len, on_removed, p);
	place_free(place);
}

static int
on_changed(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_place *place = arg;
	struct redis_presence *p = place->p;
	int err = 0;

	(void)token;
	place->pending--;
	if (r != NULL && is_integer(r)) {
		place->count = r->v[0].number;
	} else if (r == NULL || is_error(r)) {
		/* Whoever is there stays in the set. */
		place->count = 1;
		if (place->current)
			note_failure(p, r, "note a member");
	} else {
		err = FAN_EPROTO;
	}
	place_settle(place);
	return err;
}

static void
change(struct redis_presence *p, const char *what, const char *channel, size_t channel_len,
    const struct redis_arg *client, const struct redis_arg *packed)
{
	struct redis_place *place;
	struct redis_arg args[4] = { { .data = channel, .len = channel_len },
		{ .data = p->node, .len = strlen(p->node) }, *client };
	size_t n = 3;
	int err;

	if (!p->running)
		return;
	if (packed != NULL)
		args[n++] = *packed;
	place = place_get(p, channel, channel_len);
	err = place == NULL
	    ? FAN_ENOMEM
	    : redis_function_call(p->function,
		  &(struct redis_function_request){ what, args, n, on_changed, place, 0, false });
	if (err == 0)
		place->pending++;
	else
		p->lost = true;
	if (place != NULL && err != 0)
		place_settle(place);
}

void
redis_presence_join(
    struct redis_presence *p, const char *channel, size_t channel_len, const struct member *m)
{
	const struct redis_arg client = { .data = m->client, .len = m->client_len };
	struct redis_arg packed = { 0 };
	struct buf b;

	if (p->running && !p->needed)
		lease_begin(p);
	buf_init(&b, SIZE_MAX / 8);
	if (member_append(&b, m) == 0) {
		packed.data = buf_data(&b);
		packed.len = buf_len(&b);
		change(p, "join", channel, channel_len, &client, &packed);
	} else {
		p->lost = true;
	}
	buf_fini(&b);
}

void
redis_presence_leave(struct redis_presence *p, const char *channel, size_t channel_len,
    const char *client, size_t len)
{
	const struct redis_arg arg = { .data = client, .len = len };

	if (map_get(&p->places, channel, channel_len) != NULL)
		change(p, "leave", channel, channel_len, &arg, NULL);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int
on_presence(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_presence *p = arg;
	int status = 0, err = 0;

	if (r == NULL) {
		status = FAN_EDOWN;
	} else if (is_error(r)) {
		redis_commands_log(p->function->commands, "read presence", &r->v[0]);
		status = redis_error_status(&r->v[0]);
	} else if (r->array || r->v[0].type != REDIS_TYPE_STRING) {
		err = FAN_EPROTO;
		status = FAN_EDOWN;
	}
	if (status != 0)
		p->engine->handler->presence(p->engine->arg, token, status, NULL, 0);
	else
		p->engine->handler->presence(
		    p->engine->arg, token, 0, (const uint8_t *)r->v[0].data, r->v[0].len);
	return err;
}

int
redis_presence_read(
    struct redis_presence *p, const char *channel, size_t channel_len, uint64_t token)
{
	const struct redis_arg name = { .data = channel, .len = channel_len };
	int err = redis_function_call(p->function,
	    &(struct redis_function_request){ "presence", &name, 1, on_presence, p, token, true });

	if (err != FAN_EDENIED)
		return err;
	p->engine->handler->presence(p->engine->arg, token, FAN_EDENIED, NULL, 0);
	return 0;
}

/* --- sweeping --------------------------------------------------------------------------------- */

static void sweep_on(struct redis_sweep *s);

/* One step of the sweep is over. */
static int
sweep_step_done(struct redis_sweep *s, bool stop)
{
	s->stop |= stop;
	if (--s->under_way > 0)
		return 0;
	if (!s->stop)
		sweep_on(s);
	/* What is left is met when the lease is next renewed. */
	if (s->under_way == 0) {
		s->p->sweep = NULL;
		free(s);
	}
	return 0;
}

static int
on_set_removed(void *arg, uint64_t token, const struct redis_reply *r)
{
	(void)token;
	return sweep_step_done(arg, r == NULL || !is_integer(r));
}

static int on_swept(void *arg, uint64_t token, const struct redis_reply *r);

/* Sweeps some members of the i-th channel. */
static void
sweep_channel(struct redis_sweep *s, size_t i, const char *cursor, size_t cursor_len)
{
	const struct redis_arg args[3] = { { .data = s->name[i].text, .len = s->name[i].len },
		{ .data = s->node, .len = strlen(s->node) },
		{ .data = cursor, .len = cursor_len } };

	if (redis_function_call(s->p->function,
		&(struct redis_function_request){ "sweep", args, 3, on_swept, s, i, false }) == 0)
		s->under_way++;
	else
		s->stop = true;
}

static int
on_swept(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_sweep *s = arg;
	bool good = r != NULL && !r->array && r->v[0].type == REDIS_TYPE_STRING && r->v[0].len < 32;

	if (good && r->v[0].len == 1 && r->v[0].data[0] == '0') {
		if (change_set(s->p, "SREM", s->node, s->name[token].text, s->name[token].len,
			on_set_removed, s) == 0)
			s->under_way++;
		else
			s->stop = true;
	} else if (good) {
		sweep_channel(s, token, r->v[0].data, r->v[0].len);
	}
	return sweep_step_done(s, !good);
}

/* The next channels, one a line. */
static int
on_places(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_sweep *s = arg;
	const char *p, *line;
	size_t left, n;

	(void)token;
	if (r == NULL || r->array || r->v[0].type != REDIS_TYPE_STRING)
		return sweep_step_done(s, true);
	p = r->v[0].data;
	s->n = 0;
	for (left = r->v[0].len; left > 0 && s->n < SWEEP_BATCH; left -= n, p += n) {
		line = memchr(p, '\n', left);
		n = line == NULL ? left : (size_t)(line - p);
		if (n == 0 || n > CHANNEL_NAME_MAX)
			return sweep_step_done(s, true);
		memcpy(s->name[s->n].text, p, n);
		s->name[s->n].len = n;
		sweep_channel(s, s->n++, "0", 1);
		n += line != NULL;
	}
	if (s->n == 0) {
		log_info("redis: swept node=%s", s->node);
		s->stop = true;
	}
	return sweep_step_done(s, false);
}

static void
sweep_on(struct redis_sweep *s)
{
	const struct redis_arg args[2] = { { .data = "!nodes", .len = 6 },
		{ .data = s->node, .len = strlen(s->node) } };

	if (redis_function_call(s->p->function,
		&(struct redis_function_request){ "places", args, 2, on_places, s, 0, false }) == 0)
		s->under_way++;
}

static void
sweep_begin(struct redis_presence *p, const char *node, size_t len)
{
	struct redis_sweep *s;

	if (p->sweep != NULL || len >= REDIS_NODE_ID)
		return;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return;
	s->p = p;
	memcpy(s->node, node, len);
	sweep_on(s);
	if (s->under_way > 0)
		p->sweep = s;
	else
		free(s);
}

/* --- the lease -------------------------------------------------------------------------------- */

static int
on_renewed(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_presence *p = arg;

	if (r == NULL || !p->running || token != p->since)
		return 0;
	if (is_error(r)) {
		note_failure(p, r, "renew the lease of this node");
		return 0;
	}
	if (!r->array || r->n != 2 || r->v[0].type != REDIS_TYPE_INTEGER ||
	    r->v[1].type != REDIS_TYPE_STRING)
		return FAN_EPROTO;
	if (r->v[0].number == 0 || p->lost) {
		log_warnx("redis: presence begins anew reason=\"%s\"",
		    r->v[0].number == 0 ? "the lease was over" : "members may be unknown");
		p->broken(p->arg);
		return 0;
	}
	/* After an outage of Redis every lease is over; the others have time to come back. */
	if (r->v[1].len > 0 && clock_ms() - p->since >= (uint64_t)p->lease)
		sweep_begin(p, r->v[1].data, r->v[1].len);
	return 0;
}

static void
renew(struct redis_presence *p, bool first)
{
	char lease[24];
	const struct redis_arg args[4] = { { .data = "!nodes", .len = 6 },
		{ .data = p->node, .len = strlen(p->node) },
		{ .data = lease,
		    .len = (size_t)snprintf(lease, sizeof(lease), "%" PRId64, p->lease) },
		{ .data = first ? "1" : "0", .len = 1 } };

	if (redis_function_call(p->function,
		&(struct redis_function_request){
		    "renew", args, 4, on_renewed, p, p->since, false }) != 0)
		p->lost = true;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	renew(arg, false);
}

/* Takes the lease of this incarnation, and keeps it. */
static void
lease_begin(struct redis_presence *p)
{
	const struct timeval third = { .tv_sec = p->lease / 3000,
		.tv_usec = p->lease / 3 % 1000 * 1000 };

	p->needed = true;
	renew(p, true);
	(void)event_add(&p->timer, &third);
}

void
redis_presence_begin(struct redis_presence *p)
{
	uint64_t random;

	evutil_secure_rng_get_bytes(&random, sizeof(random));
	(void)snprintf(p->node, sizeof(p->node), "%016" PRIx64, random);
	p->running = true;
	p->lost = false;
	p->since = clock_ms();
	if (p->needed)
		lease_begin(p);
}

void
redis_presence_end(struct redis_presence *p)
{
	struct redis_place *place, *next;

	p->running = false;
	(void)event_del(&p->timer);
	for (place = LIST_FIRST(&p->all_places); place != NULL; place = next) {
		next = LIST_NEXT(place, all);
		if (place->current)
			(void)map_del(&p->places, place->name, place->len);
		place->current = false;
		place_settle(place);
	}
}

void
redis_presence_init(struct redis_presence *p, struct event_base *base, const struct conf *c,
    struct engine *engine, struct redis_function *f, void (*broken)(void *arg), void *arg)
{
	size_t i;

	memset(p, 0, sizeof(*p));
	p->engine = engine;
	p->function = f;
	p->prefix = c->redis.prefix;
	p->broken = broken;
	p->arg = arg;
	p->lease = c->presence.lease;
	for (i = 0; i < c->channels.n; i++)
		p->needed |= c->channels.item[i].presence;
	map_init(&p->places, place_key);
	LIST_INIT(&p->all_places);
	event_assign(&p->timer, base, -1, EV_PERSIST, on_timer, p);
}

void
redis_presence_fini(struct redis_presence *p)
{
	struct redis_place *place;

	if (p->engine == NULL)
		return;
	(void)event_del(&p->timer);
	/* place_free takes it out of the list, which the analyzer does not see. */
	while ((place = LIST_FIRST(&p->all_places)) != NULL)
		place_free(place); /* NOLINT(clang-analyzer-unix.Malloc) */
	map_fini(&p->places);
	free(p->sweep);
}
