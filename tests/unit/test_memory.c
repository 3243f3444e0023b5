/*
 * Unit tests of memory: the limits of control groups, in folders of the test's own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"

static char root[64];

static void
setup(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/test_memory.XXXXXX");
	cr_assert_not_null(mkdtemp(root));
}

static void
teardown(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -r %s", root);
	cr_assert_eq(system(command), 0);
}

TestSuite(memory, .timeout = 60, .init = setup, .fini = teardown);

/* Writes a file below root, with the folders that lead to it. */
static void
put(const char *path, const char *text)
{
	char full[512];
	char *slash;
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	for (slash = strchr(full + strlen(root) + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		cr_assert(mkdir(full, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	f = fopen(full, "w");
	cr_assert_not_null(f);
	cr_assert_geq(fputs(text, f), 0);
	cr_assert_eq(fclose(f), 0);
}

static uint64_t
machine(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

Test(memory, without_groups_it_is_the_machines)
{
	cr_assert_eq(memory_limit(root), machine());
	cr_assert_leq(memory_limit(""), machine());
	cr_assert_gt(memory_limit(""), 0);
}

Test(memory, version_2)
{
	put("/proc/self/cgroup", "0::/system.slice/fanfare.service\n");
	cr_assert_eq(memory_limit(root), machine());
	put("/sys/fs/cgroup/system.slice/fanfare.service/memory.max", "max\n");
	cr_assert_eq(memory_limit(root), machine());
	put("/sys/fs/cgroup/system.slice/fanfare.service/memory.max", "2097152\n");
	cr_assert_eq(memory_limit(root), 2097152);
}

Test(memory, a_group_above_may_allow_less)
{
	put("/proc/self/cgroup", "0::/a/b\n");
	put("/sys/fs/cgroup/a/b/memory.max", "4000000\n");
	put("/sys/fs/cgroup/a/memory.max", "3000000\n");
	cr_assert_eq(memory_limit(root), 3000000);
	put("/sys/fs/cgroup/a/memory.max", "5000000\n");
	cr_assert_eq(memory_limit(root), 4000000);
}

/* The group as the machine names it, where only the container's own is mounted. */
Test(memory, in_a_container)
{
	put("/proc/self/cgroup", "0::/docker/0123456789\n");
	put("/sys/fs/cgroup/memory.max", "1000000\n");
	cr_assert_eq(memory_limit(root), 1000000);
	put("/proc/self/cgroup", "0::/\n");
	cr_assert_eq(memory_limit(root), 1000000);
}

Test(memory, version_1)
{
	put("/proc/self/cgroup",
	    "9:name=systemd:/x\n5:memoryless:/y\n4:cpu,memory,pids:/a/b\n1:cpuset:/\n0::/\n");
	put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "7000000\n");
	put("/sys/fs/cgroup/memory/y/memory.limit_in_bytes", "1\n");
	cr_assert_eq(memory_limit(root), 7000000);
	/* What version 1 writes for no limit. */
	put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
	cr_assert_eq(memory_limit(root), machine());
}

Test(memory, lines_that_are_none)
{
	put("/proc/self/cgroup", "\nnonsense\n0:\n::\n0::/a");
	put("/sys/fs/cgroup/a/memory.max", "99");
	cr_assert_eq(memory_limit(root), 99);
	put("/sys/fs/cgroup/a/memory.max", "");
	cr_assert_eq(memory_limit(root), machine());
}
