/*
 * worker_fixture: a worker without its process.  See worker_fixture.h.
 */
#include "tests/unit/worker_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "worker/core/access.h"
#include "worker/core/fanout.h"
#include "worker/core/lifecycle.h"
#include "worker/dialect/dialect.h"
#include "worker/http/api.h"
#include "worker/http/upgrade.h"
#include "worker/ws/frame.h"

#define SETTLE 10 /* passes after which nothing more is on its way */

/* --- the world ---------------------------------------------------------------------------- */

static void
begin(struct http *h, const struct http_request *req)
{
	const struct world *w = (const struct world *)(const void *)((const char *)h->server -
	    offsetof(struct world, server));

	if (http_listener(h) == LISTENER_PUBLIC && upgrade_matches(req))
		upgrade_begin(h, req, &w->ws);
	else
		api_begin(h, req);
}

static void
apply(struct conf *c, const char *settings)
{
	while (*settings != '\0') {
		size_t n = strcspn(settings, "\n");
		char *line = strndup(settings, n);

		cr_assert_not_null(line);
		cr_assert_eq(conf_set(c, line, stderr), 0, "%s", line);
		free(line);
		settings += settings[n] == '\n' ? n + 1 : n;
	}
}

static void
listen_as_hub(struct world *w)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(un);

	w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_geq(w->listen_fd, 0);
	/* Without a path the kernel chooses an abstract name. */
	cr_assert_eq(
	    bind(w->listen_fd, (const struct sockaddr *)&un, (socklen_t)sizeof(sa_family_t)), 0);
	cr_assert_eq(listen(w->listen_fd, 8), 0);
	cr_assert_eq(getsockname(w->listen_fd, (struct sockaddr *)&un, &len), 0);
	w->boot.hub_name_len = len - offsetof(struct sockaddr_un, sun_path);
	cr_assert_leq(w->boot.hub_name_len, sizeof(w->boot.hub_name));
	memcpy(w->boot.hub_name, un.sun_path, w->boot.hub_name_len);
}

static void
use_deflate(struct world *w)
{
	const struct conf *c = w->conf;

	if (!c->deflate.enabled)
		return;
	w->deflate = (struct deflate_options){
		.level = (int)c->deflate.level,
		.memory_level = (int)c->deflate.memory_level,
		.window = (uint8_t)c->deflate.window_bits,
		.min_size = (size_t)c->deflate.min_size,
		.client_takeover = c->deflate.client_context_takeover,
	};
	w->ws.deflate = &w->deflate;
	w->ws.inflater = inflater_new();
	w->core.deflater = deflater_new(&w->deflate);
	cr_assert(w->ws.inflater != NULL && w->core.deflater != NULL);
}

void
world_open_uplink(struct world *w, const char *settings, const struct uplink_handler *h, void *arg)
{
	const struct conf *c;

	memset(w, 0, sizeof(*w));
	log_init("test", LOG_LEVEL_ERROR);
	w->hub_fd = -1;
	buf_init(&w->hub_in, IPC_MSG_MAX * 2);
	w->conf = conf_new();
	cr_assert_not_null(w->conf);
	apply(w->conf, settings);
	c = w->conf;
	listen_as_hub(w);
	w->boot.slot = 3;
	memset(w->boot.cookie, 0x5a, sizeof(w->boot.cookie));
	w->base = event_base_new();
	cr_assert_not_null(w->base);
	cr_assert_eq(net_init(&w->net, w->base, (size_t)c->limits.queue, (uint64_t)c->limits.stall,
			 (uint64_t)c->limits.close),
	    0);
	net_use_burst(&w->net, c->fanout.io_uring);
	w->uplink = uplink_new(w->base, &w->boot, c, h, arg);
	cr_assert_not_null(w->uplink);
	core_init(&w->core, c, w->uplink, w->net.deadlines);
	w->core.burst = w->net.burst;
	dialects_init(&w->core);
	access_init(&w->core);
	lifecycle_init(&w->core);
	w->ws = (struct ws_options){
		.handler = &upgrade_ws_handler,
		.reader = { .message = (size_t)c->limits.message,
		    .fragments = (uint32_t)c->limits.fragments,
		    .masked = true,
		    .compressed = inflate_input_max((size_t)c->limits.message) },
		.assemble = (uint64_t)c->limits.assemble,
		.ping_interval = (uint64_t)c->limits.ping_interval,
		.pong_timeout = (uint64_t)c->limits.pong_timeout,
		.close = (uint64_t)c->limits.close,
	};
	use_deflate(w);
	w->server = (struct http_server){
		.net = &w->net,
		.limits = { (size_t)c->limits.head, (size_t)c->limits.fields },
		.body_max = (size_t)c->limits.body,
		.head_ms = (uint64_t)c->limits.handshake,
		.body_ms = (uint64_t)c->limits.assemble,
		.idle_ms = (uint64_t)c->limits.idle,
		.app = &w->core,
		.begin = begin,
	};
}

void
world_open(struct world *w, const char *settings)
{
	world_open_uplink(w, settings, &fanout_uplink_handler, &w->core);
}

void
world_close(struct world *w)
{
	net_fini(&w->net);
	core_fini(&w->core);
	deflater_free(w->core.deflater);
	inflater_free(w->ws.inflater);
	uplink_free(w->uplink);
	if (w->hub_fd >= 0)
		(void)close(w->hub_fd);
	(void)close(w->listen_fd);
	buf_fini(&w->hub_in);
	conf_free(w->conf);
	event_base_free(w->base);
}

void
world_pass(struct world *w)
{
	cr_assert_geq(event_base_loop(w->base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
	fanout_flush(&w->core);
	net_reap(&w->net);
	uplink_flush(w->uplink);
}

void
world_settle(struct world *w)
{
	int i;

	for (i = 0; i < SETTLE; i++)
		world_pass(w);
}

/* --- the hub ------------------------------------------------------------------------------ */

static bool
accepted(struct world *w)
{
	w->hub_fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK);
	return w->hub_fd >= 0;
}

void
hub_accept(struct world *w)
{
	struct ipc_msg m;

	WORLD_UNTIL(w, accepted(w));
	buf_clear(&w->hub_in);
	w->hub_used = 0;
	m = hub_expect(w, IPC_HELLO);
	cr_assert_eq(m.id, 3);
	cr_assert_eq(m.value, IPC_VERSION);
	cr_assert_eq(memcmp(m.data, w->boot.cookie, IPC_COOKIE_SIZE), 0);
}

void
hub_welcome(struct world *w, bool engine_up)
{
	struct ipc_msg m = { .type = IPC_WELCOME, .value = engine_up };

	hub_accept(w);
	hub_send(w, &m);
	WORLD_UNTIL(w, uplink_up(w->uplink));
}

void
hub_cut(struct world *w)
{
	(void)close(w->hub_fd);
	w->hub_fd = -1;
	WORLD_UNTIL(w, !uplink_up(w->uplink));
}

bool
hub_next(struct world *w, struct ipc_msg *m)
{
	uint8_t *p;
	ssize_t n;

	buf_consume(&w->hub_in, w->hub_used);
	w->hub_used = 0;
	do {
		cr_assert_eq(buf_reserve(&w->hub_in, 65536, &p), 0);
		n = recv(w->hub_fd, p, 65536, MSG_DONTWAIT);
		if (n > 0)
			buf_commit(&w->hub_in, (size_t)n);
	} while (n > 0);
	if (buf_len(&w->hub_in) == 0 ||
	    ipc_msg_decode(
		buf_data(&w->hub_in), buf_len(&w->hub_in), IPC_MSG_MAX, m, &w->hub_used) != 0) {
		w->hub_used = 0;
		return false;
	}
	return true;
}

struct ipc_msg
hub_expect(struct world *w, enum ipc_type type)
{
	struct ipc_msg m = { 0 };

	WORLD_UNTIL(w, hub_next(w, &m));
	cr_assert_eq(m.type, type, "message type %d, not %d", (int)m.type, (int)type);
	return m;
}

struct ipc_msg
hub_expect_on(struct world *w, enum ipc_type type, const char *channel)
{
	struct ipc_msg m = hub_expect(w, type);

	cr_assert(
	    m.channel_len == strlen(channel) && memcmp(m.channel, channel, m.channel_len) == 0,
	    "channel %.*s, not %s", (int)m.channel_len, m.channel, channel);
	return m;
}

void
hub_quiet(struct world *w)
{
	struct ipc_msg m = { 0 };

	world_settle(w);
	cr_assert_not(hub_next(w, &m), "type %d", (int)m.type);
}

static void
hub_write(struct world *w, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(w->hub_fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		cr_assert(sent > 0 || errno == EAGAIN);
		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		} else {
			world_pass(w);
		}
	}
}

void
hub_send(struct world *w, const struct ipc_msg *m)
{
	uint8_t head[IPC_HEAD_MAX];

	ipc_msg_encode_head(m, head);
	hub_write(w, head, IPC_HEAD_SIZE + m->channel_len);
	hub_write(w, m->data, m->len);
}

static void
hub_say(struct world *w, struct ipc_msg m, const char *channel)
{
	m.channel = channel;
	m.channel_len = strlen(channel);
	hub_send(w, &m);
}

struct ipc_msg
hub_expect_subscribe(struct world *w, const char *channel, const char *since, bool verify)
{
	struct ipc_msg m = hub_expect_on(w, IPC_SUBSCRIBE, channel);
	char text[POSITION_TEXT_MAX] = "";
	struct ipc_past past;

	cr_assert_eq(ipc_past_decode(m.data, m.len, &past), 0);
	if (past.pos.epoch[0] != '\0')
		(void)position_print(&past.pos, text);
	cr_assert_str_eq(text, since);
	cr_assert_eq((past.flags & IPC_PAST_VERIFY) != 0, verify);
	return m;
}

void
hub_past(
    struct world *w, const struct ipc_msg *m, const char *pos, unsigned flags, const char *records)
{
	struct ipc_past past = { .flags = flags };
	struct ipc_msg whole = *m;
	struct record r = { .kind = MSG_TEXT };
	uint8_t head[IPC_PAST_HEAD_MAX];
	const char *word;
	uint64_t n = 0;
	struct buf b;

	if (*pos != '\0')
		cr_assert_eq(position_parse(&past.pos, pos, strlen(pos)), 0);
	for (word = records; *word != '\0'; word += strspn(word, " "), n++)
		word += strcspn(word, " ");
	buf_init(&b, IPC_MSG_MAX);
	cr_assert_eq(buf_append(&b, head, ipc_past_head(&past, head)), 0);
	for (word = records; n > 0; word += r.len + strspn(word + r.len, " ")) {
		r.offset = past.pos.offset - --n;
		r.data = (const uint8_t *)word;
		r.len = strcspn(word, " ");
		cr_assert_eq(records_append(&b, &r), 0);
	}
	whole.data = buf_data(&b);
	whole.len = buf_len(&b);
	hub_send(w, &whole);
	buf_fini(&b);
}

/* The answer to the worker's last question for the channel. */
static struct ipc_msg
subscribed(const struct world *w, const char *channel, int status)
{
	const struct channel *c = channel_find(&w->core.channels, channel, strlen(channel));

	return (struct ipc_msg){ .type = IPC_SUBSCRIBED,
		.id = c == NULL ? 0 : c->ask,
		.status = status,
		.channel = channel,
		.channel_len = strlen(channel) };
}

void
hub_subscribed(struct world *w, const char *channel, int status)
{
	const struct ipc_msg m = subscribed(w, channel, status);

	hub_send(w, &m);
}

void
hub_subscribed_at(
    struct world *w, const char *channel, const char *pos, bool recovered, const char *records)
{
	const struct ipc_msg m = subscribed(w, channel, 0);

	hub_past(w, &m, pos, recovered ? IPC_PAST_RECOVERED : 0, records);
}

void
hub_message_at(struct world *w, const char *channel, uint64_t offset, const char *text)
{
	hub_say(w,
	    (struct ipc_msg){ .type = IPC_MESSAGE,
		.kind = MSG_TEXT,
		.value = offset,
		.data = (const uint8_t *)text,
		.len = strlen(text) },
	    channel);
}

void
hub_gap_all(struct world *w)
{
	hub_send(w, &(struct ipc_msg){ .type = IPC_GAP, .value = 1 });
}

void
hub_message(struct world *w, const char *channel, enum msg_kind kind, const char *text)
{
	hub_say(w,
	    (struct ipc_msg){ .type = IPC_MESSAGE,
		.kind = kind,
		.data = (const uint8_t *)text,
		.len = strlen(text) },
	    channel);
}

void
hub_gap(struct world *w, const char *channel)
{
	hub_say(w, (struct ipc_msg){ .type = IPC_GAP }, channel);
}

/* --- a client ----------------------------------------------------------------------------- */

void
client_wrap(struct world *w, struct client *c, int fd)
{
	c->w = w;
	c->fd = fd;
	c->eof = false;
	buf_init(&c->in, SIZE_MAX / 8);
}

void
client_open(struct world *w, struct client *c, enum listener_kind kind)
{
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	client_wrap(w, c, fd[0]);
	cr_assert_eq(http_accept(&w->server, fd[1], kind), 0);
}

void
client_close(struct client *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	buf_fini(&c->in);
}

void
client_send(struct client *c, const void *p, size_t n)
{
	const uint8_t *bytes = p;

	while (n > 0) {
		ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		cr_assert(sent > 0 || errno == EAGAIN, "the peer is gone");
		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		} else {
			world_pass(c->w);
		}
	}
}

void
client_text(struct client *c, const char *text)
{
	client_send(c, text, strlen(text));
}

void
client_request(struct world *w, struct client *c, enum listener_kind kind, const char *line,
    const char *fields, const char *body)
{
	char text[1024];
	int n;

	client_close(c);
	client_open(w, c, kind);
	n = snprintf(text, sizeof(text), "%s HTTP/1.1\r\n%s%sContent-Length: %zu\r\n\r\n%s", line,
	    strstr(fields, "Host:") == NULL ? "Host: h\r\n" : "", fields, strlen(body), body);
	cr_assert(n > 0 && (size_t)n < sizeof(text));
	client_send(c, text, (size_t)n);
}

size_t
client_pull(struct client *c)
{
	uint8_t *p;
	ssize_t n;

	do {
		cr_assert_eq(buf_reserve(&c->in, 65536, &p), 0);
		n = recv(c->fd, p, 65536, MSG_DONTWAIT);
		if (n > 0)
			buf_commit(&c->in, (size_t)n);
		else if (n == 0 || errno == ECONNRESET)
			c->eof = true;
	} while (n > 0);
	return buf_len(&c->in);
}

void
client_expect(struct client *c, const void *p, size_t n)
{
	WORLD_UNTIL(c->w, client_pull(c) >= n || c->eof);
	cr_assert_geq(buf_len(&c->in), n, "the stream ended");
	cr_assert_eq(
	    memcmp(buf_data(&c->in), p, n), 0, "got: %.*s", (int)n, (const char *)buf_data(&c->in));
	buf_consume(&c->in, n);
}

/* The bytes up to and with the empty line, 0 if it has not come. */
static size_t
head_len(struct client *c)
{
	const uint8_t *p, *end;

	if (client_pull(c) == 0)
		return 0;
	p = buf_data(&c->in);
	end = memmem(p, buf_len(&c->in), "\r\n\r\n", 4);
	return end == NULL ? 0 : (size_t)(end - p) + 4;
}

static bool
contains(const uint8_t *p, size_t n, const char *part)
{
	return *part == '\0' || (n > 0 && memmem(p, n, part, strlen(part)) != NULL);
}

int
client_head(struct client *c, const char *part)
{
	int status = 0;
	size_t n;

	WORLD_UNTIL(c->w, head_len(c) > 0 || c->eof);
	n = head_len(c);
	cr_assert_gt(n, 12, "the stream ended");
	cr_assert(
	    contains(buf_data(&c->in), n, part), "%.*s", (int)n, (const char *)buf_data(&c->in));
	status = atoi((const char *)buf_data(&c->in) + 9);
	buf_consume(&c->in, n);
	return status;
}

int
client_response(struct client *c, const char *part)
{
	static const char name[] = "Content-Length: ";
	const char *field;
	size_t n;
	int status;

	WORLD_UNTIL(c->w, head_len(c) > 0 || c->eof);
	cr_assert_gt(head_len(c), 0, "the stream ended");
	field = memmem(buf_data(&c->in), head_len(c), name, sizeof(name) - 1);
	cr_assert_not_null(field);
	n = strtoul(field + sizeof(name) - 1, NULL, 10);
	status = client_head(c, "");
	WORLD_UNTIL(c->w, client_pull(c) >= n || c->eof);
	cr_assert_geq(buf_len(&c->in), n, "the body is cut");
	cr_assert(contains(buf_data(&c->in), n, part), "%.*s has no %s", (int)n,
	    (const char *)buf_data(&c->in), part);
	buf_consume(&c->in, n);
	return status;
}

void
client_quiet(struct client *c)
{
	world_settle(c->w);
	cr_assert_eq(
	    client_pull(c), 0, "%.*s", (int)buf_len(&c->in), (const char *)buf_data(&c->in));
	cr_assert_not(c->eof);
}

void
client_expect_eof(struct client *c)
{
	WORLD_UNTIL(c->w, (client_pull(c), c->eof));
	cr_assert_eq(
	    buf_len(&c->in), 0, "%.*s", (int)buf_len(&c->in), (const char *)buf_data(&c->in));
}

void
client_frame(struct client *c, unsigned bits, const void *p, size_t n)
{
	static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
	uint8_t *frame = malloc(FRAME_HEAD_MAX + n);
	size_t head;

	cr_assert_not_null(frame);
	head = frame_head_encode(frame, (uint8_t)bits, n, mask);
	if (n > 0)
		memcpy(frame + head, p, n);
	frame_mask(frame + head, n, mask, 0);
	client_send(c, frame, head + n);
	free(frame);
}

static bool
has_frame(struct client *c, struct frame_head *h)
{
	size_t n = client_pull(c);

	return n > 0 && frame_head_decode(buf_data(&c->in), n, h) == 0 && n >= h->size + h->len;
}

void
client_expect_frame(struct client *c, unsigned bits, const void *p, size_t n)
{
	struct frame_head h = { 0 };

	WORLD_UNTIL(c->w, has_frame(c, &h) || c->eof);
	cr_assert(has_frame(c, &h), "the stream ended");
	cr_assert_eq(h.bits, bits, "bits %02x, not %02x: %.*s", h.bits, bits, (int)h.len,
	    (const char *)buf_data(&c->in) + h.size);
	cr_assert_not(h.masked);
	cr_assert(h.len == n && (n == 0 || memcmp(buf_data(&c->in) + h.size, p, n) == 0),
	    "got %.*s", (int)h.len, (const char *)buf_data(&c->in) + h.size);
	buf_consume(&c->in, h.size + n);
}

void
client_expect_text(struct client *c, const char *text)
{
	client_expect_frame(c, FRAME_FIN | WS_OP_TEXT, text, strlen(text));
}

void
client_expect_close(struct client *c, unsigned code)
{
	struct frame_head h = { 0 };
	const uint8_t *p;

	WORLD_UNTIL(c->w, has_frame(c, &h) || c->eof);
	cr_assert(has_frame(c, &h), "the stream ended");
	p = buf_data(&c->in) + h.size;
	cr_assert_eq(h.bits, FRAME_FIN | WS_OP_CLOSE, "bits %02x: %.*s", h.bits, (int)h.len,
	    (const char *)p);
	cr_assert_geq(h.len, 2);
	cr_assert_eq((unsigned)p[0] << 8 | p[1], code, "%u %.*s", (unsigned)p[0] << 8 | p[1],
	    (int)h.len - 2, (const char *)p + 2);
	buf_consume(&c->in, h.size + (size_t)h.len);
}

void
client_expect_deflated(struct client *c, unsigned opcode, const void *p, size_t n)
{
	struct inflater *i = inflater_new();
	struct frame_head h = { 0 };
	const uint8_t *out = NULL;
	size_t len = 0;

	cr_assert_not_null(i);
	WORLD_UNTIL(c->w, has_frame(c, &h) || c->eof);
	cr_assert(has_frame(c, &h), "the stream ended");
	cr_assert_eq(h.bits, FRAME_FIN | FRAME_RSV1 | opcode, "bits %02x", h.bits);
	cr_assert_lt(h.len, n);
	cr_assert_eq(
	    inflate_message(i, buf_data(&c->in) + h.size, (size_t)h.len, n, &out, &len), 0);
	cr_assert(len == n && memcmp(out, p, n) == 0, "got %.*s", (int)len, (const char *)out);
	buf_consume(&c->in, h.size + (size_t)h.len);
	inflater_free(i);
}

static void
add_field(char *head, size_t size, const char *name, const char *value)
{
	size_t n = strlen(head);
	int more = value == NULL ? 0 : snprintf(head + n, size - n, "%s: %s\r\n", name, value);

	cr_assert(more >= 0 && n + (size_t)more < size);
}

void
client_handshake_offering(
    struct client *c, const char *target, const char *protocol, const char *extensions)
{
	char head[2048];
	int n = snprintf(head, sizeof(head),
	    "GET %s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
	    target);

	cr_assert(n > 0 && (size_t)n < sizeof(head));
	add_field(head, sizeof(head), "Sec-WebSocket-Protocol", protocol);
	add_field(head, sizeof(head), "Sec-WebSocket-Extensions", extensions);
	client_text(c, head);
	client_text(c, "\r\n");
}

void
client_handshake(struct client *c, const char *target, const char *protocol)
{
	client_handshake_offering(c, target, protocol, NULL);
}
