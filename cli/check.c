/*
 * check: `fanfare check` and `fanfare help`.  See check.h.
 */
#include "cli/check.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/engine/redis_url.h"
#include "cli/rule.h"
#include "common/conf.h"
#include "common/publication.h"
#include "worker/auth/token.h"
#include "worker/net/tls.h"

static const char check_usage[] =
    "usage: fanfare check [-c FILE] [--set KEY=VALUE]... [--channel NAME]\n"
    "\n"
    "Reads the configuration as the broker would (FILE, then the environment, then --set) and\n"
    "prints what is in effect, without secrets; or says what is wrong with it, and exits with 1.\n"
    "\n"
    "  -c FILE           the file; - is standard input; without it the defaults\n"
    "  --set KEY=VALUE   one option, as often as needed\n"
    "  --channel NAME    says instead which rule applies to this channel, and what it means\n";

static const char help_usage[] =
    "Fanfare pushes messages to browsers, phones and services over WebSocket.\n"
    "\n"
    "  fanfare [-c FILE] [--set KEY=VALUE]...   runs the broker\n"
    "  fanfare check [-c FILE]                  checks and prints the configuration\n"
    "  fanfare sub CHANNEL...                   prints the messages of channels\n"
    "  fanfare pub CHANNEL [MESSAGE]            publishes a message\n"
    "  fanfare token [-c FILE]                  makes a client's token; inspects one; makes keys\n"
    "  fanfare help config                      lists every option\n"
    "  fanfare help config --example            prints a file with every option to start from\n"
    "  fanfare version                          prints the version\n"
    "\n"
    "check, sub, pub and token say more with --help.\n";

/* What the engine would refuse at start. */
static int
check_redis_url(const char *text)
{
	struct redis_url url;
	const char *why;
	int rc;

	if (*text == '\0')
		return 0;
	if ((rc = redis_url_parse(text, &url, &why)) != 0) {
		(void)fprintf(stderr, "redis.url: %s\n", why);
		return rc;
	}
	redis_url_fini(&url);
	return 0;
}

int
cli_load_conf(const char *file, char *const *sets, size_t nsets, struct conf **out)
{
	struct conf *c = conf_new();
	int rc = 0, one;

	*out = NULL;
	if (c == NULL) {
		(void)fputs("out of memory\n", stderr);
		return FAN_ENOMEM;
	}
	/* Each is read whatever became of the one before, so that all errors are seen at once. */
	if (file != NULL)
		rc = conf_load_file(c, file, stderr);
	if ((one = conf_load_env(c, environ, stderr)) != 0)
		rc = one;
	for (size_t i = 0; i < nsets; i++)
		if ((one = conf_set(c, sets[i], stderr)) != 0)
			rc = one;
	if (rc == 0) {
		rc = conf_check(c, stderr);
		if ((one = check_redis_url(c->redis.url)) != 0)
			rc = one;
		if ((one = tls_check(c, stderr)) != 0)
			rc = one;
		if ((one = tokens_check(c, stderr)) != 0)
			rc = one;
	}
	if (rc != 0) {
		conf_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int
cli_finish_stdout(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	(void)fprintf(stderr, "standard output: %s\n", strerror(errno));
	return 1;
}

/* The checked configuration, or what it means for a channel. */
static int
check(const char *file, char *const *sets, size_t nsets, const char *channel)
{
	struct conf *c;
	int status = 0;

	if (cli_load_conf(file, sets, nsets, &c) != 0)
		return 1;
	if (channel == NULL) {
		conf_print(c, stdout, false);
	} else if (channel_name_valid(channel, strlen(channel), (size_t)c->limits.channel_name)) {
		rule_explain(c, channel, stdout);
	} else {
		(void)fprintf(stderr,
		    "--channel: no channel can have this name: 1 to %d characters of A-Z a-z 0-9 "
		    "_ : . # / - = @ , ;\n",
		    (int)c->limits.channel_name);
		status = 1;
	}
	conf_free(c);
	return cli_finish_stdout() != 0 ? 1 : status;
}

int
cli_check(int argc, char **argv)
{
	static const struct option options[] = {
		{ "set", required_argument, NULL, 's' },
		{ "channel", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *file = NULL, *channel = NULL;
	char **sets = calloc((size_t)argc, sizeof(*sets));
	size_t nsets = 0;
	int status, opt;

	if (sets == NULL) {
		(void)fputs("out of memory\n", stderr);
		return 1;
	}
	optind = 0; /* the caller may have used getopt already */
	status = -1;
	while (status < 0 && (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			file = optarg;
			break;
		case 's':
			sets[nsets++] = optarg;
			break;
		case 'n':
			channel = optarg;
			break;
		case 'h':
			(void)fputs(check_usage, stdout);
			status = cli_finish_stdout();
			break;
		default:
			status = 2;
		}
	}
	if (status < 0 && optind < argc)
		status = 2;
	if (status == 2)
		(void)fputs(check_usage, stderr);
	if (status < 0)
		status = check(file, sets, nsets, channel);
	free(sets);
	return status;
}

int
cli_help(int argc, char **argv)
{
	bool config = argc > 1 && strcmp(argv[1], "config") == 0;

	if (argc <= 1)
		(void)fputs(help_usage, stdout);
	else if (config && argc == 2)
		conf_print_help(stdout);
	else if (config && argc == 3 && strcmp(argv[2], "--example") == 0)
		conf_print_example(stdout);
	else {
		(void)fputs(help_usage, stderr);
		return 2;
	}
	return cli_finish_stdout();
}
