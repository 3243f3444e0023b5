/*
 * identity: who a client is.  See identity.h.
 */
#include "worker/core/identity.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "worker/auth/token.h"

bool
globs_match(const struct globs *g, const char *channel)
{
	for (size_t i = 0; i < g->n; i++)
		if (fnmatch(g->item[i], channel, 0) == 0)
			return true;
	return false;
}

static void
globs_fini(struct globs *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->item[i]);
	free(g->item);
	*g = (struct globs){ NULL, 0 };
}

/* Copies a list that NULL ends; the list may be NULL. */
static int
globs_copy(struct globs *g, char **list)
{
	size_t n = 0;

	*g = (struct globs){ NULL, 0 };
	while (list != NULL && list[n] != NULL)
		n++;
	if (n == 0)
		return 0;
	g->item = calloc(n, sizeof(char *));
	if (g->item == NULL)
		return FAN_ENOMEM;
	for (; g->n < n; g->n++) {
		g->item[g->n] = strdup(list[g->n]);
		if (g->item[g->n] == NULL) {
			globs_fini(g);
			return FAN_ENOMEM;
		}
	}
	return 0;
}

static void
grant_free(struct grant *g)
{
	free(g->info);
	free(g);
}

static void
remove_grant(struct identity *i, struct grant *g)
{
	SLIST_REMOVE(&i->grants, g, grant, link);
	i->ngrants--;
	grant_free(g);
}

struct identity *
identity_new(struct session *s)
{
	struct identity *i = calloc(1, sizeof(*i));

	if (i == NULL)
		return NULL;
	i->user = strdup("");
	if (i->user == NULL) {
		free(i);
		return NULL;
	}
	i->session = s;
	deadline_init(&i->deadline, DEADLINE_IDENTITY);
	SLIST_INIT(&i->grants);
	return i;
}

void
identity_free(struct identity *i)
{
	struct grant *g;

	if (i == NULL)
		return;
	deadline_clear(&i->deadline);
	while ((g = SLIST_FIRST(&i->grants)) != NULL)
		remove_grant(i, g);
	globs_fini(&i->subscribe);
	globs_fini(&i->publish);
	free(i->info);
	free(i->user);
	free(i);
}

/* --- the connection ----------------------------------------------------------------------- */

/* Copies of what claims hold. */
struct parts {
	char *user, *info;
	struct globs subscribe, publish;
};

static int
parts_copy(struct parts *p, const struct claims *c)
{
	int err = 0;

	*p = (struct parts){ 0 };
	p->user = strdup(c->user == NULL ? "" : c->user);
	if (c->info != NULL)
		p->info = strdup(c->info);
	if (p->user == NULL || (c->info != NULL && p->info == NULL))
		err = FAN_ENOMEM;
	if (err == 0)
		err = globs_copy(&p->subscribe, c->channels);
	if (err == 0)
		err = globs_copy(&p->publish, c->publish);
	if (err != 0) {
		globs_fini(&p->subscribe);
		free(p->info);
		free(p->user);
	}
	return err;
}

static void
replace_text(char **old, char *by)
{
	free(*old);
	*old = by;
}

static void
replace_globs(struct globs *old, struct globs by)
{
	globs_fini(old);
	*old = by;
}

static bool
of_another(const struct grant *g, const char *user)
{
	return g->user[0] != '\0' && strcmp(g->user, user) != 0;
}

/* Takes user.  Grants that were shown while nobody was known may be another's. */
static void
set_user(struct identity *i, char *user)
{
	struct grant *g, *next;

	replace_text(&i->user, user);
	if (user[0] == '\0')
		return;
	for (g = SLIST_FIRST(&i->grants); g != NULL; g = next) {
		next = SLIST_NEXT(g, link);
		if (of_another(g, user))
			remove_grant(i, g);
	}
}

int
identity_claim(struct identity *i, const struct claims *c)
{
	struct claims rest = *c; /* what is not the application's */
	struct parts p;

	if (i->user[0] != '\0' && strcmp(i->user, c->user) != 0)
		return FAN_EDENIED;
	if (i->named_info)
		rest.info = NULL;
	if (i->named_subscribe)
		rest.channels = NULL;
	if (i->named_publish)
		rest.publish = NULL;
	if (parts_copy(&p, &rest) != 0)
		return FAN_ENOMEM;
	set_user(i, p.user);
	if (!i->named_info)
		replace_text(&i->info, p.info);
	if (!i->named_subscribe)
		replace_globs(&i->subscribe, p.subscribe);
	if (!i->named_publish)
		replace_globs(&i->publish, p.publish);
	i->expires = c->expires;
	if (i->named_end != 0 && i->named_end < i->expires)
		i->expires = i->named_end;
	i->admitted = i->authenticated = true;
	return 0;
}

int
identity_name(struct identity *i, const struct claims *c)
{
	struct parts p;

	if (parts_copy(&p, c) != 0)
		return FAN_ENOMEM;
	i->admitted = true;
	if (p.user[0] != '\0') {
		set_user(i, p.user);
		i->authenticated = true;
	} else {
		free(p.user);
	}
	if (p.info != NULL) {
		replace_text(&i->info, p.info);
		i->named_info = true;
	}
	if (c->channels != NULL) {
		replace_globs(&i->subscribe, p.subscribe);
		i->named_subscribe = true;
	}
	if (c->publish != NULL) {
		replace_globs(&i->publish, p.publish);
		i->named_publish = true;
	}
	if (c->expires != 0)
		i->expires = i->named_end = c->expires;
	return 0;
}

/* --- grants ------------------------------------------------------------------------------- */

static struct grant *
find_grant(const struct identity *i, const char *channel)
{
	struct grant *g;

	SLIST_FOREACH(g, &i->grants, link)
	if (strcmp(g->channel, channel) == 0)
		return g;
	return NULL;
}

int
identity_grant(struct identity *i, const struct claims *c, uint64_t ends)
{
	size_t n = strlen(c->channel) + 1, m = strlen(c->user) + 1;
	struct grant *g, *old = find_grant(i, c->channel);

	/* Where it is not known who the client is, a token is good for whoever has it. */
	if (i->user[0] != '\0' && c->user[0] != '\0' && strcmp(i->user, c->user) != 0)
		return FAN_EDENIED;
	if (old == NULL && i->ngrants >= IDENTITY_GRANTS_MAX)
		return FAN_EFULL;
	g = calloc(1, sizeof(*g) + n + m);
	if (g == NULL)
		return FAN_ENOMEM;
	if (c->info != NULL) {
		g->info = strdup(c->info);
		if (g->info == NULL) {
			free(g);
			return FAN_ENOMEM;
		}
	}
	g->ends = ends;
	memcpy(g->channel, c->channel, n);
	g->user = g->channel + n;
	memcpy(g->user, c->user, m);
	if (old != NULL)
		remove_grant(i, old);
	SLIST_INSERT_HEAD(&i->grants, g, link);
	i->ngrants++;
	return 0;
}

bool
identity_grants_another(const struct identity *i, const char *user)
{
	const struct grant *g;

	SLIST_FOREACH(g, &i->grants, link)
	if (of_another(g, user))
		return true;
	return false;
}

const struct grant *
identity_granted(const struct identity *i, const char *channel, uint64_t now)
{
	const struct grant *g = find_grant(i, channel);

	return g != NULL && g->ends > now ? g : NULL;
}

bool
identity_drop_ended(struct identity *i, uint64_t now)
{
	struct grant *g, *next;
	bool any = false;

	for (g = SLIST_FIRST(&i->grants); g != NULL; g = next) {
		next = SLIST_NEXT(g, link);
		if (g->ends <= now) {
			remove_grant(i, g);
			any = true;
		}
	}
	return any;
}
