/*
 * What is missed while a hub, Redis or a link is away: history channels are repaired in place, whoever
 * cannot be is told, and nobody is disconnected.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { hasAsan } from './lib/bystanders.mjs';
import { kill } from './lib/cleanup.mjs';
import { Client, json, openMany } from './lib/clients.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { ALWAYS, Cluster, commandCounts } from './lib/nodes.mjs';
import { Checker, JsonSubscriber, Publisher, RedisWay, SseSubscriber }
	from './lib/numbered.mjs';
import { RawClient } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { Relay } from './lib/relay.mjs';
import { after, before, describe, eventually, sleep, slowness, test } from './lib/test.mjs';

const RULES = [
	{ match: 'h:*', history: { size: 10_000, ttl: '10m' }, read_history: 'anyone' },
	{ match: 'p:*' },
];
const LIMITS = { commands: 0, recovery: 10_000, ping_interval: ms(600_000) };

/* Builds with sanitizers do less of everything. */
const scale = (n) => (slowness > 1 ? Math.ceil(n / (3 * slowness)) : n);

/* Something that was started; it ends with the test t, also where that fails. */
function own(t, thing) {
	t.after(() => thing.stop());
	return thing;
}

const publish = (redis, channel, data) =>
	redis.command('FCALL', 'fanfare_publish', 1, channel, data);

/* Both kinds of channels under traffic, with a checker for each; see calm(). */
class Traffic {
	static async start(nodes, redis) {
		const traffic = new Traffic();
		traffic.kinds = { h: new Checker(), p: new Checker() };
		traffic.subscribers = [];
		traffic.publishers = [];
		for (const [kind, checker] of Object.entries(traffic.kinds)) {
			const history = kind === 'h';
			const channels = Array.from({ length: 5 }, (_, i) => `${kind}:${i}`);
			for (let i = 0; i < 5; i++) {
				traffic.subscribers.push(
					new JsonSubscriber(checker, `json ${i}`, nodes, channels, { history }),
					new SseSubscriber(checker, `sse ${i}`, nodes, [channels[i]], { history }));
			}
			for (const name of [`${kind}a`, `${kind}b`]) {
				traffic.publishers.push(Object.assign(
					new Publisher(checker, name, new RedisWay(redis), { keyed: history, pause: 20 }),
					{ channels }));
			}
		}
		await Promise.all(traffic.subscribers.map((s) => s.start()));
		traffic.running = Promise.all(traffic.publishers.map((p) => p.run(p.channels)));
		return traffic;
	}

	/* Ends the traffic: each has everything or was told, and nobody was disconnected. */
	async calm(t) {
		this.publishers.forEach((p) => p.stop());
		await this.running;
		await Promise.all(this.subscribers.map((s) => s.awaitLive()));
		await sleep(200);
		await Promise.all(this.publishers.map((p) => p.finish(p.channels)));
		for (const [kind, checker] of Object.entries(this.kinds)) {
			await eventually(10_000, 'the last messages', () => checker.complete())
				.catch(() => {}); /* what is missing, the checker tells */
			checker.assertComplete();
			const { received, missing, told } = checker.figures();
			t.diagnostic(`${kind === 'h' ? 'history' : 'plain'}: ${received} received, told ` +
				`${JSON.stringify(told)}, ${missing} missing and told`);
		}
		const lost = this.subscribers.filter((s) => s.losses > 0);
		assert.deepEqual(lost.map((s) => s.losses), [], 'some were disconnected');
		return { history: this.kinds.h.figures(), plain: this.kinds.p.figures() };
	}

	stop() {
		this.subscribers.forEach((s) => s.stop());
		this.publishers.forEach((p) => {
			p.stop();
			p.way.close();
		});
	}
}

/* --- the hub ------------------------------------------------------------------------------- */

describe('the hub restarts', () => {
	/* Each client keeps what it gets of its one channel: data, and "gap" for the word. */
	async function listen(node, channel) {
		const raw = await RawClient.open(node, `/ws?channel=${channel}`,
			{ 'Sec-WebSocket-Protocol': 'fanfare.json' });
		const client = { raw, channel, got: [] };
		const take = () => {
			for (let f = raw.takeFrame(); f !== undefined; f = raw.takeFrame()) {
				const message = JSON.parse(f.data.toString());
				client.got.push(message.gap === undefined ? message.data : 'gap');
			}
		};
		raw.wake = take;
		take();
		return client;
	}

	test('10,000 connections: nobody is disconnected, all channels are live again',
		{ timeout: 120 }, async (t) => {
			const redis = own(t, await Redis.start());
			const node = own(t, await Node.start({
				workers: 2, redis: { url: redis.url }, channels: RULES, limits: LIMITS,
			}));
			const files = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(
				fs.readFileSync('/proc/self/limits', 'latin1'))[1]);
			const n = Math.min(hasAsan(node.role('worker 0')) ? 1_500 : 10_000,
				Math.floor(files * 0.7));
			/* A quarter each: a channel of its own or one of ten, with history or plain. */
			const clients = await openMany(n, (i) => listen(node,
				`${i % 2 === 0 ? 'h' : 'p'}:${i % 4 < 2 ? `own:${i}` : `shared:${i % 40}`}`));
			const history = clients.filter((c) => c.channel.startsWith('h'));
			const plain = clients.filter((c) => c.channel.startsWith('p'));
			const direct = await redis.connect();
			const toAll = (of, text) => Promise.all([...new Set(of.map((c) => c.channel))].map(
				(channel) => (channel.startsWith('h') ? publish(direct, channel, text)
					: direct.command('PUBLISH', `fanfare:${channel}`, text))));
			const have = (of, length) => eventually(30_000, `${length} at each`, () =>
				of.every((c) => c.got.length >= length));

			await toAll(clients, 'before');
			await have(clients, 1);

			const killed = performance.now();
			kill(node.role('hub'));
			await toAll(history, 'meanwhile');
			const published = performance.now() - killed;
			await Promise.all([have(history, 2), have(plain, 2)]);
			const took = performance.now() - killed;
			t.diagnostic(`${n} connections on ${new Set(clients.map((c) => c.channel)).size} ` +
				`channels: all live again ${took.toFixed(0)} ms after the kill (the messages ` +
				`meanwhile took ${published.toFixed(0)} ms to publish)`);
			assert.ok(took < 20_000 * slowness);

			await toAll(clients, 'after');
			await have(clients, 3);
			for (const client of history)
				assert.deepEqual(client.got, ['before', 'meanwhile', 'after']);
			for (const client of plain)
				assert.deepEqual(client.got, ['before', 'gap', 'after']);
			assert.equal(clients.filter((c) => c.raw.ended).length, 0);
			clients.forEach((c) => c.raw.destroy());
			direct.close();
					});

	test('the hub killed many times under traffic: history loses nothing, plain is told',
		{ timeout: 150 }, async (t) => {
			const cluster = own(t, await Cluster.start(
				{ nodes: 1, options: { channels: RULES, limits: LIMITS } }));
			const [node] = cluster.nodes;
			const traffic = own(t, await Traffic.start(cluster.nodes, cluster.redis));
			/* The master waits longer and longer before it starts one that keeps dying. */
			const times = slowness > 1 ? 5 : 10;
			for (let i = 0; i < times; i++) {
				const old = cluster.killRole(node, 'hub');
				await node.replaced('hub', old, 15_000);
				await sleep(Math.random() * 500);
			}
			await node.ready(15_000);
			t.diagnostic(`killed ${times} times`);
			const { history, plain } = await traffic.calm(t);
			assert.deepEqual(history.told, {});
			assert.ok(plain.told.gap > 0);
		});

	test('a WebSocket without a subprotocol hears payloads alone, those missed meanwhile too',
		{ timeout: 60 }, async (t) => {
			const redis = own(t, await Redis.start());
			const node = own(t, await Node.start(
				{ redis: { url: redis.url }, channels: RULES, limits: LIMITS }));
			const direct = await redis.connect();
			const client = await Client.open(node.url('/ws/h:raw'));
			const plain = await Client.open(node.url('/ws/p:raw'));
			await publish(direct, 'h:raw', 'before');
			kill(node.role('hub'));
			for (const text of ['meanwhile', 'and again'])
				await publish(direct, 'h:raw', text);
			await node.ready();
			await publish(direct, 'h:raw', 'after');
			await direct.command('PUBLISH', 'fanfare:p:raw', 'after');
			assert.equal(await plain.next(), 'after');
			await client.count(4);
			assert.deepEqual(client.messages, ['before', 'meanwhile', 'and again', 'after']);
			client.terminate();
			plain.terminate();
			direct.close();
					});

	test('without Redis, a worker killed costs no history, and a hub killed is told',
		async (t) => {
			const node = own(t, await Node.start({ channels: RULES, limits: LIMITS }));
			const at = (c, position) => c.ask({ subscribe: 'h:a', ...position });
			let client = await json(node);
			const { offset, epoch } = await at(client);
			assert.equal(offset, 0);
			await node.publish('h:a', 'one');
			assert.deepEqual(await client.nextJson(),
				{ channel: 'h:a', data: 'one', offset: 1, epoch });

			const worker = node.role('worker 0');
			kill(worker);
			await node.replaced('worker 0', worker);
			await node.ready();
			await node.publish('h:a', 'two');
			client = await json(node);
			assert.deepEqual(await at(client, { offset: 1, epoch }),
				{ subscribed: 'h:a', offset: 2, epoch, recovered: true });
			assert.deepEqual(await client.nextJson(),
				{ channel: 'h:a', data: 'two', offset: 2, epoch });

			kill(node.role('hub'));
			assert.deepEqual(await client.nextJson(), { gap: 'h:a' });
			const late = await json(node);
			const answer = await at(late, { offset: 2, epoch });
			assert.equal(answer.recovered, false);
			assert.notEqual(answer.epoch, epoch);
			assert.equal(client.gone, undefined);
			client.terminate();
			late.terminate();
		});
});

describe('a node dies', () => {
	test('its clients go on at another with their positions', { timeout: 60 }, async (t) => {
		const cluster = own(t, await Cluster.start(
			{ options: { channels: RULES, limits: LIMITS } }));
		const [a, b] = cluster.nodes;
		const direct = await cluster.redis.connect();
		const clients = await openMany(10, () => json(a, '/ws?channel=h:node'));
		for (let n = 1; n <= 5; n++)
			await publish(direct, 'h:node', `m${n}`);
		await Promise.all(clients.map((c) => c.count(5)));
		kill(a.pid);
		await Promise.all(clients.map((c) => c.closed));
		a.discard();
		cluster.nodes.shift();
		for (let n = 6; n <= 9; n++)
			await publish(direct, 'h:node', `m${n}`);
		for (const client of clients) {
			const { offset, epoch } = JSON.parse(client.messages.at(-1));
			const again = await json(b);
			assert.deepEqual(await again.ask({ subscribe: 'h:node', offset, epoch }),
				{ subscribed: 'h:node', offset: 9, epoch, recovered: true });
			await again.count(5);
			assert.deepEqual(again.messages.slice(1).map((m) => JSON.parse(m).data),
				['m6', 'm7', 'm8', 'm9']);
			again.terminate();
		}
		direct.close();
	});
});

/* --- Redis --------------------------------------------------------------------------------- */

describe('Redis restarts', () => {
	test('killed again and again under traffic: resubscribed in time, repaired or told',
		{ timeout: 150 }, async (t) => {
			const cluster = own(t, await Cluster.start({ nodes: 1, options: {
				channels: RULES, limits: LIMITS, redis: { canary: ms(1_000) },
			} }));
			const [node] = cluster.nodes;
			const crowd = await openMany(scale(100), (i) => Client.open(node.url(
				`/ws?${Array.from({ length: 100 }, (_, k) => `channel=p:m:${i}:${k}`).join('&')}`)));
			const traffic = own(t, await Traffic.start(cluster.nodes, cluster.redis));
			const took = [];
			const times = scale(20);
			for (let i = 0; i < times; i++) {
				await sleep(Math.random() * 300);
				await cluster.redis.crash();
				await sleep(Math.random() * 300);
				await cluster.redis.launch();
				const back = performance.now();
				const direct = await cluster.redis.connect();
				await eventually(15_000, 'every channel to be subscribed again', async () => {
					const stats = await direct.command('INFO', 'stats');
					return Number(/^pubsub_channels:(\d+)/m.exec(stats)?.[1]) >= crowd.length * 100;
				});
				direct.close();
				await node.ready(15_000);
				took.push(performance.now() - back);
			}
			took.sort((a, b) => a - b);
			t.diagnostic(`${times} restarts, ${crowd.length * 100} channels: subscribed again and ` +
				`ready after ${took[times >> 1].toFixed(0)} ms, ${took.at(-1).toFixed(0)} at most`);
			const { history, plain } = await traffic.calm(t);
			/*
			 * What was written before a node had looked at the settings again is not known to be on
			 * disk: killed once more right then, Redis begins a new epoch, and that is told.  Most
			 * restarts are not of that kind.
			 */
			assert.ok(history.missing <= history.received / 4, `${history.missing} missing`);
			assert.ok(plain.told.gap > 0);
			assert.equal(crowd.filter((c) => c.gone).length, 0);
			crowd.forEach((c) => c.terminate());
		});

	test('without appendonly a restart loses history, and everybody is told', async (t) => {
		const redis = own(t, await Redis.start());
		const node = own(t, await Node.start(
			{ redis: { url: redis.url }, channels: RULES, limits: LIMITS }));
		const live = await json(node);
		const { epoch } = await live.ask({ subscribe: 'h:a' });
		for (let n = 1; n <= 3; n++)
			await node.publish('h:a', `old ${n}`);
		await live.count(4);

		await redis.crash();
		await redis.launch();
		await node.ready();
		await eventually(5_000, 'the word', () => live.messages.includes('{"gap":"h:a"}'));
		for (let n = 1; n <= 4; n++)
			await node.publish('h:a', `new ${n}`);
		/* The numbers of the old ones are used again, or not: the epoch is another. */
		const late = await json(node);
		const answer = await late.ask({ subscribe: 'h:a', offset: 2, epoch });
		assert.equal(answer.recovered, false);
		assert.notEqual(answer.epoch, epoch);
		await node.publish('h:a', 'last');
		assert.equal((await late.nextJson()).data, 'last');
		assert.equal(live.gone, undefined);
		live.terminate();
		late.terminate();
	});
});

describe('another Redis takes over', () => {
	test('a replica that lacks the last writes: every stale position is refused',
		{ timeout: 60 }, async (t) => {
			const master = own(t, await Redis.start(
				{ args: [...ALWAYS, '--repl-diskless-sync-delay', '0'] }));
			const replication = own(t, await Relay.start(master.port));
			const replica = own(t, await Redis.start({ args: [...ALWAYS,
				'--replicaof', '127.0.0.1', String(replication.port)] }));
			const relay = own(t, await Relay.start(master.port));
			const node = own(t, await Node.start({ redis: { url: relay.url, canary: ms(500) },
				channels: RULES, limits: LIMITS }));
			const live = await json(node);
			const { epoch } = await live.ask({ subscribe: 'h:a' });
			for (let n = 1; n <= 5; n++)
				await node.publish('h:a', `both ${n}`);
			await eventually(5_000, 'the replica to follow', async () =>
				(await replica.cli('XLEN', 'fanfare:{h:a}:log')).trim() === '5');

			replication.hold();
			for (let n = 6; n <= 9; n++)
				await node.publish('h:a', `lost ${n}`);
			await live.count(10);
			await master.crash();
			replication.cut();
			await replica.cli('REPLICAOF', 'NO', 'ONE');
			assert.equal((await replica.cli('XLEN', 'fanfare:{h:a}:log')).trim(), '5');
			relay.target = replica.port;
			relay.cut();
			await node.ready(15_000);
			await eventually(5_000, 'the word', () => live.messages.includes('{"gap":"h:a"}'));

			/* The offsets of the lost ones are those of others now. */
			for (let n = 6; n <= 12; n++)
				await node.publish('h:a', `new ${n}`);
			for (const offset of [0, 1, 3, 5, 6, 8, 9]) {
				const late = await json(node);
				const answer = await late.ask({ subscribe: 'h:a', offset, epoch });
				assert.equal(answer.recovered, false, `${offset}`);
				assert.notEqual(answer.epoch, epoch);
				await node.publish('h:a', `to ${offset}`);
				assert.equal((await late.nextJson()).data, `to ${offset}`);
				late.terminate();
			}
			const heard = live.messages.map((m) => JSON.parse(m)).filter((m) => m.channel);
			assert.ok(heard.some((m) => m.data === 'new 12'));
			assert.equal(live.gone, undefined);
			live.terminate();
		});
});

describe('the link to Redis', () => {
	let redis;
	let relay;
	let node;
	let direct;
	before(async () => {
		redis = await Redis.start({ args: ['--client-output-buffer-limit', 'pubsub 256kb 128kb 1'] });
		relay = await Relay.start(redis.port);
		node = await Node.start({
			redis: { url: relay.url, canary: ms(1_000), timeout: ms(1_000) },
			channels: RULES, limits: { ...LIMITS, queue: '64MiB' },
		});
		direct = await redis.connect();
	});
	after(async () => {
		direct?.close();
		await node?.stop();
		await relay?.stop();
		await redis?.stop();
	});

	/* A client of h:NAME and p:NAME. */
	async function both(name) {
		const client = await json(node);
		const answer = await client.ask({ subscribe: `h:${name}` });
		assert.equal(answer.offset, 0);
		await client.ask({ subscribe: `p:${name}` });
		client.data = (channel) => client.messages.map((m) => JSON.parse(m))
			.filter((m) => m.channel === channel).map((m) => m.data);
		client.gaps = () => client.messages.filter((m) => m.startsWith('{"gap"'));
		return client;
	}

	async function askHistory(channel) {
		const client = await json(node);
		const answer = await client.ask({ history: channel });
		client.terminate();
		return answer;
	}

	test('cut: what was published meanwhile is delivered in order, plain is told', async () => {
		const client = await both('cut');
		await publish(direct, 'h:cut', 'one');
		relay.cut();
		for (const text of ['two', 'three'])
			await publish(direct, 'h:cut', text);
		await node.ready();
		await publish(direct, 'h:cut', 'four');
		await eventually(5_000, 'all', () => client.data('h:cut').length === 4);
		assert.deepEqual(client.data('h:cut'), ['one', 'two', 'three', 'four']);
		await eventually(5_000, 'the word', () => client.gaps().length > 0);
		assert.ok(client.gaps().every((m) => m === '{"gap":"p:cut"}'), `${client.gaps()}`);
		client.terminate();
	});

	test('a black hole is noticed within 10 s, and what was missed is delivered',
		{ timeout: 60 }, async (t) => {
			const client = await both('hole');
			await publish(direct, 'h:hole', 'before');
			await eventually(5_000, 'the first', () => client.data('h:hole').length === 1);
			relay.hold();
			const begun = performance.now();
			await publish(direct, 'h:hole', 'meanwhile');
			await eventually(10_000, 'not ready', async () => await node.readyStatus() === 503);
			t.diagnostic(`noticed after ${(performance.now() - begun).toFixed(0)} ms`);
			relay.cut();
			await node.ready(10_000);
			await publish(direct, 'h:hole', 'after');
			await eventually(5_000, 'all', () => client.data('h:hole').length === 3);
			assert.deepEqual(client.data('h:hole'), ['before', 'meanwhile', 'after']);
			await eventually(5_000, 'the word', () => client.gaps().length > 0);
			assert.ok(client.gaps().every((m) => m === '{"gap":"p:hole"}'), `${client.gaps()}`);
			assert.equal(client.gone, undefined);
			client.terminate();
		});

	test('the output-buffer limit is hit: resubscribed and repaired', { timeout: 60 }, async () => {
		const client = await both('buffer');
		const subscriber = async () => /^id=(\d+) .*\bsub=[1-9]/m.exec(
			await direct.command('CLIENT', 'LIST', 'TYPE', 'pubsub'))?.[1];
		const old = await subscriber();
		assert.ok(old);
		/* More than the sockets' buffers hold, while the hub stands still. */
		const hub = node.role('hub');
		const text = (n) => `${n} ${'x'.repeat(60_000)}`;
		process.kill(hub, 'SIGSTOP');
		try {
			for (let n = 1; n <= 400; n++)
				await publish(direct, 'h:buffer', text(n));
			await eventually(5_000, 'Redis to close the link', async () =>
				await subscriber() !== old);
		} finally {
			process.kill(hub, 'SIGCONT');
		}
		await node.ready(10_000);
		await publish(direct, 'h:buffer', 'last');
		await eventually(20_000, 'all', () => client.data('h:buffer').at(-1) === 'last');
		assert.deepEqual(client.data('h:buffer').map((d) => `${d}`.split(' ')[0]),
			[...Array.from({ length: 400 }, (_, i) => `${i + 1}`), 'last']);
		assert.ok(client.gaps().length > 0);
		assert.ok(client.gaps().every((m) => m === '{"gap":"p:buffer"}'), `${client.gaps()}`);
		assert.equal(client.gone, undefined);
		client.terminate();
	});

	test('a plain PUBLISH to a history channel is delivered and not kept', async () => {
		const client = await both('mixed');
		await publish(direct, 'h:mixed', 'one');
		await direct.command('PUBLISH', 'fanfare:h:mixed', 'aside');
		await publish(direct, 'h:mixed', 'two');
		await eventually(5_000, 'all', () => client.data('h:mixed').length === 3);
		assert.deepEqual(client.messages.slice(2).map((m) => JSON.parse(m))
			.map((m) => [m.data, m.offset]), [['one', 1], ['aside', undefined], ['two', 2]]);
		assert.deepEqual(client.gaps(), []);
		const { messages } = await askHistory('h:mixed');
		assert.deepEqual(messages.map((m) => m.data), ['one', 'two']);
		client.terminate();
	});

	test('a message that never came over it is found by the position check', async (t) => {
		const other = own(t, await Node.start({ redis: { url: redis.url }, channels: RULES,
			limits: { ...LIMITS, position_check: ms(500) } }));
		const client = await json(other);
		await client.ask({ subscribe: 'h:check' });
		await publish(direct, 'h:check', 'one');
		await client.count(2);
		/* As fanfare_publish does it, but for the PUBLISH. */
		await direct.command('XADD', 'fanfare:{h:check}:log', '2-0', 'text', 'two');
		await direct.command('HSET', 'fanfare:{h:check}:meta', 'offset', '2');
		await client.count(3);
		assert.deepEqual(client.messages.slice(1).map((m) => JSON.parse(m).data), ['one', 'two']);
		client.terminate();
	});
});

/* --- the worker's link, and those who come back ------------------------------------------- */

describe('workers', () => {
	let redis;
	let node;
	let direct;
	before(async () => {
		redis = await Redis.start();
		node = await Node.start({
			workers: 2, redis: { url: redis.url }, channels: RULES,
			limits: { ...LIMITS, link_queue: '1MiB', queue: '4MiB' },
		});
		direct = await redis.connect();
	});
	after(async () => {
		direct?.close();
		await node?.stop();
		await redis?.stop();
	});

	test('a link to a worker overruns: history is repaired in place, plain is told',
		{ timeout: 60 }, async () => {
			const clients = await openMany(16, () => json(node, '/ws?channel=h:over&channel=p:over'));
			const text = (n) => `${n} ${'x'.repeat(20_000)}`;
			const both = async (data) => {
				await publish(direct, 'h:over', data);
				await direct.command('PUBLISH', 'fanfare:p:over', data);
			};
			const stopped = node.role('worker 0');
			process.kill(stopped, 'SIGSTOP');
			try {
				for (let n = 1; n <= 150; n++) {
					await both(text(n));
					await sleep(2); /* the other worker follows */
				}
			} finally {
				process.kill(stopped, 'SIGCONT');
			}
			await node.ready();
			await both('last');
			const numbers = [...Array.from({ length: 150 }, (_, i) => `${i + 1}`), 'last'];
			let told = 0;
			for (const client of clients) {
				const all = () => client.messages.map((m) => JSON.parse(m));
				const of = (channel) => all().filter((m) => m.channel === channel)
					.map((m) => m.data.split(' ')[0]);
				/* The link may still be full when the last is published. */
				await eventually(10_000, 'the last', () => of('h:over').at(-1) === 'last' &&
					(of('p:over').at(-1) === 'last' || all().some((m) => m.gap)));
				assert.deepEqual(of('h:over'), numbers);
				const gaps = all().filter((m) => m.gap);
				assert.ok(gaps.every((m) => m.gap === 'p:over'), JSON.stringify(gaps));
				if (gaps.length === 0)
					assert.deepEqual(of('p:over'), numbers);
				told += gaps.length > 0;
				assert.equal(client.gone, undefined);
			}
			assert.ok(told > 0 && told < clients.length, `${told} of ${clients.length} were told`);
			clients.forEach((c) => c.terminate());
		});

	test('a client that cannot follow is disconnected, and misses nothing when it comes back',
		{ timeout: 60 }, async () => {
			const slow = await json(node);
			const { epoch } = await slow.ask({ subscribe: 'h:slow' });
			slow.ws._socket.pause();
			const N = 400; /* more than its queue and the sockets' buffers hold */
			for (let n = 1; n <= N; n++)
				await publish(direct, 'h:slow', `${n} ${'x'.repeat(30_000)}`);
			slow.ws._socket.resume();
			await slow.closed;
			const offsets = (client) => client.messages.slice(1).map((m) => JSON.parse(m).offset);
			const heard = offsets(slow);
			assert.ok(heard.length > 0 && heard.length < N, `${heard.length} messages`);
			const again = await json(node);
			const answer = await again.ask(
				{ subscribe: 'h:slow', offset: heard.at(-1), epoch });
			assert.equal(answer.recovered, true);
			await again.count(1 + N - heard.length);
			assert.deepEqual([...heard, ...offsets(again)],
				Array.from({ length: N }, (_, i) => i + 1));
			again.terminate();
		});

	/*
	 * They come while Redis stands still, as in the moment after an outage, so that all of them wait
	 * for the same answers; and once more without that.
	 */
	test('2,000 clients come back at once with positions: Redis reads history a few times',
		{ timeout: 100 }, async (t) => {
			const N = scale(2_000);
			const first = await json(node);
			const { epoch } = await first.ask({ subscribe: 'h:crowd' });
			for (let n = 1; n <= 60; n++)
				await publish(direct, 'h:crowd', `${n}`);
			await first.count(61);
			const reads = async () => {
				const counts = await commandCounts(direct);
				return (counts.xrange ?? 0) + (counts.xrevrange ?? 0);
			};
			const clients = await openMany(N, () => json(node));
			for (const still of [true, false]) {
				await direct.command('CONFIG', 'RESETSTAT');
				if (still)
					process.kill(redis.child.pid, 'SIGSTOP');
				clients.forEach((c, i) => {
					c.messages.length = c.taken = 0;
					c.send(JSON.stringify({ subscribe: 'h:crowd', offset: i % 60, epoch }));
				});
				if (still) {
					await sleep(700 * slowness);
					process.kill(redis.child.pid, 'SIGCONT');
				}
				await Promise.all(clients.map((c, i) => c.count(1 + 60 - i % 60, 30_000)));
				const n = await reads();
				t.diagnostic(`${N} positions${still ? ' while Redis stood still' : ''}: ` +
					`${n} reads of history`);
				for (const [i, client] of clients.entries()) {
					const [answer, ...rest] = client.messages.map((m) => JSON.parse(m));
					assert.deepEqual(answer,
						{ subscribed: 'h:crowd', offset: 60, epoch, recovered: true });
					assert.deepEqual(rest.map((m) => m.offset),
						Array.from({ length: 60 - i % 60 }, (_, k) => i % 60 + k + 1));
				}
				assert.ok(n > 0 && n <= (still ? 20 : N / 5), `${n} reads`);
				clients.forEach((c) => c.send('{"unsubscribe":"h:crowd"}'));
				await Promise.all(clients.map((c, i) => c.count(2 + 60 - i % 60, 30_000)));
			}
			[first, ...clients].forEach((c) => c.terminate());
		});
});
