/*
 * Forged identities: tokens that name files, addresses and keys of their own lead nowhere, and a
 * request that is replayed anywhere is one publication.  The rest of the tokens is in
 * access.test.mjs.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { removeDir, tempDir } from './lib/cleanup.mjs';
import { Client, json } from './lib/clients.mjs';
import { Node } from './lib/fanfare.mjs';
import { Cluster } from './lib/nodes.mjs';
import { describe, eventually, test } from './lib/test.mjs';
import { makeKey, sign } from './lib/token.mjs';

const SECRET = 'a secret that is long enough for HS256';

/* How it ends: the status of the answer, 101 where it is let in. */
const knock = (node, token) => Client.open(node.url(`/ws/a?token=${token}`)).then(
	(client) => {
		client.terminate();
		return 101;
	}, (error) => error.status);

describe('forged tokens', () => {
	test('no file and no connection is opened for what a token names', async (t) => {
		const dir = tempDir('forged');
		t.after(() => removeDir(dir));
		/* Whoever opens this to read stands still: nobody writes. */
		const fifo = path.join(dir, 'fifo');
		execFileSync('mkfifo', ['-m', '666', fifo]);
		let connections = 0;
		const server = net.createServer((socket) => {
			connections++;
			socket.destroy();
		});
		await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
		t.after(() => server.close());
		const url = `http://127.0.0.1:${server.address().port}/keys.json`;
		const node = await Node.start({ auth: { secret: SECRET, required: true } });
		t.after(() => node.stop());
		const own = makeKey('HS256', 'mine');
		const places = [fifo, `file://${fifo}`, `../../../../../..${fifo}`, url, `${url}\0.json`];
		for (const place of places) {
			for (const header of [{ kid: place }, { jku: place }, { x5u: place },
				{ jku: place, kid: 'mine' }, { kid: place, jwk: own.jwk }]) {
				assert.equal(await knock(node, sign({ sub: 'eve' }, { ...own, header })), 401,
					JSON.stringify(header));
			}
		}
		assert.equal(connections, 0);
		assert.equal(await knock(node, sign({ sub: 'ann' }, { key: SECRET })), 101);
	});

	test('a kid of 10 KB, and a token that is too long', async (t) => {
		for (const [limit, size] of [['64KiB', 10_240], ['4KiB', 3_500]]) {
			const node = await Node.start({ auth: { secret: SECRET, required: true },
				limits: { token: limit, head: '128KiB' } });
			t.after(() => node.stop());
			const token = sign({ sub: 'eve' },
				{ key: SECRET, header: { kid: 'k'.repeat(size) } });
			assert.equal(await knock(node, token), 401, limit);
			const client = await json(node);
			const answer = await client.ask({ token });
			assert.ok([400, 401].includes(answer.error?.code), JSON.stringify(answer));
			assert.equal((await client.ask({ token: sign({ sub: 'ann' }, { key: SECRET }) }))
				.token?.user, 'ann');
			client.terminate();
		}
	});
});

describe('a replayed request', () => {
	test('is one publication, wherever and however it comes again', { timeout: 60 }, async (t) => {
		const cluster = await Cluster.start({ options: {
			channels: [{ match: 'h:*', publish: 'anyone', history: { size: 100 } }],
		} });
		t.after(() => cluster.stop());
		const [a, b] = cluster.nodes;
		const listener = await json(b, '/ws?channel=h:a');
		const post = async (node) => JSON.parse((await node.request('POST', '/pub/h:a',
			{ body: 'once', headers: { 'Idempotency-Key': 'k' } })).body);
		const first = await post(a);
		assert.equal(first.offset, 1);
		assert.deepEqual(await post(a), first);
		assert.deepEqual(await post(b), first);
		const client = await json(b);
		assert.deepEqual(await client.ask({ publish: 'h:a', data: 'twice', key: 'k' }),
			{ published: 'h:a', ...first });
		const direct = await cluster.redis.connect();
		assert.deepEqual(
			await direct.command('FCALL', 'fanfare_publish', 1, 'h:a', 'thrice', 'k'),
			[first.offset, first.epoch]);
		const old = cluster.killRole(a, 'hub');
		await a.replaced('hub', old);
		await a.ready();
		assert.deepEqual(await post(a), first);
		await cluster.restartRedis();
		await cluster.ready();
		assert.deepEqual(await post(b), first);

		/* A Redis that restarts in its first second is a new epoch, and that is told. */
		const heard = () => listener.messages.map((m) => JSON.parse(m))
			.filter((m) => m.gap === undefined).map((m) => m.data);
		await b.publish('h:a', 'next');
		await eventually(5_000, 'the next', () => heard().length >= 2);
		assert.deepEqual(heard(), ['once', 'next']);
		direct.close();
		client.terminate();
		listener.terminate();
	});
});
