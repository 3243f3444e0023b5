/*
 * wire: conversations with a WebSocket server, byte by byte, as tables of cases.
 *
 * A case is { what, script } and what else is listed at `converse`.  A script is a list of
 * - Buffers, the bytes to send;
 * - got(opcode, payload): the next frame that must come, before more is sent;
 * - fails(code): the server must close with this code, send nothing behind it and end;
 * - answersClose(code): the same, after a close frame of ours;
 * - functions, called with the WireClient.
 * Every frame that comes is held to the RFC: FIN, no RSV bits, no mask, the shortest length.
 */
import assert from 'node:assert/strict';
import { OP, RawClient, closePayload, frame } from './raw.mjs';

const NAMES = { 0: 'continuation', 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' };
export const opcodeName = (opcode) => NAMES[opcode] ?? `opcode ${opcode}`;

export const got = (opcode, payload = '') => ({ opcode, payload: Buffer.from(payload) });
export const fails = (code) => ({ close: code, answer: true });
export const answersClose = (code) => ({ close: code, answer: false });

/* A frame sent and its answer: the same message, or the pong. */
export const echo = (opcode, payload, options) =>
	[frame(opcode, payload, options), got(opcode === OP.PING ? OP.PONG : opcode, payload)];

export const close = (code, reason = '') =>
	frame(OP.CLOSE, code === undefined ? '' : closePayload(code, reason));

/* The bytes in pieces of at most n; n = 0: in one piece. */
export function pieces(bytes, n) {
	if (n === 0 || bytes.length <= n)
		return [bytes];
	const count = Math.ceil(bytes.length / n);
	return Array.from({ length: count }, (_, i) => bytes.subarray(i * n, (i + 1) * n));
}

/* A message in frames of at most `size` bytes; options as frame()'s, for the first frame. */
export function fragments(opcode, payload, size, options = {}) {
	const parts = pieces(Buffer.from(payload), size);
	return Buffer.concat(parts.map((part, i) => frame(i === 0 ? opcode : OP.CONT, part,
		{ ...(i === 0 ? options : {}), fin: i === parts.length - 1 })));
}

/* Each byte of a message as a frame of its own; the last one ends it if `fin`. */
export const byteFrames = (opcode, bytes, fin) => [...bytes].map((byte, i) =>
	frame(i === 0 ? opcode : OP.CONT, [byte], { fin: fin && i === bytes.length - 1 }));

/* n printable bytes, not the same for each n. */
export function filler(n) {
	const bytes = Buffer.alloc(n);
	for (let i = 0; i < n; i++)
		bytes[i] = 0x20 + (i * 7 + n) % 0x5f;
	return bytes;
}

/* The second bytes that a lead byte allows and how many bytes follow it; the Unicode Standard,
 * table 3-7, from 0xC2 on. */
function utf8Lead(byte) {
	if (byte <= 0xdf)
		return [0x80, 0xbf, 1];
	if (byte <= 0xef)
		return [byte === 0xe0 ? 0xa0 : 0x80, byte === 0xed ? 0x9f : 0xbf, 2];
	return [byte === 0xf0 ? 0x90 : 0x80, byte === 0xf4 ? 0x8f : 0xbf, 3];
}

/* The index of the first byte that shows that this is not UTF-8: the length if the end is what
 * is missing, -1 if it is UTF-8. */
export function utf8Fault(bytes) {
	for (let i = 0; i < bytes.length; i++) {
		if (bytes[i] < 0x80)
			continue;
		if (bytes[i] < 0xc2 || bytes[i] > 0xf4)
			return i;
		let [low, high, more] = utf8Lead(bytes[i]);
		for (; more > 0; more--) {
			if (++i === bytes.length || bytes[i] < low || bytes[i] > high)
				return i;
			[low, high] = [0x80, 0xbf];
		}
	}
	return -1;
}

const describeFrame = (f) => `${opcodeName(f.opcode)} of ${f.data.length} bytes`
	+ (f.code === undefined ? '' : `, ${f.code} "${f.reason}"`);

/* What RFC 6455 §5 asks of each frame of a server; rsv: the bits that may be set. */
function assertFrame(f, rsv = 0) {
	const least = f.data.length < 126 ? 2 : f.data.length < 65_536 ? 4 : 10;
	assert.ok(f.fin, `${describeFrame(f)}: fragmented`);
	assert.equal(f.rsv & ~rsv, 0, `${describeFrame(f)}: RSV ${f.rsv}`);
	assert.ok(!f.masked, `${describeFrame(f)}: masked`);
	assert.equal(f.headSize, least, `${describeFrame(f)}: the head's size`);
	assert.ok(f.opcode < 8 || f.data.length <= 125, `${describeFrame(f)}: too long`);
	if (f.opcode === OP.CLOSE) {
		assert.notEqual(f.data.length, 1);
		assert.equal(utf8Fault(f.data.subarray(2)), -1, 'the reason is not UTF-8');
	}
}

/* A client whose frames are judged. */
export class WireClient {
	static async open(node, target, fields) {
		const wire = new WireClient();
		wire.raw = await RawClient.open(node, target, fields);
		return wire;
	}

	async next(rsv) {
		const f = await this.raw.frame();
		assertFrame(f, rsv);
		return f;
	}

	async expect({ opcode, payload }) {
		const f = await this.next();
		this.check(f, opcode, payload, f.data);
	}

	check(f, opcode, payload, data) {
		assert.equal(f.opcode, opcode, `${describeFrame(f)}, not a ${opcodeName(opcode)}`);
		assert.ok(data.equals(payload), `${describeFrame(f)}: not the ${payload.length} bytes `
			+ 'that were expected');
	}

	/* In pieces of `chop` bytes, each given the time to be read by itself. */
	async send(bytes, chop = 0) {
		for (const piece of pieces(bytes, chop)) {
			if (this.raw.ended)
				return;
			this.raw.send(piece);
			if (piece.length < bytes.length)
				await new Promise(setImmediate);
		}
	}

	/* The server's close frame, our answer if it is one to give, and the end. */
	async expectClose(code, { answer, skip = [] }) {
		let f = await this.next();
		/* What it had published before may have come back already. */
		for (let i = 0; i < skip.length && f.opcode !== OP.CLOSE; i++) {
			assert.deepEqual([f.opcode, f.data], [skip[i].opcode, skip[i].payload]);
			f = await this.next();
		}
		assert.equal(f.opcode, OP.CLOSE, `${describeFrame(f)}, not a close with ${code}`);
		assert.equal(f.code, code, describeFrame(f));
		if (answer && !this.raw.ended)
			this.raw.send(close(code));
		await this.raw.end();
		assert.equal(this.raw.input.length, 0, 'bytes behind the close frame');
	}

	/* The closing handshake, begun by us: everything before it went well. */
	async finish() {
		this.raw.send(close(1000));
		await this.expectClose(1000, { answer: false });
		assert.equal(this.raw.error, undefined);
	}

	destroy() {
		this.raw.destroy();
	}
}

const ENOUGH = 20; /* failures of a group */
const LAST = '-- the end of the case --';

/*
 * Runs a case; rejects if anything came that should not, or did not come.  Besides what and script:
 *   chop: bytes of each write; 0 or none: all that is sent before an answer in one write
 *   watch: got()s that another subscriber of the channel must receive, and nothing else; where the
 *     script does not wait for messages that it publishes, their echoes are optional
 *   fields: of the handshake
 */
export async function converse(node, channel, { script, chop, watch, fields }) {
	const target = `/ws/${channel}`;
	let watcher;
	let wire;
	try {
		watcher = watch && await WireClient.open(node, target, fields);
		wire = await WireClient.open(node, target, fields);
		let out = [];
		let over = false;
		let echoes = 0;
		const flush = async () => {
			const bytes = Buffer.concat(out);
			out = [];
			await wire.send(bytes, chop);
		};
		for (const step of script.flat()) {
			if (Buffer.isBuffer(step)) {
				out.push(step);
				continue;
			}
			await flush();
			over = 'close' in step;
			if (typeof step === 'function') {
				await step(wire);
			} else if (over) {
				await wire.expectClose(step.close,
					{ answer: step.answer, skip: watch?.slice(echoes) });
			} else {
				await wire.expect(step);
				echoes += step.opcode < 8;
			}
		}
		await flush();
		if (!over)
			await wire.finish();
		if (watcher) {
			watcher.raw.send(frame(OP.TEXT, LAST));
			for (const one of [...watch, got(OP.TEXT, LAST)])
				await watcher.expect(one);
		}
	} finally {
		wire?.destroy();
		watcher?.destroy();
	}
}

/* Calls fn for each item, `parallel` at a time. */
export async function each(items, parallel, fn) {
	let next = 0;
	await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, async () => {
		while (next < items.length) {
			const i = next++;
			await fn(items[i], i);
		}
	}));
}

/*
 * Runs the cases of a group, which are numbered group.1, group.2 ...  Fails with the numbers of those
 * that went wrong, and ends when there are many.
 */
export async function runCases(t, node, group, cases, parallel = 32) {
	const failures = [];
	const begun = Date.now();
	await each(cases, parallel, async (one, i) => {
		if (failures.length >= ENOUGH)
			return;
		const number = `${group}.${i + 1}`;
		try {
			await converse(node, `case-${number}`, one);
		} catch (error) {
			const how = one.chop ? `, ${one.chop} bytes at a time` : '';
			failures.push(`${number} ${one.what}${how}: ${error.message}`);
		}
	});
	t.diagnostic(`${cases.length} cases, ${Date.now() - begun} ms`);
	if (failures.length > 0) {
		assert.fail(`${failures.length} of ${cases.length} cases, or more:\n`
			+ failures.slice(0, ENOUGH).join('\n'));
	}
}
