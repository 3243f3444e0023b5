/*
 * Master, hub and workers: titles, what happens when one of them is killed under traffic, and how
 * a node starts and stops.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { alive, descendants, kill, processes, removeDir, tempDir } from './lib/cleanup.mjs';
import { Client, json, openMany } from './lib/clients.mjs';
import { Node, ms, run } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { after, before, describe, eventually, sleep, test, within } from './lib/test.mjs';

const WORKERS = 4;

/* A client with a sequence checker. */
async function checked(node, channel) {
	const client = await Client.open(node.url(`/ws/${channel}`));
	client.sequence = new Sequence();
	client.onMessage = (m) => client.sequence.take(m);
	return client;
}

/* Publishes numbered messages until stop() is called, which returns how many were accepted. */
function traffic(node, channel, pause = 2) {
	let stopped = false;
	let n = 0;
	const refused = [];
	const done = (async () => {
		while (!stopped) {
			const text = numbered(channel, 'p', n + 1);
			const answer = await node.request('POST', `/pub/${channel}`, { body: text })
				.catch((error) => ({ status: error.code ?? error.message }));
			if (answer.status === 200)
				n++;
			else
				refused.push(answer.status);
			await sleep(pause);
		}
	})();
	const stop = async () => {
		stopped = true;
		await done;
		return { accepted: n, refused };
	};
	return { stop };
}

describe('processes', () => {
	let node;
	before(async () => {
		node = await Node.start({
			workers: WORKERS,
			limits: { handshake: ms(2_000) },
			channels: [{ match: 'echo', publish: 'anyone' }],
		});
	});
	after(() => node?.stop());

	test('titles tell the roles', () => {
		const master = processes().find((p) => p.pid === node.pid);
		assert.equal(master.title, 'fanfare: master');
		const titles = descendants(node.pid).map((p) => p.title).sort();
		const workers = Array.from({ length: WORKERS }, (_, i) => `fanfare: worker ${i}`);
		assert.deepEqual(titles, ['fanfare: hub', ...workers]);
	});

	test('the log tells the address', () =>
		node.logged(new RegExp(`master: listening public=127.0.0.1:${node.ports.public}\\b`)));

	test('a worker killed under traffic: others notice nothing, and it is replaced',
		{ timeout: 60 }, async () => {
			const clients = await openMany(80, () => checked(node, 'w'));
			const flow = traffic(node, 'w');
			await sleep(200);
			const old = node.role('worker 1');
			kill(old);
			await node.replaced('worker 1', old);
			await sleep(300);
			const { accepted, refused } = await flow.stop();
			assert.ok(refused.length <= 2, `${refused}`);

			const left = clients.filter((c) => !c.gone);
			const lost = clients.filter((c) => c.gone);
			assert.ok(lost.length > 0 && lost.length < clients.length / 2, `${lost.length} lost`);
			for (const client of lost)
				assert.equal(client.gone.code, 1006);
			/* A POST whose answer was lost with the worker may have been delivered: the number is
			   then used again. */
			await Promise.all(left.map((c) => c.count(accepted)));
			await sleep(100);
			for (const client of left) {
				assert.equal(client.sequence.lost, 0);
				assert.equal(client.sequence.corrupt, 0);
				assert.ok(client.sequence.doubled <= refused.length);
				assert.equal(client.sequence.last.get('w p'), accepted);
			}

			/* The new one serves: 40 connections spread over all. */
			const fresh = await openMany(40, () => Client.open(node.url('/ws/w2')));
			const pid = node.role('worker 1');
			assert.ok(fs.readdirSync(`/proc/${pid}/fd`).length > 10);
			await node.publish('w2', 'hello');
			for (const client of fresh)
				assert.equal(await client.next(), 'hello');
			[...left, ...fresh].forEach((c) => c.terminate());
		});

	test('connections that wait in the queue of a killed worker are served by the next',
		{ timeout: 60 }, async () => {
			const old = node.role('worker 2');
			process.kill(old, 'SIGSTOP');
			const waiting = await Promise.all(Array.from({ length: 40 }, () =>
				RawClient.connect(node.ports.public)));
			waiting.forEach((c) => c.send(handshake('/ws/queue')));
			await sleep(200);
			kill(old);
			/* Those that the stopped worker had not accepted yet are all answered. */
			for (const client of waiting)
				assert.equal((await client.response({ timeout: 8_000 })).status, 101);
			waiting.forEach((c) => c.destroy());
			await node.replaced('worker 2', old);
		});

	test('the hub killed under traffic: nobody is disconnected, the next publish in 2 s',
		{ timeout: 60 }, async () => {
			const clients = await openMany(40, () => checked(node, 'h'));
			const told = await json(node, '/ws/h');
			const echo = await checked(node, 'echo');
			let sent = 0;
			const timer = setInterval(() => echo.send(numbered('echo', 'p', ++sent)), 2);
			const flow = traffic(node, 'h');
			await sleep(200);
			const old = node.role('hub');
			const before = clients.map((c) => c.sequence.received);
			kill(old);
			const killed = Date.now();
			await eventually(2_000, 'messages to flow again', () => {
				const hub = node.role('hub');
				return hub !== undefined && hub !== old
					&& clients.every((c, i) => c.sequence.received > before[i] + 20);
			});
			assert.ok(Date.now() - killed < 2_000, `${Date.now() - killed} ms`);
			await node.ready(2_000);
			await sleep(200);
			clearInterval(timer);
			await eventually(3_000, 'the last echo', () =>
				echo.sequence.last.get('echo p') === sent);
			assert.equal(echo.gone, undefined);
			echo.sequence.assertOrdered();
			const { accepted, refused } = await flow.stop();
			for (const code of refused)
				assert.equal(code, 503);
			await eventually(3_000, 'the last message', () =>
				clients.every((c) => c.sequence.last.get('h p') === accepted));
			for (const client of clients) {
				assert.equal(client.gone, undefined);
				assert.equal(client.sequence.corrupt, 0);
				assert.ok(client.sequence.doubled <= refused.length);
			}
			assert.equal(told.gone, undefined);
			const gaps = told.messages.map((m) => JSON.parse(m)).filter((m) => m.gap);
			assert.ok(gaps.length >= 1, 'no word of the gap');
			[...clients, told, echo].forEach((c) => c.terminate());
		});

	test('the hub killed again and again', { timeout: 60 }, async () => {
		const clients = await openMany(10, () => Client.open(node.url('/ws/again')));
		const publisher = await Client.open(node.url('/ws/echo'));
		for (let i = 0; i < 5; i++) {
			const old = node.role('hub');
			kill(old);
			await node.replaced('hub', old, 10_000);
			await node.ready(5_000);
		}
		await node.publish('again', 'after');
		for (const client of clients) {
			assert.equal(await client.next(), 'after');
			client.terminate();
		}
		publisher.send('echo');
		assert.equal(await publisher.next(), 'echo');
		publisher.terminate();
	});

	test('a hub that stands still: publishing answers 503 in time, and then goes on',
		{ timeout: 60 }, async () => {
			const client = await Client.open(node.url('/ws/still'));
			const hub = node.role('hub');
			process.kill(hub, 'SIGSTOP');
			try {
				const answer = await node.request('POST', '/pub/still', { body: 'lost or late' });
				assert.equal(answer.status, 503);
				assert.match(answer.headers['retry-after'], /^\d+$/);
			} finally {
				process.kill(hub, 'SIGCONT');
			}
			await node.ready(5_000);
			await node.publish('still', 'after');
			while (await client.next() !== 'after')
				continue;
			client.terminate();
		});

	test('all workers killed at once come back', { timeout: 60 }, async () => {
		const old = Array.from({ length: WORKERS }, (_, i) => node.role(`worker ${i}`));
		old.forEach((pid) => kill(pid));
		for (const [i, pid] of old.entries())
			await node.replaced(`worker ${i}`, pid, 10_000);
		await node.ready(5_000);
		const client = await Client.open(node.url('/ws/back'));
		await node.publish('back', 'hello');
		assert.equal(await client.next(), 'hello');
		client.terminate();
	});
});

describe('processes: the hub killed with Redis behind it', () => {
	test('nobody is disconnected, the next publish in 2 s', { timeout: 60 }, async () => {
		const redis = await Redis.start();
		const node = await Node.start({ workers: 2, redis: { url: redis.url } });
		const clients = await openMany(10, () => Client.open(node.url('/ws/h')));
		const direct = await redis.connect();
		const old = node.role('hub');
		kill(old);
		await eventually(2_000, 'the next publish', async () => {
			await direct.command('PUBLISH', 'fanfare:h', 'again');
			return clients.every((c) => c.messages.length > 0);
		});
		for (const client of clients)
			assert.equal(client.gone, undefined);
		assert.notEqual(node.role('hub'), old);
		clients.forEach((c) => c.terminate());
		direct.close();
		await node.stop();
		await redis.stop();
	});
});

describe('processes: the end', () => {
	for (const signal of ['SIGTERM', 'SIGINT']) {
		test(`${signal}: clients are told 1001, and all is gone`, async () => {
			const node = await Node.start({ workers: 2, limits: { close: ms(1_000) } });
			const clients = await openMany(20, () => Client.open(node.url('/ws/news')));
			const silent = await RawClient.open(node);
			const begun = Date.now();
			await node.stop(signal);
			assert.ok(Date.now() - begun < 4_000);
			for (const client of clients)
				assert.equal((await within(1_000, 'close', client.closed)).code, 1001);
			const close = await silent.frame();
			assert.equal(close.code, 1001);
			silent.destroy();
		});
	}

	test('the signal sent to all processes, as a terminal does', async () => {
		const node = await Node.start({ workers: 2 });
		descendants(node.pid).forEach((p) => kill(p.pid, 'SIGINT'));
		await node.stop('SIGINT');
	});

	test('a port is free again at once', async () => {
		const node = await Node.start({});
		const client = await Client.open(node.url('/ws/news'));
		const { ports } = node;
		await node.stop();
		client.terminate();
		const again = await Node.start({}, { ports });
		await again.stop();
	});

	test('the master killed: its children go too', async () => {
		const node = await Node.start({ workers: 2 });
		const children = descendants(node.pid).map((p) => p.pid);
		assert.equal(children.length, 3);
		kill(node.pid);
		try {
			await eventually(2_000, 'the children to go', () => !children.some(alive));
		} finally {
			children.forEach((pid) => kill(pid));
			node.discard();
		}
	});
});

describe('processes: the start', () => {
	let dir;
	before(() => { dir = tempDir('start'); });
	after(() => removeDir(dir));

	function config(options) {
		const file = path.join(dir, 'fanfare.yaml');
		fs.writeFileSync(file, JSON.stringify({ workers: 1, ...options }));
		return file;
	}

	for (const which of ['public', 'internal']) {
		test(`${which} port in use: exit 1 and a clear message`, async () => {
			const server = net.createServer().listen(0, '127.0.0.1');
			await new Promise((resolve) => { server.once('listening', resolve); });
			const { port } = server.address();
			const listen = {
				public: [`127.0.0.1:${await freePort()}`],
				internal: [`127.0.0.1:${await freePort()}`],
				[which]: [`127.0.0.1:${port}`],
			};
			const { code, stderr } = await run(['-c', config({ listen })]);
			server.close();
			assert.equal(code, 1);
			assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port}`));
			assert.match(stderr, /in use/i);
		});
	}

	test('a second node on the same ports: exit 1', async () => {
		const node = await Node.start({});
		const { code, stderr } = await run(['-c', node.file]);
		assert.equal(code, 1);
		assert.match(stderr, /in use/i);
		assert.equal(await node.readyStatus(), 200);
		await node.stop();
	});

	for (const address of ['0.0.0.0', '[::]']) {
		test(`an internal listener on ${address} without a key is refused`, async () => {
			const listen = {
				public: [`127.0.0.1:${await freePort()}`],
				internal: [`${address}:${await freePort()}`],
			};
			const { code, stderr } = await run(['-c', config({ listen })]);
			assert.equal(code, 1);
			assert.match(stderr, /api\.key/);
		});
	}

	test('an internal listener on any address with a key is fine', async () => {
		const internal = await freePort();
		const ports = { public: await freePort(), internal };
		const node = await Node.start({
			api: { key: 'k'.repeat(16) },
			listen: { internal: [`0.0.0.0:${internal}`] },
		}, { ports });
		await node.stop();
	});

	test('several addresses', async () => {
		const more = await freePort();
		const ports = { public: await freePort(), internal: await freePort() };
		const node = await Node.start({
			listen: { public: [`127.0.0.1:${ports.public}`, `127.0.0.2:${more}`] } }, { ports });
		const client = await Client.open(`ws://127.0.0.2:${more}/ws/news`);
		await node.publish('news', 'hello');
		assert.equal(await client.next(), 'hello');
		client.terminate();
		await node.stop();
	});
});

describe('processes: few descriptors', () => {
	test('clients leave a worker those it needs itself', { timeout: 60 }, async () => {
		const node = await Node.start({ workers: 1, limits: { handshake: ms(60_000) } });
		execFileSync('prlimit', ['--pid', String(node.pid), '--nofile=64:64']);
		kill(node.role('worker 0'));
		await node.ready();
		const sockets = Array.from({ length: 100 }, () => net.connect(node.ports.public, '127.0.0.1'));
		for (const socket of sockets)
			socket.on('error', () => {});
		const fds = () => fs.readdirSync(`/proc/${node.role('worker 0')}/fd`).length;
		await eventually(5_000, 'a full worker', () => fds() >= 32);
		kill(node.role('hub'));
		await node.ready();
		sockets.forEach((s) => s.destroy());
		await node.stop();
	});
});
