/*
 * Tests of common/conf and the files under it.
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
#include "tests/unit/guard.h"

/* What a test reads into, and what the last call said. */
static struct conf *c;
static char *said;

static void
setup(void)
{
	c = conf_new();
	cr_assert_not_null(c);
}

static void
teardown(void)
{
	conf_free(c);
	free(said);
}

TestSuite(conf, .init = setup, .fini = teardown);

static FILE *
listen_to(size_t *n)
{
	FILE *f;

	free(said);
	said = NULL;
	f = open_memstream(&said, n);
	cr_assert_not_null(f);
	return f;
}

static int
load(const char *yaml)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_load_text(c, "F", yaml, strlen(yaml), f);

	fclose(f);
	return rc;
}

static int
set(const char *assignment)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_set(c, assignment, f);

	fclose(f);
	return rc;
}

static int
env(const char *variable)
{
	char *copy = strdup(variable), *list[] = { copy, NULL };
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_load_env(c, list, f);

	fclose(f);
	free(copy);
	return rc;
}

static int
check(void)
{
	size_t n;
	FILE *f = listen_to(&n);
	int rc = conf_check(c, f);

	fclose(f);
	return rc;
}

#define GOOD(call) cr_assert_eq(call, 0, "%s: %s", #call, said)
#define BAD(call, text)                                                                            \
	do {                                                                                       \
		cr_assert_eq(call, FAN_EINVAL, "%s", #call);                                       \
		cr_assert_str_eq(said, text);                                                      \
	} while (0)
#define BAD_WITH(call, part)                                                                       \
	do {                                                                                       \
		cr_assert_eq(call, FAN_EINVAL, "%s", #call);                                       \
		cr_assert_not_null(strstr(said, part), "%s said: %s", #call, said);                \
	} while (0)

/* The effective configuration as text, for free(). */
static char *
printed(const struct conf *conf, bool secrets)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	cr_assert_not_null(f);
	conf_print(conf, f, secrets);
	fclose(f);
	return text;
}

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
	cr_assert_eq(c->limits.stall, 10000);
	cr_assert_eq(c->limits.sndbuf, 64 << 10);
	cr_assert_eq(c->limits.subscriptions, 128);
	cr_assert_eq(c->limits.channel_name, 255);
	cr_assert_eq(c->limits.commands, 50);
	cr_assert_eq(c->limits.commands_burst, 100);
	cr_assert_eq(c->limits.connections, 0);
	cr_assert_eq(c->limits.link_queue, 64 << 20);
	GOOD(check());
}

Test(conf, table_is_complete_and_consistent)
{
	char name[CONF_ENV_SIZE], other[CONF_ENV_SIZE];
	size_t n = 0;

	for (const struct conf_option_info *o; (o = conf_option(n)) != NULL; n++) {
		size_t len = strlen(o->help);

		cr_assert(len > 10 && len <= 96, "%s: help of %zu", o->key, len);
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
	    "F:10: channels, rule 2: publish: \"x\": write one of nobody|anyone\n"
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

/* --- --set and the environment -------------------------------------------------------------- */

Test(conf, set_takes_values_as_they_are)
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

Test(conf, set_takes_lists)
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

Test(conf, set_takes_rules)
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

Test(conf, set_refuses)
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

Test(conf, environment)
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

Test(conf, environment_of_schedulers)
{
	GOOD(env("FANFARE_SERVICE_HOST=10.0.0.1"));
	GOOD(env("FANFARE_SERVICE_PORT_HTTP=8080"));
	GOOD(env("FANFARE_PORT=tcp://10.0.0.1:8080"));
	GOOD(env("FANFARE_PORT_8080_TCP_ADDR=10.0.0.1"));
	BAD_WITH(env("FANFARE_PORTS=1"), "unknown variable \"FANFARE_PORTS\"");
	BAD_WITH(env("FANFARE_SERVICES=1"), "unknown variable \"FANFARE_SERVICES\"");
}

Test(conf, environment_refuses)
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

Test(conf, all_errors_of_the_environment)
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

Test(conf, later_ones_override)
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
	"listen.public=[:1, \"[::1]:2\"]",
	"listen.internal=[]",
	"listen.backlog=17",
	"redis.url=redis://u:p%40ss@h:1/2",
	"redis.prefix=x" NASTY "y",
	"redis.connect_timeout=1500ms",
	"redis.timeout=11ms",
	"redis.canary=59m",
	"redis.queue=65537",
	"api.key=0123456789" NASTY "y",
	"origins=[a" NASTY "b, \"x,y\"]",
	"demo.enabled=true",
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
	"limits.stall=23h",
	"limits.sndbuf=0",
	"limits.subscriptions=1",
	"limits.channel_name=1",
	"limits.commands=0",
	"limits.commands_burst=1",
	"limits.connections=12345",
	"limits.link_queue=16GiB",
	"channels=[{match: \"a\\\"'\\\\\\n\\u00e9\", subscribe: nobody, publish: anyone}]",
};

Test(conf, what_is_printed_reads_back_the_same)
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
}

/* A child is handed the printed text, so that none that conf_check lets through may be too long. */
Test(conf, longest_configuration_reads_back)
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

Test(conf, secrets_are_masked)
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

Test(conf, shipped_file_is_the_example)
{
	char path[4096], *text = example(), shipped[32768];
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
Test(conf, example_holds_the_defaults)
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

Test(conf, help_has_every_option)
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
		cr_assert_not_null(strstr(text, o->help), "%s", o->key);
	}
	cr_assert_not_null(strstr(text,
	    "\nlimits.message           size      64KiB               1..64MiB                 "
	    "yes\n"));
	for (const char *p = text; p != NULL; p = strchr(p + 1, '\n'))
		cr_assert_leq(strcspn(p + 1, "\n"), 100);
	free(text);
}

/* --- rules ---------------------------------------------------------------------------------- */

Test(conf, without_a_rule_anyone_subscribes_and_no_client_publishes)
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

Test(conf, first_rule_that_matches_applies)
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

Test(conf, check_addresses)
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

Test(conf, check_internal_beyond_loopback_needs_a_key)
{
	GOOD(set("listen.internal=127.0.0.1:1, [::1]:1, localhost:2"));
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

Test(conf, check_pings)
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
Test(conf, check_leaves_sizes_free)
{
	GOOD(set("limits.message=64MiB"));
	GOOD(check());
	GOOD(set("limits.queue=1KiB"));
	GOOD(set("limits.link_queue=64KiB"));
	GOOD(set("redis.queue=64KiB"));
	GOOD(set("limits.body=1"));
	GOOD(check());
}

Test(conf, check_texts)
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

Test(conf, check_origins)
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

Test(conf, check_rules)
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
Test(conf, damaged_texts)
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
