/*
 * Frames, RFC 6455 §5 to §8: what breaks the protocol and with which code, fragments, pings, the
 * close handshake, and peers that go silent.
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
	assert.ok(close.fin && close.rsv === 0 && !close.masked);
	assert.ok(close.data.length <= 125);
	client.send(frame(OP.CLOSE, closePayload(code)));
	await client.end();
	assert.equal(client.input.length, 0, 'frames behind the close');
	client.destroy();
	return close;
}

/* Sends bytes to an echo channel and expects this message. */
async function echoed(node, opcode, payload, ...bytes) {
	const client = await RawClient.open(node, '/ws/echo');
	client.send(Buffer.concat(bytes));
	const echo = await client.frameButPing();
	assert.deepEqual({ fin: echo.fin, rsv: echo.rsv, opcode: echo.opcode, masked: echo.masked },
		{ fin: true, rsv: 0, opcode, masked: false });
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

	const text = frame(OP.TEXT, 'a');
	const begin = frame(OP.TEXT, 'a', { fin: false });
	const violations = {
		'no mask': [frame(OP.TEXT, 'a', { mask: false })],
		'no mask on an empty frame': [frame(OP.TEXT, '', { mask: false })],
		'no mask on a ping': [frame(OP.PING, '', { mask: false })],
		RSV1: [frame(OP.TEXT, 'a', { rsv: 4 })],
		RSV2: [frame(OP.TEXT, 'a', { rsv: 2 })],
		RSV3: [frame(OP.TEXT, 'a', { rsv: 1 })],
		'RSV1 on a ping': [frame(OP.PING, 'a', { rsv: 4 })],
		'RSV1 on a continuation': [begin, frame(OP.CONT, 'a', { rsv: 4 })],
		'a fragmented ping': [frame(OP.PING, 'a', { fin: false })],
		'a fragmented pong': [frame(OP.PONG, 'a', { fin: false })],
		'a fragmented close': [frame(OP.CLOSE, closePayload(1000), { fin: false })],
		'a ping of 126 bytes': [frame(OP.PING, 'a'.repeat(126))],
		'a pong of 126 bytes': [frame(OP.PONG, 'a'.repeat(126))],
		'a close of 126 bytes': [frame(OP.CLOSE, closePayload(1000, 'a'.repeat(124)))],
		'a close of one byte': [frame(OP.CLOSE, 'a')],
		'a continuation of nothing': [frame(OP.CONT, 'a')],
		'a text inside a message': [begin, text],
		'a binary inside a message': [begin, frame(OP.BINARY, 'a')],
		'16 bits for 125 bytes': [frame(OP.TEXT, 'a'.repeat(125), { size: 16 })],
		'16 bits for none': [frame(OP.TEXT, '', { size: 16 })],
		'64 bits for 126 bytes': [frame(OP.TEXT, 'a'.repeat(126), { size: 64 })],
		'64 bits for 65,535 bytes': [frame(OP.BINARY, '', { len: 65_535, size: 64 })],
		'16 bits on a ping': [frame(OP.PING, 'a', { size: 16 })],
		'a length of 2^63': [frame(OP.BINARY, '', { len: 1n << 63n })],
		'a length of 2^64-1': [frame(OP.BINARY, '', { len: (1n << 64n) - 1n })],
	};
	for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
		violations[`opcode ${opcode}`] = [frame(opcode, 'a')];
	for (const [name, bytes] of Object.entries(violations))
		test(`${name}: 1002`, () => closedWith(node, 1002, ...bytes));

	const utf8 = {
		'a lone continuation byte': [0x80],
		'an overlong slash': [0xc0, 0xaf],
		'an overlong NUL of three bytes': [0xe0, 0x80, 0x80],
		'an overlong of four bytes': [0xf0, 0x8f, 0xbf, 0xbf],
		'a surrogate': [0xed, 0xa0, 0x80],
		'beyond U+10FFFF': [0xf4, 0x90, 0x80, 0x80],
		'0xf5': [0xf5, 0x80, 0x80, 0x80],
		'0xff': [0xff],
		'a character that is cut': [0x61, 0xe2, 0x82],
		'a character that is interrupted': [0xe2, 0x82, 0x61],
	};
	for (const [name, bytes] of Object.entries(utf8)) {
		test(`${name} in a text: 1007`, () =>
			closedWith(node, 1007, frame(OP.TEXT, Buffer.from(bytes))));
		test(`${name} in a binary is fine`, () =>
			echoed(node, OP.BINARY, bytes, frame(OP.BINARY, Buffer.from(bytes))));
	}

	test('bad UTF-8 is refused in the middle of a frame, at once', () =>
		closedWith(node, 1007, frame(OP.TEXT, Buffer.from([0x61, 0xff]), { len: 900 })));

	test('bad UTF-8 is refused in a first fragment, at once', () =>
		closedWith(node, 1007, frame(OP.TEXT, Buffer.from([0xc0]), { fin: false })));

	test('a character cut by the end of a fragmented message: 1007', () =>
		closedWith(node, 1007, frame(OP.TEXT, Buffer.from([0xe2, 0x82]), { fin: false }),
			frame(OP.CONT, '')));

	test('bad UTF-8 in the reason of a close: 1007', () =>
		closedWith(node, 1007,
			frame(OP.CLOSE, Buffer.concat([closePayload(1000), Buffer.from([0xff])]))));

	test('characters cut by fragments, at every byte', async () => {
		const all = Buffer.from('aß€😀z');
		for (let i = 0; i <= all.length; i++) {
			await echoed(node, OP.TEXT, all, frame(OP.TEXT, all.subarray(0, i), { fin: false }),
				frame(OP.CONT, all.subarray(i)));
		}
	});

	test('the first and last characters of each length', () => {
		const all = '\u0001\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\u{10000}\u{10ffff}';
		return echoed(node, OP.TEXT, all, frame(OP.TEXT, all));
	});

	test('a stream that comes byte by byte', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		const bytes = Buffer.concat([
			frame(OP.TEXT, 'x'.repeat(200), { fin: false }), frame(OP.PING, 'p'),
			frame(OP.CONT, 'ä'), frame(OP.BINARY, Buffer.from([1, 2, 3])),
		]);
		for (const byte of bytes) {
			client.send(Buffer.from([byte]));
			await new Promise(setImmediate);
		}
		const pong = await client.frame();
		assert.deepEqual([pong.opcode, pong.data.toString()], [OP.PONG, 'p']);
		assert.equal((await client.frame()).data.toString(), `${'x'.repeat(200)}ä`);
		assert.deepEqual([...(await client.frame()).data], [1, 2, 3]);
		client.destroy();
	});

	test('lengths around each border come back', async () => {
		for (const n of [0, 1, 3, 4, 7, 8, 15, 16, 31, 32, 33, 124, 125, 126, 127, MESSAGE]) {
			const data = Buffer.from(Array.from({ length: n }, (_, i) => (i * 7) & 0xff));
			await echoed(node, OP.BINARY, data, frame(OP.BINARY, data));
		}
	});

	test('control frames between fragments', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		client.send(Buffer.concat([begin, frame(OP.PING, '1'), frame(OP.CONT, 'b', { fin: false }),
			frame(OP.PONG, 'unasked'), frame(OP.PING, '2'), frame(OP.CONT, 'c')]));
		const got = [];
		while (got.at(-1)?.opcode !== OP.TEXT)
			got.push(await client.frame());
		const pongs = got.filter((f) => f.opcode === OP.PONG).map((f) => f.data.toString());
		assert.equal(pongs.at(-1), '2');
		assert.equal(got.at(-1).data.toString(), 'abc');
		client.destroy();
	});

	test('a close between fragments', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		client.send(Buffer.concat([begin, frame(OP.CLOSE, closePayload(1000))]));
		assert.equal((await client.frame()).code, 1000);
		await client.end();
		client.destroy();
	});

	test('a message at the limit and one byte more', async () => {
		await echoed(node, OP.TEXT, 'x'.repeat(MESSAGE), frame(OP.TEXT, 'x'.repeat(MESSAGE)));
		await closedWith(node, 1009, frame(OP.TEXT, 'x'.repeat(MESSAGE + 1)));
	});

	test('a message too long is refused at its head', async () => {
		for (const len of [MESSAGE + 1, 65_536, 2 ** 32, (1n << 63n) - 1n])
			await closedWith(node, 1009, frame(OP.BINARY, '', { len }));
	});

	test('fragments too long together', async () => {
		const half = 'x'.repeat(MESSAGE / 2);
		const first = frame(OP.TEXT, half, { fin: false });
		await echoed(node, OP.TEXT, half + half, first, frame(OP.CONT, half));
		await closedWith(node, 1009, first, frame(OP.CONT, '', { len: MESSAGE / 2 + 1 }));
	});

	test('as many fragments as allowed and one more', async () => {
		const more = (n) => Array.from({ length: n }, () => frame(OP.CONT, 'a', { fin: false }));
		await echoed(node, OP.TEXT, 'a'.repeat(FRAGMENTS), begin, ...more(FRAGMENTS - 2),
			frame(OP.CONT, 'a'));
		const empty = Array.from({ length: FRAGMENTS }, () => frame(OP.CONT, '', { fin: false }));
		await closedWith(node, 1009, begin, ...more(FRAGMENTS));
		await closedWith(node, 1009, begin, ...empty);
	});

	test('a ping is answered with its payload', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		for (const n of [0, 1, 124, 125]) {
			const payload = Buffer.alloc(n, 0xfe);
			client.send(frame(OP.PING, payload));
			const pong = await client.frame();
			assert.ok(pong.fin && !pong.masked);
			assert.equal(pong.opcode, OP.PONG);
			assert.deepEqual(pong.data, payload);
		}
		client.destroy();
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

	test('a pong that nobody asked for is ignored', () =>
		echoed(node, OP.TEXT, 'a', frame(OP.PONG, 'x'), text));

	for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
		3000, 3999, 4000, 4999]) {
		test(`a close with ${code} is echoed`, async () => {
			const close = await closedWith(node, code, frame(OP.CLOSE, closePayload(code, 'why')));
			assert.equal(close.code, code);
		});
	}

	for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65_535])
		test(`a close with ${code}: 1002`, () =>
			closedWith(node, 1002, frame(OP.CLOSE, closePayload(code))));

	test('a close without a code', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		client.send(frame(OP.CLOSE));
		const close = await client.frame();
		assert.equal(close.opcode, OP.CLOSE);
		assert.ok(close.code === undefined || close.code === 1000, `${close.code}`);
		await client.end();
		client.destroy();
	});

	test('nothing after a close counts', async () => {
		const watcher = await Client.open(node.url('/ws/echo'));
		const client = await RawClient.open(node, '/ws/echo');
		client.send(Buffer.concat([frame(OP.CLOSE, closePayload(1000)), frame(OP.TEXT, 'late'),
			frame(OP.TEXT, 'x', { rsv: 7 })]));
		assert.equal((await client.frame()).code, 1000);
		await client.end();
		assert.equal(client.input.length, 0);
		await node.publish('echo', 'last');
		assert.equal(await watcher.next(), 'last');
		client.destroy();
		watcher.terminate();
	});

	test('the server ends the connection first after a close', async () => {
		const client = await RawClient.open(node, '/ws/echo');
		const begun = Date.now();
		client.send(frame(OP.CLOSE, closePayload(1000)));
		await client.end();
		assert.ok(Date.now() - begun < 900, 'not at once');
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
