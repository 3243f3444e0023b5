/*
 * dialect: the table of client protocols.  See dialect.h.
 */
#include "worker/dialect/dialect.h"

#include <stddef.h>
#include <string.h>

#include "worker/core/session.h"
#include "worker/dialect/json.h"
#include "worker/dialect/raw.h"

static const struct dialect *const dialects[] = { &dialect_raw, &dialect_json };

const char *const dialect_subprotocols[] = { "fanfare.json", NULL };

const struct dialect *
dialect_find(const char *subprotocol)
{
	size_t i;

	for (i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
		const char *name = dialects[i]->subprotocol;

		if (name == subprotocol ||
		    (name != NULL && subprotocol != NULL && strcmp(name, subprotocol) == 0))
			return dialects[i];
	}
	return &dialect_raw;
}

void
dialects_init(struct core *core)
{
	dialect_json_init(core);
}
