/*
 * node: what the parts of the hub share.  See node.h.
 */
#include "broker/hub/node.h"

#include "broker/hub/peer.h"
#include "common/ipc_msg.h"

struct peer *
node_peer(const struct node *n, uint32_t serial)
{
	unsigned i;

	for (i = 0; i < n->slots; i++) {
		if (n->by_slot[i] != NULL && n->by_slot[i]->serial == serial)
			return n->by_slot[i];
	}
	return NULL;
}

void
node_send_all(const struct node *n, const struct ipc_msg *m)
{
	unsigned i;

	for (i = 0; i < n->slots; i++) {
		if (n->by_slot[i] != NULL)
			peer_send(n->by_slot[i], m);
	}
}
