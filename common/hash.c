/*
 * hash: SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", with one compression
 * and three finalisation rounds).  See hash.h.
 */
#include "common/hash.h"

#include <endian.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = ROTL(v[1], 13) ^ v[0];
	v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] = ROTL(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = ROTL(v[1], 17) ^ v[2];
	v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] = ROTL(v[2], 32);
}

static uint64_t
load64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, 8);
	return le64toh(x);
}

uint64_t
siphash13(const uint8_t key[16], const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t k0 = load64(key), k1 = load64(key + 8);
	uint64_t v[4] = { k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL,
		k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL };
	uint64_t m = (uint64_t)n << 56;
	size_t i;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t word = load64(p);

		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (i = 0; i < n; i++)
		m |= (uint64_t)p[i] << (8 * i);
	v[3] ^= m;
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t
hash_bytes(const void *data, size_t n)
{
	static uint8_t key[16];
	static int ready;

	if (!ready) {
		/* Early boot without entropy: the clock is better than a constant. */
		if (getrandom(key, sizeof(key), GRND_NONBLOCK) != (ssize_t)sizeof(key)) {
			uint64_t now = clock_us();

			memcpy(key, &now, sizeof(now));
		}
		ready = 1;
	}
	return siphash13(key, data, n);
}
