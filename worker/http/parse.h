/*
 * parse: the head of an HTTP/1.1 request, and its body's framing (RFC 9112), strictly.
 *
 * Owns:    nothing; pure functions.  Slices point into the input.
 * Process: workers.
 * Layer:   worker/http, lowest.  Uses common.
 *
 * Where the RFC lets a recipient be lenient, this parser is not: lines end with CRLF, no white
 * space before the colon, no folded lines, no control bytes in values, tokens only in method and
 * names, the origin form of the target alone ("/path?query"), exactly one Host in HTTP/1.1, at most
 * one Content-Length (digits only, below 2^53), never both Content-Length and Transfer-Encoding,
 * Transfer-Encoding exactly "chunked", and not in HTTP/1.0.
 */
#ifndef WORKER_HTTP_PARSE_H
#define WORKER_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define HTTP_FIELDS_MAX 256 /* the most that limits.fields may be set to */

struct http_slice {
	const char *p;
	size_t n;
};

struct http_field {
	struct http_slice name;
	struct http_slice value; /* without surrounding white space */
};

struct http_request {
	struct http_slice method;
	struct http_slice path;  /* still percent-encoded, begins with "/" */
	struct http_slice query; /* after "?", may be empty */
	int minor;               /* HTTP/1.minor: 0 or 1 */
	bool keep_alive;         /* what Connection and the version ask for */
	bool chunked;            /* the body is chunked */
	bool expect_continue;    /* Expect: 100-continue */
	int64_t content_length;  /* -1: no Content-Length */
	struct http_slice host;  /* host[:port]; empty if there is no Host */
	size_t nfields;
	struct http_field field[HTTP_FIELDS_MAX];
};

struct http_limits {
	size_t head;   /* bytes of the head, its last CRLF included */
	size_t fields; /* at most HTTP_FIELDS_MAX */
};

/*
 * Parses the head at the start of buf.  0: *used bytes were the head.  FAN_EAGAIN: the head is
 * incomplete and nothing is wrong so far.  Otherwise *status is the answer to give, 400, 414, 417,
 * 431, 501 or 505, *why a phrase, and the connection must be closed: FAN_EPROTO, or FAN_ETOOBIG.
 * seen: how many bytes an earlier call with the same buf found incomplete, so that the search for
 * the end is not begun again; 0 if none.
 */
FAN_NODISCARD int http_request_parse(const char *buf, size_t n, size_t seen,
    const struct http_limits *limits, struct http_request *req, size_t *used, int *status,
    const char **why);

/*
 * The next field of this name (any case) from *pos on, or NULL; *pos, 0 at first, moves on.
 */
const struct http_field *http_field_next(
    const struct http_request *req, const char *name, size_t *pos);
/* Whether any field of this name, read as a comma-separated list, holds the token in any case. */
bool http_field_has_token(const struct http_request *req, const char *name, const char *token);

/*
 * The next element, perhaps empty, of a comma-separated list, without white space around it.
 * Returns false at the end.  *rest, at first the whole list, moves on.
 */
bool http_list_next(struct http_slice *rest, struct http_slice *element);

/* Comparisons of a slice with a string, exact and in any (ASCII) case. */
bool http_slice_is(struct http_slice s, const char *text);
bool http_slice_is_nocase(struct http_slice s, const char *text);

/* Whether the slice is a token (RFC 9110 §5.6.2): one or more letters, digits and some signs. */
bool http_is_token(struct http_slice s);
/*
 * Splits host[:port].  The host is a name, an IPv4 address, or an IPv6 address in brackets, which
 * stay; *port is 0 to 65535, or -1 if there is none.  false: it is none of these.
 */
bool http_authority_split(struct http_slice s, struct http_slice *host, int *port);

/*
 * Decodes %XX (and, where plus is true, "+" as a space) into out, which holds s.n bytes.
 * FAN_EINVAL: a bad escape or %00.
 */
FAN_NODISCARD int http_percent_decode(struct http_slice s, bool plus, char *out, size_t *len);

/*
 * The next name=value of a query, still encoded.  Returns false at the end.  *rest, at first the
 * whole query, moves on.
 */
bool http_query_next(struct http_slice *rest, struct http_slice *name, struct http_slice *value);

/* The body's chunks (RFC 9112 §7.1). Extensions and trailers are read past, within bounds. */
struct http_chunked {
	uint64_t left;  /* of the current chunk */
	uint16_t extra; /* bytes of extensions and trailers so far; at most 4,096 */
	uint8_t state;
	uint8_t digits;
};
void http_chunked_init(struct http_chunked *c);
/*
 * Reads from *p up to *n bytes and moves past what it used.  0: *data is a slice of body, lent.
 * FAN_EAGAIN: all input was used.  FAN_EGONE: the body is complete.  FAN_EPROTO: malformed.
 */
FAN_NODISCARD int http_chunked_next(
    struct http_chunked *c, const char **p, size_t *n, struct http_slice *data);

#endif
