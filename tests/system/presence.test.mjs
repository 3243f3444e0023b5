/*
 * Who is in a channel: exact over all nodes, once for each user, kept by a lease of each node.
 */
import assert from 'node:assert/strict';
import { kill } from './lib/cleanup.mjs';
import { json, openMany } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { Cluster, commandCounts } from './lib/nodes.mjs';
import { after, before, describe, eventually, sleep, slowness, test } from './lib/test.mjs';
import { inSeconds, sign } from './lib/token.mjs';

const SECRET = 'a secret that is long enough for HS256';
const LEASE = 1_500 * slowness;
const OPTIONS = {
	auth: { secret: SECRET },
	channels: [{ match: 'room:*', presence: true, join_leave: true, read_presence: 'anyone' },
		{ match: 'quiet:*', presence: true, read_presence: 'anyone' }],
	presence: { lease: ms(LEASE) },
	limits: { commands: 0 },
	redis: { canary: ms(1_000) },
};
const N = slowness > 1 ? 600 : 2_000; /* idle members */

/* A client, of a user unless that is undefined. */
function enter(node, user, channel) {
	const query = new URLSearchParams(channel === undefined ? {} : { channel });
	if (user !== undefined) {
		query.set('token', sign({ sub: user, exp: inSeconds(600), info: { name: `${user}!` } },
			{ key: SECRET }));
	}
	return json(node, `/ws?${query}`);
}

/* What a watcher has heard: [["join", user], …], "" for one without a name. */
const moves = (client) => client.messages.map((m) => JSON.parse(m))
	.filter((m) => m.join !== undefined || m.leave !== undefined)
	.map((m) => [m.join === undefined ? 'leave' : 'join', m.member.user ?? '']);

async function members(node, channel) {
	const asker = await json(node);
	let answer;
	/* A hub that has just been killed is away for a moment, and says so. */
	for (let tries = 0; tries < 100; tries++) {
		answer = await asker.ask({ presence: channel });
		if (answer.error?.code !== 503)
			break;
		await sleep(50);
	}
	asker.terminate();
	assert.equal(answer.presence, channel, JSON.stringify(answer));
	assert.equal(new Set(answer.members.map((m) => m.client)).size, answer.members.length,
		'a client comes twice');
	return answer.members;
}

const users = async (node, channel) =>
	(await members(node, channel)).map((m) => m.user ?? '').sort();

/* Waits until every node says so. */
const become = (nodes, channel, expected, within = 5_000) =>
	eventually(within, `${channel} to have ${expected}`, async () => {
		for (const node of nodes) {
			if (JSON.stringify(await users(node, channel)) !== JSON.stringify(expected))
				return false;
		}
		return true;
	});

describe('presence over two nodes', () => {
	let cluster;
	let a;
	let b;
	before(async () => {
		cluster = await Cluster.start({ options: OPTIONS });
		[a, b] = cluster.nodes;
	});
	after(() => cluster?.stop());

	test('exact at both nodes, by connection and by user', async () => {
		const clients = await Promise.all([
			enter(a, 'ann', 'room:exact'), enter(b, 'ann', 'room:exact'),
			enter(b, 'bob', 'room:exact'), enter(a, undefined, 'room:exact'),
		]);
		await become([a, b], 'room:exact', ['', 'ann', 'ann', 'bob']);
		for (const node of [a, b]) {
			const all = await members(node, 'room:exact');
			assert.deepEqual(all.find((m) => m.user === 'bob').info, { name: 'bob!' });
			const { body } = await node.request('GET', '/pub/room:exact?presence=1');
			const { clients: connections, users: persons, members: list } = JSON.parse(body);
			assert.equal(connections, 4, body);
			assert.equal(persons, 3, body);
			assert.equal(list.length, 4);
		}
		clients[1].terminate();
		await become([a, b], 'room:exact', ['', 'ann', 'bob']);
		[clients[0], clients[3]].forEach((c) => c.terminate());
		await become([a, b], 'room:exact', ['bob']);
		await clients[2].ask({ unsubscribe: 'room:exact' });
		await become([a, b], 'room:exact', []);
		clients[2].terminate();
	});

	test('join and leave come once for a user, however many connections', async () => {
		const watchers = await Promise.all([a, b].map((node) => enter(node, 'eve', 'room:once')));
		await become([a, b], 'room:once', ['eve', 'eve']);
		const others = await Promise.all([a, b, a, b].map((n) => enter(n, 'ann', 'room:once')));
		await become([a, b], 'room:once', ['ann', 'ann', 'ann', 'ann', 'eve', 'eve']);
		for (const client of others) {
			client.terminate();
			await sleep(50);
		}
		await become([a, b], 'room:once', ['eve', 'eve']);
		const named = (w) => moves(w).filter(([, user]) => user !== 'eve');
		for (const watcher of watchers) {
			await eventually(3_000, 'both words', () => named(watcher).length >= 2);
			await sleep(100);
			assert.deepEqual(named(watcher), [['join', 'ann'], ['leave', 'ann']]);
		}
		watchers.forEach((w) => w.terminate());
	});

	test('anonymous members count each for itself', async () => {
		const watcher = await enter(a, 'eve', 'room:anon');
		await become([a], 'room:anon', ['eve']);
		const two = await Promise.all([a, b].map((node) => enter(node, undefined, 'room:anon')));
		two.forEach((c) => c.terminate());
		await become([a, b], 'room:anon', ['eve']);
		const named = () => moves(watcher).filter(([, user]) => user === '');
		await eventually(3_000, 'four words', () => named().length >= 4);
		assert.deepEqual(named().map(([what]) => what).sort(), ['join', 'join', 'leave', 'leave']);
		watcher.terminate();
	});

	test('a worker killed: its members leave, the others stay', async () => {
		const watcher = await enter(b, 'eve', 'room:worker');
		const clients = await openMany(12, (i) => enter(a, `u${i}`, 'room:worker'));
		await become([b], 'room:worker', ['eve', ...clients.map((_, i) => `u${i}`)].sort());
		kill(a.role('worker 0'));
		await eventually(5_000, 'some to be gone', () => clients.some((c) => c.gone));
		await sleep(200);
		const left = clients.map((c, i) => (c.gone ? undefined : `u${i}`)).filter(Boolean);
		await become([a, b], 'room:worker', ['eve', ...left].sort());
		const gone = clients.map((c, i) => (c.gone ? `u${i}` : undefined)).filter(Boolean).sort();
		await eventually(3_000, 'their leaving', () =>
			moves(watcher).filter(([what]) => what === 'leave').length >= gone.length);
		assert.deepEqual(moves(watcher).filter(([what]) => what === 'leave')
			.map(([, user]) => user).sort(), gone);
		[watcher, ...clients].forEach((c) => c.terminate());
		await a.ready();
	});

	test('a hub killed: nobody is seen leaving, and presence is exact again', async () => {
		const watcher = await enter(b, 'eve', 'room:hub');
		const clients = await Promise.all([enter(a, 'ann', 'room:hub'), enter(b, 'bob', 'room:hub')]);
		await become([a, b], 'room:hub', ['ann', 'bob', 'eve']);
		for (const node of [a, b]) {
			const old = node.role('hub');
			kill(old);
			await node.replaced('hub', old);
			await node.ready();
		}
		/* Past the lease of the hubs that were killed. */
		await sleep(2 * LEASE);
		await become([a, b], 'room:hub', ['ann', 'bob', 'eve']);
		assert.deepEqual(moves(watcher).filter(([what]) => what === 'leave'), []);
		assert.equal(moves(watcher).filter(([, user]) => user === 'ann').length, 1);
		clients[0].terminate();
		await become([a, b], 'room:hub', ['bob', 'eve']);
		await eventually(3_000, 'a true leaving', () =>
			JSON.stringify(moves(watcher).at(-1)) === '["leave","ann"]');
		[watcher, ...clients].forEach((c) => c.terminate());
	});

	test('Redis restarted empty: everybody is joined again', async () => {
		const clients = await Promise.all(
			[enter(a, 'ann', 'room:redis'), enter(b, 'bob', 'room:redis')]);
		await become([a, b], 'room:redis', ['ann', 'bob']);
		await cluster.redis.cli('FLUSHALL');
		await cluster.restartRedis();
		await cluster.ready(10_000);
		await become([a, b], 'room:redis', ['ann', 'bob'], 10_000);
		clients.forEach((c) => c.terminate());
		await become([a, b], 'room:redis', []);
	});

	test('who is there costs Redis little, however many ask', async () => {
		const member = await enter(a, 'ada', 'room:asked');
		const askers = await openMany(20, () => json(a));
		const direct = await cluster.redis.connect();
		await direct.command('CONFIG', 'RESETSTAT');
		const begun = performance.now();
		await Promise.all(askers.map(async (asker) => {
			for (let i = 0; i < 5; i++) {
				const answer = await asker.ask({ presence: 'room:asked' });
				assert.equal(answer.members?.length, 1, JSON.stringify(answer));
			}
		}));
		const most = 10 * (performance.now() - begun) / 1000 + 1;
		const { hgetall } = await commandCounts(direct);
		assert.ok(hgetall >= 5 && hgetall <= most, `${hgetall} of at most ${most}`);
		direct.close();
		[member, ...askers].forEach((c) => c.terminate());
		await become([a, b], 'room:asked', []);
	});

	test('idle members cost Redis nothing each', { timeout: 90 }, async (t) => {
		const clients = await openMany(N, (i) =>
			enter(i % 2 === 0 ? a : b, `u${i}`, 'quiet:many'));
		await eventually(10_000, 'all to be in', async () =>
			(await members(a, 'quiet:many')).length === N);
		const direct = await cluster.redis.connect();
		await direct.command('CONFIG', 'RESETSTAT');
		const begun = performance.now();
		await sleep(2 * LEASE);
		const counts = await commandCounts(direct);
		const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
		const seconds = (performance.now() - begun) / 1000;
		t.diagnostic(`${N} idle members, ${seconds.toFixed(1)} s: ` +
			`${all} commands, ${JSON.stringify(counts)}`);
		/* What nodes do by the clock, whoever is there, and less than one for each member. */
		assert.ok(all < Math.min(60 * seconds, N), `${all} commands`);
		assert.equal((await members(b, 'quiet:many')).length, N, 'some were forgotten');
		direct.close();
		clients.forEach((c) => c.terminate());
		await eventually(10_000, 'all to be out', async () =>
			(await members(b, 'quiet:many')).length === 0);
	});
});

describe('presence when a node dies', () => {
	test('its members vanish within the lease, and are seen leaving once', { timeout: 60 },
		async (t) => {
			const cluster = await Cluster.start({ options: OPTIONS });
			t.after(() => cluster.stop());
			const [a, b] = cluster.nodes;
			const watcher = await enter(b, 'eve', 'room:node');
			const clients = await Promise.all([
				enter(a, 'ann', 'room:node'), enter(a, 'ann', 'room:node'),
				enter(a, 'bob', 'room:node'), enter(b, 'bob', 'room:node'),
			]);
			await become([b], 'room:node', ['ann', 'ann', 'bob', 'bob', 'eve']);
			const begun = performance.now();
			kill(a.pid, 'SIGKILL');
			cluster.nodes.shift();
			await become([b], 'room:node', ['bob', 'eve'], LEASE + 2_000);
			t.diagnostic(`vanished after ${(performance.now() - begun).toFixed(0)} ms, ` +
				`with a lease of ${LEASE} ms`);
			await eventually(LEASE + 3_000, 'the word', () =>
				moves(watcher).some(([what]) => what === 'leave'));
			await sleep(LEASE);
			/* bob is still there, by his other connection. */
			assert.deepEqual(moves(watcher).filter(([what]) => what === 'leave'),
				[['leave', 'ann']]);
			[watcher, ...clients].forEach((c) => c.terminate());
			a.discard();
		});

	test('without Redis: a user leaves once, and a hub that dies lets nobody leave', async (t) => {
		const node = await Node.start({ ...OPTIONS, redis: {}, workers: 2 });
		t.after(() => node.stop());
		const watcher = await enter(node, 'eve', 'room:one');
		const clients = await openMany(4, () => enter(node, 'ann', 'room:one'));
		await become([node], 'room:one', ['ann', 'ann', 'ann', 'ann', 'eve']);
		kill(node.role('hub'));
		await node.ready();
		await become([node], 'room:one', ['ann', 'ann', 'ann', 'ann', 'eve']);
		clients.forEach((c) => c.terminate());
		await become([node], 'room:one', ['eve']);
		const of = moves(watcher).filter(([, user]) => user === 'ann');
		assert.equal(of.filter(([what]) => what === 'leave').length, 1);
		watcher.terminate();
	});
});
