/*
 * Unit tests of outq: order, what is left out by which tag, and what never is.  A message is written
 * "<...>", so that every content of a queue can be read.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/block.h"
#include "worker/net/outq.h"

#define ALL SIZE_MAX
#define W OUTQ_ENTRY_WEIGHT

static struct outq q;
static size_t memory;

/* What was told since the last look: "KEY:MESSAGES,". */
static char told[2048];

static void
on_left(void *arg, uint32_t key, uint64_t messages)
{
	size_t n = strlen(told);

	cr_assert_eq(arg, &q);
	cr_assert_gt(messages, 0);
	(void)snprintf(told + n, sizeof(told) - n, "%u:%llu,", key, (unsigned long long)messages);
}

static size_t
unit(const uint8_t *p, size_t n)
{
	const uint8_t *end = memchr(p, '>', n);

	return end == NULL ? n : (size_t)(end - p) + 1;
}

static void
setup(void)
{
	q = (struct outq){ .memory = &memory };
	memory = 0;
}

static void
teardown(void)
{
	outq_fini(&q);
	cr_assert_eq(memory, 0);
}

TestSuite(outq, .timeout = 60, .init = setup, .fini = teardown);

static struct block *
block_of(const char *text)
{
	struct block *b = block_new(strlen(text));

	cr_assert_not_null(b);
	memcpy(b->data, text, strlen(text));
	b->len = strlen(text);
	return b;
}

static void
push(uint32_t key, enum outq_shed shed, const char *text)
{
	struct block *b = block_of(text);

	cr_assert_eq(outq_push(&q, b, 0, b->len, (struct outq_tag){ key, (uint8_t)shed }), 0);
	cr_assert_eq(b->refs, 2);
	block_unref(b);
	if (shed == OUTQ_LATEST)
		outq_renew(&q, unit, on_left, &q);
}

static void
copy(const char *text)
{
	cr_assert_eq(outq_copy(&q, (const uint8_t *)text, strlen(text)), 0);
}

static bool
shed(size_t max)
{
	return outq_shed(&q, max, unit, on_left, &q);
}

static const char *
content(void)
{
	static char text[4096];
	struct iovec iov[256];
	size_t n = outq_iov(&q, iov, 256), at = 0, i;

	for (i = 0; i < n; i++) {
		cr_assert_gt(iov[i].iov_len, 0);
		memcpy(text + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	cr_assert_eq(at, q.bytes);
	text[at] = '\0';
	return text;
}

#define EXPECT(text) cr_assert_str_eq(content(), text)
#define EXPECT_TOLD(text)                                                                          \
	do {                                                                                       \
		cr_assert_str_eq(told, text);                                                      \
		told[0] = '\0';                                                                    \
	} while (0)

/* --- in and out --------------------------------------------------------------------------- */

Test(outq, entries_are_small)
{
	cr_assert_leq(sizeof(struct outq_entry), 24);
}

Test(outq, bytes_leave_in_order)
{
	int i;

	cr_assert(outq_is_empty(&q));
	cr_assert_eq(outq_weight(&q), 0);
	for (i = 0; i < 20; i++) {
		push(1, OUTQ_OLDEST, "<one>");
		copy("(two)");
		push(2, OUTQ_LATEST, "<three>");
		outq_took(&q, 3);
		EXPECT("e>(two)<three>");
		outq_took(&q, 2);
		outq_took(&q, 5 + 7);
		cr_assert(outq_is_empty(&q));
		cr_assert_eq(outq_weight(&q), 0);
	}
	EXPECT_TOLD("");
}

Test(outq, more_and_more_entries)
{
	char text[16];
	int i;

	for (i = 0; i < 1000; i++) {
		(void)snprintf(text, sizeof(text), "<%03d>", i);
		push(1, OUTQ_KEEP, text);
		if (i % 3 == 0)
			outq_took(&q, 5);
	}
	for (i = 334; i < 1000; i++) {
		uint8_t scratch[5];
		size_t len;

		(void)snprintf(text, sizeof(text), "<%03d>", i);
		cr_assert_eq(memcmp(outq_lend(&q, 5, scratch, &len), text, 5), 0);
		outq_took(&q, 5);
	}
	cr_assert(outq_is_empty(&q));
}

Test(outq, the_weight_counts_entries)
{
	push(1, OUTQ_OLDEST, "<one>");
	cr_assert_eq(outq_weight(&q), 5 + W);
	push(1, OUTQ_OLDEST, "<two>");
	cr_assert_eq(outq_weight(&q), 10 + 2 * W);
	outq_took(&q, 6);
	cr_assert_eq(outq_weight(&q), 4 + W);
}

Test(outq, small_copies_share_a_block)
{
	char big[3000];

	copy("one,");
	copy("two,");
	cr_assert_eq(outq_weight(&q), 8 + W);
	memset(big, '.', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	copy(big);
	copy("three");
	cr_assert_eq(outq_weight(&q), 8 + sizeof(big) - 1 + 5 + 3 * W);
	outq_took(&q, 8 + sizeof(big) - 1);
	EXPECT("three");
}

/* What may be left out takes nothing up that must stay, nor does a block with other holders. */
Test(outq, copies_change_no_block_of_others)
{
	struct block *b = block_new(100);

	cr_assert_not_null(b);
	memcpy(b->data, "<a><b>", 6);
	b->len = 6;
	cr_assert_eq(outq_push(&q, b, 0, 6, (struct outq_tag){ 1, OUTQ_OLDEST }), 0);
	cr_assert_eq(outq_push(&q, b, 0, 3, (struct outq_tag){ 1, OUTQ_KEEP }), 0);
	copy("(c)");
	cr_assert_eq(b->len, 6);
	EXPECT("<a><b><a>(c)");
	outq_took(&q, 12);
	cr_assert_eq(outq_push(&q, b, 0, 6, (struct outq_tag){ 1, OUTQ_OLDEST }), 0);
	block_unref(b);
	copy("(d)");
	cr_assert(shed(3 + W));
	EXPECT("(d)");
}

Test(outq, a_copy_is_not_joined_to_what_has_begun)
{
	copy("<one>");
	outq_took(&q, 1);
	copy("<two>");
	copy("<three>");
	cr_assert_eq(outq_weight(&q), 16 + 2 * W);
	outq_discard(&q, unit);
	EXPECT("one>");
}

Test(outq, must_leave)
{
	cr_assert_not(outq_must_leave(&q));
	push(1, OUTQ_OLDEST, "<a>");
	push(2, OUTQ_LATEST, "<b>");
	cr_assert_not(outq_must_leave(&q));
	copy("(ping)");
	push(1, OUTQ_OLDEST, "<c>");
	cr_assert(outq_must_leave(&q));
}

Test(outq, fini_gives_all_blocks_back)
{
	struct block *b = block_of("<a>");

	cr_assert_eq(outq_push(&q, b, 0, 3, (struct outq_tag){ 1, OUTQ_LATEST }), 0);
	push(2, OUTQ_KEEP, "x");
	push(1, OUTQ_LATEST, "<b>");
	cr_assert_eq(b->refs, 1);
	cr_assert_eq(outq_push(&q, b, 0, 3, (struct outq_tag){ 1, OUTQ_LATEST }), 0);
	outq_fini(&q);
	cr_assert_eq(b->refs, 1);
	cr_assert(outq_is_empty(&q));
	block_unref(b);
}

/* The memory of what many queues share is counted once, and until the last lets go. */
Test(outq, the_memory_of_several_queues)
{
	struct outq other = { .memory = &memory };
	struct block *b = block_new(1000);
	const struct outq_tag tag = { 1, OUTQ_OLDEST };
	size_t one;

	cr_assert_not_null(b);
	memcpy(b->data, "<a><b>", 6);
	b->len = 6;
	cr_assert_eq(outq_push(&q, b, 0, 3, tag), 0);
	one = memory;
	cr_assert_geq(one, sizeof(*b) + 1000 + sizeof(struct outq_entry));
	cr_assert_eq(outq_push(&q, b, 3, 6, tag), 0);
	cr_assert_eq(memory, one);
	cr_assert_eq(outq_push(&other, b, 0, 6, tag), 0);
	cr_assert_lt(memory, one + 500, "only entries");
	outq_took(&q, 6);
	cr_assert_gt(memory, 1000);
	outq_took(&other, 1);
	outq_discard(&other, unit);
	cr_assert_gt(memory, 1000, "the first has begun");
	outq_took(&other, other.bytes);
	cr_assert_lt(memory, 1000);
	outq_fini(&other);
	cr_assert_eq(b->refs, 1);
	block_unref(b);
}

Test(outq, a_block_beyond_32_bits_is_refused)
{
	struct block huge = { .refs = 1, .len = (size_t)1 << 33, .cap = (size_t)1 << 33 };
	const struct outq_tag tag = { 0, OUTQ_KEEP };

	cr_assert_eq(outq_push(&q, &huge, 0, (size_t)1 << 32, tag), FAN_ENOMEM);
	cr_assert_eq(huge.refs, 1);
}

/* --- lending ------------------------------------------------------------------------------ */

Test(outq, lends_in_place_where_it_can)
{
	uint8_t scratch[8];
	const uint8_t *p;
	size_t len;

	cr_assert_eq(outq_lend(&q, 8, scratch, &len), scratch);
	cr_assert_eq(len, 0);
	push(1, OUTQ_KEEP, "abcdef");
	outq_took(&q, 1);
	p = outq_lend(&q, 4, scratch, &len);
	cr_assert(p != scratch && len == 4 && memcmp(p, "bcde", 4) == 0);
	p = outq_lend(&q, 8, scratch, &len);
	cr_assert(p != scratch && len == 5, "alone, it needs no copy");
	push(1, OUTQ_LATEST, "<h>");
	push(1, OUTQ_KEEP, "ghij");
	p = outq_lend(&q, 5, scratch, &len);
	cr_assert(p != scratch && len == 5);
	push(1, OUTQ_LATEST, "<k>"); /* leaves a hole */
	p = outq_lend(&q, 8, scratch, &len);
	cr_assert(p == scratch && len == 8 && memcmp(p, "bcdefghi", 8) == 0);
	outq_took(&q, 7);
	p = outq_lend(&q, 8, scratch, &len);
	cr_assert(p == scratch && len == 5 && memcmp(p, "ij<k>", 5) == 0);
}

Test(outq, fills_as_many_vectors_as_there_are)
{
	struct iovec iov[2];
	int i;

	for (i = 0; i < 5; i++)
		push(1, OUTQ_KEEP, i == 0 ? "first" : "more");
	cr_assert_eq(outq_iov(&q, iov, 2), 2);
	cr_assert(iov[0].iov_len == 5 && memcmp(iov[0].iov_base, "first", 5) == 0);
	cr_assert(iov[1].iov_len == 4 && memcmp(iov[1].iov_base, "more", 4) == 0);
}

/* --- the oldest --------------------------------------------------------------------------- */

Test(outq, the_oldest_go_first)
{
	push(1, OUTQ_OLDEST, "<a><b>");
	push(1, OUTQ_OLDEST, "<c><d>");
	cr_assert(shed(ALL));
	cr_assert(shed(12 + 2 * W));
	EXPECT("<a><b><c><d>");
	EXPECT_TOLD("");
	cr_assert(shed(12 + 2 * W - 1));
	EXPECT("<b><c><d>");
	EXPECT_TOLD("1:1,");
	cr_assert(shed(3 + W));
	EXPECT("<d>");
	EXPECT_TOLD("1:2,");
}

Test(outq, one_message_alone_stays)
{
	push(1, OUTQ_OLDEST, "<a><b>");
	cr_assert(shed(1));
	EXPECT("<b>");
	EXPECT_TOLD("1:1,");
	cr_assert(shed(1));
	EXPECT("<b>");
	copy("(c)");
	cr_assert_not(shed(1));
	EXPECT("(c)");
	EXPECT_TOLD("1:1,");
}

Test(outq, only_their_tag_counts)
{
	copy("(k)");
	push(1, OUTQ_OLDEST, "<a>");
	push(2, OUTQ_LATEST, "<b>");
	push(3, OUTQ_KEEP, "<c>");
	push(4, OUTQ_OLDEST, "<d>");
	cr_assert_not(shed(0));
	EXPECT("(k)<b><c>");
	EXPECT_TOLD("1:1,4:1,");
	outq_took(&q, 4);
	EXPECT("b><c>");
}

Test(outq, told_once_for_each_key)
{
	int i;

	for (i = 0; i < 30; i++)
		push((uint32_t)i % 3, OUTQ_OLDEST, "<a><b>");
	copy("!");
	cr_assert_not(shed(0));
	EXPECT("!");
	EXPECT_TOLD("0:20,1:20,2:20,");
}

Test(outq, more_keys_than_are_told_at_once)
{
	uint32_t seen[3 * OUTQ_KEYS] = { 0 };
	const char *p = told;
	uint32_t i;

	for (i = 0; i < 6 * OUTQ_KEYS; i++)
		push(i % (3 * OUTQ_KEYS), OUTQ_OLDEST, "<a>");
	copy("!");
	cr_assert_not(shed(0));
	while (*p != '\0') {
		char *end;
		unsigned long key = strtoul(p, &end, 10);

		cr_assert_lt(key, 3 * OUTQ_KEYS);
		seen[key] += (uint32_t)strtoul(end + 1, &end, 10);
		p = end + 1;
	}
	for (i = 0; i < 3 * OUTQ_KEYS; i++)
		cr_assert_eq(seen[i], 2, "key %u", i);
}

Test(outq, what_has_begun_is_finished)
{
	push(1, OUTQ_OLDEST, "<a><bb><cc><dd>");
	copy("!");
	outq_took(&q, 5);
	EXPECT("b><cc><dd>!");
	cr_assert_not(shed(0));
	EXPECT("b>!");
	EXPECT_TOLD("1:2,");
	outq_took(&q, 1);
	push(1, OUTQ_OLDEST, "<e>");
	cr_assert_not(shed(0));
	EXPECT(">!");
	EXPECT_TOLD("1:1,");
}

Test(outq, what_has_ended_has_not_begun)
{
	push(1, OUTQ_OLDEST, "<a><bb><cc>");
	copy("!");
	outq_took(&q, 3);
	cr_assert_not(shed(0));
	EXPECT("!");
	EXPECT_TOLD("1:2,");
}

Test(outq, what_is_pinned_stays)
{
	push(1, OUTQ_OLDEST, "<a><b>");
	push(1, OUTQ_OLDEST, "<c><d><e>");
	push(1, OUTQ_OLDEST, "<f>");
	outq_pin(&q, 6 + 4);
	copy("!");
	cr_assert_not(shed(0));
	EXPECT("<a><b><c><d>!");
	EXPECT_TOLD("1:2,");
	/* Half of it leaves: the other half is still pinned. */
	outq_took(&q, 4);
	outq_pin(&q, 5);
	push(1, OUTQ_OLDEST, "<g>");
	cr_assert_not(shed(0));
	EXPECT("b><c>!");
	EXPECT_TOLD("1:2,");
	outq_took(&q, 5);
	push(1, OUTQ_OLDEST, "<h>");
	cr_assert_not(shed(0));
	EXPECT("!");
}

Test(outq, the_newest_stays_beside_what_has_begun)
{
	push(1, OUTQ_OLDEST, "<aaa><b>");
	push(1, OUTQ_OLDEST, "<c><d>");
	outq_took(&q, 1);
	cr_assert(shed(0));
	EXPECT("aaa><d>");
	EXPECT_TOLD("1:2,");
	push(2, OUTQ_LATEST, "<e>");
	cr_assert(shed(0));
	EXPECT("aaa><e>");
	push(3, OUTQ_LATEST, "<f>");
	cr_assert_not(shed(0));
	EXPECT("aaa><e><f>");
}

Test(outq, a_pin_at_the_front_of_a_begun_entry)
{
	push(1, OUTQ_OLDEST, "<aaa><bbb><ccc>");
	copy("!");
	outq_took(&q, 2);
	outq_pin(&q, 4); /* the rest of the first, and one byte of the second */
	cr_assert_not(shed(0));
	EXPECT("aa><bbb>!");
	EXPECT_TOLD("1:1,");
}

static size_t
no_unit(const uint8_t *p, size_t n)
{
	return p[0] == '0' ? 0 : n + 1;
}

Test(outq, bytes_that_do_not_divide_are_one_message)
{
	push(1, OUTQ_OLDEST, "0<a><b>");
	push(1, OUTQ_OLDEST, "1<c><d>");
	copy("!");
	cr_assert_not(outq_shed(&q, 0, no_unit, on_left, &q));
	EXPECT("!");
	EXPECT_TOLD("1:2,");
}

/* --- the latest --------------------------------------------------------------------------- */

Test(outq, the_latest_replaces_the_one_before)
{
	push(1, OUTQ_LATEST, "<a>");
	EXPECT_TOLD("");
	push(2, OUTQ_LATEST, "<b>");
	copy("(k)");
	push(1, OUTQ_LATEST, "<c>");
	EXPECT("<b>(k)<c>");
	EXPECT_TOLD("1:1,");
	push(2, OUTQ_LATEST, "<d>");
	EXPECT("(k)<c><d>");
	EXPECT_TOLD("2:1,");
	push(2, OUTQ_LATEST, "<e>");
	EXPECT("(k)<c><e>");
	EXPECT_TOLD("2:1,");
}

Test(outq, of_one_write_the_last_is_the_latest)
{
	push(1, OUTQ_LATEST, "<a><bb><ccc>");
	EXPECT("<ccc>");
	EXPECT_TOLD("1:2,");
	push(1, OUTQ_LATEST, "<d><e>");
	EXPECT("<e>");
	EXPECT_TOLD("1:2,");
	cr_assert(shed(0), "one message alone may wait");
	EXPECT("<e>");
}

Test(outq, the_latest_waits_behind_what_has_begun)
{
	push(1, OUTQ_LATEST, "<aaa>");
	outq_took(&q, 2);
	push(1, OUTQ_LATEST, "<b><c>");
	EXPECT("aa><c>");
	EXPECT_TOLD("1:1,");
	push(1, OUTQ_LATEST, "<d>");
	EXPECT("aa><d>");
	EXPECT_TOLD("1:1,");
	outq_pin(&q, 4);
	push(1, OUTQ_LATEST, "<e>");
	EXPECT("aa><d><e>");
	EXPECT_TOLD("");
	outq_took(&q, 6);
	push(1, OUTQ_LATEST, "<f>");
	EXPECT("<f>");
	EXPECT_TOLD("1:1,");
}

/* As when the kernel takes a part of the first write. */
Test(outq, a_write_that_has_begun_keeps_its_last_message_too)
{
	struct block *b = block_of("<a><b><c><d>");

	cr_assert_eq(outq_push(&q, b, 0, b->len, (struct outq_tag){ 1, OUTQ_LATEST }), 0);
	outq_took(&q, 4);
	outq_renew(&q, unit, on_left, &q);
	EXPECT("b><d>");
	EXPECT_TOLD("1:1,");
	outq_took(&q, 1);
	push(1, OUTQ_LATEST, "<e>");
	EXPECT("><e>");
	EXPECT_TOLD("1:1,");
	outq_took(&q, 4);
	cr_assert_eq(b->refs, 1);
	block_unref(b);
}

Test(outq, thousands_of_latest_take_no_room)
{
	char text[16];
	uint32_t i;

	copy("!");
	for (i = 0; i < 20000; i++) {
		(void)snprintf(text, sizeof(text), "<%u>", i % 10);
		push(i % 10, OUTQ_LATEST, text);
		told[0] = '\0';
	}
	EXPECT("!<0><1><2><3><4><5><6><7><8><9>");
	cr_assert_leq(q.cap, 64);
	cr_assert_eq(outq_weight(&q), 31 + 11 * W);
}

/* --- discarding --------------------------------------------------------------------------- */

Test(outq, discard_drops_all_where_nothing_has_begun)
{
	push(1, OUTQ_OLDEST, "<a>");
	copy("(b)");
	push(2, OUTQ_LATEST, "<c>");
	push(2, OUTQ_LATEST, "<d>");
	outq_discard(&q, unit);
	cr_assert(outq_is_empty(&q));
	cr_assert_eq(outq_weight(&q), 0);
	push(1, OUTQ_KEEP, "again");
	EXPECT("again");
}

Test(outq, discard_keeps_what_has_begun)
{
	push(1, OUTQ_KEEP, "<aa><bb>");
	push(1, OUTQ_OLDEST, "<cc>");
	outq_took(&q, 1);
	outq_discard(&q, unit);
	EXPECT("aa><bb>");
	outq_took(&q, 7);
	push(1, OUTQ_OLDEST, "<cc><dd><ee>");
	push(1, OUTQ_OLDEST, "<ff>");
	outq_took(&q, 5);
	outq_discard(&q, unit);
	EXPECT("dd>");
}

Test(outq, discard_keeps_what_is_pinned)
{
	push(1, OUTQ_OLDEST, "<aa><bb>");
	push(1, OUTQ_OLDEST, "<cc><dd>");
	copy("(ee)");
	outq_pin(&q, 9);
	outq_discard(&q, unit);
	EXPECT("<aa><bb><cc>");
	outq_pin(&q, 0);
	outq_discard(&q, unit);
	EXPECT("");
}

/* --- at random ---------------------------------------------------------------------------- */

#define KEYS 5
#define ROUNDS 200
#define STEPS 200

/* What went in and what came out: "<KEY NUMBER SHED xxx>". */
static struct flow {
	unsigned next; /* number of the next message */
	unsigned last; /* of the last that came out */
	unsigned in[KEYS], out[KEYS];
	unsigned left[KEYS]; /* told, or dropped by discard */
	unsigned keep_in, keep_out;
	char stream[65536]; /* bytes that came out, not yet parsed */
	size_t n;
} flow;

static void
on_flow_left(void *arg, uint32_t key, uint64_t messages)
{
	(void)arg;
	flow.left[key] += (unsigned)messages;
}

static void
parse_stream(void)
{
	size_t at = 0;

	while (at < flow.n) {
		const char *end = memchr(flow.stream + at, '>', flow.n - at);
		unsigned key, number, kind;

		if (end == NULL)
			break;
		cr_assert_eq(
		    sscanf(flow.stream + at, "<%u %u %u ", &key, &number, &kind), 3, "torn");
		cr_assert_lt(key, KEYS);
		cr_assert_gt(number, flow.last, "out of order");
		flow.last = number;
		if (kind == OUTQ_KEEP)
			flow.keep_out++;
		else
			flow.out[key]++;
		at = (size_t)(end + 1 - flow.stream);
	}
	memmove(flow.stream, flow.stream + at, flow.n - at);
	flow.n -= at;
}

static void
take(size_t n)
{
	static uint8_t scratch[65536];
	size_t len;
	const uint8_t *p = outq_lend(&q, n, scratch, &len);

	cr_assert_leq(flow.n + len, sizeof(flow.stream));
	memcpy(flow.stream + flow.n, p, len);
	flow.n += len;
	outq_took(&q, len);
	parse_stream();
}

static void
push_some(void)
{
	enum outq_shed kind = (enum outq_shed)(rand() % 3);
	uint32_t key = (uint32_t)(rand() % KEYS);
	char text[1024] = "";
	int i, n = 1 + rand() % 4;
	struct block *b;

	for (i = 0; i < n; i++) {
		size_t at = strlen(text);

		(void)snprintf(text + at, sizeof(text) - at, "<%u %u %u %.*s>", key, ++flow.next,
		    (unsigned)kind, rand() % 20, "xxxxxxxxxxxxxxxxxxxx");
	}
	if (kind == OUTQ_KEEP)
		flow.keep_in += (unsigned)n;
	else
		flow.in[key] += (unsigned)n;
	if (kind == OUTQ_KEEP && rand() % 2 == 0) {
		copy(text);
		return;
	}
	b = block_of(text);
	cr_assert_eq(outq_push(&q, b, 0, b->len, (struct outq_tag){ key, (uint8_t)kind }), 0);
	block_unref(b);
	if (rand() % 4 == 0)
		take((size_t)rand() % 30);
	if (kind == OUTQ_LATEST && !outq_is_empty(&q))
		outq_renew(&q, unit, on_flow_left, &q);
}

/* Copies the first n bytes, which are there. */
static void
look(uint8_t out[64], size_t n)
{
	uint8_t scratch[64];
	size_t len;
	const uint8_t *p = outq_lend(&q, n, scratch, &len);

	cr_assert_eq(len, n);
	memcpy(out, p, n);
}

Test(outq, nothing_is_torn_lost_or_out_of_order_at_random)
{
	int round, step;
	size_t i;

	srand(20);
	for (round = 0; round < ROUNDS; round++) {
		memset(&flow, 0, sizeof(flow));
		for (step = 0; step < STEPS; step++) {
			uint8_t before[64], after[64];
			size_t pinned = q.pinned < sizeof(before) ? q.pinned : 0;

			look(before, pinned);
			switch (rand() % 6) {
			case 0:
				if (!outq_shed(&q, 1000, unit, on_flow_left, &q))
					cr_assert_gt(outq_weight(&q), 1000);
				break;
			case 1:
				take((size_t)rand() % 100);
				pinned = 0;
				break;
			case 2:
				outq_pin(&q, (size_t)rand() % 60 % (q.bytes + 1));
				pinned = 0;
				break;
			default:
				push_some();
				if (q.pinned < pinned)
					pinned = 0; /* some of it was taken */
			}
			look(after, pinned);
			cr_assert_eq(memcmp(before, after, pinned), 0, "what was pinned changed");
		}
		take(q.bytes);
		cr_assert_eq(flow.n, 0, "a part of a message is left");
		cr_assert(outq_is_empty(&q));
		cr_assert_eq(outq_weight(&q), 0);
		cr_assert_eq(flow.keep_in, flow.keep_out);
		for (i = 0; i < KEYS; i++)
			cr_assert_eq(flow.in[i], flow.out[i] + flow.left[i], "key %zu", i);
	}
}
