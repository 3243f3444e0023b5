/*
 * secure: TLS on a connected socket, the client's side.
 *
 * Owns:    its OpenSSL objects, not the fd.
 * Process: the command line, one thread.
 * Layer:   cli, lowest.  Uses wait, common; OpenSSL.
 */
#ifndef CLI_SECURE_H
#define CLI_SECURE_H

#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

struct secure;

/*
 * Shakes hands over fd, which does not block, with a server that must prove to be host, a name or an
 * address, by the authorities of the file cacert; NULL: of the system.  ms: the time for it.  0, or
 * what went wrong is in why[size]: FAN_EDENIED, it will again; FAN_EDOWN; FAN_EAGAIN, a signal asks to
 * stop; FAN_ENOMEM.
 */
FAN_NODISCARD int secure_open(int fd, const char *host, const char *cacert, int ms,
    struct secure **out, char *why, size_t size);
/* Says goodbye if that takes no waiting.  NULL is allowed. */
void secure_close(struct secure *s);

/*
 * As send(2) and recv(2) without blocking, with errno EAGAIN or ECONNRESET.  n of secure_recv is at
 * least 16 KiB, so that nothing stays behind that poll(2) would not tell of.
 */
ssize_t secure_send(struct secure *s, const void *p, size_t n);
ssize_t secure_recv(struct secure *s, void *p, size_t n);

#endif
