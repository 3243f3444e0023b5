/*
 * text: templates, and how the program ends when it can not go on.
 *
 * Process: fanfare-bench.
 * Layer:   bench, lowest.  Uses nothing.
 */
#ifndef BENCH_TEXT_H
#define BENCH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_NO_PAYLOAD SIZE_MAX

struct text {
	uint8_t *p; /* owned; NUL-terminated */
	size_t n;
	size_t payload_at; /* where %p stood, or TEXT_NO_PAYLOAD */
};

/*
 * Expands a template: %c the channel, %p room for `size` bytes of payload, %n that number, %%;
 * \r, \n, \t and \\.  Anything else after % or \ ends the process, as does a lack of memory.
 */
struct text text_expand(const char *template, const char *channel, size_t size);

/* calloc that ends the process rather than fail. */
void *text_calloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));

/* Ends the process with a message on stderr: EXIT_FAILURE, and 2 for a wrong command line. */
_Noreturn void text_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void text_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether stderr is a terminal. */
bool text_is_terminal(void);

/* Shows a line of progress in the place of the last one; NULL: what follows begins a new line. */
void text_progress(const char *line);

#endif
