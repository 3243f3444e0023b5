/*
 * Unit tests of identity.
 */
#include "worker/core/identity.h"

#include <criterion/criterion.h>
#include <string.h>

#include "worker/auth/token.h"

#define LIST(...) ((char *[]){ __VA_ARGS__, NULL })

static struct identity *i;

static void
setup(void)
{
	i = identity_new(NULL);
	cr_assert_not_null(i);
}

static void
teardown(void)
{
	identity_free(i);
}

TestSuite(identity, .timeout = 20, .init = setup, .fini = teardown);

static char *
text(const char *s)
{
	return (char *)(uintptr_t)s;
}

static int
claim(const char *user, char **channels)
{
	struct claims c = { .user = text(user), .channels = channels, .expires = 100 };

	return identity_claim(i, &c);
}

static int
grant(const char *user, const char *channel, uint64_t ends)
{
	struct claims c = { .user = text(user), .channel = text(channel), .info = text("[1]") };

	return identity_grant(i, &c, ends);
}

Test(identity, globs_match_as_those_of_rules)
{
	char *items[] = { text("news"), text("chat:*"), text("a?") };
	struct globs g = { items, 3 };
	struct globs none = { NULL, 0 };

	cr_assert(globs_match(&g, "news"));
	cr_assert(globs_match(&g, "chat:"));
	cr_assert(globs_match(&g, "chat:a/b"));
	cr_assert(globs_match(&g, "ab"));
	cr_assert_not(globs_match(&g, "newsy"));
	cr_assert_not(globs_match(&g, "a"));
	cr_assert_not(globs_match(&none, "news"));
}

Test(identity, is_nobody_at_first)
{
	cr_assert_str_eq(i->user, "");
	cr_assert_null(i->info);
	cr_assert_not(i->admitted || i->authenticated);
	cr_assert_null(identity_granted(i, "a", 0));
	identity_free(NULL);
}

Test(identity, takes_a_token_and_a_newer_one_of_the_same_user)
{
	struct claims c = { .user = text("alice"),
		.info = text("{\"a\":1}"),
		.channels = LIST(text("a"), text("b*")),
		.publish = LIST(text("c")),
		.expires = 77 };

	cr_assert_eq(identity_claim(i, &c), 0);
	cr_assert_str_eq(i->user, "alice");
	cr_assert_str_eq(i->info, "{\"a\":1}");
	cr_assert_eq(i->expires, 77);
	cr_assert(i->admitted && i->authenticated);
	cr_assert(globs_match(&i->subscribe, "bb") && globs_match(&i->publish, "c"));
	cr_assert_eq(claim("alice", NULL), 0);
	cr_assert_null(i->info);
	cr_assert_eq(i->expires, 100);
	cr_assert_not(globs_match(&i->subscribe, "a") || globs_match(&i->publish, "c"));
}

Test(identity, refuses_another_users_token)
{
	cr_assert_eq(claim("alice", LIST(text("a"))), 0);
	cr_assert_eq(claim("bob", LIST(text("b"))), FAN_EDENIED);
	cr_assert_eq(claim("", NULL), FAN_EDENIED);
	cr_assert_str_eq(i->user, "alice");
	cr_assert(globs_match(&i->subscribe, "a"));
}

Test(identity, a_token_without_a_user_leaves_room_for_one)
{
	cr_assert_eq(claim("", NULL), 0);
	cr_assert(i->authenticated);
	cr_assert_eq(claim("alice", NULL), 0);
	cr_assert_str_eq(i->user, "alice");
}

Test(identity, the_application_replaces_what_it_names)
{
	struct claims nothing = { .user = text("") };
	struct claims some = { .user = text("bob"), .publish = LIST(text("p")), .expires = 5 };

	cr_assert_eq(identity_name(i, &nothing), 0);
	cr_assert(i->admitted && !i->authenticated, "let in, but not known");
	cr_assert_eq(claim("alice", LIST(text("a"))), 0);
	cr_assert_eq(identity_name(i, &some), 0);
	cr_assert_str_eq(i->user, "bob");
	cr_assert_eq(i->expires, 5);
	cr_assert(globs_match(&i->subscribe, "a") && globs_match(&i->publish, "p"));
	cr_assert_eq(identity_name(i, &nothing), 0);
	cr_assert_str_eq(i->user, "bob");
}

Test(identity, what_the_application_named_holds_against_a_later_token)
{
	struct claims said = { .user = text("alice"),
		.info = text("[2]"),
		.channels = LIST(NULL),
		.publish = LIST(text("p")),
		.expires = 50 };
	struct claims token = { .user = text("alice"),
		.info = text("[1]"),
		.channels = LIST(text("a")),
		.publish = LIST(text("q")),
		.expires = 100 };

	cr_assert_eq(identity_claim(i, &token), 0);
	cr_assert_eq(identity_name(i, &said), 0);
	cr_assert_eq(identity_claim(i, &token), 0);
	cr_assert_str_eq(i->info, "[2]");
	cr_assert_not(globs_match(&i->subscribe, "a"), "an empty list is named too");
	cr_assert(globs_match(&i->publish, "p") && !globs_match(&i->publish, "q"));
	cr_assert_eq(i->expires, 50);
	/* A token may end earlier, which does not take the application's end away. */
	token.expires = 40;
	cr_assert_eq(identity_claim(i, &token), 0);
	cr_assert_eq(i->expires, 40);
	token.expires = 100;
	cr_assert_eq(identity_claim(i, &token), 0);
	cr_assert_eq(i->expires, 50);
}

Test(identity, what_the_application_did_not_name_is_a_later_tokens)
{
	struct claims said = { .user = text(""), .channels = LIST(text("a")) };
	struct claims token = { .user = text("alice"),
		.info = text("[1]"),
		.channels = LIST(text("b")),
		.publish = LIST(text("q")),
		.expires = 100 };

	cr_assert_eq(identity_name(i, &said), 0);
	cr_assert_eq(identity_claim(i, &token), 0);
	cr_assert_str_eq(i->user, "alice");
	cr_assert_str_eq(i->info, "[1]");
	cr_assert(globs_match(&i->subscribe, "a") && !globs_match(&i->subscribe, "b"));
	cr_assert(globs_match(&i->publish, "q"));
	cr_assert_eq(i->expires, 100);
}

Test(identity, a_grant_is_of_its_channel_until_its_end)
{
	cr_assert_eq(grant("", "a", 50), 0);
	cr_assert_not_null(identity_granted(i, "a", 49));
	cr_assert_str_eq(identity_granted(i, "a", 49)->info, "[1]");
	cr_assert_null(identity_granted(i, "a", 50));
	cr_assert_null(identity_granted(i, "b", 0));
	cr_assert_not(i->admitted || i->authenticated, "it says nothing of the connection");
	/* A newer one takes its place. */
	cr_assert_eq(grant("", "a", 70), 0);
	cr_assert_not_null(identity_granted(i, "a", 60));
	cr_assert_eq(i->ngrants, 1);
}

Test(identity, a_grant_is_of_the_same_user)
{
	cr_assert_eq(grant("bob", "a", 50), 0, "nobody is known yet");
	cr_assert_eq(claim("alice", NULL), 0);
	cr_assert_eq(grant("bob", "b", 50), FAN_EDENIED);
	cr_assert_eq(grant("alice", "b", 50), 0);
	cr_assert_eq(grant("", "c", 50), 0);
}

Test(identity, a_user_who_becomes_known_has_no_grants_of_others)
{
	struct claims named = { .user = text("carol") };

	cr_assert_eq(grant("bob", "a", 50), 0);
	cr_assert_eq(grant("", "b", 50), 0);
	cr_assert_eq(grant("alice", "c", 50), 0);
	cr_assert_eq(claim("", NULL), 0);
	cr_assert_eq(i->ngrants, 3, "nobody is known yet");
	cr_assert_eq(claim("alice", NULL), 0);
	cr_assert_null(identity_granted(i, "a", 0));
	cr_assert_not_null(identity_granted(i, "b", 0));
	cr_assert_not_null(identity_granted(i, "c", 0));
	cr_assert_eq(i->ngrants, 2);
	cr_assert_eq(identity_name(i, &named), 0);
	cr_assert_null(identity_granted(i, "c", 0));
	cr_assert_not_null(identity_granted(i, "b", 0));
	cr_assert_eq(i->ngrants, 1);
}

Test(identity, drops_the_grants_that_have_ended)
{
	cr_assert_eq(grant("", "a", 50), 0);
	cr_assert_eq(grant("", "b", 60), 0);
	cr_assert_eq(grant("", "c", 50), 0);
	cr_assert_not(identity_drop_ended(i, 49));
	cr_assert(identity_drop_ended(i, 50));
	cr_assert_eq(i->ngrants, 1);
	cr_assert_not_null(identity_granted(i, "b", 50));
}

Test(identity, has_a_bound_of_grants)
{
	char name[32];

	for (int k = 0; k < IDENTITY_GRANTS_MAX; k++) {
		(void)snprintf(name, sizeof(name), "c%d", k);
		cr_assert_eq(grant("", name, 50), 0);
	}
	cr_assert_eq(grant("", "more", 50), FAN_EFULL);
	cr_assert_eq(grant("", "c7", 60), 0, "one that it has may be renewed");
}
