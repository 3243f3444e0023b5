/*
 * addr_set: sets of IP addresses as blocks.  See addr_set.h.
 */
#include "common/addr_set.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (INET6_ADDRSTRLEN + 4) /* with "/128" */

/* An address as bytes: 4 of IPv4, 16 of IPv6; an IPv4 address that is mapped into IPv6 has 4. */
struct bytes {
	uint8_t at[16];
	unsigned n;
};

struct addr_block {
	struct bytes addr;
	unsigned bits;
};

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* Returns how many bits went with the mapping's prefix. */
static unsigned
unmap(struct bytes *b)
{
	if (b->n != 16 || memcmp(b->at, mapped, sizeof(mapped)) != 0)
		return 0;
	memmove(b->at, b->at + sizeof(mapped), 4);
	b->n = 4;
	return 8 * sizeof(mapped);
}

/* "8", no sign, no leading zero, at most max. */
static int
parse_bits(const char *s, unsigned max, unsigned *out)
{
	unsigned v = 0;
	const char *p;

	for (p = s; *p >= '0' && *p <= '9' && p - s < 3; p++)
		v = v * 10 + (unsigned)(*p - '0');
	if (p == s || *p != '\0' || v > max || (s[0] == '0' && p - s > 1))
		return FAN_EINVAL;
	*out = v;
	return 0;
}

/* Whether the bits behind the first `bits` are all clear. */
static bool
is_clear_behind(const struct bytes *b, unsigned bits)
{
	unsigned i;

	for (i = bits; i < 8 * b->n; i++) {
		if ((b->at[i / 8] >> (7 - i % 8) & 1) != 0)
			return false;
	}
	return true;
}

static int
parse_block(const char *text, struct addr_block *out, const char **why)
{
	char copy[TEXT_MAX], *slash;
	unsigned gone;

	*why = "write an address, ADDRESS/BITS, or unix";
	memset(out, 0, sizeof(*out));
	if (strlen(text) >= sizeof(copy))
		return FAN_EINVAL;
	memcpy(copy, text, strlen(text) + 1);
	slash = strchr(copy, '/');
	if (slash != NULL)
		*slash++ = '\0';
	if (inet_pton(AF_INET, copy, out->addr.at) == 1)
		out->addr.n = 4;
	else if (inet_pton(AF_INET6, copy, out->addr.at) == 1)
		out->addr.n = 16;
	else
		return FAN_EINVAL;
	out->bits = 8 * out->addr.n;
	if (slash == NULL) {
		(void)unmap(&out->addr);
		out->bits = 8 * out->addr.n;
		return 0;
	}
	*why = "the bits behind the slash are 0 to 32 for IPv4, 0 to 128 for IPv6";
	if (parse_bits(slash, out->bits, &out->bits) != 0)
		return FAN_EINVAL;
	*why = "the address has bits set behind its prefix; write 10.0.0.0/8, not 10.1.2.3/8";
	if (!is_clear_behind(&out->addr, out->bits))
		return FAN_EINVAL;
	/* A prefix that ends within the mapping's own has no bit of it set, so that it is none. */
	gone = unmap(&out->addr);
	out->bits -= gone;
	return 0;
}

int
addr_set_add(struct addr_set *s, const char *text, const char **why)
{
	struct addr_block one, *more;

	if (strcmp(text, "unix") == 0) {
		s->unix_peers = true;
		return 0;
	}
	if (parse_block(text, &one, why) != 0)
		return FAN_EINVAL;
	more = realloc(s->block, (s->n + 1) * sizeof(*more));
	if (more == NULL)
		return FAN_ENOMEM;
	s->block = more;
	s->block[s->n++] = one;
	return 0;
}

void
addr_set_fini(struct addr_set *s)
{
	free(s->block);
	memset(s, 0, sizeof(*s));
}

static bool
block_has(const struct addr_block *b, const struct bytes *a)
{
	unsigned whole = b->bits / 8, rest = b->bits % 8;

	if (a->n != b->addr.n || memcmp(a->at, b->addr.at, whole) != 0)
		return false;
	return rest == 0 || ((a->at[whole] ^ b->addr.at[whole]) >> (8 - rest)) == 0;
}

bool
addr_set_has(const struct addr_set *s, const struct sockaddr *sa)
{
	struct bytes a = { .n = 0 };
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;
	size_t i;

	if (sa->sa_family == AF_UNIX)
		return s->unix_peers;
	if (sa->sa_family == AF_INET) {
		memcpy(&sin, sa, sizeof(sin));
		memcpy(a.at, &sin.sin_addr, 4);
		a.n = 4;
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&sin6, sa, sizeof(sin6));
		memcpy(a.at, &sin6.sin6_addr, 16);
		a.n = 16;
		(void)unmap(&a);
	}
	for (i = 0; i < s->n; i++) {
		if (a.n > 0 && block_has(&s->block[i], &a))
			return true;
	}
	return false;
}
