/*
 * members: who is in which channel on this node.  See members.h.
 */
#include "broker/hub/members.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/map.h"

#define KEY_MAX (sizeof(uint32_t) + 1 + CHANNEL_NAME_MAX + CLIENT_ID_MAX)

struct entry {
	LIST_ENTRY(entry) link; /* of its slot */
	size_t user_len, info_len;
	uint8_t channel_len, client_len;
	uint8_t *bytes; /* the key: u32 slot, u8 channel length, channel, client; then user, info */
};

LIST_HEAD(entries, entry);

struct members {
	struct map all;
	unsigned slots;
	struct entries of_slot[];
};

static size_t
key_len(size_t channel_len, size_t client_len)
{
	return sizeof(uint32_t) + 1 + channel_len + client_len;
}

static const void *
entry_key(const void *object, size_t *len)
{
	const struct entry *e = object;

	*len = key_len(e->channel_len, e->client_len);
	return e->bytes;
}

static size_t
make_key(uint8_t *out, unsigned slot, const char *channel, size_t channel_len, const char *client,
    size_t client_len)
{
	uint32_t number = slot;

	memcpy(out, &number, sizeof(number));
	out += sizeof(number);
	*out++ = (uint8_t)channel_len;
	memcpy(out, channel, channel_len);
	memcpy(out + channel_len, client, client_len);
	return key_len(channel_len, client_len);
}

struct members *
members_new(unsigned slots)
{
	struct members *t = calloc(1, sizeof(*t) + slots * sizeof(t->of_slot[0]));

	if (t == NULL)
		return NULL;
	t->slots = slots;
	map_init(&t->all, entry_key);
	return t;
}

static void
free_entry(struct entry *e)
{
	LIST_REMOVE(e, link);
	free(e->bytes);
	free(e);
}

void
members_free(struct members *t)
{
	struct entry *e;
	size_t pos = 0;

	if (t == NULL)
		return;
	while ((e = map_next(&t->all, &pos)) != NULL)
		free_entry(e);
	map_fini(&t->all);
	free(t);
}

static uint8_t *
pack(unsigned slot, const char *channel, size_t channel_len, const struct member *m)
{
	size_t n = key_len(channel_len, m->client_len);
	uint8_t *bytes = malloc(n + m->user_len + m->info_len);

	if (bytes == NULL)
		return NULL;
	(void)make_key(bytes, slot, channel, channel_len, m->client, m->client_len);
	if (m->user_len > 0)
		memcpy(bytes + n, m->user, m->user_len);
	if (m->info_len > 0)
		memcpy(bytes + n + m->user_len, m->info, m->info_len);
	return bytes;
}

int
members_join(struct members *t, unsigned slot, const char *channel, size_t channel_len,
    const struct member *m)
{
	size_t n = key_len(channel_len, m->client_len);
	struct entry *e, *known;
	uint8_t *bytes;

	assert(
	    slot < t->slots && channel_len <= CHANNEL_NAME_MAX && m->client_len <= CLIENT_ID_MAX);
	bytes = pack(slot, channel, channel_len, m);
	if (bytes == NULL)
		return FAN_ENOMEM;
	e = known = map_get(&t->all, bytes, n);
	if (e == NULL)
		e = calloc(1, sizeof(*e));
	if (e == NULL) {
		free(bytes);
		return FAN_ENOMEM;
	}
	/* Where it is known, the key stays the same, in other bytes. */
	free(e->bytes);
	e->bytes = bytes;
	e->channel_len = (uint8_t)channel_len;
	e->client_len = (uint8_t)m->client_len;
	e->user_len = m->user_len;
	e->info_len = m->info_len;
	if (known != NULL)
		return FAN_EEXIST;
	LIST_INSERT_HEAD(&t->of_slot[slot], e, link);
	if (map_put(&t->all, e) != 0) {
		free_entry(e);
		return FAN_ENOMEM;
	}
	return 0;
}

int
members_leave(struct members *t, unsigned slot, const char *channel, size_t channel_len,
    const char *client, size_t len)
{
	uint8_t key[KEY_MAX];
	struct entry *e;

	if (channel_len > CHANNEL_NAME_MAX || len > CLIENT_ID_MAX)
		return FAN_ENOENT;
	e = map_del(&t->all, key, make_key(key, slot, channel, channel_len, client, len));
	if (e == NULL)
		return FAN_ENOENT;
	free_entry(e);
	return 0;
}

static void
call(const struct entry *e, members_fn fn, void *arg)
{
	const char *channel = (const char *)e->bytes + sizeof(uint32_t) + 1;
	struct member m = { .client = channel + e->channel_len,
		.client_len = e->client_len,
		.user_len = e->user_len,
		.info_len = e->info_len };

	m.user = m.client + m.client_len;
	m.info = m.user + m.user_len;
	fn(arg, channel, e->channel_len, &m);
}

void
members_drop_slot(struct members *t, unsigned slot, members_fn fn, void *arg)
{
	struct entry *e;
	const void *key;
	size_t len;

	assert(slot < t->slots);
	while ((e = LIST_FIRST(&t->of_slot[slot])) != NULL) {
		call(e, fn, arg);
		key = entry_key(e, &len);
		(void)map_del(&t->all, key, len);
		free_entry(e);
	}
}

void
members_each(const struct members *t, members_fn fn, void *arg)
{
	const struct entry *e;
	size_t pos = 0;

	while ((e = map_next(&t->all, &pos)) != NULL)
		call(e, fn, arg);
}

size_t
members_count(const struct members *t)
{
	return map_count(&t->all);
}
