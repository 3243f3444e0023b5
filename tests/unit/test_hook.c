/*
 * Unit tests of hook, against a backend that plays in the same loop.
 */
#include "worker/hook/hook.h"

#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "tests/unit/app_fixture.h"

static struct event_base *base;
static struct conf *conf;
static struct hooks *hooks;

/* What came back for one request. */
struct reply {
	int calls, status;
	size_t len;
	char body[64];
};

static void
on_reply(void *arg, int status, const char *body, size_t len)
{
	struct reply *r = arg;

	r->calls++;
	r->status = status;
	r->len = len;
	if (len > 0)
		memcpy(r->body, body, len < sizeof(r->body) - 1 ? len : sizeof(r->body) - 1);
}

#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		uint64_t until_end = clock_ms() + 20000;                                           \
		while (!(cond)) {                                                                  \
			const struct timeval until_tv = { 0, 5000 };                               \
			cr_assert_lt(clock_ms(), until_end, "never came: %s", #cond);              \
			(void)event_base_loopexit(base, &until_tv);                                \
			(void)event_base_dispatch(base);                                           \
		}                                                                                  \
	} while (0)

/* Lets what is under way come, for what must not happen. */
static void
settle(unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	UNTIL(clock_ms() >= end);
}

/* --- the hooks ---------------------------------------------------------------------------- */

static void
set(const char *assignment)
{
	cr_assert_eq(conf_set(conf, assignment, stderr), 0, "%s", assignment);
}

static void
setup(void)
{
	log_init("test", LOG_LEVEL_ERROR);
	/* A proxy of the environment must not matter. */
	cr_assert_eq(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
	cr_assert_eq(setenv("ALL_PROXY", "http://127.0.0.1:1", 1), 0);
	base = event_base_new();
	conf = conf_new();
	cr_assert(base != NULL && conf != NULL);
	app_open(base);
	set("hooks.retries=0");
}

static void
teardown(void)
{
	hooks_close(hooks);
	hooks = NULL;
	app_close();
	conf_free(conf);
	event_base_free(base);
}

TestSuite(hook, .timeout = 60, .init = setup, .fini = teardown);

static void
open_hooks(void)
{
	static const char *const names[] = { "connect", "subscribe", "publish", "disconnect" };

	for (size_t i = 0; i < 4; i++)
		set(app_hook(names[i]));
	cr_assert_eq(hooks_open(&hooks, base, conf), 0);
	cr_assert_not_null(hooks);
}

static void
send_to(enum hook_kind kind, struct reply *r)
{
	memset(r, 0, sizeof(*r));
	cr_assert_eq(hook_send(hooks, kind, "{\"a\":1}", 7, on_reply, r, NULL), 0);
	cr_assert_eq(r->calls, 0, "called from inside");
}

static int
ask(enum hook_kind kind, struct reply *r)
{
	send_to(kind, r);
	UNTIL(r->calls > 0);
	return r->status;
}

/* --- tests -------------------------------------------------------------------------------- */

Test(hook, asks_and_hears_the_answer)
{
	struct reply r;

	set("hooks.key=0123456789abcdef");
	app_serve();
	open_hooks();
	app.say = APP_OK("11\r\n\r\n{\"user\":\"\"}");
	cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
	cr_assert_eq(r.len, 11);
	cr_assert_str_eq(r.body, "{\"user\":\"\"}");
	cr_assert_eq(strncmp(app.last, "POST /connect HTTP/1.1\r\n", 24), 0, "%s", app.last);
	cr_assert_not_null(strstr(app.last, "\r\nContent-Type: application/json\r\n"));
	cr_assert_not_null(strstr(app.last, "\r\nAuthorization: Bearer 0123456789abcdef\r\n"));
	cr_assert_null(strstr(app.last, "Expect:"));
	cr_assert_not_null(strstr(app.last, "\r\n\r\n{\"a\":1}"));
	cr_assert_eq(r.calls, 1);
	cr_assert_not(hooks_busy(hooks));
}

Test(hook, keeps_its_connections)
{
	struct reply r;

	app_serve();
	open_hooks();
	for (int i = 0; i < 5; i++)
		cr_assert_eq(ask(HOOK_SUBSCRIBE, &r), 200);
	cr_assert_eq(app.requests, 5);
	cr_assert_eq(app.nconn, 1);
}

Test(hook, many_at_once)
{
	struct reply r[40];
	size_t answered = 0;

	set("hooks.connections=8");
	app_serve();
	open_hooks();
	for (size_t i = 0; i < 40; i++)
		send_to(HOOK_PUBLISH, &r[i]);
	cr_assert(hooks_busy(hooks));
	UNTIL(app.requests == 40);
	for (size_t i = 0; i < 40; i++) {
		UNTIL(r[i].calls == 1);
		answered += r[i].status == 200;
	}
	cr_assert_eq(answered, 40);
	cr_assert_leq(app.nconn, 8);
}

Test(hook, a_refusal_and_a_redirect_are_answers)
{
	struct reply r;

	app_serve();
	open_hooks();
	app.say = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}";
	cr_assert_eq(ask(HOOK_CONNECT, &r), 403);
	app.say = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
	cr_assert_eq(ask(HOOK_CONNECT, &r), 302);
	settle(50);
	cr_assert_eq(app.requests, 2);
}

Test(hook, tries_again_where_asking_twice_does_no_harm)
{
	struct reply r;

	set("hooks.retries=1");
	app_serve();
	open_hooks();
	app.say = APP_ERROR "\f" APP_YES;
	cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
	cr_assert_eq(app.requests, 2);
	app.say = APP_ERROR "\f" APP_ERROR "\f" APP_YES;
	cr_assert_eq(ask(HOOK_SUBSCRIBE, &r), FAN_EDOWN);
	cr_assert_eq(app.requests, 4);
	app.say = "HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n\f" APP_YES;
	cr_assert_eq(ask(HOOK_PUBLISH, &r), FAN_EDOWN);
	settle(300);
	cr_assert_eq(app.requests, 5);
}

Test(hook, a_publish_that_nobody_heard_is_tried_again)
{
	struct reply r;

	set("hooks.retries=5");
	open_hooks();
	send_to(HOOK_PUBLISH, &r);
	settle(50);
	app_serve();
	UNTIL(r.calls > 0);
	cr_assert_eq(r.status, 200);
	cr_assert_eq(app.requests, 1);
}

Test(hook, a_slow_backend_is_not_waited_for)
{
	struct reply r;

	set("hooks.timeout=100ms");
	app_serve();
	open_hooks();
	app.manner = APP_HOLDS;
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_ETIMEOUT);
	cr_assert_eq(r.len, 0);
}

Test(hook, a_cut_connection_is_a_failure)
{
	struct reply r;

	app_serve();
	open_hooks();
	app.manner = APP_CUTS;
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
	app.manner = APP_ANSWERS;
	app.say = "HTTP/1.1 200 OK\r\nContent-Le";
	send_to(HOOK_CONNECT, &r);
	UNTIL(app.requests == 2);
	settle(20);
	app_cut(app.conn[app.nconn - 1]);
	UNTIL(r.calls > 0);
	cr_assert_eq(r.status, FAN_EDOWN);
}

/* An answer with a body of n bytes, behind a head that is padded by so many. */
static void
say_long(size_t n, size_t padding)
{
	static char text[200000];
	int head = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n", n);

	for (; padding >= 100; padding -= 100)
		head += snprintf(text + head, sizeof(text) - (size_t)head, "X-%03zu: %0*d\r\n",
		    padding / 100 % 1000, 91, 0);
	head += snprintf(text + head, sizeof(text) - (size_t)head, "\r\n");
	memset(text + head, ' ', n);
	text[(size_t)head + n] = '\0';
	app.say = text;
}

Test(hook, a_huge_answer_is_a_failure)
{
	struct reply r;

	app_serve();
	open_hooks();
	say_long(HOOK_ANSWER_MAX, 0);
	cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
	cr_assert_eq(r.len, HOOK_ANSWER_MAX);
	say_long(HOOK_ANSWER_MAX + 1, 0);
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
	say_long(2, 90000);
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
}

Test(hook, a_hook_that_fails_is_left_alone_and_then_tried)
{
	struct reply r, other;

	set("hooks.breaker=3");
	set("hooks.pause=300ms");
	app_serve();
	open_hooks();
	app.say = APP_ERROR;
	for (int i = 0; i < 3; i++)
		cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
	cr_assert_eq(app.requests, 3, "an open circuit asks nobody");
	/* The others are another matter. */
	app.say = APP_YES;
	cr_assert_eq(ask(HOOK_SUBSCRIBE, &r), 200);
	settle(350);
	/* Half open: one request, and no second one beside it. */
	app.manner = APP_HOLDS;
	send_to(HOOK_CONNECT, &r);
	UNTIL(app.nheld == 1);
	cr_assert_eq(ask(HOOK_CONNECT, &other), FAN_EDOWN);
	app_release(APP_ERROR);
	UNTIL(r.calls > 0);
	cr_assert_eq(r.status, FAN_EDOWN);
	app.manner = APP_ANSWERS;
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN, "it has failed again");
	settle(350);
	cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
	cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
	cr_assert_eq(app.requests, 7);
}

Test(hook, a_cancelled_trial_makes_room_for_another)
{
	struct hook_request *q;
	struct reply r = { 0 };

	set("hooks.breaker=1");
	set("hooks.pause=50ms");
	set("hooks.timeout=200ms");
	app_serve();
	open_hooks();
	app.say = APP_ERROR;
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
	settle(80);
	app.manner = APP_HOLDS;
	cr_assert_eq(hook_send(hooks, HOOK_CONNECT, "{}", 2, on_reply, &r, &q), 0);
	r.calls = 0;
	hook_cancel(q);
	UNTIL(!hooks_busy(hooks));
	settle(80);
	app.manner = APP_ANSWERS;
	app.say = APP_YES;
	cr_assert_eq(r.calls, 0);
	cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
}

Test(hook, what_does_not_fit_fails_from_the_loop)
{
	struct reply r[4];

	set("hooks.connections=1");
	set("hooks.queue=1");
	app_serve();
	open_hooks();
	app.manner = APP_HOLDS;
	for (size_t i = 0; i < 4; i++)
		send_to(HOOK_PUBLISH, &r[i]);
	UNTIL(r[2].calls == 1 && r[3].calls == 1);
	cr_assert_eq(r[2].status, FAN_EFULL);
	cr_assert_eq(r[3].status, FAN_EFULL);
	UNTIL(app.nheld == 1);
	cr_assert_eq(r[0].calls + r[1].calls, 0);
	app_release(APP_YES);
	UNTIL(r[0].calls == 1 && app.nheld == 1);
	app_release(APP_YES);
	UNTIL(r[1].calls == 1);
	cr_assert_eq(r[0].status + r[1].status, 400);
}

Test(hook, who_waited_too_long_is_not_asked_for)
{
	struct reply r[3];

	set("hooks.connections=1");
	set("hooks.timeout=150ms");
	app_serve();
	open_hooks();
	app.manner = APP_HOLDS;
	for (size_t i = 0; i < 3; i++)
		send_to(HOOK_CONNECT, &r[i]);
	UNTIL(r[0].calls + r[1].calls + r[2].calls == 3);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(r[i].status, FAN_ETIMEOUT);
	/* The second may have been in time. */
	cr_assert_leq(app.requests, 2);
}

Test(hook, only_failures_in_a_row_count)
{
	struct reply r;

	set("hooks.breaker=3");
	set("hooks.pause=1h");
	app_serve();
	open_hooks();
	for (int i = 0; i < 3; i++) {
		app.say = APP_ERROR "\f" APP_ERROR "\f" APP_YES;
		cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
		cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
		cr_assert_eq(ask(HOOK_CONNECT, &r), 200);
	}
}

Test(hook, a_cancelled_request_calls_nobody)
{
	struct hook_request *running, *waiting;
	struct reply r = { 0 }, last;

	set("hooks.connections=1");
	app_serve();
	open_hooks();
	app.manner = APP_HOLDS;
	cr_assert_eq(hook_send(hooks, HOOK_CONNECT, "{}", 2, on_reply, &r, &running), 0);
	cr_assert_eq(hook_send(hooks, HOOK_CONNECT, "{}", 2, on_reply, &r, &waiting), 0);
	UNTIL(app.nheld == 1);
	hook_cancel(running);
	hook_cancel(waiting);
	app_release(APP_YES);
	app.manner = APP_ANSWERS;
	cr_assert_eq(ask(HOOK_CONNECT, &last), 200);
	cr_assert_eq(r.calls, 0);
	cr_assert_eq(app.requests, 2);
}

/* Cancels another request from inside of the answer to one. */
static void
cancel_other(void *arg, int status, const char *body, size_t len)
{
	(void)status;
	(void)body;
	(void)len;
	hook_cancel(*(struct hook_request **)arg);
}

Test(hook, an_answer_may_cancel_another_that_is_done)
{
	struct hook_request *other;
	struct reply r = { 0 };

	set("hooks.breaker=1");
	set("hooks.pause=1h");
	app_serve();
	open_hooks();
	app.say = APP_ERROR;
	cr_assert_eq(ask(HOOK_CONNECT, &r), FAN_EDOWN);
	r.calls = 0;
	/* Both are done at once, because the circuit is open. */
	cr_assert_eq(hook_send(hooks, HOOK_CONNECT, "{}", 2, cancel_other, &other, NULL), 0);
	cr_assert_eq(hook_send(hooks, HOOK_CONNECT, "{}", 2, on_reply, &r, &other), 0);
	settle(30);
	cr_assert_eq(r.calls, 0);
}

Test(hook, nobody_need_ask_for_an_answer)
{
	app_serve();
	open_hooks();
	cr_assert_eq(hook_send(hooks, HOOK_DISCONNECT, "{}", 2, NULL, NULL, NULL), 0);
	UNTIL(app.requests == 1 && !hooks_busy(hooks));
}

Test(hook, closes_with_requests_in_every_state)
{
	struct reply r[4];

	set("hooks.connections=2");
	set("hooks.retries=3");
	app_serve();
	open_hooks();
	app.say = APP_ERROR;
	send_to(HOOK_CONNECT, &r[0]);
	UNTIL(app.requests == 1);
	settle(20);
	app.manner = APP_HOLDS;
	for (size_t i = 1; i < 4; i++)
		send_to(HOOK_CONNECT, &r[i]);
	UNTIL(app.nheld == 2);
	hooks_close(hooks);
	hooks = NULL;
	settle(20);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(r[i].calls, 0);
}

Test(hook, is_not_there_where_none_is_configured)
{
	cr_assert_eq(hooks_open(&hooks, base, conf), 0);
	cr_assert_null(hooks);
	cr_assert_not(hooks_has(hooks, HOOK_CONNECT));
	cr_assert_not(hooks_busy(hooks));
	set("hooks.publish=http://127.0.0.1:1/");
	cr_assert_eq(hooks_open(&hooks, base, conf), 0);
	cr_assert(hooks_has(hooks, HOOK_PUBLISH));
	cr_assert_not(hooks_has(hooks, HOOK_CONNECT));
}

Test(hook, asks_by_http_alone)
{
	static const char *const bad[] = { "ftp://127.0.0.1/", "file:///etc/passwd",
		"gopher://127.0.0.1/", "http://", "not a url" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		free(conf->hooks.connect);
		conf->hooks.connect = strdup(bad[i]);
		cr_assert_eq(hooks_open(&hooks, base, conf), FAN_EINVAL, "%s", bad[i]);
		cr_assert_null(hooks);
	}
}
