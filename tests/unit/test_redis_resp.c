/*
 * Unit tests of redis_resp: replies whole and cut at every byte give the same, bounds hold, and
 * commands are written as RESP.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/redis_resp.h"
#include "common/buf.h"
#include "tests/unit/guard.h"

TestSuite(redis_resp, .timeout = 30);

/* What was called back, as text: one line for each reply. */
struct record {
	char text[8192];
	size_t n;
	int answer; /* of the callback */
};

static void
add(struct record *rec, const char *mark, const char *data, size_t len)
{
	int n = snprintf(rec->text + rec->n, sizeof(rec->text) - rec->n, "%s%.*s", mark, (int)len,
	    data == NULL ? "" : data);

	rec->n += (size_t)n;
	cr_assert_lt(rec->n, sizeof(rec->text));
}

static int
on_reply(void *arg, const struct redis_reply *r)
{
	static const char *const marks[] = { " $", " +", " -", " :", " nil" };
	struct record *rec = arg;
	char number[24];
	size_t i;

	cr_assert(r->array || r->n == 1);
	add(rec, r->array ? "*" : "", NULL, 0);
	for (i = 0; i < r->n; i++) {
		const struct redis_value *v = &r->v[i];

		add(rec, marks[v->type], v->data, v->len);
		(void)snprintf(number, sizeof(number), "%lld", (long long)v->number);
		if (v->type == REDIS_TYPE_INTEGER)
			add(rec, number, NULL, 0);
	}
	add(rec, "\n", NULL, 0);
	return rec->answer;
}

/* Feeds n bytes in pieces of step, each before a forbidden page. */
static int
feed(struct record *rec, const char *bytes, size_t n, size_t step, const struct guard *g)
{
	struct redis_reader *r = redis_reader_new(on_reply, rec);
	const char *why;
	size_t at;
	int err = 0;

	cr_assert_not_null(r);
	rec->n = 0;
	for (at = 0; at < n && err == 0; at += step) {
		size_t piece = n - at < step ? n - at : step;

		why = NULL;
		err = redis_reader_feed(r, (char *)guard_put(g, bytes + at, piece), piece, &why);
		cr_assert_eq(err != 0, why != NULL);
		cr_assert(why == NULL || strlen(why) > 0);
	}
	redis_reader_free(r);
	return err;
}

static const char stream[] = "+OK\r\n-ERR no\r\n:42\r\n:-7\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n"
			     "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
			     "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\n\r\n*1\r\n"
			     "*2\r\n+x\r\n$-1\r\n*1\r\n-E\r\n*-1\r\n";
static const char expected[] = " +OK\n -ERR no\n :42\n :-7\n $a\r\nbc\n $\n nil\n"
			       "* $subscribe $a :1\n* $message $a $\r\n*1\n* +x nil\n* -E\n nil\n";

Test(redis_resp, replies_cut_at_every_byte)
{
	struct guard g = guard_new(sizeof(stream));
	struct record rec = { .answer = 0 };
	size_t step;

	for (step = 1; step < sizeof(stream); step++) {
		cr_assert_eq(feed(&rec, stream, sizeof(stream) - 1, step, &g), 0);
		cr_assert(strcmp(rec.text, expected) == 0, "step %zu: %s", step, rec.text);
	}
	guard_free(&g);
}

/* Long enough for the parser to move its buffer while an array is half there. */
Test(redis_resp, early_strings_survive_moves_of_the_buffer)
{
	struct guard g = guard_new(1 << 16);
	struct record rec = { .answer = 0 };
	char *bytes = malloc(1 << 16), *want = malloc(1 << 16);
	size_t step, n = 0, len = 0;
	int i;

	cr_assert(bytes != NULL && want != NULL);
	for (i = 0; i < 20; i++) {
		n += (size_t)sprintf(
		    bytes + n, "*3\r\n$7\r\nmessage\r\n$3\r\nc%02d\r\n$200\r\n%0200d\r\n", i, i);
		len += (size_t)sprintf(want + len, "* $message $c%02d $%0200d\n", i, i);
	}
	for (step = 1; step < n; step += 37) {
		cr_assert_eq(feed(&rec, bytes, n, step, &g), 0);
		cr_assert(strcmp(rec.text, want) == 0, "step %zu", step);
	}
	free(bytes);
	free(want);
	guard_free(&g);
}

Test(redis_resp, bounds)
{
	static const struct {
		const char *bytes;
		int err;
	} cases[] = {
		{ "*16\r\n", 0 },
		{ "*17\r\n", FAN_EPROTO },
		{ "*2147483647\r\n", FAN_EPROTO },
		{ "*0\r\n", FAN_EPROTO },
		{ "+OK\r\n*0\r\n", FAN_EPROTO },
		{ "*1\r\n*1\r\n", FAN_EPROTO },
		{ "$67112960\r\n", 0 },
		{ "$67112960\r\nxyz", 0 },
		{ "$67112961\r\n", FAN_EPROTO },
		{ "$67112961", 0 },
		{ "*2\r\n$9223372036854775807\r\n", FAN_EPROTO },
		{ "$-2\r\n", FAN_EPROTO },
		{ "nonsense", FAN_EPROTO },
		{ "", 0 },
	};
	struct guard g = guard_new(64);
	struct record rec = { .answer = 0 };
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = strlen(cases[i].bytes);

		cr_assert_eq(feed(&rec, cases[i].bytes, n, n + 1, &g), cases[i].err, "%s whole",
		    cases[i].bytes);
		cr_assert_eq(feed(&rec, cases[i].bytes, n, 1, &g), cases[i].err, "%s by bytes",
		    cases[i].bytes);
	}
	guard_free(&g);
}

/* A line may wait up to the bound; one byte more is refused, whatever it is the line of. */
Test(redis_resp, lines_are_bounded)
{
	struct guard g = guard_new(REDIS_LINE_MAX + 2);
	struct record rec = { .answer = 0 };
	char line[REDIS_LINE_MAX + 2];
	const char *p;

	for (p = "+-:$*"; *p != '\0'; p++) {
		memset(line, '1', sizeof(line));
		line[0] = *p;
		cr_assert_eq(feed(&rec, line, sizeof(line) - 1, sizeof(line), &g), 0);
		cr_assert_eq(feed(&rec, line, sizeof(line), sizeof(line), &g), FAN_EPROTO);
	}
	guard_free(&g);
}

Test(redis_resp, strings_before_the_last_are_bounded)
{
	struct guard g = guard_new(4096);
	struct record rec = { .answer = 0 };
	char bytes[4096];
	int n;

	n = snprintf(
	    bytes, sizeof(bytes), "*3\r\n$512\r\n%0512d\r\n$512\r\n%0512d\r\n:1\r\n", 1, 2);
	cr_assert_eq(feed(&rec, bytes, (size_t)n, 4096, &g), 0);
	n = snprintf(
	    bytes, sizeof(bytes), "*3\r\n$512\r\n%0512d\r\n$513\r\n%0513d\r\n:1\r\n", 1, 2);
	cr_assert_eq(feed(&rec, bytes, (size_t)n, 4096, &g), FAN_EPROTO);
	n = snprintf(bytes, sizeof(bytes), "*2\r\n:1\r\n$2000\r\n%02000d\r\n", 1);
	cr_assert_eq(feed(&rec, bytes, (size_t)n, 4096, &g), 0, "the last one is not");
	guard_free(&g);
}

Test(redis_resp, callback_stops_the_reader)
{
	struct guard g = guard_new(64);
	struct record rec = { .answer = FAN_EDENIED };

	cr_assert_eq(feed(&rec, "+a\r\n+b\r\n", 8, 8, &g), FAN_EDENIED);
	cr_assert_str_eq(rec.text, " +a\n");
	cr_assert_eq(feed(&rec, "*1\r\n+a\r\n+b\r\n", 12, 1, &g), FAN_EDENIED);
	cr_assert_str_eq(rec.text, "* +a\n");
	guard_free(&g);
}

Test(redis_resp, commands)
{
	static const char want[] =
	    "*1\r\n$4\r\nPING\r\n"
	    "*3\r\n$7\r\nPUBLISH\r\n$12\r\nfanfare:news\r\n$10\r\n\0a\r\n345678\r\n";
	const struct redis_arg ping = { .data = "PING", .len = 4 };
	const struct redis_arg publish[3] = { { .data = "PUBLISH", .len = 7 },
		{ "fanfare:", 8, "news", 4 }, { "\0a\r\n", 4, "345678", 6 } };
	struct buf out;

	buf_init(&out, 100);
	cr_assert_eq(redis_command_append(&out, &ping, 1), 0);
	cr_assert_eq(buf_len(&out), 14);
	cr_assert_eq(redis_command_append(&out, publish, 3), FAN_ETOOBIG);
	cr_assert_eq(buf_len(&out), 14, "nothing is appended then");
	out.max = 1000;
	cr_assert_eq(redis_command_append(&out, publish, 3), 0);
	cr_assert_eq(buf_len(&out), sizeof(want) - 1);
	cr_assert(memcmp(buf_data(&out), want, sizeof(want) - 1) == 0);
	buf_fini(&out);
}

Test(redis_resp, empty_arguments)
{
	const struct redis_arg args[2] = { { .data = "X", .len = 1 }, { .data = NULL } };
	struct buf out;

	buf_init(&out, 100);
	cr_assert_eq(redis_command_append(&out, args, 2), 0);
	cr_assert(
	    buf_len(&out) == 17 && memcmp(buf_data(&out), "*2\r\n$1\r\nX\r\n$0\r\n\r\n", 17) == 0);
	buf_fini(&out);
}
