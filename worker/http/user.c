/*
 * user: the endpoint /user/USER of backends.  See user.h.
 */
#include "worker/http/user.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/utf8.h"
#include "worker/core/session.h"
#include "worker/core/user.h"
#include "worker/http/backend.h"
#include "worker/http/http.h"
#include "worker/uplink.h"

#define ROOT "/user/"
#define METHODS "DELETE, POST"
#define CODE_DEFAULT 1008
#define REASON_DEFAULT "disconnected"
#define SPARE 160 /* of a message in a user's channel, beside its data */

struct request {
	struct http *h;
	uint32_t ticket;
	enum backend_body declared;
	uint16_t code; /* of DELETE; 0: it is POST */
	char reason[USER_REASON_MAX + 1];
	size_t len;
	char channel[CHANNEL_NAME_MAX + 1];
};

static struct core *
core_of(const struct http *h)
{
	return h->server->app;
}

static void
request_free(struct http *h)
{
	struct request *r = h->ctx;

	uplink_ticket_close(core_of(h)->uplink, r->ticket);
	free(r);
}

static void
on_published(void *arg, const struct uplink_answer *a)
{
	struct request *r = arg;

	if (a->status == 0)
		http_respond(r->h, 200, "application/json", "", "{}\n", 3);
	else
		backend_fail(r->h, a->status);
}

/* What goes to the user's channel. */
static int
append(struct buf *b, const struct request *r, enum msg_kind kind, const uint8_t *data, size_t n)
{
	if (r->code != 0)
		return user_append_disconnect(b, r->code, r->reason);
	return user_append_message(b, kind, data, n);
}

static void
on_body(struct http *h, const uint8_t *data, size_t n)
{
	struct request *r = h->ctx;
	const struct core *core = core_of(h);
	enum msg_kind kind = MSG_TEXT;
	struct buf b;
	int err = 0;

	if (r->code == 0 && backend_body_kind(r->declared, data, n, &kind) != 0) {
		http_error(h, 400, "", "the body is declared as text and is not UTF-8");
		return;
	}
	if (r->code == 0 && n > (size_t)core->conf->limits.message)
		err = FAN_ETOOBIG;
	buf_init(&b, n + SPARE);
	if (err == 0)
		err = append(&b, r, kind, data, n);
	if (err == 0)
		err = uplink_publish(core->uplink,
		    &(struct uplink_message){
			.channel = r->channel,
			.channel_len = r->len,
			.kind = kind,
			.data = buf_data(&b),
			.len = buf_len(&b),
		    },
		    on_published, r, &r->ticket);
	buf_fini(&b);
	if (err == 0)
		http_wait(h);
	else
		backend_fail(h, err);
}

/* --- the request -------------------------------------------------------------------------- */

/* Decodes into out, with a NUL.  FAN_EINVAL: it is longer than max, or no UTF-8. */
static int
decode(struct http_slice s, bool plus, char *out, size_t max, size_t *len)
{
	char decoded[USER_ID_MAX * 3];

	if (s.n > sizeof(decoded) || http_percent_decode(s, plus, decoded, len) != 0 ||
	    *len > max || !utf8_valid((const uint8_t *)decoded, *len))
		return FAN_EINVAL;
	memcpy(out, decoded, *len);
	out[*len] = '\0';
	return 0;
}

/* Decodes a reason into out, with a NUL.  FAN_EINVAL. */
static int
read_reason(struct http_slice s, char *out)
{
	size_t len = 0;
	int err = decode(s, true, out, USER_REASON_MAX, &len);

	for (size_t i = 0; err == 0 && i < len; i++)
		if ((uint8_t)out[i] < 0x20 || out[i] == 0x7f)
			err = FAN_EINVAL;
	return err;
}

/* Four digits of a close code that may be sent; FAN_EINVAL. */
static int
read_code(struct http_slice s, uint16_t *code)
{
	unsigned number = 0;

	if (s.n != 4)
		return FAN_EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return FAN_EINVAL;
		number = number * 10 + (unsigned)(s.p[i] - '0');
	}
	*code = (uint16_t)number;
	return user_code_valid(number) ? 0 : FAN_EINVAL;
}

/* Code and reason of a disconnection.  Returns a phrase for what is wrong, or NULL. */
static const char *
read_disconnect(struct request *r, const struct http_request *req)
{
	struct http_slice rest = req->query, name, value;

	r->code = CODE_DEFAULT;
	memcpy(r->reason, REASON_DEFAULT, sizeof(REASON_DEFAULT));
	while (http_query_next(&rest, &name, &value)) {
		if (http_slice_is(name, "code") && read_code(value, &r->code) != 0)
			return "code is 1000, 1008, 1011 to 1013 or 3000 to 4999";
		if (http_slice_is(name, "reason") && read_reason(value, r->reason) != 0)
			return "reason is UTF-8 of at most 123 bytes without control characters";
	}
	return NULL;
}

/* Returns a phrase for what is wrong, or NULL. */
static const char *
read_request(struct request *r, const struct http_request *req)
{
	const size_t skip = sizeof(ROOT) - 1;
	struct http_slice name = { req->path.p + skip, req->path.n - skip };
	char user[USER_ID_MAX + 1];
	size_t len;

	if (decode(name, false, user, USER_ID_MAX, &len) != 0)
		return "a user is UTF-8 of at most 180 bytes";
	r->len = channel_name_of_user(r->channel, user, len);
	if (r->len == 0)
		return "name a user: /user/USER";
	return http_slice_is(req->method, "DELETE") ? read_disconnect(r, req) : NULL;
}

bool
user_api_matches(const struct http_request *req)
{
	const size_t n = sizeof(ROOT) - 1;

	return req->path.n >= n && memcmp(req->path.p, ROOT, n) == 0;
}

void
user_api_begin(struct http *h, const struct http_request *req)
{
	struct request *r;
	const char *why;

	if (!backend_admits(h, req, METHODS))
		return;
	if (!http_slice_is(req->method, "POST") && !http_slice_is(req->method, "DELETE")) {
		http_error(
		    h, 405, "Allow: " METHODS "\r\n", "use POST to send, DELETE to disconnect");
		return;
	}
	r = calloc(1, sizeof(*r));
	if (r == NULL) {
		http_error(h, 500, "", "out of memory");
		return;
	}
	why = read_request(r, req);
	if (why != NULL) {
		free(r);
		http_error(h, 400, "", why);
		return;
	}
	r->h = h;
	r->declared = backend_body(req);
	h->ctx = r;
	h->ctx_free = request_free;
	http_want_body(h, on_body);
}
