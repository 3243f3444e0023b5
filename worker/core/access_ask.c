/*
 * access_ask: what the application is asked about a client, and what its answers mean.  See
 * access.h, and docs/HOOKS.md for the requests and answers.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"
#include "common/member.h"
#include "common/utf8.h"
#include "worker/auth/token.h"
#include "worker/core/access.h"
#include "worker/core/identity.h"
#include "worker/core/session.h"
#include "worker/hook/hook.h"

#define NAMES_MAX 1000 /* globs in an answer */
#define ASK_SPARE 4096 /* of a request, beside its data */

/* A question whose answer is awaited. */
struct access {
	struct session *session;
	struct hook_request *request;
	enum hook_kind kind;
	access_fn fn;
	void *arg;
};

/* An answer while it is read.  Its text lasts as long as the JSON does. */
struct answer {
	const char *text;
	size_t len;
	json_t *object;
	uint8_t *bytes; /* decoded; owned */
};

/* --- answers ------------------------------------------------------------------------------ */

/*
 * The text of a member's value, as it is written.  FAN_ENOENT: there is none.  FAN_EINVAL: its key
 * is written with escapes, by which the text is not found.
 */
static int
read_text(const struct answer *a, const char *key, const char **text, size_t *n)
{
	if (json_object_get(a->object, key) == NULL)
		return FAN_ENOENT;
	return json_member(a->text, a->len, key, text, n) == 0 ? 0 : FAN_EINVAL;
}

/* A list of strings into *out, ended by NULL, whose items are lent; NULL where there is none. */
static int
read_names(const struct answer *a, const char *key, char ***out)
{
	json_t *list = json_object_get(a->object, key);
	size_t n = json_array_size(list);

	*out = NULL;
	if (list == NULL || json_is_null(list))
		return 0;
	if (!json_is_array(list) || n > NAMES_MAX)
		return FAN_EINVAL;
	*out = calloc(n + 1, sizeof(char *));
	if (*out == NULL)
		return FAN_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (name == NULL)
			return FAN_EINVAL;
		(*out)[i] = (char *)(uintptr_t)name;
	}
	return 0;
}

/* user, info and expires of the answer to a connect hook; c->info is owned. */
static int
read_person(const struct answer *a, struct claims *c)
{
	const json_t *user = json_object_get(a->object, "user");
	const json_t *expires = json_object_get(a->object, "expires");
	const char *info;
	size_t n;
	int err;

	if (user != NULL && !json_is_null(user)) {
		if (!json_is_string(user) || json_string_length(user) > USER_ID_MAX)
			return FAN_EINVAL;
		c->user = (char *)(uintptr_t)json_string_value(user);
	}
	if (expires != NULL && !json_is_null(expires)) {
		if (!json_is_integer(expires) || json_integer_value(expires) <= 0)
			return FAN_EINVAL;
		c->expires = json_integer_value(expires);
	}
	err = read_text(a, "info", &info, &n);
	if (err != 0)
		return err == FAN_ENOENT ? 0 : err;
	if (json_is_null(json_object_get(a->object, "info")))
		return 0;
	if (n > MEMBER_INFO_MAX)
		return FAN_EINVAL;
	c->info = strndup(info, n);
	return c->info == NULL ? FAN_ENOMEM : 0;
}

/* Who the client is, as the connect hook says. */
static int
read_connect(struct session *s, const struct answer *a)
{
	struct claims c = { .user = (char[]){ "" } };
	int err = read_person(a, &c);

	if (err == 0)
		err = read_names(a, "channels", &c.channels);
	if (err == 0)
		err = read_names(a, "publish", &c.publish);
	if (err == 0)
		err = access_name(s, &c);
	free(c.channels);
	free(c.publish);
	free(c.info);
	return err;
}

static int
decode(struct answer *a, const json_t *base64, struct access_verdict *v)
{
	const char *text = json_string_value(base64);
	size_t n = json_string_length(base64);
	int len;

	if (text == NULL || n % 4 != 0)
		return FAN_EINVAL;
	a->bytes = malloc(n / 4 * 3 + 1);
	if (a->bytes == NULL)
		return FAN_ENOMEM;
	len = EVP_DecodeBlock(a->bytes, (const unsigned char *)text, (int)n);
	if (len < 0)
		return FAN_EINVAL;
	/* It counts the padding as bytes. */
	if (n > 0 && text[n - 1] == '=')
		len -= text[n - 2] == '=' ? 2 : 1;
	v->kind = MSG_BINARY;
	v->data = a->bytes;
	v->len = (size_t)len;
	return 0;
}

/* What is to be published in place. */
static int
read_publish(struct answer *a, struct access_verdict *v)
{
	const json_t *base64 = json_object_get(a->object, "base64");
	const char *data;
	size_t n;
	int err = read_text(a, "data", &data, &n);

	if (base64 != NULL)
		return err == FAN_ENOENT ? decode(a, base64, v) : FAN_EINVAL;
	if (err != 0)
		return err == FAN_ENOENT ? 0 : err;
	v->kind = MSG_TEXT;
	v->data = (const uint8_t *)data;
	v->len = n;
	return 0;
}

/* 0; FAN_EDENIED; FAN_EINVAL: it cannot be read; FAN_ENOMEM. */
static int
read_answer(const struct access *q, struct answer *a, struct access_verdict *v)
{
	const json_t *deny;
	const char *why;
	int err;

	err = json_parse(a->text, a->len, JSON_DEPTH_MAX, &a->object, &why);
	if (err != 0)
		return err;
	if (!json_is_object(a->object))
		return FAN_EINVAL;
	deny = json_object_get(a->object, "deny");
	if (deny != NULL && !json_is_false(deny) && !json_is_null(deny))
		return FAN_EDENIED;
	if (q->kind == HOOK_CONNECT)
		return read_connect(q->session, a);
	return q->kind == HOOK_PUBLISH ? read_publish(a, v) : 0;
}

/* What is done where the application could not be asked. */
static int
without_answer(const struct access *q)
{
	const struct claims nobody = { .user = (char[]){ "" } };

	if (q->session->core->conf->hooks.failure != CONF_HOOK_ALLOW)
		return FAN_EDOWN;
	return q->kind == HOOK_CONNECT ? access_name(q->session, &nobody) : 0;
}

static int
judge(const struct access *q, int status, struct answer *a, struct access_verdict *v)
{
	static struct log_gate gate;
	int err = FAN_EINVAL;

	if (status < 0)
		return without_answer(q);
	if (status >= 400)
		return FAN_EDENIED;
	/* No Content.  Nothing at all with another status could be an answer that was cut. */
	if (status == 204) {
		a->text = "{}";
		a->len = 2;
	}
	if (status >= 200 && status < 300)
		err = read_answer(q, a, v);
	if (err == 0 || err == FAN_EDENIED)
		return err;
	if (log_gate_open(&gate, 1))
		log_warnx("the %s hook gave an answer that cannot be used: status=%d: %s",
		    hook_name(q->kind), status, fan_strerror(err));
	*v = (struct access_verdict){ 0 };
	return without_answer(q);
}

static void
on_answer(void *arg, int status, const char *body, size_t len)
{
	struct access *q = arg;
	struct access_verdict v = { 0 };
	struct answer a = { .text = body, .len = len };

	v.status = judge(q, status, &a, &v);
	if (v.status == FAN_ENOMEM)
		v.status = FAN_EDOWN;
	q->fn(q->arg, &v);
	free(a.bytes);
	json_decref(a.object);
	free(q);
}

/* --- questions ---------------------------------------------------------------------------- */

static int
ask(struct session *s, enum hook_kind kind, const char *json, size_t len, access_fn fn, void *arg,
    struct access **out)
{
	struct access *q = calloc(1, sizeof(*q));
	int err;

	if (q == NULL)
		return FAN_ENOMEM;
	q->session = s;
	q->kind = kind;
	q->fn = fn;
	q->arg = arg;
	err = hook_send(s->core->hooks, kind, json, len, on_answer, q, &q->request);
	if (err != 0) {
		free(q);
		return err;
	}
	*out = q;
	return 0;
}

/* What is to be published: JSON as it is, other text as a string, the rest in base64. */
static int
append_data(struct buf *b, enum msg_kind kind, const uint8_t *data, size_t n)
{
	const char *text = (const char *)data;
	int err;

	if (kind == MSG_TEXT && json_valid(text, n, JSON_DEPTH_MAX)) {
		err = buf_append(b, ",\"data\":", 8);
		return err != 0 ? err : buf_append(b, text, n);
	}
	if (kind == MSG_TEXT && utf8_valid(data, n)) {
		err = buf_append(b, ",\"data\":", 8);
		return err != 0 ? err : json_append_string(b, text, n);
	}
	err = buf_append(b, ",\"base64\":", 10);
	return err != 0 ? err : json_append_base64(b, data, n);
}

int
access_ask(struct session *s, enum access_what what, const char *name, size_t len,
    enum msg_kind kind, const uint8_t *data, size_t n, access_fn fn, void *arg, struct access **out)
{
	enum hook_kind hook = what == ACCESS_PUBLISH ? HOOK_PUBLISH : HOOK_SUBSCRIBE;
	const struct identity *i = s->extra == NULL ? NULL : s->extra->identity;
	const char *client = session_client(s);
	struct buf b;
	int err;

	if (client == NULL)
		return FAN_ENOMEM;
	/* No byte of the data takes more than six in JSON. */
	buf_init(&b, ASK_SPARE + 6 * n);
	err = buf_printf(&b, "{\"event\":\"%s\",\"client\":\"%s\",\"channel\":\"%.*s\"",
	    hook_name(hook), client, (int)len, name);
	if (err == 0 && i != NULL && i->user[0] != '\0') {
		err = buf_append(&b, ",\"user\":", 8);
		if (err == 0)
			err = json_append_string(&b, i->user, strlen(i->user));
	}
	if (err == 0 && hook == HOOK_PUBLISH)
		err = append_data(&b, kind, data, n);
	if (err == 0)
		err = buf_append(&b, "}", 1);
	if (err == 0)
		err = ask(s, hook, (const char *)buf_data(&b), buf_len(&b), fn, arg, out);
	buf_fini(&b);
	return err == 0 ? 0 : FAN_ENOMEM;
}

int
access_ask_connect(
    struct session *s, const char *json, size_t len, access_fn fn, void *arg, struct access **out)
{
	return ask(s, HOOK_CONNECT, json, len, fn, arg, out);
}

void
access_cancel(struct access *a)
{
	if (a == NULL)
		return;
	hook_cancel(a->request);
	free(a);
}
