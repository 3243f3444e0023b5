/*
 * world: engines under test in one event loop.  See world.h.
 */
#include "tests/contract/world.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_TOKEN UINT64_C(0x123456789abcdef) /* of histories and presences; any will do */

const struct payload world_payloads[WORLD_PAYLOADS] = {
	{ MSG_TEXT, "", 0 },
	{ MSG_TEXT, "{\"a\":1}", 7 },
	{ MSG_TEXT, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\xba", 12 },
	{ MSG_TEXT, "a\r\nb\r\n", 6 },
	{ MSG_TEXT, "\0a\0", 3 },
	{ MSG_TEXT, "fanfare", 7 },
	{ MSG_TEXT, "*3\r\n$7\r\nmessage\r\n", 17 },
	{ MSG_BINARY, "", 0 },
	{ MSG_BINARY, "valid as text", 13 },
	{ MSG_BINARY, "\xc3\xbc", 2 },
	{ MSG_BINARY, "\r\n", 2 },
	{ MSG_BINARY, "\x00", 1 },
	{ MSG_BINARY, "\xff", 1 },
	{ MSG_BINARY, "\xff\xfe\x00\r\n", 5 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare",
	    8 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare\x01\x01",
	    10 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare\x01\x00text",
	    14 },
	{ MSG_BINARY,
	    "\xff"
	    "fanfare\x02\x01",
	    10 },
};

static void *
copy(const void *data, size_t len)
{
	void *p = malloc(len + 1);

	cr_assert_not_null(p);
	if (len > 0)
		memcpy(p, data, len);
	return p;
}

static void
on_message(void *arg, const char *channel, size_t channel_len, enum msg_kind kind,
    const uint8_t *data, size_t len, const struct position *pos)
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
	m->data = copy(data, len);
	m->pos = pos == NULL ? (struct position){ 0 } : *pos;
	cr_assert(pos == NULL || (pos->offset > 0 && pos->epoch[0] != '\0'));
}

static void
on_subscribed(void *arg, const char *channel, size_t channel_len)
{
	struct node *n = arg;

	cr_assert(!n->closed);
	cr_assert(channel_name_valid(channel, channel_len, CHANNEL_NAME_MAX) ||
	    channel_name_internal(channel, channel_len));
	if (channel_len == 5 && memcmp(channel, "fence", 5) == 0)
		n->fenced = true;
	else
		n->subscribed++;
}

static void
on_published(void *arg, uint64_t token, int status, const struct position *pos)
{
	struct node *n = arg;

	cr_assert(!n->closed);
	cr_assert_lt(token, WORLD_TOKENS);
	cr_assert_eq(n->answers[token], 0, "token %d answered twice", (int)token);
	n->answers[token] = 1;
	n->status[token] = status;
	n->pos[token] = pos == NULL ? (struct position){ 0 } : *pos;
	n->published++;
}

static void
answered(struct node *n, struct answer *a, uint64_t token, int status, const void *data, size_t len)
{
	cr_assert(!n->closed);
	free(a->data);
	*a = (struct answer){ .answers = a->answers + 1,
		.token = token,
		.status = status,
		.data = copy(data, len),
		.len = len };
}

static void
on_history(void *arg, uint64_t token, int status, const struct engine_past *past)
{
	struct node *n = arg;

	cr_assert_eq(past != NULL, status == 0);
	if (past == NULL) {
		answered(n, &n->past, token, status, NULL, 0);
		return;
	}
	answered(n, &n->past, token, status, past->records.p, past->records.n);
	n->past.top = past->top;
}

static void
on_presence(void *arg, uint64_t token, int status, const uint8_t *members, size_t len)
{
	struct node *n = arg;

	answered(n, &n->present, token, status, members, len);
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
	.history = on_history,
	.presence = on_presence,
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

static void
set_rules(struct conf *c)
{
	static char h[] = "h:*", tiny[] = "tiny:*", huge[] = "huge:*", brief[] = "brief:*",
		    j[] = "j:*", hj[] = "hj:*", p[] = "p:*";
	static struct conf_rule rules[] = {
		{ .match = h, .history = { 100, 300000 } },
		{ .match = tiny, .history = { 5, 300000 } },
		{ .match = huge, .history = { 100000, 300000 } },
		{ .match = brief, .history = { 100, WORLD_BRIEF_MS } },
		{ .match = j, .presence = true, .join_leave = true },
		{ .match = p, .presence = true },
		{ .match = hj, .history = { 100, 300000 }, .presence = true, .join_leave = true },
	};

	c->channels.item = rules;
	c->channels.n = sizeof(rules) / sizeof(rules[0]);
}

struct world *
world_new(void)
{
	static char prefix[] = "fanfare:", none[] = "";
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
		w->node[i].conf.events.stream = none;
		w->node[i].conf.presence.lease = 15000;
		w->node[i].conf.limits.history_memory = 256 << 20;
		set_rules(&w->node[i].conf);
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
		free(w->node[i].past.data);
		free(w->node[i].present.data);
		free(w->node[i].conf.redis.url);
	}
	event_free(w->tick);
	event_base_free(w->base);
	free(w);
}

/* --- cases -------------------------------------------------------------------------------------- */

struct world *world_current;
static struct redis_server server;
static char server_url[160];

void
world_setup_memory(void)
{
	world_current = world_new();
}

void
world_setup_redis(void)
{
	redis_server_start(&server);
	(void)snprintf(server_url, sizeof(server_url), "unix://%s", server.sock);
	world_current = world_new();
	world_current->url = server_url;
}

struct world *
world_begin_case(void)
{
	world_open(world_current, 0, world_current->url);
	return world_current;
}

void
world_teardown(void)
{
	bool redis = world_current->url != NULL;

	world_free(world_current);
	if (redis)
		redis_server_stop(&server);
}

/* --- nodes -------------------------------------------------------------------------------------- */

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
world_wait(struct world *w, uint64_t ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end)
		world_pass(w);
}

void
node_subscribe(struct world *w, size_t i, const char *channel)
{
	struct node *n = &w->node[i];
	unsigned want = n->subscribed + 1;

	cr_assert_eq(engine_subscribe(n->engine, channel, strlen(channel)), 0);
	UNTIL(w, n->subscribed == want);
}

int
node_try_publish(struct node *n, const char *channel, enum msg_kind kind, const void *data,
    size_t len, uint64_t token)
{
	const struct engine_message m = { .channel = channel,
		.channel_len = strlen(channel),
		.kind = kind,
		.data = data,
		.len = len };

	return engine_publish(n->engine, &m, token);
}

void
node_publish(struct world *w, size_t i, const char *channel, enum msg_kind kind, const void *data,
    size_t len, uint64_t token)
{
	cr_assert_eq(node_try_publish(&w->node[i], channel, kind, data, len, token), 0);
}

struct position
node_put(struct world *w, size_t i, const char *channel, const char *text, const char *key)
{
	const struct engine_message m = { channel, strlen(channel), MSG_TEXT, (const uint8_t *)text,
		strlen(text), key, strlen(key) };
	struct node *n = &w->node[i];
	uint64_t token = WORLD_TOKENS - 1;

	n->answers[token] = 0;
	cr_assert_eq(engine_publish(n->engine, &m, token), 0);
	UNTIL(w, n->answers[token] == 1);
	cr_assert_eq(n->status[token], 0);
	return n->pos[token];
}

struct position
node_forget(struct world *w, size_t i, const char *channel)
{
	struct node *n = &w->node[i];
	uint64_t token = WORLD_TOKENS - 1;

	n->answers[token] = 0;
	cr_assert_eq(engine_forget(n->engine, channel, strlen(channel), token), 0);
	UNTIL(w, n->answers[token] == 1);
	cr_assert_eq(n->status[token], 0);
	return n->pos[token];
}

struct position
node_history(struct world *w, size_t i, const char *channel, struct engine_query q)
{
	struct node *n = &w->node[i];
	unsigned want = n->past.answers + 1;

	cr_assert_eq(
	    engine_history(n->engine, channel, strlen(channel), &q, ANSWER_TOKEN + want), 0);
	UNTIL(w, n->past.answers >= want);
	cr_assert_eq(n->past.answers, want);
	cr_assert_eq(n->past.token, ANSWER_TOKEN + want);
	cr_assert_eq(n->past.status, 0);
	return n->past.top;
}

void
node_presence(struct world *w, size_t i, const char *channel)
{
	struct node *n = &w->node[i];
	unsigned want = n->present.answers + 1;

	cr_assert_eq(engine_presence(n->engine, channel, strlen(channel), ANSWER_TOKEN + want), 0);
	UNTIL(w, n->present.answers >= want);
	cr_assert_eq(n->present.answers, want);
	cr_assert_eq(n->present.token, ANSWER_TOKEN + want);
	cr_assert_eq(n->present.status, 0);
}

void
node_join(struct world *w, size_t i, const char *channel, const char *client, const char *user,
    const char *info)
{
	const struct member m = { client, strlen(client), user, strlen(user), info, strlen(info) };

	engine_join(w->node[i].engine, channel, strlen(channel), &m);
}

void
node_leave(struct world *w, size_t i, const char *channel, const char *client)
{
	engine_leave(w->node[i].engine, channel, strlen(channel), client, strlen(client));
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
