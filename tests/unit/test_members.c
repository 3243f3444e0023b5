/*
 * Unit tests of broker/hub/members.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hub/members.h"

static struct member
member(const char *client, const char *user, const char *info)
{
	return (struct member){ client, strlen(client), user, strlen(user), info, strlen(info) };
}

static int
join(struct members *t, unsigned slot, const char *channel, const char *client, const char *info)
{
	struct member m = member(client, "alice", info);

	return members_join(t, slot, channel, strlen(channel), &m);
}

static int
leave(struct members *t, unsigned slot, const char *channel, const char *client)
{
	return members_leave(t, slot, channel, strlen(channel), client, strlen(client));
}

/* All that were called, sorted: "channel/client/user/info ". */
static char called[16][700];
static unsigned calls;

static void
on_member(void *arg, const char *channel, size_t channel_len, const struct member *m)
{
	cr_assert(arg == called && calls < 16);
	(void)snprintf(called[calls++], sizeof(called[0]), "%.*s/%.*s/%.*s/%.*s", (int)channel_len,
	    channel, (int)m->client_len, m->client, (int)m->user_len, m->user, (int)m->info_len,
	    m->info);
}

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static const char *
all(const struct members *t)
{
	static char out[4096];
	size_t n = 0;
	unsigned i;

	calls = 0;
	members_each(t, on_member, called);
	cr_assert(calls == members_count(t));
	qsort(called, calls, sizeof(called[0]), compare);
	out[0] = '\0';
	for (i = 0; i < calls; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s ", called[i]);
	return out;
}

Test(members, who_joins_is_there_until_he_leaves)
{
	struct members *t = members_new(3);

	cr_assert(join(t, 0, "a", "c1", "{}") == 0);
	cr_assert(join(t, 0, "b", "c1", "") == 0);
	cr_assert(join(t, 2, "a", "c2", "1") == 0);
	cr_assert_str_eq(all(t), "a/c1/alice/{} a/c2/alice/1 b/c1/alice/ ");
	cr_assert(leave(t, 1, "a", "c1") == FAN_ENOENT); /* of another slot */
	cr_assert(leave(t, 0, "a", "c2") == FAN_ENOENT);
	cr_assert(leave(t, 0, "a", "c1") == 0);
	cr_assert(leave(t, 0, "a", "c1") == FAN_ENOENT);
	cr_assert_str_eq(all(t), "a/c2/alice/1 b/c1/alice/ ");
	members_free(t);
	members_free(NULL);
}

Test(members, joining_again_replaces_what_is_known)
{
	struct members *t = members_new(1);

	cr_assert(join(t, 0, "a", "c1", "1") == 0);
	cr_assert(join(t, 0, "a", "c1", "\"longer\"") == FAN_EEXIST);
	cr_assert_str_eq(all(t), "a/c1/alice/\"longer\" ");
	cr_assert(leave(t, 0, "a", "c1") == 0 && members_count(t) == 0);
	members_free(t);
}

/* The names of a key must not run into each other. */
Test(members, names_have_a_length)
{
	struct members *t = members_new(2);
	char channel[CHANNEL_NAME_MAX], client[CLIENT_ID_MAX], info[MEMBER_INFO_MAX];
	struct member m = { client, sizeof(client), "", 0, info, sizeof(info) };

	cr_assert(join(t, 0, "ab", "c", "") == 0);
	cr_assert(join(t, 0, "a", "bc", "") == 0);
	cr_assert(members_count(t) == 2);
	memset(channel, 'n', sizeof(channel));
	memset(client, 'c', sizeof(client));
	memset(info, '1', sizeof(info));
	cr_assert(members_join(t, 1, channel, sizeof(channel), &m) == 0);
	cr_assert(members_leave(t, 1, channel, sizeof(channel), client, sizeof(client) - 1) ==
	    FAN_ENOENT);
	cr_assert(members_leave(t, 1, channel, sizeof(channel), client, sizeof(client)) == 0);
	/* A client that no member can have, as a worker gone mad might say. */
	cr_assert(members_leave(t, 1, "a", 1, info, sizeof(info)) == FAN_ENOENT);
	members_free(t);
}

Test(members, a_slot_that_goes_takes_its_own)
{
	struct members *t = members_new(3);

	(void)join(t, 0, "a", "c1", "");
	(void)join(t, 1, "a", "c2", "7");
	(void)join(t, 1, "b", "c3", "");
	calls = 0;
	members_drop_slot(t, 2, on_member, called);
	cr_assert(calls == 0);
	members_drop_slot(t, 1, on_member, called);
	qsort(called, calls, sizeof(called[0]), compare);
	cr_assert(calls == 2);
	cr_assert_str_eq(called[0], "a/c2/alice/7");
	cr_assert_str_eq(called[1], "b/c3/alice/");
	cr_assert_str_eq(all(t), "a/c1/alice/ ");
	cr_assert(join(t, 1, "b", "c3", "") == 0);
	members_free(t);
}

/* Against an array, over many random steps. */
Test(members, many)
{
	struct members *t = members_new(2);
	bool in[2][50][20] = { 0 };
	char channel[16], client[16];
	unsigned i, slot, c, k, n = 0;
	int want, got;

	srandom(7);
	for (i = 0; i < 50000; i++) {
		slot = (unsigned)random() % 2;
		c = (unsigned)random() % 50;
		k = (unsigned)random() % 20;
		(void)snprintf(channel, sizeof(channel), "ch%u", c);
		(void)snprintf(client, sizeof(client), "c%u", k);
		if (random() % 2 == 0) {
			want = in[slot][c][k] ? FAN_EEXIST : 0;
			got = join(t, slot, channel, client, i % 3 == 0 ? "1" : "\"more\"");
			n += !in[slot][c][k];
			in[slot][c][k] = true;
		} else {
			want = in[slot][c][k] ? 0 : FAN_ENOENT;
			got = leave(t, slot, channel, client);
			n -= in[slot][c][k];
			in[slot][c][k] = false;
		}
		cr_assert(got == want && members_count(t) == n);
	}
	members_free(t);
}
