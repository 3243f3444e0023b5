/*
 * client: on whose behalf a connection's requests come.  See client.h.
 */
#include "worker/http/client.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/sock.h"
#include "worker/http/forwarded.h"
#include "worker/http/http.h"
#include "worker/net/conn.h"
#include "worker/net/guests.h"

int
clients_init(struct clients *cs, const struct conf *c, struct net *net)
{
	const struct conf_list *l = &c->proxy.trusted;
	const char *why;
	size_t i;
	int err = 0;

	memset(cs, 0, sizeof(*cs));
	cs->header = c->proxy.header;
	for (i = 0; i < l->n && err == 0; i++)
		err = addr_set_add(&cs->trusted, l->item[i], &why);
	if (err == 0 && (c->limits.address_connections > 0 || c->limits.address_rate > 0)) {
		net->guests = guests_new(net->deadlines, (uint32_t)c->limits.address_connections,
		    (uint32_t)c->limits.address_rate);
		if (net->guests == NULL)
			err = FAN_ENOMEM;
	}
	if (err != 0)
		clients_fini(cs);
	return err;
}

void
clients_fini(struct clients *cs)
{
	addr_set_fini(&cs->trusted);
}

static bool
is_trusted(const struct clients *cs, const struct sockaddr_storage *ss)
{
	return addr_set_has(&cs->trusted, (const struct sockaddr *)ss);
}

/* Gives the connection its place among those of an address instead of the one that it has. */
static int
move_in(struct conn *c, const struct sockaddr_storage *client)
{
	const struct sockaddr *sa = (const struct sockaddr *)client;
	uint64_t now = clock_ms();
	struct guest *guest;
	int err;

	if (guest_is(c->guest, sa))
		return 0;
	err = guests_enter(c->net->guests, sa, now, &guest);
	if (err != 0)
		return err;
	guest_leave(c->guest, now);
	c->guest = guest;
	return 0;
}

static void
log_refusal(struct clients *cs, const struct sockaddr_storage *client)
{
	char text[SOCK_ADDR_TEXT];

	cs->refused++;
	if (log_gate_open(&cs->gate, 1))
		log_warnx("client=%s has too many connections, or makes them too fast refused=%llu",
		    sock_addr_text((const struct sockaddr *)client, text),
		    (unsigned long long)cs->refused);
}

/* err: of move_in. */
static void
refuse(struct clients *cs, struct http *h, const struct sockaddr_storage *client, int err)
{
	if (err != FAN_EFULL) {
		http_fail(h, 500, "", "out of memory");
		return;
	}
	log_refusal(cs, client);
	h->keep_alive = false;
	http_error(h, 429, "Retry-After: 5\r\n", "too many connections from this address");
	conn_finish(h->conn, CONN_CLOSED_POLICY);
}

bool
client_arrives(struct clients *cs, struct http *h, bool tell)
{
	struct sockaddr_storage client;
	int err;

	if (h->conn->net->guests == NULL)
		return true;
	conn_client(h->conn, &client);
	if (is_trusted(cs, &client))
		return true;
	err = move_in(h->conn, &client);
	if (err == 0)
		return true;
	if (tell) {
		refuse(cs, h, &client, err);
		return false;
	}
	if (err == FAN_EFULL)
		log_refusal(cs, &client);
	conn_close(h->conn, err == FAN_EFULL ? CONN_CLOSED_POLICY : CONN_CLOSED_INTERNAL);
	return false;
}

/* From now on the connection is the client's, and h remembers whose it was. */
static int
set_client(
    struct http *h, const struct sockaddr_storage *peer, const struct sockaddr_storage *client)
{
	if (h->peer == NULL) {
		h->peer = malloc(sizeof(*h->peer));
		if (h->peer == NULL)
			return FAN_ENOMEM;
		*h->peer = *peer;
	}
	return conn_set_client(h->conn, client);
}

static void
log_request(const struct sockaddr_storage *client, const struct sockaddr_storage *peer)
{
	char text[2][SOCK_ADDR_TEXT];

	if (log_shows(LOG_LEVEL_DEBUG))
		log_debug("request client=%s proxy=%s",
		    sock_addr_text((const struct sockaddr *)client, text[0]),
		    sock_addr_text((const struct sockaddr *)peer, text[1]));
}

bool
client_asks(struct clients *cs, struct http *h, const struct http_request *req)
{
	const char *field = forwarded_field(cs->header);
	struct sockaddr_storage peer, client;
	bool named, limited;
	size_t pos = 0;
	int err = 0;

	if (field == NULL || (cs->trusted.n == 0 && !cs->trusted.unix_peers))
		return true;
	if (h->peer != NULL)
		peer = *h->peer;
	else
		conn_client(h->conn, &peer);
	if (!is_trusted(cs, &peer))
		return true;
	named = forwarded_client(req, &cs->trusted, cs->header, &peer, &client);
	limited = named ? !is_trusted(cs, &client) : http_field_next(req, field, &pos) != NULL;
	if (named || h->peer != NULL)
		err = set_client(h, &peer, &client);
	if (named)
		log_request(&client, &peer);
	if (err == 0 && h->conn->net->guests != NULL && http_listener(h) == LISTENER_PUBLIC) {
		if (limited)
			err = move_in(h->conn, &client);
		else {
			guest_leave(h->conn->guest, clock_ms());
			h->conn->guest = NULL;
		}
	}
	if (err != 0)
		refuse(cs, h, &client, err);
	return err == 0;
}
