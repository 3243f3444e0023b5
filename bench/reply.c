/*
 * reply: the answers to publications by HTTP and Redis.  See reply.h.
 */
#include "bench/reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench/text.h"

static _Noreturn void
refuse(const struct reply *r)
{
	text_die("a publication is refused: %.*s", (int)strcspn((const char *)r->head, "\r\n"),
	    (const char *)r->head);
}

/* The value of Content-Length in a head that ends with NUL; 0 if there is none. */
static uint64_t
content_length(const char *head)
{
	static const char name[] = "\r\nContent-Length:";
	const char *field = strcasestr(head, name);

	if (strcasestr(head, "\r\nTransfer-Encoding:") != NULL)
		text_die(
		    "the answer to a publication comes in chunks, which this tool does not read");
	return field != NULL ? strtoull(field + strlen(name), NULL, 10) : 0;
}

/* Whether a whole head stands in r, with its NUL; what follows it is then in r->skip. */
static bool
head_is_whole(struct reply *r)
{
	const char *head = (const char *)r->head;

	if (r->redis) {
		if (r->n < 2 || memcmp(head + r->n - 2, "\r\n", 2) != 0)
			return false;
		if (head[0] == '-')
			refuse(r);
		return true;
	}
	if (r->n < 4 || memcmp(head + r->n - 4, "\r\n\r\n", 4) != 0)
		return false;
	if (strncmp(head, "HTTP/1.1 2", 10) != 0)
		refuse(r);
	r->skip = content_length(head);
	return true;
}

unsigned
reply_feed(struct reply *r, const uint8_t *p, size_t n)
{
	unsigned answers = 0;
	uint64_t k;

	while (n > 0) {
		if (r->skip > 0) {
			k = r->skip < n ? r->skip : n;
			p += k;
			n -= k;
			r->skip -= k;
			answers += r->skip == 0;
			continue;
		}
		if (r->n == REPLY_HEAD_MAX - 1)
			refuse(r);
		r->head[r->n++] = *p;
		r->head[r->n] = '\0';
		n--;
		if (*p++ == '\n' && head_is_whole(r)) {
			r->n = 0;
			answers += r->skip == 0;
		}
	}
	return answers;
}
