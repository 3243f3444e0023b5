/*
 * publication: what is the same for a published message everywhere: its kind and its channel's
 * name.
 *
 * Process: any.
 * Layer:   common.  Uses nothing.
 */
#ifndef COMMON_PUBLICATION_H
#define COMMON_PUBLICATION_H

#include <stdbool.h>
#include <stddef.h>

/* The kind is part of the publication; RFC 6455 §5.6 gives the terms. */
enum msg_kind {
	MSG_TEXT = 0,
	MSG_BINARY = 1,
};

#define CHANNEL_NAME_MAX 255

/*
 * Whether the n bytes are a channel's name: 1 to max of A-Z a-z 0-9 _ : . # / - = @ , ;
 * max is at most CHANNEL_NAME_MAX.
 */
bool channel_name_valid(const char *name, size_t n, size_t max);

#endif
