/*
 * memory: how much of the machine's memory this process may have.  See memory.h.
 */
#include "common/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096

static uint64_t
physical(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

/* The number in a file; the word "max", and a file that is not there, are none. */
static uint64_t
read_limit(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t n = UINT64_MAX;
	char text[32], *end;

	if (f == NULL)
		return n;
	if (fgets(text, sizeof(text), f) != NULL) {
		n = strtoull(text, &end, 10);
		if (end == text)
			n = UINT64_MAX;
	}
	(void)fclose(f);
	return n;
}

/*
 * The least limit of a group and those above it.  In a container whose groups are mounted apart only
 * the uppermost may be there.
 */
static uint64_t
group_limit(const char *root, const char *mount, char *group, const char *file)
{
	uint64_t least = UINT64_MAX;
	char path[PATH_SIZE];

	for (;;) {
		char *slash = strrchr(group, '/');
		int n = snprintf(path, sizeof(path), "%s%s%s/%s", root, mount, group, file);

		if (n > 0 && (size_t)n < sizeof(path)) {
			uint64_t limit = read_limit(path);

			least = limit < least ? limit : least;
		}
		if (slash == NULL)
			return least;
		*slash = '\0';
	}
}

/* Whether a list, "cpu,memory", names the controller of memory. */
static int
has_memory(const char *list, size_t n)
{
	static const char word[] = "memory";

	while (n > 0) {
		size_t one = strcspn(list, ",:");

		if (one == sizeof(word) - 1 && memcmp(list, word, one) == 0)
			return 1;
		one += one < n;
		list += one;
		n -= one;
	}
	return 0;
}

uint64_t
memory_limit(const char *root)
{
	uint64_t least = physical(), limit;
	char path[PATH_SIZE], *line = NULL;
	size_t size = 0;
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int)sizeof(path) ||
	    (f = fopen(path, "re")) == NULL)
		return least;
	/* ID:CONTROLLERS:GROUP; those of version 2 have no controllers. */
	while (getline(&line, &size, f) > 0) {
		char *list = strchr(line, ':'), *group;

		if (list == NULL || (group = strchr(list + 1, ':')) == NULL)
			continue;
		list++;
		group[1 + strcspn(group + 1, "\n")] = '\0';
		if (list == group)
			limit = group_limit(root, "/sys/fs/cgroup", group + 1, "memory.max");
		else if (has_memory(list, (size_t)(group - list)))
			limit = group_limit(
			    root, "/sys/fs/cgroup/memory", group + 1, "memory.limit_in_bytes");
		else
			continue;
		least = limit < least ? limit : least;
	}
	free(line);
	(void)fclose(f);
	return least;
}
