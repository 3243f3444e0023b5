/*
 * Unit tests of access: the rules' words, the application's answers, and the end of tokens.
 */
#include "worker/core/access.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/conf.h"
#include "tests/unit/app_fixture.h"
#include "tests/unit/session_fixture.h"
#include "worker/auth/token.h"
#include "worker/core/identity.h"
#include "worker/core/lifecycle.h"
#include "worker/hook/hook.h"

#define RULES                                                                                      \
	"channels=["                                                                               \
	"{match: \"any*\", publish: anyone, read_history: anyone, read_presence: anyone}, "        \
	"{match: \"auth*\", subscribe: authenticated, publish: authenticated, "                    \
	"read_history: authenticated, read_presence: authenticated}, "                             \
	"{match: \"tok*\", subscribe: token, publish: token, read_history: token, "                \
	"read_presence: token}, "                                                                  \
	"{match: \"app*\", subscribe: app, publish: app, read_history: app, read_presence: app}, " \
	"{match: \"room*\", subscribe: token, presence: true}, "                                   \
	"{match: \"*\", subscribe: nobody}]\n"                                                     \
	"auth.secret=" APP_SECRET "\nauth.leeway=0\n"

#define NOW ((long long)time(NULL))

static struct peer p;

static void
setup_with(const char *more)
{
	static char settings[4096];

	(void)snprintf(settings, sizeof(settings), "%s%s", RULES, more);
	world_open(&w, settings);
	cr_assert_eq(tokens_load(w.conf, &w.core.tokens), 0);
	app_open(w.base);
}

static void
setup(void)
{
	setup_with("");
}

static void
teardown(void)
{
	struct tokens *t = w.core.tokens;
	struct hooks *h = w.core.hooks;

	hooks_close(h);
	app_close();
	session_teardown();
	tokens_free(t);
}

TestSuite(access, .timeout = 60, .init = setup, .fini = teardown);

/* --- a dialect that says what it is told --------------------------------------------------- */

static void
d_unsubscribed(struct session *s, const struct sub *sub, const char *reason)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "gone %s: %s", sub->channel->name, reason);
	s->transport->send(s->t, MSG_TEXT, text, strlen(text));
}

static void
d_expiring(struct session *s, uint64_t ms)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "expiring %s", ms <= 1000 ? "soon" : "late");
	s->transport->send(s->t, MSG_TEXT, text, strlen(text));
}

static struct dialect telling;

static void
begin(void)
{
	telling = dialect_a;
	telling.on_unsubscribed = d_unsubscribed;
	telling.on_expiring = d_expiring;
	peer_start(&p, &telling);
}

static int
check(enum access_what what, const char *channel)
{
	return access_check(p.s, what, channel, strlen(channel));
}

static int
show(const char *token)
{
	const char *channel = NULL, *why = NULL;
	int err = access_token(p.s, token, strlen(token), &channel, &why);

	if (err == FAN_EDENIED || err == FAN_EEXPIRED)
		cr_assert_not_null(why);
	return err;
}

/* What the session may do in a channel: a letter for each thing; ? where the application is asked. */
static void
expect_rights(const char *channel, const char *rights)
{
	static const enum access_what all[] = { ACCESS_SUBSCRIBE, ACCESS_PUBLISH, ACCESS_HISTORY,
		ACCESS_PRESENCE };
	char got[5] = "----";

	for (size_t i = 0; i < 4; i++) {
		int err = check(all[i], channel);

		cr_assert(err == 0 || err == FAN_EDENIED || err == FAN_EASK);
		if (err != FAN_EDENIED)
			got[i] = err == 0 ? "sphr"[i] : '?';
	}
	cr_assert_str_eq(got, rights, "%s: %s", channel, got);
}

/* --- the words ---------------------------------------------------------------------------- */

Test(access, of_a_stranger)
{
	begin();
	expect_rights("any1", "sphr");
	expect_rights("auth1", "----");
	expect_rights("tok1", "----");
	expect_rights("app1", "----");
	expect_rights("other", "----");
	session_free(p.s);
}

Test(access, of_one_with_a_token)
{
	begin();
	cr_assert_eq(show(app_token("{\"sub\":\"alice\",\"exp\":%lld,\"channels\":[\"tok1\",\"x*\","
				    "\"room*\"],\"publish\":[\"tok2\"]}",
			 NOW + 60)),
	    0);
	expect_rights("any1", "sphr");
	expect_rights("auth1", "sphr");
	expect_rights("tok1", "s-hr");
	expect_rights("tok2", "-p--");
	expect_rights("tok3", "----");
	expect_rights("x1", "----"); /* what no rule says a token cannot */
	session_free(p.s);
}

Test(access, of_one_with_a_subscription_token)
{
	const char *token, *channel, *why;

	begin();
	token = app_token("{\"channel\":\"tok1\",\"exp\":%lld}", NOW + 60);
	cr_assert_eq(access_token(p.s, token, strlen(token), &channel, &why), 0);
	cr_assert_str_eq(channel, "tok1");
	expect_rights("tok1", "s-hr");
	expect_rights("tok2", "----");
	expect_rights("auth1", "----"); /* it says nothing of who it is */
	session_free(p.s);
}

Test(access, of_one_whom_the_application_named)
{
	char *channels[] = { (char[]){ "tok*" }, NULL };
	struct claims c = { .user = (char[]){ "bob" }, .channels = channels };
	struct claims nobody = { .user = (char[]){ "" } };

	begin();
	cr_assert_eq(access_name(p.s, &nobody), 0);
	expect_rights("auth1", "----");
	cr_assert_eq(access_name(p.s, &c), 0);
	expect_rights("auth1", "sphr");
	expect_rights("tok9", "s-hr");
	session_free(p.s);
}

Test(access, names_that_are_none)
{
	static const char *const bad[] = { "", "a b", "a*", "!user:YQ", "a\n", "a?", "[a]",
		"\xc3\xa4" };
	const struct conf_rule *r;

	begin();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(check(ACCESS_SUBSCRIBE, bad[i]), FAN_EINVAL, "%s", bad[i]);
		cr_assert_eq(access_rule(&w.core, bad[i], strlen(bad[i]), &r), FAN_EINVAL);
	}
	session_free(p.s);
}

Test(access, the_application_is_asked_where_it_has_a_hook)
{
	begin();
	cr_assert_eq(conf_set(w.conf, app_hook("publish"), stderr), 0);
	cr_assert_eq(hooks_open(&w.core.hooks, w.base, w.conf), 0);
	expect_rights("app1", "-?--");
	expect_rights("any1", "sphr");
	session_free(p.s);
}

Test(access, nothing_without_a_token_where_one_is_required)
{
	begin();
	w.conf->auth.required = true;
	cr_assert_not(access_admitted(p.s));
	expect_rights("any1", "----");
	cr_assert_eq(show(app_token("{\"channel\":\"any1\",\"exp\":%lld}", NOW + 60)), 0);
	cr_assert_not(access_admitted(p.s));
	expect_rights("any1", "----");
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW + 60)), 0);
	cr_assert(access_admitted(p.s));
	expect_rights("any1", "sphr");
	session_free(p.s);
}

/* --- what the application says ------------------------------------------------------------ */

static struct access_verdict verdict;
static char verdict_data[128];
static int verdicts;

static void
on_verdict(void *arg, const struct access_verdict *v)
{
	cr_assert_eq(arg, &p);
	verdicts++;
	verdict = *v;
	cr_assert_lt(v->len, sizeof(verdict_data));
	if (v->len > 0)
		memcpy(verdict_data, v->data, v->len);
	verdict_data[v->len] = '\0';
}

static void
begin_asking(void)
{
	static const char *const names[] = { "connect", "subscribe", "publish" };

	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(conf_set(w.conf, app_hook(names[i]), stderr), 0);
	cr_assert_eq(conf_set(w.conf, "hooks.retries=0", stderr), 0);
	cr_assert_eq(conf_set(w.conf, "hooks.breaker=1000", stderr), 0);
	cr_assert_eq(hooks_open(&w.core.hooks, w.base, w.conf), 0);
	app_serve();
	begin();
}

static void
ask(enum access_what what, enum msg_kind kind, const char *data)
{
	struct access *a;
	int before = verdicts;

	cr_assert_eq(access_ask(p.s, what, "app1", 4, kind, (const uint8_t *)data, strlen(data),
			 on_verdict, &p, &a),
	    0);
	cr_assert_eq(verdicts, before, "called from inside");
	WORLD_UNTIL(&w, verdicts > before);
}

Test(access, the_application_is_told_who_asks_for_what)
{
	char json[256];

	begin_asking();
	ask(ACCESS_SUBSCRIBE, MSG_TEXT, "");
	(void)snprintf(json, sizeof(json),
	    "{\"event\":\"subscribe\",\"client\":\"%s\",\"channel\":\"app1\"}",
	    session_client(p.s));
	app_expect_body(json);
	cr_assert_eq(show(app_token("{\"sub\":\"al\\\"ice\",\"exp\":%lld}", NOW + 60)), 0);
	ask(ACCESS_PUBLISH, MSG_TEXT, "{\"a\": [1]}");
	(void)snprintf(json, sizeof(json),
	    "{\"event\":\"publish\",\"client\":\"%s\",\"user\":\"al\\\"ice\",\"channel\":\"app1\","
	    "\"data\":{\"a\":[1]}}",
	    session_client(p.s));
	app_expect_body(json);
	ask(ACCESS_PUBLISH, MSG_TEXT, "no \"JSON\"");
	cr_assert_not_null(strstr(app.last, ",\"data\":\"no \\\"JSON\\\"\"}"), "%s", app.last);
	ask(ACCESS_PUBLISH, MSG_BINARY, "\xff\x01");
	cr_assert_not_null(strstr(app.last, ",\"base64\":\"/wE=\"}"), "%s", app.last);
	cr_assert_eq(verdict.status, 0);
	session_free(p.s);
}

Test(access, the_answers_of_the_application)
{
	static const struct {
		const char *say;
		int status;
	} answer[] = {
		{ APP_YES, 0 },
		{ APP_OK("19\r\n\r\n{\"more\":1,\"deny\":0}"), FAN_EDENIED },
		{ APP_OK("14\r\n\r\n{\"deny\":false}"), 0 },
		{ APP_OK("13\r\n\r\n{\"deny\":null}"), 0 },
		{ APP_OK("13\r\n\r\n{\"deny\":true}"), FAN_EDENIED },
		{ APP_OK("11\r\n\r\n{\"deny\":{}}"), FAN_EDENIED },
		{ APP_OK("0\r\n\r\n"), FAN_EDOWN },
		{ APP_OK("2\r\n\r\n[]"), FAN_EDOWN },
		{ APP_OK("4\r\n\r\ntrue"), FAN_EDOWN },
		{ APP_OK("6\r\n\r\n<html>"), FAN_EDOWN },
		{ APP_OK("22\r\n\r\n{\"deny\":0,\"deny\":true}"), FAN_EDOWN },
		{ "HTTP/1.1 204 No Content\r\n\r\n", 0 },
		{ "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", FAN_EDENIED },
		{ "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}", FAN_EDENIED },
		{ "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", FAN_EDENIED },
		{ "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 2\r\n\r\n{}", FAN_EDOWN },
		{ "HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}", FAN_EDOWN },
		{ APP_ERROR, FAN_EDOWN },
	};

	begin_asking();
	for (size_t i = 0; i < sizeof(answer) / sizeof(answer[0]); i++) {
		app.say = answer[i].say;
		ask(ACCESS_SUBSCRIBE, MSG_TEXT, "");
		cr_assert_eq(
		    verdict.status, answer[i].status, "%d: %s", verdict.status, answer[i].say);
	}
	/* Where it is so set, an application that is away allows, and one that denies denies. */
	w.conf->hooks.failure = CONF_HOOK_ALLOW;
	for (size_t i = 0; i < sizeof(answer) / sizeof(answer[0]); i++) {
		app.say = answer[i].say;
		ask(ACCESS_SUBSCRIBE, MSG_TEXT, "");
		cr_assert_eq(verdict.status, answer[i].status == FAN_EDENIED ? FAN_EDENIED : 0,
		    "%d: %s", verdict.status, answer[i].say);
	}
	session_free(p.s);
}

static void
expect_published(const char *body, int status, enum msg_kind kind, const char *data)
{
	app_say(body);
	ask(ACCESS_PUBLISH, MSG_TEXT, "was");
	cr_assert_eq(verdict.status, status, "%s", body);
	cr_assert_eq(verdict.data == NULL, data == NULL, "%s", body);
	if (data != NULL) {
		cr_assert_str_eq(verdict_data, data);
		cr_assert_eq(verdict.len, strlen(data));
		cr_assert_eq(verdict.kind, kind);
	}
}

Test(access, the_application_may_change_what_is_published)
{
	begin_asking();
	expect_published("{}", 0, MSG_TEXT, NULL);
	expect_published("{\"data\": {\"b\" : 2} }", 0, MSG_TEXT, "{\"b\" : 2}");
	expect_published("{\"data\":null}", 0, MSG_TEXT, "null");
	expect_published("{\"base64\":\"aGk=\"}", 0, MSG_BINARY, "hi");
	expect_published("{\"base64\":\"aA==\"}", 0, MSG_BINARY, "h");
	expect_published("{\"base64\":\"aGkh\"}", 0, MSG_BINARY, "hi!");
	expect_published("{\"base64\":\"\"}", 0, MSG_BINARY, "");
	expect_published("{\"base64\":\"a\"}", FAN_EDOWN, MSG_BINARY, NULL);
	expect_published("{\"base64\":\"a!!!\"}", FAN_EDOWN, MSG_BINARY, NULL);
	expect_published("{\"base64\":7}", FAN_EDOWN, MSG_BINARY, NULL);
	expect_published("{\"data\":1,\"base64\":\"aGk=\"}", FAN_EDOWN, MSG_BINARY, NULL);
	expect_published("{\"d\\u0061ta\":1}", FAN_EDOWN, MSG_TEXT, NULL);
	expect_published("{\"b\\u0061se64\":\"aGk=\"}", 0, MSG_BINARY, "hi");
	expect_published("{\"deny\":{},\"data\":1}", FAN_EDENIED, MSG_TEXT, NULL);
	session_free(p.s);
}

Test(access, an_answer_that_nobody_waits_for)
{
	struct access *a;

	begin_asking();
	app.manner = APP_HOLDS;
	verdicts = 0;
	cr_assert_eq(
	    access_ask(p.s, ACCESS_SUBSCRIBE, "app1", 4, MSG_TEXT, NULL, 0, on_verdict, &p, &a), 0);
	WORLD_UNTIL(&w, app.nheld == 1);
	access_cancel(a);
	access_cancel(NULL);
	session_free(p.s);
	app_release(APP_YES);
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
	cr_assert_eq(verdicts, 0);
}

static int
ask_connect(const char *body)
{
	struct access *a;
	int before = verdicts;

	app_say(body);
	cr_assert_eq(access_ask_connect(p.s, "{}", 2, on_verdict, &p, &a), 0);
	WORLD_UNTIL(&w, verdicts > before);
	return verdict.status;
}

Test(access, the_application_says_who_it_is)
{
	const struct identity *i;
	char body[256];

	begin_asking();
	cr_assert_eq(ask_connect("{}"), 0);
	expect_rights("auth1", "----");
	(void)snprintf(body, sizeof(body),
	    "{\"user\":\"bob\",\"info\":{\"a\" : 1},\"channels\":[\"tok*\"],\"publish\":[\"tok2\"],"
	    "\"expires\":%lld}",
	    NOW + 60);
	cr_assert_eq(ask_connect(body), 0);
	i = p.s->extra->identity;
	cr_assert_str_eq(i->user, "bob");
	cr_assert_str_eq(i->info, "{\"a\" : 1}");
	expect_rights("auth1", "sphr");
	expect_rights("tok1", "s-hr");
	expect_rights("tok2", "sphr");
	cr_assert(deadline_is_set(&i->deadline));
	session_free(p.s);
}

/* It once gave a client back what the application had taken, and more time. */
Test(access, the_same_token_again_undoes_nothing_that_the_application_said)
{
	char token[1024], body[128];

	begin_asking();
	(void)snprintf(token, sizeof(token), "%s",
	    app_token("{\"sub\":\"ada\",\"exp\":%lld,\"channels\":[\"tok*\"],"
		      "\"publish\":[\"tok*\"]}",
		NOW + 600));
	cr_assert_eq(show(token), 0);
	expect_rights("tok1", "sphr");
	(void)snprintf(body, sizeof(body),
	    "{\"user\":\"ada\",\"channels\":[],\"publish\":[],\"expires\":%lld}", NOW + 2);
	cr_assert_eq(ask_connect(body), 0);
	expect_rights("tok1", "----");
	cr_assert_eq(show(token), 0);
	expect_rights("tok1", "----");
	WORLD_UNTIL(&w, strstr(p.log, "closed,") != NULL);
	session_free(p.s);
}

Test(access, what_the_application_cannot_mean)
{
	static const char *const bad[] = { "{\"user\":7}", "{\"channels\":\"a\"}",
		"{\"channels\":[1]}", "{\"publish\":{}}", "{\"expires\":\"soon\"}",
		"{\"expires\":0}", "{\"expires\":-5}", "{\"expires\":1.5}",
		"{\"user\":\"x\",\"inf\\u006f\":1}" };

	begin_asking();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(ask_connect(bad[i]), FAN_EDOWN, "%s", bad[i]);
	session_free(p.s);
}

/* --- tokens and their end ----------------------------------------------------------------- */

Test(access, tokens_that_are_not_taken)
{
	struct tokens *t = w.core.tokens;
	char longer[5000];

	begin();
	cr_assert_eq(show(""), FAN_EDENIED);
	cr_assert_eq(show("a.b.c"), FAN_EDENIED);
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW - 5)), FAN_EEXPIRED);
	cr_assert_eq(show(app_token("{\"sub\":\"alice\"}")), FAN_EDENIED);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	cr_assert_eq(show(longer), FAN_EDENIED);
	cr_assert(p.s->extra == NULL || p.s->extra->identity == NULL);
	cr_assert_eq(show(app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 60)), 0);
	cr_assert_eq(show(app_token("{\"sub\":\"bob\",\"exp\":%lld}", NOW + 60)), FAN_EDENIED);
	cr_assert_eq(
	    show(app_token("{\"sub\":\"bob\",\"channel\":\"tok1\",\"exp\":%lld}", NOW + 60)),
	    FAN_EDENIED);
	expect_rights("tok1", "----");
	w.core.tokens = NULL;
	cr_assert_eq(show(app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 60)), FAN_EDENIED);
	w.core.tokens = t;
	session_free(p.s);
}

Test(access, the_end_of_a_token_ends_the_connection)
{
	uint64_t from = clock_ms();

	begin();
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW + 4)), 0);
	WORLD_UNTIL(&w, strstr(p.log, "closed,") != NULL);
	cr_assert_str_eq(p.log, "expiring soon,closed,");
	cr_assert_geq(clock_ms() - from, 2900);
	world_settle(&w);
	cr_assert_str_eq(p.log, "expiring soon,closed,", "both are said once");
	session_free(p.s);
}

Test(access, leeway_is_for_clocks_that_differ)
{
	begin();
	w.conf->auth.leeway = 60000;
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW + 1)), 0);
	WORLD_UNTIL(&w, strcmp(p.log, "expiring soon,") == 0);
	for (uint64_t end = clock_ms() + 1500; clock_ms() < end;) {
		(void)poll(NULL, 0, 10);
		world_pass(&w);
	}
	cr_assert_str_eq(p.log, "expiring soon,");
	session_free(p.s);
}

/* How many ms the connection, or else its only grant, has left. */
static uint64_t
left(void)
{
	const struct identity *i = p.s->extra->identity;
	uint64_t ends = i->ends != 0 ? i->ends : SLIST_FIRST(&i->grants)->ends;
	uint64_t now = clock_ms();

	return ends > now ? ends - now : 0;
}

/* Tokens are taken for a minute after their end. */
static void
begin_with_leeway(void)
{
	tokens_free(w.core.tokens);
	cr_assert_eq(conf_set(w.conf, "auth.leeway=60s", stderr), 0);
	cr_assert_eq(tokens_load(w.conf, &w.core.tokens), 0);
	begin();
}

/* What was taken in its leeway once had all of it again from then on. */
Test(access, leeway_is_counted_once)
{
	begin_with_leeway();
	cr_assert_eq(show(app_token("{\"channel\":\"tok1\",\"exp\":%lld}", NOW - 30)), 0);
	cr_assert_leq(left(), 30000);
	cr_assert_gt(left(), 15000);
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW - 30)), 0);
	cr_assert_leq(left(), 30000);
	cr_assert_gt(left(), 15000);
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW + 30)), 0);
	cr_assert_leq(left(), 90000);
	cr_assert_gt(left(), 75000);
	session_free(p.s);
}

Test(access, what_has_ended_by_the_time_it_is_named_ends_now)
{
	struct claims c = { .user = (char[]){ "bob" }, .expires = NOW - 100 };

	begin_with_leeway();
	cr_assert_eq(access_name(p.s, &c), 0);
	cr_assert_eq(left(), 0);
	WORLD_UNTIL(&w, p.log[0] != '\0');
	cr_assert_str_eq(p.log, "closed,");
	session_free(p.s);
}

Test(access, a_warning_in_the_leeway_says_that_nothing_is_left)
{
	begin_with_leeway();
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW - 30)), 0);
	w.conf->auth.leeway = (int64_t)clock_ms() + 3600000; /* longer than the clock has run */
	WORLD_UNTIL(&w, p.log[0] != '\0');
	cr_assert_str_eq(p.log, "expiring soon,");
	session_free(p.s);
}

Test(access, a_newer_token_in_time_keeps_it)
{
	begin();
	cr_assert_eq(show(app_token("{\"sub\":\"a\",\"exp\":%lld}", NOW + 2)), 0);
	cr_assert_eq(show(app_token("{\"sub\":\"a\",\"exp\":%lld}", NOW + 600)), 0);
	for (uint64_t end = clock_ms() + 2500; clock_ms() < end;) {
		(void)poll(NULL, 0, 10);
		world_pass(&w);
	}
	cr_assert_null(strstr(p.log, "closed"), "%s", p.log);
	cr_assert_null(strstr(p.log, "expiring"), "%s", p.log);
	session_free(p.s);
}

/* Subscribes to a channel, which becomes live. */
static void
join_live(const char *channel)
{
	peer_join_live(&p, channel);
}

Test(access, the_end_of_a_grant_ends_its_subscription)
{
	hub_welcome(&w, true);
	begin();
	cr_assert_eq(show(app_token("{\"channel\":\"tok1\",\"exp\":%lld}", NOW + 2)), 0);
	cr_assert_eq(show(app_token("{\"channel\":\"tok2\",\"exp\":%lld}", NOW + 600)), 0);
	join_live("tok1");
	join_live("tok2");
	WORLD_UNTIL(&w, p.log[0] != '\0');
	cr_assert_str_eq(p.log, "gone tok1: token expired,");
	cr_assert_null(session_find(p.s, "tok1", 4));
	cr_assert_not_null(session_find(p.s, "tok2", 4));
	expect_rights("tok1", "----");
	expect_rights("tok2", "s-hr");
	session_free(p.s);
}

Test(access, a_newer_token_with_fewer_channels_ends_the_others)
{
	hub_welcome(&w, true);
	begin();
	cr_assert_eq(
	    show(app_token("{\"exp\":%lld,\"channels\":[\"tok1\",\"tok2\"]}", NOW + 60)), 0);
	join_live("tok1");
	join_live("tok2");
	join_live("any1");
	cr_assert_eq(show(app_token("{\"exp\":%lld,\"channels\":[\"tok2\"]}", NOW + 60)), 0);
	EXPECT_LOG(&p, "gone tok1: the newer token does not allow it,");
	cr_assert_not_null(session_find(p.s, "tok2", 4));
	cr_assert_not_null(session_find(p.s, "any1", 4));
	session_free(p.s);
}

/* --- tokens of different users ------------------------------------------------------------ */

static int
show_adas_grant(void)
{
	return show(app_token("{\"sub\":\"ada\",\"channel\":\"tok1\",\"exp\":%lld}", NOW + 60));
}

static int
show_bob(void)
{
	return show(app_token("{\"sub\":\"bob\",\"exp\":%lld}", NOW + 60));
}

Test(access, a_grant_of_another_user_ends_when_the_user_is_known)
{
	hub_welcome(&w, true);
	begin();
	cr_assert_eq(show_adas_grant(), 0);
	join_live("tok1");
	cr_assert_eq(show_bob(), 0);
	EXPECT_LOG(&p, "gone tok1: the newer token does not allow it,");
	expect_rights("tok1", "----");
	cr_assert_eq(show_adas_grant(), FAN_EDENIED);
	session_free(p.s);
}

Test(access, two_users_in_one_handshake_are_refused_in_either_order)
{
	peer_open(&p, &dialect_a);
	cr_assert_eq(show_adas_grant(), 0);
	cr_assert_eq(show_bob(), FAN_EDENIED);
	session_free(p.s);
	peer_open(&p, &dialect_a);
	cr_assert_eq(show_bob(), 0);
	cr_assert_eq(show_adas_grant(), FAN_EDENIED);
	expect_rights("tok1", "----");
	session_free(p.s);
}

Test(access, a_grant_of_another_user_ends_when_the_application_names_one)
{
	struct claims c = { .user = (char[]){ "bob" } };

	peer_open(&p, &dialect_a);
	cr_assert_eq(show_adas_grant(), 0);
	expect_rights("tok1", "s-hr");
	cr_assert_eq(access_name(p.s, &c), 0);
	expect_rights("tok1", "----");
	session_free(p.s);
}

/* --- tokens that are required ------------------------------------------------------------- */

Test(access, who_shows_no_token_in_time_is_closed)
{
	begin();
	w.conf->auth.required = true;
	w.conf->limits.authenticate = 50;
	cr_assert_eq(access_await_token(p.s), 0);
	WORLD_UNTIL(&w, p.log[0] != '\0');
	cr_assert_str_eq(p.log, "closed,");
	session_free(p.s);
}

Test(access, who_shows_one_in_time_is_not)
{
	begin();
	w.conf->auth.required = true;
	w.conf->limits.authenticate = 300;
	cr_assert_eq(access_await_token(p.s), 0);
	cr_assert_eq(show(app_token("{\"exp\":%lld}", NOW + 60)), 0);
	for (uint64_t end = clock_ms() + 600; clock_ms() < end;) {
		(void)poll(NULL, 0, 10);
		world_pass(&w);
	}
	cr_assert_str_eq(p.log, "");
	session_free(p.s);
}

/* --- presence follows --------------------------------------------------------------------- */

static void
expect_join(const char *user)
{
	struct ipc_msg m = hub_expect_on(&w, IPC_JOIN, "room1");

	cr_assert_eq(*user == '\0', memmem(m.data, m.len, "alice", 5) == NULL);
}

Test(access, presence_hears_who_it_is)
{
	hub_welcome(&w, true);
	begin();
	cr_assert_eq(show(app_token("{\"channel\":\"room1\",\"exp\":%lld}", NOW + 60)), 0);
	join_live("room1");
	expect_join("");
	cr_assert_eq(show(app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 60)), 0);
	hub_expect_on(&w, IPC_LEAVE, "room1");
	expect_join("alice");
	hub_expect(&w, IPC_SUBSCRIBE); /* of the user's own channel */
	/* The same user with a newer token joins again, with what is new. */
	cr_assert_eq(show(app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 70)), 0);
	expect_join("alice");
	session_free(p.s);
	hub_expect_on(&w, IPC_LEAVE, "room1");
}
