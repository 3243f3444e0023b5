/*
 * json_encode: what a client of fanfare.json hears: publications and answers.
 *
 * Process: workers.
 * Layer:   worker/dialect, below json_run.  Uses core, ws/deflate, common/json, common/records.
 */
#ifndef WORKER_DIALECT_JSON_ENCODE_H
#define WORKER_DIALECT_JSON_ENCODE_H

#include <stddef.h>

#include "common/err.h"
#include "common/publication.h"

struct block;
struct buf;
struct core;
struct publication;
struct record;
struct session;
struct variant;

/* A variant's encode: one text frame for a publication. */
FAN_NODISCARD int json_encode_publication(
    const struct variant *v, struct core *core, struct block **b, const struct publication *p);

/*
 * Appends a message of the past: {"offset":N,"data":...}, with "encoding":"base64" where it is
 * binary.  Errors as buf_append; something may have been appended then.
 */
FAN_NODISCARD int json_encode_record(struct buf *b, const struct record *r);

/* Appends ,"offset":N,"epoch":"E"; nothing for no position (or NULL).  Errors as buf_append. */
FAN_NODISCARD int json_encode_position(struct buf *b, const struct position *pos);

/*
 * Answers.  id: JSON text to be repeated, or "".  Where there is no memory for an answer the
 * connection is closed.
 */
/* {"VERB":"NAME","id":ID} */
void json_answer(struct session *s, const char *verb, const char *name, const char *id);
/* The same with a position, or without where pos is NULL or none. */
void json_answer_at(struct session *s, const char *verb, const char *name,
    const struct position *pos, const char *id);
/* {"error":{"code":CODE,"message":MESSAGE},"id":ID}; message is UTF-8. */
void json_answer_error(struct session *s, int code, const char *message, const char *id);
/* The same for an error of enum fan_err. */
void json_answer_status(struct session *s, int status, const char *id);
/* Ends an object that was begun in b, err as that went, with "id":ID, sends it, and frees b. */
void json_answer_end(struct session *s, struct buf *b, int err, const char *id);

#endif
