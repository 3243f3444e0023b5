/*
 * log: one line an event, to standard error.  See log.h.
 */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define LINE_MAX_BYTES 1024
#define GATE_WINDOW_MS 10000

/* How standard error is written to without waiting for who reads it. */
enum sink {
	SINK_WRITE,  /* it does not wait by itself */
	SINK_SOCKET, /* it does not when asked so */
	SINK_ASK,    /* whether it would has to be asked before */
};

static enum log_level level_now = LOG_LEVEL_INFO;
static const char *role_now = "fanfare";
static enum sink sink = SINK_WRITE;
static unsigned lost; /* lines since the last that could be written */
static bool torn;     /* what was written last ends within a line */

/*
 * O_NONBLOCK belongs to the open file, which other programs may have in common with us, a shell
 * for one.  So a pipe or a terminal is opened once more, and the new file takes the old one's place.
 */
static enum sink
find_sink(void)
{
	struct stat st;
	enum sink found;
	int fd;

	if (fstat(STDERR_FILENO, &st) != 0)
		return SINK_WRITE;
	if (S_ISSOCK(st.st_mode))
		return SINK_SOCKET;
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return SINK_WRITE;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return SINK_ASK; /* say, another user's pipe */
	found = dup2(fd, STDERR_FILENO) < 0 ? SINK_ASK : SINK_WRITE;
	(void)close(fd);
	return found;
}

void
log_init(const char *role, enum log_level level)
{
	role_now = role;
	level_now = level;
	sink = find_sink();
}

void
log_set_level(enum log_level level)
{
	level_now = level;
}

int
log_shows(enum log_level level)
{
	return level <= level_now;
}

/* Appends s to line at *n, escaping what could break the line or the terminal. */
static void
append_escaped(char *line, size_t cap, size_t *n, const char *s)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p;

	for (p = (const unsigned char *)s; *p != '\0' && *n + 5 < cap; p++) {
		if (*p >= 0x20 && *p != 0x7f) {
			line[(*n)++] = (char)*p;
			continue;
		}
		line[(*n)++] = '\\';
		line[(*n)++] = 'x';
		line[(*n)++] = hex[*p >> 4];
		line[(*n)++] = hex[*p & 15];
	}
}

/* Writes the line, to which one byte before it belongs.  Whether it left as a whole. */
static bool
put(char *line, size_t n)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t done;

	if (torn) {
		*--line = '\n';
		n++;
	}
	if (sink == SINK_ASK && poll(&p, 1, 0) != 1)
		return false;
	if (sink == SINK_SOCKET)
		done = send(STDERR_FILENO, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		done = write(STDERR_FILENO, line, n);
	if (done > 0)
		torn = line[done - 1] != '\n';
	return done >= 0 && (size_t)done == n;
}

/* Tells how many lines were lost, once it can.  Whether it could. */
static bool
report_lost(void)
{
	unsigned n = lost;

	lost = 0;
	log_errx("log: lost=%u lines that could not be written", n);
	if (lost == 0)
		return true;
	lost = n;
	return false;
}

static void __attribute__((format(printf, 3, 0)))
emit(enum log_level level, int err, const char *fmt, va_list ap)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	char body[LINE_MAX_BYTES];
	char room[1 + LINE_MAX_BYTES];
	char *line = room + 1;
	struct timespec ts;
	struct tm tm;
	size_t n;
	int len;

	if (level > level_now)
		return;
	(void)vsnprintf(body, sizeof(body), fmt, ap);
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, LINE_MAX_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	len = snprintf(line + n, LINE_MAX_BYTES - n, ".%03ldZ %s %s: ", ts.tv_nsec / 1000000,
	    names[level], role_now);
	if (len > 0)
		n += (size_t)len < LINE_MAX_BYTES - n ? (size_t)len : LINE_MAX_BYTES - n - 1;
	append_escaped(line, LINE_MAX_BYTES - 1, &n, body);
	if (err != 0) {
		char text[128];

		append_escaped(line, LINE_MAX_BYTES - 1, &n, ": ");
		append_escaped(line, LINE_MAX_BYTES - 1, &n, strerror_r(err, text, sizeof(text)));
	}
	line[n++] = '\n';
	if ((lost != 0 && !report_lost()) || !put(line, n))
		lost++;
}

#define DEFINE_LOG(name, level, with_errno)                                                        \
	void name(const char *fmt, ...)                                                            \
	{                                                                                          \
		int saved = errno;                                                                 \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, fmt);                                                                 \
		emit(level, (with_errno) ? saved : 0, fmt, ap);                                    \
		va_end(ap);                                                                        \
		errno = saved;                                                                     \
	}

DEFINE_LOG(log_err, LOG_LEVEL_ERROR, 1)
DEFINE_LOG(log_errx, LOG_LEVEL_ERROR, 0)
DEFINE_LOG(log_warn, LOG_LEVEL_WARN, 1)
DEFINE_LOG(log_warnx, LOG_LEVEL_WARN, 0)
DEFINE_LOG(log_info, LOG_LEVEL_INFO, 0)
DEFINE_LOG(log_debug, LOG_LEVEL_DEBUG, 0)

int
log_gate_open(struct log_gate *g, uint32_t burst)
{
	uint64_t now = clock_ms();

	if (g->window == 0 || now - g->window >= GATE_WINDOW_MS) {
		if (g->suppressed != 0)
			log_warnx("suppressed=%u lines like the next one", g->suppressed);
		g->window = now;
		g->passed = 0;
		g->suppressed = 0;
	}
	if (g->passed >= burst) {
		g->suppressed++;
		return 0;
	}
	g->passed++;
	return 1;
}
