/*
 * access: who may do what on a channel: the rules, put to a session's identity.
 *
 * Process: workers.
 * Layer:   worker/core, above session, identity, user and lifecycle.  Uses them, worker/auth/token,
 *          worker/hook, common/conf.
 *
 * A refusal is the same whether the channel has subscribers, history, or was never heard of.
 */
#ifndef WORKER_CORE_ACCESS_H
#define WORKER_CORE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct access;
struct claims;
struct conf_rule;
struct core;
struct session;

enum access_what {
	ACCESS_SUBSCRIBE,
	ACCESS_PUBLISH,
	ACCESS_HISTORY,
	ACCESS_PRESENCE,
};

/* The rule of a channel.  FAN_EINVAL: not a channel's name. */
FAN_NODISCARD int access_rule(
    const struct core *core, const char *name, size_t len, const struct conf_rule **out);

/*
 * Whether the session may do it: 0; FAN_EINVAL: not a channel's name; FAN_EDENIED; FAN_EASK: the
 * application is to be asked by access_ask (SUBSCRIBE and PUBLISH alone; history and presence with
 * `app` are for backends only).  Where auth.required is set nothing is allowed to a client that has
 * neither shown a token of the connection nor was let in by the connect hook.
 */
FAN_NODISCARD int access_check(
    const struct session *s, enum access_what what, const char *name, size_t len);

/*
 * What the application has said.  For PUBLISH, data is what is to be published in place; NULL: as
 * it was.
 */
struct access_verdict {
	int status; /* 0, FAN_EDENIED, FAN_EDOWN: it was not asked, and hooks.failure is deny */
	enum msg_kind kind;
	const uint8_t *data;
	size_t len;
};
typedef void (*access_fn)(void *arg, const struct access_verdict *v);

/*
 * Asks the application; fn is called once, from the loop, never from inside.  data is for PUBLISH
 * and is copied.  *out lets the caller give up the answer by access_cancel, as he must before arg
 * goes; it is gone once fn was called.  FAN_ENOMEM: it is not asked, fn will not be called.
 */
FAN_NODISCARD int access_ask(struct session *s, enum access_what what, const char *name, size_t len,
    enum msg_kind kind, const uint8_t *data, size_t n, access_fn fn, void *arg,
    struct access **out);
/* NULL is allowed. */
void access_cancel(struct access *a);

/*
 * Takes a token that the client shows, of the connection or of a subscription: by its claims the
 * session gets an identity or a newer one, or a grant; subscriptions that a newer token does not
 * allow any more end.  0: *channel is the channel of a subscription token, lent until the next
 * token, else NULL.  FAN_EDENIED, *why a phrase for the client: not valid, or of another user; until
 * the session has started, also of another one than a subscription token.  FAN_EEXPIRED, with *why
 * too.  FAN_ENOMEM.
 */
FAN_NODISCARD int access_token(
    struct session *s, const char *token, size_t len, const char **channel, const char **why);

/* Whether auth.required has been met, or is not set. */
bool access_admitted(const struct session *s);
/* A token must come within limits.authenticate, or the session is closed.  FAN_ENOMEM. */
FAN_NODISCARD int access_await_token(struct session *s);

/*
 * Asks the connect hook with this JSON object.  Where it lets the client in, the session has what
 * it says of it when fn is called.  fn, out and errors as for access_ask.
 */
FAN_NODISCARD int access_ask_connect(
    struct session *s, const char *json, size_t len, access_fn fn, void *arg, struct access **out);
/*
 * The application lets the client in, and says this of it, which holds against later tokens.
 * FAN_ENOMEM.
 */
FAN_NODISCARD int access_name(struct session *s, const struct claims *c);

/* The end of tokens: registers the deadline, once. */
void access_init(struct core *core);

#endif
