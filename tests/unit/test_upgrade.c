/*
 * Unit tests of upgrade and of the raw dialect: from the request to messages in both directions.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "tests/unit/worker_fixture.h"
#include "worker/ws/frame.h"

#define TEXT (FRAME_FIN | WS_OP_TEXT)
#define BINARY (FRAME_FIN | WS_OP_BINARY)
#define FIELDS                                                                                     \
	"Host: h:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                               \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static struct world w;
static struct client c;

static void
setup(void)
{
	world_open(&w,
	    "limits.subscriptions=3\n"
	    "channels=[{match: \"pub*\", publish: anyone}, "
	    "{match: \"deny*\", subscribe: nobody}]");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(upgrade, .timeout = 60, .init = setup, .fini = teardown);

static void
open_to(const char *target, const char *protocol)
{
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake(&c, target, protocol);
}

/* Opens a connection to one channel, all the way. */
static void
open_live(const char *target, const char *channel)
{
	hub_welcome(&w, true);
	open_to(target, NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, channel);
	hub_subscribed(&w, channel, 0);
	cr_assert_eq(
	    client_head(&c, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), 101);
}

static void
expect_refusal(const char *request, int status, const char *part)
{
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, request);
	cr_assert_eq(client_response(&c, part), status);
	client_expect_eof(&c);
	client_close(&c);
	WORLD_UNTIL(&w, w.net.count == 0);
}

Test(upgrade, waits_until_every_channel_is_live)
{
	hub_welcome(&w, true);
	open_to("/ws/a?channel=b&x=y&channel=c", NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_expect_on(&w, IPC_SUBSCRIBE, "b");
	hub_expect_on(&w, IPC_SUBSCRIBE, "c");
	hub_subscribed(&w, "c", 0);
	hub_subscribed(&w, "a", 0);
	client_quiet(&c);
	hub_message(&w, "a", MSG_TEXT, "before the 101");
	hub_subscribed(&w, "b", 0);
	cr_assert_eq(client_head(&c, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"), 101);
	hub_message(&w, "a", MSG_TEXT, "one");
	hub_message(&w, "b", MSG_BINARY, "two");
	client_expect_frame(&c, TEXT, "one", 3);
	client_expect_frame(&c, BINARY, "two", 3);
	client_close(&c);
	hub_expect(&w, IPC_UNSUBSCRIBE);
	hub_expect(&w, IPC_UNSUBSCRIBE);
	hub_expect(&w, IPC_UNSUBSCRIBE);
}

Test(upgrade, a_live_channel_is_there_at_once)
{
	struct client d;

	open_live("/ws/a", "a");
	client_open(&w, &d, LISTENER_PUBLIC);
	client_handshake(&d, "/ws?channel=a&channel=a", NULL);
	cr_assert_eq(client_head(&d, ""), 101);
	hub_message(&w, "a", MSG_TEXT, "m");
	client_expect_text(&c, "m");
	client_expect_text(&d, "m");
	client_quiet(&d);
	client_close(&d);
}

Test(upgrade, names_are_decoded)
{
	open_live("/ws/a%2Fb%3Ac", "a/b:c");
	client_close(&c);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a/b:c");
	open_to("/ws?channel=x%3Ay", NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "x:y");
}

Test(upgrade, waits_for_the_hub)
{
	open_to("/ws/a", NULL);
	client_quiet(&c);
	hub_welcome(&w, false);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	client_quiet(&c);
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(upgrade, the_hub_is_lost_while_one_waits)
{
	hub_welcome(&w, true);
	open_to("/ws?channel=a&channel=b", NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	world_settle(&w);
	hub_cut(&w);
	hub_welcome(&w, true);
	hub_subscribed(&w, "b", 0);
	client_quiet(&c);
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(upgrade, gives_up_at_the_deadline)
{
	w.server.head_ms = 50;
	open_to("/ws/a", NULL);
	cr_assert_eq(client_response(&c, "try again later"), 503);
	client_expect_eof(&c);
	cr_assert_null(channel_find(&w.core.channels, "a", 1), "nobody wants it any more");
}

Test(upgrade, a_channel_that_cannot_be_had)
{
	hub_welcome(&w, true);
	open_to("/ws?channel=a&channel=b", NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", FAN_ENOMEM);
	cr_assert_eq(client_response(&c, "cannot be subscribed"), 503);
	hub_subscribed(&w, "b", 0);
	client_expect_eof(&c);
}

Test(upgrade, refused_for_its_second_channel)
{
	hub_welcome(&w, true);
	open_to("/ws?channel=a&channel=deny1", NULL);
	cr_assert_eq(client_response(&c, "may not be subscribed"), 403);
	cr_assert_null(
	    channel_find(&w.core.channels, "a", 1), "none is asked for before all may be");
	cr_assert_eq(w.net.count, 1);
	hub_quiet(&w);
	client_expect_eof(&c);
}

Test(upgrade, refusals)
{
	expect_refusal("GET /ws/a HTTP/1.1\r\nHost: h\r\n\r\n", 426, "WebSocket");
	expect_refusal("GET /ws/a HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 8\r\n\r\n", 426, "");
	expect_refusal("GET /ws/a HTTP/1.1\r\n" FIELDS "\r\n", 400, "");
	expect_refusal(
	    "POST /ws/a HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n\r\n", 405, "");
	expect_refusal("GET /ws/a%20b HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n\r\n", 400,
	    "channel");
	expect_refusal(
	    "GET /ws/%zz HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n\r\n", 400, "channel");
	expect_refusal("GET /ws HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n\r\n", 400,
	    "name a channel");
	expect_refusal("GET /ws?channel=a&channel=b&channel=c&channel=d HTTP/1.1\r\n" FIELDS
		       "Sec-WebSocket-Version: 13\r\n\r\n",
	    400, "too many");
	expect_refusal("GET /ws/a HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n"
		       "Origin: https://evil\r\n\r\n",
	    403, "origin");
	expect_refusal("GET /ws/a HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n"
		       "Sec-WebSocket-Protocol: a,a\r\n\r\n",
	    400, "Protocol");
	cr_assert_null(channel_find(&w.core.channels, "a", 1));
}

Test(upgrade, the_same_origin_is_welcome)
{
	hub_welcome(&w, true);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c,
	    "GET /ws/a HTTP/1.1\r\n" FIELDS "Sec-WebSocket-Version: 13\r\n"
	    "Origin: https://h\r\n\r\n");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_head(&c, ""), 101);
}

Test(upgrade, the_subprotocol_is_chosen)
{
	open_to("/ws", "other, fanfare.json");
	cr_assert_eq(client_head(&c, "\r\nSec-WebSocket-Protocol: fanfare.json\r\n"), 101);
}

Test(upgrade, an_unknown_subprotocol_is_not_answered)
{
	hub_welcome(&w, true);
	open_to("/ws/a", "other");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Sec-WebSocket-Protocol", 22));
	cr_assert_eq(client_head(&c, ""), 101);
}

/* Frames sent ahead of the 101 are the session's, whether it waits or not. */
Test(upgrade, what_came_behind_the_head_is_frames)
{
	struct ipc_msg m;
	int i;

	hub_welcome(&w, true);
	for (i = 0; i < 2; i++) {
		struct client d;

		client_open(&w, &d, LISTENER_PUBLIC);
		client_handshake(&d, "/ws/pub", NULL);
		client_frame(&d, TEXT, "ahead", 5);
		client_frame(&d, FRAME_FIN | WS_OP_PING, "p", 1);
		if (i == 0) {
			hub_expect_on(&w, IPC_SUBSCRIBE, "pub");
			hub_quiet(&w);
			hub_subscribed(&w, "pub", 0);
			c = d;
		}
		cr_assert_eq(client_head(&d, ""), 101);
		client_expect_frame(&d, FRAME_FIN | WS_OP_PONG, "p", 1);
		m = hub_expect_on(&w, IPC_PUBLISH, "pub");
		cr_assert(m.len == 5 && memcmp(m.data, "ahead", 5) == 0);
		if (i == 1)
			client_close(&d);
		else
			c = d;
	}
}

Test(upgrade, the_client_goes_while_it_waits)
{
	hub_welcome(&w, true);
	open_to("/ws/a", NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	client_close(&c);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
	WORLD_UNTIL(&w, w.net.count == 0);
	/* The end of what it sends is its end. */
	open_to("/ws/b", NULL);
	hub_expect_on(&w, IPC_SUBSCRIBE, "b");
	cr_assert_eq(shutdown(c.fd, SHUT_WR), 0);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "b");
	WORLD_UNTIL(&w, w.net.count == 0);
}

Test(upgrade, a_pipelined_request_before_it)
{
	open_to("/ws/a", NULL);
	client_close(&c);
	hub_welcome(&w, true);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n");
	client_handshake(&c, "/ws/b", NULL);
	cr_assert_eq(client_response(&c, "not found"), 404);
	WORLD_UNTIL(&w, channel_find(&w.core.channels, "b", 1) != NULL);
	hub_subscribed(&w, "b", 0);
	cr_assert_eq(client_head(&c, ""), 101);
}

/* --- the raw dialect ---------------------------------------------------------------------- */

Test(upgrade, raw_publishes_with_the_frames_kind)
{
	struct ipc_msg m;

	open_live("/ws/pub", "pub");
	client_frame(&c, TEXT, "t", 1);
	m = hub_expect_on(&w, IPC_PUBLISH, "pub");
	cr_assert(m.kind == MSG_TEXT && m.len == 1 && m.value == 1 && m.id != 0);
	client_frame(&c, BINARY, "", 0);
	m = hub_expect_on(&w, IPC_PUBLISH, "pub");
	cr_assert(m.kind == MSG_BINARY && m.len == 0);
}

Test(upgrade, raw_may_not_publish_without_a_rule)
{
	open_live("/ws/a", "a");
	client_frame(&c, TEXT, "t", 1);
	client_expect_close(&c, 1008);
}

Test(upgrade, raw_publishes_to_one_channel_only)
{
	hub_welcome(&w, true);
	open_to("/ws?channel=pub1&channel=pub2", NULL);
	WORLD_UNTIL(&w, channel_find(&w.core.channels, "pub2", 4) != NULL);
	hub_subscribed(&w, "pub1", 0);
	hub_subscribed(&w, "pub2", 0);
	cr_assert_eq(client_head(&c, ""), 101);
	client_frame(&c, TEXT, "t", 1);
	client_expect_close(&c, 1008);
}

Test(upgrade, raw_hears_of_a_refusal)
{
	struct ipc_msg refusal = { .type = IPC_PUBLISHED, .status = FAN_EDOWN };

	open_live("/ws/pub", "pub");
	client_frame(&c, TEXT, "t", 1);
	refusal.id = hub_expect_on(&w, IPC_PUBLISH, "pub").id;
	hub_send(&w, &refusal);
	client_expect_close(&c, 1013);
}

Test(upgrade, raw_publishes_survive_the_hub)
{
	char text[8];
	int i;

	open_live("/ws/pub", "pub");
	hub_cut(&w);
	for (i = 0; i < 20; i++) {
		(void)snprintf(text, sizeof(text), "%d", i);
		client_frame(&c, TEXT, text, strlen(text));
		world_pass(&w);
	}
	hub_welcome(&w, true);
	hub_expect_on(&w, IPC_SUBSCRIBE, "pub");
	for (i = 0; i < 20; i++) {
		struct ipc_msg m = hub_expect_on(&w, IPC_PUBLISH, "pub");

		(void)snprintf(text, sizeof(text), "%d", i);
		cr_assert(m.len == strlen(text) && memcmp(m.data, text, m.len) == 0);
	}
	hub_subscribed(&w, "pub", 0);
	hub_message(&w, "pub", MSG_TEXT, "back");
	client_expect_text(&c, "back");
}

Test(upgrade, closing_handshake_through_all_layers)
{
	open_live("/ws/a", "a");
	client_frame(&c, FRAME_FIN | WS_OP_CLOSE, "\x03\xe8", 2);
	client_expect_close(&c, 1000);
	client_expect_eof(&c);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, "a");
}

Test(upgrade, where_no_tokens_are_taken_the_word_means_nothing)
{
	open_live("/ws/a?token=anything", "a");
}

/* --- compression -------------------------------------------------------------------------- */

#define PMD "permessage-deflate"
#define TAKEN "; server_no_context_takeover; client_no_context_takeover"

/* Another world, in which messages are compressed. */
static void
deflate_world(const char *settings)
{
	teardown();
	world_open(&w, settings);
	hub_welcome(&w, true);
}

/* Opens d to the channel with an offer; field: what the 101 must contain. */
static void
open_offering(struct client *d, const char *channel, const char *offer, const char *field)
{
	char target[64];

	(void)snprintf(target, sizeof(target), "/ws/%s", channel);
	client_open(&w, d, LISTENER_PUBLIC);
	client_handshake_offering(d, target, NULL, offer);
	WORLD_UNTIL(&w, channel_find(&w.core.channels, channel, strlen(channel)) != NULL);
	hub_subscribed(&w, channel, 0);
	cr_assert_eq(client_head(d, field), 101);
}

static void
expect_no_extension(const char *offer, const char *protocol)
{
	hub_welcome(&w, true);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake_offering(&c, "/ws/a", protocol, offer);
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Extensions", 10));
	cr_assert_eq(client_head(&c, ""), 101);
	client_frame(&c, FRAME_RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
	client_expect_close(&c, 1002);
}

Test(upgrade, nothing_is_agreed_unless_it_is_enabled)
{
	expect_no_extension(PMD, NULL);
}

Test(upgrade, what_is_not_looked_at_may_be_malformed)
{
	expect_no_extension(";;", NULL);
}

Test(upgrade, an_offer_that_cannot_be_met_is_declined)
{
	teardown();
	world_open(&w, "deflate.enabled=true");
	expect_no_extension(PMD "; server_max_window_bits=7, other", NULL);
}

Test(upgrade, a_malformed_offer_is_refused)
{
	deflate_world("deflate.enabled=true");
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake_offering(&c, "/ws/a", NULL, PMD "; server_max_window_bits=");
	cr_assert_eq(client_response(&c, "Sec-WebSocket-Extensions"), 400);
	client_expect_eof(&c);
}

Test(upgrade, the_offer_is_answered_beside_the_subprotocol)
{
	deflate_world("deflate.enabled=true\ndeflate.window_bits=12");
	client_open(&w, &c, LISTENER_PUBLIC);
	client_handshake_offering(&c, "/ws", "fanfare.json", PMD "; client_max_window_bits");
	cr_assert_eq(client_head(&c,
			 "\r\nSec-WebSocket-Protocol: fanfare.json\r\n"
			 "Sec-WebSocket-Extensions: " PMD TAKEN
			 "; server_max_window_bits=12; client_max_window_bits=12\r\n\r\n"),
	    101);
}

/* One publication, in every form in which the subscribers of one channel may want it. */
Test(upgrade, a_broadcast_to_windows_of_every_size)
{
	static const char *const offers[] = { PMD "; server_max_window_bits=8",
		PMD "; server_max_window_bits=9", PMD "; server_max_window_bits=12", PMD, PMD };
	struct client d[sizeof(offers) / sizeof(offers[0])];
	char big[1000];
	size_t i;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	deflate_world("deflate.enabled=true");
	open_offering(&c, "a", NULL, "");
	for (i = 0; i < sizeof(d) / sizeof(d[0]); i++)
		open_offering(&d[i], "a", offers[i], "Sec-WebSocket-Extensions: " PMD TAKEN);
	hub_message(&w, "a", MSG_TEXT, "small");
	hub_message(&w, "a", MSG_TEXT, big);
	hub_message(&w, "a", MSG_BINARY, big);
	client_expect_text(&c, "small");
	client_expect_text(&c, big);
	client_expect_frame(&c, BINARY, big, sizeof(big) - 1);
	for (i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
		client_expect_text(&d[i], "small");
		client_expect_deflated(&d[i], WS_OP_TEXT, big, sizeof(big) - 1);
		client_expect_deflated(&d[i], WS_OP_BINARY, big, sizeof(big) - 1);
		client_quiet(&d[i]);
		client_close(&d[i]);
	}
}

Test(upgrade, a_compressed_message_is_published_as_it_was)
{
	struct ipc_msg m;

	deflate_world("deflate.enabled=true\nchannels=[{match: \"*\", publish: anyone}]");
	open_offering(&c, "pub", PMD, PMD TAKEN "\r\n");
	hub_expect_on(&w, IPC_SUBSCRIBE, "pub");
	client_frame(&c, FRAME_RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
	m = hub_expect_on(&w, IPC_PUBLISH, "pub");
	cr_assert(m.kind == MSG_TEXT && m.len == 5 && memcmp(m.data, "Hello", 5) == 0);
	/* Nothing may refer to it: that was not agreed. */
	client_frame(&c, FRAME_RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5);
	client_expect_close(&c, 1007);
}

Test(upgrade, takeover_of_a_client_where_it_is_allowed)
{
	struct client d;
	int i;

	deflate_world("deflate.enabled=true\ndeflate.client_context_takeover=true\n"
		      "channels=[{match: \"*\", publish: anyone}]");
	open_offering(&c, "pub", PMD, PMD "; server_no_context_takeover\r\n");
	open_offering(&d, "pub", PMD, PMD "; server_no_context_takeover\r\n");
	hub_expect_on(&w, IPC_SUBSCRIBE, "pub");
	client_frame(&c, FRAME_RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
	hub_expect_on(&w, IPC_PUBLISH, "pub");
	for (i = 0; i < 3; i++) {
		struct ipc_msg m;

		client_frame(&c, FRAME_RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5);
		m = hub_expect_on(&w, IPC_PUBLISH, "pub");
		cr_assert(m.len == 5 && memcmp(m.data, "Hello", 5) == 0);
	}
	/* To its own messages, not to those of another. */
	client_frame(&d, FRAME_RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5);
	client_expect_close(&d, 1007);
	client_close(&d);
}

/* --- many subscribers --------------------------------------------------------------------- */

/* By io_uring where it can be had, and without. */
static void
send_to_many(void)
{
	enum { MANY = 40 };
	struct client many[MANY];
	int i;

	open_live("/ws/news", "news");
	for (i = 0; i < MANY; i++) {
		client_open(&w, &many[i], LISTENER_PUBLIC);
		client_handshake(&many[i], "/ws/news", NULL);
		cr_assert_eq(client_head(&many[i], ""), 101);
	}
	(void)close(many[7].fd);
	many[7].fd = -1;
	hub_message(&w, "news", MSG_TEXT, "one");
	hub_message(&w, "news", MSG_TEXT, "two");
	for (i = 0; i < MANY; i++) {
		if (i == 7)
			continue;
		client_expect_text(&many[i], "one");
		client_expect_text(&many[i], "two");
		client_quiet(&many[i]);
	}
	for (i = 0; i < MANY; i++)
		client_close(&many[i]);
}

Test(upgrade, many_subscribers_in_one_burst)
{
	send_to_many();
}

Test(upgrade, many_subscribers_without_io_uring)
{
	teardown();
	world_open(&w, "fanout.io_uring=false");
	cr_assert_null(w.net.burst);
	send_to_many();
}
