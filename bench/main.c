/*
 * main: fanfare-bench, which measures brokers over WebSocket.
 *
 * Process: fanfare-bench.
 * Layer:   bench, its top.  Uses all of it.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bench/churn.h"
#include "bench/floor.h"
#include "bench/idle.h"
#include "bench/settings.h"
#include "bench/text.h"
#include "bench/traffic.h"

#define FILES_WANTED 1048576

/* As many files as we may have; root may also have more than it was given. */
static void
raise_files(void)
{
	struct rlimit limit = { FILES_WANTED, FILES_WANTED };

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		text_die("can not raise the limit of open files");
}

int
main(int argc, char **argv)
{
	struct settings s;

	settings_read(argc, argv, &s);
	raise_files();
	(void)signal(SIGPIPE, SIG_IGN);
	switch (s.mode) {
	case MODE_FANOUT:
	case MODE_PAIRS:
		return traffic_main(&s);
	case MODE_IDLE:
		return idle_main(&s);
	case MODE_CHURN:
		return churn_main(&s);
	case MODE_FLOOR:
		return floor_main(&s);
	}
	return EXIT_FAILURE;
}
