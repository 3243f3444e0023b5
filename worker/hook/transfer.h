/*
 * transfer: one POST after another over libcurl, on libevent.
 *
 * Owns:    libcurl's multi handle with its connections; a transfer its handle and its answer.
 * Process: workers.
 * Layer:   worker/hook, below hook.  Uses common; libcurl, libevent.
 *
 * libcurl says which sockets and which timer it wants watched, and is told what happened.  It
 * resolves names in threads of its own and is never waited for.
 */
#ifndef WORKER_HOOK_TRANSFER_H
#define WORKER_HOOK_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/err.h"

#define TRANSFER_ANSWER_MAX 65536 /* bytes of an answer's body; of its head, too */

struct event_base;
struct transfers;

struct transfer {
	struct transfers *all;
	void *easy;        /* libcurl's; NULL: it is not under way */
	struct buf answer; /* the body */
	size_t head;       /* bytes of the answer's head */
	bool whole;        /* the head, which libcurl takes for one if it is cut */
	bool too_long;
};

/* How a transfer ended. */
struct transfer_end {
	int status;      /* of HTTP; or FAN_EDOWN, FAN_ETIMEOUT */
	bool unheard;    /* there was no connection */
	const char *why; /* a phrase, where there is no status */
};

struct transfer_options {
	long connections; /* at once */
	long timeout;     /* ms, of one */
	const char *key;  /* shown as Authorization: Bearer; "": none */
	/* From the loop, for each one that was started and not stopped; t may be started again. */
	void (*ended)(struct transfer *t, const struct transfer_end *end);
	/* After each round of these. */
	void (*settled)(void *arg);
	void *arg;
};

/* FAN_ENOMEM: *out is NULL. */
FAN_NODISCARD int transfers_new(
    struct transfers **out, struct event_base *base, const struct transfer_options *o);
/* Every transfer must have ended or been stopped. */
void transfers_free(struct transfers *ts);

void transfer_init(struct transfers *ts, struct transfer *t);
/* url and the n bytes at json are borrowed until its end.  FAN_ENOMEM. */
FAN_NODISCARD int transfer_start(struct transfer *t, const char *url, const char *json, size_t n);
/* Stops it, if it is under way, and frees what it has. */
void transfer_fini(struct transfer *t);

/* Whether it is a URL of http or https. */
bool transfer_url_valid(const char *url);

#endif
