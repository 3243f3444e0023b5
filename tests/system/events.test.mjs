/*
 * Events: clients' coming and going on a Redis stream of bounded length.
 */
import assert from 'node:assert/strict';
import { Client, json, openMany } from './lib/clients.mjs';
import { Node } from './lib/fanfare.mjs';
import { Redis } from './lib/redis.mjs';
import { after, before, describe, eventually, test } from './lib/test.mjs';
import { sign } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const STREAM = 'our-events';
const ALL = ['connect', 'subscribe', 'unsubscribe', 'publish', 'disconnect'];

describe('events', () => {
	let redis;
	let client;
	before(async () => {
		redis = await Redis.start();
		client = await redis.connect();
	});
	after(async () => {
		client?.close();
		await redis?.stop();
	});

	const start = (events) => Node.start({ workers: 2, redis: { url: redis.url },
		auth: { secret: SECRET }, events: { stream: STREAM, ...events },
		channels: [{ match: 'pub*', publish: 'anyone' }] });

	/* The stream's entries, each as its fields. */
	async function entries() {
		const reply = await client.command('XRANGE', STREAM, '-', '+');
		return reply.map(([, fields]) => Object.fromEntries(
			Array.from({ length: fields.length / 2 }, (_, i) => [fields[2 * i], fields[2 * i + 1]])));
	}

	const events = async () => (await entries()).map((e) => {
		const event = JSON.parse(e.data);
		assert.equal(e.event, event.event);
		return event;
	});

	test('tell who comes, subscribes, publishes and goes, in order', async () => {
		const node = await start({ include: ALL });
		const began = Date.now();
		const token = sign({ sub: 'al"ice' }, { key: SECRET });
		const one = await json(node, `/ws?channel=pub1&token=${token}`);
		await one.ask({ subscribe: 'news' });
		await one.ask({ publish: 'pub2', data: 1 });
		await one.ask({ unsubscribe: 'news' });
		await one.close();
		await eventually(5_000, 'the end', async () =>
			(await events()).some((e) => e.event === 'disconnect'));
		const all = await events();
		assert.deepEqual(all.map((e) => [e.event, e.channel ?? '']), [['connect', ''],
			['subscribe', 'pub1'], ['subscribe', 'news'], ['publish', 'pub2'],
			['unsubscribe', 'news'], ['unsubscribe', 'pub1'], ['disconnect', '']]);
		const [{ client: id }] = all;
		for (const event of all) {
			assert.deepEqual([event.client, event.user], [id, 'al"ice']);
			assert.ok(event.time >= began - 1_000 && event.time <= Date.now() + 1_000);
			assert.ok(event.worker === 0 || event.worker === 1);
		}
		await node.stop();
		await client.command('DEL', STREAM);
	});

	test('are those that are wanted', async () => {
		const node = await start({ include: ['connect', 'disconnect'] });
		const raw = await Client.open(node.url('/ws/pub1'));
		raw.send('x');
		await raw.next();
		await raw.close();
		await eventually(5_000, 'the end', async () => (await events()).length >= 2);
		assert.deepEqual((await events()).map((e) => e.event), ['connect', 'disconnect']);
		await node.stop();
		await client.command('DEL', STREAM);
	});

	test('keep to their length', async () => {
		const node = await start({ include: ALL, length: 200 });
		for (let round = 0; round < 5; round++) {
			const clients = await openMany(100, () => Client.open(node.url('/ws/news')));
			await Promise.all(clients.map((c) => c.close()));
		}
		await eventually(10_000, 'the last of 2,000 events', async () =>
			Number(/entries-added\n(\d+)/.exec(await redis.cli('XINFO', 'STREAM', STREAM))?.[1]) === 2_000);
		/* Redis trims whole nodes of its tree, of 100 entries each. */
		const length = await client.command('XLEN', STREAM);
		assert.ok(length >= 200 && length <= 400, String(length));
		await node.stop();
		await client.command('DEL', STREAM);
	});

	test('are none where no stream is named', async () => {
		const node = await Node.start({ redis: { url: redis.url } });
		const raw = await Client.open(node.url('/ws/news'));
		await raw.close();
		await node.stop();
		assert.equal(await client.command('EXISTS', STREAM), 0);
	});
});
