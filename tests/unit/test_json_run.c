/*
 * Unit tests of what fanfare.json does with positions, history, presence, tokens and the application's
 * word, and of the raw dialect where it publishes.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/member.h"
#include "common/records.h"
#include "tests/unit/worker_fixture.h"
#include "worker/auth/token.h"
#include "worker/hook/hook.h"
#include "worker/ws/frame.h"

#define SECRET "a secret that has at least 32 bytes"
#define ERROR(code, message, id)                                                                   \
	"{\"error\":{\"code\":" #code ",\"message\":\"" message "\"}" id "}"

static struct world w;
static struct client c;

static void
setup(void)
{
	world_open(&w,
	    "limits.commands=0\nlimits.recovery=50\nlimits.message=1000B\nauth.secret=" SECRET "\n"
	    "channels=[{match: \"h*\", publish: anyone, history: {size: 10, ttl: 5m}, "
	    "read_history: anyone, presence: true, join_leave: true, read_presence: anyone}, "
	    "{match: plain, read_history: anyone, read_presence: anyone}, "
	    "{match: small, publish: anyone, message: 5B}, "
	    "{match: \"app*\", subscribe: app, publish: app, message: 50B}, "
	    "{match: \"t*\", subscribe: token, publish: nobody}]");
	cr_assert_eq(tokens_load(w.conf, &w.core.tokens), 0);
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
	tokens_free(w.core.tokens);
}

TestSuite(json_run, .timeout = 60, .init = setup, .fini = teardown);

static void
open_ws(const char *target, const char *protocol)
{
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, target, protocol);
	cr_assert_eq(client_head(&c, ""), 101);
}

static void
say(const char *text)
{
	client_frame(&c, FRAME_FIN | WS_OP_TEXT, text, strlen(text));
}

static void
ask(const char *text, const char *answer)
{
	say(text);
	client_expect_text(&c, answer);
}

/* --- positions ---------------------------------------------------------------------------- */

Test(json_run, tells_the_position_of_a_channel)
{
	struct client first;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"subscribe\":\"h\",\"id\":1}");
	hub_expect_subscribe(&w, "h", "", false);
	hub_subscribed_at(&w, "h", "E:5", false, "");
	client_expect_text(&c, "{\"subscribed\":\"h\",\"offset\":5,\"epoch\":\"E\",\"id\":1}");
	hub_message_at(&w, "h", 6, "{}");
	client_expect_text(&c, "{\"channel\":\"h\",\"offset\":6,\"epoch\":\"E\",\"data\":{}}");
	/* A channel that is live already. */
	first = c;
	open_ws("/ws", "fanfare.json");
	ask("{\"subscribe\":\"h\"}", "{\"subscribed\":\"h\",\"offset\":6,\"epoch\":\"E\"}");
	client_close(&first);
}

Test(json_run, recovers_before_anything_else)
{
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"subscribe\":\"h\",\"offset\":3,\"epoch\":\"E\",\"id\":1}");
	hub_expect_subscribe(&w, "h", "E:3", true);
	hub_subscribed_at(&w, "h", "E:5", true, "4 text");
	hub_message_at(&w, "h", 6, "6");
	client_expect_text(
	    &c, "{\"subscribed\":\"h\",\"offset\":5,\"epoch\":\"E\",\"recovered\":true,\"id\":1}");
	client_expect_text(&c, "{\"channel\":\"h\",\"offset\":4,\"epoch\":\"E\",\"data\":4}");
	client_expect_text(
	    &c, "{\"channel\":\"h\",\"offset\":5,\"epoch\":\"E\",\"data\":\"text\"}");
	client_expect_text(&c, "{\"channel\":\"h\",\"offset\":6,\"epoch\":\"E\",\"data\":6}");
	client_quiet(&c);
}

Test(json_run, says_that_it_cannot_recover)
{
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"subscribe\":\"h\",\"offset\":3,\"epoch\":\"E\"}");
	hub_expect_subscribe(&w, "h", "E:3", true);
	hub_subscribed_at(&w, "h", "F:5", false, "");
	client_expect_text(
	    &c, "{\"subscribed\":\"h\",\"offset\":5,\"epoch\":\"F\",\"recovered\":false}");
	hub_expect_on(&w, IPC_JOIN, "h");
	/* On a plain channel a position has no effect. */
	say("{\"subscribe\":\"plain\",\"offset\":3,\"epoch\":\"E\"}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "plain");
	hub_subscribed(&w, "plain", 0);
	client_expect_text(&c, "{\"subscribed\":\"plain\"}");
}

Test(json_run, publishes_with_a_key_and_tells_the_position)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"publish\":\"h\",\"data\":1,\"key\":\"k\\u00e4\",\"id\":1}");
	m = hub_expect_on(&w, IPC_PUBLISH, "h");
	cr_assert_eq(IPC_KEY_LEN(m.value), 3);
	cr_assert(m.len == 4 &&
	    memcmp(m.data,
		"k\xc3\xa4"
		"1",
		4) == 0);
	hub_past(&w, &(struct ipc_msg){ .type = IPC_PUBLISHED, .id = m.id }, "E:7", 0, "");
	client_expect_text(&c, "{\"published\":\"h\",\"offset\":7,\"epoch\":\"E\",\"id\":1}");
}

Test(json_run, the_size_is_what_the_rule_says)
{
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	ask("{\"publish\":\"small\",\"data\":\"1234\"}", ERROR(413, "too big", ""));
	say("{\"publish\":\"small\",\"data\":\"123\"}");
	hub_expect_on(&w, IPC_PUBLISH, "small");
}

/* --- members and messages to the user ------------------------------------------------------- */

Test(json_run, tells_who_comes_and_goes)
{
	struct client raw;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"subscribe\":\"h\"}");
	hub_expect_subscribe(&w, "h", "", false);
	hub_subscribed_at(&w, "h", "E:5", false, "");
	client_expect_text(&c, "{\"subscribed\":\"h\",\"offset\":5,\"epoch\":\"E\"}");
	raw = c;
	open_ws("/ws/h", NULL);
	hub_message(&w, "h", MSG_JOIN, "{\"client\":\"x\"}");
	hub_message(&w, "h", MSG_JOIN, "no json");
	hub_message(&w, "h", MSG_LEAVE, "{\"client\":\"x\"}");
	client_expect_text(&raw, "{\"join\":\"h\",\"member\":{\"client\":\"x\"}}");
	client_expect_text(&raw, "{\"leave\":\"h\",\"member\":{\"client\":\"x\"}}");
	hub_message_at(&w, "h", 6, "m");
	client_expect_text(&c, "m");
	client_close(&raw);
}

/* --- history and presence ------------------------------------------------------------------ */

/* Expects the question for the history of h, and returns its id. */
static uint32_t
expect_history(unsigned limit, unsigned flags, const char *since)
{
	struct ipc_msg m = hub_expect_on(&w, IPC_HISTORY, "h");
	char text[POSITION_TEXT_MAX] = "";
	struct ipc_past past;

	cr_assert_eq(m.value, limit);
	cr_assert_eq(ipc_past_decode(m.data, m.len, &past), 0);
	cr_assert_eq(past.flags, flags);
	if (past.pos.epoch[0] != '\0')
		(void)position_print(&past.pos, text);
	cr_assert_str_eq(text, since);
	return m.id;
}

Test(json_run, tells_history)
{
	struct ipc_msg historied = { .type = IPC_HISTORIED };

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"history\":\"h\",\"id\":1}");
	historied.id = expect_history(50, 0, "");
	hub_past(&w, &historied, "E:5", 0, "{\"a\":1} text");
	client_expect_text(&c,
	    "{\"history\":\"h\",\"messages\":[{\"offset\":4,\"data\":{\"a\":1}},"
	    "{\"offset\":5,\"data\":\"text\"}],\"offset\":5,\"epoch\":\"E\",\"id\":1}");
	say("{\"history\":\"h\",\"limit\":2,\"offset\":9,\"epoch\":\"E\",\"reverse\":true}");
	historied.id = expect_history(2, IPC_PAST_REVERSE, "E:9");
	hub_past(&w, &historied, "E:9", 0, "");
	client_expect_text(&c, "{\"history\":\"h\",\"messages\":[],\"offset\":9,\"epoch\":\"E\"}");
}

/* An answer may be larger than any command. */
Test(json_run, a_long_history)
{
	static char records[40000], want[60000];
	struct ipc_msg historied = { .type = IPC_HISTORIED };
	size_t i, n = 0, len;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"history\":\"h\"}");
	historied.id = expect_history(50, 0, "");
	len = (size_t)snprintf(want, sizeof(want), "{\"history\":\"h\",\"messages\":[");
	for (i = 1; i <= 50; i++) {
		memset(records + n, '7', 700);
		len += (size_t)snprintf(want + len, sizeof(want) - len,
		    "%s{\"offset\":%zu,\"data\":%.700s}", i == 1 ? "" : ",", i, records + n);
		n += 700;
		records[n++] = ' ';
	}
	records[n - 1] = '\0';
	(void)snprintf(want + len, sizeof(want) - len, "],\"offset\":50,\"epoch\":\"E\"}");
	hub_past(&w, &historied, "E:50", 0, records);
	client_expect_text(&c, want);
}

Test(json_run, tells_presence)
{
	static const struct member all[] = { { "c1", 2, "anna", 4, "{\"n\":1}", 7 },
		{ "c2", 2, "", 0, "", 0 } };
	struct ipc_msg m;
	struct buf b;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"presence\":\"h\",\"id\":\"p\"}");
	m = hub_expect_on(&w, IPC_PRESENCE, "h");
	buf_init(&b, 1000);
	cr_assert_eq(member_append(&b, &all[0]), 0);
	cr_assert_eq(member_append(&b, &all[1]), 0);
	m = (struct ipc_msg){
		.type = IPC_PRESENT, .id = m.id, .data = buf_data(&b), .len = buf_len(&b)
	};
	hub_send(&w, &m);
	buf_fini(&b);
	client_expect_text(&c,
	    "{\"presence\":\"h\",\"members\":[{\"client\":\"c1\",\"user\":\"anna\",\"info\":{\"n\":"
	    "1}},"
	    "{\"client\":\"c2\"}],\"id\":\"p\"}");
}

/* They cost the engine much: of a kind one at a time for a channel. */
Test(json_run, one_question_of_a_kind_at_a_time)
{
	struct ipc_msg historied = { .type = IPC_HISTORIED }, present = { .type = IPC_PRESENT };

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"history\":\"h\",\"id\":1}");
	historied.id = hub_expect_on(&w, IPC_HISTORY, "h").id;
	say("{\"presence\":\"h\",\"id\":2}");
	present.id = hub_expect_on(&w, IPC_PRESENCE, "h").id;
	ask("{\"history\":\"h\",\"limit\":1,\"id\":3}", ERROR(429, "too many", ",\"id\":3"));
	ask("{\"presence\":\"h\",\"id\":4}", ERROR(429, "too many", ",\"id\":4"));
	hub_quiet(&w);
	say("{\"history\":\"h1\"}");
	hub_expect_on(&w, IPC_HISTORY, "h1");
	say("{\"presence\":\"h1\"}");
	hub_expect_on(&w, IPC_PRESENCE, "h1");
	hub_send(&w, &present);
	client_expect_text(&c, "{\"presence\":\"h\",\"members\":[],\"id\":2}");
	ask("{\"history\":\"h\",\"id\":5}", ERROR(429, "too many", ",\"id\":5"));
	hub_past(&w, &historied, "E:0", 0, "");
	client_expect_text(
	    &c, "{\"history\":\"h\",\"messages\":[],\"offset\":0,\"epoch\":\"E\",\"id\":1}");
	say("{\"history\":\"h\"}");
	hub_expect_on(&w, IPC_HISTORY, "h");
	say("{\"presence\":\"h\"}");
	hub_expect_on(&w, IPC_PRESENCE, "h");
}

Test(json_run, what_is_not_told)
{
	struct ipc_msg m;

	open_ws("/ws", "fanfare.json");
	ask("{\"history\":\"h\"}", ERROR(503, "try again later", ""));
	ask("{\"presence\":\"h\"}", ERROR(503, "try again later", ""));
	hub_welcome(&w, true);
	ask("{\"history\":\"other\"}", ERROR(403, "not allowed", ""));
	ask("{\"presence\":\"other\"}", ERROR(403, "not allowed", ""));
	ask("{\"history\":\"a b\"}", ERROR(400, "not a channel name", ""));
	ask("{\"presence\":\"!user:x\"}", ERROR(400, "not a channel name", ""));
	ask("{\"history\":\"plain\"}", ERROR(404, "the channel keeps no history", ""));
	ask("{\"presence\":\"plain\"}", ERROR(404, "the channel keeps no presence", ""));
	ask("{\"history\":\"h\",\"limit\":51}", ERROR(400, "limit must be at most 50", ""));
	say("{\"history\":\"h\",\"id\":1}");
	m = hub_expect_on(&w, IPC_HISTORY, "h");
	hub_send(&w, &(struct ipc_msg){ .type = IPC_HISTORIED, .id = m.id, .status = FAN_EDOWN });
	client_expect_text(&c, ERROR(503, "try again later", ",\"id\":1"));
	say("{\"presence\":\"h\",\"id\":2}");
	hub_expect_on(&w, IPC_PRESENCE, "h");
	hub_cut(&w);
	client_expect_text(&c, ERROR(503, "try again later", ",\"id\":2"));
}

/* --- malformed commands --------------------------------------------------------------------- */

Test(json_run, malformed_members)
{
	static const struct {
		const char *text, *message;
	} t[] = {
		{ "{\"subscribe\":\"h\",\"limit\":1}", "unknown member" },
		{ "{\"unsubscribe\":\"h\",\"token\":\"x\"}", "unknown member" },
		{ "{\"publish\":\"h\",\"data\":1,\"offset\":1}", "unknown member" },
		{ "{\"presence\":\"h\",\"reverse\":true}", "unknown member" },
		{ "{\"token\":\"x\",\"data\":1}", "unknown member" },
		{ "{\"history\":\"h\",\"presence\":\"h\"}", "one command a message" },
		{ "{\"history\":1}", "the channel must be a string" },
		{ "{\"token\":1}", "the token must be a string" },
		{ "{\"subscribe\":\"h\",\"token\":{}}", "the token must be a string" },
		{ "{\"subscribe\":\"h\",\"offset\":1}", "a position is both offset and epoch" },
		{ "{\"subscribe\":\"h\",\"epoch\":\"E\"}", "a position is both offset and epoch" },
		{ "{\"subscribe\":\"h\",\"epoch\":1,\"offset\":1}", "epoch must be a string" },
		{ "{\"subscribe\":\"h\",\"epoch\":\"E\",\"offset\":-1}",
		    "offset must be an integer of 0 or more" },
		{ "{\"subscribe\":\"h\",\"epoch\":\"E\",\"offset\":1.0}",
		    "offset must be an integer of 0 or more" },
		{ "{\"subscribe\":\"h\",\"epoch\":\"E:\",\"offset\":1}", "not an epoch" },
		{ "{\"subscribe\":\"h\",\"epoch\":\"\",\"offset\":1}", "not an epoch" },
		{ "{\"history\":\"h\",\"limit\":0}", "limit must be an integer of 1 or more" },
		{ "{\"history\":\"h\",\"limit\":\"1\"}", "limit must be an integer of 1 or more" },
		{ "{\"history\":\"h\",\"reverse\":1}", "reverse must be true or false" },
		{ "{\"publish\":\"h\",\"data\":1,\"key\":\"\"}",
		    "key must be a string of 1 to 255 bytes" },
		{ "{\"publish\":\"h\",\"data\":1,\"key\":1}",
		    "key must be a string of 1 to 255 bytes" },
	};
	char want[200];
	size_t i;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		(void)snprintf(want, sizeof(want), ERROR(400, "%s", ""), t[i].message);
		ask(t[i].text, want);
	}
	hub_quiet(&w);
}

/* --- tokens ------------------------------------------------------------------------------- */

static size_t
base64url(const void *data, size_t n, char *out)
{
	size_t len = (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)n), i;

	for (i = 0; i < len; i++)
		out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
	while (len > 0 && out[len - 1] == '=')
		len--;
	out[len] = '\0';
	return len;
}

/* Writes {VERB,"token":TOKEN}, with a token of these claims. */
static const char *
with_token(const char *verb, const char *claims)
{
	static const char head[] = "{\"alg\":\"HS256\"}";
	static char text[1200];
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned mac_len;
	char token[1000];
	size_t n = base64url(head, strlen(head), token);

	token[n++] = '.';
	n += base64url(claims, strlen(claims), token + n);
	cr_assert_not_null(HMAC(EVP_sha256(), SECRET, (int)strlen(SECRET),
	    (const unsigned char *)token, n, mac, &mac_len));
	token[n++] = '.';
	(void)base64url(mac, mac_len, token + n);
	(void)snprintf(text, sizeof(text), "{%s\"token\":\"%s\"}", verb, token);
	return text;
}

Test(json_run, takes_tokens)
{
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	ask("{\"subscribe\":\"t1\",\"id\":1}", ERROR(403, "not allowed", ",\"id\":1"));
	ask(with_token(
		"\"id\":2,", "{\"sub\":\"an\\\"na\",\"exp\":4102444800,\"channels\":[\"t1*\"]}"),
	    "{\"token\":{\"user\":\"an\\\"na\",\"expires\":4102444800},\"id\":2}");
	/* The user's own channel is none that a client can name. */
	hub_expect_on(&w, IPC_SUBSCRIBE, "!user:YW4ibmE");
	hub_subscribed(&w, "!user:YW4ibmE", 0);
	ask("{\"unsubscribe\":\"!user:YW4ibmE\"}", ERROR(404, "not subscribed", ""));
	hub_message(&w, "!user:YW4ibmE", MSG_TEXT, "T{\"hello\":1}");
	client_expect_text(&c, "{\"message\":{\"hello\":1}}");
	hub_gap(&w, "!user:YW4ibmE");
	client_expect_text(&c, "{\"gap\":\"\"}");
	say("{\"subscribe\":\"t1\",\"id\":3}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "t1");
	hub_subscribed(&w, "t1", 0);
	client_expect_text(&c, "{\"subscribed\":\"t1\",\"id\":3}");
	ask("{\"subscribe\":\"t2\"}", ERROR(403, "not allowed", ""));
	say(with_token("\"subscribe\":\"t2\",",
	    "{\"sub\":\"an\\\"na\",\"exp\":4102444800,\"channel\":\"t2\"}"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "t2");
	hub_subscribed(&w, "t2", 0);
	client_expect_text(&c, "{\"subscribed\":\"t2\"}");
	ask(with_token("", "{\"sub\":\"an\\\"na\",\"exp\":4102444800,\"channel\":\"t3\"}"),
	    "{\"token\":{\"user\":\"an\\\"na\",\"channel\":\"t3\"}}");
}

Test(json_run, refuses_tokens)
{
	struct frame_head h;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	ask(with_token("\"subscribe\":\"t2\",", "{\"exp\":4102444800,\"channel\":\"t1\"}"),
	    ERROR(401, "the token is not of this channel", ""));
	ask(with_token("\"subscribe\":\"t2\",", "{\"exp\":4102444800}"),
	    ERROR(401, "the token is not of this channel", ""));
	say("{\"token\":\"x.y.z\",\"id\":5}");
	WORLD_UNTIL(&w, client_pull(&c) > 10);
	cr_assert_eq(frame_head_decode(buf_data(&c.in), buf_len(&c.in), &h), 0);
	cr_assert_eq(memcmp(buf_data(&c.in) + h.size, "{\"error\":{\"code\":401,", 21), 0);
	cr_assert_not_null(memmem(buf_data(&c.in), buf_len(&c.in), "},\"id\":5}", 9));
	buf_clear(&c.in);
	say(with_token("\"subscribe\":\"t1\",", "{\"exp\":5,\"channel\":\"t1\"}"));
	WORLD_UNTIL(&w, client_pull(&c) > 10);
	cr_assert_not_null(
	    memmem(buf_data(&c.in), buf_len(&c.in), "{\"error\":{\"code\":401,", 21));
	hub_quiet(&w);
}

/* The subscription of a command that waits ends with the token that allowed it. */
Test(json_run, tells_what_ends_by_itself)
{
	struct session *s;

	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"subscribe\":\"h1\",\"id\":1}");
	say("{\"subscribe\":\"plain\",\"id\":2}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "h1");
	hub_expect_on(&w, IPC_SUBSCRIBE, "plain");
	hub_subscribed(&w, "plain", 0);
	client_expect_text(&c, "{\"subscribed\":\"plain\",\"id\":2}");
	s = channel_find(&w.core.channels, "plain", 5)->first.subs.one->session;
	s->dialect->on_unsubscribed(s, session_find(s, "plain", 5), "a \"reason\"");
	client_expect_text(&c, "{\"unsubscribed\":\"plain\",\"reason\":\"a \\\"reason\\\"\"}");
	s->dialect->on_unsubscribed(s, session_find(s, "h1", 2), "a \"reason\"");
	client_expect_text(&c, ERROR(401, "a \\\"reason\\\"", ",\"id\":1"));
	s->dialect->on_expiring(s, 24999);
	client_expect_text(&c, "{\"expiring\":24}");
}

/* --- the application ------------------------------------------------------------------------ */

/* What plays the application: a listening socket, and the request that came last. */
static int app_listen, app_conn;

/* Points both hooks to it. */
static void
app_open(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	char set[64];

	app_conn = -1;
	app_listen = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(app_listen, (const struct sockaddr *)&in, sizeof(in)), 0);
	cr_assert_eq(listen(app_listen, 8), 0);
	cr_assert_eq(getsockname(app_listen, (struct sockaddr *)&in, &len), 0);
	(void)snprintf(
	    set, sizeof(set), "hooks.subscribe=http://127.0.0.1:%u/s", ntohs(in.sin_port));
	cr_assert_eq(conf_set(w.conf, set, stderr), 0);
	(void)snprintf(set, sizeof(set), "hooks.publish=http://127.0.0.1:%u/p", ntohs(in.sin_port));
	cr_assert_eq(conf_set(w.conf, set, stderr), 0);
	cr_assert_eq(hooks_open(&w.core.hooks, w.base, w.conf), 0);
}

static void
app_close(void)
{
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	hooks_close(w.core.hooks);
	(void)close(app_listen);
	if (app_conn >= 0)
		(void)close(app_conn);
}

static bool
app_has(const char *part)
{
	static char in[4096];
	static size_t n;
	ssize_t got;

	if (app_conn < 0) {
		app_conn = accept4(app_listen, NULL, NULL, SOCK_NONBLOCK);
		n = 0;
	}
	if (app_conn < 0)
		return false;
	got = recv(app_conn, in + n, sizeof(in) - n, 0);
	if (got > 0)
		n += (size_t)got;
	if (n == 0 || memmem(in, n, part, strlen(part)) == NULL)
		return false;
	n = 0;
	return true;
}

static void
app_reply(int status, const char *body)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s",
	    status, strlen(body), body);

	cr_assert_eq(send(app_conn, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* Waits for a request with this in it, and answers. */
static void
app_answer(const char *part, int status, const char *body)
{
	WORLD_UNTIL(&w, app_has(part));
	app_reply(status, body);
}

/* The client goes, and then comes the answer that it waited for. */
static void
go_before_the_answer(const char *part)
{
	WORLD_UNTIL(&w, app_has(part));
	/* While its input waits nobody sees that it has gone. */
	conn_stop(TAILQ_FIRST(&w.net.open));
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	cr_assert(hooks_busy(w.core.hooks));
	app_reply(200, "{}");
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
}

/* What the client says behind a question waits for its answer, and so keeps its place. */
Test(json_run, the_application_decides_in_order)
{
	struct ipc_msg m;

	app_open();
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"publish\":\"app1\",\"data\":[1],\"key\":\"k\",\"id\":1}");
	say("{\"publish\":\"small\",\"data\":2,\"id\":2}");
	say("{\"subscribe\":\"app2\",\"id\":3}");
	say("{\"subscribe\":\"app3\",\"id\":4}");
	say("{\"unsubscribe\":\"x\",\"id\":5}");
	hub_quiet(&w);
	client_quiet(&c);
	app_answer("POST /p", 200, "{}");
	m = hub_expect_on(&w, IPC_PUBLISH, "app1");
	cr_assert(m.len == 4 && memcmp(m.data, "k[1]", 4) == 0 && IPC_KEY_LEN(m.value) == 1);
	hub_expect_on(&w, IPC_PUBLISH, "small");
	hub_quiet(&w);
	app_answer("POST /s", 200, "{}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "app2");
	hub_subscribed(&w, "app2", 0);
	client_expect_text(&c, "{\"subscribed\":\"app2\",\"id\":3}");
	app_answer("POST /s", 403, "{}");
	client_expect_text(&c, ERROR(403, "not allowed", ",\"id\":4"));
	client_expect_text(&c, ERROR(404, "not subscribed", ",\"id\":5"));
	ask("{\"subscribe\":\"app2\"}", ERROR(409, "subscribed already", ""));
	app_close();
}

Test(json_run, the_application_changes_a_message)
{
	struct ipc_msg m;

	app_open();
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"publish\":\"app1\",\"data\":1}");
	app_answer("POST /p", 200, "{\"data\":{\"a\":2}}");
	m = hub_expect_on(&w, IPC_PUBLISH, "app1");
	cr_assert(m.len == 7 && memcmp(m.data, "{\"a\":2}", 7) == 0);
	ask("{\"publish\":\"app1\",\"data\":"
	    "\"012345678901234567890123456789012345678901234567890\"}",
	    ERROR(413, "too big", ""));
	app_close();
}

Test(json_run, a_client_that_goes_while_the_application_is_asked)
{
	app_open();
	hub_welcome(&w, true);
	open_ws("/ws", "fanfare.json");
	say("{\"publish\":\"app1\",\"data\":1}");
	go_before_the_answer("POST /p");
	hub_quiet(&w);
	app_close();
}

/* --- the raw dialect ------------------------------------------------------------------------ */

static void
open_raw(const char *channel)
{
	char target[32];

	(void)snprintf(target, sizeof(target), "/ws/%s", channel);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, target, NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, channel);
	hub_subscribed(&w, channel, 0);
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(json_run, raw_messages_are_as_large_as_the_rule_says)
{
	hub_welcome(&w, true);
	open_raw("small");
	say("12345");
	hub_expect_on(&w, IPC_PUBLISH, "small");
	say("123456");
	client_expect_close(&c, 1009);
}

Test(json_run, raw_may_not_publish)
{
	hub_welcome(&w, true);
	open_raw("plain");
	say("1");
	client_expect_close(&c, 1008);
}

Test(json_run, raw_messages_wait_for_the_application)
{
	struct ipc_msg m;

	app_open();
	hub_welcome(&w, true);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, "/ws/app1", NULL);
	app_answer("POST /s", 200, "{}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "app1");
	hub_subscribed(&w, "app1", 0);
	cr_assert_eq(client_head(&c, ""), 101);
	say("one");
	client_frame(&c, FRAME_FIN | WS_OP_BINARY, "two", 3);
	say("three");
	hub_quiet(&w);
	app_answer("one", 200, "{}");
	m = hub_expect_on(&w, IPC_PUBLISH, "app1");
	cr_assert(m.kind == MSG_TEXT && m.len == 3 && memcmp(m.data, "one", 3) == 0);
	hub_quiet(&w);
	app_answer("POST /p", 200, "{}");
	m = hub_expect_on(&w, IPC_PUBLISH, "app1");
	cr_assert(m.kind == MSG_BINARY && m.len == 3 && memcmp(m.data, "two", 3) == 0);
	app_answer("three", 403, "{}");
	client_expect_close(&c, 1008);
	hub_quiet(&w);
	app_close();
}

Test(json_run, a_raw_client_that_goes_while_the_application_is_asked)
{
	app_open();
	hub_welcome(&w, true);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, "/ws/app1", NULL);
	app_answer("POST /s", 200, "{}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "app1");
	hub_subscribed(&w, "app1", 0);
	cr_assert_eq(client_head(&c, ""), 101);
	say("one");
	go_before_the_answer("one");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "app1");
	hub_quiet(&w);
	app_close();
}

/* What the client was let in for is over, and there is no word for it. */
Test(json_run, raw_ends_with_its_subscription)
{
	struct session *s;

	hub_welcome(&w, true);
	open_raw("plain");
	s = channel_find(&w.core.channels, "plain", 5)->first.subs.one->session;
	s->dialect->on_unsubscribed(s, s->subs, "token expired");
	client_expect_close(&c, 1008);
}
