/*
 * Thousands of clients that have stopped reading under a flood: the policy holds, the worker's memory
 * stays bounded, and the others do not notice.
 */
import assert from 'node:assert/strict';
import { hasAsan, ownMemory, withstand } from './lib/bystanders.mjs';
import { openMany } from './lib/clients.mjs';
import { ms, Node } from './lib/fanfare.mjs';
import { OP, RawClient } from './lib/raw.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { eventually, sleep, slowness, test } from './lib/test.mjs';

const READERS = slowness > 1 ? 500 : 2_000;
const SECONDS = 5;
const RATE = 10_000_000; /* bytes a second */
const SIZE = 60_000;
const MIB = 1 << 20;
const WORKERS = 2;
/* Beside the queues: connections, blocks of the pass, what malloc keeps. */
const MEMORY_SLACK = 24 * MIB;

/* A node that ends with the test, however that ends. */
async function start(t, options) {
	const node = await Node.start(options);
	t.after(() => node.child && node.discard());
	return node;
}

async function stopped(node, target) {
	const client = await RawClient.open(node, target);
	client.socket.pause();
	return client;
}

/* Publishes at RATE; returns how many messages it were. */
async function flood(node, channels) {
	const begun = Date.now();
	let n = 0;
	while (Date.now() - begun < SECONDS * 1_000 * slowness) {
		n++;
		for (const channel of channels)
			await node.publish(channel, numbered(channel, 'p', n, SIZE));
		const due = begun + n * channels.length * SIZE / RATE * 1_000 * slowness;
		if (due > Date.now())
			await sleep(due - Date.now());
	}
	return n;
}

/* Runs fn and returns the most memory that a worker had beyond what it had before. */
async function growth(node, fn) {
	const pids = Array.from({ length: node.options.workers }, (_, i) => node.role(`worker ${i}`));
	const before = pids.map(ownMemory);
	let most = 0;
	const timer = setInterval(() => {
		pids.forEach((pid, i) => { most = Math.max(most, ownMemory(pid) - before[i]); });
	}, 20);
	try {
		await fn();
	} finally {
		clearInterval(timer);
	}
	return hasAsan(pids[0]) ? 0 : most;
}

/* Reads what a stopped client still gets, until `enough` says so; its messages are whole. */
async function readOn(client, enough) {
	const sequence = new Sequence();
	client.socket.resume();
	for (;;) {
		const f = await client.frameButPing(10_000);
		if (f.opcode === OP.CLOSE) {
			assert.equal(f.code, 1013);
			break;
		}
		sequence.take(f.data.toString());
		if (enough(sequence))
			break;
	}
	sequence.assertOrdered();
	return sequence;
}

test(`fault 27: ${READERS} stopped readers are kicked`, { timeout: 120 }, async (t) => {
	const node = await start(t, {
		workers: WORKERS,
		limits: { sndbuf: 16 << 10, stall: ms(60_000), close: ms(1_000),
			ping_interval: ms(60_000) },
	});
	await withstand(t, node, async () => {
		const bad = await openMany(READERS, () => stopped(node, '/ws/flood'));
		const most = await growth(node, async () => {
			await flood(node, ['flood']);
			await eventually(10_000, 'all to be let go', async () =>
				await node.subscribers('flood') === 0);
		});
		t.diagnostic(`memory: ${most} bytes`);
		assert.ok(most < MEMORY_SLACK, `${most} bytes`);
		bad.forEach((c) => c.destroy());
	});
	await node.stop();
});

test(`fault 27: ${READERS} stopped readers miss messages`, { timeout: 120 }, async (t) => {
	const node = await start(t, {
		workers: WORKERS,
		limits: { sndbuf: 16 << 10, stall: ms(1_000), ping_interval: ms(60_000) },
		channels: [{ match: 'flood', slow: 'drop-oldest' }],
	});
	await withstand(t, node, async () => {
		const bad = await openMany(READERS, () => stopped(node, '/ws/flood'));
		let n;
		const most = await growth(node, async () => { n = await flood(node, ['flood']); });
		t.diagnostic(`memory: ${most} bytes, ${n} messages`);
		/* They share the blocks that wait for them. */
		assert.ok(most < MEMORY_SLACK, `${most} bytes`);
		assert.equal(await node.subscribers('flood'), READERS);
		/* Whoever reads on gets whole messages, in order, up to the last. */
		for (const client of bad.slice(0, 20)) {
			const sequence = await readOn(client, (s) => s.last.get('flood p') === n);
			assert.ok(sequence.lost > 0);
		}
		bad.forEach((c) => c.destroy());
		await eventually(10_000, 'them to go', async () => await node.subscribers('flood') === 0);
	});
	await node.stop();
});

/* Each with a channel of its own, so that no two queues share a block. */
for (const slow of ['kick', 'drop-oldest']) {
	test(`all queues of a worker are bounded: ${slow}`, { timeout: 120 }, async (t) => {
		const QUEUES = 8 * MIB;
		const N = 40;
		const node = await start(t, {
			workers: 1,
			limits: { slow, sndbuf: 16 << 10, queue: 16 * MIB, queues: QUEUES,
				stall: ms(60_000), close: ms(500), ping_interval: ms(60_000) },
		});
		const channels = Array.from({ length: N }, (_, i) => `c${i}`);
		const bad = await openMany(N, (i) => stopped(node, `/ws/${channels[i]}`));
		/* The kernel keeps as much as it likes of it; the rest is beyond the bound. */
		const most = await growth(node, async () => {
			for (let n = 1; n <= 100; n++) {
				await Promise.all(channels.map((c) =>
					node.publish(c, numbered(c, 'p', n, SIZE))));
			}
		});
		t.diagnostic(`memory: ${most} bytes`);
		assert.ok(most < QUEUES + MEMORY_SLACK, `${most} bytes`);
		assert.match(node.stderr, /over limits\.queues/);
		const gone = await Promise.all(channels.map(async (c) =>
			await node.subscribers(c) === 0));
		if (slow === 'kick')
			assert.ok(gone.filter(Boolean).length > N / 2, 'none was kicked');
		else
			assert.ok(!gone.some(Boolean), 'one was kicked');
		bad.forEach((c) => c.destroy());
		await node.stop();
	});
}
