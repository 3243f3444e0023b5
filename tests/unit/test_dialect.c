/*
 * Unit tests of the dialect fanfare.json: every command and its errors, ids, the rate, encoding,
 * and what happens to commands under way.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "tests/unit/worker_fixture.h"
#include "worker/dialect/dialect.h"
#include "worker/ws/frame.h"

#define ERROR(code, message, id)                                                                   \
	"{\"error\":{\"code\":" #code ",\"message\":\"" message "\"}" id "}"

static struct world w;
static struct client c;

static void
setup(void)
{
	world_open(&w,
	    "limits.subscriptions=3\nlimits.channel_name=20\nlimits.commands=0\n"
	    "channels=[{match: \"pub*\", publish: anyone}, "
	    "{match: \"deny*\", subscribe: nobody}]");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(dialect, .timeout = 60, .init = setup, .fini = teardown);

static void
open_json(void)
{
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, "/ws", "fanfare.json");
	cr_assert_eq(client_head(&c, ""), 101);
}

static void
say(const char *text)
{
	client_frame(&c, FRAME_FIN | WS_OP_TEXT, text, strlen(text));
}

static void
ask(const char *text, const char *answer)
{
	say(text);
	client_expect_text(&c, answer);
}

static void
subscribe(const char *channel)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "{\"subscribe\":\"%s\"}", channel);
	say(text);
	hub_expect_on(&w, IPC_SUBSCRIBE, channel);
	hub_subscribed(&w, channel, 0);
	(void)snprintf(text, sizeof(text), "{\"subscribed\":\"%s\"}", channel);
	client_expect_text(&c, text);
}

static void
published(uint32_t id, int status)
{
	struct ipc_msg m = { .type = IPC_PUBLISHED, .id = id, .status = status };

	hub_send(&w, &m);
}

Test(dialect, found_by_subprotocol)
{
	cr_assert_str_eq(dialect_subprotocols[0], "fanfare.json");
	cr_assert_null(dialect_subprotocols[1]);
	cr_assert(dialect_find("fanfare.json")->subscribes);
	cr_assert_not(dialect_find(NULL)->subscribes);
	cr_assert_str_eq(dialect_find("fanfare.json")->subprotocol, "fanfare.json");
}

Test(dialect, subscribes_and_unsubscribes)
{
	hub_welcome(&w, true);
	open_json();
	say("{\"subscribe\":\"a\",\"id\":1}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	client_quiet(&c);
	hub_subscribed(&w, "a", 0);
	hub_message(&w, "a", MSG_TEXT, "1");
	client_expect_text(&c, "{\"subscribed\":\"a\",\"id\":1}");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":1}");
	ask("{\"unsubscribe\":\"a\",\"id\":\"x\"}", "{\"unsubscribed\":\"a\",\"id\":\"x\"}");
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
	hub_message(&w, "a", MSG_TEXT, "2");
	client_quiet(&c);
	ask("{\"unsubscribe\":\"a\"}", ERROR(404, "not subscribed", ""));
}

Test(dialect, subscribing_to_a_live_channel)
{
	struct client d;

	hub_welcome(&w, true);
	open_json();
	subscribe("a");
	d = c;
	open_json();
	ask("{\"subscribe\":\"a\",\"id\":2}", "{\"subscribed\":\"a\",\"id\":2}");
	hub_message(&w, "a", MSG_TEXT, "true");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":true}");
	client_expect_text(&d, "{\"channel\":\"a\",\"data\":true}");
	client_close(&d);
}

Test(dialect, unsubscribing_while_pending)
{
	hub_welcome(&w, true);
	open_json();
	say("{\"subscribe\":\"a\",\"id\":1}");
	say("{\"unsubscribe\":\"a\",\"id\":2}");
	client_expect_text(&c, ERROR(409, "unsubscribed before it was live", ",\"id\":1"));
	client_expect_text(&c, "{\"unsubscribed\":\"a\",\"id\":2}");
	hub_subscribed(&w, "a", 0);
	client_quiet(&c);
	say("{\"subscribe\":\"a\",\"id\":3}");
	world_settle(&w);
	hub_subscribed(&w, "a", 0);
	client_expect_text(&c, "{\"subscribed\":\"a\",\"id\":3}");
}

Test(dialect, subscribe_errors)
{
	hub_welcome(&w, true);
	open_json();
	ask("{\"subscribe\":\"deny1\",\"id\":1}", ERROR(403, "not allowed", ",\"id\":1"));
	ask("{\"subscribe\":\"a b\"}", ERROR(400, "not a channel name", ""));
	ask("{\"subscribe\":\"\"}", ERROR(400, "not a channel name", ""));
	ask("{\"subscribe\":\"123456789012345678901\"}", ERROR(400, "not a channel name", ""));
	subscribe("a");
	ask("{\"subscribe\":\"a\"}", ERROR(409, "subscribed already", ""));
	say("{\"subscribe\":\"b\"}");
	ask("{\"subscribe\":\"b\",\"id\":4}", ERROR(409, "subscribed already", ",\"id\":4"));
	say("{\"subscribe\":\"c\",\"id\":5}");
	ask("{\"subscribe\":\"d\"}", ERROR(429, "too many", ""));
	WORLD_UNTIL(&w, channel_find(&w.core.channels, "c", 1) != NULL);
	hub_subscribed(&w, "c", FAN_EFULL);
	client_expect_text(&c, ERROR(429, "too many", ",\"id\":5"));
	say("{\"subscribe\":\"e\"}");
	WORLD_UNTIL(&w, channel_find(&w.core.channels, "e", 1) != NULL);
}

Test(dialect, malformed_commands)
{
	static const char *const bad[] = { "{}", "[]", "1", "\"subscribe\"", "{\"subscribe\":1}",
		"{\"subscribe\":null}", "{\"subscribe\":\"a\",\"subscribe\":\"b\"}",
		"{\"subscribe\":\"a\",\"unsubscribe\":\"b\"}", "{\"subscribe\":\"a\",\"x\":1}",
		"{\"subscribe\":\"a\"", "{\"subscribe\":\"a\"} x", "", "{\"publish\":\"pub\"}",
		"{\"publish\":\"pub\",\"d\\u0061ta\":1}", "{\"id\":1}" };
	struct frame_head h;
	size_t i;

	open_json();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(bad[i]);
		WORLD_UNTIL(&w, client_pull(&c) > 0);
		cr_assert_eq(frame_head_decode(buf_data(&c.in), buf_len(&c.in), &h), 0);
		cr_assert_not_null(
		    memmem(buf_data(&c.in), buf_len(&c.in), "{\"error\":{\"code\":400", 19),
		    "%s: %.*s", bad[i], (int)buf_len(&c.in), (const char *)buf_data(&c.in));
		buf_clear(&c.in);
	}
	client_quiet(&c);
	cr_assert_eq(map_count(&w.core.channels.map), 0);
}

Test(dialect, ids)
{
	char text[400], id[200];
	size_t n;

	open_json();
	ask("{\"unsubscribe\":\"a\",\"id\":-9223372036854775808}",
	    ERROR(404, "not subscribed", ",\"id\":-9223372036854775808"));
	ask("{\"unsubscribe\":\"a\",\"id\":\"\\\"\\u00e4\\n\"}",
	    ERROR(404, "not subscribed", ",\"id\":\"\\\"\xc3\xa4\\n\""));
	ask("{\"unsubscribe\":\"a\",\"id\":\"\"}", ERROR(404, "not subscribed", ",\"id\":\"\""));
	ask("{\"unsubscribe\":\"a\",\"id\":1.5}",
	    ERROR(400, "id must be a string or an integer", ""));
	ask("{\"unsubscribe\":\"a\",\"id\":null}",
	    ERROR(400, "id must be a string or an integer", ""));
	ask("{\"unsubscribe\":\"a\",\"id\":[1]}",
	    ERROR(400, "id must be a string or an integer", ""));
	/* 128 bytes with the quotes are the most. */
	for (n = 126; n <= 127; n++) {
		char answer[400];

		memset(id, 'i', n);
		id[n] = '\0';
		(void)snprintf(text, sizeof(text), "{\"unsubscribe\":\"a\",\"id\":\"%s\"}", id);
		(void)snprintf(answer, sizeof(answer),
		    n == 126 ? ERROR(404, "not subscribed", ",\"id\":\"%s\"")
			     : ERROR(400, "id is too long", "%.0s"),
		    id);
		ask(text, answer);
	}
}

/* --- publishing --------------------------------------------------------------------------- */

Test(dialect, publishes_the_bytes_of_data)
{
	struct ipc_msg m;

	hub_welcome(&w, true);
	open_json();
	say("{\"publish\":\"pub\",\"id\":1,\"data\": {\"b\":1.0, \"a\":[1e3]} }");
	m = hub_expect_on(&w, IPC_PUBLISH, "pub");
	cr_assert(m.kind == MSG_TEXT && m.value == 0 && m.id != 0);
	cr_assert(m.len == 20 && memcmp(m.data, "{\"b\":1.0, \"a\":[1e3]}", 20) == 0, "%.*s",
	    (int)m.len, (const char *)m.data);
	client_quiet(&c);
	published(m.id, 0);
	client_expect_text(&c, "{\"published\":\"pub\",\"id\":1}");
}

Test(dialect, publish_errors)
{
	uint32_t id;

	open_json();
	ask("{\"publish\":\"pub\",\"data\":1,\"id\":0}",
	    ERROR(503, "try again later", ",\"id\":0"));
	hub_welcome(&w, true);
	ask("{\"publish\":\"news\",\"data\":1,\"id\":1}", ERROR(403, "not allowed", ",\"id\":1"));
	ask("{\"publish\":\"a b\",\"data\":1}", ERROR(400, "not a channel name", ""));
	say("{\"publish\":\"pub\",\"data\":1,\"id\":2}");
	id = hub_expect_on(&w, IPC_PUBLISH, "pub").id;
	published(id, FAN_EDENIED);
	client_expect_text(&c, ERROR(503, "try again later", ",\"id\":2"));
	/* An answer that was given already. */
	published(id, 0);
	client_quiet(&c);
	say("{\"publish\":\"pub\",\"data\":1,\"id\":3}");
	hub_expect_on(&w, IPC_PUBLISH, "pub");
	hub_cut(&w);
	client_expect_text(&c, ERROR(503, "try again later", ",\"id\":3"));
}

Test(dialect, answers_come_in_the_engines_order)
{
	uint32_t first, second;

	hub_welcome(&w, true);
	open_json();
	say("{\"publish\":\"pub\",\"data\":1,\"id\":1}");
	say("{\"publish\":\"pub\",\"data\":2,\"id\":2}");
	first = hub_expect_on(&w, IPC_PUBLISH, "pub").id;
	second = hub_expect_on(&w, IPC_PUBLISH, "pub").id;
	published(second, 0);
	published(first, FAN_ETOOBIG);
	client_expect_text(&c, "{\"published\":\"pub\",\"id\":2}");
	client_expect_text(&c, ERROR(413, "too big", ",\"id\":1"));
}

Test(dialect, a_client_that_goes_with_commands_under_way)
{
	uint32_t id;

	hub_welcome(&w, true);
	open_json();
	say("{\"publish\":\"pub\",\"data\":1,\"id\":1}");
	say("{\"subscribe\":\"a\",\"id\":2}");
	id = hub_expect_on(&w, IPC_PUBLISH, "pub").id;
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
	published(id, 0);
	hub_subscribed(&w, "a", 0);
	world_settle(&w);
	/* Its ticket is not the next one's. */
	open_json();
	say("{\"publish\":\"pub\",\"data\":1,\"id\":9}");
	cr_assert_neq(hub_expect_on(&w, IPC_PUBLISH, "pub").id, id);
	published(id, 0);
	client_quiet(&c);
}

Test(dialect, binary_is_refused)
{
	open_json();
	client_frame(&c, FRAME_FIN | WS_OP_BINARY, "{}", 2);
	client_expect_close(&c, 1003);
}

/* --- publications ------------------------------------------------------------------------- */

Test(dialect, encodes_json_text_and_binary)
{
	struct client raw;

	hub_welcome(&w, true);
	open_json();
	subscribe("a");
	client_open(&w, &raw, LISTENER_PUBLIC);
	client_handshake(&raw, "/ws/a", NULL);
	cr_assert_eq(client_head(&raw, ""), 101);
	hub_message(&w, "a", MSG_TEXT, "{\"x\": [1]}");
	hub_message(&w, "a", MSG_TEXT, "no \"json\"\n\x01");
	hub_message(&w, "a", MSG_TEXT, "");
	hub_message(&w, "a", MSG_BINARY, "\xff\xfe");
	hub_message(&w, "a", MSG_BINARY, "1");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":{\"x\": [1]}}");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":\"no \\\"json\\\"\\n\\u0001\"}");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":\"\"}");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":\"//4=\",\"encoding\":\"base64\"}");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":\"MQ==\",\"encoding\":\"base64\"}");
	client_expect_text(&raw, "{\"x\": [1]}");
	client_expect_text(&raw, "no \"json\"\n\x01");
	client_expect_text(&raw, "");
	client_expect_frame(&raw, FRAME_FIN | WS_OP_BINARY, "\xff\xfe", 2);
	client_close(&raw);
}

Test(dialect, a_large_publication)
{
	static char big[70001], want[70100];

	memset(big, 'x', sizeof(big) - 1);
	(void)snprintf(want, sizeof(want), "{\"channel\":\"a\",\"data\":\"%s\"}", big);
	hub_welcome(&w, true);
	open_json();
	subscribe("a");
	hub_message(&w, "a", MSG_TEXT, big);
	client_expect_text(&c, want);
}

/* The object as it is sent to others, compressed as a whole; answers are not compressed. */
Test(dialect, compressed_publications)
{
	char big[301], text[400], want[500];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	teardown();
	world_open(&w, "deflate.enabled=true");
	hub_welcome(&w, true);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake_offering(&c, "/ws", "fanfare.json", "permessage-deflate");
	cr_assert_eq(client_head(&c, "Extensions: permessage-deflate; "), 101);
	subscribe("a");
	(void)snprintf(text, sizeof(text), "{\"x\":\"%s\"}", big);
	(void)snprintf(want, sizeof(want), "{\"channel\":\"a\",\"data\":{\"x\":\"%s\"}}", big);
	hub_message(&w, "a", MSG_TEXT, text);
	client_expect_deflated(&c, WS_OP_TEXT, want, strlen(want));
	(void)snprintf(want, sizeof(want), "{\"channel\":\"a\",\"data\":\"%s\"}", big);
	hub_message(&w, "a", MSG_TEXT, big);
	client_expect_deflated(&c, WS_OP_TEXT, want, strlen(want));
	hub_message(&w, "a", MSG_TEXT, "1");
	client_expect_text(&c, "{\"channel\":\"a\",\"data\":1}");
	/* {"unsubscribe":"a"} in a stored block. */
	client_frame(&c, FRAME_RSV1 | FRAME_FIN | WS_OP_TEXT,
	    "\x00\x13\x00\xec\xff{\"unsubscribe\":\"a\"}", 25);
	client_expect_text(&c, "{\"unsubscribed\":\"a\"}");
}

Test(dialect, gaps_are_told)
{
	hub_welcome(&w, true);
	open_json();
	subscribe("a");
	say("{\"subscribe\":\"w\",\"id\":7}");
	hub_expect_on(&w, IPC_SUBSCRIBE, "w");
	hub_gap(&w, "");
	client_expect_text(&c, "{\"gap\":\"a\"}");
	hub_cut(&w);
	client_quiet(&c);
	hub_welcome(&w, true);
	hub_subscribed(&w, "w", 0);
	hub_subscribed(&w, "a", 0);
	client_expect_text(&c, "{\"subscribed\":\"w\",\"id\":7}");
	client_expect_text(&c, "{\"gap\":\"a\"}");
	client_quiet(&c);
}

/* --- the rate ----------------------------------------------------------------------------- */

Test(dialect, commands_beyond_the_rate_wait_and_none_is_lost)
{
	char text[64], answer[128];
	int i;

	w.conf->limits.commands = 100;
	w.conf->limits.commands_burst = 10;
	open_json();
	for (i = 0; i < 40; i++) {
		(void)snprintf(text, sizeof(text), "{\"unsubscribe\":\"a\",\"id\":%d}", i);
		say(text);
	}
	world_settle(&w);
	cr_assert_lt(client_pull(&c), 40 * 60, "all came at once");
	for (i = 0; i < 40; i++) {
		(void)snprintf(
		    answer, sizeof(answer), ERROR(404, "not subscribed", ",\"id\":%d"), i);
		client_expect_text(&c, answer);
	}
}

Test(dialect, a_client_that_goes_while_it_is_held_back)
{
	int i;

	w.conf->limits.commands = 1;
	w.conf->limits.commands_burst = 2;
	open_json();
	for (i = 0; i < 10; i++)
		say("{\"unsubscribe\":\"a\"}");
	world_settle(&w);
	conn_stop(TAILQ_FIRST(&w.net.open));
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
	(void)usleep(250000);
	world_settle(&w);
}

Test(dialect, the_burst_is_given_back_in_time)
{
	int i;

	w.conf->limits.commands = 1000;
	w.conf->limits.commands_burst = 1;
	open_json();
	for (i = 0; i < 3; i++)
		ask("{\"unsubscribe\":\"a\"}", ERROR(404, "not subscribed", ""));
}
