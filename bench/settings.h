/*
 * settings: what the user asked for, after the preset and the options.
 *
 * Process: fanfare-bench.
 * Layer:   bench, lowest.  Uses nothing.
 */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SETTINGS_HEADERS_MAX 16
#define SETTINGS_NAME "fanfare-bench"

enum mode {
	MODE_FANOUT,
	MODE_PAIRS,
	MODE_IDLE,
	MODE_CHURN,
	MODE_FLOOR,
};

enum publish {
	PUBLISH_WS,
	PUBLISH_HTTP,
	PUBLISH_REDIS,
};

enum payload {
	PAYLOAD_FILL, /* a stamp and one letter again and again */
	PAYLOAD_JSON, /* see body.h */
};

enum floor_kind {
	FLOOR_SEND,
	FLOOR_COALESCED,
	FLOOR_PAIR,
};

/* How to speak to a broker.  Templates: %c channel, %p payload, %n its length. */
struct dialect {
	const char *url;             /* where subscribers connect, ws://HOST:PORT or wss:// */
	const char *path;            /* request target, template of %c */
	const char *publish_path;    /* of a WebSocket that publishes; NULL: path */
	const char *hello;           /* first message of every connection; NULL: none */
	const char *subscribe;       /* then each subscriber's; NULL: the path has subscribed it */
	const char *publish_message; /* template of %c %p %n */
	const char *publish_url;     /* for HTTP and Redis */
	const char *http_path;       /* template of %c */
	const char *redis_prefix;
	const char *origin;
	const char *protocol; /* Sec-WebSocket-Protocol */
	bool plain;           /* no WebSocket at all: bytes over TCP */
	bool echo;            /* a connection that publishes gets its own messages */
	bool binary;          /* binary frames */
	bool marked;          /* the payload is found by its mark, not by the frame's bounds */
};

struct settings {
	enum mode mode;
	enum publish publish;
	struct dialect dialect;
	const char *preset;
	const char *headers[SETTINGS_HEADERS_MAX];
	size_t nheaders;
	const char *channel;
	unsigned threads;
	unsigned subscribers;
	unsigned pairs;
	unsigned connections;
	unsigned concurrency;
	unsigned window; /* messages that not every subscriber has; 0: no bound but the rate's */
	unsigned pipeline;
	size_t size;
	enum payload payload;
	size_t stamp_at;   /* in the payload */
	uint64_t messages; /* 0: as many as fit the duration */
	double duration;   /* seconds; these three too */
	double warmup;
	double timeout;
	double rate;    /* messages a second and channel; 0: as fast as the window lets */
	pid_t server;   /* 0: not known */
	const char *ca; /* file of certificates; NULL: the system's */
	bool insecure;  /* any certificate will do */
	bool tls;       /* the URL says so */
	bool deflate;   /* offer permessage-deflate */
	bool own_channels;
	bool json;
	bool progress;
	enum floor_kind floor;
	const char *listen;
};

/*
 * Reads the command line into s; strings point into argv.  Ends the process where it is wrong, and
 * after --help.
 */
void settings_read(int argc, char **argv, struct settings *s);

#endif
