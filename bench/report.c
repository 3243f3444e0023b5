/*
 * report: the results, as a table for people or as JSON for programs.  See report.h.
 */
#include "bench/report.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/hist.h"
#include "bench/server.h"
#include "bench/settings.h"
#include "bench/text.h"

#define LABEL_WIDTH 32
#define NS_PER_US 1e3

static void
append(struct report *r, const struct report_field *f)
{
	if (r->n == REPORT_FIELDS_MAX)
		text_die("more than %d results", REPORT_FIELDS_MAX);
	r->field[r->n++] = *f;
}

void
report_text(struct report *r, const char *key, const char *label, const char *text)
{
	struct report_field f = { .key = key, .label = label, .text = text, .unit = "" };

	append(r, &f);
}

void
report_number(struct report *r, const char *key, const char *label, double value, int decimals,
    const char *unit)
{
	struct report_field f = {
		.key = key, .label = label, .value = value, .decimals = decimals, .unit = unit
	};

	append(r, &f);
}

void
report_latency(struct report *r, const struct hist *h)
{
	static const struct {
		const char *key, *label;
		double share;
	} points[] = {
		{ "p50_us", "latency p50", 0.5 },
		{ "p99_us", "latency p99", 0.99 },
		{ "p999_us", "latency p99.9", 0.999 },
		{ "max_us", "latency max", 1 },
	};
	size_t i;

	for (i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		report_number(r, points[i].key, points[i].label,
		    (double)hist_quantile(h, points[i].share) / NS_PER_US, 1, "us");
}

static const char *
make_name(struct report *r, const char *prefix, const char *name)
{
	char *made = r->names[r->nnames++];

	(void)snprintf(made, REPORT_NAME_MAX, "%s%s", prefix, name);
	return made;
}

void
report_processes(struct report *r, const struct server_use *before, const struct server_use *after,
    double n, const char *unit)
{
	const struct server_process *p, *old;
	const char *key;
	double us;
	size_t i;

	for (i = 0; after->n > 1 && i < after->n && r->nnames + 2 <= REPORT_NAMES_MAX; i++) {
		p = &after->p[i];
		old = server_find(before, p->pid);
		us = (double)(p->cpu_ns - (old != NULL ? old->cpu_ns : 0)) / NS_PER_US / n;
		key = make_name(r, "cpu_us ", p->name);
		report_number(r, key, make_name(r, "  ", p->name), us, 3, unit);
	}
}

void
report_busy(struct report *r, const char *key, const char *label, uint64_t ns, uint64_t elapsed)
{
	report_number(
	    r, key, label, elapsed > 0 ? 100 * (double)ns / (double)elapsed : 0, 0, "% of a core");
}

/* 1234567.8 as 1,234,567.8 */
static void
print_number(const struct report_field *f)
{
	char digits[64];
	int whole, i;

	(void)snprintf(digits, sizeof(digits), "%.*f", f->decimals, f->value);
	whole = (int)strcspn(digits, ".");
	for (i = 0; digits[i] != '\0'; i++) {
		(void)putchar(digits[i]);
		if (i < whole - 1 && (whole - 1 - i) % 3 == 0 && digits[i] != '-')
			(void)putchar(',');
	}
}

static void
print_table(const struct report *r)
{
	const struct report_field *f;

	for (f = r->field; f < r->field + r->n; f++) {
		if (f->label == NULL)
			continue;
		(void)printf("%-*s ", LABEL_WIDTH, f->label);
		if (f->text != NULL)
			(void)fputs(f->text, stdout);
		else
			print_number(f);
		(void)printf("%s%s\n", *f->unit != '\0' ? " " : "", f->unit);
	}
}

static void
print_string(const char *s)
{
	(void)putchar('"');
	for (; *s != '\0'; s++) {
		if ((unsigned char)*s < 0x20)
			(void)printf("\\u%04x", (unsigned)*s);
		else
			(void)printf(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	}
	(void)putchar('"');
}

static void
print_json(const struct report *r)
{
	const struct report_field *f;

	for (f = r->field; f < r->field + r->n; f++) {
		(void)printf("%s\"%s\": ", f == r->field ? "{ " : ",\n  ", f->key);
		if (f->text != NULL)
			print_string(f->text);
		else if (isfinite(f->value))
			(void)printf("%.*f", f->decimals, f->value);
		else
			(void)fputs("null", stdout);
	}
	(void)puts(" }");
}

void
report_print(const struct report *r, const struct settings *s)
{
	text_progress(NULL);
	if (s->json)
		print_json(r);
	else
		print_table(r);
	if (fflush(stdout) != 0)
		text_die("the results can not be written");
}
