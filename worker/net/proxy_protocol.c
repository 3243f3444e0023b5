/*
 * proxy_protocol: the header by which a proxy names the client.  See proxy_protocol.h.
 */
#include "worker/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

/* --- version 1: a line of text ------------------------------------------------------------ */

#define V1_MAX 107 /* with its CRLF */
#define V1_FIELD 45

/* The part of the input that has not been looked at. */
struct cursor {
	const uint8_t *p;
	size_t n;
};

/* 0: text stands next, and was taken. */
static int
take_text(struct cursor *c, const char *text)
{
	size_t len = strlen(text);
	size_t n = c->n < len ? c->n : len;

	if (memcmp(c->p, text, n) != 0)
		return FAN_EPROTO;
	if (n < len)
		return FAN_EAGAIN;
	c->p += len;
	c->n -= len;
	return 0;
}

/* Takes a field of at most max of these characters, and the byte `end` behind it. */
static int
take_field(struct cursor *c, const char *of, size_t max, char end, char out[V1_FIELD + 1])
{
	size_t i = 0;

	while (i < c->n && i < max && c->p[i] != '\0' && strchr(of, c->p[i]) != NULL)
		i++;
	if (i == c->n)
		return FAN_EAGAIN;
	if (i == 0 || c->p[i] != (uint8_t)end)
		return FAN_EPROTO;
	memcpy(out, c->p, i);
	out[i] = '\0';
	c->p += i + 1;
	c->n -= i + 1;
	return 0;
}

static int
take_address(struct cursor *c, int family, void *out)
{
	char text[V1_FIELD + 1];
	int err = family == AF_INET
	    ? take_field(c, "0123456789.", 15, ' ', text)
	    : take_field(c, "0123456789abcdefABCDEF:.", V1_FIELD, ' ', text);

	if (err == 0 && inet_pton(family, text, out) != 1)
		err = FAN_EPROTO;
	return err;
}

static int
take_port(struct cursor *c, char end, in_port_t *out)
{
	char text[V1_FIELD + 1];
	uint32_t v = 0;
	int err = take_field(c, "0123456789", 5, end, text);
	const char *s;

	if (err != 0)
		return err;
	if (text[0] == '0' && text[1] != '\0')
		return FAN_EPROTO;
	for (s = text; *s != '\0'; s++)
		v = v * 10 + (uint32_t)(*s - '0');
	if (v > UINT16_MAX)
		return FAN_EPROTO;
	*out = htons((uint16_t)v);
	return 0;
}

/* Everything behind UNKNOWN is to be ignored up to the CRLF. */
static int
take_unknown(struct cursor *c)
{
	const uint8_t *cr;

	if (c->n > 0 && c->p[0] != ' ' && c->p[0] != '\r')
		return FAN_EPROTO;
	cr = c->n < 2 ? NULL : memmem(c->p, c->n, "\r\n", 2);
	if (cr == NULL)
		return FAN_EAGAIN;
	c->n -= (size_t)(cr + 2 - c->p);
	c->p = cr + 2;
	return 0;
}

static int
take_addresses(struct cursor *c, int family, struct sockaddr_storage *client)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	struct in6_addr dst; /* holds one of IPv4 too */
	in_port_t src_port, dst_port;
	int err = family == AF_INET ? take_address(c, family, &sin.sin_addr)
				    : take_address(c, family, &sin6.sin6_addr);

	if (err == 0)
		err = take_address(c, family, &dst);
	if (err == 0)
		err = take_port(c, ' ', &src_port);
	if (err == 0)
		err = take_port(c, '\r', &dst_port);
	if (err == 0)
		err = take_text(c, "\n");
	if (err != 0)
		return err;
	sin.sin_port = sin6.sin6_port = src_port;
	if (family == AF_INET)
		memcpy(client, &sin, sizeof(sin));
	else
		memcpy(client, &sin6, sizeof(sin6));
	return 0;
}

static int
parse_v1(const uint8_t *p, size_t n, struct proxy_header *out, size_t *used)
{
	struct cursor c = { p, n < V1_MAX ? n : V1_MAX };
	int err = take_text(&c, "PROXY ");

	if (err == 0 && c.n == 0)
		err = FAN_EAGAIN;
	if (err == 0 && c.p[0] == 'U') {
		err = take_text(&c, "UNKNOWN");
		if (err == 0)
			err = take_unknown(&c);
	} else if (err == 0) {
		err = take_text(&c, "TCP");
		if (err == 0 && c.n == 0)
			err = FAN_EAGAIN;
		if (err == 0) {
			bool v6 = c.p[0] == '6';

			err = take_text(&c, v6 ? "6 " : "4 ");
			if (err == 0)
				err = take_addresses(&c, v6 ? AF_INET6 : AF_INET, &out->client);
		}
	}
	if (err == FAN_EAGAIN && n >= V1_MAX)
		err = FAN_EPROTO;
	*used = (size_t)(c.p - p);
	return err;
}

/* --- version 2: binary -------------------------------------------------------------------- */

#define V2_HEAD 16
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define V2_CRC32C 0x03
#define CRC_SIZE 4

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static size_t
be16(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

/* The bytes of the address block; -1: this family and protocol cannot be. */
static int
addresses_size(uint8_t family)
{
	switch (family) {
	case 0x00: /* unspecified */
		return 0;
	case V2_TCP4:
	case 0x12: /* UDP over IPv4 */
		return 12;
	case V2_TCP6:
	case 0x22:
		return 36;
	case 0x31: /* unix sockets, stream and datagram */
	case 0x32:
		return 216;
	default:
		return -1;
	}
}

/* CRC-32C (RFC 3720 §B.4); the four bytes at `hole` count as zero. */
static uint32_t
crc32c(const uint8_t *p, size_t n, size_t hole)
{
	uint32_t crc = UINT32_MAX;
	size_t i;
	int bit;

	for (i = 0; i < n; i++) {
		crc ^= i >= hole && i < hole + CRC_SIZE ? 0U : p[i];
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0U);
	}
	return ~crc;
}

/* Walks the TLVs of a header of n bytes from off on; a checksum among them must be right. */
static int
check_tlvs(const uint8_t *p, size_t n, size_t off)
{
	while (off < n) {
		size_t len, value = off + 3;

		if (n - off < 3)
			return FAN_EPROTO;
		len = be16(p + off + 1);
		if (n - value < len)
			return FAN_EPROTO;
		if (p[off] == V2_CRC32C) {
			const uint8_t *v = p + value;

			if (len != CRC_SIZE ||
			    crc32c(p, n, value) !=
				((uint32_t)be16(v) << 16 | (uint32_t)be16(v + 2)))
				return FAN_EPROTO;
		}
		off = value + len;
	}
	return 0;
}

/* The header is whole: n bytes, with an address block of `size`. */
static int
read_v2(const uint8_t *p, size_t n, size_t size, struct sockaddr_storage *client)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	const uint8_t *addr = p + V2_HEAD;

	if (p[13] == V2_TCP4) {
		memcpy(&sin.sin_addr, addr, 4);
		memcpy(&sin.sin_port, addr + 8, 2);
		memcpy(client, &sin, sizeof(sin));
	} else if (p[13] == V2_TCP6) {
		memcpy(&sin6.sin6_addr, addr, 16);
		memcpy(&sin6.sin6_port, addr + 32, 2);
		memcpy(client, &sin6, sizeof(sin6));
	}
	return check_tlvs(p, n, V2_HEAD + size);
}

static int
parse_v2(const uint8_t *p, size_t n, struct proxy_header *out, size_t *used)
{
	bool local = n > 12 && p[12] == 0x20;
	int size = n > 13 ? addresses_size(p[13]) : 0;
	size_t total;

	if (memcmp(p, signature, n < sizeof(signature) ? n : sizeof(signature)) != 0)
		return FAN_EPROTO;
	if (n > 12 && !local && p[12] != 0x21)
		return FAN_EPROTO;
	/* Of LOCAL nothing but the length counts. */
	if (size < 0 && !local)
		return FAN_EPROTO;
	if (n < V2_HEAD)
		return FAN_EAGAIN;
	total = V2_HEAD + be16(p + 14);
	if (total > PROXY_HEADER_MAX || (!local && total < V2_HEAD + (size_t)size))
		return FAN_EPROTO;
	if (n < total)
		return FAN_EAGAIN;
	*used = total;
	return local ? 0 : read_v2(p, total, (size_t)size, &out->client);
}

int
proxy_header_parse(const uint8_t *p, size_t n, struct proxy_header *out, size_t *used)
{
	memset(out, 0, sizeof(*out)); /* AF_UNSPEC */
	*used = 0;
	if (n == 0)
		return FAN_EAGAIN;
	return p[0] == signature[0] ? parse_v2(p, n, out, used) : parse_v1(p, n, out, used);
}
