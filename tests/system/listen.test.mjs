/*
 * Where a node listens: unix sockets with mode and owner, files that others left, two nodes at one
 * path, several addresses and IPv6 side by side.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { kill, removeDir, tempDir } from './lib/cleanup.mjs';
import { Client, openMany } from './lib/clients.mjs';
import { Node, run } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { after, before, describe, eventually, test, within } from './lib/test.mjs';

const WORKERS = 2;
const root = process.getuid() === 0;

/* A node with more addresses than the usual two. */
async function start({ publics = [], internals = [], ...options }) {
	const ports = { public: await freePort(), internal: await freePort() };
	return Node.start({
		workers: WORKERS,
		...options,
		listen: {
			public: [`127.0.0.1:${ports.public}`, ...publics],
			internal: [`127.0.0.1:${ports.internal}`, ...internals],
		},
	}, { ports });
}

/* What curl prints for a request over a unix socket. */
async function curl(socket, target, ...args) {
	const { stdout } = await promisify(execFile)('curl', ['-sS', '--max-time', '10',
		'--unix-socket', socket, ...args, `http://localhost${target}`]);
	return stdout;
}

const status = (socket, target, ...args) =>
	curl(socket, target, '-o', '/dev/null', '-w', '%{http_code}', ...args);

const overUnix = (socket, target) => Client.open(`ws+unix://${socket}:${target}`);

const modeOf = (file) => fs.statSync(file).mode & 0o777;

describe('unix sockets', () => {
	let node;
	let dir;
	const at = (name) => path.join(dir, name);
	before(async () => {
		dir = tempDir('unix');
		node = await start({
			publics: [`unix:${at('public')}`, `unix:${at('open')} mode=0666`],
			internals: [`unix:${at('internal')} mode=0600${root ? ' owner=nobody:nogroup' : ''}`],
			channels: [{ match: 'echo', publish: 'anyone' }],
			limits: { queue: '64MiB' },
		});
	});
	after(async () => {
		await node?.stop();
		assert.deepEqual(fs.readdirSync(dir), [], 'the files are gone');
		removeDir(dir);
	});

	test('the log says where', () => {
		assert.ok(node.stderr.includes(`listening public=unix:${at('public')}\n`));
		assert.ok(node.stderr.includes(`listening internal=unix:${at('internal')}\n`));
	});

	test('mode and owner', () => {
		assert.equal(modeOf(at('public')), 0o660);
		assert.equal(modeOf(at('open')), 0o666);
		assert.equal(modeOf(at('internal')), 0o600);
		if (root) {
			const { uid, gid } = fs.statSync(at('internal'));
			assert.equal(uid, Number(execFileSync('id', ['-u', 'nobody'])));
			assert.equal(gid, Number(execFileSync('id', ['-g', 'nobody'])));
		}
	});

	test('WebSocket, by all workers', async () => {
		const clients = await openMany(40, () => overUnix(at('public'), '/ws/echo'));
		clients[0].send('hello');
		for (const client of clients)
			assert.equal(await client.next(), 'hello');
		/* Large and many, so that the socket takes less than all at once. */
		const big = 'x'.repeat(60_000);
		for (let i = 0; i < 50; i++)
			clients[1].send(big);
		await Promise.all(clients.map((c) => c.count(51)));
		await Promise.all(clients.map((c) => c.close()));
	});

	test('publishing and health by curl', async () => {
		const client = await overUnix(at('open'), '/ws/news');
		assert.equal(await curl(at('internal'), '/readyz'), 'ready\n');
		assert.equal((await curl(at('internal'), '/pub/news', '-d', 'by curl')).trim(), '{}');
		assert.equal(await client.next(), 'by curl');
		/* Public and internal are told apart as over TCP. */
		assert.equal(await status(at('public'), '/readyz'), '404');
		assert.equal(await status(at('public'), '/pub/news', '-d', 'x'), '404');
		await client.close();
	});

	/*
	 * No page reaches a unix socket by itself, but through a proxy it may; so what holds on the
	 * loopback holds here.
	 */
	test('pages of other sites may not publish', async () => {
		const origin = (o, host) => ['-H', `Origin: ${o}`, '-H', `Host: ${host}`, '-d', 'x'];
		assert.equal(await status(at('internal'), '/pub/news',
			...origin('http://evil.example', 'localhost')), '403');
		assert.equal(await status(at('internal'), '/pub/news',
			...origin('http://evil.example', 'evil.example')), '403');
		assert.equal(await status(at('internal'), '/pub/news',
			...origin('http://localhost', 'localhost')), '200');
	});

	test('a worker that is replaced serves them too', async () => {
		const worker = node.role('worker 0');
		kill(worker);
		await node.replaced('worker 0', worker);
		await node.ready();
		const clients = await openMany(20, () => overUnix(at('public'), '/ws/echo'));
		clients[0].send('again');
		for (const client of clients)
			assert.equal(await client.next(), 'again');
		await Promise.all(clients.map((c) => c.close()));
	});
});

describe('files at the path of a unix socket', () => {
	let dir;
	let socket;
	const nodes = [];
	before(() => {
		dir = tempDir('unix');
		socket = path.join(dir, 's');
	});
	after(async () => {
		for (const node of nodes)
			await node.stop();
		removeDir(dir);
	});

	/* What a start that fails prints. */
	async function refused(entry) {
		const file = path.join(dir, 'refused.yaml');
		fs.writeFileSync(file, JSON.stringify({
			workers: 1, listen: { public: [entry], internal: [] },
		}));
		const result = await run(['-c', file]);
		assert.equal(result.code, 1, result.stderr);
		return result.stderr;
	}

	test('the file of a server that was killed is replaced', async () => {
		const first = await start({ publics: [`unix:${socket}`] });
		kill(first.pid, 'SIGKILL');
		await within(5_000, 'the end', first.exited);
		first.discard();
		assert.ok(fs.statSync(socket).isSocket());
		const second = await start({ publics: [`unix:${socket} mode=0600`] });
		nodes.push(second);
		assert.equal(modeOf(socket), 0o600);
		assert.equal(await status(socket, '/'), '404');
	});

	test('one on which a node listens is refused, and goes on', async () => {
		assert.match(await refused(`unix:${socket}`),
			/cannot listen on unix:\S+ \(listen\.public\): it is in use: Address already in use/);
		assert.equal(await status(socket, '/'), '404');
	});

	test('what is no socket is not removed', async () => {
		const file = path.join(dir, 'file');
		fs.writeFileSync(file, 'precious');
		assert.match(await refused(`unix:${file}`), /something that is no socket is there/);
		assert.equal(fs.readFileSync(file, 'utf8'), 'precious');
	});

	test('what cannot be', async () => {
		const free = path.join(dir, 'free');
		assert.match(await refused(`unix:${free} owner=no-such-user`),
			/owner: there is no such user\n/);
		assert.match(await refused(`unix:${dir}/no/such`), /its folder cannot be opened: No such/);
		assert.match(await refused(`unix:${free} mod=0600`), /did you mean "mode=0660"\?/);
		assert.ok(!fs.existsSync(free));
	});

	test('the next node may begin while the one before ends', async () => {
		const at = path.join(dir, 'handed');
		const first = await start({ publics: [`unix:${at}`] });
		const client = await Client.open(`ws+unix://${at}:/ws/a`);
		kill(first.pid, 'SIGTERM');
		await eventually(5_000, 'the file to go', () => !fs.existsSync(at));
		const second = await start({ publics: [`unix:${at}`] });
		nodes.push(second);
		await within(10_000, 'the end of the first', first.exited);
		await within(5_000, 'the close of its client', client.closed);
		assert.equal(await status(at, '/'), '404');
		first.discard();
	});
});

describe('several addresses', () => {
	let node;
	const port = {};
	before(async () => {
		for (const name of ['second', 'v6', 'any'])
			port[name] = await freePort();
		node = await start({
			publics: [`127.0.0.1:${port.second}`, `[::1]:${port.v6}`, `:${port.any}`],
			internals: [`[::1]:${port.v6 + 1}`],
			channels: [{ match: 'echo', publish: 'anyone' }],
		});
	});
	after(() => node?.stop());

	test('all of them reach one broker', async () => {
		const urls = [node.ports.public, port.second, port.any].map((p) => `127.0.0.1:${p}`)
			.concat(`[::1]:${port.v6}`, `[::1]:${port.any}`);
		const clients = await Promise.all(urls.map((u) => Client.open(`ws://${u}/ws/echo`)));
		for (const [i, client] of clients.entries()) {
			client.send(`from ${i}`);
			for (const each of clients)
				assert.equal(await each.next(), `from ${i}`);
		}
		await Promise.all(clients.map((c) => c.close()));
	});

	test('an IPv6 address takes IPv6 alone', async () => {
		await assert.rejects(new Promise((resolve, reject) => {
			net.connect(port.v6, '127.0.0.1').on('connect', resolve).on('error', reject);
		}), { code: 'ECONNREFUSED' });
	});

	test('the internal one over IPv6', async () => {
		const client = await RawClient.connect({ host: '::1', port: port.v6 + 1 });
		client.send(`GET /readyz HTTP/1.1\r\nHost: [::1]:${port.v6 + 1}\r\n\r\n`);
		assert.equal((await client.response()).status, 200);
		client.send(handshake('/ws/echo'));
		assert.equal((await client.response()).status, 404);
		client.destroy();
	});
});
