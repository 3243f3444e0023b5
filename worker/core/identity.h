/*
 * identity: who a client is, by its token or by the application's word (the connect hook).
 *
 * Owns:    its strings, and the grants of subscription tokens.
 * Process: workers.
 * Layer:   worker/core, below session and access.  Uses worker/auth/token, net/deadline, common.
 *
 * What a token says of time is said by the wall clock; from the moment in which it is shown only
 * the monotonic one counts, so that nobody is thrown out because a clock was set.
 */
#ifndef WORKER_CORE_IDENTITY_H
#define WORKER_CORE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "worker/net/deadline.h"

struct claims;
struct session;

/* The most channels that subscription tokens of one connection may allow. */
#define IDENTITY_GRANTS_MAX 1000

/* Globs of channels, as a rule's match. */
struct globs {
	char **item;
	size_t n;
};
bool globs_match(const struct globs *g, const char *channel);

/* A channel that a subscription token allows. */
struct grant {
	SLIST_ENTRY(grant) link;
	uint64_t ends;  /* clock_ms */
	char *info;     /* JSON; NULL: the connection's */
	char *user;     /* whose token it was; "": anyone's; behind channel */
	char channel[]; /* NUL-terminated */
};

struct identity {
	struct deadline deadline; /* the next end of a token (DEADLINE_IDENTITY), set by access */
	struct session *session;
	char *user;         /* "": none */
	char *info;         /* JSON; NULL: none */
	int64_t expires;    /* s since 1970, as token and application say; 0: never */
	int64_t named_end;  /* the one that the application named; 0: none */
	uint64_t ends;      /* clock_ms at which the connection ends; 0: never */
	uint64_t warns;     /* clock_ms at which its client is told so; 0: it was, or never */
	bool admitted;      /* by a token of the connection, or by the application */
	bool authenticated; /* the same, and it is known who it is */
	bool named_info, named_subscribe, named_publish; /* by the application */
	size_t ngrants;
	struct globs subscribe, publish; /* what the connection's token names */
	SLIST_HEAD(grants, grant) grants;
};

/* One that nothing is known of.  NULL: no memory. */
struct identity *identity_new(struct session *s);
void identity_free(struct identity *i);

/*
 * Takes what a connection's token claims, the first one or a newer one of the same user, but
 * nothing that the application has named: of two ends the earlier one counts.  Where the user is
 * known by it, grants of others are dropped.  access sets what follows from the expiry.
 * FAN_EDENIED: it is another user's.  FAN_ENOMEM: nothing has changed.
 */
FAN_NODISCARD int identity_claim(struct identity *i, const struct claims *c);
/*
 * Takes what the application says of a client: its user, info, globs and expiry take the place of
 * what there was, each where it is not NULL (user: not "", expiry: not 0), and hold against later
 * tokens.  Grants of other users than the one named are dropped.  FAN_ENOMEM: nothing has changed.
 */
FAN_NODISCARD int identity_name(struct identity *i, const struct claims *c);
/*
 * Takes what a subscription token claims, for its channel, until the clock_ms `ends`.  FAN_EDENIED:
 * it is another user's.  FAN_EFULL: too many.  FAN_ENOMEM.
 */
FAN_NODISCARD int identity_grant(struct identity *i, const struct claims *c, uint64_t ends);
/* Whether there is a grant of a user that is neither "" nor this one. */
bool identity_grants_another(const struct identity *i, const char *user);
/* The grant of a channel that has not ended at the clock_ms `now`, or NULL. */
const struct grant *identity_granted(const struct identity *i, const char *channel, uint64_t now);
/* Drops the grants that have ended.  Returns whether there were any. */
bool identity_drop_ended(struct identity *i, uint64_t now);

#endif
