/*
 * The Redis engine against a real redis-server: plain PUBLISH, two nodes, the ways to reach Redis,
 * and Redis killed and restarted under traffic.
 */
import assert from 'node:assert/strict';
import { Client, json, openMany } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { Redis } from './lib/redis.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { after, before, describe, eventually, sleep, test, within } from './lib/test.mjs';

const ECHO = [{ match: 'echo:*', publish: 'anyone' }];

describe('redis: two nodes of one broker', () => {
	let redis;
	let a;
	let b;
	let cli;
	before(async () => {
		redis = await Redis.start();
		const options = { workers: 4, redis: { url: redis.url }, channels: ECHO };
		[a, b] = await Promise.all([Node.start(options), Node.start(options)]);
		cli = await redis.connect();
	});
	after(async () => {
		cli.close();
		await a.stop();
		await b.stop();
		await redis.stop();
	});

	test('1,000 subscribers, redis-cli PUBLISH arrives once at each', { timeout: 60 }, async () => {
		const clients = await openMany(1_000, (i) =>
			Client.open((i % 2 === 0 ? a : b).url('/ws/news')));
		assert.equal((await redis.cli('PUBLISH', 'fanfare:news', '{"a":1}')).trim(), '2');
		await Promise.all(clients.map((c) => c.count(1)));
		for (let i = 0; i < 20; i++)
			await cli.command('PUBLISH', 'fanfare:news', `message ${i}`);
		await Promise.all(clients.map((c) => c.count(21)));
		await sleep(200);
		const expected = ['{"a":1}', ...Array.from({ length: 20 }, (_, i) => `message ${i}`)];
		for (const client of clients)
			assert.deepEqual(client.messages, expected);
		clients.forEach((c) => c.terminate());
	});

	test('what one node publishes arrives on both, once', async () => {
		const clients = await openMany(8, (i) => Client.open((i % 2 ? a : b).url('/ws/echo:x')));
		await a.publish('echo:x', 'from a');
		await b.publish('echo:x', 'from b');
		clients[0].send('from a client');
		for (const client of clients) {
			await client.count(3);
			assert.deepEqual([...client.messages].sort(), ['from a', 'from a client', 'from b']);
		}
		clients.forEach((c) => c.terminate());
	});

	test('publishers on Redis and both nodes, in order', { timeout: 60 }, async () => {
		const EACH = 200;
		const clients = await openMany(8, (i) => Client.open((i % 2 ? a : b).url('/ws/echo:s')));
		const sequences = clients.map(() => new Sequence());
		clients.forEach((c, i) => { c.onMessage = (m) => sequences[i].take(m); });
		const publishers = [
			(m) => cli.command('PUBLISH', 'fanfare:echo:s', m),
			(m) => a.publish('echo:s', m),
			(m) => b.publish('echo:s', m),
			(m) => clients[0].send(m),
			(m) => clients[1].send(m),
		];
		await Promise.all(publishers.map(async (publish, p) => {
			for (let n = 1; n <= EACH; n++)
				await publish(numbered('echo:s', p, n));
		}));
		const all = EACH * publishers.length;
		await Promise.all(clients.map((c) => c.count(all)));
		await sleep(100);
		sequences.forEach((s) => s.assertComplete(all));
		assert.equal(new Set(clients.map((c) => c.messages.join('\n'))).size, 1,
			'nodes and workers saw different orders');
		clients.forEach((c) => c.terminate());
	});

	test('a PUBLISH is text where it is valid UTF-8, binary otherwise', async () => {
		const raw = await Client.open(a.url('/ws/kinds'));
		const object = await json(b, '/ws/kinds');
		const bytes = Buffer.from([0x61, 0xff, 0x00, 0x0a, 0x0d]);
		for (const text of ['plain', '', '{"a":1}', 'äß€😀', 'a\0b\r\nc']) {
			await cli.command('PUBLISH', 'fanfare:kinds', text);
			assert.equal(await raw.next(), text);
			const data = text.startsWith('{') ? JSON.parse(text) : text;
			assert.deepEqual(await object.nextJson(), { channel: 'kinds', data });
		}
		await cli.command('PUBLISH', 'fanfare:kinds', bytes);
		assert.deepEqual(await raw.next(), bytes);
		assert.deepEqual(await object.nextJson(),
			{ channel: 'kinds', data: bytes.toString('base64'), encoding: 'base64' });
		raw.terminate();
		object.terminate();
	});

	test('kinds keep on the way through Redis', async () => {
		const raw = await Client.open(b.url('/ws/echo:k'));
		const publisher = await Client.open(a.url('/ws/echo:k'));
		publisher.send(Buffer.from('binary that looks like text'));
		assert.deepEqual(await raw.next(), Buffer.from('binary that looks like text'));
		publisher.send('text');
		assert.equal(await raw.next(), 'text');
		await a.publish('echo:k', 'posted bytes', 'application/octet-stream');
		assert.deepEqual(await raw.next(), Buffer.from('posted bytes'));
		raw.terminate();
		publisher.terminate();
	});

	test('what Fanfare publishes as text, a Redis client receives as it is', async () => {
		const listener = await redis.connect();
		await listener.command('SUBSCRIBE', 'fanfare:plain');
		const got = new Promise((resolve) => { listener.onReply = resolve; });
		await a.publish('plain', 'hello');
		assert.deepEqual(await within(3_000, 'message', got),
			['message', 'fanfare:plain', 'hello']);
		listener.close();
	});

	test('a large message through Redis', async () => {
		const client = await Client.open(b.url('/ws/large'));
		const text = 'x'.repeat(60_000);
		await a.publish('large', text);
		assert.equal(await client.next(), text);
		client.terminate();
	});

	test('a PUBLISH may be larger than what clients may send', async () => {
		const raw = await Client.open(b.url('/ws/large'));
		const object = await json(b, '/ws/large');
		for (const size of [70_000, 3 << 20]) {
			const text = 'y'.repeat(size);
			await cli.command('PUBLISH', 'fanfare:large', text);
			assert.ok(await raw.next() === text);
			assert.ok((await object.nextJson()).data === text);
		}
		raw.terminate();
		object.terminate();
	});

	test('Redis holds one subscription of a node per channel, and none that nobody wants',
		async () => {
			const subscribed = async () =>
				(await cli.command('PUBSUB', 'NUMSUB', 'fanfare:one'))[1];
			const clients = await openMany(20, (i) => Client.open((i % 2 ? a : b).url('/ws/one')));
			assert.equal(await subscribed(), 2);
			clients.forEach((c) => c.terminate());
			await eventually(5_000, 'Redis to hear of it', async () => await subscribed() === 0);
		});

	test('other channels of that Redis do not leak in', async () => {
		const client = await Client.open(a.url('/ws/leak'));
		for (const channel of ['leak', 'other:leak', 'fanfare:leak2', 'fanfare:', 'fanfareleak'])
			await cli.command('PUBLISH', channel, 'no');
		await cli.command('PUBLISH', 'fanfare:leak', 'yes');
		assert.equal(await client.next(), 'yes');
		client.terminate();
	});

	test('MONITOR shows nothing of a channel name that was refused', async () => {
		const monitor = await redis.connect();
		const lines = [];
		await monitor.monitor((line) => lines.push(line));
		const names = ['mark a', 'mark\r\nFLUSHALL', 'mark\n', 'mark\0', 'mark*', 'mark?',
			'mark[a]', 'mark\\', '__keyspace@0__:mark*', 'markä', `mark${'k'.repeat(255)}`];
		const client = await json(a);
		for (const name of names) {
			const encoded = encodeURIComponent(name);
			const refused = await Client.open(a.url(`/ws/${encoded}`)).catch((e) => e);
			assert.equal(refused.status, 400, name);
			assert.equal((await a.request('POST', `/pub/${encoded}`, { body: 'x' })).status, 400);
			assert.equal((await a.request('GET', `/pub/${encoded}`)).status, 400);
			for (const command of [{ subscribe: name }, { publish: name, data: 1 },
				{ unsubscribe: name }])
				assert.ok([400, 404].includes((await client.ask(command)).error?.code), name);
		}
		await a.publish('last', 'x');
		await eventually(3_000, 'the last one', () =>
			lines.some((l) => l.includes('fanfare:last')));
		assert.deepEqual(lines.filter((l) => l.includes('mark')), []);
		assert.deepEqual(lines.filter((l) => /psubscribe/i.test(l)), []);
		monitor.close();
		client.terminate();
	});
});

describe('redis: ways to reach it', () => {
	async function works(options, redis, { channel = 'fanfare:news', cli = [] } = {}) {
		const node = await Node.start({ redis: options });
		const client = await Client.open(node.url('/ws/news'));
		assert.equal((await redis.cli(...cli, 'PUBLISH', channel, 'in')).trim(), '1');
		assert.equal(await client.next(), 'in');
		await node.publish('news', 'out');
		assert.equal(await client.next(), 'out');
		client.terminate();
		await node.stop();
	}

	test('a Unix socket', async () => {
		const redis = await Redis.start({ unix: true });
		await works({ url: `unix://${redis.socket}` }, redis);
		await redis.stop();
	});

	test('a prefix of its own, an empty one, and a database', async () => {
		const redis = await Redis.start();
		await works({ url: redis.url, prefix: 'app7:' }, redis, { channel: 'app7:news' });
		await works({ url: redis.url, prefix: '' }, redis, { channel: 'news' });
		await works({ url: `${redis.url}/5` }, redis);
		await redis.stop();
	});

	test('a password, and a user with one', async () => {
		const redis = await Redis.start({ args: ['--requirepass', 'open sesame',
			'--user', 'ann', 'on', '>secret', '~*', '&*', '+@all'] });
		const at = `127.0.0.1:${redis.port}`;
		const cli = ['-a', 'open sesame', '--no-auth-warning'];
		await works({ url: `redis://:open%20sesame@${at}` }, redis, { cli });
		await works({ url: `redis://ann:secret@${at}/2` }, redis, { cli });
		await redis.stop();
	});

	test('a wrong password: not ready, publishing 503, and no secret in the log', async () => {
		const redis = await Redis.start({ args: ['--requirepass', 'sesame'] });
		const node = new Node({ redis: { url: `redis://:wr0ngpass@127.0.0.1:${redis.port}` } });
		await node.spawn();
		await eventually(5_000, '/readyz', async () => await node.readyStatus() === 503);
		assert.equal((await node.request('GET', '/healthz')).status, 200);
		assert.equal((await node.request('POST', '/pub/a', { body: 'x' })).status, 503);
		assert.doesNotMatch(node.stderr, /wr0ngpass/);
		await node.stop();
		await redis.stop();
	});

	test('a user without functions: channels with history are refused at once', async () => {
		const redis = await Redis.start({ args: ['--user', 'ann', 'on', '>secret', '~*', '&*',
			'-@all', '+subscribe', '+unsubscribe', '+publish'] });
		const node = await Node.start({
			redis: { url: `redis://ann:secret@127.0.0.1:${redis.port}` },
			channels: [{ match: 'h:*', publish: 'anyone', history: { size: 10 } }],
		});
		const client = await json(node);
		assert.deepEqual(await client.ask({ subscribe: 'plain' }), { subscribed: 'plain' });
		for (let i = 0; i < 2; i++) {
			const answer = await client.ask({ subscribe: 'h:a' });
			assert.equal(answer.error?.code, 503, JSON.stringify(answer));
		}
		assert.equal((await client.ask({ publish: 'h:a', data: 1 })).error.code, 503);
		const refused = await Client.open(node.url('/ws/h:a')).catch((e) => e);
		assert.equal(refused.status, 503);
		await redis.cli('ACL', 'SETUSER', 'ann', '+@all');
		await redis.cli('CLIENT', 'KILL', 'USER', 'ann');
		await eventually(5_000, 'the channel', async () =>
			(await client.ask({ subscribe: 'h:a' })).subscribed === 'h:a');
		client.terminate();
		await node.stop();
		await redis.stop();
	});

	test('a node that starts before Redis waits for it', async () => {
		const redis = await Redis.start();
		await redis.crash();
		const node = new Node({ redis: { url: redis.url }, limits: { handshake: ms(2_000) } });
		await node.spawn();
		await eventually(5_000, '/readyz', async () => await node.readyStatus() === 503);
		const refused = await Client.open(node.url('/ws/news')).catch((e) => e);
		assert.equal(refused.status, 503);
		assert.match(refused.headers['retry-after'], /^\d+$/);
		await redis.launch();
		await node.ready();
		const client = await Client.open(node.url('/ws/news'));
		await redis.cli('PUBLISH', 'fanfare:news', 'hello');
		assert.equal(await client.next(), 'hello');
		client.terminate();
		await node.stop();
		await redis.stop();
	});
});

describe('redis: killed and restarted', () => {
	let redis;
	let node;
	before(async () => {
		redis = await Redis.start();
		node = await Node.start({ workers: 2, redis: { url: redis.url }, channels: ECHO });
	});
	after(async () => {
		await node?.stop();
		await redis.stop();
	});

	test('under traffic: nobody is disconnected, and the next publish arrives in 3 s',
		{ timeout: 60 }, async () => {
			const clients = await openMany(20, () => Client.open(node.url('/ws/t')));
			const sequences = clients.map(() => new Sequence());
			clients.forEach((c, i) => { c.onMessage = (m) => sequences[i].take(m); });
			const told = await json(node, '/ws/t');

			let n = 0;
			let stop = false;
			const accepted = [];
			const traffic = (async () => {
				while (!stop) {
					const text = numbered('t', 'p', ++n);
					const { status } = await node.request('POST', '/pub/t', { body: text });
					assert.ok(status === 200 || status === 503, `${status}`);
					if (status === 200)
						accepted.push(n);
					await sleep(2);
				}
			})();
			await sleep(300);
			await redis.crash();
			await eventually(3_000, 'not ready', async () => await node.readyStatus() === 503);
			assert.equal((await node.request('GET', '/healthz')).status, 200);
			await sleep(700);
			await redis.launch();
			const back = Date.now();
			const before = sequences.map((s) => s.received);
			await eventually(3_000, 'messages to flow again', () =>
				sequences.every((s, i) => s.received > before[i]));
			assert.ok(Date.now() - back < 3_000, `${Date.now() - back} ms`);
			await node.ready(3_000);
			stop = true;
			await traffic;
			const direct = await redis.connect();
			await direct.command('PUBLISH', 'fanfare:t', numbered('t', 'direct', 1));
			direct.close();
			await eventually(3_000, 'the last one', () =>
				sequences.every((s) => s.last.has('t direct')));

			for (const [i, client] of clients.entries()) {
				assert.equal(client.gone, undefined);
				sequences[i].assertOrdered();
			}
			const gaps = told.messages.map((m) => JSON.parse(m)).filter((m) => m.gap);
			assert.ok(gaps.length >= 1, 'no word of the gap');
			assert.equal(told.gone, undefined);
			for (const gap of gaps)
				assert.deepEqual(gap, { gap: 't' });
			[...clients, told].forEach((c) => c.terminate());
		});

	test('many channels are subscribed again', { timeout: 60 }, async () => {
		const clients = await openMany(20, (i) => Client.open(node.url(
			`/ws?${Array.from({ length: 50 }, (_, k) => `channel=m:${i}:${k}`).join('&')}`)));
		await redis.crash();
		await redis.launch();
		await node.ready(5_000);
		const direct = await redis.connect();
		for (let i = 0; i < 20; i++) {
			for (let k = 0; k < 50; k++)
				await direct.command('PUBLISH', `fanfare:m:${i}:${k}`, `${i} ${k}`);
		}
		for (const [i, client] of clients.entries()) {
			await client.count(50);
			assert.deepEqual(client.messages, Array.from({ length: 50 }, (_, k) => `${i} ${k}`));
			client.terminate();
		}
		direct.close();
	});

	test('clients that come and go while Redis is away', { timeout: 60 }, async () => {
		const leaves = await Client.open(node.url('/ws/leaves'));
		const stays = await json(node, '/ws/stays');
		await redis.crash();
		await eventually(3_000, 'not ready', async () => await node.readyStatus() === 503);
		leaves.terminate();
		stays.send(JSON.stringify({ publish: 'echo:x', data: 1, id: 'p' }));
		let answer;
		do
			answer = await stays.nextJson();
		while (answer.gap);
		assert.equal(answer.error?.code, 503, JSON.stringify(answer));
		assert.equal(answer.id, 'p');
		const coming = Client.open(node.url('/ws/comes'));
		coming.catch(() => {});
		await sleep(200);
		await redis.launch();
		const comes = await coming;
		await node.ready(5_000);
		const direct = await redis.connect();
		await eventually(3_000, 'the right subscriptions', async () => {
			const [, gone, , here, , new1] = await direct.command('PUBSUB', 'NUMSUB',
				'fanfare:leaves', 'fanfare:stays', 'fanfare:comes');
			return gone === 0 && here === 1 && new1 === 1;
		});
		await direct.command('PUBLISH', 'fanfare:comes', 'hello');
		assert.equal(await comes.next(), 'hello');
		direct.close();
		comes.terminate();
		stays.terminate();
	});

	test('a link that Redis closes is restored', async () => {
		const client = await Client.open(node.url('/ws/killed'));
		const direct = await redis.connect();
		for (const type of ['pubsub', 'normal'])
			await direct.command('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes');
		await eventually(5_000, 'subscribed again', async () =>
			(await direct.command('PUBSUB', 'NUMSUB', 'fanfare:killed'))[1] === 1);
		await direct.command('PUBLISH', 'fanfare:killed', 'hello');
		assert.equal(await client.next(), 'hello');
		await eventually(5_000, 'publishing again', async () =>
			(await node.request('POST', '/pub/killed', { body: 'x' })).status === 200);
		direct.close();
		client.terminate();
	});

	test('a Redis that stands still is noticed', { timeout: 60 }, async () => {
		const other = await Node.start({
			redis: { url: redis.url, canary: ms(1_000), timeout: ms(1_000),
				connect_timeout: ms(1_000) },
		});
		process.kill(redis.child.pid, 'SIGSTOP');
		try {
			await eventually(6_000, 'not ready', async () => await other.readyStatus() === 503);
		} finally {
			process.kill(redis.child.pid, 'SIGCONT');
		}
		await other.ready(6_000);
		await other.stop();
	});
});
