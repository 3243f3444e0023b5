/*
 * conf_report: the errors of a configuration, one line each.
 *
 * Owns:    nothing.
 * Process: any.
 * Layer:   common, below the other conf_ files.  Uses nothing.
 */
#ifndef COMMON_CONF_REPORT_H
#define COMMON_CONF_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct conf_report {
	FILE *err;        /* NULL: errors are counted only */
	const char *name; /* a file, "--set", a variable of the environment; NULL: none */
	bool lineless;    /* name is no file, so that there are no lines to name */
	const char
	    *where; /* what stands before each message, such as "channels, rule 2: ", or "" */
	size_t errors;
};

/* Writes "NAME:LINE: WHEREmessage"; line 0 stands for none. */
void conf_report_error(struct conf_report *r, size_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Says that there is no memory.  Returns FAN_ENOMEM. */
int conf_report_nomem(struct conf_report *r);

#define CONF_QUOTE_SIZE 128

/*
 * Writes text in double quotes into out, control bytes as \xHH, cut with "..." where it is long.
 * Returns out.
 */
const char *conf_quote(char out[CONF_QUOTE_SIZE], const char *text);

#endif
