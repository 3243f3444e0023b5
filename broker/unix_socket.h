/*
 * unix_socket: listening on a unix socket that has a file.
 *
 * Owns:    nothing; the caller keeps the fd, and the file's identity to remove it by.
 * Process: master.
 * Layer:   broker.  Uses listen_spec, err.
 *
 * Those who open or remove sockets in one folder take turns by a lock on the folder, so that of two
 * servers that start at once one is refused, and none removes the other's file.
 */
#ifndef BROKER_UNIX_SOCKET_H
#define BROKER_UNIX_SOCKET_H

#include <sys/types.h>

#include "common/err.h"

struct listen_spec;

struct unix_socket {
	dev_t dev;
	ino_t ino;
};

/*
 * Opens a listening socket, non-blocking, close-on-exec, with the mode and the owner of the spec from
 * its first moment on.  A socket's file on which nobody listens is replaced; anything else that is
 * there is left alone.  Returns the fd, or FAN_ESYS with *why, and errno unless that says it all.
 * EADDRINUSE: somebody listens there.
 */
FAN_NODISCARD int unix_socket_open(
    const struct listen_spec *l, int backlog, struct unix_socket *out, const char **why);

/* Removes the file, if it is still the one that was opened. */
void unix_socket_remove(const struct listen_spec *l, const struct unix_socket *s);

#endif
