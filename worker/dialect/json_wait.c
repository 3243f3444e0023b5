/*
 * json_wait: the commands of a session of fanfare.json that are not answered yet.  See json_wait.h.
 */
#include "worker/dialect/json_wait.h"

#include <stdlib.h>
#include <string.h>

#include "worker/core/access.h"
#include "worker/core/session.h"

#define UNANSWERED_MAX 1024

void
json_waits_init(struct json_waits *all, struct session *s)
{
	all->session = s;
	all->n = 0;
	TAILQ_INIT(&all->list);
}

void
json_waits_fini(struct json_waits *all)
{
	struct json_waiting *w;

	/* json_wait_free takes w out of the list, which the analyzer does not see. */
	while ((w = TAILQ_FIRST(&all->list)) != NULL)
		json_wait_free(w); /* NOLINT(clang-analyzer-unix.Malloc) */
}

struct json_waiting *
json_wait_new(struct json_waits *all, const struct json_command *c)
{
	struct json_waiting *w;

	if (all->n >= UNANSWERED_MAX)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return NULL;
	w->all = all;
	w->verb = c->verb;
	w->since = c->since;
	w->name_len = c->name_len;
	memcpy(w->name, c->name, c->name_len);
	memcpy(w->id, c->id, sizeof(w->id));
	TAILQ_INSERT_TAIL(&all->list, w, link);
	all->n++;
	return w;
}

void
json_wait_free(struct json_waiting *w)
{
	TAILQ_REMOVE(&w->all->list, w, link);
	w->all->n--;
	access_cancel(w->access);
	uplink_ticket_close(w->all->session->core->uplink, w->ticket);
	free(w->body);
	free(w);
}

bool
json_wait_has(const struct json_waits *all, const struct json_command *c)
{
	const struct json_waiting *w;

	TAILQ_FOREACH(w, &all->list, link)
	{
		if (w->verb == c->verb && w->name_len == c->name_len &&
		    memcmp(w->name, c->name, c->name_len) == 0)
			return true;
	}
	return false;
}

struct json_waiting *
json_wait_find(const struct json_waits *all, const struct sub *sub)
{
	struct json_waiting *w;

	TAILQ_FOREACH(w, &all->list, link)
	{
		if (w->sub == sub)
			return w;
	}
	return NULL;
}
