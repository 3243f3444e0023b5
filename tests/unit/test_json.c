/*
 * Tests of common/json.  Texts end at a forbidden page, and every beginning of a valid text must be
 * refused; json_valid and jansson are held against each other.
 */
#include "common/json.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(s) s, sizeof(s) - 1

static struct guard page;

static void
setup(void)
{
	page = guard_new(65536);
}

static void
teardown(void)
{
	guard_free(&page);
}

TestSuite(json, .init = setup, .fini = teardown);

static bool
valid(const char *text, size_t n, size_t depth)
{
	return json_valid((const char *)guard_put(&page, text, n), n, depth);
}

/* *why is NULL where it parses. */
static int
parse(const char *text, size_t n, size_t depth, const char **why)
{
	json_t *value = NULL;
	int err;

	*why = NULL;
	err = json_parse((const char *)guard_put(&page, text, n), n, depth, &value, why);
	cr_assert_eq(err == 0, value != NULL);
	cr_assert_eq(err == 0, *why == NULL);
	json_decref(value);
	return err;
}

/* --- what is JSON ------------------------------------------------------------------------------ */

static const struct {
	const char *text;
	size_t n;
	bool valid;
	const char
	    *why; /* of json_parse, which refuses more; NULL: "malformed JSON" if not valid */
} texts[] = {
	{ BYTES("null"), true, NULL },
	{ BYTES("true"), true, NULL },
	{ BYTES("false"), true, NULL },
	{ BYTES("0"), true, NULL },
	{ BYTES("-0"), true, NULL },
	{ BYTES("-0.0e-0"), true, NULL },
	{ BYTES("10"), true, NULL },
	{ BYTES("1.5E+10"), true, NULL },
	{ BYTES("9223372036854775807"), true, NULL },
	{ BYTES("-9223372036854775808"), true, NULL },
	{ BYTES("9223372036854775808"), true, "number out of range in JSON" },
	{ BYTES("-9223372036854775809"), true, "number out of range in JSON" },
	{ BYTES("1e400"), true, "number out of range in JSON" },
	{ BYTES("[-1e400]"), true, "number out of range in JSON" },
	{ BYTES("\"\""), true, NULL },
	{ BYTES("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\ude00\""), true, NULL },
	{ BYTES("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 and a longer run of ASCII\""), true, NULL },
	{ BYTES("\"\x7f\xe2\x80\xa8\""), true, NULL },
	{ BYTES("\"\\u0000\""), true, "NUL in a JSON string" },
	{ BYTES("{\"\\u0000\":1}"), true, "NUL in a JSON string" },
	{ BYTES("[]"), true, NULL },
	{ BYTES("{}"), true, NULL },
	{ BYTES(" \t\r\n[ \n] "), true, NULL },
	{ BYTES(" { } "), true, NULL },
	{ BYTES("[1,\"a\",null , [ ] ,{ },[[2]]]"), true, NULL },
	{ BYTES("{\"a\":1 , \"b\" : {\"c\":[true,false]},\"\":\"\"}"), true, NULL },
	{ BYTES("{\"a\":1,\"a\":2}"), true, "duplicate key in JSON" },
	{ BYTES("[{\"a\":1,\"\\u0061\":2}]"), true, "duplicate key in JSON" },
	{ BYTES("{\"a\":{\"a\":[{\"a\":1}]}}"), true, NULL },

	{ BYTES(""), false, NULL },
	{ BYTES(" "), false, NULL },
	{ BYTES("\xef\xbb\xbf{}"), false, NULL }, /* a byte order mark */
	{ BYTES("nul"), false, NULL },
	{ BYTES("nulL"), false, NULL },
	{ BYTES("nullx"), false, NULL },
	{ BYTES("True"), false, NULL },
	{ BYTES("truefalse"), false, NULL },
	{ BYTES("1 2"), false, NULL },
	{ BYTES("01"), false, NULL },
	{ BYTES("-01"), false, NULL },
	{ BYTES("+1"), false, NULL },
	{ BYTES("-"), false, NULL },
	{ BYTES(".5"), false, NULL },
	{ BYTES("5."), false, NULL },
	{ BYTES("5.e1"), false, NULL },
	{ BYTES("5e"), false, NULL },
	{ BYTES("5e+"), false, NULL },
	{ BYTES("0x10"), false, NULL },
	{ BYTES("1e5.5"), false, NULL },
	{ BYTES("NaN"), false, NULL },
	{ BYTES("-Infinity"), false, NULL },
	{ BYTES("'a'"), false, NULL },
	{ BYTES("\"a"), false, NULL },
	{ BYTES("a\""), false, NULL },
	{ BYTES("\"a\"b"), false, NULL },
	{ BYTES("\"a\nb\""), false, NULL },
	{ BYTES("\"a\tb\""), false, NULL },
	{ BYTES("\"a\0b\""), false, NULL },
	{ BYTES("\"\x1f\""), false, NULL },
	{ BYTES("\"\\a\""), false, NULL },
	{ BYTES("\"\\0\""), false, NULL },
	{ BYTES("\"\\x41\""), false, NULL },
	{ BYTES("\"\\U0041\""), false, NULL },
	{ BYTES("\"\\u004\""), false, NULL },
	{ BYTES("\"\\u004g\""), false, NULL },
	{ BYTES("\"\\u 041\""), false, NULL },
	{ BYTES("\"\\\""), false, NULL },
	{ BYTES("\"\\ud800\""), false, NULL },
	{ BYTES("\"\\udc00\""), false, NULL },
	{ BYTES("\"\\udc00\\ud800\""), false, NULL },
	{ BYTES("\"\\ud800\\ud800\""), false, NULL },
	{ BYTES("\"\\ud800x\""), false, NULL },
	{ BYTES("\"\\ud800\\n\""), false, NULL },
	{ BYTES("\"\\ud83d\\u0041\""), false, NULL },
	{ BYTES("\"\xc3\""), false, "invalid UTF-8 in JSON" },
	{ BYTES("\"\xed\xa0\x80\""), false, "invalid UTF-8 in JSON" },
	{ BYTES("\"\xc0\x80\""), false, "invalid UTF-8 in JSON" },
	{ BYTES("\"\xf4\x90\x80\x80\""), false, "invalid UTF-8 in JSON" },
	{ BYTES("\"abcdefgh\xff\""), false, "invalid UTF-8 in JSON" },
	{ BYTES("["), false, NULL },
	{ BYTES("]"), false, NULL },
	{ BYTES("[}"), false, NULL },
	{ BYTES("{]"), false, NULL },
	{ BYTES("[1}"), false, NULL },
	{ BYTES("[1,]"), false, NULL },
	{ BYTES("[,1]"), false, NULL },
	{ BYTES("[1 2]"), false, NULL },
	{ BYTES("[1]]"), false, NULL },
	{ BYTES("[1],"), false, NULL },
	{ BYTES("[1:2]"), false, NULL },
	{ BYTES("{"), false, NULL },
	{ BYTES("{\"a\"}"), false, NULL },
	{ BYTES("{\"a\":}"), false, NULL },
	{ BYTES("{\"a\":1,}"), false, NULL },
	{ BYTES("{\"a\",1}"), false, NULL },
	{ BYTES("{a:1}"), false, NULL },
	{ BYTES("{1:1}"), false, NULL },
	{ BYTES("{\"a\":1]"), false, NULL },
	{ BYTES("{\"a\":1 \"b\":2}"), false, NULL },
	{ BYTES("{\"a\"::1}"), false, NULL },
	{ BYTES("[1]\0"), false, NULL },
	{ BYTES("0\0"), false, NULL }, /* jansson 2.14 accepts these two */
	{ BYTES("[1\0,2]"), false, NULL },
	{ BYTES("[1] // x"), false, NULL },
	{ BYTES("[1]\v"), false, NULL },
};

Test(json, valid_and_not)
{
	size_t i;

	for (i = 0; i < COUNT(texts); i++) {
		const char *want = texts[i].why, *why;
		int err = parse(texts[i].text, texts[i].n, JSON_DEPTH_MAX, &why);

		if (want == NULL && !texts[i].valid)
			want = "malformed JSON";
		cr_assert_eq(valid(texts[i].text, texts[i].n, JSON_DEPTH_MAX), texts[i].valid,
		    "row %zu: %s", i, texts[i].text);
		cr_assert_eq(err, want == NULL ? 0 : FAN_EINVAL, "row %zu: %s", i, texts[i].text);
		if (want != NULL)
			cr_assert_str_eq(why, want, "row %zu: %s: %s", i, texts[i].text, why);
	}
}

Test(json, every_beginning_is_not_valid)
{
	size_t i, n;

	for (i = 0; i < COUNT(texts); i++) {
		char last = texts[i].n > 0 ? texts[i].text[texts[i].n - 1] : '\0';

		/* A number's beginning can be a number, and white space can be left off. */
		if (!texts[i].valid || strchr("]}\"el", last) == NULL)
			continue;
		for (n = 0; n < texts[i].n; n++)
			cr_assert(!valid(texts[i].text, n, JSON_DEPTH_MAX), "row %zu, %zu", i, n);
	}
}

/* One byte of a valid text is replaced by every other: both must judge alike. */
Test(json, agrees_with_jansson)
{
	static const char text[] = "{\"k\\u00e9\":[1,-2.5e3,"
				   "\"\xc3\xa9\xf0\x9f\x98\x80\\uD83D\\uDE00\"],\"\":{\"x\":true}}";
	size_t n = sizeof(text) - 1, at;
	unsigned int c;

	for (at = 0; at < n; at++) {
		for (c = 0; c < 256; c++) {
			char copy[sizeof(text)];
			const char *why;
			bool ok;

			memcpy(copy, text, sizeof(text));
			copy[at] = (char)c;
			ok = parse(copy, n, JSON_DEPTH_MAX, &why) == 0;
			/* What is only a matter of meaning, json_valid does not refuse. */
			if (!ok && (strncmp(why, "NUL", 3) == 0 || strncmp(why, "number", 6) == 0))
				ok = true;
			cr_assert_eq(valid(copy, n, JSON_DEPTH_MAX), ok, "byte %02x at %zu: %s", c,
			    at, why == NULL ? "" : why);
		}
	}
}

Test(json, every_byte_at_every_place_of_a_long_string)
{
	size_t at;
	unsigned int c;

	for (at = 1; at < 40; at++) {
		for (c = 0; c < 256; c++) {
			char text[42];
			bool want = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';

			memset(text, 'x', sizeof(text));
			text[0] = text[sizeof(text) - 1] = '"';
			text[at] = (char)c;
			cr_assert_eq(valid(text, sizeof(text), 0), want, "byte %02x at %zu", c, at);
		}
	}
}

/* --- depth ------------------------------------------------------------------------------------- */

static size_t
nest(char *out, size_t depth, bool objects)
{
	size_t n = 0, i;

	for (i = 0; i < depth; i++)
		n += (size_t)sprintf(out + n, objects ? "{\"[[{\":" : "[");
	out[n++] = '1';
	for (i = 0; i < depth; i++)
		out[n++] = objects ? '}' : ']';
	return n;
}

Test(json, depth)
{
	static char text[65536];
	size_t depth, limit;
	int objects;
	const char *why;

	for (objects = 0; objects < 2; objects++) {
		for (limit = 0; limit <= JSON_VALID_DEPTH_MAX; limit++) {
			for (depth = 0; depth <= limit + 1 && depth <= JSON_VALID_DEPTH_MAX;
			     depth++) {
				size_t n = nest(text, depth, objects != 0);

				cr_assert_eq(valid(text, n, limit), depth <= limit, "%zu in %zu",
				    depth, limit);
				cr_assert_eq(parse(text, n, limit, &why),
				    depth <= limit ? 0 : FAN_EINVAL, "%zu in %zu", depth, limit);
				if (depth > limit)
					cr_assert_str_eq(why, "JSON nested too deep");
			}
		}
		cr_assert(!valid(text, nest(text, 65, objects != 0), 1000), "more than the bits");
		cr_assert(!valid(text, nest(text, 2049, objects != 0), 32));
	}
	/* Siblings do not add up, and brackets in strings do not count. */
	cr_assert(valid(BYTES("[[],[],{},[]]"), 2));
	cr_assert_eq(parse(BYTES("[[],[],{},[]]"), 2, &why), 0);
	cr_assert_eq(parse(BYTES("[\"[[[\\\"[[[\",\"{{\"]"), 1, &why), 0);
	cr_assert_eq(parse(BYTES("]]]][[[["), 3, &why), FAN_EINVAL);
}

Test(json, a_million_brackets)
{
	size_t n = 1000000;
	char *text = malloc(n);
	json_t *value;
	const char *why;

	cr_assert_not_null(text);
	memset(text, '[', n);
	cr_assert(!json_valid(text, n, JSON_DEPTH_MAX));
	cr_assert_eq(json_parse(text, n, JSON_DEPTH_MAX, &value, &why), FAN_EINVAL);
	cr_assert_str_eq(why, "JSON nested too deep");
	free(text);
}

/* --- members ----------------------------------------------------------------------------------- */

Test(json, members)
{
	static const struct {
		const char *text;
		const char *key;
		const char *want; /* NULL: there is none */
	} table[] = {
		{ "{\"a\":1}", "a", "1" },
		{ " {\n\"a\" :\t-1.5e3 } ", "a", "-1.5e3" },
		{ "{\"a\":1,\"b\":true,\"c\":null}", "b", "true" },
		{ "{\"a\":1,\"b\":true,\"c\":null}", "c", "null" },
		{ "{\"a\":1,\"b\":true,\"c\":null}", "d", NULL },
		{ "{\"a\":\"x\\\"},\\\\\"}", "a", "\"x\\\"},\\\\\"" },
		{ "{\"data\": {\"a\":[1,{\"b\":\"]}\"}] , \"c\":{} } ,\"b\":2}", "data",
		    "{\"a\":[1,{\"b\":\"]}\"}] , \"c\":{} }" },
		{ "{\"data\":{\"a\":[1,{\"b\":\"]}\"}]},\"b\":2}", "b", "2" },
		{ "{\"x\":{\"a\":1}}", "a", NULL },
		{ "{\"x\":\"a\",\"y\":1}", "a", NULL },
		{ "{\"ab\":1,\"a\":[]}", "a", "[]" },
		{ "{\"\":0}", "", "0" },
		{ "{}", "a", NULL },
		{ "[\"a\",1]", "a", NULL },
		{ "\"a\"", "a", NULL },
		{ "", "a", NULL },
	};
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		size_t n = strlen(table[i].text), len = 0;
		const char *text = (const char *)guard_put(&page, table[i].text, n), *value = NULL;
		int err = json_member(text, n, table[i].key, &value, &len);

		cr_assert_eq(err, table[i].want == NULL ? FAN_ENOENT : 0, "row %zu", i);
		if (err != 0)
			continue;
		cr_assert_eq(len, strlen(table[i].want), "row %zu", i);
		cr_assert_eq(memcmp(value, table[i].want, len), 0, "row %zu", i);
		cr_assert(value >= text && value + len <= text + n, "row %zu", i);
	}
}

/* Whatever the text is, nothing outside of it is read or lent. */
Test(json, members_of_anything_stay_inside)
{
	static const char text[] =
	    " {\"a\\\"\":[{\"b\":\"c\"},1],\"key\" : {\"x\":[\"y\"]} , \"z\":1}";
	static const char bytes[] = "\"\\{}[]:, a1";
	size_t n, at, i;

	for (n = 0; n < sizeof(text); n++) {
		for (at = 0; at < n; at++) {
			for (i = 0; i < sizeof(bytes); i++) {
				char *p = (char *)guard_put(&page, text, n);
				const char *value = NULL;
				size_t len = 0;

				p[at] = bytes[i];
				if (json_member(p, n, "key", &value, &len) == 0)
					cr_assert(value >= p && value + len <= p + n);
			}
		}
	}
}

/* --- writing ----------------------------------------------------------------------------------- */

static void
check_string(const char *in, size_t n, const char *want)
{
	struct buf b;
	size_t len = strlen(want);
	const char *text = (const char *)guard_put(&page, in, n);

	/* Exactly the room that it needs. */
	buf_init(&b, len);
	cr_assert_eq(json_append_string(&b, text, n), 0, "%s", want);
	cr_assert_eq(buf_len(&b), len, "%s", want);
	cr_assert_eq(memcmp(buf_data(&b), want, len), 0, "%s", want);
	buf_fini(&b);
	buf_init(&b, len - 1);
	cr_assert_eq(json_append_string(&b, text, n), FAN_ETOOBIG, "%s", want);
	cr_assert_eq(buf_len(&b), 0);
	buf_fini(&b);
}

Test(json, strings_written)
{
	check_string(BYTES(""), "\"\"");
	check_string(BYTES("a"), "\"a\"");
	check_string(BYTES("\"\\/\b\f\n\r\t"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
	check_string(BYTES("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\"");
	check_string(
	    BYTES("\xc3\xa9\xe2\x80\xa8\xe2\x80\xa9"), "\"\xc3\xa9\xe2\x80\xa8\xe2\x80\xa9\"");
	check_string(
	    BYTES("0123456789\"0123456789abcdef\n"), "\"0123456789\\\"0123456789abcdef\\n\"");
	check_string(BYTES("\"\"\"\""), "\"\\\"\\\"\\\"\\\"\"");
}

/* What is written reads back as what it was. */
Test(json, strings_there_and_back)
{
	struct buf b;
	unsigned int c;
	size_t at, n = 21;

	buf_init(&b, 1024);
	for (at = 0; at < n; at++) {
		for (c = 1; c < 0x80; c++) {
			char text[21];
			json_t *value;
			const char *why;

			memset(text, 'y', n);
			text[at] = (char)c;
			buf_clear(&b);
			cr_assert_eq(json_append_string(&b, text, n), 0);
			cr_assert(json_valid((const char *)buf_data(&b), buf_len(&b), 0));
			cr_assert_eq(
			    json_parse((const char *)buf_data(&b), buf_len(&b), 0, &value, &why), 0,
			    "%s", why);
			cr_assert_eq(json_string_length(value), n);
			cr_assert_eq(memcmp(json_string_value(value), text, n), 0);
			json_decref(value);
		}
	}
	buf_fini(&b);
}

Test(json, base64_written)
{
	static const struct {
		const char *in;
		const char *want;
	} table[] = {
		/* RFC 4648 §10. */
		{ "", "\"\"" },
		{ "f", "\"Zg==\"" },
		{ "fo", "\"Zm8=\"" },
		{ "foo", "\"Zm9v\"" },
		{ "foob", "\"Zm9vYg==\"" },
		{ "fooba", "\"Zm9vYmE=\"" },
		{ "foobar", "\"Zm9vYmFy\"" },
		{ "\xff\xef\xbe", "\"/+++\"" },
	};
	struct buf b;
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		size_t n = strlen(table[i].in), len = strlen(table[i].want);

		buf_init(&b, len);
		cr_assert_eq(json_append_base64(&b, guard_put(&page, table[i].in, n), n), 0);
		cr_assert_eq(buf_len(&b), len);
		cr_assert_eq(memcmp(buf_data(&b), table[i].want, len), 0, "%s", table[i].want);
		cr_assert_eq(json_append_base64(&b, table[i].in, n), FAN_ETOOBIG);
		cr_assert_eq(buf_len(&b), len);
		buf_fini(&b);
	}
	buf_init(&b, SIZE_MAX);
	cr_assert_eq(json_append_base64(&b, "", SIZE_MAX - 1), FAN_ETOOBIG);
	buf_fini(&b);
}

/* --- without memory ----------------------------------------------------------------------- */

static int allocations_left;

static void *
failing_malloc(size_t n)
{
	return allocations_left-- == 0 ? NULL : malloc(n);
}

/* What is valid is never called malformed, whichever of jansson's allocations fails. */
Test(json, every_allocation_may_fail)
{
	static const char text[] = "{\"publish\":\"c\\u00e9\",\"data\":[1,2.5,\"x\",{\"a\":null}]}";
	const char *why;
	json_t *value;
	int i, err;

	json_set_alloc_funcs(failing_malloc, free);
	for (i = 0;; i++) {
		allocations_left = i;
		err = json_parse(text, sizeof(text) - 1, JSON_DEPTH_MAX, &value, &why);
		if (err == 0)
			break;
		cr_assert_eq(err, FAN_ENOMEM, "allocation %d: %s", i, why);
		cr_assert_str_eq(why, "out of memory");
		cr_assert_null(value);
	}
	cr_assert_gt(i, 10);
	json_decref(value);
	json_set_alloc_funcs(malloc, free);
}
