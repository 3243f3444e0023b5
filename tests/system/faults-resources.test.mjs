/*
 * Resources that run out: open files, room for 20,000 clients who come at once, memory, and the
 * disk or the reader of the log.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { cpuTime, hasAsan, withstand } from './lib/bystanders.mjs';
import { alive, removeDir, tempDir } from './lib/cleanup.mjs';
import { certificate } from './lib/certs.mjs';
import { Client } from './lib/clients.mjs';
import { Crowd } from './lib/crowd.mjs';
import { Node, binary, ms } from './lib/fanfare.mjs';
import { Oom } from './lib/oom.mjs';
import { freePort } from './lib/ports.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { describe, eventually, sleep, slowness, test, within }
	from './lib/test.mjs';

/* Clients of a node that connect and send the request, whether or not they are answered. */
async function connectMany(node, n) {
	const clients = await Promise.all(
		Array.from({ length: n }, () => RawClient.connect(node.ports.public)));
	clients.forEach((client) => client.send(handshake('/ws/crowd')));
	return clients;
}

const served = (client) => client.input.includes('HTTP/1.1 101 ');

/* --- open files --------------------------------------------------------------------------- */

describe('open files run out', () => {
	const FILES = 256;
	const CLIENTS = 1_000;

	async function attack(t, options) {
		const node = await Node.start({ ...options }, { files: FILES });
		const worker = node.role('worker 0');
		await withstand(t, node, async () => {
			const clients = await connectMany(node, CLIENTS);
			await sleep(500);
			const count = clients.filter(served).length;
			assert.ok(count > 100 && count < FILES, `${count} are served`);

			const SECONDS = 2;
			const before = cpuTime(worker);
			await sleep(SECONDS * 1_000);
			const share = (cpuTime(worker) - before) / SECONDS;
			t.diagnostic(`${count} of ${CLIENTS} served; CPU ${(100 * share).toFixed(1)} %`);
			assert.ok(share < (hasAsan(worker) ? 0.25 : 0.05), `${share} of a core`);

			clients.forEach((client) => client.destroy());
			const begun = performance.now();
			const late = await RawClient.open(node, '/ws/late');
			const took = performance.now() - begun;
			t.diagnostic(`the next one is served after ${took.toFixed(0)} ms`);
			assert.ok(took < 1_000 * slowness);
			late.destroy();
		}, { memory: true });
		await node.stop();
	}

	test('clients wait at the limit, without cost', { timeout: 60 }, (t) => attack(t, {}));

	/* The limit is set too high: now the files themselves run out, the operator's too. */
	test('the files themselves: the same', { timeout: 60 }, (t) =>
		attack(t, { limits: { connections: 100_000 } }));
});

/* --- a crowd ------------------------------------------------------------------------------ */

describe('a crowd', () => {
	/* Workers hold 90 % of their files at most; the kernel spreads the clients roughly. */
	const files = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(
		fs.readFileSync('/proc/self/limits', 'latin1'))[1]);

	test('20,000 reconnect at once', { timeout: 100 }, async (t) => {
		const ports = { public: await freePort(), internal: await freePort() };
		const node = await Node.start({
			workers: 2,
			listen: { public: [`0.0.0.0:${ports.public}`] },
			limits: { ping_interval: ms(60_000) },
		}, { ports });
		const most = hasAsan(node.role('worker 0')) ? 4_000 : 20_000;
		const n = Math.min(most, Math.floor(files * 1.5));
		const crowd = await Crowd.start(node, '/ws/crowd', n, 4);
		await withstand(t, node, async (bystanders) => {
			await crowd.connect(30_000);
			assert.equal(await node.subscribers('crowd'), n);
			await bystanders.phase('storm');
			const took = await crowd.reconnect(60_000);
			await bystanders.phase('full');
			t.diagnostic(`${n} clients in 4 processes: all served again after ` +
				`${(took / 1_000).toFixed(1)} s`);
			await eventually(10_000, 'the old ones to be gone', async () =>
				await node.subscribers('crowd') === n);
			await node.publish('crowd', 'welcome');
			await eventually(10_000, 'all to hear', async () => await crowd.heard() === n);
			await crowd.leave();
		/* The C library keeps a part of the heap that 20,000 have left in pieces. */
		}, { memory: { slack: 8 << 20 }, p99: 5_000 });
		await node.stop();
	});
});

/* --- memory ------------------------------------------------------------------------------- */

/*
 * What a fault may do to a client: nothing, or end its connection.  It may not leave the client
 * without a word, nor give it bytes that are wrong.
 */
class Visit {
	/* client: options of ws; a port in it is one with TLS. */
	constructor(node, step, client) {
		this.node = node;
		this.step = step;
		this.client = client;
	}

	url(target) {
		const { port } = this.client;
		return port === undefined ? this.node.url(target) : `wss://127.0.0.1:${port}${target}`;
	}

	/* Runs fn unless the client is gone by then; an error counts only while it is still there. */
	async with(target, protocols, fn) {
		const client = await within(5_000, `${this.step}: an answer to the handshake`,
			Client.open(this.url(target), protocols, this.client).catch(() => undefined));
		if (client === undefined)
			return;
		try {
			await fn(client);
			await client.close();
		} catch (error) {
			if (!client.gone)
				throw new Error(`${this.step}: ${error.message}`);
		} finally {
			client.terminate();
		}
	}

	/* The status of a request; undefined where the connection was closed instead. */
	async ask(method, target, body) {
		const answer = await this.node.request(method, target, { body }).catch((error) => {
			if (/nothing within/.test(error.message))
				throw new Error(`${this.step}: ${error.message}`);
		});
		assert.ok([undefined, 200, 500, 503].includes(answer?.status), `${answer?.status}`);
		return answer?.status;
	}

	/* Commands are answered, also where the answer is an error. */
	commands() {
		return this.with('/ws/oom:a', 'fanfare.json', async (client) => {
			const command = async (what) => {
				client.send(JSON.stringify({ ...what, id: 'x' }));
				for (;;) {
					const answer = await client.nextJson();
					if (answer.id === 'x')
						return answer;
				}
			};
			await command({ subscribe: 'oom:b' });
			await command({ subscribe: 'oom:c' });
			await command({ publish: 'oom:b', data: { text: 'x'.repeat(300) } });
			await command({ unsubscribe: 'oom:b' });
		});
	}

	/* A raw client's messages come back as they were.  If the hub has no memory, they do not. */
	echo() {
		return this.with('/ws/oom:echo', [], async (client) => {
			const big = 'e'.repeat(20_000);
			client.send(big);
			client.ws.send('first', { fin: false });
			client.ws.send('rest', { fin: true });
			const ponged = new Promise((resolve) => client.ws.once('pong', resolve));
			client.ws.ping();
			await within(5_000, 'a pong', Promise.race([ponged, client.closed]));
			await client.next(300).catch(() => {});
			await client.next(300).catch(() => {});
			assert.ok(client.messages.every((m) => m === big || m === 'firstrest'));
		});
	}

	async run() {
		await this.commands();
		await this.echo();
		await this.with('/ws?channel=oom:d&channel=oom:e', [], async () => {});
		await this.ask('POST', '/pub/oom:b', 'x'.repeat(9_000));
		await this.ask('GET', '/pub/oom:b');
	}
}

/* Subscribers who are there before and after; one is told of what is missing, one cannot be. */
class Witnesses {
	constructor(node) {
		this.node = node;
		this.epoch = 0;
		this.all = [];
	}

	async open() {
		this.epoch++;
		this.n = 0;
		this.accepted = [];
		this.all.forEach((client) => client.terminate());
		const target = this.node.url('/ws/witness');
		this.all = await Promise.all(
			[Client.open(target, 'fanfare.json'), Client.open(target), Client.open(target)]);
		for (const client of this.all) {
			client.sequence = new Sequence();
			client.numbers = new Set();
			client.gaps = 0;
			client.onMessage = (text) => {
				const { data = text, gap } = client.ws.protocol === '' ? {} : JSON.parse(text);
				if (gap !== undefined) {
					client.gaps++;
					return;
				}
				client.sequence.take(data);
				client.numbers.add(Number(data.split(' ')[2]));
			};
		}
	}

	/* Tries to publish one message.  Whether it was accepted. */
	async publish() {
		const n = ++this.n;
		const body = numbered('witness', `p${this.epoch}`, n);
		const answer = await this.node.request('POST', '/pub/witness', { body })
			.catch(() => undefined);
		if (answer?.status === 200)
			this.accepted.push(n);
		return answer?.status === 200;
	}

	/* Once the fault is over, a message gets through to all who are left, and nothing was wrong. */
	async check(step) {
		await eventually(3_000, `${step}: a message to be accepted`, () => this.publish());
		const last = this.accepted.at(-1);
		await eventually(3_000, `${step}: message ${last} to arrive`, () => this.all.every(
			(client) => client.gone || client.numbers.has(last)));
		for (const client of this.all) {
			client.sequence.assertOrdered();
			const missing = this.accepted.filter((n) => !client.numbers.has(n));
			assert.ok(missing.length === 0 || client.ws.protocol === '' || client.gone ||
				client.gaps > 0, `${step}: ${missing} are missing without a word`);
		}
		if (this.all.some((client) => client.gone) || this.n > 500)
			await this.open();
	}
}

/* AddressSanitizer allows no library before its own. */
const asan = fs.readFileSync(binary).includes('libasan.so');

describe('memory', { skip: asan && 'with AddressSanitizer' }, () => {
	/* Ends well: by a signal never, and the master tells each end. */
	function assertNoCrash(node, step) {
		assert.doesNotMatch(node.stderr, /status="(SIG|signal)/, `${step}:\n${node.stderr}`);
		assert.equal(node.how, undefined, node.stderr);
	}

	/*
	 * The first 170 of a round one by one, then here and there, up to what builds up over ten
	 * rounds, or to the 5,000th.
	 */
	function steps(round) {
		const dense = Math.min(round, 170);
		const last = Math.min(10 * round, 5_000);
		const stride = Math.max(17, Math.ceil((last - dense) / 100));
		const all = [];
		for (let n = 1; n <= last; n += n < dense ? 1 : stride)
			all.push(n);
		return all;
	}

	async function torture(t, role, options, client = {}, ports = undefined) {
		const oom = new Oom(role);
		const node = await Node.start({
			limits: { commands: 0 },
			channels: [{ match: 'oom:*', publish: 'anyone' }],
			...options,
		}, { env: oom.env, ports });
		const witnesses = new Witnesses(node);
		await witnesses.open();
		await new Visit(node, 'calm', client).run();
		await witnesses.check('calm');
		const first = oom.seen;
		await new Visit(node, 'calm', client).run();
		await witnesses.check('calm');
		const round = oom.seen - first;
		t.diagnostic(`a round makes ${round} allocations`);
		assert.ok(round > 20);

		let ends = 0;
		for (const n of steps(round)) {
			const step = `${role}, allocation ${n}`;
			const pid = node.role(role);
			const failed = oom.failed;
			oom.arm(n);
			/* Later ones take several rounds. */
			for (let i = 0; i < 10 && oom.pending; i++) {
				const publishing = witnesses.publish();
				await new Visit(node, step, client).run();
				await publishing;
			}
			oom.arm(0);
			await witnesses.check(step);
			assertNoCrash(node, step);
			if (!alive(pid)) {
				ends++;
				assert.ok(oom.failed > failed, `${step}: it ended without a reason`);
				await node.replaced(role, pid);
				await node.ready();
			}
		}
		t.diagnostic(`${oom.failed} allocations failed; ${ends} times the process ended itself`);
		assert.ok(oom.failed > Math.min(round, 170), `only ${oom.failed} failed`);
		await node.stop();
		oom.close();
	}

	test('a worker: the nth allocation fails', { timeout: 90 }, (t) => torture(t, 'worker 0', {}));

	test('a worker that compresses: the nth allocation fails', { timeout: 90 }, (t) =>
		torture(t, 'worker 0', { deflate: { enabled: true } }, { perMessageDeflate: true }));

	test('a worker with TLS: the nth allocation fails', { timeout: 90 }, async (t) => {
		const dir = tempDir('certs');
		const port = await freePort();
		const ports = { public: await freePort(), internal: await freePort() };
		await torture(t, 'worker 0', {
			listen: { public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${port} tls`] },
			tls: { certificates: [certificate(dir, 'localhost').item] },
		}, { port, rejectUnauthorized: false }, ports);
		removeDir(dir);
	});

	test('the hub: the nth allocation fails', { timeout: 90 }, (t) => torture(t, 'hub', {}));

	test('the hub with Redis: the nth allocation fails', { timeout: 90 }, async (t) => {
		const redis = await Redis.start({ unix: true });
		await torture(t, 'hub', { redis: { url: redis.url } });
		await redis.stop();
	});

	/* A start that fails is a clear end, and the next one succeeds. */
	for (const role of ['worker 0', 'hub']) {
		test(`${role}: the nth allocation of its start fails`, { timeout: 60 }, async (t) => {
			const oom = new Oom(role);
			const calm = await Node.start({}, { env: oom.env });
			await calm.stop();
			const all = oom.seen;
			t.diagnostic(`a start makes ${all} allocations`);
			for (let i = 0; i < 25; i++) {
				oom.arm(1 + Math.floor((all * i) / 25));
				const node = await Node.start({}, { env: oom.env });
				assertNoCrash(node, `start, ${i}`);
				await node.publish('started', 'well');
				await node.stop();
			}
			assert.equal(oom.failed, 25);
			oom.close();
		});
	}
});

/* --- the log ------------------------------------------------------------------------------ */

/* A named pipe that is full, and whose reader does not read. */
class FullPipe {
	constructor() {
		this.dir = tempDir('pipe');
		const file = path.join(this.dir, 'log');
		execFileSync('mkfifo', [file]);
		this.reader = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
		this.writer = fs.openSync(file, 'w');
		this.filler = fs.openSync(file, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
	}

	fill() {
		for (let size = 4_096; size >= 1; size = size > 1 ? 1 : 0) {
			try {
				for (;;)
					fs.writeSync(this.filler, '#'.repeat(size));
			} catch (error) {
				if (error.code !== 'EAGAIN')
					throw error;
			}
		}
	}

	/* Reads what there is. */
	drain() {
		const buffer = Buffer.alloc(65_536);
		let text = '';
		try {
			for (;;)
				text += buffer.toString('utf8', 0, fs.readSync(this.reader, buffer));
		} catch (error) {
			if (error.code !== 'EAGAIN')
				throw error;
		}
		return text;
	}

	close() {
		[this.reader, this.writer, this.filler].forEach((fd) => fs.closeSync(fd));
		removeDir(this.dir);
	}
}

describe('the log takes nothing', () => {
	const CONNECTIONS = 20;

	/* Makes worker, hub and master log, and expects no stall. */
	async function attack(t, node) {
		await withstand(t, node, async () => {
			/* More clients than may be: the worker says so. */
			const clients = await connectMany(node, CONNECTIONS);
			await eventually(2_000, 'the limit', () =>
				clients.filter(served).length >= CONNECTIONS - 12);
			await sleep(1_000);
			clients.forEach((client) => client.destroy());
		}, { max: 1_000 });

		/* All three have something to say when the hub goes. */
		const old = node.role('hub');
		process.kill(old, 'SIGKILL');
		await node.replaced('hub', old);
		await eventually(5_000, 'the new hub', async () => await node.readyStatus() === 200);
	}

	const limits = { limits: { connections: CONNECTIONS } };

	test('a full disk', { timeout: 60 }, async (t) => {
		const full = fs.openSync('/dev/full', 'w');
		const node = await Node.start(limits, { stderr: full });
		await attack(t, node);
		await node.stop();
		fs.closeSync(full);
	});

	test('a pipe that nobody reads, and what was lost is counted', { timeout: 60 }, async (t) => {
		const pipe = new FullPipe();
		const node = await Node.start(limits, { stderr: pipe.writer });
		assert.match(pipe.drain(), / master: ready\n/);
		pipe.fill();
		await attack(t, node);
		assert.doesNotMatch(pipe.drain(), /SIGKILL|waiting/);
		/* It can be written again: each process says what is missing. */
		const old = node.role('hub');
		process.kill(old, 'SIGKILL');
		await node.replaced('hub', old);
		let text = '';
		await eventually(5_000, 'the counts', () => {
			text += pipe.drain();
			return ['master', 'worker 0'].every((role) =>
				new RegExp(`^\\S+Z error ${role}: log: lost=[1-9]\\d* lines`, 'm').test(text));
		});
		assert.match(text, /^\S+Z warn master: child="hub".*SIGKILL/m);
		await node.stop();
		pipe.close();
	});
});
