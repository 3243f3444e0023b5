/*
 * fuzz_command: the commands of fanfare.json (worker/dialect/json) in a session without sockets,
 * with a hub and an application that are played by the input; and ids of event streams.
 *
 * Owns:    a core and its parts, made once; a session for each input.
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/core, worker/dialect.  Stands in for worker/uplink and worker/hook.
 *
 * Input: lines.  One that begins with "#" is a binary message; with "!" something of the hub or the
 * application, see play(); any other is a command.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/conf.h"
#include "common/ipc_msg.h"
#include "common/json.h"
#include "common/member.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "worker/auth/token.h"
#include "worker/core/access.h"
#include "worker/core/fanout.h"
#include "worker/core/lifecycle.h"
#include "worker/core/past.h"
#include "worker/core/session.h"
#include "worker/dialect/dialect.h"
#include "worker/dialect/sse_ids.h"
#include "worker/hook/hook.h"
#include "worker/ws/frame.h"

#define TICKETS 16
#define ID_TEXT 132
#define RECOVERED_MAX 20 /* messages that the hub has for who comes back */

/* --- the link to the hub ------------------------------------------------------------------- */

struct uplink {
	bool up;
	bool congested;
	struct position top; /* of every channel with history */
	uint32_t numbers;
	struct {
		uint32_t number; /* 0: free */
		uplink_answer_fn fn;
		void *arg;
	} ticket[TICKETS];
};

static void
check_name(const char *channel, size_t len)
{
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX) ||
	    channel_name_internal(channel, len));
}

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
uplink_subscribe(struct uplink *u, const char *channel, size_t len, uint32_t id,
    const struct position *since, bool verify)
{
	(void)u;
	(void)id;
	(void)verify;
	check_name(channel, len);
	FUZZ_CHECK((since != NULL) == (channel[0] == 'h'));
}

void
uplink_unsubscribe(struct uplink *u, const char *channel, size_t len)
{
	(void)u;
	check_name(channel, len);
}

void
uplink_join(struct uplink *u, const char *channel, size_t len, const struct member *m)
{
	(void)u;
	check_name(channel, len);
	FUZZ_CHECK(m->client_len > 0 && m->user_len <= USER_ID_MAX);
}

void
uplink_leave(
    struct uplink *u, const char *channel, size_t len, const char *client, size_t client_len)
{
	(void)u;
	(void)client;
	check_name(channel, len);
	FUZZ_CHECK(client_len > 0);
}

void
uplink_event(struct uplink *u, const char *json, size_t len)
{
	(void)u;
	FUZZ_CHECK(json_valid(json, len, JSON_DEPTH_MAX));
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
uplink_publish(struct uplink *u, const struct uplink_message *m, uplink_answer_fn fn, void *arg,
    uint32_t *ticket)
{
	FUZZ_CHECK(channel_name_valid(m->channel, m->channel_len, CHANNEL_NAME_MAX));
	FUZZ_CHECK(m->key_len <= IPC_KEY_MAX);
	FUZZ_CHECK(m->kind == MSG_BINARY || utf8_valid(m->data, m->len));
	return u->up ? uplink_ticket_open(u, fn, arg, ticket) : FAN_EDOWN;
}

int
uplink_history(struct uplink *u, const char *channel, size_t len, const struct position *since,
    unsigned limit, bool reverse, uplink_answer_fn fn, void *arg, uint32_t *ticket)
{
	(void)since;
	(void)reverse;
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX));
	FUZZ_CHECK(limit >= 1 && limit <= 300);
	return u->up ? uplink_ticket_open(u, fn, arg, ticket) : FAN_EDOWN;
}

int
uplink_presence(struct uplink *u, const char *channel, size_t len, uplink_answer_fn fn, void *arg,
    uint32_t *ticket)
{
	FUZZ_CHECK(channel_name_valid(channel, len, CHANNEL_NAME_MAX));
	return u->up ? uplink_ticket_open(u, fn, arg, ticket) : FAN_EDOWN;
}

int
uplink_publish_quiet(struct uplink *u, uint32_t ticket, const struct uplink_message *m)
{
	(void)ticket;
	FUZZ_CHECK(channel_name_valid(m->channel, m->channel_len, CHANNEL_NAME_MAX));
	return u->up ? 0 : FAN_EDOWN;
}

/*
 * Answers what waits longest: a publish, a question for history or for presence, of which each takes
 * its part.  false: none does.
 */
static bool
answer_oldest(struct uplink *u, int status, struct fuzz_input text)
{
	bool utf8 = utf8_valid(text.p, text.n);
	const struct record r = { u->top.offset, utf8 ? MSG_TEXT : MSG_BINARY, text.p, text.n };
	const struct member m = { "c", 1, (const char *)text.p,
		utf8 && text.n <= USER_ID_MAX ? text.n : 0, "", 0 };
	struct ipc_past past = { .pos = u->top };
	struct uplink_answer answer = { .status = status };
	struct buf records, members;
	size_t i, first = TICKETS;

	for (i = 0; i < TICKETS; i++) {
		if (u->ticket[i].number != 0 &&
		    (first == TICKETS || u->ticket[i].number < u->ticket[first].number))
			first = i;
	}
	if (first == TICKETS)
		return false;
	buf_init(&records, SIZE_MAX / 4);
	buf_init(&members, SIZE_MAX / 4);
	FUZZ_CHECK(records_append(&records, &r) == 0 && member_append(&members, &m) == 0);
	if (status == 0) {
		past.records = (struct records){ buf_data(&records), buf_len(&records) };
		answer.past = &past;
		answer.members = buf_data(&members);
		answer.members_len = buf_len(&members);
	}
	u->ticket[first].number = 0;
	u->ticket[first].fn(u->ticket[first].arg, &answer);
	buf_fini(&records);
	buf_fini(&members);
	return true;
}

/* --- the application ----------------------------------------------------------------------- */

struct hooks {
	hook_fn fn; /* NULL: it was asked nothing */
	void *arg;
};

bool
hooks_has(const struct hooks *h, enum hook_kind kind)
{
	return h != NULL && (kind == HOOK_SUBSCRIBE || kind == HOOK_PUBLISH);
}

const char *
hook_name(enum hook_kind kind)
{
	(void)kind;
	return "a hook";
}

int
hook_send(struct hooks *h, enum hook_kind kind, const char *json, size_t len, hook_fn fn, void *arg,
    struct hook_request **out)
{
	(void)kind;
	FUZZ_CHECK(json_valid(json, len, JSON_DEPTH_MAX + 1));
	/* The session's input waits for each answer. */
	FUZZ_CHECK(h->fn == NULL && fn != NULL);
	h->fn = fn;
	h->arg = arg;
	*out = (struct hook_request *)(void *)h;
	return 0;
}

void
hook_cancel(struct hook_request *r)
{
	((struct hooks *)(void *)r)->fn = NULL;
}

/* The application's answer; false: it was not asked. */
static bool
answer_question(struct hooks *h, int status, struct fuzz_input body)
{
	uint8_t *copy = fuzz_copy(body.p, body.n);
	hook_fn fn = h->fn;

	h->fn = NULL;
	if (fn != NULL)
		fn(h->arg, status, (const char *)copy, body.n);
	free(copy);
	return fn != NULL;
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

/* What the client may hear, and what stands beside it. */
static const struct {
	const char *verb;
	const char *members[4];
	bool answer;
} heard[] = {
	{ "subscribed", { "offset", "epoch", "recovered" }, true },
	{ "unsubscribed", { "reason" }, true },
	{ "published", { "offset", "epoch" }, true },
	{ "history", { "messages", "offset", "epoch" }, true },
	{ "presence", { "members" }, true },
	{ "token", { NULL }, true },
	{ "error", { NULL }, true },
	{ "gap", { NULL }, false },
	{ "expiring", { NULL }, false },
};

static bool
has_member(const char *text, size_t n, const char *name)
{
	const char *value;
	size_t len;

	return json_member(text, n, name, &value, &len) == 0;
}

static void
t_send(void *t, enum msg_kind kind, const void *data, size_t n)
{
	struct client *c = t;
	size_t i, k, what = 0, found = 0;
	const char *id;
	size_t id_len;

	FUZZ_CHECK(kind == MSG_TEXT && !c->closed);
	/* Messages of the past may have keys twice, and are deep in the answer. */
	FUZZ_CHECK(json_valid(data, n, JSON_DEPTH_MAX + 3));
	for (i = 0; i < sizeof(heard) / sizeof(heard[0]); i++) {
		if (has_member(data, n, heard[i].verb)) {
			what = i;
			found++;
		}
	}
	FUZZ_CHECK(found == 1);
	for (i = 0; i < sizeof(heard) / sizeof(heard[0]); i++) {
		for (k = 0; k < 4 && heard[i].members[k] != NULL; k++) {
			const char *name = heard[i].members[k];
			size_t m = 0;

			while (m < 4 && heard[what].members[m] != NULL &&
			    strcmp(heard[what].members[m], name) != 0)
				m++;
			FUZZ_CHECK(!has_member(data, n, name) ||
			    (m < 4 && heard[what].members[m] != NULL));
		}
	}
	if (!heard[what].answer || has_member(data, n, "reason"))
		return;
	c->answered++;
	c->last_id[0] = '\0';
	if (json_member(data, n, "id", &id, &id_len) == 0) {
		FUZZ_CHECK(id_len < ID_TEXT);
		memcpy(c->last_id, id, id_len);
		c->last_id[id_len] = '\0';
	}
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
	FUZZ_CHECK(((code >= 1000 && code <= 1013) || (code >= 3000 && code <= 4999)) &&
	    strlen(reason) <= 123);
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
static struct hooks hooks;

static void
set(struct conf *c, const char *assignment)
{
	FUZZ_CHECK(conf_set(c, assignment, NULL) == 0);
}

static void
set_up(void)
{
	struct event_base *base = event_base_new();
	struct deadlines *ds = base != NULL ? deadlines_new(base) : NULL;
	struct conf *c = conf_new();

	FUZZ_CHECK(ds != NULL && c != NULL);
	/* More than an input has: no command waits for its time. */
	set(c, "limits.commands=10000");
	set(c, "limits.commands_burst=10000");
	set(c, "limits.subscriptions=3");
	/* Tokens of the corpus are signed with it, and end in the year 2100. */
	set(c, "auth.secret=a secret that has at least 32 bytes");
	set(c,
	    "channels=[{match: \"p*\", publish: anyone, message: 200B}, "
	    "{match: \"n*\", subscribe: nobody}, {match: \"t*\", subscribe: token}, "
	    "{match: \"q*\", subscribe: app, publish: app}, "
	    "{match: \"h*\", publish: anyone, history: {size: 10}, read_history: anyone, "
	    "presence: true, join_leave: true, read_presence: anyone}]");
	core_init(&core, c, &uplink, ds);
	core.hooks = &hooks;
	FUZZ_CHECK(tokens_load(c, &core.tokens) == 0);
	dialects_init(&core);
	access_init(&core);
	lifecycle_init(&core);
}

/* What the hub has for a channel that was asked for from this position on. */
static void
fill_past(struct ipc_past *past, const struct position *asked, struct buf *records)
{
	struct record r = { .kind = MSG_TEXT, .data = (const uint8_t *)"1", .len = 1 };

	past->pos = uplink.top;
	if (!position_same_epoch(asked, &uplink.top) || asked->offset > uplink.top.offset ||
	    uplink.top.offset - asked->offset > RECOVERED_MAX)
		return;
	past->flags = IPC_PAST_RECOVERED;
	for (r.offset = asked->offset + 1; r.offset <= uplink.top.offset; r.offset++)
		FUZZ_CHECK(records_append(records, &r) == 0);
	past->records = (struct records){ buf_data(records), buf_len(records) };
}

/* The hub's answer about a channel. */
static void
answer_channel(struct fuzz_input name, int status)
{
	const struct channel *c = channel_find(&core.channels, (const char *)name.p, name.n);
	struct ipc_msg m = { .type = IPC_SUBSCRIBED, .status = status };
	struct ipc_past past = { .flags = 0 };
	struct buf records;

	if (c == NULL)
		return;
	buf_init(&records, SIZE_MAX / 4);
	m.channel = (const char *)name.p;
	m.channel_len = name.n;
	m.id = c->ask;
	if (c->past != NULL && status == 0)
		fill_past(&past, &c->past->asked, &records);
	fanout_uplink_handler.subscribed(&core, &m, c->past != NULL && status == 0 ? &past : NULL);
	buf_fini(&records);
}

/* A publication: the channel's name up to a space, and the payload. */
static void
publish(struct fuzz_input in, enum msg_kind kind)
{
	const uint8_t *space = in.n > 0 ? memchr(in.p, ' ', in.n) : NULL;
	struct fuzz_input name = fuzz_take(&in, space != NULL ? (size_t)(space - in.p) : in.n);
	struct ipc_msg m = { .type = IPC_MESSAGE, .kind = kind };

	(void)fuzz_byte(&in);
	if (kind != MSG_BINARY && !utf8_valid(in.p, in.n))
		return;
	m.channel = (const char *)name.p;
	m.channel_len = name.n;
	m.data = in.p;
	m.len = in.n;
	if (name.n > 0 && name.p[0] == 'h' && (kind == MSG_TEXT || kind == MSG_BINARY))
		m.value = ++uplink.top.offset;
	fanout_uplink_handler.message(&core, &m);
}

static void
link_down(void)
{
	uplink.up = uplink.congested = false;
	while (answer_oldest(&uplink, FAN_EDOWN, (struct fuzz_input){ NULL, 0 }))
		;
	fanout_uplink_handler.down(&core);
}

/* The token that allowed a subscription has ended. */
static void
end_sub(struct session *s, struct fuzz_input name)
{
	struct sub *sub = session_find(s, (const char *)name.p, name.n);

	if (sub == NULL || (sub->flags & SUB_INTERNAL) != 0)
		return;
	s->dialect->on_unsubscribed(s, sub, "token \"expired\"");
	session_unsubscribe(s, sub);
}

/* An id of an event stream with three channels: what was read of it is read again from what is written. */
static void
read_ids(struct fuzz_input in)
{
	struct sse_place place[3] = { 0 };
	struct sse_ids ids = { 3, place };
	struct buf first, second;
	uint8_t *copy = fuzz_copy(in.p, in.n);

	buf_init(&first, SIZE_MAX / 4);
	buf_init(&second, SIZE_MAX / 4);
	sse_ids_read(&ids, (const char *)copy, in.n);
	FUZZ_CHECK(sse_ids_append(&ids, &first) == 0);
	sse_ids_read(&ids, (const char *)buf_data(&first) + 4, buf_len(&first) - 5);
	FUZZ_CHECK(sse_ids_append(&ids, &second) == 0 && fuzz_same(&first, &second));
	FUZZ_CHECK(sse_ids_any(&ids) == (buf_len(&first) > 7));
	buf_fini(&first);
	buf_fini(&second);
	free(copy);
}

/* Events of the second of three channels, each with an id or without, get the positions of all. */
static void
rewrite_ids(struct fuzz_input in)
{
	struct sse_place place[3] = { { 1, { 4, "A" } }, { 2, { 0, "" } }, { 3, { 0, "" } } };
	struct sse_ids ids = { 3, place }, *own = sse_ids_copy(&ids);
	uint8_t *copy = fuzz_copy(in.p, in.n);
	struct block *b = NULL;
	size_t i;
	int err;

	FUZZ_CHECK(own != NULL && sse_ids_find(own, 4) == NULL);
	for (i = 0; i < in.n; i++) {
		if (copy[i] == '|')
			copy[i] = '\n';
	}
	err = sse_ids_rewrite(own, 2, copy, in.n, &b);
	FUZZ_CHECK(err == FAN_ENOENT || (err == 0 && b->len <= in.n * 60));
	block_unref(b);
	free(own);
	free(copy);
}

/* What the application does, by the line's first byte; false: it is not its. */
static bool
play_application(uint8_t what, struct fuzz_input in)
{
	static const struct fuzz_input empty = { (const uint8_t *)"{}", 2 };

	switch (what) {
	case 'y':
		(void)answer_question(&hooks, 200, empty);
		return true;
	case 'n':
		(void)answer_question(&hooks, 403, empty);
		return true;
	case 'k': /* it is away */
		(void)answer_question(&hooks, FAN_EDOWN, (struct fuzz_input){ NULL, 0 });
		return true;
	case 'j':
		(void)answer_question(&hooks, 200, in);
		return true;
	default:
		return false;
	}
}

/* What befalls the session, by the line's first byte; false: it is something else. */
static bool
play_session(struct session *s, uint8_t what, struct fuzz_input in)
{
	switch (what) {
	case 'x': /* the token will end */
		s->dialect->on_expiring(s, (uint64_t)in.n * 1000);
		return true;
	case 'z':
		end_sub(s, in);
		return true;
	case 'i':
		read_ids(in);
		return true;
	case 'w':
		rewrite_ids(in);
		return true;
	default:
		return false;
	}
}

/* What the hub does with messages and channels. */
static bool
play_messages(uint8_t what, struct fuzz_input in)
{
	switch (what) {
	case '+': /* the channel is live */
		answer_channel(in, 0);
		return true;
	case '-': /* it can not be had */
		answer_channel(in, FAN_EDOWN);
		return true;
	case 'p': /* the oldest question is answered, or the publish accepted */
		(void)answer_oldest(&uplink, 0, in);
		return true;
	case 'e': /* or refused */
		(void)answer_oldest(&uplink, -(int)(fuzz_byte(&in) % 16), in);
		return true;
	case 't':
		publish(in, MSG_TEXT);
		return true;
	case 'b':
		publish(in, MSG_BINARY);
		return true;
	case 'J':
		publish(in, MSG_JOIN);
		return true;
	case 'L':
		publish(in, MSG_LEAVE);
		return true;
	default:
		return false;
	}
}

/* What else happens, by the line's first byte. */
static void
play(struct session *s, struct fuzz_input in)
{
	uint8_t what = fuzz_byte(&in);

	if (play_application(what, in) || play_session(s, what, in) || play_messages(what, in))
		return;
	switch (what) {
	case 'g': /* messages were missed on the channel, or on all plain ones */
		fanout_uplink_handler.gap(&core, (const char *)in.p, in.n, false);
		break;
	case 'v': /* the engine has lost something */
		uplink.top.epoch[0] = (char)(uplink.top.epoch[0] == 'E' ? 'F' : 'E');
		fanout_uplink_handler.gap(&core, NULL, 0, true);
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

	while ((c = map_next(&core.channels.map, &pos)) != NULL && c->waiting == NULL &&
	    (c->past == NULL || !c->past->asking))
		;
	return c;
}

/* Whatever still waits for the hub or the application has its answer. */
static void
answer_all(const struct client *client)
{
	static const struct fuzz_input empty = { (const uint8_t *)"{}", 2 };
	const struct channel *c;
	char name[CHANNEL_NAME_MAX + 1];

	if (!uplink.up) {
		uplink.up = true;
		fanout_uplink_handler.up(&core);
	}
	(void)answer_question(&hooks, 200, empty);
	while (answer_oldest(&uplink, 0, empty))
		;
	while (!client->closed && (c = waiting_channel()) != NULL) {
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
	memset(&hooks, 0, sizeof(hooks));
	uplink.up = true;
	uplink.top = (struct position){ 10, "E" };
	s = session_new(&core, dialect_find("fanfare.json"), &opening, &client);
	FUZZ_CHECK(s != NULL && session_start(s, &transport, &client) == 0);
	while (in.n > 0 && !client.closed) {
		struct fuzz_input line = fuzz_line(&in);
		uint8_t first = line.n > 0 ? line.p[0] : 0;

		if (first == '!') {
			(void)fuzz_byte(&line);
			play(s, line);
		} else if (client.paused) {
			continue; /* it would wait in the socket */
		} else if (first == '#') {
			s->dialect->on_message(s, MSG_BINARY, line.p, line.n);
		} else {
			command(s, &client, line);
		}
	}
	if (!client.closed)
		answer_all(&client);
	FUZZ_CHECK(client.closed || client.asked == client.answered);
	session_free(s);
	FUZZ_CHECK(map_count(&core.channels.map) == 0);
	return 0;
}
