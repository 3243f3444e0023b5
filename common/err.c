/*
 * err: phrases for the error codes.  See err.h.
 */
#include "common/err.h"

const char *
fan_strerror(int err)
{
	switch ((enum fan_err)err) {
	case FAN_OK:
		return "success";
	case FAN_EAGAIN:
		return "incomplete";
	case FAN_ENOMEM:
		return "out of memory";
	case FAN_EINVAL:
		return "invalid";
	case FAN_ETOOBIG:
		return "too big";
	case FAN_EPROTO:
		return "protocol error";
	case FAN_ENOENT:
		return "not found";
	case FAN_EEXIST:
		return "exists already";
	case FAN_EDENIED:
		return "denied";
	case FAN_EDOWN:
		return "unavailable";
	case FAN_EFULL:
		return "queue full";
	case FAN_EGONE:
		return "gone";
	case FAN_ETIMEOUT:
		return "timed out";
	case FAN_ESYS:
		return "system error";
	case FAN_EASK:
		return "to be asked";
	case FAN_EEXPIRED:
		return "expired";
	}
	return "unknown error";
}
