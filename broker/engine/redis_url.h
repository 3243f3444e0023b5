/*
 * redis_url: the text of redis.url, taken apart.
 *
 * Owns:    its strings.
 * Process: hub.
 * Layer:   broker/engine, lowest.  Uses common/err.
 *
 * Forms:
 *     redis://[[USER][:PASSWORD]@]HOST[:PORT][/DB]      HOST a name, an IPv4 or a [IPv6] address
 *     unix://[[USER][:PASSWORD]@]/PATH[?db=DB]          also as redis+unix://
 * User, password and path are percent-decoded.
 */
#ifndef BROKER_ENGINE_REDIS_URL_H
#define BROKER_ENGINE_REDIS_URL_H

#include <stddef.h>

#include "common/err.h"

#define REDIS_URL_TEXT 320

struct redis_url {
	char *host;     /* without brackets; NULL for a Unix socket */
	char port[6];   /* in decimal; "6379" where none is given */
	char *path;     /* of the Unix socket, shorter than sun_path; NULL for TCP */
	char *user;     /* NULL: Redis's default user */
	char *password; /* NULL: no AUTH */
	unsigned db;
};

/*
 * Takes text apart into out.  FAN_EINVAL with a fixed phrase in *why that quotes nothing of the
 * text; FAN_ENOMEM likewise.  On failure out holds nothing.
 */
FAN_NODISCARD int redis_url_parse(const char *text, struct redis_url *out, const char **why);

/* Wipes and frees the strings. */
void redis_url_fini(struct redis_url *u);

/* Writes where the URL points to, for logs: neither user nor password.  Returns out. */
const char *redis_url_text(const struct redis_url *u, char out[REDIS_URL_TEXT]);

#endif
