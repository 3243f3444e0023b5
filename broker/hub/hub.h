/*
 * hub: the process that holds the node's state: one engine, and who wants what.
 *
 * Process: hub.
 * Layer:   broker/hub, its top.  Uses all of it, broker/engine, common.
 */
#ifndef BROKER_HUB_HUB_H
#define BROKER_HUB_HUB_H

struct boot;

/* Runs the hub until SIGTERM.  Returns the exit status of the process; the reason is logged. */
int hub_main(struct boot *b);

#endif
