/*
 * transfer: POSTs over libcurl, on libevent.  See transfer.h.
 */
#include "worker/hook/transfer.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct transfers {
	struct transfer_options o;
	struct event_base *base;
	CURLM *multi;
	struct curl_slist *fields; /* of every request */
	struct event *timer;       /* libcurl's */
};

/* --- one ---------------------------------------------------------------------------------- */

/* The types of these two are libcurl's. */
static size_t
on_answer(char *p, size_t size, size_t n, void *arg) /* NOLINT(readability-non-const-parameter) */
{
	struct transfer *t = arg;

	if (buf_append(&t->answer, p, size * n) == 0)
		return size * n;
	t->too_long = true;
	return 0;
}

static size_t
on_head(char *p, size_t size, size_t n, void *arg) /* NOLINT(readability-non-const-parameter) */
{
	struct transfer *t = arg;

	t->whole = size * n == 2 && p[0] == '\r';
	t->head += size * n;
	if (t->head <= TRANSFER_ANSWER_MAX)
		return size * n;
	t->too_long = true;
	return 0;
}

/* false: libcurl has no memory. */
static bool
prepare(struct transfer *t, const char *url, const char *json, size_t n)
{
	const struct transfers *ts = t->all;
	CURL *e = t->easy;
	bool bad = false;

#define SET(option, value) bad = curl_easy_setopt(e, option, value) != CURLE_OK || bad
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, ""); /* whatever the environment says */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* a name that is being resolved is not waited for */
	SET(CURLOPT_TIMEOUT_MS, ts->o.timeout);
	SET(CURLOPT_CONNECTTIMEOUT_MS, ts->o.timeout);
	SET(CURLOPT_HTTPHEADER, ts->fields);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDS, json);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
	SET(CURLOPT_WRITEFUNCTION, on_answer);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_HEADERFUNCTION, on_head);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_PRIVATE, t);
#undef SET
	return !bad;
}

static void
stop(struct transfer *t)
{
	if (t->easy == NULL)
		return;
	(void)curl_multi_remove_handle(t->all->multi, t->easy);
	curl_easy_cleanup(t->easy);
	t->easy = NULL;
}

void
transfer_init(struct transfers *ts, struct transfer *t)
{
	*t = (struct transfer){ .all = ts };
	buf_init(&t->answer, TRANSFER_ANSWER_MAX);
}

void
transfer_fini(struct transfer *t)
{
	stop(t);
	buf_fini(&t->answer);
}

int
transfer_start(struct transfer *t, const char *url, const char *json, size_t n)
{
	t->head = 0;
	t->whole = t->too_long = false;
	buf_clear(&t->answer);
	t->easy = curl_easy_init();
	if (t->easy != NULL && prepare(t, url, json, n) &&
	    curl_multi_add_handle(t->all->multi, t->easy) == CURLM_OK)
		return 0;
	curl_easy_cleanup(t->easy);
	t->easy = NULL;
	return FAN_ENOMEM;
}

/* --- all ---------------------------------------------------------------------------------- */

static void
end(struct transfer *t, CURLcode code)
{
	struct transfer_end e = { 0 };
	long http = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http);
	stop(t);
	if (code == CURLE_OK && !t->whole)
		code = CURLE_PARTIAL_FILE;
	e.status = code == CURLE_OK            ? (int)http
	    : code == CURLE_OPERATION_TIMEDOUT ? FAN_ETIMEOUT
					       : FAN_EDOWN;
	e.unheard = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
	e.why = t->too_long ? "the answer is too long" : curl_easy_strerror(code);
	t->all->o.ended(t, &e);
}

/* After libcurl has worked. */
static void
take_results(struct transfers *ts)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(ts->multi, &left)) != NULL) {
		CURLcode code = m->data.result;
		char *t = NULL;

		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
		end((struct transfer *)(void *)t, code);
	}
	ts->o.settled(ts->o.arg);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct transfers *ts = arg;
	int bits =
	    (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	int running;

	(void)curl_multi_socket_action(ts->multi, fd, bits, &running);
	take_results(ts);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct transfers *ts = arg;
	int running;

	(void)fd;
	(void)what;
	(void)curl_multi_socket_action(ts->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_results(ts);
}

/* libcurl wants a socket watched, as `what` says; its event is libcurl's to remember. */
static int
watch_socket(CURL *e, curl_socket_t fd, int what, void *arg, void *known)
{
	struct transfers *ts = arg;
	struct event *ev = known;
	short bits = EV_PERSIST;

	(void)e;
	if (ev != NULL)
		event_free(ev);
	if (what == CURL_POLL_REMOVE)
		return curl_multi_assign(ts->multi, fd, NULL) == CURLM_OK ? 0 : -1;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		bits |= EV_READ;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		bits |= EV_WRITE;
	ev = event_new(ts->base, fd, bits, on_socket, ts);
	if (curl_multi_assign(ts->multi, fd, ev) == CURLM_OK && ev != NULL &&
	    event_add(ev, NULL) == 0)
		return 0;
	return -1; /* the transfer fails */
}

static int
watch_timer(CURLM *multi, long ms, void *arg)
{
	struct transfers *ts = arg;
	const struct timeval tv = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	(void)multi;
	return ms < 0 ? event_del(ts->timer) : event_add(ts->timer, &tv);
}

/* --- beginning and end -------------------------------------------------------------------- */

static int
set_fields(struct transfers *ts)
{
	static const char *const always[] = { "Content-Type: application/json",
		"User-Agent: fanfare", "Expect:" };
	struct curl_slist *more = NULL;
	struct buf b;
	int err = 0;

	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		more = curl_slist_append(ts->fields, always[i]);
		if (more == NULL)
			return FAN_ENOMEM;
		ts->fields = more;
	}
	if (ts->o.key[0] == '\0')
		return 0;
	buf_init(&b, strlen(ts->o.key) + 64);
	err = buf_printf(&b, "Authorization: Bearer %s", ts->o.key);
	if (err == 0)
		err = buf_append(&b, "", 1);
	if (err == 0)
		more = curl_slist_append(ts->fields, (const char *)buf_data(&b));
	if (err == 0 && more == NULL)
		err = FAN_ENOMEM;
	if (err == 0)
		ts->fields = more;
	buf_fini(&b);
	return err;
}

static int
open_multi(struct transfers *ts)
{
	bool bad = false;

	ts->multi = curl_multi_init();
	ts->timer = event_new(ts->base, -1, 0, on_timer, ts);
	if (ts->multi == NULL || ts->timer == NULL)
		return FAN_ENOMEM;
#define SET(option, value) bad = curl_multi_setopt(ts->multi, option, value) != CURLM_OK || bad
	SET(CURLMOPT_SOCKETFUNCTION, watch_socket);
	SET(CURLMOPT_SOCKETDATA, ts);
	SET(CURLMOPT_TIMERFUNCTION, watch_timer);
	SET(CURLMOPT_TIMERDATA, ts);
	SET(CURLMOPT_MAXCONNECTS, ts->o.connections);
	SET(CURLMOPT_MAX_TOTAL_CONNECTIONS, ts->o.connections);
#undef SET
	return bad ? FAN_ENOMEM : 0;
}

int
transfers_new(struct transfers **out, struct event_base *base, const struct transfer_options *o)
{
	struct transfers *ts;
	int err;

	*out = NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return FAN_ENOMEM;
	if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS))
		log_warnx("this libcurl stops the worker while it resolves a hook's name");
	ts = calloc(1, sizeof(*ts));
	if (ts == NULL) {
		curl_global_cleanup();
		return FAN_ENOMEM;
	}
	ts->o = *o;
	ts->base = base;
	err = set_fields(ts);
	if (err == 0)
		err = open_multi(ts);
	if (err != 0) {
		transfers_free(ts);
		return err;
	}
	*out = ts;
	return 0;
}

void
transfers_free(struct transfers *ts)
{
	if (ts == NULL)
		return;
	if (ts->multi != NULL)
		(void)curl_multi_cleanup(ts->multi);
	if (ts->timer != NULL)
		event_free(ts->timer);
	curl_slist_free_all(ts->fields);
	free(ts);
	curl_global_cleanup();
}

bool
transfer_url_valid(const char *url)
{
	CURLU *u = curl_url();
	char *scheme = NULL;
	bool valid = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);

	curl_free(scheme);
	curl_url_cleanup(u);
	return valid;
}
