/*
 * boot: what the master hands to a child of its own: its role, its sockets, its configuration.
 *
 * Process: master writes, hub and workers read.
 * Layer:   common.  Uses err, ipc_msg.
 *
 * The master fills a memfd and lets the child inherit it as fd BOOT_FD, together with the fds that
 * it names.  The configuration travels as the effective YAML text, so that a child which is
 * replaced next year starts with what its siblings run on, whatever became of the file.
 */
#ifndef COMMON_BOOT_H
#define COMMON_BOOT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/ipc_msg.h"

#define BOOT_FD 3
#define BOOT_HUB_NAME_MAX 32
#define BOOT_LISTENERS_MAX 64
#define BOOT_SECRET_SIZE 32

enum boot_role {
	BOOT_HUB = 1,
	BOOT_WORKER = 2,
};

/* All but fd are 0 or 1. */
struct boot_listener {
	int fd;          /* as the child sees it */
	int internal;    /* of listen.internal; else of listen.public */
	int tls;         /* TLS is spoken, after the PROXY header where there is one */
	int proxy;       /* each connection begins with a PROXY header */
	int unix_socket; /* one socket that all workers share */
};

struct boot {
	enum boot_role role;
	unsigned slot;    /* of a worker, from 0 */
	unsigned workers; /* how many there are */
	pid_t master;
	uint8_t cookie[IPC_COOKIE_SIZE];     /* proves a worker to the hub */
	uint8_t secret[BOOT_SECRET_SIZE];    /* of this master's life; for TLS tickets */
	uint8_t hub_name[BOOT_HUB_NAME_MAX]; /* abstract AF_UNIX name: sun_path's bytes */
	size_t hub_name_len;                 /* including the leading NUL */
	int hub_fd;                          /* hub: its listening socket; worker: -1 */
	int ready_fd;                        /* see boot_ready; -1: none */
	size_t listeners;
	struct boot_listener listener[BOOT_LISTENERS_MAX]; /* worker only */
	char *config; /* effective YAML, NUL-terminated; owned */
	size_t config_len;
};

/* Returns a new memfd (close-on-exec) that holds b, read position at the start, or FAN_ESYS. */
FAN_NODISCARD int boot_write(const struct boot *b);
/* Reads and closes fd.  FAN_EPROTO: not written by boot_write.  The caller frees with boot_fini. */
FAN_NODISCARD int boot_read(int fd, struct boot *b);
/* Tells the master, once, that this child serves.  Later calls do nothing. */
void boot_ready(struct boot *b);
void boot_fini(struct boot *b);

#endif
