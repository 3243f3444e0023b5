/*
 * fuzz_head: a request's head and chunked body, its query and escapes, and what the handshake, the
 * Origin policy and CORS make of it (worker/http/parse, chunked, cors; worker/ws/handshake).
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/http, worker/ws.
 *
 * Input: what a connection begins with.
 */
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "tests/fuzz/fuzz.h"
#include "worker/http/cors.h"
#include "worker/http/parse.h"
#include "worker/ws/handshake.h"

static const struct http_limits limits = { 4096, 32 };
static const struct http_limits tight = { 128, 4 };

static int
parse(const uint8_t *p, size_t n, size_t seen, const struct http_limits *l,
    struct http_request *req, size_t *used)
{
	const char *why = NULL;
	int status = 0, err;

	err = http_request_parse((const char *)p, n, seen, l, req, used, &status, &why);
	if (err == 0) {
		FUZZ_CHECK(*used >= 16 && *used <= n && *used <= l->head);
		FUZZ_CHECK(req->nfields <= l->fields);
	} else if (err == FAN_EAGAIN) {
		FUZZ_CHECK(n < l->head);
	} else {
		FUZZ_CHECK(err == FAN_EPROTO || err == FAN_ETOOBIG);
		FUZZ_CHECK(status == 400 || status == 414 || status == 417 || status == 431 ||
		    status == 501 || status == 505);
		FUZZ_CHECK(why != NULL && *why != '\0');
	}
	return err;
}

/* Whether two slices of copies of one text are the same part of it. */
static bool
same_part(struct http_slice a, const uint8_t *a0, struct http_slice b, const uint8_t *b0)
{
	return a.n == b.n && (a.n == 0 || a.p - (const char *)a0 == b.p - (const char *)b0);
}

static void
check_same(const struct http_request *a, const uint8_t *a0, const struct http_request *b,
    const uint8_t *b0)
{
	size_t i;

	FUZZ_CHECK(same_part(a->method, a0, b->method, b0));
	FUZZ_CHECK(same_part(a->path, a0, b->path, b0));
	FUZZ_CHECK(same_part(a->query, a0, b->query, b0));
	FUZZ_CHECK(same_part(a->host, a0, b->host, b0));
	FUZZ_CHECK(a->minor == b->minor && a->keep_alive == b->keep_alive &&
	    a->chunked == b->chunked && a->expect_continue == b->expect_continue &&
	    a->content_length == b->content_length && a->nfields == b->nfields);
	for (i = 0; i < a->nfields; i++)
		FUZZ_CHECK(same_part(a->field[i].name, a0, b->field[i].name, b0) &&
		    same_part(a->field[i].value, a0, b->field[i].value, b0));
}

/* The head that comes in pieces is the head that comes at once. */
static void
check_pieces(
    const uint8_t *p, size_t n, int err, const struct http_request *req, size_t used, size_t piece)
{
	struct http_request part;
	struct fuzz_cuts cuts;
	size_t k = 0, seen = 0, part_used;
	uint8_t *copy;
	int got;

	fuzz_cuts_even(&cuts, piece);
	do {
		k += fuzz_cuts_next(&cuts, n - k);
		copy = fuzz_copy(p, k);
		got = parse(copy, k, seen, &limits, &part, &part_used);
		if (got == 0) {
			FUZZ_CHECK(err == 0 && part_used == used);
			check_same(req, p, &part, copy);
		}
		free(copy);
		seen = k;
	} while (got == FAN_EAGAIN && k < n);
	FUZZ_CHECK((got == FAN_EAGAIN) == (err == FAN_EAGAIN) && (got == 0) == (err == 0));
}

/* --- what a request is made of ------------------------------------------------------------- */

static void
check_slice(struct http_slice s, struct http_slice of)
{
	FUZZ_CHECK(s.n == 0 || (s.p >= of.p && s.p + s.n <= of.p + of.n));
}

static void
check_text(struct http_slice s, unsigned char least)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		FUZZ_CHECK((c >= least && c != 0x7f) || (c == '\t' && least <= ' '));
	}
}

/* What is decoded is no longer, has no NUL, and is again itself when each byte is escaped. */
static void
check_decode(struct http_slice s, bool plus)
{
	static const char hex[] = "0123456789abcdefABCDEF";
	char *out = malloc(s.n), *escaped, *again;
	size_t len, i, n;

	FUZZ_CHECK(out != NULL || s.n == 0);
	if (http_percent_decode(s, plus, out, &len) == 0) {
		FUZZ_CHECK(len <= s.n && (len == 0 || memchr(out, 0, len) == NULL));
		escaped = malloc(3 * len);
		again = malloc(3 * len);
		FUZZ_CHECK((escaped != NULL && again != NULL) || len == 0);
		for (i = 0; i < len; i++) {
			escaped[3 * i] = '%';
			escaped[3 * i + 1] = hex[(unsigned char)out[i] >> 4];
			escaped[3 * i + 2] = hex[(unsigned char)out[i] & 15];
		}
		FUZZ_CHECK(http_percent_decode(
			       (struct http_slice){ escaped, 3 * len }, plus, again, &n) == 0);
		FUZZ_CHECK(n == len && (n == 0 || memcmp(out, again, n) == 0));
		free(escaped);
		free(again);
	}
	free(out);
}

static void
check_query(struct http_slice query)
{
	struct http_slice rest = query, name, value;
	size_t left = query.n + 1;

	while (http_query_next(&rest, &name, &value)) {
		FUZZ_CHECK(left-- > 0);
		check_slice(name, query);
		check_slice(value, query);
		check_decode(name, true);
		check_decode(value, true);
	}
}

static void
check_list(struct http_slice list)
{
	struct http_slice rest = list, element;
	size_t left = list.n + 1;

	while (http_list_next(&rest, &element)) {
		FUZZ_CHECK(left-- > 0);
		check_slice(element, list);
		FUZZ_CHECK(element.n == 0 || memchr(element.p, ',', element.n) == NULL);
		FUZZ_CHECK(element.n == 0 ||
		    (strchr(" \t", element.p[0]) == NULL &&
			strchr(" \t", element.p[element.n - 1]) == NULL));
	}
}

static void
check_request(const struct http_request *req, const uint8_t *p, size_t used)
{
	struct http_slice head = { (const char *)p, used }, host;
	size_t i, lines = 0;
	int port;

	FUZZ_CHECK(memcmp(p + used - 4, "\r\n\r\n", 4) == 0);
	for (i = 0; i + 1 < used; i++) {
		FUZZ_CHECK((p[i] == '\r') == (p[i + 1] == '\n'));
		lines += p[i] == '\r';
	}
	FUZZ_CHECK(lines == req->nfields + 2);
	FUZZ_CHECK(http_is_token(req->method));
	FUZZ_CHECK(req->path.n > 0 && req->path.p[0] == '/');
	check_slice(req->method, head);
	check_slice(req->path, head);
	check_slice(req->query, head);
	check_slice(req->host, head);
	check_text(req->path, '!');
	check_text(req->query, '!');
	FUZZ_CHECK(req->minor == 0 || req->minor == 1);
	FUZZ_CHECK(req->content_length >= -1 && req->content_length < INT64_C(1) << 53);
	FUZZ_CHECK(!req->chunked || (req->content_length == -1 && req->minor == 1));
	FUZZ_CHECK(req->minor == 0 || req->host.n > 0);
	if (req->host.n > 0) {
		FUZZ_CHECK(http_authority_split(req->host, &host, &port));
		check_slice(host, req->host);
		FUZZ_CHECK(host.n > 0 && port >= -1 && port <= 65535);
	}
	for (i = 0; i < req->nfields; i++) {
		check_slice(req->field[i].name, head);
		check_slice(req->field[i].value, head);
		FUZZ_CHECK(http_is_token(req->field[i].name));
		check_text(req->field[i].value, ' ');
		check_list(req->field[i].value);
	}
	check_decode(req->path, false);
	check_query(req->query);
}

/* --- what is made of a request ------------------------------------------------------------- */

static void
check_handshake(const struct http_request *req)
{
	static const char *const names[] = { "fanfare.json", "chat", NULL };
	char accept[WS_ACCEPT_SIZE], again[WS_ACCEPT_SIZE];
	const struct http_field *key;
	const char *why = NULL, *name;
	bool malformed = false;
	int status = 0, err;
	size_t pos = 0;

	err = ws_handshake_check(req, accept, &status, &why);
	if (err == 0) {
		FUZZ_CHECK(ws_handshake_wanted(req));
		FUZZ_CHECK(req->minor == 1 && http_slice_is(req->method, "GET"));
		FUZZ_CHECK(http_field_has_token(req, "connection", "upgrade"));
		FUZZ_CHECK(strlen(accept) == WS_ACCEPT_SIZE - 1);
		key = http_field_next(req, "sec-websocket-key", &pos);
		FUZZ_CHECK(key != NULL && key->value.n == WS_KEY_LEN);
		FUZZ_CHECK(http_field_next(req, "sec-websocket-key", &pos) == NULL);
		ws_accept(key->value.p, again);
		FUZZ_CHECK(strcmp(accept, again) == 0);
	} else {
		FUZZ_CHECK(err == FAN_EPROTO && why != NULL);
		FUZZ_CHECK(status == 400 || status == 405 || status == 426);
	}
	name = ws_handshake_protocol(req, names, &malformed);
	FUZZ_CHECK(name == NULL || name == names[0] || name == names[1]);
	FUZZ_CHECK(name == NULL || http_field_has_token(req, "sec-websocket-protocol", name));
}

/* A longer list of origins allows no less, "*" all, and without an Origin there is no question. */
static void
check_origin(const struct http_request *req)
{
	static const char *const list[] = { "https://app.example.com:8443", "https://*.example.com",
		"http://[::1]", "*" };
	bool before = false;
	size_t n, pos = 0;

	for (n = 1; n <= sizeof(list) / sizeof(list[0]); n++) {
		bool allowed = ws_origin_allowed(req, list, n);

		FUZZ_CHECK(allowed || !before);
		before = allowed;
	}
	FUZZ_CHECK(before);
	if (http_field_next(req, "origin", &pos) == NULL)
		FUZZ_CHECK(ws_origin_allowed(req, list, 1) && ws_origin_allowed(req, NULL, 0));
}

/* Nothing that a client sends begins a line of the answer. */
static void
check_lines(const char *out)
{
	const char *end, *colon;

	FUZZ_CHECK(memchr(out, '\0', CORS_FIELDS_MAX) != NULL);
	for (; *out != '\0'; out = end + 2) {
		end = strstr(out, "\r\n");
		FUZZ_CHECK(end != NULL && end > out);
		FUZZ_CHECK(memchr(out, '\n', (size_t)(end - out)) == NULL);
		colon = memchr(out, ':', (size_t)(end - out));
		FUZZ_CHECK(colon != NULL);
		FUZZ_CHECK(http_is_token((struct http_slice){ out, (size_t)(colon - out) }));
	}
}

static struct conf *
conf_with(const char *setting)
{
	struct conf *c = conf_new();

	FUZZ_CHECK(c != NULL && conf_set(c, setting, NULL) == 0);
	return c;
}

static void
check_cors(const struct http_request *req)
{
	static struct conf *conf[3];
	char out[CORS_FIELDS_MAX];
	size_t i, pos = 0;

	if (conf[0] == NULL) {
		conf[0] = conf_with("origins=[]");
		conf[1] =
		    conf_with("origins=[\"https://app.example.com\", \"https://*.example.org\"]");
		conf[2] = conf_with("origins=[\"*\"]");
	}
	for (i = 0; i < 3; i++) {
		cors_fields(conf[i], req, out);
		check_lines(out);
		if (cors_is_preflight(req)) {
			(void)cors_preflight_fields(conf[i], req, "GET, POST", out);
			check_lines(out);
		}
	}
	if (http_field_next(req, "origin", &pos) == NULL)
		FUZZ_CHECK(!cors_is_preflight(req));
}

/* --- the body ------------------------------------------------------------------------------ */

/* What comes of a body that arrives in such pieces: its bytes, where it ended, and how. */
static void
read_chunks(const uint8_t *p, size_t n, size_t piece, struct buf *out)
{
	struct fuzz_cuts cuts;
	struct http_chunked c;
	struct http_slice data;
	size_t used = 0;
	int err = FAN_EAGAIN;

	fuzz_cuts_even(&cuts, piece);
	http_chunked_init(&c);
	while (err == FAN_EAGAIN && used < n) {
		size_t size = fuzz_cuts_next(&cuts, n - used), left = size;
		uint8_t *copy = fuzz_copy(p + used, size);
		const char *at = (const char *)copy;

		while ((err = http_chunked_next(&c, &at, &left, &data)) == 0) {
			FUZZ_CHECK(data.n > 0);
			check_slice(data, (struct http_slice){ (const char *)copy, size });
			fuzz_note(out, data.p, data.n);
		}
		FUZZ_CHECK(err == FAN_EAGAIN || err == FAN_EGONE || err == FAN_EPROTO);
		FUZZ_CHECK(err != FAN_EAGAIN || left == 0);
		used += size - left;
		free(copy);
	}
	fuzz_note_number(out, err);
	fuzz_note_number(out, (int64_t)used);
}

static void
check_body(const uint8_t *p, size_t n)
{
	static const size_t pieces[] = { 1, 7 };
	struct buf whole, part;
	size_t i;

	buf_init(&whole, SIZE_MAX / 8);
	read_chunks(p, n, SIZE_MAX, &whole);
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		buf_init(&part, SIZE_MAX / 8);
		read_chunks(p, n, pieces[i], &part);
		FUZZ_CHECK(fuzz_same(&whole, &part));
		buf_fini(&part);
	}
	buf_fini(&whole);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request req, other;
	size_t used = 0, tight_used = 0;
	int err = parse(data, size, 0, &limits, &req, &used), got;

	got = parse(data, size, 0, &tight, &other, &tight_used);
	if (got == 0) {
		FUZZ_CHECK(err == 0 && used == tight_used);
		check_same(&req, data, &other, data);
	}
	FUZZ_CHECK(got != FAN_EAGAIN || err == FAN_EAGAIN);
	if (size > 0) {
		check_pieces(data, size, err, &req, used, 1 + data[size - 1] % 64U);
		if (size <= 256)
			check_pieces(data, size, err, &req, used, 1);
	}
	if (err != 0)
		return 0;
	check_request(&req, data, used);
	check_handshake(&req);
	check_origin(&req);
	check_cors(&req);
	check_body(data + used, size - used);
	return 0;
}
