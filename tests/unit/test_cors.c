/*
 * Unit tests of cors: which answers a page may read, for each kind of policy.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "worker/http/cors.h"
#include "worker/http/parse.h"

static struct conf *conf;
static char text[2048];
static struct http_request req;

static void
setup(void)
{
	conf = conf_new();
	cr_assert_not_null(conf);
}

static void
teardown(void)
{
	conf_free(conf);
}

TestSuite(cors, .timeout = 60, .init = setup, .fini = teardown);

static void
policy(const char *origins)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "origins=%s", origins);
	cr_assert_eq(conf_set(conf, line, stderr), 0);
}

/* Parses a request with these field lines, each with its CRLF. */
static const struct http_request *
request(const char *method, const char *fields)
{
	const struct http_limits limits = { sizeof(text), 64 };
	const char *why = "";
	size_t used;
	int status = 0;
	int n = snprintf(
	    text, sizeof(text), "%s /pub/c HTTP/1.1\r\nHost: h:1\r\n%s\r\n", method, fields);

	cr_assert(n > 0 && (size_t)n < sizeof(text));
	cr_assert_eq(http_request_parse(text, (size_t)n, 0, &limits, &req, &used, &status, &why), 0,
	    "%s", why);
	return &req;
}

static void
expect(const char *fields, const char *lines)
{
	char out[CORS_FIELDS_MAX];

	cors_fields(conf, request("GET", fields), out);
	cr_assert_str_eq(out, lines);
}

#define ECHO(origin) "Access-Control-Allow-Origin: " origin "\r\nVary: Origin\r\n"

Test(cors, the_same_host_unless_origins_are_set)
{
	expect("", "");
	expect("Origin: http://h:1\r\n", ECHO("http://h:1"));
	expect("Origin: https://H:2\r\n", ECHO("https://H:2"));
	expect("Origin: http://other\r\n", "");
	expect("Origin: null\r\n", "");
	expect("Origin: http://h\r\nOrigin: http://h\r\n", "");
	cr_assert(cors_allowed(conf, request("GET", "")));
	cr_assert(cors_allowed(conf, request("GET", "Origin: http://h\r\n")));
	cr_assert_not(cors_allowed(conf, request("GET", "Origin: http://other\r\n")));
}

Test(cors, origins_that_are_set)
{
	policy("https://app.example, https://*.example.org");
	expect("Origin: https://app.example\r\n", ECHO("https://app.example"));
	expect("Origin: https://a.b.example.org\r\n", ECHO("https://a.b.example.org"));
	expect("Origin: https://example.org\r\n", "");
	expect("Origin: http://app.example\r\n", "");
	expect("Origin: http://h:1\r\n", "");
}

Test(cors, everybody)
{
	static const char all[] = "Access-Control-Allow-Origin: *\r\n";

	policy("https://app.example, \"*\"");
	expect("", "");
	expect("Origin: https://app.example\r\n", all);
	expect("Origin: null\r\n", all);
	expect("Origin: a\r\nOrigin: b\r\n", all);
}

/* What would not fit is not echoed, and the browser refuses the page. */
Test(cors, a_long_origin)
{
	char fields[700], out[CORS_FIELDS_MAX];
	int len;

	policy("https://*.example.org");
	for (len = 480; len < 560; len++) {
		(void)snprintf(
		    fields, sizeof(fields), "Origin: https://%0*d.example.org\r\n", len, 0);
		cors_preflight_fields(conf, request("OPTIONS", fields), "GET, HEAD, POST", out);
		cr_assert_eq(strstr(out, "Allow-Origin") != NULL, len + 8 + 12 <= 512, "%d", len);
		cr_assert_str_eq(out + strlen(out) - 7, ": 600\r\n", "%s", out);
	}
}

Test(cors, preflights)
{
	static const char asks[] = "Origin: http://h\r\nAccess-Control-Request-Method: POST\r\n";
	char out[CORS_FIELDS_MAX];

	cr_assert(cors_is_preflight(request("OPTIONS", asks)));
	cr_assert_not(cors_is_preflight(request("POST", asks)));
	cr_assert_not(cors_is_preflight(request("OPTIONS", "Origin: http://h\r\n")));
	cr_assert_not(
	    cors_is_preflight(request("OPTIONS", "Access-Control-Request-Method: POST\r\n")));
	cors_preflight_fields(conf, request("OPTIONS", asks), "GET, POST", out);
	cr_assert_str_eq(out,
	    ECHO("http://h") "Access-Control-Allow-Methods: GET, POST\r\n"
			     "Access-Control-Allow-Headers: Authorization, Content-Type, "
			     "Idempotency-Key, Last-Event-ID, X-API-Key\r\n"
			     "Access-Control-Max-Age: 600\r\n");
}
