/*
 * app_fixture: the application as Fanfare meets it.  See app_fixture.h.
 */
#include "tests/unit/app_fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/json.h"
#include "worker/auth/base64url.h"

struct app app;

/* --- the backend -------------------------------------------------------------------------- */

static void
say(struct bufferevent *b, const char *text, size_t n)
{
	cr_assert_eq(bufferevent_write(b, text, n), 0);
}

void
app_cut(struct bufferevent *b)
{
	for (size_t i = 0; i < app.nheld; i++)
		if (app.held[i] == b)
			app.held[i] = app.held[--app.nheld];
	for (size_t i = 0; i < app.nconn; i++)
		if (app.conn[i] == b)
			app.conn[i] = NULL;
	bufferevent_free(b);
}

static void
serve(struct bufferevent *b)
{
	size_t n;

	app.requests++;
	switch (app.manner) {
	case APP_ANSWERS:
		n = strcspn(app.say, "\f");
		say(b, app.say, n);
		if (app.say[n] == '\f')
			app.say += n + 1;
		break;
	case APP_HOLDS:
		app.held[app.nheld++] = b;
		break;
	case APP_CUTS:
		app_cut(b);
		break;
	}
}

static void
on_readable(struct bufferevent *b, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(b);
	size_t n = evbuffer_get_length(in), body;
	const char *text = (const char *)evbuffer_pullup(in, -1), *end, *length;

	(void)arg;
	if (n == 0)
		return;
	end = memmem(text, n, "\r\n\r\n", 4);
	length = memmem(text, n, "Content-Length: ", 16);
	if (end == NULL || length == NULL)
		return;
	body = strtoul(length + 16, NULL, 10);
	if (n < (size_t)(end - text) + 4 + body)
		return;
	cr_assert_lt(n, sizeof(app.last));
	memcpy(app.last, text, n);
	app.last[n] = '\0';
	(void)evbuffer_drain(in, n);
	serve(b);
}

static void
on_event(struct bufferevent *b, short what, void *arg)
{
	(void)arg;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		app_cut(b);
}

static void
on_client(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct bufferevent *b = bufferevent_socket_new(app.base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)l;
	(void)sa;
	(void)len;
	(void)arg;
	cr_assert(b != NULL && app.nconn < APP_CONNS);
	app.conn[app.nconn++] = b;
	bufferevent_setcb(b, on_readable, NULL, on_event, NULL);
	cr_assert_eq(bufferevent_enable(b, EV_READ | EV_WRITE), 0);
}

void
app_open(struct event_base *base)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);

	memset(&app, 0, sizeof(app));
	app.base = base;
	app.say = APP_YES;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	app.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(app.fd, 0);
	cr_assert_eq(bind(app.fd, (const struct sockaddr *)&in, len), 0);
	cr_assert_eq(getsockname(app.fd, (struct sockaddr *)&in, &len), 0);
	app.port = ntohs(in.sin_port);
}

void
app_serve(void)
{
	app.listener =
	    evconnlistener_new(app.base, on_client, NULL, LEV_OPT_CLOSE_ON_FREE, 64, app.fd);
	cr_assert_not_null(app.listener);
}

void
app_release(const char *text)
{
	while (app.nheld > 0)
		say(app.held[--app.nheld], text, strlen(text));
}

void
app_close(void)
{
	for (size_t i = 0; i < app.nconn; i++)
		if (app.conn[i] != NULL)
			bufferevent_free(app.conn[i]);
	if (app.listener != NULL)
		evconnlistener_free(app.listener);
	else
		(void)close(app.fd);
}

void
app_say(const char *body)
{
	static char text[8192];

	(void)snprintf(text, sizeof(text), APP_OK("%zu\r\n\r\n%s"), strlen(body), body);
	app.say = text;
}

void
app_expect_body(const char *json)
{
	const char *end = strstr(app.last, "\r\n\r\n"), *why;
	json_t *got, *wanted;

	cr_assert_not_null(end);
	cr_assert_eq(json_parse(end + 4, strlen(end + 4), 10, &got, &why), 0, "%s", end + 4);
	cr_assert_eq(json_parse(json, strlen(json), 10, &wanted, &why), 0, "%s", json);
	cr_assert(json_equal(got, wanted), "got %s", end + 4);
	json_decref(got);
	json_decref(wanted);
}

const char *
app_hook(const char *name)
{
	static char text[128];

	(void)snprintf(
	    text, sizeof(text), "hooks.%s=http://127.0.0.1:%u/%s", name, (unsigned)app.port, name);
	return text;
}

/* --- tokens ------------------------------------------------------------------------------- */

const char *
app_token(const char *fmt, ...)
{
	static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
	static char text[8192];
	char payload[4096];
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;
	struct buf b;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(payload, sizeof(payload), fmt, ap);
	va_end(ap);
	cr_assert(n > 0 && (size_t)n < sizeof(payload));
	buf_init(&b, sizeof(text));
	cr_assert_eq(base64url_append(&b, header, sizeof(header) - 1), 0);
	cr_assert_eq(buf_append(&b, ".", 1), 0);
	cr_assert_eq(base64url_append(&b, payload, (size_t)n), 0);
	cr_assert_not_null(HMAC(EVP_sha256(), APP_SECRET, (int)strlen(APP_SECRET), buf_data(&b),
	    buf_len(&b), mac, &mac_len));
	cr_assert_eq(buf_append(&b, ".", 1), 0);
	cr_assert_eq(base64url_append(&b, mac, mac_len), 0);
	memcpy(text, buf_data(&b), buf_len(&b));
	text[buf_len(&b)] = '\0';
	buf_fini(&b);
	return text;
}
