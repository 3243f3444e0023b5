/*
 * preset: how to speak to the brokers that the tool knows.  See preset.h.
 */
#include "bench/preset.h"

#include <stddef.h>
#include <string.h>

#include "bench/settings.h"

#define FANFARE_PATHS .path = "/ws/%c", .http_path = "/pub/%c", .redis_prefix = "fanfare:"

static const struct preset {
	const char *name;
	const char *about;
	struct dialect dialect;
} presets[] = {
	{ "fanfare", "Fanfare's raw dialect",
	    { .url = "ws://127.0.0.1:8080",
		.publish_url = "http://127.0.0.1:8081",
		.echo = true,
		FANFARE_PATHS } },
	{ "floor", "fanfare-bench floor",
	    { .url = "ws://127.0.0.1:7777", .echo = true, FANFARE_PATHS } },
	{ "ws", "bench/peers/ws.mjs: the package ws on Node",
	    { .url = "ws://127.0.0.1:7778", .echo = true, FANFARE_PATHS } },
	{ "nchan", "nginx with nchan, by bench/peers/nginx.conf.in",
	    { .url = "ws://127.0.0.1:7779",
		.publish_url = "http://127.0.0.1:7779",
		.path = "/sub/%c",
		.publish_path = "/pub/%c",
		.http_path = "/pub/%c",
		.redis_prefix = "" } },
	{ "nats", "nats-server over WebSocket, by bench/peers/nats.conf.in",
	    { .url = "ws://127.0.0.1:7780",
		.path = "/",
		.hello = "CONNECT {\"verbose\":false,\"pedantic\":false}\\r\\n",
		.subscribe = "SUB %c 1\\r\\n",
		.publish_message = "PUB %c %n\\r\\n%p\\r\\n",
		.http_path = "/",
		.redis_prefix = "",
		.binary = true,
		.marked = true } },
	{ "redis", "redis-server's own pub/sub, without WebSocket",
	    { .url = "127.0.0.1:6379",
		.path = "/",
		.subscribe = "SUBSCRIBE %c\\r\\n",
		.publish_message = "PUBLISH %c %p\\r\\n",
		.http_path = "/",
		.redis_prefix = "",
		.plain = true,
		.marked = true } },
};

const struct dialect *
preset_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(presets) / sizeof(presets[0]); i++) {
		if (strcmp(presets[i].name, name) == 0)
			return &presets[i].dialect;
	}
	return NULL;
}

const char *
preset_name(unsigned i, const char **about)
{
	if (i >= sizeof(presets) / sizeof(presets[0]))
		return NULL;
	*about = presets[i].about;
	return presets[i].name;
}
