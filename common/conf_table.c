/*
 * conf_table: the table of all options.  See conf_table.h.
 *
 * A new option is one line here and its field in struct conf or struct conf_rule.
 */
#include "common/conf_table.h"

#include <ctype.h>
#include <string.h>

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define RELOAD 1 /* a reload can change it */
#define SECRET 2 /* never printed */
#define URL 4    /* of a secret the password alone is one */

/* clang-format off */
#define OPT(strct, kind, kind_name, field, name, dflt, lo, hi, what, flags, list, text) { \
	.info = { \
		.key = (name), \
		.type = (kind_name), \
		.unit = (what), \
		.help = (text), \
		.min = (lo), \
		.max = (hi), \
		.reloadable = ((flags) & RELOAD) != 0, \
		.secret = ((flags) & SECRET) != 0, \
	}, \
	.offset = offsetof(struct strct, field), \
	.def = (dflt), \
	.words = (list), \
	.type = (kind), \
	.url = ((flags) & URL) != 0, \
}
/* clang-format on */

#define INTEGER(field, name, dflt, lo, hi, what, flags, text)                                      \
	OPT(conf, CONF_INTEGER, "integer", field, name, dflt, lo, hi, what, flags, NULL, text)
#define SIZE(field, name, dflt, lo, hi, flags, text)                                               \
	OPT(conf, CONF_SIZE, "size", field, name, dflt, lo, hi, "bytes", flags, NULL, text)
#define DURATION(field, name, dflt, lo, hi, flags, text)                                           \
	OPT(conf, CONF_DURATION, "duration", field, name, dflt, lo, hi, "ms", flags, NULL, text)
#define BOOLEAN(field, name, dflt, flags, text)                                                    \
	OPT(conf, CONF_BOOLEAN, "boolean", field, name, dflt, 0, 1, NULL, flags, NULL, text)
#define STRING(strct, field, name, dflt, lo, hi, flags, text)                                      \
	OPT(strct, CONF_STRING, "string", field, name, dflt, lo, hi, "bytes", flags, NULL, text)
#define ENUM_FROM(strct, field, name, dflt, list, first, flags, text)                              \
	OPT(strct, CONF_ENUM, "word", field, name, dflt, first, N_OF(list) - 2, NULL, flags, list, \
	    text)
#define ENUM(strct, field, name, dflt, list, flags, text)                                          \
	ENUM_FROM(strct, field, name, dflt, list, 0, flags, text)
#define LIST(field, name, dflt, hi, flags, text)                                                   \
	OPT(conf, CONF_LIST, "list", field, name, dflt, 0, hi, "items", flags, NULL, text)
/* Of a rule. */
#define RULE_INTEGER(field, name, dflt, lo, hi, what, text)                                        \
	OPT(conf_rule, CONF_INTEGER, "integer", field, name, dflt, lo, hi, what, RELOAD, NULL, text)
#define RULE_SIZE(field, name, dflt, lo, hi, text)                                                 \
	OPT(conf_rule, CONF_SIZE, "size", field, name, dflt, lo, hi, "bytes", RELOAD, NULL, text)
#define RULE_DURATION(field, name, dflt, lo, hi, text)                                             \
	OPT(conf_rule, CONF_DURATION, "duration", field, name, dflt, lo, hi, "ms", RELOAD, NULL,   \
	    text)
#define RULE_BOOLEAN(field, name, dflt, text)                                                      \
	OPT(conf_rule, CONF_BOOLEAN, "boolean", field, name, dflt, 0, 1, NULL, RELOAD, NULL, text)
#define RULES(field, name, hi, flags, text)                                                        \
	OPT(conf, CONF_RULES, "rules", field, name, "", 0, hi, "items", flags, NULL, text)

/* The order is that of enum log_level. */
static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
/* The order is that of enum conf_who. */
static const char *const who[] = { "nobody", "anyone", "authenticated", "token", "app", NULL };
/* The order is that of enum conf_hook_failure. */
static const char *const hook_failure[] = { "deny", "allow", NULL };
/* The order is that of enum conf_slow; the first word is for rules alone. */
static const char *const slow[] = { "default", "kick", "drop-oldest", "latest", NULL };
/* The order is that of enum conf_tls_version. */
static const char *const tls_versions[] = { "1.2", "1.3", NULL };
/* The order is that of enum conf_client_certificate. */
static const char *const client_certificate[] = { "optional", "required", NULL };
/* The order is that of enum conf_proxy_header. */
static const char *const proxy_headers[] = { "none", "x-forwarded-for", "forwarded", NULL };

static const struct conf_opt options[] = {
	INTEGER(workers, "workers", "0", 0, 1024, "processes", 0,
	    "Worker processes; 0: one for each core."),

	LIST(listen.public_addrs, "listen.public", ":8080", 32, 0,
	    "Addresses for clients: HOST:PORT, :PORT for all of this machine's addresses, or "
	    "unix:PATH; behind it tls, proxy, mode=0660, owner=USER:GROUP, as in \":8443 tls\"."),
	LIST(listen.internal, "listen.internal", "127.0.0.1:8081", 32, 0,
	    "Addresses for backends: publishing and health, written as in listen.public. Beyond "
	    "loopback, api.key must be set."),
	INTEGER(listen.backlog, "listen.backlog", "4096", 1, 65535, "connections", 0,
	    "Connections that may wait for each worker to accept them; the kernel may allow "
	    "fewer."),

	STRING(conf, redis.url, "redis.url", "", 1, 4096, SECRET | URL,
	    "The Redis server that joins the nodes to one broker; empty: this node stands alone."),
	STRING(conf, redis.prefix, "redis.prefix", "fanfare:", 1, 128, 0,
	    "What stands before a channel's name in Redis; clients reach no name without it."),
	DURATION(redis.connect_timeout, "redis.connect_timeout", "1s", 10, 5 * MINUTE, 0,
	    "Time to connect to Redis, and then to log in; after it the attempt starts anew."),
	DURATION(redis.timeout, "redis.timeout", "4s", 10, 5 * MINUTE, 0,
	    "Time for Redis to answer a command; after it the connection is made anew."),
	DURATION(redis.canary, "redis.canary", "5s", 10, HOUR, 0,
	    "How often a message is sent through Redis and awaited back, to find a dead link."),
	SIZE(redis.queue, "redis.queue", "64MiB", 64 * KIB, 16 * GIB, 0,
	    "Bytes of publications that may wait for the answer of Redis; those beyond are "
	    "refused."),

	STRING(conf, api.key, "api.key", "", 16, 1024, RELOAD | SECRET,
	    "Key that a backend must show to publish over HTTP; empty: none is asked for."),

	STRING(conf, auth.secret, "auth.secret", "", 32, 1024, RELOAD | SECRET,
	    "Secret of the tokens (JWT, HS256) that name no key; empty: there are none."),
	STRING(conf, auth.jwks, "auth.jwks", "", 1, 4096, RELOAD,
	    "File with the keys of tokens, a JWK Set; SIGHUP reads it again."),
	STRING(conf, auth.audience, "auth.audience", "", 1, 255, RELOAD,
	    "What a token's aud must hold; empty: it is not looked at."),
	STRING(conf, auth.issuer, "auth.issuer", "", 1, 255, RELOAD,
	    "What a token's iss must be; empty: it is not looked at."),
	DURATION(auth.leeway, "auth.leeway", "30s", 0, 5 * MINUTE, RELOAD,
	    "By how much the clocks of Fanfare and of who makes tokens may differ."),
	BOOLEAN(auth.required, "auth.required", "false", RELOAD,
	    "Whether every client must show a token, or be let in by the connect hook."),

	STRING(conf, hooks.connect, "hooks.connect", "", 1, 4096, RELOAD,
	    "URL that is asked whether a client may connect, and who it is; empty: not asked."),
	STRING(conf, hooks.subscribe, "hooks.subscribe", "", 1, 4096, RELOAD,
	    "URL that is asked where a rule says subscribe: app."),
	STRING(conf, hooks.publish, "hooks.publish", "", 1, 4096, RELOAD,
	    "URL that is asked where a rule says publish: app."),
	STRING(conf, hooks.disconnect, "hooks.disconnect", "", 1, 4096, RELOAD,
	    "URL that is told of clients who have gone; empty: not told."),
	STRING(conf, hooks.key, "hooks.key", "", 16, 1024, RELOAD | SECRET,
	    "Key that Fanfare shows to the hooks, as Authorization: Bearer; empty: none."),
	LIST(hooks.headers, "hooks.headers", "Cookie, Authorization", 64, RELOAD,
	    "Header fields of a client's request that the connect hook is told."),
	DURATION(hooks.timeout, "hooks.timeout", "3s", 10, MINUTE, RELOAD,
	    "Time for a hook to answer one attempt."),
	INTEGER(hooks.retries, "hooks.retries", "1", 0, 10, "attempts", RELOAD,
	    "Further attempts where the hook could not be reached, or answered 5xx, and asking "
	    "twice does no harm."),
	INTEGER(hooks.connections, "hooks.connections", "32", 1, 1024, "connections", 0,
	    "Requests to hooks that one worker has under way at once."),
	INTEGER(hooks.queue, "hooks.queue", "1000", 0, 1000000, "requests", 0,
	    "Requests to hooks that may wait for one of these; those beyond fail."),
	ENUM(conf, hooks.failure, "hooks.failure", "deny", hook_failure, RELOAD,
	    "What a client may do while the hook that decides it cannot be asked: deny, allow."),
	INTEGER(hooks.breaker, "hooks.breaker", "5", 1, 1000, "failures", RELOAD,
	    "After so many failures in a row a hook is not asked for hooks.pause."),
	DURATION(hooks.pause, "hooks.pause", "5s", 10, HOUR, RELOAD,
	    "How long a hook that fails is left alone; one request then tries it."),

	STRING(conf, events.stream, "events.stream", "", 1, 255, 0,
	    "Key of a Redis stream to which clients' coming and going is written; empty: none."),
	INTEGER(events.length, "events.length", "100000", 1, 100000000, "entries", 0,
	    "Entries that the stream keeps, about."),
	LIST(events.include, "events.include", "connect, subscribe, unsubscribe, disconnect", 5, 0,
	    "Which events are written: connect, subscribe, unsubscribe, publish, disconnect."),

	DURATION(presence.lease, "presence.lease", "15s", 100, HOUR, 0,
	    "After this time a node that died vanishes from presence; living ones say so three "
	    "times as often."),

	LIST(origins, "origins", "", 1000, RELOAD,
	    "Web origins that may connect, such as https://*.example.com; none: the same host; *: "
	    "all."),

	BOOLEAN(demo.enabled, "demo.enabled", "false", 0,
	    "Serves a page to try Fanfare with, at / of the public addresses."),

	LIST(tls.certificates, "tls.certificates", "", 100, 0,
	    "Certificates for the addresses with tls, each \"CHAIN.pem KEY.pem\" or one file with "
	    "both; the first is for who asks for no name of another. SIGHUP reads them again."),
	ENUM(conf, tls.min_version, "tls.min_version", "1.2", tls_versions, 0,
	    "The oldest version of TLS that is spoken."),
	STRING(conf, tls.client_ca, "tls.client_ca", "", 1, 4096, 0,
	    "File with the authorities of client certificates; empty: clients are asked for none."),
	ENUM(conf, tls.client_certificate, "tls.client_certificate", "required", client_certificate,
	    0, "Whether clients must show a certificate where tls.client_ca is set."),
	BOOLEAN(
	    tls.ktls, "tls.ktls", "true", 0, "Lets the kernel encrypt what is sent, where it can."),

	LIST(proxy.trusted, "proxy.trusted", "", 1000, 0,
	    "Addresses of proxies that are believed when they name the client: ADDRESS, "
	    "ADDRESS/BITS, or unix for all of the unix sockets."),
	ENUM(conf, proxy.header, "proxy.header", "x-forwarded-for", proxy_headers, 0,
	    "The one header field in which a trusted proxy names the client."),

	BOOLEAN(deflate.enabled, "deflate.enabled", "false", 0,
	    "Compresses messages for clients who offer permessage-deflate."),
	INTEGER(deflate.level, "deflate.level", "1", 1, 9, NULL, 0,
	    "How hard compression tries: 1 is the fastest, 9 the smallest."),
	INTEGER(deflate.window_bits, "deflate.window_bits", "15", 9, 15, "bits", 0,
	    "The largest window in both directions, as a power of 2 in bytes."),
	INTEGER(deflate.memory_level, "deflate.memory_level", "8", 1, 9, NULL, 0,
	    "Memory of a worker's compressor: 1 is the least, 8 the fastest."),
	SIZE(deflate.min_size, "deflate.min_size", "256", 0, 64 * MIB, 0,
	    "Messages smaller than this are not compressed."),
	BOOLEAN(deflate.client_context_takeover, "deflate.client_context_takeover", "false", 0,
	    "Lets clients refer to their earlier messages, at up to 44 KiB of memory for each."),

	BOOLEAN(fanout.io_uring, "fanout.io_uring", "true", 0,
	    "Sends to many subscribers in one system call, where kernel and build have io_uring."),

	ENUM(
	    conf, log.level, "log.level", "info", levels, RELOAD, "The least severe lines to log."),

	SIZE(limits.message, "limits.message", "64KiB", 1, 64 * MIB, RELOAD,
	    "The largest message, after decompression; a larger one from a client gets close code"
	    " 1009."),
	INTEGER(limits.fragments, "limits.fragments", "1024", 1, 1000000, "fragments", RELOAD,
	    "The most fragments of one message from a client."),
	DURATION(limits.assemble, "limits.assemble", "30s", 10, DAY, RELOAD,
	    "Time from the first fragment of a message to its last."),
	SIZE(limits.head, "limits.head", "8KiB", 256, MIB, RELOAD,
	    "The largest head of an HTTP request; a larger one is answered with 431."),
	INTEGER(limits.fields, "limits.fields", "64", 1, 256, "fields", RELOAD,
	    "The most header fields of an HTTP request; more are answered with 431."),
	DURATION(limits.handshake, "limits.handshake", "10s", 10, HOUR, RELOAD,
	    "Time for a request's head to arrive, from the connection's first moment."),
	DURATION(limits.idle, "limits.idle", "75s", 10, DAY, RELOAD,
	    "Time that an HTTP connection is kept open without a request."),
	SIZE(limits.body, "limits.body", "64KiB", 1, 64 * MIB, RELOAD,
	    "The largest body of a request to publish; a larger one is answered with 413."),
	DURATION(limits.ping_interval, "limits.ping_interval", "25s", 0, DAY, RELOAD,
	    "How often a client is sent a ping, give or take a tenth; 0: never."),
	DURATION(limits.pong_timeout, "limits.pong_timeout", "8s", 10, HOUR, RELOAD,
	    "Time for a client to answer a ping; shorter than limits.ping_interval."),
	DURATION(limits.close, "limits.close", "5s", 10, HOUR, RELOAD,
	    "Time for a client to answer a close frame; after it the connection is cut."),
	SIZE(limits.queue, "limits.queue", "1MiB", KIB, GIB, RELOAD,
	    "Bytes that may wait for one slow client; one message of any allowed size always may."),
	SIZE(limits.queues, "limits.queues", "0", 0, INT64_C(1024) * GIB, RELOAD,
	    "Memory of one worker for all that waits for its clients; beyond it the longest queues "
	    "are shed first. 0: a quarter of its share of the machine's or container's memory."),
	DURATION(limits.stall, "limits.stall", "10s", 10, DAY, RELOAD,
	    "Time that a client for whom bytes wait may take none of them, unless limits.slow or "
	    "its channels' rules let all of them be left out."),
	ENUM_FROM(conf, limits.slow, "limits.slow", "kick", slow, CONF_SLOW_KICK, RELOAD,
	    "What happens to a slow client where the channel's rule does not say: kick, leave out "
	    "the oldest messages, or keep the latest of each channel. With history: kick."),
	SIZE(limits.sndbuf, "limits.sndbuf", "64KiB", 0, 64 * MIB, RELOAD,
	    "The kernel's send buffer of one client; 0: as large as the kernel sees fit."),
	INTEGER(limits.subscriptions, "limits.subscriptions", "128", 1, 1000000, "channels", RELOAD,
	    "The most channels that one connection may be subscribed to."),
	INTEGER(limits.channel_name, "limits.channel_name", "255", 1, 255, "bytes", RELOAD,
	    "The longest name of a channel."),
	INTEGER(limits.commands, "limits.commands", "50", 0, 1000000, "per second", RELOAD,
	    "Commands of fanfare.json that a connection may send in the long run; 0: no limit."),
	INTEGER(limits.commands_burst, "limits.commands_burst", "100", 1, 1000000, "commands",
	    RELOAD, "Commands that a connection may send at once before limits.commands holds."),
	INTEGER(limits.connections, "limits.connections", "0", 0, 16777216, "connections", RELOAD,
	    "The most public connections of one worker; 0: its files less 10 %, at least 32."),
	INTEGER(limits.address_connections, "limits.address_connections", "0", 0, 16777216,
	    "connections", RELOAD,
	    "The most public connections of one address at one worker; 0: no limit."),
	INTEGER(limits.address_rate, "limits.address_rate", "0", 0, 1000000, "per second", RELOAD,
	    "New public connections of one address at one worker; 0: no limit."),
	DURATION(limits.proxy_header, "limits.proxy_header", "3s", 10, HOUR, RELOAD,
	    "Time for the PROXY header to arrive at an address with proxy."),
	SIZE(limits.link_queue, "limits.link_queue", "64MiB", 64 * KIB, 16 * GIB, 0,
	    "Bytes that may wait between a worker and the hub; one message always may."),
	SIZE(limits.token, "limits.token", "4KiB", 256, 64 * KIB, RELOAD, "The longest token."),
	DURATION(limits.authenticate, "limits.authenticate", "10s", 10, HOUR, RELOAD,
	    "Time for a client of fanfare.json to show its token where auth.required is set."),
	INTEGER(limits.recovery, "limits.recovery", "300", 1, 100000, "messages", RELOAD,
	    "The most messages that a client gets after it has come back, or asks for at once."),
	DURATION(limits.position_check, "limits.position_check", "40s", 0, HOUR, RELOAD,
	    "How often a quiet channel's position is compared with the engine's; 0: never."),
	SIZE(limits.history_memory, "limits.history_memory", "256MiB", 64 * KIB, 1024 * GIB, 0,
	    "Memory for histories of a node without Redis; beyond, the oldest messages go."),

	RULES(channels, "channels", 1000, RELOAD,
	    "Rules of who may do what; of those whose glob matches a channel's name the first "
	    "applies."),
};

static const struct conf_opt rule_options[] = {
	STRING(conf_rule, match, "match", NULL, 1, 255, RELOAD,
	    "Names that it is for: * stands for any text, ? for one character, [a-z] for one of "
	    "these."),
	ENUM(conf_rule, subscribe, "subscribe", "anyone", who, RELOAD,
	    "Who may subscribe: authenticated is who has shown a token or was named by the connect "
	    "hook; token, whose token names the channel; app, whom the application allows it."),
	ENUM(conf_rule, publish, "publish", "nobody", who, RELOAD,
	    "Which clients may publish; backends always may."),
	ENUM(conf_rule, read_history, "read_history", "nobody", who, RELOAD,
	    "Which clients may ask for past messages; recovery after a reconnect needs no more "
	    "than the right to subscribe."),
	ENUM(conf_rule, read_presence, "read_presence", "nobody", who, RELOAD,
	    "Which clients may ask who is in the channel."),
	RULE_INTEGER(history.size, "history.size", "0", 0, 1000000, "messages",
	    "Messages that the channel keeps; 0: none."),
	RULE_DURATION(history.ttl, "history.ttl", "5m", SECOND, 365 * DAY,
	    "How long they are kept after the last one."),
	RULE_BOOLEAN(position_check, "position_check", "true",
	    "Whether the position is compared with the engine's every limits.position_check."),
	RULE_BOOLEAN(presence, "presence", "false", "Whether it is known who is in the channel."),
	RULE_BOOLEAN(join_leave, "join_leave", "false",
	    "Whether subscribers are told who comes and goes; needs presence."),
	RULE_SIZE(message, "message", "0", 0, 64 * MIB,
	    "The largest message that may be published to it by clients and over HTTP; 0: "
	    "limits.message."),
	ENUM(conf_rule, slow, "slow", "default", slow, RELOAD,
	    "What happens to a client who takes messages too slowly; default: limits.slow, and "
	    "kick with history."),
};

const struct conf_table conf_options = { options, N_OF(options) };
const struct conf_table conf_rule_options = { rule_options, N_OF(rule_options) };

const struct conf_option_info *
conf_option(size_t i)
{
	return i < conf_options.n ? &conf_options.opts[i].info : NULL;
}

const struct conf_opt *
conf_table_find(const struct conf_table *t, const char *key)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->opts[i].info.key, key) == 0)
			return &t->opts[i];
	return NULL;
}

size_t
conf_key_group(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot != NULL ? (size_t)(dot - key) : 0;
}

bool
conf_table_is_group(const struct conf_table *t, const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < t->n; i++)
		if (strncmp(t->opts[i].info.key, key, n) == 0 && t->opts[i].info.key[n] == '.')
			return true;
	return false;
}

#define NEAR_MAX 48 /* bytes of a key for which others are looked at */

static char
fold(char c)
{
	if (c == '-' || c == '.')
		return '_';
	return (char)tolower((unsigned char)c);
}

/*
 * How many letters must be put in, taken out, replaced or swapped with their neighbour to make b
 * of a.  Both are at most NEAR_MAX long.
 */
static size_t
distance(const char *a, size_t an, const char *b, size_t bn)
{
	size_t rows[3][NEAR_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= bn; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= an; i++) {
		size_t *spare = before;

		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			char x = fold(a[i - 1]), y = fold(b[j - 1]);
			size_t d = last[j - 1] + (x != y);

			if (d > last[j] + 1)
				d = last[j] + 1;
			if (d > row[j - 1] + 1)
				d = row[j - 1] + 1;
			if (i > 1 && j > 1 && x == fold(b[j - 2]) && y == fold(a[i - 2]) &&
			    d > before[j - 2] + 1)
				d = before[j - 2] + 1;
			row[j] = d;
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[bn];
}

const struct conf_opt *
conf_table_nearest(const struct conf_table *t, const char *key, size_t *group_len)
{
	const char *dot = strrchr(key, '.');
	const char *tail = dot != NULL ? dot + 1 : key;
	size_t n = strlen(key), tail_len = strlen(tail);
	/* Farther than this is no likeness; the group is not counted, as it is mostly right. */
	size_t best = tail_len < 4 ? 2 : tail_len < 6 ? 3 : 4;
	const struct conf_opt *found = NULL, *same_tail = NULL;

	if (group_len != NULL)
		*group_len = 0;
	if (n == 0 || n > NEAR_MAX)
		return NULL;
	for (size_t i = 0; i < t->n; i++) {
		const char *other = t->opts[i].info.key;
		size_t group = conf_key_group(other);
		size_t d = distance(key, n, other, strlen(other));

		if (d < best) {
			best = d;
			found = &t->opts[i];
			if (group_len != NULL)
				*group_len = 0;
		}
		if (group_len == NULL || group == 0)
			continue;
		if (same_tail == NULL && strlen(other + group + 1) == tail_len &&
		    distance(tail, tail_len, other + group + 1, tail_len) == 0)
			same_tail = &t->opts[i];
		if ((d = distance(key, n, other, group)) < best) {
			best = d;
			found = &t->opts[i];
			*group_len = group;
		}
	}
	/* Otherwise it may be a right name in a wrong place. */
	return found != NULL ? found : same_tail;
}

const char *
conf_env_name(char out[CONF_ENV_SIZE], const char *key)
{
	size_t n = sizeof(CONF_ENV_PREFIX) - 1;

	memcpy(out, CONF_ENV_PREFIX, n);
	for (; *key != '\0' && n < CONF_ENV_SIZE - 1; key++)
		out[n++] = (char)toupper((unsigned char)fold(*key));
	out[n] = '\0';
	return out;
}
