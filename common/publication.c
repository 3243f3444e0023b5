/*
 * publication: positions, and the rule for channel names.  See publication.h.
 */
#include "common/publication.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
epoch_valid(const char *epoch, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		char lower = (char)(epoch[i] | 0x20);

		if (!is_digit(epoch[i]) && (lower < 'a' || lower > 'z'))
			return false;
	}
	return n <= EPOCH_MAX;
}

int
position_set(struct position *p, uint64_t offset, const char *epoch, size_t epoch_len)
{
	if (!epoch_valid(epoch, epoch_len))
		return FAN_EINVAL;
	memset(p, 0, sizeof(*p));
	if (epoch_len == 0)
		return 0;
	p->offset = offset;
	memcpy(p->epoch, epoch, epoch_len);
	return 0;
}

int
position_parse(struct position *p, const char *text, size_t n)
{
	const char *colon = n == 0 ? NULL : memchr(text, ':', n);
	const char *digit;
	uint64_t offset = 0;

	if (colon == NULL || colon == text || colon + 1 == text + n)
		return FAN_EINVAL;
	for (digit = colon + 1; digit < text + n; digit++) {
		unsigned value = (unsigned)(*digit - '0');

		if (!is_digit(*digit) || offset > (UINT64_MAX - value) / 10)
			return FAN_EINVAL;
		offset = offset * 10 + value;
	}
	return position_set(p, offset, text, (size_t)(colon - text));
}

size_t
position_print(const struct position *p, char out[POSITION_TEXT_MAX])
{
	return (size_t)snprintf(
	    out, POSITION_TEXT_MAX, "%.*s:%" PRIu64, EPOCH_MAX, p->epoch, p->offset);
}

bool
position_same_epoch(const struct position *a, const struct position *b)
{
	return a->epoch[0] != '\0' && strcmp(a->epoch, b->epoch) == 0;
}

bool
channel_name_valid(const char *name, size_t n, size_t max)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_:.#/-=@,;";
	size_t i;

	if (n == 0 || n > max || n > CHANNEL_NAME_MAX)
		return false;
	for (i = 0; i < n; i++) {
		if (memchr(allowed, name[i], sizeof(allowed) - 1) == NULL)
			return false;
	}
	return true;
}

bool
channel_name_internal(const char *name, size_t n)
{
	return n > 1 && name[0] == CHANNEL_INTERNAL &&
	    channel_name_valid(name + 1, n - 1, CHANNEL_NAME_MAX - 1);
}

_Static_assert(sizeof(CHANNEL_USER) - 1 + (size_t)(USER_ID_MAX + 2) / 3 * 4 <= CHANNEL_NAME_MAX,
    "every user has a channel");

size_t
channel_name_of_user(char out[CHANNEL_NAME_MAX + 1], const char *user, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789-_";
	size_t len = sizeof(CHANNEL_USER) - 1, i;
	unsigned bits = 0, have = 0;

	if (n == 0 || n > USER_ID_MAX)
		return 0;
	memcpy(out, CHANNEL_USER, len);
	for (i = 0; i < n; i++) {
		bits = (bits << 8 | (unsigned char)user[i]) & 0xffff;
		for (have += 8; have >= 6; have -= 6)
			out[len++] = digits[bits >> (have - 6) & 63];
	}
	if (have > 0)
		out[len++] = digits[bits << (6 - have) & 63];
	out[len] = '\0';
	return len;
}
