/*
 * cleanup: whatever a test file started ends with it, by pid, also when a test fails.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const pids = new Set();
const dirs = new Set();

/* Every process with its parent and its command line. */
export function processes() {
	const all = [];
	for (const name of fs.readdirSync('/proc')) {
		if (!/^\d+$/.test(name))
			continue;
		try {
			const stat = fs.readFileSync(`/proc/${name}/stat`, 'latin1');
			const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
			/* A title set by the program itself ends at the first NUL. */
			const line = fs.readFileSync(`/proc/${name}/cmdline`, 'latin1');
			const title = line.startsWith('fanfare: ')
				? line.split('\0', 1)[0].trim() : line.replace(/\0+/g, ' ').trim();
			all.push({ pid: Number(name), parent: Number(parent), state, title });
		} catch {
			/* it ended meanwhile */
		}
	}
	return all;
}

/* The processes below pid, itself not included, zombies neither. */
export function descendants(pid) {
	const all = processes();
	const below = [];
	const parents = [pid];
	while (parents.length > 0) {
		const parent = parents.shift();
		for (const p of all.filter((q) => q.parent === parent)) {
			parents.push(p.pid);
			if (p.state !== 'Z')
				below.push(p);
		}
	}
	return below;
}

export function alive(pid) {
	try {
		const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
		return !['Z', 'X'].includes(stat[stat.lastIndexOf(')') + 2]);
	} catch {
		return false;
	}
}

export function kill(pid, signal = 'SIGKILL') {
	if (pid === undefined)
		return;
	try {
		process.kill(pid, signal);
	} catch (error) {
		if (error.code !== 'ESRCH')
			throw error;
	}
}

/* A process that could not be started has no pid. */
export const track = (pid) => pid !== undefined && pids.add(pid);
export const untrack = (pid) => pids.delete(pid);

/* World-writable, since sanitizers write there from processes that have dropped privileges. */
export function tempDir(name) {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), `fanfare-${name}-`));
	fs.chmodSync(dir, 0o1777);
	dirs.add(dir);
	return dir;
}

export function removeDir(dir) {
	fs.rmSync(dir, { recursive: true, force: true });
	dirs.delete(dir);
}

export function runCleanups() {
	for (const pid of pids) {
		for (const p of descendants(pid))
			kill(p.pid);
		kill(pid);
	}
	pids.clear();
	for (const dir of [...dirs])
		removeDir(dir);
}

process.on('exit', runCleanups);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
	process.on(signal, () => process.exit(1));
