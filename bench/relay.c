/*
 * relay: the floor's channels, and what is sent to those who are in them.  See relay.h.
 */
#include "bench/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/text.h"
#include "bench/wire.h"

#define BUCKETS 65536
#define MESSAGE_MAX (64U << 20)
#define WAIT_MAX (256U << 20)

/* Frames that are ready to be sent. */
struct block {
	uint8_t *p;
	size_t n;
	size_t room;
};

struct channel {
	struct channel *next; /* in its bucket */
	struct channel *next_due;
	bool due;     /* FLOOR_COALESCED: in the list of those that have something to send */
	int *members; /* an fd, or ~fd where something waits already */
	uint32_t nmembers;
	uint32_t room;
	struct block block;
	size_t name_len;
	char name[];
};

struct relay {
	enum floor_kind kind;
	bool echo;
	struct peer *peers;
	void (*blocked)(void *arg, int fd, bool on);
	void *arg;
	struct block block; /* of a message, or of a read */
	struct channel *due;
	struct channel *buckets[BUCKETS];
};

struct relay *
relay_new(enum floor_kind kind, bool echo, struct peer *peers,
    void (*blocked)(void *arg, int fd, bool on), void *arg)
{
	struct relay *r = text_calloc(1, sizeof(*r));

	r->kind = kind;
	r->echo = echo;
	r->peers = peers;
	r->blocked = blocked;
	r->arg = arg;
	return r;
}

static void *
grow(void *p, size_t n, size_t size)
{
	void *grown = reallocarray(p, n, size);

	if (grown == NULL)
		text_die("no memory");
	return grown;
}

/* --- channels ---------------------------------------------------------------------------------- */

/* Channels stay when they are empty: there are as many as names. */
static struct channel *
find_channel(struct relay *r, const char *name, size_t n)
{
	uint32_t hash = 2166136261; /* FNV-1a */
	struct channel **slot, *ch;
	size_t i;

	for (i = 0; i < n; i++)
		hash = (hash ^ (uint8_t)name[i]) * 16777619;
	slot = &r->buckets[hash % BUCKETS];
	for (ch = *slot; ch != NULL; ch = ch->next) {
		if (ch->name_len == n && memcmp(ch->name, name, n) == 0)
			return ch;
	}
	ch = text_calloc(1, sizeof(*ch) + n);
	memcpy(ch->name, name, n);
	ch->name_len = n;
	ch->next = *slot;
	*slot = ch;
	return ch;
}

void
relay_join(struct relay *r, int fd, const char *name, size_t n)
{
	struct channel *ch = find_channel(r, name, n);

	if (ch->nmembers == ch->room) {
		ch->room = ch->room * 2 + 1;
		ch->members = grow(ch->members, ch->room, sizeof(*ch->members));
	}
	r->peers[fd].channel = ch;
	r->peers[fd].index = ch->nmembers;
	ch->members[ch->nmembers++] = fd;
}

void
relay_leave(struct relay *r, int fd)
{
	struct peer *peer = &r->peers[fd];
	struct channel *ch = peer->channel;
	int last;

	if (ch != NULL) {
		last = ch->members[--ch->nmembers];
		ch->members[peer->index] = last;
		r->peers[last < 0 ? ~last : last].index = peer->index;
	}
	free(peer->rest);
	free(peer->wait);
	memset(peer, 0, sizeof(*peer));
}

/* --- sending ----------------------------------------------------------------------------------- */

/* Keeps what the socket did not take. */
static void
wait_for(struct relay *r, int fd, const uint8_t *p, size_t n)
{
	struct peer *peer = &r->peers[fd];

	if (peer->nwait == 0) {
		peer->channel->members[peer->index] = ~fd;
		r->blocked(r->arg, fd, true);
	}
	if (peer->nwait + n > WAIT_MAX)
		text_die("%u MiB wait for a peer that does not read", WAIT_MAX >> 20);
	if (peer->nwait + n > peer->wait_room) {
		peer->wait_room = (peer->nwait + n) * 2;
		peer->wait = grow(peer->wait, peer->wait_room, 1);
	}
	memcpy(peer->wait + peer->nwait, p, n);
	peer->nwait += n;
}

/* An error shows as an event of the socket too, and is dealt with there. */
static size_t
send_some(int fd, const uint8_t *p, size_t n)
{
	ssize_t sent = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0)
		return errno == EAGAIN ? 0 : n;
	return (size_t)sent;
}

static void
send_block(struct relay *r, struct channel *ch, struct block *b, int from)
{
	uint32_t i;
	size_t sent;
	int fd;

	for (i = 0; i < ch->nmembers; i++) {
		fd = ch->members[i];
		if (!r->echo && (fd == from || fd == ~from))
			continue;
		sent = fd >= 0 ? send_some(fd, b->p, b->n) : 0;
		if (__builtin_expect(sent < b->n, 0))
			wait_for(r, fd >= 0 ? fd : ~fd, b->p + sent, b->n - sent);
	}
	b->n = 0;
}

void
relay_writable(struct relay *r, int fd)
{
	struct peer *peer = &r->peers[fd];
	size_t sent;

	if (peer->nwait == 0)
		return;
	sent = send_some(fd, peer->wait, peer->nwait);
	peer->nwait -= sent;
	memmove(peer->wait, peer->wait + sent, peer->nwait);
	if (peer->nwait == 0) {
		peer->channel->members[peer->index] = fd;
		r->blocked(r->arg, fd, false);
	}
}

void
relay_flush(struct relay *r)
{
	struct channel *ch;

	while ((ch = r->due) != NULL) {
		r->due = ch->next_due;
		ch->due = false;
		send_block(r, ch, &ch->block, -1);
	}
}

/* --- reading ----------------------------------------------------------------------------------- */

void
relay_keep(struct peer *peer, const uint8_t *p, size_t n)
{
	peer->rest = grow(peer->rest, peer->nrest + n, 1);
	memcpy(peer->rest + peer->nrest, p, n);
	peer->nrest += (uint32_t)n;
}

/* Appends the frame of a server for the client's frame at p. */
static void
append_frame(struct block *b, const uint8_t *p, size_t head, size_t len)
{
	if (b->room - b->n < len + WIRE_HEAD_MAX) {
		b->room = (b->n + len + WIRE_HEAD_MAX) * 2;
		b->p = grow(b->p, b->room, 1);
	}
	b->n += wire_head(b->p + b->n, (enum wire_opcode)(p[0] & 0x0f), len, NULL);
	wire_mask(b->p + b->n, p + head, len, p + head - 4);
	b->n += len;
}

/* One whole frame; false: the peer is to be closed. */
static bool
on_frame(struct relay *r, struct channel *ch, int fd, const uint8_t *p, size_t head, size_t len)
{
	struct block *b = r->kind == FLOOR_COALESCED ? &ch->block : &r->block;
	uint8_t opcode = p[0] & 0x0f;

	if (opcode >= WIRE_CLOSE)
		return opcode != WIRE_CLOSE;
	append_frame(b, p, head, len);
	if (r->kind == FLOOR_SEND)
		send_block(r, ch, b, fd);
	if (r->kind == FLOOR_COALESCED && !ch->due) {
		ch->due = true;
		ch->next_due = r->due;
		r->due = ch;
	}
	return true;
}

/* Takes the whole frames at p; returns how many bytes they are, SIZE_MAX to close. */
static size_t
take_frames(struct relay *r, int fd, const uint8_t *p, size_t n)
{
	struct channel *ch = r->peers[fd].channel;
	size_t at = 0, head;
	uint64_t len;

	while (n - at >= 2) {
		head = wire_head_len(p + at);
		if ((p[at + 1] & WIRE_MASKED) == 0 || (p[at] & WIRE_FIN) == 0)
			return SIZE_MAX;
		if (n - at < head)
			break;
		len = wire_payload_len(p + at);
		if (len > MESSAGE_MAX)
			return SIZE_MAX;
		if (n - at - head < len)
			break;
		if (!on_frame(r, ch, fd, p + at, head, (size_t)len))
			return SIZE_MAX;
		at += head + (size_t)len;
	}
	if (r->kind == FLOOR_PAIR && r->block.n > 0)
		send_block(r, ch, &r->block, fd);
	return at;
}

bool
relay_input(struct relay *r, int fd, const uint8_t *p, size_t n)
{
	struct peer *peer = &r->peers[fd];
	size_t used;

	if (peer->nrest > 0) {
		relay_keep(peer, p, n);
		p = peer->rest;
		n = peer->nrest;
	}
	used = take_frames(r, fd, p, n);
	if (used == SIZE_MAX)
		return false;
	if (peer->nrest > 0) {
		memmove(peer->rest, peer->rest + used, n - used);
		peer->nrest = (uint32_t)(n - used);
	} else if (used < n) {
		relay_keep(peer, p + used, n - used);
	}
	return true;
}
