/*
 * fuzz_proxy: the PROXY protocol's header (worker/net/proxy_protocol).
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, worker/net.
 *
 * Input: what a connection begins with.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "worker/net/proxy_protocol.h"

#define V2_HEAD 16

/* From a copy without a byte behind it, and into memory that holds something else. */
static int
parse(const uint8_t *p, size_t n, struct proxy_header *out, size_t *used)
{
	uint8_t *copy = fuzz_copy(p, n);
	int err;

	memset(out, 0xa5, sizeof(*out));
	err = proxy_header_parse(copy, n, out, used);
	free(copy);
	FUZZ_CHECK(err == 0 || err == FAN_EAGAIN || err == FAN_EPROTO);
	return err;
}

/* The address alone, whatever lies behind it in a sockaddr_storage. */
static bool
same_client(const struct proxy_header *a, const struct proxy_header *b)
{
	struct sockaddr_in6 a6, b6;
	struct sockaddr_in a4, b4;

	if (a->client.ss_family != b->client.ss_family)
		return false;
	memcpy(&a4, &a->client, sizeof(a4));
	memcpy(&b4, &b->client, sizeof(b4));
	memcpy(&a6, &a->client, sizeof(a6));
	memcpy(&b6, &b->client, sizeof(b6));
	switch (a->client.ss_family) {
	case AF_INET:
		return a4.sin_port == b4.sin_port && a4.sin_addr.s_addr == b4.sin_addr.s_addr;
	case AF_INET6:
		return a6.sin6_port == b6.sin6_port &&
		    memcmp(&a6.sin6_addr, &b6.sin6_addr, sizeof(a6.sin6_addr)) == 0;
	default:
		return a->client.ss_family == AF_UNSPEC;
	}
}

/* A header of version 2 that names this client; returns its length. */
static size_t
write_v2(const struct proxy_header *h, uint8_t out[V2_HEAD + 36])
{
	static const uint8_t signature[12] = { '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I',
		'T', '\n' };
	struct sockaddr_in6 in6;
	struct sockaddr_in in4;

	memcpy(&in4, &h->client, sizeof(in4));
	memcpy(&in6, &h->client, sizeof(in6));
	memset(out, 0, V2_HEAD + 36);
	memcpy(out, signature, sizeof(signature));
	out[12] = 0x21; /* version 2, PROXY */
	if (h->client.ss_family == AF_INET) {
		out[13] = 0x11; /* TCP over IPv4 */
		out[15] = 12;
		memcpy(out + 16, &in4.sin_addr, 4);
		memcpy(out + 24, &in4.sin_port, 2);
		return V2_HEAD + 12;
	}
	out[13] = 0x21; /* TCP over IPv6 */
	out[15] = 36;
	memcpy(out + 16, &in6.sin6_addr, 16);
	memcpy(out + 48, &in6.sin6_port, 2);
	return V2_HEAD + 36;
}

static void
check_header(const uint8_t *p, const struct proxy_header *h, size_t used)
{
	uint8_t again[V2_HEAD + 36];
	struct proxy_header other;
	size_t n, k;

	FUZZ_CHECK(used > 0 && used <= PROXY_HEADER_MAX);
	FUZZ_CHECK(parse(p, used, &other, &n) == 0 && n == used && same_client(h, &other));
	if (h->client.ss_family == AF_UNSPEC)
		return;
	n = write_v2(h, again);
	FUZZ_CHECK(parse(again, n, &other, &k) == 0 && k == n && same_client(h, &other));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header h, part;
	size_t used = 0, k, n;
	bool refused = false;
	int err = parse(data, size, &h, &used), got;

	if (err == 0) {
		FUZZ_CHECK(used <= size);
		check_header(data, &h, used);
	}
	FUZZ_CHECK(err != FAN_EAGAIN || size < PROXY_HEADER_MAX);
	/* Each shorter piece needs more, until the byte that decides. */
	n = err == 0 ? used : size < PROXY_HEADER_MAX + 1 ? size : PROXY_HEADER_MAX + 1;
	for (k = 0; k < n; k++) {
		got = parse(data, k, &part, &used);
		FUZZ_CHECK(got == FAN_EAGAIN || (got == FAN_EPROTO && err == FAN_EPROTO));
		FUZZ_CHECK(!refused || got == FAN_EPROTO);
		refused = got == FAN_EPROTO;
	}
	return 0;
}
