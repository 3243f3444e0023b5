/*
 * redis_subs: which Redis channels are wanted, and how far Redis has followed.
 *
 * Owns:    one object for each channel.  Keys are Redis's, prefix and name.
 * Process: hub.
 * Layer:   broker/engine.  Uses common/map, common/err.
 *
 * A channel has at most one command under way, so that a confirmation can not be mistaken for
 * that of another; what the hub decides meanwhile changes the state and is sent afterwards.
 *
 *                want                 sent                  confirmed
 *     (none) ----------> WAITING ----------> SUBSCRIBING ----------> LIVE
 *                                             |      ^                 |
 *                                      unwant |      | want            | unwant
 *                                             v      |      confirmed  v
 *                                            ABANDONED ------------> ENDING --- want ---> LIVE
 *                       want                           confirmed       | sent
 *     WAITING <-- confirmed -- RETURNING <---- want ---- LEAVING <-----+
 *                                     '---- unwant ----->  '-- confirmed --> (none)
 *
 *     unwant in WAITING forgets the channel.
 */
#ifndef BROKER_ENGINE_REDIS_SUBS_H
#define BROKER_ENGINE_REDIS_SUBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"
#include "common/map.h"

enum redis_sub_state {
	SUB_WAITING,     /* wanted; SUBSCRIBE is to be sent */
	SUB_SUBSCRIBING, /* wanted; SUBSCRIBE is under way */
	SUB_LIVE,        /* wanted; messages count */
	SUB_ABANDONED,   /* not wanted; SUBSCRIBE is under way */
	SUB_ENDING,      /* not wanted; UNSUBSCRIBE is to be sent */
	SUB_LEAVING,     /* not wanted; UNSUBSCRIBE is under way */
	SUB_RETURNING,   /* wanted; UNSUBSCRIBE is under way */
};

struct redis_sub {
	TAILQ_ENTRY(redis_sub) entry; /* of the list that its state names, if any */
	enum redis_sub_state state;
	bool told; /* the hub knows that it is live */
	size_t key_len;
	char key[];
};
TAILQ_HEAD(redis_sub_list, redis_sub);

/* The fields are for redis_subs.c alone. */
struct redis_subs {
	struct map map;
	struct redis_sub_list waiting; /* SUB_WAITING, in the order of wanting */
	struct redis_sub_list ending;  /* SUB_ENDING */
};

void redis_subs_init(struct redis_subs *s);
void redis_subs_fini(struct redis_subs *s);

/*
 * The hub wants a channel that it does not want already (FAN_EEXIST).  *out is lent until it is no
 * longer wanted; if its state is SUB_LIVE, the hub is to be told now.  FAN_ENOMEM.
 */
FAN_NODISCARD int redis_subs_want(
    struct redis_subs *s, const char *key, size_t len, struct redis_sub **out);
/* The hub no longer wants it.  A channel that is not wanted is ignored. */
void redis_subs_unwant(struct redis_subs *s, const char *key, size_t len);

/* The channel with this key, wanted or not, or NULL. */
struct redis_sub *redis_subs_find(const struct redis_subs *s, const char *key, size_t len);

/*
 * Lends up to max channels for which SUBSCRIBE (subscribe) or UNSUBSCRIBE is to be sent, the
 * longest waiting first, and returns how many.  redis_subs_sent says that this was done for the
 * first n of the same list.
 */
size_t redis_subs_gather(
    const struct redis_subs *s, bool subscribe, const struct redis_sub **out, size_t max);
void redis_subs_sent(struct redis_subs *s, bool subscribe, size_t n);

/*
 * Redis has confirmed SUBSCRIBE or UNSUBSCRIBE.  *tell is the channel if the hub is to be told that
 * it is live, else NULL.  FAN_EPROTO: no such command was under way.
 */
FAN_NODISCARD int redis_subs_confirm(
    struct redis_subs *s, const char *key, size_t len, bool subscribe, struct redis_sub **tell);

/*
 * The next channel from *pos (0 at first) on that is live and of which the hub has not been told; it
 * counts as told now.  NULL: none.
 */
struct redis_sub *redis_subs_tell_next(const struct redis_subs *s, size_t *pos);

/* The connection is gone: whatever is wanted waits again, the rest is forgotten. */
void redis_subs_reset(struct redis_subs *s);

static inline size_t
redis_subs_count(const struct redis_subs *s)
{
	return map_count(&s->map);
}

#endif
