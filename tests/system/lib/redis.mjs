/*
 * redis: a real redis-server of the test's own, and a small client for it.
 */
import { execFile, spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { kill, removeDir, tempDir, track, untrack } from './cleanup.mjs';
import { freePort } from './ports.mjs';
import { eventually, within } from './test.mjs';

const exec = promisify(execFile);

export class Redis {
	/* unix: on a socket only.  args: more options of redis-server. */
	static async start({ unix = false, args = [] } = {}) {
		const redis = new Redis();
		redis.dir = tempDir('redis');
		redis.args = args;
		redis.port = unix ? 0 : await freePort();
		redis.socket = path.join(redis.dir, 'redis.sock');
		await redis.launch();
		return redis;
	}

	/* Starts the server, again after crash(), on the same address. */
	async launch() {
		this.child = spawn('redis-server', [
			'--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
			'--dir', this.dir, '--unixsocket', this.socket, '--unixsocketperm', '777',
			...this.args,
		], { stdio: 'ignore' });
		track(this.child.pid);
		this.exited = new Promise((resolve) => { this.child.on('exit', resolve); });
		await eventually(10_000, 'redis-server', () => this.ping());
	}

	/* Whether it accepts connections; it may ask for a password. */
	ping() {
		return new Promise((resolve) => {
			const socket = net.connect({ path: this.socket });
			socket.on('error', () => resolve(false));
			socket.on('connect', () => {
				socket.destroy();
				resolve(true);
			});
		});
	}

	get url() {
		return this.port === 0 ? `unix://${this.socket}` : `redis://127.0.0.1:${this.port}`;
	}

	/* The standard output of redis-cli. */
	async cli(...args) {
		const { stdout } = await exec('redis-cli', ['-s', this.socket, ...args],
			{ timeout: 10_000 });
		return stdout;
	}

	connect() {
		return RedisClient.connect(this.socket);
	}

	/* Ends it as a crash does. */
	async crash() {
		kill(this.child.pid, 'SIGKILL');
		await this.exited;
		untrack(this.child.pid);
		this.child = undefined;
	}

	async stop() {
		if (this.child)
			await this.crash();
		removeDir(this.dir);
	}
}

/* Replies come back as strings, numbers, null, arrays, or Error. */
export class RedisClient {
	static async connect(socket) {
		const client = new RedisClient();
		client.input = Buffer.alloc(0);
		client.waiting = [];
		client.socket = net.connect({ path: socket });
		client.socket.on('error', () => {});
		client.socket.on('data', (data) => client.read(data));
		await new Promise((resolve, reject) => {
			client.socket.once('connect', resolve);
			client.socket.once('error', reject);
			client.socket.once('close', reject);
		});
		client.socket.on('close', () => {
			for (const waiter of client.waiting.splice(0))
				waiter.reject(new Error('Redis has gone'));
		});
		return client;
	}

	command(...args) {
		const parts = [`*${args.length}\r\n`];
		for (const arg of args) {
			const bytes = Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg));
			parts.push(`$${bytes.length}\r\n`, bytes, '\r\n');
		}
		this.socket.write(Buffer.concat(parts.map((p) => Buffer.from(p))));
		const reply = new Promise((resolve, reject) => {
			this.waiting.push({ resolve, reject });
		});
		return within(10_000, `redis ${args[0]}`, reply);
	}

	/* From here on every line is given to onLine (MONITOR). */
	async monitor(onLine) {
		await this.command('MONITOR');
		this.onReply = onLine;
	}

	read(data) {
		this.input = Buffer.concat([this.input, data]);
		for (;;) {
			const parsed = parseReply(this.input, 0);
			if (!parsed)
				return;
			this.input = this.input.subarray(parsed.end);
			if (this.onReply)
				this.onReply(parsed.value);
			else
				this.waiting.shift()?.resolve(parsed.value);
		}
	}

	close() {
		this.socket.destroy();
	}
}

function parseReply(input, start) {
	const eol = input.indexOf('\r\n', start);
	if (eol < 0)
		return null;
	const line = input.toString('utf8', start + 1, eol);
	let end = eol + 2;
	switch (String.fromCharCode(input[start])) {
	case '+':
		return { value: line, end };
	case '-':
		return { value: new Error(line), end };
	case ':':
		return { value: Number(line), end };
	case '$': {
		const n = Number(line);
		if (n < 0)
			return { value: null, end };
		if (input.length < end + n + 2)
			return null;
		return { value: input.toString('utf8', end, end + n), end: end + n + 2 };
	}
	case '*': {
		const value = [];
		for (let i = 0; i < Number(line); i++) {
			const item = parseReply(input, end);
			if (!item)
				return null;
			value.push(item.value);
			end = item.end;
		}
		return { value, end };
	}
	default:
		throw new Error(`not a reply: ${line}`);
	}
}
