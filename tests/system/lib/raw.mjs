/*
 * raw: a TCP client that sends any bytes and reads HTTP answers and frames, without judging them.
 */
import crypto from 'node:crypto';
import net from 'node:net';
import { within } from './test.mjs';

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='; /* RFC 6455 §1.3 */

export const OP = { CONT: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };

/*
 * The bytes of a frame.  Everything that a peer can do wrong can be asked for: fin, rsv (0-7),
 * mask: false, key: that of the mask, len: a length to declare instead of the true one, size: 7, 16
 * or 64 bits to declare it in.
 */
export function frame(opcode, payload = '',
	{ fin = true, rsv = 0, mask = true, key = crypto.randomBytes(4), len, size } = {}) {
	const data = Buffer.from(payload);
	const declared = BigInt(len ?? data.length);
	size ??= declared < 126n ? 7 : declared < 65_536n ? 16 : 64;
	const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
	const maskBit = mask ? 0x80 : 0;
	if (size === 7)
		head.push(maskBit | Number(declared));
	else
		head.push(maskBit | (size === 16 ? 126 : 127));
	if (size !== 7) {
		for (let shift = BigInt(size) - 8n; shift >= 0n; shift -= 8n)
			head.push(Number((declared >> shift) & 0xffn));
	}
	if (!mask)
		return Buffer.concat([Buffer.from(head), data]);
	const masked = Buffer.from(data);
	for (let i = 0; i < masked.length; i++)
		masked[i] ^= key[i & 3];
	return Buffer.concat([Buffer.from(head), key, masked]);
}

export function closePayload(code, reason = '') {
	const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
	payload.writeUInt16BE(code);
	payload.write(reason, 2);
	return payload;
}

/*
 * The head of a handshake.  fields: null leaves one out, an array repeats it, others replace or
 * add.
 */
export function handshake(target = '/ws/news', fields = {}, { host = '127.0.0.1', line } = {}) {
	const all = {
		Host: host,
		Upgrade: 'websocket',
		Connection: 'Upgrade',
		'Sec-WebSocket-Key': KEY,
		'Sec-WebSocket-Version': '13',
		...fields,
	};
	const lines = [line ?? `GET ${target} HTTP/1.1`];
	for (const [name, value] of Object.entries(all)) {
		for (const one of value === null ? [] : [value].flat())
			lines.push(`${name}: ${one}`);
	}
	return `${lines.join('\r\n')}\r\n\r\n`;
}

export class RawClient {
	/* to: a port of the loopback, or what net.connect takes: { path }, { host, port }. */
	static async connect(to) {
		const where = typeof to === 'object' ? to : { port: to, host: '127.0.0.1' };
		const client = new RawClient();
		client.input = Buffer.alloc(0);
		client.ended = false; /* the server has sent its end, or cut */
		client.error = undefined; /* how the connection was cut, if it was */
		client.wake = () => {};
		client.socket = net.connect(
			{ ...where, allowHalfOpen: true, noDelay: true });
		client.socket.on('data', (data) => {
			client.input = Buffer.concat([client.input, data]);
			client.wake();
		});
		const over = () => {
			client.ended = true;
			client.wake();
		};
		client.socket.on('end', over).on('close', over).on('error', (error) => {
			client.error = error;
			over();
		});
		await within(5_000, 'connect', new Promise((resolve, reject) => {
			client.socket.once('connect', resolve);
			client.socket.once('error', reject);
		}));
		return client;
	}

	/* Connects and does the handshake; what was answered stays in `answer`. */
	static async open(node, target = '/ws/news', fields = {}) {
		const client = await RawClient.connect(node.ports.public);
		client.send(handshake(target, fields));
		client.answer = await client.response();
		if (client.answer.status !== 101)
			throw new Error(`handshake: ${client.answer.status} ${client.answer.body}`);
		return client;
	}

	send(bytes) {
		this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
	}

	/* Calls take until it returns something; throws where the server ends first. */
	async wait(ms, what, take) {
		const arrive = async () => {
			for (;;) {
				const got = take();
				if (got !== undefined)
					return got;
				if (this.ended)
					throw new Error(`${what}: the server ended the connection`);
				await new Promise((resolve) => { this.wake = resolve; });
			}
		};
		return within(ms, what, arrive());
	}

	/* An HTTP answer: { status, headers, body, text }; body by Content-Length or chunks. */
	response({ method = 'GET', timeout = 5_000 } = {}) {
		return this.wait(timeout, 'an HTTP answer', () => {
			const end = this.input.indexOf('\r\n\r\n');
			if (end < 0)
				return undefined;
			const text = this.input.toString('latin1', 0, end);
			const [line, ...lines] = text.split('\r\n');
			const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1]);
			const headers = {};
			for (const one of lines) {
				const colon = one.indexOf(':');
				const name = one.slice(0, colon).toLowerCase();
				headers[name] = one.slice(colon + 1).trim();
			}
			const none = method === 'HEAD' || status < 200 || status === 204;
			const length = none ? 0 : Number(headers['content-length'] ?? 0);
			if (this.input.length < end + 4 + length)
				return undefined;
			const body = this.input.toString('utf8', end + 4, end + 4 + length);
			this.input = this.input.subarray(end + 4 + length);
			return { status, headers, body, text };
		});
	}

	/* The next frame: { fin, rsv, opcode, masked, headSize, data, code, reason }. */
	frame(timeout = 5_000) {
		return this.wait(timeout, 'a frame', () => this.takeFrame());
	}

	takeFrame() {
		const b = this.input;
		if (b.length < 2)
			return undefined;
		let at = 2;
		let len = b[1] & 0x7f;
		if (len === 126) {
			if (b.length < 4)
				return undefined;
			len = b.readUInt16BE(2);
			at = 4;
		} else if (len === 127) {
			if (b.length < 10)
				return undefined;
			len = Number(b.readBigUInt64BE(2));
			at = 10;
		}
		if (b.length < at + len)
			return undefined;
		const data = b.subarray(at, at + len);
		this.input = b.subarray(at + len);
		const f = {
			fin: (b[0] & 0x80) !== 0,
			rsv: (b[0] >> 4) & 7,
			opcode: b[0] & 15,
			masked: (b[1] & 0x80) !== 0,
			headSize: at,
			data,
		};
		if (f.opcode === OP.CLOSE) {
			f.code = len >= 2 ? data.readUInt16BE(0) : undefined;
			f.reason = data.toString('utf8', 2);
		}
		return f;
	}

	/* The next frame that is no ping. */
	async frameButPing(timeout) {
		for (;;) {
			const f = await this.frame(timeout);
			if (f.opcode !== OP.PING)
				return f;
		}
	}

	/* Waits for the server's end of the connection; what came before is left in input. */
	async end(ms = 3_000) {
		await within(ms, 'the end of the connection', (async () => {
			while (!this.ended)
				await new Promise((resolve) => { this.wake = resolve; });
		})());
	}

	destroy() {
		this.socket.destroy();
	}
}
