/*
 * parse: the head of an HTTP/1.1 request (RFC 9112), strictly.  See parse.h.
 *
 * Owns:    nothing; pure functions.
 * Process: workers.
 * Layer:   worker/http, lowest.  Uses common.
 *
 * First the end of the head is looked for, and on the way every control byte is refused that is not
 * part of a CRLF; so what splits the lines afterwards need not look for these again.
 */
#include "worker/http/parse.h"

#include <string.h>

#define METHOD_MAX 32
#define START_MAX (METHOD_MAX + 2)    /* method, space, first byte of the target */
#define LENGTH_END (INT64_C(1) << 53) /* Content-Length must be below */

/* How the parse of one request fails. */
struct verdict {
	int err;
	int status;
	const char *why;
};

static int
refuse(struct verdict *v, int status, const char *why)
{
	v->err = status == 414 || status == 431 ? FAN_ETOOBIG : FAN_EPROTO;
	v->status = status;
	v->why = why;
	return v->err;
}

/* --- characters and slices --------------------------------------------------------------------- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char
lower(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	return c;
}

static bool
is_alnum(char c)
{
	return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether c may stand in a token; a table, because every byte of every field name passes here. */
static bool
is_tchar(char c)
{
	static const uint64_t low = UINT64_C(0x03ff6cfa00000000);  /* ! # $ % & ' * + - . 0-9 */
	static const uint64_t high = UINT64_C(0x57ffffffc7fffffe); /* A-Z ^ _ ` a-z | ~ */
	unsigned char u = (unsigned char)c;

	return u < 0x80 && ((u < 0x40 ? low >> u : high >> (u - 0x40)) & 1) != 0;
}

static struct http_slice
slice(const char *p, const char *end)
{
	struct http_slice s = { p, (size_t)(end - p) };

	return s;
}

static struct http_slice
trim(struct http_slice s)
{
	while (s.n > 0 && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool
http_slice_is(struct http_slice s, const char *text)
{
	return strlen(text) == s.n && memcmp(s.p, text, s.n) == 0;
}

bool
http_slice_is_nocase(struct http_slice s, const char *text)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (text[i] == '\0' || lower(s.p[i]) != lower(text[i]))
			return false;
	}
	return text[i] == '\0';
}

bool
http_is_token(struct http_slice s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (!is_tchar(s.p[i]))
			return false;
	}
	return s.n > 0;
}

/* The length of the host at the start of s, brackets included; 0: there is none. */
static size_t
host_len(struct http_slice s)
{
	size_t i;

	if (s.n == 0 || s.p[0] != '[') {
		for (i = 0; i < s.n && s.p[i] != ':'; i++) {
			if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '.' && s.p[i] != '_')
				return 0;
		}
		return i;
	}
	for (i = 1; i < s.n && s.p[i] != ']'; i++) {
		if (hex_value(s.p[i]) < 0 && s.p[i] != ':' && s.p[i] != '.')
			return 0;
	}
	return i == s.n || i < 3 ? 0 : i + 1;
}

bool
http_authority_split(struct http_slice s, struct http_slice *host, int *port)
{
	size_t i = host_len(s);
	int value = 0;

	host->p = s.p;
	host->n = i;
	*port = -1;
	if (i == 0 || i == s.n)
		return i > 0;
	if (s.p[i++] != ':' || i == s.n)
		return false;
	for (; i < s.n; i++) {
		if (!is_digit(s.p[i]))
			return false;
		value = value * 10 + (s.p[i] - '0');
		if (value > UINT16_MAX)
			return false;
	}
	*port = value;
	return true;
}

/* --- the head ---------------------------------------------------------------------------------- */

/*
 * Looks for the head's end from byte `from` on, where an earlier call stopped.  0: *end is one past
 * the empty line.  FAN_EAGAIN: it is not in the n bytes.
 */
static int
find_end(const char *buf, size_t from, size_t n, size_t *end, struct verdict *v)
{
	size_t i = from;

	if (i > 0 && buf[i - 1] == '\r')
		i--;
	while (i < n) {
		if (!is_control(buf[i]) || buf[i] == '\t') {
			i++;
			continue;
		}
		if (buf[i] == '\n')
			return refuse(v, 400, "line ends without CR");
		if (buf[i] != '\r')
			return refuse(v, 400, "control byte in the head");
		if (i == 0)
			return refuse(v, 400, "empty line before the request");
		if (i + 1 == n)
			break;
		if (buf[i + 1] != '\n')
			return refuse(v, 400, "CR without LF");
		/* Any LF that was passed had its CR. */
		if (buf[i - 1] == '\n') {
			*end = i + 2;
			return 0;
		}
		i += 2;
	}
	return FAN_EAGAIN;
}

/* Method and first byte of the target, as far as they have come. */
static int
check_start(const char *buf, size_t n, struct verdict *v)
{
	size_t i;

	for (i = 0; i < n && is_tchar(buf[i]); i++) {
		if (i == METHOD_MAX)
			return refuse(v, 400, "method too long");
	}
	if (i == n)
		return 0;
	if (i == 0 || buf[i] != ' ')
		return refuse(v, 400, "malformed method");
	if (i + 1 < n && buf[i + 1] != '/')
		return refuse(v, 400, "target is not a path");
	return 0;
}

static int
parse_target(struct http_slice target, struct http_request *req, struct verdict *v)
{
	const char *query;
	size_t i;

	for (i = 0; i < target.n; i++) {
		unsigned char c = (unsigned char)target.p[i];

		if (c <= ' ' || c == '#' || c >= 0x7f)
			return refuse(v, 400, "malformed target");
	}
	query = memchr(target.p, '?', target.n);
	req->path = target;
	req->query = slice(target.p + target.n, target.p + target.n);
	if (query != NULL) {
		req->path = slice(target.p, query);
		req->query = slice(query + 1, target.p + target.n);
	}
	return 0;
}

static int
parse_version(struct http_slice s, struct http_request *req, struct verdict *v)
{
	if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || !is_digit(s.p[5]) || s.p[6] != '.' ||
	    !is_digit(s.p[7]))
		return refuse(v, 400, "malformed version");
	if (s.p[5] != '1' || s.p[7] > '1')
		return refuse(v, 505, "version not supported");
	req->minor = s.p[7] - '0';
	return 0;
}

/* The request line, without its CRLF. */
static int
parse_request_line(struct http_slice line, struct http_request *req, struct verdict *v)
{
	const char *end = line.p + line.n, *space, *target;
	int err = check_start(line.p, line.n, v);

	if (err != 0)
		return err;
	space = memchr(line.p, ' ', line.n);
	if (space == NULL || space + 1 == end)
		return refuse(v, 400, "malformed request line");
	req->method = slice(line.p, space);
	target = space + 1;
	space = memchr(target, ' ', (size_t)(end - target));
	if (space == NULL)
		return refuse(v, 400, "malformed request line");
	err = parse_target(slice(target, space), req, v);
	if (err != 0)
		return err;
	return parse_version(slice(space + 1, end), req, v);
}

/* One field line, without its CRLF. */
static int
parse_field(struct http_slice line, struct http_field *f, struct verdict *v)
{
	const char *end = line.p + line.n;
	const char *colon = memchr(line.p, ':', line.n);

	if (is_blank(line.p[0]))
		return refuse(v, 400, "folded field");
	if (colon == NULL)
		return refuse(v, 400, "field without colon");
	f->name = slice(line.p, colon);
	if (!http_is_token(f->name))
		return refuse(v, 400, "malformed field name");
	f->value = trim(slice(colon + 1, end));
	return 0;
}

/* --- fields that frame or route the request ---------------------------------------------------- */

static int
read_host(struct http_slice value, struct http_request *req, struct verdict *v)
{
	struct http_slice host;
	int port;

	if (req->host.n > 0)
		return refuse(v, 400, "more than one Host");
	if (!http_authority_split(value, &host, &port))
		return refuse(v, 400, "malformed Host");
	req->host = value;
	return 0;
}

static int
read_content_length(struct http_slice value, struct http_request *req, struct verdict *v)
{
	int64_t length = 0;
	size_t i;

	if (req->content_length >= 0)
		return refuse(v, 400, "more than one Content-Length");
	for (i = 0; i < value.n; i++) {
		if (!is_digit(value.p[i]))
			return refuse(v, 400, "malformed Content-Length");
		length = length * 10 + (value.p[i] - '0');
		if (length >= LENGTH_END)
			return refuse(v, 400, "Content-Length out of range");
	}
	if (value.n == 0)
		return refuse(v, 400, "malformed Content-Length");
	req->content_length = length;
	return 0;
}

static int
read_transfer_encoding(struct http_slice value, struct http_request *req, struct verdict *v)
{
	static const char *const known[] = { "gzip", "x-gzip", "deflate", "compress",
		"x-compress" };
	const char *comma;
	size_t i;

	if (req->chunked)
		return refuse(v, 400, "more than one Transfer-Encoding");
	if (http_slice_is_nocase(value, "chunked")) {
		req->chunked = true;
		return 0;
	}
	/* A registered coding is one we lack; anything else is an attempt to be read in two ways. */
	comma = memchr(value.p, ',', value.n);
	if (comma != NULL)
		value = trim(slice(value.p, comma));
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (http_slice_is_nocase(value, known[i]))
			return refuse(v, 501, "Transfer-Encoding not supported");
	}
	return refuse(v, 400, "malformed Transfer-Encoding");
}

static int
read_expect(struct http_slice value, struct http_request *req, struct verdict *v)
{
	if (!http_slice_is_nocase(value, "100-continue"))
		return refuse(v, 417, "expectation not supported");
	/* RFC 9110 §10.1.1: an HTTP/1.0 client does not know the answer. */
	req->expect_continue = req->minor > 0;
	return 0;
}

static int
read_field(const struct http_field *f, struct http_request *req, struct verdict *v)
{
	switch (f->name.n) {
	case 4:
		if (http_slice_is_nocase(f->name, "host"))
			return read_host(f->value, req, v);
		break;
	case 6:
		if (http_slice_is_nocase(f->name, "expect"))
			return read_expect(f->value, req, v);
		break;
	case 14:
		if (http_slice_is_nocase(f->name, "content-length"))
			return read_content_length(f->value, req, v);
		break;
	case 17:
		if (http_slice_is_nocase(f->name, "transfer-encoding"))
			return read_transfer_encoding(f->value, req, v);
		break;
	default:
		break;
	}
	return 0;
}

/* What only all fields together can show. */
static int
check_whole(struct http_request *req, struct verdict *v)
{
	if (req->host.n == 0 && req->minor > 0)
		return refuse(v, 400, "no Host");
	if (req->chunked && req->content_length >= 0)
		return refuse(v, 400, "both Content-Length and Transfer-Encoding");
	if (req->chunked && req->minor == 0)
		return refuse(v, 400, "Transfer-Encoding in HTTP/1.0");
	req->keep_alive = !http_field_has_token(req, "connection", "close") &&
	    (req->minor > 0 || http_field_has_token(req, "connection", "keep-alive"));
	return 0;
}

/* The complete head, of which the last line is empty. */
static int
parse_head(const char *buf, size_t n, const struct http_limits *limits, struct http_request *req,
    struct verdict *v)
{
	const char *end = buf + n - 2, *p = buf, *cr;
	int err;

	req->nfields = 0;
	req->chunked = req->expect_continue = false;
	req->content_length = -1;
	req->host = slice(buf, buf);
	cr = memchr(p, '\r', n);
	err = parse_request_line(slice(p, cr), req, v);
	for (p = cr + 2; err == 0 && p < end; p = cr + 2) {
		struct http_field *f = &req->field[req->nfields];

		if (req->nfields == limits->fields || req->nfields == HTTP_FIELDS_MAX)
			return refuse(v, 431, "too many fields");
		cr = memchr(p, '\r', (size_t)(end - p));
		err = parse_field(slice(p, cr), f, v);
		if (err == 0)
			err = read_field(f, req, v);
		req->nfields++;
	}
	return err != 0 ? err : check_whole(req, v);
}

/* What can be said of n bytes that are not a whole head yet. */
static int
check_part(const char *buf, size_t n, size_t seen, const struct http_limits *limits,
    struct http_request *req, struct verdict *v)
{
	const char *lf = memchr(buf, '\n', n);
	int err = 0;

	if (seen < START_MAX)
		err = check_start(buf, n < START_MAX ? n : START_MAX, v);
	if (err == 0 && lf != NULL && (size_t)(lf - buf) >= seen)
		err = parse_request_line(slice(buf, lf - 1), req, v);
	if (err != 0 || n < limits->head)
		return err != 0 ? err : FAN_EAGAIN;
	if (lf == NULL)
		return refuse(v, 414, "request line too long");
	return refuse(v, 431, "head too large");
}

int
http_request_parse(const char *buf, size_t n, size_t seen, const struct http_limits *limits,
    struct http_request *req, size_t *used, int *status, const char **why)
{
	struct verdict v = { 0, 0, NULL };
	size_t end = 0;
	int err;

	/* The head must end within the limit, so nothing beyond is looked at. */
	if (n > limits->head)
		n = limits->head;
	if (seen > n)
		seen = n;
	err = find_end(buf, seen, n, &end, &v);
	if (err == 0)
		err = parse_head(buf, end, limits, req, &v);
	else if (err == FAN_EAGAIN)
		err = check_part(buf, n, seen, limits, req, &v);
	if (err == 0) {
		*used = end;
	} else if (err != FAN_EAGAIN) {
		*status = v.status;
		*why = v.why;
	}
	return err;
}

/* --- reading a request ------------------------------------------------------------------------- */

const struct http_field *
http_field_next(const struct http_request *req, const char *name, size_t *pos)
{
	while (*pos < req->nfields) {
		const struct http_field *f = &req->field[(*pos)++];

		if (http_slice_is_nocase(f->name, name))
			return f;
	}
	return NULL;
}

bool
http_list_next(struct http_slice *rest, struct http_slice *element)
{
	const char *end, *comma;

	if (rest->p == NULL)
		return false;
	end = rest->p + rest->n;
	comma = memchr(rest->p, ',', rest->n);
	*element = trim(slice(rest->p, comma != NULL ? comma : end));
	if (comma != NULL)
		*rest = slice(comma + 1, end);
	else
		rest->p = NULL;
	return true;
}

bool
http_field_has_token(const struct http_request *req, const char *name, const char *token)
{
	const struct http_field *f;
	size_t pos = 0;

	while ((f = http_field_next(req, name, &pos)) != NULL) {
		struct http_slice rest = f->value, element;

		while (http_list_next(&rest, &element)) {
			if (http_slice_is_nocase(element, token))
				return true;
		}
	}
	return false;
}

int
http_percent_decode(struct http_slice s, bool plus, char *out, size_t *len)
{
	size_t i, n = 0;

	for (i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
			int low = high >= 0 ? hex_value(s.p[i + 2]) : -1;

			if (low < 0 || (high | low) == 0)
				return FAN_EINVAL;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		out[n++] = c;
	}
	*len = n;
	return 0;
}

bool
http_query_next(struct http_slice *rest, struct http_slice *name, struct http_slice *value)
{
	const char *p = rest->p, *end = p + rest->n, *stop, *equals;

	while (p < end && *p == '&')
		p++;
	if (p == end) {
		rest->n = 0;
		return false;
	}
	stop = memchr(p, '&', (size_t)(end - p));
	if (stop == NULL)
		stop = end;
	equals = memchr(p, '=', (size_t)(stop - p));
	*name = slice(p, equals != NULL ? equals : stop);
	*value = slice(equals != NULL ? equals + 1 : stop, stop);
	*rest = slice(stop, end);
	return true;
}
