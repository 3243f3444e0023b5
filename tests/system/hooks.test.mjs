/*
 * The hooks: what the application is asked and told, what its answers do, and what happens while it
 * is away or slow.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { afterEach, beforeEach } from 'node:test';
import { fileURLToPath } from 'node:url';
import { App } from './lib/app.mjs';
import { kill, track, untrack } from './lib/cleanup.mjs';
import { Client, json, openMany } from './lib/clients.mjs';
import { EventStream } from './lib/events.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';
import { sign } from './lib/token.mjs';

const KEY = 'the-key-of-the-hooks';
const SECRET = 'a secret of at least thirty-two bytes';
const CHANNELS = [
	{ match: 'app*', subscribe: 'app', publish: 'app' },
	{ match: 'tok*', subscribe: 'token', publish: 'token' },
];
const NOTHING = {};

const refused = (promise) => promise.then(
	(client) => {
		client.terminate?.();
		client.destroy?.();
		return assert.fail('accepted');
	}, (error) => error.answer ?? error);

describe('hooks', () => {
	let app;
	let node;
	before(async () => {
		app = await App.start();
		node = await Node.start({ workers: 2, channels: CHANNELS, auth: { secret: SECRET },
			hooks: { ...app.hooks('connect', 'subscribe', 'publish', 'disconnect'), key: KEY } });
	});
	after(async () => {
		await node?.stop();
		await app?.stop();
	});
	beforeEach(() => {
		app.answers = NOTHING;
		app.forget();
	});

	test('the application is told of a client, and names it', async () => {
		app.answers = { connect: () => ({ user: 'bob', info: { name: 'Bob' }, channels: ['tok*'],
			publish: ['tok1'] }) };
		const client = await Client.open(node.url('/ws/tok1?a=b%20c'), [],
			{ headers: { Cookie: 'session=1', 'X-Other': 'x' } });
		const [event] = app.of('connect');
		assert.match(event.client, /^[A-Za-z0-9_-]{22}$/);
		assert.match(event.address, /^127\.0\.0\.1:\d+$/);
		assert.deepEqual({ ...event, client: '', address: '' }, { event: 'connect', client: '',
			address: '', path: '/ws/tok1', query: 'a=b%20c', headers: { Cookie: 'session=1' } });
		const [{ method, url, headers }] = app.requests;
		assert.deepEqual([method, url, headers['content-type'], headers.authorization],
			['POST', '/connect', 'application/json', `Bearer ${KEY}`]);
		client.send('hello');
		assert.equal(await client.next(), 'hello');
		await client.close();
		const [gone] = await app.heard('disconnect');
		assert.deepEqual([gone.client, gone.user, gone.seconds], [event.client, 'bob', 0]);
		assert.ok(Math.abs(gone.time - Date.now()) < 60_000);
	});

	test('a token is not told, but whom it names', async () => {
		const token = sign({ sub: 'alice' }, { key: SECRET });
		const client = await Client.open(node.url(`/ws/news?token=${token}&x=1`));
		const [event] = app.of('connect');
		assert.deepEqual([event.user, event.query], ['alice', 'x=1']);
		await client.close();
		await app.heard('disconnect');
	});

	test('a client that is refused', async () => {
		for (const answer of [{ deny: { reason: 'so' } }, { deny: true }, { status: 403 },
			{ status: 401, text: 'no' }]) {
			app.answers = { connect: () => answer };
			assert.equal((await refused(Client.open(node.url('/ws/news')))).status, 403);
			assert.equal((await refused(EventStream.open(node, '/sse/news'))).status, 403);
		}
		assert.deepEqual(app.of('disconnect'), [], 'who never came does not go');
	});

	test('subscriptions are asked about', async () => {
		app.answers = { subscribe: ({ channel }) => (channel === 'app1' ? {} : { deny: {} }) };
		const client = await json(node, '/ws?channel=app1');
		assert.deepEqual(app.of('subscribe').map((e) => e.channel), ['app1']);
		assert.equal((await client.ask({ subscribe: 'app2' })).error.code, 403);
		assert.equal((await refused(Client.open(node.url('/ws/app2')))).status, 403);
		assert.equal((await refused(
			EventStream.open(node, '/sse?channel=app1&channel=app2'))).status, 403);
		await client.ask({ unsubscribe: 'app1' });
		assert.equal((await client.ask({ subscribe: 'app1' })).subscribed, 'app1');
		const { client: id } = app.of('connect')[0];
		assert.deepEqual(app.of('subscribe')[0], { event: 'subscribe', client: id, channel: 'app1' });
		await client.close();
	});

	test('publications are asked about, changed and denied, in order', async () => {
		app.answers = { publish: async ({ data, base64 }) => {
			await sleep(data?.wait ?? 0);
			if (base64 !== undefined)
				return { base64: Buffer.from('changed').toString('base64') };
			return data?.bad ? { deny: {} } : data?.plain ? {} : { data: { was: data } };
		} };
		const client = await json(node, '/ws?channel=app1');
		const raw = await Client.open(node.url('/ws/app1'));
		const commands = [{ wait: 100, n: 1 }, { bad: true }, { plain: true, n: 3 }];
		commands.forEach((data, id) =>
			client.send(JSON.stringify({ publish: 'app1', data, id })));
		assert.deepEqual(JSON.parse(await raw.next()), { was: { wait: 100, n: 1 } });
		assert.deepEqual(JSON.parse(await raw.next()), { plain: true, n: 3 });
		await client.count(5);
		const answers = client.messages.map((m) => JSON.parse(m)).filter((m) => 'id' in m);
		assert.deepEqual(answers.map((a) => a.error?.code ?? a.published), ['app1', 403, 'app1']);
		raw.send(Buffer.from([0, 255]));
		assert.equal((await raw.next()).toString(), 'changed');
		raw.send('no JSON');
		assert.equal(await raw.next(), '{"was":"no JSON"}');
		raw.send('{"bad":1}');
		assert.equal((await raw.closed).code, 1008);
		assert.deepEqual(app.of('publish')[0], { event: 'publish', client: app.of('connect')[0].client,
			channel: 'app1', data: { wait: 100, n: 1 } });
		assert.equal(app.of('publish')[3].base64, 'AP8=');
		await client.close();
	});

	test('one that leaves meanwhile is forgotten', async () => {
		let release;
		const held = new Promise((resolve) => { release = resolve; });
		app.answers = { connect: () => held };
		const opening = Client.open(node.url('/ws/app1'), [], { handshakeTimeout: 300 });
		await assert.rejects(opening);
		await sleep(200);
		release({});
		await sleep(200);
		assert.deepEqual(app.of('subscribe'), []);
		assert.equal(await node.subscribers('app1'), 0);
	});

	test('a user that is disconnected while the application is asked', async () => {
		app.answers = { connect: () => ({ user: 'zed' }), subscribe: () => sleep(1_500) };
		const opening = refused(Client.open(node.url('/ws?channel=app1')));
		const stream = refused(EventStream.open(node, '/sse?channel=app2'));
		await app.heard('subscribe', 2);
		await sleep(200);
		assert.equal((await node.request('DELETE', '/user/zed')).status, 200);
		for (const answer of [await opening, await stream])
			assert.equal(answer.status, 403);
		assert.deepEqual(app.of('disconnect'), [], 'who never came does not go');
	});

	test('the channels of one client are asked about one after the other', async () => {
		let asked = 0;
		let most = 0;
		app.answers = { subscribe: async () => {
			most = Math.max(most, ++asked);
			await sleep(20);
			asked--;
		} };
		const names = Array.from({ length: 20 }, (_, i) => `app${i}`);
		const client = await json(node, `/ws?${names.map((n) => `channel=${n}`).join('&')}`);
		assert.deepEqual(app.of('subscribe').map((e) => e.channel), names);
		assert.equal(most, 1);
		await client.close();
	});

	test('an answer whose members are written with escapes publishes nothing', async () => {
		app.answers = { publish: () => ({ status: 200, text: '{"d\\u0061ta":"censored"}' }) };
		const client = await json(node, '/ws?channel=app1');
		assert.equal((await client.ask({ publish: 'app1', data: 'secret' })).error.code, 503);
		await client.close();
	});

	test('a worker that stops tells of its clients', async () => {
		const other = await Node.start({ hooks: app.hooks('disconnect') });
		const clients = await openMany(20, () => Client.open(other.url('/ws/news')));
		await other.stop();
		/* Word of a client of the test before may still have come. */
		assert.ok(new Set(app.of('disconnect').map((e) => e.client)).size >= clients.length);
	});

	test('many clients at once', async () => {
		const clients = await openMany(300, () => Client.open(node.url('/ws/app1')));
		assert.equal(app.of('connect').length, 300);
		assert.equal(new Set(app.of('connect').map((e) => e.client)).size, 300);
		assert.equal(app.of('subscribe').length, 300);
		await Promise.all(clients.map((c) => c.close()));
		await app.heard('disconnect', 300);
		assert.equal(app.of('disconnect').length, 300);
	});

	test('an answer that cannot be used is none', async () => {
		for (const answer of [{ status: 302 }, { status: 200, text: '<html>' },
			{ status: 200, text: '' }, { status: 200, text: '[]' }, { user: 7 }]) {
			app.answers = { connect: () => answer };
			const error = await refused(Client.open(node.url('/ws/news')));
			assert.equal(error.status, 503, JSON.stringify(answer));
			assert.equal(error.headers['retry-after'], '1');
		}
	});
});

describe('hooks: the application is away', () => {
	let app;
	let node;
	afterEach(async () => {
		await node?.stop();
		await app?.stop();
	});

	const start = async (hooks) => {
		app = await App.start();
		node = await Node.start({ workers: 1, channels: CHANNELS, hooks: {
			...app.hooks('connect', 'subscribe', 'publish'), retries: 0, pause: ms(500), ...hooks } });
	};

	test('deny', async () => {
		await start({ breaker: 3 });
		const early = await json(node, '/ws?channel=app1');
		await app.away();
		for (let i = 0; i < 5; i++)
			assert.equal((await refused(Client.open(node.url('/ws/news')))).status, 503);
		assert.equal((await early.ask({ publish: 'app1', data: 1 })).error.code, 503);
		assert.equal((await early.ask({ subscribe: 'app2' })).error.code, 503);
		await node.logged(/the connect hook is left alone for 500 ms/);
		await app.back();
		await eventually(5_000, 'the hook to be asked again', async () =>
			Client.open(node.url('/ws/app1')).then((c) => c.close().then(() => true), () => false));
		await node.logged(/the connect hook answers again/);
		assert.equal((await early.ask({ publish: 'app1', data: 1 })).error, undefined);
		await early.close();
	});

	test('allow', async () => {
		await start({ failure: 'allow' });
		await app.away();
		const client = await json(node, '/ws?channel=app1');
		client.send('{"publish":"app1","data":5}');
		await client.count(2);
		assert.ok(client.messages.map((m) => JSON.parse(m)).some((m) => m.data === 5));
		await client.close();
		await app.back();
	});

	test('slow', async () => {
		await start({ timeout: ms(200), breaker: 1_000 });
		app.answers = { connect: () => sleep(1_000) };
		const begun = performance.now();
		assert.equal((await refused(Client.open(node.url('/ws/news')))).status, 503);
		assert.ok(performance.now() - begun >= 150);
		/* Meanwhile the worker does what needs no hook. */
		assert.equal((await node.publish('news', 'x')).status, 200);
	});

	test('a restart of the application is bridged by another attempt', async () => {
		await start({ retries: 5, breaker: 1_000 });
		await app.away();
		const opening = Client.open(node.url('/ws/app1'));
		await sleep(150);
		await app.back();
		await (await opening).close();
	});
});

describe('hooks: the example', () => {
	let node;
	let example;
	let output = '';
	before(async () => {
		const port = await freePort();
		const file = path.join(path.dirname(fileURLToPath(import.meta.url)),
			'../../etc/hooks.mjs');
		example = spawn(process.execPath, [file], { env: { ...process.env, PORT: String(port) } });
		track(example.pid);
		example.stdout.setEncoding('utf8').on('data', (s) => { output += s; });
		const url = (name) => `http://127.0.0.1:${port}/${name}`;
		node = await Node.start({
			hooks: Object.fromEntries(['connect', 'subscribe', 'publish', 'disconnect'].map((h) =>
				[h, url(h)])),
			channels: [{ match: 'inbox:*', subscribe: 'app' },
				{ match: 'room:*', subscribe: 'token', publish: 'app' }],
		});
		await eventually(10_000, 'the example', () =>
			Client.open(node.url('/ws/news?user=x')).then((c) => c.close().then(() => true), () => false));
	});
	after(async () => {
		await node?.stop();
		kill(example.pid);
		untrack(example.pid);
	});

	test('does what it says', async () => {
		assert.equal((await refused(Client.open(node.url('/ws/room:1')))).status, 403);
		const ada = await Client.open(node.url('/ws/room:1?user=ada'));
		ada.send('{"text":"hello","evil":1}');
		assert.deepEqual(JSON.parse(await ada.next()), { from: 'ada', text: 'hello' });
		ada.send('null');
		assert.equal((await ada.closed).code, 1008);
		const inbox = await Client.open(node.url('/ws/inbox:ada?user=ada'));
		await inbox.close();
		assert.equal((await refused(Client.open(node.url('/ws/inbox:ada?user=eve')))).status, 403);
		await eventually(5_000, 'the word of the end', () => /ada has gone after \d+ s/.test(output));
	});
});
