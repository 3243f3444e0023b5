/*
 * fuzz_command: the commands of fanfare.json (worker/dialect/json) in a session without sockets,
 * with a hub that is played by the input.
 *
 * Owns:    a core and its parts, made once; a session for each input.
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/core, worker/dialect.  Stands in for worker/uplink.
 *
 * Input: lines.  One that begins with "#" is a binary message; with "!" something of the hub, see
 * play(); any other is a command.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/conf.h"
#include "common/ipc_msg.h"
#include "common/json.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "worker/core/fanout.h"
#include "worker/core/session.h"
#include "worker/dialect/dialect.h"
#include "worker/ws/frame.h"

#define TICKETS 16
#define ID_TEXT 132

/* --- the link to the hub ------------------------------------------------------------------- */

struct uplink {
	bool up;
	bool congested;
	uint32_t numbers;
	struct {
		uint32_t number; /* 0: free */
		uplink_answer_fn fn;
		void *arg;
	} ticket[TICKETS];
};

bool
uplink_up(const struct uplink *u)
{
	return u->up;
}

bool
uplink_ready(const struct uplink *u)
{
	return u->up;
}

bool
uplink_congested(const struct uplink *u)
{
	return u->congested;
}

void
uplink_subscribe(struct uplink *u, const char *channel, size_t len, uint32_t id)
{
	(void)u;
	(void)id;
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX));
}

void
uplink_unsubscribe(struct uplink *u, const char *channel, size_t len)
{
	(void)u;
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX));
}

int
uplink_ticket_open(struct uplink *u, uplink_answer_fn fn, void *arg, uint32_t *ticket)
{
	size_t i = 0;

	while (i < TICKETS && u->ticket[i].number != 0)
		i++;
	if (i == TICKETS)
		return FAN_EFULL;
	u->ticket[i].number = *ticket = ++u->numbers;
	u->ticket[i].fn = fn;
	u->ticket[i].arg = arg;
	return 0;
}

void
uplink_ticket_close(struct uplink *u, uint32_t number)
{
	size_t i;

	for (i = 0; number != 0 && i < TICKETS; i++) {
		if (u->ticket[i].number == number)
			u->ticket[i].number = 0;
	}
}

int
uplink_publish(struct uplink *u, const char *channel, size_t len, enum msg_kind kind,
    const void *data, size_t n, uplink_answer_fn fn, void *arg, uint32_t *ticket)
{
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX));
	FUZZ_CHECK(kind == MSG_TEXT && utf8_valid(data, n));
	FUZZ_CHECK(json_valid(data, n, JSON_DEPTH_MAX));
	return u->up ? uplink_ticket_open(u, fn, arg, ticket) : FAN_EDOWN;
}

int
uplink_publish_quiet(struct uplink *u, uint32_t ticket, const char *channel, size_t len,
    enum msg_kind kind, const void *data, size_t n)
{
	(void)ticket;
	(void)kind;
	(void)data;
	(void)n;
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX));
	return u->up ? 0 : FAN_EDOWN;
}

/* Answers the publish that waits longest; false: none does. */
static bool
answer_publish(struct uplink *u, int status)
{
	size_t i, first = TICKETS;

	for (i = 0; i < TICKETS; i++) {
		if (u->ticket[i].number != 0 &&
		    (first == TICKETS || u->ticket[i].number < u->ticket[first].number))
			first = i;
	}
	if (first == TICKETS)
		return false;
	u->ticket[first].number = 0;
	u->ticket[first].fn(u->ticket[first].arg, status, 0);
	return true;
}

/* --- the client ---------------------------------------------------------------------------- */

struct client {
	unsigned asked;
	unsigned answered;
	bool closed;
	bool paused;
	char last_id[ID_TEXT]; /* of the last answer, as JSON; "": none */
};

/* The id as it must be repeated. */
static void
write_id(const json_t *object, char out[ID_TEXT])
{
	const json_t *id = json_object_get(object, "id");
	size_t n = 0;

	if (json_is_string(id) || json_is_integer(id))
		n = json_dumpb(id, out, ID_TEXT - 1, JSON_ENCODE_ANY | JSON_COMPACT);
	out[n <= 128 ? n : 0] = '\0';
}

static void
t_send(void *t, enum msg_kind kind, const void *data, size_t n)
{
	static const char *const verbs[] = { "subscribed", "unsubscribed", "published", "error",
		"gap" };
	struct client *c = t;
	unsigned found = 0;
	const char *why;
	json_t *object;
	size_t i;

	FUZZ_CHECK(kind == MSG_TEXT && !c->closed);
	FUZZ_CHECK(json_parse(data, n, JSON_DEPTH_MAX, &object, &why) == 0);
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		found += json_object_get(object, verbs[i]) != NULL;
	FUZZ_CHECK(found == 1);
	FUZZ_CHECK(json_object_size(object) == 1U + (json_object_get(object, "id") != NULL));
	if (json_object_get(object, "gap") == NULL) {
		c->answered++;
		write_id(object, c->last_id);
	}
	json_decref(object);
}

static void
t_send_block(void *t, struct block *b, size_t off, size_t n, struct outq_tag tag)
{
	const uint8_t *p = b->data + off, *end = p + n;
	const struct client *c = t;
	struct frame_head h;

	(void)tag;
	FUZZ_CHECK(!c->closed && off + n <= b->len);
	while (p < end) {
		FUZZ_CHECK(frame_head_decode(p, (size_t)(end - p), &h) == 0);
		FUZZ_CHECK(h.bits == (FRAME_FIN | WS_OP_TEXT) && !h.masked);
		FUZZ_CHECK(h.len <= (size_t)(end - p) - h.size);
		FUZZ_CHECK(json_valid((const char *)p + h.size, (size_t)h.len, JSON_DEPTH_MAX + 1));
		p += h.size + h.len;
	}
}

static void
t_close(void *t, uint16_t code, const char *reason)
{
	FUZZ_CHECK(code >= 1000 && code <= 1013 && strlen(reason) <= 123);
	((struct client *)t)->closed = true;
}

static void
t_pause(void *t)
{
	((struct client *)t)->paused = true;
}

static void
t_resume(void *t)
{
	((struct client *)t)->paused = false;
}

static void
t_live(void *t, int status)
{
	(void)t;
	(void)status;
	FUZZ_CHECK(false); /* it has no channel when it opens */
}

static const struct transport opening = { .live = t_live };
static const struct transport transport = { NULL, t_send_block, t_send, t_close, t_pause,
	t_resume };

/* --- the worker ---------------------------------------------------------------------------- */

static struct core core;
static struct uplink uplink;

static void
set_up(void)
{
	struct event_base *base = event_base_new();
	struct deadlines *ds = base != NULL ? deadlines_new(base) : NULL;
	struct conf *c = conf_new();

	FUZZ_CHECK(ds != NULL && c != NULL);
	/* More than an input has: no command waits for its time. */
	FUZZ_CHECK(conf_set(c, "limits.commands=10000", NULL) == 0);
	FUZZ_CHECK(conf_set(c, "limits.commands_burst=10000", NULL) == 0);
	FUZZ_CHECK(conf_set(c, "limits.subscriptions=3", NULL) == 0);
	FUZZ_CHECK(conf_set(c,
		       "channels=[{match: \"p*\", publish: anyone}, "
		       "{match: \"n*\", subscribe: nobody}]",
		       NULL) == 0);
	core_init(&core, c, &uplink, ds);
	dialects_init(&core);
}

/* The hub's answer about a channel. */
static void
answer_channel(struct fuzz_input name, int status)
{
	const struct channel *c = channel_find(&core.channels, (const char *)name.p, name.n);

	if (c != NULL)
		fanout_uplink_handler.subscribed(
		    &core, (const char *)name.p, name.n, c->ask, status);
}

/* A publication: the channel's name up to a space, and the payload. */
static void
publish(struct fuzz_input in, enum msg_kind kind)
{
	const uint8_t *space = in.n > 0 ? memchr(in.p, ' ', in.n) : NULL;
	struct fuzz_input name = fuzz_take(&in, space != NULL ? (size_t)(space - in.p) : in.n);
	struct ipc_msg m = { .type = IPC_MESSAGE, .kind = kind };

	(void)fuzz_byte(&in);
	if (kind == MSG_TEXT && !utf8_valid(in.p, in.n))
		return;
	m.channel = (const char *)name.p;
	m.channel_len = name.n;
	m.data = in.p;
	m.len = in.n;
	fanout_uplink_handler.message(&core, &m);
}

static void
link_down(void)
{
	uplink.up = uplink.congested = false;
	while (answer_publish(&uplink, FAN_EDOWN))
		;
	fanout_uplink_handler.down(&core);
}

/* What the hub does, by the line's first byte. */
static void
play(struct fuzz_input in)
{
	switch (fuzz_byte(&in)) {
	case '+': /* the channel is live */
		answer_channel(in, 0);
		break;
	case '-': /* it can not be had */
		answer_channel(in, FAN_EDOWN);
		break;
	case 'p': /* the oldest publish is accepted */
		(void)answer_publish(&uplink, 0);
		break;
	case 'e': /* or refused */
		(void)answer_publish(&uplink, -(int)(fuzz_byte(&in) % 14));
		break;
	case 't':
		publish(in, MSG_TEXT);
		break;
	case 'b':
		publish(in, MSG_BINARY);
		break;
	case 'g': /* messages were missed on the channel, or on all */
		fanout_uplink_handler.gap(&core, (const char *)in.p, in.n);
		break;
	case 'd':
		if (uplink.up)
			link_down();
		break;
	case 'u':
		if (!uplink.up) {
			uplink.up = true;
			fanout_uplink_handler.up(&core);
		}
		break;
	case 'c':
		uplink.congested = uplink.up;
		break;
	case 'o':
		uplink.congested = false;
		fanout_uplink_handler.drained(&core);
		break;
	default:
		fanout_flush(&core); /* the end of a pass */
		break;
	}
}

/* An answer that comes at once is the command's own. */
static void
command(struct session *s, struct client *c, struct fuzz_input in)
{
	uint8_t *copy = fuzz_copy(in.p, in.n);
	unsigned answered = c->answered;
	char id[ID_TEXT] = "";
	const char *why;
	json_t *v;

	c->asked++;
	s->dialect->on_message(s, MSG_TEXT, copy, in.n);
	if (json_parse((const char *)copy, in.n, JSON_DEPTH_MAX, &v, &why) == 0) {
		write_id(v, id);
		json_decref(v);
	}
	FUZZ_CHECK(c->answered == answered || strcmp(id, c->last_id) == 0);
	FUZZ_CHECK(c->answered <= c->asked);
	free(copy);
}

/* A channel that waits for the hub, or NULL. */
static const struct channel *
waiting_channel(void)
{
	const struct channel *c;
	size_t pos = 0;

	while ((c = map_next(&core.channels.map, &pos)) != NULL && c->waiting == NULL)
		;
	return c;
}

/* Whatever still waits for the hub has its answer. */
static void
answer_all(void)
{
	const struct channel *c;
	char name[CHANNEL_NAME_MAX + 1];

	if (!uplink.up) {
		uplink.up = true;
		fanout_uplink_handler.up(&core);
	}
	while (answer_publish(&uplink, 0))
		;
	while ((c = waiting_channel()) != NULL) {
		/* The channel may go before the answer's name does. */
		memcpy(name, c->name, c->len);
		answer_channel((struct fuzz_input){ (const uint8_t *)name, c->len }, 0);
	}
	fanout_flush(&core);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct client client = { 0 };
	struct session *s;

	if (core.conf == NULL)
		set_up();
	memset(&uplink, 0, sizeof(uplink));
	uplink.up = true;
	s = session_new(&core, dialect_find("fanfare.json"), &opening, &client);
	FUZZ_CHECK(s != NULL && session_start(s, &transport, &client) == 0);
	while (in.n > 0 && !client.closed) {
		struct fuzz_input line = fuzz_line(&in);
		uint8_t first = line.n > 0 ? line.p[0] : 0;

		if (first == '!') {
			(void)fuzz_byte(&line);
			play(line);
		} else if (client.paused) {
			continue; /* it would wait in the socket */
		} else if (first == '#') {
			s->dialect->on_message(s, MSG_BINARY, line.p, line.n);
		} else {
			command(s, &client, line);
		}
	}
	if (!client.closed) {
		answer_all();
		FUZZ_CHECK(client.asked == client.answered);
	}
	session_free(s);
	FUZZ_CHECK(map_count(&core.channels.map) == 0);
	return 0;
}
