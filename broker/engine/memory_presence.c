/*
 * memory_presence: who is in which channel.  See memory_presence.h.
 */
#include "broker/engine/memory_presence.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/map.h"

struct channel {
	struct map clients; /* of struct client */
	struct map users;   /* of struct user */
	size_t len;
	char name[];
};

/* A user with connections in the channel. */
struct user {
	size_t connections;
	size_t len;
	char id[];
};

struct client {
	struct user *user;    /* NULL: anonymous */
	struct member member; /* its strings are in text */
	char text[];
};

struct memory_presence {
	struct map channels;
};

static const void *
channel_key(const void *object, size_t *len)
{
	const struct channel *c = object;

	*len = c->len;
	return c->name;
}

static const void *
client_key(const void *object, size_t *len)
{
	const struct client *c = object;

	*len = c->member.client_len;
	return c->member.client;
}

static const void *
user_key(const void *object, size_t *len)
{
	const struct user *u = object;

	*len = u->len;
	return u->id;
}

struct memory_presence *
memory_presence_new(void)
{
	struct memory_presence *p = calloc(1, sizeof(*p));

	if (p != NULL)
		map_init(&p->channels, channel_key);
	return p;
}

static void
free_all(struct map *m)
{
	size_t pos = 0;
	void *object;

	while ((object = map_next(m, &pos)) != NULL)
		free(object);
	map_fini(m);
}

void
memory_presence_free(struct memory_presence *p)
{
	struct channel *c;
	size_t pos = 0;

	if (p == NULL)
		return;
	while ((c = map_next(&p->channels, &pos)) != NULL) {
		free_all(&c->clients);
		free_all(&c->users);
	}
	free_all(&p->channels);
	free(p);
}

/* The channel, which is made if it is not there.  NULL: no memory. */
static struct channel *
open_channel(struct memory_presence *p, const char *name, size_t len)
{
	struct channel *c = map_get(&p->channels, name, len);

	if (c != NULL)
		return c;
	c = calloc(1, sizeof(*c) + len);
	if (c == NULL)
		return NULL;
	map_init(&c->clients, client_key);
	map_init(&c->users, user_key);
	c->len = len;
	memcpy(c->name, name, len);
	if (map_put(&p->channels, c) != 0) {
		free(c);
		return NULL;
	}
	return c;
}

/* Frees the channel if nobody is in it. */
static void
close_channel(struct memory_presence *p, struct channel *c)
{
	if (map_count(&c->clients) > 0)
		return;
	(void)map_del(&p->channels, c->name, c->len);
	map_fini(&c->clients);
	map_fini(&c->users);
	free(c);
}

/* The user with one connection more.  NULL: no memory. */
static struct user *
take_user(struct channel *c, const char *id, size_t len)
{
	struct user *u = map_get(&c->users, id, len);

	if (u == NULL) {
		u = calloc(1, sizeof(*u) + len);
		if (u == NULL)
			return NULL;
		u->len = len;
		memcpy(u->id, id, len);
		if (map_put(&c->users, u) != 0) {
			free(u);
			return NULL;
		}
	}
	u->connections++;
	return u;
}

/* Whether that was the last connection; anonymous ones always are. */
static bool
give_user(struct channel *c, struct user *u)
{
	if (u != NULL && --u->connections > 0)
		return false;
	if (u != NULL)
		free(map_del(&c->users, u->id, u->len));
	return true;
}

static struct client *
copy_member(const struct member *m)
{
	struct client *c = malloc(sizeof(*c) + m->client_len + m->user_len + m->info_len);

	if (c == NULL)
		return NULL;
	c->user = NULL;
	c->member = *m;
	c->member.client = memcpy(c->text, m->client, m->client_len);
	c->member.user = c->member.client + m->client_len;
	if (m->user_len > 0)
		memcpy(c->text + m->client_len, m->user, m->user_len);
	c->member.info = c->member.user + m->user_len;
	if (m->info_len > 0)
		memcpy(c->text + m->client_len + m->user_len, m->info, m->info_len);
	return c;
}

int
memory_presence_join(struct memory_presence *p, const char *channel, size_t channel_len,
    const struct member *m, bool *first)
{
	struct channel *c = open_channel(p, channel, channel_len);
	struct client *client = NULL;

	*first = false;
	if (c == NULL)
		return FAN_ENOMEM;
	if (map_get(&c->clients, m->client, m->client_len) != NULL)
		return FAN_EEXIST;
	client = copy_member(m);
	if (client == NULL || map_put(&c->clients, client) != 0)
		goto fail;
	if (m->user_len > 0) {
		client->user = take_user(c, m->user, m->user_len);
		if (client->user == NULL) {
			(void)map_del(&c->clients, m->client, m->client_len);
			goto fail;
		}
	}
	*first = client->user == NULL || client->user->connections == 1;
	return 0;

fail:
	free(client);
	close_channel(p, c);
	return FAN_ENOMEM;
}

int
memory_presence_leave(struct memory_presence *p, const char *channel, size_t channel_len,
    const char *client, size_t len, bool *last, struct buf *json)
{
	struct channel *c = map_get(&p->channels, channel, channel_len);
	struct client *gone = c == NULL ? NULL : map_del(&c->clients, client, len);
	int err = 0;

	*last = false;
	if (gone == NULL)
		return FAN_ENOENT;
	*last = give_user(c, gone->user);
	if (*last)
		err = member_append_json(json, &gone->member);
	free(gone);
	close_channel(p, c);
	return err;
}

int
memory_presence_read(
    const struct memory_presence *p, const char *channel, size_t channel_len, struct buf *b)
{
	const struct channel *c = map_get(&p->channels, channel, channel_len);
	const struct client *client;
	size_t pos = 0;

	while (c != NULL && (client = map_next(&c->clients, &pos)) != NULL) {
		int err = member_append(b, &client->member);

		if (err != 0)
			return err;
	}
	return 0;
}
