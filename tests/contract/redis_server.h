/*
 * redis_server: a real redis-server for one test.
 *
 * Owns:    the process, and its directory.
 * Process: contract tests.
 * Layer:   tests.  Uses Criterion.
 *
 * It listens on a Unix socket and on a free port of the loopback, keeps nothing on disk unless conf
 * says so, and dies with the test's process.
 */
#ifndef TESTS_CONTRACT_REDIS_SERVER_H
#define TESTS_CONTRACT_REDIS_SERVER_H

#include <stddef.h>
#include <sys/types.h>

struct redis_server {
	pid_t pid;
	int port;
	char dir[64];
	char sock[96];
	const char *conf; /* lines of redis.conf for the next restart, or NULL */
};

/* Starts it and waits until it answers; fails the test otherwise. */
void redis_server_start(struct redis_server *s);
/* Starts it again in the same place after a kill. */
void redis_server_restart(struct redis_server *s);
/* SIGKILL, and waits for the end. */
void redis_server_kill(struct redis_server *s);
/* Kills it and removes its directory. */
void redis_server_stop(struct redis_server *s);

/*
 * Sends one command over a connection of its own and waits for the answer, of which the first
 * cap - 1 bytes are left in out as text.  words is split at spaces; data, if not NULL, is one more
 * argument of len bytes.
 */
void redis_server_call(const struct redis_server *s, const char *words, const void *data,
    size_t len, char *out, size_t cap);
/* The same without data.  The answer is in a buffer that the next call uses again. */
const char *redis_server_ask(const struct redis_server *s, const char *words);
/* Asserts that the answer begins with these words. */
void redis_server_expect(const struct redis_server *s, const char *words, const char *begin);

#endif
