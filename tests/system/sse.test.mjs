/*
 * Server-Sent Events: the answer and the events as curl and a reader of the standard's own words
 * see them, refusals, keep-alive, gaps, slow readers, and the end.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { kill, track, untrack } from './lib/cleanup.mjs';
import { Client, openMany } from './lib/clients.mjs';
import { EventStream, getEvents } from './lib/events.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { RawClient } from './lib/raw.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { after, before, describe, eventually, sleep, test, within } from './lib/test.mjs';

/* curl with these arguments, and what it has printed so far. */
function curl(...args) {
	const child = spawn('curl', ['-sS', '--max-time', '60', ...args]);
	track(child.pid);
	const run = { child, stdout: '', stderr: '' };
	child.stdout.setEncoding('utf8').on('data', (s) => { run.stdout += s; });
	child.stderr.setEncoding('utf8').on('data', (s) => { run.stderr += s; });
	run.done = new Promise((resolve) => { child.on('close', resolve); });
	run.stop = async () => {
		kill(child.pid);
		await run.done;
		untrack(child.pid);
	};
	return run;
}

/* Opens a stream that must be refused; returns the answer. */
async function refused(node, target, fields, options) {
	const error = await EventStream.open(node, target, fields, options).then(
		(stream) => {
			stream.destroy();
			return new Error(`${target} was accepted`);
		}, (e) => e);
	if (error.answer === undefined)
		throw error;
	return error.answer;
}

describe('sse', () => {
	let node;
	before(async () => {
		node = await Node.start({
			workers: 2,
			limits: { ping_interval: ms(60_000) },
			channels: [
				{ match: 'echo', publish: 'anyone' },
				{ match: 'closed', subscribe: 'nobody' },
			],
		});
	});
	after(() => node?.stop());

	const url = (target) => `http://127.0.0.1:${node.ports.public}${target}`;

	test('curl -N shows each event as it comes', async () => {
		const run = curl('-N', '-i', url('/sse/curl'));
		try {
			await eventually(5_000, 'the stream', () => run.stdout.endsWith(': open\n\n'));
			for (const text of ['one', '{"two": 2}', 'three\r\nfour']) {
				await node.publish('curl', text);
				const event = `data: ${text.replace('\r\n', '\ndata: ')}\n\n`;
				await eventually(5_000, text, () => run.stdout.endsWith(event));
			}
			await node.publish('curl', Buffer.from([0, 255]), 'application/octet-stream');
			await eventually(5_000, 'binary', () =>
				run.stdout.endsWith('event: binary\ndata: AP8=\n\n'));
			const [head] = run.stdout.split('\r\n\r\n', 1);
			assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
			for (const field of ['Content-Type: text/event-stream',
				'Cache-Control: no-cache, no-transform', 'X-Accel-Buffering: no',
				'Connection: close'])
				assert.ok(head.includes(`\r\n${field}`), head);
			assert.doesNotMatch(head, /Content-Length|Transfer-Encoding/i);
		} finally {
			await run.stop();
		}
		await eventually(3_000, 'it to be gone', async () => await node.subscribers('curl') === 0);
	});

	test('curl -I: the head alone', async () => {
		const run = curl('-I', url('/sse/head'));
		assert.equal(await within(5_000, 'curl', run.done), 0);
		assert.match(run.stdout, /^HTTP\/1\.1 200 OK\r\n[^]*\r\nContent-Type: text\/event-stream\r\n/);
		assert.match(run.stdout, /\r\n\r\n$/);
		assert.equal(await node.subscribers('head'), 0);
	});

	test('every text arrives, its line ends as LF', async () => {
		const stream = await EventStream.open(node, '/sse/texts');
		const texts = ['', ' ', 'a', ' a ', ':a', 'data: a', 'a\n', '\na', 'a\nb', 'a\rb', 'a\r\nb',
			'\r', '\r\n', '\n\n', '\n\r', 'a\n\nevent: gap\ndata: b\n\n', 'äß€😀',
			'\ufeffbom', 'a\u2028b\u0085c\vd\fe', 'nul\0nul', '{"a":[1,2]}', 'x'.repeat(65_000),
			'\n'.repeat(5_000)];
		for (const text of texts) {
			await node.publish('texts', text);
			assert.deepEqual(await stream.next(),
				{ type: 'message', data: text.replace(/\r\n?/g, '\n') });
		}
		stream.destroy();
	});

	test('binary arrives as base64', async () => {
		const stream = await EventStream.open(node, '/sse/bytes');
		const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
		for (let n = 0; n <= all.length; n += n < 4 ? 1 : 63) {
			await node.publish('bytes', all.subarray(0, n), 'application/octet-stream');
			const { type, data } = await stream.next();
			assert.equal(type, 'binary');
			assert.equal(data, all.toString('base64', 0, n));
		}
		stream.destroy();
	});

	test('what WebSocket clients publish, side by side with them', async () => {
		const client = await Client.open(node.url('/ws/echo'));
		const streams = await openMany(50, () => EventStream.open(node, '/sse/echo'));
		for (let i = 0; i < 20; i++)
			client.send(`message ${i}`);
		const all = Array.from({ length: 20 }, (_, i) => `message ${i}`);
		for (const stream of streams) {
			assert.deepEqual(await stream.data(20), all);
			assert.deepEqual(stream.comments, ['open']);
			stream.destroy();
		}
		await client.count(20);
		client.terminate();
	});

	test('several channels, in order', async () => {
		const stream = await EventStream.open(node, '/sse/a?channel=b&channel=c%3A1&channel=a');
		const sent = [];
		for (let i = 0; i < 30; i++) {
			const channel = ['a', 'b', 'c:1'][i % 3];
			sent.push(`${channel} ${i}`);
			await node.publish(channel, sent.at(-1));
		}
		assert.deepEqual(await stream.data(30), sent);
		stream.destroy();
	});

	test('as many channels as a connection may have', async () => {
		const target = (n) => `/sse?${Array.from({ length: n }, (_, i) => `channel=m${i}`).join('&')}`;
		assert.equal((await refused(node, target(129))).status, 400);
		const stream = await EventStream.open(node, target(128));
		for (const i of [0, 64, 127])
			await node.publish(`m${i}`, `${i}`);
		assert.deepEqual(await stream.data(3), ['0', '64', '127']);
		stream.destroy();
	});

	test('Last-Event-ID is accepted', async () => {
		for (const [target, fields] of [['/sse/id', { 'Last-Event-ID': 'epoch:17' }],
			['/sse/id?last_event_id=epoch%3A17', {}], ['/sse/id?last_event_id=', {}]]) {
			const stream = await EventStream.open(node, target, fields);
			await node.publish('id', 'text');
			assert.deepEqual(await stream.next(), { type: 'message', data: 'text' });
			stream.destroy();
		}
	});

	test('HTTP/1.0', async () => {
		const stream = await EventStream.open(node, '', { Host: null },
			{ line: 'GET /sse/old HTTP/1.0' });
		assert.equal(stream.head.headers.connection, 'close');
		await node.publish('old', 'text');
		assert.deepEqual(await stream.data(1), ['text']);
		stream.destroy();
	});

	test('refusals', async () => {
		const cases = [
			['/sse', 400], ['/sse/', 404], ['/sse?x=y', 400], ['/sse/a%20b', 400], ['/sse/%zz', 400],
			['/sse/a*', 400], [`/sse/${'c'.repeat(256)}`, 400], ['/sse/closed', 403],
			['/sse/a?channel=closed', 403], ['/sses', 404], ['/sse2/a', 404],
		];
		for (const [target, status] of cases) {
			const answer = await refused(node, target);
			assert.equal(answer.status, status, target);
			assert.equal(JSON.parse(answer.body).error.code, status);
		}
		for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
			const answer = await refused(node, '', {}, { line: `${method} /sse/a HTTP/1.1` });
			assert.equal(answer.status, 405);
			assert.equal(answer.headers.allow, 'GET, HEAD');
		}
		assert.equal((await refused(node, '/sse/a', { 'Content-Length': 3 })).status, 400);
		assert.equal((await refused(node, '/sse/a', { Origin: 'http://evil.example' })).status, 403);
		assert.equal((await node.request('GET', '/sse/a')).status, 404, 'on the internal listener');
	});

	test('what the client sends after its request is thrown away', async () => {
		const stream = await EventStream.open(node, '/sse/junk');
		stream.raw.send(`${getEvents('/sse/junk')}POST /pub/junk HTTP/1.1\r\nHost: a\r\n\r\n`);
		for (let i = 0; i < 100; i++)
			stream.raw.send(Buffer.alloc(50_000));
		await node.publish('junk', 'text');
		assert.deepEqual(await stream.data(1), ['text']);
		assert.equal(await node.subscribers('junk'), 1);
		stream.destroy();
		await eventually(3_000, 'the end', async () => await node.subscribers('junk') === 0);
	});

	test('ends with the client, also when it only closes its half', async () => {
		const streams = await openMany(2, () => EventStream.open(node, '/sse/ends'));
		streams[0].destroy();
		await eventually(3_000, 'one', async () => await node.subscribers('ends') === 1);
		streams[1].raw.socket.end();
		await streams[1].end();
		await eventually(3_000, 'none', async () => await node.subscribers('ends') === 0);
	});

	test('a gap is told when the hub was away', async () => {
		const stream = await EventStream.open(node, '/sse/gap?channel=gap2');
		const old = node.role('hub');
		kill(old);
		await node.replaced('hub', old);
		const gaps = [await stream.next(), await stream.next()];
		assert.deepEqual(gaps.map((e) => e.data).sort(), ['gap', 'gap2']);
		assert.ok(gaps.every((e) => e.type === 'gap'));
		await node.ready();
		await node.publish('gap', 'after');
		assert.deepEqual(await stream.data(1), ['after']);
		stream.destroy();
	});
});

describe('sse: with nodes of their own', () => {
	test('comments keep it alive', async () => {
		const node = await Node.start({ limits: { ping_interval: ms(300), pong_timeout: ms(200) } });
		const stream = await EventStream.open(node, '/sse/a');
		assert.equal(await stream.comment(1), 'open');
		const begun = Date.now();
		for (let n = 2; n <= 6; n++)
			assert.equal(await stream.comment(n), '');
		assert.ok(Date.now() - begun > 5 * 270 - 100, 'too often');
		await node.publish('a', 'text');
		assert.deepEqual(await stream.data(1), ['text']);
		stream.destroy();
		await node.stop();
	});

	test('says that the server stops', async () => {
		const node = await Node.start();
		const stream = await EventStream.open(node, '/sse/a');
		await node.publish('a', 'text');
		assert.deepEqual(await stream.data(1), ['text']);
		const [events] = await Promise.all([stream.end(), node.stop()]);
		assert.deepEqual(events, []);
		assert.deepEqual(stream.comments, ['open', 'closed 1001 the server is stopping']);
	});

	test('503 while the engine is away', async () => {
		const node = new Node({
			redis: { url: `redis://127.0.0.1:${await freePort()}` },
			limits: { handshake: ms(1_000) },
		});
		await node.spawn();
		await eventually(10_000, 'the worker', async () => await node.readyStatus() === 503);
		const answer = await refused(node, '/sse/a', { Origin: 'http://127.0.0.1:1' });
		assert.equal(answer.status, 503);
		assert.equal(answer.headers['retry-after'], '1');
		assert.equal(answer.headers['access-control-allow-origin'], 'http://127.0.0.1:1');
		await node.stop();
	});
});

describe('sse: slow readers', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { stall: ms(60_000), ping_interval: ms(60_000), queue: 300_000 },
			channels: [{ match: 'drop', slow: 'drop-oldest' }, { match: 'latest', slow: 'latest' }],
		});
	});
	after(() => node?.stop());

	/* Publishes numbered messages until enough() is true, and that the good one has them. */
	async function flood(channel, good, enough) {
		const sequence = new Sequence();
		let n = 0;
		do {
			for (let i = 0; i < 5; i++)
				await node.publish(channel, numbered(channel, 'p', ++n, 30_000));
			for (const text of await good.data(5))
				sequence.take(text);
		} while (!await enough(n));
		sequence.assertComplete(n);
		return n;
	}

	test('who does not read is cut off, and others lose nothing', { timeout: 60 }, async () => {
		const good = await EventStream.open(node, '/sse/kick');
		const bad = await EventStream.open(node, '/sse/kick');
		bad.raw.socket.pause();
		await flood('kick', good, async (n) => {
			assert.ok(n < 2_000, 'the slow one is still there');
			return await node.subscribers('kick') === 1;
		});
		/* What it finds when it reads at last is whole events, and perhaps a part of one. */
		const sequence = new Sequence();
		bad.raw.socket.resume();
		for (const { type, data } of await bad.end()) {
			assert.equal(type, 'message');
			sequence.take(data);
		}
		sequence.assertOrdered();
		good.destroy();
	});

	for (const channel of ['drop', 'latest']) {
		test(`${channel}: messages are left out in whole, and told`, { timeout: 60 }, async () => {
			const good = await EventStream.open(node, `/sse/${channel}`);
			const bad = await EventStream.open(node, `/sse/${channel}`);
			bad.raw.socket.pause();
			const n = await flood(channel, good, (sent) => sent >= 150);
			assert.equal(await node.subscribers(channel), 2);
			const sequence = new Sequence();
			let gaps = 0;
			bad.raw.socket.resume();
			while (gaps === 0 || sequence.last.get(`${channel} p`) !== n) {
				const { type, data } = await bad.next();
				if (type === 'gap') {
					assert.equal(data, channel);
					gaps++;
				} else {
					sequence.take(data);
				}
			}
			sequence.assertOrdered();
			assert.ok(sequence.lost > 0);
			/* From then on it gets everything. */
			await node.publish(channel, 'last');
			assert.deepEqual(await bad.data(1), ['last']);
			good.destroy();
			bad.destroy();
		});
	}

	test('who reads slowly, but reads, stays', { timeout: 60 }, async () => {
		const stream = await EventStream.open(node, '/sse/patient');
		const text = 'x'.repeat(8_000);
		for (let i = 0; i < 40; i++) {
			stream.raw.socket.pause();
			await node.publish('patient', text);
			await sleep(20);
			stream.raw.socket.resume();
			assert.deepEqual(await stream.data(1), [text]);
		}
		stream.destroy();
	});
});
