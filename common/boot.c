/*
 * boot: what the master hands to a child of its own.  See boot.h.
 *
 * Both ends are the same binary, so the memfd holds a struct as it lies in memory, and the
 * configuration behind it.
 */
#include "common/boot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BOOT_MAGIC 0x46414e32 /* changes with struct image */
#define BOOT_CONFIG_MAX ((size_t)16 * 1024 * 1024)

struct image {
	uint32_t magic;
	uint32_t role, slot, workers;
	int32_t master, hub_fd, ready_fd;
	uint32_t hub_name_len, listeners, config_len;
	uint8_t cookie[IPC_COOKIE_SIZE];
	uint8_t secret[BOOT_SECRET_SIZE];
	uint8_t hub_name[BOOT_HUB_NAME_MAX];
	struct boot_listener listener[BOOT_LISTENERS_MAX];
};

static int
write_all(int fd, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return FAN_ESYS;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* FAN_EPROTO: the file ends before n bytes. */
static int
read_all(int fd, void *data, size_t n)
{
	uint8_t *p = data;

	while (n > 0) {
		ssize_t r = read(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return FAN_ESYS;
		if (r == 0)
			return FAN_EPROTO;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

int
boot_write(const struct boot *b)
{
	struct image img;
	int fd, saved;

	if (b->listeners > BOOT_LISTENERS_MAX || b->hub_name_len > BOOT_HUB_NAME_MAX ||
	    b->config_len > BOOT_CONFIG_MAX) {
		errno = E2BIG;
		return FAN_ESYS;
	}
	memset(&img, 0, sizeof(img));
	img.magic = BOOT_MAGIC;
	img.role = b->role;
	img.slot = b->slot;
	img.workers = b->workers;
	img.master = b->master;
	img.hub_fd = b->hub_fd;
	img.ready_fd = b->ready_fd;
	img.hub_name_len = (uint32_t)b->hub_name_len;
	img.listeners = (uint32_t)b->listeners;
	img.config_len = (uint32_t)b->config_len;
	memcpy(img.cookie, b->cookie, sizeof(img.cookie));
	memcpy(img.secret, b->secret, sizeof(img.secret));
	memcpy(img.hub_name, b->hub_name, b->hub_name_len);
	memcpy(img.listener, b->listener, b->listeners * sizeof(b->listener[0]));

	fd = memfd_create("fanfare-boot", MFD_CLOEXEC);
	if (fd < 0)
		return FAN_ESYS;
	if (write_all(fd, &img, sizeof(img)) != 0 || write_all(fd, b->config, b->config_len) != 0 ||
	    lseek(fd, 0, SEEK_SET) != 0) {
		saved = errno;
		close(fd);
		errno = saved;
		return FAN_ESYS;
	}
	return fd;
}

static bool
image_valid(const struct image *img)
{
	return img->magic == BOOT_MAGIC && (img->role == BOOT_HUB || img->role == BOOT_WORKER) &&
	    img->hub_name_len <= BOOT_HUB_NAME_MAX && img->listeners <= BOOT_LISTENERS_MAX &&
	    img->config_len <= BOOT_CONFIG_MAX;
}

/* Reads what stands behind the image: the configuration, and nothing else. */
static int
read_config(int fd, struct boot *b)
{
	uint8_t beyond;
	int err;

	b->config = malloc(b->config_len + 1);
	if (b->config == NULL)
		return FAN_ENOMEM;
	b->config[b->config_len] = '\0';
	err = read_all(fd, b->config, b->config_len);
	if (err != 0)
		return err;
	err = read_all(fd, &beyond, sizeof(beyond));
	if (err == FAN_EPROTO)
		return 0;
	return err == 0 ? FAN_EPROTO : err;
}

int
boot_read(int fd, struct boot *b)
{
	struct image img;
	int err;

	memset(b, 0, sizeof(*b));
	err = read_all(fd, &img, sizeof(img));
	if (err == 0 && !image_valid(&img))
		err = FAN_EPROTO;
	if (err == 0) {
		b->role = (enum boot_role)img.role;
		b->slot = img.slot;
		b->workers = img.workers;
		b->master = img.master;
		b->hub_fd = img.hub_fd;
		b->ready_fd = img.ready_fd;
		b->hub_name_len = img.hub_name_len;
		b->listeners = img.listeners;
		b->config_len = img.config_len;
		memcpy(b->cookie, img.cookie, sizeof(b->cookie));
		memcpy(b->secret, img.secret, sizeof(b->secret));
		memcpy(b->hub_name, img.hub_name, sizeof(b->hub_name));
		memcpy(b->listener, img.listener, sizeof(b->listener));
		err = read_config(fd, b);
	}
	close(fd);
	if (err != 0)
		boot_fini(b);
	return err;
}

void
boot_ready(struct boot *b)
{
	/* Whoever cannot say so is not counted as ready; there is nobody else to tell. */
	if (b->ready_fd >= 0 && write_all(b->ready_fd, "r", 1) == 0)
		close(b->ready_fd);
	b->ready_fd = -1;
}

void
boot_fini(struct boot *b)
{
	free(b->config);
	b->config = NULL;
	b->config_len = 0;
}
