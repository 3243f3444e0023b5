/*
 * opener: the connections of a run: opens them, spreads them over the threads, subscribes.  See
 * opener.h.
 */
#include "bench/opener.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/dial.h"
#include "bench/flow.h"
#include "bench/loop.h"
#include "bench/reply.h"
#include "bench/settings.h"
#include "bench/text.h"
#include "bench/tls.h"

#define CONCURRENCY 64 /* few enough for any backlog */

void
opener_init(struct opener *o, struct control *c, size_t n)
{
	const struct settings *s = c->settings;

	o->control = c;
	o->n = n;
	o->roles = text_calloc(n, sizeof(*o->roles));
	o->conns = text_calloc(n, sizeof(*o->conns));
	address_parse(s->dialect.url, "80", &o->broker);
	if (s->tls)
		o->tls = tls_context(s);
	if (s->publish != PUBLISH_WS && s->dialect.publish_url != NULL)
		address_parse(s->dialect.publish_url, s->publish == PUBLISH_HTTP ? "80" : "6379",
		    &o->publish);
}

void
opener_channel(const struct control *c, unsigned i, char out[OPENER_CHANNEL_MAX])
{
	const struct settings *s = c->settings;
	bool many = s->mode == MODE_PAIRS || (s->mode == MODE_IDLE && s->own_channels);

	if (many)
		(void)snprintf(out, OPENER_CHANNEL_MAX, "%s-%u", s->channel, i);
	else
		(void)snprintf(out, OPENER_CHANNEL_MAX, "%s", s->channel);
}

static size_t
request(void *arg, uint64_t i, char out[DIAL_REQUEST_MAX])
{
	struct opener *o = arg;
	const struct role *role = &o->roles[o->first + i];
	const struct settings *s = o->control->settings;
	const char *path = s->dialect.path;
	char channel[OPENER_CHANNEL_MAX];
	struct text target;
	size_t n;

	if (role->kind != CONN_WS)
		return 0;
	if (role->part == NULL && role->flow != NULL && s->dialect.publish_path != NULL)
		path = s->dialect.publish_path;
	opener_channel(o->control, role->channel, channel);
	target = text_expand(path, channel, 0);
	n = dial_handshake(s, o->broker.host, (const char *)target.p, out);
	free(target.p);
	return n;
}

static void
say(struct conn *c, struct loop *l, const char *template, const char *channel)
{
	struct text message;

	if (template == NULL)
		return;
	message = text_expand(template, channel, 0);
	conn_send_message(l, c, message.p, message.n);
	free(message.p);
}

static void
on_open(void *arg, uint64_t i, int fd, struct ssl_st *tls, const uint8_t *p, size_t n)
{
	struct opener *o = arg;
	const struct role *role = &o->roles[o->first + i];
	const struct settings *s = o->control->settings;
	struct conn *c = &o->conns[o->first + i];
	char channel[OPENER_CHANNEL_MAX];

	c->fd = fd;
	c->tls = tls;
	c->deflate = s->deflate && role->kind == CONN_WS;
	c->kind = (uint8_t)role->kind;
	c->marked = s->dialect.marked;
	c->part = role->part;
	c->flow = role->flow;
	if (role->flow != NULL)
		role->flow->conn = c;
	if (role->kind == CONN_REPLY) {
		c->reply = text_calloc(1, sizeof(*c->reply));
		c->reply->redis = s->publish == PUBLISH_REDIS;
	}
	loop_add_conn(role->loop, c);
	conn_feed(role->loop, c, p, n);
	/* The socket says nothing of what TLS has taken from it. */
	if (tls != NULL && tls_pending(tls))
		conn_read(role->loop, c);
	if (role->kind == CONN_REPLY)
		return;
	opener_channel(o->control, role->channel, channel);
	say(c, role->loop, s->dialect.hello, channel);
	if (role->flow == NULL || role->part != NULL)
		say(c, role->loop, s->dialect.subscribe, channel);
}

void
opener_open(struct opener *o, size_t first, size_t n)
{
	const struct settings *s = o->control->settings;
	struct dial d = {
		.to = &o->broker,
		.first = first,
		.count = n,
		.concurrency = CONCURRENCY,
		.timeout = s->timeout,
		.tls = o->tls,
		.needs = s->deflate ? "permessage-deflate" : NULL,
		.request = request,
		.on_open = on_open,
		.arg = o,
	};

	if (n == 0)
		return;
	if (o->roles[first].kind == CONN_REPLY) {
		d.to = &o->publish;
		d.tls = NULL;
		d.needs = NULL;
	}
	o->first = first;
	(void)dial_all(&d);
}

void
opener_fini(struct opener *o)
{
	size_t i;

	for (i = 0; i < o->n; i++) {
		tls_free(o->conns[i].tls);
		if (o->conns[i].fd > 0)
			(void)close(o->conns[i].fd);
		free(o->conns[i].reply);
		packed_in_fini(&o->conns[i].packed);
	}
	tls_context_free(o->tls);
	free(o->roles);
	free(o->conns);
}
