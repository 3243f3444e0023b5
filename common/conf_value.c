/*
 * conf_value: numbers as text, and back.  See conf_value.h.
 */
#include "common/conf_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KIB INT64_C(1024)
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)

struct unit {
	const char *name;
	int64_t factor;
};

/* Of the names of one factor the first is the one that is written. */
static const struct unit size_units[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "KiB", KIB },
	{ "k", KIB },
	{ "MiB", KIB *KIB },
	{ "m", KIB *KIB },
	{ "GiB", KIB *KIB *KIB },
	{ "g", KIB *KIB *KIB },
};
static const struct unit duration_units[] = {
	{ "ms", 1 },
	{ "s", SECOND },
	{ "m", 60 * SECOND },
	{ "h", HOUR },
	{ "d", 24 * HOUR },
};

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Digits without a needless 0 in front, which others would read as octal.  Returns their end. */
static const char *
parse_digits(const char *text, int64_t *out)
{
	int64_t v = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
			v = INT64_MAX;
	*out = v;
	return p == text || (*text == '0' && p > text + 1) ? NULL : p;
}

static int
parse_integer(const char *text, int64_t *out, const char **why)
{
	bool minus = *text == '-';
	const char *end = parse_digits(text + minus, out);

	if (end == NULL || *end != '\0') {
		*why = "write a whole number";
		return FAN_EINVAL;
	}
	if (minus)
		*out = -*out;
	return 0;
}

static int
parse_size(const char *text, int64_t *out, const char **why)
{
	const char *end = parse_digits(text, out);

	for (size_t i = 0; end != NULL && i < N_OF(size_units); i++) {
		if (strcasecmp(end, size_units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(*out, size_units[i].factor, out))
			*out = INT64_MAX;
		return 0;
	}
	*why = "write bytes, or a whole number of KiB, MiB or GiB such as 64KiB";
	return FAN_EINVAL;
}

static int
parse_duration(const char *text, int64_t *out, const char **why)
{
	const char *end = parse_digits(text, out);

	if (end != NULL && *end == '\0' && *out == 0)
		return 0;
	for (size_t i = 0; end != NULL && i < N_OF(duration_units); i++) {
		if (strcmp(end, duration_units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(*out, duration_units[i].factor, out))
			*out = INT64_MAX;
		return 0;
	}
	/* A bare number could be meant as seconds or as milliseconds. */
	*why = "write a whole number with its unit: 500ms, 25s, 5m, 2h or 1d";
	return FAN_EINVAL;
}

int
conf_number_parse(enum conf_type type, const char *text, int64_t *out, const char **why)
{
	if (type == CONF_SIZE)
		return parse_size(text, out, why);
	if (type == CONF_DURATION)
		return parse_duration(text, out, why);
	return parse_integer(text, out, why);
}

const char *
conf_number_text(enum conf_type type, int64_t v, char out[CONF_NUMBER_SIZE])
{
	const struct unit *units = type == CONF_SIZE ? size_units : duration_units, *best = units;
	size_t n = type == CONF_SIZE ? N_OF(size_units) : N_OF(duration_units);

	if (type == CONF_INTEGER || v == 0) {
		(void)snprintf(out, CONF_NUMBER_SIZE, "%" PRId64, v);
		return out;
	}
	for (size_t i = 1; i < n; i++)
		if (units[i].factor > best->factor && v % units[i].factor == 0)
			best = &units[i];
	(void)snprintf(out, CONF_NUMBER_SIZE, "%" PRId64 "%s", v / best->factor, best->name);
	return out;
}

int
conf_boolean_parse(const char *text, bool *out, const char **why)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };

	for (size_t i = 0; i < N_OF(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*out = i % 2 == 1;
			return 0;
		}
	}
	*why = "write true or false";
	return FAN_EINVAL;
}

const char *
conf_range_text(const struct conf_opt *o, char out[CONF_RANGE_SIZE])
{
	char lo[CONF_NUMBER_SIZE], hi[CONF_NUMBER_SIZE];
	size_t n = 0;

	out[0] = '\0';
	switch (o->type) {
	case CONF_INTEGER:
	case CONF_SIZE:
	case CONF_DURATION:
		(void)snprintf(out, CONF_RANGE_SIZE, "%s..%s%s%s",
		    conf_number_text(o->type, o->info.min, lo),
		    conf_number_text(o->type, o->info.max, hi),
		    o->type == CONF_INTEGER && o->info.unit != NULL ? " " : "",
		    o->type == CONF_INTEGER && o->info.unit != NULL ? o->info.unit : "");
		break;
	case CONF_BOOLEAN:
		(void)snprintf(out, CONF_RANGE_SIZE, "true|false");
		break;
	case CONF_ENUM:
		for (int64_t i = o->info.min; o->words[i] != NULL && n < CONF_RANGE_SIZE; i++)
			n += (size_t)snprintf(
			    out + n, CONF_RANGE_SIZE - n, "%s%s", n == 0 ? "" : "|", o->words[i]);
		break;
	case CONF_STRING:
		if (o->info.min > 1)
			(void)snprintf(lo, sizeof(lo), "%" PRId64 "..", o->info.min);
		(void)snprintf(out, CONF_RANGE_SIZE, "%s%" PRId64 " bytes",
		    o->info.min > 1      ? lo
			: o->def == NULL ? "1.."
					 : "at most ",
		    o->info.max);
		break;
	case CONF_LIST:
	case CONF_RULES:
		(void)snprintf(out, CONF_RANGE_SIZE, "at most %" PRId64, o->info.max);
		break;
	}
	return out;
}
