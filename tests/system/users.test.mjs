/*
 * Users: what the backend sends to one reaches each of its connections, on every protocol and node,
 * and nobody else; and so does a disconnection.
 */
import assert from 'node:assert/strict';
import { Client, json } from './lib/clients.mjs';
import { EventStream } from './lib/events.mjs';
import { Node } from './lib/fanfare.mjs';
import { Redis } from './lib/redis.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';
import { sign } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const token = (user, claims = {}) => sign({ sub: user, ...claims }, { key: SECRET });

const ok = (answer) => assert.deepEqual([answer.status, answer.body.trim()], [200, '{}']);

const send = (node, user, body, headers = {}) =>
	node.request('POST', `/user/${encodeURIComponent(user)}`, { body, headers });

/* The same on one node and on two; nodes[0] is asked, nodes.at(-1) serves. */
function suite(name, count) {
	describe(`users: ${name}`, () => {
		let redis;
		let nodes;
		before(async () => {
			if (count > 1)
				redis = await Redis.start();
			nodes = await Promise.all(Array.from({ length: count }, () => Node.start({
				workers: 2,
				auth: { secret: SECRET },
				redis: redis ? { url: redis.url } : {},
			})));
		});
		after(async () => {
			await Promise.all(nodes?.map((n) => n.stop()) ?? []);
			await redis?.stop();
		});

		test('every connection of the user gets a message', async () => {
			const clients = [];
			for (const node of nodes) {
				clients.push(await json(node, `/ws?token=${token('alice')}`));
				clients.push(await Client.open(node.url(`/ws/news?token=${token('alice')}`)));
			}
			const stream = await EventStream.open(nodes.at(-1), `/sse/news?token=${token('alice')}`);
			const bob = await json(nodes[0], `/ws?token=${token('bob')}`);
			const nobody = await Client.open(nodes[0].url('/ws/news'));
			ok(await send(nodes[0], 'alice', '{"a":1}'));
			for (const client of clients) {
				const message = JSON.parse(await client.next());
				assert.deepEqual(message.a === 1 ? message : message.message, { a: 1 });
			}
			assert.equal((await stream.next()).data, '{"a":1}');
			ok(await send(nodes[0], 'bob', 'only bob'));
			assert.deepEqual(await bob.nextJson(), { message: 'only bob' });
			await sleep(100);
			assert.equal(nobody.messages.length + bob.messages.length - 1, 0);
			stream.destroy();
			await Promise.all([...clients, bob, nobody].map((c) => c.close()));
		});

		test('binary, and names of every kind', async () => {
			for (const user of ['ünï cødé', 'a/b?c#d', '"quoted"', '*', 'x'.repeat(180)]) {
				const raw = await Client.open(nodes.at(-1).url(`/ws/news?token=${token(user)}`));
				const type = { 'Content-Type': 'application/octet-stream' };
				ok(await send(nodes[0], user, Buffer.from([0, 255]), type));
				assert.deepEqual(await raw.next(), Buffer.from([0, 255]));
				await raw.close();
			}
		});

		test('a user that is named later', async () => {
			const client = await json(nodes.at(-1));
			await client.ask({ token: token('carol') });
			await eventually(5_000, 'a message', async () => {
				ok(await send(nodes[0], 'carol', '1'));
				return client.messages.length > 1;
			});
			assert.deepEqual(JSON.parse(client.messages[1]), { message: 1 });
			await client.close();
		});

		test('is disconnected everywhere', async () => {
			const clients = [];
			for (const node of nodes) {
				clients.push(await json(node, `/ws?token=${token('dave')}`));
				clients.push(await Client.open(node.url(`/ws/news?token=${token('dave')}`)));
			}
			const stream = await EventStream.open(nodes.at(-1), `/sse/news?token=${token('dave')}`);
			const bob = await json(nodes[0], `/ws?token=${token('bob')}`);
			ok(await nodes[0].request('DELETE', '/user/dave?code=4001&reason=fired%20today'));
			for (const client of clients)
				assert.deepEqual(await client.closed, { code: 4001, reason: 'fired today' });
			await stream.end();
			assert.match(stream.comments.at(-1), /closed 4001 fired today/);
			assert.equal(bob.gone, undefined);
			ok(await nodes[0].request('DELETE', '/user/bob'));
			assert.deepEqual(await bob.closed, { code: 1008, reason: 'disconnected' });
			ok(await nodes[0].request('DELETE', '/user/nobody'));
		});

		test('what is malformed is refused', async () => {
			const [node] = nodes;
			for (const [method, target, status] of [['POST', '/user/', 400], ['POST', '/user/%ff', 400],
				['POST', `/user/${'x'.repeat(181)}`, 400], ['GET', '/user/alice', 405],
				['PUT', '/user/alice', 405], ['DELETE', '/user/a?code=1006', 400],
				['DELETE', '/user/a?code=99999', 400], ['DELETE', '/user/a?code=', 400],
				['DELETE', `/user/a?reason=${'r'.repeat(124)}`, 400],
				['DELETE', '/user/a?reason=%ff', 400], ['DELETE', '/user/a?reason=a%0A%0Adata:b', 400],
				['DELETE', '/user/a?reason=%00', 400], ['DELETE', '/user/a?reason=%7f', 400]]) {
				const body = method === 'POST' ? 'x' : undefined;
				const answer = await node.request(method, target, { body });
				assert.equal(answer.status, status, `${method} ${target}`);
			}
			assert.equal((await send(node, 'alice', 'x'.repeat(65_537))).status, 413);
			assert.equal((await send(node, 'alice', Buffer.from([255]),
				{ 'Content-Type': 'text/plain' })).status, 400);
		});

		test('no client reaches a user\'s channel', async () => {
			const client = await json(nodes[0]);
			const name = `!user:${Buffer.from('alice').toString('base64url')}`;
			for (const verb of ['subscribe', 'publish', 'history', 'presence']) {
				const data = verb === 'publish' ? 1 : undefined;
				const answer = await client.ask({ [verb]: name, data });
				assert.equal(answer.error.code, 400);
			}
			assert.equal((await nodes[0].request('POST', `/pub/${encodeURIComponent(name)}`,
				{ body: 'x' })).status, 400);
			await client.close();
		});
	});
}

suite('one node', 1);
suite('two nodes', 2);
