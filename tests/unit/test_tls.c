/*
 * Unit tests of tls: handshakes with a client by OpenSSL over socket pairs, the choice of the
 * certificate, resumption, client certificates, reading and writing in pieces, reloading, and what is
 * said of bad files.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "tests/unit/tls_fixture.h"
#include "worker/net/tls_context.h"

static const uint8_t secret[TLS_SECRET_SIZE] = { 1, 2, 3 };
static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

static struct identity one; /* one.example, in one.pem and one.key */
static struct conf *conf;   /* with that alone */
static struct tls_context *context;

static struct ends e;

static void
setup(void)
{
	fixture_begin();
	one = identity_make("one", "DNS:one.example", NULL, -1, 30);
	pem_write("one.pem", one.x, NULL, NULL, NULL);
	pem_write("one.key", NULL, NULL, one.key, NULL);
	conf = conf_with("one.pem one.key", NULL);
	context = tls_context_new(conf, secret);
	cr_assert_not_null(context);
}

static void
teardown(void)
{
	tls_context_free(context);
	conf_free(conf);
	identity_fini(&one);
	fixture_end();
}

TestSuite(tls, .timeout = 60, .init = setup, .fini = teardown);

/* --- handshakes --------------------------------------------------------------------------- */

Test(tls, a_handshake_and_bytes_both_ways_in_both_versions)
{
	size_t i;

	for (i = 0; i < VERSIONS; i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);

		ends_open(&e, context, ctx, NULL);
		cr_assert_eq(handshake(e.t, e.client), 0);
		cr_assert_eq(SSL_version(e.client), versions[i]);
		cr_assert_not(tls_kernel_sends(e.t));
		to_server(e.client, e.t, "hello");
		to_client(e.t, e.client, "world");
		to_server(e.client, e.t, "again");
		ends_close(&e);
		SSL_CTX_free(ctx);
	}
}

Test(tls, old_versions_are_refused)
{
	const char *min[] = { "1.2", "1.3" };
	const int version[] = { TLS1_1_VERSION, TLS1_2_VERSION };
	int i;

	for (i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_ctx(version[i]);

		conf_put(conf, "tls.min_version", min[i]);
		cr_assert_eq(tls_context_reload(context, conf), 0);
		ends_open(&e, context, ctx, NULL);
		cr_assert_eq(handshake(e.t, e.client), TLS_FAILED);
		cr_assert_str_eq(tls_why(e.t), "unsupported protocol");
		ends_close(&e);
		SSL_CTX_free(ctx);
	}
}

/* What is agreed on with a client of TLS 1.2 that offers these; "" is nothing. */
static void
expect_suite(const char *offered, const char *chosen)
{
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);

	cr_assert_eq(SSL_CTX_set_cipher_list(ctx, offered), 1);
	ends_open(&e, context, ctx, NULL);
	if (*chosen == '\0') {
		cr_assert_eq(handshake(e.t, e.client), TLS_FAILED, "%s", offered);
		cr_assert_str_eq(tls_why(e.t), "no shared cipher");
	} else {
		cr_assert_eq(handshake(e.t, e.client), 0, "%s", offered);
		cr_assert_str_eq(SSL_get_cipher_name(e.client), chosen);
	}
	ends_close(&e);
	SSL_CTX_free(ctx);
}

Test(tls, suites_of_1_2_have_forward_secrecy_and_authenticate)
{
	expect_suite("DEFAULT", "ECDHE-ECDSA-AES128-GCM-SHA256");
	expect_suite("ECDHE+AES256+AESGCM", "ECDHE-ECDSA-AES256-GCM-SHA384");
	expect_suite("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256",
	    "ECDHE-ECDSA-CHACHA20-POLY1305");
	expect_suite("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA", "");
	expect_suite("AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256", "");
}

Test(tls, compression_and_renegotiation_are_off)
{
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	uint8_t got[TLS_RECORD_MAX];
	int i, rc = 0;

	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(handshake(e.t, e.client), 0);
	cr_assert_null(SSL_get_current_compression(e.client));
	cr_assert_eq(SSL_renegotiate(e.client), 1);
	for (i = 0; i < 10; i++) {
		rc = SSL_do_handshake(e.client);
		if (SSL_get_error(e.client, rc) == SSL_ERROR_SSL)
			break;
		(void)tls_read(e.t, got, sizeof(got));
	}
	cr_assert_eq(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_NO_RENEGOTIATION);
	ends_close(&e);
	SSL_CTX_free(ctx);
}

/* offered: as on the wire. */
static void
expect_alpn(const char *offered, const char *chosen)
{
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	const unsigned char *got;
	unsigned n;

	cr_assert_eq(
	    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)offered, (unsigned)strlen(offered)),
	    0);
	ends_open(&e, context, ctx, NULL);
	if (*chosen == '\0') {
		cr_assert_eq(handshake(e.t, e.client), TLS_FAILED);
		(void)SSL_do_handshake(e.client);
		cr_assert_eq(ERR_GET_REASON(ERR_peek_last_error()),
		    SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
	} else {
		cr_assert_eq(handshake(e.t, e.client), 0);
		SSL_get0_alpn_selected(e.client, &got, &n);
		cr_assert_eq(n, strlen(chosen));
		cr_assert_eq(memcmp(got, chosen, n), 0);
	}
	ends_close(&e);
	SSL_CTX_free(ctx);
}

Test(tls, alpn_is_http_1_1)
{
	expect_alpn("\x08http/1.1", "http/1.1");
	expect_alpn("\x02h2\x08http/1.1", "http/1.1");
	expect_alpn("\x02h2", "");
	expect_alpn("\x02h2\x08http/1.2\x08http/1.0", "");
}

Test(tls, what_is_no_tls_fails)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	int fd[2];

	pair_make(fd, false);
	e.t = tls_new(context, fd[0]);
	cr_assert_eq(write(fd[1], http, sizeof(http) - 1), (ssize_t)sizeof(http) - 1);
	cr_assert_eq(tls_handshake(e.t), TLS_FAILED);
	cr_assert(tls_was_http(e.t));
	cr_assert_str_eq(tls_why(e.t), "http request");
	tls_free(e.t);
	/* Nothing was written but what the caller wants. */
	cr_assert_eq(recv(fd[1], (char[8]){ 0 }, 8, MSG_DONTWAIT), -1);

	(void)close(fd[0]);
	(void)close(fd[1]);

	pair_make(fd, false);
	e.t = tls_new(context, fd[0]);
	cr_assert_eq(write(fd[1], "\x17\x03\x03\0\1xxxxxxxxx", 14), 14);
	cr_assert_eq(tls_handshake(e.t), TLS_FAILED);
	cr_assert_not(tls_was_http(e.t));
	tls_free(e.t);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

/* --- reading and writing -------------------------------------------------------------------- */

#define LONG 200000

static uint8_t sent[LONG], got[LONG + TLS_RECORD_MAX];

static void
make_bytes(void)
{
	size_t i;

	for (i = 0; i < LONG; i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
}

Test(tls, a_blocked_write_goes_on_from_any_place)
{
	static uint8_t moved[2][LONG];
	size_t i;

	make_bytes();
	memcpy(moved[0], sent, LONG);
	memcpy(moved[1], sent, LONG);
	for (i = 0; i < VERSIONS; i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		size_t out = 0, in = 0, turn = 0, tries = 0, blocked[2] = { 0, 0 };

		pair_make(e.fd, true);
		e.t = tls_new(context, e.fd[0]);
		e.client = client_new(ctx, e.fd[1], NULL);
		cr_assert_eq(handshake(e.t, e.client), 0);
		while (in < LONG) {
			/* A new place each time, and all that there is behind what is pending. */
			size_t pending = tls_pending(e.t), rest = LONG - out;
			size_t offered = pending > 0 || rest < 1000 || turn % 2 > 0 ? rest : 1000;
			ssize_t rc = 0;
			int n;

			if (out < LONG)
				rc = tls_write(e.t, moved[++tries % 2] + out, offered);
			if (rc > 0) {
				cr_assert_leq(rc, TLS_RECORD_MAX);
				cr_assert(pending == 0 || (size_t)rc == pending);
				cr_assert_eq(tls_pending(e.t), 0);
				out += (size_t)rc;
				turn++;
				continue;
			}
			if (out < LONG) {
				cr_assert_eq(rc, TLS_WANT_WRITE);
				cr_assert_gt(tls_pending(e.t), 0);
				blocked[tls_pending(e.t) == 1000]++;
			}
			if ((n = SSL_read(e.client, got + in, 1000)) > 0)
				in += (size_t)n;
		}
		cr_assert(blocked[0] > 0 && blocked[1] > 0);
		cr_assert_eq(memcmp(got, sent, LONG), 0);
		ends_close(&e);
		SSL_CTX_free(ctx);
	}
}

static bool
readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

Test(tls, nothing_stays_behind_in_a_read)
{
	size_t i;

	make_bytes();
	for (i = 0; i < VERSIONS; i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		size_t out = 0, in = 0;
		bool waiting;

		ends_open(&e, context, ctx, NULL);
		cr_assert_eq(handshake(e.t, e.client), 0);
		do {
			int n = out < LONG ? SSL_write(e.client, sent + out, (int)(LONG - out)) : 0;

			if (n > 0)
				out += (size_t)n;
			/* All that is there is read by what the socket says alone. */
			waiting = readable(e.fd[0]);
			while (readable(e.fd[0])) {
				ssize_t rc = tls_read(e.t, got + in, TLS_RECORD_MAX);

				if (rc > 0)
					in += (size_t)rc;
				else
					cr_assert_eq(rc, TLS_WANT_READ);
			}
		} while (waiting || out < LONG);
		cr_assert_eq(in, LONG);
		cr_assert_eq(memcmp(got, sent, LONG), 0);
		ends_close(&e);
		SSL_CTX_free(ctx);
	}
}

/* Hands what one side wrote to the other n bytes at a time; act is called after each. */
static void
shuttle(int from, int to, size_t n, void (*act)(void))
{
	uint8_t piece[4096];
	ssize_t len;

	while ((len = recv(from, piece, n, MSG_DONTWAIT)) > 0) {
		cr_assert_eq(write(to, piece, (size_t)len), len);
		act();
	}
}

static int split_result;
static size_t split_in;

static void
split_act(void)
{
	if (split_result != 0) {
		split_result = tls_handshake(e.t);
		cr_assert(split_result == 0 || split_result == TLS_WANT_READ);
		return;
	}
	for (;;) {
		ssize_t rc = tls_read(e.t, got + split_in, TLS_RECORD_MAX);

		if (rc <= 0) {
			cr_assert_eq(rc, TLS_WANT_READ);
			return;
		}
		split_in += (size_t)rc;
	}
}

static void
client_act(void)
{
	char c;

	if (SSL_do_handshake(e.client) == 1)
		(void)SSL_read(e.client, &c, 1); /* the tickets */
}

Test(tls, bytes_split_anywhere)
{
	static const size_t sizes[] = { 1, 2, 3, 5, 7, 64, 999 };
	size_t i, k, v;

	make_bytes();
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (v = 0; v < VERSIONS; v++) {
			SSL_CTX *ctx = client_ctx(versions[v]);
			int near[2], far[2];

			pair_make(near, false);
			pair_make(far, false);
			e.t = tls_new(context, near[0]);
			e.client = client_new(ctx, far[0], "one.example");
			split_result = TLS_WANT_READ;
			split_in = 0;
			(void)SSL_do_handshake(e.client);
			for (k = 0; k < 10; k++) {
				shuttle(far[1], near[1], sizes[i], split_act);
				shuttle(near[1], far[1], sizes[i], client_act);
			}
			cr_assert_eq(split_result, 0);
			cr_assert_eq(SSL_write(e.client, sent, 20000), TLS_RECORD_MAX);
			cr_assert_eq(SSL_write(e.client, sent + TLS_RECORD_MAX, 500), 500);
			shuttle(far[1], near[1], sizes[i], split_act);
			cr_assert_eq(split_in, TLS_RECORD_MAX + 500);
			cr_assert_eq(memcmp(got, sent, split_in), 0);
			memcpy(e.fd, near, sizeof(near));
			ends_close(&e);
			(void)close(far[0]);
			(void)close(far[1]);
			SSL_CTX_free(ctx);
		}
	}
}

Test(tls, keys_are_updated_in_mid_stream)
{
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	int i;

	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(handshake(e.t, e.client), 0);
	for (i = 0; i < 3; i++) {
		cr_assert_eq(SSL_key_update(e.client, SSL_KEY_UPDATE_REQUESTED), 1);
		to_server(e.client, e.t, "a");
		to_client(e.t, e.client, "b");
	}
	ends_close(&e);
	SSL_CTX_free(ctx);
}

Test(tls, the_ends_of_a_connection)
{
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	uint8_t buf[TLS_RECORD_MAX];
	char c;

	/* With and without close_notify it is the end, and the other direction goes on. */
	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(handshake(e.t, e.client), 0);
	cr_assert_eq(SSL_shutdown(e.client), 0);
	cr_assert_eq(tls_read(e.t, buf, sizeof(buf)), TLS_EOF);
	cr_assert_eq(tls_read(e.t, buf, sizeof(buf)), TLS_EOF);
	to_client(e.t, e.client, "still");
	cr_assert_eq(tls_shutdown(e.t), 0);
	cr_assert_eq(SSL_read(e.client, &c, 1), 0);
	cr_assert_eq(SSL_get_error(e.client, 0), SSL_ERROR_ZERO_RETURN);
	ends_close(&e);

	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(handshake(e.t, e.client), 0);
	cr_assert_eq(shutdown(e.fd[1], SHUT_WR), 0);
	cr_assert_eq(tls_read(e.t, buf, sizeof(buf)), TLS_EOF);
	to_client(e.t, e.client, "still");
	/* Freeing says goodbye. */
	tls_free(e.t);
	e.t = NULL;
	cr_assert_eq(SSL_read(e.client, &c, 1), 0);
	cr_assert_eq(SSL_get_error(e.client, 0), SSL_ERROR_ZERO_RETURN);
	ends_close(&e);

	/* In the handshake too; and the client that is gone. */
	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(tls_handshake(e.t), TLS_WANT_READ);
	cr_assert_eq(shutdown(e.fd[1], SHUT_WR), 0);
	cr_assert_eq(tls_handshake(e.t), TLS_EOF);
	ends_close(&e);

	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(handshake(e.t, e.client), 0);
	(void)close(e.fd[1]);
	cr_assert_eq(tls_write(e.t, buf, 10), TLS_GONE);
	ends_close(&e);
	SSL_CTX_free(ctx);
}

Test(tls, what_was_tampered_with_fails)
{
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	uint8_t buf[TLS_RECORD_MAX] = { 0x17, 3, 3, 0, 40 };

	ends_open(&e, context, ctx, NULL);
	cr_assert_eq(handshake(e.t, e.client), 0);
	cr_assert_eq(write(e.fd[1], buf, 45), 45);
	cr_assert_eq(tls_read(e.t, buf, sizeof(buf)), TLS_FAILED);
	cr_assert_str_eq(tls_why(e.t), "decryption failed or bad record mac");
	ends_close(&e);
	SSL_CTX_free(ctx);
}
