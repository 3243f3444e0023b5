/*
 * Unit tests of api: which listener has which endpoint, health, and the demo page.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "tests/unit/worker_fixture.h"

static struct world w;
static struct client c;

static void
setup(void)
{
	world_open(&w, "limits.message=100B");
}

static void
teardown(void)
{
	client_close(&c);
	world_close(&w);
}

TestSuite(api, .timeout = 60, .init = setup, .fini = teardown);

static void
expect(enum listener_kind kind, const char *line, const char *fields, int status, const char *part)
{
	client_request(&w, &c, kind, line, fields, "");
	cr_assert_eq(client_response(&c, part), status, "%s %s", line, fields);
}

Test(api, each_listener_has_its_own)
{
	hub_welcome(&w, true);
	w.conf->demo.enabled = true;
	expect(LISTENER_INTERNAL, "GET /healthz", "", 200, "ok\n");
	expect(LISTENER_PUBLIC, "GET /healthz", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /readyz", "", 200, "ready\n");
	expect(LISTENER_PUBLIC, "GET /readyz", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /", "", 404, "");
	expect(LISTENER_PUBLIC, "GET /", "", 200, "<html");
	expect(LISTENER_PUBLIC, "POST /pub/c", "", 404, "");
	expect(LISTENER_PUBLIC, "POST /user/u", "", 404, "");
	expect(LISTENER_INTERNAL, "PUT /pub/c", "", 405, "");
	expect(LISTENER_INTERNAL, "PUT /user/u", "", 405, "");
	expect(LISTENER_INTERNAL, "GET /ws/c", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /nothing", "", 404, "");
	expect(LISTENER_INTERNAL, "GET /pub", "", 404, "");
	expect(LISTENER_INTERNAL, "POST /healthz", "", 405, "");
	expect(LISTENER_PUBLIC, "POST /", "", 405, "");
	w.conf->demo.enabled = false;
	expect(LISTENER_PUBLIC, "GET /", "", 404, "");
}

Test(api, readiness_follows_hub_and_engine)
{
	struct ipc_msg engine = { .type = IPC_ENGINE, .value = 1 };

	expect(LISTENER_INTERNAL, "GET /readyz", "", 503, "the hub is away");
	hub_welcome(&w, false);
	expect(LISTENER_INTERNAL, "GET /readyz", "", 503, "the engine is away");
	hub_send(&w, &engine);
	WORLD_UNTIL(&w, uplink_ready(w.uplink));
	expect(LISTENER_INTERNAL, "GET /readyz", "", 200, "ready");
	hub_cut(&w);
	expect(LISTENER_INTERNAL, "GET /readyz", "", 503, "the hub is away");
	expect(LISTENER_INTERNAL, "GET /healthz", "", 200, "ok");
}

Test(api, head_and_the_demo)
{
	w.conf->demo.enabled = true;
	client_request(&w, &c, LISTENER_INTERNAL, "HEAD /healthz", "", "");
	cr_assert_eq(client_head(&c, "Content-Length: 3\r\n"), 200);
	client_quiet(&c);
	client_request(&w, &c, LISTENER_PUBLIC, "HEAD /", "", "");
	cr_assert_eq(client_head(&c, "Content-Security-Policy: default-src 'none'"), 200);
	client_quiet(&c);
}

/* What is no business of pages stays unreadable. */
Test(api, pages_may_not_read_of_health)
{
	client_request(&w, &c, LISTENER_INTERNAL, "GET /healthz", "Origin: http://h\r\n", "");
	WORLD_UNTIL(&w, client_pull(&c) > 0);
	cr_assert_null(memmem(buf_data(&c.in), buf_len(&c.in), "Access-Control", 14));
	cr_assert_eq(client_response(&c, "ok"), 200);
}
