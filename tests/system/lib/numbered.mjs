/*
 * numbered: publishers of numbered messages, and subscribers who come back by themselves and give
 * all that they hear to a checker.
 *
 * A publisher has one message under way on each channel, so that the order of its messages is known,
 * and any number of channels at once.
 */
import http from 'node:http';
import WebSocket from 'ws';
import { RedisClient } from './redis.mjs';
import { numbered } from './sequence.mjs';
import { eventually, sleep, within } from './test.mjs';

const PATIENCE = 8_000; /* ms for an answer */

/* --- ways to publish ---------------------------------------------------------------------- */

/*
 * Each has publish(channel, text, key): it resolves with the message's position, undefined on a plain
 * channel, once the message was accepted, and rejects where it was not or nobody knows.
 */

/* POST /pub, at each of the nodes in turn. */
export class HttpWay {
	constructor(nodes) {
		this.nodes = nodes;
		this.agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
		this.turn = 0;
	}

	publish(channel, text, key) {
		const node = this.nodes[this.turn++ % this.nodes.length];
		const headers = {
			'Content-Type': 'text/plain',
			'Content-Length': Buffer.byteLength(text),
			...(key !== undefined && { 'Idempotency-Key': key }),
		};
		return new Promise((resolve, reject) => {
			const req = http.request({
				host: '127.0.0.1', port: node.ports.internal, method: 'POST', timeout: PATIENCE,
				path: `/pub/${encodeURIComponent(channel)}`, headers, agent: this.agent,
			}, (res) => {
				let body = '';
				res.setEncoding('utf8').on('data', (s) => { body += s; }).on('error', reject);
				res.on('end', () => {
					if (res.statusCode !== 200)
						reject(new Error(`${res.statusCode} ${body}`));
					else
						resolve(positionOf(JSON.parse(body)));
				});
			});
			req.on('timeout', () => req.destroy(new Error('no answer')));
			req.on('error', reject);
			req.end(text);
		});
	}

	close() {
		this.agent.destroy();
	}
}

/* FCALL, or PUBLISH where there is no key, at Redis itself. */
export class RedisWay {
	constructor(redis) {
		this.redis = redis;
	}

	async client() {
		if (this.connected?.socket.destroyed !== false) {
			this.connecting ??= RedisClient.connect(this.redis.socket)
				.finally(() => { this.connecting = undefined; });
			this.connected = await this.connecting;
		}
		return this.connected;
	}

	async publish(channel, text, key) {
		const client = await this.client();
		const reply = await (key === undefined
			? client.command('PUBLISH', `fanfare:${channel}`, text)
			: client.command('FCALL', 'fanfare_publish', 1, channel, text, key));
		if (reply instanceof Error)
			throw reply;
		return key === undefined ? undefined : positionOf({ offset: reply[0], epoch: reply[1] });
	}

	close() {
		this.connected?.close();
	}
}

/* A client of fanfare.json, at any of the nodes. */
export class ClientWay {
	constructor(nodes) {
		this.nodes = nodes;
		this.turn = 0;
		this.waiting = new Map();
		this.id = 0;
	}

	connect() {
		const ws = new WebSocket(this.nodes[this.turn++ % this.nodes.length].url(), 'fanfare.json',
			{ perMessageDeflate: false });
		this.ws = ws;
		ws.on('message', (data) => this.answer(JSON.parse(data.toString())));
		return new Promise((resolve, reject) => {
			ws.on('open', resolve);
			ws.on('error', reject);
			ws.on('close', () => {
				for (const { reject: lost } of this.waiting.values())
					lost(new Error('closed'));
				this.waiting.clear();
			});
		});
	}

	answer(message) {
		const waiter = this.waiting.get(message.id);
		this.waiting.delete(message.id);
		if (message.error)
			waiter?.reject(new Error(`${message.error.code} ${message.error.message}`));
		else
			waiter?.resolve(positionOf(message));
	}

	async publish(channel, text, key) {
		if (this.ws?.readyState !== WebSocket.OPEN) {
			this.connecting ??= this.connect().finally(() => { this.connecting = undefined; });
			await this.connecting;
		}
		const id = ++this.id;
		const answered = new Promise((resolve, reject) => {
			this.waiting.set(id, { resolve, reject });
		});
		this.ws.send(JSON.stringify({ publish: channel, data: text, id, key }));
		return within(PATIENCE, 'an answer', answered);
	}

	close() {
		this.ws?.terminate();
	}
}

/* Of an answer or a message; undefined on a plain channel. */
const positionOf = ({ offset, epoch }) => (epoch ? { offset, epoch } : undefined);

/* --- publishers --------------------------------------------------------------------------- */

export class Publisher {
	/*
	 * keyed: each message has an idempotency key, and is tried until it is accepted.  Otherwise
	 * it is tried once.  pause: ms between two messages of one channel.
	 */
	constructor(checker, name, way, { keyed = true, pause = 0 } = {}) {
		Object.assign(this, { checker, name, way, keyed, pause });
		this.retries = 0;
		this.accepted = 0;
		this.stopped = false;
		this.next = new Map(); /* by channel */
	}

	/* `each` messages on each channel, or until stop(). */
	async run(channels, each = Infinity) {
		await Promise.all(channels.map(async (channel) => {
			for (let i = 0; i < each && !this.stopped; i++) {
				await this.one(channel);
				if (this.pause > 0)
					await sleep(this.pause);
			}
		}));
	}

	/* The next message of a channel. */
	async one(channel) {
		const n = (this.next.get(channel) ?? 0) + 1;
		this.next.set(channel, n);
		this.checker.publishes(channel, this.name, n);
		const text = numbered(channel, this.name, n);
		const key = this.keyed ? `${this.name}-${n}` : undefined;
		for (;;) {
			try {
				const position = await this.way.publish(channel, text, key);
				this.accepted++;
				if (position !== undefined) {
					this.checker.place({ channel, publisher: this.name, n }, position,
						`the answer to ${this.name}`);
				}
				return;
			} catch {
				this.retries++;
				if (!this.keyed) {
					this.checker.unanswered(channel, this.name, n);
					await sleep(20);
					return;
				}
				await sleep(20 + Math.random() * 60);
			}
		}
	}

	/*
	 * One more on each channel, which must not be missed: once all is calm again, it shows what is
	 * missing before it.
	 */
	async finish(channels) {
		this.stopped = false;
		this.keyed = true;
		await this.run(channels, 1);
	}

	stop() {
		this.stopped = true;
	}
}

/* --- subscribers -------------------------------------------------------------------------- */

/* What the two kinds have in common: they come back, to any node, with what they know. */
class Subscriber {
	/* history: whether the channels keep one; else the loss of the connection is the word. */
	constructor(checker, name, nodes, channels, { history = true } = {}) {
		Object.assign(this, { nodes, channels, history });
		this.readers = new Map(channels.map((c) => [c, checker.reader(name, c)]));
		this.losses = 0; /* of the connection */
		this.stopped = false;
		this.turn = Math.floor(Math.random() * nodes.length);
	}

	/* Resolves when it hears all of its channels. */
	async start() {
		this.open();
		await this.awaitLive();
	}

	awaitLive(ms = 20_000) {
		return eventually(ms, 'a subscriber to be live', () => this.live);
	}

	lost() {
		if (this.stopped)
			return;
		this.losses++;
		this.onLost();
		this.again();
	}

	again() {
		setTimeout(() => {
			if (!this.stopped)
				this.open();
		}, 20 + Math.random() * 150);
	}

	node() {
		return this.nodes[this.turn++ % this.nodes.length];
	}

	stop() {
		this.stopped = true;
		this.cut();
	}
}

/* One of fanfare.json. */
export class JsonSubscriber extends Subscriber {
	recovered = 0; /* how often a position was good */

	open() {
		this.subscribed = new Set();
		const ws = new WebSocket(this.node().url(), 'fanfare.json', { perMessageDeflate: false });
		this.ws = ws;
		ws.on('open', () => this.channels.forEach((channel) => this.subscribe(channel)));
		ws.on('message', (data) => this.hear(JSON.parse(data.toString())));
		ws.on('error', () => {});
		ws.on('close', (code) => {
			this.code = code;
			this.lost();
		});
	}

	get live() {
		return this.ws.readyState === WebSocket.OPEN && this.subscribed.size === this.channels.length;
	}

	subscribe(channel) {
		const { position } = this.readers.get(channel);
		if (this.ws.readyState === WebSocket.OPEN)
			this.ws.send(JSON.stringify({ subscribe: channel, id: channel, ...position }));
	}

	hear(message) {
		if (message.channel !== undefined) {
			this.readers.get(message.channel).take(message.data, positionOf(message));
		} else if (message.gap !== undefined) {
			this.readers.get(message.gap).told('gap');
		} else if (message.subscribed !== undefined) {
			this.hearSubscribed(message);
		} else if (message.error !== undefined) {
			setTimeout(() => this.subscribe(message.id), 50);
		} else {
			throw new Error(`what is this: ${JSON.stringify(message)}`);
		}
	}

	hearSubscribed(message) {
		const reader = this.readers.get(message.subscribed);
		this.subscribed.add(message.subscribed);
		if (message.recovered === true) {
			this.recovered++;
			reader.stands(reader.position);
		} else if (message.recovered === false) {
			reader.told('not recovered');
			reader.stands(positionOf(message));
		} else if (this.history) {
			reader.stands(positionOf(message));
		}
	}

	onLost() {
		for (const reader of this.history ? [] : this.readers.values())
			reader.told('disconnected');
	}

	cut() {
		this.ws.terminate();
	}
}

/* One of Server-Sent Events, as an EventSource is. */
export class SseSubscriber extends Subscriber {
	open() {
		this.live = false;
		this.input = '';
		const { ports } = this.node();
		const query = this.channels.map((c) => `channel=${encodeURIComponent(c)}`).join('&');
		const headers = { Accept: 'text/event-stream' };
		if (this.id !== undefined)
			headers['Last-Event-ID'] = this.id;
		let over = false;
		const lost = () => {
			if (!over)
				this.lost();
			over = true;
		};
		this.req = http.get({ host: '127.0.0.1', port: ports.public, path: `/sse?${query}`, headers,
			agent: false }, (res) => {
			if (res.statusCode !== 200) {
				over = true;
				this.req.destroy();
				this.again();
				return;
			}
			this.live = true;
			res.setEncoding('utf8').on('data', (s) => this.feed(s));
			res.on('error', lost).on('close', lost);
		});
		this.req.on('error', lost);
	}

	feed(text) {
		this.input += text;
		const events = this.input.split('\n\n');
		this.input = events.pop();
		events.forEach((event) => this.hear(event));
	}

	hear(event) {
		const fields = { event: 'message', data: [] };
		for (const line of event.split('\n')) {
			const [, name, value] = /^([^:]*):? ?(.*)$/su.exec(line);
			if (name === 'data')
				fields.data.push(value);
			else if (name !== '')
				fields[name] = value;
		}
		if (fields.id !== undefined)
			this.id = fields.id;
		const data = fields.data.join('\n');
		if (data === '')
			this.hearPositions(); /* an id alone, or a comment */
		else if (fields.event === 'gap')
			this.hearGap(data, fields.id !== undefined);
		else if (fields.event === 'message')
			this.hearMessage(data.startsWith('"') ? JSON.parse(data) : data);
		else
			throw new Error(`what is this: ${event}`);
	}

	/* By the last id; undefined where it has none, as of a plain channel. */
	position(channel) {
		const part = this.id?.split(',')[this.channels.indexOf(channel)] ?? '';
		const [, epoch, offset] = /^(\w+):(\d+)$/.exec(part) ?? [];
		return epoch === undefined ? undefined : { epoch, offset: Number(offset) };
	}

	/* Where the channels stood at the beginning. */
	hearPositions() {
		for (const [channel, reader] of this.readers) {
			const position = this.position(channel);
			if (reader.position === undefined && position !== undefined)
				reader.stands(position);
		}
	}

	hearGap(channel, positioned) {
		const reader = this.readers.get(channel);
		reader.told('gap');
		if (positioned)
			reader.stands(this.position(channel));
	}

	hearMessage(text) {
		/* An event has no word for its channel; the text has. */
		const channel = text.split(' ', 1)[0];
		const reader = this.readers.get(channel) ?? this.readers.get(this.channels[0]);
		reader.take(text, this.position(channel));
	}

	/* Who has no id yet cannot ask for what was missed, but knows that he was away. */
	onLost() {
		this.live = false;
		for (const reader of this.history && this.id !== undefined ? [] : this.readers.values())
			reader.told('disconnected');
	}

	cut() {
		this.req.destroy();
	}
}

export { Checker } from './checker.mjs';
