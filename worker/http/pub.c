/*
 * pub: the endpoint /pub/CHANNEL of backends.  See pub.h.
 *
 * GET asks the hub one thing after the other (subscribers, history, presence) and writes each into the
 * body of the response.
 */
#include "worker/http/pub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/ipc_msg.h"
#include "common/member.h"
#include "common/records.h"
#include "worker/core/access.h"
#include "worker/core/session.h"
#include "worker/dialect/json_encode.h"
#include "worker/http/backend.h"
#include "worker/http/http.h"

#define JSON "application/json"
#define PUB "/pub/"
#define METHODS "GET, HEAD, POST, DELETE"

enum what {
	PUB_GET,
	PUB_POST,
	PUB_DELETE,
};

struct pub {
	struct http *h;
	const struct conf_rule *rule; /* of the channel, until the request has been begun */
	uint32_t ticket;
	enum what what;
	enum backend_body declared;
	/* Of GET. */
	struct buf out;
	unsigned history; /* messages that were asked for; 0: none */
	struct position since;
	bool reverse, presence, has_history;
	size_t most; /* bytes of a message */
	size_t key_len;
	char key[IPC_KEY_MAX];
	size_t len;
	char name[CHANNEL_NAME_MAX + 1];
};

static struct core *
core_of(const struct http *h)
{
	return h->server->app;
}

static void
pub_free(struct http *h)
{
	struct pub *p = h->ctx;

	uplink_ticket_close(core_of(h)->uplink, p->ticket);
	buf_fini(&p->out);
	free(p);
}

/* --- publishing and forgetting ------------------------------------------------------------- */

/* {"offset":N,"epoch":"E"}, or {} without a position: the answer to POST and DELETE. */
static void
on_accepted(void *arg, const struct uplink_answer *a)
{
	const struct pub *p = arg;
	char body[POSITION_TEXT_MAX + 32];
	int n;

	if (a->status != 0) {
		backend_fail(p->h, a->status);
		return;
	}
	if (a->past == NULL || a->past->pos.epoch[0] == '\0')
		n = snprintf(body, sizeof(body), "{}\n");
	else
		n = snprintf(body, sizeof(body), "{\"offset\":%" PRIu64 ",\"epoch\":\"%s\"}\n",
		    a->past->pos.offset, a->past->pos.epoch);
	if (n > 0)
		http_respond(p->h, 200, JSON, "", body, (size_t)n);
}

static int
publish(struct pub *p, enum msg_kind kind, const uint8_t *data, size_t n)
{
	const struct uplink_message m = {
		.channel = p->name,
		.channel_len = p->len,
		.kind = kind,
		.data = data,
		.len = n,
		.key = p->key,
		.key_len = p->key_len,
	};

	if (n > p->most)
		return FAN_ETOOBIG;
	return uplink_publish(core_of(p->h)->uplink, &m, on_accepted, p, &p->ticket);
}

/* --- GET ---------------------------------------------------------------------------------- */

/* Another part of the body went wrong with err, or was written (0) and the response is complete. */
static void
finish(struct pub *p, int err)
{
	if (err == 0)
		err = buf_append(&p->out, "}\n", 2);
	if (err == 0)
		http_respond(p->h, 200, JSON, "", buf_data(&p->out), buf_len(&p->out));
	else
		backend_fail(p->h, err);
}

/* Whether the messages join the position that was asked for without a hole. */
static bool
joins(const struct pub *p, const struct ipc_past *past)
{
	struct records rs = past->records;
	struct record first;

	if (!position_same_epoch(&p->since, &past->pos) || p->since.offset > past->pos.offset)
		return false;
	if (records_next(&rs, &first) == 0)
		return first.offset == (p->reverse ? p->since.offset - 1 : p->since.offset + 1);
	return p->reverse ? p->since.offset <= 1 : p->since.offset == past->pos.offset;
}

static int
write_messages(struct pub *p, const struct ipc_past *past)
{
	struct records rs = past->records;
	const char *comma = "";
	struct record r;
	int err = buf_printf(&p->out, ",\"messages\":[");

	while (err == 0 && (err = records_next(&rs, &r)) == 0) {
		err = buf_printf(&p->out, "%s", comma);
		if (err == 0)
			err = json_encode_record(&p->out, &r);
		comma = ",";
	}
	if (err == FAN_ENOENT)
		err = buf_printf(&p->out, "]");
	if (err == 0 && p->since.epoch[0] != '\0')
		err = buf_printf(&p->out, ",\"recovered\":%s", joins(p, past) ? "true" : "false");
	return err;
}

static int
compare_users(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	size_t n = x->user_len < y->user_len ? x->user_len : y->user_len;
	int order = n == 0 ? 0 : memcmp(x->user, y->user, n);

	return order != 0 ? order : (x->user_len > y->user_len) - (x->user_len < y->user_len);
}

/* Users are counted once each; one who is anonymous counts as another each time. */
static size_t
count_users(struct member *m, size_t n)
{
	size_t i, users = 0;

	if (n > 0)
		qsort(m, n, sizeof(*m), compare_users);
	for (i = 0; i < n; i++)
		users += i == 0 || m[i].user_len == 0 || compare_users(&m[i - 1], &m[i]) != 0;
	return users;
}

static int
write_members(struct buf *out, const uint8_t *packed, size_t len)
{
	struct member *all = NULL;
	size_t n = 0, cap = 0;
	int err = buf_printf(out, ",\"members\":[");

	while (err == 0) {
		if (n == cap) {
			struct member *more;

			cap = cap == 0 ? 16 : cap * 2;
			more = reallocarray(all, cap, sizeof(*more));
			if (more == NULL) {
				err = FAN_ENOMEM;
				break;
			}
			all = more;
		}
		err = member_next(&packed, &len, &all[n]);
		if (err == 0)
			err = buf_printf(out, "%s", n == 0 ? "" : ",");
		if (err == 0)
			err = member_append_json(out, &all[n++]);
	}
	if (err == FAN_ENOENT)
		err = buf_printf(out, "],\"clients\":%zu,\"users\":%zu", n, count_users(all, n));
	free(all);
	return err;
}

static void
on_presence(void *arg, const struct uplink_answer *a)
{
	struct pub *p = arg;

	finish(p, a->status != 0 ? a->status : write_members(&p->out, a->members, a->members_len));
}

/* What comes after the history. */
static void
ask_presence(struct pub *p)
{
	int err;

	if (!p->presence) {
		finish(p, 0);
		return;
	}
	err = uplink_presence(core_of(p->h)->uplink, p->name, p->len, on_presence, p, &p->ticket);
	if (err != 0)
		backend_fail(p->h, err);
}

static void
on_history(void *arg, const struct uplink_answer *a)
{
	struct pub *p = arg;
	int err = a->status;

	if (err == 0 && a->past == NULL)
		err = FAN_EDOWN;
	if (err == 0)
		err = json_encode_position(&p->out, &a->past->pos);
	if (err == 0 && p->history > 0)
		err = write_messages(p, a->past);
	if (err == 0)
		ask_presence(p);
	else
		backend_fail(p->h, err);
}

static void
on_counted(void *arg, const struct uplink_answer *a)
{
	struct pub *p = arg;
	int err = a->status;

	if (err == 0)
		err = buf_printf(
		    &p->out, "{\"channel\":\"%s\",\"subscribers\":%" PRIu64, p->name, a->value);
	if (err == 0 && !p->has_history) {
		ask_presence(p);
		return;
	}
	/* Without messages it is the position alone that is asked for. */
	if (err == 0)
		err = uplink_history(core_of(p->h)->uplink, p->name, p->len, &p->since, p->history,
		    p->reverse, on_history, p, &p->ticket);
	if (err != 0)
		backend_fail(p->h, err);
}

/* --- the request -------------------------------------------------------------------------- */

static void
on_body(struct http *h, const uint8_t *data, size_t n)
{
	struct uplink *u = core_of(h)->uplink;
	struct pub *p = h->ctx;
	enum msg_kind kind;
	int err;

	if (p->what == PUB_POST && backend_body_kind(p->declared, data, n, &kind) != 0) {
		http_error(h, 400, "", "the body is declared as text and is not UTF-8");
		return;
	}
	if (p->what == PUB_POST)
		err = publish(p, kind, data, n);
	else if (p->what == PUB_DELETE)
		err = uplink_forget(u, p->name, p->len, on_accepted, p, &p->ticket);
	else
		err = uplink_count(u, p->name, p->len, on_counted, p, &p->ticket);
	if (err == 0)
		http_wait(h);
	else
		backend_fail(h, err);
}

/* A number of 1 to 999999999. */
static bool
read_number(struct http_slice s, int64_t *out)
{
	size_t i;

	*out = 0;
	for (i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || i == 9)
			return false;
		*out = *out * 10 + (s.p[i] - '0');
	}
	return *out > 0;
}

static bool
read_since(struct http_slice s, struct position *out)
{
	char decoded[POSITION_TEXT_MAX * 3];
	size_t len;

	return s.n <= sizeof(decoded) && http_percent_decode(s, true, decoded, &len) == 0 &&
	    position_parse(out, decoded, len) == 0;
}

/* What a GET asks for.  NULL, or a phrase for what is wrong; what is not known is passed over. */
static const char *
read_query(struct pub *p, const struct http_request *req)
{
	struct http_slice rest = req->query, name, value;
	int64_t n = 0;

	while (http_query_next(&rest, &name, &value)) {
		if (http_slice_is(name, "history") && !read_number(value, &n))
			return "history must be a number of messages";
		if (http_slice_is(name, "since") && !read_since(value, &p->since))
			return "since must be EPOCH:OFFSET";
		if (http_slice_is(name, "reverse"))
			p->reverse = http_slice_is(value, "1");
		if (http_slice_is(name, "presence"))
			p->presence = http_slice_is(value, "1");
	}
	if (n == 0 && (p->reverse || p->since.epoch[0] != '\0'))
		return "since and reverse need history=N";
	p->history = (unsigned)n;
	return NULL;
}

/* Responds where what is asked for is not there, or is too much. */
static bool
can_be_had(const struct pub *p, const struct conf *c)
{
	char why[80];

	if (p->history > 0 && p->history > c->limits.recovery) {
		(void)snprintf(
		    why, sizeof(why), "history must be at most %" PRId64, c->limits.recovery);
		http_error(p->h, 400, "", why);
	} else if ((p->history > 0 || p->what == PUB_DELETE) && !p->has_history) {
		http_error(p->h, 404, "", "this channel keeps no history");
	} else if (p->presence && !p->rule->presence) {
		http_error(p->h, 404, "", "this channel keeps no presence");
	} else {
		return true;
	}
	return false;
}

/* Reads the idempotency key.  NULL, or a phrase for what is wrong with it. */
static const char *
read_key(struct pub *p, const struct http_request *req)
{
	size_t pos = 0;
	const struct http_field *f = http_field_next(req, "Idempotency-Key", &pos);

	if (f == NULL)
		return NULL;
	if (f->value.n == 0 || f->value.n > sizeof(p->key))
		return "Idempotency-Key must have 1 to 255 bytes";
	if (http_field_next(req, "Idempotency-Key", &pos) != NULL)
		return "Idempotency-Key must come once";
	p->key_len = f->value.n;
	memcpy(p->key, f->value.p, f->value.n);
	return NULL;
}

/* The channel's name, decoded, into p.  FAN_EINVAL: it is none. */
static int
read_channel(struct pub *p, const struct http_request *req)
{
	const struct core *core = core_of(p->h);
	const size_t skip = sizeof(PUB) - 1;
	struct http_slice name = { req->path.p + skip, req->path.n - skip };
	char decoded[CHANNEL_NAME_MAX * 3 + 1];

	if (name.n >= sizeof(decoded) || http_percent_decode(name, false, decoded, &p->len) != 0 ||
	    access_rule(core, decoded, p->len, &p->rule) != 0)
		return FAN_EINVAL;
	memcpy(p->name, decoded, p->len);
	p->most = (size_t)(p->rule->message > 0 ? p->rule->message : core->conf->limits.message);
	p->has_history = p->rule->history.size > 0;
	return 0;
}

static void
begin(struct http *h, const struct http_request *req, enum what what)
{
	struct pub *p = calloc(1, sizeof(*p));
	const char *why = NULL;

	if (p == NULL) {
		http_error(h, 500, "", "out of memory");
		return;
	}
	p->h = h;
	p->what = what;
	p->declared = backend_body(req);
	buf_init(&p->out, SIZE_MAX / 4);
	h->ctx = p;
	h->ctx_free = pub_free;
	if (read_channel(p, req) != 0)
		why = "not a channel name";
	else if (what == PUB_POST)
		why = read_key(p, req);
	else if (what == PUB_GET)
		why = read_query(p, req);
	if (why != NULL)
		http_error(h, 400, "", why);
	else if (can_be_had(p, core_of(h)->conf))
		http_want_body(h, on_body);
}

bool
pub_matches(const struct http_request *req)
{
	return req->path.n >= sizeof(PUB) - 1 && memcmp(req->path.p, PUB, sizeof(PUB) - 1) == 0;
}

void
pub_begin(struct http *h, const struct http_request *req)
{
	if (!backend_admits(h, req, METHODS))
		return;
	if (http_slice_is(req->method, "POST"))
		begin(h, req, PUB_POST);
	else if (http_slice_is(req->method, "DELETE"))
		begin(h, req, PUB_DELETE);
	else if (http_slice_is(req->method, "GET") || http_slice_is(req->method, "HEAD"))
		begin(h, req, PUB_GET);
	else
		http_error(h, 405, "Allow: " METHODS "\r\n", "use POST to publish");
}
