/*
 * app_fixture: the application as Fanfare meets it: the backend that the hooks ask, in the test's
 * own loop, and the tokens that it makes.
 *
 * Owns:    the backend's sockets.
 * Process: unit tests.
 * Layer:   tests.  Uses libevent, worker/auth; Criterion.
 */
#ifndef TESTS_UNIT_APP_FIXTURE_H
#define TESTS_UNIT_APP_FIXTURE_H

#include <event2/bufferevent.h>
#include <stddef.h>
#include <stdint.h>

#define APP_CONNS 64
#define APP_OK(body) "HTTP/1.1 200 OK\r\nContent-Length: " body
#define APP_YES APP_OK("2\r\n\r\n{}")
#define APP_ERROR "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

enum app_manner {
	APP_ANSWERS, /* with `say`, of which \f parts the answers of successive requests */
	APP_HOLDS,   /* until app_release */
	APP_CUTS,
};

/* The backend; one for each test. */
extern struct app {
	struct event_base *base;
	struct evconnlistener *listener;
	struct bufferevent *conn[APP_CONNS];
	struct bufferevent *held[APP_CONNS];
	size_t nconn, nheld;
	uint16_t port;
	int fd;
	enum app_manner manner;
	const char *say;
	int requests;
	char last[16384]; /* the last request */
} app;

/* Takes a port, at which nobody listens yet. */
void app_open(struct event_base *base);
void app_serve(void);
void app_close(void);
/* Answers those that are held. */
void app_release(const char *text);
/* Sets *say to 200 with this body. */
void app_say(const char *body);
/* Ends a connection. */
void app_cut(struct bufferevent *b);
/* The body of the last request is this JSON. */
void app_expect_body(const char *json);
/* A setting for conf_set: this hook's URL; in a buffer of its own until the next call. */
const char *app_hook(const char *name);

#define APP_SECRET "0123456789abcdef0123456789abcdef"
/* A token with this payload, signed with APP_SECRET (HS256); in a buffer until the next call. */
const char *app_token(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
