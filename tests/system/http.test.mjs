/*
 * HTTP on both listeners: the API to publish, health, the framing of requests, and what must not
 * get through it.
 */
import assert from 'node:assert/strict';
import { CHUNKED, chunked, post, smuggled } from './lib/bad-requests.mjs';
import { Client } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { after, before, describe, eventually, test } from './lib/test.mjs';

describe('http', () => {
	let node;
	let watcher;
	before(async () => {
		node = await Node.start({
			limits: { body: 10_000, idle: ms(1_500), handshake: ms(1_500), assemble: ms(1_500) },
		});
		watcher = await Client.open(node.url('/ws/seen'));
	});
	after(async () => {
		watcher.terminate();
		await node?.stop();
	});

	const internal = () => RawClient.connect(node.ports.internal);

	/* Nothing but `expected` was published to the watched channel since the last call. */
	async function published(...expected) {
		await node.publish('seen', 'mark');
		for (const text of [...expected, 'mark'])
			assert.equal(await watcher.next(), text);
	}

	test('health and readiness', async () => {
		for (const target of ['/healthz', '/readyz']) {
			assert.equal((await node.request('GET', target)).status, 200);
			assert.equal((await node.request('HEAD', target)).status, 200);
			assert.equal((await node.request('GET', target, { public: true })).status, 404);
		}
	});

	test('POST answers 200 and an empty object', async () => {
		const answer = await node.publish('seen', 'hello');
		assert.equal(answer.body.trim(), '{}');
		assert.match(answer.headers['content-type'], /^application\/json/);
		await published('hello');
	});

	test('without a key /pub is not on the public listener', async () => {
		for (const method of ['GET', 'POST']) {
			const answer = await node.request(method, '/pub/seen', { body: 'x', public: true });
			assert.equal(answer.status, 404);
		}
		await published();
	});

	test('the demo page is not served unless enabled', async () =>
		assert.equal((await node.request('GET', '/', { public: true })).status, 404));

	test('what is not there: 404', async () => {
		for (const target of ['/', '/pubs/x', '/healthz/', '/healthz2', '/%70ub/x', '/../pub/seen'])
			assert.equal((await node.request('GET', target)).status, 404, target);
	});

	test('bad channel names: 400', async () => {
		for (const name of ['', 'a%20b', 'a*', '%00', 'a%2', 'a%zz', '%C3%A4', 'c'.repeat(256)]) {
			const { status } = await node.request('POST', `/pub/${name}`, { body: 'x' });
			assert.equal(status, 400, name);
		}
	});

	test('other methods: 405 with Allow', async () => {
		for (const method of ['PUT', 'PATCH', 'OPTIONS']) {
			const answer = await node.request(method, '/pub/seen', { body: 'x' });
			assert.equal(answer.status, 405);
			assert.match(answer.headers.allow, /\bGET\b.*\bPOST\b/);
		}
		for (const target of ['/healthz', '/readyz']) {
			const answer = await node.request('POST', target, { body: 'x' });
			assert.equal(answer.status, 405);
			assert.match(answer.headers.allow, /GET/);
		}
		await published();
	});

	test('HEAD has the head of GET and no body', async () => {
		const client = await internal();
		client.send('HEAD /pub/seen HTTP/1.1\r\nHost: a\r\n\r\n'
			+ 'GET /pub/seen HTTP/1.1\r\nHost: a\r\n\r\n');
		const head = await client.response({ method: 'HEAD' });
		const get = await client.response();
		assert.equal(head.status, 200);
		assert.equal(head.headers['content-length'], get.headers['content-length']);
		assert.equal(JSON.parse(get.body).channel, 'seen');
		client.destroy();
	});

	test('a connection serves one request after the other', async () => {
		const client = await internal();
		for (let i = 0; i < 50; i++) {
			client.send(post('seen', `keep ${i}`));
			assert.equal((await client.response()).status, 200);
		}
		await published(...Array.from({ length: 50 }, (_, i) => `keep ${i}`));
		client.destroy();
	});

	test('requests sent ahead are answered in order', async () => {
		const client = await internal();
		const n = 100;
		const requests = Array.from({ length: n }, (_, i) => (i % 10 === 9
			? `GET /pub/c${i} HTTP/1.1\r\nHost: a\r\n\r\n` : post('seen', `ahead ${i}`)));
		client.send(requests.join(''));
		for (let i = 0; i < n; i++) {
			const { status, body } = await client.response();
			assert.equal(status, 200);
			assert.equal(JSON.parse(body).channel, i % 10 === 9 ? `c${i}` : undefined);
		}
		const all = Array.from({ length: n }, (_, i) => `ahead ${i}`);
		await published(...all.filter((_, i) => i % 10 < 9));
		client.destroy();
	});

	test('requests sent ahead are answered although the client has closed its half', async () => {
		const client = await internal();
		client.socket.end(post('seen', 'one') + post('seen', 'two'));
		assert.equal((await client.response()).status, 200);
		assert.equal((await client.response()).status, 200);
		await client.end();
		await published('one', 'two');
		client.destroy();
	});

	test('Connection: close and HTTP/1.0 end it', async () => {
		const requests = ['GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
			'GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n',
			'GET /healthz HTTP/1.0\r\n\r\n'];
		for (const request of requests) {
			const client = await internal();
			client.send(request + post('seen', 'behind'));
			assert.equal((await client.response()).status, 200);
			await client.end();
			assert.equal(client.input.length, 0);
			client.destroy();
		}
		await published();
	});

	test('a connection that idles is closed', async () => {
		const client = await internal();
		client.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
		assert.equal((await client.response()).status, 200);
		await client.end(4_000);
		client.destroy();
	});

	test('a body that does not come is not waited for without end', async () => {
		const client = await internal();
		client.send(post('seen', 'abc', { 'Content-Length': 100 }));
		await client.end(6_000);
		client.destroy();
		await published();
	});

	test('a body byte by byte', async () => {
		const client = await internal();
		for (const byte of post('seen', 'slowly'))	{
			client.send(byte);
			await new Promise(setImmediate);
		}
		assert.equal((await client.response()).status, 200);
		await published('slowly');
		client.destroy();
	});

	test('chunked bodies', async () => {
		const client = await internal();
		const bodies = {
			[chunked('hello', ' ', 'world')]: 'hello world',
			[chunked()]: '',
			'5;name=value;x="y"\r\nhello\r\n0\r\n\r\n': 'hello',
			'5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n': 'hello',
			'00005\r\nhello\r\n0\r\n\r\n': 'hello',
			[`A\r\n${'x'.repeat(10)}\r\na\r\n${'y'.repeat(10)}\r\n000\r\n\r\n`]:
				'x'.repeat(10) + 'y'.repeat(10),
		};
		for (const [body, text] of Object.entries(bodies)) {
			client.send(post('seen', body, CHUNKED));
			assert.equal((await client.response()).status, 200, JSON.stringify(body));
			await published(text);
		}
		client.destroy();
	});

	test('Expect: 100-continue', async () => {
		const client = await internal();
		client.send(post('seen', '', { 'Content-Length': 5, Expect: '100-continue' }));
		assert.equal((await client.response()).status, 100);
		client.send('hello');
		assert.equal((await client.response()).status, 200);
		await published('hello');
		client.destroy();
	});

	test('Expect: 100-continue where the body is not wanted', async () => {
		const client = await internal();
		client.send(post('seen', '', { 'Content-Length': 10_001, Expect: '100-continue' }));
		assert.equal((await client.response()).status, 413);
		client.destroy();
	});

	test('a body at the limit and one byte more: 413', async () => {
		await node.publish('seen', 'x'.repeat(10_000));
		await published('x'.repeat(10_000));
		for (const request of [post('seen', 'x'.repeat(10_001)),
			post('seen', chunked('x'.repeat(6_000), 'x'.repeat(4_001)), CHUNKED),
			post('seen', '', { 'Content-Length': 2 ** 40 })]) {
			const client = await internal();
			client.send(request);
			assert.equal((await client.response()).status, 413);
			await client.end();
			client.destroy();
		}
		await published();
	});

	/* The request that it would hide is not executed. */
	const hidden = post('seen', 'hidden');
	for (const [name, request] of Object.entries(smuggled('seen'))) {
		test(`smuggling: ${name}`, async () => {
			const client = await internal();
			client.send(request + hidden);
			const { status } = await client.response();
			assert.ok([400, 501].includes(status), `${status}`);
			await client.end();
			assert.equal(client.input.length, 0, 'bytes behind the answer');
			client.destroy();
			await published();
		});
	}

	test('a trailer that does not end is refused', async () => {
		const client = await internal();
		client.send(post('seen', `5\r\nhello\r\n0\r\n${'X: y\r\n'.repeat(2_000)}`, CHUNKED));
		assert.equal((await client.response()).status, 400);
		await client.end();
		client.destroy();
		await published();
	});

	test('the head and the fields are limited', async () => {
		const headers = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`x-${i}`, 'y']));
		assert.equal((await node.request('GET', '/healthz', { headers })).status, 431);
		const long = { X: 'x'.repeat(9_000) };
		assert.equal((await node.request('GET', '/healthz', { headers: long })).status, 431);
	});

	test('a page of another site may not use the internal listener', async () => {
		for (const Origin of ['http://evil.example', 'null']) {
			const answer = await node.request('POST', '/pub/seen',
				{ body: 'x', headers: { Origin } });
			assert.equal(answer.status, 403);
		}
		const own = `http://127.0.0.1:${node.ports.public}`;
		await node.request('POST', '/pub/seen', { body: 'same host', headers: { Origin: own } });
		await published('same host');
	});
});

describe('http: with a key', () => {
	let node;
	before(async () => {
		node = await Node.start({ api: { key: 'open-sesame-1234' } });
	});
	after(() => node?.stop());

	for (const isPublic of [false, true]) {
		const where = isPublic ? 'public' : 'internal';
		const post1 = (headers) =>
			node.request('POST', '/pub/a', { body: 'x', headers, public: isPublic });

		test(`${where}: the key opens /pub`, async () => {
			const client = await Client.open(node.url('/ws/a'));
			for (const headers of [{ Authorization: 'Bearer open-sesame-1234' },
				{ authorization: 'bearer open-sesame-1234' },
				{ 'X-API-Key': 'open-sesame-1234' }]) {
				assert.equal((await post1(headers)).status, 200);
				assert.equal(await client.next(), 'x');
			}
			client.terminate();
		});

		test(`${where}: anything else is 401`, async () => {
			const client = await Client.open(node.url('/ws/a'));
			for (const headers of [{}, { Authorization: 'Bearer' }, { Authorization: 'Bearer ' },
				{ Authorization: 'open-sesame-1234' }, { Authorization: 'Basic open-sesame-1234' },
				{ Authorization: 'Bearer open-sesame-123' },
				{ Authorization: 'Bearer open-sesame-12345' },
				{ Authorization: 'Bearer OPEN-SESAME-1234' },
				{ 'X-API-Key': '' }, { 'X-API-Key': 'open' }]) {
				const answer = await post1(headers);
				assert.equal(answer.status, 401, JSON.stringify(headers));
				assert.match(answer.headers['www-authenticate'], /^Bearer/);
			}
			const get = await node.request('GET', '/pub/a', { public: isPublic });
			assert.equal(get.status, 401);
			await post1({ 'X-API-Key': 'open-sesame-1234' });
			assert.equal(await client.next(), 'x');
			assert.equal(client.messages.length, 1);
			client.terminate();
		});
	}

	test('health needs no key', async () => {
		assert.equal((await node.request('GET', '/healthz')).status, 200);
		assert.equal((await node.request('GET', '/readyz')).status, 200);
	});

	test('no key in the log', () => assert.doesNotMatch(node.stderr, /sesame/));
});

describe('http: limits of connections', () => {
	test('connections over the limit are turned away, and room is found again', async () => {
		const node = await Node.start({ limits: { connections: 16 } });
		const clients = [];
		for (let i = 0; i < 16; i++) {
			const client = await Client.open(node.url('/ws/full')).catch(() => null);
			if (client)
				clients.push(client);
		}
		assert.ok(clients.length >= 14, `${clients.length}`);
		const more = await RawClient.connect(node.ports.public);
		more.send(handshake());
		const answer = await more.response({ timeout: 1_500 }).catch(() => ({ status: 0 }));
		assert.notEqual(answer.status, 101);
		more.destroy();
		clients.forEach((c) => c.terminate());
		const again = await eventually(5_000, 'room', () =>
			Client.open(node.url('/ws/full')).catch(() => null));
		again.terminate();
		await node.stop();
	});

	test('clients who fill a worker do not shut out its operator', async () => {
		const node = await Node.start({ limits: { connections: 4 } });
		const clients = [];
		while (clients.length < 4)
			clients.push(await Client.open(node.url('/ws/full')));
		assert.equal((await node.request('GET', '/healthz')).status, 200);
		await node.publish('full', 'still');
		for (const client of clients)
			assert.equal(await client.next(), 'still');
		clients.forEach((c) => c.terminate());
		await node.stop();
	});
});
