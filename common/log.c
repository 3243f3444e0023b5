/*
 * log: one line an event, to standard error.  See log.h.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define LINE_MAX_BYTES 1024
#define GATE_WINDOW_MS 10000

static enum log_level level_now = LOG_LEVEL_INFO;
static const char *role_now = "fanfare";

void
log_init(const char *role, enum log_level level)
{
	role_now = role;
	level_now = level;
}

void
log_set_level(enum log_level level)
{
	level_now = level;
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

static void __attribute__((format(printf, 3, 0)))
emit(enum log_level level, int err, const char *fmt, va_list ap)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	char body[LINE_MAX_BYTES];
	char line[LINE_MAX_BYTES];
	struct timespec ts;
	struct tm tm;
	size_t n;
	int len;

	if (level > level_now)
		return;
	(void)vsnprintf(body, sizeof(body), fmt, ap);
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	len = snprintf(line + n, sizeof(line) - n, ".%03ldZ %s %s: ", ts.tv_nsec / 1000000,
	    names[level], role_now);
	if (len > 0)
		n += (size_t)len < sizeof(line) - n ? (size_t)len : sizeof(line) - n - 1;
	append_escaped(line, sizeof(line) - 1, &n, body);
	if (err != 0) {
		char text[128];

		append_escaped(line, sizeof(line) - 1, &n, ": ");
		append_escaped(line, sizeof(line) - 1, &n, strerror_r(err, text, sizeof(text)));
	}
	line[n++] = '\n';
	/* A log that cannot be written must not stop the process, and there is nowhere to say so. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
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
