/*
 * Behind real proxies, HAProxy and nginx, with the configurations that etc/ ships: WebSocket, SSE and
 * publishing through them to two nodes, who the client is, and requests hidden behind a failed
 * upgrade (fault 4).
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import { promisify } from 'node:util';
import { certificate } from './lib/certs.mjs';
import { kill, removeDir, tempDir, track, untrack } from './lib/cleanup.mjs';
import { Client, openMany } from './lib/clients.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { example, haproxy, nginx } from './lib/proxies.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';

const KEY = 'a-key-for-publishers';
const CLIENT = '127.0.0.9'; /* an address of this machine that is no proxy's */

let redis;
let nodes;
let dir;
before(async () => {
	redis = await Redis.start();
	dir = tempDir('proxies');
	const cert = certificate(dir, 'node', { names: ['127.0.0.1', 'node.test'] });
	nodes = [];
	for (let i = 0; i < 2; i++) {
		const ports = {
			public: await freePort(), internal: await freePort(),
			proxy: await freePort(), tls: await freePort(),
		};
		nodes.push(await Node.start({
			workers: 2,
			log: { level: 'debug' },
			redis: { url: redis.url, prefix: 'proxies:' },
			api: { key: KEY },
			listen: {
				public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${ports.proxy} proxy`,
					`127.0.0.1:${ports.tls} tls proxy`, `unix:${dir}/plain${i} mode=0666`,
					`unix:${dir}/proxy${i} proxy mode=0666`],
			},
			proxy: { trusted: ['127.0.0.1', 'unix'] },
			tls: { certificates: [cert.item] },
			channels: [
				{ match: 'echo', publish: 'anyone' },
				{ match: 'closed', subscribe: 'nobody' },
			],
			limits: { ping_interval: ms(1_000), pong_timeout: ms(900) },
		}, { ports }));
	}
});
after(async () => {
	for (const node of nodes ?? [])
		await node.stop();
	await redis?.stop();
	removeDir(dir);
});

/*
 * What a test needs to know of a proxy: how it is started (edits: for example()), the edits that
 * forbid /pub/forbidden and that make its timeouts short, and how a node logs a client of it.
 */
const kinds = {
	haproxy: {
		async start(edits) {
			const [port, through] = [await freePort(), await freePort()];
			const [a, b] = nodes.map((n) => n.ports);
			const proxy = await haproxy(port, example('haproxy.cfg', {
				8000: port, 8443: through,
				8080: a.proxy, 8444: a.tls, 8081: a.internal,
				9080: b.proxy, 9444: b.tls, 9081: b.internal,
			}, edits));
			proxy.through = through;
			return proxy;
		},
		forbid: [['default_backend nodes\n',
			'http-request deny if { path_beg /pub/forbidden }\n\tdefault_backend nodes\n']],
		hasty: [[/timeout (client|server|tunnel) 60s/g, 'timeout $1 3s']],
		unix: () => [[/127\.0\.0\.1:[89]080/g, `unix@${dir}/proxy0`]],
		log: (address, port) => `connected client=${address}:${port} by=proxy\n`,
		unixLog: (address, port) => kinds.haproxy.log(address, port),
	},
	nginx: {
		async start(edits) {
			const port = await freePort();
			return nginx(port, example('nginx.conf',
				{ 8000: port, 8080: nodes[0].ports.public, 9080: nodes[1].ports.public }, edits));
		},
		forbid: [['location / {', 'location /pub/forbidden { return 403; }\n\t\tlocation / {']],
		hasty: [[/proxy_(read|send)_timeout 60s/g, 'proxy_$1_timeout 3s']],
		unix: () => [[/127\.0\.0\.1:[89]080/g, `unix:${dir}/plain0`]],
		log: (address) => `request client=${address}:0 proxy=127.0.0.1:`,
		unixLog: (address) => `request client=${address}:0 proxy=unix\n`,
	},
};

const both = () => nodes.map((n) => n.stderr).join('');

const curl = async (...args) =>
	(await promisify(execFile)('curl', ['-sS', '--max-time', '20', ...args])).stdout;

for (const [name, kind] of Object.entries(kinds)) {
	describe(name, () => {
		let proxy;
		before(async () => {
			proxy = await kind.start(kind.forbid);
			/* Both nodes are found to serve, and take their turns. */
			await eventually(10_000, 'the nodes', async () =>
				await curl('-o', '/dev/null', '-w', '%{http_code}', url('/')) === '404');
		});
		after(() => proxy?.stop());

		const url = (target) => `http://127.0.0.1:${proxy.port}${target}`;
		const ws = (target, options) =>
			Client.open(`ws://127.0.0.1:${proxy.port}${target}`, [], options);
		const post = (channel, body) => curl('-H', `X-API-Key: ${KEY}`, '-d', body,
			url(`/pub/${channel}`));

		test('WebSocket, to both nodes', async () => {
			const clients = await openMany(40, () => ws('/ws/echo'));
			clients[0].send('hello');
			for (const client of clients)
				assert.equal(await client.next(), 'hello');
			for (const node of nodes) {
				const { body } = await node.request('GET', '/pub/echo',
					{ headers: { 'X-API-Key': KEY } });
				assert.ok(JSON.parse(body).subscribers > 5, body);
			}
			const big = 'x'.repeat(65_536);
			clients[0].send(big);
			for (const client of clients)
				assert.equal(await client.next(), big);
			for (const client of clients)
				assert.equal((await client.close()).code, 1000);
		});

		test('publishing', async () => {
			const client = await ws('/ws/news');
			assert.equal((await post('news', 'by POST')).trim(), '{}');
			assert.equal(await client.next(), 'by POST');
			assert.match(await curl('-d', 'x', url('/pub/news')), /the API key is missing/);
			const large = 'y'.repeat(60_000);
			assert.equal((await post('news', large)).trim(), '{}');
			assert.equal(await client.next(), large);
			await client.close();
		});

		test('SSE', async () => {
			const child = spawn('curl', ['-sSN', '--max-time', '30', url('/sse/events')]);
			track(child.pid);
			let out = '';
			child.stdout.setEncoding('utf8').on('data', (s) => { out += s; });
			await eventually(5_000, 'the stream', () => out.startsWith(':'));
			for (let i = 0; i < 5; i++) {
				await post('events', `event ${i}`);
				await eventually(5_000, 'an event', () => out.includes(`data: event ${i}\n\n`));
			}
			kill(child.pid);
			untrack(child.pid);
		});

		test('the address of the client', async () => {
			const client = await ws('/ws/a', { localAddress: CLIENT });
			const { localPort } = client.ws._socket;
			await eventually(5_000, 'the client in the log',
				() => both().includes(kind.log(CLIENT, localPort)));
			await client.close();
		});

		test('what the client says of his address is not believed', async () => {
			const forged = '192.0.2.66';
			const other = '127.0.0.11';
			const client = await ws('/ws/a', {
				localAddress: other,
				headers: { 'X-Forwarded-For': forged, Forwarded: `for=${forged}` },
			});
			const { localPort } = client.ws._socket;
			await eventually(5_000, 'the client in the log',
				() => both().includes(kind.log(other, localPort)));
			await client.close();
			assert.ok(!both().includes(forged));
		});

		/* Whether one who sends these bytes gets anything published. */
		async function unpublished(bytes, what) {
			const watcher = await Client.open(nodes[0].url('/ws/forbidden'));
			const client = await RawClient.connect(proxy.port);
			client.send(bytes);
			const { status } = await client.response();
			assert.notEqual(status, 101, what);
			await Promise.race([client.end(1_000).catch(() => {}), sleep(1_000)]);
			client.destroy();
			await nodes[0].request('POST', '/pub/forbidden',
				{ body: 'mark', headers: { 'X-API-Key': KEY } });
			assert.equal(await watcher.next(), 'mark', what);
			await watcher.close();
		}

		test('a request behind a failed upgrade is not executed', { timeout: 60 }, async () => {
			await Promise.all(Object.entries(failing).map(([what, head]) =>
				unpublished(head + hidden, what)));
		});

		test('a node that ends is left out', { timeout: 60 }, async () => {
			const gone = nodes[1];
			kill(gone.pid, 'SIGTERM');
			await gone.exited;
			await eventually(15_000, 'the other node alone', async () => {
				for (let i = 0; i < 6; i++) {
					const client = await ws('/ws/a').catch(() => undefined);
					if (client === undefined)
						return false;
					await client.close();
				}
				return true;
			});
			await gone.spawn();
			gone.how = undefined;
			await gone.ready();
		});
	});

	/* Pings and comments keep a connection open that the proxy would end otherwise. */
	test(`${name}: who is silent stays connected`, async () => {
		const proxy = await kind.start(kind.hasty);
		const at = `127.0.0.1:${proxy.port}`;
		await eventually(10_000, 'the nodes', async () =>
			await curl('-o', '/dev/null', '-w', '%{http_code}', `http://${at}/`) === '404');
		const client = await Client.open(`ws://${at}/ws/quiet`);
		const child = spawn('curl', ['-sSN', '--max-time', '30', `http://${at}/sse/quiet`]);
		track(child.pid);
		let out = '';
		child.stdout.setEncoding('utf8').on('data', (s) => { out += s; });
		await sleep(7_000);
		await nodes[0].request('POST', '/pub/quiet', { body: 'late', headers: { 'X-API-Key': KEY } });
		assert.equal(await client.next(), 'late');
		await eventually(5_000, 'the event', () => out.includes('data: late\n\n'));
		kill(child.pid);
		untrack(child.pid);
		await client.close();
		await proxy.stop();
	});
}

/* What else docs/PROXIES.md says that one can do. */
for (const [name, kind] of Object.entries(kinds)) {
	/* A proxy by these edits, and what it makes of one client with this Origin. */
	const through = async (edits, log, origin = (port) => `http://127.0.0.1:${port}`) => {
		const proxy = await kind.start(edits);
		try {
			await eventually(10_000, 'the nodes', async () =>
				await curl('-o', '/dev/null', '-w', '%{http_code}',
					`http://127.0.0.1:${proxy.port}/`) === '404');
			const client = await Client.open(`ws://127.0.0.1:${proxy.port}/ws/a`, [],
				{ localAddress: CLIENT, origin: origin(proxy.port) });
			const { localPort } = client.ws._socket;
			await eventually(5_000, 'the client in the log',
				() => both().includes(log(CLIENT, localPort)));
			await client.close();
		} finally {
			await proxy.stop();
		}
	};

	test(`${name}: over unix sockets`, () => through(kind.unix(), kind.unixLog));

	test(`${name}: pages of another host may not connect`, async () => {
		await assert.rejects(through([], kind.log, () => 'http://evil.example'),
			{ status: 403 });
	});
}

test('haproxy: by X-Forwarded-For', async () => {
	const proxy = await kinds.haproxy.start([[' send-proxy-v2', ''],
		['balance leastconn', 'balance leastconn\n\toption forwardfor'],
		[/127\.0\.0\.1:[89]080/g, `unix@${dir}/plain0`]]);
	const at = `127.0.0.1:${proxy.port}`;
	await eventually(10_000, 'the nodes', async () =>
		await curl('-o', '/dev/null', '-w', '%{http_code}', `http://${at}/`) === '404');
	const client = await Client.open(`ws://${at}/ws/a`, [], { localAddress: '127.0.0.10' });
	await eventually(5_000, 'the client in the log',
		() => both().includes('request client=127.0.0.10:0 proxy=unix\n'));
	await client.close();
	await proxy.stop();
});

test('nginx: without the Host of the request a page is refused', async () => {
	const proxy = await kinds.nginx.start([['proxy_set_header Host $http_host;', '']]);
	const at = `127.0.0.1:${proxy.port}`;
	await eventually(10_000, 'the nodes', async () =>
		await curl('-o', '/dev/null', '-w', '%{http_code}', `http://${at}/`) === '404');
	await assert.rejects(Client.open(`ws://${at}/ws/a`, [], { origin: `http://${at}` }),
		{ status: 403 });
	await proxy.stop();
});

/* Handshakes that fail, each for a reason of its own. */
const failing = {
	'an unknown version': handshake('/ws/a', { 'Sec-WebSocket-Version': '12' }),
	'a malformed key': handshake('/ws/a', { 'Sec-WebSocket-Key': 'short' }),
	'no key': handshake('/ws/a', { 'Sec-WebSocket-Key': null }),
	'a foreign Origin': handshake('/ws/a', { Origin: 'http://evil.example' }),
	'a forbidden channel': handshake('/ws/closed'),
	'no such path': handshake('/nowhere'),
	'another method': handshake('', {}, { line: 'DELETE /ws/a HTTP/1.1' }),
	'another protocol': handshake('/ws/a', { Upgrade: 'h2c' }),
};
const hidden = 'POST /pub/forbidden HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n' +
	`X-API-Key: ${KEY}\r\n\r\nhidden`;

test('directly, a request behind a failed upgrade is not executed', async () => {
	const node = nodes[0];
	const watcher = await Client.open(node.url('/ws/forbidden'));
	for (const [what, head] of Object.entries(failing)) {
		const client = await RawClient.connect(node.ports.public);
		client.send(head + hidden);
		const { status } = await client.response();
		assert.ok(status >= 400 && status < 500, `${what}: ${status}`);
		await client.end();
		assert.equal(client.input.length, 0, what);
		client.destroy();
	}
	await node.request('POST', '/pub/forbidden', { body: 'mark', headers: { 'X-API-Key': KEY } });
	assert.equal(await watcher.next(), 'mark');
	await watcher.close();
});

describe('haproxy in mode tcp', () => {
	let proxy;
	before(async () => { proxy = await kinds.haproxy.start(); });
	after(() => proxy?.stop());

	test('wss at Fanfare, the client by the PROXY protocol', async () => {
		const options = { ca: fs.readFileSync(`${dir}/node.pem`), localAddress: CLIENT };
		const url = `wss://127.0.0.1:${proxy.through}/ws/echo`;
		const clients = await openMany(10, () => Client.open(url, [], options));
		clients[0].send('hello');
		for (const client of clients)
			assert.equal(await client.next(), 'hello');
		for (const client of clients) {
			const { localPort } = client.ws._socket;
			await eventually(5_000, 'the client in the log',
				() => both().includes(`connected client=${CLIENT}:${localPort} by=proxy\n`));
			await client.close();
		}
	});
});
