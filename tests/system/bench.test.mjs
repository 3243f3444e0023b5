/*
 * fanfare-bench: each mode runs and adds up, and finds the faults of a broker that has some.  No
 * test looks at how fast anything is.
 *
 * BENCH names the program; bench/fanfare-bench beside FANFARE unless set.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import WebSocket, { WebSocketServer } from 'ws';
import { certificate } from './lib/certs.mjs';
import { kill, removeDir, tempDir, track, untrack } from './lib/cleanup.mjs';
import { Node, assertNoReports, binary, environment } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { Redis } from './lib/redis.mjs';
import { after, before, describe, eventually, test, within } from './lib/test.mjs';

const bench = process.env.BENCH ??
	path.join(path.dirname(fs.realpathSync(binary)), 'bench/fanfare-bench');
if (!fs.existsSync(bench))
	throw new Error(`${bench} is not there: build it, or name another by BENCH`);

/* Runs the tool to its end: { code, stdout, stderr, result }, result being what --json printed. */
async function run(...args) {
	const dir = tempDir('bench');
	const child = spawn(bench, args.map(String), { env: environment(dir) });
	track(child.pid);
	const out = { stdout: '', stderr: '' };
	child.stdout.on('data', (data) => { out.stdout += data; });
	child.stderr.on('data', (data) => { out.stderr += data; });
	const code = new Promise((resolve) => { child.on('close', resolve); });
	try {
		out.code = await within(20_000, `fanfare-bench ${args.join(' ')}`, code);
		if (args.includes('--json') && out.stdout !== '')
			out.result = JSON.parse(out.stdout);
		assertNoReports(dir);
		return out;
	} finally {
		kill(child.pid);
		untrack(child.pid);
		removeDir(dir);
	}
}

/* A short run of which every message arrives; returns its result. */
async function good(...args) {
	const { code, result, stderr } = await run(...args, '--json', '--warmup', 0.05);
	assert.equal(code, 0, stderr);
	const { lost, doubled, out_of_order: reordered, malformed } = result;
	assert.deepEqual({ lost, doubled, reordered, malformed },
		{ lost: 0, doubled: 0, reordered: 0, malformed: 0 });
	assert.ok(result.deliveries > 0);
	assert.equal(result.deliveries, result.messages * result.subscribers);
	return result;
}

async function startFloor(mode, ...args) {
	const port = await freePort();
	const dir = tempDir('floor');
	const child = spawn(bench, ['floor', '--mode', mode, '--listen', `127.0.0.1:${port}`, ...args],
		{ env: environment(dir) });
	track(child.pid);
	await within(5_000, 'the floor', new Promise((resolve, reject) => {
		child.stdout.once('data', resolve);
		child.once('exit', () => reject(new Error('the floor has ended')));
	}));
	return {
		port,
		pid: child.pid,
		args: ['--preset', 'floor', '--url', `ws://127.0.0.1:${port}`, '--server-pid', child.pid],
		stop() {
			kill(child.pid);
			untrack(child.pid);
			assertNoReports(dir);
			removeDir(dir);
		},
	};
}

/* A proxy that hands over what it gets in pieces of a few bytes. */
async function inPieces(port) {
	const proxy = net.createServer({ noDelay: true }, (socket) => {
		const other = net.connect({ port, host: '127.0.0.1', noDelay: true });
		const pieces = (from, to) => {
			from.on('data', (data) => {
				for (let at = 0; at < data.length; at += 1 + at % 7)
					to.write(data.subarray(at, at + 1 + at % 7));
			});
			from.on('error', () => to.destroy());
			from.on('close', () => to.destroy());
		};
		pieces(socket, other);
		pieces(other, socket);
	});
	await new Promise((resolve) => { proxy.listen(0, '127.0.0.1', resolve); });
	return proxy;
}

describe('bench: the command line', () => {
	test('help names modes, options and presets', async () => {
		for (const args of [['--help'], ['help'], ['fanout', '--help']]) {
			const { code, stdout } = await run(...args);
			assert.equal(code, 0);
			for (const word of ['fanout', 'pairs', 'idle', 'churn', 'floor', '--window', 'nchan'])
				assert.ok(stdout.includes(word), word);
		}
	});

	test('what is wrong is said, and the status is 2', async () => {
		for (const args of [[], ['dance'], ['fanout', '--dance'], ['fanout', '--size'],
			['fanout', '--size', '3'], ['fanout', '--size', '1e3x'], ['churn', '--window', '3'],
			['fanout', '--preset', 'x'], ['fanout', 'x'], ['fanout', '--json=1'],
			['fanout', '--window', '0'], ['fanout', '--publish', 'redis'],
			['fanout', '--url', 'https://127.0.0.1'], ['floor', '--listen', 'x'],
			['fanout', '--insecure'], ['fanout', '--url', 'wss://127.0.0.1', '--ca', '/nowhere'],
			['fanout', '--payload', 'json', '--size', '64'], ['fanout', '--payload', 'x'],
			['fanout', '--deflate', '--match', 'marker'],
			['fanout', '--window', '1.5']]) {
			const { code, stdout, stderr } = await run(...args);
			assert.equal(code, 2, `${args}: ${stderr}`);
			assert.match(stderr, /^fanfare-bench: /);
			assert.equal(stdout, '');
		}
	});

	test('a server that is not there: status 1', async () => {
		const port = await freePort();
		const { code, stderr } = await run('fanout', '--url', `ws://127.0.0.1:${port}`);
		assert.equal(code, 1);
		assert.match(stderr, /connection 1 to 127\.0\.0\.1:\d+: Connection refused/);
	});
});

describe('bench: with Fanfare', () => {
	let node;
	let to;
	before(async () => {
		node = await Node.start({ channels: [{ match: '*', publish: 'anyone' }] });
		to = ['--url', node.url(''), '--publish-url', `http://127.0.0.1:${node.ports.internal}`,
			'--server-pid', node.pid];
	});
	after(() => node.stop());

	test('fanout by window', async () => {
		const result = await good('fanout', ...to, '--subscribers', 20, '--duration', 0.2,
			'--window', 8);
		assert.equal(result.subscribers, 20);
		assert.ok(result.server_cpu_us > 0);
		assert.ok(result.p50_us > 0 && result.p50_us <= result.p99_us);
	});

	test('fanout of a number of messages, larger than a read', async () => {
		const result = await good('fanout', ...to, '--subscribers', 3, '--messages', 12,
			'--size', 60_000, '--window', 3);
		assert.equal(result.messages, 12);
		assert.equal(result.deliveries, 36);
	});

	test('fanout by rate, in two threads', async () => {
		await good('fanout', ...to, '--subscribers', 9, '--messages', 50, '--rate', 500,
			'--threads', 2);
	});

	test('fanout by HTTP', async () => {
		const result = await good('fanout', ...to, '--subscribers', 5, '--messages', 40,
			'--publish', 'http');
		assert.equal(result.deliveries, 200);
	});

	test('pairs', async () => {
		const result = await good('pairs', ...to, '--pairs', 7, '--messages', 30, '--window', 4,
			'--threads', 2);
		assert.equal(result.messages, 210);
	});

	test('pairs by HTTP', async () => {
		const result = await good('pairs', ...to, '--pairs', 3, '--messages', 10,
			'--publish', 'http', '--pipeline', 2, '--window', 4);
		assert.equal(result.deliveries, 30);
	});

	test('idle', async () => {
		for (const more of [[], ['--own-channels']]) {
			const { code, result, stderr } = await run('idle', ...to, '--connections', 60,
				'--duration', 0.1, '--json', ...more);
			assert.equal(code, 0, stderr);
			assert.equal(result.connections, 60);
			assert.ok(result.pss_before > 0);
			assert.equal(typeof result.pss_per_connection, 'number');
			assert.equal(result.holders, 1);
			/* The first of them are open before anything is counted. */
			assert.equal(result.most, 44);
		}
	});

	test('churn', async () => {
		const { code, result, stderr } = await run('churn', ...to, '--connections', 101,
			'--concurrency', 4, '--threads', 2, '--json');
		assert.equal(code, 0, stderr);
		assert.equal(result.connections, 101);
		assert.ok(result.server_cpu_us > 0);
	});

	test('a table for people', async () => {
		const { code, stdout } = await run('fanout', ...to, '--subscribers', 2, '--messages', 5,
			'--warmup', 0);
		assert.equal(code, 0);
		assert.match(stdout, /^deliveries +10$/m);
		assert.match(stdout, /^lost +0$/m);
	});

	test('a refused handshake and a refused publication: status 1', async () => {
		const path = await run('fanout', ...to, '--path', '/nowhere');
		assert.equal(path.code, 1);
		assert.match(path.stderr, /refuses connection 1: HTTP\/1\.1 404/);
		const publish = await run('fanout', ...to, '--publish', 'http', '--http-path', '/no/%c');
		assert.equal(publish.code, 1);
		assert.match(publish.stderr, /a publication is refused: HTTP\/1\.1 404/);
	});
});

describe('bench: compressed, and by TLS', () => {
	const json = ['--payload', 'json', '--size', 1024];
	let dir;
	let cert;
	let node;
	let plain;
	let wss;
	before(async () => {
		const port = await freePort();
		dir = tempDir('bench-tls');
		cert = certificate(dir, 'broker', { names: ['127.0.0.1'] });
		const ports = { public: await freePort(), internal: await freePort() };
		node = new Node({
			channels: [{ match: '*', publish: 'anyone' }],
			deflate: { enabled: true },
			limits: { message: 1 << 20 },
			tls: { certificates: [cert.item] },
			listen: { public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${port} tls`] },
		});
		node.ports = ports;
		await node.spawn();
		await node.ready();
		plain = ['--url', node.url('')];
		wss = ['--url', `wss://127.0.0.1:${port}`, '--ca', cert.pem];
	});
	after(async () => {
		await node.stop();
		removeDir(dir);
	});

	test('less is received where messages are compressed', async () => {
		const all = ['--subscribers', 9, '--messages', 60, '--window', 8, '--threads', 2];
		const without = await good('fanout', ...plain, ...json, ...all);
		assert.equal(without.wire_bytes, 1028);
		const compressed = await good('fanout', ...plain, ...json, ...all, '--deflate');
		assert.equal(compressed.deflate, 'yes');
		assert.ok(compressed.wire_bytes > 100 && compressed.wire_bytes < 800,
			`${compressed.wire_bytes} bytes`);
	});

	test('compressed messages larger than a read, and small ones that are not compressed', async () => {
		await good('fanout', ...plain, '--deflate', '--subscribers', 3, '--messages', 12,
			'--payload', 'json', '--size', 900_000, '--window', 3);
		const small = await good('fanout', ...plain, '--deflate', '--subscribers', 3,
			'--messages', 50, '--window', 3, '--size', 40);
		assert.equal(small.wire_bytes, 42);
	});

	test('pairs, compressed', async () => {
		await good('pairs', ...plain, ...json, '--deflate', '--pairs', 5, '--messages', 30,
			'--window', 4);
	});

	test('compressed messages in small pieces', async () => {
		const proxy = await inPieces(node.ports.public);
		try {
			await good('fanout', '--url', `ws://127.0.0.1:${proxy.address().port}`, ...json,
				'--deflate', '--subscribers', 3, '--messages', 20, '--window', 4);
		} finally {
			proxy.close();
		}
	});

	test('fanout and pairs by wss', async () => {
		const result = await good('fanout', ...wss, '--subscribers', 20, '--messages', 100,
			'--window', 8, '--threads', 2);
		assert.equal(result.tls, 'yes');
		await good('fanout', ...wss, ...json, '--deflate', '--subscribers', 5, '--messages', 50,
			'--window', 8);
		await good('fanout', ...wss, '--subscribers', 2, '--messages', 12, '--size', 300_000,
			'--window', 3);
		await good('pairs', ...wss, '--pairs', 5, '--messages', 30, '--window', 4);
	});

	test('churn and idle by wss', async () => {
		const churn = await run('churn', ...wss, '--connections', 40, '--concurrency', 4, '--json');
		assert.equal(churn.code, 0, churn.stderr);
		assert.equal(churn.result.connections, 40);
		const idle = await run('idle', ...wss, '--connections', 40, '--duration', 0.1, '--json');
		assert.equal(idle.code, 0, idle.stderr);
	});

	test('a certificate that is not trusted: status 1, unless any will do', async () => {
		const url = wss.slice(0, 2);
		const { code, stderr } = await run('fanout', ...url, '--messages', 1);
		assert.equal(code, 1);
		assert.match(stderr, /connection 1 to 127\.0\.0\.1:\d+: TLS: self-signed certificate/);
		await good('fanout', ...url, '--insecure', '--subscribers', 2, '--messages', 5);
	});
});

describe('bench: with Redis', () => {
	let redis;
	let node;
	before(async () => {
		redis = await Redis.start();
		node = await Node.start({ redis: { url: redis.url } });
	});
	after(async () => {
		await node.stop();
		await redis.stop();
	});

	test('fanout by PUBLISH, over TCP and a Unix socket', async () => {
		for (const url of [redis.url, `unix:${redis.socket}`]) {
			const result = await good('fanout', '--url', node.url(''), '--subscribers', 4,
				'--messages', 100, '--window', 16, '--publish', 'redis', '--publish-url', url);
			assert.equal(result.deliveries, 400);
		}
	});

	test("redis-server's own pub/sub, without WebSocket", async () => {
		await good('fanout', '--preset', 'redis', '--url', `127.0.0.1:${redis.port}`,
			'--subscribers', 6, '--messages', 100, '--window', 16);
	});
});

describe('bench: with the floor', () => {
	for (const mode of ['send', 'coalesced', 'pair']) {
		test(`floor ${mode}`, async () => {
			const floor = await startFloor(mode);
			try {
				await good('fanout', ...floor.args, '--subscribers', 10, '--messages', 100,
					'--window', 8);
				await good('fanout', ...floor.args, '--subscribers', 4, '--messages', 20,
					'--size', 200_000, '--window', 4, '--binary');
				await good('pairs', ...floor.args, '--pairs', 5, '--messages', 50);
				const { code, result } = await run('churn', ...floor.args, '--connections', 50,
					'--json');
				assert.equal(code, 0);
				assert.equal(result.connections, 50);
			} finally {
				floor.stop();
			}
		});
	}

	test('no echo: who publishes is not among the subscribers', async () => {
		const floor = await startFloor('pair', '--no-echo');
		try {
			const result = await good('pairs', ...floor.args, '--pairs', 2, '--messages', 20,
				'--no-echo');
			assert.equal(result.subscribers, 1);
		} finally {
			floor.stop();
		}
	});

	test('a peer that reads late gets everything, and keeps nobody waiting', async () => {
		const floor = await startFloor('send');
		const late = new WebSocket(`ws://127.0.0.1:${floor.port}/ws/bench`);
		try {
			await new Promise((resolve) => { late.on('open', resolve); });
			late.pause();
			const seen = [];
			late.on('message', (data) => {
				const seq = Number.parseInt(data.toString('latin1', 8, 16), 16);
				if (seq > 0)
					seen.push(seq);
			});
			/* More than the kernel takes for it. */
			await run('fanout', ...floor.args, '--subscribers', 2, '--messages', 150,
				'--size', 200_000, '--window', 8, '--warmup', 0);
			late.resume();
			await eventually(10_000, 'all messages', () => seen.length >= 150);
			assert.deepEqual(seen, Array.from({ length: 150 }, (_, i) => i + 1));
		} finally {
			late.terminate();
			floor.stop();
		}
	});

	/* What comes in pieces is put together, by the tool and by the floor. */
	test('everything in small pieces', async () => {
		const floor = await startFloor('send');
		const proxy = await inPieces(floor.port);
		const url = `ws://127.0.0.1:${proxy.address().port}`;
		try {
			for (const match of ['exact', 'marker']) {
				await good('fanout', '--preset', 'floor', '--url', url, '--subscribers', 3,
					'--messages', 40, '--window', 4, '--size', 300, '--match', match);
			}
		} finally {
			proxy.close();
			floor.stop();
		}
	});
});

describe('bench: with a broker that errs', () => {
	/*
	 * Sends each message to all as `deliver(seq, data, previous)` says: the list of what goes out
	 * in its place.
	 */
	async function faulty(deliver, use, perMessageDeflate = false) {
		const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate });
		const kept = {};
		server.on('connection', (socket) => {
			socket.on('message', (data) => {
				const text = data.toString();
				const seq = Number.parseInt(text.slice(text.indexOf('@fb:') + 8).slice(0, 8), 16);
				for (const out of deliver(seq, text, kept)) {
					for (const client of server.clients)
						client.send(out);
				}
			});
		});
		await new Promise((resolve) => { server.on('listening', resolve); });
		try {
			const { code, result, stderr } = await run('fanout', '--preset', 'ws', '--url',
				`ws://127.0.0.1:${server.address().port}`, '--subscribers', 2, '--messages', 20,
				'--window', 4, '--warmup', 0, '--timeout', 1, '--json', ...(use ?? []));
			assert.equal(code, 1);
			return { result, stderr };
		} finally {
			for (const client of server.clients)
				client.terminate();
			server.close();
		}
	}

	const faults = ({ lost, doubled, out_of_order: reordered, malformed }) =>
		({ lost, doubled, reordered, malformed });
	const none = { lost: 0, doubled: 0, reordered: 0, malformed: 0 };

	test('a lost message', async () => {
		const { result } = await faulty((seq, text) => seq === 5 ? [] : [text]);
		assert.deepEqual(faults(result), { ...none, lost: 2 });
		assert.equal(result.deliveries, 38);
	});

	test('the last message is lost', async () => {
		const { result } = await faulty((seq, text) => seq === 20 ? [] : [text]);
		assert.deepEqual(faults(result), { ...none, lost: 2 });
	});

	test('a message comes twice', async () => {
		const { result } = await faulty((seq, text) => seq === 5 ? [text, text] : [text]);
		assert.deepEqual(faults(result), { ...none, doubled: 2 });
	});

	test('two messages change places', async () => {
		const { result } = await faulty((seq, text, kept) => {
			if (seq === 5) {
				kept.five = text;
				return [];
			}
			return seq === 6 ? [text, kept.five] : [text];
		});
		assert.deepEqual(faults(result), { ...none, reordered: 2 });
	});

	test('a message is changed, cut, or of another channel', async () => {
		for (const change of [(t) => `@fb:${'0'.repeat(28)}`.replace(/0$/, 'z') + t.slice(32),
			(t) => t.slice(0, -1), (t) => `@fb:0001${t.slice(8)}`]) {
			const { result } = await faulty((seq, text) => [seq === 5 ? change(text) : text]);
			assert.deepEqual(faults(result), { ...none, lost: 2, malformed: 2 });
		}
	});

	test('the same, compressed', async () => {
		const deflate = { threshold: 0, serverNoContextTakeover: true };
		const use = ['--deflate', '--payload', 'json', '--size', 400];
		for (const change of [(t) => t.replace('"event"', '"Event"'), (t) => t.slice(0, -1),
			(t) => `${t} `, (t) => t.replace('@fb:', '@fx:')]) {
			const { result } = await faulty((seq, text) => [seq === 5 ? change(text) : text], use,
				deflate);
			assert.deepEqual(faults(result), { ...none, lost: 2, malformed: 2 });
		}
		const { result } = await faulty((seq, text) => seq === 5 ? [text, text] : [text], use,
			deflate);
		assert.deepEqual(faults(result), { ...none, doubled: 2 });
	});

	test('compression is not agreed to', async () => {
		const { result, stderr } = await faulty(() => [], ['--deflate']);
		assert.equal(result, undefined);
		assert.match(stderr, /answers connection 1 without permessage-deflate/);
	});

	test('nothing comes at all', async () => {
		const { result, stderr } = await faulty(() => []);
		assert.equal(result, undefined);
		assert.match(stderr, /after 1 s 2 of 2 subscribers have got no message/);
	});

	test('a message in other words, by templates', async () => {
		const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
		const members = new Set();
		server.on('connection', (socket, request) => {
			assert.equal(request.url, '/hub');
			assert.equal(request.headers.origin, 'https://example.com');
			assert.equal(request.headers['x-more'], 'yes');
			socket.on('message', (data) => {
				const message = JSON.parse(data.toString());
				if (message.sub === 'c')
					members.add(socket);
				for (const member of message.pub === 'c' ? members : [])
					member.send(JSON.stringify({ from: 'c', data: message.data }));
			});
		});
		await new Promise((resolve) => { server.on('listening', resolve); });
		try {
			const result = await good('fanout', '--url',
				`ws://127.0.0.1:${server.address().port}`, '--subscribers', 3, '--messages', 20,
				'--channel', 'c', '--path', '/hub', '--no-echo', '--match', 'marker',
				'--subscribe-message', '{"sub":"%c"}', '--origin', 'https://example.com',
				'--publish-message', '{"pub":"%c","data":"%p"}', '--header', 'X-More: yes');
			assert.equal(result.deliveries, 60);
		} finally {
			for (const client of server.clients)
				client.terminate();
			server.close();
		}
	});
});
