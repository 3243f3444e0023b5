/*
 * hash: SipHash-1-3 under a random key that is drawn once per process.
 *
 * Process: any.
 * Layer:   common.  Uses nothing.
 */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3 of n bytes under an explicit 128-bit key. */
uint64_t siphash13(const uint8_t key[16], const void *data, size_t n);

/* The same under the process's key. */
uint64_t hash_bytes(const void *data, size_t n);

#endif
