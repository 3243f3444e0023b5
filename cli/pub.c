/*
 * pub: `fanfare pub`, which publishes from the shell.
 *
 * Process: the command line.
 * Layer:   cli.  Uses client, find, common; libcurl.
 */
#include "cli/pub.h"

#include <curl/curl.h>
#include <err.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/find.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/utf8.h"

#define MESSAGE_MAX ((size_t)64 << 20) /* the highest that limits.message goes */
#define ANSWER_MAX 4096
#define CONNECT_MS 5000L
#define TOTAL_MS 30000L

struct pub {
	const char *url; /* of the internal listener, without the path */
	const char *key; /* NULL: none */
	const char *cacert;
	const char *channel;
	bool binary;
	bool lines;
	CURL *curl;
	struct buf answer;
};

static const char usage[] =
    "usage: fanfare pub [options] CHANNEL [MESSAGE]\n"
    "Publishes MESSAGE, or else what comes on standard input as one message.\n"
    "\n"
    "  -u, --url URL      the internal listener (default http://127.0.0.1:8081)\n"
    "  -c, --config FILE  take the server's address and its API key from its configuration\n"
    "      --cacert FILE  the authorities to trust for https:// (default: the system's)\n"
    "  -k, --key KEY      the API key (default: the environment's FANFARE_API_KEY)\n"
    "  -b, --binary       publish as binary; bytes that are not UTF-8 always are\n"
    "  -l, --lines        publish each line of standard input as a message\n"
    "  -h, --help\n";

/* What does not fit is of no interest: the answer is only read for the reason of an error. */
static size_t
on_answer(char *data, size_t size, size_t n, void *arg)
{
	struct buf *answer = arg;
	size_t room = ANSWER_MAX - buf_len(answer);

	(void)size; /* always 1 */
	if (buf_append(answer, data, n < room ? n : room) != 0)
		return 0;
	return n;
}

/* The Content-Type says the kind of the message, the rest is what this request is. */
static struct curl_slist *
make_fields(const struct pub *p, bool binary)
{
	struct curl_slist *list = NULL, *longer;
	char *key = NULL;
	size_t i;
	const char *field[] = {
		binary ? "Content-Type: application/octet-stream"
		       : "Content-Type: text/plain; charset=utf-8",
		"Expect:", /* no round trip before the body */
		NULL,
	};

	if (p->key != NULL) {
		if (asprintf(&key, "Authorization: Bearer %s", p->key) < 0)
			return NULL;
		field[2] = key;
	}
	for (i = 0; i < sizeof(field) / sizeof(field[0]) && field[i] != NULL; i++) {
		longer = curl_slist_append(list, field[i]);
		if (longer == NULL) {
			curl_slist_free_all(list);
			list = NULL;
			break;
		}
		list = longer;
	}
	free(key);
	return list;
}

static int
check_answer(const struct pub *p, CURLcode code, const char *why)
{
	const char *text = (const char *)buf_data(&p->answer);
	size_t n = buf_len(&p->answer);
	char line[CLIENT_WHY];
	long status = 0;

	if (code == CURLE_COULDNT_CONNECT) {
		warnx("cannot connect to %s: is fanfare running there?", p->url);
		return FAN_EDOWN;
	}
	if (code != CURLE_OK) {
		warnx("%s: %s", p->url, why[0] != '\0' ? why : curl_easy_strerror(code));
		return FAN_EDOWN;
	}
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return 0;
	client_error_text(line, sizeof(line), text, n);
	warnx("%s: HTTP %ld%s%s", p->channel, status, n > 0 ? ": " : "", line);
	return FAN_EDENIED;
}

static int
publish(struct pub *p, const char *target, const void *data, size_t n)
{
	bool binary = p->binary || !utf8_valid(data, n);
	struct curl_slist *fields = make_fields(p, binary);
	char why[CURL_ERROR_SIZE] = "";
	CURLcode code = CURLE_OUT_OF_MEMORY;

	buf_clear(&p->answer);
	if (fields != NULL) {
		curl_easy_setopt(p->curl, CURLOPT_URL, target);
		curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, fields);
		curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
		curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, data);
		curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, why);
		code = curl_easy_perform(p->curl);
		curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, NULL);
	}
	curl_slist_free_all(fields);
	return check_answer(p, code, why);
}

static int
publish_lines(struct pub *p, const char *target)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = getline(&line, &size, stdin)) >= 0) {
		if (n > 0 && line[n - 1] == '\n')
			n--;
		r = publish(p, target, line, (size_t)n);
	}
	free(line);
	if (r == 0 && ferror(stdin)) {
		warn("cannot read standard input");
		r = FAN_ESYS;
	}
	return r;
}

static int
publish_stdin(struct pub *p, const char *target)
{
	struct buf b;
	ssize_t n = 1;
	int r = 0;

	buf_init(&b, MESSAGE_MAX);
	while (r == 0 && n > 0) {
		uint8_t *room;

		r = buf_reserve(&b, 65536, &room);
		if (r != 0) {
			warnx("standard input: %s", fan_strerror(r));
			break;
		}
		n = read(STDIN_FILENO, room, 65536);
		if (n > 0) {
			buf_commit(&b, (size_t)n);
		} else if (n < 0) {
			warn("cannot read standard input");
			r = FAN_ESYS;
		}
	}
	if (r == 0)
		r = publish(
		    p, target, buf_len(&b) > 0 ? (const void *)buf_data(&b) : "", buf_len(&b));
	buf_fini(&b);
	return r;
}

static int
run(struct pub *p, const char *message)
{
	size_t url_len = strlen(p->url);
	char *name = NULL, *target = NULL;
	int r = FAN_ENOMEM;

	while (url_len > 0 && p->url[url_len - 1] == '/')
		url_len--;
	buf_init(&p->answer, ANSWER_MAX);
	p->curl = curl_easy_init();
	if (p->curl != NULL)
		name = curl_easy_escape(p->curl, p->channel, 0);
	if (name == NULL || asprintf(&target, "%.*s/pub/%s", (int)url_len, p->url, name) < 0) {
		target = NULL;
		warnx("no memory");
		goto done;
	}
	/* The internal listener is reached directly, whatever proxy the environment names. */
	curl_easy_setopt(p->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(p->curl, CURLOPT_POST, 1L);
	if (p->cacert != NULL)
		curl_easy_setopt(p->curl, CURLOPT_CAINFO, p->cacert);
	curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, TOTAL_MS);
	curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, &p->answer);
	if (message != NULL)
		r = publish(p, target, message, strlen(message));
	else if (p->lines)
		r = publish_lines(p, target);
	else
		r = publish_stdin(p, target);
done:
	free(target);
	curl_free(name);
	curl_easy_cleanup(p->curl);
	buf_fini(&p->answer);
	return r;
}

static int
parse_options(struct pub *p, int argc, char **argv, const char **config, const char **message)
{
	static const struct option longs[] = {
		{ "url", required_argument, NULL, 'u' },
		{ "config", required_argument, NULL, 'c' },
		{ "cacert", required_argument, NULL, 'C' },
		{ "key", required_argument, NULL, 'k' },
		{ "binary", no_argument, NULL, 'b' },
		{ "lines", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "u:c:k:blh", longs, NULL)) != -1) {
		switch (opt) {
		case 'u':
			p->url = optarg;
			break;
		case 'c':
			*config = optarg;
			break;
		case 'C':
			p->cacert = optarg;
			break;
		case 'k':
			p->key = optarg;
			break;
		case 'b':
			p->binary = true;
			break;
		case 'l':
			p->lines = true;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		default:
			(void)fputs(usage, stderr);
			return FAN_EINVAL;
		}
	}
	if (argc - optind < 1 || argc - optind > 2 || (argc - optind == 2 && p->lines)) {
		(void)fputs(usage, stderr);
		return FAN_EINVAL;
	}
	p->channel = argv[optind];
	*message = argv[optind + 1];
	return 0;
}

int
cli_pub(int argc, char **argv)
{
	struct pub p = { .url = NULL };
	const char *config = NULL, *message = NULL;
	char *found_url = NULL, *found_key = NULL;
	int r;

	if (parse_options(&p, argc, argv, &config, &message) != 0)
		return 2;
	if (config != NULL && find_node(config, true, "http", &found_url, &found_key) != 0)
		return 1;
	if (p.url == NULL)
		p.url = found_url != NULL ? found_url : "http://127.0.0.1:8081";
	if (p.key == NULL)
		p.key = found_key != NULL ? found_key : getenv("FANFARE_API_KEY");
	if (p.key != NULL && p.key[0] == '\0')
		p.key = NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		warnx("libcurl cannot start");
		return 1;
	}
	r = run(&p, message);
	curl_global_cleanup();
	free(found_url);
	free(found_key);
	return r == 0 ? 0 : 1;
}
