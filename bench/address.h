/*
 * address: where to connect to, and sockets that do.
 *
 * Process: fanfare-bench.
 * Layer:   bench.  Uses text.
 */
#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

#define ADDRESS_HOST_MAX 300

struct address {
	struct sockaddr_storage ss;
	socklen_t len;
	char host[ADDRESS_HOST_MAX]; /* HOST:PORT as written, for the Host field */
};

/*
 * Understands [SCHEME://]HOST[:PORT][/...] and unix:PATH; names are looked up.  Ends the process
 * where that fails.  port is the one to take where none is written.
 */
void address_parse(const char *text, const char *port, struct address *a);

/*
 * A non-blocking socket on its way to a, TCP_NODELAY set, or -1 with errno.  On the loopback,
 * connection number i comes from 127.0.0.0/8 in a way that no source runs out of ports.
 */
int address_connect(const struct address *a, size_t i);

#endif
