/*
 * unix_socket: listening on a unix socket that has a file.  See unix_socket.h.
 */
#include "broker/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/listen_spec.h"

#define LOCK_TRIES 100
#define LOCK_PAUSE_NS (10L * 1000 * 1000)
#define NO_ID UINT32_MAX /* as chown(2) has it: leave it as it is */

static const char *
path_of(const struct listen_spec *l)
{
	return (const char *)&l->addr.ss + offsetof(struct sockaddr_un, sun_path);
}

/* --- owners ------------------------------------------------------------------------------- */

static bool
is_number(const char *s)
{
	return *s != '\0' && strspn(s, "0123456789") == strlen(s) && strlen(s) < 10;
}

/* FAN_ESYS: there is no such user or group. */
static int
find_owner(const struct listen_spec *l, uid_t *uid, gid_t *gid, const char **why)
{
	const struct passwd *pw = l->user[0] != '\0' ? getpwnam(l->user) : NULL;
	const struct group *gr = l->group[0] != '\0' ? getgrnam(l->group) : NULL;

	*uid = NO_ID;
	*gid = NO_ID;
	errno = 0;
	*why = "owner: there is no such user";
	if (pw != NULL)
		*uid = pw->pw_uid;
	else if (is_number(l->user))
		*uid = (uid_t)strtoul(l->user, NULL, 10);
	else if (l->user[0] != '\0')
		return FAN_ESYS;
	*why = "owner: there is no such group";
	if (gr != NULL)
		*gid = gr->gr_gid;
	else if (is_number(l->group))
		*gid = (gid_t)strtoul(l->group, NULL, 10);
	else if (l->group[0] != '\0')
		return FAN_ESYS;
	return 0;
}

/* --- the file ----------------------------------------------------------------------------- */

/* Returns an fd of the folder with the lock on it, or FAN_ESYS. */
static int
lock_folder(const char *path, const char **why)
{
	const struct timespec pause = { 0, LOCK_PAUSE_NS };
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');
	size_t n = slash == path ? 1 : (size_t)(slash - path);
	int fd, tries, saved;

	*why = "its folder cannot be opened";
	memcpy(folder, path, n);
	folder[n] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return FAN_ESYS;
	for (tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES) {
			saved = errno;
			close(fd);
			errno = saved;
			*why = "its folder is locked by another program";
			return FAN_ESYS;
		}
		(void)nanosleep(&pause, NULL);
	}
	return fd;
}

/* Whether somebody listens: 0 if not, and FAN_ESYS with EADDRINUSE or what connecting said. */
static int
probe(const struct listen_spec *l)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = FAN_ESYS, saved;

	if (fd < 0)
		return FAN_ESYS;
	if (connect(fd, (const struct sockaddr *)&l->addr.ss, l->addr.len) == 0 ||
	    errno == EAGAIN || errno == EPROTOTYPE)
		errno = EADDRINUSE;
	else if (errno == ECONNREFUSED || errno == ENOENT)
		err = 0;
	saved = errno;
	close(fd);
	errno = saved;
	return err;
}

/* Removes the file of a server that has ended. */
static int
make_room(const struct listen_spec *l, const char **why)
{
	struct stat st;

	*why = "the file that is there cannot be looked at";
	if (lstat(path_of(l), &st) != 0)
		return errno == ENOENT ? 0 : FAN_ESYS;
	*why = "something that is no socket is there; it is not removed";
	if (!S_ISSOCK(st.st_mode)) {
		errno = 0;
		return FAN_ESYS;
	}
	*why = "it is in use";
	if (probe(l) != 0)
		return FAN_ESYS;
	*why = "the file of a server that has ended cannot be removed";
	return unlink(path_of(l)) == 0 ? 0 : FAN_ESYS;
}

/* Binds fd; the file has its mode from the beginning, as the process has but one thread. */
static int
bind_file(int fd, const struct listen_spec *l, struct unix_socket *out)
{
	mode_t before = umask((mode_t)(~l->mode & 0777));
	int err = bind(fd, (const struct sockaddr *)&l->addr.ss, l->addr.len);
	int saved = errno;
	struct stat st;

	(void)umask(before);
	errno = saved;
	if (err != 0 || lstat(path_of(l), &st) != 0)
		return FAN_ESYS;
	out->dev = st.st_dev;
	out->ino = st.st_ino;
	return 0;
}

/* With the folder locked. */
static int
open_locked(const struct listen_spec *l, int backlog, struct unix_socket *out, const char **why)
{
	uid_t uid;
	gid_t gid;
	int fd, saved;

	if (find_owner(l, &uid, &gid, why) != 0 || make_room(l, why) != 0)
		return FAN_ESYS;
	*why = "it cannot be opened";
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return FAN_ESYS;
	if (bind_file(fd, l, out) != 0)
		goto fail;
	*why = "owner cannot be set";
	if ((uid != NO_ID || gid != NO_ID) && lchown(path_of(l), uid, gid) != 0)
		goto fail_file;
	*why = "it cannot be listened on";
	if (listen(fd, backlog) != 0)
		goto fail_file;
	return fd;

fail_file:
	saved = errno;
	(void)unlink(path_of(l));
	errno = saved;
fail:
	saved = errno;
	close(fd);
	errno = saved;
	return FAN_ESYS;
}

int
unix_socket_open(
    const struct listen_spec *l, int backlog, struct unix_socket *out, const char **why)
{
	int folder = lock_folder(path_of(l), why), fd, saved;

	if (folder < 0)
		return FAN_ESYS;
	fd = open_locked(l, backlog, out, why);
	saved = errno;
	close(folder);
	errno = saved;
	return fd;
}

void
unix_socket_remove(const struct listen_spec *l, const struct unix_socket *s)
{
	const char *why;
	int folder = lock_folder(path_of(l), &why);
	struct stat st;

	if (folder < 0)
		return;
	if (lstat(path_of(l), &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		(void)unlink(path_of(l));
	close(folder);
}
