/*
 * wait: waits that a signal ends.
 *
 * Owns:    the flag that SIGINT and SIGTERM set.
 * Process: the command line, one thread.
 * Layer:   cli, lowest.  Uses common.
 */
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include <stdbool.h>

#include "common/err.h"

/* Makes SIGINT and SIGTERM end the waits below; a second one ends the process. */
void wait_catch_signals(void);
/* Whether one came. */
bool wait_stopped(void);

/* Waits for poll(2) events.  0: ready.  FAN_ETIMEOUT.  FAN_EAGAIN: a signal asks to stop. */
FAN_NODISCARD int wait_fd(int fd, short events, int ms);
/* Sleeps this long, or until a signal asks to stop. */
void wait_ms(int ms);

#endif
