/*
 * sock: socket addresses as text, and listening sockets.
 *
 * Process: master (listening), any (the rest).
 * Layer:   common.  Uses err.
 */
#ifndef COMMON_SOCK_H
#define COMMON_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/err.h"

#define SOCK_ADDR_TEXT 128 /* bytes that hold any address as text */

struct sock_addr {
	struct sockaddr_storage ss;
	socklen_t len;
	bool any; /* written as ":PORT": every address, IPv6 and IPv4 */
};

/*
 * Parses "127.0.0.1:8080", "[::1]:8080", "localhost:8080" (the IPv4 loopback) or ":8080" (every
 * address).  Names other than localhost are not looked up.  Port 0 lets the kernel choose.
 * FAN_EINVAL with a phrase in *why.
 */
FAN_NODISCARD int sock_addr_parse(const char *text, struct sock_addr *out, const char **why);

/* Whether only this machine can reach the address. */
bool sock_addr_is_loopback(const struct sock_addr *a);

/*
 * Writes "HOST:PORT", "unix:PATH", or "unix" for a unix socket without a path, into out and returns
 * out.  A path ends with a NUL.
 */
const char *sock_addr_text(const struct sockaddr *sa, char out[SOCK_ADDR_TEXT]);

/* An IPv4 address that is mapped into IPv6 becomes the IPv4 address itself. */
void sock_addr_unmap(struct sockaddr_storage *ss);

/*
 * Opens n listening sockets that share one address (SO_REUSEPORT), non-blocking, close-on-exec,
 * TCP_NODELAY set for what they accept.  An address that another process listens on already is
 * refused, even if that process would share it.  A port of 0 is chosen once, and written back to
 * a.  FAN_ESYS with errno; nothing stays open then.
 */
FAN_NODISCARD int sock_listen(struct sock_addr *a, int backlog, int *fds, size_t n);

#endif
