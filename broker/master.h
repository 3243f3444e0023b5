/*
 * master: the process that the operator starts; supervises, and parses no byte of the network.
 *
 * Process: master.
 * Layer:   broker, its top.  Uses child, listen, boot, conf, log; libevent.
 */
#ifndef BROKER_MASTER_H
#define BROKER_MASTER_H

struct conf;

/*
 * Opens the sockets, runs hub and workers until SIGTERM or SIGINT, and stops them: the workers
 * first, so that none misses the hub.  c, which was checked, is borrowed.  Returns the exit status
 * of the process; the reason is logged.
 */
int master_main(const struct conf *c);

#endif
