/*
 * tls: TLS on a connected socket, and the certificates of a worker.
 *
 * Owns:    a context its certificates; a struct tls its OpenSSL object, not the fd.
 * Process: workers; tls_check also the command line and the master before it starts.
 * Layer:   worker/net, lowest.  Uses common; OpenSSL's libssl, which is for the tls files alone.
 *
 * A connection that is at rest holds no record buffers.  Session tickets are encrypted with keys
 * that all workers derive from one secret of the master, new ones every TLS_TICKET_PERIOD, so that
 * a client resumes at any worker.  Nothing of a session is kept here.
 *
 * SIGPIPE must be ignored: OpenSSL writes to the socket by write(2).
 */
#ifndef WORKER_NET_TLS_H
#define WORKER_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/err.h"

struct conf;
struct tls;
struct tls_context;

#define TLS_SECRET_SIZE 32
#define TLS_RECORD_MAX 16384    /* bytes of plain text in one record */
#define TLS_TICKET_PERIOD 43200 /* s; a ticket is good for one, its key for two */

/*
 * Reads what tls.* of c names; NULL after what was wrong, with option, file and reason, was logged.
 * secret: the master's, of TLS_SECRET_SIZE bytes, copied.  Outlives its connections.
 */
struct tls_context *tls_context_new(const struct conf *c, const uint8_t *secret);
void tls_context_free(struct tls_context *t);
/*
 * Reads the files again and logs what they hold.  Connections keep what they began with; where
 * something is wrong it is logged and the context stays as it was.  FAN_EINVAL, FAN_ENOMEM.
 */
FAN_NODISCARD int tls_context_reload(struct tls_context *t, const struct conf *c);
/*
 * Reads what tls.* of c names, if anything, and writes one line for each thing that is wrong or soon
 * will be to err.  FAN_EINVAL: a worker could not use it.  FAN_ENOMEM.
 */
FAN_NODISCARD int tls_check(const struct conf *c, FILE *err);

/* Results of the functions below, beside 0 and numbers of bytes. */
enum tls_result {
	TLS_WANT_READ = -1,  /* call again when the socket is readable */
	TLS_WANT_WRITE = -2, /* call again when it is writable */
	TLS_EOF = -3,        /* the peer will send no more; it may still read */
	TLS_GONE = -4,       /* the connection was reset */
	TLS_FAILED = -5, /* the peer broke the protocol, or no terms were found; tls_why says how */
};

/* For a server.  NULL: no memory. */
struct tls *tls_new(struct tls_context *t, int fd);
/* Says goodbye (close_notify) if that takes no waiting. */
void tls_free(struct tls *s);

/* Goes on with the handshake; 0: it is done.  Nothing may be read or written before. */
int tls_handshake(struct tls *s);
/*
 * At most one record.  n is at least TLS_RECORD_MAX, so that nothing stays behind in the object and
 * the socket alone says whether there is more.
 */
ssize_t tls_read(struct tls *s, uint8_t *p, size_t n);
/*
 * Writes up to TLS_RECORD_MAX of n > 0 bytes as one record; returns how many.  After TLS_WANT_WRITE
 * or TLS_WANT_READ the first tls_pending bytes are spoken for: they must be offered again, from any
 * place, and alone leave by the next call that returns a number.
 */
ssize_t tls_write(struct tls *s, const uint8_t *p, size_t n);
size_t tls_pending(const struct tls *s);
/* No more will be written: sends close_notify.  0, or a result. */
int tls_shutdown(struct tls *s);

/* Whether the kernel encrypts: plain bytes are written to the fd then, and not by tls_write. */
bool tls_kernel_sends(const struct tls *s);
/* After TLS_FAILED: a phrase for the log. */
const char *tls_why(const struct tls *s);
/* After a handshake that failed: whether it was no TLS at all, but HTTP. */
bool tls_was_http(const struct tls *s);

#endif
