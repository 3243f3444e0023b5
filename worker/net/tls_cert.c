/*
 * tls_cert: certificates, keys and authorities from their files.  See tls_cert.h.
 */
#include "worker/net/tls_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define FILE_MAX ((size_t)4 * 1024 * 1024) /* a bundle of all public authorities has 250 KB */
#define SPACE " \t"

/* --- what is said --------------------------------------------------------------------------- */

static void __attribute__((format(printf, 3, 0)))
say(const struct tls_report *r, void (*log)(const char *fmt, ...), const char *fmt, va_list ap)
{
	char text[768];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	if (r->err != NULL)
		(void)fprintf(r->err, "%s: %s\n", r->key, text);
	else
		log("%s: %s", r->key, text);
}

void
tls_report_error(const struct tls_report *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(r, log_errx, fmt, ap);
	va_end(ap);
}

static void __attribute__((format(printf, 2, 3)))
warn(const struct tls_report *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(r, log_warnx, fmt, ap);
	va_end(ap);
}

int
tls_report_nomem(const struct tls_report *r)
{
	tls_report_error(r, "out of memory");
	return FAN_ENOMEM;
}

const char *
tls_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return text != NULL ? text : "unknown reason";
}

/* --- files -------------------------------------------------------------------------------- */

struct file {
	const char *path;
	uint8_t *data;
	size_t n;
};

/* It may have held a key. */
static void
file_fini(struct file *f)
{
	OPENSSL_cleanse(f->data, f->n);
	free(f->data);
	f->data = NULL;
	f->n = 0;
}

static int
read_fd(int fd, struct file *f)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return FAN_ESYS;
	errno = EISDIR;
	if (S_ISDIR(st.st_mode))
		return FAN_ESYS;
	errno = EFBIG;
	if (st.st_size < 0 || (uint64_t)st.st_size > FILE_MAX)
		return FAN_ESYS;
	f->data = malloc((size_t)st.st_size + 1);
	if (f->data == NULL)
		return FAN_ENOMEM;
	while (f->n < (size_t)st.st_size) {
		ssize_t got = read(fd, f->data + f->n, (size_t)st.st_size - f->n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return FAN_ESYS;
		if (got == 0)
			break;
		f->n += (size_t)got;
	}
	return 0;
}

/* All of path; on failure f is empty. */
static int
file_read(struct file *f, const char *path, const struct tls_report *r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int rc;

	*f = (struct file){ .path = path };
	rc = fd < 0 ? FAN_ESYS : read_fd(fd, f);
	if (rc == FAN_ESYS) {
		tls_report_error(r, "%s: %s", path, strerror(errno));
		rc = FAN_EINVAL;
	} else if (rc == FAN_ENOMEM) {
		(void)tls_report_nomem(r);
	}
	if (fd >= 0)
		(void)close(fd);
	if (rc != 0)
		file_fini(f);
	return rc;
}

/* Instead of OpenSSL's own, which asks at the terminal. */
static int /* NOLINTNEXTLINE(readability-non-const-parameter): the signature is OpenSSL's */
refuse(char *buf, int size, int rwflag, void *asked)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)asked = true;
	return -1;
}

/* The next certificate.  0: *out is NULL where there is none any more. */
static int
next_certificate(BIO *bio, const struct file *f, X509 **out, const struct tls_report *r)
{
	bool asked = false;
	unsigned long error;

	ERR_clear_error();
	*out = PEM_read_bio_X509(bio, NULL, refuse, &asked);
	if (*out != NULL)
		return 0;
	error = ERR_peek_last_error();
	if (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE) {
		ERR_clear_error();
		return 0;
	}
	tls_report_error(r, "%s: a certificate cannot be read: %s", f->path, tls_reason());
	return FAN_EINVAL;
}

/* --- one certificate with its key ----------------------------------------------------------- */

static const char *
time_text(const ASN1_TIME *t, char out[32])
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1 || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(out, 32, "unknown");
	return out;
}

static void
tell_validity(X509 *x, const char *path, const struct tls_report *r)
{
	const ASN1_TIME *from = X509_get0_notBefore(x), *until = X509_get0_notAfter(x);
	char text[32];

	if (X509_cmp_current_time(until) < 0)
		warn(r, "%s: the certificate has expired at %s", path, time_text(until, text));
	else if (X509_cmp_current_time(from) > 0)
		warn(r, "%s: the certificate is not valid before %s", path, time_text(from, text));
	if (r->err == NULL)
		log_info("tls: certificate=\"%s\" valid_until=%s", path, time_text(until, text));
}

/* The first certificate of the file is the server's own, the others are what signed it. */
static int
load_chain(SSL_CTX *ctx, const struct file *f, const struct tls_report *r)
{
	BIO *bio = BIO_new_mem_buf(f->data, (int)f->n);
	X509 *x = NULL;
	int rc;

	if (bio == NULL)
		return tls_report_nomem(r);
	rc = next_certificate(bio, f, &x, r);
	if (rc == 0 && x == NULL) {
		tls_report_error(r, "%s: holds no certificate in PEM", f->path);
		rc = FAN_EINVAL;
	} else if (rc == 0 && SSL_CTX_use_certificate(ctx, x) != 1) {
		tls_report_error(r, "%s: the certificate is refused: %s", f->path, tls_reason());
		rc = FAN_EINVAL;
	}
	while (rc == 0 && x != NULL) {
		X509_free(x);
		x = NULL;
		rc = next_certificate(bio, f, &x, r);
		if (rc == 0 && x != NULL && SSL_CTX_add1_chain_cert(ctx, x) != 1) {
			tls_report_error(r, "%s: a certificate of the chain is refused: %s",
			    f->path, tls_reason());
			rc = FAN_EINVAL;
		}
	}
	X509_free(x);
	BIO_free(bio);
	return rc;
}

static int
load_key(SSL_CTX *ctx, const struct file *f, const struct tls_report *r)
{
	BIO *bio = BIO_new_mem_buf(f->data, (int)f->n);
	bool asked = false;
	EVP_PKEY *key;
	int rc = FAN_EINVAL;

	if (bio == NULL)
		return tls_report_nomem(r);
	ERR_clear_error();
	key = PEM_read_bio_PrivateKey(bio, NULL, refuse, &asked);
	if (asked)
		tls_report_error(r,
		    "%s: the key is encrypted, and nobody is there to type a pass phrase; decrypt "
		    "it "
		    "with \"openssl pkey\" and protect it by the file's mode",
		    f->path);
	else if (key == NULL)
		tls_report_error(r, "%s: holds no private key in PEM", f->path);
	else if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1)
		tls_report_error(r, "%s: the key does not belong to the certificate", f->path);
	else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
		tls_report_error(r, "%s: the key is refused: %s", f->path, tls_reason());
	else
		rc = 0;
	ERR_clear_error();
	EVP_PKEY_free(key);
	BIO_free(bio);
	return rc;
}

static int
load_pair(SSL_CTX *ctx, const char *chain, const char *key, const struct tls_report *r)
{
	struct file f;
	int rc = file_read(&f, chain, r);

	if (rc != 0)
		return rc;
	rc = load_chain(ctx, &f, r);
	if (rc == 0 && key != NULL) {
		file_fini(&f);
		rc = file_read(&f, key, r);
	}
	if (rc == 0)
		rc = load_key(ctx, &f, r);
	file_fini(&f);
	if (rc == 0)
		tell_validity(SSL_CTX_get0_certificate(ctx), chain, r);
	return rc;
}

int
tls_cert_load(SSL_CTX *ctx, const char *item, const struct tls_report *r)
{
	char *copy = strdup(item), *rest = copy;
	const char *chain, *key;
	int rc;

	if (copy == NULL)
		return tls_report_nomem(r);
	chain = strtok_r(copy, SPACE, &rest);
	key = strtok_r(NULL, SPACE, &rest);
	if (chain == NULL || strtok_r(NULL, SPACE, &rest) != NULL) {
		tls_report_error(
		    r, "\"%s\": write \"CHAIN.pem KEY.pem\", or one file with both", item);
		rc = FAN_EINVAL;
	} else {
		rc = load_pair(ctx, chain, key, r);
	}
	free(copy);
	return rc;
}

/* --- the authorities of clients ------------------------------------------------------------- */

static int
add_authority(struct tls_authorities *a, X509 *x, const struct tls_report *r)
{
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

	if (name == NULL || sk_X509_NAME_push(a->names, name) == 0) {
		X509_NAME_free(name);
		return tls_report_nomem(r);
	}
	return X509_STORE_add_cert(a->store, x) == 1 ? 0 : tls_report_nomem(r);
}

static int
add_authorities(struct tls_authorities *a, const struct file *f, const struct tls_report *r)
{
	BIO *bio = BIO_new_mem_buf(f->data, (int)f->n);
	int rc = 0, n = 0;

	if (bio == NULL)
		return tls_report_nomem(r);
	while (rc == 0) {
		X509 *x = NULL;

		rc = next_certificate(bio, f, &x, r);
		if (x == NULL)
			break;
		rc = add_authority(a, x, r);
		X509_free(x);
		n++;
	}
	BIO_free(bio);
	if (rc == 0 && n == 0) {
		tls_report_error(r, "%s: holds no certificate in PEM", f->path);
		rc = FAN_EINVAL;
	}
	return rc;
}

int
tls_authorities_load(struct tls_authorities *a, const char *path, const struct tls_report *r)
{
	struct file f;
	int rc;

	memset(a, 0, sizeof(*a));
	rc = file_read(&f, path, r);
	if (rc != 0)
		return rc;
	a->store = X509_STORE_new();
	a->names = sk_X509_NAME_new_null();
	if (a->store == NULL || a->names == NULL ||
	    EVP_Digest(f.data, f.n, a->digest, NULL, EVP_sha256(), NULL) != 1)
		rc = tls_report_nomem(r);
	else
		rc = add_authorities(a, &f, r);
	file_fini(&f);
	if (rc != 0)
		tls_authorities_fini(a);
	return rc;
}

void
tls_authorities_fini(struct tls_authorities *a)
{
	X509_STORE_free(a->store);
	sk_X509_NAME_pop_free(a->names, X509_NAME_free);
	memset(a, 0, sizeof(*a));
}
