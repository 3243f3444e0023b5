/*
 * guests: how many connections each client address has and how fast it makes new ones.
 *
 * Owns:    one struct guest for each address that has connections, or had one a second ago.
 * Process: workers.
 * Layer:   worker/net, lowest.  Uses deadline, common/map.
 *
 * An IPv6 address counts together with all others of its /64, which is what one customer has.  The
 * rate is a bucket that holds one second's worth, so that an address without connections is known
 * for no longer than the second in which its bucket fills again; of those at most GUESTS_IDLE_MAX.
 */
#ifndef WORKER_NET_GUESTS_H
#define WORKER_NET_GUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"

#define GUESTS_IDLE_MAX 16384
#define GUESTS_IDLE_MS 1000

struct deadlines;
struct guest;
struct guests;

/* connections: the most of one address; rate: new ones a second; 0: no limit.  NULL: no memory. */
struct guests *guests_new(struct deadlines *ds, uint32_t connections, uint32_t rate);
/* Every guest must have left. */
void guests_free(struct guests *g);

/*
 * A connection of this address, at this time (as clock_ms), wants to be served.  0: it may, and
 * *out, which is NULL for what is no IP address, leaves with it.  FAN_EFULL: the address has too many,
 * or makes them too fast.  FAN_ENOMEM.
 */
FAN_NODISCARD int guests_enter(
    struct guests *g, const struct sockaddr *sa, uint64_t now, struct guest **out);
/* Its connection has ended.  NULL is allowed. */
void guest_leave(struct guest *guest, uint64_t now);
/* Whether the address is the one that the guest, perhaps NULL, came in by. */
bool guest_is(const struct guest *guest, const struct sockaddr *sa);

/* How many addresses are known. */
size_t guests_count(const struct guests *g);

#endif
