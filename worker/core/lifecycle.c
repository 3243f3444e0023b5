/*
 * lifecycle: tells of the coming and going of clients.  See lifecycle.h.
 */
#include "worker/core/lifecycle.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"
#include "common/member.h"
#include "worker/core/identity.h"
#include "worker/core/session.h"
#include "worker/hook/hook.h"

#define EVENT_MAX 4096

static const char *const words[] = { "connect", "subscribe", "unsubscribe", "publish",
	"disconnect" };

static struct log_gate lost; /* events and notices for which there was no memory */

static const struct identity *
identity_of(const struct session *s)
{
	return s->extra == NULL ? NULL : s->extra->identity;
}

static uint64_t
wall_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- events ------------------------------------------------------------------------------- */

/* {"event":…,"client":…,"user":…, without the end. */
static int
append_who(struct buf *b, enum core_event e, struct session *s)
{
	const struct identity *i = identity_of(s);
	const char *client = session_client(s);
	int err;

	if (client == NULL)
		return FAN_ENOMEM;
	err = buf_printf(b, "{\"event\":\"%s\",\"client\":\"%s\"", words[e], client);
	if (err == 0 && i != NULL && i->user[0] != '\0') {
		err = buf_append(b, ",\"user\":", 8);
		if (err == 0)
			err = json_append_string(b, i->user, strlen(i->user));
	}
	return err;
}

static void
tell_stream(struct session *s, enum core_event e, const char *channel, size_t len)
{
	struct core *core = s->core;
	struct buf b;
	int err;

	if (!core->events[e])
		return;
	buf_init(&b, EVENT_MAX);
	err = append_who(&b, e, s);
	if (err == 0 && len > 0)
		err = buf_printf(&b, ",\"channel\":\"%.*s\"", (int)len, channel);
	if (err == 0)
		err = buf_printf(&b, ",\"time\":%" PRIu64 ",\"worker\":%u}", wall_ms(), core->slot);
	if (err == 0)
		uplink_event(core->uplink, (const char *)buf_data(&b), buf_len(&b));
	else if (log_gate_open(&lost, 1))
		log_errx("event lost event=%s: %s", words[e], fan_strerror(err));
	buf_fini(&b);
}

/* --- presence ----------------------------------------------------------------------------- */

/* Joins again where it is a member already, with what is known of it now. */
static void
join(struct session *s, struct sub *sub)
{
	const struct channel *c = sub->channel;
	const struct identity *i = identity_of(s);
	const struct grant *g = i == NULL ? NULL : identity_granted(i, c->name, clock_ms());
	const char *client = session_client(s);
	const char *info = g != NULL && g->info != NULL ? g->info : i != NULL ? i->info : NULL;
	struct member m = { .client = client };

	if (client == NULL) {
		if (log_gate_open(&lost, 1))
			log_errx("a member is missing: %s", fan_strerror(FAN_ENOMEM));
		return;
	}
	m.client_len = strlen(client);
	m.user = i == NULL ? "" : i->user;
	m.user_len = strlen(m.user);
	m.info = info == NULL ? "" : info;
	m.info_len = strlen(m.info);
	uplink_join(s->core->uplink, c->name, c->len, &m);
	sub->flags |= SUB_PRESENT;
}

static void
leave(struct session *s, struct sub *sub)
{
	const char *client = s->extra->client;

	uplink_leave(
	    s->core->uplink, sub->channel->name, sub->channel->len, client, strlen(client));
	sub->flags &= (uint8_t)~SUB_PRESENT;
}

void
lifecycle_identified(struct session *s, bool another)
{
	struct sub *sub;

	for (sub = s->subs; sub != NULL; sub = sub->next) {
		if (!(sub->flags & SUB_PRESENT))
			continue;
		if (another)
			leave(s, sub);
		join(s, sub);
	}
}

void
lifecycle_announce(struct core *core)
{
	struct channel *c;
	size_t pos = 0;

	if (!core->presence)
		return;
	while ((c = map_next(&core->channels.map, &pos)) != NULL) {
		for (size_t i = 0; i < c->ngroups; i++) {
			struct group *g = &c->groups[i];

			for (uint32_t k = 0; k < g->n; k++) {
				struct sub *sub = group_subs(g)[k];

				if (sub->flags & SUB_PRESENT)
					join(sub->session, sub);
			}
		}
	}
}

/* --- what the session tells --------------------------------------------------------------- */

static void
on_connected(struct session *s)
{
	struct core *core = s->core;

	if (core->events[EVENT_DISCONNECT] || hooks_has(core->hooks, HOOK_DISCONNECT)) {
		struct session_extra *x = session_extra(s);

		if (x != NULL)
			x->began = clock_ms();
	}
	tell_stream(s, EVENT_CONNECT, NULL, 0);
}

static void
tell_hook(struct session *s)
{
	struct core *core = s->core;
	uint64_t began = s->extra == NULL ? 0 : s->extra->began;
	struct buf b;
	int err;

	if (!hooks_has(core->hooks, HOOK_DISCONNECT))
		return;
	buf_init(&b, EVENT_MAX);
	err = append_who(&b, EVENT_DISCONNECT, s);
	if (err == 0 && began != 0)
		err = buf_printf(&b, ",\"seconds\":%" PRIu64, (clock_ms() - began) / 1000);
	if (err == 0)
		err = buf_printf(&b, ",\"time\":%" PRIu64 "}", wall_ms());
	if (err == 0)
		err = hook_send(core->hooks, HOOK_DISCONNECT, (const char *)buf_data(&b),
		    buf_len(&b), NULL, NULL, NULL);
	if (err != 0 && log_gate_open(&lost, 1))
		log_errx("the disconnect hook was not told: %s", fan_strerror(err));
	buf_fini(&b);
}

static void
on_disconnected(struct session *s)
{
	tell_stream(s, EVENT_DISCONNECT, NULL, 0);
	tell_hook(s);
}

static void
on_subscribed(struct sub *sub)
{
	struct session *s = sub->session;
	const struct channel *c = sub->channel;

	if (sub->flags & SUB_INTERNAL)
		return;
	if (s->core->presence && conf_rule_for(s->core->conf, c->name)->presence)
		join(s, sub);
	tell_stream(s, EVENT_SUBSCRIBE, c->name, c->len);
}

static void
on_unsubscribed(struct sub *sub)
{
	struct session *s = sub->session;

	if (sub->flags & SUB_INTERNAL)
		return;
	if (sub->flags & SUB_PRESENT)
		leave(s, sub);
	tell_stream(s, EVENT_UNSUBSCRIBE, sub->channel->name, sub->channel->len);
}

void
lifecycle_published(struct session *s, const char *channel, size_t len)
{
	tell_stream(s, EVENT_PUBLISH, channel, len);
}

static const struct core_watch watch = {
	.connected = on_connected,
	.disconnected = on_disconnected,
	.subscribed = on_subscribed,
	.unsubscribed = on_unsubscribed,
};

void
lifecycle_init(struct core *core)
{
	const struct conf *c = core->conf;

	_Static_assert(
	    sizeof(core->events) / sizeof(core->events[0]) == sizeof(words) / sizeof(words[0]),
	    "one flag for each event");
	for (size_t e = 0; c->events.stream[0] != '\0' && e < sizeof(words) / sizeof(words[0]); e++)
		for (size_t i = 0; i < c->events.include.n; i++)
			if (strcmp(c->events.include.item[i], words[e]) == 0)
				core->events[e] = true;
	for (size_t i = 0; i < c->channels.n; i++)
		core->presence = core->presence || c->channels.item[i].presence;
	core->watch = &watch;
}
