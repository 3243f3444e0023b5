/*
 * conf_report: the errors of a configuration.  See conf_report.h.
 */
#include "common/conf_report.h"

#include <stdarg.h>

#include "common/err.h"

void
conf_report_error(struct conf_report *r, size_t line, const char *fmt, ...)
{
	va_list ap;

	r->errors++;
	if (r->err == NULL)
		return;
	if (r->name != NULL && line > 0 && !r->lineless)
		(void)fprintf(r->err, "%s:%zu: ", r->name, line);
	else if (r->name != NULL)
		(void)fprintf(r->err, "%s: ", r->name);
	(void)fputs(r->where, r->err);
	va_start(ap, fmt);
	(void)vfprintf(r->err, fmt, ap);
	va_end(ap);
	(void)fputc('\n', r->err);
}

int
conf_report_nomem(struct conf_report *r)
{
	conf_report_error(r, 0, "out of memory");
	return FAN_ENOMEM;
}

const char *
conf_quote(char out[CONF_QUOTE_SIZE], const char *text)
{
	static const char hex[] = "0123456789abcdef";
	/* Room for one escape, "...", the closing quote and the NUL. */
	const size_t last = CONF_QUOTE_SIZE - 9;
	size_t n = 0;

	out[n++] = '"';
	for (; *text != '\0' && n <= last; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f) {
			out[n++] = '\\';
			out[n++] = 'x';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		} else {
			out[n++] = (char)c;
		}
	}
	if (*text != '\0') {
		/* Never half a character of UTF-8. */
		while (n > 1 && ((unsigned char)*text & 0xc0) == 0x80) {
			text--;
			n--;
		}
		out[n++] = '.';
		out[n++] = '.';
		out[n++] = '.';
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}
