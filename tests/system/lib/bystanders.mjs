/*
 * bystanders: subscribers who must not notice an attack on the node that serves them.
 *
 * They and their publisher run in a thread of their own (bystanders-thread.mjs), so that what the
 * attack costs the test's own event loop does not show in their latency.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import { descendants } from './cleanup.mjs';
import { assertNoReports } from './fanfare.mjs';
import { eventually, sleep, slowness, within } from './test.mjs';

const MEMORY_SHARE = 0.05; /* what a worker may keep of its old memory */
const MEMORY_SLACK = 1 << 20; /* and what it may keep in any case */
const P99_MAX = 2_000; /* ms, for a machine that has other things to do */

let count = 0;

/*
 * Starts n subscribers of a channel of their own and a publisher of `rate` numbered messages a
 * second.  target: where they connect, with the channel in it; client: options of ws; headers: of
 * the publisher's requests.  Resolves when all are connected and the first message is through.
 */
export async function bystanders(server, { n = 10, rate = 100, channel, target, client = {},
	headers = {} } = {}) {
	channel ??= `bystanders-${++count}`;
	const thread = new Worker(new URL('./bystanders-thread.mjs', import.meta.url), {
		workerData: {
			n, rate, channel, client, headers,
			url: server.url(target ?? `/ws/${channel}`),
			port: server.ports.internal,
		},
	});
	const waiting = new Map();
	let failure;
	const fail = (error) => {
		failure ??= error;
		waiting.forEach(({ reject }) => reject(failure));
	};
	thread.on('message', ({ type, value }) => {
		if (type === 'error')
			fail(new Error(`bystanders: ${value}`));
		else
			waiting.get(type)?.resolve(value);
	});
	thread.on('error', fail);
	const answer = (type) => within(15_000, `bystanders: ${type}`, new Promise((resolve, reject) => {
		waiting.set(type, { resolve, reject });
		if (failure)
			reject(failure);
	}));
	const ask = (type, value) => {
		const answered = answer(type);
		thread.postMessage({ type, value });
		return answered;
	};
	try {
		await answer('ready');
	} catch (error) {
		await thread.terminate();
		throw error;
	}
	return {
		channel,
		/* From here on latencies count for the phase of this name; the first is "calm". */
		phase: (name) => ask('phase', name),
		/*
		 * Ends the publisher, waits until all has arrived, and ends the subscribers.  Returns
		 * { sent, refused: [what], receivers: [{ received, lost, doubled, corrupt, gone }],
		 * latency: { phase: { n, p50, p99, max } } }, latencies in ms.
		 */
		async stop() {
			try {
				return await ask('stop');
			} finally {
				await thread.terminate();
			}
		},
		/* Ends all at once, for a test that has failed. */
		kill: () => thread.terminate(),
	};
}

/* Each got each message once and in order, and no publish was refused; p99 and max in ms. */
export function assertUndisturbed({ sent, refused, receivers, latency },
	{ p99 = P99_MAX, max = Infinity } = {}) {
	assert.deepEqual(refused, [], 'publishes were refused');
	receivers.forEach((receiver, i) => assert.deepEqual(receiver,
		{ received: sent, lost: 0, doubled: 0, corrupt: 0, gone: null }, `bystander ${i}`));
	for (const [phase, l] of Object.entries(latency)) {
		assert.ok(l.n === 0 || (l.p99 <= p99 * slowness && l.max <= max * slowness),
			`latency in phase ${phase}: p99 ${l.p99} ms, max ${l.max} ms`);
	}
}

export function openFds(pid) {
	return fs.readdirSync(`/proc/${pid}/fd`).length;
}

/* Bytes of memory that a process has of its own. */
export function ownMemory(pid) {
	const status = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
	return Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)[1]) * 1024;
}

/* CPU seconds that a process has used so far. */
export function cpuTime(pid) {
	const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
	const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
	return (Number(fields[11]) + Number(fields[12])) / 100; /* USER_HZ */
}

/* Whether it runs with AddressSanitizer, which keeps freed memory for a while. */
export function hasAsan(pid) {
	return fs.readFileSync(`/proc/${pid}/maps`, 'latin1').includes('libasan');
}

/* The node's processes by title: { pid, fds, memory }, memory for the workers alone. */
export function resources(server) {
	const all = {};
	for (const { pid, title } of descendants(server.pid)) {
		all[title] = { pid, fds: openFds(pid) };
		if (title.startsWith('fanfare: worker'))
			all[title].memory = ownMemory(pid);
	}
	return all;
}

const part = (all, key) =>
	Object.fromEntries(Object.entries(all).map(([title, r]) => [title, r[key]]));
const same = (a, b, key) => JSON.stringify(part(a, key)) === JSON.stringify(part(b, key));

/* What the node holds once nothing has changed for a while. */
async function settled(server) {
	let last = resources(server);
	let since = Date.now();
	return eventually(10_000, 'the node to come to rest', async () => {
		await sleep(50);
		const now = resources(server);
		if (!same(now, last, 'fds') || !same(now, last, 'pid'))
			since = Date.now();
		last = now;
		return Date.now() - since >= 300 && last;
	});
}

/* The workers whose memory is not back, as text; "" if all is well. */
function fatWorkers(before, now, slack) {
	return Object.entries(before).filter(([, r]) => r.memory !== undefined)
		.filter(([title, r]) => now[title]?.memory > r.memory * (1 + MEMORY_SHARE) + slack)
		.map(([title, r]) => `${title}: ${r.memory} bytes before, ${now[title].memory} after`)
		.join('; ');
}

/*
 * Runs attack() and checks that the node withstands it: bystanders lose nothing, get nothing twice
 * and nothing out of order; no process ends; 10 s after it (or sooner) each process has exactly as
 * many fds as before, and each worker its old memory; no sanitizer has reported.  The attack must
 * have closed its own connections by its end.
 *
 * memory: whether to look at it (builds with ASan never do), or { slack: bytes }.  p99, max: bounds
 * of the bystanders' latency in ms.  The rest: as for bystanders().  Returns what stop() does, with
 * `before` and `after`, the resources.
 */
export async function withstand(t, server, attack, { memory = false, p99, max, ...options } = {}) {
	const calm = await bystanders(server, options);
	let report;
	let before;
	let after;
	try {
		before = await settled(server);
		const worker = Object.keys(before).find((title) => title.startsWith('fanfare: worker'));
		const weigh = memory && !hasAsan(before[worker].pid);
		await calm.phase('attack');
		await attack(calm);
		await calm.phase('after');
		let wrong;
		await eventually(10_000, 'recovery', () => {
			wrong = '';
			after = resources(server);
			assert.deepEqual(part(after, 'pid'), part(before, 'pid'), 'a process was replaced');
			wrong = same(after, before, 'fds') ? ''
				: `fds ${JSON.stringify(part(before, 'fds'))} before, ` +
					`${JSON.stringify(part(after, 'fds'))} after`;
			if (wrong === '' && weigh)
				wrong = fatWorkers(before, after, memory.slack ?? MEMORY_SLACK);
			return wrong === '';
		}).catch((error) => {
			throw wrong ? new Error(`not back to rest: ${wrong}`) : error;
		});
		report = await calm.stop();
	} finally {
		await calm.kill();
	}
	for (const [phase, l] of Object.entries(report.latency)) {
		if (l.n > 0)
			t.diagnostic(`${phase}: p50 ${l.p50} ms, p99 ${l.p99} ms, max ${l.max} ms`);
	}
	assertUndisturbed(report, { p99, max });
	assertNoReports(server.dir);
	return { ...report, before, after };
}
