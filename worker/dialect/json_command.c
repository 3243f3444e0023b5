/*
 * json_command: a command of fanfare.json, from its text.  See json_command.h.
 */
#include "worker/dialect/json_command.h"

#include <string.h>

#include "common/ipc_msg.h"
#include "common/json.h"

/* The members beside the verb. */
enum member {
	M_ID = 1,
	M_DATA = 2,
	M_KEY = 4,
	M_TOKEN = 8,
	M_OFFSET = 16,
	M_EPOCH = 32,
	M_LIMIT = 64,
	M_REVERSE = 128,
};

static const struct {
	const char *name;
	unsigned members;
} verbs[] = {
	[JSON_SUBSCRIBE] = { "subscribe", M_ID | M_TOKEN | M_OFFSET | M_EPOCH },
	[JSON_UNSUBSCRIBE] = { "unsubscribe", M_ID },
	[JSON_PUBLISH] = { "publish", M_ID | M_DATA | M_KEY },
	[JSON_HISTORY] = { "history", M_ID | M_OFFSET | M_EPOCH | M_LIMIT | M_REVERSE },
	[JSON_PRESENCE] = { "presence", M_ID },
	/* A verb where there is no other. */
	[JSON_TOKEN] = { "token", M_ID },
};

static const struct {
	const char *name;
	unsigned bit;
} members[] = {
	{ "id", M_ID },
	{ "data", M_DATA },
	{ "key", M_KEY },
	{ "token", M_TOKEN },
	{ "offset", M_OFFSET },
	{ "epoch", M_EPOCH },
	{ "limit", M_LIMIT },
	{ "reverse", M_REVERSE },
};

/* Sets c->verb if the name is one that nothing else can be. */
static bool
find_verb(struct json_command *c, const char *name)
{
	size_t i;

	for (i = 0; i < JSON_TOKEN; i++) {
		if (strcmp(verbs[i].name, name) == 0) {
			c->verb = (enum json_verb)i;
			return true;
		}
	}
	return false;
}

static unsigned
find_member(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		if (strcmp(members[i].name, name) == 0)
			return members[i].bit;
	}
	return 0;
}

/* Finds verb and members, and refuses what no command has.  A phrase for what is wrong, or NULL. */
static const char *
read_verb(struct json_command *c)
{
	unsigned verbs_seen = 0, seen = 0;
	const char *key;
	json_t *v;

	json_object_foreach(c->object, key, v)
	{
		unsigned bit = find_member(key);

		if (bit == 0 && !find_verb(c, key))
			return "unknown member";
		verbs_seen += bit == 0;
		seen |= bit;
	}
	if (verbs_seen > 1)
		return "one command a message";
	if (verbs_seen == 0 && (seen & M_TOKEN) != 0) {
		c->verb = JSON_TOKEN;
		seen &= ~(unsigned)M_TOKEN;
	} else if (verbs_seen == 0) {
		return "no command: send subscribe, unsubscribe, publish, history, presence or "
		       "token";
	}
	if ((seen & ~verbs[c->verb].members) != 0)
		return "unknown member";
	return NULL;
}

/* Reads a string that may be missing.  false: it is no string. */
static bool
read_string(const json_t *object, const char *name, const char **out, size_t *len)
{
	const json_t *v = json_object_get(object, name);

	if (v == NULL)
		return true;
	*out = json_string_value(v);
	*len = json_string_length(v);
	return *out != NULL;
}

/* Reads the id to repeat.  FAN_EINVAL: it is none, *why says so.  FAN_ENOMEM. */
static int
read_id(struct json_command *c, const char **why)
{
	const json_t *v = json_object_get(c->object, "id");
	size_t n;

	if (v == NULL)
		return 0;
	*why = "id must be a string or an integer";
	if (!json_is_string(v) && !json_is_integer(v))
		return FAN_EINVAL;
	n = json_dumpb(v, c->id, JSON_ID_MAX, JSON_ENCODE_ANY | JSON_COMPACT);
	c->id[n > JSON_ID_MAX ? 0 : n] = '\0';
	*why = "id is too long";
	return n == 0 ? FAN_ENOMEM : n > JSON_ID_MAX ? FAN_EINVAL : 0;
}

static const char *
read_position(struct json_command *c)
{
	const json_t *offset = json_object_get(c->object, "offset");
	const char *epoch = NULL;
	size_t len = 0;

	if (!read_string(c->object, "epoch", &epoch, &len))
		return "epoch must be a string";
	if ((offset == NULL) != (epoch == NULL))
		return "a position is both offset and epoch";
	if (offset == NULL)
		return NULL;
	if (!json_is_integer(offset) || json_integer_value(offset) < 0)
		return "offset must be an integer of 0 or more";
	if (len == 0 ||
	    position_set(&c->since, (uint64_t)json_integer_value(offset), epoch, len) != 0)
		return "not an epoch";
	return NULL;
}

static const char *
read_members(struct json_command *c)
{
	const json_t *limit = json_object_get(c->object, "limit");
	const json_t *reverse = json_object_get(c->object, "reverse");

	if (!read_string(c->object, verbs[c->verb].name, &c->name, &c->name_len))
		return c->verb == JSON_TOKEN ? "the token must be a string"
					     : "the channel must be a string";
	if (!read_string(c->object, "token", &c->token, &c->token_len))
		return "the token must be a string";
	if (!read_string(c->object, "key", &c->key, &c->key_len) ||
	    (c->key != NULL && (c->key_len == 0 || c->key_len > IPC_KEY_MAX)))
		return "key must be a string of 1 to 255 bytes";
	if (limit != NULL && (!json_is_integer(limit) || json_integer_value(limit) < 1))
		return "limit must be an integer of 1 or more";
	if (reverse != NULL && !json_is_boolean(reverse))
		return "reverse must be true or false";
	c->limit = json_integer_value(limit);
	c->reverse = json_is_true(reverse);
	return read_position(c);
}

int
json_command_read(struct json_command *c, const char *text, size_t n, const char **why)
{
	int err;

	memset(c, 0, sizeof(*c));
	err = json_parse(text, n, JSON_DEPTH_MAX, &c->object, why);
	if (err != 0)
		return err;
	if (!json_is_object(c->object)) {
		*why = "a command is a JSON object";
		err = FAN_EINVAL;
	}
	if (err == 0)
		err = read_id(c, why);
	if (err == 0 && ((*why = read_verb(c)) != NULL || (*why = read_members(c)) != NULL))
		err = FAN_EINVAL;
	if (err == 0 && c->verb == JSON_PUBLISH &&
	    json_member(text, n, "data", &c->data, &c->data_len) != 0) {
		*why = "publish needs data";
		err = FAN_EINVAL;
	}
	if (err != 0)
		json_command_fini(c);
	return err;
}

void
json_command_fini(struct json_command *c)
{
	json_decref(c->object);
	c->object = NULL;
}
