/*
 * Tests of common/log.  Standard error is a pipe, and what arrives there is looked at.
 */
#include "common/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pipe_fd;
static int saved_stderr;

static void
setup(void)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	saved_stderr = dup(STDERR_FILENO);
	cr_assert_geq(saved_stderr, 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	cr_assert_eq(close(fds[1]), 0);
	pipe_fd = fds[0];
	log_init("worker 0", LOG_LEVEL_DEBUG);
}

static void
teardown(void)
{
	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	(void)close(pipe_fd);
}

TestSuite(log, .init = setup, .fini = teardown);

/*
 * Ends standard error and reads all that was logged.  Criterion's own reports go through a pipe of
 * their own.
 */
static const char *
logged(void)
{
	static char text[16384];
	size_t n = 0;
	ssize_t got;

	(void)dup2(saved_stderr, STDERR_FILENO);
	while ((got = read(pipe_fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	return text;
}

Test(log, form_of_a_line)
{
	const char *line;
	int year, month, day, hour, minute, second, ms, used = 0;

	log_info("conn=%d path=%s", 7, "/a");
	line = logged();
	cr_assert_eq(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
			 &minute, &second, &ms, &used),
	    7, "%s", line);
	cr_assert_eq(used, 25, "%s", line);
	cr_assert_str_eq(line + used, "info worker 0: conn=7 path=/a\n");
}

Test(log, levels_and_names)
{
	const char *p;

	log_set_level(LOG_LEVEL_WARN);
	log_errx("1");
	log_warnx("2");
	log_info("3");
	log_debug("4");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("5");
	p = logged();
	p = strstr(p, " error worker 0: 1\n");
	cr_assert_not_null(p);
	p = strstr(p, " warn worker 0: 2\n");
	cr_assert_not_null(p);
	cr_assert_null(strstr(p, ": 3"));
	cr_assert_null(strstr(p, ": 4"));
	cr_assert_not_null(strstr(p, " debug worker 0: 5\n"));
}

Test(log, errno_is_added_and_kept)
{
	const char *p;

	errno = ENOENT;
	log_warn("open");
	cr_assert_eq(errno, ENOENT);
	log_err("read");
	log_warnx("plain");
	log_info("plain");
	cr_assert_eq(errno, ENOENT);
	p = logged();
	cr_assert_not_null(strstr(p, ": open: No such file or directory\n"), "%s", p);
	cr_assert_not_null(strstr(p, ": read: No such file or directory\n"), "%s", p);
	cr_assert_not_null(strstr(p, ": plain\n"), "%s", p);
}

/* Whatever a peer sends stays one line. */
Test(log, control_bytes_are_escaped)
{
	const char *p;

	log_info("name=%s", "a\r\nforged\t\x1b[31m\x7f\"\xc3\xa9");
	p = logged();
	cr_assert_not_null(
	    strstr(p, "name=a\\x0d\\x0aforged\\x09\\x1b[31m\\x7f\"\xc3\xa9\n"), "%s", p);
	cr_assert_eq(strchr(p, '\n') - p, (long)strlen(p) - 1);
}

Test(log, long_lines_are_cut)
{
	char text[3000];
	const char *p;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	memset(text, '\n', sizeof(text) - 1);
	errno = EIO;
	log_err("%s", text);
	log_init(text, LOG_LEVEL_INFO);
	log_info("role is too long");
	log_init("worker 0", LOG_LEVEL_INFO);
	p = logged();
	cr_assert_geq(strchr(p, '\n') - p, 1000);
	while (*p != '\0') {
		const char *end = strchr(p, '\n');

		cr_assert_not_null(end);
		cr_assert_leq(end - p, 1023);
		p = end + 1;
	}
}

Test(log, gate)
{
	struct log_gate g = { 0 };
	const char *p;
	int i, open = 0;

	for (i = 0; i < 100; i++)
		open += log_gate_open(&g, 3);
	cr_assert_eq(open, 3);
	cr_assert_eq(g.suppressed, 97);
	/* Ten seconds later. */
	g.window -= 10000;
	cr_assert(log_gate_open(&g, 3));
	cr_assert_eq(g.suppressed, 0);
	cr_assert_eq(g.passed, 1);
	p = logged();
	cr_assert_not_null(strstr(p, " warn worker 0: suppressed=97"), "%s", p);
}
