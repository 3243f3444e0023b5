/*
 * clients: connections by the npm package ws, which remember all that arrives.
 */
import WebSocket from 'ws';
import { within } from './test.mjs';

export class Client {
	/*
	 * Resolves once open.  Where the server refuses, rejects with an Error that has `status`,
	 * `headers` and `body`.
	 */
	static async open(url, protocols = [], options = {}) {
		const client = new Client();
		client.messages = []; /* strings, or Buffers where binary */
		client.taken = 0;
		client.wake = () => {};
		client.ws = new WebSocket(url, protocols, {
			perMessageDeflate: false,
			maxPayload: 64 * 1024 * 1024,
			handshakeTimeout: 20_000,
			...options,
		});
		client.closed = new Promise((resolve) => {
			client.ws.on('close', (code, reason) => {
				client.gone = { code, reason: reason.toString() };
				client.wake();
				resolve(client.gone);
			});
		});
		client.ws.on('message', (data, isBinary) => {
			const message = isBinary ? data : data.toString();
			client.messages.push(message);
			client.onMessage?.(message);
			client.wake();
		});
		await new Promise((resolve, reject) => {
			client.ws.on('open', resolve);
			client.ws.on('error', reject);
			client.ws.on('unexpected-response', (req, res) => {
				let body = '';
				res.setEncoding('utf8').on('data', (s) => { body += s; });
				res.on('end', () => {
					const error = new Error(`refused with ${res.statusCode}`);
					reject(Object.assign(error,
						{ status: res.statusCode, headers: res.headers, body }));
					req.destroy();
				});
			});
		});
		return client;
	}

	send(data) {
		this.ws.send(data);
	}

	/* The next message that next() has not returned yet. */
	next(ms = 5_000) {
		return within(ms, 'a message', (async () => {
			while (this.taken >= this.messages.length) {
				if (this.gone)
					throw new Error(`closed: ${JSON.stringify(this.gone)}`);
				await new Promise((resolve) => { this.wake = resolve; });
			}
			return this.messages[this.taken++];
		})());
	}

	async nextJson(ms) {
		return JSON.parse(await this.next(ms));
	}

	/* Sends a command of fanfare.json and returns the next message. */
	ask(command) {
		this.send(typeof command === 'string' ? command : JSON.stringify(command));
		return this.nextJson();
	}

	/* Waits until `n` messages have come in all. */
	async count(n, ms = 10_000) {
		await within(ms, `${n} messages`, (async () => {
			while (this.messages.length < n) {
				if (this.gone)
					throw new Error(`closed: ${JSON.stringify(this.gone)}`);
				await new Promise((resolve) => { this.wake = resolve; });
			}
		})()).catch((error) => {
			throw new Error(`${error.message}; got ${this.messages.length}`);
		});
	}

	async close(code = 1000, reason = '') {
		this.ws.close(code, reason);
		return within(5_000, 'close', this.closed);
	}

	terminate() {
		this.ws.terminate();
	}
}

export const json = (node, target = '/ws', options) =>
	Client.open(node.url(target), 'fanfare.json', options);

/* n clients; make(i) returns the promise of one.  Not all at once, to keep within the backlog. */
export async function openMany(n, make) {
	const all = [];
	while (all.length < n) {
		const batch = Array.from({ length: Math.min(100, n - all.length) },
			(_, i) => make(all.length + i));
		all.push(...await Promise.all(batch));
	}
	return all;
}
