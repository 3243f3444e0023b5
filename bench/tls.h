/*
 * tls: TLS connections to the measured broker.
 *
 * Owns:    the context; a connection's state is freed by tls_free, its fd stays the caller's.
 * Process: fanfare-bench.  The context is shared by all threads, a connection is of one.
 * Layer:   bench.  Uses settings, text; OpenSSL.
 */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct settings;
struct ssl_ctx_st;
struct ssl_st;

/* Ends the process where --ca can not be read. */
struct ssl_ctx_st *tls_context(const struct settings *s);
void tls_context_free(struct ssl_ctx_st *ctx);

/* The client's side of fd; host as a URL has it, HOST[:PORT], is what the certificate must be for. */
struct ssl_st *tls_new(struct ssl_ctx_st *ctx, int fd, const char *host);
void tls_free(struct ssl_st *tls);

enum tls_state {
	TLS_OPEN,
	TLS_WANTS_IN,
	TLS_WANTS_OUT,
	TLS_FAILED, /* tls_why says why */
};

/* Goes on with the handshake. */
enum tls_state tls_handshake(struct ssl_st *tls);
/* A phrase for what failed last in this thread. */
const char *tls_why(const struct ssl_st *tls);

/* As recv and send, errno included; what is wrong with the TLS itself is EPROTO. */
ssize_t tls_read(struct ssl_st *tls, void *p, size_t n);
ssize_t tls_write(struct ssl_st *tls, const void *p, size_t n);
/* Whether bytes have been received of which the socket says nothing any more. */
bool tls_pending(const struct ssl_st *tls);

#endif
