/*
 * text: templates, and how the program ends when it can not go on.  See text.h.
 */
#include "bench/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/settings.h"

#define EXIT_USAGE 2

static atomic_bool line_open;

void *
text_calloc(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);

	if (p == NULL)
		text_die("no memory");
	return p;
}

bool
text_is_terminal(void)
{
	return isatty(STDERR_FILENO) == 1;
}

void
text_progress(const char *line)
{
	bool tty = text_is_terminal();

	if (line != NULL) {
		(void)fprintf(stderr, tty ? "\r%s\x1b[K" : "%s\n", line);
		atomic_store(&line_open, tty);
	} else if (atomic_exchange(&line_open, false)) {
		(void)fputs("\r\x1b[K", stderr);
	}
}

static void __attribute__((format(printf, 1, 0))) complain(const char *fmt, va_list ap)
{
	char line[512], *c;

	text_progress(NULL);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	/* Some of it may be a server's. */
	for (c = line; *c != '\0'; c++) {
		if (iscntrl((unsigned char)*c))
			*c = '?';
	}
	(void)fprintf(stderr, "%s: %s\n", SETTINGS_NAME, line);
}

void
text_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	/* Other threads may be at work: no handlers of exit. */
	_exit(EXIT_FAILURE);
}

void
text_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\"%s --help\" says more.\n", SETTINGS_NAME);
	exit(EXIT_USAGE);
}

/* What the two characters at t stand for, in scratch of 32 bytes or in channel. */
static const char *
expansion(const char *t, const char *channel, size_t size, char *scratch)
{
	static const char from[] = "rnt\\", to[] = "\r\n\t\\";
	const char *found;

	scratch[0] = t[1];
	scratch[1] = '\0';
	if (t[0] == '\\') {
		found = t[1] != '\0' ? strchr(from, t[1]) : NULL;
		if (found != NULL)
			scratch[0] = to[found - from];
		return found != NULL ? scratch : NULL;
	}
	if (t[1] == 'c')
		return channel;
	if (t[1] == 'n')
		(void)snprintf(scratch, 32, "%zu", size);
	return t[1] == 'n' || t[1] == '%' ? scratch : NULL;
}

struct text
text_expand(const char *template, const char *channel, size_t size)
{
	struct text out = { .payload_at = TEXT_NO_PAYLOAD };
	size_t room = strlen(template) * (strlen(channel) + 32) + size + 1;
	const char *t, *part;
	char scratch[32];

	out.p = text_calloc(room, 1);
	for (t = template; *t != '\0'; t++) {
		if (*t != '%' && *t != '\\') {
			out.p[out.n++] = (uint8_t)*t;
			continue;
		}
		if (t[0] == '%' && t[1] == 'p' && out.payload_at == TEXT_NO_PAYLOAD) {
			out.payload_at = out.n;
			out.n += size;
		} else {
			part = expansion(t, channel, size, scratch);
			if (part == NULL)
				text_usage(
				    "template \"%s\": \"%.2s\" has no meaning here", template, t);
			memcpy(out.p + out.n, part, strlen(part));
			out.n += strlen(part);
		}
		t++;
	}
	return out;
}
