/*
 * fuzz_json: JSON texts (common/json): checked, parsed, cut up and written, against what jansson
 * alone says of them.
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, common; jansson, libcrypto.
 *
 * Input: a text.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"

/*
 * How deep objects and arrays are nested in a valid text; not what came of it, where the last of
 * two members with one key is all that is left.
 */
static size_t
nesting(const char *text, size_t n)
{
	size_t depth = 0, deepest = 0, i;
	bool quoted = false;

	for (i = 0; i < n; i++) {
		if (quoted && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			quoted = !quoted;
		else if (!quoted && (text[i] == '{' || text[i] == '['))
			deepest = ++depth > deepest ? depth : deepest;
		else if (!quoted && (text[i] == '}' || text[i] == ']'))
			depth--;
	}
	return deepest;
}

/* json_valid says what jansson says, except where jansson refuses what JSON allows. */
static void
check_valid(const char *text, size_t n)
{
	json_error_t error;
	json_t *v =
	    json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
	enum json_error_code code = v == NULL ? json_error_code(&error) : json_error_unknown;
	size_t depth;

	/* jansson passes over a NUL that follows a number. */
	if (n > 0 && memchr(text, '\0', n) != NULL) {
		FUZZ_CHECK(!json_valid(text, n, JSON_VALID_DEPTH_MAX));
	} else if (v != NULL) {
		depth = nesting(text, n);
		if (depth <= JSON_VALID_DEPTH_MAX)
			FUZZ_CHECK(json_valid(text, n, depth));
		if (depth > 0)
			FUZZ_CHECK(!json_valid(text, n, depth - 1));
	} else if (code != json_error_numeric_overflow && code != json_error_stack_overflow &&
	    code != json_error_null_byte_in_key) {
		FUZZ_CHECK(!json_valid(text, n, JSON_VALID_DEPTH_MAX));
	}
	json_decref(v);
}

/* A member's bytes are the member's value. */
static void
check_member(const char *text, size_t n, const json_t *object, const char *key)
{
	const json_t *want = json_object_get(object, key);
	const char *value, *why;
	size_t len, i;
	json_t *got;

	if (json_member(text, n, key, &value, &len) != 0) {
		/* One that is written with escapes is not looked for. */
		if (want != NULL) {
			FUZZ_CHECK(n > 0 && memchr(text, '\\', n) != NULL);
		}
		return;
	}
	FUZZ_CHECK(value >= text && len > 0 && value + len <= text + n);
	for (i = 0; i<len; i += len - 1> 0 ? len - 1 : 1)
		FUZZ_CHECK(memchr(" \t\r\n", value[i], 4) == NULL);
	FUZZ_CHECK(json_valid(value, len, JSON_DEPTH_MAX));
	FUZZ_CHECK(want != NULL && json_parse(value, len, JSON_DEPTH_MAX, &got, &why) == 0);
	FUZZ_CHECK(json_equal(got, want));
	json_decref(got);
}

static void
check_parsed(const char *text, size_t n)
{
	const char *why = NULL;
	json_t *v = NULL, *again;
	char *dump;
	int err = json_parse(text, n, JSON_DEPTH_MAX, &v, &why);

	if (err != 0) {
		FUZZ_CHECK(err == FAN_EINVAL && why != NULL && *why != '\0');
		return;
	}
	FUZZ_CHECK(json_valid(text, n, JSON_DEPTH_MAX));
	FUZZ_CHECK(nesting(text, n) <= JSON_DEPTH_MAX);
	dump = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
	FUZZ_CHECK(dump != NULL);
	FUZZ_CHECK(json_parse(dump, strlen(dump), JSON_DEPTH_MAX, &again, &why) == 0);
	FUZZ_CHECK(json_equal(v, again));
	json_decref(again);
	if (json_is_object(v)) {
		check_member(text, n, v, "data");
		check_member(text, n, v, "a");
		check_member(text, n, v, "");
	}
	free(dump);
	json_decref(v);
}

/* What is written as a string is read as the same. */
static void
check_string(const char *text, size_t n)
{
	json_error_t error;
	struct buf b;
	json_t *v;

	if (!utf8_valid((const uint8_t *)text, n))
		return;
	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(json_append_string(&b, text, n) == 0);
	FUZZ_CHECK(json_valid((const char *)buf_data(&b), buf_len(&b), 0));
	v = json_loadb(
	    (const char *)buf_data(&b), buf_len(&b), JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	FUZZ_CHECK(json_is_string(v) && json_string_length(v) == n);
	FUZZ_CHECK(n == 0 || memcmp(json_string_value(v), text, n) == 0);
	json_decref(v);
	buf_fini(&b);
}

static void
check_base64(const char *bytes, size_t n)
{
	unsigned char *back;
	struct buf b;
	int len;

	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(json_append_base64(&b, bytes, n) == 0);
	FUZZ_CHECK(buf_len(&b) == 2 + (n + 2) / 3 * 4);
	FUZZ_CHECK(json_valid((const char *)buf_data(&b), buf_len(&b), 0));
	back = malloc(buf_len(&b));
	FUZZ_CHECK(back != NULL);
	/* It does not take off what the padding adds. */
	len = EVP_DecodeBlock(back, buf_data(&b) + 1, (int)buf_len(&b) - 2);
	FUZZ_CHECK(len >= 0 && (size_t)len == (n + 2) / 3 * 3);
	FUZZ_CHECK(n == 0 || memcmp(back, bytes, n) == 0);
	free(back);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	check_valid(text, size);
	check_parsed(text, size);
	check_string(text, size);
	check_base64(text, size);
	return 0;
}
