/*
 * Two nodes, one Redis, eight publishers of numbered messages, and subscribers who come back by
 * themselves, while workers, hubs and Redis are killed at random: every subscriber ends with every
 * message once and in order, or was told.
 *
 * FANFARE_CHAOS_SEED repeats a run's choices, FANFARE_CHAOS_MESSAGES sets the size of the first one.
 */
import assert from 'node:assert/strict';
import { ALWAYS, Cluster, EVERYSEC, pick, random } from './lib/nodes.mjs';
import { Checker, ClientWay, HttpWay, JsonSubscriber, Publisher, RedisWay, SseSubscriber }
	from './lib/numbered.mjs';
import { describe, eventually, sleep, slowness, test } from './lib/test.mjs';

const PUBLISHERS = 8;
const CHANNELS = 50;
/* Builds with sanitizers, and slow machines, publish less. */
const scale = (n) => (slowness > 1 ? Math.ceil(n / (5 * slowness)) : n);
const MESSAGES = scale(Number(process.env.FANFARE_CHAOS_MESSAGES ?? 100_000));

const HISTORY = { match: 'h:*', publish: 'anyone', history: { size: 20_000, ttl: '10m' } };
const PLAIN = { match: 'p:*', publish: 'anyone' };
const OPTIONS = {
	channels: [HISTORY, PLAIN],
	limits: { commands: 0, recovery: 20_000, queue: '16MiB' },
	redis: { canary: '1s', timeout: '2s' },
};

/* What can go wrong.  Each resolves when it is done, not when all is well again. */
const faults = (cluster, subscribers, rng, redis) => ({
	worker: () => cluster.killRole(pick(rng, cluster.nodes), `worker ${Math.floor(rng() * 2)}`),
	hub: () => cluster.killRole(pick(rng, cluster.nodes), 'hub'),
	redis: () => redis(Math.floor(rng() * 400)),
	clients: () => subscribers.filter(() => rng() < 0.2).forEach((s) => s.cut()),
});

/*
 * Lets `most` faults happen, fewer where stop() comes before: each kind once, then by chance.  There is
 * an end to them, since a master waits longer and longer before it replaces what keeps dying.  stop()
 * returns how often each kind did.
 */
function unrest(actions, rng, most) {
	const kinds = Object.keys(actions);
	const counts = Object.fromEntries(kinds.map((kind) => [kind, 0]));
	let stopped = false;
	const done = (async () => {
		for (let i = 0; i < (stopped ? kinds.length : most); i++) {
			await sleep(400 + rng() * 400);
			const kind = kinds[i] ?? pick(rng, kinds);
			counts[kind]++;
			await actions[kind]();
		}
		return counts;
	})();
	done.catch(() => {});
	return {
		stop() {
			stopped = true;
			return done;
		},
	};
}

/*
 * One run.  messages: in all; redis: arguments of the server; restart(cluster, rng, down): what
 * becomes of Redis; history: whether the channels keep one; seconds: over which a publisher spreads
 * its messages of a channel.
 */
async function run(t, { messages, redis, restart, history = true, repeats = false, seconds }) {
	const seed = Number(process.env.FANFARE_CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 31));
	t.diagnostic(`FANFARE_CHAOS_SEED=${seed}`);
	const rng = random(seed);
	const begun = Date.now();
	const cluster = await Cluster.start({ redis, options: OPTIONS });
	const { nodes } = cluster;
	const channels = Array.from({ length: CHANNELS }, (_, i) => `${history ? 'h' : 'p'}:${i}`);
	const checker = new Checker({ repeats });
	const subscribers = [];
	const publishers = [];
	try {
		subscribe(checker, nodes, channels, history, subscribers);
		await Promise.all(subscribers.map((s) => s.start()));

		const ways = [
			new HttpWay(nodes), new HttpWay([nodes[0]]), new HttpWay([nodes[1]]),
			new RedisWay(cluster.redis), new RedisWay(cluster.redis), new RedisWay(cluster.redis),
			new ClientWay(nodes), new ClientWay([...nodes].reverse()),
		];
		const each = Math.ceil(messages / PUBLISHERS / CHANNELS);
		publishers.push(...ways.map((way, i) => new Publisher(checker, `p${i}`, way,
			{ keyed: history, pause: seconds * 1000 / each })));
		assert.equal(publishers.length, PUBLISHERS);
		const trouble = unrest(
			faults(cluster, subscribers, rng, (down) => restart(cluster, rng, down)), rng,
			12 + Math.floor(messages / 5_000));
		await Promise.all(publishers.map((p) => p.run(channels, each)));
		const flowed = Date.now() - begun;
		const counts = await trouble.stop();

		/* All is calm: whoever missed something knows it by now, or finds out by the last ones. */
		await cluster.ready(20_000);
		await Promise.all(subscribers.map((s) => s.awaitLive()));
		await sleep(200);
		await Promise.all(publishers.map((p) => p.finish(channels)));
		await eventually(30_000, 'the last messages', () => checker.complete())
			.catch(() => {}); /* what is missing, the checker tells */

		report(t, { checker, subscribers, publishers, counts, flowed });
		checker.assertComplete();
		return checker.figures();
	} finally {
		subscribers.forEach((s) => s.stop());
		publishers.forEach((p) => p.way.close());
		await cluster.stop();
	}
}

/* Every channel is heard six times, at both nodes: alone, and with others on one connection. */
function subscribe(checker, nodes, channels, history, subscribers) {
	const options = { history };
	for (let i = 0; i < 40; i++) {
		const own = channels.filter((_, k) => (k + i) % 10 === 0);
		subscribers.push(new JsonSubscriber(checker, `json ${i}`, nodes, own, options));
	}
	channels.forEach((channel, i) =>
		subscribers.push(new SseSubscriber(checker, `sse ${i}`, nodes, [channel], options)));
	for (let i = 0; i < 5; i++) {
		const own = channels.filter((_, k) => k % 5 === i);
		subscribers.push(new SseSubscriber(checker, `sse of ten ${i}`, nodes, own, options));
	}
}

function report(t, { checker, subscribers, publishers, counts, flowed }) {
	const sum = (all, key) => all.reduce((n, one) => n + (one[key] ?? 0), 0);
	const { received, missing, told } = checker.figures();
	const list = (of) => Object.entries(of).map(([key, n]) => `${key} ${n}`).join(', ');
	t.diagnostic(`${sum(publishers, 'accepted')} messages accepted, ` +
		`${sum(publishers, 'retries')} tries failed, in ${(flowed / 1000).toFixed(1)} s`);
	t.diagnostic(`faults: ${list(counts)}; connections lost: ${sum(subscribers, 'losses')}`);
	t.diagnostic(`received ${received}; recovered: ${sum(subscribers, 'recovered')}; ` +
		`told: ${list(told) || 'nobody'}; missing and told: ${missing}`);
}

const restarted = (cluster, rng, down) => cluster.restartRedis(down);

describe('chaos', () => {
	test('history channels, Redis loses nothing: every message once and in order',
		{ timeout: 200 }, async (t) => {
			const { received, missing } = await run(t,
				{ messages: MESSAGES, redis: ALWAYS, restart: restarted, seconds: 10 });
			/* To tell everybody of everything would be honest, and useless. */
			assert.ok(missing * 100 <= received, `${missing} of ${received} are missing`);
		});

	test('history channels, Redis loses its last writes: all others once and in order, or told',
		{ timeout: 100 }, async (t) => {
			await run(t, {
				messages: MESSAGES / 5, redis: EVERYSEC, repeats: true, seconds: 8,
				restart: (cluster, rng, down) => cluster.loseTail(rng, { down }),
			});
		});

	test('plain channels: whoever missed a message was told', { timeout: 100 }, async (t) => {
		const { told } = await run(t, {
			messages: MESSAGES / 5, redis: ALWAYS, restart: restarted, history: false, seconds: 8,
		});
		assert.ok(told.gap > 0, 'nobody was told of anything');
	});
});
