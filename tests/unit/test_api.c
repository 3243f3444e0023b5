/*
 * Unit tests of api: which listener has which endpoint, who may publish, kinds, and what each
 * answer of the hub becomes.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "tests/unit/worker_fixture.h"

static struct world w;
static struct client c;

static void
setup(void)
{
	world_open(&w, "limits.message=100B\nlimits.body=200B\nlimits.channel_name=20");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(api, .timeout = 60, .init = setup, .fini = teardown);

/* Sends a request with these field lines, each with its CRLF, and a body. */
static void
request(enum listener_kind kind, const char *line, const char *fields, const char *body)
{
	char text[1024];
	int n;

	client_close(&c);
	client_open(&w, &c, kind);
	n = snprintf(text, sizeof(text), "%s HTTP/1.1\r\n%s%sContent-Length: %zu\r\n\r\n%s", line,
	    strstr(fields, "Host:") == NULL ? "Host: h\r\n" : "", fields, strlen(body), body);
	cr_assert(n > 0 && (size_t)n < sizeof(text));
	client_send(&c, text, (size_t)n);
}

static void
expect(enum listener_kind kind, const char *line, const char *fields, int status, const char *part)
{
	request(kind, line, fields, "");
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

Test(api, each_listener_has_its_own)
{
	hub_welcome(&w, true);
	w.conf->demo.enabled = true;
	expect(LISTENER_INTERNAL, "GET /healthz", "", 200, "ok\n");
	expect(LISTENER_PUBLIC, "GET /healthz", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /readyz", "", 200, "ready\n");
	expect(LISTENER_PUBLIC, "GET /readyz", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /", "", 404, "");
	expect(LISTENER_PUBLIC, "GET /", "", 200, "<html");
	expect(LISTENER_PUBLIC, "POST /pub/c", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /ws/c", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /nothing", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /pub", "", 404, "");
	expect(LISTENER_INTERNAL, "POST /healthz", "", 405, "");
	expect(LISTENER_PUBLIC, "POST /", "", 405, "");
	w.conf->demo.enabled = false;
	expect(LISTENER_PUBLIC, "GET /", "", 404, "");
}

Test(api, readiness_follows_hub_and_engine)
{
	struct ipc_msg engine = { .type = IPC_ENGINE, .value = 1 };

	expect(LISTENER_INTERNAL, "GET /readyz", "", 503, "the hub is away");
	hub_welcome(&w, false);
	expect(LISTENER_INTERNAL, "GET /readyz", "", 503, "the engine is away");
	hub_send(&w, &engine);
	WORLD_UNTIL(&w, uplink_ready(w.uplink));
	expect(LISTENER_INTERNAL, "GET /readyz", "", 200, "ready");
	hub_cut(&w);
	expect(LISTENER_INTERNAL, "GET /readyz", "", 503, "the hub is away");
	expect(LISTENER_INTERNAL, "GET /healthz", "", 200, "ok");
}

Test(api, publishes_and_answers_when_the_engine_has_it)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	request(LISTENER_INTERNAL, "POST /pub/a%2Fb", "", "hello");
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

Test(api, counts_subscribers)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	request(LISTENER_INTERNAL, "GET /pub/c", "", "");
	m = hub_expect_on(&w, IPC_COUNT, "c");
	answer(IPC_COUNTED, m.id, 0, 42);
	cr_assert_eq(client_response(&c, "{\"channel\":\"c\",\"subscribers\":42}"), 200);
}

Test(api, kinds_by_content_type)
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

		request(LISTENER_INTERNAL, "POST /pub/c", t[i].type, t[i].body);
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

Test(api, what_each_refusal_becomes)
{
	static const struct {
		int err, status;
	} t[] = { { FAN_ETOOBIG, 413 }, { FAN_ENOMEM, 500 }, { FAN_EDENIED, 503 },
		{ FAN_EFULL, 503 }, { FAN_EDOWN, 503 }, { FAN_ETIMEOUT, 503 } };
	size_t i;

	request(LISTENER_INTERNAL, "POST /pub/c", "", "x");
	cr_assert_eq(client_response(&c, "away"), 503);
	request(LISTENER_INTERNAL, "GET /pub/c", "", "");
	cr_assert_eq(client_response(&c, "away"), 503);
	hub_welcome(&w, true);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		request(LISTENER_INTERNAL, "POST /pub/c", "", "x");
		answer(IPC_PUBLISHED, hub_expect_on(&w, IPC_PUBLISH, "c").id, t[i].err, 0);
		cr_assert_eq(client_response(&c, "error"), t[i].status, "%d", t[i].err);
	}
	request(LISTENER_INTERNAL, "POST /pub/c", "", "x");
	hub_expect_on(&w, IPC_PUBLISH, "c");
	hub_cut(&w);
	cr_assert_eq(client_response(&c, "away"), 503);
}

Test(api, bad_requests)
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
	request(LISTENER_INTERNAL, "POST /pub/c", "", body);
	cr_assert_eq(client_response(&c, "too big"), 413);
	hub_quiet(&w);
}

Test(api, the_key)
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
		request(i == 1 ? LISTENER_INTERNAL : LISTENER_PUBLIC, "POST /pub/c", good[i], "x");
		m = hub_expect_on(&w, IPC_PUBLISH, "c");
		answer(IPC_PUBLISHED, m.id, 0, 0);
		cr_assert_eq(client_response(&c, "{}"), 200);
	}
}

Test(api, pages_of_other_sites)
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

/* Pages that are let in may read every answer, and the others none. */
Test(api, pages_may_read_the_answers)
{
	static const char origin[] = "Origin: http://h\r\n";
	static const char allowed[] = "Access-Control-Allow-Origin: http://h\r\nVary: Origin\r\n";
	char fields[256];

	hub_welcome(&w, true);
	cr_assert_eq(conf_set(w.conf, "api.key=secret-of-16-bytes", stderr), 0);
	(void)snprintf(fields, sizeof(fields), "%sX-API-Key: secret-of-16-bytes\r\n", origin);
	request(LISTENER_PUBLIC, "POST /pub/c", fields, "x");
	answer(IPC_PUBLISHED, hub_expect_on(&w, IPC_PUBLISH, "c").id, 0, 0);
	cr_assert_eq(client_head(&c, allowed), 200);
	request(LISTENER_PUBLIC, "POST /pub/", fields, "");
	cr_assert_eq(client_head(&c, allowed), 400);
	request(LISTENER_PUBLIC, "DELETE /pub/c", fields, "");
	cr_assert_eq(client_head(&c, allowed), 405);
	request(LISTENER_PUBLIC, "POST /pub/c", origin, "");
	cr_assert_eq(client_head(&c, allowed), 401);
	request(LISTENER_PUBLIC, "POST /pub/c", "Origin: http://evil\r\n", "");
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Access-Control", 14));
	cr_assert_eq(client_response(&c, "another site"), 403);
	/* What is no business of pages stays unreadable. */
	request(LISTENER_INTERNAL, "GET /healthz", origin, "");
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Access-Control", 14));
	cr_assert_eq(client_response(&c, "ok"), 200);
}

Test(api, preflights)
{
	static const char asks[] = "Access-Control-Request-Method: POST\r\n"
				   "Access-Control-Request-Headers: x-api-key\r\n";
	char fields[256];

	(void)snprintf(fields, sizeof(fields), "Origin: http://h\r\n%s", asks);
	request(LISTENER_PUBLIC, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_response(&c, "not found"), 404, "there is no /pub without a key");
	request(LISTENER_INTERNAL, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_response(&c, "another site"), 403, "h is a name");
	cr_assert_eq(conf_set(w.conf, "api.key=secret-of-16-bytes", stderr), 0);
	request(LISTENER_PUBLIC, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_head(&c,
			 "\r\nAccess-Control-Allow-Origin: http://h\r\nVary: Origin\r\n"
			 "Access-Control-Allow-Methods: GET, HEAD, POST\r\n"),
	    204);
	client_quiet(&c);
	(void)snprintf(fields, sizeof(fields), "Origin: http://evil\r\n%s", asks);
	request(LISTENER_PUBLIC, "OPTIONS /pub/c", fields, "");
	cr_assert_eq(client_response(&c, "another site"), 403);
	expect(LISTENER_PUBLIC, "OPTIONS /pub/c", "X-API-Key: secret-of-16-bytes\r\n", 405, "POST");
}

Test(api, head_and_the_demo)
{
	w.conf->demo.enabled = true;
	request(LISTENER_INTERNAL, "HEAD /healthz", "", "");
	cr_assert_eq(client_head(&c, "Content-Length: 3\r\n"), 200);
	client_quiet(&c);
	request(LISTENER_PUBLIC, "HEAD /", "", "");
	cr_assert_eq(client_head(&c, "Content-Security-Policy: default-src 'none'"), 200);
	client_quiet(&c);
}

/* A request whose client has gone has no use for the answer, which may come all the same. */
Test(api, the_client_goes_before_the_answer)
{
	struct ipc_msg m;

	w.server.head_ms = 50;
	hub_welcome(&w, true);
	request(LISTENER_INTERNAL, "POST /pub/c", "", "x");
	m = hub_expect_on(&w, IPC_PUBLISH, "c");
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	answer(IPC_PUBLISHED, m.id, 0, 0);
	world_settle(&w);
	request(LISTENER_INTERNAL, "POST /pub/c", "", "x");
	cr_assert_neq(hub_expect_on(&w, IPC_PUBLISH, "c").id, m.id);
	answer(IPC_PUBLISHED, m.id, 0, 0);
	cr_assert_eq(client_response(&c, "try again"), 503);
}
