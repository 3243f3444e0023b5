/*
 * Unit tests of common/addr_set.
 */
#include "common/addr_set.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

static struct addr_set set;

static void
teardown(void)
{
	addr_set_fini(&set);
}

TestSuite(addr_set, .fini = teardown);

static void
add(const char *text)
{
	const char *why = "";

	cr_assert_eq(addr_set_add(&set, text, &why), 0, "%s: %s", text, why);
}

static bool
has(const char *text)
{
	struct sockaddr_storage ss = { .ss_family = AF_INET };
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(80) };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(80) };

	if (inet_pton(AF_INET, text, &sin.sin_addr) == 1) {
		memcpy(&ss, &sin, sizeof(sin));
	} else {
		cr_assert_eq(inet_pton(AF_INET6, text, &sin6.sin6_addr), 1, "%s", text);
		memcpy(&ss, &sin6, sizeof(sin6));
	}
	return addr_set_has(&set, (const struct sockaddr *)&ss);
}

Test(addr_set, an_empty_one_has_nobody)
{
	cr_assert(!has("127.0.0.1") && !has("::1"));
}

Test(addr_set, single_addresses)
{
	add("192.0.2.7");
	add("2001:db8::7");
	cr_assert(has("192.0.2.7") && has("2001:db8::7"));
	cr_assert(!has("192.0.2.6") && !has("2001:db8::6") && !has("::"));
	/* The same bytes in the other family. */
	cr_assert(!has("c000:207::") && !has("::192.0.2.7"));
}

Test(addr_set, blocks)
{
	static const struct {
		const char *block, *in, *out;
	} cases[] = {
		{ "10.0.0.0/8", "10.255.0.1", "11.0.0.0" },
		{ "10.128.0.0/9", "10.128.0.0", "10.127.255.255" },
		{ "192.0.2.0/24", "192.0.2.255", "192.0.3.0" },
		{ "192.0.2.128/25", "192.0.2.129", "192.0.2.127" },
		{ "192.0.2.2/31", "192.0.2.3", "192.0.2.4" },
		{ "192.0.2.1/32", "192.0.2.1", "192.0.2.0" },
		{ "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::" },
		{ "2001:db8:8000::/33", "2001:db8:8000::", "2001:db8:7fff::" },
		{ "fe80::/10", "febf::1", "fec0::" },
		{ "2001:db8::1/128", "2001:db8::1", "2001:db8::2" },
		{ "2001:db8::2/127", "2001:db8::3", "2001:db8::4" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		add(cases[i].block);
		cr_assert(has(cases[i].in), "%s in %s", cases[i].in, cases[i].block);
		cr_assert_not(has(cases[i].out), "%s in %s", cases[i].out, cases[i].block);
		addr_set_fini(&set);
	}
}

Test(addr_set, everybody_of_one_family)
{
	add("0.0.0.0/0");
	cr_assert(has("1.2.3.4") && has("255.255.255.255") && has("::ffff:1.2.3.4"));
	cr_assert(!has("::1") && !has("2001:db8::"));
	addr_set_fini(&set);
	add("::/0");
	cr_assert(has("::1") && has("2001:db8::"));
	cr_assert(!has("1.2.3.4") && !has("::ffff:1.2.3.4"));
}

Test(addr_set, mapped_addresses_count_as_ipv4)
{
	add("10.0.0.0/8");
	cr_assert(has("::ffff:10.1.2.3") && !has("::ffff:11.1.2.3"));
	addr_set_fini(&set);
	add("::ffff:10.0.0.0/104");
	cr_assert(has("10.1.2.3") && has("::ffff:10.1.2.3") && !has("11.1.2.3"));
	addr_set_fini(&set);
	add("::ffff:192.0.2.1");
	cr_assert(has("192.0.2.1") && !has("192.0.2.2"));
	addr_set_fini(&set);
	add("::ffff:0:0/96");
	cr_assert(has("192.0.2.1") && !has("::1"));
}

Test(addr_set, unix_sockets)
{
	struct sockaddr_storage un = { .ss_family = AF_UNIX };
	struct sockaddr_storage none = { .ss_family = AF_UNSPEC };

	add("0.0.0.0/0");
	add("::/0");
	cr_assert_not(addr_set_has(&set, (const struct sockaddr *)&un));
	add("unix");
	cr_assert(addr_set_has(&set, (const struct sockaddr *)&un));
	cr_assert_not(addr_set_has(&set, (const struct sockaddr *)&none));
}

Test(addr_set, what_is_refused)
{
	static const char *const bad[] = { "", "a", "Unix", "unix:", "localhost", "10.0.0", "10",
		"10.0.0.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1 ", " 10.0.0.1", "10.0.0.1:80",
		"10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8 ",
		"10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.1/8", "10.128.0.0/8", "0.0.0.1/31",
		"[::1]", "::1/129", "::1/127", "2001:db8::/16", "::ffff:10.0.0.1/104",
		"::ffff:0:0/95", "fe80::1%lo", "/8", "1:2:3:4:5:6:7:8:9",
		"0000:0000:0000:0000:0000:0000:0000:0000:0000/128000000" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *why = NULL;

		cr_assert_eq(addr_set_add(&set, bad[i], &why), FAN_EINVAL, "%s", bad[i]);
		cr_assert(why != NULL && *why != '\0');
	}
	cr_assert_eq(set.n, 0);
}
