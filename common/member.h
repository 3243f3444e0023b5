/*
 * member: one connection that is in a channel, as presence knows it.
 *
 * Process: hub, workers.
 * Layer:   common.  Uses buf, json, err.
 *
 * Packed, as it travels between worker, hub and engine: u8 client length, client, u8 user length,
 * user, u32 info length, info.
 */
#ifndef COMMON_MEMBER_H
#define COMMON_MEMBER_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct buf;

#define CLIENT_ID_MAX 32
#define MEMBER_INFO_MAX 4096

/* Lent.  Not NUL-terminated. */
struct member {
	const char *client; /* the connection: 1 to CLIENT_ID_MAX of A-Z a-z 0-9 - _ */
	size_t client_len;
	const char *user; /* valid UTF-8, up to USER_ID_MAX bytes; empty: anonymous */
	size_t user_len;
	const char *info; /* JSON text, up to MEMBER_INFO_MAX bytes; empty: none */
	size_t info_len;
};

/* Errors as buf_append; nothing was appended then. */
FAN_NODISCARD int member_append(struct buf *b, const struct member *m);
/* Takes the first member off *n bytes at *p.  FAN_ENOENT: n is 0.  FAN_EPROTO: malformed. */
FAN_NODISCARD int member_next(const uint8_t **p, size_t *n, struct member *out);
/* Appends {"client":"…","user":"…","info":…}, user and info only where there are any. */
FAN_NODISCARD int member_append_json(struct buf *b, const struct member *m);

#endif
