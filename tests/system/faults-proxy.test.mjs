/*
 * What is believed of a client's address, and from whom: PROXY headers that are cut, late or from
 * others than the proxies (fault 7), forged X-Forwarded-For (fault 8), and the limits of an address.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { certificate } from './lib/certs.mjs';
import { removeDir, tempDir } from './lib/cleanup.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { RawClient, frame, handshake, OP } from './lib/raw.mjs';
import { after, before, describe, eventually, sleep, slowness, test, within } from './lib/test.mjs';

const WORKERS = 2;
const HEADER_MS = 1_000;

/* The addresses behind 127.0.0.1 are the machine's own too; one of them is the proxy's. */
const PROXY = '127.0.0.2';
const CLIENT = '192.0.2.33';

/* A connection whose source is `from`. */
const connect = (port, from) =>
	RawClient.connect({ port, host: '127.0.0.1', localAddress: from });

const v1 = (client = CLIENT, port = 5555) =>
	Buffer.from(`PROXY TCP4 ${client} 192.0.2.1 ${port} 443\r\n`);

/* Version 2; command 0 is LOCAL. */
function v2(client = CLIENT, { command = 1, family = 0x11, tlvs = Buffer.alloc(0) } = {}) {
	const ip = (text) => Buffer.from(text.split('.').map(Number));
	const ports = Buffer.from([0x15, 0xb3, 1, 0xbb]);
	const block = Buffer.concat([ip(client), ip('192.0.2.1'), ports, tlvs]);
	const head = Buffer.from('\r\n\r\n\0\r\nQUIT\n\0\0\0\0', 'latin1');
	head[12] = 0x20 | command;
	head[13] = family;
	head.writeUInt16BE(block.length, 14);
	return Buffer.concat([head, block]);
}

const get = (target = '/', fields = '') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

/* No connection was taken for one of this client, which is named in every header that is bad. */
const FORGED = '192.0.2.200';
const assertUnbelieved = (node) =>
	assert.ok(!node.stderr.includes(`client=${FORGED}`), 'a forged address was believed');

describe('PROXY headers', () => {
	let node;
	let port;
	let internal;
	let dir;
	let socket;
	before(async () => {
		dir = tempDir('proxy');
		socket = path.join(dir, 's');
		port = await freePort();
		internal = await freePort();
		const ports = { public: await freePort(), internal: await freePort() };
		node = await Node.start({
			workers: WORKERS,
			log: { level: 'debug' },
			listen: {
				public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${port} proxy`,
					`unix:${socket} proxy`],
				internal: [`127.0.0.1:${ports.internal}`, `127.0.0.1:${internal} proxy`],
			},
			proxy: { trusted: [PROXY, 'unix'] },
			limits: { proxy_header: ms(HEADER_MS), handshake: ms(20_000) },
			channels: [{ match: 'echo', publish: 'anyone' }],
		}, { ports });
	});
	after(async () => {
		await node?.stop();
		removeDir(dir);
	});

	/* Whoever comes by this client is served, and by no other name. */
	async function served(client, name) {
		client.send(get());
		assert.equal((await client.response()).status, 404);
		client.destroy();
		await eventually(5_000, `a log line of ${name}`,
			() => node.stderr.includes(`connected client=${name}`));
	}

	test('the log says where they are awaited', () => {
		assert.ok(node.stderr.includes(`listening public=127.0.0.1:${port} proxy\n`));
		assert.ok(node.stderr.includes(`listening internal=127.0.0.1:${internal} proxy\n`));
	});

	test('the client that a trusted proxy names', async () => {
		for (const [i, make] of [v1, v2].entries()) {
			const name = `192.0.2.${100 + i}`;
			const client = await connect(port, PROXY);
			client.send(make(name));
			await served(client, `${name}:`);
		}
	});

	test('a header, a handshake and a frame in one piece', async () => {
		for (const header of [v1(), v2()]) {
			const client = await connect(port, PROXY);
			client.send(Buffer.concat([header, Buffer.from(handshake('/ws/echo')),
				frame(OP.TEXT, 'hello')]));
			assert.equal((await client.response()).status, 101);
			assert.equal((await client.frameButPing()).data.toString(), 'hello');
			client.destroy();
		}
	});

	test('the same, byte by byte', async () => {
		const client = await connect(port, PROXY);
		for (const [i, byte] of Buffer.concat([v2(), Buffer.from(get())]).entries()) {
			client.send(Buffer.from([byte]));
			if (i > 20 && i < 30) /* the last of the header and the first behind it */
				await sleep(10);
		}
		assert.equal((await client.response()).status, 404);
		client.destroy();
	});

	test('a proxy that speaks for itself', async () => {
		const itself = [Buffer.from('PROXY UNKNOWN\r\n'), v2('1.2.3.4', { command: 0 }),
			v2('1.2.3.4', { command: 0, family: 0 })];
		for (const header of itself) {
			const client = await connect(port, PROXY);
			client.send(header);
			await served(client, `${PROXY}:${client.socket.localPort}`);
		}
		assert.doesNotMatch(node.stderr, /client=1\.2\.3\.4/);
	});

	test('on the internal listener', async () => {
		const client = await connect(internal, PROXY);
		client.send(v2());
		client.send(get('/readyz'));
		assert.equal((await client.response()).status, 200);
		client.destroy();
	});

	test('others than the proxies are cut off at once', async () => {
		for (const header of ['', v1(FORGED), v2(FORGED), get()]) {
			const client = await connect(port, '127.0.0.1');
			client.socket.write(header);
			await client.end(HEADER_MS / 2);
			assert.equal(client.input.length, 0);
			client.destroy();
		}
		await node.logged(/PROXY header: peer=127\.0\.0\.1:\d+ is not in proxy\.trusted/);
		assertUnbelieved(node);
	});

	test('what is no header is cut off at once', async () => {
		const bad = [get(), '\x16\x03\x01\x02', `PROXY TCP4 ${FORGED} 192.0.2.1 1 99999\r\n`,
			`PROXY TCP4 ${FORGED} 192.0.2.1 1 2 3\r\n`, 'PROXY TCP9 ', 'PROXY UNKNOWN'.padEnd(200),
			v2(FORGED, { family: 0x13 }), v2(FORGED, { command: 2 }),
			v2(FORGED, { tlvs: Buffer.from([1]) }),
			v2(FORGED, { tlvs: Buffer.alloc(1_000) })];
		for (const header of bad) {
			const client = await connect(port, PROXY);
			client.send(header);
			await client.end(HEADER_MS / 2);
			assert.equal(client.input.length, 0);
			client.destroy();
		}
		assertUnbelieved(node);
	});

	test('cut at every byte, and then late', { timeout: 60 }, async () => {
		const begun = Date.now();
		const cuts = [];
		for (const header of [v1(FORGED), v2(FORGED)]) {
			for (let n = 0; n < header.length; n++)
				cuts.push((async () => {
					const client = await connect(port, PROXY);
					client.socket.write(header.subarray(0, n));
					await client.end(HEADER_MS + 2_000);
					assert.equal(client.input.length, 0);
					client.destroy();
				})());
		}
		await Promise.all(cuts);
		assert.ok(Date.now() - begun >= HEADER_MS, 'none is cut off before its time');
		assertUnbelieved(node);
	});

	test('cut at every byte, and gone', async () => {
		for (const header of [v1(FORGED), v2(FORGED)]) {
			for (let n = 0; n < header.length; n++) {
				const client = await connect(port, PROXY);
				client.socket.end(header.subarray(0, n));
				await client.end(HEADER_MS / 2);
				client.destroy();
			}
		}
		assertUnbelieved(node);
	});

	test('one that arrives bit by bit has no more time', async () => {
		const client = await connect(port, PROXY);
		const begun = Date.now();
		for (const byte of v1(FORGED)) {
			if (client.ended)
				break;
			client.socket.write(Buffer.from([byte]));
			await sleep(100);
		}
		await client.end(HEADER_MS + 2_000);
		assert.ok(Date.now() - begun >= HEADER_MS);
		assertUnbelieved(node);
		client.destroy();
	});

	/* Bytes that stay in the socket would wake the worker again and again. */
	test('a header that is awaited costs nothing', async () => {
		const pids = Array.from({ length: WORKERS }, (_, i) => node.role(`worker ${i}`));
		/* In ticks of 10 ms. */
		const cpu = () => pids.map((pid) => fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
			.split(') ')[1].split(' ')).reduce((sum, f) => sum + Number(f[11]) + Number(f[12]), 0);
		const clients = [];
		for (let i = 0; i < 20; i++) {
			clients.push(await connect(port, PROXY));
			clients[i].send(v2().subarray(0, 20));
		}
		await sleep(100);
		const begun = cpu();
		await sleep(HEADER_MS / 2);
		const spent = cpu() - begun;
		assert.ok(spent <= 10 * slowness, `${spent} ticks`);
		clients.forEach((c) => c.destroy());
	});

	/* The address that the header names is the peer, and that is no proxy. */
	test('a client behind a PROXY header is not believed', async () => {
		const client = await connect(port, PROXY);
		client.send(v1('192.0.2.77'));
		client.send(get('/', `X-Forwarded-For: ${FORGED}\r\n`));
		assert.equal((await client.response()).status, 404);
		client.destroy();
		await node.logged(/closed client=192\.0\.2\.77:5555 /);
		assertUnbelieved(node);
	});

	test('but a proxy behind one is', async () => {
		const client = await connect(port, PROXY);
		client.send(v1(PROXY));
		client.send(get('/', 'X-Forwarded-For: 192.0.2.78\r\n'));
		assert.equal((await client.response()).status, 404);
		client.destroy();
		await node.logged(/request client=192\.0\.2\.78:0 proxy=127\.0\.0\.2:5555/);
	});

	test('over a unix socket', async () => {
		for (const header of [v1('192.0.2.90'), v2('192.0.2.90')]) {
			const client = await RawClient.connect({ path: socket });
			client.send(header);
			await served(client, '192.0.2.90:');
		}
		const client = await RawClient.connect({ path: socket });
		client.send(get());
		await client.end(HEADER_MS / 2);
		assert.equal(client.input.length, 0);
		client.destroy();
	});

	test('the other listeners know no header', async () => {
		const client = await connect(node.ports.public, PROXY);
		client.send(v1());
		assert.equal((await client.response()).status, 400);
		client.destroy();
	});
});

/* Which client a node makes of a request's fields: it logs one who was named, or else the end. */
async function seen(node, from, fields) {
	const client = await connect(node.ports.public, from);
	const port = client.socket.localPort;
	const peer = `${from}:${port}`;
	client.send(get('/', fields));
	assert.equal((await client.response()).status, 404);
	client.destroy();
	const log = new RegExp(
		`request client=(\\S+):0 proxy=${peer}\\n|closed client=(${from}):${port} `);
	const [, named, itself] = await node.logged(log);
	return named ?? itself;
}

describe('forged addresses', () => {
	let node;
	before(async () => {
		node = await Node.start({
			workers: WORKERS, log: { level: 'debug' },
			proxy: { trusted: [PROXY, '10.0.0.0/8'] },
		});
	});
	after(() => node?.stop());

	test('X-Forwarded-For is believed from proxies alone', async () => {
		const forged = 'X-Forwarded-For: 192.0.2.50\r\n';
		assert.equal(await seen(node, PROXY, forged), '192.0.2.50');
		assert.equal(await seen(node, '127.0.0.1', forged), '127.0.0.1');
		assert.equal(await seen(node, '127.0.0.3', forged), '127.0.0.3');
	});

	test('what the client wrote before the proxy is not', async () => {
		const cases = {
			'192.0.2.66, 192.0.2.50': '192.0.2.50',
			'10.0.0.1, 192.0.2.50': '192.0.2.50',
			'127.0.0.1, 192.0.2.50, 10.1.2.3': '192.0.2.50',
			'192.0.2.66, unknown': PROXY,
			'"192.0.2.66"': PROXY,
			'': PROXY,
		};
		for (const [value, expected] of Object.entries(cases)) {
			assert.equal(await seen(node, PROXY, `X-Forwarded-For: ${value}\r\n`), expected,
				value);
		}
		assert.equal(await seen(node, PROXY,
			'X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-For: 192.0.2.50\r\n'), '192.0.2.50');
	});

	test('other fields say nothing', async () => {
		for (const name of ['Forwarded: for=', 'X-Real-IP: ', 'X-Client-IP: ', 'CF-Connecting-IP: '])
			assert.equal(await seen(node, PROXY, `${name}192.0.2.66\r\n`), PROXY);
	});

	test('each request of a kept connection says anew who asks', async () => {
		const client = await connect(node.ports.public, PROXY);
		const peer = `${PROXY}:${client.socket.localPort}`;
		for (const fields of ['X-Forwarded-For: 192.0.2.51\r\n', 'X-Forwarded-For: 192.0.2.52\r\n',
			'', 'X-Forwarded-For: 192.0.2.53\r\n']) {
			client.send(get('/', fields));
			assert.equal((await client.response()).status, 404);
		}
		client.destroy();
		await node.logged(/closed client=192\.0\.2\.53:/);
		const named = [...node.stderr.matchAll(/request client=(\S+):0 proxy=(\S+)/g)];
		assert.deepEqual(named.filter((m) => m[2] === peer).map((m) => m[1]),
			['192.0.2.51', '192.0.2.52', '192.0.2.53']);
	});

	test('a WebSocket is the named client\'s to its end', async () => {
		const client = await RawClient.connect(
			{ port: node.ports.public, host: '127.0.0.1', localAddress: PROXY });
		client.send(handshake('/ws/a', { 'X-Forwarded-For': '2001:db8::5' }));
		assert.equal((await client.response()).status, 101);
		client.destroy();
		await node.logged(/closed client=\[2001:db8::5\]:0 /);
	});
});

describe('forged addresses, by Forwarded', () => {
	let node;
	before(async () => {
		node = await Node.start({
			log: { level: 'debug' }, proxy: { trusted: [PROXY], header: 'forwarded' },
		});
	});
	after(() => node?.stop());

	test('Forwarded is believed from proxies alone', async () => {
		const fields = 'Forwarded: for=192.0.2.66, for=192.0.2.50;proto=https\r\n' +
			'X-Forwarded-For: 192.0.2.67\r\n';
		assert.equal(await seen(node, PROXY, fields), '192.0.2.50');
		assert.equal(await seen(node, '127.0.0.1', fields), '127.0.0.1');
		assert.equal(await seen(node, PROXY, 'Forwarded: for="[2001:db8::1]:80"\r\n'),
			'[2001:db8::1]');
		assert.equal(await seen(node, PROXY, 'Forwarded: for="x, for=192.0.2.50\r\n'), PROXY);
	});
});

describe('limits of an address', () => {
	let node;
	let proxied;
	let secure;
	let dir;
	before(async () => {
		dir = tempDir('limits');
		proxied = await freePort();
		secure = await freePort();
		const ports = { public: await freePort(), internal: await freePort() };
		node = await Node.start({
			listen: {
				public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${proxied} proxy`,
					`127.0.0.1:${secure} tls`],
				internal: [`127.0.0.1:${ports.internal}`],
			},
			tls: { certificates: [certificate(dir, 'node').item] },
			proxy: { trusted: [PROXY] },
			limits: { address_connections: 3, address_rate: 20 },
		}, { ports });
	});
	after(async () => {
		await node?.stop();
		removeDir(dir);
	});

	/* A handshake from there: 101 with its client, or the refusal. */
	async function open(port, from, { header, fields } = {}) {
		const client = await connect(port, from);
		if (header)
			client.send(header);
		client.send(handshake('/ws/a', fields));
		const answer = await client.response();
		return { client, ...answer };
	}

	/* Three may be, the fourth is refused, and may be when one has gone. */
	async function three(...how) {
		const clients = [];
		for (let i = 0; i < 3; i++) {
			const { client, status } = await open(...how);
			assert.equal(status, 101);
			clients.push(client);
		}
		const refused = await open(...how);
		assert.equal(refused.status, 429);
		assert.equal(refused.headers['retry-after'], '5');
		assert.equal(refused.headers.connection, 'close');
		await refused.client.end();
		clients.pop().destroy();
		await eventually(5_000, 'a free place', async () => {
			const { client, status } = await open(...how);
			if (status === 101)
				clients.push(client);
			return status === 101;
		});
		return clients;
	}

	test('connections of who connects himself', async () => {
		const clients = await three(node.ports.public, '127.0.0.5');
		/* Others are not concerned, and neither is the internal listener. */
		const other = await open(node.ports.public, '127.0.0.6');
		assert.equal(other.status, 101);
		for (let i = 0; i < 10; i++)
			assert.equal(await node.readyStatus(), 200);
		[...clients, other.client].forEach((c) => c.destroy());
	});

	/* Before the handshake there is nobody to tell. */
	test('over TLS the connection is closed', async () => {
		const held = await three(node.ports.public, '127.0.0.8');
		const refused = tls.connect({
			port: secure, host: '127.0.0.1', localAddress: '127.0.0.8', rejectUnauthorized: false,
		});
		await assert.rejects(within(5_000, 'the refusal', new Promise((resolve, reject) => {
			refused.on('secureConnect', resolve).on('error', reject);
		})), { code: 'ECONNRESET' });
		held.forEach((c) => c.destroy());
	});

	test('connections of who comes through a proxy', async () => {
		const all = [
			...await three(proxied, PROXY, { header: v1('192.0.2.60') }),
			...await three(proxied, PROXY, { header: v2('192.0.2.61') }),
			...await three(node.ports.public, PROXY, { fields: { 'X-Forwarded-For': '192.0.2.62' } }),
			...await three(node.ports.public, PROXY,
				{ fields: { 'X-Forwarded-For': '2001:db8::1' } }),
		];
		const neighbour = await open(node.ports.public, PROXY,
			{ fields: { 'X-Forwarded-For': '2001:db8::2' } });
		assert.equal(neighbour.status, 429, 'the same /64');
		/* However he comes, he is the same. */
		assert.equal((await open(proxied, PROXY, { header: v1('192.0.2.62') })).status, 429);
		all.forEach((c) => c.destroy());
	});

	test('a proxy itself is under no limit', async () => {
		const clients = [];
		for (let i = 0; i < 10; i++) {
			const { client, status } = await open(node.ports.public, PROXY);
			assert.equal(status, 101);
			clients.push(client);
		}
		clients.forEach((c) => c.destroy());
	});

	test('but what it cannot name is', async () => {
		const fields = { 'X-Forwarded-For': 'unknown' };
		(await three(node.ports.public, PROXY, { fields })).forEach((c) => c.destroy());
	});

	test('new connections a second', { timeout: 60 }, async () => {
		const statuses = [];
		const begun = Date.now();
		for (let i = 0; i < 60; i++) {
			const client = await connect(node.ports.public, '127.0.0.7');
			client.send(get());
			statuses.push((await client.response()).status);
			client.destroy();
			await client.end();
		}
		const seconds = (Date.now() - begun) / 1000;
		const served = statuses.filter((s) => s === 404).length;
		assert.ok(statuses.every((s) => s === 404 || s === 429));
		assert.ok(served >= 15, `${served} served`);
		assert.ok(served <= 20 * (1 + seconds) + 1, `${served} served in ${seconds} s`);
		await eventually(5_000, 'the right to connect again',
			async () => {
				const client = await connect(node.ports.public, '127.0.0.7');
				client.send(get());
				const { status } = await client.response();
				client.destroy();
				return status === 404;
			});
	});

	test('on one connection of a proxy each client is counted', async () => {
		const held = await three(node.ports.public, PROXY,
			{ fields: { 'X-Forwarded-For': '192.0.2.70' } });
		const client = await connect(node.ports.public, PROXY);
		client.send(get('/', 'X-Forwarded-For: 192.0.2.71\r\n'));
		assert.equal((await client.response()).status, 404);
		client.send(get('/', 'X-Forwarded-For: 192.0.2.70\r\n'));
		assert.equal((await client.response()).status, 429);
		await client.end();
		held.forEach((c) => c.destroy());
	});
});

describe('an address that goes on after its limit', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { connections: 40, address_connections: 1, close: '60s' },
		});
	});
	after(() => node?.stop());

	test('shuts nobody out', async () => {
		const crowd = [];
		for (let i = 0; i < 100; i++) {
			crowd.push(await connect(node.ports.public, '127.0.0.5'));
			crowd[i].send(get());
		}
		/* Who is told keeps a place until he closes too, and none of them does. */
		assert.equal((await crowd[1].response()).status, 429);
		const other = await connect(node.ports.public, '127.0.0.6');
		other.send(get());
		assert.equal((await other.response()).status, 404);
		[...crowd, other].forEach((c) => c.destroy());
	});
});
