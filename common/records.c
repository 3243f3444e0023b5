/*
 * records: messages of a channel's history as one run of bytes.  See records.h.
 */
#include "common/records.h"

#include <string.h>

#include "common/buf.h"

_Static_assert(RECORD_HEAD == sizeof(uint64_t) + sizeof(uint32_t) + 1, "the head of a record");

int
records_append(struct buf *b, const struct record *r)
{
	uint32_t len = (uint32_t)r->len;
	uint8_t *out;
	int err;

	if (r->len > UINT32_MAX)
		return FAN_ETOOBIG;
	err = buf_reserve(b, RECORD_HEAD + r->len, &out);
	if (err != 0)
		return err;
	memcpy(out, &r->offset, 8);
	memcpy(out + 8, &len, 4);
	out[12] = (uint8_t)r->kind;
	if (r->len > 0)
		memcpy(out + RECORD_HEAD, r->data, r->len);
	buf_commit(b, RECORD_HEAD + r->len);
	return 0;
}

int
records_next(struct records *rs, struct record *out)
{
	uint32_t len;

	if (rs->n == 0)
		return FAN_ENOENT;
	if (rs->n < RECORD_HEAD)
		return FAN_EPROTO;
	memcpy(&out->offset, rs->p, 8);
	memcpy(&len, rs->p + 8, 4);
	if (len > rs->n - RECORD_HEAD || rs->p[12] > MSG_BINARY)
		return FAN_EPROTO;
	out->kind = (enum msg_kind)rs->p[12];
	out->data = rs->p + RECORD_HEAD;
	out->len = len;
	rs->p += RECORD_HEAD + len;
	rs->n -= RECORD_HEAD + len;
	return 0;
}

int
records_check(struct records rs, uint64_t first)
{
	struct record r;
	int err;

	while ((err = records_next(&rs, &r)) == 0) {
		if (r.offset != first++)
			return FAN_EPROTO;
	}
	return err == FAN_ENOENT ? 0 : err;
}

struct records
records_after(struct records rs, uint64_t offset)
{
	struct records rest = rs;
	struct record r;

	while (records_next(&rest, &r) == 0 && r.offset <= offset)
		rs = rest;
	return rs;
}
