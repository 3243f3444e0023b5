/*
 * map: byte-string keys to objects, with a keyed hash.
 *
 * Owns:    its table, never the objects or the keys: an object keeps its own key bytes and must
 *          not move or change them while it is in the map.
 * Process: any.
 * Layer:   common.  Uses err, hash.
 *
 * Open addressing with linear probing and backward-shift deletion; 16 bytes a slot, at most 3/4
 * full, shrinks again when it is nearly empty.  The hash is SipHash-1-3 under a random key of the
 * process, so that names chosen to collide cost no more than others.
 */
#ifndef COMMON_MAP_H
#define COMMON_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Lends the key of an object. */
typedef const void *(*map_key_fn)(const void *object, size_t *len);

struct map_slot {
	void *object; /* NULL: free */
	uint32_t hash;
};

struct map {
	map_key_fn key;
	struct map_slot *slots;
	size_t mask; /* slots - 1, or 0 while there is no table */
	size_t count;
};

void map_init(struct map *m, map_key_fn key);
/* Frees the table, not the objects. */
void map_fini(struct map *m);

/* The object with this key, or NULL. */
void *map_get(const struct map *m, const void *key, size_t len);
/* FAN_EEXIST: an object with an equal key is there.  FAN_ENOMEM. */
FAN_NODISCARD int map_put(struct map *m, void *object);
/* Takes the object with this key out and returns it, or NULL. */
void *map_del(struct map *m, const void *key, size_t len);

static inline size_t
map_count(const struct map *m)
{
	return m->count;
}

/*
 * Walks all objects in no order: start with *pos = 0; NULL ends the walk.  The map must not be
 * changed during it.
 */
void *map_next(const struct map *m, size_t *pos);

#endif
