/*
 * http: a connection while it speaks HTTP/1.1: requests in, responses out.
 *
 * Owns:    itself, the unread input, the body under way, and the endpoint's ctx.
 * Process: workers.
 * Layer:   worker/http.  Uses parse, net/conn, common.  Endpoints (api, upgrade) stand above and
 *          are reached by struct http_server's `begin`.
 *
 * One request at a time: head -> begin -> (body -> on_body) -> response -> the next head.  What a
 * client sends ahead waits.  Every wait has a deadline: the head's and the handshake's is absolute
 * from the connection's first moment (or the head's first byte, later), so that nobody can stretch
 * it byte by byte.
 */
#ifndef WORKER_HTTP_HTTP_H
#define WORKER_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "worker/http/parse.h"

struct conn;
struct http;
struct net;

enum listener_kind {
	LISTENER_PUBLIC,
	LISTENER_INTERNAL,
};

/* What all HTTP connections of a worker share.  Sizes in bytes, times in ms. */
struct http_server {
	struct net *net;
	struct http_limits limits;
	size_t body_max;
	uint64_t head_ms;
	uint64_t body_ms;
	uint64_t idle_ms;
	void *app; /* the endpoints' */
	/*
	 * A head has come; req is lent until return.  Does one of: http_respond; http_want_body;
	 * http_wait, with an answer later; http_leave, after which h is gone.
	 */
	void (*begin)(struct http *h, const struct http_request *req);
};

enum http_state {
	HTTP_HEAD,     /* waits for a request, or has a part of its head */
	HTTP_BODY,     /* reads the body, to deliver it or to throw it away */
	HTTP_HANDLING, /* the endpoint will answer */
	HTTP_LEFT,     /* another protocol has taken over, or the connection ends */
};

/* Fields are http.c's own but for those marked public. */
struct http {
	struct conn *conn;                /* public, read only */
	struct http_server *server;       /* public, read only */
	void *ctx;                        /* public: the endpoint's, for this request */
	void (*ctx_free)(struct http *h); /* public: called at the request's end if ctx is set */
	/* Public: the body is complete; lent until return.  Responds or waits. */
	void (*on_body)(struct http *h, const uint8_t *data, size_t n);
	struct sockaddr_storage *peer; /* public: who sends, once a request named another; owned */
	char *fields;                  /* http_add_fields */
	struct buf in;                 /* input that could not be used yet */
	struct buf body;
	uint8_t *cur; /* the input of this moment */
	size_t cur_n;
	size_t seen; /* of cur, found to be an incomplete head */
	uint64_t body_left;
	struct http_chunked chunks;
	uint8_t state;
	uint8_t minor; /* public: HTTP/1.minor of the request */
	bool heavy;    /* the body is not worth reading past where it is not wanted */
	bool chunked, want_body, responded, keep_alive, head_only, first, eof, running, stopping;
	bool watching;
};

/* Takes fd, connected and non-blocking.  kind: enum listener_kind.  FAN_ENOMEM: fd is closed. */
FAN_NODISCARD int http_accept(struct http_server *s, int fd, enum listener_kind kind);
/*
 * The same without its last step: the caller sets what is to be known of h->conn before its first
 * byte is read, and calls conn_start.  NULL: no memory; fd is closed.
 */
struct http *http_prepare(struct http_server *s, int fd, enum listener_kind kind);
enum listener_kind http_listener(const struct http *h);

/* In begin: on_body shall get the body. */
void http_want_body(struct http *h, void (*on_body)(struct http *h, const uint8_t *data, size_t n));
/* In begin or on_body: the answer comes later. */
void http_wait(struct http *h);
/*
 * The same where nobody is to be kept waiting who has gone: the connection ends with the client's end of
 * it.  What the client sends ahead is kept, up to a buffer of it.
 */
void http_watch(struct http *h);

/*
 * In begin: the answer to this request, whoever gives it, has these field lines too, each with its
 * CRLF; copied.  FAN_ENOMEM.
 */
FAN_NODISCARD int http_add_fields(struct http *h, const char *fields);
/*
 * Responds.  type: Content-Type, or NULL for none; extra: further field lines, each with its CRLF,
 * or "".  Closes after the response where the request or its framing asks for that.
 */
void http_respond(
    struct http *h, int status, const char *type, const char *extra, const void *body, size_t n);
/* Responds with {"error":{"code":status,"message":why}}; why needs no escaping. */
void http_error(struct http *h, int status, const char *extra, const char *why);
/* The same, and the connection is closed after it. */
void http_fail(struct http *h, int status, const char *extra, const char *why);

/*
 * Responds with 200 and the first bytes of a body that ends with the connection.  Whoever sends the
 * rest takes the connection now, by http_leave.  false: the request was HEAD, that was all, and the
 * connection ends.
 */
FAN_NODISCARD bool http_stream(
    struct http *h, const char *type, const char *extra, const void *begin, size_t n);

/*
 * Another protocol has taken the conn's handler: lends the input that came behind the request in
 * *p and *n until http_free.
 */
void http_leave(struct http *h, uint8_t **p, size_t *n);
/* After http_leave: frees h, now or when its caller's loop is done. */
void http_free(struct http *h);

#endif
