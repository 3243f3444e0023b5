/*
 * err: the error codes that every function of the project returns.
 *
 * Process: any.
 * Layer:   common, lowest.  Uses nothing.
 *
 * Functions return 0 or one of these (all negative); results leave through out-pointers.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#define FAN_NODISCARD __attribute__((warn_unused_result))

enum fan_err {
	FAN_OK = 0,
	FAN_EAGAIN = -1,    /* incomplete: call again with more input, or later */
	FAN_ENOMEM = -2,    /* no memory */
	FAN_EINVAL = -3,    /* the argument or the input is malformed */
	FAN_ETOOBIG = -4,   /* a limit would be exceeded */
	FAN_EPROTO = -5,    /* the peer broke the protocol */
	FAN_ENOENT = -6,    /* no such thing */
	FAN_EEXIST = -7,    /* is there already */
	FAN_EDENIED = -8,   /* not allowed */
	FAN_EDOWN = -9,     /* the engine, the hub or the link is away */
	FAN_EFULL = -10,    /* a bounded queue has no room */
	FAN_EGONE = -11,    /* was there once, dropped since */
	FAN_ETIMEOUT = -12, /* the deadline passed */
	FAN_ESYS = -13,     /* a system call failed; errno says why */
	FAN_EASK = -14,     /* the application is to be asked */
	FAN_EEXPIRED = -15, /* it was valid until some time ago */
};

/* A short English phrase for the code, never NULL. */
const char *fan_strerror(int err);

#endif
