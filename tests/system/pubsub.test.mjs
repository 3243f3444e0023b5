/*
 * Publishing and subscribing on one node with several workers and the memory engine: every message
 * exactly once at each subscriber, in order, whatever the source and the sink.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Client, json, openMany } from './lib/clients.mjs';
import { Node } from './lib/fanfare.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { after, before, describe, eventually, sleep, test, within } from './lib/test.mjs';

const WORKERS = 4;
const LONG = 'n'.repeat(255);
const PUNCTUATION = 'aZ09_:.#/-=@,;';

const sockets = (pid) => fs.readdirSync(`/proc/${pid}/fd`).length;

/* Runs fn on 1 … n, at most `width` at a time and in order of starting. */
async function inParallel(n, width, fn) {
	let next = 1;
	const lane = async () => {
		while (next <= n)
			await fn(next++);
	};
	await Promise.all(Array.from({ length: width }, lane));
}

describe('pubsub', () => {
	let node;
	before(async () => {
		node = await Node.start({
			workers: WORKERS,
			limits: { commands: 0 },
			channels: [
				{ match: 'closed:*', subscribe: 'nobody' },
				{ match: 'write-only:*', subscribe: 'nobody', publish: 'anyone' },
				{ match: 'echo:read-only', publish: 'nobody' },
				{ match: 'echo:*', subscribe: 'anyone', publish: 'anyone' },
			],
		});
	});
	after(() => node?.stop());

	test('1,000 subscribers over all workers, each message once', { timeout: 60 }, async () => {
		const workers = Array.from({ length: WORKERS }, (_, i) => node.role(`worker ${i}`));
		const before1000 = workers.map(sockets);
		const clients = await openMany(1_000, () => Client.open(node.url('/ws/crowd')));
		for (const [i, pid] of workers.entries())
			assert.ok(sockets(pid) - before1000[i] > 100, `worker ${i} has few of them`);
		assert.equal(await node.subscribers('crowd'), 1_000);
		const expected = [];
		for (let i = 1; i <= 20; i++) {
			expected.push(`message ${i}`);
			await node.publish('crowd', `message ${i}`);
		}
		await Promise.all(clients.map((c) => c.count(20)));
		await sleep(200);
		for (const client of clients)
			assert.deepEqual(client.messages, expected);
		clients.forEach((c) => c.terminate());
		await eventually(5_000, 'no subscribers', async () =>
			await node.subscribers('crowd') === 0);
		await eventually(5_000, 'all sockets closed', () =>
			workers.every((pid, i) => sockets(pid) <= before1000[i]));
	});

	test('concurrent publishers, several channels of a connection', { timeout: 60 }, async () => {
		const PUBLISHERS = 8;
		const EACH = 200;
		const channels = ['seq:a', 'seq:b', 'seq:c'];
		const clients = await openMany(24, (i) => {
			const few = i % 2 === 0 ? channels : [channels[i % 3]];
			return Client.open(node.url(`/ws?${few.map((c) => `channel=${c}`).join('&')}`))
				.then((c) => Object.assign(c, { few, sequence: new Sequence() }));
		});
		for (const client of clients)
			client.onMessage = (m) => client.sequence.take(m);
		await Promise.all(Array.from({ length: PUBLISHERS }, async (_, p) => {
			for (let n = 1; n <= EACH; n++) {
				for (const channel of channels)
					await node.publish(channel, numbered(channel, p, n));
			}
		}));
		await Promise.all(clients.map((c) => c.count(PUBLISHERS * EACH * c.few.length)));
		await sleep(100);
		for (const client of clients)
			client.sequence.assertComplete(PUBLISHERS * EACH * client.few.length);

		/* All see one order per channel. */
		for (const channel of channels) {
			const orders = clients.filter((c) => c.few.includes(channel)).map((c) =>
				c.messages.filter((m) => m.startsWith(`${channel} `)).join('\n'));
			assert.equal(new Set(orders).size, 1, `${channel} came in different orders`);
		}
		clients.forEach((c) => c.terminate());
	});

	test('clients that publish receive their own, in order', { timeout: 60 }, async () => {
		const EACH = 300;
		const clients = await openMany(8, () => Client.open(node.url('/ws/echo:all')));
		const sequences = clients.map(() => new Sequence());
		clients.forEach((c, i) => { c.onMessage = (m) => sequences[i].take(m); });
		await Promise.all(clients.map(async (c, p) => {
			for (let n = 1; n <= EACH; n++) {
				c.send(numbered('echo:all', p, n));
				if (n % 50 === 0)
					await new Promise(setImmediate);
			}
		}));
		await Promise.all(clients.map((c) => c.count(EACH * clients.length)));
		await sleep(100);
		sequences.forEach((s) => s.assertComplete(EACH * clients.length));
		clients.forEach((c) => c.terminate());
	});

	test('what is published after open arrives', async () => {
		await inParallel(200, 8, async (i) => {
			const client = await Client.open(node.url(`/ws/fresh:${i}`));
			await node.publish(`fresh:${i}`, `first ${i}`);
			assert.equal(await client.next(), `first ${i}`);
			client.terminate();
		});
	});

	test('channels do not mix', async () => {
		const names = ['mix', 'mix:', 'mi', 'mix:a', 'MIX'];
		const clients = await openMany(names.length, (i) =>
			Client.open(node.url(`/ws/${names[i]}`)));
		for (const name of names)
			await node.publish(name, name);
		for (const name of names)
			await node.publish(name, 'end');
		for (const [i, client] of clients.entries()) {
			await client.count(2);
			assert.deepEqual(client.messages, [names[i], 'end']);
			client.terminate();
		}
	});

	test('a channel named twice in the query is one subscription', async () => {
		const client = await Client.open(node.url('/ws?channel=twice&channel=twice'));
		assert.equal(await node.subscribers('twice'), 1);
		await node.publish('twice', '1');
		await node.publish('twice', '2');
		await client.count(2);
		await sleep(100);
		assert.deepEqual(client.messages, ['1', '2']);
		client.terminate();
	});

	test('names of 255 bytes, of every character, and percent-encoded', async () => {
		const targets = {
			[LONG]: [`/ws/${LONG}`, `/ws?channel=${LONG}`],
			[PUNCTUATION]: [
				`/ws/${encodeURIComponent(PUNCTUATION)}`,
				`/ws/${PUNCTUATION.replace('#', '%23')}`,
				`/ws?channel=${encodeURIComponent(PUNCTUATION)}`,
			],
			news: ['/ws/%6e%65%77%73', '/ws/n%65ws', '/ws?channel=%6Eews'],
			'a/b/c': ['/ws/a/b/c', '/ws/a%2Fb%2fc'],
		};
		for (const [name, forms] of Object.entries(targets)) {
			const clients = await openMany(forms.length, (i) => Client.open(node.url(forms[i])));
			await node.publish(name, 'hello');
			for (const client of clients) {
				assert.equal(await client.next(), 'hello');
				client.terminate();
			}
		}
	});

	test('subscribers are counted over all workers', async () => {
		assert.equal(await node.subscribers('counted'), 0);
		const clients = await openMany(10, () => Client.open(node.url('/ws/counted')));
		assert.equal(await node.subscribers('counted'), 10);
		const answer = await node.request('GET', '/pub/counted');
		assert.deepEqual(JSON.parse(answer.body), { channel: 'counted', subscribers: 10 });
		assert.match(answer.headers['content-type'], /^application\/json/);
		await Promise.all(clients.slice(0, 4).map((c) => c.close()));
		await eventually(5_000, '6 subscribers', async () =>
			await node.subscribers('counted') === 6);
		clients.forEach((c) => c.terminate());
	});

	test('a channel that comes and goes', { timeout: 60 }, async () => {
		for (let i = 0; i < 60; i++) {
			const client = await Client.open(node.url('/ws/flapping'));
			await node.publish('flapping', `round ${i}`);
			assert.equal(await client.next(), `round ${i}`);
			if (i % 2 === 0)
				client.terminate();
			else
				await client.close();
		}
	});

	describe('rules', () => {
		const closed = (client) => within(3_000, 'close', client.closed);

		test('a raw client may not publish unless a rule allows it', async () => {
			for (const channel of ['news', 'echo:read-only']) {
				const client = await Client.open(node.url(`/ws/${channel}`));
				client.send('hello');
				const { code, reason } = await closed(client);
				assert.equal(code, 1008);
				assert.notEqual(reason, '');
				assert.deepEqual(client.messages, []);
			}
		});

		test('a raw client of several channels may not publish', async () => {
			const client = await Client.open(node.url('/ws?channel=echo:a&channel=echo:b'));
			client.send('hello');
			assert.equal((await closed(client)).code, 1008);
		});

		test('a rule may let one publish and not subscribe', async () => {
			const error = await Client.open(node.url('/ws/write-only:a')).catch((e) => e);
			assert.equal(error.status, 403);
			const client = await json(node);
			assert.deepEqual(await client.ask({ publish: 'write-only:a', data: 1, id: 1 }),
				{ published: 'write-only:a', id: 1 });
			assert.equal((await client.ask({ subscribe: 'write-only:a' })).error.code, 403);
			client.terminate();
		});

		test('the operator may publish wherever clients may not', async () => {
			await node.publish('closed:a', 'hello');
		});
	});

	/* What each source makes of a payload, and what each sink shows of it. */
	describe('kinds', () => {
		const channel = 'echo:kinds';
		const sources = {
			'POST without a type': (data) => node.publish(channel, data, null),
			'POST text/plain': (data) => node.publish(channel, data),
			'POST text/html in upper case': (data) => node.publish(channel, data, 'TEXT/HTML'),
			'POST application/json': (data) => node.publish(channel, data, 'application/json'),
			'POST +json with a parameter': (data) =>
				node.publish(channel, data, 'application/ld+json; charset=utf-8'),
			'POST as curl -d does': (data) =>
				node.publish(channel, data, 'application/x-www-form-urlencoded'),
			'a raw client': async (data) => {
				const client = await Client.open(node.url(`/ws/${channel}`));
				client.send(data);
				await client.next();
				client.terminate();
			},
		};
		const binarySources = {
			'POST application/octet-stream': (data) =>
				node.publish(channel, data, 'application/octet-stream'),
			'POST image/png': (data) => node.publish(channel, data, 'image/png'),
			'a raw client': sources['a raw client'],
		};
		const texts = ['hello', '', '{"a":1}', ' [1, 2]', '"quoted"', '12', 'äß€😀',
			'a"\\\n\u0001b'];
		const embedded = (text) => {
			try {
				return JSON.parse(text);
			} catch {
				return text;
			}
		};

		for (const [name, publish] of Object.entries(sources)) {
			test(`${name}: text`, async () => {
				const raw = await Client.open(node.url(`/ws/${channel}`));
				const object = await json(node, `/ws/${channel}`);
				for (const text of texts) {
					await publish(text);
					assert.equal(await raw.next(), text);
					assert.deepEqual(await object.nextJson(), { channel, data: embedded(text) });
				}
				raw.terminate();
				object.terminate();
			});
		}

		for (const [name, publish] of Object.entries(binarySources)) {
			test(`${name}: binary`, async () => {
				const raw = await Client.open(node.url(`/ws/${channel}`));
				const object = await json(node, `/ws/${channel}`);
				const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
				for (const data of [all, all.subarray(255), Buffer.from('text'), Buffer.alloc(0)]) {
					await publish(data);
					assert.deepEqual(await raw.next(), data);
					assert.deepEqual(await object.nextJson(),
						{ channel, data: data.toString('base64'), encoding: 'base64' });
				}
				raw.terminate();
				object.terminate();
			});
		}

		test('fanfare.json: what is published comes back as it was', async () => {
			const raw = await Client.open(node.url(`/ws/${channel}`));
			const object = await json(node, `/ws/${channel}`);
			const publisher = await json(node);
			for (const data of [1, -1.5, true, null, '', 'text', '12', 'null', '{"a":1}',
				{ a: { b: [1, 'ä😀\n'] } }, [], {}]) {
				assert.deepEqual(await publisher.ask({ publish: channel, data }),
					{ published: channel });
				assert.deepEqual(await object.nextJson(), { channel, data });
				assert.deepEqual(JSON.parse(await raw.next()), data);
			}
			[raw, object, publisher].forEach((c) => c.terminate());
		});

		test('a POST that is said to be text and is not UTF-8 is refused', async () => {
			const answer = await node.request('POST', `/pub/${channel}`,
				{ body: Buffer.from([0xff]), headers: { 'Content-Type': 'text/plain' } });
			assert.equal(answer.status, 400);
		});
	});

	describe('fanfare.json', () => {
		let client;
		before(async () => {
			client = await json(node);
		});
		after(() => client.terminate());

		test('subscribe, receive, unsubscribe', async () => {
			assert.deepEqual(await client.ask({ subscribe: 'j:a', id: 7 }),
				{ subscribed: 'j:a', id: 7 });
			assert.deepEqual(await client.ask({ subscribe: 'j:b', id: 'x' }),
				{ subscribed: 'j:b', id: 'x' });
			await node.publish('j:a', '{"n":1}');
			assert.deepEqual(await client.nextJson(), { channel: 'j:a', data: { n: 1 } });
			await node.publish('j:b', 'plain');
			assert.deepEqual(await client.nextJson(), { channel: 'j:b', data: 'plain' });
			assert.deepEqual(await client.ask({ unsubscribe: 'j:a', id: 8 }),
				{ unsubscribed: 'j:a', id: 8 });
			assert.equal(await node.subscribers('j:a'), 0);
			await node.publish('j:a', 'not for us');
			await node.publish('j:b', 'for us');
			assert.deepEqual(await client.nextJson(), { channel: 'j:b', data: 'for us' });
			assert.deepEqual(await client.ask({ unsubscribe: 'j:b' }), { unsubscribed: 'j:b' });
		});

		test('the channels of the URL are subscribed from the start', async () => {
			const other = await json(node, '/ws?channel=j:u&channel=j:v');
			await node.publish('j:u', '1');
			assert.deepEqual(await other.nextJson(), { channel: 'j:u', data: 1 });
			assert.deepEqual(await other.ask({ unsubscribe: 'j:u' }), { unsubscribed: 'j:u' });
			await node.publish('j:u', '2');
			await node.publish('j:v', '3');
			assert.deepEqual(await other.nextJson(), { channel: 'j:v', data: 3 });
			other.terminate();
		});

		test('after the answer to a subscribe what is published arrives', async () => {
			for (let i = 0; i < 100; i++) {
				assert.deepEqual(await client.ask({ subscribe: `j:s${i}` }),
					{ subscribed: `j:s${i}` });
				await node.publish(`j:s${i}`, String(i));
				assert.deepEqual(await client.nextJson(), { channel: `j:s${i}`, data: i });
				assert.deepEqual(await client.ask({ unsubscribe: `j:s${i}` }),
					{ unsubscribed: `j:s${i}` });
			}
		});

		test('many commands at once are answered in order', async () => {
			const n = 60;
			for (let i = 0; i < n; i++)
				client.send(JSON.stringify({ subscribe: `j:many${i}`, id: i }));
			for (let i = 0; i < n; i++)
				assert.deepEqual(await client.nextJson(), { subscribed: `j:many${i}`, id: i });
			for (let i = 0; i < n; i++)
				client.send(JSON.stringify({ unsubscribe: `j:many${i}`, id: i }));
			for (let i = 0; i < n; i++)
				assert.deepEqual(await client.nextJson(), { unsubscribed: `j:many${i}`, id: i });
		});

		const errors = {
			'no JSON': ['hello', 400],
			'cut JSON': ['{"subscribe":"a"', 400],
			'more than one object': ['{"subscribe":"a"}{"subscribe":"b"}', 400],
			'no object': ['["subscribe","a"]', 400],
			'nothing': ['', 400],
			'an empty object': ['{}', 400],
			'only an id': ['{"id":1}', 400],
			'an unknown command': ['{"dance":"a","id":1}', 400],
			'two commands': ['{"subscribe":"a","publish":"b","data":1,"id":1}', 400],
			'a key twice': ['{"subscribe":"a","subscribe":"b"}', 400],
			'a key twice within data': ['{"publish":"echo:a","data":{"a":1,"a":2}}', 400],
			'a channel that is no string': ['{"subscribe":1,"id":1}', 400],
			'an empty channel': ['{"subscribe":"","id":1}', 400],
			'a pattern': ['{"subscribe":"a*","id":1}', 400],
			'a channel with a NUL': ['{"subscribe":"a\\u0000b"}', 400],
			'a channel of 256 bytes': [`{"subscribe":"${'c'.repeat(256)}","id":1}`, 400],
			'no data': ['{"publish":"echo:a","id":1}', 400],
			'a number too large': ['{"publish":"echo:a","data":1e400}', 400],
			'a lone surrogate': ['{"publish":"echo:a","data":"\\ud800"}', 400],
			'a byte order mark': ['\ufeff{"subscribe":"a"}', 400],
			'33 levels': [`{"publish":"echo:a","data":${'['.repeat(33)}${']'.repeat(33)}}`, 400],
			'2,049 levels': [
				`{"publish":"echo:a","data":${'['.repeat(2049)}${']'.repeat(2049)}}`, 400],
			'a closed channel': ['{"subscribe":"closed:a","id":1}', 403],
			'publishing where no rule allows it': ['{"publish":"news","data":1,"id":1}', 403],
			'unsubscribing what is not subscribed': ['{"unsubscribe":"j:never","id":1}', 404],
		};
		for (const [name, [command, code]] of Object.entries(errors)) {
			test(`${name}: ${code}`, async () => {
				const answer = await client.ask(command);
				assert.equal(answer.error?.code, code, JSON.stringify(answer));
				assert.equal(typeof answer.error.message, 'string');
				if (/"id":1}$/.test(command))
					assert.equal(answer.id, 1);
				/* The connection goes on. */
				assert.deepEqual(await client.ask({ subscribe: 'j:ok' }), { subscribed: 'j:ok' });
				assert.deepEqual(await client.ask({ unsubscribe: 'j:ok' }),
					{ unsubscribed: 'j:ok' });
			});
		}

		test('a channel subscribed already: 409, and it stays subscribed', async () => {
			await client.ask({ subscribe: 'j:again' });
			assert.equal((await client.ask({ subscribe: 'j:again', id: 1 })).error.code, 409);
			assert.equal(await node.subscribers('j:again'), 1);
			await node.publish('j:again', '1');
			assert.deepEqual(await client.nextJson(), { channel: 'j:again', data: 1 });
			await client.ask({ unsubscribe: 'j:again' });
			await sleep(50);
			assert.equal(client.messages.length, client.taken, 'came twice');
		});

		test('a binary frame: 1003', async () => {
			const other = await json(node);
			other.send(Buffer.from('{"subscribe":"a"}'));
			assert.equal((await within(3_000, 'close', other.closed)).code, 1003);
		});

		test('128 subscriptions and no more', async () => {
			const other = await json(node);
			for (let i = 0; i < 128; i++)
				assert.equal((await other.ask({ subscribe: `j:lot${i}` })).subscribed, `j:lot${i}`);
			assert.equal((await other.ask({ subscribe: 'j:over' })).error.code, 429);
			await other.ask({ unsubscribe: 'j:lot0' });
			assert.equal((await other.ask({ subscribe: 'j:over' })).subscribed, 'j:over');
			other.terminate();
			await eventually(3_000, 'no subscriber', async () =>
				await node.subscribers('j:lot1') === 0);
		});
	});
});

describe('pubsub: commands a second', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { commands: 100, commands_burst: 20 },
			channels: [{ match: '*', publish: 'anyone' }],
		});
	});
	after(() => node?.stop());

	test('more commands than allowed wait, and none is lost', async () => {
		const client = await json(node);
		const begun = Date.now();
		const n = 170;
		for (let i = 0; i < n; i++)
			client.send(JSON.stringify({ publish: 'c', data: i, id: i }));
		for (let i = 0; i < n; i++)
			assert.deepEqual(await client.nextJson(), { published: 'c', id: i });
		const took = Date.now() - begun;
		assert.ok(took >= 1_200, `${n} commands in ${took} ms`);
		client.terminate();
	});

	test('messages of raw clients are no commands', async () => {
		const client = await Client.open(node.url('/ws/c'));
		const begun = Date.now();
		for (let i = 0; i < 400; i++)
			client.send(String(i));
		await client.count(400);
		assert.ok(Date.now() - begun < 3_000);
		client.terminate();
	});
});

describe('pubsub: large messages', () => {
	const MIB = 1 << 20;
	const MAX = 16 * MIB;
	let node;
	before(async () => {
		node = await Node.start({
			workers: 2,
			limits: { message: MAX, body: MAX },
			channels: [{ match: 'echo', publish: 'anyone' }],
		});
	});
	after(() => node?.stop());

	const filled = (n) => {
		const data = Buffer.alloc(n);
		for (let i = 0; i < n; i++)
			data[i] = 32 + (i * 31 + (i >> 12)) % 95;
		return data;
	};

	test('an echo of every size up to 16 MiB, text and binary', { timeout: 90 }, async () => {
		const client = await Client.open(node.url('/ws/echo'));
		const other = await Client.open(node.url('/ws/echo'));
		for (const n of [0, 1, 125, 126, 65_535, 65_536, MIB - 1, MIB, MIB + 1, 4 * MIB, MAX]) {
			const binary = filled(n);
			for (const data of [binary, binary.toString('latin1')]) {
				client.send(data);
				for (const receiver of [client, other]) {
					const echo = await receiver.next(20_000);
					assert.equal(typeof echo, typeof data);
					assert.ok(typeof data === 'string' ? echo === data : echo.equals(data),
						`${n} bytes came back changed`);
				}
			}
		}
		client.terminate();
		other.terminate();
	});

	test('one byte more than 16 MiB: 1009', async () => {
		const client = await Client.open(node.url('/ws/echo'));
		client.ws.on('error', () => {});
		client.send(Buffer.alloc(MAX + 1));
		const { code } = await within(10_000, 'close', client.closed);
		assert.ok(code === 1009 || code === 1006, `${code}`);
	});

	test('several large ones at once keep their order', { timeout: 60 }, async () => {
		const client = await Client.open(node.url('/ws/echo'));
		for (let i = 0; i < 5; i++)
			client.send(Buffer.concat([Buffer.from([i]), filled(4 * MIB)]));
		for (let i = 0; i < 5; i++)
			assert.equal((await client.next(20_000))[0], i);
		client.terminate();
	});

	test('a large one in fragments, with pings in between', { timeout: 60 }, async () => {
		const client = await Client.open(node.url('/ws/echo'));
		const data = filled(2 * MIB);
		const parts = 500;
		const size = Math.ceil(data.length / parts);
		for (let i = 0; i < parts; i++) {
			client.ws.send(data.subarray(i * size, (i + 1) * size),
				{ binary: true, fin: i === parts - 1 });
			if (i % 100 === 0)
				client.ws.ping();
		}
		assert.ok((await client.next(20_000)).equals(data));
		client.terminate();
	});

	test('POST of 16 MiB and of one byte more', { timeout: 60 }, async () => {
		const client = await Client.open(node.url('/ws/posted'));
		const data = filled(MAX);
		await node.publish('posted', data, 'application/octet-stream');
		assert.ok((await client.next(20_000)).equals(data));
		const answer = await node.request('POST', '/pub/posted',
			{ body: Buffer.alloc(MAX + 1) }).catch(() => ({ status: 413 }));
		assert.equal(answer.status, 413);
		client.terminate();
	});
});

describe('pubsub: limits.message alone', () => {
	test('is enough for an echo of that size', { timeout: 60 }, async () => {
		const max = 16 << 20;
		const node = await Node.start({
			limits: { message: max }, channels: [{ match: 'echo', publish: 'anyone' }] });
		const client = await Client.open(node.url('/ws/echo'));
		client.send(Buffer.alloc(max, 1));
		assert.equal((await client.next(20_000)).length, max);
		client.terminate();
		await node.stop();
	});
});
