/*
 * session_fixture: sessions whose dialects and transports note what they are told.
 *
 * Owns:    the world of the test.
 * Process: unit tests.
 * Layer:   tests.  Uses worker_fixture.
 */
#ifndef TESTS_UNIT_SESSION_FIXTURE_H
#define TESTS_UNIT_SESSION_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/unit/worker_fixture.h"

extern struct world w;
extern int encoded; /* publications encoded, by all variants */

/*
 * One session with what came to it: "x," a message of variant x, "!c," a gap, "+c," a live sub:
 * "+c@E:5," with history, "+c@E:5=," recovered, "+c@E:5?," not recovered, "-c," refused.
 */
struct peer {
	struct session *s;
	char log[4096];
	size_t bytes, sends;
	struct outq_tag tag;       /* of the last send */
	int opened, opened_status; /* calls of live while opening, the last status */
	bool paused;
	bool leave_on_live;
};

/* Their variants write "a" or "b", the data, and ";"; for "oom" there is no memory. */
extern const struct dialect dialect_a;
extern const struct dialect dialect_b;

/* The world, with a small link_queue and rules for pub*, deny*, old*, new*, kick*, h* (history). */
void session_setup(void);
void session_teardown(void);

/* A session that opens.  The test frees p->s. */
void peer_open(struct peer *p, const struct dialect *d);
/* Starts it. */
void peer_begin(struct peer *p);
/* Both at once. */
void peer_start(struct peer *p, const struct dialect *d);
int peer_subscribe(struct peer *p, const char *channel);
/* since: "EPOCH:OFFSET". */
int peer_subscribe_since(struct peer *p, const char *channel, const char *since);
void peer_unsubscribe(struct peer *p, const char *channel);
/* Subscribes the first one to a channel, which becomes live, and clears the log. */
void peer_join_live(struct peer *p, const char *channel);
/* The same for a channel with history, which stands at pos. */
void peer_join_at(struct peer *p, const char *channel, const char *pos);
bool channel_is_live(const char *name);

#define EXPECT_LOG(p, text)                                                                        \
	do {                                                                                       \
		world_settle(&w);                                                                  \
		cr_assert_str_eq((p)->log, text);                                                  \
	} while (0)

#endif
