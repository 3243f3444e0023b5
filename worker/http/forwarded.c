/*
 * forwarded: the client's address as trusted proxies name it.  See forwarded.h.
 *
 * The list is read once, forwards, and at each element it is known what the walk from there to the
 * front would find: an address that is not trusted ends the walk with itself, one that is trusted
 * leaves what the walk before found, and what is no address leaves nothing.
 */
#include "worker/http/forwarded.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "common/addr_set.h"
#include "common/conf.h"
#include "common/sock.h"
#include "worker/http/parse.h"

#define NODE_MAX 64 /* bytes of an address with brackets and port, or of "unknown" */

struct walk {
	const struct addr_set *trusted;
	struct sockaddr_storage found; /* AF_UNSPEC: nothing */
};

const char *
forwarded_field(int header)
{
	switch (header) {
	case CONF_PROXY_X_FORWARDED_FOR:
		return "X-Forwarded-For";
	case CONF_PROXY_FORWARDED:
		return "Forwarded";
	default:
		return NULL;
	}
}

/* --- addresses ---------------------------------------------------------------------------- */

/* A port, or a name that hides it (RFC 7239 §6.3); it is of no use here, but must be well-formed. */
static bool
is_port(const char *s)
{
	size_t n = strlen(s);

	if (s[0] == '_')
		return n > 1 &&
		    strspn(s + 1,
			"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-") ==
		    n - 1;
	return n > 0 && n <= 5 && strspn(s, "0123456789") == n;
}

/* Reads 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80, without the port. */
static bool
read_node(struct http_slice s, struct sockaddr_storage *out)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	char text[NODE_MAX], *host = text, *colon;

	memset(out, 0, sizeof(*out));
	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	colon = strchr(text, ':');
	if (text[0] == '[') {
		char *end = strchr(text, ']');

		if (end == NULL || (end[1] != '\0' && (end[1] != ':' || !is_port(end + 2))))
			return false;
		*end = '\0';
		host = text + 1;
		colon = NULL;
		if (strchr(host, ':') == NULL)
			return false; /* IPv4 has no brackets */
	} else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
		*colon = '\0';
		if (!is_port(colon + 1))
			return false;
	}
	if (inet_pton(AF_INET, host, &sin.sin_addr) == 1) {
		memcpy(out, &sin, sizeof(sin));
	} else if (inet_pton(AF_INET6, host, &sin6.sin6_addr) == 1) {
		memcpy(out, &sin6, sizeof(sin6));
		sock_addr_unmap(out);
	} else {
		return false;
	}
	return true;
}

static void
step(struct walk *w, struct http_slice node)
{
	struct sockaddr_storage a;

	if (!read_node(node, &a))
		w->found.ss_family = AF_UNSPEC;
	else if (w->found.ss_family == AF_UNSPEC ||
	    !addr_set_has(w->trusted, (const struct sockaddr *)&a))
		w->found = a;
}

static void
walk_x_forwarded_for(struct walk *w, struct http_slice list)
{
	struct http_slice node;

	while (http_list_next(&list, &node)) {
		if (node.n > 0)
			step(w, node);
	}
}

/* --- Forwarded ---------------------------------------------------------------------------- */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void
skip_blanks(struct http_slice *s)
{
	while (s->n > 0 && is_blank(*s->p)) {
		s->p++;
		s->n--;
	}
}

/*
 * Takes the string in quotes at the start of *s into out, without quotes and escapes; one that is
 * longer than NODE_MAX is no address and gets n = 0.  false: it does not end.
 */
static bool
take_quoted(struct http_slice *s, char out[NODE_MAX], size_t *n)
{
	size_t i, len = 0;

	for (i = 1; i < s->n && s->p[i] != '"'; i++) {
		if (s->p[i] == '\\' && ++i == s->n)
			return false;
		if (len < NODE_MAX)
			out[len] = s->p[i];
		len++;
	}
	if (i >= s->n)
		return false;
	*n = len <= NODE_MAX ? len : 0;
	s->p += i + 1;
	s->n -= i + 1;
	return true;
}

/* Takes the bytes before any of the stops. */
static struct http_slice
take_until(struct http_slice *s, const char *stops)
{
	struct http_slice part = { s->p, 0 };

	while (s->n > 0 && strchr(stops, *s->p) == NULL) {
		s->p++;
		s->n--;
		part.n++;
	}
	return part;
}

/*
 * Takes one name=value of an element, and the blanks behind it.  is_for: it names the client, which is in *node then, or
 * points to room.  false: it is malformed.
 */
static bool
take_pair(struct http_slice *s, bool *is_for, struct http_slice *node, char room[NODE_MAX])
{
	struct http_slice name, value;
	size_t n = 0;

	*is_for = false;
	if (s->n == 0 || *s->p == ';' || *s->p == ',')
		return true; /* an empty one is allowed */
	name = take_until(s, "=;, \t\"");
	if (!http_is_token(name) || s->n == 0 || *s->p != '=')
		return false;
	s->p++;
	s->n--;
	if (s->n > 0 && *s->p == '"') {
		if (!take_quoted(s, room, &n))
			return false;
		value = (struct http_slice){ room, n };
	} else {
		value = take_until(s, ";, \t\"");
	}
	skip_blanks(s);
	if (s->n > 0 && *s->p != ';' && *s->p != ',')
		return false;
	*is_for = http_slice_is_nocase(name, "for");
	if (*is_for)
		*node = value;
	return true;
}

/*
 * An element that says not exactly once whom it is for leaves nothing.  Nothing is known any more of
 * what stands behind a malformed one, as it may have begun a string in quotes.
 */
static void
walk_forwarded(struct walk *w, struct http_slice list)
{
	while (list.n > 0) {
		struct http_slice node = { NULL, 0 }, one = { NULL, 0 };
		char room[2][NODE_MAX];
		bool is_for, more = true, any = false;
		unsigned fors = 0;

		while (more) {
			const char *before;

			skip_blanks(&list);
			before = list.p;
			if (!take_pair(&list, &is_for, &one, room[fors > 0])) {
				w->found.ss_family = AF_UNSPEC;
				return;
			}
			any = any || list.p > before;
			if (is_for && fors++ == 0)
				node = one;
			more = list.n > 0 && *list.p == ';';
			if (list.n > 0) {
				list.p++;
				list.n--;
			}
		}
		if (fors == 1)
			step(w, node);
		else if (any)
			w->found.ss_family = AF_UNSPEC;
	}
}

bool
forwarded_client(const struct http_request *req, const struct addr_set *trusted, int header,
    const struct sockaddr_storage *peer, struct sockaddr_storage *client)
{
	struct walk w = { .trusted = trusted };
	const char *name = forwarded_field(header);
	const struct http_field *f;
	size_t pos = 0;

	*client = *peer;
	if (name == NULL || !addr_set_has(trusted, (const struct sockaddr *)peer))
		return false;
	while ((f = http_field_next(req, name, &pos)) != NULL) {
		if (header == CONF_PROXY_FORWARDED)
			walk_forwarded(&w, f->value);
		else
			walk_x_forwarded_for(&w, f->value);
	}
	if (w.found.ss_family == AF_UNSPEC)
		return false;
	*client = w.found;
	return true;
}
