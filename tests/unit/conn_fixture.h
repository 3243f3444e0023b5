/*
 * conn_fixture: connections over socket pairs, and an upper layer that notes what it hears.
 *
 * Owns:    the net of the test.
 * Process: unit tests.
 * Layer:   tests.  Uses worker/net; Criterion.
 *
 * Deadlines are run at times of the test's choice, each later than the one before.
 */
#ifndef TESTS_UNIT_CONN_FIXTURE_H
#define TESTS_UNIT_CONN_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/net/conn.h"

#define QUEUE_MAX 100000
#define FLOOD 2000000 /* more than any socket pair here takes */
#define FAR 1000000   /* ms beyond every deadline */

extern struct event_base *base;
extern struct net net; /* stalls after 10 s, lingers for 5 */
extern int freed;      /* calls of net.on_freed */

/* What the handler saw, and what it shall do. */
struct upper {
	struct conn *conn;
	char data[256];
	size_t len;
	int eofs, deadlines, slows, stops, closes, drained;
	uint64_t shed[4]; /* messages, by key */
	enum conn_reason reason;
	void (*on_data)(struct conn *c);
	void (*on_slow)(struct conn *c);
};
extern struct upper up; /* of every connection of open_conn */

/* With all callbacks, which note in c->up; and with none that may be missing. */
extern const struct conn_handler full;
extern const struct conn_handler plain;
/* A message ends with ">". */
size_t unit(const uint8_t *p, size_t n);

void conn_setup(void);
void conn_teardown(void);

/* One pass of the loop, and several. */
void pass(void);
void settle(void);

/* Opens up.conn; returns the peer's end. */
int open_conn(const struct conn_handler *h);
/* Fills the socket until the queue holds something; returns how many bytes were written. */
size_t fill(struct conn *c);

/* The peer: reads and drops exactly n bytes; reads exactly this text; finds the end. */
void skip(int fd, size_t n);
void expect(int fd, const char *text);
void expect_eof(int fd);

#endif
