/*
 * client: on whose behalf a connection's requests come, and whether that address may have one more
 * connection.
 *
 * Owns:    the set of trusted proxies.
 * Process: workers.
 * Layer:   worker/http.  Uses forwarded, http, net/guests, net/conn, common/addr_set, common/conf.
 *
 * A client who connects himself is known when he is accepted, or when a PROXY header has named him.
 * For one who comes through a proxy that is trusted, it is each request that says who he is: on a
 * connection that the proxy keeps, another each time.  Trusted addresses are under no limit, unless
 * they name a client in a way that cannot be read: then it is theirs.
 */
#ifndef WORKER_HTTP_CLIENT_H
#define WORKER_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr_set.h"
#include "common/err.h"
#include "common/log.h"

struct conf;
struct http;
struct http_request;
struct net;

struct clients {
	struct addr_set trusted;
	int header; /* enum conf_proxy_header */
	uint64_t refused;
	struct log_gate gate;
};

/* Reads proxy.* of c, which conf_check has found good; net->guests are made by limits.address_*. */
FAN_NODISCARD int clients_init(struct clients *cs, const struct conf *c, struct net *net);
void clients_fini(struct clients *cs);

/*
 * A public connection has come and nothing was read from it yet.  tell: if it is refused it shall be
 * told why, which keeps a place until it closes too; else it is closed.  false: it was refused.
 */
FAN_NODISCARD bool client_arrives(struct clients *cs, struct http *h, bool tell);

/* At the beginning of a request.  false: it was refused and answered. */
FAN_NODISCARD bool client_asks(struct clients *cs, struct http *h, const struct http_request *req);

#endif
