/*
 * world: engines under test in one event loop.  See world.h.
 */
#include "tests/contract/world.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

static void
on_message(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len)
{
	struct node *n = arg;
	struct message *m;

	cr_assert(!n->closed);
	if (n->messages == n->message_room) {
		n->message_room = n->message_room == 0 ? 64 : n->message_room * 2;
		n->message = realloc(n->message, n->message_room * sizeof(*m));
		cr_assert_not_null(n->message);
	}
	m = &n->message[n->messages++];
	cr_assert_leq(channel_len, CHANNEL_NAME_MAX);
	memcpy(m->channel, channel, channel_len);
	m->channel[channel_len] = '\0';
	m->kind = kind;
	m->len = len;
	m->data = malloc(len + 1);
	cr_assert_not_null(m->data);
	if (len > 0)
		memcpy(m->data, data, len);
}

static void
on_subscribed(void *arg, const char *channel, size_t channel_len)
{
	struct node *n = arg;

	cr_assert(!n->closed);
	cr_assert(channel_name_valid(channel, channel_len, CHANNEL_NAME_MAX));
	if (channel_len == 5 && memcmp(channel, "fence", 5) == 0)
		n->fenced = true;
	else
		n->subscribed++;
}

static void
on_published(void *arg, uint64_t token, int status)
{
	struct node *n = arg;

	cr_assert(!n->closed);
	cr_assert_lt(token, WORLD_TOKENS);
	cr_assert_eq(n->answers[token], 0, "token %d answered twice", (int)token);
	n->answers[token] = 1;
	n->status[token] = status;
	n->published++;
}

static void
on_interrupted(void *arg)
{
	struct node *n = arg;

	cr_assert(!n->closed);
	cr_assert_eq(n->interrupted + 1, n->restored, "interrupted only after restored");
	cr_assert(!engine_up(n->engine));
	n->interrupted++;
}

static void
on_restored(void *arg)
{
	struct node *n = arg;

	cr_assert(!n->closed);
	cr_assert_eq(n->restored, n->interrupted, "restored only after interrupted");
	cr_assert_not_null(n->engine, "not before engine_open has returned");
	cr_assert(engine_up(n->engine));
	n->restored++;
}

static const struct engine_handler handler = {
	.message = on_message,
	.subscribed = on_subscribed,
	.published = on_published,
	.interrupted = on_interrupted,
	.restored = on_restored,
};

/* Only there to end a pass in which nothing happens. */
static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

struct world *
world_new(void)
{
	static char prefix[] = "fanfare:";
	const struct timeval tick = { 0, 5000 };
	struct world *w = calloc(1, sizeof(*w));
	size_t i;

	cr_assert_not_null(w);
	w->base = event_base_new();
	cr_assert_not_null(w->base);
	w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, NULL);
	cr_assert(w->tick != NULL && event_add(w->tick, &tick) == 0);
	for (i = 0; i < WORLD_NODES; i++) {
		w->node[i].conf.redis.prefix = prefix;
		w->node[i].conf.redis.connect_timeout = 2000;
		w->node[i].conf.redis.timeout = 20000;
		w->node[i].conf.redis.canary = 20000;
		w->node[i].conf.redis.queue = 64 << 20;
	}
	return w;
}

void
world_free(struct world *w)
{
	size_t i;

	for (i = 0; i < WORLD_NODES; i++) {
		world_close(w, i);
		node_clear(&w->node[i]);
		free(w->node[i].message);
		free(w->node[i].conf.redis.url);
	}
	event_free(w->tick);
	event_base_free(w->base);
	free(w);
}

void
world_begin(struct world *w, size_t i, const char *url)
{
	struct node *n = &w->node[i];

	free(n->conf.redis.url);
	n->conf.redis.url = strdup(url == NULL ? "" : url);
	cr_assert_not_null(n->conf.redis.url);
	n->closed = n->fenced = false;
	n->restored = n->interrupted = 0;
	cr_assert_eq(engine_open(&n->engine, w->base, &n->conf, &handler, n), 0);
}

void
world_open(struct world *w, size_t i, const char *url)
{
	world_begin(w, i, url);
	UNTIL(w, w->node[i].restored == 1);
}

void
world_close(struct world *w, size_t i)
{
	w->node[i].closed = true;
	engine_close(w->node[i].engine);
	w->node[i].engine = NULL;
}

static void
flush_all(struct world *w)
{
	size_t i;

	for (i = 0; i < WORLD_NODES; i++) {
		if (w->node[i].engine != NULL)
			engine_flush(w->node[i].engine);
	}
}

void
world_pass(struct world *w)
{
	/* What the test has done since counts as done in the pass before. */
	flush_all(w);
	cr_assert(event_base_loop(w->base, EVLOOP_ONCE) >= 0);
	flush_all(w);
}

void
node_subscribe(struct world *w, size_t i, const char *channel)
{
	struct node *n = &w->node[i];
	unsigned want = n->subscribed + 1;

	cr_assert_eq(engine_subscribe(n->engine, channel, strlen(channel)), 0);
	UNTIL(w, n->subscribed == want);
}

void
node_publish(struct world *w, size_t i, const char *channel, enum msg_kind kind, const void *data,
    size_t len, uint64_t token)
{
	cr_assert_eq(
	    engine_publish(w->node[i].engine, channel, strlen(channel), kind, data, len, token), 0);
}

bool
node_has(const struct node *n, size_t m, const char *channel, enum msg_kind kind, const void *data,
    size_t len)
{
	const struct message *got = n->message + m;

	return m < n->messages && strcmp(got->channel, channel) == 0 && got->kind == kind &&
	    got->len == len && memcmp(got->data, data, len) == 0;
}

void
node_fence(struct world *w, size_t i, uint64_t token)
{
	struct node *n = &w->node[i];
	size_t last;

	if (!n->fenced)
		cr_assert_eq(engine_subscribe(n->engine, "fence", 5), 0);
	UNTIL(w, n->fenced);
	node_publish(w, i, "fence", MSG_TEXT, "|", 1, token);
	UNTIL(w, n->answers[token] == 1);
	UNTIL(w, n->messages > 0 && node_has(n, n->messages - 1, "fence", MSG_TEXT, "|", 1));
	last = --n->messages;
	free(n->message[last].data);
}

void
node_clear(struct node *n)
{
	size_t i;

	for (i = 0; i < n->messages; i++)
		free(n->message[i].data);
	n->messages = 0;
}
