/*
 * permessage-deflate, RFC 7692: every combination of the package ws's options, what is agreed,
 * messages both ways, bombs and broken data (case 14 of the attacks), and the memory of a
 * connection.
 */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import zlib from 'node:zlib';
import { hasAsan, ownMemory, withstand } from './lib/bystanders.mjs';
import { Client, json, openMany } from './lib/clients.mjs';
import { Node } from './lib/fanfare.mjs';
import { OP, RawClient, frame, handshake } from './lib/raw.mjs';
import { after, before, describe, eventually, test } from './lib/test.mjs';

const PMD = 'permessage-deflate';
const ANYONE = [{ match: '*', publish: 'anyone' }];
const LIMIT = 65_536; /* limits.message, as it is unless set */

/* A text like JSON, of n characters. */
function text(n, seed = 1) {
	const words = ['"name":"Lisbon"', '"price":12.50', '"items":[1,2,3]', '"ok":true',
		'"ü":"€"'];
	let all = '';
	for (let i = seed; all.length < n; i++)
		all += `{"id":${i * 7919},${words[i % words.length]}},`;
	return all.slice(0, n);
}

const flushing = (bits) => ({ windowBits: bits, finishFlush: zlib.constants.Z_SYNC_FLUSH });

/* Compresses as a client does, without what the flush ends with.  bits: of the window. */
const deflate = (data, bits = 15) => zlib.deflateRawSync(data, flushing(bits)).subarray(0, -4);

/* Inflates as a client does whose window is no larger. */
function inflate(data, bits = 15) {
	const tail = Buffer.from([0, 0, 0xff, 0xff]);
	return zlib.inflateRawSync(Buffer.concat([data, tail]), flushing(bits));
}

const offering = (offer) => ({ 'Sec-WebSocket-Extensions': offer });
const compressed = (opcode, data, options) => frame(opcode, data, { rsv: 4, ...options });

/* --- the options of ws ------------------------------------------------------------------------ */

/*
 * What a client may say of itself; undefined leaves a parameter out, but for clientMaxWindowBits,
 * which false leaves out.
 */
const combinations = [];
for (const serverNoContextTakeover of [undefined, true]) {
	for (const clientNoContextTakeover of [undefined, true]) {
		for (const serverMaxWindowBits of [undefined, 8, 9, 12, 15]) {
			for (const clientMaxWindowBits of [undefined, false, 8, 9, 12, 15]) {
				combinations.push({ serverNoContextTakeover, clientNoContextTakeover,
					serverMaxWindowBits, clientMaxWindowBits });
			}
		}
	}
}

/* Sends each and expects it back, as text or binary, compressed where that is worth it. */
async function exchange(client, messages) {
	for (const message of messages)
		client.send(message);
	for (const message of messages)
		assert.deepEqual(await client.next(), message);
}

async function rawConversation(node, options, i) {
	const client = await Client.open(node.url(`/ws/raw${i}`), [],
		{ perMessageDeflate: { threshold: 0, ...options } });
	assert.match(client.ws.extensions, /permessage-deflate/);
	const read = () => client.ws._socket.bytesRead;
	const begun = read();
	await exchange(client, [text(60_000)]);
	assert.ok(read() - begun < 50_000, `${read() - begun} bytes came of 60,000`);
	/* Empty ones, which ws compresses too; what is too small to gain; what cannot be compressed. */
	await exchange(client, ['', '', 'small', text(1_000), crypto.randomBytes(1_000),
		Buffer.from(text(20_000)), text(1_000, 2), Buffer.alloc(LIMIT), text(300), '']);
	await client.close();
}

async function jsonConversation(node, options, i) {
	const client = await json(node, `/ws?channel=json${i}`,
		{ perMessageDeflate: { threshold: 0, ...options } });
	assert.match(client.ws.extensions, /permessage-deflate/);
	for (const data of [text(40_000), 1, { list: Array(500).fill('x') }, text(100)]) {
		client.send(JSON.stringify({ publish: `json${i}`, data, id: 1 }));
		const both = [await client.nextJson(), await client.nextJson()];
		assert.deepEqual(both.find((m) => m.published), { published: `json${i}`, id: 1 });
		assert.deepEqual(both.find((m) => m.channel), { channel: `json${i}`, data });
	}
	await client.close();
}

for (const [what, settings] of [
	['without takeover', {}],
	['with takeover of clients', { client_context_takeover: true }],
	['with windows of 10 bits', { window_bits: 10, client_context_takeover: true }],
]) {
	describe(`the package ws, ${what}`, () => {
		let node;
		before(async () => {
			node = await Node.start({ deflate: { enabled: true, ...settings }, channels: ANYONE });
		});
		after(() => node?.stop());

		test(`${combinations.length} combinations, raw`, { timeout: 120 }, async () => {
			for (const [i, options] of combinations.entries()) {
				await rawConversation(node, options, i).catch((error) => {
					throw new Error(`${JSON.stringify(options)}: ${error.message}`);
				});
			}
		});

		test(`${combinations.length} combinations, fanfare.json`, { timeout: 120 }, async () => {
			for (const [i, options] of combinations.entries()) {
				await jsonConversation(node, options, i).catch((error) => {
					throw new Error(`${JSON.stringify(options)}: ${error.message}`);
				});
			}
		});

		test('one broadcast to windows of every size, and to some without', async () => {
			const clients = [];
			for (const bits of [8, 9, 10, 11, 12, 13, 14, 15, 15, 0, 0]) {
				clients.push(await Client.open(node.url('/ws/all'), [], { perMessageDeflate:
					bits === 0 ? false : { serverMaxWindowBits: bits } }));
			}
			const messages = [text(50_000), 'small', text(2_000), text(50_000, 3)];
			for (const message of messages)
				await node.publish('all', message);
			for (const client of clients) {
				await client.count(messages.length);
				assert.deepEqual(client.messages, messages);
				await client.close();
			}
		});
	});
}

/* --- what is agreed --------------------------------------------------------------------------- */

describe('offers', () => {
	let node;
	let off;
	before(async () => {
		node = await Node.start({ deflate: { enabled: true }, channels: ANYONE });
		off = await Node.start({ channels: ANYONE });
	});
	after(async () => {
		await node?.stop();
		await off?.stop();
	});

	async function answer(server, offer) {
		const client = await RawClient.connect(server.ports.public);
		client.send(handshake('/ws/a', offering(offer)));
		const { status, headers } = await client.response();
		client.destroy();
		return { status, extensions: headers['sec-websocket-extensions'] };
	}
	const taken = `${PMD}; server_no_context_takeover; client_no_context_takeover`;

	for (const [offer, extensions] of [
		[PMD, taken],
		[`${PMD}; client_max_window_bits`, taken],
		[`${PMD}; server_max_window_bits="10"`, `${taken}; server_max_window_bits=10`],
		[`${PMD}; client_max_window_bits=9`, `${taken}; client_max_window_bits=9`],
		[`${PMD}; server_max_window_bits=7, ${PMD}`, taken],
		[[`${PMD}; what`, `other, ${PMD}; server_max_window_bits=8`],
			`${taken}; server_max_window_bits=8`],
		[`${PMD}; server_max_window_bits`, undefined],
		[`${PMD}; server_max_window_bits=16`, undefined],
		[`${PMD}; client_max_window_bits=08`, undefined],
		[`${PMD}; server_no_context_takeover; server_no_context_takeover`, undefined],
		['x-webkit-deflate-frame', undefined],
	]) {
		test(`${offer}: ${extensions === undefined ? 'nothing is agreed' : 'agreed'}`, async () => {
			assert.deepEqual(await answer(node, offer), { status: 101, extensions });
		});
	}

	for (const offer of [`${PMD};`, `${PMD}; a=`, `${PMD}; a="b`, ',', `${PMD} b`]) {
		test(`${offer}: malformed`, async () => {
			assert.equal((await answer(node, offer)).status, 400);
		});
	}

	test('unless it is enabled nothing is agreed, and compressed frames are refused', async () => {
		assert.deepEqual(await answer(off, PMD), { status: 101, extensions: undefined });
		const client = await RawClient.open(off, '/ws/a', offering(PMD));
		client.send(compressed(OP.TEXT, deflate('x')));
		assert.equal((await client.frameButPing()).code, 1002);
		client.destroy();
	});
});

/* --- messages --------------------------------------------------------------------------------- */

describe('compressed messages', () => {
	let node;
	before(async () => {
		node = await Node.start({ deflate: { enabled: true }, channels: ANYONE });
	});
	after(() => node?.stop());

	const open = (offer = PMD) => RawClient.open(node, '/ws/echo', offering(offer));

	/* The next message, inflated by a window that is no larger than was asked for. */
	async function message(client, bits) {
		const f = await client.frameButPing();
		assert.ok(f.fin && !f.masked && (f.rsv === 0 || f.rsv === 4), `rsv ${f.rsv}`);
		return { compressed: f.rsv === 4, data: f.rsv === 4 ? inflate(f.data, bits) : f.data };
	}

	test('in one frame, in frames of every size, with control frames between', async () => {
		const client = await open();
		const data = Buffer.from(text(1_000));
		const packed = deflate(data);
		for (const step of [1, 2, 3, 7, 100, packed.length]) {
			const frames = [];
			for (let at = 0; at < packed.length; at += step) {
				frames.push(frame(at === 0 ? OP.BINARY : OP.CONT, packed.subarray(at, at + step),
					{ fin: at + step >= packed.length, rsv: at === 0 ? 4 : 0 }));
				frames.push(frame(OP.PING, `${at}`));
			}
			client.send(Buffer.concat(frames));
			for (let at = 0; at < packed.length; at += step) {
				const pong = await client.frame();
				/* The echo comes somewhere among the last pongs. */
				if (pong.opcode === OP.BINARY)
					assert.deepEqual(inflate(pong.data), data);
				else
					assert.deepEqual([pong.opcode, `${pong.data}`], [OP.PONG, `${at}`]);
			}
			const last = await client.frame();
			if (last.opcode === OP.BINARY)
				assert.deepEqual(inflate(last.data), data);
		}
		client.destroy();
	});

	test('the examples of the RFC', async () => {
		const client = await open();
		const examples = ['f248cdc9c90700', '000500faff48656c6c6f00', 'f348cdc9c9070000',
			'f24805000000ffffcac9c90700'];
		for (const hex of examples) {
			client.send(compressed(OP.TEXT, Buffer.from(hex, 'hex')));
			assert.deepEqual(await message(client),
				{ compressed: false, data: Buffer.from('Hello') });
		}
		client.send(compressed(OP.TEXT, Buffer.from([0])));
		assert.deepEqual(await message(client), { compressed: false, data: Buffer.alloc(0) });
		client.destroy();
	});

	test('what is sent keeps to a window of 8 bits', async () => {
		const client = await open(`${PMD}; server_max_window_bits=8`);
		/* It comes again, but further away than such a window reaches. */
		const noise = crypto.randomBytes(150).toString('hex');
		const data = `${noise}${'='.repeat(300)}`.repeat(20);
		await node.publish('echo', data);
		const got = await message(client, 8);
		assert.deepEqual(got, { compressed: true, data: Buffer.from(data) });
		client.destroy();
	});

	test('small messages, and such as do not shrink, are sent as they are', async () => {
		const client = await open();
		for (const [data, expected] of [['x'.repeat(60), false], ['x'.repeat(1_000), true],
			[crypto.randomBytes(1_000), false]]) {
			client.send(frame(OP.BINARY, data));
			assert.deepEqual(await message(client),
				{ compressed: expected, data: Buffer.from(data) });
		}
		client.destroy();
	});

	/* 1007 for what is not deflate data or not UTF-8, 1002 for bits where none may be. */
	for (const [what, code, ...bytes] of [
		['a reserved block', 1007, compressed(OP.BINARY, Buffer.from([7]))],
		['a message that is cut', 1007, compressed(OP.TEXT, deflate(text(500)).subarray(0, 100))],
		['garbage behind a message', 1007,
			compressed(OP.TEXT, Buffer.concat([deflate('x'), Buffer.from([0xaa])]))],
		['a reference to another message', 1007, compressed(OP.TEXT, Buffer.from('f248cdc9c90700',
			'hex')), compressed(OP.TEXT, Buffer.from('f200110000', 'hex'))],
		['a text that is not UTF-8', 1007, compressed(OP.TEXT, deflate(Buffer.from([0xc3, 0x28])))],
		['a text that ends inside a character', 1007,
			compressed(OP.TEXT, deflate(Buffer.from([0xe2, 0x82])))],
		['RSV1 on a continuation', 1002, compressed(OP.TEXT, 'a', { fin: false }),
			compressed(OP.CONT, 'a')],
		['RSV1 on a ping', 1002, compressed(OP.PING, '')],
		['RSV2', 1002, frame(OP.TEXT, deflate('x'), { rsv: 6 })],
		['a length beyond what any message can have', 1009,
			compressed(OP.BINARY, '', { len: LIMIT * 2 })],
	]) {
		test(`${what}: ${code}`, async () => {
			const client = await open();
			client.send(Buffer.concat(bytes));
			let last = await client.frameButPing();
			if (last.opcode === OP.TEXT)
				last = await client.frameButPing();
			assert.deepEqual([last.opcode, last.code], [OP.CLOSE, code]);
			client.destroy();
		});
	}
});

/* --- bombs ------------------------------------------------------------------------------------ */

/* Runs fn for every item, at most `parallel` at a time. */
async function each(items, parallel, fn) {
	const rest = items.values();
	await Promise.all(Array.from({ length: parallel }, async () => {
		for (const item of rest)
			await fn(item);
	}));
}

describe('bombs', () => {
	const nodes = {};
	before(async () => {
		for (const takeover of [false, true]) {
			nodes[takeover] = await Node.start({ channels: ANYONE,
				deflate: { enabled: true, client_context_takeover: takeover } });
		}
	});
	after(async () => {
		for (const node of Object.values(nodes))
			await node.stop();
	});

	for (const takeover of [false, true]) {
		const name = takeover ? 'with takeover' : 'without takeover';
		const open = () => RawClient.open(nodes[takeover], '/ws/bomb', offering(PMD));

		test(`a message of the limit and one byte more, ${name}`, async () => {
			const client = await open();
			client.send(compressed(OP.BINARY, deflate(Buffer.alloc(LIMIT))));
			const echo = await client.frameButPing();
			assert.deepEqual([echo.opcode, echo.rsv], [OP.BINARY, 4]);
			assert.ok(inflate(echo.data).equals(Buffer.alloc(LIMIT)));
			client.send(compressed(OP.BINARY, deflate(Buffer.alloc(LIMIT + 1))));
			assert.equal((await client.frameButPing()).code, 1009);
			client.destroy();
		});

		test(`1,000 connections with 60 MiB in 64 KiB, ${name}`, { timeout: 60 }, (t) =>
			withstand(t, nodes[takeover], async () => {
				const packed = deflate(Buffer.alloc(60 << 20));
				assert.ok(packed.length < LIMIT);
				const bombs = [
					compressed(OP.BINARY, packed),
					/* In fragments, and each a text. */
					Buffer.concat([compressed(OP.TEXT, packed.subarray(0, 30_000), { fin: false }),
						frame(OP.CONT, packed.subarray(30_000))]),
				];
				const all = Array.from({ length: 1_000 }, (_, i) => bombs[i % 2]);
				await each(all, 20, async (bytes) => {
					const client = await open();
					client.send(bytes);
					assert.equal((await client.frameButPing(10_000)).code, 1009);
					client.destroy();
				});
				/* Of the windows of twenty at a time the allocator keeps a part. */
			}, { memory: { slack: 4 << 20 }, client: { perMessageDeflate: true } }));

		test(`1,000 connections with broken data, ${name}`, { timeout: 60 }, (t) =>
			withstand(t, nodes[takeover], async () => {
				const good = deflate(text(2_000));
				const all = Array.from({ length: 1_000 }, (_, i) => {
					const bad = Buffer.from(good);
					/* The middle is turned over, or the end is cut. */
					if (i % 2 === 0)
						return bad.subarray(0, 1 + i % (good.length - 1));
					return bad.fill(0xff, i % 400, i % 400 + 8);
				});
				await each(all, 20, async (bytes) => {
					const client = await open();
					client.send(compressed(OP.BINARY, bytes));
					assert.equal((await client.frameButPing()).code, 1007);
					client.destroy();
				});
			}, { memory: true }));
	}

	/* What refers further back than the agreed window cannot be inflated. */
	test('a client that does not keep to its window', async () => {
		const client = await RawClient.open(nodes.true, '/ws/bomb',
			offering(`${PMD}; client_max_window_bits=9`));
		const packer = zlib.createDeflateRaw({ windowBits: 15 });
		const noise = crypto.randomBytes(5_000);
		const send = (data) => new Promise((resolve) => {
			packer.write(data);
			packer.flush(zlib.constants.Z_SYNC_FLUSH, () => {
				client.send(compressed(OP.BINARY, packer.read().subarray(0, -4)));
				resolve();
			});
		});
		await send(noise);
		assert.ok((await client.frameButPing()).data.equals(noise));
		await send(noise);
		assert.equal((await client.frameButPing()).code, 1007);
		packer.close();
		client.destroy();
	});
});

/* --- memory ----------------------------------------------------------------------------------- */

/* Bytes of a worker's own memory for each of 500 connections that have sent compressed messages. */
async function memoryOfConnections(settings, offer) {
	const CONNECTIONS = 500;
	const node = await Node.start({ deflate: settings, channels: ANYONE });
	const worker = node.role('worker 0');
	const sent = settings.enabled ? compressed(OP.BINARY, deflate(text(40_000), 9))
		: frame(OP.BINARY, text(40_000));
	/* What a first message needs once is not counted. */
	const first = await RawClient.open(node, '/ws/first', offering(offer));
	for (let i = 0; i < 3; i++) {
		first.send(sent);
		await first.frameButPing();
	}
	const begun = ownMemory(worker);
	const clients = await openMany(CONNECTIONS, (i) => RawClient.open(node, `/ws/of${i}`,
		offering(offer)));
	for (const client of clients) {
		client.send(sent);
		await client.frameButPing();
	}
	const each = (ownMemory(worker) - begun) / CONNECTIONS;
	const asan = hasAsan(worker);
	[first, ...clients].forEach((client) => client.destroy());
	await node.stop();
	return { each, asan };
}

describe('the memory of a connection', () => {
	/* The window of n bits and what zlib needs beside it. */
	const window = (bits) => (1 << bits) + 12_288;

	for (const [what, settings, offer, least, most] of [
		['without compression', { enabled: false }, PMD, 0, 2_048],
		['without takeover', { enabled: true }, PMD, 0, 2_048],
		['with takeover', { enabled: true, client_context_takeover: true }, PMD,
			32_768, window(15)],
		['with takeover, of a client with a window of 9 bits',
			{ enabled: true, client_context_takeover: true }, `${PMD}; client_max_window_bits=9`,
			4_096, window(9)],
		['with takeover, where it must be of 9 bits and the client cannot limit it',
			{ enabled: true, client_context_takeover: true, window_bits: 9 }, PMD, 0, 2_048],
	]) {
		test(what, { timeout: 60 }, async (t) => {
			const { each: bytes, asan } = await memoryOfConnections(settings, offer);
			t.diagnostic(`${Math.round(bytes)} bytes each`);
			if (!asan)
				assert.ok(bytes >= least && bytes <= most, `${bytes}, not ${least} to ${most}`);
		});
	}

	test('is given back with the connection', { timeout: 60 }, async () => {
		const node = await Node.start({ channels: ANYONE,
			deflate: { enabled: true, client_context_takeover: true } });
		const worker = node.role('worker 0');
		const round = async () => {
			const clients = await openMany(200,
				(i) => RawClient.open(node, `/ws/${i}`, offering(PMD)));
			for (const client of clients) {
				client.send(compressed(OP.BINARY, deflate(text(40_000))));
				await client.frameButPing();
				client.destroy();
			}
			await eventually(5_000, 'all are gone', async () => await node.subscribers('0') === 0);
		};
		await round();
		const once = ownMemory(worker);
		for (let i = 0; i < 4; i++)
			await round();
		if (!hasAsan(worker))
			assert.ok(ownMemory(worker) < once + (1 << 20), `${ownMemory(worker)} after ${once}`);
		await node.stop();
	});
});
