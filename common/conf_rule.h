/*
 * conf_rule: what a configuration says of channels: the rules, of which the first that matches applies.
 *
 * Process: any.
 * Layer:   common.  A part of conf.h, which includes it.
 */
#ifndef COMMON_CONF_RULE_H
#define COMMON_CONF_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who may do a thing on a channel.  Backends may do everything. */
enum conf_who {
	CONF_NOBODY = 0,
	CONF_ANYONE = 1,
	CONF_AUTHENTICATED, /* who has shown a token, or was named by the connect hook */
	CONF_TOKEN,         /* whose token names the channel */
	CONF_APP,           /* whom the application allows it, by its hook */
};

/* What happens to a client that takes its messages too slowly. */
enum conf_slow {
	CONF_SLOW_DEFAULT = 0, /* of a rule: what limits.slow says */
	CONF_SLOW_KICK,        /* it is disconnected */
	CONF_SLOW_DROP_OLDEST, /* what waits longest is left out */
	CONF_SLOW_LATEST,      /* of what waits only the newest of each channel is kept */
};

/* One entry of `channels`; the first whose glob matches a channel applies. */
struct conf_rule {
	char *match;       /* glob as fnmatch(3) has it: * ? [...] */
	int subscribe;     /* enum conf_who, default anyone */
	int publish;       /* enum conf_who, default nobody */
	int read_history;  /* enum conf_who, default nobody */
	int read_presence; /* enum conf_who, default nobody */
	struct {
		int64_t size; /* messages; 0: no history */
		int64_t ttl;  /* ms since the last message */
	} history;
	bool position_check;
	bool presence;
	bool join_leave;
	int64_t message; /* bytes of a client's message; 0: limits.message */
	int slow;        /* enum conf_slow */
};

struct conf_rules {
	struct conf_rule *item;
	size_t n;
};

#endif
