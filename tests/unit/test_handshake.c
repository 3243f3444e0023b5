/*
 * Tests of worker/ws/handshake.  Requests are written as text and go through the real parser.
 */
#include "worker/ws/handshake.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/guard.h"
#include "worker/http/parse.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define HOST "Host: example.com\r\n"
#define GET "GET /ws/a HTTP/1.1\r\n"

static struct http_request req;
static struct guard page;

static void
setup(void)
{
	page = guard_new(8192);
}

static void
teardown(void)
{
	guard_free(&page);
}

TestSuite(handshake, .init = setup, .fini = teardown);

/* Fills req; the text without the empty line at its end. */
static void
request(const char *text)
{
	const struct http_limits limits = { 8192, 64 };
	char head[8192];
	int n = snprintf(head, sizeof(head), "%s\r\n", text), status;
	size_t used;
	const char *why = "", *p = (const char *)guard_put(&page, head, (size_t)n);

	cr_assert_eq(http_request_parse(p, (size_t)n, 0, &limits, &req, &used, &status, &why), 0,
	    "%s: %s", text, why);
}

/* --- the request ------------------------------------------------------------------------------- */

Test(handshake, accepted)
{
	static const char *const table[] = {
		GET HOST UPGRADE KEY VERSION,
		GET HOST "upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY VERSION,
		GET HOST
		"Upgrade: h2c, websocket\r\nConnection: a\r\nConnection: upgrade\r\n" VERSION KEY,
		GET HOST UPGRADE KEY VERSION "Content-Length: 0\r\nOrigin: null\r\n",
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		char accept[WS_ACCEPT_SIZE];
		const char *why = "";
		int status = 0;

		request(table[i]);
		cr_assert(ws_handshake_wanted(&req));
		cr_assert_eq(ws_handshake_check(&req, accept, &status, &why), 0, "%s", why);
		/* RFC 6455 §1.3. */
		cr_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	}
}

Test(handshake, refused)
{
	static const struct {
		const char *text;
		int status;
	} table[] = {
		{ "POST /ws/a HTTP/1.1\r\n" HOST UPGRADE KEY VERSION, 405 },
		{ "get /ws/a HTTP/1.1\r\n" HOST UPGRADE KEY VERSION, 405 },
		{ "GET /ws/a HTTP/1.0\r\n" HOST UPGRADE KEY VERSION, 400 },
		{ GET HOST KEY VERSION, 400 },
		{ GET HOST "Upgrade: websocket\r\n" KEY VERSION, 400 },
		{ GET HOST "Upgrade: websocket\r\nConnection: close\r\n" KEY VERSION, 400 },
		{ GET HOST "Connection: upgrade\r\n" KEY VERSION, 400 },
		{ GET HOST "Upgrade: websockets\r\nConnection: upgrade\r\n" KEY VERSION, 400 },
		{ GET HOST UPGRADE KEY VERSION "Content-Length: 1\r\n", 400 },
		{ GET HOST UPGRADE KEY VERSION "Transfer-Encoding: chunked\r\n", 400 },
		{ GET HOST UPGRADE KEY, 400 },
		{ GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n", 426 },
		{ GET HOST UPGRADE KEY "Sec-WebSocket-Version: 14\r\n", 426 },
		{ GET HOST UPGRADE KEY "Sec-WebSocket-Version: 013\r\n", 426 },
		{ GET HOST UPGRADE KEY "Sec-WebSocket-Version: 13, 8\r\n", 426 },
		{ GET HOST UPGRADE KEY "Sec-WebSocket-Version:\r\n", 426 },
		{ GET HOST UPGRADE KEY VERSION VERSION, 426 },
		{ GET HOST UPGRADE "Sec-WebSocket-Version: 99\r\n", 426 },
		{ GET HOST UPGRADE VERSION, 400 },
		{ GET HOST UPGRADE VERSION KEY KEY, 400 },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		char accept[WS_ACCEPT_SIZE];
		const char *why = NULL;
		int status = 0;

		request(table[i].text);
		cr_assert_eq(
		    ws_handshake_check(&req, accept, &status, &why), FAN_EPROTO, "row %zu", i);
		cr_assert_eq(status, table[i].status, "row %zu: %d", i, status);
		cr_assert_not_null(why);
	}
	request("GET / HTTP/1.0\r\n");
	cr_assert(!ws_handshake_wanted(&req));
}

Test(handshake, keys)
{
	static const struct {
		const char *key;
		bool good;
	} table[] = {
		{ "AAAAAAAAAAAAAAAAAAAAAA==", true },
		{ "//////////////////////==", true },
		{ "zZ09+/zZ09+/zZ09+/zZ0w==", true },
		{ "", false },
		{ "AAAAAAAAAAAAAAAAAAAAA==", false },
		{ "AAAAAAAAAAAAAAAAAAAAAAA==", false },
		{ "AAAAAAAAAAAAAAAAAAAAAAA=", false },
		{ "AAAAAAAAAAAAAAAAAAAAAAAA", false },
		{ "AAAAAAAAAAAAAAAAAAAAA===", false },
		{ "AAAAAAAAAAAA=AAAAAAAAA==", false },
		{ "AAAAAAAAAAAA AAAAAAAAA==", false },
		{ "AAAAAAAAAAAA-AAAAAAAAA==", false },
		{ "AAAAAAAAAAAA\xc3\xa9"
		  "AAAAAAAA==",
		    false },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		char text[512], accept[WS_ACCEPT_SIZE];
		const char *why;
		int status;

		(void)snprintf(text, sizeof(text),
		    GET HOST UPGRADE VERSION "Sec-WebSocket-Key: %s\r\n", table[i].key);
		request(text);
		cr_assert_eq(ws_handshake_check(&req, accept, &status, &why),
		    table[i].good ? 0 : FAN_EPROTO, "%s", table[i].key);
	}
}

/* --- subprotocols ------------------------------------------------------------------------------ */

Test(handshake, protocol_in_the_order_of_the_client)
{
	static const char *const supported[] = { "fanfare.json", "other", NULL };
	static const struct {
		const char *fields;
		const char *want;
		bool malformed;
	} table[] = {
		{ "", NULL, false },
		{ "P: fanfare.json\r\n", "fanfare.json", false },
		{ "P: other, fanfare.json\r\n", "other", false },
		{ "P: x,fanfare.json ,\tother\r\n", "fanfare.json", false },
		{ "P: x\r\nP: other\r\nP: fanfare.json\r\n", "other", false },
		{ "P: Fanfare.JSON\r\n", NULL, false },
		{ "P: fanfare.jso, fanfare.jsonx\r\n", NULL, false },
		{ "P:\r\n", NULL, true },
		{ "P: other,\r\n", NULL, true },
		{ "P: ,other\r\n", NULL, true },
		{ "P: other,,x\r\n", NULL, true },
		{ "P: other x\r\n", NULL, true },
		{ "P: \"other\"\r\n", NULL, true },
		{ "P: other, other\r\n", NULL, true },
		{ "P: other\r\nP: other\r\n", NULL, true },
		{ "P: other, Other\r\n", "other", false },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		char text[512] = GET HOST;
		const char *p, *got;
		bool malformed;
		size_t n = strlen(text);

		/* P stands for the name of the field. */
		for (p = table[i].fields; *p != '\0'; p++) {
			if (strncmp(p, "P:", 2) == 0)
				n += (size_t)sprintf(text + n, "Sec-WebSocket-Protocol");
			else
				n += (size_t)sprintf(text + n, "%c", *p);
		}
		request(text);
		malformed = !table[i].malformed;
		got = ws_handshake_protocol(&req, supported, &malformed);
		cr_assert_eq(malformed, table[i].malformed, "row %zu", i);
		cr_assert_eq(got == NULL, table[i].want == NULL, "row %zu", i);
		if (got != NULL)
			cr_assert_str_eq(got, table[i].want, "row %zu", i);
	}
}

Test(handshake, number_of_protocols)
{
	static const char *const supported[] = { "p31", "p32", NULL };
	size_t count, i;

	for (count = WS_PROTOCOLS_MAX; count <= WS_PROTOCOLS_MAX + 1; count++) {
		char text[1024] = GET HOST "Sec-WebSocket-Protocol: p0";
		size_t n = strlen(text);
		bool malformed;

		for (i = 1; i < count; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, ", p%zu", i);
		(void)snprintf(text + n, sizeof(text) - n, "\r\n");
		request(text);
		cr_assert_eq(ws_handshake_protocol(&req, supported, &malformed),
		    count == WS_PROTOCOLS_MAX ? supported[0] : NULL);
		cr_assert_eq(malformed, count > WS_PROTOCOLS_MAX);
	}
}

/* --- Origin ------------------------------------------------------------------------------------ */

static bool
origin(const char *origin_text, const char *host, const char *allowed)
{
	char text[512];

	(void)snprintf(
	    text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\n", host, origin_text);
	request(text);
	return ws_origin_allowed(&req, &allowed, allowed == NULL ? 0 : 1);
}

Test(handshake, origin_of_the_same_host)
{
	static const struct {
		const char *origin;
		const char *host;
		bool want;
	} table[] = {
		{ "http://example.com", "example.com", true },
		{ "https://example.com", "example.com", true },
		{ "https://EXAMPLE.com:8443", "example.COM:8080", true },
		{ "http://127.0.0.1:3000", "127.0.0.1:8080", true },
		{ "http://[::1]:3000", "[::1]:8080", true },
		{ "http://[::1]", "[::2]", false },
		{ "https://evil-example.com", "example.com", false },
		{ "https://example.com.evil.org", "example.com", false },
		{ "https://sub.example.com", "example.com", false },
		{ "https://example.co", "example.com", false },
		{ "https://example.com", "example.com.evil.org", false },
		{ "null", "example.com", false },
		{ "null", "null", false },
		{ "", "example.com", false },
		{ "example.com", "example.com", false },
		{ "//example.com", "example.com", false },
		{ "://example.com", "example.com", false },
		{ "https:example.com", "example.com", false },
		{ "https:/example.com", "example.com", false },
		{ "https://", "example.com", false },
		{ "https://example.com/", "example.com", false },
		{ "https://example.com/x", "example.com", false },
		{ "https://example.com?x", "example.com", false },
		{ "https://example.com#x", "example.com", false },
		{ "https://u@example.com", "example.com", false },
		{ "https://evil.org@example.com", "example.com", false },
		{ "https://example.com:", "example.com", false },
		{ "https://example.com:x", "example.com", false },
		{ "https://example.com:65536", "example.com", false },
		{ "https://example.com https://evil.org", "example.com", false },
		{ "https://example.com, https://evil.org", "example.com", false },
		{ "https://example.com.", "example.com", false },
		{ "h ttps://example.com", "example.com", false },
		{ "*", "example.com", false },
		{ "https://*.example.com", "example.com", false },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++)
		cr_assert_eq(origin(table[i].origin, table[i].host, NULL), table[i].want,
		    "%s at %s", table[i].origin, table[i].host);
}

Test(handshake, origin_in_the_list)
{
	static const struct {
		const char *origin;
		const char *allowed;
		bool want;
	} table[] = {
		{ "https://app.example.com", "https://app.example.com", true },
		{ "HTTPS://App.Example.Com", "https://app.example.com", true },
		{ "https://app.example.com:443", "https://app.example.com", true },
		{ "https://app.example.com", "https://app.example.com:443", true },
		{ "http://app.example.com:80", "http://app.example.com", true },
		{ "https://app.example.com:8443", "https://app.example.com:8443", true },
		{ "https://app.example.com:8443", "https://app.example.com", false },
		{ "https://app.example.com", "https://app.example.com:8443", false },
		{ "http://app.example.com", "https://app.example.com", false },
		{ "http://app.example.com:443", "https://app.example.com", false },
		{ "https://app.example.com:80", "http://app.example.com", false },
		{ "https://xapp.example.com", "https://app.example.com", false },
		{ "https://app.example.com.evil.org", "https://app.example.com", false },
		{ "https://[::1]:8443", "https://[::1]:8443", true },
		{ "chrome-extension://abcdef", "chrome-extension://abcdef", true },
		{ "chrome-extension://abcdef:1", "chrome-extension://abcdef", false },
		{ "https://a.example.com", "https://*.example.com", true },
		{ "https://a.b.Example.com", "https://*.example.com", true },
		{ "https://a.example.com:443", "https://*.example.com", true },
		{ "https://a.example.com:8443", "https://*.example.com:8443", true },
		{ "https://a.example.com:8443", "https://*.example.com", false },
		{ "https://example.com", "https://*.example.com", false },
		{ "https://.example.com", "https://*.example.com", false },
		{ "https://evil-example.com", "https://*.example.com", false },
		{ "https://a.example.com.evil.org", "https://*.example.com", false },
		{ "https://evil.org/.example.com", "https://*.example.com", false },
		{ "http://a.example.com", "https://*.example.com", false },
		{ "https://a.com", "https://*", false },
		{ "https://a.com", "https://*.", false },
		{ "https://example.com", "example.com", false },
		{ "https://example.com", "", false },
		/* The list is not empty, so the same host is not enough. */
		{ "https://host", "https://app.example.com", false },
		{ "null", "*", true },
		{ "null", "null", false },
		{ "", "*", true },
		{ "https://example.com/", "*", true },
		{ "https://example.com/", "https://example.com/", false },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++)
		cr_assert_eq(origin(table[i].origin, "host", table[i].allowed), table[i].want,
		    "%s, allowed %s", table[i].origin, table[i].allowed);
}

Test(handshake, origin_absent_or_several)
{
	static const char *const list[] = { "https://no.example", "http://a", "https://*.b" };
	static const char *const any[] = { "https://no.example", "*" };

	request("GET / HTTP/1.1\r\nHost: a\r\n");
	cr_assert(ws_origin_allowed(&req, NULL, 0));
	cr_assert(ws_origin_allowed(&req, list, COUNT(list)));
	request("GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n");
	cr_assert(ws_origin_allowed(&req, list, COUNT(list)));
	cr_assert(!ws_origin_allowed(&req, list, 1));
	request("GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nOrigin: http://a\r\n");
	cr_assert(!ws_origin_allowed(&req, NULL, 0));
	cr_assert(!ws_origin_allowed(&req, list, COUNT(list)));
	cr_assert(ws_origin_allowed(&req, any, COUNT(any)));
	request("GET / HTTP/1.0\r\nOrigin: http://a\r\n");
	cr_assert(!ws_origin_allowed(&req, NULL, 0));
}
