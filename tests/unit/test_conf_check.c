/*
 * Tests of common/conf and the files under it: rules, conf_check, and damaged texts.
 */
#include "common/conf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf_table.h"
#include "common/conf_value.h"
#include "common/log.h"
#include "tests/unit/conf_fixture.h"

TestSuite(conf_check, .init = setup, .fini = teardown);

/* --- rules ---------------------------------------------------------------------------------- */

Test(conf_check, without_a_rule_anyone_subscribes_and_no_client_publishes)
{
	const struct conf_rule *r = conf_rule_for(c, "news");

	cr_assert_eq(r->subscribe, CONF_ANYONE);
	cr_assert_eq(r->publish, CONF_NOBODY);
	GOOD(load("channels: [{match: chat, subscribe: nobody, publish: anyone}]"));
	r = conf_rule_for(c, "chatter");
	cr_assert_eq(r->subscribe, CONF_ANYONE);
	cr_assert_eq(r->publish, CONF_NOBODY);
	cr_assert_eq(conf_rule_for(c, "chat")->publish, CONF_ANYONE);
	cr_assert_eq(conf_rule_for(c, "chat")->subscribe, CONF_NOBODY);
}

Test(conf_check, first_rule_that_matches_applies)
{
	GOOD(load("channels:\n"
		  "  - match: \"a:[0-9]?\"\n"
		  "  - match: \"a:*\"\n"
		  "  - match: \"*\"\n"));
	cr_assert_eq(conf_rule_for(c, "a:1x"), &c->channels.item[0]);
	cr_assert_eq(conf_rule_for(c, "a:1"), &c->channels.item[1]);
	cr_assert_eq(conf_rule_for(c, "a:"), &c->channels.item[1]);
	cr_assert_eq(conf_rule_for(c, "a:b/c.d"), &c->channels.item[1]);
	cr_assert_eq(conf_rule_for(c, ".b"), &c->channels.item[2]);
	cr_assert_eq(conf_rule_for(c, "x/y"), &c->channels.item[2]);
}

/* --- conf_check ----------------------------------------------------------------------------- */

Test(conf_check, check_addresses)
{
	GOOD(set("listen.public=0.0.0.0:8080, [::]:8081, :0, localhost:1"));
	GOOD(check());
	GOOD(set("listen.public=8080, :x"));
	cr_assert_eq(check(), FAN_EINVAL);
	cr_assert_not_null(strstr(said, "listen.public: \"8080\": "), "%s", said);
	cr_assert_not_null(strstr(said, "\nlisten.public: \":x\": "), "%s", said);
	GOOD(set("listen.public=[]"));
	GOOD(check());
	GOOD(set("listen.internal=[]"));
	BAD(check(), "listen: neither public nor internal has an address\n");
	GOOD(set("listen.public=:8080"));
	GOOD(check());
}

Test(conf_check, check_internal_beyond_loopback_needs_a_key)
{
	GOOD(set("listen.internal=127.0.0.1:1, [::1]:1, localhost:2, unix:/run/fanfare.sock"));
	GOOD(check());
	GOOD(set("listen.internal=127.0.0.1:1, :8081"));
	BAD(check(),
	    "listen.internal: \":8081\" can be reached from other machines, so that anyone "
	    "there could publish; set api.key, or listen on a loopback address such as "
	    "127.0.0.1:8081\n");
	GOOD(set("listen.internal=[::]:8081"));
	BAD_WITH(check(), "set api.key");
	GOOD(set("api.key=0123456789abcdef"));
	GOOD(check());
}

Test(conf_check, words_behind_addresses)
{
	GOOD(set("tls.certificates=a.pem"));
	GOOD(set("proxy.trusted=10.0.0.0/8, unix"));
	GOOD(set(
	    "listen.public=:1 tls, :2 proxy, :3 proxy tls, unix:/a/b mode=0600 owner=a:b proxy"));
	GOOD(set("listen.internal=127.0.0.1:1 tls, unix:/run/i"));
	GOOD(check());
	GOOD(set("listen.public=:1 tsl, unix:b, :2 mode=0660"));
	BAD(check(),
	    "listen.public: \":1 tsl\": unknown word behind the address; did you mean \"tls\"?\n"
	    "listen.public: \"unix:b\": a unix socket is written unix:/PATH, with a path from the "
	    "root on\n"
	    "listen.public: \":2 mode=0660\": mode and owner are for unix sockets alone\n");
}

Test(conf_check, tls_needs_a_certificate)
{
	GOOD(set("listen.public=:1 tls"));
	BAD(check(), "listen.public: \":1 tls\": tls needs a certificate; set tls.certificates\n");
	GOOD(set("listen.public=:1"));
	GOOD(set("listen.internal=127.0.0.1:1 tls"));
	BAD_WITH(check(), "listen.internal: \"127.0.0.1:1 tls\": tls needs a certificate");
}

Test(conf_check, proxy_needs_somebody_to_trust)
{
	GOOD(set("listen.public=:1 proxy"));
	BAD(check(),
	    "listen.public: \":1 proxy\": proxy believes nobody yet; set proxy.trusted to the "
	    "proxies' addresses\n");
	GOOD(set("proxy.trusted=unix"));
	BAD_WITH(check(), "set proxy.trusted to the proxies' addresses");
	GOOD(set("listen.public=unix:/a proxy"));
	GOOD(check());
	GOOD(set("proxy.trusted=10.0.0.1"));
	BAD(check(),
	    "listen.public: \"unix:/a proxy\": proxy believes nobody here; add unix to "
	    "proxy.trusted\n");
}

Test(conf_check, trusted_addresses)
{
	GOOD(set("proxy.trusted=127.0.0.1, 10.0.0.0/8, ::1, 2001:db8::/32, unix"));
	GOOD(check());
	GOOD(set("proxy.trusted=proxy.example.com, 10.0.0.1/8, 10.0.0.0/33"));
	BAD(check(),
	    "proxy.trusted: \"proxy.example.com\": write an address, ADDRESS/BITS, or unix\n"
	    "proxy.trusted: \"10.0.0.1/8\": the address has bits set behind its prefix; write "
	    "10.0.0.0/8, not 10.1.2.3/8\n"
	    "proxy.trusted: \"10.0.0.0/33\": the bits behind the slash are 0 to 32 for IPv4, 0 to "
	    "128 for IPv6\n");
}

Test(conf_check, check_pings)
{
	GOOD(set("limits.pong_timeout=25s"));
	BAD(check(),
	    "limits.pong_timeout: 25s must be shorter than limits.ping_interval, "
	    "which is 25s\n");
	GOOD(set("limits.pong_timeout=24999ms"));
	GOOD(check());
	GOOD(set("limits.pong_timeout=30s"));
	GOOD(set("limits.ping_interval=0"));
	GOOD(check());
}

/* Whoever raises one of these alone is to get what he asks for. */
Test(conf_check, check_leaves_sizes_free)
{
	GOOD(set("limits.message=64MiB"));
	GOOD(check());
	GOOD(set("limits.queue=1KiB"));
	GOOD(set("limits.link_queue=64KiB"));
	GOOD(set("redis.queue=64KiB"));
	GOOD(set("limits.body=1"));
	GOOD(check());
}

Test(conf_check, check_texts)
{
	static const char *const prefixes[] = { "a b", "a*", "a?", "a[", "a]", "a\\", "\xc3\xa9" };
	char text[64];

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		(void)snprintf(text, sizeof(text), "redis.prefix=%s", prefixes[i]);
		GOOD(set(text));
		BAD_WITH(check(), "redis.prefix: only visible ASCII");
	}
	GOOD(set("redis.prefix=\"a\\nb\""));
	BAD_WITH(check(), "redis.prefix: only visible ASCII");
	GOOD(set("redis.prefix="));
	GOOD(check());
	GOOD(set("redis.prefix=app{1}:"));
	GOOD(check());
	GOOD(set("api.key=0123456789 abcdef"));
	BAD(check(), "api.key: only visible ASCII characters can stand in an HTTP header\n");
}

Test(conf_check, check_origins)
{
	static const char *const bad[] = { "app.example.com", "https://", "://a", "https://a/",
		"https://a/b", "https://a*", "https://*", "https://*.", "https://u@a",
		"https://a b", "**", "null", "https://a.*.b" };

	GOOD(set("origins=*, https://a, http://a.b:8443, https://*.a.b, https://[::1]:1, app://x"));
	GOOD(check());
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "origins=%s", bad[i]);
		GOOD(set(text));
		BAD_WITH(check(), "without a path");
		cr_assert_not_null(strstr(said, bad[i]));
	}
}

Test(conf_check, check_rules)
{
	GOOD(set("channels=[{match: \"a-Z_0:.#/=@,;*?[!a-z][^b]\\\\*\"}]"));
	GOOD(check());
	GOOD(set("channels=[{match: a}, {match: \"a *\"}, {match: \"\\u00e9\\u00e9\"}]"));
	BAD(check(),
	    "channels, rule 2: match: \"a *\" has a character that no channel's name can "
	    "have\n"
	    "channels, rule 3: match: \"\xc3\xa9\xc3\xa9\" has a character that no "
	    "channel's name can have\n");
}

/* --- identity, hooks, events, memory of channels --------------------------------------------- */

#define SECRET "auth.secret=0123456789abcdef0123456789abcdef"

Test(conf_check, rights_of_clients_that_nobody_can_know)
{
	static const char *const keys[] = { "subscribe", "publish", "read_history",
		"read_presence" };
	static const char *const words[] = { "authenticated", "token" };
	char text[128], want[256];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
			(void)snprintf(text, sizeof(text),
			    "channels=[{match: x}, {match: a, %s: %s}]", keys[i], words[k]);
			(void)snprintf(want, sizeof(want),
			    "channels, rule 2: %s: no client can say who it is; set auth.secret, "
			    "auth.jwks or hooks.connect\n",
			    keys[i]);
			GOOD(set(text));
			BAD(check(), want);
		}
	}
	GOOD(set(SECRET));
	GOOD(check());
	GOOD(set("auth.secret="));
	GOOD(set("auth.jwks=/nonexistent"));
	GOOD(check());
	GOOD(set("auth.jwks="));
	GOOD(set("hooks.connect=http://h/"));
	GOOD(check());
}

Test(conf_check, authentication_that_nobody_could_pass)
{
	GOOD(set("auth.required=true"));
	BAD(check(),
	    "auth.required: no client could connect; set auth.secret, auth.jwks or "
	    "hooks.connect\n");
	GOOD(set(SECRET));
	GOOD(check());
}

Test(conf_check, application_that_cannot_be_asked)
{
	GOOD(set("channels=[{match: a, subscribe: app, publish: app}]"));
	BAD(check(),
	    "channels, rule 1: subscribe: the application cannot be asked; set hooks.subscribe to "
	    "its "
	    "URL\n"
	    "channels, rule 1: publish: the application cannot be asked; set hooks.publish to its "
	    "URL\n");
	GOOD(set("hooks.subscribe=http://127.0.0.1:9/s"));
	BAD_WITH(check(), "rule 1: publish: ");
	GOOD(set("hooks.publish=http://127.0.0.1:9/p"));
	GOOD(check());
	/* Only backends read these then. */
	GOOD(set("channels=[{match: a, read_history: app, read_presence: app}]"));
	GOOD(check());
}

Test(conf_check, urls_of_hooks)
{
	static const char *const good[] = { "http://h", "https://h.example:8443/a/b?c=d#e",
		"http://[::1]:1/", "http://h/@" };
	static const char *const bad[] = { "h/x", "ftp://h/", "http:/h", "http://", "http:///x",
		"unix:/run/x", "http://h/a b", "http://h/\xc3\xa9", "HTTP://h/" };
	static const char *const keys[] = { "connect", "subscribe", "publish", "disconnect" };
	char text[128], want[128];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		for (size_t k = 0; k < sizeof(good) / sizeof(good[0]); k++) {
			(void)snprintf(text, sizeof(text), "hooks.%s=%s", keys[i], good[k]);
			GOOD(set(text));
			GOOD(check());
		}
		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
			(void)snprintf(text, sizeof(text), "hooks.%s=%s", keys[i], bad[k]);
			(void)snprintf(want, sizeof(want),
			    "hooks.%s: write http://HOST/PATH or https://HOST/PATH\n", keys[i]);
			GOOD(set(text));
			BAD(check(), want);
		}
		(void)snprintf(text, sizeof(text), "hooks.%s=http://u:pw@h/", keys[i]);
		(void)snprintf(want, sizeof(want),
		    "hooks.%s: no user or password can stand in it; set hooks.key\n", keys[i]);
		GOOD(set(text));
		BAD(check(), want);
		(void)snprintf(text, sizeof(text), "hooks.%s=", keys[i]);
		GOOD(set(text));
	}
}

Test(conf_check, what_goes_into_a_hooks_request)
{
	GOOD(set("hooks.key=0123456789abcde\xc3\xa9"));
	BAD(check(), "hooks.key: only visible ASCII characters can stand in an HTTP header\n");
	GOOD(set("hooks.key="));
	GOOD(set("hooks.headers=Cookie, X-A_b.c, \"a b\", \"a:\""));
	BAD(check(),
	    "hooks.headers: \"a b\": not a header field's name\n"
	    "hooks.headers: \"a:\": not a header field's name\n");
	GOOD(set("hooks.headers=[]"));
	GOOD(check());
}

Test(conf_check, events)
{
	GOOD(set("events.stream=fanfare-events"));
	BAD(check(), "events.stream: events go to Redis; set redis.url\n");
	GOOD(set("redis.url=redis://h"));
	GOOD(set("events.include=connect, subscribe, unsubscribe, publish, disconnect"));
	GOOD(check());
	GOOD(set("events.include=connect, publich"));
	BAD(check(),
	    "events.include: \"publich\": write connect, subscribe, unsubscribe, publish, "
	    "disconnect, "
	    "or some of them\n");
}

Test(conf_check, join_leave_needs_presence)
{
	GOOD(set("channels=[{match: a, join_leave: true}]"));
	BAD(check(),
	    "channels, rule 1: join_leave: only presence knows who comes and goes; set presence: "
	    "true\n");
	GOOD(set("channels=[{match: a, join_leave: true, presence: true}]"));
	GOOD(check());
}

Test(conf_check, with_history_nothing_is_left_out)
{
	GOOD(set("channels=[{match: a, history: {size: 10}, slow: latest}]"));
	BAD(check(),
	    "channels, rule 1: slow: of a channel with history nothing is left out; a slow client "
	    "is disconnected and goes on from its position: leave slow away, or set it to kick\n");
	GOOD(set(
	    "channels=[{match: a, history: {size: 10}, slow: kick}, {match: b, slow: latest}]"));
	GOOD(check());
}

/* --- anything at all ------------------------------------------------------------------------ */

static const char sample[] = "# a\n"
			     "workers: 3\n"
			     "listen: {public: [\":1\", '[::1]:2'], internal: []}\n"
			     "redis:\n"
			     "  prefix: \"\\x41\\u00e9\\n\"\n"
			     "  url: |\n"
			     "    redis://h\n"
			     "limits:\n"
			     "  message: 16MiB\n"
			     "channels:\n"
			     "  - match: \"a*\"\n"
			     "    publish: anyone\n"
			     "  - {match: b}\n";

static int
load_bytes(const char *text, size_t n)
{
	FILE *f = listen_to(&(size_t){ 0 });
	int rc;

	conf_free(c);
	setup();
	rc = conf_load_text(c, "F", text, n, f);
	fclose(f);
	return rc;
}

/* No beginning of a file and no file with a byte changed does harm; errors come with a reason. */
Test(conf_check, damaged_texts)
{
	static const char bytes[] = "\0\n \"'[]{}:*&#-\xff\t0";
	char text[sizeof(sample)];
	size_t n = sizeof(sample) - 1, refused = 0;

	cr_assert_eq(load_bytes(sample, n), 0, "%s", said);
	for (size_t i = 0; i < n; i++) {
		int rc = load_bytes(sample, i);

		cr_assert(rc == 0 || (rc == FAN_EINVAL && said[0] != '\0'));
		for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
			memcpy(text, sample, n);
			text[i] = bytes[k];
			rc = load_bytes(text, n);
			cr_assert(rc == 0 || (rc == FAN_EINVAL && said[0] != '\0'));
			refused += rc != 0;
		}
	}
	cr_assert_gt(refused, n);
}
