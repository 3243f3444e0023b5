/*
 * find: where the node with a given configuration listens.
 *
 * Process: the command line.
 * Layer:   cli.  Uses common.
 */
#include "cli/find.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/listen_spec.h"

/*
 * The first address that takes connections as they are; a server on every address is reached on the
 * loopback one.  FAN_ENOENT: all want TLS or a PROXY header, or are unix sockets.
 */
static int
reachable(const struct conf_list *list, const char *scheme, char **url)
{
	char text[SOCK_ADDR_TEXT];
	const char *why;
	struct listen_spec l;
	struct sock_addr a;
	size_t i;

	for (i = 0; i < list->n; i++) {
		if (listen_spec_parse(list->item[i], &l, &why) == 0 && !l.tls && !l.proxy &&
		    !listen_spec_is_unix(&l))
			break;
	}
	if (i == list->n)
		return FAN_ENOENT;
	a = l.addr;
	if (a.ss.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a.ss;

		if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
			in6->sin6_addr = in6addr_loopback;
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)&a.ss;

		if (in->sin_addr.s_addr == htonl(INADDR_ANY))
			in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	sock_addr_text((struct sockaddr *)&a.ss, text);
	if (asprintf(url, "%s://%s", scheme, text) < 0) {
		*url = NULL;
		return FAN_ENOMEM;
	}
	return 0;
}

int
find_node(const char *config, bool internal, const char *scheme, char **url, char **key)
{
	struct conf *conf = conf_new();
	const struct conf_list *list;
	int r = FAN_ENOMEM;

	if (conf == NULL)
		return r;
	r = conf_load_file(conf, config, stderr);
	if (r == 0)
		r = conf_load_env(conf, environ, stderr);
	if (r == 0)
		r = conf_check(conf, stderr);
	if (r != 0)
		goto done;
	list = internal ? &conf->listen.internal : &conf->listen.public_addrs;
	r = reachable(list, scheme, url);
	if (r == FAN_ENOENT)
		(void)fprintf(stderr, "%s: no %s address without tls and proxy\n", config,
		    internal ? "listen.internal" : "listen.public");
	if (r == 0 && key != NULL && conf->api.key[0] != '\0') {
		*key = strdup(conf->api.key);
		r = *key == NULL ? FAN_ENOMEM : 0;
	}
done:
	conf_free(conf);
	return r;
}
