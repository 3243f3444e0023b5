/*
 * Unit tests of user: its channel's messages, from the hub to the sessions.
 */
#include "worker/core/user.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/buf.h"
#include "tests/unit/session_fixture.h"
#include "worker/auth/token.h"
#include "worker/core/access.h"

#define ALICE "!user:YWxpY2U"
#define TEN "1234567890"
#define FORTY TEN TEN TEN TEN
#define TOO_LONG "D1008 " FORTY FORTY FORTY "1234" /* a reason of 124 bytes */

static struct peer p;

TestSuite(user, .timeout = 20, .init = session_setup, .fini = session_teardown);

static void
name_session(struct session *s, const char *user)
{
	struct claims c = { .user = (char *)(uintptr_t)user };

	cr_assert_eq(access_name(s, &c), 0);
}

/* A session of alice whose channel is live. */
static void
begin_alice(void)
{
	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	name_session(p.s, "alice");
	cr_assert_eq(user_join(p.s), 0);
	hub_expect_on(&w, IPC_SUBSCRIBE, ALICE);
	cr_assert_not(session_all_live(p.s));
	hub_subscribed(&w, ALICE, 0);
	WORLD_UNTIL(&w, p.opened > 0);
	cr_assert(session_all_live(p.s));
	peer_begin(&p);
}

Test(user, a_session_is_in_the_channel_of_its_user)
{
	begin_alice();
	cr_assert_eq(user_join(p.s), 0, "once is enough");
	hub_quiet(&w);
	cr_assert_eq(p.s->nsubs, 0, "it is none of the client's");
	session_free(p.s);
	hub_expect_on(&w, IPC_UNSUBSCRIBE, ALICE);
}

Test(user, a_session_without_a_user_is_in_none)
{
	hub_welcome(&w, true);
	peer_open(&p, &dialect_a);
	cr_assert_eq(user_join(p.s), 0);
	name_session(p.s, "");
	cr_assert_eq(user_join(p.s), 0);
	hub_quiet(&w);
	session_free(p.s);
}

Test(user, a_started_session_joins_when_its_user_is_named)
{
	hub_welcome(&w, true);
	peer_start(&p, &dialect_a);
	name_session(p.s, "alice");
	hub_expect_on(&w, IPC_SUBSCRIBE, ALICE);
	hub_subscribed(&w, ALICE, 0);
	hub_message(&w, ALICE, MSG_TEXT, "Thello");
	EXPECT_LOG(&p, "ahello;,");
	session_free(p.s);
}

Test(user, gets_messages)
{
	begin_alice();
	hub_message(&w, ALICE, MSG_TEXT, "Tone");
	hub_message(&w, ALICE, MSG_BINARY, "Btwo");
	hub_message(&w, ALICE, MSG_TEXT, "T");
	EXPECT_LOG(&p, "aone;atwo;a;,");
	session_free(p.s);
}

Test(user, is_disconnected)
{
	begin_alice();
	hub_message(&w, ALICE, MSG_TEXT, "D1008 go away");
	EXPECT_LOG(&p, "closed,");
	session_free(p.s);
}

Test(user, malformed_messages_are_ignored)
{
	static const char *const bad[] = { "", "x", "D", "D1008", "D100 x", "D10080 x", "D1006 x",
		"D1015 x", "D999 x", "D5000 x", "D0000 x", "Dabcd x", "T\xff", "D1008 \xff",
		TOO_LONG };

	begin_alice();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		hub_message(&w, ALICE, MSG_BINARY, bad[i]);
	EXPECT_LOG(&p, "");
	session_free(p.s);
}

/* What append writes is what user_message reads; data as the hub sends it. */
static void
expect_read(struct buf *b, int status, enum msg_kind kind, const char *text)
{
	struct channel *c = channel_find(&w.core.channels, ALICE, strlen(ALICE));
	const struct ipc_msg m = { .type = IPC_MESSAGE, .data = buf_data(b), .len = buf_len(b) };
	struct publication out = { 0 };

	cr_assert_not_null(c);
	cr_assert_eq(user_message(&w.core, c, &m, &out), status);
	if (status == 0) {
		cr_assert_eq(out.channel, c);
		cr_assert_eq(out.kind, kind);
		cr_assert_eq(out.offset, 0);
		cr_assert(out.len == strlen(text) && memcmp(out.data, text, out.len) == 0);
	}
	buf_clear(b);
}

Test(user, reads_what_it_writes)
{
	struct buf b;

	begin_alice();
	buf_init(&b, 1000);
	cr_assert_eq(user_append_message(&b, MSG_TEXT, (const uint8_t *)"hi", 2), 0);
	expect_read(&b, 0, MSG_TEXT, "hi");
	cr_assert_eq(user_append_message(&b, MSG_BINARY, (const uint8_t *)"\xff", 1), 0);
	expect_read(&b, 0, MSG_BINARY, "\xff");
	cr_assert_eq(user_append_message(&b, MSG_BINARY, NULL, 0), 0);
	expect_read(&b, 0, MSG_BINARY, "");
	cr_assert_eq(user_append_disconnect(&b, 4321, "enough of that"), 0);
	expect_read(&b, FAN_EGONE, MSG_TEXT, "");
	cr_assert_eq(user_append_disconnect(&b, 1000, ""), 0);
	expect_read(&b, FAN_EGONE, MSG_TEXT, "");
	EXPECT_LOG(&p, "closed,closed,");
	buf_fini(&b);
	session_free(p.s);
}

Test(user, codes_that_may_be_sent)
{
	static const unsigned good[] = { 1000, 1008, 1011, 1012, 1013, 3000, 4000, 4999 };
	static const unsigned bad[] = { 0, 999, 1001, 1002, 1005, 1006, 1007, 1009, 1010, 1014,
		1015, 2999, 5000, 66536 };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert(user_code_valid(good[i]), "%u", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(user_code_valid(bad[i]), "%u", bad[i]);
}
