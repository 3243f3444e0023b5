/*
 * client: a WebSocket client that blocks (RFC 6455, the client's side).
 *
 * Owns:    its socket and the message under assembly.
 * Process: the command line, one thread.
 * Layer:   cli.  Uses secure, wait, worker/ws, common; libcurl for URLs.
 */
#include "cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/secure.h"
#include "cli/wait.h"
#include "common/clock.h"
#include "common/json.h"
#include "worker/ws/frame.h"
#include "worker/ws/handshake.h"
#include "worker/ws/reader.h"

#define CONNECT_MS 10000 /* for the TCP connection, and again for each handshake */
#define SILENCE_MS 30000 /* without a byte, then we ping */
#define ANSWER_MS 10000  /* for the answer, and for the socket to take a frame */

#define HOST_SIZE 256

/* The server decides how large messages are; this only bounds what we would believe. */
static const struct ws_reader_limits limits = {
	.message = (size_t)256 << 20,
	.fragments = UINT32_MAX,
	.masked = false,
};

struct client {
	int fd;
	struct secure *secure; /* NULL: plain */
	bool closing;          /* our close frame has been sent, or the socket is dead */
	struct ws_reader reader;
	uint8_t *next; /* bytes received and not yet read */
	size_t left;
	uint8_t in[65536];
};

/* What is not printable becomes "?". */
static void
copy_line(char *out, size_t size, const void *data, size_t n)
{
	const unsigned char *p = data;
	size_t i;

	for (i = 0; i < n && i + 1 < size && p[i] != '\r' && p[i] != '\n'; i++)
		out[i] = (char)(p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '?');
	out[i] = '\0';
}

void
client_error_text(char *out, size_t size, const char *data, size_t n)
{
	const char *error, *message;
	size_t len;

	if (n > 0 && data[0] == '{' && json_valid(data, n, JSON_DEPTH_MAX) &&
	    json_member(data, n, "error", &error, &len) == 0 && error[0] == '{' &&
	    json_member(error, len, "message", &message, &len) == 0 && len >= 2)
		copy_line(out, size, message + 1, len - 2); /* without its quotes */
	else
		copy_line(out, size, data, n);
}

static ssize_t
receive(struct client *c, void *p, size_t n)
{
	return c->secure != NULL ? secure_recv(c->secure, p, n) : recv(c->fd, p, n, 0);
}

static int
send_all(struct client *c, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n > 0) {
		ssize_t sent = c->secure != NULL ? secure_send(c->secure, p, n)
						 : send(c->fd, p, n, MSG_NOSIGNAL);

		if (sent >= 0) {
			p += sent;
			n -= (size_t)sent;
			continue;
		}
		if (errno == EINTR && !wait_stopped())
			continue;
		if (errno != EAGAIN || wait_fd(c->fd, POLLOUT, ANSWER_MS) != 0)
			return FAN_EDOWN;
	}
	return 0;
}

/* A client's frames are masked with a key that no one can foresee, §5.3. */
static int
send_control(struct client *c, enum ws_opcode op, const void *data, size_t n)
{
	uint8_t frame[FRAME_HEAD_MAX + FRAME_CONTROL_MAX], mask[4];
	size_t head;

	if (getrandom(mask, sizeof(mask), 0) != (ssize_t)sizeof(mask))
		return FAN_EDOWN;
	head = frame_head_encode(frame, (uint8_t)(FRAME_FIN | (unsigned)op), n, mask);
	if (n > 0)
		memcpy(frame + head, data, n);
	frame_mask(frame + head, n, mask, 0);
	return send_all(c, frame, head + n);
}

static void
send_close(struct client *c, unsigned code)
{
	uint8_t payload[2] = { (uint8_t)(code >> 8), (uint8_t)code };

	if (c->closing)
		return;
	c->closing = true;
	if (send_control(c, WS_OP_CLOSE, payload, sizeof(payload)) != 0)
		return; /* the connection ends here either way */
}

/* --- opening ---------------------------------------------------------------------------------- */

struct url {
	char *host, *port, *path;
	bool secure;
};

static void
url_fini(struct url *u)
{
	curl_free(u->host);
	curl_free(u->port);
	curl_free(u->path);
}

static int
url_parse(const char *text, struct url *u, char why[CLIENT_WHY])
{
	CURLU *cu = curl_url();
	char *scheme = NULL;
	int r = FAN_EINVAL;

	memset(u, 0, sizeof(*u));
	if (cu == NULL)
		return FAN_ENOMEM;
	if (curl_url_set(cu, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
	    curl_url_get(cu, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(cu, CURLUPART_HOST, &u->host, 0) != CURLUE_OK) {
		(void)snprintf(
		    why, CLIENT_WHY, "%s is not a URL such as ws://127.0.0.1:8080", text);
	} else if (strcmp(scheme, "ws") != 0 && strcmp(scheme, "wss") != 0) {
		(void)snprintf(why, CLIENT_WHY, "%s: only ws:// and wss:// are supported", text);
	} else {
		u->secure = strcmp(scheme, "wss") == 0;
		if (curl_url_get(cu, CURLUPART_PORT, &u->port, 0) != CURLUE_OK)
			u->port = NULL;
		if (curl_url_get(cu, CURLUPART_PATH, &u->path, 0) != CURLUE_OK)
			u->path = NULL;
		r = 0;
	}
	curl_free(scheme);
	curl_url_cleanup(cu);
	return r;
}

static int
connect_one(const struct addrinfo *ai)
{
	int fd, err = 0;
	socklen_t len = sizeof(err);

	fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return fd;
	if (errno == EINPROGRESS) {
		if (wait_fd(fd, POLLOUT, CONNECT_MS) != 0)
			err = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
			err = errno;
		if (err == 0)
			return fd;
		errno = err;
	}
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/* In a URL an IPv6 address stands in brackets. */
static const char *
bare_host(const struct url *u, char host[HOST_SIZE])
{
	size_t n = strlen(u->host);

	if (u->host[0] == '[' && n > 2)
		(void)snprintf(host, HOST_SIZE, "%.*s", (int)(n - 2), u->host + 1);
	else
		(void)snprintf(host, HOST_SIZE, "%s", u->host);
	return host;
}

static int
connect_to(const struct url *u, char why[CLIENT_WHY])
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	const char *port = u->port != NULL ? u->port : u->secure ? "443" : "80";
	struct addrinfo *list = NULL, *ai;
	char host[HOST_SIZE];
	int r, fd = -1;

	(void)bare_host(u, host);
	r = getaddrinfo(host, port, &hints, &list);
	if (r != 0) {
		(void)snprintf(why, CLIENT_WHY, "cannot look up %s: %s", host, gai_strerror(r));
		return -1;
	}
	for (ai = list; ai != NULL && fd < 0 && !wait_stopped(); ai = ai->ai_next)
		fd = connect_one(ai);
	if (fd < 0)
		(void)snprintf(
		    why, CLIENT_WHY, "cannot connect to %s:%s: %s", u->host, port, strerror(errno));
	freeaddrinfo(list);
	return fd;
}

static int
send_request(struct client *c, const struct client_options *o, const struct url *u, const char *key)
{
	const char *path = u->path != NULL ? u->path : "";
	size_t prefix = strlen(path);
	char *head = NULL;
	int n, r;

	if (prefix > 0 && path[prefix - 1] == '/')
		prefix--;
	n = asprintf(&head,
	    "GET %.*s%s HTTP/1.1\r\n"
	    "Host: %s%s%s\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Version: 13\r\n"
	    "Sec-WebSocket-Key: %s\r\n"
	    "%s%s%s%s%s%s\r\n",
	    (int)prefix, path, o->target, u->host, u->port != NULL ? ":" : "",
	    u->port != NULL ? u->port : "", key,
	    o->protocol != NULL ? "Sec-WebSocket-Protocol: " : "",
	    o->protocol != NULL ? o->protocol : "", o->protocol != NULL ? "\r\n" : "",
	    o->origin != NULL ? "Origin: " : "", o->origin != NULL ? o->origin : "",
	    o->origin != NULL ? "\r\n" : "");
	if (n < 0)
		return FAN_ENOMEM;
	r = send_all(c, head, (size_t)n);
	free(head);
	return r;
}

/*
 * Reads until the head of the answer is complete, or, past it, until `want` bytes of body are there
 * (at most what fits; the server may close earlier).  Returns the bytes read.
 */
static size_t
read_answer(struct client *c, const char **body, size_t want)
{
	uint64_t deadline = clock_ms() + CONNECT_MS;
	size_t n = c->left;
	char *end;

	for (;;) {
		uint64_t now = clock_ms();
		ssize_t got;

		c->in[n] = '\0';
		end = strstr((char *)c->in, "\r\n\r\n");
		*body = end != NULL ? end + 4 : NULL;
		if (end != NULL && (size_t)((char *)c->in + n - *body) >= want)
			break;
		if (n + 1 >= sizeof(c->in) || now >= deadline ||
		    wait_fd(c->fd, POLLIN, (int)(deadline - now)) != 0)
			break;
		got = receive(c, c->in + n, sizeof(c->in) - 1 - n);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			break;
		n += got > 0 ? (size_t)got : 0;
	}
	c->left = n;
	return n;
}

/* The value of a field in the head of an answer, or NULL; *len without white space around. */
static const char *
answer_field(const char *head, const char *name, size_t *len)
{
	size_t n = strlen(name);
	const char *line = head;

	while ((line = strstr(line, "\r\n")) != NULL && strncmp(line, "\r\n\r\n", 4) != 0) {
		line += 2;
		if (strncasecmp(line, name, n) != 0 || line[n] != ':')
			continue;
		line += n + 1;
		line += strspn(line, " \t");
		*len = strcspn(line, "\r");
		while (*len > 0 && (line[*len - 1] == ' ' || line[*len - 1] == '\t'))
			(*len)--;
		return line;
	}
	return NULL;
}

static bool
answer_field_is(const char *head, const char *name, const char *value)
{
	size_t len = 0;
	const char *v = answer_field(head, name, &len);

	return v != NULL && len == strlen(value) && strncasecmp(v, value, len) == 0;
}

/* The server's words: the first line of the body that it sent with its refusal. */
static int
refused(struct client *c, int status, char why[CLIENT_WHY])
{
	size_t len = 0, n;
	const char *body, *v;
	char text[256];

	v = answer_field((char *)c->in, "Content-Length", &len);
	n = read_answer(c, &body, v != NULL ? strtoul(v, NULL, 10) : 0);
	n = body != NULL ? (size_t)((char *)c->in + n - body) : 0;
	client_error_text(text, sizeof(text), body, n);
	(void)snprintf(
	    why, CLIENT_WHY, "the server refused: HTTP %d%s%s", status, n > 0 ? ": " : "", text);
	/* Too busy now is no verdict on the request. */
	return status >= 500 || status == 408 || status == 429 ? FAN_EDOWN : FAN_EDENIED;
}

static int
read_handshake(
    struct client *c, const struct client_options *o, const char *key, char why[CLIENT_WHY])
{
	char accept[WS_ACCEPT_SIZE];
	const char *head = (char *)c->in, *body, *digest;
	size_t len = 0;
	int status = 0;

	if (read_answer(c, &body, 0) == 0 || body == NULL) {
		(void)snprintf(why, CLIENT_WHY, "no answer to the WebSocket handshake");
		return FAN_EDOWN;
	}
	if (strncmp(head, "HTTP/1.1 ", 9) == 0)
		status = (int)strtol(head + 9, NULL, 10);
	if (status >= 300)
		return refused(c, status, why);
	ws_accept(key, accept);
	/* The digest's case counts, unlike that of the other fields. */
	digest = answer_field(head, "Sec-WebSocket-Accept", &len);
	if (status != 101 || digest == NULL || len != WS_ACCEPT_SIZE - 1 ||
	    memcmp(digest, accept, len) != 0 || !answer_field_is(head, "Upgrade", "websocket") ||
	    (o->protocol != NULL &&
		!answer_field_is(head, "Sec-WebSocket-Protocol", o->protocol))) {
		(void)snprintf(why, CLIENT_WHY, "what answers there is not a Fanfare server");
		return FAN_EDENIED;
	}
	c->left -= (size_t)(body - head);
	c->next = c->in + (body - head);
	return 0;
}

int
client_open(const struct client_options *o, struct client **out, char why[CLIENT_WHY])
{
	struct client *c = NULL;
	struct url u;
	uint8_t nonce[16];
	char key[WS_KEY_LEN + 1], host[HOST_SIZE];
	int r;

	(void)snprintf(why, CLIENT_WHY, "no memory");
	r = url_parse(o->url, &u, why);
	if (r != 0)
		goto done;
	r = FAN_ENOMEM;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		goto done;
	c->next = c->in;
	ws_reader_init(&c->reader);
	r = FAN_EDOWN;
	c->fd = connect_to(&u, why);
	if (c->fd < 0 || getrandom(nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
		goto done;
	if (u.secure) {
		r = secure_open(
		    c->fd, bare_host(&u, host), o->cacert, CONNECT_MS, &c->secure, why, CLIENT_WHY);
		if (r != 0)
			goto done;
	}
	EVP_EncodeBlock((unsigned char *)key, nonce, sizeof(nonce));
	r = send_request(c, o, &u, key);
	if (r == 0)
		r = read_handshake(c, o, key, why);
done:
	url_fini(&u);
	if (r != 0) {
		if (c != NULL)
			c->closing = true;
		client_close(c, 0);
		return wait_stopped() ? FAN_EAGAIN : r;
	}
	*out = c;
	return 0;
}

void
client_close(struct client *c, unsigned code)
{
	if (c == NULL)
		return;
	if (c->fd >= 0) {
		send_close(c, code);
		secure_close(c->secure);
		close(c->fd);
	}
	ws_reader_fini(&c->reader);
	free(c);
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Gets more bytes.  A server that is silent for long is asked whether it lives. */
static int
fill(struct client *c, char why[CLIENT_WHY])
{
	bool pinged = false;

	for (;;) {
		int r = wait_fd(c->fd, POLLIN, pinged ? ANSWER_MS : SILENCE_MS);
		ssize_t n;

		if (r == FAN_EAGAIN)
			return r;
		if (r == FAN_ETIMEOUT && !pinged) {
			pinged = true;
			if (send_control(c, WS_OP_PING, NULL, 0) == 0)
				continue;
		}
		if (r != 0) {
			(void)snprintf(why, CLIENT_WHY, "the server no longer answers");
			return FAN_EDOWN;
		}
		n = receive(c, c->in, sizeof(c->in));
		if (n > 0) {
			c->next = c->in;
			c->left = (size_t)n;
			return 0;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		(void)snprintf(why, CLIENT_WHY, "connection lost%s%s", n < 0 ? ": " : "",
		    n < 0 ? strerror(errno) : "");
		return FAN_EDOWN;
	}
}

/* The server closed: what for, and whether it would do so again. */
static int
closed(struct client *c, const struct ws_event *ev, char why[CLIENT_WHY])
{
	char reason[FRAME_CONTROL_MAX + 1];

	copy_line(reason, sizeof(reason), ev->data, ev->len);
	(void)snprintf(why, CLIENT_WHY, "closed by the server with code %u%s%s", ev->code,
	    ev->len > 0 ? ": " : "", reason);
	send_close(c, ev->code == WS_CLOSE_NO_STATUS ? WS_CLOSE_NORMAL : ev->code);
	switch (ev->code) {
	case WS_CLOSE_PROTOCOL:
	case WS_CLOSE_UNSUPPORTED:
	case WS_CLOSE_INVALID_DATA:
	case WS_CLOSE_POLICY:
	case WS_CLOSE_TOO_BIG:
		return FAN_EDENIED;
	default:
		return FAN_EDOWN;
	}
}

int
client_receive(struct client *c, struct ws_event *ev, char why[CLIENT_WHY])
{
	for (;;) {
		int r = ws_reader_next(&c->reader, &limits, &c->next, &c->left, ev);

		if (r == FAN_EAGAIN) {
			r = fill(c, why);
			if (r != 0) {
				c->closing = r == FAN_EDOWN;
				return r;
			}
			continue;
		}
		if (r != 0) {
			(void)snprintf(
			    why, CLIENT_WHY, "the server broke the protocol: %s", ev->why);
			send_close(c, ev->code);
			return FAN_EDOWN;
		}
		switch (ev->type) {
		case WS_EVENT_PING:
			if (send_control(c, WS_OP_PONG, ev->data, ev->len) != 0) {
				(void)snprintf(why, CLIENT_WHY, "connection lost");
				c->closing = true;
				return FAN_EDOWN;
			}
			break;
		case WS_EVENT_PONG:
			break;
		case WS_EVENT_CLOSE:
			return closed(c, ev, why);
		case WS_EVENT_TEXT:
		case WS_EVENT_BINARY:
			return 0;
		}
	}
}
