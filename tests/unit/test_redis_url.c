/*
 * Unit tests of redis_url: every form that redis.url may take, and those that it may not.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/redis_url.h"

TestSuite(redis_url, .timeout = 10);

struct good {
	const char *text, *host, *port, *path, *user, *password;
	unsigned db;
};

static const struct good goods[] = {
	{ "redis://localhost", "localhost", "6379", NULL, NULL, NULL, 0 },
	{ "REDIS://localhost/", "localhost", "6379", NULL, NULL, NULL, 0 },
	{ "redis://10.0.0.1:7000", "10.0.0.1", "7000", NULL, NULL, NULL, 0 },
	{ "redis://10.0.0.1:65535/15", "10.0.0.1", "65535", NULL, NULL, NULL, 15 },
	{ "redis://[::1]:1/2", "::1", "1", NULL, NULL, NULL, 2 },
	{ "redis://[2001:db8::7]", "2001:db8::7", "6379", NULL, NULL, NULL, 0 },
	{ "redis://:secret@cache.example", "cache.example", "6379", NULL, NULL, "secret", 0 },
	{ "redis://web:secret@h:1/3", "h", "1", NULL, "web", "secret", 3 },
	{ "redis://web@h", "h", "6379", NULL, "web", "", 0 },
	{ "redis://web:@h", "h", "6379", NULL, "web", "", 0 },
	{ "redis://@h", "h", "6379", NULL, NULL, NULL, 0 },
	{ "redis://:@h", "h", "6379", NULL, NULL, NULL, 0 },
	{ "redis://w%40b:p%3A%2f%25%C3%9F@h", "h", "6379", NULL, "w@b", "p:/%\xc3\x9f", 0 },
	{ "redis://u:a:b@c@h", "h", "6379", NULL, "u", "a:b@c", 0 },
	{ "unix:///run/redis.sock", NULL, "6379", "/run/redis.sock", NULL, NULL, 0 },
	{ "redis+unix:///run/r.sock?db=9", NULL, "6379", "/run/r.sock", NULL, NULL, 9 },
	{ "unix://u:p@/run/a%20b", NULL, "6379", "/run/a b", "u", "p", 0 },
	{ "unix://:p@/run/x?db=0", NULL, "6379", "/run/x", NULL, "p", 0 },
};

static void
same(const char *got, const char *want, const char *what, const char *text)
{
	if (want == NULL)
		cr_assert_null(got, "%s of %s", what, text);
	else
		cr_assert(got != NULL && strcmp(got, want) == 0, "%s of %s", what, text);
}

Test(redis_url, accepts)
{
	size_t i;

	for (i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
		const struct good *g = &goods[i];
		struct redis_url u;
		const char *why = "";

		cr_assert_eq(redis_url_parse(g->text, &u, &why), 0, "%s: %s", g->text, why);
		same(u.host, g->host, "host", g->text);
		same(u.port, g->port, "port", g->text);
		same(u.path, g->path, "path", g->text);
		same(u.user, g->user, "user", g->text);
		same(u.password, g->password, "password", g->text);
		cr_assert_eq(u.db, g->db, "%s", g->text);
		redis_url_fini(&u);
	}
}

static const struct {
	const char *text, *why;
} bads[] = {
	{ "", "must begin with" },
	{ "localhost:6379", "must begin with" },
	{ "http://localhost", "must begin with" },
	{ "redis:/localhost", "must begin with" },
	{ "rediss://localhost", "TLS" },
	{ "redis://", "host" },
	{ "redis://:6379", "host" },
	{ "redis://u:hunter2@", "host" },
	{ "redis://u:hunter2@:1", "host" },
	{ "redis://[::1", "host" },
	{ "redis://[]", "host" },
	{ "redis://[::1]x", "host" },
	{ "redis://h%41st", "host" },
	{ "redis://h:", "port" },
	{ "redis://h:0", "port" },
	{ "redis://h:65536", "port" },
	{ "redis://h:+1", "port" },
	{ "redis://h:123456789", "port" },
	{ "redis://::1", "host" },
	{ "redis://h/x", "database" },
	{ "redis://h/-1", "database" },
	{ "redis://h/1/", "database" },
	{ "redis://h/1234567890", "database" },
	{ "redis://h?db=1", "behind the host" },
	{ "redis://h#1", "behind the host" },
	{ "redis://u:hunter2%@h", "percent" },
	{ "redis://u:hunter2%4@h", "percent" },
	{ "redis://u:hunter2%4g@h", "percent" },
	{ "redis://u:hunter2%00@h", "percent" },
	{ "redis://u%:hunter2@h", "percent" },
	{ "unix://", "slash" },
	{ "unix://run/x", "no host" },
	{ "unix://u:hunter2@host/x", "no host" },
	{ "unix:///run/%00", "percent" },
	{ "unix:///run/x?db=", "database" },
	{ "unix:///run/x?db=a", "database" },
	{ "unix:///run/x?database=1", "?db=" },
};

Test(redis_url, refuses_with_a_phrase)
{
	size_t i;

	for (i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		struct redis_url u;
		const char *why = NULL;

		cr_assert_eq(
		    redis_url_parse(bads[i].text, &u, &why), FAN_EINVAL, "%s", bads[i].text);
		cr_assert_not_null(why);
		cr_assert_not_null(strstr(why, bads[i].why), "%s: %s", bads[i].text, why);
		cr_assert_null(strstr(why, "hunter2"), "the password must not be repeated");
		cr_assert(u.host == NULL && u.path == NULL && u.user == NULL && u.password == NULL);
		redis_url_fini(&u);
	}
}

Test(redis_url, bounds_names)
{
	char text[400] = "unix:///";
	struct redis_url u;
	const char *why;

	memset(text + 8, 'a', 106);
	cr_assert_eq(redis_url_parse(text, &u, &why), 0, "107 bytes fit into sun_path");
	cr_assert_eq(strlen(u.path), 107);
	redis_url_fini(&u);
	text[114] = 'a';
	cr_assert_eq(redis_url_parse(text, &u, &why), FAN_EINVAL);
	memset(text, 'a', 300);
	memcpy(text, "redis://", 8);
	cr_assert_eq(redis_url_parse(text, &u, &why), FAN_EINVAL);
}

Test(redis_url, text_has_no_secret)
{
	static const struct {
		const char *url, *text;
	} cases[] = {
		{ "redis://web:hunter2@h:1/3", "h:1 db=3" },
		{ "redis://:hunter2@[::1]", "[::1]:6379 db=0" },
		{ "unix://web:hunter2@/run/x?db=4", "/run/x db=4" },
	};
	char out[REDIS_URL_TEXT];
	size_t i;

	for (i = 0; i < 3; i++) {
		struct redis_url u;
		const char *why;

		cr_assert_eq(redis_url_parse(cases[i].url, &u, &why), 0);
		cr_assert_str_eq(redis_url_text(&u, out), cases[i].text);
		redis_url_fini(&u);
	}
}
