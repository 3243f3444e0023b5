/*
 * oom: a library to preload that makes one allocation of a process fail.
 *
 * OOM_ROLE is how the process's title begins, "fanfare: worker 0"; in others this does nothing.
 * OOM_CONTROL is a file that holds a struct control, which the test reads and writes while the
 * process runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct control {
	int64_t countdown; /* n: the nth allocation from here on fails; 0: none does */
	int64_t seen;      /* allocations so far */
	int64_t failed;    /* of these */
};

/* The C library's own, which need no look-up that would allocate. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static struct control *control;

static bool
title_begins_with(const char *role)
{
	char title[64] = "";
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, title, sizeof(title) - 1);

	if (fd >= 0)
		(void)close(fd);
	return n > 0 && strncmp(title, role, strlen(role)) == 0;
}

static void __attribute__((constructor)) begin(void)
{
	const char *role = getenv("OOM_ROLE");
	const char *file = getenv("OOM_CONTROL");
	void *map;
	int fd;

	if (role == NULL || file == NULL || !title_begins_with(role))
		return;
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (map != MAP_FAILED)
		control = map;
}

static bool
fails(void)
{
	if (control == NULL)
		return false;
	__atomic_add_fetch(&control->seen, 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(&control->countdown, __ATOMIC_RELAXED) <= 0 ||
	    __atomic_sub_fetch(&control->countdown, 1, __ATOMIC_RELAXED) != 0)
		return false;
	__atomic_add_fetch(&control->failed, 1, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return true;
}

void *
malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

void *
reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

void *
memalign(size_t align, size_t n)
{
	return fails() ? NULL : __libc_memalign(align, n);
}

void *
aligned_alloc(size_t align, size_t n)
{
	return memalign(align, n);
}

int
posix_memalign(void **out, size_t align, size_t n)
{
	void *p = memalign(align, n);

	if (p == NULL)
		return ENOMEM;
	*out = p;
	return 0;
}
