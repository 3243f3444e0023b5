/*
 * member: one connection that is in a channel, as presence knows it.  See member.h.
 */
#include "common/member.h"

#include <stdbool.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/utf8.h"

/* The lengths of client, user and info. */
#define LENGTHS (1 + 1 + 4)
/* Room for a member as JSON, whatever has to be escaped in it. */
#define JSON_MAX (64 + CLIENT_ID_MAX + 6 * USER_ID_MAX + MEMBER_INFO_MAX)

int
member_append(struct buf *b, const struct member *m)
{
	size_t size = LENGTHS + m->client_len + m->user_len + m->info_len;
	uint32_t info_len = (uint32_t)m->info_len;
	uint8_t *out;
	int err;

	if (m->client_len > CLIENT_ID_MAX || m->user_len > USER_ID_MAX ||
	    m->info_len > MEMBER_INFO_MAX)
		return FAN_ETOOBIG;
	err = buf_reserve(b, size, &out);
	if (err != 0)
		return err;
	*out++ = (uint8_t)m->client_len;
	out = mempcpy(out, m->client, m->client_len);
	*out++ = (uint8_t)m->user_len;
	if (m->user_len > 0)
		out = mempcpy(out, m->user, m->user_len);
	out = mempcpy(out, &info_len, 4);
	if (m->info_len > 0)
		memcpy(out, m->info, m->info_len);
	buf_commit(b, size);
	return 0;
}

/* What is left of the packed bytes. */
struct cursor {
	const uint8_t *p;
	size_t n;
};

/* Takes len bytes; NULL: there are fewer. */
static const void *
take(struct cursor *c, size_t len)
{
	const uint8_t *p = c->p;

	if (len > c->n)
		return NULL;
	c->p += len;
	c->n -= len;
	return p;
}

static bool
client_valid(const char *client, size_t n)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789-_";
	size_t i;

	for (i = 0; i < n; i++) {
		if (memchr(allowed, client[i], sizeof(allowed) - 1) == NULL)
			return false;
	}
	return n >= 1 && n <= CLIENT_ID_MAX;
}

static bool
member_valid(const struct member *m)
{
	return client_valid(m->client, m->client_len) && m->user_len <= USER_ID_MAX &&
	    utf8_valid((const uint8_t *)m->user, m->user_len) &&
	    (m->info_len == 0 || json_valid(m->info, m->info_len, JSON_VALID_DEPTH_MAX));
}

int
member_next(const uint8_t **p, size_t *n, struct member *out)
{
	struct cursor c = { *p, *n };
	const uint8_t *len;
	uint32_t info_len;

	if (c.n == 0)
		return FAN_ENOENT;
	len = take(&c, 1);
	if (len == NULL)
		return FAN_EPROTO;
	out->client_len = *len;
	out->client = take(&c, out->client_len);
	len = out->client == NULL ? NULL : take(&c, 1);
	if (len == NULL)
		return FAN_EPROTO;
	out->user_len = *len;
	out->user = take(&c, out->user_len);
	len = out->user == NULL ? NULL : take(&c, 4);
	if (len == NULL)
		return FAN_EPROTO;
	memcpy(&info_len, len, 4);
	out->info_len = info_len;
	out->info = info_len > MEMBER_INFO_MAX ? NULL : take(&c, info_len);
	if (out->info == NULL || !member_valid(out))
		return FAN_EPROTO;
	*p = c.p;
	*n = c.n;
	return 0;
}

static int
append_json(struct buf *b, const struct member *m)
{
	int err = buf_append(b, "{\"client\":", 10);

	if (err == 0)
		err = json_append_string(b, m->client, m->client_len);
	if (err == 0 && m->user_len > 0)
		err = buf_append(b, ",\"user\":", 8);
	if (err == 0 && m->user_len > 0)
		err = json_append_string(b, m->user, m->user_len);
	if (err == 0 && m->info_len > 0)
		err = buf_append(b, ",\"info\":", 8);
	if (err == 0 && m->info_len > 0)
		err = buf_append(b, m->info, m->info_len);
	return err != 0 ? err : buf_append(b, "}", 1);
}

int
member_append_json(struct buf *b, const struct member *m)
{
	struct buf whole;
	int err;

	buf_init(&whole, JSON_MAX);
	err = append_json(&whole, m);
	if (err == 0)
		err = buf_append(b, buf_data(&whole), buf_len(&whole));
	buf_fini(&whole);
	return err;
}
