/*
 * fanfare: starts and stops a node, and looks at its processes.
 *
 * FANFARE names the binary; ../../fanfare unless set.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { alive, descendants, kill, removeDir, tempDir, track, untrack } from './cleanup.mjs';
import { freePort } from './ports.mjs';
import { eventually, within } from './test.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
export const binary = path.resolve(process.env.FANFARE ?? path.join(here, '../../../fanfare'));
if (!fs.existsSync(binary))
	throw new Error(`${binary} is not there: build it, or name another by FANFARE`);

/* A duration as the configuration has it. */
export const ms = (n) => `${n}ms`;

/* The environment without anything that would configure the node, and with sanitizers' logs. */
export function environment(logs, extra = {}) {
	const env = { ...process.env };
	for (const name of Object.keys(env).filter((n) => n.startsWith('FANFARE')))
		delete env[name];
	env.ASAN_OPTIONS = `log_path=${logs}/asan:${env.ASAN_OPTIONS ?? ''}`;
	env.UBSAN_OPTIONS = `print_stacktrace=1:log_path=${logs}/ubsan:${env.UBSAN_OPTIONS ?? ''}`;
	return { ...env, ...extra };
}

/* Fails if a sanitizer has written to dir. */
export function assertNoReports(dir) {
	for (const name of fs.readdirSync(dir).filter((n) => /^(asan|ubsan)/.test(n)))
		assert.fail(`sanitizer: ${fs.readFileSync(path.join(dir, name), 'utf8')}`);
}

/*
 * Runs the binary to its end.  Returns { code, signal, stdout, stderr }.
 */
export async function run(args, { env, input = '', timeout = 10_000 } = {}) {
	const dir = tempDir('run');
	const child = spawn(binary, args, { env: environment(dir, env) });
	track(child.pid);
	let stdout = '';
	let stderr = '';
	child.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
	child.stderr.setEncoding('utf8').on('data', (s) => { stderr += s; });
	child.stdin.on('error', () => {}).end(input);
	const ended = new Promise((resolve) => {
		child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
	});
	try {
		return await within(timeout, `fanfare ${args.join(' ')}`, ended);
	} finally {
		kill(child.pid);
		untrack(child.pid);
		assertNoReports(dir);
		removeDir(dir);
	}
}

export class Node {
	/*
	 * options: as in the configuration file, nested; the two listeners and the level of the log
	 * are filled in.  files: the limit of open files; stderr: an fd to log to, instead of to
	 * node.stderr.
	 */
	constructor(options = {}, { env = {}, ports, files, stderr = 'pipe' } = {}) {
		this.options = options;
		this.env = env;
		this.ports = ports;
		this.files = files;
		this.stdio = ['ignore', 'pipe', stderr];
		this.dir = tempDir('node');
		this.stderr = '';
	}

	static async start(options, extra) {
		const node = new Node(options, extra);
		await node.spawn();
		await node.ready();
		return node;
	}

	/* Starts the master and does not wait for more. */
	async spawn() {
		this.ports ??= { public: await freePort(), internal: await freePort() };
		const config = {
			workers: 1,
			log: { level: 'info' },
			...this.options,
			listen: {
				public: [`127.0.0.1:${this.ports.public}`],
				internal: [`127.0.0.1:${this.ports.internal}`],
				...this.options.listen,
			},
		};
		/* JSON is YAML too. */
		this.file = path.join(this.dir, 'fanfare.yaml');
		fs.writeFileSync(this.file, JSON.stringify(config, null, 2));
		const limit = this.files === undefined ? [] : ['prlimit', `--nofile=${this.files}`];
		const [command, ...args] = [...limit, binary, '-c', this.file];
		this.child = spawn(command, args, {
			env: environment(this.dir, this.env),
			stdio: this.stdio,
		});
		this.pid = this.child.pid;
		track(this.pid);
		for (const stream of [this.child.stdout, this.child.stderr].filter(Boolean))
			stream.setEncoding('utf8').on('data', (s) => { this.stderr += s; });
		this.exited = new Promise((resolve) => {
			this.child.on('exit', (code, signal) => resolve({ code, signal }));
		});
		this.exited.then((how) => { this.how = how; });
	}

	/*
	 * Waits until /readyz says so, again and again, since each worker speaks for itself and the
	 * kernel chooses one for each connection.
	 */
	async ready(ms = 10_000) {
		const enough = 4 * (this.options.workers ?? 1);
		let inRow = 0;
		await eventually(ms, 'ready', async () => {
			while (inRow < enough) {
				if (this.how)
					throw new Error(`fanfare ended, ${JSON.stringify(this.how)}`);
				if (await this.readyStatus() !== 200) {
					inRow = 0;
					return false;
				}
				inRow++;
			}
			return true;
		}).catch((error) => {
			throw new Error(`${error.message}\n${this.stderr}`);
		});
	}

	/* The status of /readyz; 0 where there is no answer. */
	async readyStatus() {
		try {
			return (await this.request('GET', '/readyz')).status;
		} catch {
			return 0;
		}
	}

	url(target = '/ws') {
		return `ws://127.0.0.1:${this.ports.public}${target}`;
	}

	/*
	 * One request on a connection of its own, to the internal listener unless `public` is set.
	 * Returns { status, headers, body }, the body a string.
	 */
	request(method, target, { body, headers = {}, public: isPublic = false } = {}) {
		const answer = new Promise((resolve, reject) => {
			const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
			const req = http.request({
				host: '127.0.0.1',
				port: isPublic ? this.ports.public : this.ports.internal,
				method,
				path: target,
				headers: { ...length, ...headers },
				agent: false,
			}, (res) => {
				const chunks = [];
				res.on('data', (c) => chunks.push(c));
				res.on('error', reject);
				res.on('end', () => resolve({
					status: res.statusCode,
					headers: res.headers,
					body: Buffer.concat(chunks).toString(),
				}));
			});
			req.on('error', reject);
			req.end(body);
		});
		return within(20_000, `${method} ${target}`, answer);
	}

	/* Publishes as text, or as what `type` says, and expects success. */
	async publish(channel, body, type = 'text/plain') {
		const answer = await this.request('POST', `/pub/${encodeURIComponent(channel)}`,
			{ body, headers: type === null ? {} : { 'Content-Type': type } });
		assert.equal(answer.status, 200, `POST /pub/${channel}: ${answer.body}`);
		return answer;
	}

	/* How many subscribers the node counts on a channel; undefined while it cannot tell. */
	async subscribers(channel) {
		const answer = await this.request('GET', `/pub/${encodeURIComponent(channel)}`);
		if (answer.status === 503)
			return undefined;
		assert.equal(answer.status, 200, answer.body);
		return JSON.parse(answer.body).subscribers;
	}

	/* The pid of a role, "hub" or "worker 0"; undefined if there is none. */
	role(name) {
		return descendants(this.pid).find((p) => p.title === `fanfare: ${name}`)?.pid;
	}

	/* Waits for a role whose pid is not `old`. */
	replaced(name, old, ms = 5_000) {
		return eventually(ms, `a new ${name}`, () => {
			const pid = this.role(name);
			return pid !== undefined && pid !== old && pid;
		});
	}

	/* Waits until a line of the log matches. */
	logged(pattern, ms = 5_000) {
		return eventually(ms, `log ${pattern}`, () => pattern.exec(this.stderr));
	}

	/* Ends the node and checks that it ended well and that nothing of it lives on. */
	async stop(signal = 'SIGTERM') {
		if (!this.child)
			return;
		const below = descendants(this.pid).map((p) => p.pid);
		try {
			assert.equal(this.how, undefined, `ended before its time:\n${this.stderr}`);
			kill(this.pid, signal);
			const how = await within(10_000, 'the end of the master', this.exited);
			assert.deepEqual(how, { code: 0, signal: null }, this.stderr);
			await eventually(2_000, 'the end of the children', () => !below.some(alive));
			assertNoReports(this.dir);
		} finally {
			below.forEach((pid) => kill(pid));
			this.discard();
		}
	}

	/* For a node that has ended, or whose end is of no interest. */
	discard() {
		for (const p of descendants(this.pid))
			kill(p.pid);
		kill(this.pid);
		untrack(this.pid);
		this.child = undefined;
		removeDir(this.dir);
	}
}
