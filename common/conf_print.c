/*
 * conf_print: a configuration as YAML, and the table of options as help and as an example file.
 * See conf.h.
 */
#include "common/conf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf_table.h"
#include "common/conf_value.h"

/* --- strings -------------------------------------------------------------------------------- */

/* Takes one character of valid UTF-8 from *p. */
static uint32_t
take_char(const unsigned char **p)
{
	const unsigned char *s = *p;
	unsigned more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
	uint32_t c = more == 0 ? s[0] : s[0] & (0x3fU >> more);

	for (unsigned i = 1; i <= more; i++)
		c = c << 6 | (s[i] & 0x3f);
	*p = s + 1 + more;
	return c;
}

/* Whether YAML 1.1 takes the character as it is (§5.1), and where it does, not for a line's end. */
static bool
is_printable(uint32_t c)
{
	return (c >= 0x20 && c < 0x7f) || (c >= 0xa0 && c < 0xfffe && c != 0x2028 && c != 0x2029) ||
	    c >= 0x10000;
}

static void
print_string(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	(void)fputc('"', out);
	while (*p != '\0') {
		const unsigned char *start = p;
		uint32_t c = take_char(&p);

		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", (int)c);
		else if (is_printable(c))
			(void)fwrite(start, 1, (size_t)(p - start), out);
		else if (c < 0x100)
			(void)fprintf(out, "\\x%02" PRIx32, c);
		else
			(void)fprintf(out, "\\u%04" PRIx32, c);
	}
	(void)fputc('"', out);
}

/* Of a URL the password alone is hidden, where it is plain to see which part that is. */
static void
print_secret(FILE *out, const struct conf_opt *o, const char *text)
{
	const char *host = strstr(text, "://"), *at = strrchr(text, '@'), *colon = NULL;
	char *masked = NULL;

	if (host != NULL && at != NULL && at > host)
		colon = memchr(host + 3, ':', (size_t)(at - host) - 3);
	if (*text == '\0' || (o->url && host != NULL && at == NULL))
		print_string(out, text);
	else if (o->url && colon != NULL &&
	    asprintf(&masked, "%.*s(set)%s", (int)(colon + 1 - text), text, at) >= 0)
		print_string(out, masked);
	else
		(void)fputs("\"(set)\"", out);
	free(masked);
}

/* --- values --------------------------------------------------------------------------------- */

static void
print_list(FILE *out, const struct conf_list *l)
{
	(void)fputc('[', out);
	for (size_t i = 0; i < l->n; i++) {
		(void)fputs(i > 0 ? ", " : "", out);
		print_string(out, l->item[i]);
	}
	(void)fputc(']', out);
}

static void print_rules(FILE *out, const struct conf_rules *rules, bool secrets);

/* What stands behind "KEY:", with the space before it and the end of the line. */
static void
print_value(FILE *out, const struct conf_opt *o, const void *base, bool secrets)
{
	const void *at = (const char *)base + o->offset;
	char text[CONF_NUMBER_SIZE];

	if (o->type != CONF_RULES)
		(void)fputc(' ', out);
	switch (o->type) {
	case CONF_INTEGER:
	case CONF_SIZE:
	case CONF_DURATION:
		(void)fputs(conf_number_text(o->type, *(const int64_t *)at, text), out);
		break;
	case CONF_BOOLEAN:
		(void)fputs(*(const bool *)at ? "true" : "false", out);
		break;
	case CONF_ENUM:
		(void)fputs(o->words[*(const int *)at], out);
		break;
	case CONF_STRING:
		if (o->info.secret && !secrets)
			print_secret(out, o, *(char *const *)at);
		else
			print_string(out, *(char *const *)at);
		break;
	case CONF_LIST:
		print_list(out, at);
		break;
	case CONF_RULES:
		print_rules(out, at, secrets);
		return;
	}
	(void)fputc('\n', out);
}

/* Writes the line of a group before its first option.  Returns what options are indented by. */
static const char *
print_group(FILE *out, const char *indent, const struct conf_table *t, size_t i)
{
	const char *key = t->opts[i].info.key;
	size_t group = conf_key_group(key);

	if (group == 0)
		return "";
	if (i == 0 || strncmp(key, t->opts[i - 1].info.key, group + 1) != 0)
		(void)fprintf(out, "%s%.*s:\n", indent, (int)group, key);
	return "  ";
}

/* The key within its group. */
static const char *
short_key(const char *key)
{
	size_t group = conf_key_group(key);

	return group > 0 ? key + group + 1 : key;
}

static void
print_rules(FILE *out, const struct conf_rules *rules, bool secrets)
{
	const struct conf_table *t = &conf_rule_options;

	(void)fputs(rules->n == 0 ? " []\n" : "\n", out);
	for (size_t i = 0; i < rules->n; i++) {
		for (size_t k = 0; k < t->n; k++) {
			const char *inner = print_group(out, "    ", t, k);

			(void)fprintf(out, "  %c %s%s:", k == 0 ? '-' : ' ', inner,
			    short_key(t->opts[k].info.key));
			print_value(out, &t->opts[k], &rules->item[i], secrets);
		}
	}
}

void
conf_print(const struct conf *c, FILE *out, bool secrets)
{
	const struct conf_table *t = &conf_options;

	for (size_t i = 0; i < t->n; i++) {
		const char *indent = print_group(out, "", t, i);

		(void)fprintf(out, "%s%s:", indent, short_key(t->opts[i].info.key));
		print_value(out, &t->opts[i], c, secrets);
	}
}

/* --- help ----------------------------------------------------------------------------------- */

#define DEFAULT_SIZE 96
#define DEFAULT_WIDTH 19
#define HELP_WIDTH 100

/* A list as YAML.  Its items need no escapes. */
static void
default_list(const char *def, char out[DEFAULT_SIZE])
{
	size_t n = (size_t)snprintf(out, DEFAULT_SIZE, "[");

	while (*def != '\0' && n < DEFAULT_SIZE) {
		size_t len = strcspn(def, ",");

		n += (size_t)snprintf(
		    out + n, DEFAULT_SIZE - n, "%s\"%.*s\"", n > 1 ? ", " : "", (int)len, def);
		def += len + strspn(def + len, ", ");
	}
	if (n < DEFAULT_SIZE)
		(void)snprintf(out + n, DEFAULT_SIZE - n, "]");
}

/* The default as YAML.  Those of the table need no escapes. */
static const char *
default_text(const struct conf_opt *o, char out[DEFAULT_SIZE])
{
	if (o->def == NULL)
		return "none";
	if (o->type == CONF_LIST || o->type == CONF_RULES)
		default_list(o->def, out);
	else
		(void)snprintf(out, DEFAULT_SIZE, o->type == CONF_STRING ? "\"%s\"" : "%s", o->def);
	return out;
}

/* Writes the sentences of a help, each line behind indent, none longer than HELP_WIDTH. */
static void
print_help(FILE *out, const char *indent, const char *text)
{
	size_t width = HELP_WIDTH - strlen(indent);

	while (strlen(text) > width) {
		size_t n = width;

		while (n > 0 && text[n] != ' ')
			n--;
		(void)fprintf(out, "%s%.*s\n", indent, (int)n, text);
		text += n + 1;
	}
	(void)fprintf(out, "%s%s\n", indent, text);
}

static void
print_help_table(FILE *out, const struct conf_table *t)
{
	char range[CONF_RANGE_SIZE], def[DEFAULT_SIZE];
	size_t keys = 0;

	for (size_t i = 0; i < t->n; i++)
		if (strlen(t->opts[i].info.key) >= keys)
			keys = strlen(t->opts[i].info.key) + 1;
	(void)fprintf(out, "%-*s %-9s %-*s %-24s %s\n", (int)keys, "OPTION", "TYPE", DEFAULT_WIDTH,
	    "DEFAULT", "RANGE", "RELOADABLE");
	for (size_t i = 0; i < t->n; i++) {
		const struct conf_opt *o = &t->opts[i];
		bool fits = strlen(default_text(o, def)) <= DEFAULT_WIDTH;

		(void)fprintf(out, "%-*s %-9s %-*s %-24s %s\n", (int)keys, o->info.key,
		    o->info.type, DEFAULT_WIDTH, fits ? default_text(o, def) : "see below",
		    conf_range_text(o, range), o->info.reloadable ? "yes" : "no");
		print_help(out, "    ", o->info.help);
		if (!fits)
			(void)fprintf(out, "    Default: %s\n", default_text(o, def));
	}
}

void
conf_print_help(FILE *out)
{
	(void)fputs(
	    "Every option can stand in the file (-c FILE; a group's options below its name), in "
	    "the\nenvironment (limits.message is FANFARE_LIMITS_MESSAGE) and on the command "
	    "line\n(--set limits.message=1MiB).  The environment overrides the file, and --set "
	    "both.\n\n"
	    "Sizes are bytes, or KiB, MiB, GiB: 65536, 64KiB.  Times have a unit: 500ms, 25s, "
	    "5m, 2h, 1d.\nA list of one may be written without brackets.  Options are read when "
	    "a node starts;\nRELOADABLE marks those that need no restart once a node can "
	    "reload.\n\n",
	    out);
	print_help_table(out, &conf_options);
	(void)fputs("\nA rule of channels has these:\n\n", out);
	print_help_table(out, &conf_rule_options);
}

/* --- example -------------------------------------------------------------------------------- */

static void
print_rule_example(FILE *out)
{
	const struct conf_table *t = &conf_rule_options;
	char range[CONF_RANGE_SIZE], def[DEFAULT_SIZE];

	(void)fputs("#\n# A rule has:\n", out);
	for (size_t i = 0; i < t->n; i++) {
		const struct conf_option_info *o = &t->opts[i].info;

		(void)fprintf(out, "#   %s (%s, %s, default %s):\n", o->key, o->type,
		    conf_range_text(&t->opts[i], range), default_text(&t->opts[i], def));
		print_help(out, "#     ", o->help);
	}
	(void)fputs(
	    "# With no rule, and where none matches, anyone may subscribe and no client may\n"
	    "# publish.  For example:\n"
	    "#\n"
	    "#   channels:\n"
	    "#     - match: \"chat:*\"\n"
	    "#       publish: anyone\n"
	    "#       history: {size: 100, ttl: 1h}\n"
	    "#     - match: \"internal:*\"\n"
	    "#       subscribe: nobody\n",
	    out);
}

void
conf_print_example(FILE *out)
{
	const struct conf_table *t = &conf_options;
	char range[CONF_RANGE_SIZE], def[DEFAULT_SIZE];

	(void)fputs(
	    "# The configuration of Fanfare.  Each option stands here with its default: take "
	    "the # away\n# and change it.  Made by \"fanfare help config --example\".\n",
	    out);
	for (size_t i = 0; i < t->n; i++) {
		const struct conf_opt *o = &t->opts[i];
		const char *indent;

		(void)fputc('\n', out);
		indent = print_group(out, "", t, i);
		print_help(out, *indent == '\0' ? "# " : "  # ", o->info.help);
		(void)fprintf(
		    out, "%s# (%s, %s)\n", indent, o->info.type, conf_range_text(o, range));
		if (o->type == CONF_RULES)
			print_rule_example(out);
		(void)fprintf(
		    out, "%s#%s: %s\n", indent, short_key(o->info.key), default_text(o, def));
	}
}
