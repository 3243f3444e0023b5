/*
 * redis_function: the functions that run inside Redis.  See redis_function.h.
 */
#include "broker/engine/redis_function.h"

#include <ctype.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/function_lua.h"
#include "broker/engine/redis_glob.h"
#include "broker/engine/redis_resp.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/hash.h"
#include "common/log.h"

#define TEXT_MAX ((size_t)16 << 20)
#define RETRY_MS 100
#define REPLACE_MS 1000   /* between two loads, where another node's functions are in the way */
#define CALL_OVERHEAD 128 /* of a command, beside its arguments */
#define SHA_LEN 40

struct redis_call {
	LIST_ENTRY(redis_call) all;
	STAILQ_ENTRY(redis_call) waiting; /* of again or held */
	struct redis_function *f;
	const char *name;
	redis_answer_fn fn;
	void *arg;
	uint64_t token;
	size_t bytes;
	bool repeated;
	size_t n;
	size_t len[REDIS_FUNCTION_ARGS];
	uint8_t data[]; /* one after the other */
};

/* --- the text --------------------------------------------------------------------------------- */

/* A name that can stand in a function's: the prefix itself where it is one, else a hash of it. */
static void
make_word(char out[REDIS_FUNCTION_WORD], const char *prefix)
{
	static const uint8_t key[16];
	size_t n = strlen(prefix), i;
	bool plain = n > 1 && n <= 32 && prefix[n - 1] == ':';

	for (i = 0; plain && i < n - 1; i++)
		plain = isalnum((unsigned char)prefix[i]) || prefix[i] == '_';
	if (plain)
		(void)snprintf(out, REDIS_FUNCTION_WORD, "%.*s", (int)(n - 1), prefix);
	else
		(void)snprintf(
		    out, REDIS_FUNCTION_WORD, "fanfare_%016" PRIx64, siphash13(key, prefix, n));
}

/* Appends a string of Lua, whatever is in it. */
static int
append_quoted(struct buf *b, const char *text, size_t n)
{
	int err = buf_append(b, "'", 1);
	size_t i;

	for (i = 0; i < n && err == 0; i++)
		err = text[i] == '\'' || text[i] == '\\'
		    ? buf_printf(b, "\\%03u", (unsigned)(unsigned char)text[i])
		    : buf_append(b, &text[i], 1);
	return err == 0 ? buf_append(b, "'", 1) : err;
}

static int
append_rule(struct buf *b, const struct conf_rule *rule)
{
	struct buf pattern;
	int err;

	buf_init(&pattern, TEXT_MAX);
	err = redis_glob_append(&pattern, rule->match);
	if (err == 0)
		err = buf_printf(b, "\t{ match = ");
	if (err == 0)
		err = append_quoted(b, (const char *)buf_data(&pattern), buf_len(&pattern));
	buf_fini(&pattern);
	return err != 0
	    ? err
	    : buf_printf(b, ", size = %" PRId64 ", ttl = %" PRId64 ", join_leave = %s },\n",
		  rule->history.size, rule->history.ttl, rule->join_leave ? "true" : "false");
}

static int
make_text(struct redis_function *f, const struct conf *conf)
{
	static const uint8_t key[16];
	const char *prefix = conf->redis.prefix;
	size_t i;
	int err = buf_printf(&f->text, "local WORD, PREFIX = '%s', ", f->word);

	if (err == 0)
		err = append_quoted(&f->text, prefix, strlen(prefix));
	if (err == 0)
		err = buf_printf(&f->text, "\nlocal RULES = {\n");
	for (i = 0; i < conf->channels.n && err == 0; i++) {
		const struct conf_rule *rule = &conf->channels.item[i];

		err = append_rule(&f->text, rule);
		f->needed |= rule->history.size > 0 || rule->presence;
	}
	if (err == 0)
		err = buf_printf(&f->text, "}\n");
	if (err == 0)
		err = buf_append(&f->text, function_lua, sizeof(function_lua));
	if (err == 0)
		(void)snprintf(f->version, sizeof(f->version), "%016" PRIx64,
		    siphash13(key, buf_data(&f->text), buf_len(&f->text)));
	return err;
}

/* --- calls ------------------------------------------------------------------------------------ */

static int on_call(void *arg, uint64_t token, const struct redis_reply *r);

static void
call_free(struct redis_call *call)
{
	redis_commands_give(call->f->commands, call->bytes);
	LIST_REMOVE(call, all);
	free(call);
}

/* Answers and frees. */
static int
call_end(struct redis_call *call, const struct redis_reply *r)
{
	redis_answer_fn fn = call->fn;
	void *arg = call->arg;
	uint64_t token = call->token;

	call_free(call);
	return fn(arg, token, r);
}

static int
call_send(struct redis_function *f, struct redis_call *call)
{
	struct redis_arg args[REDIS_FUNCTION_ARGS + 4];
	const uint8_t *p = call->data;
	char word[REDIS_FUNCTION_WORD + sizeof(f->version)];
	size_t n = 0, i;

	if (f->script) {
		args[n++] = (struct redis_arg){ .data = "EVALSHA", .len = 7 };
		args[n++] = (struct redis_arg){ .data = f->sha, .len = SHA_LEN };
	} else {
		args[n++] = (struct redis_arg){ .data = "FCALL", .len = 5 };
		args[n++] = (struct redis_arg){ word,
			(size_t)snprintf(word, sizeof(word), "%s_%s_", f->word, f->version),
			call->name, strlen(call->name) };
	}
	args[n++] = (struct redis_arg){ .data = "1", .len = 1 };
	for (i = 0; i < call->n; i++) {
		args[n++] = (struct redis_arg){ .data = p, .len = call->len[i] };
		p += call->len[i];
		if (i == 0 && f->script)
			args[n++] =
			    (struct redis_arg){ .data = call->name, .len = strlen(call->name) };
	}
	return redis_commands_send(f->commands, args, n, on_call, call, 0, 0);
}

static struct redis_call *
call_new(struct redis_function *f, const struct redis_function_request *q, size_t size)
{
	struct redis_call *call = malloc(sizeof(*call) + size);
	uint8_t *p;
	size_t i;

	if (call == NULL)
		return NULL;
	*call = (struct redis_call){
		.f = f, .name = q->name, .fn = q->fn, .arg = q->arg, .token = q->token, .n = q->n
	};
	p = call->data;
	for (i = 0; i < q->n; i++) {
		const struct redis_arg *a = &q->args[i];

		call->len[i] = a->head_len + a->len;
		if (a->head_len > 0)
			p = mempcpy(p, a->head, a->head_len);
		if (a->len > 0)
			p = mempcpy(p, a->data, a->len);
	}
	return call;
}

int
redis_function_call(struct redis_function *f, const struct redis_function_request *q)
{
	struct redis_call *call;
	size_t size = 0, bytes, i;
	int err;

	if (f->state == FUNCTION_OFF || f->state == FUNCTION_NONE)
		return f->state == FUNCTION_OFF ? FAN_EDOWN : FAN_EDENIED;
	for (i = 0; i < q->n; i++)
		size += q->args[i].head_len + q->args[i].len;
	bytes = q->bounded ? size + CALL_OVERHEAD : 0;
	err = redis_commands_take(f->commands, bytes);
	if (err != 0)
		return err;
	call = call_new(f, q, size);
	if (call == NULL) {
		redis_commands_give(f->commands, bytes);
		return FAN_ENOMEM;
	}
	call->bytes = bytes;
	LIST_INSERT_HEAD(&f->calls, call, all);
	if (f->state != FUNCTION_READY)
		STAILQ_INSERT_TAIL(&f->held, call, waiting);
	else
		err = call_send(f, call);
	if (err != 0)
		call_free(call);
	return err;
}

/* --- loading ---------------------------------------------------------------------------------- */

static void
retry_later(struct redis_function *f, uint64_t ms)
{
	const struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	(void)event_add(&f->timer, &tv);
}

/* Sends what has waited; what cannot be sent counts as lost. */
static void
send_waiting(struct redis_function *f, struct redis_calls *list)
{
	struct redis_call *call;

	while ((call = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, waiting);
		if (f->state != FUNCTION_READY || call_send(f, call) != 0)
			(void)call_end(call, NULL);
	}
}

static void
decide(struct redis_function *f, enum redis_function_state state)
{
	f->state = state;
	send_waiting(f, &f->again);
	send_waiting(f, &f->held);
	f->decided(f->arg);
}

/* The text cannot be had: v says why. */
static void
give_up(struct redis_function *f, const struct redis_value *v)
{
	if (redis_error_status(v) == FAN_EDOWN) {
		retry_later(f, RETRY_MS);
		return;
	}
	if (f->needed)
		redis_commands_log(f->commands,
		    "load the functions, so that history and presence cannot be had", v);
	else if (f->state != FUNCTION_NONE)
		log_info("redis: no functions, and no channel here needs them (%.*s)",
		    (int)(v->len < 200 ? v->len : 200), v->data);
	decide(f, FUNCTION_NONE);
}

static int
on_script_loaded(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_function *f = arg;

	(void)token;
	if (r == NULL)
		return 0;
	if (!r->array && r->v[0].type == REDIS_TYPE_ERROR) {
		give_up(f, &r->v[0]);
		return 0;
	}
	if (r->array || r->v[0].type != REDIS_TYPE_STRING || r->v[0].len != SHA_LEN)
		return FAN_EPROTO;
	memcpy(f->sha, r->v[0].data, SHA_LEN);
	f->script = true;
	decide(f, FUNCTION_READY);
	return 0;
}

/* The command with the text, whose first lines are written to head. */
static int
send_text(struct redis_function *f, struct redis_arg *args, size_t n, char head[256], bool script,
    redis_answer_fn fn)
{
	int len = snprintf(head, 256, "%s%s%slocal SCRIPT, VERSION = %s, '%s'\n",
	    script ? "" : "#!lua name=", script ? "" : f->word, script ? "" : "\n",
	    script ? "true" : "false", f->version);

	args[n - 1] =
	    (struct redis_arg){ head, (size_t)len, buf_data(&f->text), buf_len(&f->text) };
	return redis_commands_send(f->commands, args, n, fn, f, 0, 0);
}

static void
load_script(struct redis_function *f)
{
	struct redis_arg args[3] = { { .data = "SCRIPT", .len = 6 }, { .data = "LOAD", .len = 4 } };
	char head[256];

	if (send_text(f, args, 3, head, true, on_script_loaded) != 0)
		retry_later(f, RETRY_MS);
}

/* Whether scripts may be had where functions cannot. */
static bool
not_known(const struct redis_value *v)
{
	return redis_error_is(v, "ERR unknown command") || redis_error_is(v, "NOPERM");
}

static int
on_loaded(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_function *f = arg;

	(void)token;
	if (r == NULL)
		return 0;
	if (r->array)
		return FAN_EPROTO;
	if (r->v[0].type != REDIS_TYPE_ERROR) {
		f->script = false;
		f->loaded = clock_ms();
		decide(f, FUNCTION_READY);
	} else if (not_known(&r->v[0])) {
		load_script(f);
	} else {
		give_up(f, &r->v[0]);
	}
	return 0;
}

static void
load(struct redis_function *f)
{
	struct redis_arg args[4] = { { .data = "FUNCTION", .len = 8 }, { .data = "LOAD", .len = 4 },
		{ .data = "REPLACE", .len = 7 } };
	char head[256];

	if (f->state != FUNCTION_NONE)
		f->state = FUNCTION_LOADING;
	if (send_text(f, args, 4, head, false, on_loaded) != 0)
		retry_later(f, RETRY_MS);
}

/*
 * Another node's functions are there.  Each puts its own in their place, but not all the time: what is
 * called waits until then.
 */
static void
replace(struct redis_function *f)
{
	uint64_t next = f->loaded + REPLACE_MS, now = clock_ms();

	if (f->loaded != 0 && log_gate_open(&f->gate, 1))
		log_warnx(
		    "redis: another node has loaded functions with other channel rules, or of "
		    "another version; loading those of this node again (all nodes with this "
		    "redis.prefix need the same `channels`)");
	if (f->loaded != 0 && next > now)
		retry_later(f, next - now);
	else
		load(f);
}

static int
on_version(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_function *f = arg;
	const struct redis_value *v = r == NULL ? NULL : &r->v[0];

	(void)token;
	if (v == NULL)
		return 0;
	if (r->array)
		return FAN_EPROTO;
	if (v->type == REDIS_TYPE_STRING && v->len == strlen(f->version) &&
	    memcmp(v->data, f->version, v->len) == 0) {
		f->script = false;
		decide(f, FUNCTION_READY);
	} else if (v->type != REDIS_TYPE_ERROR) {
		replace(f);
	} else if (redis_error_is(v, "ERR Function not found")) {
		load(f);
	} else if (not_known(v)) {
		load_script(f);
	} else {
		give_up(f, v);
	}
	return 0;
}

static void
ask(struct redis_function *f)
{
	char word[REDIS_FUNCTION_WORD];
	const struct redis_arg args[3] = { { .data = "FCALL", .len = 5 },
		{ word, (size_t)snprintf(word, sizeof(word), "%s_", f->word), "version", 7 },
		{ .data = "0", .len = 1 } };

	if (redis_commands_send(f->commands, args, 3, on_version, f, 0, 0) != 0)
		retry_later(f, RETRY_MS);
}

static int
on_call(void *arg, uint64_t token, const struct redis_reply *r)
{
	struct redis_call *call = arg;
	struct redis_function *f = call->f;

	(void)token;
	if (r == NULL || r->array || call->repeated || f->state == FUNCTION_NONE ||
	    (!redis_error_is(&r->v[0], "ERR Function not found") &&
		!redis_error_is(&r->v[0], "NOSCRIPT")))
		return call_end(call, r);
	call->repeated = true;
	STAILQ_INSERT_TAIL(&f->again, call, waiting);
	if (f->state == FUNCTION_READY) {
		f->state = FUNCTION_ASKING;
		ask(f);
	}
	return 0;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask(arg);
}

/* --- the link --------------------------------------------------------------------------------- */

int
redis_function_init(struct redis_function *f, struct event_base *base, const struct conf *conf,
    struct redis_commands *commands, void (*decided)(void *arg), void *arg)
{
	memset(f, 0, sizeof(*f));
	f->commands = commands;
	f->decided = decided;
	f->arg = arg;
	LIST_INIT(&f->calls);
	STAILQ_INIT(&f->again);
	STAILQ_INIT(&f->held);
	buf_init(&f->text, TEXT_MAX);
	evtimer_assign(&f->timer, base, on_timer, f);
	make_word(f->word, conf->redis.prefix);
	return make_text(f, conf);
}

void
redis_function_fini(struct redis_function *f)
{
	struct redis_call *call;

	if (f->commands == NULL)
		return;
	(void)event_del(&f->timer);
	/* call_free takes it out of the list, which the analyzer does not see. */
	while ((call = LIST_FIRST(&f->calls)) != NULL)
		call_free(call); /* NOLINT(clang-analyzer-unix.Malloc) */
	buf_fini(&f->text);
}

void
redis_function_connected(struct redis_function *f)
{
	f->state = FUNCTION_ASKING;
	ask(f);
}

void
redis_function_lost(struct redis_function *f)
{
	(void)event_del(&f->timer);
	f->state = FUNCTION_OFF;
	send_waiting(f, &f->again);
	send_waiting(f, &f->held);
}

void
redis_function_tick(struct redis_function *f)
{
	if (f->state == FUNCTION_NONE && f->needed && !evtimer_pending(&f->timer, NULL))
		ask(f);
}

bool
redis_function_decided(const struct redis_function *f)
{
	return f->state == FUNCTION_READY || f->state == FUNCTION_NONE;
}

bool
redis_function_lasting(const struct redis_function *f)
{
	return f->state == FUNCTION_READY && !f->script;
}
