/*
 * events: a reader of Server-Sent Events as the HTML standard describes it, over a raw connection.
 */
import { RawClient } from './raw.mjs';

/* A GET of a stream; fields: null leaves one out, others replace or add. */
export function getEvents(target, fields = {}, { line } = {}) {
	const all = { Host: '127.0.0.1', Accept: 'text/event-stream', ...fields };
	const lines = Object.entries(all).filter(([, v]) => v !== null).map(([k, v]) => `${k}: ${v}`);
	return `${line ?? `GET ${target} HTTP/1.1`}\r\n${lines.join('\r\n')}\r\n\r\n`;
}

export class EventStream {
	/* Resolves once the head has come; throws an Error with `answer` unless it is 200. */
	static async open(node, target, fields, options) {
		const stream = new EventStream();
		stream.raw = await RawClient.connect(node.ports.public);
		stream.raw.send(getEvents(target, fields, options));
		stream.head = await stream.raw.response();
		if (stream.head.status !== 200) {
			stream.raw.destroy();
			throw Object.assign(new Error(`${target}: ${stream.head.status}`),
				{ answer: stream.head });
		}
		stream.comments = [];
		stream.id = fields?.['Last-Event-ID'] ?? '';
		stream.event = { type: 'message', data: '', id: stream.id };
		return stream;
	}

	/* Takes one line of what has come, without its end; undefined: there is no whole one. */
	takeLine() {
		const end = this.raw.input.indexOf('\n');
		if (end < 0)
			return undefined;
		const line = this.raw.input.toString('utf8', 0, end);
		this.raw.input = this.raw.input.subarray(end + 1);
		if (line.includes('\r'))
			throw new Error('a CR in the stream');
		return line;
	}

	/* The next event of what has come, { type, data }; comments are kept aside, and the last id. */
	take() {
		for (;;) {
			const line = this.takeLine();
			if (line === undefined)
				return undefined;
			const [, field, value] = /^([^:]*):? ?(.*)$/su.exec(line);
			if (line === '') {
				const { type, data, id } = this.event;
				this.event = { type: 'message', data: '', id };
				this.id = id;
				if (data !== '')
					return { type, data: data.slice(0, -1) };
			} else if (field === '') {
				this.comments.push(value);
			} else if (field === 'data') {
				this.event.data += `${value}\n`;
			} else if (field === 'event') {
				this.event.type = value;
			} else if (field === 'id') {
				this.event.id = value;
			} else {
				throw new Error(`an unknown field: ${line}`);
			}
		}
	}

	next(ms = 5_000) {
		return this.raw.wait(ms, 'an event', () => this.take());
	}

	/* The data of the next n events, which must be plain messages. */
	async data(n, ms) {
		const all = [];
		while (all.length < n) {
			const event = await this.next(ms);
			if (event.type !== 'message')
				throw new Error(`${event.type}: ${event.data}`);
			all.push(event.data);
		}
		return all;
	}

	/* Waits for the n-th comment, the first one included; no event may come before it. */
	async comment(n, ms = 5_000) {
		await this.raw.wait(ms, `comment ${n}`, () => {
			const event = this.take();
			if (event !== undefined)
				throw new Error(`${event.type}: ${event.data}`);
			return this.comments.length >= n ? true : undefined;
		});
		return this.comments[n - 1];
	}

	/* Waits for the end of the stream, and reads what came before it. */
	async end(ms = 5_000) {
		await this.raw.end(ms);
		const events = [];
		for (let event = this.take(); event !== undefined; event = this.take())
			events.push(event);
		return events;
	}

	destroy() {
		this.raw.destroy();
	}
}
