/*
 * redis_glob: a rule's glob as a pattern of Lua.  See redis_glob.h.
 */
#include "broker/engine/redis_glob.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/publication.h"

/* Whether the character occurs in names. */
static bool
in_names(char c)
{
	return c == CHANNEL_INTERNAL || channel_name_valid(&c, 1, 1);
}

static int
append_char(struct buf *b, char c)
{
	/* Lua lets every character that is no letter or digit be escaped. */
	const char text[2] = { '%', c };

	if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
		return buf_append(b, &c, 1);
	return buf_append(b, text, 2);
}

/* The end of what is set in [: :], [. .] or [= =] at p, or NULL. */
static const char *
class_end(const char *p)
{
	const char *end;
	char kind = p[1];

	if (p[0] != '[' || (kind != ':' && kind != '.' && kind != '='))
		return NULL;
	for (end = p + 2; *end != '\0'; end++) {
		if (end[0] == kind && end[1] == ']')
			return end + 2;
	}
	return NULL;
}

/* The end of the bracket expression that begins at p.  NULL: it has none, so the [ means itself. */
static const char *
bracket_end(const char *p)
{
	const char *first, *end;

	p++;
	if (*p == '!' || *p == '^')
		p++;
	for (first = p; *p != '\0' && (*p != ']' || p == first); p = end) {
		end = class_end(p);
		if (end == NULL && *p == '\\' && p[1] != '\0')
			end = p + 2;
		if (end == NULL)
			end = p + 1;
	}
	return *p == '\0' ? NULL : p + 1;
}

/*
 * Appends the set of those characters that fnmatch itself finds in the expression, so that ranges and
 * classes mean the same in Lua.
 */
static int
append_bracket(struct buf *b, const char *p, size_t n)
{
	char *glob = strndup(p, n), name[2] = "";
	bool any = false;
	int c, err = glob == NULL ? FAN_ENOMEM : buf_append(b, "[", 1);

	for (c = 1; c < 128 && err == 0; c++) {
		name[0] = (char)c;
		if (in_names(name[0]) && fnmatch(glob, name, 0) == 0) {
			err = append_char(b, name[0]);
			any = true;
		}
	}
	free(glob);
	/* In Lua no set can be empty; a space is in no name. */
	if (err == 0 && !any)
		err = buf_append(b, " ", 1);
	return err == 0 ? buf_append(b, "]", 1) : err;
}

int
redis_glob_append(struct buf *b, const char *glob)
{
	const char *p, *end;
	int err = buf_append(b, "^", 1);

	for (p = glob; *p != '\0' && err == 0; p = end) {
		end = *p == '[' ? bracket_end(p) : NULL;
		if (end != NULL) {
			err = append_bracket(b, p, (size_t)(end - p));
			continue;
		}
		end = p + 1;
		if (*p == '*') {
			end = p + strspn(p, "*");
			err = buf_append(b, ".*", 2);
		} else if (*p == '?') {
			err = buf_append(b, ".", 1);
		} else if (*p == '\\') {
			/* At the end it matches nothing, not even itself; no name has it. */
			end += p[1] != '\0';
			err = append_char(b, end[-1]);
		} else {
			err = append_char(b, *p);
		}
	}
	return err == 0 ? buf_append(b, "$", 1) : err;
}
