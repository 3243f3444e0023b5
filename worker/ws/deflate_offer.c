/*
 * deflate_offer: what is agreed about permessage-deflate in the handshake.  A part of deflate.
 *
 * Owns:    nothing; pure functions.
 * Process: workers, and the tools that speak to them.
 * Layer:   worker/ws.  Uses worker/http/parse.
 */
#include <stdio.h>
#include <string.h>

#include "worker/http/parse.h"
#include "worker/ws/deflate.h"

#define VALUE_MAX 2 /* bytes of the longest value that any parameter of ours has */

/* What is left of a field's value. */
struct cursor {
	const char *p, *end;
};

/* A parameter of an extension (RFC 6455 §9.1). */
struct param {
	struct http_slice name;
	bool has_value;
	size_t len;            /* of the value, without quotes and backslashes */
	char value[VALUE_MAX]; /* its first bytes */
};

/* One offer of permessage-deflate. */
struct offer {
	bool declined;
	bool server_no_takeover, client_no_takeover; /* the parameter came */
	bool limits_client;                          /* client_max_window_bits came */
	uint8_t server_window, client_window;        /* 0: no value came */
};

/* --- the syntax -------------------------------------------------------------------------------- */

static void
skip_space(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
		c->p++;
}

/* Takes `sign` and the white space around it, which RFC 2616 implies between any two words. */
static bool
take(struct cursor *c, char sign)
{
	skip_space(c);
	if (c->p == c->end || *c->p != sign)
		return false;
	c->p++;
	skip_space(c);
	return true;
}

static bool
is_token_char(const char *p)
{
	return http_is_token((struct http_slice){ p, 1 });
}

static bool
take_token(struct cursor *c, struct http_slice *out)
{
	out->p = c->p;
	while (c->p < c->end && is_token_char(c->p))
		c->p++;
	out->n = (size_t)(c->p - out->p);
	return out->n > 0;
}

static void
add_to_value(struct param *param, char c)
{
	if (param->len < VALUE_MAX)
		param->value[param->len] = c;
	param->len++;
}

/* A value in quotes, which must be a token without them. */
static bool
take_quoted(struct cursor *c, struct param *param)
{
	for (c->p++; c->p < c->end && *c->p != '"'; c->p++) {
		if (*c->p == '\\' && ++c->p == c->end)
			return false;
		if (!is_token_char(c->p))
			return false;
		add_to_value(param, *c->p);
	}
	if (param->len == 0 || c->p == c->end)
		return false;
	c->p++;
	return true;
}

static bool
take_value(struct cursor *c, struct param *param)
{
	param->has_value = true;
	if (c->p < c->end && *c->p == '"')
		return take_quoted(c, param);
	while (c->p < c->end && is_token_char(c->p))
		add_to_value(param, *c->p++);
	return param->len > 0;
}

/* Takes ";" and a parameter.  1: taken; 0: there is none; FAN_EPROTO. */
static int
take_param(struct cursor *c, struct param *param)
{
	if (!take(c, ';'))
		return 0;
	*param = (struct param){ 0 };
	if (!take_token(c, &param->name))
		return FAN_EPROTO;
	if (take(c, '=') && !take_value(c, param))
		return FAN_EPROTO;
	return 1;
}

/* --- the offers -------------------------------------------------------------------------------- */

/* 8 to 15 without a leading zero; 0: it is not that. */
static uint8_t
window_bits(const struct param *param)
{
	const char *v = param->value;

	if (param->len == 1 && (v[0] == '8' || v[0] == '9'))
		return (uint8_t)(v[0] - '0');
	if (param->len == 2 && v[0] == '1' && v[1] >= '0' && v[1] <= '5')
		return (uint8_t)(10 + v[1] - '0');
	return 0;
}

/* Marks a parameter that has no value; false: it came before, or has one. */
static bool
set_flag(bool *flag, const struct param *param)
{
	if (*flag || param->has_value)
		return false;
	*flag = true;
	return true;
}

/* Adds a parameter to the offer; false: it must be declined (RFC 7692 §7.1). */
static bool
offer_add(struct offer *o, const struct param *param)
{
	if (http_slice_is(param->name, "server_no_context_takeover"))
		return set_flag(&o->server_no_takeover, param);
	if (http_slice_is(param->name, "client_no_context_takeover"))
		return set_flag(&o->client_no_takeover, param);
	if (http_slice_is(param->name, "server_max_window_bits")) {
		if (o->server_window != 0)
			return false;
		o->server_window = param->has_value ? window_bits(param) : 0;
		return o->server_window != 0;
	}
	if (http_slice_is(param->name, "client_max_window_bits")) {
		if (o->limits_client)
			return false;
		o->limits_client = true;
		o->client_window = param->has_value ? window_bits(param) : 0;
		return !param->has_value || o->client_window != 0;
	}
	return false;
}

static uint8_t
smaller(uint8_t offered, uint8_t ours)
{
	return offered != 0 && offered < ours ? offered : ours;
}

static void
accept_offer(const struct offer *offer, const struct deflate_options *o, struct deflate_agreed *out)
{
	out->server_window = smaller(offer->server_window, o->window);
	out->client_window =
	    offer->limits_client ? smaller(offer->client_window, o->window) : DEFLATE_WINDOW_MAX;
	/* Who cannot keep to our window must not make us remember more than that. */
	out->client_takeover =
	    o->client_takeover && !offer->client_no_takeover && out->client_window <= o->window;
}

/* The field of the answer.  What the client did not offer is told only where it may be, §7.1.2. */
static void
write_field(const struct offer *offer, const struct deflate_agreed *a, char out[DEFLATE_FIELD_MAX])
{
	char server[32] = "", client[32] = "";

	if (offer->server_window != 0 || a->server_window < DEFLATE_WINDOW_MAX)
		(void)snprintf(
		    server, sizeof(server), "; server_max_window_bits=%d", a->server_window);
	if (a->client_window < DEFLATE_WINDOW_MAX)
		(void)snprintf(
		    client, sizeof(client), "; client_max_window_bits=%d", a->client_window);
	(void)snprintf(out, DEFLATE_FIELD_MAX,
	    "permessage-deflate; server_no_context_takeover%s%s%s",
	    a->client_takeover ? "" : "; client_no_context_takeover", server, client);
}

/* Takes one extension.  1: one that can be accepted, in *out; 0: another; FAN_EPROTO. */
static int
take_extension(struct cursor *c, struct offer *out)
{
	struct http_slice name;
	struct param param;
	int more;

	*out = (struct offer){ 0 };
	if (!take_token(c, &name))
		return FAN_EPROTO;
	out->declined = !http_slice_is(name, "permessage-deflate");
	while ((more = take_param(c, &param)) > 0) {
		if (!out->declined && !offer_add(out, &param))
			out->declined = true;
	}
	if (more < 0)
		return more;
	return out->declined ? 0 : 1;
}

/* Reads a field to its end.  *chosen is the first offer that can be accepted, declined if none. */
static int
read_field(struct http_slice value, struct offer *chosen, size_t *extensions)
{
	struct cursor c = { value.p, value.p + value.n };
	struct offer offer;

	do {
		int ok;

		/* A list may have empty elements (RFC 9110 §5.6.1). */
		skip_space(&c);
		if (c.p == c.end || *c.p == ',')
			continue;
		ok = take_extension(&c, &offer);
		if (ok < 0)
			return ok;
		++*extensions;
		if (ok > 0 && chosen->declined)
			*chosen = offer;
	} while (take(&c, ','));
	return c.p == c.end ? 0 : FAN_EPROTO;
}

int
deflate_negotiate(const struct http_request *req, const struct deflate_options *o,
    struct deflate_agreed *out, char field[DEFLATE_FIELD_MAX])
{
	const struct http_field *f;
	struct offer chosen = { .declined = true };
	size_t pos = 0, fields = 0, extensions = 0;

	while ((f = http_field_next(req, "sec-websocket-extensions", &pos)) != NULL) {
		if (read_field(f->value, &chosen, &extensions) != 0)
			return FAN_EPROTO;
		fields++;
	}
	if (fields > 0 && extensions == 0)
		return FAN_EPROTO;
	if (chosen.declined)
		return FAN_ENOENT;
	accept_offer(&chosen, o, out);
	write_field(&chosen, out, field);
	return 0;
}
