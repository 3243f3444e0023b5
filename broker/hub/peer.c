/*
 * peer: one connection to the hub.  See peer.h.
 */
#include "broker/hub/peer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/block.h"
#include "common/ipc_link.h"
#include "common/ipc_msg.h"
#include "common/log.h"

static int
on_message(void *arg, const struct ipc_msg *m)
{
	struct peer *p = arg;

	return p->dead ? FAN_EGONE : p->message(p->arg, p, m);
}

static void
on_closed(void *arg, int err)
{
	static struct log_gate gate;
	struct peer *p = arg;

	if (p->slot >= 0 && !p->dead)
		log_info("peer=\"worker %d\" link lost reason=\"%s\"", p->slot, fan_strerror(err));
	else if (p->slot < 0 && log_gate_open(&gate, 5))
		log_warnx("peer refused reason=\"%s\"", fan_strerror(err));
	p->dead = true;
}

/* The name that was remembered last is said, or no longer of interest. */
static void
forget_gap(struct peer *p)
{
	char **last = &p->gap[--p->gaps];

	free(*last);
	*last = NULL;
}

static void
forget_gaps(struct peer *p)
{
	while (p->gaps > 0)
		forget_gap(p);
	p->gap_on_all = false;
}

static int
send_gap(struct peer *p, const char *channel)
{
	struct ipc_msg m = { .type = IPC_GAP, .channel = channel, .channel_len = strlen(channel) };

	m.value = m.channel_len == 0;
	return ipc_link_send(p->link, &m);
}

/* Says what is missing, as soon as the link has room.  Nonzero: not yet. */
static int
send_gaps(struct peer *p)
{
	static struct log_gate gate;
	int err = 0;

	if (p->gaps == 0 && !p->gap_on_all)
		return 0;
	if (ipc_link_full(p->link))
		return FAN_EFULL;
	if (p->gap_on_all && (err = send_gap(p, "")) == 0)
		forget_gaps(p);
	/* A name leaves the list when it is said, so that a later try goes on where this ended. */
	while (err == 0 && p->gaps > 0 && (err = send_gap(p, p->gap[p->gaps - 1])) == 0)
		forget_gap(p);
	if (err != 0)
		return err;
	if (p->dropped > 0 && log_gate_open(&gate, 5))
		log_warnx(
		    "peer=\"worker %d\" dropped=%" PRIu64 " reason=\"slow\"", p->slot, p->dropped);
	p->dropped = 0;
	return 0;
}

static void
on_drained(void *arg)
{
	struct peer *p = arg;

	/* Where it fails, the next publication or the end of the pass tries again. */
	(void)send_gaps(p);
}

static const struct ipc_link_handler link_handler = { on_message, on_drained, on_closed };

struct peer *
peer_new(struct event_base *base, int fd, size_t max_queue, peer_message_fn message, void *arg)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		close(fd);
		return NULL;
	}
	p->slot = -1;
	p->message = message;
	p->arg = arg;
	p->link =
	    ipc_link_new(base, fd, IPC_HEAD_SIZE + IPC_COOKIE_SIZE, max_queue, &link_handler, p);
	if (p->link == NULL) {
		free(p);
		return NULL;
	}
	return p;
}

void
peer_free(struct peer *p)
{
	if (p == NULL)
		return;
	forget_gaps(p);
	ipc_link_free(p->link);
	free(p);
}

void
peer_accept(struct peer *p, unsigned slot, size_t max_msg)
{
	p->slot = (int)slot;
	ipc_link_set_max_msg(p->link, max_msg);
}

void
peer_send(struct peer *p, const struct ipc_msg *m)
{
	int err;

	if (p->dead)
		return;
	err = ipc_link_send(p->link, m);
	if (err == 0)
		return;
	log_warnx("peer=\"worker %d\" cut off reason=\"%s\"", p->slot, fan_strerror(err));
	p->dead = true;
}

/* The whole message in one block, so that the records are copied once. */
static int
send_past(struct peer *p, const struct ipc_msg *m, const struct ipc_past *past, const uint8_t *head,
    size_t head_len)
{
	struct block *b;
	uint8_t *payload;
	int err;

	if (ipc_msg_size(m) > IPC_MSG_MAX)
		return FAN_ETOOBIG;
	b = block_new(ipc_msg_size(m));
	if (b == NULL)
		return FAN_ENOMEM;
	ipc_msg_encode_head(m, b->data);
	payload = b->data + IPC_HEAD_SIZE + m->channel_len;
	memcpy(payload, head, head_len);
	memcpy(payload + head_len, past->records.p, past->records.n);
	b->len = ipc_msg_size(m);
	err = ipc_link_send_block(p->link, b);
	block_unref(b);
	return err;
}

int
peer_answer(struct peer *p, const struct ipc_msg *m, const struct ipc_past *past)
{
	uint8_t head[IPC_PAST_HEAD_MAX];
	struct ipc_msg whole = *m;
	size_t n;

	if (p->dead)
		return 0;
	/* What is missing is asked for sooner if it is told before; where there is no room, after. */
	(void)send_gaps(p);
	if (past == NULL)
		return ipc_link_send(p->link, m);
	n = ipc_past_head(past, head);
	whole.data = head;
	whole.len = n + past->records.n;
	if (past->records.n == 0)
		return ipc_link_send(p->link, &whole);
	return send_past(p, &whole, past, head, n);
}

void
peer_gap(struct peer *p, const char *channel, size_t len)
{
	size_t i;

	if (p->gap_on_all)
		return;
	for (i = 0; i < p->gaps; i++) {
		if (strncmp(p->gap[i], channel, len) == 0 && p->gap[i][len] == '\0')
			return;
	}
	if (p->gaps < PEER_GAPS_MAX && (p->gap[p->gaps] = strndup(channel, len)) != NULL)
		p->gaps++;
	else
		p->gap_on_all = true;
}

void
peer_miss(struct peer *p, const char *channel, size_t len)
{
	p->dropped++;
	peer_gap(p, channel, len);
}

void
peer_publish(struct peer *p, struct block *b, const char *channel, size_t len)
{
	if (p->dead)
		return;
	if (send_gaps(p) != 0 || ipc_link_full(p->link) || ipc_link_send_block(p->link, b) != 0)
		peer_miss(p, channel, len);
}

void
peer_flush(struct peer *p)
{
	if (p->dead)
		return;
	(void)send_gaps(p);
	ipc_link_flush(p->link);
}
