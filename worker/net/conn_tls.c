/*
 * conn_tls: what a connection does differently when it speaks TLS.  See conn_tls.h.
 */
#include "worker/net/conn_tls.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/sock.h"
#include "worker/net/conn.h"
#include "worker/net/conn_queue.h"
#include "worker/net/poller.h"
#include "worker/net/tls.h"

#define RECORDS_BATCH 16 /* of one connection in a pass */

/* For whoever speaks plain HTTP to a port of TLS; browsers show it. */
static const char plain_answer[] = "HTTP/1.1 400 Bad Request\r\n"
				   "Content-Type: text/plain\r\n"
				   "Content-Length: 24\r\n"
				   "Connection: close\r\n"
				   "\r\n"
				   "this address speaks TLS\n";

static void
log_failure(const struct conn *c)
{
	static struct log_gate gate;
	struct sockaddr_storage ss;
	char text[SOCK_ADDR_TEXT];

	if (!log_gate_open(&gate, 5))
		return;
	conn_client(c, &ss);
	log_info("tls: %s client=%s", tls_why(c->tls),
	    sock_addr_text((const struct sockaddr *)&ss, text));
}

/* A result that ends the connection. */
static void
end(struct conn *c, int result)
{
	if (result == TLS_FAILED) {
		log_failure(c);
		conn_close(c, CONN_CLOSED_PROTOCOL);
	} else {
		conn_close(c, CONN_CLOSED_VANISHED);
	}
}

/* The alert, or what is said in its place, must not be lost to a reset. */
static void
refuse(struct conn *c)
{
	bool http = tls_was_http(c->tls);

	log_failure(c);
	tls_free(c->tls);
	c->tls = NULL;
	c->handshaking = false;
	if (http)
		(void)send(
		    c->fd, plain_answer, sizeof(plain_answer) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	conn_finish(c, CONN_CLOSED_PROTOCOL);
}

static void
go_on_with_handshake(struct conn *c)
{
	int result = tls_handshake(c->tls);

	c->read_waits = result == TLS_WANT_WRITE;
	if (result == 0) {
		c->handshaking = false;
		c->sealed = !tls_kernel_sends(c->tls);
	} else if (result == TLS_FAILED) {
		refuse(c);
	} else if (result != TLS_WANT_READ && result != TLS_WANT_WRITE) {
		end(c, result);
	}
}

/* --- the interface ------------------------------------------------------------------------ */

unsigned
conn_tls_wants(const struct conn *c, unsigned want)
{
	if (c->read_waits && (want & POLLER_IN) != 0)
		want = POLLER_OUT;
	if (c->write_waits)
		want = (want & ~POLLER_OUT) | POLLER_IN;
	return c->goodbye ? want | POLLER_OUT : want;
}

unsigned
conn_tls_ready(struct conn *c, unsigned what)
{
	if (c->state == CONN_CLOSED)
		return 0;
	if (c->handshaking) {
		go_on_with_handshake(c);
		return 0;
	}
	if (c->read_waits && (what & POLLER_OUT) != 0)
		what |= POLLER_IN;
	if (c->write_waits && (what & POLLER_IN) != 0)
		what |= POLLER_OUT;
	return what;
}

ssize_t
conn_tls_read(struct conn *c)
{
	ssize_t n = tls_read(c->tls, c->net->rbuf, c->net->rbuf_size);

	c->read_waits = n == TLS_WANT_WRITE;
	if (n > 0)
		return n;
	if (n == TLS_EOF)
		return 0;
	if (n != TLS_WANT_READ && n != TLS_WANT_WRITE)
		end(c, (int)n);
	return -1;
}

/* A write went no further; false: the connection was closed. */
static bool
blocked(struct conn *c, ssize_t result)
{
	c->write_waits = result == TLS_WANT_READ;
	if (result == TLS_WANT_READ || result == TLS_WANT_WRITE)
		return true;
	end(c, (int)result);
	return false;
}

ssize_t
conn_tls_send(struct conn *c, const uint8_t *p, size_t n)
{
	size_t sent = 0;

	while (sent < n) {
		ssize_t rc = tls_write(c->tls, p + sent, n - sent);

		if (rc > 0)
			sent += (size_t)rc;
		else if (blocked(c, rc))
			break;
		else
			return -1;
	}
	return (ssize_t)sent;
}

bool
conn_tls_flush(struct conn *c)
{
	bool tell = false;
	int i;

	for (i = 0; i < RECORDS_BATCH && c->queue != NULL; i++) {
		size_t n;
		const uint8_t *p = outq_lend(&c->queue->q, TLS_RECORD_MAX, c->net->sbuf, &n);
		ssize_t rc = tls_write(c->tls, p, n);

		if (rc <= 0) {
			if (blocked(c, rc))
				outq_pin(&c->queue->q, tls_pending(c->tls));
			break;
		}
		c->write_waits = false;
		if (conn_queue_took(c, (size_t)rc))
			tell = true;
	}
	return tell;
}

bool
conn_tls_goodbye(struct conn *c)
{
	c->goodbye = tls_shutdown(c->tls) == TLS_WANT_WRITE;
	return !c->goodbye;
}
