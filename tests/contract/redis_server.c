/*
 * redis_server: a real redis-server for one test.  See redis_server.h.
 */
#include "tests/contract/redis_server.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 10000

static int
free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0);
	cr_assert(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0);
	cr_assert(getsockname(fd, (struct sockaddr *)&sin, &len) == 0);
	cr_assert(close(fd) == 0);
	return ntohs(sin.sin_port);
}

static int
connect_unix(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	cr_assert(close(fd) == 0);
	return -1;
}

static void
exec_server(const struct redis_server *s, pid_t parent)
{
	char port[16], conf[96], null[] = "/dev/null";
	int fd = open(null, O_RDWR | O_CLOEXEC);

	(void)snprintf(port, sizeof(port), "%d", s->port);
	(void)snprintf(conf, sizeof(conf), "%s/redis.conf", s->dir);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || fd < 0 ||
	    dup2(fd, 0) < 0 || dup2(fd, 1) < 0)
		_exit(126);
	(void)execlp("redis-server", "redis-server", conf, "--bind", "127.0.0.1", "--port", port,
	    "--unixsocket", s->sock, "--dir", s->dir, "--daemonize", "no", "--loglevel", "warning",
	    (char *)NULL);
	_exit(127);
}

static void
write_conf(const struct redis_server *s)
{
	char path[96];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/redis.conf", s->dir);
	f = fopen(path, "we");
	cr_assert_not_null(f);
	cr_assert(fprintf(f, "save \"\"\nappendonly no\n%s\n", s->conf == NULL ? "" : s->conf) > 0);
	cr_assert(fclose(f) == 0);
}

/* Whether the server answers, and has read its file; sets *ended if its process is gone. */
static bool
answers(struct redis_server *s, bool *ended)
{
	char out[16];
	int fd = connect_unix(s->sock);

	*ended = waitpid(s->pid, NULL, WNOHANG) == s->pid;
	if (fd < 0)
		return false;
	cr_assert(close(fd) == 0);
	redis_server_call(s, "PING", NULL, 0, out, sizeof(out));
	return strncmp(out, "-LOADING", 8) != 0;
}

void
redis_server_restart(struct redis_server *s)
{
	const struct timespec pause = { 0, 5000000 };
	const pid_t parent = getpid();
	bool ended = false;
	int waited;

	(void)unlink(s->sock);
	write_conf(s);
	s->pid = fork();
	cr_assert(s->pid >= 0);
	if (s->pid == 0)
		exec_server(s, parent);
	for (waited = 0; waited < START_MS && !ended; waited += 5) {
		if (answers(s, &ended))
			return;
		(void)nanosleep(&pause, NULL);
	}
	cr_assert_fail("redis-server cannot be started (is it installed?)");
}

void
redis_server_start(struct redis_server *s)
{
	memset(s, 0, sizeof(*s));
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/fanfare-test-XXXXXX");
	cr_assert_not_null(mkdtemp(s->dir));
	(void)snprintf(s->sock, sizeof(s->sock), "%s/redis.sock", s->dir);
	s->port = free_port();
	redis_server_restart(s);
}

void
redis_server_kill(struct redis_server *s)
{
	if (s->pid <= 0)
		return;
	(void)kill(s->pid, SIGKILL);
	(void)waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
redis_server_stop(struct redis_server *s)
{
	redis_server_kill(s);
	if (s->dir[0] != '\0')
		(void)nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void
write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t did = send(fd, p, n, MSG_NOSIGNAL);

		cr_assert(did > 0);
		p += did;
		n -= (size_t)did;
	}
}

static void
write_arg(int fd, const void *data, size_t n)
{
	char head[32];

	(void)snprintf(head, sizeof(head), "$%zu\r\n", n);
	write_all(fd, head, strlen(head));
	write_all(fd, data, n);
	write_all(fd, "\r\n", 2);
}

/* The length of the answer at the beginning of text, which may be an array of answers; 0: not whole. */
static size_t
whole(const char *text, size_t n)
{
	const char *end = memmem(text, n, "\r\n", 2);
	size_t used, one;
	long count;

	if (end == NULL)
		return 0;
	used = (size_t)(end + 2 - text);
	if (text[0] == '$' && text[1] != '-')
		used += strtoul(text + 1, NULL, 10) + 2;
	if (text[0] == '*') {
		for (count = strtol(text + 1, NULL, 10); count > 0; count--) {
			one = whole(text + used, n - used);
			if (one == 0)
				return 0;
			used += one;
		}
	}
	return used <= n ? used : 0;
}

void
redis_server_call(const struct redis_server *s, const char *words, const void *data, size_t len,
    char *out, size_t cap)
{
	const char *p;
	char head[16];
	size_t args = data != NULL, n = 0;
	int fd = connect_unix(s->sock);

	cr_assert(fd >= 0);
	for (p = words; *p != '\0'; p += strcspn(p, " "), p += strspn(p, " "))
		args++;
	(void)snprintf(head, sizeof(head), "*%zu\r\n", args);
	write_all(fd, head, strlen(head));
	for (p = words; *p != '\0'; p += strcspn(p, " "), p += strspn(p, " "))
		write_arg(fd, p, strcspn(p, " "));
	if (data != NULL)
		write_arg(fd, data, len);
	memset(out, 0, cap);
	while (n < cap - 1 && whole(out, n) == 0) {
		ssize_t got = recv(fd, out + n, cap - 1 - n, 0);

		cr_assert(got > 0);
		n += (size_t)got;
	}
	cr_assert(close(fd) == 0);
}

const char *
redis_server_ask(const struct redis_server *s, const char *words)
{
	static char out[16384];

	redis_server_call(s, words, NULL, 0, out, sizeof(out));
	return out;
}

void
redis_server_expect(const struct redis_server *s, const char *words, const char *begin)
{
	const char *out = redis_server_ask(s, words);

	cr_assert(strncmp(out, begin, strlen(begin)) == 0, "%s: %s", words, out);
}
