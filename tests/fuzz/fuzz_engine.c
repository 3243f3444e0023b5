/*
 * fuzz_engine: what comes from Redis: replies (broker/engine/redis_resp), publications
 * (broker/engine/envelope); redis.url (broker/engine/redis_url) and globs (broker/engine/redis_glob).
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, broker/engine.
 *
 * Input: a byte that says which, 'r', 'e', 'u' or 'g', and the bytes.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "broker/engine/envelope.h"
#include "broker/engine/redis_glob.h"
#include "broker/engine/redis_resp.h"
#include "broker/engine/redis_url.h"
#include "common/json.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"

/* --- replies ------------------------------------------------------------------------------- */

static int
on_reply(void *arg, const struct redis_reply *r)
{
	struct buf *out = arg;
	size_t i;

	FUZZ_CHECK(r->n > 0 && r->n <= REDIS_ARRAY_MAX && (r->array || r->n == 1));
	fuzz_note_number(out, r->array ? (int64_t)r->n : -1);
	for (i = 0; i < r->n; i++) {
		const struct redis_value *v = &r->v[i];

		FUZZ_CHECK(v->type <= REDIS_TYPE_NIL);
		fuzz_note_number(out, v->type);
		fuzz_note_number(out, v->number);
		fuzz_note_number(out, (int64_t)v->len);
		fuzz_note(out, v->data, v->len);
	}
	return 0;
}

static void
read_replies(struct fuzz_input in, size_t piece, struct buf *out)
{
	struct redis_reader *r = redis_reader_new(on_reply, out);
	struct fuzz_cuts cuts;
	const char *why = NULL;
	int err = 0;

	FUZZ_CHECK(r != NULL);
	fuzz_cuts_even(&cuts, piece);
	while (err == 0 && in.n > 0) {
		struct fuzz_input next = fuzz_take(&in, fuzz_cuts_next(&cuts, in.n));
		uint8_t *copy = fuzz_copy(next.p, next.n);

		err = redis_reader_feed(r, (const char *)copy, next.n, &why);
		free(copy);
	}
	FUZZ_CHECK(err == 0 || (err == FAN_EPROTO && why != NULL && *why != '\0'));
	fuzz_note_number(out, err);
	redis_reader_free(r);
}

static void
check_replies(struct fuzz_input in)
{
	static const size_t pieces[] = { 1, 5, 64 };
	struct buf whole, part;
	size_t i;

	buf_init(&whole, SIZE_MAX / 8);
	read_replies(in, SIZE_MAX, &whole);
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		buf_init(&part, SIZE_MAX / 8);
		read_replies(in, pieces[i], &part);
		FUZZ_CHECK(fuzz_same(&whole, &part));
		buf_fini(&part);
	}
	buf_fini(&whole);
}

static int
on_command(void *arg, const struct redis_reply *r)
{
	const struct fuzz_input *in = arg;

	FUZZ_CHECK(r->array && r->n == 2);
	FUZZ_CHECK(r->v[0].len == 7 && memcmp(r->v[0].data, "PUBLISH", 7) == 0);
	FUZZ_CHECK(r->v[1].len == in->n && (in->n == 0 || memcmp(r->v[1].data, in->p, in->n) == 0));
	return 0;
}

/* A command is an array of strings, which the reader of replies can read. */
static void
check_command(struct fuzz_input in)
{
	size_t half = in.n / 2;
	struct redis_arg args[2] = { { "PUBLISH", 7, NULL, 0 },
		{ in.p, half, in.p + half, in.n - half } };
	struct redis_reader *r = redis_reader_new(on_command, &in);
	const char *why;
	struct buf b;

	FUZZ_CHECK(r != NULL);
	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(redis_command_append(&b, args, 2) == 0);
	FUZZ_CHECK(redis_reader_feed(r, (const char *)buf_data(&b), buf_len(&b), &why) == 0);
	buf_fini(&b);
	buf_init(&b, 16);
	FUZZ_CHECK(redis_command_append(&b, args, 2) == FAN_ETOOBIG && buf_len(&b) == 0);
	buf_fini(&b);
	redis_reader_free(r);
}

/* --- publications -------------------------------------------------------------------------- */

/* What is written in this kind is read in this kind. */
static void
check_envelope(enum msg_kind kind, struct fuzz_input in)
{
	uint8_t *whole = malloc(ENVELOPE_HEAD + in.n);
	uint8_t head[ENVELOPE_HEAD];
	struct envelope e;
	size_t n;

	FUZZ_CHECK(whole != NULL);
	n = envelope_head(kind, in.p, in.n, head);
	FUZZ_CHECK(n == 0 || n == ENVELOPE_HEAD);
	memcpy(whole, head, n);
	if (in.n > 0)
		memcpy(whole + n, in.p, in.n);
	envelope_decode(whole, n + in.n, &e);
	FUZZ_CHECK(e.kind == kind && e.len == in.n && e.data == whole + n && !e.has_position);
	free(whole);
}

static void
check_publication(struct fuzz_input in)
{
	uint8_t *copy = fuzz_copy(in.p, in.n);
	struct envelope e;
	struct position again;

	envelope_decode(copy, in.n, &e);
	FUZZ_CHECK(e.len <= in.n && (in.n == 0 || e.data + e.len == copy + in.n));
	FUZZ_CHECK(e.kind == MSG_BINARY || utf8_valid(e.data, e.len));
	FUZZ_CHECK((e.kind != MSG_JOIN && e.kind != MSG_LEAVE) ||
	    (!e.has_position && json_valid((const char *)e.data, e.len, JSON_DEPTH_MAX)));
	FUZZ_CHECK(e.has_position == (e.position.epoch[0] != '\0'));
	FUZZ_CHECK(!e.has_position || e.position.offset > 0);
	FUZZ_CHECK(position_set(&again, e.position.offset, e.position.epoch,
		       strlen(e.position.epoch)) == 0 ||
	    !e.has_position);
	free(copy);
	check_envelope(MSG_BINARY, in);
	if (utf8_valid(in.p, in.n))
		check_envelope(MSG_TEXT, in);
}

/* --- globs --------------------------------------------------------------------------------- */

/* Any glob becomes a whole pattern. */
static void
check_glob(struct fuzz_input in)
{
	char *glob = fuzz_string(in);
	struct buf b;

	buf_init(&b, SIZE_MAX / 8);
	FUZZ_CHECK(redis_glob_append(&b, glob) == 0);
	FUZZ_CHECK(
	    buf_len(&b) >= 2 && buf_data(&b)[0] == '^' && buf_data(&b)[buf_len(&b) - 1] == '$');
	buf_fini(&b);
	buf_init(&b, 4);
	FUZZ_CHECK(strlen(glob) < 8 || strspn(glob, "*[") > 0 ||
	    redis_glob_append(&b, glob) == FAN_ETOOBIG);
	buf_fini(&b);
	free(glob);
}

/* --- redis.url ----------------------------------------------------------------------------- */

static void
check_url(struct fuzz_input in)
{
	char *text = fuzz_string(in), shown[REDIS_URL_TEXT], without[REDIS_URL_TEXT];
	struct redis_url u, bare;
	const char *why = NULL;
	int err = redis_url_parse(text, &u, &why);

	if (err != 0) {
		FUZZ_CHECK(err == FAN_EINVAL && why != NULL && *why != '\0');
	} else {
		FUZZ_CHECK((u.host != NULL) != (u.path != NULL));
		FUZZ_CHECK(u.host == NULL || (*u.host != '\0' && strlen(u.host) <= 253));
		FUZZ_CHECK(
		    u.path == NULL || strlen(u.path) < sizeof(((struct sockaddr_un *)0)->sun_path));
		FUZZ_CHECK(u.host == NULL || (atoi(u.port) > 0 && atoi(u.port) <= 65535));
		FUZZ_CHECK(strlen(redis_url_text(&u, shown)) < REDIS_URL_TEXT);
		/* It is the same without them, so nothing of them is in it. */
		bare = u;
		bare.user = bare.password = NULL;
		FUZZ_CHECK(strcmp(redis_url_text(&bare, without), shown) == 0);
		redis_url_fini(&u);
	}
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };

	switch (fuzz_byte(&in)) {
	case 'r':
		check_replies(in);
		check_command(in);
		break;
	case 'e':
		check_publication(in);
		break;
	case 'g':
		check_glob(in);
		break;
	case 'u':
		check_url(in);
		break;
	default:
		break;
	}
	return 0;
}
