/*
 * conf_check: what cannot be said of one option alone.  See conf.h.
 *
 * How the bounds of sizes relate is left free on purpose: whoever raises limits.message alone must
 * get what he asks for.  So a queue may be shorter than a message (one message may always wait),
 * and limits.body smaller than limits.message or larger.
 */
#include "common/conf.h"

#include <inttypes.h>
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

/* A glob with a character that no channel's name can have is a slip: it would never match. */
static void
check_rules(struct conf_report *r, const struct conf_rules *rules)
{
	char quoted[CONF_QUOTE_SIZE];

	for (size_t i = 0; i < rules->n; i++) {
		for (const char *p = rules->item[i].match; *p != '\0'; p++) {
			if (strchr("*?[]!^\\", *p) != NULL || channel_name_valid(p, 1, 1))
				continue;
			conf_report_error(r, 0,
			    "channels, rule %zu: match: %s has a character that no channel's name "
			    "can have",
			    i + 1, conf_quote(quoted, rules->item[i].match));
			break;
		}
	}
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
	check_rules(&r, &c->channels);
	return r.errors > 0 ? FAN_EINVAL : 0;
}
