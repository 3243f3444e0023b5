/*
 * proxy_protocol: the header by which a proxy names the client, versions 1 and 2
 * (The PROXY protocol, 2020/03/05, of the HAProxy project).
 *
 * Owns:    nothing; a pure function.
 * Process: workers.
 * Layer:   worker/net, lowest.  Uses common.
 */
#ifndef WORKER_NET_PROXY_PROTOCOL_H
#define WORKER_NET_PROXY_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"

/* The longest header that is taken: 16 bytes and an address block with TLVs in version 2. */
#define PROXY_HEADER_MAX 536

struct proxy_header {
	/*
	 * The client; ss_family AF_UNSPEC: the proxy speaks for itself (LOCAL), or of one whose
	 * address is not that of a TCP connection (UNKNOWN, a unix socket, UDP).
	 */
	struct sockaddr_storage client;
};

/*
 * Reads a header from its first byte on.  0: *used bytes were it.  FAN_EAGAIN: all n bytes belong to
 * the header, and more do.  FAN_EPROTO: this is no header, or a longer one than PROXY_HEADER_MAX;
 * known at the end of the field that shows it.
 *
 * Of version 1 the addresses are what inet_pton(3) reads, so that senders who write IPv4 addresses
 * mapped into IPv6 are understood, and ports have no leading zeros.  Of version 2 the TLVs must fill
 * the rest of the header exactly, and a CRC-32C among them must be right (§2.2.3).
 */
FAN_NODISCARD int proxy_header_parse(
    const uint8_t *p, size_t n, struct proxy_header *out, size_t *used);

#endif
