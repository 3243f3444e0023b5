/*
 * Tests of what worker/ws/deflate agrees to, for every parameter and every way to get it wrong.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/guard.h"
#include "worker/http/parse.h"
#include "worker/ws/deflate.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct deflate_options options = {
	.level = 1, .memory_level = 8, .window = 15, .min_size = 128
};

#define PMD "permessage-deflate"
#define S PMD "; server_no_context_takeover"
#define SC S "; client_no_context_takeover"
#define BITS_S "; server_max_window_bits="
#define BITS_C "; client_max_window_bits="

struct offer {
	const char *fields; /* one a line; NULL: no field */
	const char *answer; /* NULL: none */
	int server, client; /* bits of the windows */
};

/* Offers the lines of `fields` as fields, each of which ends at a forbidden page. */
static int
negotiate(
    const char *fields, const struct deflate_options *o, struct deflate_agreed *out, char *answer)
{
	static struct http_request req;
	struct guard g[4];
	size_t i;
	int err;

	req.nfields = 0;
	for (i = 0; fields != NULL && *fields != '\0'; i++) {
		const char *value = fields + (*fields == '\n');
		size_t n = strcspn(value, "\n");

		cr_assert_lt(i, COUNT(g));
		g[i] = guard_new(n);
		req.field[i].name = (struct http_slice){ "Sec-WebSocket-Extensions", 24 };
		req.field[i].value = (struct http_slice){ (char *)guard_put(&g[i], value, n), n };
		req.nfields++;
		fields = value + n;
	}
	memset(out, 0xee, sizeof(*out));
	err = deflate_negotiate(&req, o, out, answer);
	for (i = 0; i < req.nfields; i++)
		guard_free(&g[i]);
	return err;
}

static void
check_offers(const struct offer *offer, size_t n, uint8_t window, bool takeover)
{
	struct deflate_options o = options;
	char answer[DEFLATE_FIELD_MAX];
	struct deflate_agreed agreed;
	size_t i;

	o.window = window;
	o.client_takeover = takeover;
	for (i = 0; i < n; i++, offer++) {
		int err = negotiate(offer->fields, &o, &agreed, answer);

		cr_assert_eq(
		    err, offer->answer == NULL ? FAN_ENOENT : 0, "%s: %d", offer->fields, err);
		if (err != 0)
			continue;
		cr_assert_str_eq(answer, offer->answer, "%s: %s", offer->fields, answer);
		cr_assert_eq(agreed.server_window, offer->server, "%s", offer->fields);
		cr_assert_eq(agreed.client_window, offer->client, "%s", offer->fields);
		cr_assert_eq(agreed.client_takeover,
		    strstr(answer, "client_no_context_takeover") == NULL, "%s", offer->fields);
	}
}

Test(deflate_offer, offers_and_answers)
{
	static const struct offer offers[] = {
		{ "\n" PMD, SC, 15, 15 },
		/* What browsers send. */
		{ "\n" PMD "; client_max_window_bits", SC, 15, 15 },
		{ "\n" PMD BITS_C "15", SC, 15, 15 },
		{ "\n" PMD BITS_C "14", SC BITS_C "14", 15, 14 },
		{ "\n" PMD BITS_C "9", SC BITS_C "9", 15, 9 },
		{ "\n" PMD BITS_C "8", SC BITS_C "8", 15, 8 },
		{ "\n" PMD BITS_S "15", SC BITS_S "15", 15, 15 },
		{ "\n" PMD BITS_S "14", SC BITS_S "14", 14, 15 },
		{ "\n" PMD BITS_S "13", SC BITS_S "13", 13, 15 },
		{ "\n" PMD BITS_S "12", SC BITS_S "12", 12, 15 },
		{ "\n" PMD BITS_S "11", SC BITS_S "11", 11, 15 },
		{ "\n" PMD BITS_S "10", SC BITS_S "10", 10, 15 },
		{ "\n" PMD BITS_S "9", SC BITS_S "9", 9, 15 },
		{ "\n" PMD BITS_S "8", SC BITS_S "8", 8, 15 },
		{ "\n" PMD "; server_no_context_takeover", SC, 15, 15 },
		{ "\n" PMD "; client_no_context_takeover", SC, 15, 15 },
		{ "\n" PMD "; client_no_context_takeover; server_no_context_takeover" BITS_C
		  "10" BITS_S "11",
		    SC BITS_S "11" BITS_C "10", 11, 10 },
		/* The forms of RFC 6455, section 9.1. */
		{ "\n" PMD BITS_S "\"10\"", SC BITS_S "10", 10, 15 },
		{ "\n" PMD BITS_S "\"1\\0\"" BITS_C "\"\\9\"", SC BITS_S "10" BITS_C "9", 10, 9 },
		{ "\n" PMD "\t ;\tserver_max_window_bits = 12 ; client_max_window_bits\t",
		    SC BITS_S "12", 12, 15 },
		{ "\n" PMD ";server_max_window_bits=12", SC BITS_S "12", 12, 15 },
		{ "\n, ,\t" PMD " , ,", SC, 15, 15 },
		/* The first that can be met, over all fields. */
		{ "\n" PMD BITS_S "9, " PMD BITS_S "10", SC BITS_S "9", 9, 15 },
		{ "\n" PMD BITS_S "16, " PMD BITS_S "10", SC BITS_S "10", 10, 15 },
		{ "\n" PMD "; unknown," PMD "; server_max_window_bits," PMD, SC, 15, 15 },
		{ "\n" PMD "; unknown; b=c; server_max_window_bits=9, " PMD, SC, 15, 15 },
		{ "\nother\n" PMD BITS_S "9\n" PMD, SC BITS_S "9", 9, 15 },
		{ "\n" PMD "; a=1\n" PMD BITS_C "9", SC BITS_C "9", 15, 9 },
		{ "\nx-webkit-deflate-frame; no_context_takeover, " PMD, SC, 15, 15 },
		{ "\nmux; max-channels=4; flow-control; a=\"b\", " PMD, SC, 15, 15 },
		{ "\n" PMD "\n,", SC, 15, 15 },
		{ "\n\n" PMD, SC, 15, 15 },
		/* None that can be met. */
		{ NULL, NULL, 0, 0 },
		{ "\nx-webkit-deflate-frame", NULL, 0, 0 },
		{ "\nPermessage-Deflate", NULL, 0, 0 },
		{ "\npermessage-deflat", NULL, 0, 0 },
		{ "\npermessage-deflate2", NULL, 0, 0 },
		{ "\n" PMD "; unknown", NULL, 0, 0 },
		{ "\n" PMD "; server_max_window_bits=10; unknown=1", NULL, 0, 0 },
		{ "\n" PMD "; Server_No_Context_Takeover", NULL, 0, 0 },
		{ "\n" PMD "; server_no_context_takeover=1", NULL, 0, 0 },
		{ "\n" PMD "; server_no_context_takeover=\"true\"", NULL, 0, 0 },
		{ "\n" PMD "; client_no_context_takeover=0", NULL, 0, 0 },
		{ "\n" PMD "; server_max_window_bits", NULL, 0, 0 },
		{ "\n" PMD BITS_S "7", NULL, 0, 0 },
		{ "\n" PMD BITS_S "16", NULL, 0, 0 },
		{ "\n" PMD BITS_S "0", NULL, 0, 0 },
		{ "\n" PMD BITS_S "1", NULL, 0, 0 },
		{ "\n" PMD BITS_S "08", NULL, 0, 0 },
		{ "\n" PMD BITS_S "010", NULL, 0, 0 },
		{ "\n" PMD BITS_S "100", NULL, 0, 0 },
		{ "\n" PMD BITS_S "1000000000000000000008", NULL, 0, 0 },
		{ "\n" PMD BITS_S "-8", NULL, 0, 0 },
		{ "\n" PMD BITS_S "+8", NULL, 0, 0 },
		{ "\n" PMD BITS_S "9.0", NULL, 0, 0 },
		{ "\n" PMD BITS_S "1a", NULL, 0, 0 },
		{ "\n" PMD BITS_S "a", NULL, 0, 0 },
		{ "\n" PMD BITS_C "7", NULL, 0, 0 },
		{ "\n" PMD BITS_C "16", NULL, 0, 0 },
		{ "\n" PMD BITS_C "09", NULL, 0, 0 },
		{ "\n" PMD BITS_C "x", NULL, 0, 0 },
		{ "\n" PMD BITS_S "10" BITS_S "10", NULL, 0, 0 },
		{ "\n" PMD BITS_C "10" BITS_C "10", NULL, 0, 0 },
		{ "\n" PMD "; client_max_window_bits; client_max_window_bits", NULL, 0, 0 },
		{ "\n" PMD "; client_max_window_bits" BITS_C "9", NULL, 0, 0 },
		{ "\n" PMD "; server_no_context_takeover; server_no_context_takeover", NULL, 0, 0 },
		{ "\n" PMD "; client_no_context_takeover; client_no_context_takeover", NULL, 0, 0 },
	};

	check_offers(offers, COUNT(offers), 15, false);
}

Test(deflate_offer, a_smaller_window_is_asked_for_where_it_may_be)
{
	static const struct offer offers[] = {
		{ "\n" PMD, SC BITS_S "11", 11, 15 },
		{ "\n" PMD BITS_S "15", SC BITS_S "11", 11, 15 },
		{ "\n" PMD BITS_S "9", SC BITS_S "9", 9, 15 },
		{ "\n" PMD "; client_max_window_bits", SC BITS_S "11" BITS_C "11", 11, 11 },
		{ "\n" PMD BITS_C "15", SC BITS_S "11" BITS_C "11", 11, 11 },
		{ "\n" PMD BITS_C "9", SC BITS_S "11" BITS_C "9", 11, 9 },
	};

	check_offers(offers, COUNT(offers), 11, false);
}

Test(deflate_offer, takeover_of_clients)
{
	static const struct offer offers[] = {
		{ "\n" PMD, S, 15, 15 },
		{ "\n" PMD "; client_max_window_bits", S, 15, 15 },
		{ "\n" PMD BITS_C "9", S BITS_C "9", 15, 9 },
		{ "\n" PMD "; client_no_context_takeover", SC, 15, 15 },
	};
	/* Who cannot keep to a window of ours would cost more memory than that. */
	static const struct offer small[] = {
		{ "\n" PMD, SC BITS_S "11", 11, 15 },
		{ "\n" PMD "; client_max_window_bits", S BITS_S "11" BITS_C "11", 11, 11 },
		{ "\n" PMD BITS_C "10", S BITS_S "11" BITS_C "10", 11, 10 },
	};

	check_offers(offers, COUNT(offers), 15, true);
	check_offers(small, COUNT(small), 11, true);
}

Test(deflate_offer, malformed_fields)
{
	static const char *const bad[] = {
		"\n",
		"\n ",
		"\n,",
		"\n , ,",
		"\n;",
		"\n=",
		"\n" PMD ";",
		"\n" PMD "; ;",
		"\n" PMD "=1",
		"\n" PMD "; =1",
		"\n" PMD "; server_max_window_bits=",
		"\n" PMD BITS_S "\"",
		"\n" PMD BITS_S "\"\"",
		"\n" PMD BITS_S "\"10",
		"\n" PMD BITS_S "\"1 0\"",
		"\n" PMD BITS_S "\"10\"x",
		"\n" PMD BITS_S "\"10\\\"",
		"\n" PMD BITS_S "\"10\\",
		"\n" PMD BITS_S "10\"",
		"\n" PMD BITS_S "\\10",
		"\n" PMD BITS_S "10;",
		"\n" PMD BITS_S "10 11",
		"\n" PMD " client_max_window_bits",
		"\n" PMD "; a=b=c",
		"\n" PMD "; a b",
		"\nper(message",
		"\n" PMD "\xff",
		"\n\"" PMD "\"",
		"\n" PMD "; unknown; =",
		"\n" PMD ", foo bar",
		"\n" PMD "\n;",
		"\nfoo; a=\"b,c\"",
		"\nfoo; a=\"b;c\", " PMD,
		"\n" PMD " " PMD,
	};
	char answer[DEFLATE_FIELD_MAX];
	struct deflate_agreed agreed;
	size_t i;

	for (i = 0; i < COUNT(bad); i++)
		cr_assert_eq(
		    negotiate(bad[i], &options, &agreed, answer), FAN_EPROTO, "%zu: %s", i, bad[i]);
}
