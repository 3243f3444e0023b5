/*
 * Who may do what: the words of the rules on every protocol, tokens that are none, tokens that end
 * in mid-session, the backend's key, and what the log says of hostile clients.
 */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { removeDir, tempDir } from './lib/cleanup.mjs';
import { Client, json } from './lib/clients.mjs';
import { EventStream } from './lib/events.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';
import { inSeconds, jwks, makeKey, sign, signText } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const key = { key: SECRET };

const CHANNELS = [
	{ match: 'open*', publish: 'anyone', read_history: 'anyone', read_presence: 'anyone',
		history: { size: 10 }, presence: true },
	{ match: 'auth*', subscribe: 'authenticated', publish: 'authenticated',
		read_history: 'authenticated', read_presence: 'authenticated', history: { size: 10 }, presence: true },
	{ match: 'tok*', subscribe: 'token', publish: 'token', read_history: 'token',
		read_presence: 'token', history: { size: 10 }, presence: true },
	{ match: '*', subscribe: 'nobody' },
];

/* The status with which something is refused. */
const status = (promise) => promise.then(
	(client) => {
		client.terminate?.();
		client.destroy?.();
		return 'accepted';
	}, (error) => error.status ?? error.answer?.status ?? Promise.reject(error));

/* What a client of fanfare.json may do in a channel: letters of s, p, h, r. */
async function rights(client, channel) {
	const all = {
		s: { subscribe: channel }, p: { publish: channel, data: 1 }, h: { history: channel },
		r: { presence: channel },
	};
	let may = '';
	for (const [letter, command] of Object.entries(all)) {
		client.send(JSON.stringify({ ...command, id: letter }));
		let answer;
		do {
			answer = await client.nextJson();
		} while (answer.id !== letter);
		if (!answer.error)
			may += letter;
		else
			assert.deepEqual(answer.error, { code: 403, message: 'not allowed' });
		if (letter === 's' && !answer.error)
			await client.ask({ unsubscribe: channel });
	}
	return may;
}

describe('access: the words of the rules', () => {
	let node;
	before(async () => {
		node = await Node.start({ workers: 2, auth: { secret: SECRET }, channels: CHANNELS });
	});
	after(() => node?.stop());

	const connection = sign({ sub: 'alice', channels: ['tok1'], publish: ['tok2'] }, key);
	const subscription = sign({ sub: 'alice', channel: 'tok3' }, key);

	test('a stranger on fanfare.json', async () => {
		const client = await json(node);
		const may = {};
		for (const channel of ['open1', 'auth1', 'tok1', 'other'])
			may[channel] = await rights(client, channel);
		assert.deepEqual(may, { open1: 'sphr', auth1: '', tok1: '', other: '' });
		await client.close();
	});

	test('a client with tokens on fanfare.json', async () => {
		const client = await json(node, `/ws?token=${connection}`);
		const may = {};
		for (const channel of ['open1', 'auth1', 'tok1', 'tok2', 'tok3', 'other'])
			may[channel] = await rights(client, channel);
		assert.deepEqual(may, { open1: 'sphr', auth1: 'sphr', tok1: 'shr', tok2: 'p', tok3: '', other: '' });
		const answer = await client.ask({ subscribe: 'tok3', token: subscription });
		assert.equal(answer.subscribed, 'tok3');
		await client.close();
	});

	test('a token that is shown later', async () => {
		const client = await json(node);
		assert.equal(await rights(client, 'auth1'), '');
		const { exp } = JSON.parse(Buffer.from(connection.split('.')[1], 'base64url'));
		assert.deepEqual(await client.ask({ token: connection, id: 7 }),
			{ token: { user: 'alice', expires: exp }, id: 7 });
		assert.equal(await rights(client, 'auth1'), 'sphr');
		const bad = await client.ask({ token: `${connection}x` });
		assert.equal(bad.error.code, 401);
		const other = await client.ask({ token: sign({ sub: 'bob' }, key) });
		assert.equal(other.error.code, 401);
		assert.equal(await rights(client, 'auth1'), 'sphr');
		await client.close();
	});

	test('raw and SSE', async () => {
		for (const [channel, token, expected] of [
			['open1', '', 'accepted'], ['auth1', '', 403], ['auth1', connection, 'accepted'],
			['tok1', '', 403], ['tok1', connection, 'accepted'], ['tok2', connection, 403],
			['tok3', subscription, 'accepted'], ['tok1', subscription, 403],
			['other', connection, 403],
			['open1', 'nonsense', 401], ['open1', `${connection}x`, 401],
			['open1', sign({ exp: inSeconds(-60) }, key), 401],
		]) {
			const what = `${channel} ${token.slice(-8)}`;
			const query = token === '' ? '' : `?token=${token}`;
			assert.equal(await status(Client.open(node.url(`/ws/${channel}${query}`))), expected,
				`raw ${what}`);
			assert.equal(await status(EventStream.open(node, `/sse/${channel}${query}`)), expected,
				`SSE ${what}`);
			const headers = token === '' ? {} : { Authorization: `Bearer ${token}` };
			assert.equal(await status(Client.open(node.url(`/ws/${channel}`), [], { headers })),
				expected, `raw ${what}, in a field`);
			assert.equal(await status(EventStream.open(node, `/sse/${channel}`, headers)), expected,
				`SSE ${what}, in a field`);
		}
	});

	test('several tokens of one client', async () => {
		const stream = await EventStream.open(node,
			`/sse?channel=tok1&channel=tok3&token=${connection}&token=${subscription}`);
		await node.publish('tok1', 'one');
		await node.publish('tok3', 'three');
		assert.deepEqual([(await stream.next()).data, (await stream.next()).data], ['one', 'three']);
		stream.destroy();
	});

	test('raw publishing', async () => {
		const may = await Client.open(node.url('/ws/open1'));
		may.send('hello');
		assert.equal(await may.next(), 'hello');
		await may.close();
		const not = await Client.open(node.url(`/ws/tok1?token=${connection}`));
		not.send('hello');
		assert.equal((await not.closed).code, 1008);
	});

	test('a refusal does not tell whether the channel is there', async () => {
		const there = await Client.open(node.url(`/ws/tok1?token=${connection}`));
		await node.publish('tok1', 'here I am');
		const client = await json(node);
		const answers = async (channel) => {
			const all = [];
			for (const verb of ['subscribe', 'publish', 'history', 'presence'])
				all.push(await client.ask(
					{ [verb]: channel, data: verb === 'publish' ? 1 : undefined }));
			for (const open of [(c) => Client.open(node.url(`/ws/${c}`)),
				(c) => EventStream.open(node, `/sse/${c}`)]) {
				const error = await open(channel).then(() => assert.fail('accepted'), (e) => e);
				const { body } = error.answer ?? error;
				all.push(body);
			}
			return all;
		};
		assert.deepEqual(await answers('tok1'), await answers('tok999'));
		await client.close();
		await there.close();
	});
});

describe('access: tokens that are none', () => {
	let node;
	let dir;
	let keys;
	let rsa;
	let secret;
	before(async () => {
		rsa = makeKey('RS256', 'rsa');
		secret = makeKey('HS256', 'hmac');
		dir = tempDir('keys');
		keys = path.join(dir, 'keys.json');
		fs.writeFileSync(keys, jwks(rsa, secret));
		node = await Node.start({ workers: 2,
			auth: { jwks: keys, audience: 'us', issuer: 'me' }, channels: CHANNELS });
	});
	after(async () => {
		await node?.stop();
		removeDir(dir);
	});

	const good = { sub: 'alice', aud: 'us', iss: 'me' };
	const opened = (token) => status(Client.open(node.url(`/ws/auth1?token=${token}`)));

	test('are refused', async () => {
		assert.equal(await opened(sign(good, rsa)), 'accepted');
		assert.equal(await opened(sign(good, secret)), 'accepted');
		const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' });
		const bad = {
			'alg none': sign(good, { alg: 'none', kid: 'rsa' }),
			'the public key as a secret': sign(good, { key: pem, kid: 'rsa' }),
			'another alg than the key\'s': sign(good, { ...rsa, kid: 'hmac' }),
			'a path as kid': sign(good, { ...secret, kid: '../../../../dev/null' }),
			'an address as kid': sign(good, { ...secret, kid: 'http://127.0.0.1:1/' }),
			'a kid of 3 KB': sign(good, { ...secret, kid: 'k'.repeat(3_000) }),
			'no exp': sign({ ...good, exp: undefined }, secret),
			'exp a string': sign({ ...good, exp: String(inSeconds(60)) }, secret),
			'exp 1e309': signText(JSON.stringify({ alg: 'HS256', kid: 'hmac' }),
				JSON.stringify(good).replace('{', '{"exp":1e309,'), secret),
			'another audience': sign({ ...good, aud: 'them' }, secret),
			'no audience': sign({ ...good, aud: undefined }, secret),
			'another issuer': sign({ ...good, iss: 'you' }, secret),
			'not valid yet': sign({ ...good, nbf: inSeconds(3_600) }, secret),
			'expired': sign({ ...good, exp: inSeconds(-3_600) }, secret),
			'a key of the header': sign(good, { ...secret, key: crypto.randomBytes(32),
				header: { jwk: secret.jwk } }),
			'crit': sign(good, { ...secret, header: { crit: ['x'], x: 1 } }),
		};
		for (const [what, token] of Object.entries(bad))
			assert.equal(await opened(token), 401, what);
	});

	test('keys are read again', async () => {
		const newer = makeKey('ES256', 'newer');
		assert.equal(await opened(sign(good, newer)), 401);
		fs.writeFileSync(keys, 'nothing');
		process.kill(node.pid, 'SIGHUP');
		await node.logged(/the keys of tokens stay/);
		assert.equal(await opened(sign(good, rsa)), 'accepted');
		fs.writeFileSync(keys, jwks(newer));
		process.kill(node.pid, 'SIGHUP');
		await eventually(5_000, 'the new keys', async () =>
			await opened(sign(good, newer)) === 'accepted' && await opened(sign(good, rsa)) === 401);
	});
});

describe('access: the end of a token', () => {
	let node;
	before(async () => {
		node = await Node.start({ workers: 2, auth: { secret: SECRET, leeway: ms(0) },
			channels: CHANNELS });
	});
	after(() => node?.stop());

	const short = (claims = {}, seconds = 3) =>
		sign({ sub: 'alice', exp: inSeconds(seconds), ...claims }, key);

	test('ends raw and SSE connections', async () => {
		const token = short({ channels: ['tok1'] });
		const raw = await Client.open(node.url(`/ws/tok1?token=${token}`));
		const stream = await EventStream.open(node, `/sse/tok1?token=${token}`);
		await node.publish('tok1', 'in time');
		assert.equal(await raw.next(), 'in time');
		assert.deepEqual(await raw.closed, { code: 1008, reason: 'token expired' });
		const events = await stream.end(10_000);
		assert.deepEqual(events.map((e) => e.data), ['in time']);
		assert.match(stream.comments.at(-1), /closed 1008 token expired/);
	});

	test('is told on fanfare.json, and a newer token keeps the connection', async () => {
		const client = await json(node, `/ws?token=${short({}, 6)}`);
		const warning = await client.nextJson(10_000);
		assert.ok('expiring' in warning && warning.expiring <= 3, JSON.stringify(warning));
		const answer = await client.ask({ token: short({}, 60) });
		assert.equal(answer.token.user, 'alice');
		await sleep(2_500);
		assert.equal(client.gone, undefined);
		assert.equal((await client.ask({ subscribe: 'auth1' })).subscribed, 'auth1');
		await client.close();
		const other = await json(node, `/ws?token=${short({}, 2)}`);
		assert.deepEqual(await other.closed, { code: 1008, reason: 'token expired' });
	});

	test('of a subscription ends that alone', async () => {
		const client = await json(node);
		const answer = await client.ask({ subscribe: 'tok1', token: short({ channel: 'tok1' }, 2) });
		assert.equal(answer.subscribed, 'tok1');
		assert.deepEqual(await client.nextJson(10_000),
			{ unsubscribed: 'tok1', reason: 'token expired' });
		await node.publish('tok1', 'late');
		assert.equal((await client.ask({ subscribe: 'open1' })).subscribed, 'open1');
		const again = await client.ask({ subscribe: 'tok1' });
		assert.equal(again.error.code, 403);
		const raw = await Client.open(
			node.url(`/ws/tok1?token=${short({ channel: 'tok1' }, 2)}`));
		assert.equal((await raw.closed).code, 1008);
		await client.close();
	});
});

describe('access: tokens that are required', () => {
	let node;
	before(async () => {
		node = await Node.start({ workers: 2, auth: { secret: SECRET, required: true },
			limits: { authenticate: ms(1_000) }, channels: CHANNELS });
	});
	after(() => node?.stop());

	test('on every protocol', async () => {
		const token = sign({ sub: 'alice' }, key);
		for (const target of ['/ws/open1', '/sse/open1']) {
			const open = (t) =>
				(t.startsWith('/ws') ? Client.open(node.url(t)) : EventStream.open(node, t));
			const error = await open(target).then(() => assert.fail('accepted'), (e) => e);
			const answer = error.answer ?? error;
			assert.equal(answer.status, 401);
			assert.match(answer.headers['www-authenticate'], /^Bearer/);
			assert.equal(await status(open(`${target}?token=${token}`)), 'accepted');
		}
	});

	test('may be shown later on fanfare.json, for a while', async () => {
		const client = await json(node);
		assert.equal((await client.ask({ subscribe: 'open1' })).error.code, 403);
		await client.ask({ token: sign({ sub: 'alice' }, key) });
		assert.equal((await client.ask({ subscribe: 'open1' })).subscribed, 'open1');
		const silent = await json(node);
		assert.deepEqual(await silent.closed, { code: 1008, reason: 'no token was shown' });
		await sleep(500);
		assert.equal(client.gone, undefined);
		await client.close();
	});
});

describe('access: the API of backends', () => {
	const KEY = 'the-key-of-the-backend';
	let node;
	before(async () => {
		node = await Node.start({ workers: 2, api: { key: KEY },
			channels: [{ match: 'h*', history: { size: 10 } }] });
	});
	after(() => node?.stop());

	const post = (target, headers, options = {}) =>
		node.request('POST', target, { body: 'x', headers, ...options });

	test('wants the key, on both listeners', async () => {
		for (const target of ['/pub/h1', '/user/alice']) {
			for (const isPublic of [false, true]) {
				const ask = (headers) => post(target, headers, { public: isPublic });
				assert.equal((await ask({})).status, 401, target);
				assert.equal((await ask({ Authorization: `Bearer ${KEY}x` })).status, 401);
				assert.equal((await ask({ Authorization: `Bearer ${KEY.slice(1)}` })).status, 401);
				assert.equal((await ask({ 'X-API-Key': '' })).status, 401);
				assert.equal((await ask({ Authorization: `Bearer ${KEY}` })).status, 200);
				assert.equal((await ask({ 'X-API-Key': KEY })).status, 200);
			}
		}
	});

	test('is for no page of another site', async () => {
		for (const target of ['/pub/h1', '/user/alice']) {
			const answer = await post(target, { 'X-API-Key': KEY, Origin: 'https://evil.example' });
			assert.equal(answer.status, 403, target);
		}
	});

	test('publishes once under one key', async () => {
		const stream = await EventStream.open(node, '/sse/h2');
		const ask = () => post('/pub/h2', { 'X-API-Key': KEY, 'Idempotency-Key': 'once' });
		const first = await ask();
		const second = await ask();
		assert.equal(first.status, 200);
		assert.deepEqual([second.status, second.body], [first.status, first.body]);
		await post('/pub/h2', { 'X-API-Key': KEY });
		await stream.raw.wait(5_000, 'two events', () =>
			(stream.raw.input.toString().split('data: x\n').length === 3 ? true : undefined));
		await sleep(100);
		assert.equal(stream.raw.input.toString().split('data: x\n').length, 3);
		stream.destroy();
	});
});

describe('access: the log', () => {
	let node;
	before(async () => {
		node = await Node.start({ workers: 2, log: { level: 'debug' }, auth: { secret: SECRET },
			proxy: { trusted: ['127.0.0.1'], header: 'x-forwarded-for' },
			limits: { head: 256 * 1024, token: 65_536 }, channels: CHANNELS });
	});
	after(() => node?.stop());

	const LINE = /^\d{4}-\d\d-\d\dT[\d:.]+Z (error|warn|info|debug) [a-z]+( \d+)?: [\x20-\x7e]*$/;

	test('hostile values make valid lines', async () => {
		const token = sign({ sub: 'alice', channels: ['tok1'] }, key);
		const bad = sign({ sub: 'mallory' }, { key: 'x'.repeat(40) });
		const values = ['a\x1b[31mred', '\x00', 'a\rb', 'a\nb', 'x'.repeat(65_536), '\xff\xfe',
			'2026-01-01T00:00:00.000Z error worker 0: forged', '1.2.3.4\r\nX: y', '%0d%0aforged',
			'"quoted"', '\\x00'];
		for (const value of values) {
			for (const fields of [{ 'X-Forwarded-For': value }, { Origin: value },
				{ Authorization: `Bearer ${value}` }, { Cookie: value },
				{ 'Sec-WebSocket-Protocol': value }, { 'User-Agent': value },
				{ Authorization: `Bearer ${bad}`, 'X-Forwarded-For': value },
				{ Authorization: `Bearer ${token}`, 'X-Forwarded-For': value }]) {
				const client = await RawClient.connect(node.ports.public);
				client.send(handshake('/ws/tok1', fields));
				await client.response().catch(() => {});
				client.destroy();
			}
			const query = await RawClient.connect(node.ports.public);
			query.send(handshake(`/ws/tok1?token=${encodeURIComponent(value)}&x=${bad}`));
			await query.response().catch(() => {});
			query.destroy();
		}
		const ended = await Client.open(node.url(`/ws/tok1?token=${token}`));
		await ended.close();
		const client = await json(node);
		await client.ask({ token: bad });
		await client.ask({ token });
		await client.close();
		await node.stop();
		const text = node.stderr;
		node = undefined;
		const lines = text.split('\n').slice(0, -1);
		assert.ok(lines.length > 50, text);
		for (const line of lines)
			assert.match(line, LINE);
		assert.ok(!lines.some((l) => l.startsWith('2026-01-01') || /: forged$/.test(l)), 'forged');
		for (const secret of [token, bad, SECRET, token.split('.')[1], token.split('.')[2],
			bad.split('.')[2]])
			assert.ok(!text.includes(secret), 'a token or a secret is in the log');
	});
});
