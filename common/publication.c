/*
 * publication: the rule for channel names.  See publication.h.
 */
#include "common/publication.h"

#include <string.h>

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
