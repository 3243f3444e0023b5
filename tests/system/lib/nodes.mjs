/*
 * nodes: several nodes on one Redis, and the faults that they must withstand.
 *
 * Processes are found below the masters that were started here, and killed by their pids.
 */
import fs from 'node:fs';
import path from 'node:path';
import { kill } from './cleanup.mjs';
import { Node } from './fanfare.mjs';
import { Redis } from './redis.mjs';
import { sleep } from './test.mjs';

/* Arguments of a redis-server that loses nothing that it has answered, and of one that may. */
export const ALWAYS = ['--appendonly', 'yes', '--appendfsync', 'always'];
export const EVERYSEC = ['--appendonly', 'yes', '--appendfsync', 'everysec'];

/* Random numbers that can be had again: of [0, 1) by a seed (mulberry32). */
export function random(seed) {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
	};
}

export const pick = (rng, items) => items[Math.floor(rng() * items.length)];

export class Cluster {
	/* nodes: how many; redis: arguments of redis-server; options: of each node. */
	static async start({ nodes = 2, redis = ALWAYS, options = {} } = {}) {
		const cluster = new Cluster();
		cluster.redis = await Redis.start({ args: redis });
		cluster.nodes = await Promise.all(Array.from({ length: nodes }, () => Node.start(
			{ workers: 2, ...options, redis: { url: cluster.redis.url, ...options.redis } })));
		return cluster;
	}

	/* As a crash does; the master starts it again. */
	killRole(node, role) {
		const pid = node.role(role);
		kill(pid);
		return pid;
	}

	/* Kills Redis and starts it again on the same port and directory. */
	async restartRedis(down = 0) {
		await this.redis.crash();
		await sleep(down);
		await this.redis.launch();
	}

	/*
	 * As a power cut does where the file is not synced at each write: what Redis has written in
	 * the last `window` ms is lost from some byte on.
	 */
	async loseTail(rng, { window = 300, down = 0 } = {}) {
		const dir = path.join(this.redis.dir, 'appendonlydir');
		const file = path.join(dir, fs.readdirSync(dir).find((n) => n.endsWith('.incr.aof')));
		const before = fs.statSync(file).size;
		await sleep(window);
		await this.redis.crash();
		const { size } = fs.statSync(file);
		fs.truncateSync(file, before + Math.floor(rng() * (size - before)));
		await sleep(down);
		await this.redis.launch();
	}

	async ready(ms) {
		await Promise.all(this.nodes.map((node) => node.ready(ms)));
	}

	async stop() {
		for (const node of this.nodes)
			await node.stop();
		await this.redis.stop();
	}
}

/* How often Redis has run each command since `CONFIG RESETSTAT`, by its name in small letters. */
export async function commandCounts(client) {
	const counts = {};
	for (const [, name, calls] of (await client.command('INFO', 'commandstats'))
		.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm))
		counts[name] = Number(calls);
	return counts;
}
