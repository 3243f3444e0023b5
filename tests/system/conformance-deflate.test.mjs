/*
 * Conformance to RFC 7692, permessage-deflate, case by case, over bare sockets: what is agreed for
 * every combination of parameters, messages of all sizes both ways, and every wrong use of it.
 *
 * What comes back is inflated by lib/inflate.mjs, which refuses references beyond the agreed window
 * or to earlier messages.  See docs/CONFORMANCE.md.
 */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import zlib from 'node:zlib';
import { ms, Node } from './lib/fanfare.mjs';
import { inflate } from './lib/inflate.mjs';
import { OP, RawClient, frame, handshake } from './lib/raw.mjs';
import { after, before, describe, test } from './lib/test.mjs';
import { answersClose, close, fails, filler, got, opcodeName, pieces,
	runCases } from './lib/wire.mjs';

const KIB = 1_024;
const LIMIT = 256 * KIB;
const RSV1 = 4;
const DATA = [OP.TEXT, OP.BINARY];
const TAIL = Buffer.from([0, 0, 0xff, 0xff]);
const EXTENSION = 'permessage-deflate';

/* --- both ends -------------------------------------------------------------------------------- */

/* A message's payload compressed for a window of so many bits; `before` may be referred to. */
function deflate(payload, { window = 15, before, level = 6, strategy } = {}) {
	const bytes = zlib.deflateRawSync(payload, {
		/* With 9 bits zlib refers back by 250 bytes at most, which also fits 8. */
		windowBits: Math.max(window, 9),
		level,
		strategy,
		dictionary: before?.length > 0 ? before.subarray(-(1 << window)) : undefined,
		finishFlush: zlib.constants.Z_SYNC_FLUSH,
	});
	assert.ok(bytes.subarray(-4).equals(TAIL));
	return bytes.subarray(0, -4);
}

/* The frames of a message with these bytes, of at most `size` bytes each; RSV1 on the first. */
function compressedFrames(opcode, bytes, size = 0) {
	const parts = pieces(bytes, size);
	return parts.map((part, i) => frame(i === 0 ? opcode : OP.CONT, part,
		{ rsv: i === 0 ? RSV1 : 0, fin: i === parts.length - 1 }));
}

/* A step of a script: the next message must be this one, compressed if `compressed` says so. */
const gets = (opcode, payload, { window = 15, compressed } = {}) => async (wire) => {
	const expected = Buffer.from(payload);
	const f = await wire.next(RSV1);
	const packed = f.rsv === RSV1 && f.opcode < 8;
	if (!packed) {
		assert.ok(compressed !== true, 'it came uncompressed');
		wire.check(f, opcode, expected, f.data);
		return;
	}
	assert.ok(compressed !== false, 'it came compressed');
	const { data, farthest } = inflate(Buffer.concat([f.data, TAIL]));
	wire.check(f, opcode, expected, data);
	assert.ok(farthest <= 1 << window, `a reference by ${farthest} bytes, window ${window}`);
	assert.ok(f.data.length < expected.length || expected.length === 0, 'it did not get smaller');
};

const echoes = (opcode, payload, how) => [
	...compressedFrames(opcode, deflate(payload), how?.size), gets(opcode, payload, how)];

/* --- payloads --------------------------------------------------------------------------------- */

const record = (i) =>
	`{"id":${i},"name":"visitor ${i % 7}","tags":["a","b"],"at":"2026-01-0${i % 9}"},`;
const jsonText = (n) => {
	let text = '[';
	for (let i = 0; text.length < n; i++)
		text += record(i);
	return Buffer.from(text.slice(0, n));
};

/* What compresses well, a little, not at all, and to next to nothing. */
const KINDS = {
	'JSON text': { opcode: OP.TEXT, make: jsonText },
	'random letters': { opcode: OP.TEXT, make: (n) =>
		Buffer.from(crypto.randomBytes(n).map((b) => 0x61 + (b & 15))) },
	'random bytes': { opcode: OP.BINARY, make: (n) => crypto.randomBytes(n) },
	zeros: { opcode: OP.BINARY, make: (n) => Buffer.alloc(n) },
};
const SIZES = [16, 64, 256, KIB, 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB];

/* --- offers and answers ----------------------------------------------------------------------- */

const WINDOWS = [8, 9, 10, 11, 12, 13, 14, 15];

/* Every combination of the four parameters; null: not offered, true: without a value. */
function combinations() {
	const all = [];
	for (const serverAlone of [false, true]) {
		for (const clientAlone of [false, true]) {
			for (const serverWindow of [null, ...WINDOWS]) {
				for (const clientWindow of [null, true, ...WINDOWS])
					all.push({ serverAlone, clientAlone, serverWindow, clientWindow });
			}
		}
	}
	return all;
}

function offerText({ serverAlone, clientAlone, serverWindow, clientWindow }) {
	return [EXTENSION,
		...(serverAlone ? ['server_no_context_takeover'] : []),
		...(clientAlone ? ['client_no_context_takeover'] : []),
		...(serverWindow ? [`server_max_window_bits=${serverWindow}`] : []),
		...(clientWindow === true ? ['client_max_window_bits']
			: clientWindow ? [`client_max_window_bits=${clientWindow}`] : [])].join('; ');
}

/* The parameters of an answer, which must name this one extension and each parameter once. */
function parseAnswer(value) {
	const [name, ...parts] = value.split(';').map((s) => s.trim());
	assert.equal(name, EXTENSION);
	const parameters = {};
	for (const part of parts) {
		const [key, number] = part.split('=');
		assert.ok(!(key in parameters), `${key} twice`);
		if (key.endsWith('_no_context_takeover')) {
			assert.equal(number, undefined);
			parameters[key] = true;
		} else {
			assert.match(key, /^(server|client)_max_window_bits$/);
			assert.match(number, /^([89]|1[0-5])$/);
			parameters[key] = Number(number);
		}
	}
	return {
		serverAlone: parameters.server_no_context_takeover ?? false,
		clientAlone: parameters.client_no_context_takeover ?? false,
		serverWindow: parameters.server_max_window_bits ?? null,
		clientWindow: parameters.client_max_window_bits ?? null,
	};
}

/* Whether the answer may follow the offer, RFC 7692 §7.1; most: the server's largest window. */
function assertAgrees(offer, answer, { most, takeover }) {
	/* Fanfare compresses each message by itself, so it says so, whether asked or not. */
	assert.equal(answer.serverAlone, true);
	if (offer.clientAlone || !takeover)
		assert.equal(answer.clientAlone, true);
	if (offer.serverWindow)
		assert.ok(answer.serverWindow !== null && answer.serverWindow <= offer.serverWindow);
	assert.ok((answer.serverWindow ?? 15) <= most, 'the server\'s own window');
	if (offer.clientWindow === null)
		assert.equal(answer.clientWindow, null, 'a window that the client has not offered');
	else if (offer.clientWindow !== true)
		assert.ok((answer.clientWindow ?? 15) <= offer.clientWindow);
	/* Nor does it remember more than its own window. */
	assert.ok(answer.clientAlone || (answer.clientWindow ?? 15) <= most);
}

/* --- the nodes -------------------------------------------------------------------------------- */

const start = (options, limits) => Node.start({
	channels: [{ match: '*', publish: 'anyone' }],
	deflate: { enabled: true, ...options },
	limits: { message: LIMIT, ping_interval: ms(0), close: ms(2_000), ...limits },
});

const offered = { 'Sec-WebSocket-Extensions': `${EXTENSION}; client_max_window_bits` };

describe('RFC 7692', () => {
	let node;
	before(async () => {
		node = await start({ min_size: 0 });
	});
	after(() => node?.stop());

	/* A group of cases with the extension agreed, made when it runs. */
	const group = (number, what, cases) => test(`${number} ${what}`, { timeout: 60 }, (t) =>
		runCases(t, node, number, cases().map((one) => ({ fields: offered, ...one })), 16));

	/* --- 12: messages ------------------------------------------------------------------------- */

	group('12.1', 'messages of each size and kind, whole and in fragments', () =>
		Object.entries(KINDS).flatMap(([kind, { opcode, make }]) => SIZES.flatMap((n) =>
			[0, 64, 1_300, 16 * KIB].filter((size) => size < n).map((size) => {
				/* Fragments of 64 bytes must not be more than are allowed. */
				const least = Math.ceil(n / 1_000);
				return {
					what: `${kind} of ${n} bytes in frames of ${Math.max(size, size && least)}`,
					script: Array.from({ length: n > 16 * KIB ? 2 : 6 }, () =>
						echoes(opcode, make(n), { size: size && Math.max(size, least) })).flat(),
				};
			}))));

	group('12.2', 'many messages, none waited for', () =>
		Object.entries(KINDS).flatMap(([kind, { opcode, make }]) => [16, 256, 4 * KIB].map((n) => {
			const all = Array.from({ length: 100 }, () => make(n));
			return {
				what: `${kind} of ${n} bytes`,
				script: [...all.flatMap((p) => compressedFrames(opcode, deflate(p))),
					...all.map((p) => gets(opcode, p))],
			};
		})));

	group('12.3', 'compressed data cut at each byte, by frames and by writes', () => {
		const text = jsonText(300);
		const bytes = deflate(text);
		return Array.from({ length: bytes.length + 1 }, (_, i) => ({
			what: `at ${i}`,
			script: [frame(OP.TEXT, bytes.subarray(0, i), { rsv: RSV1, fin: false }),
				frame(OP.PING, 'between'), got(OP.PONG, 'between'),
				frame(OP.CONT, bytes.subarray(i)), gets(OP.TEXT, text)],
		})).concat([1, 2, 7].map((chop) => ({
			what: 'writes', chop, script: echoes(OP.TEXT, text, { size: 50 }),
		})));
	});

	group('12.4', 'every way to compress a message', () => {
		const z = zlib.constants;
		const text = jsonText(3_000);
		const cases = [];
		for (const level of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
			for (const strategy of [z.Z_DEFAULT_STRATEGY, z.Z_FILTERED, z.Z_HUFFMAN_ONLY, z.Z_RLE,
				z.Z_FIXED]) {
				for (const window of WINDOWS)
					cases.push([`level ${level}, strategy ${strategy}, window ${window}`,
						deflate(text, { level, strategy, window }), text]);
			}
		}
		const half = text.subarray(0, 1_500);
		const rest = text.subarray(1_500);
		const stored = (p) => Buffer.concat([Buffer.from([0, p.length & 255, p.length >> 8,
			~p.length & 255, ~p.length >> 8 & 255]), p]);
		cases.push(
			['two blocks, RFC 7692 §7.2.3.5',
				Buffer.concat([deflate(half), TAIL, deflate(rest)]), text],
			['many empty blocks', Buffer.concat([deflate(half), ...Array(50).fill(
				Buffer.concat([TAIL, Buffer.from([0])])), TAIL, deflate(rest)]), text],
			['stored blocks, §7.2.3.3', Buffer.concat([stored(half), stored(rest), Buffer.from([0])]),
				text],
			['a last block, §7.2.3.4', Buffer.concat([zlib.deflateRawSync(text), Buffer.from([0])]),
				text],
			['the example of §7.2.3.1', Buffer.from('f248cdc9c90700', 'hex'), Buffer.from('Hello')],
			['the example of §7.2.3.3', Buffer.from('000500faff48656c6c6f00', 'hex'),
				Buffer.from('Hello')],
			['the example of §7.2.3.4', Buffer.from('f348cdc9c9070000', 'hex'), Buffer.from('Hello')],
			['the example of §7.2.3.5', Buffer.from('f24805000000ffffcac9c90700', 'hex'),
				Buffer.from('Hello')],
			['an empty message, §7.2.3.6', Buffer.from([0]), Buffer.alloc(0)],
			/* zlib, asked to flush where there is nothing to, writes nothing. */
			['an empty message without a byte', Buffer.alloc(0), Buffer.alloc(0)],
		);
		return cases.map(([what, bytes, payload]) => ({
			what, script: [...compressedFrames(OP.TEXT, bytes), gets(OP.TEXT, payload)],
		}));
	});

	group('12.5', 'messages that are not compressed, between those that are', () => [0, 1, 125, 126,
		5_000, 65_536].map((n) => ({
		what: `${n} bytes`,
		script: [0, 1, 0, 0, 1, 1, 0].flatMap((packed, i) => {
			const payload = jsonText(n + i);
			return [...(packed ? compressedFrames(OP.TEXT, deflate(payload))
				: [frame(OP.TEXT, payload)]), gets(OP.TEXT, payload)];
		}),
	})));

	group('12.6', 'a message of the largest size after inflating, and one more', () =>
		[Buffer.alloc(LIMIT, 'x'), Buffer.from(crypto.randomBytes(LIMIT)), jsonText(LIMIT)].flatMap(
			(payload, i) => {
				const more = Buffer.concat([payload, Buffer.from('x')]);
				return [
					{ what: `kind ${i}`, script: echoes(OP.BINARY, payload) },
					{ what: `kind ${i}, a byte more`,
						script: [...compressedFrames(OP.BINARY, deflate(more)), fails(1009)] },
					{ what: `kind ${i}, a byte more, in fragments`,
						script: [...compressedFrames(OP.BINARY, deflate(more), 16 * KIB),
							fails(1009)] },
				];
			}));

	group('12.7', 'lengths that are only declared are refused at the head', () =>
		[2 * LIMIT, 2 ** 31, 2 ** 32, (1n << 63n) - 1n].map((len) => ({
			what: `${len}`,
			script: [frame(OP.BINARY, '', { len, rsv: RSV1 }), fails(1009)],
		})));

	group('12.8', 'what inflates to no UTF-8', () => ['ff', '61c0af', 'eda080', 'f4908080', 'e282',
		'80'].map((hex) => Buffer.from(hex, 'hex')).flatMap((bad) => [
		{ what: bad.toString('hex'), script: [
			...compressedFrames(OP.TEXT, deflate(Buffer.concat([filler(100), bad]))), fails(1007)] },
		{ what: `${bad.toString('hex')}, in fragments`, script: [
			...compressedFrames(OP.TEXT, deflate(Buffer.concat([filler(100), bad])), 3),
			fails(1007)] },
		{ what: `${bad.toString('hex')} as binary`, script: echoes(OP.BINARY, bad) },
	]));

	group('12.9', 'what is not deflate data', () => {
		const good = deflate(jsonText(300));
		assert.deepEqual(inflate(Buffer.concat([good, TAIL])).blocks, [2, 0]);
		const cases = {
			'a block of type 3': Buffer.from([0x06]),
			'a length without its complement': Buffer.from([0, 5, 0, 0, 0, 1, 2, 3, 4, 5]),
			'a reference before the beginning': deflate(Buffer.from('hello world'),
				{ before: Buffer.from('hello world') }),
			'a code that is none': Buffer.from('fbff', 'hex'),
			'more lengths than codes': Buffer.from('05e0ffffffff', 'hex'),
			'noise': Buffer.alloc(200, 0xff),
			'something behind the last block':
				Buffer.concat([zlib.deflateRawSync(jsonText(100)), jsonText(100)]),
			...Object.fromEntries([1, 2, 10, good.length - 1].map((n) =>
				[`the first ${n} bytes of a message`, good.subarray(0, n)])),
		};
		return Object.entries(cases).flatMap(([what, bytes]) => [
			{ what, script: [...compressedFrames(OP.BINARY, bytes), fails(1007)] },
			{ what: `${what}, in two frames`, script: [
				frame(OP.BINARY, bytes.subarray(0, 1), { rsv: RSV1, fin: false }),
				frame(OP.CONT, bytes.subarray(1)), fails(1007)] },
		]);
	});

	group('12.10', 'RSV1 where it must not be, and other reserved bits', () => {
		const bytes = deflate(jsonText(50));
		const begun = {
			'': [],
			' in a compressed message': [frame(OP.TEXT, bytes.subarray(0, 5),
				{ rsv: RSV1, fin: false })],
			' in a plain message': [frame(OP.TEXT, 'a', { fin: false })],
			' after a compressed message': [...compressedFrames(OP.TEXT, bytes),
				gets(OP.TEXT, jsonText(50))],
		};
		const cases = [];
		for (const [where, first] of Object.entries(begun)) {
			const inside = where.startsWith(' in ');
			for (const rsv of [1, 2, 3, 4, 5, 6, 7]) {
				for (const opcode of [OP.CONT, ...DATA, OP.CLOSE, OP.PING, OP.PONG]) {
					/* What else would be wrong, and what is right. */
					if (inside ? DATA.includes(opcode) : opcode === OP.CONT)
						continue;
					if (rsv === RSV1 && DATA.includes(opcode))
						continue;
					const all = frame(opcode, opcode === OP.CLOSE ? '\x03\xe8' : '', { rsv });
					for (const n of [1, all.length]) {
						cases.push({ what: `RSV ${rsv} on a ${opcodeName(opcode)}${where}`,
							script: [...first, all.subarray(0, n), fails(1002)] });
					}
				}
			}
			for (const opcode of [3, 7, 11, 15]) {
				cases.push({ what: `RSV1 on opcode ${opcode}${where}`,
					script: [...first, frame(opcode, '', { rsv: RSV1 }), fails(1002)] });
			}
		}
		return cases;
	});

	group('12.11', 'control frames are never compressed, and closing is as ever', () => [
		{ what: 'a ping of what could be', script: [...compressedFrames(OP.TEXT, deflate(filler(50))),
			gets(OP.TEXT, filler(50)), frame(OP.PING, 'a'.repeat(125)),
			got(OP.PONG, 'a'.repeat(125))] },
		{ what: 'a close with a long reason', script: [close(1000, 'a'.repeat(123)),
			answersClose(1000)] },
		{ what: 'a close inside a compressed message', script: [
			frame(OP.TEXT, deflate(filler(50)).subarray(0, 9), { rsv: RSV1, fin: false }),
			close(4000), answersClose(4000)] },
	]);

	test('12.12 without the extension RSV1 is refused, and nothing comes compressed', (t) =>
		runCases(t, node, '12.12', [
			{ what: 'RSV1', script: [...compressedFrames(OP.TEXT, deflate(filler(50))), fails(1002)] },
			{ what: 'plain', script: [frame(OP.TEXT, jsonText(5_000)),
				gets(OP.TEXT, jsonText(5_000), { compressed: false })] },
		]));

	/* --- 13: what is agreed ------------------------------------------------------------------- */

	/* Both directions under what was agreed, each message with all that it may refer to. */
	async function exchange(wire, answer) {
		const window = answer.clientWindow ?? 15;
		let past = Buffer.alloc(0);
		for (const n of [16, 700, 40_000, 700]) {
			const payload = jsonText(n);
			const before = answer.clientAlone ? undefined : past;
			for (const bytes of compressedFrames(OP.TEXT, deflate(payload, { window, before })))
				wire.raw.send(bytes);
			await gets(OP.TEXT, payload, { window: answer.serverWindow ?? 15 })(wire);
			past = Buffer.concat([past, payload]);
		}
	}

	const servers = {
		'by default': { options: {}, most: 15, takeover: false },
		'with takeover': { options: { client_context_takeover: true }, most: 15, takeover: true },
		'with a window of 10': { options: { window_bits: 10, level: 9, memory_level: 1 }, most: 10,
			takeover: false },
		'with a window of 12, takeover and all messages': { options: { window_bits: 12, level: 6,
			min_size: 0, client_context_takeover: true }, most: 12, takeover: true },
		'with the smallest window': { options: { window_bits: 9, client_context_takeover: true },
			most: 9, takeover: true },
	};
	Object.entries(servers).forEach(([what, { options, most, takeover }], i) => {
		test(`13.${i + 1} every combination of parameters, ${what}`, { timeout: 60 }, async (t) => {
			const own = await start(options);
			t.after(() => own.stop());
			const seen = new Set();
			await runCases(t, own, `13.${i + 1}`, combinations().map((offer) => ({
				what: offerText(offer),
				fields: { 'Sec-WebSocket-Extensions': offerText(offer) },
				script: [async (wire) => {
					const value = wire.raw.answer.headers['sec-websocket-extensions'];
					assert.ok(value, 'the offer was declined');
					seen.add(value);
					const answer = parseAnswer(value);
					assertAgrees(offer, answer, { most, takeover });
					await exchange(wire, answer);
				}],
			})), 16);
			t.diagnostic(`${seen.size} different answers`);
			/* Context is taken over where both sides allow it and the window is small enough. */
			assert.equal([...seen].some((s) => !s.includes('client_no_context_takeover')), takeover);
		});
	});

	test('13.6 a reference to an earlier message where that was not agreed', async (t) => {
		const text = jsonText(500);
		const again = deflate(text, { before: text });
		assert.ok(again.length < 20);
		await runCases(t, node, '13.6', [{
			what: 'client_no_context_takeover',
			fields: { 'Sec-WebSocket-Extensions': `${EXTENSION}; client_no_context_takeover` },
			script: [...echoes(OP.TEXT, text), ...compressedFrames(OP.TEXT, again), fails(1007)],
		}]);
	});

	test('13.7 messages smaller than deflate.min_size stay uncompressed', async (t) => {
		const own = await start({ min_size: 200 });
		t.after(() => own.stop());
		await runCases(t, own, '13.7', [
			[1, false], [16, false], [199, false], [200, true], [1_000, true], [100_000, true],
		].map(([n, compressed]) => ({
			what: `${n} bytes`,
			fields: offered,
			script: [frame(OP.TEXT, jsonText(n)), gets(OP.TEXT, jsonText(n), { compressed })],
		})));
	});

	/* The answer's field, undefined where there is none, or the status of a refusal. */
	async function answerTo(extensions) {
		const client = await RawClient.connect(node.ports.public);
		try {
			client.send(handshake('/ws/offers', { 'Sec-WebSocket-Extensions': extensions }));
			const answer = await client.response();
			return answer.status === 101 ? answer.headers['sec-websocket-extensions']
				: answer.status;
		} finally {
			client.destroy();
		}
	}

	const PLAIN = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
	const offers = {
		'declined, with an unknown parameter': { value: undefined, of: [
			`${EXTENSION}; x`, `${EXTENSION}; x=1`, `${EXTENSION}; server_max_window=10`,
			`${EXTENSION}; SERVER_NO_CONTEXT_TAKEOVER`, `${EXTENSION}; no_context_takeover`] },
		'declined, with a value that is none': { value: undefined, of: [
			'server_max_window_bits', 'server_max_window_bits=7', 'server_max_window_bits=16',
			'server_max_window_bits=0', 'server_max_window_bits=015', 'server_max_window_bits=09',
			'server_max_window_bits=8.0', 'server_max_window_bits=-8', 'server_max_window_bits=1e1',
			'server_max_window_bits=x', 'server_max_window_bits=150',
			'server_max_window_bits=4294967304', 'client_max_window_bits=7',
			'client_max_window_bits=16', 'client_max_window_bits=08',
			'client_max_window_bits=010', 'client_max_window_bits=1', 'client_max_window_bits=x',
			'server_no_context_takeover=1', 'client_no_context_takeover=true',
			'client_no_context_takeover="1"'].map((p) => `${EXTENSION}; ${p}`) },
		'declined, with a parameter twice': { value: undefined, of: [
			'server_no_context_takeover; server_no_context_takeover',
			'client_no_context_takeover; server_no_context_takeover; client_no_context_takeover',
			'server_max_window_bits=10; server_max_window_bits=10',
			'client_max_window_bits; client_max_window_bits=10',
			'client_max_window_bits; client_max_window_bits'].map((p) => `${EXTENSION}; ${p}`) },
		'declined, of another extension': { value: undefined, of: [
			'permessage-bzip2', 'x-webkit-deflate-frame', 'permessage-deflat', 'permessage-deflate2',
			'mux; max-channels=4; flow-control, deflate-stream'] },
		'accepted, however it is written': { value: PLAIN, of: [
			EXTENSION, `  ${EXTENSION}  `, `${EXTENSION};client_max_window_bits`,
			`${EXTENSION} ; client_max_window_bits = 15`, `${EXTENSION};\tclient_max_window_bits="15"`,
			`, ${EXTENSION},`, `${EXTENSION}; client_no_context_takeover;client_max_window_bits`] },
		'accepted, after others': { value: PLAIN, of: [
			`foo, ${EXTENSION}`, `foo; bar=baz; qux="quux", ${EXTENSION}`,
			`${EXTENSION}; x, ${EXTENSION}`, `${EXTENSION}; server_max_window_bits=7, ${EXTENSION}`,
			['foo', EXTENSION], [`${EXTENSION}; x=1`, `bar, ${EXTENSION}; client_max_window_bits`]] },
		'chosen, the first that is possible': {
			value: `${PLAIN}; server_max_window_bits=10`, of: [
				`${EXTENSION}; server_max_window_bits=10, ${EXTENSION}`,
				`${EXTENSION}; server_max_window_bits=99, ${EXTENSION}; server_max_window_bits=10, `
					+ EXTENSION,
				[`${EXTENSION}; server_max_window_bits="10"`, EXTENSION]] },
		'refused, as it is no list of extensions': { value: 400, of: [
			'', ',', `${EXTENSION};`, `${EXTENSION}; =1`, `${EXTENSION}; a=`, `${EXTENSION}; a b`,
			`${EXTENSION} x`, `"${EXTENSION}"`, `${EXTENSION}; a="b`, `${EXTENSION}; a="b c"`,
			`${EXTENSION}; a=""`, `;${EXTENSION}`, `${EXTENSION}=1`, `${EXTENSION}; a=b=c`,
			`${EXTENSION}; (a)`, `${EXTENSION}, @`, 'foo, bar; a="b\\"'] },
	};
	Object.entries(offers).forEach(([what, { value, of }], i) => {
		test(`13.${8 + i} offers that are ${what}`, async () => {
			for (const offer of of)
				assert.equal(await answerTo(offer), value, JSON.stringify(offer));
		});
	});

	test('13.16 no offer, no extension', async () =>
		assert.equal(await answerTo(null), undefined));
});

describe('RFC 7692, switched off', () => {
	test('13.17 every offer is declined', async (t) => {
		const node = await start({ enabled: false });
		t.after(() => node.stop());
		for (const offer of [EXTENSION, offerText(combinations().at(-1)), `foo, ${EXTENSION}`]) {
			const client = await RawClient.open(node, '/ws/off',
				{ 'Sec-WebSocket-Extensions': offer });
			assert.equal(client.answer.headers['sec-websocket-extensions'], undefined);
			client.destroy();
		}
	});
});
