/*
 * user: what the application sends to a user.  See user.h.
 */
#include "worker/core/user.h"

#include <string.h>

#include "common/buf.h"
#include "common/ipc_msg.h"
#include "common/utf8.h"
#include "worker/core/identity.h"
#include "worker/core/session.h"

int
user_join(struct session *s)
{
	const struct identity *i = s->extra == NULL ? NULL : s->extra->identity;
	char name[CHANNEL_NAME_MAX + 1];
	struct sub *sub;
	size_t len;
	int err;

	if (i == NULL)
		return 0;
	len = channel_name_of_user(name, i->user, strlen(i->user));
	if (len == 0)
		return 0;
	err = session_subscribe(s, name, len, SUB_INTERNAL, NULL, &sub);
	if (err != 0 && err != FAN_EAGAIN && err != FAN_EEXIST)
		return err;
	if (!s->started && s->extra->opening.le_prev == NULL)
		LIST_INSERT_HEAD(&s->core->opening, s->extra, opening);
	return 0;
}

bool
user_code_valid(unsigned code)
{
	return code == 1000 || code == 1008 || (code >= 1011 && code <= 1013) ||
	    (code >= 3000 && code <= 4999);
}

/* Ends every session in the channel that has not started yet. */
static void
end_opening(struct core *core, struct channel *c)
{
	struct session_extra *x, *next;

	/* It goes with its last sub. */
	channel_hold(c);
	for (x = LIST_FIRST(&core->opening); x != NULL; x = next) {
		struct session *s = x->identity->session;

		next = LIST_NEXT(x, opening);
		if (session_find(s, c->name, c->len) != NULL)
			s->transport->live(s->t, FAN_EDENIED);
	}
	channel_release(&core->channels, c);
}

/* Closes every session in the channel that has started. */
static void
close_all(struct channel *c, uint16_t code, const char *reason)
{
	for (size_t i = 0; i < c->ngroups; i++) {
		struct group *g = &c->groups[i];

		/* No session goes from inside of close. */
		for (uint32_t k = 0; k < g->n; k++) {
			struct session *s = group_subs(g)[k]->session;

			s->transport->close(s->t, code, reason);
		}
	}
}

/* "CODE REASON"; FAN_EPROTO. */
static int
read_disconnect(const uint8_t *p, size_t n, uint16_t *code, char reason[USER_REASON_MAX + 1])
{
	unsigned number = 0;
	size_t i;

	for (i = 0; i < n && i < 4 && p[i] >= '0' && p[i] <= '9'; i++)
		number = number * 10 + (unsigned)(p[i] - '0');
	if (i != 4 || i == n || p[i] != ' ' || !user_code_valid(number))
		return FAN_EPROTO;
	p += i + 1;
	n -= i + 1;
	if (n > USER_REASON_MAX || !utf8_valid(p, n) || memchr(p, '\0', n) != NULL)
		return FAN_EPROTO;
	memcpy(reason, p, n);
	reason[n] = '\0';
	*code = (uint16_t)number;
	return 0;
}

int
user_message(struct core *core, struct channel *c, const struct ipc_msg *m, struct publication *out)
{
	char reason[USER_REASON_MAX + 1];
	uint16_t code = 0;

	if (m->len == 0)
		return FAN_EPROTO;
	switch (m->data[0]) {
	case 'T':
		if (!utf8_valid(m->data + 1, m->len - 1))
			return FAN_EPROTO;
		break;
	case 'B':
		break;
	case 'D':
		if (read_disconnect(m->data + 1, m->len - 1, &code, reason) != 0)
			return FAN_EPROTO;
		close_all(c, code, reason);
		end_opening(core, c);
		return FAN_EGONE;
	default:
		return FAN_EPROTO;
	}
	*out = (struct publication){
		.channel = c,
		.kind = m->data[0] == 'T' ? MSG_TEXT : MSG_BINARY,
		.data = m->data + 1,
		.len = m->len - 1,
	};
	return 0;
}

int
user_append_message(struct buf *b, enum msg_kind kind, const uint8_t *data, size_t n)
{
	uint8_t *p;
	int err = buf_reserve(b, n + 1, &p);

	if (err != 0)
		return err;
	p[0] = kind == MSG_TEXT ? 'T' : 'B';
	if (n > 0)
		memcpy(p + 1, data, n);
	buf_commit(b, n + 1);
	return 0;
}

int
user_append_disconnect(struct buf *b, uint16_t code, const char *reason)
{
	return buf_printf(b, "D%u %s", (unsigned)code, reason);
}
