/*
 * Attacks by frames, each while bystanders receive 100 messages a second and must not notice: what
 * breaks the protocol, lengths that are only declared, fragments and pings without end, bad text.
 *
 * What each frame alone must bring forth is in conformance.test.mjs; here it is many at once, and
 * what they leave behind.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { hasAsan, ownMemory, withstand } from './lib/bystanders.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { OP, RawClient, closePayload, frame } from './lib/raw.mjs';
import { after, before, describe, sleep, slowness, test } from './lib/test.mjs';
import { byteFrames, each, filler, utf8Fault } from './lib/wire.mjs';

/*
 * One connection that sends a fragment every 20 s, with the default limits.  That takes 30 s, so it
 * begins with the file and is looked at in its end.
 */
const patient = (async () => {
	const node = await Node.start({ channels: [{ match: 'echo', publish: 'anyone' }] });
	const client = await RawClient.open(node, '/ws/echo');
	client.send(frame(OP.TEXT, 'a', { fin: false }));
	const begun = Date.now();
	const timer = setInterval(() => client.send(frame(OP.CONT, 'a', { fin: false })), 20_000);
	return { node, client, timer, begun };
})();

const ECHO = [{ match: 'echo*', publish: 'anyone' }];
const PARALLEL = 50;

/* What the server says last: the code with which it closes, and nothing behind it. */
async function closeCode(client, timeout) {
	const f = await client.frameButPing(timeout);
	assert.equal(f.opcode, OP.CLOSE, `opcode ${f.opcode}`);
	if (!client.ended)
		client.send(frame(OP.CLOSE, closePayload(f.code ?? 1000)));
	await client.end();
	assert.equal(client.input.length, 0, 'bytes behind the close frame');
	return f.code;
}

/* Sends the bytes on a connection of its own and expects the code within a second. */
async function closedWith(node, code, bytes, what, timeout = 1_000) {
	const client = await RawClient.open(node, '/ws/echo');
	try {
		client.send(bytes);
		assert.equal(await closeCode(client, timeout), code, what);
	} catch (error) {
		throw new Error(`${what}: ${error.message}`);
	} finally {
		client.destroy();
	}
}

/* Sends pieces(0) to pieces(n - 1), no faster than they are taken; stops at the server's end. */
async function pour(client, n, pieces) {
	for (let i = 0; i < n && !client.ended; i++) {
		client.send(pieces(i));
		if (client.socket.writableNeedDrain) {
			await new Promise((resolve) => {
				client.socket.once('drain', resolve).once('close', resolve);
			});
		}
	}
}

/* The address space of a process, where every allocation shows, also one that is never touched. */
const addressSpace = (pid) => Number(
	/^VmSize:\s*(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) * 1024;

describe('faults: frames', () => {
	let node;
	before(async () => {
		node = await Node.start({ channels: ECHO, limits: { close: ms(2_000) } });
	});
	after(() => node?.stop());

	const begin = frame(OP.TEXT, 'a', { fin: false });
	const together = (...frames) => Buffer.concat(frames);

	const violations = {
		'no mask': frame(OP.TEXT, 'a', { mask: false }),
		'no mask on a ping': frame(OP.PING, '', { mask: false }),
		...Object.fromEntries([1, 2, 3, 4, 5, 6, 7].flatMap((rsv) => [
			[`RSV ${rsv}`, frame(OP.TEXT, 'a', { rsv })],
			[`RSV ${rsv} on a ping`, frame(OP.PING, 'a', { rsv })],
			[`RSV ${rsv} on a continuation`, together(begin, frame(OP.CONT, 'a', { rsv }))]])),
		...Object.fromEntries([3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) =>
			[`opcode ${opcode}`, frame(opcode, 'a')])),
		'a ping of 126 bytes': frame(OP.PING, filler(126)),
		'a pong of 65,536 bytes': frame(OP.PONG, filler(65_536)),
		'a close of 126 bytes': frame(OP.CLOSE, closePayload(1000, 'a'.repeat(124))),
		'a fragmented ping': frame(OP.PING, 'a', { fin: false }),
		'a fragmented pong': frame(OP.PONG, 'a', { fin: false }),
		'a fragmented close': frame(OP.CLOSE, closePayload(1000), { fin: false }),
		'a close of one byte': frame(OP.CLOSE, 'a'),
		'a continuation of nothing': frame(OP.CONT, 'a'),
		'a message inside a message': together(begin, begin),
	};

	test('each breach of the protocol, 1,000 times in all: 1002 within a second',
		{ timeout: 60 }, (t) => withstand(t, node, async () => {
			const all = Object.entries(violations);
			const many = Array.from({ length: 1_000 }, (_, i) => all[i % all.length]);
			await each(many, PARALLEL, ([what, bytes]) => closedWith(node, 1002, bytes, what));
		}, { memory: true }));

	test('lengths over the limit: closed at the head', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const lengths = [
				[65_537, 1009], [2 ** 31, 1009], [2 ** 32, 1009], [(1n << 63n) - 1n, 1009],
				[1n << 63n, 1002], [(1n << 64n) - 1n, 1002],
			];
			const worker = node.role('worker 0');
			const before = addressSpace(worker);
			for (const [len, code] of lengths) {
				const all = Array.from({ length: 100 }, (_, i) => frame(
					i % 2 ? OP.TEXT : OP.BINARY, '', { len, fin: i % 4 < 2 }));
				await each(all, PARALLEL, (head) => closedWith(node, code, head, `${len}`));
				await each(all, PARALLEL, () => closedWith(node, code, together(begin,
					frame(OP.CONT, '', { len })), `${len} in a second fragment`));
			}
			const more = addressSpace(worker) - before;
			assert.ok(more < (64 << 20), `${more} bytes of address space were taken`);
		}, { memory: true }));

	test('1,000 connections break text at once: 1007 at the first bad byte', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const bad = ['80', 'c0af', 'e080af', 'eda080', 'f4908080', 'f5', 'ff', 'f09f9841',
				'e28241'].map((hex) => Buffer.concat([Buffer.from('a€'), Buffer.from(hex, 'hex')]));
			const forms = bad.flatMap((bytes) => {
				const soon = bytes.subarray(0, utf8Fault(bytes) + 1);
				/* In mid-frame, in mid-message, and split over fragments. */
				return [
					frame(OP.TEXT, soon, { len: 60_000 }),
					together(frame(OP.TEXT, soon, { fin: false })),
					together(...byteFrames(OP.TEXT, soon, false)),
				];
			});
			forms.push(together(frame(OP.TEXT, Buffer.from([0xe2, 0x82]), { fin: false }),
				frame(OP.CONT, '')));
			const clients = [];
			await each(Array.from({ length: 1_000 }), PARALLEL, async () => {
				clients.push(await RawClient.open(node, '/ws/echo'));
			});
			clients.forEach((client, i) => client.send(forms[i % forms.length]));
			for (const client of clients) {
				assert.equal(await closeCode(client), 1007);
				client.destroy();
			}
		}, { memory: true }));

	const MILLION = 1_000_000;
	const tiny = {
		'one-byte': frame(OP.CONT, 'x', { fin: false }),
		empty: frame(OP.CONT, '', { fin: false }),
		'empty, each with a pong,': together(frame(OP.CONT, '', { fin: false }),
			frame(OP.PONG, '')),
	};
	for (const [what, bytes] of Object.entries(tiny)) {
		test(`a million continuations, ${what} on each of four connections: closed at the cap`,
			{ timeout: 60 }, (t) => withstand(t, node, async () => {
				const thousand = Buffer.concat(Array(1_000).fill(bytes));
				await Promise.all([1, 2, 3, 4].map(async () => {
					const client = await RawClient.open(node, '/ws/echo');
					client.send(begin);
					const closed = closeCode(client, 5_000);
					await pour(client, MILLION / 1_000, () => thousand);
					assert.equal(await closed, 1009);
					client.destroy();
				}));
			}, { memory: true }));
	}

	/*
	 * Whoever does not read gets the pongs that fit into the kernel's buffers; of those that come
	 * behind, only the last one is kept.
	 */
	test('100,000 pings of one that does not read: one pong waits at most', { timeout: 90 }, (t) =>
		withstand(t, node, async () => {
			const PINGS = 100_000;
			const payload = (i) => String(i).padEnd(125, '.');
			const client = await RawClient.open(node, '/ws/echo');
			const worker = node.role('worker 0');
			const before = ownMemory(worker);
			client.socket.pause();
			await pour(client, PINGS / 100, (k) => Buffer.concat(Array.from({ length: 100 },
				(_, i) => frame(OP.PING, payload(k * 100 + i)))));
			await sleep(200 * slowness);
			const more = ownMemory(worker) - before;
			if (!hasAsan(worker))
				assert.ok(more < (1 << 20), `${more} bytes of memory were taken`);
			client.socket.resume();
			client.send(frame(OP.TEXT, 'last'));
			let last = -1;
			let pongs = 0;
			let leaps = 0;
			for (;;) {
				const f = await client.frame(10_000);
				if (f.opcode !== OP.PONG) {
					assert.equal(f.data.toString(), 'last', `${f.code} ${f.reason}`);
					break;
				}
				const n = parseInt(f.data.toString(), 10);
				assert.ok(n > last, `pong ${n} after ${last}`);
				leaps += n > last + 1;
				last = n;
				pongs++;
			}
			assert.equal(last, PINGS - 1, 'the last ping was not answered');
			t.diagnostic(`${pongs} pongs for ${PINGS} pings`);
			/* One leap to the last, and a few where the kernel took one more meanwhile. */
			assert.ok(leaps >= 1 && leaps <= 5, `${leaps} leaps in ${pongs} pongs`);
			client.destroy();
		}, { memory: true }));
});

describe('faults: frames that only declare', () => {
	const MIB = 1 << 20;
	let node;
	before(async () => {
		node = await Node.start({ channels: ECHO, limits: { message: 64 * MIB, close: ms(2_000) } });
	});
	after(() => node?.stop());

	test('no memory for a length that was only announced', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const N = 200;
			const worker = node.role('worker 0');
			const clients = [];
			await each(Array.from({ length: N }), PARALLEL, async () => {
				clients.push(await RawClient.open(node, '/ws/echo'));
			});
			const before = addressSpace(worker);
			/* The head alone, and with the first byte. */
			clients.forEach((client, i) => client.send(
				frame(OP.BINARY, i % 2 ? 'x' : '', { len: 64 * MIB })));
			await sleep(300 * slowness);
			const more = addressSpace(worker) - before;
			assert.ok(more < 64 * MIB, `${more} bytes for ${N} heads`);
			clients.forEach((client) => client.destroy());
		}, { memory: true }));
});

describe('faults: a million fragments, where they are allowed', () => {
	const MILLION = 1_000_000;
	let node;
	before(async () => {
		node = await Node.start({
			channels: ECHO,
			limits: { fragments: MILLION, message: 2 * MILLION, queue: 8 << 20, close: ms(2_000) },
		});
	});
	after(() => node?.stop());

	test('a message of a million, and one more', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const worker = node.role('worker 0');
			const fragments = Buffer.concat(Array(1_000).fill(frame(OP.CONT, 'x', { fin: false })));
			const open = async () => {
				const client = await RawClient.open(node, '/ws/echo');
				client.send(frame(OP.TEXT, 'x', { fin: false }));
				await pour(client, MILLION / 1_000 - 1, () => fragments);
				client.send(Buffer.concat(Array(998).fill(frame(OP.CONT, 'x', { fin: false }))));
				return client;
			};
			const before = ownMemory(worker);
			const good = await open();
			const bad = await open();
			bad.send(frame(OP.CONT, '', { fin: false }));
			/* A ping between shows that all of it has been read. */
			good.send(frame(OP.PING, ''));
			assert.equal((await good.frameButPing(10_000)).opcode, OP.PONG);
			const more = ownMemory(worker) - before;
			if (!hasAsan(worker))
				assert.ok(more < 8 * MILLION, `${more} bytes for two messages of a million bytes`);
			bad.send(frame(OP.CONT, 'x'));
			assert.equal(await closeCode(bad, 5_000), 1009);
			good.send(frame(OP.CONT, 'x'));
			assert.equal((await good.frameButPing(10_000)).data.toString(), 'x'.repeat(MILLION));
			bad.destroy();
			good.destroy();
		}, { memory: { slack: 8 << 20 } }));
});

describe('faults: fragments that come now and then', () => {
	/* As the default of 30 s is to a fragment every 20 s. */
	const ASSEMBLE = 3_000;
	const EVERY = 2_000;
	let node;
	before(async () => {
		node = await Node.start({ channels: ECHO,
			limits: { assemble: ms(ASSEMBLE), close: ms(2_000) } });
	});
	after(() => node?.stop());

	test('for ever, on 200 connections: closed in time', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const clients = [];
			await each(Array.from({ length: 200 }), PARALLEL, async (_, i) => {
				const client = await RawClient.open(node, '/ws/echo');
				client.begun = Date.now();
				const payload = i % 4 < 2 ? 'a' : '';
				client.send(frame(i % 2 ? OP.TEXT : OP.BINARY, payload, { fin: false }));
				client.timer = setInterval(() =>
					client.send(frame(OP.CONT, payload, { fin: false })), EVERY);
				clients.push(client);
			});
			try {
				await Promise.all(clients.map(async (client) => {
					const f = await client.frameButPing(ASSEMBLE + 2_000);
					assert.equal(f.code, 1008, f.reason);
					assert.ok(Date.now() - client.begun >= ASSEMBLE - 100, 'too soon');
				}));
			} finally {
				clients.forEach((client) => {
					clearInterval(client.timer);
					client.destroy();
				});
			}
		}, { memory: true }));
});

describe('faults: a stream of frames cut at every byte', () => {
	let node;
	before(async () => {
		node = await Node.start({ channels: ECHO });
	});
	after(() => node?.stop());

	const events = [
		[OP.PONG, 'p'.repeat(125)], [OP.PONG, ''], [OP.PONG, 'between'], [OP.PONG, 'last'],
	];
	const messages = [
		[OP.TEXT, 'aß€😀z'], [OP.BINARY, filler(126)], [OP.TEXT, 'ß€😀'], [OP.BINARY, ''],
		[OP.TEXT, filler(200)],
	];
	const stream = Buffer.concat([
		frame(OP.TEXT, messages[0][1]),
		frame(OP.PING, events[0][1]),
		frame(OP.BINARY, messages[1][1]),
		frame(OP.PING, ''),
		/* Fragments that cut characters, control frames between them. */
		frame(OP.TEXT, Buffer.from('ß€😀').subarray(0, 1), { fin: false }),
		frame(OP.PING, 'between'),
		frame(OP.CONT, Buffer.from('ß€😀').subarray(1, 7), { fin: false }),
		frame(OP.PONG, 'unasked'),
		frame(OP.CONT, '', { fin: false }),
		frame(OP.CONT, Buffer.from('ß€😀').subarray(7)),
		frame(OP.BINARY, ''),
		frame(OP.TEXT, filler(200)),
		frame(OP.PING, 'last'),
		frame(OP.CLOSE, closePayload(4321, 'bye')),
	]);

	/* The events in order; pongs and messages take different ways and are each in order. */
	async function heard(client, count) {
		const got = [];
		while (got.length < count) {
			const f = await client.frameButPing();
			got.push([f.opcode, f.data.toString('latin1'), f.code]);
		}
		return got;
	}

	test('the same events wherever it is cut', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const closeSize = 6 + 2 + 3;
			const open = stream.subarray(0, stream.length - closeSize);
			const text = (all) => all.map(([op, data]) => [op, Buffer.from(data).toString('latin1'),
				undefined]);
			const expected = { pongs: text(events), messages: text(messages) };
			await each(Array.from({ length: stream.length + 1 }), PARALLEL, async (_, cut) => {
				const client = await RawClient.open(node, `/ws/echo-${cut}`);
				try {
					/* The close frame would overtake messages that are on their way. */
					const at = Math.min(cut, open.length);
					client.send(open.subarray(0, at));
					await sleep(5);
					client.send(open.subarray(at));
					const got = await heard(client, events.length + messages.length);
					assert.deepEqual({ pongs: got.filter(([op]) => op === OP.PONG),
						messages: got.filter(([op]) => op !== OP.PONG) }, expected, `cut at ${cut}`);
					const late = Math.max(cut, open.length);
					client.send(stream.subarray(open.length, late));
					await sleep(5);
					client.send(stream.subarray(late));
					const f = await client.frameButPing();
					assert.deepEqual([f.opcode, f.code], [OP.CLOSE, 4321], `cut at ${cut}`);
					await client.end();
				} finally {
					client.destroy();
				}
			});
		}));
});

describe('faults: a fragment every 20 s', () => {
	test('for ever: closed after the default of 30 s', { timeout: 60 }, async () => {
		const { node, client, timer, begun } = await patient;
		try {
			const f = await client.frameButPing(35_000);
			assert.deepEqual([f.opcode, f.code], [OP.CLOSE, 1008]);
			const took = Date.now() - begun;
			assert.ok(took >= 29_000 && took < 32_000 + 3_000 * slowness, `after ${took} ms`);
		} finally {
			clearInterval(timer);
			client.destroy();
			await node.stop();
		}
	});
});
