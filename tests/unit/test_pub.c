/*
 * Unit tests of pub: who may publish, kinds, history and presence, and what each answer of the hub
 * becomes.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "common/member.h"
#include "common/records.h"
#include "tests/unit/worker_fixture.h"

static struct world w;
static struct client c;

static void
setup(void)
{
	world_open(&w,
	    "limits.message=100B\nlimits.body=200B\nlimits.channel_name=20\nlimits.recovery=50\n"
	    "channels=[{match: \"h*\", history: {size: 10, ttl: 5m}, presence: true}, "
	    "{match: small, message: 3B}, {match: big, message: 150B}]");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(pub, .timeout = 60, .init = setup, .fini = teardown);

static void
expect(enum listener_kind kind, const char *line, const char *fields, int status, const char *part)
{
	client_request(&w, &c, kind, line, fields, "");
	cr_assert_eq(client_response(&c, part), status, "%s %s", line, fields);
}

static void
answer(enum ipc_type type, uint32_t id, int status, uint64_t value)
{
	struct ipc_msg m = { .type = type, .id = id, .status = status, .value = value };

	if (type == IPC_COUNTED) {
		m.channel = "c";
		m.channel_len = 1;
	}
	hub_send(&w, &m);
}

Test(pub, publishes_and_answers_when_the_engine_has_it)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/a%2Fb", "", "hello");
	m = hub_expect_on(&w, IPC_PUBLISH, "a/b");
	cr_assert(m.len == 5 && memcmp(m.data, "hello", 5) == 0 && m.kind == MSG_TEXT);
	cr_assert(m.id != 0 && m.value == 0);
	client_quiet(&c);
	answer(IPC_PUBLISHED, m.id, 0, 0);
	cr_assert_eq(client_response(&c, "{}\n"), 200);
	/* The same connection serves the next. */
	client_text(&c, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
	cr_assert_eq(client_response(&c, "ok"), 200);
}

Test(pub, counts_subscribers)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/c", "", "");
	m = hub_expect_on(&w, IPC_COUNT, "c");
	answer(IPC_COUNTED, m.id, 0, 42);
	cr_assert_eq(client_response(&c, "{\"channel\":\"c\",\"subscribers\":42}"), 200);
}

Test(pub, kinds_by_content_type)
{
	static const struct {
		const char *type;
		const char *body;
		int kind; /* -1: refused */
	} t[] = {
		{ "", "text", MSG_TEXT },
		{ "", "\xff", MSG_BINARY },
		{ "", "", MSG_TEXT },
		{ "Content-Type: application/x-www-form-urlencoded\r\n", "\xff", MSG_BINARY },
		{ "Content-Type: application/x-www-form-urlencoded\r\n", "a=b", MSG_TEXT },
		{ "Content-Type: text/plain\r\n", "t", MSG_TEXT },
		{ "Content-Type: TEXT/plain; charset=utf-8\r\n", "t", MSG_TEXT },
		{ "Content-Type: text/plain\r\n", "\xff", -1 },
		{ "Content-Type: application/json\r\n", "{}", MSG_TEXT },
		{ "Content-Type: Application/JSON;x=y\r\n", "{}", MSG_TEXT },
		{ "Content-Type: application/json\r\n", "\xc3", -1 },
		{ "Content-Type: application/ld+json; a=b\r\n", "{}", MSG_TEXT },
		{ "Content-Type: application/octet-stream\r\n", "t", MSG_BINARY },
		{ "Content-Type: application/jsonx\r\n", "t", MSG_BINARY },
		{ "Content-Type: image/png\r\n", "t", MSG_BINARY },
	};
	size_t i;

	hub_welcome(&w, true);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct ipc_msg m;

		client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", t[i].type, t[i].body);
		if (t[i].kind < 0) {
			cr_assert_eq(client_response(&c, "not UTF-8"), 400, "%s", t[i].type);
			continue;
		}
		m = hub_expect_on(&w, IPC_PUBLISH, "c");
		cr_assert_eq((int)m.kind, t[i].kind, "%zu %s", i, t[i].type);
		answer(IPC_PUBLISHED, m.id, 0, 0);
		cr_assert_eq(client_response(&c, "{}"), 200);
	}
}

Test(pub, what_each_refusal_becomes)
{
	static const struct {
		int err, status;
	} t[] = { { FAN_ETOOBIG, 413 }, { FAN_ENOMEM, 500 }, { FAN_EDENIED, 503 },
		{ FAN_EFULL, 503 }, { FAN_EDOWN, 503 }, { FAN_ETIMEOUT, 503 } };
	size_t i;

	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", "x");
	cr_assert_eq(client_response(&c, "away"), 503);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/c", "", "");
	cr_assert_eq(client_response(&c, "away"), 503);
	hub_welcome(&w, true);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", "x");
		answer(IPC_PUBLISHED, hub_expect_on(&w, IPC_PUBLISH, "c").id, t[i].err, 0);
		cr_assert_eq(client_response(&c, "error"), t[i].status, "%d", t[i].err);
	}
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", "x");
	hub_expect_on(&w, IPC_PUBLISH, "c");
	hub_cut(&w);
	cr_assert_eq(client_response(&c, "away"), 503);
}

Test(pub, bad_requests)
{
	char body[102];

	memset(body, 'x', 101);
	body[101] = '\0';
	hub_welcome(&w, true);
	expect(LISTENER_INTERNAL, "POST /pub/", "", 400, "channel");
	expect(LISTENER_INTERNAL, "POST /pub/a%20b", "", 400, "channel");
	expect(LISTENER_INTERNAL, "POST /pub/%", "", 400, "channel");
	expect(LISTENER_INTERNAL, "POST /pub/123456789012345678901", "", 400, "channel");
	expect(LISTENER_INTERNAL, "PUT /pub/c", "", 405, "POST");
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", body);
	cr_assert_eq(client_response(&c, "too big"), 413);
	hub_quiet(&w);
}

Test(pub, the_key)
{
	struct ipc_msg m;
	size_t i;
	static const char *const good[] = { "X-API-Key: secret-of-16-bytes\r\n",
		"Authorization: Bearer secret-of-16-bytes\r\n",
		"Authorization: bearer secret-of-16-bytes\r\n" };

	hub_welcome(&w, true);
	cr_assert_eq(conf_set(w.conf, "api.key=secret-of-16-bytes", stderr), 0);
	expect(LISTENER_PUBLIC, "POST /pub/c", "", 401, "key");
	expect(LISTENER_INTERNAL, "POST /pub/c", "", 401, "key");
	expect(LISTENER_INTERNAL, "GET /pub/c", "X-API-Key: secret-of-16-byte\r\n", 401, "key");
	expect(LISTENER_INTERNAL, "GET /pub/c", "X-API-Key: secret-of-16-bytes1\r\n", 401, "key");
	expect(LISTENER_INTERNAL, "GET /pub/c", "Authorization: Basic secret-of-16-bytes\r\n", 401,
	    "key");
	expect(LISTENER_INTERNAL, "GET /pub/c", "Authorization: Bearer\r\n", 401, "key");
	expect(LISTENER_INTERNAL, "GET /healthz", "", 200, "ok");
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		client_request(&w, &c, i == 1 ? LISTENER_INTERNAL : LISTENER_PUBLIC, "POST /pub/c",
		    good[i], "x");
		m = hub_expect_on(&w, IPC_PUBLISH, "c");
		answer(IPC_PUBLISHED, m.id, 0, 0);
		cr_assert_eq(client_response(&c, "{}"), 200);
	}
}

Test(pub, pages_of_other_sites)
{
	static const struct {
		const char *fields;
		bool allowed;
	} t[] = {
		{ "Host: localhost:81\r\nOrigin: http://localhost:80\r\n", true },
		{ "Host: 127.0.0.1:81\r\nOrigin: http://127.0.0.1\r\n", true },
		{ "Host: [::1]:81\r\nOrigin: http://[::1]\r\n", true },
		{ "Host: localhost:81\r\nOrigin: https://evil.example\r\n", false },
		{ "Host: localhost:81\r\nOrigin: null\r\n", false },
		/* A name that its owner made to point here. */
		{ "Host: evil.example:81\r\nOrigin: http://evil.example:81\r\n", false },
		{ "Host: evil.example:81\r\n", true },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		expect(LISTENER_INTERNAL, "POST /pub/c", t[i].fields, t[i].allowed ? 503 : 403, "");
	cr_assert_eq(conf_set(w.conf, "origins=https://app.example", stderr), 0);
	expect(LISTENER_INTERNAL, "POST /pub/c",
	    "Host: fan.example\r\nOrigin: https://app.example\r\n", 503, "");
	expect(LISTENER_INTERNAL, "POST /pub/c", "Host: localhost\r\nOrigin: http://localhost\r\n",
	    403, "");
}

Test(pub, pages_may_read_the_answers)
{
	static const char origin[] = "Origin: http://h\r\n";
	static const char allowed[] = "Access-Control-Allow-Origin: http://h\r\nVary: Origin\r\n";
	char fields[256];

	hub_welcome(&w, true);
	cr_assert_eq(conf_set(w.conf, "api.key=secret-of-16-bytes", stderr), 0);
	(void)snprintf(fields, sizeof(fields), "%sX-API-Key: secret-of-16-bytes\r\n", origin);
	client_request(&w, &c, LISTENER_PUBLIC, "POST /pub/c", fields, "x");
	answer(IPC_PUBLISHED, hub_expect_on(&w, IPC_PUBLISH, "c").id, 0, 0);
	cr_assert_eq(client_head(&c, allowed), 200);
	client_request(&w, &c, LISTENER_PUBLIC, "POST /pub/", fields, "");
	cr_assert_eq(client_head(&c, allowed), 400);
	client_request(&w, &c, LISTENER_PUBLIC, "PUT /pub/c", fields, "");
	cr_assert_eq(client_head(&c, allowed), 405);
	client_request(&w, &c, LISTENER_PUBLIC, "POST /pub/c", origin, "");
	cr_assert_eq(client_head(&c, allowed), 401);
	client_request(&w, &c, LISTENER_PUBLIC, "POST /pub/c", "Origin: http://evil\r\n", "");
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Access-Control", 14));
	cr_assert_eq(client_response(&c, "another site"), 403);
}

Test(pub, preflights)
{
	static const char asks[] = "Access-Control-Request-Method: POST\r\n"
				   "Access-Control-Request-Headers: x-api-key\r\n";
	char fields[256];

	(void)snprintf(fields, sizeof(fields), "Origin: http://h\r\n%s", asks);
	client_request(&w, &c, LISTENER_PUBLIC, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_response(&c, "not found"), 404, "there is no /pub without a key");
	client_request(&w, &c, LISTENER_INTERNAL, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_response(&c, "another site"), 403, "h is a name");
	cr_assert_eq(conf_set(w.conf, "api.key=secret-of-16-bytes", stderr), 0);
	client_request(&w, &c, LISTENER_PUBLIC, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_head(&c,
			 "\r\nAccess-Control-Allow-Origin: http://h\r\nVary: Origin\r\n"
			 "Access-Control-Allow-Methods: GET, HEAD, POST, DELETE\r\n"),
	    204);
	client_quiet(&c);
	(void)snprintf(fields, sizeof(fields), "Origin: http://evil\r\n%s", asks);
	client_request(&w, &c, LISTENER_PUBLIC, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_response(&c, "another site"), 403);
	expect(LISTENER_PUBLIC, "OPTIONS /pub/c", "X-API-Key: secret-of-16-bytes\r\n", 405, "POST");
}

Test(pub, the_client_goes_before_the_answer)
{
	struct ipc_msg m;

	w.server.head_ms = 50;
	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", "x");
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	answer(IPC_PUBLISHED, m.id, 0, 0);
	world_settle(&w);
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", "x");
	cr_assert_neq(hub_expect_on(&w, IPC_PUBLISH, "c").id, m.id);
	answer(IPC_PUBLISHED, m.id, 0, 0);
	cr_assert_eq(client_response(&c, "try again"), 503);
}

/* --- positions and keys -------------------------------------------------------------------- */

Test(pub, says_where_the_message_stands)
{
	struct ipc_msg m, published = { .type = IPC_PUBLISHED };

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/h", "", "x");
	m = hub_expect_on(&w, IPC_PUBLISH, "h");
	published.id = m.id;
	hub_past(&w, &published, "Ab1:7", 0, "");
	cr_assert_eq(client_response(&c, "{\"offset\":7,\"epoch\":\"Ab1\"}\n"), 200);
}

Test(pub, hands_over_the_idempotency_key)
{
	char fields[400], key[257];
	struct ipc_msg m;
	size_t n;

	hub_welcome(&w, true);
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	for (n = 1; n <= 255; n += 254) {
		(void)snprintf(fields, sizeof(fields), "Idempotency-Key: %s\r\n", key + 256 - n);
		client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/h", fields, "x");
		m = hub_expect_on(&w, IPC_PUBLISH, "h");
		cr_assert_eq(IPC_KEY_LEN(m.value), n);
		cr_assert_eq(m.len, n + 1);
		cr_assert_eq(memcmp(m.data, key, n), 0);
		cr_assert_eq(m.data[n], 'x');
		answer(IPC_PUBLISHED, m.id, 0, 0);
		cr_assert_eq(client_response(&c, "{}"), 200);
	}
	(void)snprintf(fields, sizeof(fields), "Idempotency-Key: %s\r\n", key);
	expect(LISTENER_INTERNAL, "POST /pub/h", fields, 400, "1 to 255");
	expect(LISTENER_INTERNAL, "POST /pub/h", "Idempotency-Key:\r\n", 400, "1 to 255");
	expect(LISTENER_INTERNAL, "POST /pub/h", "Idempotency-Key: a\r\nidempotency-key: a\r\n",
	    400, "once");
	hub_quiet(&w);
}

Test(pub, the_size_is_what_the_rule_says)
{
	char body[152];

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/small", "", "1234");
	cr_assert_eq(client_response(&c, "too big"), 413);
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/small", "", "123");
	hub_expect_on(&w, IPC_PUBLISH, "small");
	memset(body, 'x', 151);
	body[151] = '\0';
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/big", "", body);
	cr_assert_eq(client_response(&c, "too big"), 413);
	body[150] = '\0';
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/big", "", body);
	hub_expect_on(&w, IPC_PUBLISH, "big");
	client_request(&w, &c, LISTENER_INTERNAL, "POST /pub/c", "", body);
	cr_assert_eq(client_response(&c, "too big"), 413);
}

Test(pub, forgets)
{
	struct ipc_msg m, forgotten = { .type = IPC_PUBLISHED };

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "DELETE /pub/h", "", "");
	m = hub_expect_on(&w, IPC_FORGET, "h");
	forgotten.id = m.id;
	hub_past(&w, &forgotten, "E:9", 0, "");
	cr_assert_eq(client_response(&c, "{\"offset\":9,\"epoch\":\"E\"}\n"), 200);
	expect(LISTENER_INTERNAL, "DELETE /pub/c", "", 404, "keeps no history");
	client_request(&w, &c, LISTENER_INTERNAL, "DELETE /pub/h", "", "");
	answer(IPC_PUBLISHED, hub_expect_on(&w, IPC_FORGET, "h").id, FAN_EDOWN, 0);
	cr_assert_eq(client_response(&c, "away"), 503);
}

/* --- what GET tells ------------------------------------------------------------------------ */

static void
counted(const char *channel, uint64_t n)
{
	struct ipc_msg m = hub_expect_on(&w, IPC_COUNT, channel);

	hub_send(&w,
	    &(struct ipc_msg){ .type = IPC_COUNTED,
		.id = m.id,
		.value = n,
		.channel = channel,
		.channel_len = strlen(channel) });
}

/* Expects the question for a history, and answers it. */
static void
historied(unsigned limit, unsigned flags, const char *since, const char *pos, const char *records)
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
	hub_past(&w, &(struct ipc_msg){ .type = IPC_HISTORIED, .id = m.id }, pos, 0, records);
}

Test(pub, tells_where_the_channel_stands)
{
	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h", "", "");
	counted("h", 3);
	historied(0, 0, "", "E:5", "");
	cr_assert_eq(client_response(&c,
			 "{\"channel\":\"h\",\"subscribers\":3,\"offset\":5,\"epoch\":\"E\"}\n"),
	    200);
}

Test(pub, tells_history)
{
	static const char *const since[][4] = {
		/* Asked for, the answer's position and records, and whether they join. */
		{ "E:3", "E:5", "4 \"x\"", "true" },
		{ "E:5", "E:5", "", "true" },
		{ "E:2", "E:5", "4 5", "false" },
		{ "E:4", "E:5", "", "false" },
		{ "E:6", "E:5", "", "false" },
		{ "F:3", "E:5", "4 5", "false" },
	};
	char line[80], part[200];
	size_t i;

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h?history=2", "", "");
	counted("h", 0);
	historied(2, 0, "", "E:5", "{\"a\":1} text");
	cr_assert_eq(client_response(&c,
			 "\"offset\":5,\"epoch\":\"E\",\"messages\":[{\"offset\":4,\"data\":"
			 "{\"a\":1}},{\"offset\":5,\"data\":\"text\"}]}\n"),
	    200);
	for (i = 0; i < sizeof(since) / sizeof(since[0]); i++) {
		(void)snprintf(line, sizeof(line), "GET /pub/h?history=50&since=%s", since[i][0]);
		(void)snprintf(part, sizeof(part), "],\"recovered\":%s}\n", since[i][3]);
		client_request(&w, &c, LISTENER_INTERNAL, line, "", "");
		counted("h", 0);
		historied(50, 0, since[i][0], since[i][1], since[i][2]);
		cr_assert_eq(client_response(&c, part), 200, "%zu", i);
	}
	client_request(
	    &w, &c, LISTENER_INTERNAL, "GET /pub/h?history=9&since=E%3A5&reverse=1", "", "");
	counted("h", 0);
	historied(9, IPC_PAST_REVERSE, "E:5", "E:4", "d");
	/* Its position is behind that which was asked for. */
	cr_assert_eq(client_response(&c, "\"recovered\":false"), 200);
}

Test(pub, tells_binary_messages)
{
	static const struct record r = { 8, MSG_BINARY, (const uint8_t *)"\xff\xfe", 2 };
	struct ipc_past past = { .pos = { 8, "E" } };
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct ipc_msg m;
	struct buf b;

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h?history=1", "", "");
	counted("h", 0);
	m = hub_expect_on(&w, IPC_HISTORY, "h");
	buf_init(&b, 1000);
	cr_assert_eq(buf_append(&b, head, ipc_past_head(&past, head)), 0);
	cr_assert_eq(records_append(&b, &r), 0);
	m = (struct ipc_msg){
		.type = IPC_HISTORIED, .id = m.id, .data = buf_data(&b), .len = buf_len(&b)
	};
	hub_send(&w, &m);
	buf_fini(&b);
	cr_assert_eq(
	    client_response(&c, "{\"offset\":8,\"data\":\"//4=\",\"encoding\":\"base64\"}"), 200);
}

static void
present(const struct member *all, size_t n)
{
	struct ipc_msg m = hub_expect_on(&w, IPC_PRESENCE, "h");
	struct buf b;
	size_t i;

	buf_init(&b, 100000);
	for (i = 0; i < n; i++)
		cr_assert_eq(member_append(&b, &all[i]), 0);
	m = (struct ipc_msg){
		.type = IPC_PRESENT, .id = m.id, .data = buf_data(&b), .len = buf_len(&b)
	};
	hub_send(&w, &m);
	buf_fini(&b);
}

Test(pub, tells_presence)
{
	static const struct member all[] = {
		{ "c1", 2, "anna", 4, "{\"n\":1}", 7 },
		{ "c2", 2, "bert", 4, "", 0 },
		{ "c3", 2, "", 0, "", 0 },
		{ "c4", 2, "anna", 4, "", 0 },
		{ "c5", 2, "", 0, "", 0 },
	};
	struct member many[100];
	char client[100][4];
	size_t i;

	hub_welcome(&w, true);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h?presence=1", "", "");
	counted("h", 5);
	historied(0, 0, "", "E:5", "");
	present(all, 5);
	cr_assert_eq(
	    client_response(&c,
		"\"epoch\":\"E\",\"members\":[{\"client\":\"c1\",\"user\":\"anna\",\"info\":"
		"{\"n\":1}},{\"client\":\"c2\",\"user\":\"bert\"},{\"client\":\"c3\"},"
		"{\"client\":\"c4\",\"user\":\"anna\"},{\"client\":\"c5\"}],"
		"\"clients\":5,\"users\":4}\n"),
	    200);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h?presence=1", "", "");
	counted("h", 0);
	historied(0, 0, "", "E:5", "");
	present(NULL, 0);
	cr_assert_eq(client_response(&c, "\"members\":[],\"clients\":0,\"users\":0}\n"), 200);
	for (i = 0; i < 100; i++) {
		(void)snprintf(client[i], sizeof(client[i]), "%zu", i);
		many[i] = (struct member){ client[i], strlen(client[i]), client[i % 7], 1, "", 0 };
	}
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h?presence=1", "", "");
	counted("h", 0);
	historied(0, 0, "", "E:5", "");
	present(many, 100);
	cr_assert_eq(client_response(&c, "\"clients\":100,\"users\":7}\n"), 200);
}

Test(pub, what_cannot_be_told)
{
	static const struct {
		const char *query;
		int status;
		const char *part;
	} t[] = {
		{ "h?history=51", 400, "history must be at most 50" },
		{ "h?history=0", 400, "number" },
		{ "h?history=", 400, "number" },
		{ "h?history=-1", 400, "number" },
		{ "h?history=1x", 400, "number" },
		{ "h?history=4294967297", 400, "number" },
		{ "h?history=1&since=5", 400, "EPOCH:OFFSET" },
		{ "h?history=1&since=E:", 400, "EPOCH:OFFSET" },
		{ "h?history=1&since=%", 400, "EPOCH:OFFSET" },
		{ "h?since=E:5", 400, "need history" },
		{ "h?reverse=1", 400, "need history" },
		{ "c?history=1", 404, "keeps no history" },
		{ "c?presence=1", 404, "keeps no presence" },
	};
	char line[80];
	size_t i;

	hub_welcome(&w, true);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		(void)snprintf(line, sizeof(line), "GET /pub/%s", t[i].query);
		expect(LISTENER_INTERNAL, line, "", t[i].status, t[i].part);
	}
	hub_quiet(&w);
	/* What is not asked for, and what is not known. */
	expect(LISTENER_PUBLIC, "GET /pub/h?history=1", "", 404, "not found");
	client_request(
	    &w, &c, LISTENER_INTERNAL, "GET /pub/c?history&x=1&presence=0&reverse=0", "", "");
	cr_assert_eq(client_response(&c, "number"), 400);
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/c?x=1&presence=0&reverse=0", "", "");
	counted("c", 1);
	cr_assert_eq(client_response(&c, "{\"channel\":\"c\",\"subscribers\":1}\n"), 200);
}

/* Each of the questions may be the one that the hub cannot answer. */
Test(pub, the_hub_fails_on_the_way)
{
	static const enum ipc_type type[] = { IPC_HISTORY, IPC_PRESENCE };
	size_t i;

	hub_welcome(&w, true);
	for (i = 0; i < 2; i++) {
		struct ipc_msg m;

		client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h?presence=1", "", "");
		counted("h", 0);
		if (type[i] == IPC_PRESENCE)
			historied(0, 0, "", "E:5", "");
		m = hub_expect_on(&w, type[i], "h");
		answer(type[i] == IPC_PRESENCE ? IPC_PRESENT : IPC_HISTORIED, m.id, FAN_EDOWN, 0);
		cr_assert_eq(client_response(&c, "away"), 503);
	}
	client_request(&w, &c, LISTENER_INTERNAL, "GET /pub/h", "", "");
	hub_expect_on(&w, IPC_COUNT, "h");
	hub_cut(&w);
	cr_assert_eq(client_response(&c, "away"), 503);
}
