/*
 * report: the results, as a table for people or as JSON for programs.
 *
 * Owns:    the values until they are printed.
 * Process: fanfare-bench.
 * Layer:   bench.  Uses hist, server, settings, text.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stddef.h>
#include <stdint.h>

struct hist;
struct server_use;
struct settings;

#define REPORT_FIELDS_MAX 64
#define REPORT_NAMES_MAX 32
#define REPORT_NAME_MAX 64

struct report_field {
	const char *key;   /* in JSON */
	const char *label; /* in the table; NULL: not shown there */
	const char *unit;
	const char *text; /* NULL: a number */
	double value;
	int decimals;
};

struct report {
	size_t n;
	size_t nnames;
	char names[REPORT_NAMES_MAX][REPORT_NAME_MAX]; /* keys and labels that are made here */
	struct report_field field[REPORT_FIELDS_MAX];
};

/* The strings are borrowed. */
void report_text(struct report *r, const char *key, const char *label, const char *text);
void report_number(struct report *r, const char *key, const char *label, double value, int decimals,
    const char *unit);

/* p50, p99, p99.9 and the greatest, in microseconds. */
void report_latency(struct report *r, const struct hist *h);

/*
 * What each process of the server has used between two looks, in microseconds for each of n.
 * Nothing where there is only one.
 */
void report_processes(struct report *r, const struct server_use *before,
    const struct server_use *after, double n, const char *unit);

/* The share of one core that `ns` of CPU time in `elapsed` ns are, in percent. */
void report_busy(
    struct report *r, const char *key, const char *label, uint64_t ns, uint64_t elapsed);

void report_print(const struct report *r, const struct settings *s);

#endif
