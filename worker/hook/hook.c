/*
 * hook: requests to the application's backend.  See hook.h.
 *
 * A request is in one of four lists: it waits for a connection, is under way, rests before another
 * attempt, or is done and its answer waits for the loop.
 */
#include "worker/hook/hook.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "worker/hook/transfer.h"

#define BACKOFF_MS 100 /* before the second attempt; doubled for each further one */
#define BACKOFF_MAX_MS 3000

enum request_state {
	REQUEST_WAITS,
	REQUEST_RUNS,
	REQUEST_RESTS,
	REQUEST_DONE,
	REQUEST_STATES,
};

TAILQ_HEAD(request_list, hook_request);

struct hook_request {
	struct transfer transfer;       /* the first member */
	TAILQ_ENTRY(hook_request) link; /* of the list of its state */
	struct hooks *hooks;
	hook_fn fn; /* NULL: nobody waits for the answer */
	void *arg;
	uint64_t at; /* clock_ms: of its beginning; where it rests, of the next attempt */
	int status;
	uint8_t kind, state;
	bool cancelled, probe;
	unsigned attempts;
	size_t len;
	char json[];
};

/* One of the four, with its circuit. */
struct hook {
	const char *url;       /* NULL: none */
	int64_t failures;      /* in a row */
	uint64_t closed_until; /* clock_ms before which it is not asked; 0: the circuit is closed */
	bool probing;          /* the circuit is half open, and the one request is under way */
};

struct hooks {
	const struct conf *conf;
	struct transfers *transfers;
	struct event *rest; /* of the requests that rest */
	struct event *wake; /* there are requests that are done */
	struct hook hook[HOOK_KINDS];
	struct request_list list[REQUEST_STATES];
	int64_t count[REQUEST_STATES];
	struct log_gate gate;
};

const char *
hook_name(enum hook_kind kind)
{
	static const char *const names[HOOK_KINDS] = { "connect", "subscribe", "publish",
		"disconnect" };

	return names[kind];
}

static struct timeval
tv_of(uint64_t ms)
{
	return (struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000 };
}

/* --- lists -------------------------------------------------------------------------------- */

static void
enter(struct hook_request *r, enum request_state state)
{
	struct hooks *h = r->hooks;

	r->state = (uint8_t)state;
	TAILQ_INSERT_TAIL(&h->list[state], r, link);
	h->count[state]++;
}

static void
leave(struct hook_request *r)
{
	struct hooks *h = r->hooks;

	TAILQ_REMOVE(&h->list[r->state], r, link);
	h->count[r->state]--;
}

/* It is in no list. */
static void
request_free(struct hook_request *r)
{
	struct hooks *h = r->hooks;

	if (r->probe)
		h->hook[r->kind].probing = false;
	transfer_fini(&r->transfer);
	free(r);
}

/* Its answer goes out from the loop.  It is in no list. */
static void
done(struct hook_request *r, int status)
{
	r->status = status;
	enter(r, REQUEST_DONE);
	event_active(r->hooks->wake, 0, 0);
}

/* --- the circuit -------------------------------------------------------------------------- */

/* Whether the hook may be asked now; *probe: as the one request that tries it. */
static bool
circuit_passes(const struct hook *k, bool *probe)
{
	*probe = k->closed_until != 0;
	return k->closed_until == 0 || (!k->probing && clock_ms() >= k->closed_until);
}

static void
succeeded(struct hook_request *r)
{
	struct hook *k = &r->hooks->hook[r->kind];

	if (k->closed_until != 0)
		log_info("the %s hook answers again", hook_name((enum hook_kind)r->kind));
	k->failures = 0;
	k->closed_until = 0;
	if (r->probe)
		k->probing = false;
	r->probe = false;
}

static void
failed(struct hook_request *r, const char *why)
{
	struct hooks *h = r->hooks;
	struct hook *k = &h->hook[r->kind];
	const char *name = hook_name((enum hook_kind)r->kind);

	if (log_gate_open(&h->gate, 5))
		log_warnx("the %s hook failed: %s", name, why);
	k->failures++;
	if (r->probe || (k->closed_until == 0 && k->failures >= h->conf->hooks.breaker)) {
		k->closed_until = clock_ms() + (uint64_t)h->conf->hooks.pause;
		log_warnx(
		    "the %s hook is left alone for %lld ms", name, (long long)h->conf->hooks.pause);
	}
	if (r->probe)
		k->probing = false;
	r->probe = false;
}

/* --- attempts ----------------------------------------------------------------------------- */

/* It is in no list. */
static void
start(struct hook_request *r, bool probe)
{
	struct hooks *h = r->hooks;

	r->attempts++;
	if (transfer_start(&r->transfer, h->hook[r->kind].url, r->json, r->len) != 0) {
		done(r, FAN_ENOMEM);
		return;
	}
	r->probe = probe;
	h->hook[r->kind].probing = h->hook[r->kind].probing || probe;
	enter(r, REQUEST_RUNS);
}

/* Whether it has waited for so long that nobody can use its answer. */
static bool
is_stale(const struct hook_request *r)
{
	return r->kind != HOOK_DISCONNECT &&
	    clock_ms() - r->at > (uint64_t)r->hooks->conf->hooks.timeout;
}

/* Starts as many of those that wait as there are connections. */
static void
start_waiting(struct hooks *h)
{
	struct hook_request *r;
	bool probe;

	while ((r = TAILQ_FIRST(&h->list[REQUEST_WAITS])) != NULL &&
	    h->count[REQUEST_RUNS] < h->conf->hooks.connections) {
		leave(r);
		if (is_stale(r))
			done(r, FAN_ETIMEOUT);
		else if (!circuit_passes(&h->hook[r->kind], &probe))
			done(r, FAN_EDOWN);
		else
			start(r, probe);
	}
}

/* Sets the timer to the end of the first rest. */
static void
await_rest(struct hooks *h)
{
	const struct hook_request *r;
	uint64_t now = clock_ms(), first = 0;
	struct timeval tv;

	TAILQ_FOREACH(r, &h->list[REQUEST_RESTS], link)
	if (first == 0 || r->at < first)
		first = r->at;
	(void)event_del(h->rest);
	if (first == 0)
		return;
	tv = tv_of(first > now ? first - now : 0);
	(void)event_add(h->rest, &tv);
}

static void
on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct hooks *h = arg;
	struct hook_request *r, *next;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	for (r = TAILQ_FIRST(&h->list[REQUEST_RESTS]); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->at > now)
			continue;
		leave(r);
		r->at = now;
		enter(r, REQUEST_WAITS);
	}
	start_waiting(h);
	await_rest(h);
}

/* --- results ------------------------------------------------------------------------------ */

/* Whether an attempt that failed may be repeated: asking twice does no harm, or nobody heard it. */
static bool
is_repeatable(const struct hook_request *r, bool unheard)
{
	const struct hook *k = &r->hooks->hook[r->kind];

	if (r->cancelled || r->attempts > (unsigned)r->hooks->conf->hooks.retries ||
	    k->closed_until != 0)
		return false;
	return r->kind != HOOK_PUBLISH || unheard;
}

static void
rest(struct hook_request *r)
{
	uint64_t ms = (uint64_t)BACKOFF_MS << (r->attempts < 6 ? r->attempts - 1 : 5);

	r->at = clock_ms() + (ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
	enter(r, REQUEST_RESTS);
	await_rest(r->hooks);
}

/* An attempt has ended. */
static void
ended(struct transfer *t, const struct transfer_end *end)
{
	struct hook_request *r = (struct hook_request *)(void *)t;
	char status[32];

	leave(r);
	if (end->status >= 0 && end->status < 500 && end->status != 429) {
		succeeded(r);
		done(r, end->status);
		return;
	}
	(void)snprintf(status, sizeof(status), "status %d", end->status);
	failed(r, end->status < 0 ? end->why : status);
	if (is_repeatable(r, end->unheard))
		rest(r);
	else
		done(r, end->status < 0 ? end->status : FAN_EDOWN);
}

/* Calls back; whoever is called may send and cancel. */
static void
answer_all(struct hooks *h)
{
	struct hook_request *r;

	while ((r = TAILQ_FIRST(&h->list[REQUEST_DONE])) != NULL) {
		/* leave takes r out of the list, which the analyzer does not see. */
		leave(r); /* NOLINT(clang-analyzer-unix.Malloc) */
		if (r->fn != NULL)
			r->fn(r->arg, r->status, (const char *)buf_data(&r->transfer.answer),
			    r->status < 0 ? 0 : buf_len(&r->transfer.answer));
		request_free(r);
	}
}

/* Attempts have ended. */
static void
settled(void *arg)
{
	start_waiting(arg);
	answer_all(arg);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	answer_all(arg);
}

/* --- the interface ------------------------------------------------------------------------ */

static int
set_urls(struct hooks *h)
{
	const struct conf *c = h->conf;
	const char *const url[HOOK_KINDS] = { c->hooks.connect, c->hooks.subscribe,
		c->hooks.publish, c->hooks.disconnect };

	for (unsigned k = 0; k < HOOK_KINDS; k++) {
		if (url[k][0] == '\0')
			continue;
		if (!transfer_url_valid(url[k])) {
			log_errx(
			    "hooks.%s is not a URL of http or https", hook_name((enum hook_kind)k));
			return FAN_EINVAL;
		}
		h->hook[k].url = url[k];
	}
	return 0;
}

int
hooks_open(struct hooks **out, struct event_base *base, const struct conf *c)
{
	struct hooks *h;
	int err;

	_Static_assert(HOOK_ANSWER_MAX == TRANSFER_ANSWER_MAX, "they are the same");
	*out = NULL;
	if (c->hooks.connect[0] == '\0' && c->hooks.subscribe[0] == '\0' &&
	    c->hooks.publish[0] == '\0' && c->hooks.disconnect[0] == '\0')
		return 0;
	h = calloc(1, sizeof(*h));
	if (h == NULL)
		return FAN_ENOMEM;
	h->conf = c;
	for (unsigned i = 0; i < REQUEST_STATES; i++)
		TAILQ_INIT(&h->list[i]);
	err = set_urls(h);
	if (err == 0)
		err = transfers_new(&h->transfers, base,
		    &(struct transfer_options){
			.connections = (long)c->hooks.connections,
			.timeout = (long)c->hooks.timeout,
			.key = c->hooks.key,
			.ended = ended,
			.settled = settled,
			.arg = h,
		    });
	h->rest = event_new(base, -1, 0, on_rested, h);
	h->wake = event_new(base, -1, 0, on_wake, h);
	if (err == 0 && (h->rest == NULL || h->wake == NULL))
		err = FAN_ENOMEM;
	if (err != 0) {
		hooks_close(h);
		return err;
	}
	*out = h;
	return 0;
}

void
hooks_close(struct hooks *h)
{
	struct hook_request *r;

	if (h == NULL)
		return;
	for (unsigned i = 0; i < REQUEST_STATES; i++) {
		while ((r = TAILQ_FIRST(&h->list[i])) != NULL) {
			leave(r); /* NOLINT(clang-analyzer-unix.Malloc) */
			request_free(r);
		}
	}
	transfers_free(h->transfers);
	if (h->rest != NULL)
		event_free(h->rest);
	if (h->wake != NULL)
		event_free(h->wake);
	free(h);
}

bool
hooks_has(const struct hooks *h, enum hook_kind kind)
{
	return h != NULL && h->hook[kind].url != NULL;
}

bool
hooks_busy(const struct hooks *h)
{
	return h != NULL &&
	    h->count[REQUEST_WAITS] + h->count[REQUEST_RUNS] + h->count[REQUEST_RESTS] > 0;
}

int
hook_send(struct hooks *h, enum hook_kind kind, const char *json, size_t len, hook_fn fn, void *arg,
    struct hook_request **out)
{
	struct hook_request *r = calloc(1, sizeof(*r) + len);

	if (r == NULL)
		return FAN_ENOMEM;
	r->hooks = h;
	r->kind = (uint8_t)kind;
	r->fn = fn;
	r->arg = arg;
	r->at = clock_ms();
	r->len = len;
	memcpy(r->json, json, len);
	transfer_init(h->transfers, &r->transfer);
	enter(r, REQUEST_WAITS);
	start_waiting(h);
	if (r->state == REQUEST_WAITS &&
	    h->count[REQUEST_WAITS] + h->count[REQUEST_RESTS] > h->conf->hooks.queue) {
		leave(r);
		if (log_gate_open(&h->gate, 5))
			log_warnx("too many requests wait for a hook: the %s hook is not asked",
			    hook_name(kind));
		done(r, FAN_EFULL);
	}
	if (out != NULL)
		*out = r;
	return 0;
}

void
hook_cancel(struct hook_request *r)
{
	r->cancelled = true;
	r->fn = NULL;
	if (r->state == REQUEST_WAITS || r->state == REQUEST_RESTS) {
		leave(r);
		request_free(r);
	}
}
