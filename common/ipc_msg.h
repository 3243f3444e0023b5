/*
 * ipc_msg: the messages between a worker and the hub, as bytes.
 *
 * Process: hub, workers.
 * Layer:   common.  Uses err, publication.
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

#define IPC_HEAD_SIZE 24
#define IPC_VERSION 1 /* changes whenever the meaning of a message does */
#define IPC_COOKIE_SIZE 16
#define IPC_HEAD_MAX (IPC_HEAD_SIZE + CHANNEL_NAME_MAX)
#define IPC_MSG_MAX (IPC_HEAD_MAX + ((size_t)64 << 20)) /* the largest message of a link */

enum ipc_type {
	IPC_HELLO = 1,   /* worker: id = slot, value = IPC_VERSION, payload = the cookie */
	IPC_WELCOME,     /* hub: value = 1 if the engine is up, else 0 */
	IPC_SUBSCRIBE,   /* worker: channel, id.  Answered by SUBSCRIBED when it is live */
	IPC_SUBSCRIBED,  /* hub: channel, status, the id of the SUBSCRIBE that it answers; an older
			  * one that was taken back may be answered too.  0: every message after
			  * this one will arrive */
	IPC_UNSUBSCRIBE, /* worker: channel.  Not answered */
	IPC_PUBLISH,     /* worker: channel, kind, payload, id (0: no answer wanted), value = 1 if
			  * only a failure is to be answered under the id, else 0 */
	IPC_PUBLISHED,   /* hub: id, status */
	IPC_MESSAGE,     /* hub: channel, kind, payload, value = offset (0 on plain channels) */
	IPC_GAP,         /* hub: messages may be missing on this channel; empty: on every one */
	IPC_ENGINE,      /* hub: value = 1 if the engine is up, else 0 */
	IPC_COUNT,       /* worker: channel, id.  hub to worker: the same question passed on */
	IPC_COUNTED,     /* the answer: channel, id, value = subscribers */
};

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
 * Decodes one message at p.  On 0, *used says how many bytes it took.  FAN_EAGAIN: incomplete;
 * *used then says how many bytes the whole message will take, or 0 if that is not known yet.
 * FAN_ETOOBIG: more than max bytes.  FAN_EPROTO: malformed.
 */
FAN_NODISCARD int ipc_msg_decode(
    const uint8_t *p, size_t n, size_t max, struct ipc_msg *out, size_t *used);

#endif
