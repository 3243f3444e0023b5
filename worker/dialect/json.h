/*
 * json: the subprotocol fanfare.json.  Only the table of dialects includes this.
 *
 * Layer:   worker/dialect.
 */
#ifndef WORKER_DIALECT_JSON_H
#define WORKER_DIALECT_JSON_H

struct core;
struct dialect;

extern const struct dialect dialect_json;

/* Registers the deadline that ends a pause of the rate of commands. */
void dialect_json_init(struct core *core);

#endif
