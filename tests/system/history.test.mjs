/*
 * Channels with memory as clients and backends see them, on both engines: history over HTTP and by
 * command, positions, recovery, ids of Server-Sent Events, idempotency, forgetting, and presence.
 */
import assert from 'node:assert/strict';
import { Browser } from './lib/browser.mjs';
import { kill } from './lib/cleanup.mjs';
import { Client, json, openMany } from './lib/clients.mjs';
import { EventStream } from './lib/events.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { Redis } from './lib/redis.mjs';
import { after, before, describe, eventually, test } from './lib/test.mjs';
import { sign } from './lib/token.mjs';

const SECRET = 'a secret that has at least 32 bytes';
const OPTIONS = {
	workers: 2,
	limits: { commands: 0, recovery: 500, ping_interval: ms(60_000) },
	auth: { secret: SECRET },
	channels: [
		{ match: 'h:*', publish: 'anyone', read_history: 'anyone',
			history: { size: 10, ttl: '5m' } },
		{ match: 'long:*', history: { size: 1000, ttl: '5m' } },
		{ match: 'room:*', presence: true, join_leave: true, read_presence: 'anyone' },
		{ match: 'closed:*', history: { size: 10 } },
	],
};

/* An EventSource that is told when to lose its connection. */
class Source {
	constructor(node, target) {
		Object.assign(this, { node, target, id: '', events: [] });
	}

	async connect() {
		const fields = this.id === '' ? {} : { 'Last-Event-ID': this.id };
		this.stream = await EventStream.open(this.node, this.target, fields);
		return this;
	}

	async take(n) {
		const taken = [];
		while (taken.length < n) {
			const { type, data } = await this.stream.next();
			taken.push(type === 'message' ? data : `${type} ${data}`);
		}
		return taken;
	}

	/* The events that have come are thrown away, as if they had not. */
	lose() {
		this.id = this.stream.id;
		this.stream.destroy();
	}
}

for (const engine of ['memory', 'redis']) {
	describe(`history: ${engine}`, () => {
		let node;
		let redis;
		before(async () => {
			if (engine === 'redis')
				redis = await Redis.start();
			node = await Node.start({ ...OPTIONS, ...(redis ? { redis: { url: redis.url } } : {}) });
		});
		after(async () => {
			await node?.stop();
			await redis?.stop();
		});

		const call = async (method, channel, query = '', options = {}) => {
			const answer = await node.request(
				method, `/pub/${encodeURIComponent(channel)}${query}`, options);
			return { status: answer.status, ...JSON.parse(answer.body) };
		};
		const post = (channel, body, headers = {}) => call('POST', channel, '',
			{ body, headers: { 'Content-Type': 'text/plain', ...headers } });
		/* Publishes the numbers from `first` to `last`; the position of the last. */
		const fill = async (channel, first, last) => {
			let at;
			for (let i = first; i <= last; i++)
				at = await post(channel, String(i));
			return at;
		};
		const data = (answer) => answer.messages.map((m) => m.data);

		test('each message has the next position', async () => {
			const one = await post('h:positions', 'one');
			assert.equal(one.status, 200);
			assert.equal(one.offset, 1);
			assert.match(one.epoch, /^[A-Za-z0-9]{1,32}$/);
			assert.deepEqual(await post('h:positions', 'two'), { ...one, offset: 2 });
			assert.deepEqual(await call('GET', 'h:positions'),
				{ status: 200, channel: 'h:positions', subscribers: 0, offset: 2, epoch: one.epoch });
			assert.deepEqual(await post('plain', 'x'), { status: 200 });
			assert.deepEqual(await call('GET', 'plain'),
				{ status: 200, channel: 'plain', subscribers: 0 });
		});

		test('history over HTTP', async () => {
			const { epoch } = await fill('h:http', 1, 15);
			const newest = await call('GET', 'h:http', '?history=3');
			assert.deepEqual(newest, { status: 200, channel: 'h:http', subscribers: 0, offset: 15,
				epoch, messages: [13, 14, 15].map((n) => ({ offset: n, data: n })) });
			assert.deepEqual(data(await call('GET', 'h:http', '?history=500')),
				Array.from({ length: 10 }, (_, i) => i + 6));
			assert.deepEqual(data(await call('GET', 'h:http', '?history=2&reverse=1')), [15, 14]);
			const since = await call('GET', 'h:http', `?history=2&since=${epoch}:12`);
			assert.deepEqual([data(since), since.recovered], [[13, 14], true]);
			const before12 = await call('GET', 'h:http', `?history=2&since=${epoch}:12&reverse=1`);
			assert.deepEqual([data(before12), before12.recovered], [[11, 10], true]);
			const top = await call('GET', 'h:http', `?history=2&since=${epoch}:15`);
			assert.deepEqual([data(top), top.recovered], [[], true]);
			const old = await call('GET', 'h:http', `?history=2&since=${epoch}:2`);
			assert.deepEqual([data(old), old.recovered], [[6, 7], false]);
			assert.equal((await call('GET', 'h:http', '?history=2&since=other:12')).recovered, false);
		});

		test('messages of every kind', async () => {
			await post('h:kinds', '{"a": [1]}', { 'Content-Type': 'application/json' });
			await post('h:kinds', 'no "json"');
			await post('h:kinds', Buffer.from([0, 255]), { 'Content-Type': 'image/png' });
			const { messages } = await call('GET', 'h:kinds', '?history=9');
			assert.deepEqual(messages, [{ offset: 1, data: { a: [1] } },
				{ offset: 2, data: 'no "json"' }, { offset: 3, data: 'AP8=', encoding: 'base64' }]);
			const client = await json(node);
			assert.deepEqual((await client.ask({ history: 'h:kinds' })).messages, messages);
			client.terminate();
		});

		test('what cannot be had', async () => {
			for (const [channel, query, status] of [
				['h:x', '?history=501', 400], ['h:x', '?history=none', 400],
				['h:x', '?history=1&since=5', 400], ['h:x', '?since=a:5', 400],
				['plain', '?history=1', 404], ['h:x', '?presence=1', 404]])
				assert.equal((await call('GET', channel, query)).status, status, channel + query);
			assert.equal((await call('DELETE', 'plain')).status, 404);
			const client = await json(node);
			for (const [command, code] of [
				[{ history: 'closed:x' }, 403], [{ history: 'plain' }, 403],
				[{ history: 'h:x', limit: 501 }, 400], [{ presence: 'h:x' }, 403],
				[{ presence: 'plain' }, 403], [{ history: 'h:x', offset: 1 }, 400]])
				assert.equal((await client.ask(command)).error.code, code, JSON.stringify(command));
			client.terminate();
		});

		test('an idempotency key counts once', async () => {
			const client = await json(node);
			const first = await post('h:once', 'a', { 'Idempotency-Key': 'k1' });
			assert.deepEqual(await post('h:once', 'a', { 'Idempotency-Key': 'k1' }), first);
			assert.equal((await client.ask({ publish: 'h:once', data: 'a', key: 'k1' })).offset,
				first.offset);
			assert.deepEqual(await client.ask({ publish: 'h:once', data: 'b', key: 'k2', id: 7 }),
				{ published: 'h:once', offset: 2, epoch: first.epoch, id: 7 });
			assert.equal((await post('h:other', 'a', { 'Idempotency-Key': 'k1' })).offset, 1);
			assert.deepEqual(data(await call('GET', 'h:once', '?history=9')), ['a', 'b']);
			client.terminate();
		});

		test('a forgotten history: the numbers go on', async () => {
			const at = await fill('h:forgotten', 1, 5);
			const client = await json(node);
			const subscribed = await client.ask({ subscribe: 'h:forgotten' });
			assert.deepEqual(await call('DELETE', 'h:forgotten'), at);
			assert.deepEqual(await client.ask(
				{ history: 'h:forgotten' }), { history: 'h:forgotten', messages: [], offset: 5,
				epoch: at.epoch });
			assert.equal((await post('h:forgotten', '6')).offset, 6);
			assert.deepEqual(await client.nextJson(),
				{ channel: 'h:forgotten', offset: 6, epoch: subscribed.epoch, data: 6 });
			/* Who had everything misses nothing, who had not is told. */
			const late = await json(node);
			assert.equal((await late.ask({ subscribe: 'h:forgotten', offset: 5,
				epoch: at.epoch })).recovered, true);
			assert.equal((await late.nextJson()).offset, 6);
			const later = await json(node);
			assert.equal((await later.ask({ subscribe: 'h:forgotten', offset: 4,
				epoch: at.epoch })).recovered, false);
			[client, late, later].forEach((c) => c.terminate());
		});

		test('recovery by position: everything after it, in order, then live', async () => {
			const { epoch } = await fill('h:back', 1, 4);
			const client = await json(node);
			assert.deepEqual(await client.ask({ subscribe: 'h:back', id: 1 }),
				{ subscribed: 'h:back', offset: 4, epoch, id: 1 });
			await fill('h:back', 5, 5);
			assert.deepEqual(await client.nextJson(),
				{ channel: 'h:back', offset: 5, epoch, data: 5 });
			client.terminate();
			await fill('h:back', 6, 9);
			const back = await json(node);
			assert.deepEqual(await back.ask({ subscribe: 'h:back', offset: 5, epoch, id: 2 }),
				{ subscribed: 'h:back', offset: 9, epoch, recovered: true, id: 2 });
			await fill('h:back', 10, 11);
			await back.count(7);
			assert.deepEqual(back.messages.slice(1).map((m) => JSON.parse(m).data),
				[6, 7, 8, 9, 10, 11]);
			back.terminate();
		});

		test('too far behind, or of another epoch: recovered is false', async () => {
			const { epoch } = await fill('h:behind', 1, 11);
			await fill('long:behind', 1, 501);
			const [all, trimmed, other, ahead, behind] = await openMany(5, () => json(node));
			assert.equal((await all.ask({ subscribe: 'h:behind', offset: 1, epoch })).recovered, true);
			await all.count(11);
			for (const [client, at] of [[trimmed, { offset: 0, epoch }],
				[other, { offset: 9, epoch: 'gone' }], [ahead, { offset: 12, epoch }]])
				assert.deepEqual(await client.ask({ subscribe: 'h:behind', ...at }),
					{ subscribed: 'h:behind', offset: 11, epoch, recovered: false });
			/* They go on from there. */
			await post('h:behind', '12');
			for (const client of [trimmed, other, ahead]) {
				assert.equal((await client.nextJson()).offset, 12);
				assert.equal(client.messages.length, 2);
			}
			/* Kept, and more than limits.recovery behind. */
			const long = await call('GET', 'long:behind');
			assert.equal((await behind.ask(
				{ subscribe: 'long:behind', offset: 0, epoch: long.epoch })).recovered, false);
			assert.equal((await behind.ask({ unsubscribe: 'long:behind' })).unsubscribed, 'long:behind');
			assert.equal((await behind.ask(
				{ subscribe: 'long:behind', offset: 1, epoch: long.epoch })).recovered, true);
			await behind.count(503);
			[all, trimmed, other, ahead, behind].forEach((c) => c.terminate());
		});

		test('clients that come back all the time miss nothing and hear nothing twice', async () => {
			const total = 300;
			const readers = Array.from({ length: 10 }, () => ({ heard: [], at: {} }));
			let over = false;
			const read = async (reader) => {
				while (!over && reader.heard.length < total) {
					const client = await json(node);
					const answer = await client.ask({ subscribe: 'long:back', ...reader.at });
					if (reader.at.epoch !== undefined)
						assert.equal(answer.recovered, true);
					else
						reader.at = { offset: answer.offset, epoch: answer.epoch };
					const most = 1 + Math.floor(Math.random() * 40);
					for (let i = 0; i < most && reader.heard.length < total; i++) {
						const message = await client.nextJson(10_000);
						reader.heard.push(message.data);
						reader.at.offset = message.offset;
					}
					client.terminate();
				}
			};
			const { epoch } = await call('GET', 'long:back');
			readers.forEach((r) => { r.at = { offset: 0, epoch }; });
			const reading = Promise.all(readers.map(read)).finally(() => { over = true; });
			await fill('long:back', 1, total);
			await reading;
			const want = Array.from({ length: total }, (_, i) => i + 1);
			readers.forEach((r) => assert.deepEqual(r.heard, want));
		});

		test('an event stream resumes where it was', async () => {
			const source = await new Source(node, '/sse/h%3Aevents').connect();
			await fill('h:events', 1, 3);
			assert.deepEqual(await source.take(3), ['1', '2', '3']);
			const { epoch } = await call('GET', 'h:events');
			source.lose();
			assert.equal(source.id, `${epoch}:3`);
			await fill('h:events', 4, 6);
			await source.connect();
			await fill('h:events', 7, 7);
			assert.deepEqual(await source.take(4), ['4', '5', '6', '7']);
			source.lose();
			await fill('h:events', 8, 30);
			await source.connect();
			assert.deepEqual(await source.take(1), ['gap h:events']);
			await fill('h:events', 31, 31);
			assert.deepEqual(await source.take(1), ['31']);
			source.lose();
			assert.equal(source.id, `${epoch}:31`);
		});

		test('an event stream has a position before any message', async () => {
			const source = await new Source(node, '/sse/h%3Aquiet').connect();
			await eventually(5_000, 'an id', () => {
				assert.equal(source.stream.take(), undefined);
				return source.stream.id !== '';
			});
			source.lose();
			await fill('h:quiet', 1, 2);
			await source.connect();
			assert.deepEqual(await source.take(2), ['1', '2']);
			source.lose();
			/* The same by the address. */
			const again = await new Source(node,
				`/sse/h%3Aquiet?last_event_id=${encodeURIComponent(source.id.replace(/2$/, '1'))}`)
				.connect();
			assert.deepEqual(await again.take(1), ['2']);
			again.lose();
		});

		test('an event stream of several channels resumes them all', async () => {
			const target = '/sse?channel=h%3Aa&channel=plain&channel=h%3Ab&channel=h%3Aa';
			const source = await new Source(node, target).connect();
			await fill('h:a', 1, 2);
			await post('plain', 'p');
			await fill('h:b', 11, 12);
			assert.deepEqual((await source.take(5)).sort(), ['1', '11', '12', '2', 'p']);
			source.lose();
			assert.match(source.id, /^\w+:2,,\w+:2$/);
			await fill('h:b', 13, 14);
			await fill('h:a', 3, 4);
			await post('plain', 'missed');
			await source.connect();
			const missed = await source.take(4);
			assert.deepEqual(missed.filter((n) => n < 10), ['3', '4']);
			assert.deepEqual(missed.filter((n) => n > 10), ['13', '14']);
			await post('plain', 'q');
			await fill('h:b', 15, 15);
			assert.deepEqual((await source.take(2)).sort(), ['15', 'q']);
			source.lose();
			assert.match(source.id, /^\w+:4,,\w+:5$/);
			/* One is too far behind, the other is not. */
			await fill('h:a', 5, 20);
			await fill('h:b', 16, 16);
			await source.connect();
			assert.deepEqual((await source.take(2)).sort(), ['16', 'gap h:a']);
			source.lose();
			assert.match(source.id, /^\w+:20,,\w+:6$/);
		});

		test('raw clients get the messages alone', async () => {
			const client = await Client.open(node.url('/ws/h%3Araw'));
			client.send('one');
			assert.equal(await client.next(), 'one');
			await post('h:raw', 'two');
			assert.equal(await client.next(), 'two');
			assert.deepEqual(data(await call('GET', 'h:raw', '?history=9')), ['one', 'two']);
			client.terminate();
		});

		/* A client whose user is named by a token, or nobody. */
		const enter = async (user, info) => {
			const token = user === undefined ? '' :
				`?token=${sign({ sub: user, ...(info ? { info } : {}) }, { key: SECRET })}`;
			return json(node, `/ws${token}`);
		};

		test('presence: by command and by HTTP, and who comes and goes once', async () => {
			const watcher = await json(node);
			assert.equal((await watcher.ask({ subscribe: 'room:1' })).subscribed, 'room:1');
			const { member: self } = await watcher.nextJson();
			assert.match(self.client, /^[\w-]{1,32}$/);
			const ann1 = await enter('ann', { age: 7 });
			const ann2 = await enter('ann');
			await ann1.ask({ subscribe: 'room:1' });
			const joined = await watcher.nextJson();
			assert.deepEqual(joined, { join: 'room:1',
				member: { client: joined.member.client, user: 'ann', info: { age: 7 } } });
			await ann2.ask({ subscribe: 'room:1' });
			const there = await eventually(5_000, 'three members', async () => {
				const answer = await call('GET', 'room:1', '?presence=1');
				return answer.clients === 3 && answer;
			});
			assert.equal(there.users, 2);
			assert.equal(there.subscribers, 3);
			const { presence, members } = await watcher.ask({ presence: 'room:1' });
			assert.equal(presence, 'room:1');
			const byClient = (a, b) => (a.client < b.client ? -1 : 1);
			assert.deepEqual(members.sort(byClient), there.members.sort(byClient));
			assert.deepEqual(members.map((m) => m.user ?? '').sort(), ['', 'ann', 'ann']);
			assert.deepEqual(members.find((m) => m.info), joined.member);
			/* The user has gone with the last connection. */
			ann1.terminate();
			await eventually(5_000, 'two members', async () =>
				(await call('GET', 'room:1', '?presence=1')).clients === 2);
			await ann2.ask({ unsubscribe: 'room:1' });
			const left = await watcher.nextJson();
			assert.equal(left.leave, 'room:1');
			assert.equal(left.member.user, 'ann');
			await eventually(5_000, 'one member', async () =>
				(await call('GET', 'room:1', '?presence=1')).clients === 1);
			/* Anonymous ones count each for themselves. */
			const other = await json(node);
			await other.ask({ subscribe: 'room:1' });
			assert.equal((await watcher.nextJson()).join, 'room:1');
			other.terminate();
			assert.equal((await watcher.nextJson()).leave, 'room:1');
			assert.equal(watcher.messages.length, watcher.taken);
			[watcher, ann2].forEach((c) => c.terminate());
		});

		test('presence in an event stream, and none for raw clients', async () => {
			const stream = await EventStream.open(node, '/sse/room%3A2');
			const raw = await Client.open(node.url('/ws/room%3A2'));
			const first = await stream.next();
			assert.equal(first.type, 'join');
			assert.equal((await stream.next()).type, 'join');
			const bob = await enter('bob');
			await bob.ask({ subscribe: 'room:2' });
			const joined = await stream.next();
			assert.equal(joined.type, 'join');
			assert.equal(JSON.parse(joined.data).user, 'bob');
			bob.terminate();
			const left = await stream.next();
			assert.deepEqual([left.type, JSON.parse(left.data).user], ['leave', 'bob']);
			await post('room:2', 'm');
			assert.equal(await raw.next(), 'm');
			stream.destroy();
			raw.terminate();
		});
	});
}

describe('history in a browser', () => {
	let node;
	let browser;
	before(async () => {
		node = await Node.start({ ...OPTIONS, demo: { enabled: true } });
		browser = await Browser.start();
	});
	after(async () => {
		await browser?.stop();
		await node?.stop();
	});

	test('EventSource resumes by itself', { timeout: 60 }, async () => {
		const page = await browser.page();
		await page.goto(`http://127.0.0.1:${node.ports.public}/`);
		await page.evaluate(() => {
			window.got = [];
			window.source = new EventSource('/sse/h%3Abrowser?channel=h%3Aother');
			for (const type of ['open', 'message', 'gap', 'error'])
				window.source.addEventListener(type, (e) => window.got.push(e.data ?? type));
		});
		const got = (n) => eventually(20_000, `${n} events`, async () => {
			const all = await page.evaluate(() => window.got);
			return all.length >= n && all;
		});
		await got(1);
		await node.publish('h:browser', 'one');
		await node.publish('h:other', 'two');
		await got(3);
		/* The browser comes back after some seconds, with the positions of both. */
		const workers = [node.role('worker 0'), node.role('worker 1')];
		workers.forEach((pid) => kill(pid));
		await Promise.all(workers.map((pid, i) => node.replaced(`worker ${i}`, pid)));
		await node.ready();
		await node.publish('h:browser', 'three');
		await node.publish('h:other', 'four');
		const all = await got(7);
		assert.deepEqual(all.slice(0, 5), ['open', 'one', 'two', 'error', 'open']);
		assert.deepEqual(all.slice(5).sort(), ['four', 'three']);
		await node.publish('h:browser', 'five');
		assert.deepEqual((await got(8)).slice(7), ['five']);
		await page.close();
	});
});
