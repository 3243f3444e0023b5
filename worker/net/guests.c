/*
 * guests: how many connections each client address has and how fast it makes new ones.  See
 * guests.h.
 */
#include "worker/net/guests.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/map.h"
#include "common/sock.h"
#include "worker/net/deadline.h"

#define KEY_SIZE 9        /* the kind of address, and 32 or 64 bits of it */
#define ONE INT64_C(1000) /* what a connection costs; a millisecond brings `rate` */

struct guest {
	struct guests *in;
	TAILQ_ENTRY(guest) link; /* in idle, while it has no connections */
	uint64_t filled;         /* when level was right; while idle also: since when it is */
	int64_t level;           /* of its bucket */
	uint32_t connections;
	uint8_t key[KEY_SIZE];
};

struct guests {
	struct map map;
	TAILQ_HEAD(guest_list, guest) idle; /* longest first */
	size_t idle_n;
	struct deadlines *ds;
	struct deadline sweep; /* set while somebody is idle */
	uint32_t connections_max;
	uint32_t rate;
};

static const void *
key_of(const void *object, size_t *len)
{
	*len = KEY_SIZE;
	return ((const struct guest *)object)->key;
}

/* false: it is no IP address. */
static bool
make_key(const struct sockaddr *sa, uint8_t key[KEY_SIZE])
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;

	memset(key, 0, KEY_SIZE);
	if (sa->sa_family == AF_INET)
		memcpy(&ss, sa, sizeof(sin));
	else if (sa->sa_family == AF_INET6)
		memcpy(&ss, sa, sizeof(sin6));
	else
		return false;
	sock_addr_unmap(&ss);
	if (ss.ss_family == AF_INET) {
		memcpy(&sin, &ss, sizeof(sin));
		key[0] = 4;
		memcpy(key + 1, &sin.sin_addr, 4);
	} else {
		memcpy(&sin6, &ss, sizeof(sin6));
		key[0] = 6;
		memcpy(key + 1, &sin6.sin6_addr, 8);
	}
	return true;
}

static void
forget(struct guest *guest)
{
	struct guests *g = guest->in;

	TAILQ_REMOVE(&g->idle, guest, link);
	g->idle_n--;
	(void)map_del(&g->map, guest->key, KEY_SIZE);
	free(guest);
}

/* Forgets whose buckets are full again. */
static void
sweep(struct guests *g, uint64_t now)
{
	struct guest *guest;

	/* Here and in guests_free, the analyzer does not see that forget takes it off the list. */
	while ((guest = TAILQ_FIRST(&g->idle)) != NULL &&
	    now - guest->filled >= GUESTS_IDLE_MS) /* NOLINT(clang-analyzer-unix.Malloc) */
		forget(guest);
	if (guest != NULL && !deadline_is_set(&g->sweep))
		deadline_set(g->ds, &g->sweep, GUESTS_IDLE_MS);
}

static void
on_sweep(struct deadline *d)
{
	struct guests *g = (struct guests *)(void *)((char *)d - offsetof(struct guests, sweep));

	sweep(g, clock_ms());
}

struct guests *
guests_new(struct deadlines *ds, uint32_t connections, uint32_t rate)
{
	struct guests *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	map_init(&g->map, key_of);
	TAILQ_INIT(&g->idle);
	g->ds = ds;
	g->connections_max = connections;
	g->rate = rate;
	deadline_init(&g->sweep, DEADLINE_GUESTS);
	deadlines_on(ds, DEADLINE_GUESTS, on_sweep);
	return g;
}

void
guests_free(struct guests *g)
{
	struct guest *guest;

	if (g == NULL)
		return;
	while ((guest = TAILQ_FIRST(&g->idle)) != NULL)
		forget(guest); /* NOLINT(clang-analyzer-unix.Malloc) */
	deadline_clear(&g->sweep);
	map_fini(&g->map);
	free(g);
}

/* --- coming and going --------------------------------------------------------------------- */

/* Brings the bucket's level up to date. */
static void
fill(struct guest *guest, uint64_t now)
{
	int64_t full = ONE * guest->in->rate;
	uint64_t past = now > guest->filled ? now - guest->filled : 0;

	/* A second fills it. */
	guest->level += past < GUESTS_IDLE_MS ? (int64_t)past * guest->in->rate : full;
	if (guest->level > full)
		guest->level = full;
	guest->filled = now;
}

static struct guest *
meet(struct guests *g, const uint8_t key[KEY_SIZE], uint64_t now)
{
	struct guest *guest = map_get(&g->map, key, KEY_SIZE);

	if (guest != NULL)
		return guest;
	guest = calloc(1, sizeof(*guest));
	if (guest == NULL)
		return NULL;
	guest->in = g;
	guest->level = ONE * g->rate;
	guest->filled = now;
	memcpy(guest->key, key, KEY_SIZE);
	if (map_put(&g->map, guest) != 0) {
		free(guest);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&g->idle, guest, link);
	g->idle_n++;
	return guest;
}

int
guests_enter(struct guests *g, const struct sockaddr *sa, uint64_t now, struct guest **out)
{
	uint8_t key[KEY_SIZE];
	struct guest *guest;

	*out = NULL;
	if (!make_key(sa, key))
		return 0;
	sweep(g, now);
	guest = meet(g, key, now);
	if (guest == NULL)
		return FAN_ENOMEM;
	fill(guest, now);
	if (guest->connections == 0) {
		/* From here on its second counts, where it must wait. */
		TAILQ_REMOVE(&g->idle, guest, link);
		TAILQ_INSERT_TAIL(&g->idle, guest, link);
	}
	if ((g->connections_max > 0 && guest->connections >= g->connections_max) ||
	    (g->rate > 0 && guest->level < ONE))
		return FAN_EFULL;
	if (g->rate > 0)
		guest->level -= ONE;
	if (guest->connections++ == 0) {
		TAILQ_REMOVE(&g->idle, guest, link);
		g->idle_n--;
	}
	*out = guest;
	return 0;
}

void
guest_leave(struct guest *guest, uint64_t now)
{
	struct guests *g;

	if (guest == NULL || --guest->connections > 0)
		return;
	g = guest->in;
	fill(guest, now);
	TAILQ_INSERT_TAIL(&g->idle, guest, link);
	g->idle_n++;
	if (guest->level == ONE * g->rate)
		forget(guest);
	else if (g->idle_n > GUESTS_IDLE_MAX)
		forget(TAILQ_FIRST(&g->idle));
	sweep(g, now);
}

bool
guest_is(const struct guest *guest, const struct sockaddr *sa)
{
	uint8_t key[KEY_SIZE];

	if (!make_key(sa, key))
		return guest == NULL;
	return guest != NULL && memcmp(guest->key, key, KEY_SIZE) == 0;
}

size_t
guests_count(const struct guests *g)
{
	return map_count(&g->map);
}
