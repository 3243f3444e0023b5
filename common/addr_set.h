/*
 * addr_set: sets of IP addresses as blocks (ADDRESS/BITS), and the unix sockets' peers.
 *
 * Owns:    its blocks.
 * Process: any.
 * Layer:   common.  Uses err.
 */
#ifndef COMMON_ADDR_SET_H
#define COMMON_ADDR_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/err.h"

struct addr_set {
	struct addr_block *block;
	size_t n;
	bool unix_peers; /* "unix" was in it */
};

/*
 * Adds "192.0.2.7", "10.0.0.0/8", "2001:db8::/32" or "unix".  FAN_EINVAL with a phrase in *why: none
 * of these, or bits set behind the prefix; FAN_ENOMEM.
 */
FAN_NODISCARD int addr_set_add(struct addr_set *s, const char *text, const char **why);
void addr_set_fini(struct addr_set *s);

/* Whether the address is in the set; an IPv4 address that is mapped into IPv6 counts as itself. */
bool addr_set_has(const struct addr_set *s, const struct sockaddr *sa);

#endif
