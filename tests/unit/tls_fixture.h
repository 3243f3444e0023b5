/*
 * tls_fixture: certificates made at test time, and a TLS client by OpenSSL on one end of a pair.
 */
#ifndef TESTS_UNIT_TLS_FIXTURE_H
#define TESTS_UNIT_TLS_FIXTURE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct tls;
struct tls_context;

#define FIXTURE_PATH 64

struct identity {
	X509 *x;
	EVP_PKEY *key;
};

/*
 * A certificate with a new EC key.  san: as "DNS:a.example,DNS:*.b.example", or NULL; issuer: NULL
 * signs itself and may sign others; valid from and until so many days from now.
 */
struct identity identity_make(
    const char *cn, const char *san, const struct identity *issuer, int from, int until);
void identity_fini(struct identity *id);

/* A folder of the test's own, SIGPIPE ignored; end removes the folder. */
void fixture_begin(void);
void fixture_end(void);
/* The path of a file in the folder, in out. */
const char *fixture_path(const char *name, char out[FIXTURE_PATH]);
/* Writes what is not NULL; the key encrypted where there is a pass phrase. */
void pem_write(const char *name, X509 *x, X509 *also, EVP_PKEY *key, const char *pass);

/* A configuration with tls.certificates of these files of the folder ("c k" or "c"), NULL ends. */
struct conf *conf_with(const char *first, ...) __attribute__((sentinel));
/* key=value; the value %s-es to the path of a file of the folder. */
void conf_put(struct conf *c, const char *key, const char *value);
void conf_put_file(struct conf *c, const char *key, const char *name);

/* Both ends non-blocking; [0] is the server's.  small: with the least send buffers. */
void pair_make(int fd[2], bool small);

/* Checks nothing of the server's certificate. */
SSL_CTX *client_ctx(int version);
SSL *client_new(SSL_CTX *ctx, int fd, const char *name);
/* Takes turns until both are done or one failed; the server's result. */
int handshake(struct tls *t, SSL *client);
/* Sends text from here to there, which must arrive. */
void to_server(SSL *client, struct tls *t, const char *text);
void to_client(struct tls *t, SSL *client, const char *text);
/* A server's and a client's end, connected; the server's fd is the first. */
struct ends {
	int fd[2];
	struct tls *t;
	SSL *client;
};
void ends_open(struct ends *e, struct tls_context *t, SSL_CTX *ctx, const char *name);
void ends_close(struct ends *e);

/* The common name of the server's certificate. */
const char *server_name(SSL *client, char out[FIXTURE_PATH]);

#endif
