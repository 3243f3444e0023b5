/*
 * connect: what the connect hook is told.  See connect.h.
 */
#include "worker/http/connect.h"

#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/sock.h"
#include "common/utf8.h"
#include "worker/core/identity.h"
#include "worker/core/session.h"
#include "worker/http/http.h"
#include "worker/http/parse.h"
#include "worker/net/conn.h"

/* Bytes of a peer, of which those that are no UTF-8 are taken for ISO 8859-1. */
static int
append_text(struct buf *b, const char *p, size_t n)
{
	struct buf utf8;
	int err = 0;

	if (utf8_valid((const uint8_t *)p, n))
		return json_append_string(b, p, n);
	buf_init(&utf8, 2 * n);
	for (size_t i = 0; err == 0 && i < n; i++) {
		uint8_t c = (uint8_t)p[i];
		uint8_t two[2] = { (uint8_t)(0xc0 | c >> 6), (uint8_t)(0x80 | (c & 0x3f)) };

		err = c < 0x80 ? buf_append(&utf8, &c, 1) : buf_append(&utf8, two, 2);
	}
	if (err == 0)
		err = json_append_string(b, (const char *)buf_data(&utf8), buf_len(&utf8));
	buf_fini(&utf8);
	return err;
}

static int
append_member(struct buf *b, const char *name, const char *p, size_t n)
{
	int err = buf_printf(b, ",\"%s\":", name);

	return err != 0 ? err : append_text(b, p, n);
}

/* A field that came more than once is one list (RFC 9110 §5.3), of cookies with their own sign. */
static int
append_field(struct buf *b, const struct http_request *req, const char *name, bool first)
{
	const char *sign = strcasecmp(name, "Cookie") == 0 ? "; " : ", ";
	const struct http_field *f;
	struct buf all;
	size_t pos = 0;
	int err = 0, n = 0;

	buf_init(&all, CONNECT_MAX);
	while (err == 0 && (f = http_field_next(req, name, &pos)) != NULL) {
		if (n++ > 0)
			err = buf_append(&all, sign, 2);
		if (err == 0)
			err = buf_append(&all, f->value.p, f->value.n);
	}
	if (err == 0 && n > 0) {
		err = buf_append(b, ",", first ? 0 : 1);
		if (err == 0)
			err = append_text(b, name, strlen(name));
		if (err == 0)
			err = buf_append(b, ":", 1);
		if (err == 0)
			err = append_text(b, (const char *)buf_data(&all), buf_len(&all));
	}
	buf_fini(&all);
	return err;
}

static int
append_fields(struct buf *b, const struct core *core, const struct http_request *req)
{
	const struct conf_list *names = &core->conf->hooks.headers;
	bool token = core->tokens != NULL && connect_bearer(req, &(struct http_slice){ NULL, 0 });
	size_t empty;
	int err = buf_append(b, ",\"headers\":{", 12);

	empty = buf_len(b);
	for (size_t i = 0; err == 0 && i < names->n; i++)
		if (!token || strcasecmp(names->item[i], "Authorization") != 0)
			err = append_field(b, req, names->item[i], buf_len(b) == empty);
	return err != 0 ? err : buf_append(b, "}", 1);
}

/* The query as it came, without tokens where Fanfare takes them. */
static int
append_query(struct buf *b, const struct core *core, struct http_slice rest)
{
	struct http_slice name, value;
	struct buf kept;
	int err = 0;

	buf_init(&kept, CONNECT_MAX);
	while (err == 0 && http_query_next(&rest, &name, &value)) {
		if (core->tokens != NULL && http_slice_is(name, "token"))
			continue;
		if (buf_len(&kept) > 0)
			err = buf_append(&kept, "&", 1);
		if (err == 0)
			err = buf_append(&kept, name.p, name.n);
		if (err == 0)
			err = buf_append(&kept, "=", 1);
		if (err == 0)
			err = buf_append(&kept, value.p, value.n);
	}
	if (err == 0)
		err = append_member(b, "query", (const char *)buf_data(&kept), buf_len(&kept));
	buf_fini(&kept);
	return err;
}

static int
append_client(struct buf *b, const struct http *h, struct session *s)
{
	const struct identity *i = s->extra == NULL ? NULL : s->extra->identity;
	struct sockaddr_storage client;
	char address[SOCK_ADDR_TEXT];
	const char *id = session_client(s);
	int err;

	if (id == NULL)
		return FAN_ENOMEM;
	err = buf_printf(b, "{\"event\":\"connect\",\"client\":\"%s\"", id);
	if (err == 0 && i != NULL && i->user[0] != '\0')
		err = append_member(b, "user", i->user, strlen(i->user));
	conn_client(h->conn, &client);
	(void)sock_addr_text((const struct sockaddr *)&client, address);
	return err != 0 ? err : append_member(b, "address", address, strlen(address));
}

bool
connect_bearer(const struct http_request *req, struct http_slice *out)
{
	static const char scheme[] = "Bearer ";
	const size_t skip = sizeof(scheme) - 1;
	size_t pos = 0;
	const struct http_field *f = http_field_next(req, "Authorization", &pos);

	if (f == NULL || f->value.n <= skip || strncasecmp(f->value.p, scheme, skip) != 0)
		return false;
	*out = (struct http_slice){ f->value.p + skip, f->value.n - skip };
	return true;
}

int
connect_append(
    struct buf *b, const struct http *h, struct session *s, const struct http_request *req)
{
	int err = append_client(b, h, s);

	if (err == 0)
		err = append_member(b, "path", req->path.p, req->path.n);
	if (err == 0)
		err = append_query(b, s->core, req->query);
	if (err == 0)
		err = append_fields(b, s->core, req);
	return err != 0 ? err : buf_append(b, "}", 1);
}
