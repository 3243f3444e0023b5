/*
 * hook: requests to the application's backend over HTTP, many at once and bounded.
 *
 * Owns:    the connections, the requests under way and those that wait.
 * Process: workers.
 * Layer:   worker/hook, top.  Uses transfer, common; libevent.  Only worker/hook knows libcurl.
 *
 * Each request is POST with a JSON object, with `hooks.key` as Authorization: Bearer.  A hook that
 * failed hooks.breaker times in a row is not asked for hooks.pause; then one request tries it (the
 * circuit is half open).  A failure is: no connection, no answer in hooks.timeout, 5xx, 429, or an
 * answer longer than 64 KiB.  Redirects are not followed.
 */
#ifndef WORKER_HOOK_HOOK_H
#define WORKER_HOOK_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct conf;
struct event_base;
struct hook_request;
struct hooks;

enum hook_kind {
	HOOK_CONNECT,
	HOOK_SUBSCRIBE,
	HOOK_PUBLISH,
	HOOK_DISCONNECT,
};
#define HOOK_KINDS 4
#define HOOK_ANSWER_MAX 65536 /* bytes; TRANSFER_ANSWER_MAX */

/* "connect", "subscribe", "publish", "disconnect". */
const char *hook_name(enum hook_kind kind);

/*
 * The answer; body is lent until return.  status: an HTTP status below 500 that is not 429, or a
 * negative FAN_ error: FAN_EDOWN (failed, or the circuit is open), FAN_ETIMEOUT, FAN_EFULL (more
 * wait than hooks.queue).
 */
typedef void (*hook_fn)(void *arg, int status, const char *body, size_t len);

/* c is borrowed.  *out is NULL where no hook is configured.  FAN_ENOMEM; FAN_EINVAL: logged. */
FAN_NODISCARD int hooks_open(struct hooks **out, struct event_base *base, const struct conf *c);
/* Calls nothing back.  NULL is allowed. */
void hooks_close(struct hooks *h);

/* Whether this hook has a URL; not where h is NULL. */
bool hooks_has(const struct hooks *h, enum hook_kind kind);
/* Whether a request is under way or waits; not where h is NULL. */
bool hooks_busy(const struct hooks *h);

/*
 * Sends the request, now or when there is a free connection; json is copied.  fn is called once,
 * from the loop, never from inside; NULL: nobody asks for the answer (HOOK_DISCONNECT).  CONNECT,
 * SUBSCRIBE and DISCONNECT are tried again as hooks.retries says; PUBLISH only where the connection
 * failed before anything was sent.  *out: see hook_cancel; may be NULL.  FAN_ENOMEM: not sent, fn
 * will not be called.
 */
FAN_NODISCARD int hook_send(struct hooks *h, enum hook_kind kind, const char *json, size_t len,
    hook_fn fn, void *arg, struct hook_request **out);
/* Before fn was called: nobody waits for the answer any more, and what was not sent yet is not. */
void hook_cancel(struct hook_request *r);

#endif
