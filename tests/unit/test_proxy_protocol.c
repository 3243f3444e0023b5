/*
 * Unit tests of worker/net/proxy_protocol.
 */
#include "worker/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/sock.h"
#include "tests/unit/guard.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BEHIND "GET / HTTP/1.1\r\n" /* what must not be touched */

static struct guard guard;

static void
setup(void)
{
	guard = guard_new(2048);
}

static void
teardown(void)
{
	guard_free(&guard);
}

TestSuite(proxy, .init = setup, .fini = teardown);

static int
parse(const void *p, size_t n, struct proxy_header *h, size_t *used)
{
	return proxy_header_parse(guard_put(&guard, p, n), n, h, used);
}

static void
expect_client(const struct proxy_header *h, const char *client)
{
	char text[SOCK_ADDR_TEXT];

	if (client == NULL)
		cr_assert_eq(h->client.ss_family, AF_UNSPEC);
	else
		cr_assert_str_eq(sock_addr_text((const struct sockaddr *)&h->client, text), client);
}

/* The header is good: whole, byte by byte, and with more behind it.  client NULL: none is named. */
static void
good(const void *p, size_t n, const char *client)
{
	uint8_t more[PROXY_HEADER_MAX + sizeof(BEHIND)];
	struct proxy_header h;
	size_t used, i;

	for (i = 0; i < n; i++)
		cr_assert_eq(parse(p, i, &h, &used), FAN_EAGAIN, "%zu bytes of %zu", i, n);
	cr_assert_eq(parse(p, n, &h, &used), 0);
	cr_assert_eq(used, n);
	expect_client(&h, client);
	memcpy(more, p, n);
	memcpy(more + n, BEHIND, sizeof(BEHIND));
	for (i = 1; i <= sizeof(BEHIND); i++) {
		cr_assert_eq(parse(more, n + i, &h, &used), 0);
		cr_assert_eq(used, n);
		expect_client(&h, client);
	}
}

/* It is refused as a whole, and what is refused at some length is so at every greater one. */
static void
bad(const void *p, size_t n, const char *name)
{
	struct proxy_header h;
	size_t used, i;
	bool refused = false;

	for (i = 0; i <= n; i++) {
		int err = parse(p, i, &h, &used);

		cr_assert(err == (refused ? FAN_EPROTO : err), "%s: %zu bytes", name, i);
		cr_assert(err == FAN_EAGAIN || err == FAN_EPROTO, "%s: %zu bytes", name, i);
		refused = err == FAN_EPROTO;
	}
	cr_assert(refused, "%s", name);
}

/* --- version 1 ------------------------------------------------------------------------------ */

Test(proxy, lines)
{
	static const struct {
		const char *line, *client;
	} cases[] = {
		{ "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1:56324" },
		{ "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0" },
		{ "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
		    "255.255.255.255:65535" },
		{ "PROXY TCP6 2001:db8::1 2001:DB8::2 1 2\r\n", "[2001:db8::1]:1" },
		{ "PROXY TCP6 :: ::1 1 2\r\n", "[::]:1" },
		{ "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", "[::ffff:192.0.2.1]:1" },
		{ "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n",
		    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
		{ "PROXY UNKNOWN\r\n", NULL },
		{ "PROXY UNKNOWN whatever \n \r stands here\r\n", NULL },
		{ "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		    NULL },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		good(cases[i].line, strlen(cases[i].line), cases[i].client);
	cr_assert_eq(strlen(cases[9].line), 107);
}

Test(proxy, lines_that_are_refused)
{
	static const char *const lines[] = {
		"GET / HTTP/1.1\r\n",
		"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		" PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY\r\n",
		"PROXY \r\n",
		"PROXY TCP\r\n",
		"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4\r\n",
		"PROXY TCP4 1.2.3.4\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
		"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
		"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r \n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
		"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
		"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.04 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n",
		"PROXY TCP4 1.2.3.4 example.com 1 2\r\n",
		"PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 100000 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 02\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1a 2\r\n",
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
		"PROXY TCP6 [::1] [::1] 1 2\r\n",
		"PROXY TCP6 :::1 ::1 1 2\r\n",
		"PROXY TCP6 1::2::3 ::1 1 2\r\n",
		"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n",
		"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
		"PROXY TCP6 12345::1 ::1 1 2\r\n",
		"PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
		"PROXY TCP6 g::1 ::1 1 2\r\n",
		"PROXY UNKNOW\r\n",
		"PROXY UNKNOWNS\r\n",
		"PROXY UNKNOWN\n",
	};
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char padded[256];

		/* What only might still become good is refused where it is too long at last. */
		(void)snprintf(padded, sizeof(padded), "%s%0120d", lines[i], 0);
		bad(padded, strlen(padded), lines[i]);
	}
}

/* A line of 107 bytes at most, each of which may be NUL. */
Test(proxy, length_of_a_line)
{
	char line[128];

	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + 105, "\r\n", 2);
	good(line, 107, NULL);
	line[50] = '\0';
	good(line, 107, NULL);
	memset(line + 105, 'x', 2);
	memcpy(line + 106, "\r\n", 2);
	bad(line, sizeof(line), "108 bytes");
	bad("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n", 33, "NUL");
}

/* --- version 2 ------------------------------------------------------------------------------ */

struct v2 {
	uint8_t p[PROXY_HEADER_MAX + 64];
	size_t n;
};

static void
append(struct v2 *v, const void *p, size_t n)
{
	memcpy(v->p + v->n, p, n);
	v->n += n;
}

static void
set_length(struct v2 *v)
{
	v->p[14] = (uint8_t)((v->n - 16) >> 8);
	v->p[15] = (uint8_t)(v->n - 16);
}

/* A header with `size` bytes of addresses, of which the first count up from 1. */
static struct v2
v2(uint8_t version_command, uint8_t family, size_t size)
{
	struct v2 v = { .n = 0 };
	uint8_t byte;

	append(&v, SIGNATURE, 12);
	append(&v, &version_command, 1);
	append(&v, &family, 1);
	append(&v, "\0\0", 2);
	for (byte = 1; size > 0; byte++, size--)
		append(&v, &byte, 1);
	set_length(&v);
	return v;
}

static void
tlv(struct v2 *v, uint8_t type, size_t len, const void *value)
{
	const uint8_t head[3] = { type, (uint8_t)(len >> 8), (uint8_t)len };

	append(v, head, sizeof(head));
	append(v, value, len);
	set_length(v);
}

#define TCP4_CLIENT "1.2.3.4:2314" /* port: bytes 9 and 10 */
#define TCP6_CLIENT "[102:304:506:708:90a:b0c:d0e:f10]:8482"

Test(proxy, binary)
{
	struct v2 v = v2(0x21, 0x11, 12);

	good(v.p, v.n, TCP4_CLIENT);
	v = v2(0x21, 0x21, 36);
	good(v.p, v.n, TCP6_CLIENT);
	/* The proxy speaks for itself, or of somebody who has no IP address. */
	v = v2(0x20, 0x00, 0);
	good(v.p, v.n, NULL);
	v = v2(0x20, 0x11, 12);
	good(v.p, v.n, NULL);
	v = v2(0x20, 0xff, 3);
	good(v.p, v.n, NULL);
	v = v2(0x21, 0x00, 0);
	good(v.p, v.n, NULL);
	v = v2(0x21, 0x31, 216);
	good(v.p, v.n, NULL);
	v = v2(0x21, 0x32, 216);
	good(v.p, v.n, NULL);
	v = v2(0x21, 0x12, 12);
	good(v.p, v.n, NULL);
	v = v2(0x21, 0x22, 36);
	good(v.p, v.n, NULL);
}

Test(proxy, binary_that_is_refused)
{
	static const uint8_t commands[] = { 0x00, 0x01, 0x10, 0x11, 0x22, 0x23, 0x2f, 0x30, 0x31,
		0xf1, 0xff };
	static const uint8_t families[] = { 0x01, 0x02, 0x03, 0x10, 0x13, 0x1f, 0x20, 0x23, 0x30,
		0x33, 0x40, 0x41, 0x51, 0xff };
	struct v2 v;
	size_t i;

	for (i = 0; i < 12; i++) {
		v = v2(0x21, 0x11, 12);
		v.p[i] ^= 1;
		bad(v.p, v.n, "signature");
	}
	for (i = 0; i < sizeof(commands); i++) {
		v = v2(commands[i], 0x11, 12);
		bad(v.p, v.n, "version and command");
	}
	for (i = 0; i < sizeof(families); i++) {
		v = v2(0x21, families[i], 216);
		bad(v.p, v.n, "family");
	}
}

Test(proxy, length_of_a_binary_header)
{
	static const struct {
		uint8_t family;
		size_t size;
	} least[] = { { 0x11, 12 }, { 0x12, 12 }, { 0x21, 36 }, { 0x22, 36 }, { 0x31, 216 },
		{ 0x32, 216 } };
	static const uint8_t zeros[PROXY_HEADER_MAX];
	struct v2 v;
	size_t i;

	for (i = 0; i < sizeof(least) / sizeof(least[0]); i++) {
		v = v2(0x21, least[i].family, least[i].size - 1);
		bad(v.p, v.n, "too short for its addresses");
	}
	v = v2(0x21, 0x11, 12);
	tlv(&v, 0x04, PROXY_HEADER_MAX - v.n - 3, zeros);
	cr_assert_eq(v.n, PROXY_HEADER_MAX);
	good(v.p, v.n, TCP4_CLIENT);
	v = v2(0x21, 0x11, 12);
	tlv(&v, 0x04, PROXY_HEADER_MAX - v.n - 2, zeros);
	bad(v.p, v.n, "one byte more");
	v = v2(0x20, 0x00, 0);
	v.p[14] = v.p[15] = 0xff;
	bad(v.p, v.n, "LOCAL of 64 KiB");
}

Test(proxy, tlvs)
{
	struct v2 v = v2(0x21, 0x11, 12);

	tlv(&v, 0x04, 0, "");             /* NOOP */
	tlv(&v, 0x02, 11, "example.com"); /* AUTHORITY */
	tlv(&v, 0xea, 3, "\x01\x02\x03"); /* of a provider's own */
	good(v.p, v.n, TCP4_CLIENT);
	v = v2(0x21, 0x11, 13);
	bad(v.p, v.n, "one byte is no TLV");
	v = v2(0x21, 0x11, 14);
	bad(v.p, v.n, "two bytes are no TLV");
	v = v2(0x21, 0x11, 12);
	tlv(&v, 0x02, 4, "abcd");
	v.p[v.n - 5]++;
	bad(v.p, v.n, "a TLV that ends behind the header");
	v = v2(0x21, 0x11, 12);
	tlv(&v, 0x02, 4, "abcd");
	v.p[v.n - 5]--;
	bad(v.p, v.n, "a byte behind the last TLV");
}

/* CRC-32C, a bit at a time, of a whole header in which the sum's place is zero. */
static uint32_t
sum(const uint8_t *p, size_t n)
{
	uint32_t crc = 0xffffffff;

	while (n-- > 0) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = (crc & 1) ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
	}
	return crc ^ 0xffffffff;
}

Test(proxy, checksum)
{
	struct v2 v = v2(0x21, 0x21, 36);
	uint32_t crc;
	size_t at, i;

	cr_assert_eq(sum((const uint8_t *)"123456789", 9), 0xe3069283); /* the check value */
	tlv(&v, 0x03, 4, "\0\0\0\0");
	at = v.n - 4;
	tlv(&v, 0x02, 11, "example.com");
	crc = htonl(sum(v.p, v.n));
	memcpy(v.p + at, &crc, 4);
	good(v.p, v.n, TCP6_CLIENT);
	for (i = 16; i < v.n; i++) {
		struct v2 w = v;

		/* A length that is wrong fails otherwise; both are refused. */
		w.p[i] ^= 0x40;
		if (i != at - 3)
			bad(w.p, w.n, "a changed byte");
	}
	v = v2(0x21, 0x11, 12);
	tlv(&v, 0x03, 3, "abc");
	bad(v.p, v.n, "a sum of three bytes");
}
