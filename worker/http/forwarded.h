/*
 * forwarded: the client's address as trusted proxies name it: X-Forwarded-For, or Forwarded
 * (RFC 7239).
 *
 * Owns:    nothing; pure functions.
 * Process: workers.
 * Layer:   worker/http.  Uses parse, common/addr_set, common/conf.
 */
#ifndef WORKER_HTTP_FORWARDED_H
#define WORKER_HTTP_FORWARDED_H

#include <stdbool.h>
#include <sys/socket.h>

struct addr_set;
struct http_request;

/* The name of the field (header: enum conf_proxy_header), or NULL for CONF_PROXY_NONE. */
const char *forwarded_field(int header);

/*
 * The client of a request that came from `peer`.  Where peer is trusted, the list of the one field
 * that is configured is walked from its end; the first address that is not trusted is the client, or
 * the last that could be read.  What is not an address ("unknown", "_hidden", garbage) ends the
 * walk.  true: *client is what the walk found; false: it is a copy of peer.
 */
bool forwarded_client(const struct http_request *req, const struct addr_set *trusted, int header,
    const struct sockaddr_storage *peer, struct sockaddr_storage *client);

#endif
