/*
 * ipc_msg: the messages between a worker and the hub, as bytes.
 *
 * Process: hub, workers.
 * Layer:   common.  Uses err, publication, records.
 *
 * Both ends run the same binary on the same machine, so numbers travel in the machine's own byte
 * order.  A message is a head of IPC_HEAD_SIZE bytes, the channel's name, and the payload:
 *
 *     u32 size     of the whole message, this field included
 *     u8  type     enum ipc_type
 *     u8  kind     enum msg_kind, 0 where there is no payload
 *     u16 channel  length of the channel's name
 *     u32 id       names a request; its answer carries the same
 *     i32 status   enum fan_err of an answer
 *     u64 value    see the types
 *
 * What a type does not use must be 0 or empty, and a channel's name must be valid; a decoder
 * refuses anything else.
 */
#ifndef COMMON_IPC_MSG_H
#define COMMON_IPC_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"
#include "common/records.h"

#define IPC_HEAD_SIZE 24
#define IPC_VERSION 2 /* changes whenever the meaning of a message does */
#define IPC_COOKIE_SIZE 16
#define IPC_HEAD_MAX (IPC_HEAD_SIZE + CHANNEL_NAME_MAX)
#define IPC_MSG_MAX (IPC_HEAD_MAX + ((size_t)64 << 20)) /* the largest message of a link */

/*
 * `past` stands for a struct ipc_past as payload (ipc_past_head).  "plain" is a channel whose rule
 * keeps no history.  Channel names may be internal ones (channel_name_internal).  An answer whose
 * status is not 0 has no payload.
 */
enum ipc_type {
	IPC_HELLO = 1,  /* worker: id = slot, value = IPC_VERSION, payload = the cookie */
	IPC_WELCOME,    /* hub: value = 1 if the engine is up, else 0 */
	IPC_SUBSCRIBE,  /* worker: channel, id.  Answered by SUBSCRIBED when it is live.  Not plain:
			  * payload = past without records, the position (maybe none) from which
			  * on messages are wanted, flag VERIFY if what the hub knows is not
			  * enough; it may be asked again while subscribed */
	IPC_SUBSCRIBED, /* hub: channel, status, the id of the SUBSCRIBE that it answers; an older
			  * one that was taken back may be answered too.  0: every message after
			  * this one will arrive.  Not plain: past, its position being that of the last
			  * message sent to this worker or in the records; flag RECOVERED: the records
			  * are all messages from the position that was asked for to this one */
	IPC_UNSUBSCRIBE, /* worker: channel.  Not answered */
	IPC_PUBLISH,     /* worker: channel, kind, payload, id (0: no answer wanted), value =
			  * IPC_PUBLISH_QUIET if only a failure is to be answered under the id, and
			  * IPC_KEY(n): the first n bytes of the payload are an idempotency key */
	IPC_PUBLISHED,   /* hub: id, status; where it has one: past, the message's position */
	IPC_MESSAGE,     /* hub: channel, kind, payload, value = offset (0: it has none) */
	IPC_GAP,         /* hub: messages may be missing on this channel; empty: on every plain one,
			  * and with value = 1 on every channel.  A worker asks again for what is not
			  * plain */
	IPC_ENGINE,      /* hub: value = 1 if the engine is up, else 0 */
	IPC_COUNT,       /* worker: channel, id.  hub to worker: the same question passed on */
	IPC_COUNTED,     /* the answer: channel, id, value = subscribers */
	IPC_HISTORY,   /* worker: channel, id, value = how many at most; past without records: after
			  * which position (none: the newest); flag REVERSE: the newest first, and
			  * those before the position */
	IPC_HISTORIED, /* hub: id, status, past */
	IPC_FORGET,    /* worker: channel, id: drops the history.  Answered by PUBLISHED */
	IPC_JOIN,      /* worker: channel, payload = a packed member (common/member.h) */
	IPC_LEAVE,     /* worker: channel, payload = the member's client */
	IPC_PRESENCE,  /* worker: channel, id */
	IPC_PRESENT,   /* hub: id, status, payload = packed members */
	IPC_EVENT,     /* worker: payload = a JSON object with a string "event" */
};

#define IPC_PUBLISH_QUIET 1U
#define IPC_KEY_MAX 255
#define IPC_KEY(n) ((uint64_t)(n) << 8)
#define IPC_KEY_LEN(value) ((size_t)((value) >> 8 & 0xff))

/* channel and data are lent: by the caller to encode, by the input buffer after decode. */
struct ipc_msg {
	enum ipc_type type;
	enum msg_kind kind;
	uint32_t id;
	int status;
	uint64_t value;
	const char *channel;
	size_t channel_len;
	const uint8_t *data;
	size_t len;
};

/* Size of the message when encoded. */
size_t ipc_msg_size(const struct ipc_msg *m);

/* Writes head and channel, IPC_HEAD_SIZE + channel_len bytes, without the payload. */
void ipc_msg_encode_head(const struct ipc_msg *m, uint8_t *out);

/*
 * A position, and messages up to it (or around it); see the types.  Records are lent.  As bytes: u8
 * flags, u64 offset, u8 length of the epoch, the epoch, the records.
 */
struct ipc_past {
	struct position pos;
	unsigned flags;
	struct records records;
};
#define IPC_PAST_RECOVERED 1U
#define IPC_PAST_VERIFY 2U
#define IPC_PAST_REVERSE 4U
#define IPC_PAST_HEAD_MAX (1 + 8 + 1 + EPOCH_MAX)

/* Writes all but the records, which follow it; returns the size. */
size_t ipc_past_head(const struct ipc_past *past, uint8_t out[IPC_PAST_HEAD_MAX]);
/* FAN_EPROTO: malformed.  The records are not looked at. */
FAN_NODISCARD int ipc_past_decode(const uint8_t *p, size_t n, struct ipc_past *out);

/*
 * Decodes one message at p.  On 0, *used says how many bytes it took.  FAN_EAGAIN: incomplete;
 * *used then says how many bytes the whole message will take, or 0 if that is not known yet.
 * FAN_ETOOBIG: more than max bytes.  FAN_EPROTO: malformed.
 */
FAN_NODISCARD int ipc_msg_decode(
    const uint8_t *p, size_t n, size_t max, struct ipc_msg *out, size_t *used);

#endif
