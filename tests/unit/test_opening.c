/*
 * Unit tests of opening: who a client is, by its tokens and by what the application says, and whether it is
 * let in.  By handshakes of WebSocket; see test_upgrade.c for these themselves.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/conf.h"
#include "tests/unit/app_fixture.h"
#include "tests/unit/worker_fixture.h"
#include "worker/auth/token.h"
#include "worker/hook/hook.h"
#include "worker/ws/frame.h"

#define TEXT (FRAME_FIN | WS_OP_TEXT)
#define FIELDS                                                                                     \
	"Host: h:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                               \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define NOW ((long long)time(NULL))

static struct world w;
static struct client c;

static void
teardown(void)
{
	struct hooks *h = w.core.hooks;
	struct tokens *t = w.core.tokens;

	client_close(&c);
	/* Who waits for the application must have gone before the hooks do. */
	if (h != NULL)
		WORLD_UNTIL(&w, w.net.count == 0);
	hooks_close(h);
	w.core.hooks = NULL;
	app_close();
	world_close(&w);
	tokens_free(t);
}

TestSuite(opening, .timeout = 60, .fini = teardown);

static void
open_to(const char *target, const char *protocol)
{
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, target, protocol);
}

/* A world with tokens, and an application with these hooks, parted by spaces. */
static void
app_world(const char *hooks, const char *settings)
{
	char all[2048], name[32];

	(void)snprintf(all, sizeof(all),
	    "auth.secret=" APP_SECRET "\nhooks.retries=0\n%s%s"
	    "channels=[{match: \"tok*\", subscribe: token}, {match: \"app*\", subscribe: app}, "
	    "{match: \"deny*\", subscribe: nobody}]",
	    settings, *settings == '\0' ? "" : "\n");
	world_open(&w, all);
	app_open(w.base);
	app_serve();
	for (; *hooks != '\0'; hooks += strcspn(hooks, " "), hooks += strspn(hooks, " ")) {
		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(hooks, " "), hooks);
		cr_assert_eq(conf_set(w.conf, app_hook(name), stderr), 0);
	}
	cr_assert_eq(tokens_load(w.conf, &w.core.tokens), 0);
	cr_assert_eq(hooks_open(&w.core.hooks, w.base, w.conf), 0);
	hub_welcome(&w, true);
}

/* A handshake that shows a token in its query. */
static void
open_with(const char *target, const char *token, const char *protocol)
{
	char text[4096];

	(void)snprintf(text, sizeof(text), "%s%ctoken=%s", target,
	    strchr(target, '?') == NULL ? '?' : '&', token);
	open_to(text, protocol);
}

static void
expect_live(const char *channel)
{
	hub_expect_on(&w, IPC_SUBSCRIBE, channel);
	hub_subscribed(&w, channel, 0);
}

/* The answer to the handshake is this, and the connection ends. */
static void
expect_answer(int status, const char *part)
{
	cr_assert_eq(client_response(&c, part), status);
	client_expect_eof(&c);
	client_close(&c);
}

Test(opening, a_token_opens_what_it_names)
{
	app_world("", "");
	open_with("/ws/tok1", app_token("{\"channels\":[\"tok1\"],\"exp\":%lld}", NOW + 60), NULL);
	expect_live("tok1");
	cr_assert_eq(client_head(&c, ""), 101);
	client_close(&c);
	hub_expect(&w, IPC_UNSUBSCRIBE);
	open_with("/ws/tok2", app_token("{\"channel\":\"tok2\",\"exp\":%lld}", NOW + 60), NULL);
	expect_live("tok2");
	cr_assert_eq(client_head(&c, ""), 101);
	client_close(&c);
	hub_expect(&w, IPC_UNSUBSCRIBE);
	open_with("/ws/tok2", app_token("{\"channel\":\"tok1\",\"exp\":%lld}", NOW + 60), NULL);
	expect_answer(403, "may not be subscribed");
	open_to("/ws/tok1", NULL);
	expect_answer(403, "may not be subscribed");
	hub_quiet(&w);
}

Test(opening, several_tokens_open_what_each_names)
{
	char all[4096];
	size_t n;

	app_world("", "");
	n = (size_t)snprintf(all, sizeof(all), "/ws?channel=tok1&channel=tok2&token=%s",
	    app_token("{\"sub\":\"alice\",\"channels\":[\"tok1\"],\"exp\":%lld}", NOW + 60));
	(void)snprintf(all + n, sizeof(all) - n, "&token=%s",
	    app_token("{\"sub\":\"alice\",\"channel\":\"tok2\",\"exp\":%lld}", NOW + 60));
	open_to(all, NULL);
	expect_live("!user:YWxpY2U");
	expect_live("tok1");
	expect_live("tok2");
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(opening, a_token_in_a_field)
{
	char text[4096];

	app_world("", "");
	(void)snprintf(text, sizeof(text),
	    "GET /ws/tok1 HTTP/1.1\r\n" FIELDS
	    "Sec-WebSocket-Version: 13\r\nAuthorization: bearer %s\r\n\r\n",
	    app_token("{\"channels\":[\"*\"],\"exp\":%lld}", NOW + 60));
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, text);
	expect_live("tok1");
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(opening, a_bad_token_is_refused_whatever_it_is_for)
{
	app_world("", "");
	open_with("/ws/free", "a.b.c", NULL);
	cr_assert_eq(
	    client_head(&c, "\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\n"), 401);
	client_close(&c);
	open_with("/ws/free", app_token("{\"exp\":%lld}", NOW - 3600), NULL);
	expect_answer(401, "expired");
	hub_quiet(&w);
}

Test(opening, a_token_that_is_required)
{
	app_world("", "auth.required=true\nlimits.authenticate=100ms");
	open_to("/ws/free", NULL);
	expect_answer(401, "a token is needed");
	open_to("/ws/free", "fanfare.json");
	expect_answer(401, "a token is needed");
	/* One that can show it later has the time, and then none. */
	open_to("/ws", "fanfare.json");
	cr_assert_eq(client_head(&c, ""), 101);
	client_expect_close(&c, 1008);
	client_close(&c);
	open_with("/ws/free", app_token("{\"exp\":%lld}", NOW + 60), NULL);
	expect_live("free");
	cr_assert_eq(client_head(&c, ""), 101);
}

/* The last request to the application has this in it. */
static void
expect_told(const char *part)
{
	cr_assert_not_null(strstr(app.last, part), "%s is not in %s", part, app.last);
}

Test(opening, the_application_is_told_of_a_client)
{
	char text[4096];

	app_world("connect", "hooks.headers=[Cookie, X-One, X-None]");
	app_say("{\"user\":\"bob\",\"channels\":[\"tok*\"]}");
	(void)snprintf(text, sizeof(text),
	    "GET /ws/tok1?a=%%20b&token=%s&c HTTP/1.1\r\n" FIELDS
	    "Sec-WebSocket-Version: 13\r\nCookie: a=1\r\nCookie: b=\xe4\"\r\nX-Other: x\r\n"
	    "x-one: 1\r\nX-One: 2\r\n\r\n",
	    app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 60));
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, text);
	expect_live("!user:Ym9i"); /* the application's word counts */
	expect_live("tok1");
	cr_assert_eq(client_head(&c, ""), 101);
	expect_told("\r\n\r\n{\"event\":\"connect\",\"client\":\"");
	expect_told(",\"user\":\"alice\",\"address\":\"unix\",\"path\":\"/ws/tok1\",");
	expect_told(",\"query\":\"a=%20b&c=\",");
	expect_told(",\"headers\":{\"Cookie\":\"a=1; b=\xc3\xa4\\\"\",\"X-One\":\"1, 2\"}}");
	cr_assert_null(strstr(app.last, "eyJ"), "no token is told");
	client_close(&c);
	(void)snprintf(text, sizeof(text),
	    "GET /ws/tok1 HTTP/1.1\r\n" FIELDS
	    "Sec-WebSocket-Version: 13\r\nAuthorization: Bearer %s\r\n\r\n",
	    app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 60));
	free(w.conf->hooks.headers.item[2]);
	w.conf->hooks.headers.item[2] = strdup("Authorization");
	app.requests = 0;
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, text);
	WORLD_UNTIL(&w, app.requests == 1);
	cr_assert_null(strstr(app.last, "eyJ"), "no token is told");
	expect_told(",\"headers\":{}}");
}

Test(opening, the_application_refuses_a_client)
{
	app_world("connect", "");
	app_say("{\"deny\":{}}");
	open_to("/ws/free", NULL);
	expect_answer(403, "the application refuses this client");
	app.say = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
	open_to("/ws/free", NULL);
	expect_answer(403, "the application refuses this client");
	hub_quiet(&w);
}

Test(opening, the_application_is_away)
{
	app_world("connect", "");
	app.say = APP_ERROR;
	open_to("/ws/free", NULL);
	cr_assert_eq(client_head(&c, "\r\nRetry-After: 1\r\n"), 503);
	client_close(&c);
	w.conf->hooks.failure = CONF_HOOK_ALLOW;
	open_to("/ws/free", NULL);
	expect_live("free");
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(opening, who_is_let_in_needs_no_token)
{
	app_world("connect", "auth.required=true");
	open_to("/ws/free", NULL);
	expect_live("free");
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(opening, the_application_is_asked_about_one_channel_after_the_other)
{
	app_world("subscribe", "");
	app.manner = APP_HOLDS;
	open_to("/ws?channel=app1&channel=free&channel=app2&channel=app3", NULL);
	for (int i = 1; i <= 3; i++) {
		char channel[32];

		WORLD_UNTIL(&w, app.requests == i);
		world_settle(&w);
		cr_assert_eq(app.nheld, 1, "the others wait");
		(void)snprintf(channel, sizeof(channel), ",\"channel\":\"app%d\"}", i);
		cr_assert_not_null(strstr(app.last, channel), "%s", app.last);
		hub_quiet(&w);
		app_release(APP_YES);
	}
	expect_live("app1");
	expect_live("free");
	expect_live("app2");
	expect_live("app3");
	cr_assert_eq(client_head(&c, ""), 101);
	client_close(&c);
	for (int i = 0; i < 4; i++)
		hub_expect(&w, IPC_UNSUBSCRIBE);
	app.manner = APP_ANSWERS;
	app.say = APP_YES "\f" APP_OK("10\r\n\r\n{\"deny\":1}");
	open_to("/ws?channel=app1&channel=app2", NULL);
	expect_answer(403, "may not be subscribed");
	/* One that is refused by its rule is not asked about, nor are the others. */
	app.requests = 0;
	open_to("/ws?channel=app1&channel=deny1", NULL);
	expect_answer(403, "may not be subscribed");
	cr_assert_eq(app.requests, 0);
	hub_quiet(&w);
}

Test(opening, a_client_goes_while_the_application_is_asked)
{
	app_world("connect subscribe", "");
	app.manner = APP_HOLDS;
	open_to("/ws/app1", NULL);
	WORLD_UNTIL(&w, app.nheld == 1);
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	app_release(APP_YES);
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
	open_to("/ws?channel=app1&channel=app2", NULL);
	WORLD_UNTIL(&w, app.nheld == 1);
	app.requests = 0;
	app_release(APP_YES);
	WORLD_UNTIL(&w, app.requests == 1);
	app_release(APP_YES);
	WORLD_UNTIL(&w, app.requests == 2);
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	app_release(APP_YES);
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
	hub_quiet(&w);
}

#define ALICE "!user:YWxpY2U"
#define AS_ALICE app_token("{\"sub\":\"alice\",\"exp\":%lld}", NOW + 60)

/* A client of alice's that waits for the application to say whether it may have the channel. */
static void
open_asked(const char *target)
{
	size_t held = app.nheld;

	app.manner = APP_HOLDS;
	open_with(target, AS_ALICE, NULL);
	WORLD_UNTIL(&w, app.nheld == held + 1);
}

Test(opening, a_user_is_disconnected_while_the_application_is_asked)
{
	app_world("subscribe", "");
	open_asked("/ws/app1");
	expect_live(ALICE);
	client_quiet(&c); /* that this one is live does not end the waiting */
	hub_message(&w, ALICE, MSG_BINARY, "Thello");
	hub_message(&w, ALICE, MSG_BINARY, "D4001 signed out");
	expect_answer(403, "the application has disconnected this user");
	app_release(APP_YES);
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
	hub_expect_on(&w, IPC_UNSUBSCRIBE, ALICE);
	hub_quiet(&w);
	/* The next one may come. */
	open_asked("/ws/app1");
	expect_live(ALICE);
	app_release(APP_YES);
	expect_live("app1");
	cr_assert_eq(client_head(&c, ""), 101);
	hub_message(&w, ALICE, MSG_BINARY, "D4001 signed out");
	client_expect_close(&c, 4001);
}

/* Of one user those who wait for a channel, for their user's, for the application, and those who do not. */
Test(opening, a_user_is_disconnected_in_every_state)
{
	struct client live, asked, bob;

	app_world("subscribe", "");
	open_with("/ws/free", AS_ALICE, NULL);
	live = c;
	c = (struct client){ .fd = -1 };
	hub_expect_on(&w, IPC_SUBSCRIBE, ALICE);
	hub_expect_on(&w, IPC_SUBSCRIBE, "free");
	hub_message(&w, ALICE, MSG_BINARY, "D1008 ");
	cr_assert_eq(client_response(&live, "disconnected"), 403);
	client_close(&live);
	for (int i = 0; i < 2; i++)
		hub_expect(&w, IPC_UNSUBSCRIBE);
	open_with("/ws/free", AS_ALICE, NULL);
	expect_live(ALICE);
	expect_live("free");
	cr_assert_eq(client_head(&c, ""), 101);
	live = c;
	open_asked("/ws/app1");
	asked = c;
	open_with("/ws/free", app_token("{\"sub\":\"bob\",\"exp\":%lld}", NOW + 60), NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "!user:Ym9i");
	bob = c;
	open_with("/ws/other", AS_ALICE, NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "other");
	hub_message(&w, ALICE, MSG_BINARY, "D1008 ");
	expect_answer(403, "disconnected");
	cr_assert_eq(client_response(&asked, "disconnected"), 403);
	client_expect_close(&live, 1008);
	client_quiet(&bob);
	hub_subscribed(&w, "!user:Ym9i", 0);
	cr_assert_eq(client_head(&bob, ""), 101);
	client_close(&live);
	client_close(&asked);
	client_close(&bob);
	app_release(APP_YES);
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
}

Test(opening, a_slow_application_meets_the_deadline)
{
	app_world("connect", "");
	w.server.head_ms = 100;
	app.manner = APP_HOLDS;
	open_to("/ws/free", NULL);
	expect_answer(503, "try again later");
	app_release(APP_YES);
	WORLD_UNTIL(&w, !hooks_busy(w.core.hooks));
}

/* A client that sends too much while it waits is held back. */
Test(opening, what_comes_ahead_is_bounded)
{
	static uint8_t much[1 << 20];
	size_t sent = 0;

	app_world("connect", "");
	app.manner = APP_HOLDS;
	open_to("/ws/free", NULL);
	WORLD_UNTIL(&w, app.nheld == 1);
	for (int i = 0; i < 1000 && sent < sizeof(much); i++) {
		ssize_t n = send(c.fd, much, sizeof(much) - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		world_pass(&w);
	}
	cr_assert_lt(sent, sizeof(much));
	cr_assert_eq(w.net.count, 1);
	client_quiet(&c);
	app_release(APP_YES);
	hub_expect_on(&w, IPC_SUBSCRIBE, "free");
}

/* The answer does not tell whether a channel is there. */
Test(opening, a_refusal_is_the_same_for_every_channel)
{
	struct client d;
	uint8_t first[1024];
	size_t n = 0;

	app_world("", "");
	open_with("/ws/tok1", app_token("{\"channels\":[\"tok1\"],\"exp\":%lld}", NOW + 60), NULL);
	expect_live("tok1");
	cr_assert_eq(client_head(&c, ""), 101);
	for (int i = 0; i < 2; i++) {
		const uint8_t *body;

		client_open(&w, &d, LISTENER_PUBLIC);
		client_handshake(&d, i == 0 ? "/ws/tok1" : "/ws/tok9", NULL);
		WORLD_UNTIL(&w, (client_pull(&d), d.eof));
		/* Behind the date. */
		body = memmem(buf_data(&d.in), buf_len(&d.in), "GMT\r\n", 5);
		cr_assert_not_null(body);
		if (i == 0) {
			n = buf_len(&d.in) - (size_t)(body - buf_data(&d.in));
			cr_assert_lt(n, sizeof(first));
			memcpy(first, body, n);
		} else {
			cr_assert_eq(buf_len(&d.in) - (size_t)(body - buf_data(&d.in)), n);
			cr_assert_eq(memcmp(first, body, n), 0);
		}
		client_close(&d);
	}
}
