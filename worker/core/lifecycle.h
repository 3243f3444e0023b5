/*
 * lifecycle: tells of the coming and going of clients: presence, the disconnect hook,
 * events.stream.
 *
 * Process: workers.
 * Layer:   worker/core, above session, which calls it by core->watch.  Uses uplink, worker/hook,
 *          common.
 */
#ifndef WORKER_CORE_LIFECYCLE_H
#define WORKER_CORE_LIFECYCLE_H

#include <stdbool.h>
#include <stddef.h>

struct core;
struct session;

/* The indices of core->events, in the order of events.include's words. */
enum core_event {
	EVENT_CONNECT,
	EVENT_SUBSCRIBE,
	EVENT_UNSUBSCRIBE,
	EVENT_PUBLISH,
	EVENT_DISCONNECT,
};

/*
 * Reads events.include, which conf_check has found good, and sets core->watch: the session calls it
 * when it has started, when a sub was attached (which joins presence where the channel's rule says
 * so), when an attached sub leaves, and when the session ends.
 */
void lifecycle_init(struct core *core);

/* The client has published to the channel. */
void lifecycle_published(struct session *s, const char *channel, size_t len);

/*
 * More is known of who the client is; `another`: it has another user than before.  What presence
 * has of it is brought up to date.
 */
void lifecycle_identified(struct session *s, bool another);

/* The hub is new: joins every member again. */
void lifecycle_announce(struct core *core);

#endif
