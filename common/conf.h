/*
 * conf: the configuration of a node.
 *
 * Owns:    every string and list in it.
 * Process: any.  The master reads file, environment and command line; a child reads the text that
 *          the master printed.
 * Layer:   common.  Uses err, publication, sock, utf8; libyaml.
 *
 * One table (conf_table.c) holds for each option its key, type, default, range, unit, whether a
 * reload can change it, and one line of help.  Loading, checking, printing, the environment, the
 * help and the shipped etc/fanfare.yaml are all made from it.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/conf_rule.h"
#include "common/err.h"

struct conf_list {
	char **item;
	size_t n;
};

/* What happens where a hook cannot be asked. */
enum conf_hook_failure {
	CONF_HOOK_DENY,
	CONF_HOOK_ALLOW,
};

enum conf_tls_version {
	CONF_TLS_1_2,
	CONF_TLS_1_3,
};

/* Whether a client must show a certificate where tls.client_ca is set. */
enum conf_client_certificate {
	CONF_CLIENT_OPTIONAL,
	CONF_CLIENT_REQUIRED,
};

/* The one field in which a trusted proxy names the client. */
enum conf_proxy_header {
	CONF_PROXY_NONE,
	CONF_PROXY_X_FORWARDED_FOR,
	CONF_PROXY_FORWARDED, /* RFC 7239 */
};

/* Times are in milliseconds, sizes in bytes. */
struct conf {
	int64_t workers; /* 0: one per core */
	struct {
		struct conf_list public_addrs;
		struct conf_list internal;
		int64_t backlog;
	} listen;
	struct {
		char *url; /* "": the memory engine */
		char *prefix;
		int64_t connect_timeout;
		int64_t timeout;
		int64_t canary;
		int64_t queue;
	} redis;
	struct {
		char *key; /* "": none */
	} api;
	struct {
		char *secret;   /* of HMAC, for tokens without a kid; "": none */
		char *jwks;     /* file of a JWK Set (RFC 7517); "": none */
		char *audience; /* "": not looked at */
		char *issuer;   /* "": not looked at */
		int64_t leeway; /* ms */
		bool required;
	} auth;
	struct {
		char *connect, *subscribe, *publish, *disconnect; /* URLs; "": not asked */
		char *key;                                        /* "": none */
		struct conf_list headers;
		int64_t timeout; /* ms, of one attempt */
		int64_t retries;
		int64_t connections; /* at once, of one worker */
		int64_t queue;       /* that wait for one */
		int failure;         /* enum conf_hook_failure */
		int64_t breaker;     /* failures in a row */
		int64_t pause;       /* ms */
	} hooks;
	struct {
		char *stream; /* key of Redis; "": none */
		int64_t length;
		struct conf_list include;
	} events;
	struct {
		int64_t lease; /* ms */
	} presence;
	struct conf_list origins; /* empty: same host */
	struct {
		bool enabled;
	} demo;
	struct {
		bool io_uring;
	} fanout;
	struct {
		bool enabled;
		int64_t level;        /* of zlib, 1 to 9 */
		int64_t window_bits;  /* 9 to 15: the largest window, in both directions */
		int64_t memory_level; /* of zlib, 1 to 9 */
		int64_t min_size;     /* bytes of a message that is worth it */
		bool client_context_takeover;
	} deflate;
	struct {
		struct conf_list certificates; /* "CHAIN.pem KEY.pem", or one file with both */
		int min_version;               /* enum conf_tls_version */
		char *client_ca;               /* "": clients are asked for no certificate */
		int client_certificate;        /* enum conf_client_certificate */
		bool ktls;
	} tls;
	struct {
		struct conf_list trusted; /* ADDRESS, ADDRESS/BITS or "unix" */
		int header;               /* enum conf_proxy_header */
	} proxy;
	struct {
		int level; /* enum log_level */
	} log;
	struct {
		int64_t message;
		int64_t fragments;
		int64_t assemble;
		int64_t head;
		int64_t fields;
		int64_t handshake;
		int64_t idle;
		int64_t body;
		int64_t ping_interval;
		int64_t pong_timeout;
		int64_t close;
		int64_t queue;
		int64_t queues; /* 0: see worker.c */
		int64_t stall;
		int slow; /* enum conf_slow, never CONF_SLOW_DEFAULT */
		int64_t sndbuf;
		int64_t subscriptions;
		int64_t channel_name;
		int64_t commands;
		int64_t commands_burst;
		int64_t connections;         /* 0: 90 % of nofile */
		int64_t address_connections; /* 0: no limit */
		int64_t address_rate;        /* a second; 0: no limit */
		int64_t proxy_header;        /* ms */
		int64_t link_queue;
		int64_t token;
		int64_t authenticate;   /* ms */
		int64_t recovery;       /* messages */
		int64_t position_check; /* ms; 0: never */
		int64_t history_memory; /* bytes, of the memory engine */
	} limits;
	struct conf_rules channels;
};

/* The defaults.  NULL: no memory. */
struct conf *conf_new(void);
void conf_free(struct conf *c);

/*
 * Each of these reads options into c, later ones over earlier ones, and writes one line per error
 * to err, as "FILE:LINE: message" where there is a file.  FAN_EINVAL if there was any.
 *
 * Unknown keys are named with the nearest valid one; wrong types and values out of range with what
 * is allowed.  A list that is given replaces the one before it.  After an error, FAN_ENOMEM
 * included, c holds a mixture: fit to look for more errors with, and for conf_free.
 */
/* path "-" is standard input. */
FAN_NODISCARD int conf_load_file(struct conf *c, const char *path, FILE *err);
/* name stands for the text in messages. */
FAN_NODISCARD int conf_load_text(
    struct conf *c, const char *name, const char *text, size_t n, FILE *err);
/*
 * "key=value".  The value is taken as it is, without the white space around it, or as YAML has it
 * where it stands in quotes; lists are written "a, b" or "[a, b]", and `channels` is YAML.
 */
FAN_NODISCARD int conf_set(struct conf *c, const char *assignment, FILE *err);
/*
 * FANFARE_LISTEN_PUBLIC and the like: the key in upper case with "_" for ".", the value as
 * conf_set takes it.  Unknown FANFARE_ names are errors, but for those that container schedulers
 * add for a service named fanfare (FANFARE_SERVICE_*, FANFARE_PORT, FANFARE_PORT_*).
 */
FAN_NODISCARD int conf_load_env(struct conf *c, char *const *env, FILE *err);

/*
 * What cannot be said of one option alone: addresses that cannot be parsed, an internal listener
 * that is not loopback without api.key, a pong_timeout not shorter than the ping_interval, and so
 * on.  The syntax of redis.url is the engine's to check.  Sizes are not compared: raising
 * limits.message alone is allowed, and so every queue must let one message of that size wait,
 * whatever its own limit says.
 */
FAN_NODISCARD int conf_check(const struct conf *c, FILE *err);

/*
 * Prints the effective configuration as YAML that conf_load_text reads back to the same.
 * secrets: false prints "(set)" in place of a secret, or of the password in a URL.
 */
void conf_print(const struct conf *c, FILE *out, bool secrets);
/* `fanfare help config`: every option with type, default, range, unit, reload, help. */
void conf_print_help(FILE *out);
/* etc/fanfare.yaml: every option with its default, commented out, with its help. */
void conf_print_example(FILE *out);

/* Visits every option, for tests and tools.  Returns NULL past the last. */
struct conf_option_info {
	const char *key, *type, *unit, *help;
	int64_t min, max; /* of a number; of a string's bytes; of a list's items */
	bool reloadable, secret;
};
const struct conf_option_info *conf_option(size_t i);

/*
 * The rule for a channel (name NUL-terminated), never NULL: where no rule is configured or none
 * matches, and for internal names, a rule that lets anyone subscribe and no client publish, and that
 * keeps no history.
 */
const struct conf_rule *conf_rule_for(const struct conf *c, const char *channel);

#endif
