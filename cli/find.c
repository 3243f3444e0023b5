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
#include "common/sock.h"

/* A server on every address is reached on the loopback one. */
static int
reachable(const char *listen, const char *scheme, char **url)
{
	char text[SOCK_ADDR_TEXT];
	const char *why;
	struct sock_addr a;

	if (sock_addr_parse(listen, &a, &why) != 0)
		return FAN_EINVAL;
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
	if (list->n == 0) {
		(void)fprintf(stderr, "%s: no %s address\n", config,
		    internal ? "listen.internal" : "listen.public");
		r = FAN_ENOENT;
		goto done;
	}
	r = reachable(list->item[0], scheme, url);
	if (r == 0 && key != NULL && conf->api.key[0] != '\0') {
		*key = strdup(conf->api.key);
		r = *key == NULL ? FAN_ENOMEM : 0;
	}
done:
	conf_free(conf);
	return r;
}
