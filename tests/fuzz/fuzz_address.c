/*
 * fuzz_address: addresses as text: sets of them, entries of listen.*, what proxies write into
 * X-Forwarded-For and Forwarded (common/addr_set, listen_spec, sock; worker/http/forwarded).
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz, common, worker/http.
 *
 * Input: a byte that says which, 'a', 'l', 's' or 'f', and lines: of 'f' the trusted proxies, then
 * the peer, and then the fields' values.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/addr_set.h"
#include "common/conf.h"
#include "common/listen_spec.h"
#include "common/sock.h"
#include "tests/fuzz/fuzz.h"
#include "worker/http/forwarded.h"
#include "worker/http/parse.h"

#define FIELDS_MAX 4

/* An address that is written is read as the same. */
static void
check_written(const struct sock_addr *a)
{
	char text[SOCK_ADDR_TEXT], again[SOCK_ADDR_TEXT];
	struct sock_addr other;
	const char *why;

	(void)sock_addr_text((const struct sockaddr *)&a->ss, text);
	FUZZ_CHECK(memchr(text, '\0', sizeof(text)) != NULL);
	FUZZ_CHECK(sock_addr_parse(text, &other, &why) == 0);
	FUZZ_CHECK(strcmp(text, sock_addr_text((const struct sockaddr *)&other.ss, again)) == 0);
	FUZZ_CHECK(sock_addr_is_loopback(a) == sock_addr_is_loopback(&other));
}

static void
check_sock(struct fuzz_input in)
{
	char *text = fuzz_string(in);
	const char *why = NULL;
	struct sock_addr a;
	int err = sock_addr_parse(text, &a, &why);

	if (err == 0)
		check_written(&a);
	else
		FUZZ_CHECK(err == FAN_EINVAL && why != NULL && *why != '\0');
	free(text);
}

static void
check_listen(struct fuzz_input in)
{
	char *text = fuzz_string(in);
	struct listen_spec l;
	struct sockaddr_un un;
	const char *why = NULL;
	int err;

	memset(&l, 0xa5, sizeof(l));
	err = listen_spec_parse(text, &l, &why);
	if (err == 0) {
		FUZZ_CHECK(memchr(l.user, '\0', sizeof(l.user)) != NULL);
		FUZZ_CHECK(memchr(l.group, '\0', sizeof(l.group)) != NULL);
		FUZZ_CHECK((l.mode & ~(mode_t)07777) == 0);
		if (l.addr.ss.ss_family == AF_UNIX) {
			memcpy(&un, &l.addr.ss, sizeof(un));
			FUZZ_CHECK(un.sun_path[0] == '/');
			FUZZ_CHECK(memchr(un.sun_path, '\0', sizeof(un.sun_path)) != NULL);
			FUZZ_CHECK(listen_spec_is_local(&l));
		} else {
			FUZZ_CHECK(l.user[0] == '\0' && l.group[0] == '\0');
			FUZZ_CHECK(listen_spec_is_local(&l) == sock_addr_is_loopback(&l.addr));
			check_written(&l.addr);
		}
	} else {
		FUZZ_CHECK(err == FAN_EINVAL && why != NULL && *why != '\0');
	}
	free(text);
}

/* Adds one entry.  A set that has more has no less in it. */
static void
add(struct addr_set *s, struct fuzz_input line, const struct sock_addr *probe, size_t probes)
{
	char *text = fuzz_string(line);
	const char *why = NULL;
	bool had[4];
	size_t i;
	int err;

	for (i = 0; i < probes; i++)
		had[i] = addr_set_has(s, (const struct sockaddr *)&probe[i].ss);
	err = addr_set_add(s, text, &why);
	FUZZ_CHECK(err == 0 || (err == FAN_EINVAL && why != NULL && *why != '\0'));
	for (i = 0; i < probes; i++) {
		bool has = addr_set_has(s, (const struct sockaddr *)&probe[i].ss);

		FUZZ_CHECK(has || !had[i]);
		FUZZ_CHECK(err == 0 || has == had[i]);
	}
	free(text);
}

static void
check_set(struct fuzz_input in)
{
	static const char *const known[] = { "10.1.2.3:1", "[2001:db8::1]:1", "[::ffff:10.1.2.3]:1",
		"127.0.0.1:1" };
	struct addr_set s = { 0 };
	struct sock_addr probe[4];
	const char *why;
	size_t i;

	for (i = 0; i < 4; i++)
		FUZZ_CHECK(sock_addr_parse(known[i], &probe[i], &why) == 0);
	while (in.n > 0)
		add(&s, fuzz_line(&in), probe, 4);
	/* The same address, written as IPv4 and mapped into IPv6. */
	FUZZ_CHECK(addr_set_has(&s, (const struct sockaddr *)&probe[0].ss) ==
	    addr_set_has(&s, (const struct sockaddr *)&probe[2].ss));
	addr_set_fini(&s);
}

/* --- forwarded ----------------------------------------------------------------------------- */

/* Nobody but a trusted peer names another client; and who is named first is not trusted himself. */
static void
check_client(const struct http_request *req, const struct addr_set *trusted, int header,
    const struct sock_addr *peer)
{
	const struct sockaddr *from = (const struct sockaddr *)&peer->ss;
	struct sockaddr_storage client;
	char text[SOCK_ADDR_TEXT];

	memset(&client, 0, sizeof(client));
	if (!forwarded_client(req, trusted, header, &peer->ss, &client))
		return;
	FUZZ_CHECK(header != CONF_PROXY_NONE && addr_set_has(trusted, from));
	FUZZ_CHECK(client.ss_family == AF_INET || client.ss_family == AF_INET6);
	FUZZ_CHECK(*sock_addr_text((const struct sockaddr *)&client, text) != '\0');
}

static void
check_forwarded(struct fuzz_input in)
{
	static const char *const names[] = { "X-Forwarded-For", "Forwarded" };
	static struct http_request req;
	struct addr_set trusted = { 0 };
	struct sock_addr peer;
	uint8_t *values[FIELDS_MAX];
	const char *why;
	char *text;
	size_t n, i;

	text = fuzz_string(fuzz_line(&in));
	/* With nobody whom it trusts, the peer is the client. */
	FUZZ_CHECK(addr_set_add(&trusted, text, &why) <= 0);
	free(text);
	text = fuzz_string(fuzz_line(&in));
	if (sock_addr_parse(text, &peer, &why) != 0)
		FUZZ_CHECK(sock_addr_parse("127.0.0.1:1", &peer, &why) == 0);
	free(text);
	for (n = 0; n < FIELDS_MAX && in.n > 0; n++) {
		struct fuzz_input line = fuzz_line(&in);

		values[n] = fuzz_copy(line.p, line.n);
		req.field[n].value = (struct http_slice){ (const char *)values[n], line.n };
	}
	req.nfields = n;
	for (i = 0; i < 2; i++) {
		size_t k;

		for (k = 0; k < n; k++)
			req.field[k].name = (struct http_slice){ names[i], strlen(names[i]) };
		check_client(&req, &trusted, CONF_PROXY_X_FORWARDED_FOR, &peer);
		check_client(&req, &trusted, CONF_PROXY_FORWARDED, &peer);
		check_client(&req, &trusted, CONF_PROXY_NONE, &peer);
	}
	for (i = 0; i < n; i++)
		free(values[i]);
	addr_set_fini(&trusted);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };

	switch (fuzz_byte(&in)) {
	case 'a':
		check_set(in);
		break;
	case 'l':
		check_listen(in);
		break;
	case 's':
		check_sock(in);
		break;
	case 'f':
		check_forwarded(in);
		break;
	default:
		break;
	}
	return 0;
}
