/*
 * Unit tests of positions in Server-Sent Events: the ids of streams with several channels, and streams
 * that come back.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "common/buf.h"
#include "tests/unit/guard.h"
#include "tests/unit/worker_fixture.h"
#include "worker/dialect/sse_ids.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"

static struct world w;
static struct client c;

/* --- ids of several channels --------------------------------------------------------------- */

TestSuite(sse_ids, .timeout = 60);

/* What an id says of three channels, written again. */
static void
expect_ids(struct guard *g, const char *id, const char *again)
{
	struct sse_place place[3] = { 0 };
	struct sse_ids ids = { 3, place };
	struct buf b;

	place[1].pos = (struct position){ 1, "old" };
	sse_ids_read(&ids, (const char *)guard_put(g, id, strlen(id)), strlen(id));
	buf_init(&b, 1000);
	cr_assert_eq(sse_ids_append(&ids, &b), 0);
	cr_assert(buf_len(&b) == strlen(again) && memcmp(buf_data(&b), again, buf_len(&b)) == 0,
	    "%s: %.*s", id, (int)buf_len(&b), (const char *)buf_data(&b));
	cr_assert_eq(sse_ids_any(&ids), strcmp(again, "id: ,,\n") != 0);
	buf_fini(&b);
}

Test(sse_ids, reads_what_it_can)
{
	static const struct {
		const char *id, *again;
	} t[] = {
		{ "", "id: ,,\n" },
		{ "E:1", "id: E:1,,\n" },
		{ "E:1,F:2,G:3", "id: E:1,F:2,G:3\n" },
		{ "E:1,,G:0", "id: E:1,,G:0\n" },
		{ ",,G:3", "id: ,,G:3\n" },
		{ "E:1,F:2,G:3,H:4", "id: E:1,F:2,G:3\n" },
		{ "E:1,F,G:3", "id: E:1,,G:3\n" },
		{ "E:1,F:,G:3", "id: E:1,,G:3\n" },
		{ "E:1, F:2,G:3", "id: E:1,,G:3\n" },
		{ "E:1,F:18446744073709551616,G:18446744073709551615",
		    "id: E:1,,G:18446744073709551615\n" },
		{ "0123456789012345678901234567890123:1", "id: ,,\n" },
		{ "17", "id: ,,\n" },
		{ ",", "id: ,,\n" },
	};
	struct guard g = guard_new(100);
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		expect_ids(&g, t[i].id, t[i].again);
	guard_free(&g);
}

/* Rewrites the events of channel 22, with what must come of them; "": there is nothing to do. */
static void
expect_rewritten(struct sse_ids *ids, struct guard *g, const char *events, const char *want)
{
	struct block *b = NULL;
	size_t n = strlen(events);
	int err = sse_ids_rewrite(ids, 22, guard_put(g, events, n), n, &b);

	cr_assert_eq(err, *want == '\0' ? FAN_ENOENT : 0);
	if (err == 0)
		cr_assert(b->len == strlen(want) && memcmp(b->data, want, b->len) == 0,
		    "%.*s, not %s", (int)b->len, (const char *)b->data, want);
	block_unref(b);
}

Test(sse_ids, rewrites_the_events_of_a_channel)
{
	struct sse_place place[] = { { 11, { 4, "A" } }, { 22, { 0, "" } }, { 33, { 0, "" } } };
	struct sse_ids ids = { 3, place };
	struct guard g = guard_new(200);
	struct block *b = NULL;
	struct sse_ids *copy;

	expect_rewritten(&ids, &g, "data: x\n\n", "");
	expect_rewritten(&ids, &g, "event: join\ndata: id: B:1\n\n", "");
	expect_rewritten(
	    &ids, &g, "id: B:1\ndata: x\ndata: y\n\n", "id: A:4,B:1,\ndata: x\ndata: y\n\n");
	expect_rewritten(&ids, &g,
	    "id: B:2\ndata: x\n\nevent: leave\ndata: {}\n\nid: B:3\nevent: binary\ndata: eA==\n\n",
	    "id: A:4,B:2,\ndata: x\n\nevent: leave\ndata: {}\n\n"
	    "id: A:4,B:3,\nevent: binary\ndata: eA==\n\n");
	cr_assert(place[1].pos.offset == 3 && strcmp(place[1].pos.epoch, "B") == 0);
	cr_assert_eq(
	    sse_ids_rewrite(&ids, 44, (const uint8_t *)"id: D:1\ndata: x\n\n", 18, &b), FAN_ENOENT);
	copy = sse_ids_copy(&ids);
	cr_assert_not_null(copy);
	cr_assert_eq(sse_ids_find(copy, 22)->pos.offset, 3);
	cr_assert_null(sse_ids_find(copy, 44));
	free(copy);
	guard_free(&g);
}

/* --- positions ----------------------------------------------------------------------------- */

static void
setup(void)
{
	world_open(&w, "channels=[{match: \"h*\", history: {size: 10, ttl: 5m}}]");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(sse_positions, .timeout = 60, .init = setup, .fini = teardown);

static void
expect_text(const char *text)
{
	client_expect(&c, text, strlen(text));
}

static void
request(const char *text)
{
	client_close(&c);
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, text);
}

/* A stream of the channel "h" that stands at pos, all the way. */
static void
open_at(const char *text, const char *pos)
{
	hub_welcome(&w, true);
	request(text);
	hub_expect_subscribe(&w, "h", "", false);
	hub_subscribed_at(&w, "h", pos, false, "");
	cr_assert_eq(client_head(&c, ""), 200);
	expect_text(": open\n\n");
}

Test(sse_positions, says_where_it_stands)
{
	open_at(GET("/sse/h"), "E:5");
	expect_text("id: E:5\n\n");
	hub_message_at(&w, "h", 6, "m");
	expect_text("id: E:6\ndata: m\n\n");
	request(GET("/sse/h"));
	cr_assert_eq(client_head(&c, ""), 200);
	expect_text(": open\n\nid: E:6\n\n");
	hub_message_at(&w, "h", 7, "n");
	hub_message(&w, "h", MSG_JOIN, "{}");
	expect_text("id: E:7\ndata: n\n\nevent: join\ndata: {}\n\n");
	client_quiet(&c);
}

#define BACK(target, id) "GET " target " HTTP/1.1\r\nHost: h\r\nLast-Event-ID: " id "\r\n\r\n"

Test(sse_positions, comes_back_with_its_position)
{
	open_at(BACK("/sse/h", "E:3"), "E:5");
	hub_expect_subscribe(&w, "h", "E:3", false);
	client_quiet(&c);
	hub_message_at(&w, "h", 6, "x");
	hub_subscribed_at(&w, "h", "E:6", true, "d e x");
	hub_message_at(&w, "h", 7, "y");
	expect_text("id: E:4\ndata: d\n\nid: E:5\ndata: e\n\nid: E:6\ndata: x\n\n"
		    "id: E:7\ndata: y\n\n");
	client_quiet(&c);
}

Test(sse_positions, comes_back_too_late)
{
	open_at(GET("/sse/h?last_event_id=E%3A3"), "E:5");
	hub_expect_subscribe(&w, "h", "E:3", false);
	hub_subscribed_at(&w, "h", "E:5", false, "");
	expect_text("id: E:5\nevent: gap\ndata: h\n\n");
	hub_message_at(&w, "h", 6, "x");
	expect_text("id: E:6\ndata: x\n\n");
}

/* The field is the browser's and newer than the address, which stays as the page wrote it. */
Test(sse_positions, the_field_counts_before_the_query)
{
	open_at(BACK("/sse/h?last_event_id=E:3", "E:4"), "E:5");
	hub_expect_subscribe(&w, "h", "E:4", false);
}

Test(sse_positions, a_position_that_is_none)
{
	open_at(BACK("/sse/h", "17"), "E:5");
	expect_text("id: E:5\n\n");
	request(BACK("/sse/a", "E:4"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_subscribed(&w, "a", 0);
	cr_assert_eq(client_head(&c, ""), 200);
	hub_message(&w, "a", MSG_TEXT, "m");
	expect_text(": open\n\ndata: m\n\n");
	client_quiet(&c);
}

Test(sse_positions, a_channel_that_cannot_be_recovered)
{
	open_at(BACK("/sse/h", "E:3"), "E:5");
	hub_expect_subscribe(&w, "h", "E:3", false);
	hub_subscribed(&w, "h", FAN_ENOMEM);
	expect_text(": closed 1013 the channel cannot be subscribed now\n\n");
	client_expect_eof(&c);
}

/* Live channels a (plain), h and h2, which stand at E:5 and F:1. */
static void
open_several(const char *text)
{
	struct client first;

	hub_welcome(&w, true);
	client_open(&w, &first, LISTENER_PUBLIC);
	client_text(&first, GET("/sse/h?channel=a&channel=h2"));
	hub_expect_on(&w, IPC_SUBSCRIBE, "h");
	hub_expect_on(&w, IPC_SUBSCRIBE, "a");
	hub_expect_on(&w, IPC_SUBSCRIBE, "h2");
	hub_subscribed_at(&w, "h", "E:5", false, "");
	hub_subscribed(&w, "a", 0);
	hub_subscribed_at(&w, "h2", "F:1", false, "");
	cr_assert_eq(client_head(&first, ""), 200);
	client_close(&c);
	c = first;
	expect_text(": open\n\nid: E:5,,F:1\n\n");
	if (text == NULL)
		return;
	client_open(&w, &c, LISTENER_PUBLIC);
	client_text(&c, text);
	cr_assert_eq(client_head(&c, ""), 200);
	expect_text(": open\n\n");
	client_close(&first);
}

Test(sse_positions, several_channels_have_one_id)
{
	open_several(NULL);
	hub_message_at(&w, "h2", 2, "x");
	hub_message(&w, "a", MSG_TEXT, "y");
	world_settle(&w);
	hub_message_at(&w, "h", 6, "z");
	hub_message_at(&w, "h", 7, "zz");
	expect_text("id: E:5,,F:2\ndata: x\n\ndata: y\n\n");
	expect_text("id: E:6,,F:2\ndata: z\n\nid: E:7,,F:2\ndata: zz\n\n");
	client_quiet(&c);
}

/* One that names its channels in another order, one of them twice, and knows two positions. */
Test(sse_positions, several_channels_come_back)
{
	open_several(BACK("/sse?channel=h2&channel=h&channel=h2&channel=a", "F:0,E:4,X:1"));
	hub_expect_subscribe(&w, "h2", "F:0", false);
	hub_expect_subscribe(&w, "h", "E:4", false);
	/* What comes for one while the other waits goes on from where the other was. */
	hub_subscribed_at(&w, "h", "E:5", true, "e");
	expect_text("id: F:0,E:5,\ndata: e\n\n");
	hub_message_at(&w, "h", 6, "f");
	expect_text("id: F:0,E:6,\ndata: f\n\n");
	hub_subscribed_at(&w, "h2", "F:1", false, "");
	expect_text("id: F:1,E:6,\nevent: gap\ndata: h2\n\n");
	hub_message_at(&w, "h2", 2, "x");
	expect_text("id: F:2,E:6,\ndata: x\n\n");
	client_quiet(&c);
}

Test(sse_positions, one_of_several_knows_its_position)
{
	open_several(BACK("/sse?channel=h2&channel=h", ",E:4"));
	hub_expect_subscribe(&w, "h", "E:4", false);
	expect_text("id: F:1,E:4\n\n");
	hub_subscribed_at(&w, "h", "E:5", true, "e");
	expect_text("id: F:1,E:5\ndata: e\n\n");
}
