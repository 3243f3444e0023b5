/*
 * redis_url: the text of redis.url, taken apart.  See redis_url.h.
 */
#include "broker/engine/redis_url.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define HOST_MAX 253 /* RFC 1035 §2.3.4, as text */
#define DB_DIGITS 9

/* A piece of the text. */
struct slice {
	const char *p;
	size_t n;
};

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A NUL-terminated, percent-decoded copy of s.  FAN_EINVAL, FAN_ENOMEM, both with *why. */
static int
decode(struct slice s, char **out, const char **why)
{
	char *text = malloc(s.n + 1);
	size_t i, n = 0;

	*why = "no memory";
	if (text == NULL)
		return FAN_ENOMEM;
	for (i = 0; i < s.n; i++) {
		int high, low;

		if (s.p[i] != '%') {
			text[n++] = s.p[i];
			continue;
		}
		high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
		low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
		if (high < 0 || low < 0 || high + low == 0) {
			*why = "a percent sign begins no valid escape";
			explicit_bzero(text, n);
			free(text);
			return FAN_EINVAL;
		}
		text[n++] = (char)(high << 4 | low);
		i += 2;
	}
	text[n] = '\0';
	*out = text;
	return 0;
}

/* [USER][:PASSWORD] */
static int
parse_userinfo(struct slice s, struct redis_url *u, const char **why)
{
	const char *colon = memchr(s.p, ':', s.n);
	struct slice user = { s.p, colon == NULL ? s.n : (size_t)(colon - s.p) };
	struct slice password = { s.p + s.n, 0 };
	int err;

	if (colon != NULL) {
		password.p = colon + 1;
		password.n = s.n - user.n - 1;
	}
	if (user.n > 0) {
		err = decode(user, &u->user, why);
		if (err != 0)
			return err;
	}
	/* A user without a password is one that Redis lets in with any. */
	if (user.n > 0 || password.n > 0)
		return decode(password, &u->password, why);
	return 0;
}

static bool
all_digits(struct slice s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	}
	return s.n > 0;
}

static int
parse_db(struct slice s, struct redis_url *u, const char **why)
{
	if (!all_digits(s) || s.n > DB_DIGITS) {
		*why = "the database must be a number";
		return FAN_EINVAL;
	}
	u->db = (unsigned)strtoul(s.p, NULL, 10);
	return 0;
}

static int
parse_port(struct slice s, struct redis_url *u, const char **why)
{
	unsigned long port = all_digits(s) && s.n <= 5 ? strtoul(s.p, NULL, 10) : 0;

	if (port == 0 || port > 65535) {
		*why = "the port must be a number from 1 to 65535";
		return FAN_EINVAL;
	}
	(void)snprintf(u->port, sizeof(u->port), "%lu", port);
	return 0;
}

/* HOST[:PORT], HOST an IPv6 address in brackets or without a colon. */
static int
parse_host(struct slice s, struct redis_url *u, const char **why)
{
	struct slice host = s, rest;
	const char *end;

	*why = "the host is missing or malformed";
	if (s.n > 0 && s.p[0] == '[') {
		end = memchr(s.p, ']', s.n);
		if (end == NULL)
			return FAN_EINVAL;
		host.p = s.p + 1;
		host.n = (size_t)(end - host.p);
		rest.p = end + 1;
	} else {
		end = memchr(s.p, ':', s.n);
		host.n = end == NULL ? s.n : (size_t)(end - s.p);
		rest.p = s.p + host.n;
	}
	rest.n = (size_t)(s.p + s.n - rest.p);
	if (host.n == 0 || host.n > HOST_MAX || memchr(host.p, '%', host.n) != NULL ||
	    (rest.n > 0 && rest.p[0] != ':'))
		return FAN_EINVAL;
	u->host = strndup(host.p, host.n);
	if (u->host == NULL) {
		*why = "no memory";
		return FAN_ENOMEM;
	}
	if (rest.n == 0)
		return 0;
	rest.p++;
	rest.n--;
	return parse_port(rest, u, why);
}

/* What stands behind redis://HOST: nothing, "/" or "/DB". */
static int
parse_tcp_tail(const char *tail, struct redis_url *u, const char **why)
{
	if (strcmp(tail, "") == 0 || strcmp(tail, "/") == 0)
		return 0;
	if (*tail != '/') {
		*why = "only /DATABASE may stand behind the host";
		return FAN_EINVAL;
	}
	return parse_db((struct slice){ tail + 1, strlen(tail + 1) }, u, why);
}

/* /PATH[?db=DB] */
static int
parse_unix_tail(const char *tail, struct redis_url *u, const char **why)
{
	struct slice path = { tail, strcspn(tail, "?") };
	int err;

	if (*tail != '/') {
		*why = "the path of the Unix socket must begin with a slash";
		return FAN_EINVAL;
	}
	err = decode(path, &u->path, why);
	if (err != 0)
		return err;
	if (strlen(u->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		*why = "the path of the Unix socket is too long";
		return FAN_EINVAL;
	}
	tail += path.n;
	if (*tail == '\0')
		return 0;
	if (strncmp(tail, "?db=", 4) != 0) {
		*why = "only ?db=DATABASE may stand behind the path";
		return FAN_EINVAL;
	}
	return parse_db((struct slice){ tail + 4, strlen(tail + 4) }, u, why);
}

static int
parse(const char *text, struct redis_url *u, const char **why)
{
	static const char *const schemes[] = { "redis://", "unix://", "redis+unix://" };
	struct slice authority;
	const char *at;
	size_t i;
	int err;

	*why = "it must begin with redis:// or unix://";
	if (strncasecmp(text, "rediss://", 9) == 0) {
		*why = "TLS to Redis (rediss://) is not supported by this build";
		return FAN_EINVAL;
	}
	for (i = 0; i < 3; i++) {
		if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
			break;
	}
	if (i == 3)
		return FAN_EINVAL;
	authority.p = text + strlen(schemes[i]);
	authority.n = strcspn(authority.p, "/?#");
	text = authority.p + authority.n;
	/* The last @, so that a password may hold others. */
	at = memrchr(authority.p, '@', authority.n);
	if (at != NULL) {
		struct slice userinfo = { authority.p, (size_t)(at - authority.p) };

		err = parse_userinfo(userinfo, u, why);
		if (err != 0)
			return err;
		authority.n -= userinfo.n + 1;
		authority.p = at + 1;
	}
	if (i == 0) {
		err = parse_host(authority, u, why);
		return err != 0 ? err : parse_tcp_tail(text, u, why);
	}
	if (authority.n > 0) {
		*why = "a Unix socket has no host";
		return FAN_EINVAL;
	}
	return parse_unix_tail(text, u, why);
}

int
redis_url_parse(const char *text, struct redis_url *out, const char **why)
{
	int err;

	memset(out, 0, sizeof(*out));
	memcpy(out->port, "6379", 5);
	err = parse(text, out, why);
	if (err != 0)
		redis_url_fini(out);
	return err;
}

void
redis_url_fini(struct redis_url *u)
{
	if (u->password != NULL)
		explicit_bzero(u->password, strlen(u->password));
	free(u->password);
	free(u->user);
	free(u->host);
	free(u->path);
	memset(u, 0, sizeof(*u));
}

const char *
redis_url_text(const struct redis_url *u, char out[REDIS_URL_TEXT])
{
	bool ipv6 = u->host != NULL && strchr(u->host, ':') != NULL;

	if (u->path != NULL)
		(void)snprintf(out, REDIS_URL_TEXT, "%s db=%u", u->path, u->db);
	else
		(void)snprintf(out, REDIS_URL_TEXT, "%s%s%s:%s db=%u", ipv6 ? "[" : "", u->host,
		    ipv6 ? "]" : "", u->port, u->db);
	return out;
}
