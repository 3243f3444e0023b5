/*
 * map: byte-string keys to objects, with a keyed hash.  See map.h.
 */
#include "common/map.h"

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"

#define MAP_FIRST 16

void
map_init(struct map *m, map_key_fn key)
{
	memset(m, 0, sizeof(*m));
	m->key = key;
}

void
map_fini(struct map *m)
{
	free(m->slots);
	m->slots = NULL;
	m->mask = m->count = 0;
}

static int
same_key(const struct map *m, const void *object, const void *key, size_t len)
{
	size_t have;
	const void *k = m->key(object, &have);

	return have == len && memcmp(k, key, len) == 0;
}

/* The slot that holds the key, or the free one where it would go.  There is a table. */
static size_t
find(const struct map *m, uint32_t hash, const void *key, size_t len)
{
	size_t i = hash & m->mask;

	while (m->slots[i].object != NULL) {
		if (m->slots[i].hash == hash && same_key(m, m->slots[i].object, key, len))
			break;
		i = (i + 1) & m->mask;
	}
	return i;
}

static int
resize(struct map *m, size_t size)
{
	struct map_slot *slots = calloc(size, sizeof(*slots));
	size_t i;

	if (slots == NULL)
		return FAN_ENOMEM;
	for (i = 0; m->slots != NULL && i <= m->mask; i++) {
		size_t j;

		if (m->slots[i].object == NULL)
			continue;
		j = m->slots[i].hash & (size - 1);
		while (slots[j].object != NULL)
			j = (j + 1) & (size - 1);
		slots[j] = m->slots[i];
	}
	free(m->slots);
	m->slots = slots;
	m->mask = size - 1;
	return 0;
}

void *
map_get(const struct map *m, const void *key, size_t len)
{
	if (m->count == 0)
		return NULL;
	return m->slots[find(m, (uint32_t)hash_bytes(key, len), key, len)].object;
}

int
map_put(struct map *m, void *object)
{
	size_t len, i;
	const void *key = m->key(object, &len);
	uint32_t hash = (uint32_t)hash_bytes(key, len);

	if (m->slots == NULL || (m->count + 1) * 4 > (m->mask + 1) * 3) {
		int err = resize(m, m->slots == NULL ? MAP_FIRST : (m->mask + 1) * 2);

		if (err != 0)
			return err;
	}
	i = find(m, hash, key, len);
	if (m->slots[i].object != NULL)
		return FAN_EEXIST;
	m->slots[i].object = object;
	m->slots[i].hash = hash;
	m->count++;
	return 0;
}

void *
map_del(struct map *m, const void *key, size_t len)
{
	size_t hole, i;
	void *object;

	if (m->count == 0)
		return NULL;
	hole = find(m, (uint32_t)hash_bytes(key, len), key, len);
	object = m->slots[hole].object;
	if (object == NULL)
		return NULL;
	/* Pull back whoever was pushed past the hole, so that no tombstones are needed. */
	for (i = (hole + 1) & m->mask; m->slots[i].object != NULL; i = (i + 1) & m->mask) {
		size_t home = m->slots[i].hash & m->mask;

		if (((i - home) & m->mask) < ((i - hole) & m->mask))
			continue;
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole].object = NULL;
	m->count--;
	/* A smaller table is a courtesy: without memory for it the old one stays. */
	if (m->mask + 1 > MAP_FIRST && m->count * 8 < m->mask + 1)
		(void)resize(m, (m->mask + 1) / 2);
	return object;
}

void *
map_next(const struct map *m, size_t *pos)
{
	while (m->slots != NULL && *pos <= m->mask) {
		void *object = m->slots[(*pos)++].object;

		if (object != NULL)
			return object;
	}
	return NULL;
}
