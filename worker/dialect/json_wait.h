/*
 * json_wait: the commands of a session of fanfare.json that are not answered yet.
 *
 * Owns:    each what it was asked for: a ticket of the hub, a question to the application.
 * Process: workers.
 * Layer:   worker/dialect, below json_run.  Uses json_command, core, uplink.
 */
#ifndef WORKER_DIALECT_JSON_WAIT_H
#define WORKER_DIALECT_JSON_WAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/publication.h"
#include "worker/dialect/json_command.h"

struct access;
struct json_waits;
struct session;
struct sub;

/* A command that waits: for its channel to be live, for the engine, or for the application. */
struct json_waiting {
	TAILQ_ENTRY(json_waiting) link;
	struct json_waits *all;
	enum json_verb verb;
	struct sub *sub;       /* of a subscribe */
	uint32_t ticket;       /* of what the hub was asked for; 0: none */
	struct access *access; /* while the application is asked */
	struct position since; /* of a subscribe */
	uint8_t *body;         /* of a publish that the application is asked about: key, data */
	size_t key_len, data_len;
	size_t name_len;
	char name[CHANNEL_NAME_MAX + 1];
	char id[JSON_ID_MAX + 1];
};

/* Embedded. */
struct json_waits {
	struct session *session;
	TAILQ_HEAD(json_waiting_list, json_waiting) list;
	size_t n;
};

void json_waits_init(struct json_waits *all, struct session *s);
/* Nothing is answered any more. */
void json_waits_fini(struct json_waits *all);

/* For a command whose channel's name was found good.  NULL: no memory, or too many wait. */
struct json_waiting *json_wait_new(struct json_waits *all, const struct json_command *c);
void json_wait_free(struct json_waiting *w);
/* Whether a command with the verb and the channel of c waits. */
bool json_wait_has(const struct json_waits *all, const struct json_command *c);
/* The one that waits for the sub to be live, or NULL. */
struct json_waiting *json_wait_find(const struct json_waits *all, const struct sub *sub);

#endif
