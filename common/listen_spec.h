/*
 * listen_spec: one entry of listen.public or listen.internal: an address and what is spoken there.
 *
 * Process: master, worker, cli.
 * Layer:   common.  Uses err, sock.
 *
 *     ADDRESS [tls] [proxy] [mode=MODE] [owner=[USER][:GROUP]]
 *
 * ADDRESS as sock_addr_parse has it, or unix:/absolute/path.  mode (octal) and owner are for unix
 * sockets alone.
 */
#ifndef COMMON_LISTEN_SPEC_H
#define COMMON_LISTEN_SPEC_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/sock.h"

#define LISTEN_SPEC_MAX 512 /* bytes of an entry */

struct listen_spec {
	struct sock_addr addr; /* of a unix socket too: struct sockaddr_un */
	bool tls;
	bool proxy;  /* each connection begins with a PROXY header, v1 or v2 */
	mode_t mode; /* of the socket's file; 0660 unless given */
	/* Names or numbers, "" where not given; whether they exist is found out by who opens it. */
	char user[64];
	char group[64];
};

/* FAN_EINVAL with a phrase in *why. */
FAN_NODISCARD int listen_spec_parse(const char *text, struct listen_spec *out, const char **why);

bool listen_spec_is_unix(const struct listen_spec *l);
/* Whether only this machine can reach it: loopback, or a unix socket. */
bool listen_spec_is_local(const struct listen_spec *l);

#endif
