/*
 * sub: `fanfare sub`, which prints the messages of channels.
 *
 * Process: the command line.
 * Layer:   cli.  Uses client, find, wait, worker/ws, common.
 *
 * One channel is read over the raw dialect: the bytes of its messages and nothing else.  Several
 * channels, or --json, need to know the channel of each message and use fanfare.json.
 */
#include "cli/sub.h"

#include <curl/curl.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/find.h"
#include "cli/wait.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"
#include "worker/ws/reader.h"

#define BACKOFF_MIN_MS 250
#define BACKOFF_MAX_MS 10000
#define TARGET_MAX 65536
#define DEPTH_MAX (JSON_DEPTH_MAX + 4) /* a publication in its envelope */

struct sub {
	const char *url;
	const char *origin;
	const char *cacert;
	char **channel;
	int channels;
	bool json;    /* print JSON objects */
	bool objects; /* speak fanfare.json */
	bool reconnect;
	uint64_t count; /* messages still wanted; 0: without end */
};

static const char usage[] =
    "usage: fanfare sub [options] CHANNEL...\n"
    "Prints each message of the channels as one line; of several, with the channel in front.\n"
    "\n"
    "  -u, --url URL       the server (default ws://127.0.0.1:8080)\n"
    "  -c, --config FILE   take the server's address from its configuration\n"
    "      --cacert FILE   the authorities to trust for wss:// (default: the system's)\n"
    "  -n, --count N       end after N messages\n"
    "  -j, --json          print JSON objects with channel and data\n"
    "  -o, --origin O      name this Origin in the handshake\n"
    "      --no-reconnect  end when the connection is lost\n"
    "  -h, --help\n";

static bool
parse_count(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && text[0] >= '0' && text[0] <= '9' && *out > 0;
}

/* The request's path and query for these channels.  NULL: no memory, or too long. */
static char *
make_target(const struct sub *s)
{
	struct buf b;
	char *target = NULL;
	int i, r = 0;

	buf_init(&b, TARGET_MAX);
	for (i = 0; i < s->channels && r == 0; i++) {
		const char *before = !s->objects ? "/ws/" : i == 0 ? "/ws?channel=" : "&channel=";
		char *name = curl_easy_escape(NULL, s->channel[i], 0);

		r = name == NULL ? FAN_ENOMEM : buf_printf(&b, "%s%s", before, name);
		curl_free(name);
	}
	if (r == 0)
		target = strndup((const char *)buf_data(&b), buf_len(&b));
	buf_fini(&b);
	return target;
}

/* --- printing --------------------------------------------------------------------------------- */

/*
 * One line, out at once, so that a pipe's reader sees each message as it comes.  prefix: the
 * channel, or NULL.
 */
static int
print_line(const char *prefix, const void *data, size_t n)
{
	if (prefix != NULL)
		printf("%s ", prefix);
	(void)fwrite(data, 1, n, stdout);
	(void)putchar('\n');
	if (fflush(stdout) == 0)
		return 0;
	warn("cannot write");
	return FAN_ESYS;
}

/* A member of the object that is a string, as a new reference, or NULL.  NULs are payload. */
static json_t *
string_member(const char *text, size_t n, const char *key)
{
	const char *value;
	size_t len;

	if (json_member(text, n, key, &value, &len) != 0 || value[0] != '"')
		return NULL;
	return json_loadb(value, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static int
print_base64(const char *channel, const char *text, size_t n)
{
	unsigned char *bytes = malloc(n + 1);
	int len = -1, r = FAN_ENOMEM;

	if (bytes != NULL)
		len = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)n);
	if (len >= 0) {
		/* OpenSSL counts the padding as bytes. */
		while (n > 0 && text[n - 1] == '=' && len > 0) {
			n--;
			len--;
		}
		r = print_line(channel, bytes, (size_t)len);
	} else {
		warnx("%s: a message that is not base64", channel);
	}
	free(bytes);
	return r;
}

/* A publication: what was published as text, as other JSON, or as binary. */
static int
print_publication(const struct sub *s, const char *channel, const char *text, size_t n)
{
	json_t *string = string_member(text, n, "data");
	const char *value, *enc;
	size_t len, enc_len;
	int r;

	if (s->channels == 1)
		channel = NULL;
	if (string == NULL) {
		r = json_member(text, n, "data", &value, &len);
		r = r == 0 ? print_line(channel, value, len) : r;
	} else if (json_member(text, n, "encoding", &enc, &enc_len) == 0) {
		r = print_base64(channel, json_string_value(string), json_string_length(string));
	} else {
		r = print_line(channel, json_string_value(string), json_string_length(string));
	}
	json_decref(string);
	return r;
}

/*
 * One message of fanfare.json.  *counted: it was a publication.  Nonzero: there is no point in
 * going on.
 */
static int
print_object(const struct sub *s, const char *text, size_t n, bool *counted)
{
	json_t *channel, *gap;
	const char *value;
	size_t len;
	int r = 0;

	if (!json_valid(text, n, DEPTH_MAX)) {
		warnx("the server sent something that is not JSON");
		return FAN_EPROTO;
	}
	channel = string_member(text, n, "channel");
	gap = string_member(text, n, "gap");
	if (channel != NULL) {
		*counted = true;
		r = s->json ? print_line(NULL, text, n)
			    : print_publication(s, json_string_value(channel), text, n);
	} else if (gap != NULL) {
		warnx("%s: messages may be missing here", json_string_value(gap));
		r = s->json ? print_line(NULL, text, n) : 0;
	} else if (json_member(text, n, "error", &value, &len) == 0) {
		char why[CLIENT_WHY];

		client_error_text(why, sizeof(why), text, n);
		warnx("the server says: %s", why);
		r = FAN_EDENIED;
	}
	json_decref(channel);
	json_decref(gap);
	return r;
}

/* --- running ---------------------------------------------------------------------------------- */

/* Prints until the connection ends.  0: all that was wanted has come. */
static int
read_messages(struct sub *s, struct client *c, char why[CLIENT_WHY])
{
	struct ws_event ev;

	for (;;) {
		int r = client_receive(c, &ev, why);
		bool counted = !s->objects;

		if (r != 0)
			return r;
		if (s->objects)
			r = print_object(s, (const char *)ev.data, ev.len, &counted);
		else
			r = print_line(NULL, ev.data, ev.len);
		if (r != 0) {
			why[0] = '\0'; /* told already */
			return FAN_EDENIED;
		}
		if (counted && s->count > 0 && --s->count == 0)
			return 0;
	}
}

/* Half to whole of the back-off, so that clients do not come back all at once. */
static int
next_delay(int *backoff)
{
	int ms = *backoff / 2 + (int)(random() % (*backoff / 2 + 1));

	*backoff = *backoff * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : *backoff * 2;
	return ms;
}

static int
run(struct sub *s, const char *target)
{
	const struct client_options o = {
		.url = s->url,
		.target = target,
		.protocol = s->objects ? "fanfare.json" : NULL,
		.origin = s->origin,
		.cacert = s->cacert,
	};
	char why[CLIENT_WHY];
	bool connected = false;
	int backoff = BACKOFF_MIN_MS;
	uint64_t opened;

	for (;;) {
		struct client *c = NULL;
		int r = client_open(&o, &c, why);

		if (r == 0) {
			warnx("connected to %s", s->url);
			connected = true;
			opened = clock_ms();
			r = read_messages(s, c, why);
			client_close(c, WS_CLOSE_NORMAL);
			if (r == 0)
				return 0;
			/* One that lets us in only to close again is not to be hurried. */
			if (clock_ms() - opened > BACKOFF_MAX_MS)
				backoff = BACKOFF_MIN_MS;
		}
		if (wait_stopped())
			return 0;
		if (why[0] != '\0')
			warnx("%s", why);
		if (!connected && r == FAN_EDOWN)
			warnx("is fanfare running at %s?", s->url);
		if (r != FAN_EDOWN || !connected || !s->reconnect)
			return 1;
		wait_ms(next_delay(&backoff));
		if (wait_stopped())
			return 0;
	}
}

static int
parse_options(struct sub *s, int argc, char **argv, const char **config)
{
	static const struct option longs[] = {
		{ "url", required_argument, NULL, 'u' },
		{ "config", required_argument, NULL, 'c' },
		{ "cacert", required_argument, NULL, 'C' },
		{ "count", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "origin", required_argument, NULL, 'o' },
		{ "no-reconnect", no_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "u:c:n:jo:h", longs, NULL)) != -1) {
		switch (opt) {
		case 'u':
			s->url = optarg;
			break;
		case 'c':
			*config = optarg;
			break;
		case 'n':
			if (!parse_count(optarg, &s->count)) {
				warnx("--count takes a number from 1");
				return FAN_EINVAL;
			}
			break;
		case 'j':
			s->json = true;
			break;
		case 'o':
			s->origin = optarg;
			break;
		case 'C':
			s->cacert = optarg;
			break;
		case 'R':
			s->reconnect = false;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		default:
			(void)fputs(usage, stderr);
			return FAN_EINVAL;
		}
	}
	if (optind == argc) {
		(void)fputs(usage, stderr);
		return FAN_EINVAL;
	}
	s->channel = argv + optind;
	s->channels = argc - optind;
	s->objects = s->json || s->channels > 1;
	return 0;
}

int
cli_sub(int argc, char **argv)
{
	struct sub s = { .reconnect = true };
	const char *config = NULL;
	char *found = NULL, *target = NULL;
	int status = 1;

	if (parse_options(&s, argc, argv, &config) != 0)
		return 2;
	if (s.url == NULL && config != NULL) {
		if (find_node(config, false, "ws", &found, NULL) != 0)
			return 1;
		s.url = found;
	}
	if (s.url == NULL)
		s.url = "ws://127.0.0.1:8080";
	srandom((unsigned)clock_us());
	wait_catch_signals();
	target = make_target(&s);
	if (target == NULL)
		warnx("too many channels");
	else
		status = run(&s, target);
	free(target);
	free(found);
	return status;
}
