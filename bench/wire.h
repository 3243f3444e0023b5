/*
 * wire: what the measured messages look like, and the WebSocket frames around them.
 *
 * Owns:    nothing; pure functions.
 * Process: fanfare-bench.
 * Layer:   bench, lowest.  Uses nothing.
 *
 * A payload begins with a stamp of WIRE_STAMP bytes, the rest of it is filler (see body.h for the
 * other kind of payload):
 *
 *     @fb:cccc ssssssss tttttttttttttttt        (without the spaces, digits in hex)
 *
 * channel, sequence number (from 1; 0 is a probe), and the time at which it was due to be sent.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define WIRE_STAMP 32
#define WIRE_MARK "@fb:"
#define WIRE_MARK_LEN 4
#define WIRE_CHANNELS_MAX 65536
#define WIRE_HEAD_MAX 14 /* a client's frame: 2 bytes, 8 of length, 4 of mask */

#define WIRE_FIN 0x80
#define WIRE_DEFLATED 0x40 /* RSV1, RFC 7692 */
#define WIRE_MASKED 0x80

enum wire_opcode {
	WIRE_CONTINUATION = 0,
	WIRE_TEXT = 1,
	WIRE_BINARY = 2,
	WIRE_CLOSE = 8,
	WIRE_PING = 9,
	WIRE_PONG = 10,
};

struct wire_stamp {
	uint32_t channel;
	uint32_t seq;
	uint64_t ns;
};

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t
wire_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Writes WIRE_STAMP bytes. */
void wire_stamp_write(const struct wire_stamp *stamp, uint8_t *out);

/* Reads WIRE_STAMP bytes; false: that is none. */
bool wire_stamp_read(const uint8_t *p, struct wire_stamp *stamp);

/* Writes the head of a frame with n bytes of payload, FIN set; returns its length. */
size_t wire_head(uint8_t *out, enum wire_opcode opcode, size_t n, const uint8_t *mask);

/*
 * Length of a frame's head that begins with the two bytes at p, mask included.
 */
static inline size_t
wire_head_len(const uint8_t *p)
{
	size_t len = p[1] & 0x7f;

	return 2 + (len == 126 ? 2U : len == 127 ? 8U : 0U) + ((p[1] & WIRE_MASKED) != 0 ? 4U : 0U);
}

/* Payload length of a frame of which the whole head is at p. */
static inline uint64_t
wire_payload_len(const uint8_t *p)
{
	uint64_t n = p[1] & 0x7f;
	int i;

	if (n == 126)
		return (uint64_t)p[2] << 8 | p[3];
	if (n == 127) {
		for (n = 0, i = 2; i < 10; i++)
			n = n << 8 | p[i];
	}
	return n;
}

/* to[i] = from[i] ^ mask[i % 4]; the two may be the same or overlap with to before from. */
void wire_mask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t mask[4]);

#endif
