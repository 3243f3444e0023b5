/*
 * rule: what a channel's rule means, in plain words.  See rule.h.
 */
#include "cli/rule.h"

#include <inttypes.h>
#include <stdbool.h>

#include "common/conf.h"
#include "common/conf_value.h"

struct printer {
	const struct conf *c;
	const struct conf_rule *rule;
	FILE *out;
};

static const char *
size_text(int64_t v, char out[CONF_NUMBER_SIZE])
{
	return conf_number_text(CONF_SIZE, v, out);
}

static const char *
time_text(int64_t v, char out[CONF_NUMBER_SIZE])
{
	return conf_number_text(CONF_DURATION, v, out);
}

/* hook: the option that names the application's URL; NULL: it is not asked for this right. */
static const char *
who_text(int who, const char *hook)
{
	switch ((enum conf_who)who) {
	case CONF_NOBODY:
		return "nobody: no client";
	case CONF_ANYONE:
		return "anyone: every client that is connected";
	case CONF_AUTHENTICATED:
		return "authenticated: clients that have shown a token, or are named by the "
		       "connect "
		       "hook";
	case CONF_TOKEN:
		return "token: clients whose token names the channel";
	case CONF_APP:
		return hook != NULL ? hook : "app: backends alone, since clients ask for it";
	}
	return "";
}

static void
print_rights(const struct printer *p)
{
	const struct conf_rule *r = p->rule;

	(void)fprintf(p->out, "  subscribe: %s\n",
	    who_text(
		r->subscribe, "app: clients whom the application allows it (hooks.subscribe)"));
	(void)fprintf(p->out, "  publish: %s\n",
	    who_text(r->publish, "app: clients whom the application allows it (hooks.publish)"));
	(void)fprintf(p->out, "  read_history: %s\n", who_text(r->read_history, NULL));
	(void)fprintf(p->out, "  read_presence: %s\n", who_text(r->read_presence, NULL));
	(void)fputs("  Backends may publish and read in any case.\n", p->out);
}

static void
print_history(const struct printer *p)
{
	const struct conf_rule *r = p->rule;
	char text[CONF_NUMBER_SIZE];

	if (r->history.size == 0) {
		(void)fputs(
		    "  history: none; who was away has missed what was published\n", p->out);
		return;
	}
	(void)fprintf(p->out,
	    "  history: the last %" PRId64
	    " messages, for %s after the last one; who comes back gets "
	    "up to %" PRId64 " that it missed (limits.recovery)\n",
	    r->history.size, time_text(r->history.ttl, text), p->c->limits.recovery);
	if (!r->position_check || p->c->limits.position_check == 0)
		(void)fputs(
		    "  position_check: no; a message lost on a quiet channel shows with the "
		    "next one\n",
		    p->out);
	else
		(void)fprintf(p->out,
		    "  position_check: yes; every %s a quiet channel is compared with the engine "
		    "(limits.position_check)\n",
		    time_text(p->c->limits.position_check, text));
}

static void
print_presence(const struct printer *p)
{
	char text[CONF_NUMBER_SIZE];

	if (!p->rule->presence)
		(void)fputs("  presence: no; nobody knows who is in the channel\n", p->out);
	else
		(void)fprintf(p->out,
		    "  presence: yes; it is known who is in the channel, and those of a node that "
		    "died vanish after %s (presence.lease)\n",
		    time_text(p->c->presence.lease, text));
	(void)fputs(p->rule->join_leave
		? "  join_leave: yes; subscribers are told who comes and goes\n"
		: "  join_leave: no; nobody is told who comes and goes\n",
	    p->out);
}

static void
print_limits(const struct printer *p)
{
	static const char *const policies[] = {
		[CONF_SLOW_KICK] = "kick: a client that is too slow is disconnected",
		[CONF_SLOW_DROP_OLDEST] = "drop-oldest: a client that is too slow misses what "
					  "waited longest, and is told",
		[CONF_SLOW_LATEST] =
		    "latest: a client that is too slow gets the newest message alone, and is told",
	};
	bool own_size = p->rule->message > 0, own_slow = p->rule->slow != CONF_SLOW_DEFAULT;
	bool kept = p->rule->history.size > 0;
	char text[CONF_NUMBER_SIZE];

	(void)fprintf(p->out, "  message: at most %s%s\n",
	    size_text(own_size ? p->rule->message : p->c->limits.message, text),
	    own_size ? "" : " (limits.message)");
	(void)fprintf(p->out, "  slow: %s%s\n",
	    policies[kept      ? CONF_SLOW_KICK
		    : own_slow ? p->rule->slow
			       : p->c->limits.slow],
	    kept           ? ", and comes back with its position"
		: own_slow ? ""
			   : " (limits.slow)");
}

void
rule_explain(const struct conf *c, const char *channel, FILE *out)
{
	struct printer p = { c, conf_rule_for(c, channel), out };
	size_t i = 0;

	while (i < c->channels.n && p.rule != &c->channels.item[i])
		i++;
	if (i < c->channels.n)
		(void)fprintf(out, "%s: rule %zu of %zu, match \"%s\"\n", channel, i + 1,
		    c->channels.n, p.rule->match);
	else
		(void)fprintf(out, "%s: no rule matches, so the defaults apply\n", channel);
	print_rights(&p);
	print_history(&p);
	print_presence(&p);
	print_limits(&p);
	if (c->auth.required)
		(void)fputs("  Every client must show a token, or be let in by the connect hook, "
			    "before all "
			    "of this (auth.required).\n",
		    out);
}
