/*
 * json_run: carries out the commands of fanfare.json and answers them.
 *
 * Process: workers.
 * Layer:   worker/dialect, below json.  Uses json_command, json_encode, json_wait, core, uplink.
 *
 * Commands are carried out in order; the answer to one that has to wait for the hub may come after
 * those of later ones, which is what `id` is for.  While the application is asked about one, the
 * session's input waits.
 */
#ifndef WORKER_DIALECT_JSON_RUN_H
#define WORKER_DIALECT_JSON_RUN_H

#include "common/err.h"

struct json_command;
struct json_waits;
struct sub;
struct sub_live;

/* Carries out a command, and answers it now or later. */
void json_run(struct json_waits *all, const struct json_command *c);

/* The session's on_live. */
void json_run_live(
    struct json_waits *all, struct sub *sub, int status, const struct sub_live *live);
/* A sub ends without the client's doing.  FAN_ENOENT: no command waited for it. */
FAN_NODISCARD int json_run_ended(struct json_waits *all, const struct sub *sub, const char *reason);

#endif
