/*
 * settings: what the user asked for, after the preset and the options.  See settings.h.
 */
#include "bench/settings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/body.h"
#include "bench/preset.h"
#include "bench/text.h"
#include "bench/wire.h"

#define FANOUT (1U << MODE_FANOUT)
#define PAIRS (1U << MODE_PAIRS)
#define IDLE (1U << MODE_IDLE)
#define CHURN (1U << MODE_CHURN)
#define FLOOR (1U << MODE_FLOOR)
#define TRAFFIC (FANOUT | PAIRS)
#define CLIENT (TRAFFIC | IDLE | CHURN)

#define THREADS_MAX 64
#define CONNECTIONS_MAX 10000000
#define SIZE_MOST (64U << 20)
#define HELP_COLUMN 30

enum kind {
	KIND_COUNT, /* unsigned */
	KIND_COUNT64,
	KIND_SIZE,
	KIND_PID,
	KIND_NUMBER, /* double */
	KIND_TEXT,
	KIND_YES, /* no value */
	KIND_NO,
	KIND_SPECIAL,
};

static const char *const mode_names[] = { "fanout", "pairs", "idle", "churn", "floor" };
static const char *const publish_names[] = { "ws", "http", "redis" };
static const char *const floor_names[] = { "send", "coalesced", "pair" };

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define AT(field) offsetof(struct settings, field)

static const struct entry {
	const char *name;
	const char *value; /* what stands for it in the help; NULL: takes none */
	const char *help;
	unsigned modes;
	enum kind kind;
	size_t offset;
	double least, most;
} entries[] = {
	{ "preset", "NAME", "the broker, see below [fanfare]", CLIENT, KIND_SPECIAL, 0, 0, 0 },
	{ "url", "URL", "where it listens: ws://HOST:PORT or wss://HOST:PORT [the preset's]",
	    CLIENT, KIND_TEXT, AT(dialect.url), 0, 0 },
	{ "ca", "FILE", "of wss: certificates to trust, PEM [the system's]", CLIENT, KIND_TEXT,
	    AT(ca), 0, 0 },
	{ "insecure", NULL, "of wss: trust any certificate", CLIENT, KIND_YES, AT(insecure), 0, 0 },
	{ "deflate", NULL, "receive compressed messages (permessage-deflate)", CLIENT, KIND_YES,
	    AT(deflate), 0, 0 },
	{ "server-pid", "PID", "its process; with all below it, its CPU and memory are measured",
	    CLIENT, KIND_PID, AT(server), 1, 1 << 30 },
	{ "subscribers", "N", "subscribers of the channel [1000]", FANOUT, KIND_COUNT,
	    AT(subscribers), 1, CONNECTIONS_MAX },
	{ "pairs", "K", "channels with one publisher and one subscriber each [100]", PAIRS,
	    KIND_COUNT, AT(pairs), 1, WIRE_CHANNELS_MAX },
	{ "connections", "N", "connections to keep, or to open and close [10000]", IDLE | CHURN,
	    KIND_COUNT, AT(connections), 1, CONNECTIONS_MAX },
	{ "own-channels", NULL, "each connection to a channel of its own, not all to one", IDLE,
	    KIND_YES, AT(own_channels), 0, 0 },
	{ "concurrency", "N", "connections on their way at a time, in each thread [16]", CHURN,
	    KIND_COUNT, AT(concurrency), 1, 10000 },
	{ "size", "BYTES", "of the payload [64]", TRAFFIC, KIND_SIZE, AT(size), WIRE_STAMP,
	    SIZE_MOST },
	{ "payload", "KIND",
	    "fill: one letter; json: text that an application could have sent [fill]", TRAFFIC,
	    KIND_SPECIAL, 0, 0, 0 },
	{ "duration", "SECONDS", "how long to measure [5]", TRAFFIC | IDLE, KIND_NUMBER,
	    AT(duration), 0.001, 1e6 },
	{ "messages", "N", "publish so many on each channel, however long it takes", TRAFFIC,
	    KIND_COUNT64, AT(messages), 1, 4e9 },
	{ "warmup", "SECONDS", "of the same before, not measured [0.5]", TRAFFIC, KIND_NUMBER,
	    AT(warmup), 0, 1e6 },
	{ "window", "W", "publish message k once all subscribers have k - W [1; 0: no window]",
	    TRAFFIC, KIND_COUNT, AT(window), 0, 1 << 20 },
	{ "rate", "R", "messages a second on each channel; then there is no window unless set",
	    TRAFFIC, KIND_NUMBER, AT(rate), 0.001, 1e8 },
	{ "publish", "WAY", "ws, http or redis [ws]", TRAFFIC, KIND_SPECIAL, 0, 0, 0 },
	{ "publish-url", "URL",
	    "for http and redis: http://HOST:PORT, redis://HOST:PORT, unix:PATH", CLIENT, KIND_TEXT,
	    AT(dialect.publish_url), 0, 0 },
	{ "pipeline", "N", "HTTP requests on their way at a time, on each channel [1]", TRAFFIC,
	    KIND_COUNT, AT(pipeline), 1, 1 << 20 },
	{ "channel", "NAME", "name of the channel, or their prefix [bench]", CLIENT, KIND_TEXT,
	    AT(channel), 0, 0 },
	{ "threads", "N", "threads of this program [1]", CLIENT, KIND_COUNT, AT(threads), 1,
	    THREADS_MAX },
	{ "timeout", "SECONDS", "give up when nothing happens for so long [10]", CLIENT,
	    KIND_NUMBER, AT(timeout), 0.001, 1e6 },
	{ "json", NULL, "results as JSON", CLIENT, KIND_YES, AT(json), 0, 0 },
	{ "progress", NULL, "a line a second on stderr [if that is a terminal]", CLIENT, KIND_YES,
	    AT(progress), 0, 0 },
	{ "no-progress", NULL, "none", CLIENT, KIND_NO, AT(progress), 0, 0 },

	{ "path", "TEMPLATE", "what a WebSocket asks for", CLIENT, KIND_TEXT, AT(dialect.path), 0,
	    0 },
	{ "publish-path", "TEMPLATE", "the same for one that only publishes", TRAFFIC, KIND_TEXT,
	    AT(dialect.publish_path), 0, 0 },
	{ "http-path", "TEMPLATE", "where to POST", TRAFFIC, KIND_TEXT, AT(dialect.http_path), 0,
	    0 },
	{ "redis-prefix", "TEXT", "stands before the channel in Redis", TRAFFIC, KIND_TEXT,
	    AT(dialect.redis_prefix), 0, 0 },
	{ "hello-message", "TEMPLATE", "first message of each connection", CLIENT, KIND_TEXT,
	    AT(dialect.hello), 0, 0 },
	{ "subscribe-message", "TEMPLATE", "next message of each that subscribes", CLIENT,
	    KIND_TEXT, AT(dialect.subscribe), 0, 0 },
	{ "publish-message", "TEMPLATE", "one publication", TRAFFIC, KIND_TEXT,
	    AT(dialect.publish_message), 0, 0 },
	{ "match", "HOW",
	    "exact: a message is the payload alone; marker: it is somewhere in the bytes", TRAFFIC,
	    KIND_SPECIAL, 0, 0, 0 },
	{ "echo", NULL, "a WebSocket that publishes gets its own messages", TRAFFIC | FLOOR,
	    KIND_YES, AT(dialect.echo), 0, 0 },
	{ "no-echo", NULL, "it does not", TRAFFIC | FLOOR, KIND_NO, AT(dialect.echo), 0, 0 },
	{ "binary", NULL, "binary frames", CLIENT, KIND_YES, AT(dialect.binary), 0, 0 },
	{ "text", NULL, "text frames", CLIENT, KIND_NO, AT(dialect.binary), 0, 0 },
	{ "origin", "ORIGIN", "Origin of the handshake", CLIENT, KIND_TEXT, AT(dialect.origin), 0,
	    0 },
	{ "protocol", "NAME", "subprotocol of the handshake", CLIENT, KIND_TEXT,
	    AT(dialect.protocol), 0, 0 },
	{ "header", "LINE", "another field of the handshake, again and again", CLIENT, KIND_SPECIAL,
	    0, 0, 0 },

	{ "mode", "KIND", "send, coalesced or pair, see below [send]", FLOOR, KIND_SPECIAL, 0, 0,
	    0 },
	{ "listen", "ADDRESS", "where to listen; port 0 takes a free one [127.0.0.1:7777]", FLOOR,
	    KIND_TEXT, AT(listen), 0, 0 },
};

static const char usage[] =
    "usage: fanfare-bench fanout [OPTION]...   messages to many subscribers of one channel\n"
    "       fanfare-bench pairs  [OPTION]...   many channels with one subscriber each\n"
    "       fanfare-bench idle   [OPTION]...   memory and CPU of connections that wait\n"
    "       fanfare-bench churn  [OPTION]...   connections that open and close\n"
    "       fanfare-bench floor  [OPTION]...   the cheapest server there can be\n"
    "\n"
    "Measures a broker over WebSocket: deliveries a second, what each costs the server in CPU\n"
    "time, and how long it takes.  Every message is numbered: the exit status is 1 if one was\n"
    "lost, came twice, out of order or changed, or if a connection failed; 2 for a wrong\n"
    "command line.\n";

static const char examples[] =
    "\nTemplates: %c is the channel, %p the payload, %n its length; \\r \\n \\t \\\\ as in C.\n"
    "\n"
    "Examples:\n"
    "  fanfare-bench fanout --subscribers 1000 --window 16 --server-pid $(pgrep -ox fanfare)\n"
    "  fanfare-bench fanout --rate 1000 --publish redis --publish-url redis://127.0.0.1:6379\n"
    "  fanfare-bench fanout --url wss://127.0.0.1:8443 --insecure --deflate --payload json \\\n"
    "      --size 1024\n"
    "  fanfare-bench pairs --pairs 100 --window 8 --publish http --json\n"
    "  fanfare-bench idle --connections 10000 --own-channels --server-pid 4711\n"
    "  fanfare-bench churn --connections 50000 --concurrency 32 --server-pid 4711\n"
    "  fanfare-bench floor --mode coalesced &\n"
    "  fanfare-bench fanout --preset floor --window 16 --server-pid $!\n"
    "  fanfare-bench fanout --url ws://10.0.0.5:9000 --path / --match marker --no-echo \\\n"
    "      --subscribe-message '{\"sub\":\"%c\"}' \\\n"
    "      --publish-message '{\"pub\":\"%c\",\"data\":\"%p\"}'\n";

static const char floor_help[] =
    "  The floor makes one send() for each message and subscriber (send); one for each subscriber\n"
    "  and pass of its loop, of all that came in the pass (coalesced); or one for each subscriber\n"
    "  and read of a publisher (pair).  No broker can do less by ordinary calls.\n";

static void
print_options(const char *title, unsigned modes, unsigned but)
{
	const struct entry *e;
	char left[64];

	(void)printf("\n%s\n", title);
	for (e = entries; e < entries + COUNT_OF(entries); e++) {
		if ((e->modes & modes) == 0 || (e->modes & but) != 0)
			continue;
		(void)snprintf(left, sizeof(left), "--%s%s%s", e->name, e->value != NULL ? " " : "",
		    e->value != NULL ? e->value : "");
		(void)printf("  %-*s%s\n", HELP_COLUMN, left, e->help);
	}
}

static _Noreturn void
help(void)
{
	const char *name, *about;
	unsigned i;

	(void)fputs(usage, stdout);
	print_options("Options:", CLIENT, 0);
	print_options("Options of floor:", FLOOR, CLIENT);
	(void)fputs(floor_help, stdout);
	(void)fputs("\nPresets:\n", stdout);
	for (i = 0; (name = preset_name(i, &about)) != NULL; i++)
		(void)printf("  %-*s%s\n", HELP_COLUMN, name, about);
	(void)fputs(examples, stdout);
	exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* The index of a name in a list; ends the process if it is not there. */
static unsigned
choose(const char *what, const char *name, const char *const *list, size_t n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		if (strcmp(list[i], name) == 0)
			return i;
	}
	text_usage("%s \"%s\" is not known", what, name);
}

static double
number(const struct entry *e, const char *value)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(value, &end);
	if (end == value || *end != '\0' || errno != 0 || !isfinite(v))
		text_usage("--%s: \"%s\" is not a number", e->name, value);
	if (v < e->least || v > e->most)
		text_usage(
		    "--%s: %s is not from %.10g to %.10g", e->name, value, e->least, e->most);
	if (e->kind != KIND_NUMBER && v != floor(v))
		text_usage("--%s: %s is not a whole number", e->name, value);
	return v;
}

static void
set_special(struct settings *s, const struct entry *e, const char *value)
{
	static const char *const matches[] = { "exact", "marker" };
	static const char *const payloads[] = { "fill", "json" };

	if (strcmp(e->name, "publish") == 0) {
		s->publish = choose("--publish", value, publish_names, COUNT_OF(publish_names));
	} else if (strcmp(e->name, "match") == 0) {
		s->dialect.marked = choose("--match", value, matches, COUNT_OF(matches)) == 1;
	} else if (strcmp(e->name, "payload") == 0) {
		s->payload = choose("--payload", value, payloads, COUNT_OF(payloads));
	} else if (strcmp(e->name, "mode") == 0) {
		s->floor = choose("--mode", value, floor_names, COUNT_OF(floor_names));
	} else if (strcmp(e->name, "header") == 0) {
		if (s->nheaders == SETTINGS_HEADERS_MAX)
			text_usage("more than %d times --header", SETTINGS_HEADERS_MAX);
		s->headers[s->nheaders++] = value;
	}
}

static void
set(struct settings *s, const struct entry *e, const char *value)
{
	char *field = (char *)s + e->offset;
	double v = 0;
	uint64_t n;
	pid_t pid;
	unsigned u;
	bool on = e->kind == KIND_YES;

	if (e->kind <= KIND_NUMBER)
		v = number(e, value);
	switch (e->kind) {
	case KIND_COUNT:
		u = (unsigned)v;
		memcpy(field, &u, sizeof(u));
		break;
	case KIND_COUNT64:
	case KIND_SIZE:
		n = (uint64_t)v;
		memcpy(field, &n, sizeof(n));
		break;
	case KIND_PID:
		pid = (pid_t)v;
		memcpy(field, &pid, sizeof(pid));
		break;
	case KIND_NUMBER:
		memcpy(field, &v, sizeof(v));
		break;
	case KIND_TEXT:
		memcpy(field, &value, sizeof(value));
		break;
	case KIND_YES:
	case KIND_NO:
		memcpy(field, &on, sizeof(on));
		break;
	case KIND_SPECIAL:
		set_special(s, e, value);
		break;
	}
}

/* The option at argv[*i], with its value, which may be the next argument. */
static const struct entry *
next_option(int argc, char **argv, int *i, enum mode mode, const char **value)
{
	const char *arg = argv[*i], *name = arg + 2, *equals = strchr(arg, '=');
	size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
	const struct entry *e = entries, *end = entries + COUNT_OF(entries);

	if (strncmp(arg, "--", 2) != 0)
		text_usage("\"%s\" is not an option", arg);
	while (e < end && (strncmp(e->name, name, len) != 0 || e->name[len] != '\0'))
		e++;
	if (e == end)
		text_usage("there is no option \"%.*s\"", (int)len + 2, arg);
	if ((e->modes & 1U << mode) == 0)
		text_usage("\"%s\" is not an option of %s", e->name, mode_names[mode]);
	*value = "";
	if (e->value == NULL) {
		if (equals != NULL)
			text_usage("--%s takes no value", e->name);
	} else if (equals != NULL) {
		*value = equals + 1;
	} else if (++*i < argc) {
		*value = argv[*i];
	} else {
		text_usage("--%s needs a value: %s", e->name, e->value);
	}
	return e;
}

static void
set_defaults(struct settings *s)
{
	memset(s, 0, sizeof(*s));
	s->preset = "fanfare";
	s->channel = "bench";
	s->threads = 1;
	s->subscribers = 1000;
	s->pairs = 100;
	s->connections = 10000;
	s->concurrency = 16;
	s->pipeline = 1;
	s->size = 64;
	s->duration = 5;
	s->warmup = 0.5;
	s->timeout = 10;
	s->window = UINT32_MAX; /* not set yet */
	s->listen = "127.0.0.1:7777";
}

static void
check(struct settings *s)
{
	if (s->window == UINT32_MAX)
		s->window = s->rate > 0 ? 0 : 1;
	if (s->window == 0 && s->rate == 0)
		text_usage("--window 0 needs a --rate");
	if (s->mode == MODE_FLOOR)
		return;
	s->tls = strncmp(s->dialect.url, "wss:", 4) == 0;
	if (!s->tls && (s->ca != NULL || s->insecure))
		text_usage("--ca and --insecure need a --url wss://HOST:PORT");
	if ((s->tls && s->dialect.plain) || (s->deflate && (s->dialect.plain || s->dialect.marked)))
		text_usage("preset %s can not be measured with TLS or --deflate", s->preset);
	if (s->payload == PAYLOAD_JSON) {
		s->stamp_at = BODY_STAMP_AT;
		if (s->size < BODY_LEAST)
			text_usage("--payload json needs a --size of at least %d", BODY_LEAST);
	}
	if (s->publish != PUBLISH_WS && s->dialect.publish_url == NULL)
		text_usage("--publish %s needs a --publish-url", publish_names[s->publish]);
	if (s->publish == PUBLISH_REDIS && strncmp(s->dialect.publish_url, "http", 4) == 0)
		text_usage("--publish redis needs a --publish-url redis://HOST:PORT or unix:PATH");
	if ((s->mode == MODE_FANOUT ? s->subscribers : s->connections) < s->threads)
		text_usage("--threads %u: more than connections", s->threads);
}

void
settings_read(int argc, char **argv, struct settings *s)
{
	const struct dialect *dialect;
	const struct entry *e;
	const char *value;
	int i;

	set_defaults(s);
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
		    (i == 1 && strcmp(argv[i], "help") == 0))
			help();
	}
	if (argc < 2)
		text_usage("which mode: fanout, pairs, idle, churn or floor?");
	s->mode = choose("mode", argv[1], mode_names, COUNT_OF(mode_names));
	/* The preset first: the other options change it, in whatever order they come. */
	for (i = 2; i < argc; i++) {
		e = next_option(argc, argv, &i, s->mode, &value);
		if (strcmp(e->name, "preset") == 0)
			s->preset = value;
	}
	dialect = preset_find(s->preset);
	if (dialect != NULL)
		s->dialect = *dialect;
	else
		text_usage("preset \"%s\" is not known", s->preset);
	s->progress = text_is_terminal();
	for (i = 2; i < argc; i++) {
		e = next_option(argc, argv, &i, s->mode, &value);
		set(s, e, value);
	}
	check(s);
}
