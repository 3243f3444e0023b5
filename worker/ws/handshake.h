/*
 * handshake: the opening handshake of RFC 6455 §4, both sides' pure parts.
 *
 * Owns:    nothing; pure functions.
 * Process: workers, and the command-line client.
 * Layer:   worker/ws.  Uses worker/http/parse, common.
 */
#ifndef WORKER_WS_HANDSHAKE_H
#define WORKER_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct http_request;
struct http_slice;

#define WS_ACCEPT_SIZE 29   /* Sec-WebSocket-Accept with its NUL */
#define WS_KEY_LEN 24       /* Sec-WebSocket-Key */
#define WS_PROTOCOLS_MAX 32 /* names that a client may offer */

/* Whether the request asks for an upgrade to WebSocket at all (an Upgrade field names it). */
bool ws_handshake_wanted(const struct http_request *req);

/*
 * Checks a client's handshake (§4.2.1): GET, HTTP/1.1, Host, `Connection` with the token upgrade
 * and `Upgrade` with websocket in any case, exactly one Sec-WebSocket-Key of 16 bytes in base64,
 * exactly one Sec-WebSocket-Version, 13; no body.  0: accept[] is the value of
 * Sec-WebSocket-Accept.  FAN_EPROTO: *status is 400, 405 or 426 (the answer to 426 carries
 * Sec-WebSocket-Version: 13) and *why a phrase.
 */
FAN_NODISCARD int ws_handshake_check(
    const struct http_request *req, char accept[WS_ACCEPT_SIZE], int *status, const char **why);

/*
 * The first of `supported` (ended by NULL) that the client offers in Sec-WebSocket-Protocol, in the
 * client's order of preference; names compare exactly (§4.1).  NULL: none.  *malformed is set if
 * a field is not a list of tokens, a name comes twice, or there are more than WS_PROTOCOLS_MAX.
 */
const char *ws_handshake_protocol(
    const struct http_request *req, const char *const *supported, bool *malformed);

/*
 * The Origin policy (RFC 6454; §10.2).  No Origin: allowed.  Otherwise one of `allowed` must match
 * ("*", "https://app.example.com", "https://app.example.com:8443", "https://(*).example.com"
 * written without the parentheses: any label or labels in front); where the list is empty, the
 * Origin's host must equal the Host field's, on any port, in any case.  "null", several Origin
 * fields, and anything that is not scheme://host[:port] match only "*".
 */
bool ws_origin_allowed(const struct http_request *req, const char *const *allowed, size_t n);

/* Sec-WebSocket-Accept for a key of WS_KEY_LEN bytes (§4.2.2 point 5). */
void ws_accept(const char *key, char accept[WS_ACCEPT_SIZE]);

#endif
