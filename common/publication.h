/*
 * publication: what is the same for a published message everywhere: its kind, its channel's name and
 * its position.
 *
 * Process: any.
 * Layer:   common.  Uses nothing.
 */
#ifndef COMMON_PUBLICATION_H
#define COMMON_PUBLICATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* The kind is part of the publication; RFC 6455 §5.6 gives the terms of the first two. */
enum msg_kind {
	MSG_TEXT = 0,
	MSG_BINARY = 1,
	MSG_JOIN = 2,  /* of a channel with join_leave: a member, as JSON */
	MSG_LEAVE = 3, /* the same */
};
#define MSG_KINDS 4

#define CHANNEL_NAME_MAX 255

/*
 * Where a channel with history stands: its messages are numbered 1, 2, 3... inside an epoch, which
 * names a generation in which nothing was lost.  Positions of different epochs cannot be compared.
 */
#define EPOCH_MAX 32
struct position {
	uint64_t offset;           /* of the last message; 0: there was none yet */
	char epoch[EPOCH_MAX + 1]; /* 1 to EPOCH_MAX of A-Z a-z 0-9; "": there is no position */
};

/*
 * Sets the position.  FAN_EINVAL: the bytes are no epoch (0 bytes are "no position", whatever the
 * offset); *p is as before then, as after any error here.
 */
FAN_NODISCARD int position_set(
    struct position *p, uint64_t offset, const char *epoch, size_t epoch_len);
/* Reads "EPOCH:OFFSET".  FAN_EINVAL: it is something else. */
FAN_NODISCARD int position_parse(struct position *p, const char *text, size_t n);
/* Writes "EPOCH:OFFSET" and a NUL, and returns the length without it. */
#define POSITION_TEXT_MAX (EPOCH_MAX + 1 + 20 + 1)
size_t position_print(const struct position *p, char out[POSITION_TEXT_MAX]);
/* Whether both are positions, and of one epoch. */
bool position_same_epoch(const struct position *a, const struct position *b);

/*
 * Whether the n bytes are a channel's name: 1 to max of A-Z a-z 0-9 _ : . # / - = @ , ;
 * max is at most CHANNEL_NAME_MAX.
 */
bool channel_name_valid(const char *name, size_t n, size_t max);

/*
 * Whether they are a name of Fanfare's own, which no client can use: CHANNEL_INTERNAL, then as above.
 * CHANNEL_USER and the base64url (RFC 4648 §5, no padding) of a user's id is what all connections of
 * that user are subscribed to; see worker/core/user.h for its messages.
 */
#define CHANNEL_INTERNAL '!'
#define CHANNEL_USER "!user:"
#define USER_ID_MAX 180 /* bytes of a user's id */
bool channel_name_internal(const char *name, size_t n);
/* Writes the name of the user's channel, NUL-terminated; returns its length, 0: no user's id. */
size_t channel_name_of_user(char out[CHANNEL_NAME_MAX + 1], const char *user, size_t n);

#endif
