/*
 * Unit tests of broker/unix_socket.
 */
#include "broker/unix_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/listen_spec.h"

static char folder[] = "/tmp/fanfare-test-unix-XXXXXX";
static char path[64];
static struct unix_socket file;
static const char *why;

static void
setup(void)
{
	cr_assert_not_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/s", folder);
}

static void
teardown(void)
{
	(void)unlink(path);
	(void)rmdir(folder);
}

TestSuite(unix_socket, .init = setup, .fini = teardown);

static struct listen_spec
spec(const char *words)
{
	struct listen_spec l;
	char text[128];

	(void)snprintf(text, sizeof(text), "unix:%s %s", path, words);
	cr_assert_eq(listen_spec_parse(text, &l, &why), 0, "%s", why);
	return l;
}

static int
open_socket(const char *words)
{
	struct listen_spec l = spec(words);

	return unix_socket_open(&l, 16, &file, &why);
}

static void
remove_file(void)
{
	struct listen_spec l = spec("");

	unix_socket_remove(&l, &file);
}

static bool
connects(void)
{
	struct listen_spec l = spec("");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool done = connect(fd, (const struct sockaddr *)&l.addr.ss, l.addr.len) == 0;

	close(fd);
	return done;
}

static struct stat
look(void)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0);
	return st;
}

Test(unix_socket, listens_and_is_removed)
{
	int fd = open_socket("");
	struct stat st;

	cr_assert_geq(fd, 0);
	cr_assert(connects());
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	remove_file();
	cr_assert(lstat(path, &st) != 0 && errno == ENOENT);
	close(fd);
}

Test(unix_socket, mode)
{
	static const struct {
		const char *words;
		mode_t mode;
	} cases[] = { { "", 0660 }, { "mode=0600", 0600 }, { "mode=0777", 0777 }, { "mode=0", 0 } };
	mode_t before = umask(022);
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = open_socket(cases[i].words);

		cr_assert_geq(fd, 0);
		cr_assert_eq(look().st_mode, S_IFSOCK | cases[i].mode, "%s", cases[i].words);
		remove_file();
		close(fd);
	}
	cr_assert_eq(umask(before), 022);
}

Test(unix_socket, owner)
{
	char words[256];
	int fd;

	(void)snprintf(words, sizeof(words), "owner=%u:%u", geteuid(), getegid());
	fd = open_socket(words);
	cr_assert_geq(fd, 0);
	cr_assert(look().st_uid == geteuid() && look().st_gid == getegid());
	remove_file();
	close(fd);
	(void)snprintf(words, sizeof(words), "owner=%s:%s", getpwuid(geteuid())->pw_name,
	    getgrgid(getegid())->gr_name);
	fd = open_socket(words);
	cr_assert_geq(fd, 0);
	remove_file();
	close(fd);
	(void)snprintf(words, sizeof(words), "owner=:%u", getegid());
	fd = open_socket(words);
	cr_assert_geq(fd, 0);
	cr_assert(look().st_uid == geteuid() && look().st_gid == getegid());
	remove_file();
	close(fd);
	if (geteuid() != 0)
		return;
	fd = open_socket("owner=65534:65533");
	cr_assert_geq(fd, 0);
	cr_assert(look().st_uid == 65534 && look().st_gid == 65533);
	remove_file();
	close(fd);
}

Test(unix_socket, an_owner_that_is_not_there)
{
	struct stat st;

	cr_assert_eq(open_socket("owner=no-such-user"), FAN_ESYS);
	cr_assert_str_eq(why, "owner: there is no such user");
	cr_assert_eq(errno, 0);
	cr_assert_eq(open_socket("owner=0:no-such-group"), FAN_ESYS);
	cr_assert_str_eq(why, "owner: there is no such group");
	cr_assert_neq(lstat(path, &st), 0);
}

Test(unix_socket, a_stale_file_is_replaced)
{
	int old = open_socket(""), fd;

	cr_assert_geq(old, 0);
	close(old);
	cr_assert_not(connects());
	fd = open_socket("mode=0600");
	cr_assert_geq(fd, 0, "%s", why);
	cr_assert(connects());
	cr_assert_eq(look().st_mode, S_IFSOCK | 0600);
	remove_file();
	close(fd);
}

Test(unix_socket, one_that_is_in_use_is_refused)
{
	int fd = open_socket(""), i;
	struct unix_socket ours = file;

	cr_assert_geq(fd, 0);
	cr_assert(open_socket("") == FAN_ESYS && errno == EADDRINUSE);
	cr_assert(connects());
	/* Even while its queue is full. */
	for (i = 0; i < 64; i++) {
		struct listen_spec l = spec("");
		int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		(void)connect(c, (const struct sockaddr *)&l.addr.ss, l.addr.len);
	}
	cr_assert(open_socket("") == FAN_ESYS && errno == EADDRINUSE);
	file = ours;
	remove_file();
	close(fd);
}

Test(unix_socket, a_datagram_socket_is_not_removed)
{
	struct listen_spec l = spec("");
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	cr_assert_eq(bind(fd, (const struct sockaddr *)&l.addr.ss, l.addr.len), 0);
	cr_assert(open_socket("") == FAN_ESYS && errno == EADDRINUSE);
	(void)look();
	close(fd);
}

Test(unix_socket, what_is_no_socket_is_not_removed)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(open_socket(""), FAN_ESYS);
	cr_assert_str_eq(why, "something that is no socket is there; it is not removed");
	cr_assert(S_ISREG(look().st_mode));
	unlink(path);
	cr_assert_eq(symlink("/dev/null", path), 0);
	cr_assert_eq(open_socket(""), FAN_ESYS);
	cr_assert(S_ISLNK(look().st_mode));
}

/* The successor's file stays when the predecessor ends. */
Test(unix_socket, only_its_own_file_is_removed)
{
	int fd = open_socket(""), next;
	struct unix_socket first = file;

	cr_assert_geq(fd, 0);
	close(fd);
	next = open_socket("");
	cr_assert_geq(next, 0);
	/* The number of an inode that was freed may come again. */
	if (first.ino != file.ino) {
		struct listen_spec l = spec("");

		unix_socket_remove(&l, &first);
		cr_assert(connects());
	}
	remove_file();
	close(next);
}

Test(unix_socket, a_folder_that_is_not_there)
{
	(void)strcat(path, "/x/y");
	cr_assert(open_socket("") == FAN_ESYS && errno == ENOENT);
	cr_assert_str_eq(why, "its folder cannot be opened");
	path[strlen(path) - 4] = '\0';
}

/* Of two that start at once on a stale file exactly one listens. */
Test(unix_socket, two_at_once)
{
	int round, i, lock;

	for (round = 0; round < 20; round++) {
		pid_t pid[4];
		int served = 0, stale = open_socket(""), ready[2];

		cr_assert_geq(stale, 0);
		close(stale);
		cr_assert_eq(pipe(ready), 0);
		lock = open(folder, O_RDONLY | O_DIRECTORY);
		cr_assert_eq(flock(lock, LOCK_EX), 0);
		for (i = 0; i < 4; i++) {
			pid[i] = fork();
			if (pid[i] == 0) {
				int fd;
				char byte;

				close(ready[1]);
				close(lock);
				fd = open_socket("");
				/* Listens until all have tried. */
				if (fd >= 0)
					(void)!read(ready[0], &byte, 1);
				_exit(fd >= 0 ? 0 : 1);
			}
		}
		close(ready[0]);
		close(lock);
		for (i = 0; i < 3; i++) {
			int status;

			/* Those who were refused end; the one that listens waits. */
			cr_assert_gt(wait(&status), 0);
			cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		}
		close(ready[1]);
		(void)wait(&served);
		cr_assert(WIFEXITED(served) && WEXITSTATUS(served) == 0);
		unlink(path);
	}
}
