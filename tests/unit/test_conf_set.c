/*
 * Tests of common/conf and the files under it: --set, the environment, and printing.
 */
#include "common/conf.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf_table.h"
#include "common/conf_value.h"
#include "common/conf_yaml.h"
#include "common/log.h"
#include "tests/unit/conf_fixture.h"

TestSuite(conf_set, .init = setup, .fini = teardown);

/* --- --set and the environment -------------------------------------------------------------- */

Test(conf_set, set_takes_values_as_they_are)
{
	GOOD(set("redis.url=redis://h:6379"));
	cr_assert_str_eq(c->redis.url, "redis://h:6379");
	GOOD(set("redis.prefix=  #*&!%@`: x=\"y  "));
	cr_assert_str_eq(c->redis.prefix, "#*&!%@`: x=\"y");
	GOOD(set("redis.prefix=\"a\\tb \""));
	cr_assert_str_eq(c->redis.prefix, "a\tb ");
	GOOD(set("redis.prefix='it''s'"));
	cr_assert_str_eq(c->redis.prefix, "it's");
	GOOD(set("redis.prefix=null"));
	cr_assert_str_eq(c->redis.prefix, "null");
	GOOD(set("redis.prefix="));
	cr_assert_str_eq(c->redis.prefix, "");
	GOOD(set("limits.message=16MiB"));
	cr_assert_eq(c->limits.message, 16 << 20);
	GOOD(set("demo.enabled=true"));
	cr_assert(c->demo.enabled);
	GOOD(set("workers=\"3\""));
	cr_assert_eq(c->workers, 3);
}

static void
expect_public(size_t n, const char *first, const char *last)
{
	cr_assert_eq(c->listen.public_addrs.n, n);
	if (n > 0) {
		cr_assert_str_eq(c->listen.public_addrs.item[0], first);
		cr_assert_str_eq(c->listen.public_addrs.item[n - 1], last);
	}
}

Test(conf_set, set_takes_lists)
{
	GOOD(set("listen.public=127.0.0.1:8080"));
	expect_public(1, "127.0.0.1:8080", "127.0.0.1:8080");
	GOOD(set("listen.public=:8080"));
	expect_public(1, ":8080", ":8080");
	GOOD(set("listen.public=[::1]:8080"));
	expect_public(1, "[::1]:8080", "[::1]:8080");
	GOOD(set("listen.public=[::1]:8080,[::1]:8081"));
	expect_public(2, "[::1]:8080", "[::1]:8081");
	GOOD(set("listen.public= :1 , :2 ,:3"));
	expect_public(3, ":1", ":3");
	GOOD(set("listen.public=[:1, :2]"));
	expect_public(2, ":1", ":2");
	GOOD(set("listen.public=[[::1]:1, \"a,b\", 'c''d',]"));
	expect_public(3, "[::1]:1", "c'd");
	cr_assert_str_eq(c->listen.public_addrs.item[1], "a,b");
	GOOD(set("listen.public=[]"));
	expect_public(0, NULL, NULL);
	GOOD(set("listen.public=a"));
	GOOD(set("listen.public="));
	expect_public(0, NULL, NULL);
	GOOD(set("origins=https://*.a.b"));
	cr_assert_str_eq(c->origins.item[0], "https://*.a.b");
	BAD_WITH(set("origins=a,,b"), "--set: origins: each item must be a text of");
	BAD_WITH(set("origins=,,,,,,,,"), "--set: origins: each item must be a text of");
	BAD_WITH(set("origins=\"\""), "--set: origins: each item must be a text of");
}

Test(conf_set, set_takes_rules)
{
	GOOD(set("channels=[{match: \"*\", publish: anyone}]"));
	cr_assert_eq(c->channels.n, 1);
	cr_assert_str_eq(c->channels.item[0].match, "*");
	cr_assert_eq(c->channels.item[0].subscribe, CONF_ANYONE);
	cr_assert_eq(c->channels.item[0].publish, CONF_ANYONE);
	GOOD(set("channels=[{match: a, subscribe: nobody}, {match: b}]"));
	cr_assert_eq(c->channels.n, 2);
	cr_assert_eq(c->channels.item[0].subscribe, CONF_NOBODY);
	cr_assert_eq(c->channels.item[0].publish, CONF_NOBODY);
	cr_assert_str_eq(c->channels.item[1].match, "b");
	GOOD(set("channels=[]"));
	cr_assert_eq(c->channels.n, 0);
	GOOD(set("channels=[{match: a}]"));
	GOOD(set("channels="));
	cr_assert_eq(c->channels.n, 0);
	BAD_WITH(set("channels=a"), "--set: channels: write a list of rules");
	BAD_WITH(set("channels=[{match: *}]"), "--set: not valid YAML");
	BAD(set("channels=[{match: \"\"}]"),
	    "--set: channels, rule 1: match: a text of 1..255 bytes is needed, not of 0\n");
}

Test(conf_set, set_refuses)
{
	BAD(set("workers"), "--set: \"workers\": write KEY=VALUE\n");
	BAD(set("wrokers=1"), "--set: unknown key \"wrokers\"; did you mean \"workers\"?\n");
	BAD(set("quux=1"), "--set: unknown key \"quux\"; \"fanfare help config\" lists all\n");
	BAD(set("=1"), "--set: unknown key \"\"; \"fanfare help config\" lists all\n");
	BAD(set("limits={}"), "--set: \"limits\" is a group; name one option of it\n");
	BAD(set("workers=x"), "--set: workers: \"x\": write a whole number\n");
	BAD(set("workers="), "--set: workers: \"\": write a whole number\n");
	BAD(set("redis.prefix=\xff"), "--set: redis.prefix: not valid UTF-8\n");
	BAD_WITH(set("redis.prefix=\"a\\0\""), "--set: a value must not hold a NUL\n");
	BAD_WITH(set("redis.prefix=\"a\" \"b\""), "--set: not valid YAML: ");
}

Test(conf_set, environment)
{
	GOOD(env("FANFARE_WORKERS=4"));
	cr_assert_eq(c->workers, 4);
	GOOD(env("FANFARE_LISTEN_PUBLIC=[:1, :2]"));
	expect_public(2, ":1", ":2");
	GOOD(env("FANFARE_LISTEN_PUBLIC=:3,:4\n"));
	expect_public(2, ":3", ":4");
	GOOD(env("FANFARE_LIMITS_PING_INTERVAL=0"));
	cr_assert_eq(c->limits.ping_interval, 0);
	GOOD(env("FANFARE_API_KEY=0123456789\"'# :*"));
	cr_assert_str_eq(c->api.key, "0123456789\"'# :*");
	GOOD(env("FANFARE_CHANNELS=[{match: 'a:*', publish: anyone}]"));
	cr_assert_str_eq(c->channels.item[0].match, "a:*");
	GOOD(env("PATH=/bin"));
	GOOD(env("FANFARES=1"));
	GOOD(env("FANFARE_NO_VALUE_AT_ALL"));
}

Test(conf_set, environment_of_schedulers)
{
	GOOD(env("FANFARE_SERVICE_HOST=10.0.0.1"));
	GOOD(env("FANFARE_SERVICE_PORT_HTTP=8080"));
	GOOD(env("FANFARE_PORT=tcp://10.0.0.1:8080"));
	GOOD(env("FANFARE_PORT_8080_TCP_ADDR=10.0.0.1"));
	BAD_WITH(env("FANFARE_PORTS=1"), "unknown variable \"FANFARE_PORTS\"");
	BAD_WITH(env("FANFARE_SERVICES=1"), "unknown variable \"FANFARE_SERVICES\"");
}

Test(conf_set, environment_refuses)
{
	BAD(env("FANFARE_LIMITS_MESAGE=1"),
	    "environment: unknown variable \"FANFARE_LIMITS_MESAGE\"; "
	    "did you mean \"FANFARE_LIMITS_MESSAGE\"?\n");
	BAD(env("FANFARE_QUUX=1"),
	    "environment: unknown variable \"FANFARE_QUUX\"; \"fanfare help config\" lists all\n");
	BAD(env("FANFARE_LIMITS=1"),
	    "environment: unknown variable \"FANFARE_LIMITS\"; \"fanfare help config\" lists "
	    "all\n");
	BAD(env("FANFARE_WORKERS=many"),
	    "FANFARE_WORKERS: workers: \"many\": write a whole number\n");
}

Test(conf_set, all_errors_of_the_environment)
{
	char a[] = "FANFARE_WORKERS=x", b[] = "FANFARE_LOG_LEVEL=x", d[] = "FANFARE_DEMO_ENABLED=1";
	char *list[] = { a, b, d, NULL };
	size_t n, lines = 0;
	FILE *f = listen_to(&n);

	cr_assert_eq(conf_load_env(c, list, f), FAN_EINVAL);
	fclose(f);
	for (const char *p = said; *p != '\0'; p++)
		lines += *p == '\n';
	cr_assert_eq(lines, 3);
}

Test(conf_set, later_ones_override)
{
	GOOD(load("workers: 1\norigins: [https://a, https://b]\nchannels: [{match: a}]"));
	GOOD(env("FANFARE_WORKERS=2"));
	cr_assert_eq(c->workers, 2);
	GOOD(set("workers=3"));
	cr_assert_eq(c->workers, 3);
	GOOD(set("origins=https://c"));
	cr_assert_eq(c->origins.n, 1);
	GOOD(set("channels=[{match: b}, {match: c}]"));
	cr_assert_eq(c->channels.n, 2);
	GOOD(load("limits: {stall: 1s}"));
	cr_assert_eq(c->workers, 3);
	cr_assert_eq(c->channels.n, 2);
}

/* --- printing ------------------------------------------------------------------------------- */

#define NASTY                                                                                      \
	"q\"u'o\\t\ne\r\td # : - {[*&!| \x01\x7f\xc2\x80\xc2\x85\xc2\xa0\xc3\xa9"                  \
	" \xe2\x80\xa8 \xe2\x80\xa9 \xef\xbb\xbf\xef\xbf\xbd\xef\xbf\xbe\xf0\x9d\x84\x9e "

/* Each option of the table with a value that is not its default. */
static const char *const others[] = {
	"workers=7",
	"listen.public=[\":1 tls proxy\", \"[::1]:2\", \"unix:/a mode=0600 owner=b:c\"]",
	"listen.internal=[]",
	"listen.backlog=17",
	"redis.url=redis://u:p%40ss@h:1/2",
	"redis.prefix=x" NASTY "y",
	"redis.connect_timeout=1500ms",
	"redis.timeout=11ms",
	"redis.canary=59m",
	"redis.queue=65537",
	"api.key=0123456789" NASTY "y",
	"auth.secret=0123456789012345678901234" NASTY "y",
	"auth.jwks=/etc/keys.json",
	"auth.audience=a",
	"auth.issuer=https://i",
	"auth.leeway=0",
	"auth.required=true",
	"hooks.connect=http://h/c",
	"hooks.subscribe=http://h/s",
	"hooks.publish=https://h/p",
	"hooks.disconnect=http://h/d",
	"hooks.key=0123456789abcdef",
	"hooks.headers=[Cookie]",
	"hooks.timeout=10ms",
	"hooks.retries=0",
	"hooks.connections=1",
	"hooks.queue=0",
	"hooks.failure=allow",
	"hooks.breaker=1",
	"hooks.pause=1h",
	"events.stream=s",
	"events.length=1",
	"events.include=[publish]",
	"presence.lease=100ms",
	"origins=[a" NASTY "b, \"x,y\"]",
	"demo.enabled=true",
	"tls.certificates=[\"a.pem b.pem\", c.pem]",
	"tls.min_version=1.3",
	"tls.client_ca=/etc/ca.pem",
	"tls.client_certificate=optional",
	"tls.ktls=false",
	"proxy.trusted=[10.0.0.0/8, \"2001:db8::/32\", unix]",
	"proxy.header=forwarded",
	"deflate.enabled=true",
	"deflate.level=9",
	"deflate.window_bits=9",
	"deflate.memory_level=1",
	"deflate.min_size=0",
	"deflate.client_context_takeover=true",
	"fanout.io_uring=false",
	"log.level=debug",
	"limits.message=16MiB",
	"limits.fragments=1000000",
	"limits.assemble=1d",
	"limits.head=1023",
	"limits.fields=256",
	"limits.handshake=11s",
	"limits.idle=76s",
	"limits.body=1",
	"limits.ping_interval=0",
	"limits.pong_timeout=10ms",
	"limits.close=1h",
	"limits.queue=1GiB",
	"limits.queues=1024GiB",
	"limits.stall=23h",
	"limits.slow=latest",
	"limits.sndbuf=0",
	"limits.subscriptions=1",
	"limits.channel_name=1",
	"limits.commands=0",
	"limits.commands_burst=1",
	"limits.connections=12345",
	"limits.address_connections=1",
	"limits.address_rate=1000000",
	"limits.proxy_header=10ms",
	"limits.link_queue=16GiB",
	"limits.token=256",
	"limits.authenticate=1h",
	"limits.recovery=1",
	"limits.position_check=0",
	"limits.history_memory=64KiB",
	"channels=[{match: \"a\\\"'\\\\\\n\\u00e9\", subscribe: nobody, publish: anyone, "
	"read_history: "
	"app, read_presence: token, history: {size: 3, ttl: 90s}, position_check: false, presence: "
	"true, "
	"join_leave: true, message: 5KiB, slow: latest}]",
};

Test(conf_set, what_is_printed_reads_back_the_same)
{
	char *empty = printed(c, true), *before, *after;

	cr_assert_eq(sizeof(others) / sizeof(others[0]), conf_options.n);
	for (size_t i = 0; i < conf_options.n; i++) {
		size_t key = strlen(conf_options.opts[i].info.key);

		cr_assert_eq(strncmp(others[i], conf_options.opts[i].info.key, key), 0);
		cr_assert_eq(others[i][key], '=');
		GOOD(set(others[i]));
		before = printed(c, true);
		cr_assert_str_neq(before, empty, "%s", others[i]);
		conf_free(c);
		setup();
		GOOD(load(before));
		after = printed(c, true);
		cr_assert_str_eq(after, before);
		free(empty);
		empty = before;
		free(after);
	}
	free(empty);
	/* The strings have come through all the rounds. */
	cr_assert_str_eq(c->redis.prefix, "x" NASTY "y");
	cr_assert_str_eq(c->api.key, "0123456789" NASTY "y");
	cr_assert_str_eq(c->origins.item[0], "a" NASTY "b");
	cr_assert_str_eq(c->origins.item[1], "x,y");
	cr_assert_str_eq(c->channels.item[0].match, "a\"'\\\n\xc3\xa9");
	cr_assert_eq(c->channels.item[0].subscribe, CONF_NOBODY);
	cr_assert_eq(c->channels.item[0].publish, CONF_ANYONE);
	cr_assert_eq(c->channels.item[0].history.size, 3);
	cr_assert_eq(c->channels.item[0].history.ttl, 90000);
}

/* Tools rely on these names. */
Test(conf_set, rule_with_all_of_a_channels_memory)
{
	static const char *const forms[] = {
		"channels:\n- {match: \"h:*\", subscribe: anyone, publish: anyone, "
		"history: {size: 1000, ttl: 5m}, presence: true, join_leave: true}\n",
		"channels:\n- match: h:*\n  publish: anyone\n  history:\n    size: 1000\n    ttl: "
		"5m\n"
		"  presence: true\n  join_leave: true\n",
		"channels:\n- {match: \"h:*\", publish: anyone, history.size: 1000, history.ttl: "
		"5m, "
		"presence: true, join_leave: true}\n",
	};
	const char *want = "  - match: \"h:*\"\n"
			   "    subscribe: anyone\n"
			   "    publish: anyone\n"
			   "    read_history: nobody\n"
			   "    read_presence: nobody\n"
			   "    history:\n"
			   "      size: 1000\n"
			   "      ttl: 5m\n"
			   "    position_check: true\n"
			   "    presence: true\n"
			   "    join_leave: true\n"
			   "    message: 0\n"
			   "    slow: default\n";
	const struct conf_rule *r;
	char *text;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		GOOD(load(forms[i]));
		GOOD(check());
		r = conf_rule_for(c, "h:1");
		cr_assert_eq(r->subscribe, CONF_ANYONE);
		cr_assert_eq(r->publish, CONF_ANYONE);
		cr_assert_eq(r->history.size, 1000);
		cr_assert_eq(r->history.ttl, 300000);
		cr_assert(r->presence && r->join_leave && r->position_check);
		text = printed(c, true);
		cr_assert_not_null(strstr(text, want), "%zu: %s", i, text);
		GOOD(load(text));
		free(text);
	}
	cr_assert_eq(conf_rule_for(c, "i:1")->history.size, 0);
	BAD(load("channels: [{match: a, history.sizes: 1}]"),
	    "F:1: channels, rule 1: unknown key \"history.sizes\"; did you mean "
	    "\"history.size\"?\n");
	BAD(load("channels: [{match: a, history: {sizes: 1}}]"),
	    "F:1: channels, rule 1: unknown key \"history.sizes\"; did you mean "
	    "\"history.size\"?\n");
	BAD(load("channels: [{match: a, history.size: 1, history: {ttl: 5m}}]"),
	    "F:1: channels, rule 1: history.size stands beside \"history:\"; write one of them\n");
	BAD(load("channels: [{match: a, history: 5}]"),
	    "F:1: channels, rule 1: history: keys and values are needed, one in a line\n");
}

/* A child is handed the printed text, so that none that conf_check lets through may be too long. */
Test(conf_set, longest_configuration_reads_back)
{
	char quotes[1014], backslashes[256], *text, *after;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	memset(quotes, '"', sizeof(quotes) - 1);
	quotes[sizeof(quotes) - 1] = '\0';
	memset(backslashes, '\\', sizeof(backslashes) - 1);
	backslashes[sizeof(backslashes) - 1] = '\0';
	fputs("origins:\n", f);
	for (size_t i = 0; i < 1000; i++)
		fprintf(f, "- 'https://%03zu%s'\n", i, quotes);
	fputs("channels:\n", f);
	for (size_t i = 0; i < 1000; i++)
		fprintf(f, "- match: '%s'\n", backslashes);
	fclose(f);
	GOOD(load(text));
	free(text);
	GOOD(check());
	text = printed(c, true);
	GOOD(load(text));
	after = printed(c, true);
	cr_assert_eq(strcmp(after, text), 0);
	free(after);
	free(text);
}

static void
expect_url(const char *url, const char *shown)
{
	char *text;

	free(c->redis.url);
	c->redis.url = strdup(url);
	text = printed(c, false);
	cr_assert_not_null(strstr(text, shown), "%s: %s", shown, text);
	free(text);
}

Test(conf_set, secrets_are_masked)
{
	char *text;

	GOOD(set("api.key=0123://456:789@abcdef"));
	text = printed(c, false);
	cr_assert_not_null(strstr(text, "  key: \"(set)\"\n"), "%s", text);
	cr_assert_null(strstr(text, "456"));
	free(text);
	expect_url("", "  url: \"\"\n");
	expect_url("redis://h:6379/1", "  url: \"redis://h:6379/1\"\n");
	expect_url("unix:///run/redis.sock?db=1", "  url: \"unix:///run/redis.sock?db=1\"\n");
	expect_url("redis://:pw@h", "  url: \"redis://:(set)@h\"\n");
	expect_url("redis://u:p@w:x@h:1/2", "  url: \"redis://u:(set)@h:1/2\"\n");
	expect_url("redis://u@h", "  url: \"(set)\"\n");
	expect_url("u:p@h", "  url: \"(set)\"\n");
	expect_url("x@redis://h", "  url: \"(set)\"\n");
	expect_url("redis://@h", "  url: \"(set)\"\n");
}

static char *
example(void)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	conf_print_example(f);
	fclose(f);
	return text;
}

/* `make check` says where the sources are. */
static const char *
source_dir(void)
{
	const char *dir = getenv("srcdir");

	return dir != NULL ? dir : ".";
}

Test(conf_set, shipped_file_is_the_example)
{
	char path[4096], *text = example(), shipped[65536];
	FILE *f;
	size_t n;

	(void)snprintf(path, sizeof(path), "%s/etc/fanfare.yaml", source_dir());
	f = fopen(path, "r");
	cr_assert_not_null(f, "%s", path);
	n = fread(shipped, 1, sizeof(shipped) - 1, f);
	shipped[n] = '\0';
	fclose(f);
	cr_assert_str_eq(
	    shipped, text, "%s: make it anew with fanfare help config --example", path);
	free(text);
}

/* Both as it is and with the "#" of every option taken away it holds the defaults. */
Test(conf_set, example_holds_the_defaults)
{
	char *text = example(), *before = printed(c, true), *after, *line;
	size_t options = 0;

	GOOD(load(text));
	after = printed(c, true);
	cr_assert_str_eq(after, before);
	free(after);
	for (line = text; line != NULL; line = strchr(line, '\n')) {
		line += line != text;
		cr_assert_leq(strcspn(line, "\n"), 100);
		line += strspn(line, " ");
		if (line[0] == '#' && line[1] >= 'a' && line[1] <= 'z') {
			memmove(line, line + 1, strlen(line));
			options++;
		}
	}
	cr_assert_eq(options, conf_options.n);
	GOOD(load(text));
	after = printed(c, true);
	cr_assert_str_eq(after, before);
	free(after);
	free(before);
	free(text);
}

Test(conf_set, help_has_every_option)
{
	char *text = NULL, row[128];
	size_t n;
	FILE *f = open_memstream(&text, &n);

	conf_print_help(f);
	fclose(f);
	for (size_t i = 0; i < conf_options.n; i++) {
		const struct conf_option_info *o = &conf_options.opts[i].info;

		(void)snprintf(row, sizeof(row), "\n%s ", o->key);
		cr_assert_not_null(strstr(text, row), "%s", o->key);
		/* Long ones go over several lines. */
		(void)snprintf(row, sizeof(row), "\n    %.60s", o->help);
		cr_assert_not_null(strstr(text, row), "%s", o->key);
	}
	cr_assert_not_null(strstr(text,
	    "\nlimits.message                   size      64KiB               1..64MiB             "
	    "    "
	    "yes\n"));
	for (const char *p = text; p != NULL; p = strchr(p + 1, '\n'))
		cr_assert_leq(strcspn(p + 1, "\n"), 100);
	free(text);
}
