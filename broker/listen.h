/*
 * listen: the sockets that the master opens for its children.
 *
 * Owns:    one listening socket for each address and worker slot; of a unix socket one for all
 *          slots, and its file.
 * Process: master.
 * Layer:   broker.  Uses unix_socket, listen_spec, sock, conf, boot, err, log.
 *
 * The master keeps every socket open as long as it serves: connections that wait in the queue of
 * a worker that died are served by its replacement.
 */
#ifndef BROKER_LISTEN_H
#define BROKER_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/unix_socket.h"
#include "common/boot.h"
#include "common/err.h"
#include "common/listen_spec.h"

struct conf;

struct listener {
	struct listen_spec spec; /* with the port that the kernel chose */
	struct unix_socket file; /* of a unix socket */
	bool internal;
	int *fd; /* one for each slot; of a unix socket all the same */
};

struct listeners {
	unsigned slots;
	size_t n;
	struct listener item[BOOT_LISTENERS_MAX];
};

/*
 * Opens what listen.public and listen.internal ask for, and logs each address.  What went wrong
 * was logged with what to do; nothing stays open then.
 */
FAN_NODISCARD int listeners_open(struct listeners *l, const struct conf *c, unsigned slots);
/* Closes them, and removes the files. */
void listeners_close(struct listeners *l);

/* What a worker is told of a listener; fd: as the worker sees it. */
struct boot_listener listener_boot(const struct listener *it, int fd);

/*
 * Opens the socket on which the hub awaits workers, and writes its name, which the kernel chose
 * (abstract: no file).  Returns the fd, or FAN_ESYS.
 */
FAN_NODISCARD int listen_hub(uint8_t name[BOOT_HUB_NAME_MAX], size_t *name_len);

#endif
