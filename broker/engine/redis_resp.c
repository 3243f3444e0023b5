/*
 * redis_resp: Redis's protocol (RESP 2) as bytes.  See redis_resp.h.
 */
#include "broker/engine/redis_resp.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define KEEP (1024UL * 1024) /* an empty parser buffer above this is freed */

struct redis_reader {
	redisReader *parser;
	redis_reply_fn fn;
	void *arg;
	struct redis_reply reply; /* being put together */
	/* Strings of an array that may move before its last is there. */
	char scratch[REDIS_KEY_MAX];
	size_t scratch_len;
	const char *why; /* set where one of our functions stops the parser */
	int err;         /* what redis_reader_feed returns then */
};

/* --- replies ---------------------------------------------------------------------------------- */

/* The reply is whole.  Its last string is still where the parser has it. */
static int
deliver(struct redis_reader *r)
{
	int err = r->fn(r->arg, &r->reply);

	if (err != 0) {
		r->why = fan_strerror(err);
		r->err = err;
	}
	return err;
}

/*
 * Adds a value to the reply under way.  Strings are lent in place where they complete the reply;
 * what is behind an earlier one may be read only after the parser's buffer has moved, so that is
 * copied.  Returns what hiredis takes for an object, or NULL to stop it.
 */
static void *
add_value(
    const redisReadTask *task, enum redis_type type, const char *data, size_t len, int64_t number)
{
	struct redis_reader *r = task->privdata;
	struct redis_reply *reply = &r->reply;
	bool last = task->parent == NULL || task->idx + 1 == (int)task->parent->elements;

	if (task->parent == NULL) {
		reply->array = false;
		reply->n = 0;
	}
	if (!last && len > sizeof(r->scratch) - r->scratch_len) {
		r->why = "a string is too long";
		return NULL;
	}
	if (!last && len > 0) {
		data = memcpy(r->scratch + r->scratch_len, data, len);
		r->scratch_len += len;
	}
	/* on_array has made sure that there is room. */
	reply->v[reply->n++] = (struct redis_value){ type, data, len, number };
	return last && deliver(r) != 0 ? NULL : r;
}

static void *
on_string(const redisReadTask *task, char *s, size_t n)
{
	enum redis_type type = REDIS_TYPE_STRING;

	if (task->type == REDIS_REPLY_STATUS)
		type = REDIS_TYPE_STATUS;
	else if (task->type == REDIS_REPLY_ERROR)
		type = REDIS_TYPE_ERROR;
	return add_value(task, type, s, n, 0);
}

static void *
on_integer(const redisReadTask *task, long long number)
{
	return add_value(task, REDIS_TYPE_INTEGER, NULL, 0, number);
}

static void *
on_nil(const redisReadTask *task)
{
	return add_value(task, REDIS_TYPE_NIL, NULL, 0, 0);
}

#if HIREDIS_MAJOR >= 1
static void *
on_array(const redisReadTask *task, size_t elements)
#else
static void *
on_array(const redisReadTask *task, int elements)
#endif
{
	struct redis_reader *r = task->privdata;

	if (task->parent != NULL || elements < 1 || elements > REDIS_ARRAY_MAX) {
		r->why = "an array is nested, empty or too long";
		return NULL;
	}
	r->reply.array = true;
	r->reply.n = 0;
	r->scratch_len = 0;
	return r;
}

static void
on_free(void *object)
{
	(void)object; /* it is the reader itself */
}

static redisReplyObjectFunctions functions = {
	.createString = on_string,
	.createArray = on_array,
	.createInteger = on_integer,
	.createNil = on_nil,
	.freeObject = on_free,
};

/*
 * What stays in the parser's buffer is a line that has not ended, or the length line of a string
 * and a part of the string.  Returns what is wrong with it, or NULL.  hiredis keeps a NUL behind
 * the bytes.
 */
static const char *
check_rest(const redisReader *r)
{
	const char *p = r->buf + r->pos;
	size_t n = r->len - r->pos;
	unsigned long long declared;
	char *end;

	if (n == 0)
		return NULL;
	declared = strtoull(p, &end, 10);
	if (end != p && end[0] == '\r' && end[1] == '\n')
		return declared > REDIS_BULK_MAX ? "a string is too long" : NULL;
	return n > REDIS_LINE_MAX ? "a line is too long" : NULL;
}

struct redis_reader *
redis_reader_new(redis_reply_fn fn, void *arg)
{
	struct redis_reader *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->parser = redisReaderCreateWithFunctions(&functions);
	if (r->parser == NULL) {
		free(r);
		return NULL;
	}
	r->parser->privdata = r;
	r->parser->maxbuf = KEEP;
	r->fn = fn;
	r->arg = arg;
	return r;
}

void
redis_reader_free(struct redis_reader *r)
{
	if (r == NULL)
		return;
	redisReaderFree(r->parser);
	free(r);
}

int
redis_reader_feed(struct redis_reader *r, const char *bytes, size_t n, const char **why)
{
	void *object;

	r->why = NULL;
	r->err = FAN_EPROTO;
	if (redisReaderFeed(r->parser, bytes, n) != REDIS_OK) {
		*why = "no memory for a reply";
		return FAN_ENOMEM;
	}
	do {
		if (redisReaderGetReply(r->parser, &object) != REDIS_OK) {
			*why = r->why != NULL ? r->why : redisReaderGetError(r->parser);
			return r->err;
		}
	} while (object != NULL);
	*why = check_rest(r->parser);
	return *why == NULL ? 0 : FAN_EPROTO;
}

/* --- commands --------------------------------------------------------------------------------- */

/* Writes "<mark><n>CRLF" to p and returns the place behind it. */
static uint8_t *
put_count(uint8_t *p, char mark, size_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	*p++ = (uint8_t)mark;
	p = (uint8_t *)memcpy(p, digits + i, sizeof(digits) - i) + (sizeof(digits) - i);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

static uint8_t *
put_bytes(uint8_t *p, const void *data, size_t n)
{
	return n == 0 ? p : (uint8_t *)memcpy(p, data, n) + n;
}

int
redis_command_append(struct buf *out, const struct redis_arg *args, size_t n)
{
	const size_t count_max = 23; /* a mark, 20 digits, CRLF */
	size_t need = count_max, i;
	uint8_t *start, *p;
	int err;

	for (i = 0; i < n; i++) {
		if (args[i].len > out->max || args[i].head_len > out->max || need > out->max)
			return FAN_ETOOBIG;
		need += count_max + args[i].head_len + args[i].len + 2;
	}
	err = buf_reserve(out, need, &start);
	if (err != 0)
		return err;
	p = put_count(start, '*', n);
	for (i = 0; i < n; i++) {
		p = put_count(p, '$', args[i].head_len + args[i].len);
		p = put_bytes(p, args[i].head, args[i].head_len);
		p = put_bytes(p, args[i].data, args[i].len);
		p = put_bytes(p, "\r\n", 2);
	}
	buf_commit(out, (size_t)(p - start));
	return 0;
}
