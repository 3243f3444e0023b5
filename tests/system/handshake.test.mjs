/*
 * The opening handshake, RFC 6455 §4: what is accepted, what is refused and how, the Origin
 * policy, and the limits of a request's head.
 */
import assert from 'node:assert/strict';
import { badHandshakes, handshakeOfFields, longHandshake } from './lib/bad-requests.mjs';
import { Client } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { ACCEPT, KEY, OP, RawClient, frame, handshake } from './lib/raw.mjs';
import { after, before, describe, test } from './lib/test.mjs';

const HANDSHAKE_MS = 1_500;

/* Sends a request to the public listener and returns the answer. */
async function answerTo(node, request) {
	const client = await RawClient.connect(node.ports.public);
	try {
		client.send(request);
		return { client, answer: await client.response() };
	} catch (error) {
		client.destroy();
		throw error;
	}
}

async function accepted(node, request) {
	const { client, answer } = await answerTo(node, request);
	assert.equal(answer.status, 101, answer.text);
	client.destroy();
	return answer;
}

/* A refusal is one of `statuses`, and the connection ends after it. */
async function refused(node, request, ...statuses) {
	const { client, answer } = await answerTo(node, request);
	assert.ok(statuses.includes(answer.status), `${answer.status}, not ${statuses}`);
	await client.end();
	assert.equal(client.input.length, 0, 'bytes behind the answer');
	client.destroy();
	return answer;
}

describe('handshake', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { handshake: ms(HANDSHAKE_MS) },
			channels: [{ match: 'closed:*', subscribe: 'nobody' }],
		});
	});
	after(() => node?.stop());

	test('answers as RFC 6455 §4.2.2 says', async () => {
		const answer = await accepted(node, handshake());
		assert.match(answer.text, /^HTTP\/1\.1 101 /);
		assert.equal(answer.headers['sec-websocket-accept'], ACCEPT);
		assert.equal(answer.headers.upgrade.toLowerCase(), 'websocket');
		assert.equal(answer.headers.connection.toLowerCase(), 'upgrade');
		assert.equal(answer.headers['sec-websocket-protocol'], undefined);
		assert.equal(answer.headers['sec-websocket-extensions'], undefined);
	});

	const good = {
		'a list in Connection': { Connection: 'keep-alive, Upgrade' },
		'tokens in any case': { Connection: 'KEEP-ALIVE,uPGRADE', Upgrade: 'WebSocket' },
		'two Connection fields': { Connection: ['keep-alive', 'Upgrade'] },
		'a list in Upgrade': { Upgrade: 'h2c, websocket' },
		'empty elements in a list': { Connection: ', Upgrade ,' },
		'white space around values': {
			'Sec-WebSocket-Key': `  ${KEY} \t`, Upgrade: '\t websocket ' },
		'an extension that is not offered here': {
			'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' },
		'an unknown subprotocol': { 'Sec-WebSocket-Protocol': 'chat, superchat' },
	};
	for (const [name, fields] of Object.entries(good)) {
		test(`accepts ${name}`, async () => {
			const { headers } = await accepted(node, handshake('/ws/news', fields));
			assert.equal(headers['sec-websocket-accept'], ACCEPT);
			assert.equal(headers['sec-websocket-extensions'], undefined);
			assert.equal(headers['sec-websocket-protocol'], undefined);
		});
	}

	test('accepts field names in any case', async () => {
		const request = handshake().replace('Upgrade:', 'uPGRADE:')
			.replace('Sec-WebSocket-Key:', 'sec-websocket-KEY:')
			.replace('Host:', 'HOST:');
		await accepted(node, request);
	});

	test('chooses fanfare.json, also among others and in a second field', async () => {
		for (const protocol of ['fanfare.json', 'chat, fanfare.json', ['chat', 'fanfare.json']]) {
			const { headers } = await accepted(node,
				handshake('/ws', { 'Sec-WebSocket-Protocol': protocol }));
			assert.equal(headers['sec-websocket-protocol'], 'fanfare.json');
		}
	});

	test('compares subprotocols exactly', async () => {
		const { headers } = await accepted(node,
			handshake('/ws/news', { 'Sec-WebSocket-Protocol': 'FANFARE.JSON' }));
		assert.equal(headers['sec-websocket-protocol'], undefined);
	});

	test('reads frames that came together with the handshake', async () => {
		const client = await RawClient.connect(node.ports.public);
		client.send(Buffer.concat([Buffer.from(handshake()), frame(OP.PING, 'early')]));
		assert.equal((await client.response()).status, 101);
		const pong = await client.frame();
		assert.equal(pong.opcode, OP.PONG);
		assert.equal(pong.data.toString(), 'early');
		client.destroy();
	});

	test('a handshake that comes byte by byte', async () => {
		const client = await RawClient.connect(node.ports.public);
		for (const byte of handshake()) {
			client.send(byte);
			await new Promise(setImmediate);
		}
		assert.equal((await client.response()).status, 101);
		client.destroy();
	});

	for (const [name, [request, ...statuses]] of Object.entries(badHandshakes))
		test(`refuses ${name}`, () => refused(node, request, ...statuses));

	test('128 channels of one connection', async () => {
		const query = Array.from({ length: 128 }, (_, i) => `channel=c${i}`).join('&');
		await accepted(node, handshake(`/ws?${query}`));
	});

	test('no channel needs the subprotocol fanfare.json', async () => {
		await accepted(node, handshake('/ws', { 'Sec-WebSocket-Protocol': 'fanfare.json' }));
		await refused(node, handshake('/ws', { 'Sec-WebSocket-Protocol': 'other' }), 400);
	});

	test('a channel that a rule closes is refused with 403', async () => {
		await refused(node, handshake('/ws/closed:a'), 403);
		await refused(node, handshake('/ws?channel=open&channel=closed:a'), 403);
	});

	test('a head of 8 KiB and 64 fields are accepted', async () => {
		await accepted(node, longHandshake(8_192));
		await accepted(node, handshakeOfFields(64));
	});

	/* The server may say 408 before it closes. */
	async function closedByDeadline(trickle) {
		const client = await RawClient.connect(node.ports.public);
		const begun = Date.now();
		client.send('GET /ws/news HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ');
		const timer = trickle && setInterval(() => client.send('x'), 100);
		try {
			await client.end(HANDSHAKE_MS + 2_000);
		} finally {
			clearInterval(timer);
			client.destroy();
		}
		const took = Date.now() - begun;
		assert.ok(took > HANDSHAKE_MS / 2, `${took} ms`);
		const said = client.input.toString('latin1');
		assert.match(said, /^(HTTP\/1\.1 408 [^]*)?$/);
	}

	test('a head that does not end is cut at the deadline', () => closedByDeadline(false));
	test('a trickle does not move the deadline', () => closedByDeadline(true));

	test('a connection that says nothing is cut at the deadline', async () => {
		const client = await RawClient.connect(node.ports.public);
		await client.end(HANDSHAKE_MS + 2_000);
		client.destroy();
	});

	test('100 fine clients beside 100 slow heads', async () => {
		const slow = await Promise.all(Array.from({ length: 100 }, () =>
			RawClient.connect(node.ports.public)));
		slow.forEach((client) => client.send('GET /ws/news HTTP/1.1\r\n'));
		const fine = await Promise.all(Array.from({ length: 100 }, () =>
			Client.open(node.url('/ws/news'))));
		await node.publish('news', 'hello');
		for (const client of fine)
			assert.equal(await client.next(), 'hello');
		await Promise.all(slow.map((client) => client.end(HANDSHAKE_MS + 2_000)));
		[...slow, ...fine].forEach((client) => (client.terminate ?? client.destroy).call(client));
	});
});

describe('handshake: what follows a refused one', () => {
	let node;
	before(async () => {
		node = await Node.start({ api: { key: 'sesame-0123456789' } });
	});
	after(() => node?.stop());

	/* With a key the public listener serves /pub, so a hidden request would be executed. */
	const hidden = 'POST /pub/hidden HTTP/1.1\r\nHost: a\r\nX-API-Key: sesame-0123456789\r\n'
		+ 'Content-Length: 6\r\n\r\nhidden';

	test('is not executed', async () => {
		const watcher = await Client.open(node.url('/ws/hidden'));
		const refusals = [
			handshake('/ws/news', { 'Sec-WebSocket-Version': '12' }),
			handshake('/ws/news', { Origin: 'http://evil.example' }),
			handshake('/ws/news', { 'Sec-WebSocket-Key': null }),
			handshake('/ws/a%20b'),
			handshake('/nothing'),
		];
		for (const request of refusals) {
			const client = await RawClient.connect(node.ports.public);
			client.send(request + hidden);
			assert.ok((await client.response()).status >= 400);
			await client.end();
			assert.equal(client.input.length, 0, 'an answer to the hidden request');
			client.destroy();
		}
		const key = { 'X-API-Key': 'sesame-0123456789' };
		await node.request('POST', '/pub/hidden', { body: 'last', headers: key });
		assert.equal(await watcher.next(), 'last');
		watcher.terminate();
	});

	test('such a request alone is executed, so that the test above proves something', async () => {
		const watcher = await Client.open(node.url('/ws/hidden'));
		const client = await RawClient.connect(node.ports.public);
		client.send(hidden);
		assert.equal((await client.response()).status, 200);
		assert.equal(await watcher.next(), 'hidden');
		client.destroy();
		watcher.terminate();
	});
});

describe('handshake: limits that are set', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { channel_name: 5, subscriptions: 2, head: 400, fields: 7 },
		});
	});
	after(() => node?.stop());

	test('limits.channel_name', async () => {
		await accepted(node, handshake('/ws/12345'));
		await refused(node, handshake('/ws/123456'), 400);
		assert.equal((await node.request('GET', '/pub/123456')).status, 400);
	});

	test('limits.subscriptions', async () => {
		await accepted(node, handshake('/ws?channel=a&channel=b'));
		await refused(node, handshake('/ws?channel=a&channel=b&channel=c'), 400);
	});

	test('limits.head', async () => {
		const pad = 400 - handshake('/ws/news', { X: '' }).length;
		await accepted(node, handshake('/ws/news', { X: 'x'.repeat(pad) }));
		await refused(node, handshake('/ws/news', { X: 'x'.repeat(pad + 1) }), 431);
	});

	test('limits.fields', async () => {
		await accepted(node, handshake('/ws/news', { A: 'a', B: 'b' }));
		await refused(node, handshake('/ws/news', { A: 'a', B: 'b', C: 'c' }), 431);
	});
});

describe('handshake: Origin', () => {
	const nodes = {};
	before(async () => {
		nodes.same = await Node.start({});
		nodes.list = await Node.start({
			origins: ['https://app.example.com', 'https://*.example.org',
				'http://dev.example.com:8443'],
		});
		nodes.any = await Node.start({ origins: ['*'] });
	});
	after(async () => {
		for (const node of Object.values(nodes))
			await node.stop();
	});

	const table = {
		same: {
			host: 'chat.example.com:8080',
			allowed: ['http://chat.example.com:8080', 'https://chat.example.com',
				'http://chat.example.com:9999', 'http://CHAT.example.COM'],
			refused: ['null', 'http://example.com', 'http://chat.example.com.evil.net',
				'http://evilchat.example.com', 'http://chat.example.com@evil.net',
				'http://evil.net/chat.example.com', 'http://evil.net#chat.example.com', '',
				'chat.example.com', 'http://chat.example.com:x', 'http://',
				['http://chat.example.com', 'http://chat.example.com'],
				['http://chat.example.com', 'http://evil.net'],
				'http://chat.example.com http://evil.net',
				'http://chat.example.com, http://evil.net'],
		},
		list: {
			host: 'chat.example.com:8080',
			allowed: ['https://app.example.com', 'https://APP.example.com', 'https://a.example.org',
				'https://a.b.example.org', 'http://dev.example.com:8443'],
			refused: ['http://app.example.com', 'https://app.example.com:444',
				'https://app.example.com.evil.net', 'https://evilapp.example.com',
				'https://example.org', 'https://evilexample.org', 'https://a.example.org.evil.net',
				'http://a.example.org', 'http://dev.example.com', 'https://dev.example.com:8443',
				'http://chat.example.com:8080', 'null', '',
				'https://evil.net/.example.org', 'https://evil.net#.example.org'],
		},
		any: {
			host: 'chat.example.com',
			allowed: ['null', 'http://evil.net', 'https://app.example.com'],
			refused: [],
		},
	};
	for (const [name, { host, allowed, refused: no }] of Object.entries(table)) {
		test(`${name}: no Origin`, () =>
			accepted(nodes[name], handshake('/ws/news', {}, { host })));
		for (const Origin of allowed) {
			test(`${name}: allows ${Origin}`, () =>
				accepted(nodes[name], handshake('/ws/news', { Origin }, { host })));
		}
		for (const Origin of no) {
			test(`${name}: refuses ${JSON.stringify(Origin)}`, () =>
				refused(nodes[name], handshake('/ws/news', { Origin }, { host }), 403));
		}
	}
});
