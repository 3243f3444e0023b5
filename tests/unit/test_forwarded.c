/*
 * Unit tests of worker/http/forwarded.
 */
#include "worker/http/forwarded.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/addr_set.h"
#include "common/conf.h"
#include "common/sock.h"
#include "tests/unit/guard.h"
#include "worker/http/parse.h"

#define PEER "10.0.0.1" /* a trusted proxy */

static struct addr_set trusted;
static struct http_request req;

static void
setup(void)
{
	const char *why;

	memset(&req, 0, sizeof(req));
	cr_assert_eq(addr_set_add(&trusted, "10.0.0.0/8", &why), 0);
	cr_assert_eq(addr_set_add(&trusted, "2001:db8:ffff::/48", &why), 0);
}

static void
teardown(void)
{
	addr_set_fini(&trusted);
}

TestSuite(forwarded, .init = setup, .fini = teardown);

static void
field(const char *name, const char *value)
{
	req.field[req.nfields++] = (struct http_field){ .name = { name, strlen(name) },
		.value = { value, strlen(value) } };
}

static struct sockaddr_storage
address(const char *text)
{
	struct sockaddr_storage ss = { .ss_family = AF_INET };
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &sin.sin_addr) == 1) {
		memcpy(&ss, &sin, sizeof(sin));
	} else {
		cr_assert_eq(inet_pton(AF_INET6, text, &sin6.sin6_addr), 1);
		memcpy(&ss, &sin6, sizeof(sin6));
	}
	return ss;
}

/* The client of the request from peer is this; NULL: nobody is named. */
static void
expect_from(const char *peer, int header, const char *client)
{
	struct sockaddr_storage from = address(peer), got, want = address(client ? client : peer);
	char text[2][SOCK_ADDR_TEXT];
	bool named = forwarded_client(&req, &trusted, header, &from, &got);

	sock_addr_text((const struct sockaddr *)&got, text[0]);
	sock_addr_text((const struct sockaddr *)&want, text[1]);
	cr_assert_str_eq(text[0], text[1], "%.*s", req.nfields > 0 ? (int)req.field[0].value.n : 0,
	    req.nfields > 0 ? req.field[0].value.p : "");
	cr_assert(named == (client != NULL));
}

/* The same for one field from PEER, its value at a forbidden page. */
static void
expect(int header, const char *value, const char *client)
{
	struct guard g = guard_new(4096);
	size_t n = strlen(value);
	const char *name = forwarded_field(header);

	req.nfields = 1;
	req.field[0].name = (struct http_slice){ name, strlen(name) };
	req.field[0].value = (struct http_slice){ (const char *)guard_put(&g, value, n), n };
	expect_from(PEER, header, client);
	guard_free(&g);
}

struct one {
	const char *value, *client;
};

Test(forwarded, x_forwarded_for)
{
	static const struct one cases[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "192.0.2.1:4711", "192.0.2.1" },
		{ "2001:db8::1", "2001:db8::1" },
		{ "[2001:db8::1]", "2001:db8::1" },
		{ "[2001:db8::1]:443", "2001:db8::1" },
		{ "::ffff:192.0.2.1", "192.0.2.1" },
		/* What the client wrote himself stands before what the proxy wrote. */
		{ "198.51.100.1, 192.0.2.1", "192.0.2.1" },
		{ "10.0.0.9, 192.0.2.1", "192.0.2.1" },
		{ "garbage, 192.0.2.1", "192.0.2.1" },
		/* Through more than one proxy. */
		{ "192.0.2.1, 10.0.0.2", "192.0.2.1" },
		{ "198.51.100.1, 192.0.2.1, 10.0.0.3, 2001:db8:ffff::2", "192.0.2.1" },
		{ "192.0.2.1,10.0.0.2\t,  10.0.0.3", "192.0.2.1" },
		{ ",192.0.2.1, ,10.0.0.2,,", "192.0.2.1" },
		/* Trusted all the way: the first. */
		{ "10.0.0.4, 10.0.0.2", "10.0.0.4" },
		/* What cannot be read ends the walk. */
		{ "192.0.2.1, unknown, 10.0.0.2", "10.0.0.2" },
		{ "192.0.2.1, unknown, 10.0.0.4, 10.0.0.2", "10.0.0.4" },
		{ "192.0.2.1, unknown", NULL },
		{ "192.0.2.1, _hidden", NULL },
		{ "192.0.2.1, 192.0.2.1.1", NULL },
		{ "", NULL },
		{ ",", NULL },
		{ "unknown", NULL },
		{ "192.0.2", NULL },
		{ "192.0.2.1:", NULL },
		{ "192.0.2.1:x", NULL },
		{ "192.0.2.1:123456", NULL },
		{ "192.0.2.1 192.0.2.2", NULL },
		{ "[192.0.2.1]", NULL },
		{ "[2001:db8::1", NULL },
		{ "[2001:db8::1]443", NULL },
		{ "[2001:db8::1]:", NULL },
		{ "[]", NULL },
		{ "\"192.0.2.1\"", NULL },
		{ "for=192.0.2.1", NULL },
		{ "fe80::1%lo", NULL },
		{ "192.0.2.1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(CONF_PROXY_X_FORWARDED_FOR, cases[i].value, cases[i].client);
}

Test(forwarded, rfc_7239)
{
	static const struct one cases[] = {
		{ "for=192.0.2.1", "192.0.2.1" },
		{ "For=192.0.2.1", "192.0.2.1" },
		{ "for=\"192.0.2.1:4711\"", "192.0.2.1" },
		{ "for=\"[2001:db8::1]\"", "2001:db8::1" },
		{ "for=\"[2001:db8::1]:4711\"", "2001:db8::1" },
		{ "for=\"[2001:db8::1]:_port\"", "2001:db8::1" },
		{ "for=\"192.0.2\\.1\"", "192.0.2.1" },
		{ "for=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1" },
		{ "proto=https;for=192.0.2.1;host=\"a,b;for=c\"", "192.0.2.1" },
		{ "by=\"x\";for=192.0.2.1;host=\"y\"", "192.0.2.1" },
		{ ";for=192.0.2.1; ;proto=http;", "192.0.2.1" },
		{ "for=192.0.2.1 ; proto=https , for=10.0.0.2", "192.0.2.1" },
		{ "for=198.51.100.1, for=192.0.2.1", "192.0.2.1" },
		{ "for=10.0.0.9, for=192.0.2.1", "192.0.2.1" },
		{ "for=192.0.2.1,for=10.0.0.2,for=\"[2001:db8:ffff::2]:1\"", "192.0.2.1" },
		{ "for=192.0.2.1,, ,for=10.0.0.2,", "192.0.2.1" },
		{ "for=unknown, for=192.0.2.1", "192.0.2.1" },
		{ "for=192.0.2.1, for=unknown, for=10.0.0.2", "10.0.0.2" },
		{ "for=192.0.2.1, proto=https, for=10.0.0.2", "10.0.0.2" },
		{ "for=192.0.2.1, for=unknown", NULL },
		{ "for=_hidden", NULL },
		{ "proto=https", NULL },
		{ "for=192.0.2.1;for=192.0.2.2", NULL },
		{ "for=192.0.2.1;FOR=192.0.2.1", NULL },
		{ "for=", NULL },
		{ "for=\"\"", NULL },
		{ "for", NULL },
		{ "=192.0.2.1", NULL },
		{ "for =192.0.2.1", NULL },
		{ "192.0.2.1", NULL },
		{ "", NULL },
		/* A client can begin a string, but not make the proxy's own words his. */
		{ "for=\"x, for=192.0.2.1", NULL },
		{ "for=\"x\\, for=192.0.2.1", NULL },
		{ "for=192.0.2.66, a=\", for=192.0.2.1", NULL },
		{ "for=192.0.2.66, a=\", for=\"[2001:db8::1]\"", NULL },
		{ "for=\"192.0.2.1\"x", NULL },
		{ "for=\"192.0.2.1\" x=y", NULL },
		{ "for=192.0.2.1 x=y", NULL },
		{ "for=\"\\", NULL },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(CONF_PROXY_FORWARDED, cases[i].value, cases[i].client);
}

/* 64 bytes between the quotes, and more. */
Test(forwarded, long_strings)
{
	char value[256];
	int n;

	for (n = 60; n < 70; n++) {
		(void)snprintf(value, sizeof(value), "by=\"%0*d\";for=192.0.2.1", n, 0);
		expect(CONF_PROXY_FORWARDED, value, "192.0.2.1");
		(void)snprintf(value, sizeof(value), "for=\"%0*d\"", n, 0);
		expect(CONF_PROXY_FORWARDED, value, NULL);
	}
}

Test(forwarded, several_fields_are_one_list)
{
	field("x-forwarded-for", "198.51.100.1, 192.0.2.1");
	field("X-Other", "192.0.2.99");
	field("X-FORWARDED-FOR", "10.0.0.3");
	field("Forwarded", "for=192.0.2.98");
	field("X-Forwarded-For", "10.0.0.2");
	expect_from(PEER, CONF_PROXY_X_FORWARDED_FOR, "192.0.2.1");
	expect_from(PEER, CONF_PROXY_FORWARDED, "192.0.2.98");
	expect_from(PEER, CONF_PROXY_NONE, NULL);
	field("Forwarded", "for=192.0.2.97");
	expect_from(PEER, CONF_PROXY_FORWARDED, "192.0.2.97");
	/* A field that is malformed does not spoil the one behind it, but leaves nothing itself. */
	field("Forwarded", "for=\"x");
	expect_from(PEER, CONF_PROXY_FORWARDED, NULL);
	field("Forwarded", "for=10.0.0.2");
	expect_from(PEER, CONF_PROXY_FORWARDED, "10.0.0.2");
}

Test(forwarded, only_trusted_peers_are_believed)
{
	field("X-Forwarded-For", "192.0.2.1");
	expect_from("10.255.0.1", CONF_PROXY_X_FORWARDED_FOR, "192.0.2.1");
	expect_from("::ffff:10.0.0.1", CONF_PROXY_X_FORWARDED_FOR, "192.0.2.1");
	expect_from("2001:db8:ffff::1", CONF_PROXY_X_FORWARDED_FOR, "192.0.2.1");
	expect_from("11.0.0.1", CONF_PROXY_X_FORWARDED_FOR, NULL);
	expect_from("192.0.2.1", CONF_PROXY_X_FORWARDED_FOR, NULL);
	expect_from("127.0.0.1", CONF_PROXY_X_FORWARDED_FOR, NULL);
	expect_from("2001:db8::1", CONF_PROXY_X_FORWARDED_FOR, NULL);
}

Test(forwarded, a_unix_socket_is_trusted_where_it_says_so)
{
	struct sockaddr_storage un = { .ss_family = AF_UNIX }, client;
	const char *why;

	field("X-Forwarded-For", "192.0.2.1");
	cr_assert_not(forwarded_client(&req, &trusted, CONF_PROXY_X_FORWARDED_FOR, &un, &client));
	cr_assert_eq(client.ss_family, AF_UNIX);
	cr_assert_eq(addr_set_add(&trusted, "unix", &why), 0);
	cr_assert(forwarded_client(&req, &trusted, CONF_PROXY_X_FORWARDED_FOR, &un, &client));
	cr_assert_eq(client.ss_family, AF_INET);
}

/* No beginning of a value and no value with a byte changed does harm. */
Test(forwarded, damaged_values)
{
	static const char text[] = "for=\"[2001:db8::1]:80\";by=_x, for=10.0.0.2;a=\"\\\"b\"";
	static const char bytes[] = " \t\"\\,;=:[]0x\xff";
	struct sockaddr_storage peer = address(PEER), client;
	struct guard g = guard_new(256);
	size_t n, i, k;
	char changed[sizeof(text)];

	field("Forwarded", "");
	for (n = 0; n < sizeof(text); n++) {
		for (k = 0; k < sizeof(bytes); k++) {
			memcpy(changed, text, sizeof(text));
			for (i = n; i < sizeof(text); i += 7)
				changed[i] = k == 0 ? changed[i] : bytes[k - 1];
			req.field[0].value =
			    (struct http_slice){ (const char *)guard_put(&g, changed, n), n };
			(void)forwarded_client(
			    &req, &trusted, CONF_PROXY_FORWARDED, &peer, &client);
			(void)forwarded_client(
			    &req, &trusted, CONF_PROXY_X_FORWARDED_FOR, &peer, &client);
			cr_assert_neq(client.ss_family, AF_UNSPEC);
		}
	}
	guard_free(&g);
}
