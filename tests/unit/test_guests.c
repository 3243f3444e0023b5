/*
 * Unit tests of worker/net/guests.
 */
#include "worker/net/guests.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "worker/net/deadline.h"

#define SECOND 1000

static struct event_base *base;
static struct deadlines *deadlines;
static struct guests *g;

static void
setup(void)
{
	base = event_base_new();
	deadlines = deadlines_new(base);
	cr_assert(base != NULL && deadlines != NULL);
}

static void
teardown(void)
{
	guests_free(g);
	deadlines_free(deadlines);
	event_base_free(base);
}

TestSuite(guests, .init = setup, .fini = teardown);

static void
open_guests(uint32_t connections, uint32_t rate)
{
	g = guests_new(deadlines, connections, rate);
	cr_assert_not_null(g);
}

static struct sockaddr_storage
address(const char *text)
{
	struct sockaddr_storage ss = { .ss_family = AF_INET };
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(1) };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(1) };

	if (inet_pton(AF_INET, text, &sin.sin_addr) == 1) {
		memcpy(&ss, &sin, sizeof(sin));
	} else {
		cr_assert_eq(inet_pton(AF_INET6, text, &sin6.sin6_addr), 1);
		memcpy(&ss, &sin6, sizeof(sin6));
	}
	return ss;
}

static int
try(const char *text, uint64_t now, struct guest **out)
{
	struct sockaddr_storage ss = address(text);

	return guests_enter(g, (const struct sockaddr *)&ss, now, out);
}

static struct guest *
enter(const char *text, uint64_t now)
{
	struct guest *guest;

	cr_assert_eq(try(text, now, &guest), 0, "%s", text);
	cr_assert_not_null(guest);
	return guest;
}

static void
refused(const char *text, uint64_t now)
{
	struct guest *guest;

	cr_assert_eq(try(text, now, &guest), FAN_EFULL, "%s", text);
	cr_assert_null(guest);
}

Test(guests, connections_of_one_address)
{
	struct guest *a, *b, *other;

	open_guests(2, 0);
	a = enter("192.0.2.1", 1);
	b = enter("192.0.2.1", 1);
	cr_assert_eq(a, b);
	refused("192.0.2.1", 1);
	refused("::ffff:192.0.2.1", 1);
	other = enter("192.0.2.2", 1);
	cr_assert_eq(guests_count(g), 2);
	guest_leave(a, 1);
	a = enter("192.0.2.1", 1);
	refused("192.0.2.1", 1);
	guest_leave(a, 1);
	guest_leave(b, 1);
	cr_assert_eq(guests_count(g), 1);
	guest_leave(other, 1);
	cr_assert_eq(guests_count(g), 0);
	guest_leave(NULL, 1);
}

Test(guests, ipv6_by_its_64)
{
	struct guest *a, *other;

	open_guests(1, 0);
	a = enter("2001:db8:0:1::1", 1);
	refused("2001:db8:0:1:ffff::2", 1);
	other = enter("2001:db8:0:2::1", 1);
	guest_leave(a, 1);
	guest_leave(other, 1);
}

Test(guests, no_ip_address_no_limit)
{
	struct sockaddr_storage un = { .ss_family = AF_UNIX };
	struct guest *guest = (struct guest *)&un;

	open_guests(1, 1);
	cr_assert_eq(guests_enter(g, (const struct sockaddr *)&un, 1, &guest), 0);
	cr_assert_null(guest);
	cr_assert_eq(guests_count(g), 0);
	cr_assert(guest_is(NULL, (const struct sockaddr *)&un));
}

Test(guests, whose_place_it_is)
{
	struct sockaddr_storage same = address("::ffff:192.0.2.1"), other = address("192.0.2.2");
	struct guest *a;

	open_guests(1, 0);
	a = enter("192.0.2.1", 1);
	cr_assert(guest_is(a, (const struct sockaddr *)&same));
	cr_assert_not(guest_is(a, (const struct sockaddr *)&other));
	cr_assert_not(guest_is(NULL, (const struct sockaddr *)&other));
	guest_leave(a, 1);
}

/* A second's worth at once, and then as they come. */
Test(guests, rate)
{
	uint64_t now = clock_ms();
	int i;

	open_guests(0, 5);
	for (i = 0; i < 5; i++)
		guest_leave(enter("192.0.2.1", now), now);
	refused("192.0.2.1", now);
	refused("192.0.2.1", now + 199);
	guest_leave(enter("192.0.2.1", now + 200), now + 200);
	refused("192.0.2.1", now + 399);
	guest_leave(enter("192.0.2.1", now + 400), now + 400);
	/* However long it was quiet, no more than a second's worth. */
	now += 3600 * SECOND;
	for (i = 0; i < 5; i++)
		guest_leave(enter("192.0.2.1", now), now);
	refused("192.0.2.1", now);
}

/* Who keeps trying is not let in for it, and not forgotten either. */
Test(guests, refusals_cost_nothing)
{
	uint64_t now = clock_ms(), end = now + 3 * SECOND;
	int served = 0;

	open_guests(0, 2);
	for (; now < end; now += 10) {
		struct guest *guest;

		if (try("192.0.2.1", now, &guest) == 0) {
			served++;
			guest_leave(guest, now);
		}
	}
	cr_assert_eq(served, 2 + 2 * 3 - 1, "%d", served);
}

Test(guests, both_limits)
{
	uint64_t now = clock_ms();
	struct guest *a, *b;

	open_guests(2, 100);
	a = enter("192.0.2.1", now);
	b = enter("192.0.2.1", now);
	refused("192.0.2.1", now);
	refused("192.0.2.1", now + SECOND);
	guest_leave(a, now);
	guest_leave(b, now);
}

Test(guests, who_has_left_is_forgotten_when_the_bucket_is_full)
{
	uint64_t now = clock_ms();
	struct guest *stays[3];
	int i;

	open_guests(0, 1);
	guest_leave(enter("192.0.2.1", now), now);
	guest_leave(enter("192.0.2.2", now), now + 500);
	/* It is full again when this one leaves. */
	guest_leave(enter("192.0.2.3", now), now + 1000);
	cr_assert_eq(guests_count(g), 1);
	stays[0] = enter("192.0.2.4", now + 1499);
	cr_assert_eq(guests_count(g), 2);
	stays[1] = enter("192.0.2.5", now + 1500);
	cr_assert_eq(guests_count(g), 2);
	stays[2] = enter("192.0.2.6", now + 60 * SECOND);
	cr_assert_eq(guests_count(g), 3);
	for (i = 0; i < 3; i++)
		guest_leave(stays[i], now + 120 * SECOND);
	cr_assert_eq(guests_count(g), 0);
}

Test(guests, the_timer_forgets)
{
	uint64_t now = clock_ms(), long_ago = now - 5 * SECOND;
	int i;

	open_guests(0, 3);
	guest_leave(enter("192.0.2.1", long_ago), long_ago);
	cr_assert_eq(guests_count(g), 1);
	for (i = 1; i <= 20; i++)
		deadlines_run(deadlines, now + (uint64_t)i * DEADLINE_TICK_MS);
	cr_assert_eq(guests_count(g), 0);
}

Test(guests, memory_is_bounded)
{
	uint64_t now = clock_ms();
	uint32_t i;

	open_guests(0, 1);
	for (i = 0; i < GUESTS_IDLE_MAX + 1000; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "2001:db8:%x:%x::1", i >> 16, i & 0xffff);
		guest_leave(enter(text, now), now);
	}
	cr_assert_eq(guests_count(g), GUESTS_IDLE_MAX);
	/* The last ones are remembered. */
	refused("2001:db8:0:43e7::1", now);
}
