/*
 * Pages of other origins: preflights, and which answers of /pub and /sse they may read, for each
 * kind of Origin policy.
 */
import assert from 'node:assert/strict';
import { Client } from './lib/clients.mjs';
import { EventStream } from './lib/events.mjs';
import { Node } from './lib/fanfare.mjs';
import { after, before, describe, test } from './lib/test.mjs';

const KEY = 'a-key-of-at-least-16';

/* The CORS fields of an answer, and Vary. */
const fields = ({ headers }) => Object.fromEntries(Object.entries(headers).filter(([name]) =>
	name.startsWith('access-control-') || name === 'vary'));

const readable = (origin) => ({ 'access-control-allow-origin': origin, vary: 'Origin' });

describe('cors', () => {
	const nodes = {};
	let watcher;
	before(async () => {
		nodes.keyed = await Node.start({
			api: { key: KEY },
			origins: ['https://app.example', 'https://*.example.org'],
		});
		nodes.host = await Node.start({ api: { key: KEY } });
		nodes.open = await Node.start({ origins: ['*'] });
		watcher = await Client.open(nodes.keyed.url('/ws/seen'));
	});
	after(async () => {
		watcher?.terminate();
		for (const node of Object.values(nodes))
			await node.stop();
	});

	const ask = (node, method, target, headers, { body, internal = false } = {}) =>
		node.request(method, target, { body, headers, public: !internal });

	const preflight = (node, target, Origin, options) => ask(node, 'OPTIONS', target, {
		Origin,
		'Access-Control-Request-Method': 'POST',
		'Access-Control-Request-Headers': 'authorization,content-type',
	}, options);

	test('a preflight of /pub is answered without the key', async () => {
		for (const origin of ['https://app.example', 'https://a.b.example.org']) {
			for (const internal of [false, true]) {
				const answer = await preflight(nodes.keyed, '/pub/seen', origin, { internal });
				assert.equal(answer.status, 204);
				assert.equal(answer.body, '');
				assert.equal(answer.headers['content-length'], undefined);
				assert.deepEqual(fields(answer), {
					...readable(origin),
					'access-control-allow-methods': 'GET, HEAD, POST, DELETE',
					'access-control-allow-headers': 'Authorization, Content-Type, '
						+ 'Idempotency-Key, Last-Event-ID, X-API-Key',
					'access-control-max-age': '600',
				});
			}
		}
	});

	test('a preflight of /sse', async () => {
		const answer = await preflight(nodes.keyed, '/sse/a', 'https://app.example');
		assert.equal(answer.status, 204);
		assert.equal(answer.headers['access-control-allow-methods'], 'GET, HEAD');
		assert.equal(answer.headers['access-control-allow-origin'], 'https://app.example');
	});

	test('a preflight of a page that is not let in: 403 and no more', async () => {
		for (const target of ['/pub/seen', '/sse/a']) {
			for (const origin of ['https://evil.example', 'http://app.example', 'null',
				'https://app.example.evil', 'https://example.org']) {
				const answer = await preflight(nodes.keyed, target, origin);
				assert.equal(answer.status, 403, origin);
				assert.deepEqual(fields(answer), {});
			}
		}
	});

	test('OPTIONS that is no preflight: 405', async () => {
		const answer = await ask(nodes.keyed, 'OPTIONS', '/pub/seen', { 'X-API-Key': KEY });
		assert.equal(answer.status, 405);
		assert.deepEqual(fields(answer), {});
	});

	test('a page that is let in publishes with the key, and reads every answer', async () => {
		const Origin = 'https://app.example';
		const cases = [
			['POST', '/pub/seen', { 'X-API-Key': KEY }, 200],
			['POST', '/pub/seen', { Authorization: `Bearer ${KEY}` }, 200],
			['GET', '/pub/seen', { 'X-API-Key': KEY }, 200],
			['POST', '/pub/seen', {}, 401],
			['POST', '/pub/a%20b', { 'X-API-Key': KEY }, 400],
			['PUT', '/pub/seen', { 'X-API-Key': KEY }, 405],
		];
		for (const [method, target, headers, status] of cases) {
			const answer = await ask(nodes.keyed, method, target, { Origin, ...headers },
				method === 'POST' ? { body: 'text' } : {});
			assert.equal(answer.status, status, `${method} ${target}`);
			assert.deepEqual(fields(answer), readable(Origin));
		}
		const big = await ask(nodes.keyed, 'POST', '/pub/seen', { Origin, 'X-API-Key': KEY },
			{ body: 'x'.repeat(70_000) });
		assert.equal(big.status, 413);
		assert.deepEqual(fields(big), readable(Origin));
		assert.equal(await watcher.next(), 'text');
		assert.equal(await watcher.next(), 'text');
	});

	test('a page that is not let in publishes nothing, also without a preflight', async () => {
		for (const Origin of ['https://evil.example', 'null']) {
			for (const internal of [false, true]) {
				const answer = await ask(nodes.keyed, 'POST', '/pub/seen',
					{ Origin, 'X-API-Key': KEY, 'Content-Type': 'text/plain' },
					{ body: 'evil', internal });
				assert.equal(answer.status, 403);
				assert.deepEqual(fields(answer), {});
			}
		}
		await nodes.keyed.request('POST', '/pub/seen',
			{ body: 'mark', headers: { 'X-API-Key': KEY } });
		assert.equal(await watcher.next(), 'mark');
	});

	test('streams', async () => {
		const Origin = 'https://app.example';
		const stream = await EventStream.open(nodes.keyed, '/sse/a', { Origin });
		assert.deepEqual(fields(stream.head), readable(Origin));
		stream.destroy();
		const plain = await EventStream.open(nodes.keyed, '/sse/a');
		assert.deepEqual(fields(plain.head), {});
		plain.destroy();
		const bad = await ask(nodes.keyed, 'GET', '/sse/a%20b', { Origin });
		assert.equal(bad.status, 400);
		assert.deepEqual(fields(bad), readable(Origin));
	});

	test('without origins: the same host, on any port', async () => {
		const Origin = 'http://127.0.0.1:3000';
		const answer = await preflight(nodes.host, '/pub/a', Origin);
		assert.equal(answer.status, 204);
		assert.equal(answer.headers['access-control-allow-origin'], Origin);
		assert.equal((await preflight(nodes.host, '/pub/a', 'http://localhost')).status, 403);
		const stream = await EventStream.open(nodes.host, '/sse/a', { Origin });
		assert.deepEqual(fields(stream.head), readable(Origin));
		stream.destroy();
	});

	test('everybody: the same answer to all', async () => {
		for (const Origin of ['https://any.example', 'null']) {
			const stream = await EventStream.open(nodes.open, '/sse/a', { Origin });
			assert.deepEqual(fields(stream.head), { 'access-control-allow-origin': '*' });
			stream.destroy();
		}
	});

	test('without a key there is no /pub for pages of the public listener', async () => {
		const answer = await preflight(nodes.open, '/pub/a', 'https://any.example');
		assert.equal(answer.status, 404);
		assert.deepEqual(fields(answer), {});
	});

	test('health is nobody\'s to read', async () => {
		for (const target of ['/healthz', '/readyz']) {
			const answer = await ask(nodes.open, 'GET', target, { Origin: 'https://any.example' },
				{ internal: true });
			assert.equal(answer.status, 200);
			assert.deepEqual(fields(answer), {});
		}
	});
});
