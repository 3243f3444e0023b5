/*
 * records: messages of a channel's history as one run of bytes, as it travels from the engine to
 * the hub and on to a worker.
 *
 * Process: hub, workers.
 * Layer:   common.  Uses buf, err, publication.
 *
 * Each record: u64 offset, u32 len, u8 kind, then len bytes; in the machine's own byte order, without
 * alignment.  Offsets rise from record to record (or fall throughout, in what was asked for in
 * reverse).
 */
#ifndef COMMON_RECORDS_H
#define COMMON_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/publication.h"

struct buf;

#define RECORD_HEAD 13

/* data is lent. */
struct record {
	uint64_t offset;
	enum msg_kind kind;
	const uint8_t *data;
	size_t len;
};

/* A run of records; lent. */
struct records {
	const uint8_t *p;
	size_t n;
};

/* Errors as buf_append; nothing was appended then. */
FAN_NODISCARD int records_append(struct buf *b, const struct record *r);

/* Takes the first record off.  FAN_ENOENT: there is none.  FAN_EPROTO: malformed. */
FAN_NODISCARD int records_next(struct records *rs, struct record *out);

/*
 * Checks the whole run: every record is well formed and offsets rise by exactly 1 from `first` on.
 * FAN_EPROTO: they do not.
 */
FAN_NODISCARD int records_check(struct records rs, uint64_t first);

/* Of records that were found good: those from the first with an offset greater than this on. */
struct records records_after(struct records rs, uint64_t offset);

#endif
