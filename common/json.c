/*
 * json: jansson with Fanfare's limits, and slices of JSON text.  See json.h.
 *
 * Owns:    nothing.
 * Process: any.
 * Layer:   common.  Uses err, buf, utf8; jansson, libcrypto for base64.
 */
#include "common/json.h"

#include <limits.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

#include "common/buf.h"
#include "common/utf8.h"

/* A byte in each byte of a word. */
#define SPREAD(c) ((uint64_t)(c)*UINT64_C(0x0101010101010101))

/* What is left of a text. */
struct cursor {
	const char *p;
	const char *end;
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Whether the character must be escaped in a string. */
static bool
is_special(char c)
{
	return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

/* Nonzero if a byte of the word is zero. */
static uint64_t
zero_byte(uint64_t w)
{
	return (w - SPREAD(0x01)) & ~w & SPREAD(0x80);
}

/* Whether no byte of the word is_special. */
static bool
word_is_plain(uint64_t w)
{
	uint64_t control = (w - SPREAD(0x20)) & ~w & SPREAD(0x80);

	return (control | zero_byte(w ^ SPREAD('"')) | zero_byte(w ^ SPREAD('\\'))) == 0;
}

/* The first special character at or after p, or end. */
static const char *
find_special(const char *p, const char *end)
{
	uint64_t w;

	for (; (size_t)(end - p) >= sizeof(w); p += sizeof(w)) {
		memcpy(&w, p, sizeof(w));
		if (!word_is_plain(w))
			break;
	}
	while (p < end && !is_special(*p))
		p++;
	return p;
}

static void
skip_space(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
		c->p++;
}

/* Takes the character if it is the next. */
static bool
take(struct cursor *c, char want)
{
	if (c->p == c->end || *c->p != want)
		return false;
	c->p++;
	return true;
}

/* --- validation -------------------------------------------------------------------------------- */

static bool
take_hex4(struct cursor *c, unsigned int *out)
{
	int i;

	*out = 0;
	if (c->end - c->p < 4)
		return false;
	for (i = 0; i < 4; i++) {
		char x = *c->p++;

		if (is_digit(x))
			*out = *out << 4 | (unsigned int)(x - '0');
		else if ((x | 0x20) >= 'a' && (x | 0x20) <= 'f')
			*out = *out << 4 | (unsigned int)((x | 0x20) - 'a' + 10);
		else
			return false;
	}
	return true;
}

/* What follows a backslash.  Half of a surrogate pair is not a character (RFC 8259 §8.2). */
static bool
take_escape(struct cursor *c)
{
	static const char named[] = { '"', '\\', '/', 'b', 'f', 'n', 'r', 't' };
	unsigned int high, low;

	if (c->p == c->end)
		return false;
	if (*c->p != 'u')
		return memchr(named, *c->p++, sizeof(named)) != NULL;
	c->p++;
	if (!take_hex4(c, &high) || (high & 0xfc00) == 0xdc00)
		return false;
	if ((high & 0xfc00) != 0xd800)
		return true;
	return take(c, '\\') && take(c, 'u') && take_hex4(c, &low) && (low & 0xfc00) == 0xdc00;
}

static bool
take_string(struct cursor *c)
{
	if (!take(c, '"'))
		return false;
	for (;;) {
		const char *run = c->p;

		c->p = find_special(run, c->end);
		if (!utf8_valid((const uint8_t *)run, (size_t)(c->p - run)))
			return false;
		if (take(c, '"'))
			return true;
		if (!take(c, '\\') || !take_escape(c))
			return false;
	}
}

static bool
take_digits(struct cursor *c)
{
	const char *first = c->p;

	while (c->p < c->end && is_digit(*c->p))
		c->p++;
	return c->p > first;
}

static bool
take_number(struct cursor *c)
{
	(void)take(c, '-');
	if (!take(c, '0') && !take_digits(c))
		return false;
	if (take(c, '.') && !take_digits(c))
		return false;
	if (take(c, 'e') || take(c, 'E')) {
		if (!take(c, '+'))
			(void)take(c, '-');
		return take_digits(c);
	}
	return true;
}

static bool
take_word(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
		return false;
	c->p += n;
	return true;
}

/* A value that is neither object nor array. */
static bool
take_scalar(struct cursor *c)
{
	switch (c->p == c->end ? '\0' : *c->p) {
	case '"':
		return take_string(c);
	case 't':
		return take_word(c, "true");
	case 'f':
		return take_word(c, "false");
	case 'n':
		return take_word(c, "null");
	default:
		return take_number(c);
	}
}

static bool
take_key(struct cursor *c)
{
	skip_space(c);
	if (!take_string(c))
		return false;
	skip_space(c);
	return take(c, ':');
}

/* The objects and arrays that are open, the innermost in the lowest bit; a set bit is an object. */
struct nesting {
	uint64_t objects;
	size_t depth;
};

/* Takes the brackets that open, down to a scalar or to an object or array that is empty. */
static bool
take_down(struct cursor *c, struct nesting *n, size_t depth)
{
	for (;;) {
		bool object;

		skip_space(c);
		object = take(c, '{');
		if (!object && !take(c, '['))
			return take_scalar(c);
		if (n->depth == depth)
			return false;
		n->depth++;
		n->objects = n->objects << 1 | object;
		skip_space(c);
		if (c->p < c->end && *c->p == (object ? '}' : ']'))
			return true; /* empty; take_up closes it */
		if (object && !take_key(c))
			return false;
	}
}

/* After a value: takes the brackets that close, and the comma (and the key) before the next. */
static bool
take_up(struct cursor *c, struct nesting *n)
{
	while (n->depth > 0) {
		bool object = (n->objects & 1) != 0;

		skip_space(c);
		if (take(c, ','))
			return !object || take_key(c);
		if (!take(c, object ? '}' : ']'))
			return false;
		n->objects >>= 1;
		n->depth--;
	}
	return true;
}

bool
json_valid(const char *text, size_t n, size_t depth)
{
	struct cursor c = { text, text + n };
	struct nesting open = { 0, 0 };

	if (depth > JSON_VALID_DEPTH_MAX)
		depth = JSON_VALID_DEPTH_MAX;
	do {
		if (!take_down(&c, &open, depth) || !take_up(&c, &open))
			return false;
	} while (open.depth > 0);
	skip_space(&c);
	return c.p == c.end;
}

/* --- slices and parsing ------------------------------------------------------------------------ */

/* Moves past a string without looking at what is in it.  false: it does not end. */
static bool
pass_string(struct cursor *c)
{
	c->p++;
	while (c->p < c->end && *c->p != '"') {
		if (*c->p == '\\' && c->end - c->p > 1)
			c->p++;
		c->p++;
	}
	return take(c, '"');
}

/* Moves past a value; its inside is only looked at for where it ends. */
static bool
pass_value(struct cursor *c)
{
	size_t depth = 0;

	while (c->p < c->end) {
		switch (*c->p) {
		case '"':
			if (!pass_string(c))
				return false;
			break;
		case '{':
		case '[':
			depth++;
			c->p++;
			break;
		case '}':
		case ']':
			if (depth == 0)
				return false;
			depth--;
			c->p++;
			break;
		default:
			/* White space and separators in depth; otherwise a number or a word. */
			if (depth > 0) {
				c->p++;
				break;
			}
			while (c->p < c->end && strchr(" \t\n\r,]}", *c->p) == NULL)
				c->p++;
		}
		if (depth == 0)
			return true;
	}
	return false;
}

int
json_member(const char *text, size_t n, const char *key, const char **value, size_t *value_len)
{
	struct cursor c = { text, text + n };
	size_t key_len = strlen(key);

	skip_space(&c);
	if (!take(&c, '{'))
		return FAN_ENOENT;
	do {
		const char *name, *first;
		size_t name_len;

		skip_space(&c);
		name = c.p + 1;
		if (c.p == c.end || *c.p != '"' || !pass_string(&c))
			return FAN_ENOENT;
		name_len = (size_t)(c.p - name) - 1;
		skip_space(&c);
		if (!take(&c, ':'))
			return FAN_ENOENT;
		skip_space(&c);
		first = c.p;
		if (!pass_value(&c))
			return FAN_ENOENT;
		if (name_len == key_len && memcmp(name, key, key_len) == 0) {
			*value = first;
			*value_len = (size_t)(c.p - first);
			return 0;
		}
		skip_space(&c);
	} while (take(&c, ','));
	return FAN_ENOENT;
}

/* Whether brackets, outside of strings, are never more than depth open. */
static bool
depth_within(const char *text, size_t n, size_t depth)
{
	struct cursor c = { text, text + n };
	size_t open = 0;

	while (c.p < c.end) {
		if (*c.p == '"') {
			if (!pass_string(&c))
				break;
			continue;
		}
		if (*c.p == '{' || *c.p == '[') {
			if (++open > depth)
				return false;
		} else if ((*c.p == '}' || *c.p == ']') && open > 0) {
			open--;
		}
		c.p++;
	}
	return true;
}

static const char malformed[] = "malformed JSON";

static const char *
parse_phrase(enum json_error_code code)
{
	/* jansson has more codes; what they tell apart is of no use to the sender. */
	if (code == json_error_duplicate_key)
		return "duplicate key in JSON";
	if (code == json_error_numeric_overflow)
		return "number out of range in JSON";
	if (code == json_error_null_character || code == json_error_null_byte_in_key)
		return "NUL in a JSON string";
	if (code == json_error_invalid_utf8)
		return "invalid UTF-8 in JSON";
	return malformed;
}

int
json_parse(const char *text, size_t n, size_t depth, json_t **out, const char **why)
{
	/* Where its first allocation fails jansson leaves the code as it was. */
	json_error_t error = { .line = -1 };

	*out = NULL;
	/* jansson passes over a NUL that follows a number. */
	if (n == 0 || memchr(text, '\0', n) != NULL) {
		*why = malformed;
		return FAN_EINVAL;
	}
	if (!depth_within(text, n, depth)) {
		*why = "JSON nested too deep";
		return FAN_EINVAL;
	}
	*out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (*out != NULL)
		return 0;
	*why = parse_phrase(json_error_code(&error));
	/* Without memory jansson has many words, most of them for what is malformed. */
	if (*why != malformed || !json_valid(text, n, depth))
		return FAN_EINVAL;
	*why = "out of memory";
	return FAN_ENOMEM;
}

/* --- writing ----------------------------------------------------------------------------------- */

/* Writes the escape of a special character and returns its length; out may be NULL. */
static size_t
escape(char c, char *out)
{
	static const char hex[] = "0123456789abcdef";
	static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* character, letter */
	char text[6] = { '\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 15] };
	size_t len = sizeof(text), i;

	for (i = 0; i + 1 < sizeof(named); i += 2) {
		if (named[i] == c) {
			text[1] = named[i + 1];
			len = 2;
		}
	}
	if (out != NULL)
		memcpy(out, text, len);
	return len;
}

int
json_append_string(struct buf *b, const char *text, size_t n)
{
	const char *end = text + n, *p, *run;
	size_t size = n + 2;
	uint8_t *out;
	int err;

	/* The exact size first: what is too big for the buffer must leave nothing in it. */
	for (p = find_special(text, end); p < end; p = find_special(p + 1, end))
		size += escape(*p, NULL) - 1;
	err = buf_reserve(b, size, &out);
	if (err != 0)
		return err;
	*out++ = '"';
	for (run = text; run < end; run = p + 1) {
		p = find_special(run, end);
		memcpy(out, run, (size_t)(p - run));
		out += p - run;
		if (p == end)
			break;
		out += escape(*p, (char *)out);
	}
	*out = '"';
	buf_commit(b, size);
	return 0;
}

int
json_append_base64(struct buf *b, const void *data, size_t n)
{
	size_t size;
	uint8_t *out;
	int err;

	if (n > INT_MAX / 4 * 3 - 3)
		return FAN_ETOOBIG;
	size = (n + 2) / 3 * 4;
	err = buf_reserve(b, size + 2, &out);
	if (err != 0)
		return err;
	out[0] = '"';
	(void)EVP_EncodeBlock(out + 1, data, (int)n);
	out[size + 1] = '"'; /* where EVP_EncodeBlock put its NUL */
	buf_commit(b, size + 2);
	return 0;
}
