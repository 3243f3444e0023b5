/*
 * Tests of common/conf and the files under it: the table, values, and reading.
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
#include "tests/unit/guard.h"

TestSuite(conf, .init = setup, .fini = teardown);

/* --- the table ------------------------------------------------------------------------------ */

Test(conf, defaults_are_those_documented)
{
	cr_assert_eq(c->workers, 0);
	cr_assert_eq(c->listen.public_addrs.n, 1);
	cr_assert_str_eq(c->listen.public_addrs.item[0], ":8080");
	cr_assert_eq(c->listen.internal.n, 1);
	cr_assert_str_eq(c->listen.internal.item[0], "127.0.0.1:8081");
	cr_assert_eq(c->listen.backlog, 4096);
	cr_assert_str_eq(c->redis.url, "");
	cr_assert_str_eq(c->redis.prefix, "fanfare:");
	cr_assert_eq(c->redis.connect_timeout, 1000);
	cr_assert_eq(c->redis.timeout, 4000);
	cr_assert_eq(c->redis.canary, 5000);
	cr_assert_eq(c->redis.queue, 64 << 20);
	cr_assert_str_eq(c->api.key, "");
	cr_assert_eq(c->origins.n, 0);
	cr_assert_not(c->demo.enabled);
	cr_assert_eq(c->tls.certificates.n, 0);
	cr_assert_eq(c->tls.min_version, CONF_TLS_1_2);
	cr_assert_str_eq(c->tls.client_ca, "");
	cr_assert_eq(c->tls.client_certificate, CONF_CLIENT_REQUIRED);
	cr_assert(c->tls.ktls);
	cr_assert_eq(c->proxy.trusted.n, 0);
	cr_assert_eq(c->proxy.header, CONF_PROXY_X_FORWARDED_FOR);
	cr_assert_not(c->deflate.enabled);
	cr_assert_eq(c->deflate.level, 1);
	cr_assert_eq(c->deflate.window_bits, 15);
	cr_assert_eq(c->deflate.memory_level, 8);
	cr_assert_eq(c->deflate.min_size, 256);
	cr_assert_not(c->deflate.client_context_takeover);
	cr_assert_eq(c->log.level, LOG_LEVEL_INFO);
	cr_assert_eq(c->channels.n, 0);
}

Test(conf, default_limits_are_those_documented)
{
	cr_assert_eq(c->limits.message, 64 << 10);
	cr_assert_eq(c->limits.fragments, 1024);
	cr_assert_eq(c->limits.assemble, 30000);
	cr_assert_eq(c->limits.head, 8 << 10);
	cr_assert_eq(c->limits.fields, 64);
	cr_assert_eq(c->limits.handshake, 10000);
	cr_assert_eq(c->limits.idle, 75000);
	cr_assert_eq(c->limits.body, 64 << 10);
	cr_assert_eq(c->limits.ping_interval, 25000);
	cr_assert_eq(c->limits.pong_timeout, 8000);
	cr_assert_eq(c->limits.close, 5000);
	cr_assert_eq(c->limits.queue, 1 << 20);
	cr_assert_eq(c->limits.queues, 0);
	cr_assert_eq(c->limits.stall, 10000);
	cr_assert_eq(c->limits.slow, CONF_SLOW_KICK);
	cr_assert_eq(c->limits.sndbuf, 64 << 10);
	cr_assert_eq(c->limits.subscriptions, 128);
	cr_assert_eq(c->limits.channel_name, 255);
	cr_assert_eq(c->limits.commands, 50);
	cr_assert_eq(c->limits.commands_burst, 100);
	cr_assert_eq(c->limits.connections, 0);
	cr_assert_eq(c->limits.address_connections, 0);
	cr_assert_eq(c->limits.address_rate, 0);
	cr_assert_eq(c->limits.proxy_header, 3000);
	cr_assert_eq(c->limits.link_queue, 64 << 20);
	GOOD(check());
}

Test(conf, table_is_complete_and_consistent)
{
	char name[CONF_ENV_SIZE], other[CONF_ENV_SIZE];
	size_t n = 0;

	for (const struct conf_option_info *o; (o = conf_option(n)) != NULL; n++) {
		size_t len = strlen(o->help);

		cr_assert(len > 10 && len <= 192, "%s: help of %zu", o->key, len);
		cr_assert_eq(o->help[len - 1], '.', "%s", o->key);
		cr_assert_null(strchr(o->help, '\n'), "%s", o->key);
		cr_assert_leq(o->min, o->max, "%s", o->key);
		conf_env_name(name, o->key);
		for (size_t i = 0; i < n; i++) {
			cr_assert_str_neq(conf_option(i)->key, o->key);
			cr_assert_str_neq(conf_env_name(other, conf_option(i)->key), name);
		}
	}
	cr_assert_eq(n, conf_options.n);
	cr_assert_null(conf_option(n + 100));
	cr_assert_str_eq(
	    conf_env_name(name, "limits.ping_interval"), "FANFARE_LIMITS_PING_INTERVAL");
	cr_assert(conf_table_find(&conf_options, "api.key")->info.secret);
	cr_assert(conf_table_find(&conf_options, "redis.url")->info.secret);
}

static void
set_number(const struct conf_option_info *o, int64_t v, bool good)
{
	char text[128];
	const char *unit = strcmp(o->type, "duration") == 0 ? "ms" : "";

	(void)snprintf(text, sizeof(text), "%s=%" PRId64 "%s", o->key, v, unit);
	cr_assert_eq(set(text), good ? 0 : FAN_EINVAL, "%s: %s", text, said);
	if (!good && v > 0)
		cr_assert_not_null(strstr(said, "out of range, which is "), "%s", said);
}

Test(conf, every_number_takes_its_ends_and_no_more)
{
	size_t numbers = 0;

	for (size_t i = 0; i < conf_options.n; i++) {
		const struct conf_opt *o = &conf_options.opts[i];
		const int64_t *at = (const int64_t *)(const void *)((const char *)c + o->offset);

		if (o->type != CONF_INTEGER && o->type != CONF_SIZE && o->type != CONF_DURATION)
			continue;
		numbers++;
		set_number(&o->info, o->info.min, true);
		cr_assert_eq(*at, o->info.min, "%s", o->info.key);
		set_number(&o->info, o->info.max, true);
		cr_assert_eq(*at, o->info.max, "%s", o->info.key);
		set_number(&o->info, o->info.max + 1, false);
		set_number(&o->info, o->info.min - 1, false);
	}
	cr_assert_gt(numbers, 20);
}

/* --- values --------------------------------------------------------------------------------- */

struct number {
	enum conf_type type;
	const char *text;
	int64_t v;
};

Test(conf, numbers_that_are_read)
{
	static const struct number good[] = {
		{ CONF_INTEGER, "0", 0 },
		{ CONF_INTEGER, "-12", -12 },
		{ CONF_INTEGER, "9223372036854775807", INT64_MAX },
		{ CONF_INTEGER, "9223372036854775808", INT64_MAX },
		{ CONF_INTEGER, "99999999999999999999999999", INT64_MAX },
		{ CONF_INTEGER, "-99999999999999999999999999", -INT64_MAX },
		{ CONF_SIZE, "0", 0 },
		{ CONF_SIZE, "65536", 65536 },
		{ CONF_SIZE, "17B", 17 },
		{ CONF_SIZE, "64KiB", 65536 },
		{ CONF_SIZE, "64kib", 65536 },
		{ CONF_SIZE, "64k", 65536 },
		{ CONF_SIZE, "64K", 65536 },
		{ CONF_SIZE, "3MiB", 3 << 20 },
		{ CONF_SIZE, "3m", 3 << 20 },
		{ CONF_SIZE, "2GiB", INT64_C(2) << 30 },
		{ CONF_SIZE, "2g", INT64_C(2) << 30 },
		{ CONF_SIZE, "9999999999999999GiB", INT64_MAX },
		{ CONF_DURATION, "0", 0 },
		{ CONF_DURATION, "0s", 0 },
		{ CONF_DURATION, "500ms", 500 },
		{ CONF_DURATION, "25s", 25000 },
		{ CONF_DURATION, "5m", 300000 },
		{ CONF_DURATION, "2h", 7200000 },
		{ CONF_DURATION, "1d", 86400000 },
		{ CONF_DURATION, "9223372036854775807d", INT64_MAX },
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *why;
		int64_t v = 1;

		cr_assert_eq(
		    conf_number_parse(good[i].type, good[i].text, &v, &why), 0, "%s", good[i].text);
		cr_assert_eq(v, good[i].v, "%s: %" PRId64, good[i].text, v);
	}
}

Test(conf, numbers_that_are_refused)
{
	static const struct number bad[] = {
		{ CONF_INTEGER, "", 0 },
		{ CONF_INTEGER, "-", 0 },
		{ CONF_INTEGER, "+1", 0 },
		{ CONF_INTEGER, "--1", 0 },
		{ CONF_INTEGER, "1.5", 0 },
		{ CONF_INTEGER, "1 ", 0 },
		{ CONF_INTEGER, "1k", 0 },
		{ CONF_INTEGER, "010", 0 },
		{ CONF_INTEGER, "0x10", 0 },
		{ CONF_INTEGER, "1e3", 0 },
		{ CONF_SIZE, "", 0 },
		{ CONF_SIZE, "-1", 0 },
		{ CONF_SIZE, "KiB", 0 },
		{ CONF_SIZE, "64KB", 0 },
		{ CONF_SIZE, "1.5MiB", 0 },
		{ CONF_SIZE, "64 KiB", 0 },
		{ CONF_SIZE, "1TiB", 0 },
		{ CONF_SIZE, "064", 0 },
		{ CONF_DURATION, "", 0 },
		{ CONF_DURATION, "25", 0 },
		{ CONF_DURATION, "00", 0 },
		{ CONF_DURATION, "s", 0 },
		{ CONF_DURATION, "-1s", 0 },
		{ CONF_DURATION, "1S", 0 },
		{ CONF_DURATION, "1m30s", 0 },
		{ CONF_DURATION, "1sec", 0 },
		{ CONF_DURATION, "1w", 0 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *why = NULL;
		int64_t v;

		cr_assert_eq(conf_number_parse(bad[i].type, bad[i].text, &v, &why), FAN_EINVAL,
		    "%s", bad[i].text);
		cr_assert_not_null(why);
	}
}

Test(conf, numbers_are_written_with_the_largest_whole_unit)
{
	static const struct number all[] = {
		{ CONF_INTEGER, "65536", 65536 },
		{ CONF_INTEGER, "-1", -1 },
		{ CONF_SIZE, "0", 0 },
		{ CONF_SIZE, "1023", 1023 },
		{ CONF_SIZE, "1KiB", 1024 },
		{ CONF_SIZE, "1025", 1025 },
		{ CONF_SIZE, "1MiB", 1 << 20 },
		{ CONF_SIZE, "1025KiB", 1025 << 10 },
		{ CONF_SIZE, "16GiB", INT64_C(16) << 30 },
		{ CONF_DURATION, "0", 0 },
		{ CONF_DURATION, "999ms", 999 },
		{ CONF_DURATION, "1500ms", 1500 },
		{ CONF_DURATION, "1s", 1000 },
		{ CONF_DURATION, "75s", 75000 },
		{ CONF_DURATION, "2m", 120000 },
		{ CONF_DURATION, "3h", 10800000 },
		{ CONF_DURATION, "2d", 172800000 },
	};
	char out[CONF_NUMBER_SIZE];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		cr_assert_str_eq(conf_number_text(all[i].type, all[i].v, out), all[i].text);
}

Test(conf, booleans)
{
	static const char *const yes[] = { "true", "True", "yes", "on" };
	static const char *const no[] = { "false", "FALSE", "no", "off" };
	char text[64];

	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(text, sizeof(text), "demo: {enabled: %s}", yes[i]);
		GOOD(load(text));
		cr_assert(c->demo.enabled);
		(void)snprintf(text, sizeof(text), "demo: {enabled: %s}", no[i]);
		GOOD(load(text));
		cr_assert_not(c->demo.enabled);
	}
	BAD(load("demo:\n  enabled: 1\n"), "F:2: demo.enabled: \"1\": write true or false\n");
	BAD_WITH(load("demo: {enabled: [true]}"), "demo.enabled: the type is boolean, not list");
}

Test(conf, words)
{
	static const char *const words[] = { "error", "warn", "info", "debug" };
	static const int levels[] = { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
		LOG_LEVEL_DEBUG };
	char text[64];

	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(text, sizeof(text), "log: {level: %s}", words[i]);
		GOOD(load(text));
		cr_assert_eq(c->log.level, levels[i]);
	}
	BAD(load("log: {level: Info}"),
	    "F:1: log.level: \"Info\": write one of error|warn|info|debug\n");
	BAD_WITH(load("log: {level: }"), "F:1: log.level: no value is given\n");
}

Test(conf, words_of_the_edge)
{
	GOOD(load("tls: {min_version: 1.3, client_certificate: optional}\nproxy: {header: "
		  "forwarded}\n"));
	cr_assert_eq(c->tls.min_version, CONF_TLS_1_3);
	cr_assert_eq(c->tls.client_certificate, CONF_CLIENT_OPTIONAL);
	cr_assert_eq(c->proxy.header, CONF_PROXY_FORWARDED);
	GOOD(load("proxy: {header: none}\nlimits: {slow: drop-oldest}\n"));
	cr_assert_eq(c->proxy.header, CONF_PROXY_NONE);
	cr_assert_eq(c->limits.slow, CONF_SLOW_DROP_OLDEST);
	GOOD(load("channels: [{match: a}, {match: b, slow: latest}, {match: c, slow: default}]"));
	cr_assert_eq(c->channels.item[0].slow, CONF_SLOW_DEFAULT);
	cr_assert_eq(c->channels.item[1].slow, CONF_SLOW_LATEST);
	cr_assert_eq(c->channels.item[2].slow, CONF_SLOW_DEFAULT);
	/* That word is for rules alone. */
	BAD(load("limits: {slow: default}"),
	    "F:1: limits.slow: \"default\": write one of kick|drop-oldest|latest\n");
	BAD(load("tls: {min_version: 1.1}"),
	    "F:1: tls.min_version: \"1.1\": write one of 1.2|1.3\n");
}

Test(conf, strings)
{
	GOOD(load("redis: {prefix: 12}"));
	cr_assert_str_eq(c->redis.prefix, "12");
	GOOD(load("redis: {prefix: \"\"}"));
	cr_assert_str_eq(c->redis.prefix, "");
	GOOD(load("redis:\n  url: redis://h:6379\n"));
	cr_assert_str_eq(c->redis.url, "redis://h:6379");
	BAD(load("redis:\n  prefix:\n"),
	    "F:2: redis.prefix: no value is given; write \"\" for none\n");
	BAD_WITH(load("redis: {prefix: ~}"), "no value is given");
	BAD_WITH(load("redis: {prefix: null}"), "no value is given");
	GOOD(load("redis: {prefix: \"null\"}"));
	cr_assert_str_eq(c->redis.prefix, "null");
	BAD_WITH(load("redis: {prefix: {a: b}}"), "the type is string, not keys and values");
}

Test(conf, length_of_strings)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "redis: {prefix: %0128d}", 0);
	GOOD(load(text));
	cr_assert_eq(strlen(c->redis.prefix), 128);
	(void)snprintf(text, sizeof(text), "redis: {prefix: %0129d}", 0);
	BAD(load(text), "F:1: redis.prefix: a text of at most 128 bytes is needed, not of 129\n");
	GOOD(load("api: {key: 0123456789abcdef}"));
	BAD(load("api: {key: 0123456789abcde}"),
	    "F:1: api.key: a text of 16..1024 bytes is needed, not of 15\n");
	GOOD(load("api: {key: \"\"}"));
}

Test(conf, lists_of_strings)
{
	GOOD(load("origins: [https://a, 'https://b']"));
	cr_assert_eq(c->origins.n, 2);
	cr_assert_str_eq(c->origins.item[1], "https://b");
	GOOD(load("origins:\n- https://c\n"));
	cr_assert_eq(c->origins.n, 1);
	cr_assert_str_eq(c->origins.item[0], "https://c");
	GOOD(load("listen:\n  public: :9090\n"));
	cr_assert_eq(c->listen.public_addrs.n, 1);
	cr_assert_str_eq(c->listen.public_addrs.item[0], ":9090");
	GOOD(load("listen: {public: []}"));
	cr_assert_eq(c->listen.public_addrs.n, 0);
	BAD_WITH(load("origins:\n  - a\n  - [b]\n"), "F:3: origins: each item must be a text of");
	BAD_WITH(load("origins:\n  - a\n  -\n"), "F:3: origins: each item must be a text of");
	BAD_WITH(load("origins: ['']"), "each item must be a text of");
	BAD_WITH(load("origins: [~]"), "each item must be a text of");
	BAD(load("origins:"), "F:1: origins: no value is given; write [] for none\n");
	BAD_WITH(load("origins: {a: b}"), "origins: the type is list, not keys and values");
}

Test(conf, number_of_items)
{
	char text[512] = "listen.public=:1";

	for (size_t i = 1; i < 32; i++)
		strcat(text, ",:1");
	GOOD(set(text));
	cr_assert_eq(c->listen.public_addrs.n, 32);
	strcat(text, ",:1");
	BAD(set(text), "--set: listen.public: 33 items; at most 32 can be\n");
}

Test(conf, length_of_items)
{
	char text[2048];

	(void)snprintf(text, sizeof(text), "origins=a, %01024d", 0);
	GOOD(set(text));
	cr_assert_eq(strlen(c->origins.item[1]), 1024);
	(void)snprintf(text, sizeof(text), "origins=a, %01025d", 0);
	BAD_WITH(set(text), "--set: origins: each item must be a text of 1..1024 bytes\n");
}

Test(conf, secrets_are_not_repeated_in_errors)
{
	cr_assert_eq(load("api: {key: hush-hush}\nredis: {url: [hush-hush]}"), FAN_EINVAL);
	cr_assert_null(strstr(said, "hush"), "%s", said);
	cr_assert_eq(set("api.key=hush-hush"), FAN_EINVAL);
	cr_assert_null(strstr(said, "hush"), "%s", said);
	cr_assert_eq(env("FANFARE_API_KEY=hush-hush"), FAN_EINVAL);
	cr_assert_null(strstr(said, "hush"), "%s", said);
}

/* --- the file ------------------------------------------------------------------------------- */

Test(conf, nothing_to_read)
{
	static const char *const texts[] = { "", "\n", "# nothing\n", "---\n", "{}", "limits:\n",
		"limits: {}", "---\n# nothing\n...\n" };
	char *before = printed(c, true), *after;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		GOOD(load(texts[i]));
		after = printed(c, true);
		cr_assert_str_eq(after, before);
		free(after);
	}
	free(before);
}

Test(conf, unknown_keys_are_named_with_the_nearest)
{
	BAD(load("limits:\n  mesage: 1\n"),
	    "F:2: unknown key \"limits.mesage\"; did you mean \"limits.message\"?\n");
	BAD(load("limit:\n  message: 1\n"),
	    "F:1: unknown key \"limit\"; did you mean \"limits\"?\n");
	BAD(load("worker: 1\n"), "F:1: unknown key \"worker\"; did you mean \"workers\"?\n");
	BAD(load("Workers: 1\n"), "F:1: unknown key \"Workers\"; did you mean \"workers\"?\n");
	BAD(load("limits: {ping-interval: 1s}"),
	    "F:1: unknown key \"limits.ping-interval\"; did you mean \"limits.ping_interval\"?\n");
	BAD(load("limits: {clsoe: 1s}"),
	    "F:1: unknown key \"limits.clsoe\"; did you mean \"limits.close\"?\n");
	BAD(load("redis: {ulr: x}"),
	    "F:1: unknown key \"redis.ulr\"; did you mean \"redis.url\"?\n");
	BAD(load("ping_interval: 1s"),
	    "F:1: unknown key \"ping_interval\"; did you mean \"limits.ping_interval\"?\n");
	BAD(load("limits.message: 1"),
	    "F:1: unknown key \"limits.message\"; write \"message\" inside \"limits:\"\n");
	BAD(load("quux: 1"), "F:1: unknown key \"quux\"; \"fanfare help config\" lists all\n");
	BAD(load("\"\": 1"), "F:1: unknown key \"\"; \"fanfare help config\" lists all\n");
	BAD(load("\"a\\nb\\\"\": 1"),
	    "F:1: unknown key \"a\\x0ab\"\"; \"fanfare help config\" lists all\n");
}

Test(conf, long_keys)
{
	char text[2048] = "limits: {";

	memset(text + 9, 'm', 1000);
	strcpy(text + 1009, ": 1}");
	BAD_WITH(load(text), "F:1: unknown key \"limits.mmmmm");
	cr_assert_lt(strlen(said), 256);
	/* A long text is cut between two characters. */
	for (size_t odd = 0; odd < 2; odd++) {
		strcpy(text, odd != 0 ? "redis: {timeout: \"x" : "redis: {timeout: \"");
		for (size_t i = 0; i < 200; i++)
			strcat(text, "\xc3\xa9");
		strcat(text, "\"}");
		BAD_WITH(load(text), "\xc3\xa9...\": write a whole number");
	}
}

Test(conf, every_error_is_reported)
{
	BAD(load("workers: -1\n"
		 "limits:\n"
		 "  message: 65MiB\n"
		 "  stall: 3\n"
		 "  wheel: 3\n"
		 "demo: x\n"
		 "log: {level: }\n"
		 "channels:\n"
		 "  - {mach: a}\n"
		 "  - {match: a, publish: x}\n"
		 "  - a\n"
		 "origins:\n"),
	    "F:1: workers: \"-1\": out of range, which is 0..1024 processes\n"
	    "F:3: limits.message: \"65MiB\": out of range, which is 1..64MiB\n"
	    "F:4: limits.stall: \"3\": write a whole number with its unit: 500ms, 25s, 5m, 2h or "
	    "1d\n"
	    "F:5: unknown key \"limits.wheel\"; \"fanfare help config\" lists all\n"
	    "F:6: demo: keys and values are needed, one in a line\n"
	    "F:7: log.level: no value is given\n"
	    "F:9: channels, rule 1: match is missing\n"
	    "F:9: channels, rule 1: unknown key \"mach\"; did you mean \"match\"?\n"
	    "F:10: channels, rule 2: publish: \"x\": write one of "
	    "nobody|anyone|authenticated|token|app\n"
	    "F:11: channels, rule 3: each item must be keys and values, such as "
	    "{match: \"chat:*\", publish: anyone}\n"
	    "F:12: origins: no value is given; write [] for none\n");
}

Test(conf, duplicate_keys)
{
	BAD(load("workers: 1\nlog: {}\nworkers: 1\n"),
	    "F:3: key \"workers\" is there already, on line 1\n");
	BAD(load("limits:\n  stall: 1s\n  'stall': 2s\n"),
	    "F:3: key \"stall\" is there already, on line 2\n");
	BAD(load("channels: [{match: a, match: b}]"),
	    "F:1: key \"match\" is there already, on line 1\n");
}

Test(conf, yaml_that_is_refused)
{
	BAD_WITH(load("redis: {prefix: &a b}"), "F:1: anchors are not used here");
	BAD_WITH(load("a: &a [b]"), "F:1: anchors are not used here");
	BAD_WITH(load("limits: &a {}"), "F:1: anchors are not used here");
	BAD_WITH(load("workers: 1\norigins: [*a]"), "F:2: aliases are not used here");
	BAD_WITH(load("*a : 1"), "F:1: aliases are not used here");
	BAD_WITH(load("workers: !!int 1"), "F:1: tags are not used here");
	BAD_WITH(load("origins: !x [a]"), "F:1: tags are not used here");
	BAD_WITH(load("log: !x {}"), "F:1: tags are not used here");
	BAD(load("workers: 1\n---\nworkers: 2\n"), "F:2: a second document; one is allowed\n");
	BAD_WITH(load("? [a]\n: 1\n"), "F:1: a key must be a plain word");
	BAD(load("- workers\n"), "F:1: keys and values are needed, one in a line\n");
	BAD(load("workers\n"), "F:1: keys and values are needed, one in a line\n");
	BAD(load("redis:\n  prefix: \"a\\0b\"\n"), "F:2: a value must not hold a NUL\n");
	BAD(load("redis: {\"a\\0b\": 1}"), "F:1: a value must not hold a NUL\n");
}

Test(conf, yaml_that_is_malformed)
{
	BAD_WITH(load("workers: 1\nredis: {prefix: \"a\n\n"), "that begins on line 2\n");
	BAD_WITH(load("origins: [:80]"),
	    "F:1: not valid YAML: did not find expected node content; "
	    "a value that begins with one of : * & ! | > @ % ` [ { # "
	    "goes in quotes\n");
	BAD_WITH(load("origins: [*]"), "goes in quotes\n");
	BAD_WITH(load("\n\norigins: @a"), "F:3: not valid YAML: ");
	BAD(load("log:\n\tlevel: info\n"),
	    "F:2: not valid YAML: a tab cannot indent; use spaces\n");
	BAD_WITH(load("a: b: c"), "F:1: not valid YAML: mapping values are not allowed");
	BAD_WITH(load("workers: 1\nlog: \x01\n"), "F:2: not valid YAML: control characters");
	BAD_WITH(load("[a"), "not valid YAML: ");
	BAD_WITH(load("%YAML 9.9\n---\na: 1\n"), "not valid YAML: ");
}

Test(conf, bytes_that_no_text_holds)
{
	size_t n;
	FILE *f;

	BAD(load("workers: 1\n# \xff\n# \xc3\xa9\n# \xed\xa0\x80\n"),
	    "F:2: not valid UTF-8\nF:4: not valid UTF-8\n");
	f = listen_to(&n);
	cr_assert_eq(conf_load_text(c, "F", "a: 1\n\0\n", 7, f), FAN_EINVAL);
	fclose(f);
	cr_assert_str_eq(said, "F:2: a NUL byte\n");
	/* UTF-16 is no second way to write a file. */
	f = listen_to(&n);
	cr_assert_eq(conf_load_text(c, "F",
			 "\xff\xfe"
			 "a\0",
			 4, f),
	    FAN_EINVAL);
	fclose(f);
	/* But the mark that some editors put before UTF-8 is not in the way. */
	GOOD(load("\xef\xbb\xbfworkers: 3\n"));
	cr_assert_eq(c->workers, 3);
}

Test(conf, depth_is_bounded)
{
	char text[2 * CONF_DEPTH_MAX + 64] = "origins: ";

	memset(text + 9, '[', CONF_DEPTH_MAX - 1);
	memset(text + 9 + CONF_DEPTH_MAX - 1, ']', CONF_DEPTH_MAX - 1);
	BAD_WITH(load(text), "each item must be a text");
	memset(text + 9, '[', CONF_DEPTH_MAX);
	memset(text + 9 + CONF_DEPTH_MAX, ']', CONF_DEPTH_MAX);
	BAD(load(text), "F:1: nested more than 16 deep\n");
}

Test(conf, collections_are_bounded)
{
	size_t size = 16 + 3 * (CONF_LIST_MAX + 1), n;
	char *text = calloc(1, size);
	FILE *f = fmemopen(text, size, "w");

	fputs("origins: [", f);
	for (size_t i = 0; i <= CONF_LIST_MAX; i++)
		fputs("a,", f);
	fputs("]", f);
	fclose(f);
	BAD(load(text), "F:1: a list of more than 10000 items\n");
	free(text);
	f = open_memstream(&text, &n);
	for (size_t i = 0; i <= CONF_MAP_MAX; i++)
		fprintf(f, "k%zu: 1\n", i);
	fclose(f);
	BAD_WITH(load(text), "F:1: a map of more than 256 keys\n");
	free(text);
}

/* --- reading files -------------------------------------------------------------------------- */

static int
load_file(const char *path)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_load_file(c, path, f);

	fclose(f);
	return rc;
}

Test(conf, files)
{
	char path[] = "/tmp/fanfare-test-conf-XXXXXX", *expect = NULL;
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	fputs("workers: 5\n", f);
	fflush(f);
	GOOD(load_file(path));
	cr_assert_eq(c->workers, 5);
	fputs("x: 5\n", f);
	fflush(f);
	cr_assert_gt(
	    asprintf(&expect, "%s:2: unknown key \"x\"; \"fanfare help config\" lists all\n", path),
	    0);
	BAD(load_file(path), expect);
	free(expect);
	/* The largest file, and one byte more. */
	rewind(f);
	cr_assert_eq(ftruncate(fd, 0), 0);
	fputs("workers: 6\n", f);
	for (size_t i = 11; i < 1 << 20; i++)
		fputc('#', f);
	fflush(f);
	GOOD(load_file(path));
	cr_assert_eq(c->workers, 6);
	fputc('#', f);
	fclose(f);
	BAD_WITH(load_file(path), ": larger than 1048576 bytes\n");
	unlink(path);
	BAD_WITH(load_file(path), ": No such file or directory\n");
	BAD_WITH(load_file("/"), "/: Is a directory\n");
}

Test(conf, standard_input)
{
	FILE *f = tmpfile();

	fputs("workers: 7\nx: 1\n", f);
	rewind(f);
	cr_assert_eq(dup2(fileno(f), STDIN_FILENO), STDIN_FILENO);
	BAD_WITH(load_file("-"), "stdin:2: unknown key \"x\"");
	cr_assert_eq(c->workers, 7);
	fclose(f);
}

Test(conf, text_ends_where_it_is_said_to)
{
	static const char yaml[] = "workers: 12";
	struct guard g = guard_new(sizeof(yaml));
	FILE *f;
	size_t len;

	for (size_t n = 9; n < sizeof(yaml); n++) {
		const char *text = (const char *)guard_put(&g, yaml, n);

		f = listen_to(&len);
		cr_assert_eq(conf_load_text(c, "F", text, n, f), n == 9 ? FAN_EINVAL : 0);
		fclose(f);
		cr_assert_eq(c->workers, n == 9 ? 0 : n == 10 ? 1 : 12);
	}
	guard_free(&g);
}
