/*
 * Tests of common/log.  Standard error is a pipe, and what arrives there is looked at.
 */
#include "common/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int pipe_fd;
static int saved_stderr;

static void
setup(void)
{
	int fds[2];

	(void)alarm(30); /* for a log that waits */
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

/* --- a log that takes nothing ------------------------------------------------------------- */

#define LINES 2000 /* more than fit in a pipe or a socket */

static void
flood(void)
{
	int i;

	for (i = 0; i < LINES; i++)
		log_info("line=%d %0200d", i, 0);
}

/* Reads what is there.  Returns the number of lines, each of which is whole. */
static int
drain(int fd)
{
	static char text[1 << 20];
	size_t n = 0, size = 0;
	int lines = 0;
	ssize_t got;
	char *p;

	cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while ((got = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)got;
	for (p = text; p < text + size; p += n, lines++) {
		n = strcspn(p, "\n") + 1;
		if (n > 250) /* one that is cut is shorter, and only a socket cuts */
			cr_assert_eq(strncmp(p + n - 201, "0000", 4), 0);
	}
	return lines;
}

/* The flood has lost what was not written, and the next line says so. */
static void
expect_count(int fd, int written)
{
	char text[2048], want[64];
	ssize_t n;

	log_info("afterwards");
	n = read(fd, text, sizeof(text) - 1);
	cr_assert_gt(n, 0);
	text[n] = '\0';
	(void)snprintf(want, sizeof(want), "log: lost=%d lines", LINES - written);
	cr_assert_not_null(strstr(text, want), "%s: %s", want, text);
	cr_assert_not_null(strstr(text, "info worker 0: afterwards\n"));
	/* Said once. */
	log_info("and then");
	n = read(fd, text, sizeof(text) - 1);
	cr_assert_gt(n, 0);
	text[n] = '\0';
	cr_assert_null(strstr(text, "lost="));
}

Test(log, a_full_pipe_is_not_waited_for)
{
	int written;

	flood();
	written = drain(pipe_fd);
	cr_assert(written > 0 && written < LINES);
	expect_count(pipe_fd, written);
}

Test(log, a_pipe_that_cannot_be_opened_again_is_not_waited_for)
{
	struct rlimit old, none = { 3, 0 };
	int written, fds[2];

	/* A new pipe, which blocks as yet. */
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none.rlim_max = old.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	log_init("worker 0", LOG_LEVEL_DEBUG);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	cr_assert_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	flood();
	written = drain(fds[0]);
	cr_assert(written > 0 && written < LINES);
	expect_count(fds[0], written);
}

Test(log, a_full_socket_is_not_waited_for)
{
	int written, fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	log_init("worker 0", LOG_LEVEL_DEBUG);
	flood();
	written = drain(fds[0]);
	cr_assert(written > 0 && written < LINES);
	expect_count(fds[0], written);
}

/* A shell that has the same terminal must not find it changed. */
Test(log, others_who_have_the_pipe_still_block)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	log_init("worker 0", LOG_LEVEL_DEBUG);
	cr_assert_neq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	cr_assert_eq(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
}

Test(log, a_full_disk_loses_lines_and_they_are_counted)
{
	int pipe_end = dup(STDERR_FILENO);
	int full = open("/dev/full", O_WRONLY);
	const char *p;

	cr_assert_eq(dup2(full, STDERR_FILENO), STDERR_FILENO);
	log_info("1");
	log_info("2");
	cr_assert_eq(dup2(pipe_end, STDERR_FILENO), STDERR_FILENO);
	cr_assert_eq(close(pipe_end), 0);
	log_info("3");
	p = logged();
	cr_assert_null(strstr(p, ": 2\n"));
	cr_assert_not_null(strstr(p, " error worker 0: log: lost=2 lines"), "%s", p);
	cr_assert_not_null(strstr(p, ": 3\n"));
}

/* The disk was full in the middle of a line: the next one has its own. */
Test(log, a_line_after_a_torn_one_stands_alone)
{
	char name[] = "/tmp/test-log-XXXXXX";
	struct rlimit old, little;
	int fd = mkstemp(name);
	char text[1024];
	ssize_t n;

	cr_assert_geq(fd, 0);
	cr_assert_eq(unlink(name), 0);
	cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_init("worker 0", LOG_LEVEL_DEBUG);
	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	little = (struct rlimit){ 20, old.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
	log_info("first");
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	log_info("second");
	n = pread(fd, text, sizeof(text) - 1, 0);
	cr_assert_gt(n, 20);
	text[n] = '\0';
	cr_assert_eq(text[20], '\n', "%s", text);
	cr_assert_not_null(strstr(text, "lost=1 lines"), "%s", text);
	cr_assert_not_null(strstr(text, ": second\n"), "%s", text);
}
