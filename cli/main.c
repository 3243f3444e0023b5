/*
 * main: where every process of Fanfare begins.
 *
 * Process: all.
 * Layer:   cli, its top.  Uses check, pub, sub, token, broker, worker, common.
 *
 * The master executes this program again for each child, with a title for argv[0] that says so.
 */
#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "broker/hub/hub.h"
#include "broker/master.h"
#include "cli/check.h"
#include "cli/pub.h"
#include "cli/sub.h"
#include "cli/token.h"
#include "common/boot.h"
#include "common/conf.h"
#include "config.h"
#include "worker/worker.h"

#define CHILD_TITLE "fanfare: "
#define MASTER_TITLE CHILD_TITLE "master"
#define EXIT_USAGE 2

static int
version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return printf("fanfare %s\n", PACKAGE_VERSION) < 0;
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "check", cli_check },
	{ "help", cli_help },
	{ "pub", cli_pub },
	{ "sub", cli_sub },
	{ "token", cli_token },
	{ "version", version },
};

/* 0 to 2 stay what programs take them for, whatever we were started with. */
static int
open_std_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return FAN_ESYS;
	return close(fd) == 0 ? 0 : FAN_ESYS;
}

static int
run_child(const char *title)
{
	struct boot boot;
	int err, status;

	err = boot_read(BOOT_FD, &boot);
	if (err != 0) {
		(void)fprintf(stderr, "%s: only a running fanfare starts this (%s)\n", title,
		    fan_strerror(err));
		return EXIT_USAGE;
	}
	status = boot.role == BOOT_HUB ? hub_main(&boot) : worker_main(&boot);
	boot_fini(&boot);
	return status;
}

static int
bad_usage(void)
{
	(void)fputs("usage: fanfare [-c FILE] [--set KEY=VALUE]...\n"
		    "       fanfare check|help|pub|sub|token|version\n"
		    "\"fanfare help\" says more.\n",
	    stderr);
	return EXIT_USAGE;
}

/* title: where the title goes, NULL if nowhere; argv0: what stood there. */
static void
set_title(char *title, const char *argv0)
{
	size_t n = title != NULL ? strlen(argv0) : 0;

	setproctitle("-" MASTER_TITLE);
	/* libbsd puts a dot where a longer argv[0] ended, and ps would show it. */
	if (n >= sizeof(MASTER_TITLE))
		title[n] = '\0';
}

static int
run_master(const char *file, char *const *sets, size_t nsets, char *title, const char *argv0)
{
	struct conf *c;
	int status;

	if (cli_load_conf(file, sets, nsets, &c) != 0)
		return EXIT_FAILURE;
	set_title(title, argv0);
	status = master_main(c);
	conf_free(c);
	return status;
}

/* `fanfare [-c FILE] [--set KEY=VALUE]...` */
static int
run_options(int argc, char **argv, char *title)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' },
		{ "set", required_argument, NULL, 's' }, { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	char help[] = "help", *help_argv[] = { help, NULL };
	const char *file = NULL;
	size_t nsets = 0;
	char **sets = calloc((size_t)argc, sizeof(*sets));
	int opt, status = -1;

	if (sets == NULL)
		return EXIT_FAILURE;
	while (status < 0 && (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (opt == 'c')
			file = optarg;
		else if (opt == 's')
			sets[nsets++] = optarg;
		else if (opt == 'V')
			status = version(1, argv);
		else if (opt == 'h')
			status = cli_help(1, help_argv);
		else
			status = bad_usage();
	}
	if (status < 0 && optind < argc) {
		(void)fprintf(stderr, "fanfare: unexpected argument \"%s\"\n", argv[optind]);
		status = bad_usage();
	}
	if (status < 0)
		status = run_master(file, sets, nsets, title, argv[0]);
	free(sets);
	return status;
}

int
main(int argc, char **argv, char **envp)
{
	char *title = argc > 0 ? argv[0] : NULL;
	size_t i;

	setproctitle_init(argc, argv, envp);
	(void)prctl(PR_SET_NAME, "fanfare");
	if (open_std_fds() != 0) {
		(void)fprintf(stderr, "fanfare: /dev/null: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	if (argc > 0 && strncmp(argv[0], CHILD_TITLE, strlen(CHILD_TITLE)) == 0)
		return run_child(argv[0]);
	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	return run_options(argc, argv, title);
}
