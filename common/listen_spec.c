/*
 * listen_spec: one entry of listen.public or listen.internal.  See listen_spec.h.
 */
#include "common/listen_spec.h"

#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#define UNIX "unix:"
#define BLANKS " \t"
#define MODE_DEFAULT 0660
#define MODE_MAX 0777

static int
parse_unix(const char *path, struct sock_addr *a, const char **why)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	memset(a, 0, sizeof(*a));
	*why = "a unix socket is written unix:/PATH, with a path from the root on";
	if (path[0] != '/' || path[n - 1] == '/')
		return FAN_EINVAL;
	*why = "the path of a unix socket has at most 107 bytes";
	if (n >= sizeof(un.sun_path))
		return FAN_EINVAL;
	memcpy(un.sun_path, path, n);
	memcpy(&a->ss, &un, sizeof(un));
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return 0;
}

static int
parse_mode(const char *s, mode_t *out, const char **why)
{
	mode_t v = 0;
	size_t n = strlen(s);

	*why = "mode= needs an octal number up to 0777, such as mode=0660";
	if (n == 0 || n > 4 || strspn(s, "01234567") != n)
		return FAN_EINVAL;
	for (; *s != '\0'; s++)
		v = v * 8 + (mode_t)(*s - '0');
	if (v > MODE_MAX)
		return FAN_EINVAL;
	*out = v;
	return 0;
}

/* Copies the n bytes at s; 1 to room - 1 of them. */
static int
copy_name(char *out, size_t room, const char *s, size_t n)
{
	if (n == 0 || n >= room)
		return FAN_EINVAL;
	memcpy(out, s, n);
	out[n] = '\0';
	return 0;
}

static int
parse_owner(const char *s, struct listen_spec *out, const char **why)
{
	size_t n = strcspn(s, ":");

	*why = "owner= needs a user, a group behind a colon, or both: owner=www-data:www-data";
	if ((n > 0 || s[n] == '\0') && copy_name(out->user, sizeof(out->user), s, n) != 0)
		return FAN_EINVAL;
	if (s[n] == '\0')
		return 0;
	s += n + 1;
	if (strchr(s, ':') != NULL)
		return FAN_EINVAL;
	return copy_name(out->group, sizeof(out->group), s, strlen(s));
}

/* The words that there are differ in their first letters, so that these tell what is meant. */
static const char *
unknown(const char *word)
{
	switch (word[0] | 0x20) {
	case 't':
	case 's': /* ssl */
		return "unknown word behind the address; did you mean \"tls\"?";
	case 'p':
		return "unknown word behind the address; did you mean \"proxy\"?";
	case 'm':
		return "unknown word behind the address; did you mean \"mode=0660\"?";
	case 'o':
	case 'u': /* user= */
	case 'g': /* group= */
		return "unknown word behind the address; did you mean \"owner=USER:GROUP\"?";
	default:
		return "unknown word behind the address; there are tls, proxy, mode=0660 and "
		       "owner=USER:GROUP";
	}
}

/* What has been given, for what must be given once and what needs another. */
struct seen {
	bool mode, owner;
};

static int
parse_word(const char *word, struct listen_spec *out, struct seen *seen, const char **why)
{
	bool again = false;
	int err = 0;

	if (strcmp(word, "tls") == 0) {
		again = out->tls;
		out->tls = true;
	} else if (strcmp(word, "proxy") == 0) {
		again = out->proxy;
		out->proxy = true;
	} else if (strncmp(word, "mode=", 5) == 0) {
		again = seen->mode;
		seen->mode = true;
		err = parse_mode(word + 5, &out->mode, why);
	} else if (strncmp(word, "owner=", 6) == 0) {
		again = seen->owner;
		seen->owner = true;
		err = parse_owner(word + 6, out, why);
	} else {
		*why = unknown(word);
		err = FAN_EINVAL;
	}
	if (err == 0 && again) {
		*why = "the same word stands twice behind the address";
		err = FAN_EINVAL;
	}
	return err;
}

int
listen_spec_parse(const char *text, struct listen_spec *out, const char **why)
{
	char copy[LISTEN_SPEC_MAX + 1], *rest = copy, *word;
	struct seen seen = { false, false };
	int err;

	memset(out, 0, sizeof(*out));
	out->mode = MODE_DEFAULT;
	*why = "longer than any address";
	if (strlen(text) >= sizeof(copy))
		return FAN_EINVAL;
	memcpy(copy, text, strlen(text) + 1);
	word = strsep(&rest, BLANKS);
	if (strncmp(word, UNIX, sizeof(UNIX) - 1) == 0)
		err = parse_unix(word + sizeof(UNIX) - 1, &out->addr, why);
	else
		err = sock_addr_parse(word, &out->addr, why);
	while (err == 0 && (word = strsep(&rest, BLANKS)) != NULL) {
		if (*word != '\0')
			err = parse_word(word, out, &seen, why);
	}
	if (err == 0 && (seen.mode || seen.owner) && !listen_spec_is_unix(out)) {
		*why = "mode and owner are for unix sockets alone";
		err = FAN_EINVAL;
	}
	return err;
}

bool
listen_spec_is_unix(const struct listen_spec *l)
{
	return l->addr.ss.ss_family == AF_UNIX;
}

bool
listen_spec_is_local(const struct listen_spec *l)
{
	return listen_spec_is_unix(l) || sock_addr_is_loopback(&l->addr);
}
