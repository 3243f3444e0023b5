/*
 * log: one line an event, to standard error.
 *
 * Owns:    the process's log level and role name (a global by design), and standard error.
 * Process: any.
 * Layer:   common.  Uses nothing.
 *
 * A line is "TIME LEVEL ROLE: message".  The message is written as key=value pairs where it
 * carries data.  Control bytes, quotes apart, are escaped as \xHH, so that bytes of a peer can
 * not forge a line.  Lines are cut at 1,024 bytes.
 *
 * No line waits for who reads the log: where a pipe or a terminal is full, or a disk, lines are
 * lost and counted, and the next line that can be written is preceded by one that says how many.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/*
 * role: "master", "hub", "worker 0"; borrowed for the life of the process.  From here on standard
 * error does not block; other programs that have it too do not notice.
 */
void log_init(const char *role, enum log_level level);
void log_set_level(enum log_level level);
/* Whether lines of this level are written, for whoever has to ask something to write one. */
int log_shows(enum log_level level);

/* log_warn and log_err add ": strerror(errno)"; the others do not.  None changes errno. */
void log_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_errx(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warnx(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * For events that a peer can cause at will: at most `burst` lines in 10 s pass the gate; what
 * was held back is counted and said with the first line that passes again.  One gate for each
 * place that logs, static, zero-initialised.  Returns nonzero when the caller may log now.
 */
struct log_gate {
	uint64_t window;     /* start of the current window, ms */
	uint32_t passed;     /* lines let through in it */
	uint32_t suppressed; /* lines held back since the last report */
};
int log_gate_open(struct log_gate *g, uint32_t burst);

#endif
