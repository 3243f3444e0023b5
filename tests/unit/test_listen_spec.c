/*
 * Unit tests of common/listen_spec.
 */
#include "common/listen_spec.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static int
parse(const char *text, struct listen_spec *l)
{
	const char *why = NULL;
	int err = listen_spec_parse(text, l, &why);

	if (err != 0)
		cr_assert(why != NULL && *why != '\0', "%s", text);
	return err;
}

static void
expect_addr(const struct listen_spec *l, const char *text)
{
	char out[SOCK_ADDR_TEXT];

	cr_assert_str_eq(sock_addr_text((const struct sockaddr *)&l->addr.ss, out), text);
}

Test(listen_spec, an_address_alone)
{
	struct listen_spec l;

	cr_assert_eq(parse("127.0.0.1:8080", &l), 0);
	expect_addr(&l, "127.0.0.1:8080");
	cr_assert(!l.tls && !l.proxy && !listen_spec_is_unix(&l) && listen_spec_is_local(&l));
	cr_assert_str_empty(l.user);
	cr_assert_str_empty(l.group);
	cr_assert_eq(parse(":8080", &l), 0);
	cr_assert(l.addr.any && !listen_spec_is_local(&l));
	cr_assert_eq(parse("[2001:db8::1]:443", &l), 0);
	cr_assert_not(listen_spec_is_local(&l));
}

Test(listen_spec, words_in_any_order)
{
	struct listen_spec l;

	cr_assert_eq(parse(":8443 tls", &l), 0);
	cr_assert(l.tls && !l.proxy);
	cr_assert_eq(parse("10.0.0.1:80 proxy", &l), 0);
	cr_assert(!l.tls && l.proxy);
	cr_assert_eq(parse("[::1]:80 \t proxy  tls ", &l), 0);
	cr_assert(l.tls && l.proxy);
	expect_addr(&l, "[::1]:80");
}

Test(listen_spec, unix_sockets)
{
	struct listen_spec l;

	cr_assert_eq(parse("unix:/run/fanfare/public.sock", &l), 0);
	expect_addr(&l, "unix:/run/fanfare/public.sock");
	cr_assert(listen_spec_is_unix(&l) && listen_spec_is_local(&l));
	cr_assert_eq(l.mode, 0660);
	cr_assert_eq(parse("unix:/a mode=0777 owner=www-data", &l), 0);
	cr_assert_eq(l.mode, 0777);
	cr_assert_str_eq(l.user, "www-data");
	cr_assert_str_empty(l.group);
	cr_assert_eq(parse("unix:/a owner=:adm", &l), 0);
	cr_assert_str_empty(l.user);
	cr_assert_str_eq(l.group, "adm");
	cr_assert_eq(parse("unix:/a proxy owner=0:adm mode=600 tls", &l), 0);
	cr_assert_eq(l.mode, 0600);
	cr_assert_str_eq(l.user, "0");
	cr_assert_str_eq(l.group, "adm");
	cr_assert(l.tls && l.proxy);
}

/* The longest path, as bind(2) takes it, and one byte more. */
Test(listen_spec, length_of_a_path)
{
	char text[160];
	struct listen_spec l;

	(void)snprintf(text, sizeof(text), "unix:/%0106d", 0);
	cr_assert_eq(parse(text, &l), 0);
	expect_addr(&l, text);
	(void)snprintf(text, sizeof(text), "unix:/%0107d", 0);
	cr_assert_eq(parse(text, &l), FAN_EINVAL);
}

Test(listen_spec, what_is_refused)
{
	static const char *const bad[] = { "", " ", " :80", "tls", "tls :80", "unix:", "unix:a",
		"unix:a/b", "unix:/", "unix:/a/", "unix://h/", "UNIX:/a", "unix: /a", ":80 tls tls",
		":80 proxy proxy", "unix:/a mode=0660 mode=0660", "unix:/a owner=a owner=a",
		":80 tls,", ":80 Tls", ":80 TLS", ":80 proxy=1", ":80 mode=0660", ":80 owner=root",
		"unix:/a mode", "unix:/a mode=", "unix:/a mode=8", "unix:/a mode=01000",
		"unix:/a mode=1777", "unix:/a mode=00660", "unix:/a mode=-1", "unix:/a mode=0x1",
		"unix:/a mode=rw",
		"unix:/a owner=", "unix:/a owner=:", "unix:/a owner=a:", "unix:/a owner=a:b:c",
		"unix:/a owner", "unix:/a mode=0660owner=a", "unix:/a b",
		"unix:/a owner=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct listen_spec l;
	char text[LISTEN_SPEC_MAX + 16];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(parse(bad[i], &l), FAN_EINVAL, "%s", bad[i]);
	(void)snprintf(text, sizeof(text), ":80%*s", LISTEN_SPEC_MAX - 3, "");
	cr_assert_eq(parse(text, &l), 0);
	(void)snprintf(text, sizeof(text), ":80%*s", LISTEN_SPEC_MAX - 2, "");
	cr_assert_eq(parse(text, &l), FAN_EINVAL);
}

Test(listen_spec, the_right_word_is_named)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{ ":80 tsl", "did you mean \"tls\"?" },
		{ ":80 ssl", "did you mean \"tls\"?" },
		{ ":80 TLS", "did you mean \"tls\"?" },
		{ ":80 proxy_protocol", "did you mean \"proxy\"?" },
		{ ":80 perm=0660", "did you mean \"proxy\"?" },
		{ "unix:/a Mode=0660", "did you mean \"mode=0660\"?" },
		{ "unix:/a onwer=me", "did you mean \"owner=USER:GROUP\"?" },
		{ "unix:/a group=me", "did you mean \"owner=USER:GROUP\"?" },
		{ ":80 reuseport", "there are tls, proxy, mode=0660 and owner=USER:GROUP" },
		{ ":80 mode=0660", "for unix sockets alone" },
		{ "unix:/a mode=9", "octal" },
	};
	struct listen_spec l;
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(listen_spec_parse(cases[i].text, &l, &why), FAN_EINVAL);
		cr_assert_not_null(strstr(why, cases[i].part), "%s: %s", cases[i].text, why);
	}
}
