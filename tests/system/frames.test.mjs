/*
 * Frames: the limits that are set, the closing handshake that the server begins, and peers that go
 * silent.  What RFC 6455 says about each frame is in conformance.test.mjs.
 */
import assert from 'node:assert/strict';
import { Client } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { OP, RawClient, closePayload, frame } from './lib/raw.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';

const MESSAGE = 1_000;
const FRAGMENTS = 16;
const ECHO = [{ match: 'echo', publish: 'anyone' }];

/* Sends bytes to an echo channel and expects the server to close with this code, and to end. */
async function closedWith(node, code, ...bytes) {
	const client = await RawClient.open(node, '/ws/echo');
	client.send(Buffer.concat(bytes));
	const close = await client.frameButPing();
	assert.deepEqual({ opcode: close.opcode, code: close.code }, { opcode: OP.CLOSE, code });
	client.send(frame(OP.CLOSE, closePayload(code)));
	await client.end();
	assert.equal(client.input.length, 0, 'frames behind the close');
	client.destroy();
}

/* Sends bytes to an echo channel and expects this message. */
async function echoed(node, opcode, payload, ...bytes) {
	const client = await RawClient.open(node, '/ws/echo');
	client.send(Buffer.concat(bytes));
	const echo = await client.frameButPing();
	assert.equal(echo.opcode, opcode);
	assert.deepEqual(echo.data, Buffer.from(payload));
	client.destroy();
}

describe('frames', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { message: MESSAGE, fragments: FRAGMENTS, close: ms(1_000) },
			channels: ECHO,
		});
	});
	after(() => node?.stop());

	const begin = frame(OP.TEXT, 'a', { fin: false });

	test('a message at the limit and one byte more', async () => {
		await echoed(node, OP.TEXT, 'x'.repeat(MESSAGE), frame(OP.TEXT, 'x'.repeat(MESSAGE)));
		await closedWith(node, 1009, frame(OP.TEXT, 'x'.repeat(MESSAGE + 1)));
	});

	test('as many fragments as allowed and one more', async () => {
		const more = (n) => Array.from({ length: n }, () => frame(OP.CONT, 'a', { fin: false }));
		await echoed(node, OP.TEXT, 'a'.repeat(FRAGMENTS), begin, ...more(FRAGMENTS - 2),
			frame(OP.CONT, 'a'));
		const empty = Array.from({ length: FRAGMENTS }, () => frame(OP.CONT, '', { fin: false }));
		await closedWith(node, 1009, begin, ...more(FRAGMENTS));
		await closedWith(node, 1009, begin, ...empty);
	});

	test('of many pings the last is answered', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		const pings = Array.from({ length: 5_000 }, (_, i) => frame(OP.PING, String(i)));
		client.send(Buffer.concat([...pings, frame(OP.TEXT, 'done')]));
		let last;
		for (;;) {
			const f = await client.frame();
			if (f.opcode !== OP.PONG)
				break;
			last = f.data.toString();
		}
		/* The echo goes by the hub, so that every pong is before it. */
		assert.equal(last, '4999');
		client.destroy();
	});

	test('a peer that does not answer a close is cut at the deadline', async () => {
		const client = await RawClient.open(node, '/ws/other');
		client.send(frame(OP.TEXT, 'not allowed'));
		assert.equal((await client.frame()).code, 1008);
		const begun = Date.now();
		await client.end(4_000);
		assert.ok(Date.now() - begun < 3_000);
		client.destroy();
	});

	test('a peer that answers a close is let go at once', async () => {
		const client = await RawClient.open(node, '/ws/other');
		client.send(frame(OP.TEXT, 'not allowed'));
		assert.equal((await client.frame()).code, 1008);
		const begun = Date.now();
		client.send(frame(OP.CLOSE, closePayload(1008)));
		await client.end();
		assert.ok(Date.now() - begun < 900, 'waited for the deadline');
		client.destroy();
	});

	const gone = (channel) => eventually(5_000, 'the subscriber to go', async () =>
		await node.subscribers(channel) === 0);

	test('a half-closed peer is let go', async () => {
		const client = await RawClient.open(node, '/ws/half');
		assert.equal(await node.subscribers('half'), 1);
		client.socket.end();
		await client.end();
		await gone('half');
		client.destroy();
	});

	test('a peer half-closed in mid-frame is let go', async () => {
		const client = await RawClient.open(node, '/ws/half');
		client.socket.end(frame(OP.TEXT, 'a', { len: 100 }));
		await client.end();
		await gone('half');
		client.destroy();
	});

	test('a peer that resets is let go', async () => {
		const client = await RawClient.open(node, '/ws/reset');
		client.socket.resetAndDestroy();
		await gone('reset');
	});
});

describe('frames: deadlines', () => {
	const ASSEMBLE = 1_000;
	const PING = 1_000;
	const PONG = 500;
	let node;
	before(async () => {
		node = await Node.start({
			limits: { assemble: ms(ASSEMBLE), ping_interval: ms(PING), pong_timeout: ms(PONG),
				close: ms(1_000) },
			channels: ECHO,
		});
	});
	after(() => node?.stop());

	/* Answers pings until the server closes; returns the close frame. */
	async function untilClose(client, ms) {
		const end = Date.now() + ms;
		for (;;) {
			const f = await client.frame(Math.max(1, end - Date.now()));
			if (f.opcode === OP.CLOSE)
				return f;
			if (f.opcode === OP.PING)
				client.send(frame(OP.PONG, f.data));
		}
	}

	test('a message that does not end is refused in time', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		const begun = Date.now();
		client.send(frame(OP.TEXT, 'a', { fin: false }));
		const timer = setInterval(() => client.send(frame(OP.CONT, 'a', { fin: false })), 100);
		try {
			const close = await untilClose(client, ASSEMBLE + 2_000);
			assert.equal(close.code, 1008, close.reason);
			assert.ok(Date.now() - begun > ASSEMBLE / 2);
			await client.end();
		} finally {
			clearInterval(timer);
			client.destroy();
		}
	});

	test('a frame that does not end is refused in time', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		client.send(frame(OP.TEXT, 'a', { len: 100 }));
		const close = await client.frameButPing(ASSEMBLE + 2_000);
		assert.equal(close.code, 1008, close.reason);
		client.destroy();
	});

	test('who answers pings stays', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		for (let i = 0; i < 3; i++) {
			const ping = await client.frame(PING * 1.5 + 500);
			assert.equal(ping.opcode, OP.PING);
			client.send(frame(OP.PONG, ping.data));
		}
		client.send(frame(OP.TEXT, 'still here'));
		assert.equal((await client.frameButPing()).data.toString(), 'still here');
		client.destroy();
	});

	test('who does not answer is let go', async () => {
		const client = await RawClient.open(node, '/ws/silent');
		assert.equal((await client.frame(PING * 1.5 + 500)).opcode, OP.PING);
		await client.end(PONG + 1_000 + 1_500);
		client.destroy();
		await eventually(1_000, 'the subscriber to go', async () =>
			await node.subscribers('silent') === 0);
	});

	test('the package ws answers on its own', async () => {
		const client = await Client.open(node.url('/ws/echo'));
		await sleep((PING + PONG) * 2);
		client.send('hello');
		assert.equal(await client.next(), 'hello');
		assert.equal((await client.close(3456, 'bye')).code, 3456);
	});
});
