/*
 * Unit tests of common/boot.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/boot.h"

static char config[] = "workers: 4\nlisten:\n  public: [\"127.0.0.1:8080\"]\n";

static struct boot
sample(void)
{
	struct boot b;
	size_t i;

	memset(&b, 0, sizeof(b));
	b.role = BOOT_WORKER;
	b.slot = 3;
	b.workers = 4;
	b.master = 4242;
	memset(b.cookie, 0xa5, sizeof(b.cookie));
	memset(b.secret, 0x3c, sizeof(b.secret));
	memcpy(b.hub_name, "\0abcde", 6);
	b.hub_name_len = 6;
	b.hub_fd = -1;
	b.ready_fd = 7;
	b.listeners = BOOT_LISTENERS_MAX;
	for (i = 0; i < b.listeners; i++) {
		b.listener[i].fd = (int)i + 4;
		b.listener[i].internal = i % 2;
		b.listener[i].tls = i % 3 == 0;
		b.listener[i].proxy = i % 5 == 0;
		b.listener[i].unix_socket = i % 7 == 0;
	}
	b.config = config;
	b.config_len = strlen(config);
	return b;
}

Test(boot, what_is_written_is_read)
{
	struct boot b = sample(), got;
	int fd = boot_write(&b);

	cr_assert(fd >= 0);
	cr_assert(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	cr_assert(boot_read(fd, &got) == 0);
	cr_assert(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
	cr_assert(got.role == BOOT_WORKER && got.slot == 3 && got.workers == 4);
	cr_assert(got.master == 4242 && got.hub_fd == -1 && got.ready_fd == 7);
	cr_assert(memcmp(got.cookie, b.cookie, sizeof(b.cookie)) == 0);
	cr_assert(memcmp(got.secret, b.secret, sizeof(b.secret)) == 0);
	cr_assert(got.hub_name_len == 6 && memcmp(got.hub_name, b.hub_name, 6) == 0);
	cr_assert(got.listeners == b.listeners);
	cr_assert(memcmp(got.listener, b.listener, sizeof(b.listener)) == 0);
	cr_assert(got.config_len == strlen(config));
	cr_assert_str_eq(got.config, config);
	boot_fini(&got);
	boot_fini(&got);
}

Test(boot, an_empty_configuration)
{
	struct boot b = sample(), got;
	int fd;

	b.role = BOOT_HUB;
	b.listeners = 0;
	b.config_len = 0;
	fd = boot_write(&b);
	cr_assert(fd >= 0 && boot_read(fd, &got) == 0);
	cr_assert(got.role == BOOT_HUB && got.listeners == 0);
	cr_assert_str_eq(got.config, "");
	boot_fini(&got);
}

/* The image of sample() with n bytes at its end cut off, or one byte changed or added. */
static int
read_changed(size_t cut, off_t at, uint8_t value)
{
	struct boot b = sample(), got;
	int fd = boot_write(&b), err;
	off_t size = lseek(fd, 0, SEEK_END);

	cr_assert(fd >= 0 && size > (off_t)cut);
	if (cut > 0)
		cr_assert(ftruncate(fd, size - (off_t)cut) == 0);
	else
		cr_assert(pwrite(fd, &value, 1, at < 0 ? size : at) == 1);
	cr_assert(lseek(fd, 0, SEEK_SET) == 0);
	err = boot_read(fd, &got);
	if (err == 0)
		boot_fini(&got);
	cr_assert(got.config == NULL);
	return err;
}

Test(boot, what_the_master_did_not_write_is_refused)
{
	struct boot b = sample();
	int fd = boot_write(&b);
	off_t size = lseek(fd, 0, SEEK_END);
	size_t cut;

	close(fd);
	for (cut = 1; cut < (size_t)size; cut++)
		cr_assert(read_changed(cut, 0, 0) == FAN_EPROTO, "cut %zu", cut);
	cr_assert(read_changed(0, 0, 0xff) == FAN_EPROTO); /* the magic */
	cr_assert(read_changed(0, 4, 9) == FAN_EPROTO);    /* no such role */
	cr_assert(read_changed(0, -1, 'x') == FAN_EPROTO); /* one byte more */
}

/* Counts and lengths beyond their arrays, wherever they stand in the image. */
Test(boot, no_changed_byte_of_the_image_reaches_beyond_its_arrays)
{
	struct boot b, got;
	off_t at;
	int fd;

	for (at = 0; at < 80; at++) {
		b = sample();
		fd = boot_write(&b);
		cr_assert(fd >= 0 && pwrite(fd, "\xff", 1, at) == 1);
		if (boot_read(fd, &got) != 0)
			continue;
		cr_assert(got.role == BOOT_HUB || got.role == BOOT_WORKER);
		cr_assert(got.listeners <= BOOT_LISTENERS_MAX);
		cr_assert(got.hub_name_len <= BOOT_HUB_NAME_MAX);
		cr_assert(strlen(got.config) == got.config_len);
		boot_fini(&got);
	}
}

Test(boot, nothing_there)
{
	struct boot got;

	cr_assert(boot_read(999, &got) == FAN_ESYS);
	cr_assert(boot_read(memfd_create("empty", 0), &got) == FAN_EPROTO);
}

Test(boot, too_much_to_write)
{
	struct boot b = sample();

	b.listeners = BOOT_LISTENERS_MAX + 1;
	cr_assert(boot_write(&b) == FAN_ESYS && errno == E2BIG);
}

Test(boot, ready_is_said_once)
{
	struct boot b = sample();
	char said[4];
	int fd[2];

	cr_assert(pipe(fd) == 0);
	b.ready_fd = fd[1];
	boot_ready(&b);
	boot_ready(&b);
	/* One byte, and the end, because the pipe was closed. */
	cr_assert(read(fd[0], said, sizeof(said)) == 1);
	cr_assert(read(fd[0], said, sizeof(said)) == 0);
	close(fd[0]);
}
