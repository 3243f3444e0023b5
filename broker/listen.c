/*
 * listen: the sockets that the master opens for its children.  See listen.h.
 */
#include "broker/listen.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"

#define HUB_BACKLOG 4096

/* What whoever starts Fanfare can do about it. */
static const char *
advice(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "; another program listens there: stop it (\"ss -ltnp\" names it), or "
		       "choose "
		       "another port";
	case EADDRNOTAVAIL:
		return "; this machine has no such address (\"ip address\" lists them)";
	case EACCES:
		return "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case EMFILE:
		return "; raise the limit of open files (\"ulimit -n\") or lower workers";
	default:
		return "";
	}
}

/* Both say what went wrong; name: the entry, and where it stands. */
static int
open_unix(struct listener *it, unsigned slots, int backlog, const char *name)
{
	const char *why;
	int fd = unix_socket_open(&it->spec, backlog, &it->file, &why);
	unsigned slot;

	if (fd < 0) {
		log_errx("cannot listen on %s: %s%s%s", name, why, errno != 0 ? ": " : "",
		    errno != 0 ? strerror(errno) : "");
		return fd;
	}
	for (slot = 0; slot < slots; slot++)
		it->fd[slot] = fd;
	return 0;
}

static int
open_tcp(struct listener *it, unsigned slots, int backlog, const char *name)
{
	int err = sock_listen(&it->spec.addr, backlog, it->fd, slots);

	if (err != 0)
		log_errx("cannot listen on %s: %s%s", name, strerror(errno), advice(errno));
	return err;
}

static int
open_one(struct listeners *l, const char *text, bool internal, int backlog)
{
	const char *key = internal ? "listen.internal" : "listen.public";
	struct listener *it = &l->item[l->n];
	char addr[SOCK_ADDR_TEXT], name[LISTEN_SPEC_MAX + 32];
	const char *why;
	int err;

	if (l->n == BOOT_LISTENERS_MAX) {
		log_errx("more than %d addresses to listen on", BOOT_LISTENERS_MAX);
		return FAN_EFULL;
	}
	if (listen_spec_parse(text, &it->spec, &why) != 0) {
		log_errx("%s: %s: %s", key, text, why);
		return FAN_EINVAL;
	}
	it->internal = internal;
	it->fd = calloc(l->slots, sizeof(*it->fd));
	if (it->fd == NULL)
		return FAN_ENOMEM;
	(void)snprintf(name, sizeof(name), "%s (%s)", text, key);
	if (listen_spec_is_unix(&it->spec))
		err = open_unix(it, l->slots, backlog, name);
	else
		err = open_tcp(it, l->slots, backlog, name);
	if (err != 0) {
		free(it->fd);
		return err;
	}
	l->n++;
	log_info("listening %s=%s%s%s", internal ? "internal" : "public",
	    sock_addr_text((const struct sockaddr *)&it->spec.addr.ss, addr),
	    it->spec.tls ? " tls" : "", it->spec.proxy ? " proxy" : "");
	return 0;
}

static int
open_list(struct listeners *l, const struct conf_list *list, bool internal, int backlog)
{
	size_t i;
	int err = 0;

	for (i = 0; i < list->n && err == 0; i++)
		err = open_one(l, list->item[i], internal, backlog);
	return err;
}

int
listeners_open(struct listeners *l, const struct conf *c, unsigned slots)
{
	int backlog = (int)c->listen.backlog;
	int err;

	memset(l, 0, sizeof(*l));
	l->slots = slots;
	err = open_list(l, &c->listen.public_addrs, false, backlog);
	if (err == 0)
		err = open_list(l, &c->listen.internal, true, backlog);
	if (err != 0)
		listeners_close(l);
	return err;
}

void
listeners_close(struct listeners *l)
{
	unsigned slot;
	size_t i;

	for (i = 0; i < l->n; i++) {
		const struct listener *it = &l->item[i];
		bool shared = listen_spec_is_unix(&it->spec);

		for (slot = 0; slot < (shared ? 1 : l->slots); slot++)
			close(it->fd[slot]);
		if (shared)
			unix_socket_remove(&it->spec, &it->file);
		free(it->fd);
	}
	l->n = 0;
}

struct boot_listener
listener_boot(const struct listener *it, int fd)
{
	return (struct boot_listener){
		.fd = fd,
		.internal = it->internal,
		.tls = it->spec.tls,
		.proxy = it->spec.proxy,
		.unix_socket = listen_spec_is_unix(&it->spec),
	};
}

int
listen_hub(uint8_t name[BOOT_HUB_NAME_MAX], size_t *name_len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(un);
	int fd, saved;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return FAN_ESYS;
	/* The family alone: unix(7), "Autobind feature". */
	if (bind(fd, (const struct sockaddr *)&un, sizeof(un.sun_family)) != 0 ||
	    getsockname(fd, (struct sockaddr *)&un, &len) != 0 || listen(fd, HUB_BACKLOG) != 0)
		goto fail;
	*name_len = len - offsetof(struct sockaddr_un, sun_path);
	if (*name_len > BOOT_HUB_NAME_MAX) {
		errno = ENAMETOOLONG;
		goto fail;
	}
	memcpy(name, un.sun_path, *name_len);
	return fd;
fail:
	saved = errno;
	close(fd);
	errno = saved;
	return FAN_ESYS;
}
