/*
 * conf_check: what cannot be said of one option alone.  See conf.h.
 *
 * How the bounds of sizes relate is left free on purpose: whoever raises limits.message alone must
 * get what he asks for.  So a queue may be shorter than a message (one message may always wait),
 * and limits.body smaller than limits.message or larger.
 */
#include "common/conf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/addr_set.h"
#include "common/conf_report.h"
#include "common/conf_table.h"
#include "common/conf_value.h"
#include "common/listen_spec.h"
#include "common/publication.h"

static void
check_spec(struct conf_report *r, const struct conf *c, const char *key, const char *text,
    const struct addr_set *trusted)
{
	bool internal = strcmp(key, "listen.internal") == 0;
	char quoted[CONF_QUOTE_SIZE];
	struct listen_spec l;
	const char *why;

	(void)conf_quote(quoted, text);
	if (listen_spec_parse(text, &l, &why) != 0) {
		conf_report_error(r, 0, "%s: %s: %s", key, quoted, why);
		return;
	}
	if (internal && c->api.key[0] == '\0' && !listen_spec_is_local(&l))
		conf_report_error(r, 0,
		    "%s: %s can be reached from other machines, so that anyone there could "
		    "publish; set api.key, or listen on a loopback address such as "
		    "127.0.0.1:8081",
		    key, quoted);
	if (l.tls && c->tls.certificates.n == 0)
		conf_report_error(
		    r, 0, "%s: %s: tls needs a certificate; set tls.certificates", key, quoted);
	if (l.proxy && listen_spec_is_unix(&l) && !trusted->unix_peers)
		conf_report_error(r, 0,
		    "%s: %s: proxy believes nobody here; add unix to proxy.trusted", key, quoted);
	else if (l.proxy && !listen_spec_is_unix(&l) && trusted->n == 0)
		conf_report_error(r, 0,
		    "%s: %s: proxy believes nobody yet; set proxy.trusted to the proxies' "
		    "addresses",
		    key, quoted);
}

static void
check_listen(struct conf_report *r, const struct conf *c)
{
	struct addr_set trusted = { 0 };
	char quoted[CONF_QUOTE_SIZE];
	const char *why;

	for (size_t i = 0; i < c->proxy.trusted.n; i++) {
		int err = addr_set_add(&trusted, c->proxy.trusted.item[i], &why);

		if (err == FAN_ENOMEM)
			(void)conf_report_nomem(r);
		else if (err != 0)
			conf_report_error(r, 0, "proxy.trusted: %s: %s",
			    conf_quote(quoted, c->proxy.trusted.item[i]), why);
	}
	for (size_t i = 0; i < c->listen.public_addrs.n; i++)
		check_spec(r, c, "listen.public", c->listen.public_addrs.item[i], &trusted);
	for (size_t i = 0; i < c->listen.internal.n; i++)
		check_spec(r, c, "listen.internal", c->listen.internal.item[i], &trusted);
	if (c->listen.public_addrs.n == 0 && c->listen.internal.n == 0)
		conf_report_error(r, 0, "listen: neither public nor internal has an address");
	addr_set_fini(&trusted);
}

/* Whether every byte of text is visible ASCII and none is one of those in without. */
static bool
is_visible(const char *text, const char *without)
{
	for (; *text != '\0'; text++)
		if (*text <= 0x20 || *text >= 0x7f || strchr(without, *text) != NULL)
			return false;
	return true;
}

/* "*", or scheme://host[:port] in which the host may begin with "*."; RFC 6454 §6.2. */
static bool
is_origin(const char *text)
{
	const char *host = strstr(text, "://");

	if (strcmp(text, "*") == 0)
		return true;
	if (host == NULL || host == text)
		return false;
	host += 3;
	if (strncmp(host, "*.", 2) == 0)
		host += 2;
	return *host != '\0' && is_visible(host, "*/?#@\\");
}

static void
check_origins(struct conf_report *r, const struct conf_list *l)
{
	char quoted[CONF_QUOTE_SIZE];

	for (size_t i = 0; i < l->n; i++)
		if (!is_origin(l->item[i]))
			conf_report_error(r, 0,
			    "origins: %s: write SCHEME://HOST or SCHEME://HOST:PORT without a "
			    "path, "
			    "SCHEME://*.HOST, or *",
			    conf_quote(quoted, l->item[i]));
}

/* --- identity, hooks, events ---------------------------------------------------------------- */

/* Whether there is any way for a client to say who it is. */
static bool
can_identify(const struct conf *c)
{
	return c->auth.secret[0] != '\0' || c->auth.jwks[0] != '\0' || c->hooks.connect[0] != '\0';
}

/* Errors do not repeat the URL, since a slip may be a password in it. */
static void
check_hook(struct conf_report *r, const char *key, const char *url)
{
	size_t scheme = strncmp(url, "http://", 7) == 0 ? 7
	    : strncmp(url, "https://", 8) == 0          ? 8
							: 0;
	const char *host = url + scheme;

	if (*url == '\0')
		return;
	if (scheme == 0 || strcspn(host, "/?#") == 0 || !is_visible(url, "\"<>\\^`{|}"))
		conf_report_error(r, 0, "%s: write http://HOST/PATH or https://HOST/PATH", key);
	else if (memchr(host, '@', strcspn(host, "/?#")) != NULL)
		conf_report_error(
		    r, 0, "%s: no user or password can stand in it; set hooks.key", key);
}

static void
check_hooks(struct conf_report *r, const struct conf *c)
{
	char quoted[CONF_QUOTE_SIZE];

	check_hook(r, "hooks.connect", c->hooks.connect);
	check_hook(r, "hooks.subscribe", c->hooks.subscribe);
	check_hook(r, "hooks.publish", c->hooks.publish);
	check_hook(r, "hooks.disconnect", c->hooks.disconnect);
	if (!is_visible(c->hooks.key, ""))
		conf_report_error(
		    r, 0, "hooks.key: only visible ASCII characters can stand in an HTTP header");
	for (size_t i = 0; i < c->hooks.headers.n; i++)
		if (!is_visible(c->hooks.headers.item[i], "\"(),/:;<=>?@[\\]{}"))
			conf_report_error(r, 0, "hooks.headers: %s: not a header field's name",
			    conf_quote(quoted, c->hooks.headers.item[i]));
}

static void
check_events(struct conf_report *r, const struct conf *c)
{
	static const char *const events[] = { "connect", "subscribe", "unsubscribe", "publish",
		"disconnect" };
	char quoted[CONF_QUOTE_SIZE];

	if (c->events.stream[0] != '\0' && c->redis.url[0] == '\0')
		conf_report_error(r, 0, "events.stream: events go to Redis; set redis.url");
	for (size_t i = 0; i < c->events.include.n; i++) {
		size_t k = 0;

		while (k < sizeof(events) / sizeof(events[0]) &&
		    strcmp(c->events.include.item[i], events[k]) != 0)
			k++;
		if (k == sizeof(events) / sizeof(events[0]))
			conf_report_error(r, 0,
			    "events.include: %s: write connect, subscribe, unsubscribe, publish, "
			    "disconnect, or some of them",
			    conf_quote(quoted, c->events.include.item[i]));
	}
}

/* --- rules ---------------------------------------------------------------------------------- */

/* A glob with a character that no channel's name can have is a slip: it would never match. */
static void
check_match(struct conf_report *r, const char *match)
{
	char quoted[CONF_QUOTE_SIZE];

	for (const char *p = match; *p != '\0'; p++) {
		if (strchr("*?[]!^\\", *p) != NULL || channel_name_valid(p, 1, 1))
			continue;
		conf_report_error(r, 0, "match: %s has a character that no channel's name can have",
		    conf_quote(quoted, match));
		return;
	}
}

/* hook: "" where nobody would be asked; NULL: the right is none that the application is asked for. */
static void
check_who(struct conf_report *r, const struct conf *c, const char *key, int who, const char *hook)
{
	if ((who == CONF_AUTHENTICATED || who == CONF_TOKEN) && !can_identify(c))
		conf_report_error(r, 0,
		    "%s: no client can say who it is; set auth.secret, auth.jwks or hooks.connect",
		    key);
	if (who == CONF_APP && hook != NULL && *hook == '\0')
		conf_report_error(
		    r, 0, "%s: the application cannot be asked; set hooks.%s to its URL", key, key);
}

static void
check_rules(struct conf_report *r, const struct conf *c)
{
	char where[64];

	for (size_t i = 0; i < c->channels.n; i++) {
		const struct conf_rule *rule = &c->channels.item[i];

		(void)snprintf(where, sizeof(where), "channels, rule %zu: ", i + 1);
		r->where = where;
		check_match(r, rule->match);
		check_who(r, c, "subscribe", rule->subscribe, c->hooks.subscribe);
		check_who(r, c, "publish", rule->publish, c->hooks.publish);
		check_who(r, c, "read_history", rule->read_history, NULL);
		check_who(r, c, "read_presence", rule->read_presence, NULL);
		if (rule->history.size > 0 && rule->slow > CONF_SLOW_KICK)
			conf_report_error(r, 0,
			    "slow: of a channel with history nothing is left out; a slow client is "
			    "disconnected and goes on from its position: leave slow away, or set "
			    "it "
			    "to kick");
		if (rule->join_leave && !rule->presence)
			conf_report_error(r, 0,
			    "join_leave: only presence knows who comes and goes; set presence: "
			    "true");
	}
	r->where = "";
}

int
conf_check(const struct conf *c, FILE *err)
{
	struct conf_report r = { .err = err, .where = "" };
	char pong[CONF_NUMBER_SIZE], ping[CONF_NUMBER_SIZE];

	check_listen(&r, c);
	if (!is_visible(c->api.key, ""))
		conf_report_error(
		    &r, 0, "api.key: only visible ASCII characters can stand in an HTTP header");
	if (!is_visible(c->redis.prefix, "*?[]\\"))
		conf_report_error(
		    &r, 0, "redis.prefix: only visible ASCII characters, and none of * ? [ ] \\");
	if (c->limits.ping_interval > 0 && c->limits.pong_timeout >= c->limits.ping_interval)
		conf_report_error(&r, 0,
		    "limits.pong_timeout: %s must be shorter than limits.ping_interval, which is "
		    "%s",
		    conf_number_text(CONF_DURATION, c->limits.pong_timeout, pong),
		    conf_number_text(CONF_DURATION, c->limits.ping_interval, ping));
	if (c->limits.slow == CONF_SLOW_DEFAULT)
		conf_report_error(
		    &r, 0, "limits.slow: default is for rules; write kick, drop-oldest or latest");
	check_origins(&r, &c->origins);
	if (c->auth.required && !can_identify(c))
		conf_report_error(&r, 0,
		    "auth.required: no client could connect; set auth.secret, auth.jwks or "
		    "hooks.connect");
	check_hooks(&r, c);
	check_events(&r, c);
	check_rules(&r, c);
	return r.errors > 0 ? FAN_EINVAL : 0;
}
