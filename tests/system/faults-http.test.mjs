/*
 * Attacks by HTTP, each while bystanders receive 100 messages a second and must not notice: heads
 * that do not end, heads that are malformed or too large, requests hidden behind others, foreign
 * origins.
 *
 * What each request alone is answered is in handshake.test.mjs and http.test.mjs; here it is many
 * at once, and what they leave behind.
 */
import assert from 'node:assert/strict';
import { badHandshakes, smuggled } from './lib/bad-requests.mjs';
import { withstand } from './lib/bystanders.mjs';
import { Client } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { after, before, describe, sleep, slowness, test } from './lib/test.mjs';
import { each } from './lib/wire.mjs';

const PARALLEL = 50;
const repeat = (n, table) => Array.from({ length: n }, () => Object.entries(table)).flat();

/* A request whose answer is one of the statuses, is the last, and is followed by the end. */
async function refused(port, request, statuses, what) {
	const client = await RawClient.connect(port);
	try {
		client.send(request);
		const { status } = await client.response();
		assert.ok(statuses.includes(status), `${status}, not ${statuses}`);
		await client.end();
		assert.equal(client.input.length, 0, 'bytes behind the answer');
	} catch (error) {
		throw new Error(`${what}: ${error.message}`);
	} finally {
		client.destroy();
	}
}

/* The ways of not getting on with a request; the second piece is sent again and again. */
const slowHeads = {
	silence: [],
	'half a request line': ['GET /ws/ne'],
	'no end of the head': ['GET /ws/news HTTP/1.1\r\nHost: a\r\n'],
	'a byte now and then': ['GET /ws/news HTTP/1.1\r\nX: ', 'x'],
	'a field now and then': ['GET /ws/news HTTP/1.1\r\n', 'X: y\r\n'],
	'all but the last byte': [handshake().slice(0, -1)],
	'empty lines': ['\r\n'],
};

/*
 * n connections, each slow in one of these ways, all at once: every one must be closed `deadline`
 * ms after it began at the latest.  Meanwhile others are served.
 */
async function slowConnections(node, n, deadline, port = node.ports.public, ways = slowHeads) {
	const all = repeat(Math.ceil(n / Object.keys(ways).length), ways).slice(0, n);
	const slow = [];
	let open = n;
	await each(all, PARALLEL, async ([what, pieces]) => {
		const client = await RawClient.connect(port);
		client.begun = Date.now();
		client.what = what;
		if (pieces.length > 0)
			client.send(pieces[0]);
		client.timer = pieces.length > 1
			&& setInterval(() => !client.ended && client.send(pieces[1]), deadline / 20);
		slow.push(client);
	});
	try {
		const served = (async () => {
			while (open > 0) {
				const client = await Client.open(node.url('/ws/others'));
				client.terminate();
				await sleep(100);
			}
		})();
		await Promise.all(slow.map(async (client) => {
			await client.end(deadline + 5_000);
			clearInterval(client.timer);
			open--;
			const took = Date.now() - client.begun;
			assert.ok(took <= deadline + 1_000 * slowness, `${client.what}: after ${took} ms`);
			const said = client.input.toString('latin1');
			assert.match(said, /^(HTTP\/1\.1 40[08] [^]*)?$/, client.what);
		}));
		await served;
	} finally {
		open = 0;
		slow.forEach((client) => {
			clearInterval(client.timer);
			client.destroy();
		});
	}
}

describe('faults: slow heads', () => {
	test('2,000 at once, with the default of ten seconds', { timeout: 90 }, async (t) => {
		const node = await Node.start();
		t.after(() => node.stop());
		await withstand(t, node, () => slowConnections(node, 2_000, 10_000), { memory: true });
	});

	test('three waves of 700, and bodies that do not come', { timeout: 90 }, async (t) => {
		const HANDSHAKE = 1_500;
		const node = await Node.start({
			limits: { handshake: ms(HANDSHAKE), assemble: ms(HANDSHAKE) },
		});
		t.after(() => node.stop());
		await withstand(t, node, async () => {
			for (let i = 0; i < 3; i++)
				await slowConnections(node, 700, HANDSHAKE);
			const head = 'POST /pub/x HTTP/1.1\r\nHost: a\r\n';
			await slowConnections(node, 200, HANDSHAKE, node.ports.internal, {
				'no body': [`${head}Content-Length: 1000\r\n\r\n`],
				'a byte of the body now and then': [`${head}Content-Length: 1000\r\n\r\n`, 'x'],
				'a chunk now and then': [`${head}Transfer-Encoding: chunked\r\n\r\n`, '1\r\nx\r\n'],
				'a chunk that does not end': [`${head}Transfer-Encoding: chunked\r\n\r\nff\r\n`, 'x'],
			});
		}, { memory: true });
	});
});

describe('faults: malformed requests', () => {
	const KEY = 'sesame-0123456789';
	const ORIGIN = 'https://app.example.com';
	const headers = { 'X-API-Key': KEY };
	let node;
	let watcher;
	before(async () => {
		/* With a key the public listener serves /pub, so a hidden request would be executed. */
		node = await Node.start({
			api: { key: KEY },
			origins: [ORIGIN, 'https://*.example.org'],
		});
		watcher = await Client.open(node.url('/ws/hidden'));
	});
	after(async () => {
		watcher?.terminate();
		await node?.stop();
	});

	const hidden = `POST /pub/hidden HTTP/1.1\r\nHost: a\r\nX-API-Key: ${KEY}\r\n`
		+ 'Content-Length: 6\r\n\r\nhidden';

	/* As withstand, and nothing was published to the watched channel. */
	const unheard = (t, attack) => withstand(t, node, async () => {
		await attack();
		await node.request('POST', '/pub/hidden', { body: 'mark', headers });
		assert.equal(await watcher.next(), 'mark');
	}, { headers, memory: true });

	test('every bad handshake 20 times, with a request behind it', { timeout: 90 }, (t) =>
		unheard(t, () => each(repeat(20, badHandshakes), PARALLEL,
			([what, [request, ...statuses]]) => refused(node.ports.public, request + hidden,
				what === 'the target /pub/news' ? [401] : statuses, what))));

	test('every request of two lengths 20 times, with a request behind it', { timeout: 90 }, (t) => {
		const fields = `Host: a\r\nX-API-Key: ${KEY}`;
		const requests = Object.fromEntries(Object.entries(smuggled('hidden')).map(
			([what, request]) => [what, request.replace('Host: a', fields)]));
		return unheard(t, () => each(repeat(20, requests), PARALLEL, ([what, request], i) =>
			refused(i % 2 ? node.ports.public : node.ports.internal, request + hidden,
				what === 'gzip, chunked' ? [501] : [400], what)));
	});

	test('1,000 heads of 8 KiB and a byte, and of 65 fields, at once: 431', { timeout: 60 }, (t) =>
		unheard(t, async () => {
			const [head] = badHandshakes['a head of 8 KiB and a byte'];
			const [fields] = badHandshakes['65 fields'];
			const all = [];
			await each(Array.from({ length: 1_000 }), PARALLEL, async (_, i) => {
				const client = await RawClient.connect(node.ports.public);
				all.push(client);
				/* All but the end of them, so that all are there at the same time. */
				client.rest = (i % 2 ? head : fields).slice(-100);
				client.send((i % 2 ? head : fields).slice(0, -100));
			});
			all.forEach((client) => client.send(client.rest + hidden));
			for (const client of all) {
				assert.equal((await client.response()).status, 431);
				await client.end();
				client.destroy();
			}
		}));

	test('every foreign Origin 50 times: 403', { timeout: 60 }, (t) => {
		const foreign = ['null', '', 'http://app.example.com', 'https://app.example.com:444',
			'https://app.example.com.evil.net', 'https://evilapp.example.com', 'https://example.org',
			'https://evilexample.org', 'https://a.example.org.evil.net',
			'https://evil.net#.example.org', 'https://127.0.0.1', [ORIGIN, ORIGIN],
			[ORIGIN, 'https://evil.net'], `${ORIGIN}, https://evil.net`, `${ORIGIN} https://evil.net`];
		const requests = Object.fromEntries(foreign.map((Origin) =>
			[`Origin ${JSON.stringify(Origin)}`, handshake('/ws/hidden', { Origin })]));
		return unheard(t, async () => {
			await each(repeat(50, requests), PARALLEL, ([what, request]) =>
				refused(node.ports.public, request + hidden, [403], what));
			/* And the page's own is still let in. */
			const client = await Client.open(node.url('/ws/own'), [], { origin: ORIGIN });
			client.terminate();
		});
	});
});
