/*
 * Conformance to RFC 6455, case by case, over bare sockets: the framing, control frames, reserved
 * bits and opcodes, fragmentation, UTF-8, the closing handshake, and messages of all sizes.
 *
 * Every answer is fixed: where the RFC leaves a choice, the cases demand what Fanfare's documents
 * say.  An echo is had from a channel where clients may publish: a publisher receives its own
 * message.  See docs/CONFORMANCE.md, and lib/wire.mjs for how a case is written.
 */
import assert from 'node:assert/strict';
import { ms, Node } from './lib/fanfare.mjs';
import { OP, closePayload, frame } from './lib/raw.mjs';
import { after, before, describe, test } from './lib/test.mjs';
import { answersClose, byteFrames, close, echo, fails, filler, fragments, got, opcodeName, runCases,
	utf8Fault, WireClient } from './lib/wire.mjs';

const ECHO = [{ match: '*', publish: 'anyone' }];
const LIMIT = 70_000;
const DATA = [OP.TEXT, OP.BINARY];
const RESERVED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];

const start = (limits) => Node.start({
	channels: ECHO,
	limits: { ping_interval: ms(0), close: ms(2_000), ...limits },
});

/* The case in each way of sending it; 0: in one write. */
const inPieces = (sizes, one) => sizes.map((chop) => ({ ...one, chop }));
const bothWays = (one) => inPieces([0, 1], one);

describe('RFC 6455', () => {
	let node;
	before(async () => {
		node = await start({ message: LIMIT });
	});
	after(() => node?.stop());

	/* A group of cases, made when it runs. */
	const group = (number, what, cases) =>
		test(`${number} ${what}`, { timeout: 60 }, (t) => runCases(t, node, number, cases()));

	/* --- 1: framing, §5.2, §5.6 --------------------------------------------------------------- */

	const lengths = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 124, 125, 126,
		127, 128, 129, 255, 256, 257, 1_023, 1_024, 4_095, 4_096, 4_097, 16_384, 32_767, 32_768,
		65_534, 65_535, 65_536, 65_537, LIMIT - 1, LIMIT];

	group('1.1', 'a message of each length, whole and in pieces', () =>
		DATA.flatMap((opcode) => lengths.flatMap((n) => {
			const chops = [0, 1, 2, 997, 1_024, 4_093].filter((c) => c === 0
				|| (c < n + 6 && n / c <= 1_100));
			return inPieces(chops, {
				what: `${opcodeName(opcode)} of ${n} bytes`,
				script: echo(opcode, filler(n)),
			});
		})));

	group('1.2', 'each way of masking', () =>
		['00000000', 'ffffffff', '00ff00ff', '01020304', '80808080'].flatMap((key) =>
			[0, 1, 3, 4, 5, 64, 127, 1_025].flatMap((n) => bothWays({
				what: `${n} bytes masked with ${key}`,
				script: echo(OP.BINARY, filler(n), { key: Buffer.from(key, 'hex') }),
			}))));

	group('1.3', 'every byte value comes back', () => {
		const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
		return inPieces([0, 1, 7], { what: 'all bytes', script: echo(OP.BINARY, bytes) });
	});

	group('1.4', 'messages one behind the other in one write keep their order', () =>
		DATA.map((opcode) => {
			const all = Array.from({ length: 50 }, (_, i) => filler(i * 3));
			return {
				what: `50 of ${opcodeName(opcode)}`,
				script: [...all.map((p) => frame(opcode, p)), ...all.map((p) => got(opcode, p))],
			};
		}));

	group('1.5', 'no mask', () =>
		[...DATA, OP.PING, OP.PONG, OP.CLOSE].flatMap((opcode) => {
			const payloads = opcode === OP.CLOSE ? ['', closePayload(1000)]
				: ['', 'a', filler(125), ...(opcode < 8 ? [filler(126), filler(65_536)] : [])];
			return payloads.flatMap((payload) => [0, 2].map((bytes) => {
				const all = frame(opcode, payload, { mask: false });
				return {
					what: `${opcodeName(opcode)} of ${payload.length} bytes`
						+ (bytes ? `, at byte ${bytes}` : ''),
					script: [bytes ? all.subarray(0, bytes) : all, fails(1002)],
				};
			}));
		}));

	group('1.6', 'a length that is not in its shortest form', () => {
		const cases = [];
		for (const opcode of DATA) {
			for (const n of [0, 1, 124, 125])
				cases.push([opcode, n, 16], [opcode, n, 64]);
			for (const n of [126, 127, 65_534, 65_535])
				cases.push([opcode, n, 64]);
		}
		for (const opcode of [OP.PING, OP.PONG, OP.CLOSE])
			cases.push([opcode, 0, 16], [opcode, 2, 16], [opcode, 125, 16], [opcode, 125, 64]);
		return cases.flatMap(([opcode, len, size]) => bothWays({
			what: `${opcodeName(opcode)} of ${len} bytes in ${size} bits`,
			script: [frame(opcode, '', { len, size }), fails(1002)],
		}));
	});

	group('1.7', 'a length with the top bit set', () =>
		DATA.flatMap((opcode) => [1n << 63n, (1n << 63n) + 5n, (1n << 64n) - 1n].flatMap((len) =>
			bothWays({
				what: `${opcodeName(opcode)} of ${len}`,
				script: [frame(opcode, '', { len }), fails(1002)],
			}))));

	group('1.8', 'over the limit, at the head of the frame that shows it', () => {
		const tooLong = [LIMIT + 1, LIMIT + 2, 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32,
			(1n << 63n) - 1n];
		const single = DATA.flatMap((opcode) => [true, false].flatMap((fin) =>
			tooLong.flatMap((len) => bothWays({
				what: `${opcodeName(opcode)}, FIN ${fin}, of ${len}`,
				script: [frame(opcode, '', { len, fin }), fails(1009)],
			}))));
		const later = [1, 1_000, LIMIT].flatMap((first) => [true, false].map((fin) => ({
			what: `a fragment of ${first} bytes and one that is too long, FIN ${fin}`,
			script: [frame(OP.BINARY, filler(first), { fin: false }),
				frame(OP.CONT, '', { len: LIMIT - first + 1, fin }), fails(1009)],
		})));
		return [...single, ...later];
	});

	/* --- 2: pings and pongs, §5.5.2, §5.5.3 --------------------------------------------------- */

	group('2.1', 'a ping is answered with its payload', () =>
		[0, 1, 2, 3, 4, 8, 124, 125].flatMap((n) => [filler(n), Buffer.alloc(n, 0xfe),
			Buffer.alloc(n)].flatMap((payload) => inPieces([0, 1, 3], {
			what: `${n} bytes of ${payload[0]}`,
			script: [echo(OP.PING, payload), echo(OP.TEXT, 'still here')],
		}))));

	group('2.2', 'a control frame of more than 125 bytes', () =>
		[OP.PING, OP.PONG, OP.CLOSE].flatMap((opcode) => [126, 127, 128, 65_535, 65_536].flatMap(
			(n) => [frame(opcode, filler(n)), frame(opcode, '', { len: n }),
				frame(opcode, '', { len: n }).subarray(0, 2)].map((bytes) => ({
				what: `${opcodeName(opcode)} of ${n}, ${bytes.length} bytes of it`,
				script: [bytes, fails(1002)],
			})))));

	group('2.3', 'a control frame without FIN', () =>
		[OP.PING, OP.PONG, OP.CLOSE].flatMap((opcode) => ['', closePayload(1000), filler(125)]
			.flatMap((payload) => [1, 2, 1_000].map((bytes) => ({
				what: `${opcodeName(opcode)} of ${payload.length}, ${bytes} bytes of it`,
				script: [frame(opcode, payload, { fin: false }).subarray(0, bytes), fails(1002)],
			})))));

	group('2.4', 'a pong that nobody asked for is ignored', () =>
		['', 'x', filler(125), Buffer.alloc(125, 0xff)].flatMap((payload) => bothWays({
			what: `${payload.length} bytes`,
			script: [frame(OP.PONG, payload), echo(OP.PING, 'after it'), frame(OP.PONG, payload),
				echo(OP.TEXT, 'after both')],
		})));

	group('2.5', 'ten pings', () => {
		const pings = Array.from({ length: 10 }, (_, i) => filler(i * 13));
		return [
			...bothWays({ what: 'each answered before the next',
				script: pings.flatMap((p) => echo(OP.PING, p)) }),
			...inPieces([0, 1, 5], { what: 'in one go',
				script: [...pings.map((p) => frame(OP.PING, p)),
					...pings.map((p) => got(OP.PONG, p))] }),
		];
	});

	/* --- 3: reserved bits, §5.2 --------------------------------------------------------------- */

	/* What may have come before the frame that is wrong; `inside` a message only the last does. */
	const preludes = [
		{ what: '', script: [] },
		{ what: ' after a message', script: echo(OP.TEXT, 'before') },
		{ what: ' after a ping', script: echo(OP.PING, 'before') },
		{ what: ' inside a message', script: [frame(OP.TEXT, 'part', { fin: false })],
			inside: true },
	];

	group('3.1', 'each reserved bit, in every frame', () => {
		const opcodes = [OP.CONT, ...DATA, OP.CLOSE, OP.PING, OP.PONG];
		const cases = [];
		for (const rsv of [1, 2, 3, 4, 5, 6, 7]) {
			for (const opcode of opcodes) {
				for (const { what, script, inside = false } of preludes) {
					/* The bits must be what is wrong. */
					if (inside ? DATA.includes(opcode) : opcode === OP.CONT)
						continue;
					const payload = opcode === OP.CLOSE ? closePayload(1000) : 'ab';
					const all = frame(opcode, payload, { rsv });
					for (const bytes of [1, 2, all.length]) {
						cases.push({ what: `RSV ${rsv} on a ${opcodeName(opcode)}${what}, `
							+ `${bytes} bytes of it`,
						script: [...script, all.subarray(0, bytes), fails(1002)] });
					}
				}
			}
		}
		return cases;
	});

	group('3.2', 'nothing behind a reserved bit counts, and all before it does', () =>
		[1, 2, 3, 4, 5, 6, 7].flatMap((rsv) => bothWays({
			what: `RSV ${rsv} between two messages`,
			script: [frame(OP.TEXT, 'one'), frame(OP.TEXT, 'two', { rsv }),
				frame(OP.TEXT, 'three'), frame(OP.PING, 'four'), fails(1002)],
			watch: [got(OP.TEXT, 'one')],
		})));

	/* --- 4: reserved opcodes, §5.2 ------------------------------------------------------------ */

	group('4.1', 'each reserved opcode', () => {
		const cases = [];
		for (const opcode of RESERVED) {
			for (const { what, script } of preludes) {
				for (const fin of [true, false]) {
					for (const n of [0, 1, 125, 126, 65_536]) {
						/* The whole, and no more than shows it. */
						for (const bytes of n === 0 ? [1, 6] : [n + 14]) {
							cases.push({ what: `opcode ${opcode}${what}, FIN ${fin}, ${n} bytes`,
								script: [...script,
									frame(opcode, filler(n), { fin }).subarray(0, bytes),
									fails(1002)] });
						}
					}
				}
			}
		}
		return cases;
	});

	group('4.2', 'nothing behind a reserved opcode counts, and all before it does', () =>
		RESERVED.flatMap((opcode) => bothWays({
			what: `opcode ${opcode} between two messages`,
			script: [frame(OP.BINARY, 'one'), frame(opcode, 'two'), frame(OP.BINARY, 'three'),
				frame(OP.PING, 'four'), fails(1002)],
			watch: [got(OP.BINARY, 'one')],
		})));

	/* --- 5: fragmentation, §5.4 --------------------------------------------------------------- */

	const frames = [
		{ name: 'T.', opcode: OP.TEXT, fin: true }, { name: 'T-', opcode: OP.TEXT, fin: false },
		{ name: 'B.', opcode: OP.BINARY, fin: true }, { name: 'B-', opcode: OP.BINARY, fin: false },
		{ name: 'C.', opcode: OP.CONT, fin: true }, { name: 'C-', opcode: OP.CONT, fin: false },
		{ name: 'ping', opcode: OP.PING, fin: true }, { name: 'pong', opcode: OP.PONG, fin: true },
	];

	/*
	 * Every sequence of `depth` frames, or shorter ones that end with the first frame that is out
	 * of order; payload(i) is that of frame i.  A case has the frames in `sent`, with what each
	 * brings forth.
	 */
	function sequences(depth, payload) {
		const all = [];
		const extend = (names, sent, message) => {
			const i = sent.length;
			if (i === depth) {
				all.push({ what: names.join(' '), sent });
				return;
			}
			for (const { name, opcode, fin } of frames) {
				const bytes = frame(opcode, payload(i), { fin });
				const one = { bytes };
				let next = message;
				if (opcode === OP.PING) {
					one.answer = got(OP.PONG, payload(i));
				} else if (opcode < 8) {
					if ((opcode === OP.CONT) !== (message !== null)) {
						all.push({ what: [...names, name].join(' '), broken: true,
							sent: [...sent, one] });
						continue;
					}
					next = { opcode: message?.opcode ?? opcode,
						text: (message?.text ?? '') + payload(i) };
					if (fin) {
						one.message = got(next.opcode, next.text);
						next = null;
					}
				}
				extend([...names, name], [...sent, one], next);
			}
		};
		extend([], [], null);
		return all;
	}

	/* Each frame's answer awaited before the next frame: the answers' order is fixed. */
	const stepwise = ({ what, sent, broken }) => ({
		what,
		script: [...sent.flatMap((f) => [f.bytes, f.answer ?? f.message ?? []].flat()),
			...(broken ? [fails(1002)] : [])],
	});

	group('5.1', 'every order of up to five frames', () =>
		sequences(4, (i) => 'abcd'[i].repeat(i * 40 + 1)).map(stepwise).concat(
			sequences(5, (i) => 'abcde'[i]).filter((s) => s.sent.length === 5).map(stepwise)));

	group('5.2', 'every order of up to four empty frames', () =>
		sequences(4, () => '').map(stepwise));

	/*
	 * Here answers of the two ways, pongs at once and messages by the broker, may overtake each
	 * other, so that cases with pings are left to 5.1.
	 */
	group('5.3', 'every order of up to four frames in one write, and byte by byte', () =>
		sequences(4, (i) => 'abcd'[i]).filter((s) => s.sent.every((f) => !f.answer))
			.flatMap(({ what, sent, broken }) => {
				const messages = sent.flatMap((f) => f.message ?? []);
				return bothWays({
					what,
					script: [...sent.map((f) => f.bytes), ...(broken ? [fails(1002)] : messages)],
					watch: broken && messages.length > 0 ? messages : undefined,
				});
			}));

	group('5.4', 'a message in fragments of each size, with pings between', () =>
		DATA.flatMap((opcode) => [1, 2, 3, 7, 64, 125, 126, 127, 500, 999].flatMap((size) => {
			const payload = filler(1_000);
			const plain = fragments(opcode, payload, size);
			const pings = [];
			const mixed = [];
			for (let at = 0; at < payload.length; at += size) {
				mixed.push(frame(at === 0 ? opcode : OP.CONT, payload.subarray(at, at + size),
					{ fin: at + size >= payload.length }));
				if (at + size < payload.length) {
					mixed.push(frame(OP.PING, `${at}`), frame(OP.PONG, `${at}`));
					pings.push(got(OP.PONG, `${at}`));
				}
			}
			return inPieces([0, 1, 997], {
				what: `${opcodeName(opcode)}, ${size} bytes each`,
				script: [plain, got(opcode, payload)],
			}).concat(inPieces([0, 13], {
				what: `${opcodeName(opcode)}, ${size} bytes each, pings between`,
				script: [...mixed, ...pings, got(opcode, payload)],
			}));
		})));

	group('5.5', 'empty fragments before, between and behind', () => {
		const parts = ['', 'a', '', '', 'b', ''];
		const cases = [];
		for (let n = 1; n <= parts.length; n++) {
			for (let from = 0; from + n <= parts.length; from++) {
				const some = parts.slice(from, from + n);
				cases.push(...bothWays({
					what: JSON.stringify(some),
					script: [...some.map((p, i) => frame(i === 0 ? OP.TEXT : OP.CONT, p,
						{ fin: i === n - 1 })), got(OP.TEXT, some.join(''))],
				}));
			}
		}
		return cases;
	});

	group('5.6', 'a close inside a message is answered, and the message is lost', () =>
		['', 'a', filler(1_000)].flatMap((payload) => bothWays({
			what: `${payload.length} bytes before it`,
			script: [frame(OP.TEXT, payload, { fin: false }), close(1000),
				frame(OP.CONT, 'end'), answersClose(1000)],
			watch: [],
		})));

	group('5.7', 'as many fragments as allowed, and one more', () => {
		const many = (n) => Array.from({ length: n }, () => frame(OP.CONT, 'b', { fin: false }));
		return [
			{ what: '1,024', script: [frame(OP.TEXT, 'a', { fin: false }), ...many(1_022),
				frame(OP.CONT, 'c'), got(OP.TEXT, `a${'b'.repeat(1_022)}c`)] },
			{ what: '1,025', script: [frame(OP.TEXT, 'a', { fin: false }), ...many(1_023),
				frame(OP.CONT, 'c'), fails(1009)] },
		];
	});

	/* --- 6: UTF-8, §8.1 ----------------------------------------------------------------------- */

	const codePoint = (c) => Buffer.from(String.fromCodePoint(c));
	const hex = (bytes) => Buffer.from(bytes).toString('hex');

	/* First, last and neighbours of every range that UTF-8 knows, and the noncharacters. */
	const valid = () => {
		const points = [0, 1, 0x7e, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xff, 0x100, 0x7fe, 0x7ff, 0x800,
			0x801, 0xfff, 0x1000, 0x2028, 0xcfff, 0xd000, 0xd7fe, 0xd7ff, 0xe000, 0xe001, 0xfeff,
			0xfffc, 0xfffd, 0xfffe, 0xffff, 0x10000, 0x10001, 0x3ffff, 0x40000, 0xfffff, 0x100000,
			0x10fffe, 0x10ffff];
		for (let c = 0xfdd0; c <= 0xfdef; c++)
			points.push(c);
		for (let plane = 1; plane <= 0x10; plane++)
			points.push(plane * 0x10000 + 0xfffe, plane * 0x10000 + 0xffff);
		const texts = ['κόσμε', 'ßöäü', '\ufeffmark', 'e\u0301', '日本語', '👩‍👩‍👧', '\u0000\u0000',
			'é'.repeat(500), '€'.repeat(300), '😀'.repeat(200)];
		return [...points.map(codePoint), ...texts.map((s) => Buffer.from(s))];
	};

	/* A ping between all bytes shows that none of them was refused. */
	const pinged = (fragmentsOf) => [
		...fragmentsOf.flatMap((f) => [f, frame(OP.PING, 'alive')]),
		...fragmentsOf.map(() => got(OP.PONG, 'alive')),
	];

	group('6.1', 'valid text, whole, byte by byte and in a fragment for each byte', () =>
		valid().flatMap((bytes) => {
			const what = hex(bytes.subarray(0, 30));
			const each = byteFrames(OP.TEXT, bytes, true);
			const cases = bothWays({ what, script: echo(OP.TEXT, bytes) });
			if (bytes.length < 50) {
				cases.push({ what: `${what} in fragments, pings between`,
					script: [...pinged(each.slice(0, -1)), each.at(-1), got(OP.TEXT, bytes)] });
			} else {
				cases.push({ what: `${what}... in fragments`,
					script: [...each, got(OP.TEXT, bytes)] });
			}
			return cases;
		}));

	/* Every lead byte with the borders of what may follow it. */
	const borders = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
	const second = () => Array.from({ length: 128 }, (_, i) => 0x80 + i).flatMap((lead) => {
		const rest = Array(lead >= 0xf0 ? 2 : lead >= 0xe0 ? 1 : 0).fill(0x80);
		return [[lead], ...borders.map((b) => [lead, b, ...rest])];
	});
	const third = () => [[0xe0, 0xa0], [0xe1, 0x80], [0xed, 0x9f], [0xef, 0xbf], [0xf0, 0x90],
		[0xf1, 0x80], [0xf4, 0x8f]].flatMap((two) => [two, ...borders.map((b) => [...two, b,
		...(two[0] >= 0xf0 ? [0x80] : [])])]);
	const fourth = () => [[0xf0, 0x90, 0x80], [0xf1, 0xbf, 0xbf], [0xf4, 0x8f, 0xbf]].flatMap(
		(three) => [three, ...borders.map((b) => [...three, b])]);
	/* What the tables of lead and following bytes do not have. */
	const crafted = () => [
		'c0af', 'e080af', 'f08080af', 'f8808080af', 'fc80808080af', /* overlong forms of "/" */
		'c080', 'e08080', 'f0808080', 'f880808080', 'fc8080808080', /* of NUL */
		'c1bf', 'e09fbf', 'f08fbfbf', 'f887bfbfbf', 'fc83bfbfbfbf', /* the longest of them */
		'eda080', 'edadbf', 'edae80', 'edafbf', 'edb080', 'edbe80', 'edbfbf', /* surrogates */
		'eda080edb080', 'edadbfedb080', 'edafbfedbfbf', /* and pairs of them */
		'f4908080', 'f490bfbf', 'f7bfbfbf', 'fbbfbfbfbf', 'fdbfbfbfbfbf', /* beyond U+10FFFF */
		'f888808080', 'fc8480808080', 'fe', 'ff', 'fefeffff',
		'8080', '808080808080', 'bfbf', /* nothing but following bytes */
		'c3c3', 'e282c3a9', 'f09f98', 'f09f9841', 'e28241', 'c341', /* cut */
	].map((s) => [...Buffer.from(s, 'hex')]);

	const table = () => [...second(), ...third(), ...fourth(), ...crafted()].map((bytes) =>
		Buffer.from(bytes));
	const around = (bytes) => [bytes, Buffer.concat([Buffer.from('κό'), bytes, Buffer.from('z')])];

	test('6.2 the tables agree with another judge of UTF-8', () => {
		const judge = new TextDecoder('utf-8', { fatal: true });
		for (const bytes of [...table().flatMap(around), ...valid()]) {
			let good = true;
			try {
				judge.decode(bytes);
			} catch {
				good = false;
			}
			assert.equal(utf8Fault(bytes) === -1, good, hex(bytes));
		}
	});

	group('6.3', 'a text with each sequence of the tables, whole', () =>
		table().flatMap(around).map((bytes) => ({
			what: hex(bytes),
			script: utf8Fault(bytes) === -1 ? echo(OP.TEXT, bytes)
				: [frame(OP.TEXT, bytes), fails(1007)],
		})));

	/* How a message is refused at its first bad byte, or at its end if the end is what is bad. */
	const broken = () => table().filter((bytes) => utf8Fault(bytes) >= 0);

	group('6.4', 'bad bytes are refused at once, in the middle of a frame', () =>
		broken().filter((bytes) => utf8Fault(bytes) < bytes.length).map((bytes) => ({
			what: hex(bytes),
			script: [frame(OP.TEXT, Buffer.concat([Buffer.from('aé'),
				bytes.subarray(0, utf8Fault(bytes) + 1)]), { len: 1_000 }), fails(1007)],
		})));

	group('6.5', 'bad bytes are refused at once across fragments, and not before', () =>
		broken().map((bytes) => {
			const fault = utf8Fault(bytes);
			const each = byteFrames(OP.TEXT, Buffer.concat([Buffer.from('z'), bytes]), false);
			const last = fault === bytes.length ? frame(OP.CONT, '') : each[fault + 1];
			return { what: hex(bytes),
				script: [...pinged(each.slice(0, fault + 1)), last, fails(1007)] };
		}));

	/* Checks that go by words must find what is in any byte of one, and at its borders. */
	group('6.6', 'a long text with something at each of its places', () =>
		Array.from({ length: 70 }, (_, at) => at).flatMap((at) => {
			const ascii = filler(70);
			const put = (bytes) => {
				const text = Buffer.concat([ascii, filler(30)]);
				text.set(bytes, at);
				return text;
			};
			const character = Buffer.from('😀');
			const cut = put(character);
			cut[at + 3] = 0x61;
			return [
				{ what: `a character at ${at}`, script: echo(OP.TEXT, put(character)) },
				{ what: `a bad byte at ${at}`, script: [frame(OP.TEXT, put([0x80])), fails(1007)] },
				{ what: `a cut character at ${at}`, script: [frame(OP.TEXT, cut), fails(1007)] },
				{ what: `a fragment's end at ${at}, in a character`, script: [
					fragments(OP.TEXT, put(character), at + 2), got(OP.TEXT, put(character))] },
			];
		}));

	group('6.7', 'a character cut by a message of another kind, by a ping, by a close', () => {
		const cut = frame(OP.TEXT, Buffer.from([0xe2, 0x82]), { fin: false });
		return [
			{ what: 'ping', script: [cut, echo(OP.PING, Buffer.from([0xac])),
				frame(OP.CONT, Buffer.from([0xac])), got(OP.TEXT, '€')] },
			{ what: 'close', script: [cut, close(1000), answersClose(1000)] },
			{ what: 'text', script: [cut, frame(OP.TEXT, 'a'), fails(1002)] },
			{ what: 'empty fragments', script: [cut, frame(OP.CONT, '', { fin: false }),
				frame(OP.CONT, Buffer.from([0xac])), got(OP.TEXT, '€')] },
		];
	});

	group('6.8', 'binary messages, pings and pongs may have any bytes', () =>
		crafted().flatMap((bytes) => [OP.BINARY, OP.PING].map((opcode) => ({
			what: `${opcodeName(opcode)} ${hex(bytes)}`,
			script: [frame(OP.PONG, bytes), echo(opcode, bytes)],
		}))));

	/* --- 7: the closing handshake, §5.5.1, §7 ------------------------------------------------- */

	const mayBeSent = (code) => (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014)
		|| (code >= 3000 && code <= 4999);
	const codes = () => [...Array.from({ length: 1_201 }, (_, i) => i), 1_500, 1_999, 2_000, 2_001,
		2_999, 3_000, 3_001, 3_500, 3_999, 4_000, 4_001, 4_500, 4_999, 5_000, 5_001, 8_192, 32_767,
		32_768, 65_534, 65_535];

	group('7.1', 'every close code', () =>
		codes().map((code) => ({
			what: `${code}`,
			script: [close(code, code % 2 ? 'why' : ''), mayBeSent(code)
				? answersClose(code) : fails(1002)],
		})));

	group('7.2', 'a close of each length', () => {
		const reasons = [0, 1, 2, 3, 50, 122, 123].map((n) => ({
			what: `a reason of ${n} bytes`, script: [close(1000, 'r'.repeat(n)), answersClose(1000)],
		}));
		return [...reasons,
			{ what: 'no code', script: [close(), answersClose(undefined)] },
			{ what: 'one byte', script: [frame(OP.CLOSE, 'a'), fails(1002)] },
			{ what: 'one byte, its head', script: [frame(OP.CLOSE, '', { len: 1 }), fails(1002)] },
			{ what: '126 bytes', script: [close(1000, 'r'.repeat(124)), fails(1002)] },
		].flatMap(bothWays);
	});

	group('7.3', 'the reason is UTF-8', () => {
		const bad = broken().filter((bytes) => bytes.length > 1).map((bytes) => ({
			what: hex(bytes),
			script: [frame(OP.CLOSE, Buffer.concat([closePayload(1000, 'é'), bytes])), fails(1007)],
		}));
		const good = valid().filter((bytes) => bytes.length <= 123).map((bytes) => ({
			what: hex(bytes),
			script: [frame(OP.CLOSE, Buffer.concat([closePayload(1000), bytes])),
				answersClose(1000)],
		}));
		const early = { what: 'at the bad byte', script: [frame(OP.CLOSE,
			Buffer.concat([closePayload(1000), Buffer.from([0xff])]), { len: 60 }), fails(1007)] };
		const code = { what: 'the code, at its second byte',
			script: [frame(OP.CLOSE, closePayload(1005), { len: 60 }), fails(1002)] };
		return [...good, ...bad, early, code];
	});

	group('7.4', 'nothing behind a close counts', () => {
		const behind = {
			'a close': close(1001),
			'a text': frame(OP.TEXT, 'late'),
			'a ping': frame(OP.PING, 'late'),
			'the rest of a message': frame(OP.CONT, 'late'),
			'an opcode that is reserved': frame(3, 'late'),
			'a reserved bit': frame(OP.TEXT, 'late', { rsv: 7 }),
			'bad UTF-8': frame(OP.TEXT, Buffer.from([0xff])),
			'no frame': Buffer.from('GET / HTTP/1.1\r\n\r\n'),
			'half a head': Buffer.from([0x81]),
		};
		return Object.entries(behind).flatMap(([what, bytes]) =>
			[undefined, 1000, 4999].map((code) => ({
				what: `${what} behind ${code}`,
				script: [echo(OP.TEXT, 'before'), close(code), bytes, answersClose(code)],
				watch: [got(OP.TEXT, 'before')],
			})));
	});

	group('7.5', 'what comes before a close counts', () => [
		{ what: 'a text', script: [frame(OP.TEXT, 'one'), close(1000), answersClose(1000)],
			watch: [got(OP.TEXT, 'one')] },
		{ what: 'a long text', script: [frame(OP.TEXT, filler(5_000)), close(1000),
			answersClose(1000)], watch: [got(OP.TEXT, filler(5_000))] },
		{ what: 'a ping', script: [frame(OP.PING, 'p'), close(1000), got(OP.PONG, 'p'),
			answersClose(1000)] },
		{ what: 'ten messages', script: [...Array(10).fill(frame(OP.BINARY, 'b')), close(),
			answersClose(undefined)], watch: Array(10).fill(got(OP.BINARY, 'b')) },
	].flatMap(bothWays));

	test('7.6 the server ends the connection, and at once', async () => {
		for (const first of [[], [frame(OP.TEXT, 'part', { fin: false })]]) {
			const wire = await WireClient.open(node, '/ws/at-once');
			const begun = Date.now();
			await wire.send(Buffer.concat([...first, close(1000)]));
			await wire.expectClose(1000, { answer: false });
			assert.ok(Date.now() - begun < 1_000, 'it waited for something');
			wire.destroy();
		}
	});
});

/* --- 9 and 10: sizes and many messages -------------------------------------------------------- */

describe('RFC 6455: sizes', () => {
	const KIB = 1_024;
	const MIB = 1_024 * KIB;
	const MOST = 4 * MIB;
	let node;
	before(async () => {
		node = await start({ message: MOST, fragments: 1_000_000, queue: 64 * MIB });
	});
	after(() => node?.stop());

	const group = (number, what, cases) =>
		test(`${number} ${what}`, { timeout: 60 }, (t) => runCases(t, node, number, cases(), 4));

	group('9.1', 'large messages', () => DATA.flatMap((opcode) =>
		[64 * KIB, 256 * KIB, MIB, 2 * MIB, MOST].map((n) => ({
			what: `${opcodeName(opcode)} of ${n} bytes`, script: echo(opcode, filler(n)),
		}))));

	group('9.2', 'a message in fragments of each size', () => DATA.flatMap((opcode) =>
		[64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB].map((size) => ({
			what: `${opcodeName(opcode)}, ${size} bytes each`,
			script: [fragments(opcode, filler(MIB), size), got(opcode, filler(MIB))],
		}))));

	group('9.3', 'a message in pieces of each size', () => DATA.flatMap((opcode) =>
		[64, 128, 256, 512, KIB, 2 * KIB, 4 * KIB, 65_537].map((chop) => ({
			what: opcodeName(opcode), chop, script: echo(opcode, filler(128 * KIB)),
		}))));

	group('9.4', 'more than the limit', () => DATA.flatMap((opcode) => [
		{ what: opcodeName(opcode), script: [frame(opcode, '', { len: MOST + 1 }), fails(1009)] },
		{ what: `${opcodeName(opcode)} in fragments`, script: [
			fragments(opcode, filler(MOST + 1), 64 * KIB), fails(1009)] },
	]));

	group('9.5', 'a thousand messages, one after the other', () => DATA.flatMap((opcode) =>
		[0, 16, 64, 256, KIB, 4 * KIB, 16 * KIB].map((n) => ({
			what: `${opcodeName(opcode)} of ${n} bytes`,
			script: Array(1_000).fill(echo(opcode, filler(n))).flat(),
		}))));

	group('9.6', 'a thousand messages, none waited for', () => DATA.flatMap((opcode) =>
		[0, 16, 125, 126, KIB, 16 * KIB].map((n) => ({
			what: `${opcodeName(opcode)} of ${n} bytes`,
			script: [...Array(1_000).fill(frame(opcode, filler(n))),
				...Array(1_000).fill(got(opcode, filler(n)))],
		}))));

	group('10.1', 'a message in fragments that do not divide it', () => [1_300, 1_301, 9_999, 65_535]
		.map((size) => ({
			what: `${size} bytes each`,
			script: [fragments(OP.TEXT, filler(64 * KIB), size), got(OP.TEXT, filler(64 * KIB))],
		})));
});
